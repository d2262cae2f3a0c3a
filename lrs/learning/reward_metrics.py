"""How well a reward model knows: over tokens, over traces, within problems, and along a trace."""

from typing import Any

import numpy as np
import pandas as pd

from lrs.core.frames import each_group
from lrs.core.statistics import auroc, auroc_interval, expected_calibration_error, within_group_auroc


def trace_scores(heldout: pd.DataFrame) -> pd.DataFrame:
    """A row a trace: problem_id, seed, correct, and the mean and the last of its tokens' probabilities."""
    ordered = heldout.sort_values(["problem_id", "seed", "position"])
    groups = ordered.groupby(["problem_id", "seed"], as_index=False)
    return groups.agg(correct=("correct", "first"), mean=("probability", "mean"), last=("probability", "last"))


def summarise(variant: str, heldout: pd.DataFrame) -> dict[str, Any]:
    """AUROC over tokens, over traces and within problems, and calibration error over tokens, on held-out problems."""
    traces = trace_scores(heldout)
    return {
        "variant": variant,
        "traces": len(traces),
        "tokens": len(heldout),
        "auroc_tokens": auroc(heldout["correct"].to_numpy(), heldout["probability"].to_numpy()),
        "auroc_traces": auroc(traces["correct"].to_numpy(), traces["mean"].to_numpy()),
        "auroc_last_token": auroc(traces["correct"].to_numpy(), traces["last"].to_numpy()),
        "auroc_within_problems": within_group_auroc(
            traces["correct"].to_numpy(), traces["mean"].to_numpy(), traces["problem_id"].to_numpy()
        ),
        "calibration_error": expected_calibration_error(
            heldout["correct"].to_numpy(), heldout["probability"].to_numpy()
        ),
    }


def auroc_by_position(
    variant: str, heldout: pd.DataFrame, bins: int = 10, resamples: int = 200, level: float = 0.95
) -> pd.DataFrame:
    """AUROC along a trace, by relative position, with percentile bootstrap intervals over problems.

    Returns:
        A row a bin that holds both classes: variant, position (centre of the bin, 0..1), n (problems), auroc, low,
        high.
    """
    relative = (heldout["position"] + 0.5) / heldout["length"]
    binned = heldout.assign(bin=np.minimum((relative * bins).astype(int), bins - 1))
    rows = []
    for number, tokens in each_group(binned, "bin"):
        correct, probability = tokens["correct"].to_numpy(), tokens["probability"].to_numpy()
        if correct.all() or not correct.any():
            continue
        problems = tokens["problem_id"].to_numpy()
        low, high = auroc_interval(correct, probability, problems, level, resamples, seed=int(number))
        centre = (number + 0.5) / bins
        row = {"variant": variant, "position": centre, "n": tokens["problem_id"].nunique()}
        rows.append(row | {"auroc": auroc(correct, probability), "low": low, "high": high})
    return pd.DataFrame(rows)


def cases_of(paths: pd.DataFrame) -> list[tuple[str, str, str]]:
    """What is worth looking at of each arm, by rule: the problem whose mean reward rises most from base to the arm, the
    first that was repaired, and the first that was broken, in the order of their ids.

    Args:
        paths: of `keep_paths` (`lrs/experiment/reward_paths.py`).

    Returns:
        Arm, title and problem_id of each, no problem twice for one arm.
    """
    cases = []
    for by, part in each_group(paths, "by", sort=False):
        means = part.assign(mean=part["rewards"].map(np.mean), steered=part["arm"] != "base")
        wide = means.pivot(index="problem_id", columns="steered", values="mean")
        found = {str((wide[True] - wide[False]).idxmax()): "largest rise of the reward"}
        for change in ("repaired", "broken"):
            for name in sorted(part.loc[part["change"] == change, "problem_id"])[:1]:
                found.setdefault(name, f"first {change}")
        cases += [(by, title, name) for name, title in found.items()]
    return cases
