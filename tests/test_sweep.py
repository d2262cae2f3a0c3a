"""Sweeps: what is changed and what is not, on kept rewards and on new ones, and never on a test problem."""

import pandas as pd
import pytest

from lrs.bench import sweep
from lrs.bench.sweep import QUANTILES, SIZES, STEPS, measure_sweep, variants
from lrs.config import load_config
from lrs.experiment.evaluation import evaluate
from lrs.experiment.traces import draw_all_problems
from lrs.experiment.whole import run_whole
from lrs.models.backbones import load_backbone
from lrs.saved import load_candidates
from lrs.tasks.problems import save_problems


def test_one_thing_is_changed_at_a_time():
    config = load_config("natural", "pocket-1m")
    made = list(variants(config, layers=6))
    assert [one.quantity for one in made] == ["step", "threshold", *["layer"] * 6, *["latents"] * 4]
    assert len({one.config.data for one in made if one.fits}) == 10
    for one in made:
        assert one.config.steering.arms == ["base", "lrs", "lrs_causal"]
        if not one.fits:
            assert one.config.data == config.data
        kept = {"steering", "select", "sae", "backbones", "profile", "backbone_name"}
        assert one.config.model_dump(exclude=kept) == config.model_dump(exclude=kept)
        assert (one.config.sae == config.sae) or one.quantity == "latents"
        assert (one.config.select == config.select) or not one.fits
        assert one.config.backbone.layer == (one.value if one.quantity == "layer" else config.backbone.layer)


@pytest.fixture
def swept(small_power, tmp_path, monkeypatch):
    """A run of profile power on a few problems, and a sweep of one layer and one number of latents."""
    reasoner = load_backbone(small_power.backbone.path)
    monkeypatch.setattr(sweep, "load_backbone", lambda *arguments: reasoner)
    monkeypatch.setattr(sweep, "LATENTS", (16,))
    monkeypatch.setattr(reasoner.model.config, "num_hidden_layers", 6)
    monkeypatch.chdir(tmp_path)
    problems = draw_all_problems(small_power)
    save_problems(problems, small_power.data / "problems")
    run_whole(reasoner, problems, small_power)
    every, asked = list(variants(small_power, 6)), []
    some = [one for one in every if one.quantity != "layer" or one.value == 3]
    monkeypatch.setattr(sweep, "variants", lambda *given: iter(some))

    def watched(backbone, problems, *others):
        asked.extend(problems)
        return evaluate(backbone, problems, *others)

    monkeypatch.setattr("lrs.experiment.selection.evaluate", watched)
    return small_power, measure_sweep(small_power, problems_each=3), asked


def test_a_sweep_has_a_row_a_setting_and_asks_validation_problems_alone(swept):
    config, table, asked = swept
    assert {problem.split for problem in asked} == {"validation"}
    assert set(table["n"]) == {3}
    rows = table.groupby(["quantity", "arm", "decoding"]).size()
    decodings = len(config.steering.decodings)
    assert rows["step"].tolist() == [len(STEPS) * len(SIZES)] * 2 * decodings
    grid = len(QUANTILES[0]) * len(QUANTILES[1]) * len(config.select.num_steps) * len(config.select.step_size)
    assert rows["threshold"]["lrs"].tolist() == [grid] * decodings
    fitted = table[table["quantity"].isin(["layer", "latents"])]
    assert fitted.groupby("quantity")["value"].unique().map(list).to_dict() == {"layer": [3], "latents": [16]}
    kept = pd.read_csv(f"data/sweep/{config.profile}-{config.backbone_name}.csv")
    assert kept["delta"].tolist() == pytest.approx(table["delta"].tolist(), abs=1e-5)


def test_fitted_anew_with_nothing_changed_it_comes_out_the_same(swept):
    """The layer and the number of latents are those of the profile here: rewards, and so doses, are equal to the last
    bit."""
    config, table, _ = swept
    before = load_candidates(config.data / "selection.json").set_index(["name", "decoding"])["dose"]
    for quantity in ("layer", "latents"):
        again = table[table["quantity"] == quantity].set_index(["name", "decoding"])["dose"]
        again = again[~again.index.duplicated()]
        shared = before.index.intersection(again.index)
        assert {name.split("-")[0] for name, _ in shared} == {"lrs", "lrs_causal"}
        assert again[shared].tolist() == pytest.approx(before[shared].tolist(), rel=1e-3)
