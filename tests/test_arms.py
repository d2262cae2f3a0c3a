from typing import get_args

import pytest
import torch
from conftest import LinearDictionary, tiny_reward

from lrs.experiment.evaluation import steering_for
from lrs.figures.palette import ARM_COLORS, ARM_LABELS, REWARD_COLORS, arm_color, arm_label
from lrs.method.arms import ARMS, STEERED, signals_for
from lrs.method.arms import REWARDS as REWARDS_THERE_ARE
from lrs.method.ascent import Ascent
from lrs.method.gate import Gate
from lrs.method.setting import Setting, Signal, check_setting

REWARDS = {"token": tiny_reward("token"), "history": tiny_reward("history")}


def setting(arm, **values):
    return Setting(arm=arm, num_steps=2, step_size=0.5, **values)


DRAWN = ("", "_2", "_3", "_4", "_5")
PACING = {"lrs": "token", "causal": "causal", "slope": "slope", "free": "free"}


def test_steered_arms_and_what_they_steer_with():
    assert {name: ARMS[name].reward for name in STEERED} == {
        **{"lrs_basic": "token", "lrs": "token", "lrs_history": "history", "mean_difference": "linear"},
        **{"lrs_advantage": "advantage", "lrs_advantage_history": "advantage_history"},
        **{"lrs_pairwise": "pairwise", "lrs_pairwise_history": "pairwise_history"},
        "lrs_causal_history": "causal_history",
        **dict.fromkeys(("gate_reward", "lrs_negated"), "token"),
        **{f"gate_{signal}": "token" for signal in ("fifth", *get_args(Signal))},
        **dict.fromkeys(("lrs_causal", "lrs_causal_gated", "negated"), "causal"),
        **dict.fromkeys(("lrs_slope", "slope_negated", "slope_even"), "slope"),
        **{f"causal_gate_{signal}": "causal" for signal in ("reward", "fifth", *get_args(Signal))},
        **{
            name: name for name in ("free_mean", "free_rest", "free_along", "free_gated", "free_constant", "slope_mean")
        },
        **{"slope_along": "slope_mean", "causal_along": "causal_mean", "lrs_along": "token_mean"},
        "free_mean_along": "free_mean",
        **{name: name for name in ("shuffled", "random_sae", "pca", "raw")},
        **{"lrs_published": "published", "free_push": "free", "raw_free_push": "raw_free", "caa": "raw_linear"},
        **{"trained_constant": "constant", "untrained": "untrained", "cast": "raw_linear"},
        **{f"{name}{draw}": f"{name}{draw}" for name in ("random", "shuffled", "causal_shuffled") for draw in DRAWN},
        **{f"random_{name}{draw}": f"{name}{draw}" for name in ("fresh", "outside") for draw in DRAWN},
        **{f"random_fresh_outside{draw}": f"fresh_outside{draw}" for draw in DRAWN},
        **{f"{name}_turned{draw}": f"random{draw}" for name in PACING for draw in DRAWN},
        **{"slope_mean_tuned": "slope_mean", "slope_along_tuned": "slope_mean", "slope_negated_tuned": "slope"},
        **dict.fromkeys(("free_negated", "free_negated_tuned"), "free"),
        **{"free_mean_tuned": "free_mean", "negated_tuned": "causal", "lrs_negated_tuned": "token"},
        **{"random_fresh_tuned": "fresh", "random_outside_tuned": "outside"},
        "random_fresh_outside_tuned": "fresh_outside",
        **dict.fromkeys(("random_tuned", *(f"{name}_turned_tuned" for name in PACING)), "random"),
        **{f"slope_{basis}": f"slope_{basis}" for basis in ("random_sae", "pca", "raw")},
    }
    assert {name for arm in ARMS.values() for name in arm.reads} == set(REWARDS_THERE_ARE)
    assert {name: ARMS[name].paced for name in STEERED if ARMS[name].paced} == {
        **{"slope_along": "slope", "slope_even": "slope_level", "slope_along_tuned": "slope"},
        **{"causal_along": "causal", "lrs_along": "token", "free_mean_along": "free"},
        **{f"{name}_turned{draw}": reward for name, reward in PACING.items() for draw in (*DRAWN, "_tuned")},
    }
    dictionary = LinearDictionary()
    thresholds = {"reward_threshold": 0.4, "confidence_threshold": 0.7}
    for arm, reward in {"lrs_basic": "token", "lrs": "token", "lrs_history": "history"}.items():
        steering = steering_for(ARMS[arm], setting(arm, **thresholds), 3, dictionary, REWARDS)
        assert steering.reward is REWARDS[reward]
        assert steering.dictionary is dictionary
        assert steering.layer == 3
        assert steering.ascent == Ascent(num_steps=2, step_size=0.5)
        if ARMS[arm].gated:
            assert steering.gate == Gate(0.4, 0.7)


@pytest.mark.parametrize(
    ("arm", "signal"), [("reward", "confidence"), *[(signal, signal) for signal in get_args(Signal)]]
)
def test_what_a_gate_reads(arm, signal):
    arm, rewards = ARMS[f"causal_gate_{arm}"], {"causal": tiny_reward("token")}
    chosen = setting(arm.name, reward_threshold=0.4, confidence_threshold=0.7)
    assert steering_for(arm, chosen, 1, LinearDictionary(), rewards).gate == Gate(0.4, 0.7, signal)


def test_only_a_steered_arm_climbs_a_reward():
    assert ARMS["lrs"].climbs == "token"
    with pytest.raises(ValueError, match="'cot' steers nothing"):
        _ = ARMS["cot"].climbs


def test_a_gate_needs_thresholds():
    with pytest.raises(ValueError, match="'lrs' has a gate, and its setting no thresholds"):
        steering_for(ARMS["lrs"], Setting(arm="lrs", num_steps=1, step_size=1.0), 0, None, {"token": None})


def test_signals_that_arms_read_beside_confidence():
    assert signals_for(["base", "lrs", "causal_gate_confidence"]) == []
    assert signals_for(["causal_gate_lot", "causal_gate_certainty"]) == ["certainty", "lot"]


def test_negated_goes_down_as_far_as_the_causal_arm_goes_up():
    rewards = {"causal": tiny_reward("token")}
    up, down = (
        steering_for(ARMS[arm], setting(arm), 3, LinearDictionary(), rewards) for arm in ("lrs_causal", "negated")
    )
    assert up.reward is down.reward
    assert (up.ascent.step_size, down.ascent.step_size) == (0.5, -0.5)


def test_every_arm_has_a_colour_and_a_name():
    for name in set(ARMS) - {"placebo"}:
        assert arm_color(name) in ARM_COLORS.values()
        assert arm_label(name) != name.replace("_", " ") or name in ARM_LABELS


def test_lrs_basic_steers_every_token():
    gate = steering_for(ARMS["lrs_basic"], setting("lrs_basic"), 1, LinearDictionary(), REWARDS).gate
    assert gate(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([1.0, 1.0, 1.0])).all()


def test_name_tells_the_setting():
    assert setting("lrs_basic").name == "lrs_basic-k2-a0.5"
    assert setting("lrs", reward_quantile=0.25, confidence_quantile=0.1).name == "lrs-k2-a0.5-r0.25-c0.1"


@pytest.mark.parametrize(
    ("arm", "given", "told"),
    [
        ("lrs", None, r"arm 'lrs' needs a setting of its own \(got none\)"),
        ("lrs", setting("lrs_basic"), r"arm 'lrs' needs a setting of its own \(got one of 'lrs_basic'\)"),
        ("base", setting("lrs"), r"arm 'base' steers nothing and takes no setting \(got one of 'lrs'\)"),
    ],
)
def test_arm_and_setting_must_match(arm, given, told):
    with pytest.raises(ValueError, match=told):
        check_setting(ARMS[arm], given)


def test_steered_arms_take_their_own_setting_and_others_none():
    for arm in ARMS:
        check_setting(ARMS[arm], setting(arm) if arm in STEERED else None)


def test_arms_go_by_their_names():
    assert all(name == arm.name for name, arm in ARMS.items())


def test_every_reward_that_is_drawn_has_a_colour():
    """Those trained by policy gradient, whose curves notebook 3 shows, and those that predict in every profile."""
    drawn = {name for name, kind in REWARDS_THERE_ARE.items() if kind.pushes and not kind.draw} | {"token", "history"}
    assert drawn <= set(REWARD_COLORS)
