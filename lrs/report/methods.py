"""What accuracy costs, steered or not: the table of `make rivals` with seconds, and p-values adjusted for all of it."""

import pandas as pd

from lrs.config import Config
from lrs.core.statistics import holm, minimum_detectable_effect
from lrs.method.arms import ARMS, REWARDS
from lrs.report.comparison import POOLED

GUIDED = "guided by "  # before the name of a reward: the method that `lrs.bench.guided` measures
METHODS_COLUMNS = [
    *("profile", "device", "backbone", "benchmark", "split", "decoding", "seed", "method", "arm_group", "attempts"),
    *("n", "seeds", "accuracy", "ci_low", "ci_high", "delta", "delta_low", "delta_high", "wins", "losses"),
    *("p_mcnemar", "p_holm", "mde", "tokens", "truncated", "steered_fraction", "seconds", "speed_device"),
]


def methods_table(rivals: pd.DataFrame, costs: pd.DataFrame, config: Config, backbone: str) -> pd.DataFrame:
    """The rivals of one backbone of a profile, whoever reads it.

    Args:
        rivals: of `lrs.bench.rivals.measure_rivals`.
        costs: of `make bench`: the speed of each path on this backbone.
        config: of the profile.

    Returns:
        columns `METHODS_COLUMNS`: `decoding` is sampled but of greedy answers; `arm_group` is rival of what is no arm;
        `seeds` is one (of several attempts, the one that is chosen); `seconds` a problem are tokens over the speed, on
        `speed_device`, of the path that writes them, with rows side by side (what voting or ranking takes is not in it;
        none where no path like it was measured); `p_holm` is adjusted over all methods beside one attempt.
    """
    own = costs[costs["model"] == backbone].set_index("path")
    speed = own["tokens_per_s"].reindex([_path_of(method) for method in rivals["method"]])
    table = rivals.rename(columns={"low": "ci_low", "high": "ci_high"})
    table = table.assign(profile=config.profile, backbone=backbone, benchmark=POOLED, split="test")
    table = table.assign(seed=config.seed, speed_device=", ".join(own["device"].unique()))
    table["decoding"] = ["greedy" if method.endswith(", greedy") else "sampled" for method in table["method"]]
    table["seconds"] = table["tokens"] / speed.to_numpy()
    arms = [ARMS.get("base" if method == "one" else method.rpartition(", ")[0]) for method in table["method"]]
    table = table.assign(seeds=1, arm_group=[arm.group if arm else "rival" for arm in arms])
    discordant, level = (table["wins"] + table["losses"]) / table["n"], config.statistics.confidence_level
    table["mde"] = [minimum_detectable_effect(n, s, level) for n, s in zip(table["n"], discordant, strict=True)]
    others = table["method"] != "one"
    table["p_holm"] = pd.Series(holm(table.loc[others, "p_mcnemar"].to_numpy()), table.index[others])
    return table.reindex(columns=METHODS_COLUMNS)  # of earlier tables, some have no truncated and steered_fraction


def _path_of(method: str) -> str:
    """The path of `make bench` that writes the tokens of a method: an arm and its decoding, or attempts of a model that
    is not steered. Where every token is pushed, the one on which every row ascends."""
    if method.startswith(GUIDED):
        return "not measured"  # every block reads what was written before it again, four times and for the reward
    arm = ARMS.get(method.rpartition(", ")[0])
    if arm is None or not arm.reward:
        return "unsteered"
    variant = REWARDS[arm.reward].variant
    if variant in ("potential", "free") and not arm.gated:
        return "lrs_slope"  # a free push is as many multiplications, and no gradient
    path = {"token": "lrs_token", "linear": "lrs_token", "history": "lrs_history"}.get(variant, "not measured")
    return path if arm.gated else f"{path}_all_rows"
