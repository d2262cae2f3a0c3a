"""Arms: the methods that are compared, each defined by its reward and by whether it has a gate; and these rewards."""

from collections.abc import Iterable, Mapping
from typing import get_args

from lrs.method.setting import Arm, Basis, RewardKind, Signal

DRAWS = ("", "_2", "_3", "_4", "_5")  # of controls that are drawn by lot: what their names end in
OTHER_BASES: tuple[Basis, ...] = ("random_sae", "pca", "raw")  # controls for what the autoencoder adds

REWARDS = {
    "token": RewardKind("token", "bce"),  # the paper's
    "history": RewardKind("history", "bce"),
    "advantage": RewardKind("token", "advantage"),
    "advantage_history": RewardKind("history", "advantage"),
    "pairwise": RewardKind("token", "pairwise"),
    "pairwise_history": RewardKind("history", "pairwise"),
    **{f"shuffled{draw}": RewardKind("token", "shuffled", draw=index) for index, draw in enumerate(DRAWS)},
    "published": RewardKind("published", "unmasked", "projections"),  # as released
    "random_sae": RewardKind("token", "bce", "random_sae"),
    "pca": RewardKind("token", "bce", "pca"),
    "raw": RewardKind("token", "bce", "raw"),
    "linear": RewardKind("linear", "means"),
    "raw_linear": RewardKind("linear", "means", "raw"),
    **{f"random{draw}": RewardKind("linear", "lot", draw=index) for index, draw in enumerate(DRAWS)},
    **{f"fresh{draw}": RewardKind("fresh", "lot", draw=index) for index, draw in enumerate(DRAWS)},
    **{f"outside{draw}": RewardKind("linear", "lot", "outside", draw=index) for index, draw in enumerate(DRAWS)},
    **{f"fresh_outside{draw}": RewardKind("fresh", "lot", "outside", draw=index) for index, draw in enumerate(DRAWS)},
    "untrained": RewardKind("token", "lot"),
    "causal": RewardKind("token", "push", begins_as="token"),
    "causal_history": RewardKind("history", "push", begins_as="history"),
    **{
        f"causal_shuffled{draw}": RewardKind("token", "dealt", begins_as=f"shuffled{draw}", draw=index)
        for index, draw in enumerate(DRAWS)
    },
    "slope": RewardKind("potential", "push"),
    **{f"slope_{basis}": RewardKind("potential", "push", basis) for basis in OTHER_BASES},
    "constant": RewardKind("linear", "push", begins_as="linear"),
    "free": RewardKind("free", "push"),
    "free_along": RewardKind("along", "push"),
    "free_gated": RewardKind("gated", "push"),
    "free_constant": RewardKind("shift", "push"),
    "token_mean": RewardKind("shift", "mean", begins_as="token"),
    "causal_mean": RewardKind("shift", "mean", begins_as="causal"),
    "free_mean": RewardKind("shift", "mean", begins_as="free"),
    "free_rest": RewardKind("free", "rest", begins_as="free"),
    "slope_mean": RewardKind("shift", "mean", begins_as="slope"),
    "slope_level": RewardKind("shift", "level", begins_as="slope"),  # nothing but as long as its pushes on average
    "raw_free": RewardKind("free", "push", "raw"),
}

_ARMS = {
    arm.name: arm
    for arm in (
        Arm("base", "baseline"),
        Arm("placebo", "placebo"),  # base in batches of another shape: what rounding alone does
        Arm("cot", "prompting", prompt="instructed"),
        Arm("few_shot", "prompting", prompt="examples"),
        Arm("lrs_basic", "method", reward="token"),
        Arm("lrs", "method", reward="token", gated=True),
        Arm("lrs_history", "method", reward="history", gated=True),
        Arm("lrs_published", "method", reward="published", gated=True, thresholds=(0.9, 0.72)),
        Arm("lrs_advantage", "method", reward="advantage"),
        Arm("lrs_advantage_history", "method", reward="advantage_history"),
        Arm("lrs_pairwise", "method", reward="pairwise"),
        Arm("lrs_pairwise_history", "method", reward="pairwise_history"),
        Arm("lrs_causal", "method", reward="causal"),
        Arm("lrs_causal_history", "method", reward="causal_history"),
        Arm("lrs_causal_gated", "method", reward="causal", gated=True),
        Arm("lrs_slope", "method", reward="slope"),  # steps as long as the reward is steep
        Arm("gate_reward", "control", reward="token", gated="reward"),  # the paper's ablations of its gate
        Arm("gate_confidence", "control", reward="token", gated="confidence"),
        Arm("gate_certainty", "control", reward="token", gated="certainty"),
        Arm("gate_fifth", "control", reward="token", gated="certainty", fires=0.2),  # entropy's top fifth
        Arm("gate_stability", "control", reward="token", gated="stability"),
        Arm("gate_lot", "control", reward="token", gated="lot"),
        Arm("causal_gate_reward", "control", reward="causal", gated="reward"),
        Arm("causal_gate_confidence", "control", reward="causal", gated="confidence"),
        Arm("causal_gate_certainty", "control", reward="causal", gated="certainty"),
        Arm("causal_gate_fifth", "control", reward="causal", gated="certainty", fires=0.2),
        Arm("causal_gate_stability", "control", reward="causal", gated="stability"),
        Arm("causal_gate_lot", "control", reward="causal", gated="lot"),
        Arm("free_push", "control", reward="free"),  # what the dictionary's span has to give
        Arm("free_mean", "control", reward="free_mean", matches="free_push"),  # the same everywhere,
        Arm("free_rest", "control", reward="free_rest", matches="free_push"),  # and what is left without it
        Arm("free_mean_along", "control", reward="free_mean", paced="free", matches="free_push"),
        Arm("lrs_along", "control", reward="token_mean", gated=True, paced="token", matches="lrs"),
        Arm("causal_along", "control", reward="causal_mean", paced="causal", matches="lrs_causal"),
        Arm("slope_mean", "control", reward="slope_mean", matches="lrs_slope"),
        Arm("slope_along", "control", reward="slope_mean", paced="slope", matches="lrs_slope"),  # its lengths alone,
        Arm("slope_even", "control", reward="slope", paced="slope_level", matches="lrs_slope"),  # its directions alone
        Arm("free_along", "control", reward="free_along"),  # one vector, trained, whose length alone reads the state
        Arm("free_gated", "control", reward="free_gated"),  # one vector and a gate, trained together
        Arm("free_constant", "control", reward="free_constant"),  # one push, trained, as long as it likes
        Arm("raw_free_push", "control", reward="raw_free"),  # what the layer has to give
        Arm("trained_constant", "control", reward="constant"),  # the honest rival of a reward's "state-specific" steps
        Arm("lrs_negated", "control", reward="token", gated=True, descends=True, matches="lrs"),
        Arm("negated", "control", reward="causal", descends=True, matches="lrs_causal"),
        Arm("slope_negated", "control", reward="slope", descends=True, matches="lrs_slope"),
        Arm("free_negated", "control", reward="free", descends=True, matches="free_push"),
        # Drawn by lot, in the decoder's span; the same with the gate of another arm, and as far at each token; and in
        # what the decoder cannot write.
        *(Arm(f"random{n}", "control", reward=f"random{n}", matches="lrs_causal") for n in DRAWS),
        *(Arm(f"random_fresh{n}", "control", reward=f"fresh{n}", matches="lrs_causal") for n in DRAWS),
        *(Arm(f"lrs_turned{n}", "control", f"random{n}", gated=True, paced="token", matches="lrs") for n in DRAWS),
        *(Arm(f"causal_turned{n}", "control", f"random{n}", paced="causal", matches="lrs_causal") for n in DRAWS),
        *(Arm(f"slope_turned{n}", "control", f"random{n}", paced="slope", matches="lrs_slope") for n in DRAWS),
        *(Arm(f"free_turned{n}", "control", f"random{n}", paced="free", matches="free_push") for n in DRAWS),
        *(Arm(f"random_outside{n}", "control", f"outside{n}", matches="lrs_causal") for n in DRAWS),
        *(Arm(f"random_fresh_outside{n}", "control", f"fresh_outside{n}", matches="lrs_causal") for n in DRAWS),
        Arm("untrained", "control", reward="untrained", matches="lrs_causal"),  # by lot too, but the state's own
        *(Arm(f"shuffled{n}", "control", reward=f"shuffled{n}", gated=True) for n in DRAWS),
        *(Arm(f"causal_shuffled{n}", "control", reward=f"causal_shuffled{n}") for n in DRAWS),
        Arm("random_sae", "control", reward="random_sae", gated=True),
        Arm("pca", "control", reward="pca", gated=True),
        Arm("raw", "control", reward="raw", gated=True),  # the gradient of a value on the raw state, as in RE-Control
        *(Arm(f"slope_{basis}", "control", reward=f"slope_{basis}") for basis in OTHER_BASES),
        Arm("mean_difference", "control", reward="linear"),  # one constant push: right minus wrong, on average
        Arm("caa", "control", reward="raw_linear"),  # the same on the raw state: contrastive activation addition
        Arm("cast", "control", reward="raw_linear", gated="reward"),  # where the state lies low along it, as in CAST
    )
}
# Controls that take the settings of what they match, once more: with settings of their own choice, under the same cap.
_TO_TUNE = (
    *("slope_mean", "slope_along", "slope_negated", "random", "slope_turned", "free_mean", "negated", "lrs_negated"),
    *("free_negated", "random_fresh", "random_outside", "random_fresh_outside"),
    *("lrs_turned", "causal_turned", "free_turned"),
)
TUNED = {f"{name}_tuned": name for name in _TO_TUNE}
ARMS = _ARMS | {name: _ARMS[fixed]._replace(name=name, matches=None) for name, fixed in TUNED.items()}
STEERED = tuple(name for name, arm in ARMS.items() if arm.reward)

SHOWN = ("token", "history", "causal")  # rewards that every profile trains: its notebooks show them


def rewards_for(arms: Iterable[str], shown: Iterable[str] = SHOWN) -> dict[str, RewardKind]:
    """The rewards that arms steer by, those they begin as, and those `shown`, by name, in the order of their making."""
    climbed = {*shown, *(reward for arm in arms for reward in ARMS[arm].reads)}
    needed = climbed | {REWARDS[name].begins_as for name in climbed}
    return {name: kind for name, kind in REWARDS.items() if name in needed}


def signals_for(arms: Iterable[str]) -> list[Signal]:
    """What gates of arms read beside the reward and confidence."""
    read = {ARMS[arm].gated for arm in arms}
    return [signal for signal in get_args(Signal) if signal in read and signal != "confidence"]


def bases_for(rewards: Mapping[str, RewardKind]) -> list[Basis]:
    """The bases in which some rewards read activations, the autoencoder's first: it is always there."""
    return list(dict.fromkeys(("sae", *(kind.basis for kind in rewards.values()))))
