"""Seeds: every run draws and learns anew, what is kept is not run again, and the table is of like runs alone."""

import numpy as np
import pandas as pd
import pytest

from lrs.bench import seeds
from lrs.bench.seeds import measure_seeds, run_at
from lrs.models.backbones import load_backbone
from lrs.pipeline import measuring
from lrs.report.seeds import seeds_sentence, seeds_table
from lrs.saved import SEEDS, find_measured


def test_runs_share_a_profile_and_no_problem(small_power, tmp_path, monkeypatch):
    steering = small_power.steering.model_copy(update={"arms": ["base", "lrs"], "sampling": None})
    small_power = small_power.model_copy(update={"steering": steering})
    reasoner = load_backbone(small_power.backbone.path)
    monkeypatch.setattr(seeds, "load_backbone", lambda *given: reasoner)
    monkeypatch.chdir(tmp_path)
    asked, whole = {}, seeds.run_whole

    def watched(backbone, problems, config):
        asked[config.seed] = {problem.id for problem in problems}
        return whole(backbone, problems, config)

    monkeypatch.setattr(seeds, "run_whole", watched)
    measure_seeds(small_power, [0])
    measure_seeds(small_power, [1])
    assert len(asked[0] & asked[1]) < len(asked[0]) / 2
    table = pd.read_csv(SEEDS / f"{small_power.profile}-{small_power.backbone_name}.csv")
    assert table.value_counts("seed").to_dict() == {0: len(table) / 2, 1: len(table) / 2}
    assert set(table["arm"]) == set(small_power.steering.arms)
    assert set(table["backbone"]) == {small_power.backbone_name}
    assert set(table["profile"]) == {small_power.profile}
    told = seeds_table(find_measured([small_power], SEEDS), 0.95)
    assert set(told["seeds"]) == {"0, 1"}
    assert set(told["arm"]) == set(small_power.steering.arms) - {"base"}
    statistics = small_power.statistics.model_copy(update={"bootstrap_resamples": 100})
    measure_seeds(small_power.model_copy(update={"statistics": statistics}), [1])
    others = pd.read_csv(SEEDS / f"{small_power.profile}-{small_power.backbone_name}.csv")
    assert set(others["seed"]) == {1}


def test_a_run_has_a_folder_of_its_own(small_power):
    runs = [run_at(seed, small_power) for seed in (0, 1)]
    assert len({run.data for run in runs}) == 2
    assert [run.seed for run in runs] == [0, 1]
    assert all(run.data.parent == SEEDS and run.backbone == small_power.backbone for run in runs)


def runs(deltas, arm="lrs"):
    """A run a gain, with an interval of 0.02 either way, and a benchmark that is not pooled."""
    pooled = pd.DataFrame({"seed": range(len(deltas)), "delta": deltas, "benchmark": "pooled"})
    table = pd.concat([pooled, pooled.assign(benchmark="countdown", delta=9.0)])
    ends = {"delta_low": table["delta"] - 0.02, "delta_high": table["delta"] + 0.02}
    return table.assign(profile="cpu", backbone="toy", device="cpu", decoding="greedy", arm=arm, n=400, **ends)


def test_the_mean_of_the_runs_and_how_far_they_lie_apart():
    base = runs([np.nan] * 4, "base")
    (row,) = seeds_table(pd.concat([base, runs([0.01, 0.03, 0.05, -0.03])]), 0.95).itertuples()
    assert (row.arm, row.runs, row.seeds, row.n) == ("lrs", 4, "0, 1, 2, 3", 400)
    assert row.delta == pytest.approx(0.015)
    spread = (((0.005**2) + 0.015**2 + 0.035**2 + 0.045**2) / 3) ** 0.5
    assert row.spread == pytest.approx(spread)
    assert [row.low, row.high] == pytest.approx(
        [0.015 - 3.182446 * spread / 2, 0.015 + 3.182446 * spread / 2], abs=1e-6
    )
    assert (row.least, row.most, row.above, row.below) == (-0.03, 0.05, 2, 1)


def test_the_sentence_is_of_several_runs():
    told = seeds_sentence(seeds_table(runs([0.01, 0.03]), 0.95), 0.95)
    assert told.startswith("`lrs` on `toy`, greedy: +2.0 points [-10.7, +14.7] in 2 runs, from +1.0 to +3.0.")
    alone = seeds_table(runs([0.01]), 0.95)
    assert alone[["low", "high", "spread"]].isna().all(axis=None)
    assert "One run tells nothing" in seeds_sentence(alone, 0.95)


def test_the_command_takes_seeds_a_backbone_and_a_device(monkeypatch):
    asked = []
    monkeypatch.setattr(seeds, "measure_seeds", lambda config, numbers: asked.append((config, list(numbers))))
    measuring.seeds([5, 6], profile="natural", backbone="pocket-1m", device="cuda", batch=1024)
    measuring.seeds(None, profile="natural")
    (placed, named), *others = asked
    assert (placed.backbone_name, placed.device, placed.decoding.batch_size) == ("pocket-1m", "cuda", 1024)
    assert named == [5, 6]
    assert [(one.backbone_name, numbers) for one, numbers in others] == [
        ("pocket-3m", [0, 1, 2, 3, 4]),
        ("pocket-1m", [0, 1, 2, 3, 4]),
    ]
