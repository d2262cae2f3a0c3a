"""Power: doses are what they say, a run is the whole pipeline, and what is found is counted."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from lrs.bench.power import measure_power, planted_share, problems_at, run_of
from lrs.experiment import traces
from lrs.experiment.whole import run_whole
from lrs.figures.power import power_figure
from lrs.method.arms import REWARDS, rewards_for
from lrs.reasoners.recipes import load_recipe
from lrs.report.power import power_sentence, power_table
from lrs.saved import read_power
from lrs.tutor.planted import matters


@pytest.fixture
def config(small_power):
    return small_power


@pytest.mark.parametrize("dose", [0.0, 0.25, 1.0])
def test_a_dose_is_the_share_of_problems_in_which_the_mode_matters(config, dose):
    drawn = problems_at(dose, 0.5, config)
    assert len({problem.id for problem in drawn}) == 28
    for split, count in config.problems.model_dump().items():
        there = [matters(problem, 0.5) for problem in drawn if problem.split == split]
        assert (len(there), sum(there)) == (count, round(dose * count))


@pytest.mark.parametrize(("dose", "planted"), [(0.5, 0.0), (0.5, 1.0)])
def test_a_dose_that_cannot_be_had_is_refused(config, dose, planted):
    with pytest.raises(ValueError, match=r"a dose of 0\.5 cannot be had"):
        problems_at(dose, planted, config)


def test_runs_differ_in_seed_and_folder(config):
    runs = [run_of(dose, seed, config) for dose in (0.05, 0.5) for seed in (0, 1)]
    assert len({run.data for run in runs}) == 4
    assert [run.seed for run in runs] == [0, 1, 0, 1]
    assert all(run.backbone == config.backbone for run in runs)


def test_only_rewards_that_are_climbed_are_made():
    assert list(rewards_for(["base", "cot"])) == ["token", "history", "causal"]
    assert rewards_for(["base", "cot"], shown=()) == {}
    assert list(rewards_for(["base", "lrs", "lrs_pairwise"], shown=())) == ["token", "pairwise"]
    assert list(rewards_for(["base", "trained_constant"], shown=())) == ["linear", "constant"]
    assert list(rewards_for(["free_rest"], shown=())) == ["free", "free_rest"]


def test_what_a_reward_begins_as_is_made_before_it():
    made = list(REWARDS)
    for name, kind in REWARDS.items():
        assert not kind.begins_as or made.index(kind.begins_as) < made.index(name)


def test_a_run_is_the_whole_pipeline_and_is_made_once(config, ran, monkeypatch):
    reasoner, problems, outcomes, _ = ran
    test = {problem.id for problem in problems if problem.split == "test"}
    assert set(outcomes["problem_id"]) == test
    assert outcomes.value_counts(["arm", "decoding"]).to_dict() == {
        (arm, decoding): 4 for arm in config.steering.arms for decoding in ("greedy", "sampled")
    }
    steered = outcomes.groupby("arm")["steered_tokens"].sum()
    assert (steered[["lrs", "lrs_causal"]] > 0).all()
    assert (steered[["base", "cot"]] == 0).all()
    assert {path.name for path in (config.data / "reward").iterdir()} == {"token", "causal"}

    def never(*arguments, **options):
        raise AssertionError("generated again")

    monkeypatch.setattr(traces, "generate", never)
    pd.testing.assert_frame_equal(run_whole(reasoner, problems, config), outcomes)
    leaked = replace(next(problem for problem in problems if problem.id in test), split="validation")
    with pytest.raises(ValueError, match="1 evaluated problems were seen in training or selection"):
        run_whole(reasoner, [*problems, leaked], config)


def test_all_runs_there_are_stand_in_one_table(config, ran, monkeypatch):
    """One of two runs is made; the other lies there already, and nothing of it is written again."""
    written, generate = [], traces.generate

    def watched(model, prompts, *others, **options):
        written.append(len(prompts))
        return generate(model, prompts, *others, **options)

    monkeypatch.setattr("lrs.bench.power.load_backbone", lambda *arguments: ran.backbone)
    monkeypatch.setattr(traces, "generate", watched)
    config.data.rename(run_of(0.5, 0, config).data)
    measure_power(config, 0.5, [0], doses=(0.5,))
    assert written == []
    measure_power(config, 0.5, [1], doses=(0.5,))
    assert written != []
    runs = read_power()
    assert runs[["method", "decoding", "dose", "seed", "n"]].values.tolist() == [
        [method, decoding, 0.5, seed, 4]
        for seed in (0, 1)
        for decoding in ("greedy", "sampled")
        for method in ("lrs", "lrs_causal")
    ]


def runs(found: dict[float, int], ceiling=1.0):
    """Five runs a dose, in so many of which the gain is found; as much is gained in all of them."""
    rows = [
        {"method": "lrs", "decoding": "greedy", "n": 400, "dose": dose, "seed": seed, "ceiling": dose * ceiling}
        | {"gain": dose / 2, "mde": 0.02 if dose == 0 else 0.5, "p_holm": 0.01 if seed < count else 0.4}
        for dose, count in found.items()
        for seed in range(5)
    ]
    return pd.DataFrame(rows)


def test_table_counts_what_was_found():
    table = power_table(runs({0.0: 0, 0.1: 2, 0.5: 5}), 0.95).set_index("dose")
    assert table["found"].tolist() == [0, 2, 5]
    assert table["rate"].tolist() == [0, 0.4, 1]
    assert (table["rate_low"] <= table["rate"]).all()
    assert (table["headroom"] == table.index).all()
    assert table["share"].tolist()[1:] == [0.5, 0.5]
    assert table["mde"].tolist() == [0.02] * 3  # that of dose 0, whatever a gain itself changes
    lost = power_table(runs({0.5: 4}).assign(gain=-0.3), 0.95)
    assert lost[["found", "lost"]].values.tolist() == [[0, 4]]


def test_sentence_names_the_least_headroom_from_which_on_all_are_found():
    told = power_sentence(runs({0.0: 1, 0.1: 4, 0.25: 3, 0.5: 4, 1.0: 5}), 0.95)
    assert (
        "With `lrs`, greedy, this pipeline finds a headroom of 50.0 points in 80.0% [37.6%, 96.4%] of its 5 runs"
        in told
    )
    assert "McNemar's test alone could find 2.0" in told
    assert "Of 5 contrasts where nothing was planted, 0 showed a gain and 0 a loss (n 400" in told  # of zero, neither
    harmed = runs({0.0: 3, 0.5: 1}).assign(gain=-0.1)
    assert "0 showed a gain and 3 a loss" in power_sentence(harmed, 0.95)
    assert "finds none of the headrooms tried that often" in power_sentence(runs({0.0: 0, 0.5: 1}), 0.95)


def test_figure_has_a_column_a_decoding_and_tells_of_runs():
    both = pd.concat([runs({0.0: 0, 0.5: 5}), runs({0.0: 0, 0.5: 5}).assign(decoding="sampled", method="lrs_causal")])
    figure = power_figure(both, 0.95)
    assert len(figure.axes) == 4
    dashed = "dashed: 80% of the runs, and all of the headroom"
    assert figure.counted == f"n 5 runs a dose · n 400 problems a run · bars: 95% intervals · {dashed}"


def test_the_share_that_is_planted_is_the_recipes(config):
    assert planted_share(config) == load_recipe(Path(config.backbone.path)).dose == 0.5
