"""Seeds: every run draws and learns anew, what is kept is not run again, and the table is of like runs alone."""

import pandas as pd

from lrs.bench import seeds
from lrs.bench.seeds import measure_seeds, run_of
from lrs.models.backbones import load_backbone
from lrs.saved import SEEDS


def test_runs_share_a_profile_and_no_problem(small_power, tmp_path, monkeypatch):
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
    statistics = small_power.statistics.model_copy(update={"bootstrap_resamples": 100})
    measure_seeds(small_power.model_copy(update={"statistics": statistics}), [1])
    others = pd.read_csv(SEEDS / f"{small_power.profile}-{small_power.backbone_name}.csv")
    assert set(others["seed"]) == {1}


def test_a_run_has_a_folder_of_its_own(small_power):
    runs = [run_of(seed, small_power) for seed in (0, 1)]
    assert len({run.data for run in runs}) == 2
    assert [run.seed for run in runs] == [0, 1]
    assert all(run.data.parent == SEEDS and run.backbone == small_power.backbone for run in runs)
