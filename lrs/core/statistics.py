"""Intervals, paired tests and rank statistics: the mathematics behind every number in the tables.

Shares, accuracies and effects are fractions in [0, 1] (or differences of such), never percent. Where several
generations belong to one problem, they are not independent; the unit of every interval is the problem.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import binomtest, fisher_exact, norm, rankdata
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint


def wilson_interval(successes: ArrayLike, n: ArrayLike, confidence_level: float = 0.95) -> tuple[Any, Any]:
    """Wilson score interval (low, high) of a share; `successes` and `n` may be numbers or arrays of one shape.

    `successes` may be fractional: with several seeds a problem, give accuracy * problems and problems, which
    counts each problem once and is therefore on the safe side.

    Raises:
        ValueError: an `n` that is not positive, or successes outside 0..n.
    """
    successes, n = np.asarray(successes, dtype=float), np.asarray(n, dtype=float)
    if np.any(n <= 0) or np.any(successes < 0) or np.any(successes > n):
        raise ValueError("a Wilson interval needs n > 0 and 0 <= successes <= n")
    low, high = proportion_confint(successes, n, alpha=1 - confidence_level, method="wilson")
    low, high = np.where(successes == 0, 0.0, low), np.where(successes == n, 1.0, high)  # but for rounding
    return (float(low), float(high)) if low.ndim == 0 else (low, high)


def shares_by(frame: pd.DataFrame, by: list[str], column: str, confidence_level: float = 0.95) -> pd.DataFrame:
    """Share of rows where the 0/1 `column` holds, per group of `by`, with Wilson intervals over problems.

    Args:
        frame: rows with `problem_id`, `column` and the columns of `by`.

    Returns:
        columns `by`, share, low, high, n (distinct problems of the group); groups in order of appearance.
    """
    groups = frame.groupby(by, sort=False, observed=True)
    table = groups.agg(share=(column, "mean"), n=("problem_id", "nunique")).reset_index()
    low, high = wilson_interval(table["share"] * table["n"], table["n"], confidence_level)
    return table.assign(low=low, high=high)[[*by, "share", "low", "high", "n"]]


def effective_sample_size(values: np.ndarray, draws: int, strata: np.ndarray) -> float:
    """How many independent 0/1 draws have a mean as certain as that of `values`.

    Args:
        values: (n,) a share a problem, each of the same number of draws, which hang together.
        draws: of all problems together: the most there can be.
        strata: (n,) groups that were sampled apart.

    Returns:
        n where the values tell nothing of their spread, as when all are alike.
    """
    mean = values.mean()
    spread = pd.Series(values).groupby(strata).agg(["var", "size"])
    variance = (spread["var"].fillna(0) * spread["size"]).sum() / len(values) ** 2
    return min(mean * (1 - mean) / variance, draws) if variance > 0 else len(values)


def mcnemar_exact(wins: int, losses: int) -> float:
    """Two-sided exact McNemar p-value: discordant pairs against a fair coin; 1 when there are none."""
    discordant = int(wins) + int(losses)
    return float(binomtest(int(wins), discordant, 0.5).pvalue) if discordant else 1.0


def fisher_p(successes: float, others: float, n: int, other_n: int) -> float:
    """Two-sided p-value of Fisher's exact test that two samples, drawn apart, share one rate of success.

    `successes` (of `n`) and `others` (of `other_n`) are rounded: of several seeds a problem, give accuracy * problems.
    """
    first, second = round(successes), round(others)
    return float(fisher_exact([[first, n - first], [second, other_n - second]]).pvalue)


def bootstrap_interval(
    values: np.ndarray, confidence_level: float, resamples: int, seed: int, strata: np.ndarray | None = None
) -> tuple[float, float]:
    """Percentile bootstrap interval (low, high) of a mean over problems, resampling problems.

    Args:
        values: (n,) a value a problem (its accuracy, or a paired difference), averaged over the problem's seeds first:
            seeds are clustered.
        confidence_level: in (0, 1).
        resamples: number of bootstrap samples.
        seed: of the random numbers; the order of the problems does not matter.
        strata: (n,) labels (the benchmark, say); given, problems are resampled within their own stratum.

    Raises:
        ValueError: no problems.
    """
    values = np.asarray(values, dtype=float)
    if not values.size:
        raise ValueError("a bootstrap needs at least one problem")
    strata = np.zeros(values.size, dtype=int) if strata is None else np.asarray(strata)
    rng = np.random.default_rng(seed)
    totals = np.zeros(resamples)
    for stratum in np.unique(strata):
        # n draws with replacement are multinomial counts of the distinct values, of which a 0/1 outcome has few.
        distinct, counts = np.unique(values[strata == stratum], return_counts=True)
        totals += rng.multinomial(counts.sum(), counts / counts.sum(), size=resamples) @ distinct
    tail = (1 - confidence_level) / 2
    low, high = np.quantile(totals / values.size, [tail, 1 - tail])
    return float(low), float(high)


def holm(p_values: np.ndarray) -> np.ndarray:
    """(m,) Holm-adjusted p-values; NaNs stay NaN and do not count towards the family."""
    p_values = np.asarray(p_values, dtype=float)
    adjusted = np.full_like(p_values, np.nan)
    present = ~np.isnan(p_values)
    if present.any():
        adjusted[present] = multipletests(p_values[present], method="holm")[1]
    return adjusted


def minimum_detectable_effect(n: int, discordant_share: float, confidence_level: float, power: float = 0.8) -> float:
    """Smallest true paired difference that a two-sided test on `n` problems finds with probability `power`.

    (z_{1 - alpha/2} + z_power) * sqrt(discordant_share / n), the variance of a paired difference of 0/1 outcomes
    being its share of discordant pairs when the effect is small. With several seeds a problem, give the mean
    square of the per-problem difference, which is the discordant share when there is one seed.

    Returns:
        a fraction; NaN when no pair is discordant, as the variance is then unknown.
    """
    if discordant_share <= 0:
        return float("nan")
    quantiles = norm.ppf((1 + confidence_level) / 2) + norm.ppf(power)
    return float(quantiles * np.sqrt(discordant_share / n))


def auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Probability that a random positive scores above a random negative (ties count half).

    Raises:
        ValueError: `labels` (n,) of 0/1 hold one class only.
    """
    labels = np.asarray(labels).astype(bool)
    if labels.all() or not labels.any():
        raise ValueError(f"AUROC needs both classes; got {int(labels.sum())} positives among {labels.size} labels")
    positives, negatives = int(labels.sum()), int((~labels).sum())
    # by ranks (Mann and Whitney's U): many times faster than a curve, and bootstraps take thousands
    above = rankdata(scores)[labels].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def within_group_auroc(labels: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> float:
    """AUROC over pairs of the same group only: how well scores order the traces of one problem.

    Concordant pairs are pooled over the groups that hold both classes, so a group weighs as many pairs as it has.

    Args:
        labels: (n,) of 0/1.  scores: (n,).  groups: (n,) problem ids.

    Raises:
        ValueError: no group has both classes.
    """
    frame = pd.DataFrame({"label": np.asarray(labels).astype(int), "score": scores, "group": groups})
    frame["rank"] = frame.groupby("group")["score"].rank()
    frame["positive_rank"] = frame["rank"] * frame["label"]
    sums = frame.groupby("group").agg(
        size=("label", "size"), positives=("label", "sum"), ranks=("positive_rank", "sum")
    )
    pairs = sums["positives"] * (sums["size"] - sums["positives"])
    if not pairs.sum():
        raise ValueError(f"within-group AUROC needs a group with both classes; none of {len(sums)} has")
    # Mann-Whitney: the rank sum of the positives, less what they would have against themselves.
    concordant = sums["ranks"] - sums["positives"] * (sums["positives"] + 1) / 2
    return float(concordant.sum() / pairs.sum())


def resample_groups(groups: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Rows of a bootstrap over groups, `resamples` times: all rows of as many groups as there are, with replacement.

    Args:
        groups: (n,) labels, the problem of each row, say.
    """
    members = list(pd.Series(np.arange(len(groups))).groupby(np.asarray(groups)).indices.values())
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.concatenate([members[index] for index in rng.integers(len(members), size=len(members))])


def auroc_interval(
    labels: np.ndarray, scores: np.ndarray, groups: np.ndarray, confidence_level: float, resamples: int, seed: int
) -> tuple[float, float]:
    """Percentile bootstrap interval (low, high) of an AUROC over groups; draws of one class alone are left out."""
    drawn = resample_groups(groups, resamples, seed)
    found = [auroc(labels[rows], scores[rows]) for rows in drawn if 0 < labels[rows].mean() < 1]
    low, high = np.quantile(found, [(1 - confidence_level) / 2, (1 + confidence_level) / 2])
    return float(low), float(high)


def calibration_bins(
    labels: np.ndarray, probabilities: np.ndarray, bins: int = 10, confidence_level: float = 0.95
) -> pd.DataFrame:
    """Predicted against observed share of positives in bins of equal width over [0, 1]; empty bins are left out.

    The Wilson interval takes the rows as independent: give one prediction a trace, not one a token.

    Returns:
        columns predicted (mean of the bin), observed (share), n, low, high.
    """
    frame = pd.DataFrame({"label": np.asarray(labels, dtype=float), "p": np.asarray(probabilities, dtype=float)})
    index = np.minimum((frame["p"] * bins).astype(int), bins - 1)
    table = frame.groupby(index).agg(predicted=("p", "mean"), observed=("label", "mean"), n=("label", "size"))
    low, high = wilson_interval(table["observed"] * table["n"], table["n"], confidence_level)
    return table.assign(low=low, high=high).reset_index(drop=True)


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> float:
    """Mean distance |observed - predicted| over `calibration_bins`, weighted by the rows in each; in [0, 1]."""
    table = calibration_bins(labels, probabilities, bins)
    return float(np.average((table["observed"] - table["predicted"]).abs(), weights=table["n"]))
