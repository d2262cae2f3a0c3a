import json
from itertools import product
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from lrs.config import SelectSection, StatisticsSection, load_config
from lrs.core.store import StoreError
from lrs.experiment.selection import candidate_row, candidates, choose_settings, thresholds_at
from lrs.method.arms import ARMS, STEERED
from lrs.method.arms import REWARDS as REWARDS_THERE_ARE
from lrs.method.setting import Setting, Signal
from lrs.saved import CANDIDATE_COLUMNS, freeze, load_candidates, load_selection

STATISTICS = StatisticsSection(confidence_level=0.95, bootstrap_resamples=200)
GRID = SelectSection(
    num_steps=[1, 2],
    step_size=[0.5, 1.0, 2.0],
    reward_quantile=[0.25, 0.5],
    confidence_quantile=[0.1, 0.2],
    dose_cap=0.1,
    dose_traces=4,
)
REWARDS = {name: f"digest of {name}" for name in REWARDS_THERE_ARE}
SIGNALS = pd.DataFrame(
    {name: [0.1, 0.7] for name in REWARDS_THERE_ARE} | {signal: [0.4, 0.9] for signal in get_args(Signal)}
)


def outcomes_of(correct, benchmarks=("countdown",), steered=5, push=0.2):
    """Outcomes of a setting: problem i of `correct` belongs to the benchmarks in turn."""
    return pd.DataFrame(
        {
            "problem_id": [f"p{i}" for i in range(len(correct))],
            "benchmark": [benchmarks[i % len(benchmarks)] for i in range(len(correct))],
            "seed": 0,
            "decoding": "greedy",
            "correct": np.array(correct, dtype=bool),
            "steered_tokens": steered,
            "processed_tokens": 10,
            "push_ratio": push,
        }
    )


def correct_of(n, *runs):
    """n problems, the first right and so on: `runs` of (count, right?)."""
    return [right for count, right in runs for _ in range(count)] + [False] * (n - sum(count for count, _ in runs))


def test_candidates_are_the_whole_grid_with_thresholds_at_the_quantiles_asked_for():
    even = np.linspace(0, 1, 101)
    others = {"history": even**2, "confidence": (1 + even) / 2}
    signals = pd.DataFrame(dict.fromkeys((*REWARDS_THERE_ARE, *get_args(Signal)), even) | others)
    signals = signals.sample(frac=1, random_state=0)
    settings = candidates(GRID, STEERED, signals)
    assert len({setting.name for setting in settings}) == len(settings)
    by_arm = {arm: [s for s in settings if s.arm == arm] for arm in ("lrs_basic", "lrs", "lrs_history")}
    assert {arm: len(found) for arm, found in by_arm.items()} == {"lrs_basic": 6, "lrs": 24, "lrs_history": 24}
    assert {(s.num_steps, s.step_size) for s in by_arm["lrs_basic"]} == set(product([1, 2], [0.5, 1.0, 2.0]))
    assert {s.reward_threshold for s in by_arm["lrs_basic"]} == {None}
    for arm, power in (("lrs", 1), ("lrs_history", 2)):
        for setting in by_arm[arm]:
            assert setting.reward_threshold == pytest.approx(setting.reward_quantile**power)
            assert setting.confidence_threshold == pytest.approx(0.5 + setting.confidence_quantile / 2)
    lain = signals.assign(token=signals["token"] ** 3)  # what gates a turned push is the reward that it is paced by
    turned = next(one for one in candidates(GRID, ["lrs_turned_tuned"], lain) if one.reward_quantile == 0.5)
    assert turned.reward_threshold == pytest.approx(0.5**3)
    fired = (signals["token"] < by_arm["lrs"][0].reward_threshold).mean()
    assert fired == pytest.approx(by_arm["lrs"][0].reward_quantile, abs=0.01)


def test_a_gate_of_one_clause_fires_as_often_as_both():
    columns = ["token", "causal", *get_args(Signal)]
    signals = pd.DataFrame(np.random.default_rng(0).random((1000, len(columns))), columns=columns)
    both = thresholds_at(0.3, 0.1, ARMS["lrs"], signals)
    fires = (signals["token"] < both["reward_threshold"]) | (signals["confidence"] < both["confidence_threshold"])
    for arm, signal, other in (("gate_reward", "reward", "confidence"), ("gate_confidence", "confidence", "reward")):
        one = thresholds_at(0.3, 0.1, ARMS[arm], signals)
        assert one[f"{other}_threshold"] == 0
        column = {"reward": "token"}.get(signal, signal)
        assert (signals[column] < one[f"{signal}_threshold"]).mean() == pytest.approx(fires.mean(), abs=2e-3)
    both = thresholds_at(0.3, 0.1, ARMS["lrs_causal_gated"], signals)
    fires = (signals["causal"] < both["reward_threshold"]) | (signals["confidence"] < both["confidence_threshold"])
    for signal in get_args(Signal):
        one = thresholds_at(0.3, 0.1, ARMS[f"causal_gate_{signal}"], signals)
        assert one["reward_threshold"] == 0
        assert (signals[signal] < one["confidence_threshold"]).mean() == pytest.approx(fires.mean(), abs=2e-3)
    for arm in ("gate_fifth", "causal_gate_fifth"):
        one = thresholds_at(0.3, 0.1, ARMS[arm], signals)
        assert one["reward_threshold"] == 0
        assert (signals["certainty"] < one["confidence_threshold"]).mean() == pytest.approx(0.2, abs=2e-3)


def test_published_thresholds_are_not_tuned():
    settings = candidates(GRID, ["lrs_published"], SIGNALS)
    assert len(settings) == 6
    assert {(s.reward_threshold, s.confidence_threshold) for s in settings} == {(0.9, 0.72)}


def test_candidate_row_pairs_with_base_by_problem():
    base = outcomes_of([True, True, False, False, True, False], ("countdown", "chain_sum"))
    steered = outcomes_of([True, False, True, False, True, True], ("countdown", "chain_sum"), steered=4, push=0.3)
    steered.loc[0, ["steered_tokens", "push_ratio"]] = [0, np.nan]
    setting = Setting(arm="lrs", num_steps=1, step_size=2.0, reward_quantile=0.5, confidence_quantile=0.1)
    row = candidate_row(setting, steered.sample(frac=1, random_state=0), base, 0.02, STATISTICS)
    assert (row["wins"], row["losses"]) == (2, 1)
    assert row["accuracy"] == pytest.approx((3 / 3 + 1 / 3) / 2)
    assert row["delta"] == pytest.approx((3 / 3 + 1 / 3) / 2 - (2 / 3 + 1 / 3) / 2)
    assert row["delta_low"] <= row["delta"] <= row["delta_high"]
    assert row["steered_fraction"] == pytest.approx(20 / 60)
    assert row["push_ratio"] == pytest.approx(0.3)
    assert (row["name"], row["arm"], row["decoding"]) == (setting.name, "lrs", "greedy")
    assert (row["step_size"], row["n"]) == (2.0, 6)


def test_several_samples_of_a_problem_are_paired_by_seed_and_count_as_one():
    base = pd.concat([outcomes_of([True, False]).assign(seed=seed, decoding="sampled") for seed in (1, 2)])
    steered = base.assign(correct=[True, True, False, False])
    row = candidate_row(Setting(arm="lrs", num_steps=1, step_size=2.0), steered[::-1], base, 0.02, STATISTICS)
    assert (row["decoding"], row["n"], row["wins"], row["losses"]) == ("sampled", 2, 1, 1)
    assert row["delta"] == pytest.approx(0)


def test_candidate_that_never_steers_has_no_push():
    never = outcomes_of([True, False], steered=0, push=np.nan)
    row = candidate_row(
        Setting(arm="lrs", num_steps=1, step_size=1.0), never, outcomes_of([True, True]), 0.02, STATISTICS
    )
    assert (row["push_ratio"], row["steered_fraction"], row["losses"]) == (0.0, 0.0, 1)


def choice(settings, cap=0.1):
    """The names chosen among settings given as name -> (arm, accuracy, dose), sampled where the name says so."""
    rows = [
        {
            "name": name,
            "arm": arm,
            "decoding": "sampled" if "sampled" in name else "greedy",
            "accuracy": a,
            "dose": dose,
        }
        for name, (arm, a, dose) in settings.items()
    ]
    chosen = choose_settings(pd.DataFrame(rows), cap)
    assert (chosen["within_cap"] == (chosen["dose"] <= cap)).all()
    return chosen.loc[chosen["chosen"], "name"].tolist()


def test_chooses_the_most_accurate_within_the_cap():
    arms = {"mild": ("lrs", 0.5, 0.01), "best": ("lrs", 0.6, 0.1), "too hard": ("lrs", 0.7, 0.11)}
    assert choice(arms) == ["best"]
    assert choice(dict(reversed(arms.items()))) == ["best"]
    assert choice(arms, cap=0.2) == ["too hard"]
    assert choice(arms, cap=0.05) == ["mild"]


def test_of_equals_the_one_of_least_dose_and_where_none_is_within_the_cap_too():
    assert choice({"a": ("lrs", 0.6, 0.05), "b": ("lrs", 0.6, 0.02), "c": ("lrs", 0.1, 0.01)}) == ["b"]
    assert choice({"a": ("lrs", 0.6, 0.5), "b": ("lrs", 0.5, 0.2)}) == ["b"]


def test_chooses_one_for_each_decoding():
    both = {
        "a": ("lrs", 0.6, 0.01),
        "b": ("lrs", 0.5, 0.02),
        "c sampled": ("lrs", 0.1, 0.01),
        "d sampled": ("lrs", 0.2, 0.1),
    }
    assert choice(both) == ["a", "d sampled"]


def test_chooses_one_for_each_arm():
    assert choice({"a": ("lrs", 0.6, 0.01), "b": ("lrs_basic", 0.4, 0.01), "c": ("lrs_basic", 0.3, 0.01)}) == ["a", "b"]


@pytest.mark.parametrize("arms", [["base"], ["base", "cot", "lrs_history"], ["lrs_basic", "base"]])
def test_only_arms_that_the_profile_names_are_searched(arms):
    signals = pd.DataFrame({"token": [0.1, 0.7], "history": [0.2, 0.3], "causal": [0.1, 0.2], "confidence": [0.4, 0.9]})
    assert {setting.arm for setting in candidates(GRID, arms, signals)} == set(arms) & set(STEERED)
    assert candidates(GRID, ["negated", "random"], signals) == []


def test_an_arm_that_matches_another_is_frozen_with_its_setting(tmp_path):
    setting, path = Setting(arm="lrs_causal", num_steps=1, step_size=3.0), tmp_path / "selection.json"
    table = pd.DataFrame({"name": [setting.name], "decoding": ["sampled"], "chosen": [True]})
    config = load_config("smoke")
    freeze(table, [setting], "tiny", REWARDS, config, path)
    names = [arm for arm in config.steering.arms if arm == "lrs_causal" or ARMS[arm].matches == "lrs_causal"]
    matching = {name: setting.model_copy(update={"arm": name}) for name in names}
    assert {"lrs_causal", "negated", "random_outside", "random_fresh_outside"} == set(names)
    assert load_selection(path, "tiny", REWARDS) == {"sampled": matching}
    assert "random" not in config.steering.arms


def test_a_selection_among_nothing_is_frozen_and_read_like_any(tmp_path):
    base, path = outcomes_of([True, False]), tmp_path / "selection.json"
    setting = Setting(arm="lrs", num_steps=1, step_size=1.0)
    some = choose_settings(pd.DataFrame([candidate_row(setting, base, base, 0.02, STATISTICS)]), 0.1)
    assert set(some.columns) == set(CANDIDATE_COLUMNS)
    freeze(pd.DataFrame(columns=CANDIDATE_COLUMNS), [], "tiny", REWARDS, load_config("smoke"), path)
    assert load_selection(path, "tiny", REWARDS) == {}
    assert list(load_candidates(path).columns) == CANDIDATE_COLUMNS


def test_freeze_round_trip_and_the_backbone_it_was_made_for(tmp_path, tiny_backbone):
    settings = candidates(GRID, STEERED, SIGNALS)
    chosen = [settings[1], settings[8], settings[-1]]
    base = outcomes_of([True, False] * 4)
    table = pd.DataFrame(candidate_row(setting, base, base, 0.02, STATISTICS) for setting in settings)
    table = table.assign(chosen=table["name"].isin([setting.name for setting in chosen]))
    path = tmp_path / "selection.json"
    freeze(table, settings, tiny_backbone.identity, REWARDS, load_config("smoke"), path)
    assert load_selection(path, tiny_backbone.identity, REWARDS) == {
        "greedy": {setting.arm: setting for setting in chosen}
    }
    pd.testing.assert_frame_equal(load_candidates(path)[list(table.columns)], table, check_dtype=False)

    first = path.read_bytes()
    freeze(table, settings, tiny_backbone.identity, REWARDS, load_config("smoke"), path)
    assert path.read_bytes() == first
    with pytest.raises(StoreError, match="was made for backbone tiny-0, not other; rerun `select`"):
        load_selection(path, "other", REWARDS)
    with pytest.raises(StoreError, match=r"no selection at .*; run stage `select` first"):
        load_selection(tmp_path / "absent.json", tiny_backbone.identity, REWARDS)


def test_a_selection_is_for_the_rewards_that_its_settings_read(tmp_path):
    setting = Setting(arm="lrs", num_steps=1, step_size=1.0)
    table, path = (
        pd.DataFrame({"name": [setting.name], "decoding": ["greedy"], "chosen": [True]}),
        tmp_path / "selection.json",
    )
    freeze(table, [setting], "tiny", REWARDS, load_config("smoke"), path)
    assert json.loads(path.read_text())["rewards"] == {"lrs": REWARDS["token"]}
    assert load_selection(path, "tiny", REWARDS | {"history": "?"}) == {"greedy": {"lrs": setting}}
    with pytest.raises(StoreError, match="was made for another reward of lrs than is there now; rerun `select`"):
        load_selection(path, "tiny", REWARDS | {"token": "?"})


def test_a_changed_selection_is_refused(tmp_path):
    setting = Setting(arm="lrs", num_steps=1, step_size=1.0)
    table = pd.DataFrame({"name": [setting.name], "decoding": ["greedy"], "chosen": [True]})
    path = tmp_path / "selection.json"
    freeze(table, [setting], "tiny", REWARDS, load_config("smoke"), path)
    written = path.read_text()
    for changed in (
        written.replace('"step_size": 1.0', '"step_size": 2.0'),
        written.replace("tiny", "tiniest"),
        "{}",
        "[",
    ):
        assert changed != written
        path.write_text(changed)
        for read in (lambda: load_selection(path, "tiny", REWARDS), lambda: load_candidates(path)):
            with pytest.raises(StoreError, match="delete it and rerun stage `select`"):
                read()
