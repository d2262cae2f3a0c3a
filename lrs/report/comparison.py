"""Arms compared on the same problems: accuracies, paired differences, and what chance alone could have done."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
import pandas as pd

from lrs.config import StatisticsSection
from lrs.core.frames import most
from lrs.core.statistics import (
    bootstrap_interval,
    effective_sample_size,
    holm,
    mcnemar_exact,
    minimum_detectable_effect,
    shares_by,
    wilson_interval,
)
from lrs.method.arms import ARMS, STEERED
from lrs.tasks.behaviors import BEHAVIORS

POOLED = "pooled"
PRIMARY = {"benchmark": POOLED, "decoding": "greedy", "arm": "lrs"}
PRIMARY_REFERENCE = "base"

_APART = ["backbone", "split", "decoding"]  # never compared with one another
_NAME = ["backbone", "benchmark", "split", "decoding", "arm", "arm_group"]
_LEVEL = ["n", "seeds", "accuracy", "ci_low", "ci_high"]
_CONTRAST = ["delta", "delta_low", "delta_high", "wins", "losses", "p_mcnemar", "p_holm", "mde"]
RESULT_COLUMNS = [*_NAME, *_LEVEL, *_CONTRAST, "tokens", "truncated", "steered_fraction"]


def is_primary(table: pd.DataFrame) -> pd.Series:
    """Which rows of `compare_arms` are the contrasts declared beforehand, one a backbone."""
    return (table[list(PRIMARY)] == pd.Series(PRIMARY)).all(axis=1)


def significance(confidence_level: float) -> float:
    """What a p-value has to lie below: 1 less the level, without the noise of binary fractions (0.95 gives 0.05)."""
    return round(1 - confidence_level, 12)


def best_steered(rows: pd.DataFrame, gain: str) -> str | None:
    """The steered arm that gains most, the arm that wins; None where none gains.

    Args:
        rows: of one backbone and decoding, with a column `arm`.
        gain: the column that says what each gains.
    """
    gaining = rows[rows["arm"].isin(STEERED) & (rows[gain] > 0)]
    return None if gaining.empty else str(most(gaining, gain)["arm"])


def worded_arms(rows: pd.DataFrame, gain: str) -> list[str]:
    """The arms that are put into words where all have a row in a table: the paper's, and the one that wins.

    Args:
        rows, gain: as in `best_steered`.
    """
    named = dict.fromkeys([PRIMARY["arm"], best_steered(rows, gain) or PRIMARY["arm"]])
    return [arm for arm in named if arm in set(rows["arm"])]


def pair_arms(outcomes: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Correctness as 0/1, one row a (benchmark, problem, seed) and one column an arm, `reference` first."""
    arms = list(outcomes["arm"].unique())
    if reference not in arms:
        raise ValueError(f"no outcomes of the reference arm {reference!r}; arms found: {', '.join(arms)}")
    keys = ["benchmark", "problem_id", "seed"]
    if outcomes.duplicated([*keys, "arm"]).any():
        raise ValueError("an arm has more than one outcome for the same (problem, seed)")
    paired = outcomes.astype({"correct": float}).pivot(index=keys, columns="arm", values="correct")
    if missing := paired.isna().sum().loc[lambda counts: counts > 0].to_dict():
        faults = ", ".join(f"{arm} lacks {count} of {len(paired)}" for arm, count in missing.items())
        raise ValueError(f"arms do not cover the same (problem, seed) set: {faults}")
    return paired[[reference, *(arm for arm in arms if arm != reference)]]


Values = TypeVar("Values", pd.Series, pd.DataFrame)


def by_problem_means(values: Values) -> Values:
    """Means over seeds of a value a row of `pair_arms`."""
    return values.groupby(level=["benchmark", "problem_id"]).mean()


def bootstrap_by_problem(by_problem: pd.Series, statistics: StatisticsSection, seed: int) -> tuple[float, float]:
    """Interval of the mean of what `by_problem_means` returns; problems are resampled within their benchmark."""
    strata = by_problem.index.get_level_values("benchmark").to_numpy()
    level, resamples = statistics.confidence_level, statistics.bootstrap_resamples
    return bootstrap_interval(by_problem.to_numpy(), level, resamples, seed, strata)


def resampled(problems: pd.Index, resamples: int, seed: int) -> list[np.ndarray]:
    """How often each problem is drawn, (resamples, problems) a benchmark, in their order: the same for all that is
    compared on them.

    Args:
        problems: the index of what `by_problem_means` returns.
    """
    counts = problems.get_level_values("benchmark").value_counts().sort_index()
    return _draws(tuple(counts), resamples, seed)


@lru_cache(maxsize=4)
def _draws(counts: tuple[int, ...], resamples: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(float) for n in counts]


def mean_intervals(
    by_problem: pd.DataFrame, times: Sequence[np.ndarray], level: float
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals of the mean of each column of what `by_problem_means` returns.

    Args:
        times: of `resampled`.
    """
    parts = [part.to_numpy() for _, part in by_problem.groupby(level="benchmark")]
    drawn = sum(count @ part for count, part in zip(times, parts, strict=True)) / len(by_problem)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {str(name): (low[place], high[place]) for place, name in enumerate(by_problem)}


def paired_contrast(arm: pd.Series, base: pd.Series, statistics: StatisticsSection, seed: int) -> dict[str, float]:
    """The paired comparison of one arm with the reference, over the rows of `pair_arms`."""
    difference = arm - base
    delta = by_problem_means(difference)
    low, high = bootstrap_by_problem(delta, statistics, seed)
    return {
        "delta": delta.mean(),
        "delta_low": low,
        "delta_high": high,
        "wins": float((difference > 0).sum()),
        "losses": float((difference < 0).sum()),
        "p_mcnemar": mcnemar_exact((delta > 0).sum(), (delta < 0).sum()),
        "mde": minimum_detectable_effect(len(delta), (delta**2).mean(), statistics.confidence_level),
    }


def _summary(rows: pd.DataFrame, correct: pd.Series, statistics: StatisticsSection) -> dict[str, float]:
    """What one arm did, without regard to the others."""
    accuracy = by_problem_means(correct)
    seeds = rows["seed"].nunique()
    strata = accuracy.index.get_level_values("benchmark").to_numpy()
    size = len(accuracy) if seeds == 1 else effective_sample_size(accuracy.to_numpy(), len(rows), strata)
    low, high = wilson_interval(accuracy.mean() * size, size, statistics.confidence_level)
    processed = rows["processed_tokens"].sum()
    return {
        "n": len(accuracy),
        "seeds": seeds,
        "accuracy": accuracy.mean(),
        "ci_low": low,
        "ci_high": high,
        "tokens": rows["tokens"].mean(),
        "truncated": (rows["finish_reason"] == "truncated").mean(),
        "steered_fraction": rows["steered_tokens"].sum() / processed if processed else np.nan,
    }


def behavior_shares(outcomes: pd.DataFrame, confidence_level: float) -> pd.DataFrame:
    """Share of traces that show each behavior, with Wilson intervals over problems.

    Args:
        outcomes: one row a backbone x problem x arm x seed, with one count column a behavior.

    Returns:
        columns backbone, decoding, benchmark, arm, behavior, share, low, high, n (problems).
    """
    by = ["backbone", "decoding", "benchmark", "arm", "behavior"]
    counts = outcomes.melt([*by[:-1], "problem_id"], list(BEHAVIORS), var_name="behavior", value_name="count")
    return shares_by(counts.assign(shown=counts["count"] > 0), by, "shown", confidence_level)


def no_controls_where_many(table: pd.DataFrame, most: int) -> pd.DataFrame:
    """All rows; or, of more than `most` arms, those that are no controls."""
    if table["arm"].nunique() <= most:
        return table
    return table[[arm not in ARMS or ARMS[arm].group != "control" for arm in table["arm"]]]


def compare_arms(
    outcomes: pd.DataFrame, statistics: StatisticsSection, reference: str = "base", seed: int = 0
) -> pd.DataFrame:
    """Every arm against `reference` on the same problems and seeds, per benchmark and pooled over benchmarks.

    With several seeds, accuracy is avg@k and wins and losses count (problem, seed) pairs, but every interval and
    test has the problem as its unit: bootstraps are clustered over seeds, and `p_mcnemar` becomes the exact sign test
    of the per-problem differences (with one seed, that is exact McNemar on wins and losses). The interval of an
    accuracy is Wilson's: over problems with one seed, over the effective sample size with several, whose generations
    hang together by problem.
    Pooled rows weigh every problem equally; their bootstrap resamples within each benchmark.

    Holm's correction has two families. Primary, and declared beforehand, is `PRIMARY`, a contrast a backbone; every
    other contrast with `reference`, of every backbone and decoding, per benchmark and pooled, is secondary. The
    placebo's are in neither.

    Args:
        outcomes: one row a backbone x problem x arm x seed; backbones, splits and decodings are compared apart.
        seed: of the bootstrap.

    Returns:
        columns `RESULT_COLUMNS`; the reference's rows have NaN in delta, wins, losses and the tests.

    Raises:
        ValueError: `reference` is missing, or the arms do not cover the same (problem, seed) set.
    """
    records = []
    for apart, group in outcomes.groupby(_APART, sort=False):
        paired = pair_arms(group, reference)
        for benchmark in [*group["benchmark"].unique(), POOLED]:
            rows = group if benchmark == POOLED else group[group["benchmark"] == benchmark]
            pairs = paired if benchmark == POOLED else paired.xs(benchmark, drop_level=False)
            for arm in paired.columns:
                name = dict(zip(_APART, apart, strict=True)) | {"benchmark": benchmark, "arm": arm}
                name["arm_group"] = ARMS[arm].group if arm in ARMS else "control"
                summary = _summary(rows[rows["arm"] == arm], pairs[arm], statistics)
                contrast = {} if arm == reference else paired_contrast(pairs[arm], pairs[reference], statistics, seed)
                records.append(name | summary | contrast)
    table = pd.DataFrame(records).reindex(columns=RESULT_COLUMNS)
    tested = table["p_mcnemar"].where(table["arm_group"] != "placebo").astype(float)
    primary = is_primary(table) & (reference == PRIMARY_REFERENCE)  # no contrast with another arm was declared
    return table.assign(p_holm=tested.groupby(primary).transform(lambda family: holm(family.to_numpy())))
