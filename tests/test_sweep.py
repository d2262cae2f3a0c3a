"""Sweeps: what is changed and what is not, on kept rewards and on new ones, and never on a test problem; and what is
read of their table."""

import numpy as np
import pandas as pd
import pytest

from lrs.bench import sweep
from lrs.bench.sweep import mark_shown, measure_sweep, variants
from lrs.config import load_config
from lrs.experiment import traces
from lrs.experiment.evaluation import evaluate
from lrs.figures.sweep import swept_figure
from lrs.report.sentences import not_measured
from lrs.report.sweep import best_swept, swept_grid, swept_lines, swept_places, swept_rises, swept_sentence
from lrs.saved import CHANCE, SWEEP, find_measured, load_candidates


def test_one_thing_is_changed_at_a_time():
    config = load_config("natural", "pocket-1m")
    made = list(variants(config, layers=6))
    often = {"step": 1, "threshold": 1, "layer": 6, "latents": 4, "joint": 3, "penalty": 3}
    often |= {"temperature": 3, "trained": 3}
    assert [one.quantity for one in made] == [quantity for quantity, times in often.items() for _ in range(times)]
    assert len({one.config.data for one in made if one.fits}) == 22 - 6  # what the profile has is not fitted again
    arms = {"joint": ["base", "lrs_causal"], **{key: ["base", *sweep.PUSHED] for key in ("temperature", "trained")}}
    arms["penalty"] = ["base", "lrs_causal", "lrs_slope", "free_push"]
    arms["layer"] = ["base", "lrs", "lrs_causal", "lrs_slope", "trained_constant"]
    for one in made:
        assert one.config.steering.arms == arms.get(one.quantity, ["base", "lrs", "lrs_causal"])
        if not one.fits:
            assert one.config.data == config.data
        kept = {"steering", "select", "sae", "causal", "backbones", "profile", "backbone_name"}
        assert one.config.model_dump(exclude=kept) == config.model_dump(exclude=kept)
        assert (one.config.sae == config.sae) or one.quantity == "latents"
        fields = {"joint": "joint_weight", "penalty": "mean_weight", "temperature": "temperature"}
        fields |= {"trained": "step_size"}
        for quantity, name in fields.items():
            value = one.value if one.quantity == quantity else getattr(config.causal, name)
            assert getattr(one.config.causal, name) == value
        assert (one.config.select == config.select) or not one.fits or one.quantity == "trained"
        if one.quantity == "trained":  # at each, all are steered with
            assert one.config.select.step_size == [2.0, 4.0, 6.0]
        assert one.config.backbone.layer == (one.value if one.quantity == "layer" else config.backbone.layer)


def test_kept_rewards_and_new_ones_are_swept_on_validation_problems_alone(small_power, ran, monkeypatch):
    """What the profile has is not fitted anew, and no trace is written twice; one layer, one number of latents and one
    weight are others than the profile's."""
    asked = []
    monkeypatch.setattr(sweep, "load_backbone", lambda *arguments: ran.backbone)
    for name, value in {
        "LATENTS": (8, 16),
        "JOINT": (0.0,),
        "PENALTY": (0.5,),
        "TEMPERATURE": (small_power.causal.temperature,),
        "TRAINED": (1.0, small_power.causal.step_size),
        "STEPS": (1, 2),
        "SIZES": (2.0,),
        "QUANTILES": ((0.3,), (0.0, 0.1)),
    }.items():
        monkeypatch.setattr(sweep, name, value)
    config = small_power.model_copy(
        update={"steering": small_power.steering.model_copy(update={"arms": list(sweep.SWEPT), "sampling": None})}
    )
    some = [one for one in variants(config, layers=4) if one.quantity != "layer" or one.value in (2, 3)]
    fitted = [("layer", 2), ("latents", 8), ("joint", 0.0), ("penalty", 0.5), ("trained", 1.0)]
    assert [(one.quantity, one.value) for one in some if one.fits] == fitted
    monkeypatch.setattr(sweep, "variants", lambda *given: iter(some))

    def watched(backbone, problems, *others):
        asked.extend(problems)
        return evaluate(backbone, problems, *others)

    written, write = [], traces.write_generations

    def counted(backbone, jobs, *others):
        written.extend(jobs)
        return write(backbone, jobs, *others)

    monkeypatch.setattr("lrs.experiment.selection.evaluate", watched)
    monkeypatch.setattr(traces, "write_generations", counted)
    table = measure_sweep(config, problems_each=3)
    assert {problem.split for problem in asked} == {"validation"}
    assert [problem.split for problem, _ in written] == ["validation"] * 3  # base's answers, once
    assert set(table["n"]) == {3}
    rows = table.groupby(["quantity", "arm"]).size().to_dict()
    assert rows == {
        **{("step", "lrs"): 2, ("step", "lrs_causal"): 2},
        **{("threshold", "lrs"): 2, ("threshold", "lrs_causal"): 1},  # the latter has no gate
        **{("layer", "lrs"): 2, ("layer", "lrs_causal"): 2, ("latents", "lrs"): 2, ("latents", "lrs_causal"): 2},
        **{("joint", "lrs_causal"): 1, ("penalty", "lrs_causal"): 1},
        ("temperature", "lrs_causal"): 1,
        ("trained", "lrs_causal"): 2 * 2,  # trained and steered with either of two
    }
    assert table["rise"].notna().all()
    assert table["auroc"].between(0, 1).all()
    shares = table.query("arm == 'lrs_causal'").set_index(["quantity", "value"])["constancy"]
    assert shares["step"].nunique() == 1  # of the profile's own reward, whatever its steps
    assert 0 < shares["penalty", 0.5] < shares["step"].iloc[0] <= 1
    kept = pd.read_csv(f"data/sweep/{config.profile}-{config.backbone_name}.csv")
    assert kept["delta"].tolist() == pytest.approx(table["delta"].tolist(), abs=1e-5)
    by_chance = find_measured([config], SWEEP, CHANCE)  # of 3 problems, half are one
    assert by_chance[["arm", "settings", "n", "few"]].to_numpy().tolist() == [["lrs", 3, 3, 1], ["lrs_causal", 2, 3, 1]]
    for row in by_chance.itertuples():
        tried = table[(table["arm"] == row.arm) & table["quantity"].isin(["step", "threshold"])]
        assert row.best == pytest.approx(tried["delta"].max(), abs=1e-5)
        assert row.found_low <= row.found <= row.found_high
    before = load_candidates(config.data / "selection.json").query("decoding == 'greedy'").set_index("arm")["dose"]
    for quantity, own, other in (("layer", 3, 2), ("latents", 16, 8)):
        doses = table[(table["quantity"] == quantity) & (table["arm"] == "lrs_causal")].set_index("value")["dose"]
        assert doses[own] == pytest.approx(before["lrs_causal"], rel=1e-3)
        assert doses[other] != pytest.approx(before["lrs_causal"], rel=1e-3)
    assert (table[["profile", "backbone", "device", "seed"]] == [config.profile, config.backbone_name, "cpu", 0]).all(
        None
    )
    own = table[table["own"]].groupby(["quantity", "arm"]).size().to_dict()
    fitted = {(quantity, arm): 1 for quantity in ("layer", "latents") for arm in ("lrs", "lrs_causal")}
    steered = {("step", "lrs"): 1, ("step", "lrs_causal"): 1, ("threshold", "lrs"): 1}
    assert own == fitted | steered | {(what, "lrs_causal"): 1 for what in ("temperature", "trained")}
    assert table["shown"].all()  # one setting a place
    found = find_measured([config], SWEEP)
    path, chance = (SWEEP / f"{config.profile}-{config.backbone_name}{ending}.csv" for ending in ("", CHANCE))
    spoiled, by_chance = found.assign(delta=found["delta"] + 1), chance.read_bytes()
    spoiled.sample(frac=1, random_state=0).to_csv(path, index=False)
    again = measure_sweep(config, problems_each=3, only=["joint", "trained"])  # of others, what is there stays
    assert again["quantity"].tolist() == found["quantity"].tolist()
    anew = again["quantity"].isin(["joint", "trained"])
    keys = ["quantity", "value", "name"]
    beside = again.merge(found, on=keys, suffixes=("", "_before"))
    stale = beside["delta"] - beside["delta_before"]
    assert stale.round(5).tolist() == [
        0.0 if quantity in ("joint", "trained") else 1.0 for quantity in beside["quantity"]
    ]
    assert 0 < anew.sum() < len(again)
    assert chance.read_bytes() == by_chance
    with pytest.raises(ValueError, match=r"is of step, threshold, layer, .*, trained \(got nothing\)"):
        measure_sweep(config, only=["step", "nothing"])
    with pytest.raises(ValueError, match=r"the other quantities were swept with n 3 \(got 2\)"):
        measure_sweep(config, problems_each=2, only=["joint"])
    spoiled.drop(columns="rewards").to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"the other quantities were swept with rewards not told \(got [0-9a-f]{16}\)"):
        measure_sweep(config, problems_each=3, only=["joint"])
    assert swept_figure(found).counted.startswith("n 3 validation problems · cpu · ")
    assert "n 3 validation problems" in swept_sentence(found, 0.95)


def rows(arm="lrs", decoding="greedy", **columns):
    """Rows of a sweep that were tried on 100 problems; what is not said is alike in all."""
    frame = pd.DataFrame(columns)
    for name, value in {"quantity": "step", "value": np.nan, "num_steps": 1, "step_size": 1.0, "dose": 0.05}.items():
        frame[name] = frame.get(name, value)
    gate = (0.3, 0.1) if arm == "lrs" else (np.nan, np.nan)
    for name, value in zip(("reward_quantile", "confidence_quantile"), gate, strict=True):
        frame[name] = frame.get(name, value)
    frame["delta"] = frame.get("delta", 0.0)
    return frame.assign(
        arm=arm,
        decoding=decoding,
        n=100,
        accuracy=0.5 + frame["delta"],
        delta_low=frame["delta"] - 0.02,
        delta_high=frame["delta"] + 0.03,
        within_cap=frame["dose"] <= 0.1,
        own=frame.get("own", False),
        shown=True,
        profile="cpu",
        backbone="toy",
        device="cpu",
        seed=0,
        rise=0.01,
        auroc=0.7,
    )


def test_a_place_is_told_by_what_the_selection_would_take_there():
    """Of the settings in a cell the most accurate within the cap; cells and arms are told apart."""
    cells = [
        rows(
            quantity="threshold",
            reward_quantile=quantile,
            step_size=[1.0, 2.0, 4.0],
            delta=[best, 0.02, 0.09],
            dose=[0.01, 0.05, 0.2],
        )
        for quantile, best in ((0.1, 0.0), (0.6, 0.05))
    ]
    table = pd.concat([*cells, rows("lrs_causal", quantity=["threshold"])], ignore_index=True)
    marked = mark_shown(table.drop(columns=["shown", "within_cap"]), "threshold", dose_cap=0.1)
    shown = marked[marked["shown"]]
    assert shown["step_size"].tolist() == [2.0, 1.0, 1.0]
    assert shown["reward_quantile"].tolist() == pytest.approx([0.1, 0.6, np.nan], nan_ok=True)
    assert marked.index.tolist() == table.index.tolist()
    one = mark_shown(table.drop(columns=["shown", "within_cap"]).query("arm == 'lrs'"), "layer", dose_cap=0.1)
    assert one.loc[one["shown"], "delta"].tolist() == [0.05]


def test_a_grid_has_each_cell_at_its_place():
    cells = [(steps, size) for steps in (4, 1, 2) for size in (2.0, 0.5)]
    table = rows(
        num_steps=[steps for steps, _ in cells],
        step_size=[size for _, size in cells],
        delta=[steps * size / 100 for steps, size in cells],
    )
    hidden = rows(num_steps=[1], step_size=[0.5], delta=[0.9]).assign(shown=False)
    grid = swept_grid(swept_places(pd.concat([hidden, table]), "step"), "step")
    assert grid.columns.tolist() == [1, 2, 4]
    assert grid.index.tolist() == [2.0, 0.5]  # the largest on top
    for steps, size in cells:
        assert grid.loc[size, steps] == pytest.approx(steps * size / 100)


def test_an_arm_without_a_gate_has_no_thresholds():
    table = pd.concat([rows("lrs_causal", quantity=["threshold"]), rows(quantity=["threshold"])])
    assert swept_places(table, "threshold")["arm"].tolist() == ["lrs"]


def test_the_best_place_is_within_the_cap_and_told_beside_the_profiles_own():
    steps = rows(num_steps=[1, 2, 4], delta=[0.01, 0.05, 0.09], dose=[0.02, 0.08, 0.2], own=[True, False, False])
    layers = rows(quantity=["layer"] * 2, value=[0, 3], delta=[-0.02, 0.03], own=[False, True])
    beyond = rows("lrs_causal", "sampled", num_steps=[1, 2], delta=[0.02, 0.01], dose=[0.3, 0.4])
    table = pd.concat([steps, layers, beyond], ignore_index=True)
    best = best_swept(table).set_index(["arm", "quantity"])
    assert best.loc[("lrs", "step"), ["places", "at", "delta", "own"]].tolist() == [3, "K 2, alpha 1", 0.05, 0.01]
    assert best.loc[("lrs", "layer"), ["places", "at", "delta", "own"]].tolist() == [2, "layer 3", 0.03, 0.03]
    assert not best.loc[("lrs_causal", "step"), "within_cap"]
    told = swept_sentence(table, 0.95)
    assert "On `toy` (cpu, seed 0, n 100 validation problems)" in told
    assert "`lrs`, greedy, +5.0 [+3.0, +8.0] points at K 2, alpha 1 (of 5 places)" in told
    assert (
        "`lrs_causal`, sampled, +2.0 [+0.0, +5.0] points at K 1, alpha 1, beyond the cap on dose (of 2 places)" in told
    )
    assert "Nothing was chosen by this sweep, and no test problem asked." in told
    lines = swept_lines(table)
    assert lines.loc[("toy", "layer", "3", 100), ("lrs", "greedy")] == "+3.0 [+1.0, +6.0], 0.05 nats, AUROC 0.70"
    told = swept_lines(table.assign(constancy=0.333)).loc[("toy", "layer", "3", 100), ("lrs", "greedy")]
    assert told.endswith("AUROC 0.70, 33% constant")
    assert swept_rises(table).loc[("toy", 2, 1.0), ("lrs", "greedy")] == "reward +0.010, +5.0"


def test_what_was_not_measured_is_said_with_its_command():
    one = load_config("natural", "pocket-1m")
    assert find_measured([one], SWEEP / "nowhere").empty
    assert not_measured("natural", SWEEP) == "`data/sweep` has no table of profile natural yet: `make sweep` writes it."
