"""Arms: the methods that are compared, each defined by its reward and by whether it has a gate."""

from collections.abc import Iterable

from lrs.method.setting import BEGINS_AS, REWARDS, Arm

ARMS = {
    arm.name: arm
    for arm in (
        Arm("base", "baseline"),
        Arm("placebo", "placebo"),  # base in batches of another shape: what rounding alone does
        Arm("cot", "prompting", prompt="instructed"),
        Arm("few_shot", "prompting", prompt="examples"),
        Arm("lrs_basic", "method", reward="token"),
        Arm("lrs", "method", reward="token", gated=True),
        Arm("lrs_history", "method", reward="history", gated=True),
        Arm("lrs_advantage", "method", reward="advantage"),
        Arm("lrs_advantage_history", "method", reward="advantage_history"),
        Arm("lrs_pairwise", "method", reward="pairwise"),
        Arm("lrs_pairwise_history", "method", reward="pairwise_history"),
        Arm("lrs_causal", "method", reward="causal"),
        Arm("lrs_causal_gated", "method", reward="causal", gated=True),
        Arm("trained_constant", "control", reward="constant"),  # the honest rival of "state-specific"
        Arm("negated", "control", reward="causal", descends=True, matches="lrs_causal"),
        Arm(
            "random", "control", reward="random", matches="lrs_causal"
        ),  # a direction drawn by lot, in the decoder's span
        Arm("mean_difference", "control", reward="linear"),  # one constant push: right minus wrong, on average
    )
}
STEERED = tuple(name for name, arm in ARMS.items() if arm.reward)


SHOWN = ("token", "history", "causal")  # rewards that every profile trains: its notebooks show them


def rewards_for(arms: Iterable[str], shown: Iterable[str] = SHOWN) -> list[str]:
    """The rewards that arms climb, those they begin as, and those `shown`, in the order of their making."""
    climbed = {*shown, *(ARMS[arm].reward for arm in arms)} - {None}
    needed = climbed | {BEGINS_AS[name] for name in climbed & set(BEGINS_AS)}
    return [name for name in REWARDS if name in needed]
