"""What was read along traces, as means: rewards, gates and pushes by tenth of a trace, and heads that read them."""

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from lrs.config import StatisticsSection
from lrs.core.frames import each_group
from lrs.core.statistics import bootstrap_interval

_PLACES = 10  # that a trace is cut into
_PATH = ["by", "change", "arm"]
END_COLUMNS = ["by", "change", "arm", "n", "before", "end", "fall", "low", "high"]
HALF_COLUMNS = ["half", "n_right", "n_wrong", "right", "wrong", "difference", "low", "high"]
_LAST, _BEFORE = slice(0, 3), slice(10, 20)  # tokens, counted from the end


def path_means(paths: pd.DataFrame, statistics: StatisticsSection, seed: int = 0) -> pd.DataFrame:
    """Mean rewards over problems, by tenth of the trace.

    Args:
        paths: of `keep_paths` (`lrs/experiment/reward_paths.py`).

    Returns:
        A row an arm that changed answers (by), change, arm and place (1 to 10): mean, its bootstrap interval low and
        high over problems, n.
    """
    tables = [
        along(group["rewards"], statistics, seed).assign(**dict(zip(_PATH, map(str, name), strict=True)))
        for name, group in paths.groupby(_PATH, sort=False)
    ]
    return pd.concat([table for table in tables if len(table)], ignore_index=True) if tables else pd.DataFrame()


def reward_ends(paths: pd.DataFrame, statistics: StatisticsSection, seed: int = 0) -> pd.DataFrame:
    """The cliff before the end, if there is one: the reward at the last tokens beside that at those before.

    Args:
        paths: of `keep_paths` (`lrs/experiment/reward_paths.py`).

    Returns:
        A row an arm that changed answers (by), change and arm with two problems whose answers are long enough: columns
        `END_COLUMNS`: n (problems), before (mean reward at the 11th to 20th last token), end (at the last three), fall
        (end less before, negative where the reward falls) with its bootstrap interval low and high.
    """
    rows = []
    for name, group in each_group(paths, _PATH, sort=False):
        long = [np.asarray(rewards) for rewards in group["rewards"] if len(rewards) >= _BEFORE.stop]
        if len(long) > 1:
            before, end = (np.array([r[::-1][part].mean() for r in long]) for part in (_BEFORE, _LAST))
            low, high = bootstrap_interval(
                end - before, statistics.confidence_level, statistics.bootstrap_resamples, seed
            )
            row = dict(zip(_PATH, name, strict=True)) | {"n": len(long), "before": before.mean(), "end": end.mean()}
            rows.append(row | {"fall": (end - before).mean(), "low": low, "high": high})
    return pd.DataFrame(rows).reindex(columns=END_COLUMNS)


def instability_halves(paths: pd.DataFrame, statistics: StatisticsSection, seed: int = 0) -> pd.DataFrame:
    """Early against late instability of base's traces, of those that end wrong against those that end right.

    Args:
        paths: of `keep_push_paths` (`lrs/experiment/push_paths.py`).

    Returns:
        A row a half, columns `HALF_COLUMNS`: wrong and right (nats, means over traces of two tokens or more), their
        difference with its bootstrap interval low and high (both groups resampled; empty where one has fewer than two
        traces), n_wrong and n_right.
    """
    first, rows = paths[paths["arm"] == paths["arm"].iloc[0]], []
    first = first[first["instability"].map(len) > 1]
    halves = first["instability"].map(lambda values: [part.mean() for part in np.array_split(np.asarray(values), 2)])
    for place, half in enumerate(("first", "second")):
        means = halves.map(lambda parts, place=place: parts[place])
        right, wrong = (means[first["correct"].to_numpy() == flag].to_numpy() for flag in (True, False))
        row = {"half": half, "n_right": len(right), "n_wrong": len(wrong)}
        if len(right) > 1 and len(wrong) > 1:
            found = bootstrap(
                (wrong, right),
                lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
                confidence_level=statistics.confidence_level,
                n_resamples=statistics.bootstrap_resamples,
                method="percentile",
                random_state=np.random.default_rng(seed),
            ).confidence_interval
            row |= {"right": right.mean(), "wrong": wrong.mean(), "difference": wrong.mean() - right.mean()}
            row |= {"low": found.low, "high": found.high}
        rows.append(row)
    return pd.DataFrame(rows).reindex(columns=HALF_COLUMNS)


def push_means(paths: pd.DataFrame, statistics: StatisticsSection, seed: int = 0) -> pd.DataFrame:
    """Means over traces of what happens by tenth of the trace, with bootstrap intervals.

    Args:
        paths: of `keep_push_paths` (`lrs/experiment/push_paths.py`).

    Returns:
        A row a quantity, line and place (1 to 10): mean, low, high, n. Quantities: `gate` (share of the tokens pushed)
        and `push` (of the residual stream, over all tokens) with an arm as line; `instability`, with `right` or `wrong`
        (what base answered).
    """
    first = paths[paths["arm"] == paths["arm"].iloc[0]]
    lines = [("instability", "right" if right else "wrong", part) for right, part in first.groupby("correct")]
    tables = [along(part["instability"], statistics, seed).assign(quantity=q, line=line) for q, line, part in lines]
    for arm, part in paths.groupby("arm", sort=False):
        fired = part["push"].map(lambda values: np.asarray(values) > 0)
        for quantity, values in (("gate", fired), ("push", part["push"])):
            tables.append(along(values, statistics, seed).assign(quantity=quantity, line=str(arm)))
    return pd.concat(tables, ignore_index=True)


def head_means(paths: pd.DataFrame, layer: int) -> pd.DataFrame:
    """How much a push changes each head above the steered layer.

    Args:
        paths: of `keep_push_paths` (`lrs/experiment/push_paths.py`).

    Returns:
        A row an arm, layer and head: change, the mean over traces of what `keep_push_paths` tells; n (traces).
    """
    rows = []
    for arm, part in paths.groupby("arm", sort=False):
        means = np.mean(np.stack(part["heads"].map(np.asarray).tolist()), axis=0)
        shape = int(part["layers"].iloc[0]), int(part["heads_each"].iloc[0])
        for (above, head), change in np.ndenumerate(means.reshape(shape)):
            rows.append({"arm": arm, "layer": layer + 1 + above, "head": head, "change": change, "n": len(part)})
    return pd.DataFrame(rows)


def along(values: pd.Series, statistics: StatisticsSection, seed: int) -> pd.DataFrame:
    """Means over traces by tenth of the trace, of a sequence a trace; those of fewer than ten values are left out.

    Returns:
        A row a place (1 to 10): mean, its bootstrap interval low and high over traces, n; none without a trace.
    """
    cut = [np.array_split(one, _PLACES) for one in values if len(one) >= _PLACES]
    rows = []
    for place in range(_PLACES if cut else 0):
        means = np.array([parts[place].mean() for parts in cut])
        low, high = bootstrap_interval(means, statistics.confidence_level, statistics.bootstrap_resamples, seed)
        rows.append({"place": place + 1, "n": len(means), "mean": means.mean(), "low": low, "high": high})
    return pd.DataFrame(rows)
