"""What was read along traces, as means: rewards, gates and pushes by tenth of a trace, and heads that read them."""

import numpy as np
import pandas as pd

from lrs.config import StatisticsSection
from lrs.core.statistics import bootstrap_interval

_PLACES = 10  # that a trace is cut into


def cases_of(paths: pd.DataFrame, arm: str) -> list[tuple[str, str]]:
    """What is worth looking at, by rule: the problem whose mean reward rises most from base to the arm, the first that
    was repaired and the first that was broken, in the order of their ids.

    Args:
        paths: of `keep_paths` (`lrs/experiment/reward_paths.py`).

    Returns:
        Title and problem_id of each, no problem twice.
    """
    if paths.empty:
        return []
    means = paths.assign(mean=paths["rewards"].map(np.mean)).pivot(index="problem_id", columns="arm", values="mean")
    found = [("largest rise of the reward", str((means[arm] - means["base"]).idxmax()))]
    for change in ("repaired", "broken"):
        ids = sorted(paths.loc[paths["change"] == change, "problem_id"])
        found += [(f"first {change}", name) for name in ids[:1]]
    return [case for place, case in enumerate(found) if case[1] not in [name for _, name in found[:place]]]


def path_means(paths: pd.DataFrame, statistics: StatisticsSection, seed: int = 0) -> pd.DataFrame:
    """Mean rewards over problems, by tenth of the trace.

    Args:
        paths: of `keep_paths` (`lrs/experiment/reward_paths.py`).

    Returns:
        A row a change, arm and place (1 to 10): mean, its bootstrap interval low and high over problems, n.
    """
    tables = [
        along(group["rewards"], statistics, seed).assign(change=str(change), arm=str(arm))
        for (change, arm), group in paths.groupby(["change", "arm"], sort=False)
    ]
    return pd.concat([table for table in tables if len(table)], ignore_index=True) if tables else pd.DataFrame()


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
