"""Arms: the methods that are compared, each defined by its reward and by whether it has a gate."""

from lrs.method.setting import Arm

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
