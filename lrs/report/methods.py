"""What accuracy costs, steered or not: the table of `make rivals` with seconds, and p-values adjusted for all of it."""

import pandas as pd

from lrs.core.statistics import holm
from lrs.method.arms import ARMS, REWARDS

METHODS_COLUMNS = [
    *(
        "profile",
        "backbone",
        "device",
        "seed",
        "method",
        "attempts",
        "n",
        "accuracy",
        "low",
        "high",
        "tokens",
        "seconds",
    ),
    *("delta", "delta_low", "delta_high", "wins", "losses", "p_mcnemar", "p_holm"),
]


def methods_table(rivals: pd.DataFrame, costs: pd.DataFrame, profile: str, backbone: str, seed: int) -> pd.DataFrame:
    """The rivals of one backbone of a profile, whoever reads it.

    Args:
        rivals: of `lrs.bench.rivals.compare_rivals`.
        costs: of `make bench`: the speed of each path on this backbone.

    Returns:
        columns `METHODS_COLUMNS`: `seconds` a problem are tokens over the speed of the path that writes them, as
        measured with rows side by side (what ranking or voting takes is not in it); `p_holm` is adjusted over all
        methods beside one attempt.
    """
    own = costs[costs["model"] == backbone].set_index("path")
    speed = own["tokens_per_s"][[_path_of(method) for method in rivals["method"]]].to_numpy()
    table = rivals.assign(profile=profile, backbone=backbone, seed=seed, device=own["device"].iloc[0])
    table["seconds"] = table["tokens"] / speed
    others = table["method"] != "one"
    table["p_holm"] = pd.Series(holm(table.loc[others, "p_mcnemar"].to_numpy()), table.index[others])
    return table[METHODS_COLUMNS]


def _path_of(method: str) -> str:
    """That writes the tokens of a method: an arm and its decoding, or attempts of the unsteered model."""
    arm = ARMS.get(method.rpartition(", ")[0])
    if arm is None or not arm.reward:
        return "unsteered"
    return "lrs_history" if REWARDS[arm.reward].variant == "history" else "lrs_token"
