import numpy as np
import pandas as pd
import pytest

from lrs.report import paper
from lrs.saved import read_measured, write_measured


def test_measured_tables_round_trip_and_a_missing_bench_is_named(tmp_path):
    table = pd.DataFrame({"path": ["naive", "lrs_token"], "batch": [1, 128], "seconds": [0.25, 1 / 3]})
    write_measured(table, "paths", tmp_path / "bench")
    pd.testing.assert_frame_equal(read_measured("paths", tmp_path / "bench"), table, rtol=1e-5)
    with pytest.raises(FileNotFoundError, match="run `make bench` first"):
        read_measured("placebo", tmp_path / "bench")


def test_slowdown_is_over_the_unsteered_run_of_the_same_source_model_and_batch():
    ours = pd.DataFrame(
        {
            "model": ["a", "a", "b", "b", "b"],
            "path": ["unsteered", "lrs_token", "lrs_token", "unsteered", "naive"],
            "batch": 2,
            "tokens_per_problem": 10.0,
            "seconds_per_problem": [2.0, 3.0, 5.0, 4.0, 9.0],
            "ratio_to_unsteered": [1.0, 1 / 1.5, 0.8, 1.0, 4 / 9],
            "device": "cpu",
            "workload": ["a", "a", "b", "b", "b"],
            "rounds": 3,
            "steered_fraction": 0.1,
            "triggers": 1.0,
        }
    )
    table = paper.beside_the_paper(ours).set_index(["source", "model", "path"])["slowdown"]
    assert table["Li et al.", "ORZ-7B", "lrs_token"] == pytest.approx(156.2 / 115.3)
    assert table["this artifact", "a", "lrs_token"] == pytest.approx(1.5)
    assert table["this artifact", "b", "lrs_token"] == pytest.approx(1.25)
    assert ("this artifact", "b", "naive") not in table.index
    once = ours.assign(rounds=[3, 3, 1, 3, 1])
    cold = paper.beside_the_paper(once).set_index(["source", "model", "path"])["slowdown"]
    assert np.isnan(cold["this artifact", "b", "lrs_token"])
    assert cold["this artifact", "a", "lrs_token"] == pytest.approx(1.5)


def test_settings_in_use_are_the_chosen_ones_and_those_of_the_paper_for_each_benchmark():
    gates = {"reward_quantile": [0.3, 0.3, None], "confidence_quantile": [0.1, 0.1, None]}
    tried = {
        "backbone": "a",
        "decoding": "greedy",
        "arm": ["lrs", "lrs", "random"],
        "num_steps": 1,
        "step_size": [1, 2, 2],
    }
    table = paper.settings_in_use(pd.DataFrame(tried | gates | {"chosen": [False, True, True]}))
    ours, theirs = (table[table["source"] == source] for source in ("this artifact", "Li et al."))
    assert ours[["benchmark", "arm", "step_size"]].to_numpy().tolist() == [["all", "lrs", 2], ["all", "random", 2]]
    assert ours["reward_quantile"].dropna().tolist() == [0.3]
    assert ours["reward_threshold"].isna().all()
    assert theirs["reward_quantile"].isna().all()
    own = theirs[(theirs["backbone"] == "orz-7b") & (theirs["benchmark"] == "aime_2024")].iloc[0]
    assert (own["num_steps"], own["step_size"], own["reward_threshold"]) == (2, 0.295, 0.9)


def test_capacity_plan_by_hand():
    plan = paper.capacity_plan(pd.DataFrame({"n": [30, 70]}), 36.0, arms=5, seeds=2, devices=(1, 8))
    assert plan["generations"].tolist() == [1000, 1000]
    assert plan["device_hours"].tolist() == [10.0, 10.0]
    assert plan["hours"].tolist() == [10.0, 1.25]


def test_ratios_between_a_cold_path_and_a_warm_one_are_not_told():
    paths = ["hf_generate", "unsteered", "lrs_token", "naive"]
    costs = pd.DataFrame({"path": paths, "rounds": [1, 3, 3, 1], "device": "gpu", "workload": "big"})
    ratios = [f"ratio_to_{name}{end}" for name in ("unsteered", "hf_generate") for end in ("", "_low", "_high")]
    costs[ratios] = 0.5
    cold = paper.without_cold_ratios(costs).set_index("path")[ratios]
    assert cold[ratios[:3]].notna().all(axis=1).tolist() == [False, True, True, False]
    assert cold[ratios[3:]].isna().all(axis=None)
    warm = paper.without_cold_ratios(costs.assign(rounds=[3, 3, 3, 1])).set_index("path")[ratios]
    assert warm.notna().all(axis=1).tolist() == [True, True, True, False]
