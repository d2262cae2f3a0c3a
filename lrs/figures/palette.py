"""One colour and one name a thing, in every figure.

The first colours are Okabe and Ito's, which colour-blind readers can tell apart. There are more arms than these: where
many are in one panel, each has a line of its own on the axis, or a look of its own beside its colour.
"""

import re
from collections.abc import Iterable
from itertools import cycle, product
from typing import Literal

from lrs.tasks.behaviors import BACKTRACKING, BACKWARD_CHAINING, BEHAVIORS, SUBGOAL_SETTING, VERIFICATION

Dashes = Literal["-", "--", ":", "-."]
_AGAIN = re.compile(r"_([2-9]|tuned)$")  # of a control that is drawn several times, or tuned

BLACK, GREY, LIGHT = "#222222", "#777777", "#bbbbbb"
ORANGE, SKY, GREEN = "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"

ARM_COLORS = {
    "base": BLACK,
    "cot": SKY,
    "few_shot": VERMILLION,
    "lrs_published": PURPLE,
    "lrs_basic": ORANGE,
    "lrs": BLUE,
    "lrs_history": GREEN,
    "mean_difference": "#F0E442",
    "lrs_advantage": "#6699CC",
    "lrs_advantage_history": "#332288",
    "lrs_pairwise": "#117733",
    "lrs_pairwise_history": "#661100",
    "lrs_causal": "#882255",
    "lrs_causal_history": "#663377",
    "lrs_causal_gated": "#AA4499",
    "lrs_slope": "#EE3377",
    "trained_constant": "#999933",
    "negated": "#DDCC77",
    "random": "#44AA99",
    "random_fresh": "#2A7F74",
    "random_outside": "#77CCBB",
    "random_fresh_outside": "#5FA89B",
    "lrs_negated": "#BBAA55",
    "slope_mean": "#FF99BB",
    "slope_negated": "#BB5577",
    "slope_turned": "#AA7788",
    "causal_turned": "#96647D",
    "slope_along": "#CC9977",
    "slope_even": "#99AA55",
    "lrs_along": "#77AACC",
    "causal_along": "#AA6688",
    "free_mean_along": "#8FB339",
    "lrs_turned": "#5588AA",
    "free_turned": "#77AA77",
    "free_negated": "#5C8A5C",
    "untrained": "#225555",
    "gate_reward": "#88CCEE",
    "gate_confidence": "#4477AA",
    "gate_certainty": "#336699",
    "gate_fifth": "#224466",
    "gate_stability": "#99BBDD",
    "gate_lot": "#667788",
    "causal_gate_reward": "#CC6677",
    "causal_gate_confidence": "#EE99AA",
    "causal_gate_certainty": "#994455",
    "causal_gate_fifth": "#661122",
    "causal_gate_stability": "#EE8866",
    "causal_gate_lot": "#8C8C6B",
    "free_push": "#228833",
    "free_mean": "#BBCC33",
    "free_rest": "#44BB99",
    "free_along": "#6A9A1F",
    "free_gated": "#4B6F14",
    "free_constant": "#AAAA00",
    "raw_free_push": "#66CCEE",
    "shuffled": "#BBBBBB",
    "causal_shuffled": "#A89AA4",
    "random_sae": "#999999",
    "pca": "#AA7744",
    "raw": "#774411",
    "slope_random_sae": "#AA99A2",
    "slope_pca": "#B08A66",
    "slope_raw": "#8A5A33",
    "caa": "#CCBB44",
    "cast": "#EEDD88",
    "reinforced": "#AA3377",
    "adapter": "#005F73",
    "repaired": "#CC3311",
    "patch": "#555555",
}
ARM_LABELS = {
    "base": "Base",
    "cot": "CoT",
    "few_shot": "few-shot",
    "lrs_published": "LRS (published)",
    "lrs_basic": "LRS-Basic",
    "lrs": "LRS",
    "lrs_history": "LRS (history)",
    "mean_difference": "mean difference",
    "lrs_advantage": "LRS, advantage",
    "lrs_advantage_history": "LRS, advantage (history)",
    "lrs_pairwise": "LRS, pairwise",
    "lrs_pairwise_history": "LRS, pairwise (history)",
    "lrs_causal": "LRS, causal reward",
    "lrs_causal_history": "LRS, causal (history)",
    "lrs_causal_gated": "LRS, causal, gated",
    "lrs_slope": "LRS, up the slope",
    "trained_constant": "trained constant",
    "negated": "causal, negated",
    "random": "random direction",
    "random_fresh": "random at each state",
    "random_outside": "random, outside the span",
    "random_fresh_outside": "random at each state, outside",
    "lrs_negated": "LRS, negated",
    "slope_mean": "up the slope, its mean alone",
    "slope_negated": "down the slope",
    "slope_turned": "up the slope, turned by lot",
    "causal_turned": "causal, turned by lot",
    "slope_along": "lengths of the slope alone",
    "slope_even": "directions of the slope alone",
    "lrs_along": "LRS, its mean direction",
    "causal_along": "causal, its mean direction",
    "free_mean_along": "free push, its mean direction",
    "lrs_turned": "LRS, turned by lot",
    "free_turned": "free push, turned by lot",
    "free_negated": "free push, the other way",
    "untrained": "untrained reward",
    "gate_reward": "LRS, gated by reward",
    "gate_confidence": "LRS, gated by confidence",
    "gate_certainty": "LRS, gated by certainty",
    "gate_fifth": "LRS, least certain fifth",
    "gate_stability": "LRS, gated by stability",
    "gate_lot": "LRS, gated by lot",
    "causal_gate_reward": "causal, gated by reward",
    "causal_gate_confidence": "causal, gated by confidence",
    "causal_gate_certainty": "causal, gated by certainty",
    "causal_gate_fifth": "causal, least certain fifth",
    "causal_gate_stability": "causal, gated by stability",
    "causal_gate_lot": "causal, gated by lot",
    "free_push": "free push",
    "free_mean": "free push, its mean alone",
    "free_rest": "free push without its mean",
    "free_along": "one vector, its length reads",
    "free_gated": "one vector, a gate reads",
    "free_constant": "constant of free length",
    "raw_free_push": "free push, raw residual",
    "shuffled": "LRS, shuffled labels",
    "causal_shuffled": "causal, shuffled outcomes",
    "random_sae": "LRS, random SAE",
    "pca": "LRS, principal components",
    "raw": "LRS, raw residual",
    "slope_random_sae": "up the slope, random SAE",
    "slope_pca": "up the slope, principal components",
    "slope_raw": "up the slope, raw residual",
    "caa": "mean difference, raw (CAA)",
    "cast": "conditional CAA (CAST)",
    "adapter": "adapters (LoRA)",
    "repaired": "first wrong step repaired",
    "patch": "patch at the fork",
}
REWARD_COLORS = {  # of the arm that climbs it
    "token": ARM_COLORS["lrs"],
    "history": ARM_COLORS["lrs_history"],
    "causal": ARM_COLORS["lrs_causal"],
    "causal_history": ARM_COLORS["lrs_causal_history"],
    "causal_shuffled": ARM_COLORS["causal_shuffled"],
    "slope": ARM_COLORS["lrs_slope"],
    **{f"slope_{basis}": ARM_COLORS[f"slope_{basis}"] for basis in ("random_sae", "pca", "raw")},
    "constant": ARM_COLORS["trained_constant"],
    "free": ARM_COLORS["free_push"],
    "raw_free": ARM_COLORS["raw_free_push"],
    "free_along": ARM_COLORS["free_along"],
    "free_gated": ARM_COLORS["free_gated"],
    "free_constant": ARM_COLORS["free_constant"],
}
PATH_COLORS = {
    "hf_generate": GREY,
    "unsteered": ARM_COLORS["base"],
    "lrs_token": REWARD_COLORS["token"],
    "lrs_history": REWARD_COLORS["history"],
    "lrs_slope": REWARD_COLORS["slope"],
    **dict.fromkeys(("lrs_token_all_rows", "lrs_history_all_rows"), GREY),
    "naive": ARM_COLORS["lrs_published"],
    "naive_history": ARM_COLORS["lrs_published"],
}
PATH_LABELS = {
    "hf_generate": "transformers generate",
    "unsteered": "our loop, unsteered",
    "lrs_token": ARM_LABELS["lrs"],
    "lrs_history": ARM_LABELS["lrs_history"],
    "lrs_slope": ARM_LABELS["lrs_slope"],
    "lrs_token_all_rows": "LRS, all rows ascend",
    "lrs_history_all_rows": "LRS (history), all rows ascend",
    "naive": "published loop",
    "naive_history": "published loop, whole history",
}
BEHAVIOR_COLORS = {VERIFICATION: BLUE, BACKTRACKING: VERMILLION, SUBGOAL_SETTING: GREEN, BACKWARD_CHAINING: PURPLE}
_LOOKS = tuple((marker, filled) for filled, marker in product((True, False), "os^DvPX<>phd"))
_DASHES: tuple[Dashes, ...] = ("-", "--", ":", "-.")
BEHAVIOR_MARKERS = {VERIFICATION: "o", BACKTRACKING: "s", SUBGOAL_SETTING: "^", BACKWARD_CHAINING: "D"}
BEHAVIOR_LABELS = {behavior: behavior.replace("_", " ") for behavior in BEHAVIORS}
CORRECT_COLORS = {True: BLUE, False: VERMILLION}
CORRECT_LABELS = {True: "correct", False: "wrong"}


def arm_color(arm: str) -> str:
    """The colour of an arm; those that have none are grey; all draws of a control, and what tuning makes of it, are
    alike."""
    return ARM_COLORS.get(arm, ARM_COLORS.get(_AGAIN.sub("", arm), GREY))


def arm_label(arm: str) -> str:
    """The name of an arm as printed."""
    first, how = _AGAIN.sub("", arm), arm.rpartition("_")[2]
    if arm not in ARM_LABELS and first in ARM_LABELS:
        return f"{ARM_LABELS[first]}, {how if how == 'tuned' else f'draw {how}'}"
    return ARM_LABELS.get(arm, arm.replace("_", " "))


def looks_of(names: Iterable[str]) -> dict[str, tuple[str, bool]]:
    """A marker for each name, and whether it is filled: what tells them apart beside their colours."""
    return dict(zip(names, cycle(_LOOKS), strict=False))


def dashes_of(names: Iterable[str]) -> dict[str, Dashes]:
    """A style of line for each name, as `looks_of`."""
    return dict(zip(names, cycle(_DASHES), strict=False))
