"""Sweeps: what is changed and what is not, on kept rewards and on new ones, and never on a test problem."""

import pandas as pd
import pytest

from lrs.bench import sweep
from lrs.bench.sweep import measure_sweep, variants
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


def test_kept_rewards_and_new_ones_are_swept_on_validation_problems_alone(small_power, tmp_path, monkeypatch):
    """One layer and one number of latents are fitted anew, those that the profile has: there rewards, and so doses,
    come out as before."""
    reasoner, asked = load_backbone(small_power.backbone.path), []
    monkeypatch.setattr(sweep, "load_backbone", lambda *arguments: reasoner)
    for name, value in {"LATENTS": (16,), "STEPS": (1, 2), "SIZES": (2.0,), "QUANTILES": ((0.3,), (0.0, 0.1))}.items():
        monkeypatch.setattr(sweep, name, value)
    monkeypatch.chdir(tmp_path)
    config = small_power.model_copy(
        update={"steering": small_power.steering.model_copy(update={"arms": list(sweep.ARMS), "sampling": None})}
    )
    problems = draw_all_problems(config)
    save_problems(problems, config.data / "problems")
    run_whole(reasoner, problems, config)
    some = [one for one in variants(config, layers=4) if one.quantity != "layer" or one.value == 3]
    monkeypatch.setattr(sweep, "variants", lambda *given: iter(some))

    def watched(backbone, problems, *others):
        asked.extend(problems)
        return evaluate(backbone, problems, *others)

    monkeypatch.setattr("lrs.experiment.selection.evaluate", watched)
    table = measure_sweep(config, problems_each=3)
    assert {problem.split for problem in asked} == {"validation"}
    assert set(table["n"]) == {3}
    rows = table.groupby(["quantity", "arm"]).size().to_dict()
    assert rows == {
        **{("step", "lrs"): 2, ("step", "lrs_causal"): 2},
        **{("threshold", "lrs"): 2, ("threshold", "lrs_causal"): 1},  # the latter has no gate
        **{("layer", "lrs"): 1, ("layer", "lrs_causal"): 1, ("latents", "lrs"): 1, ("latents", "lrs_causal"): 1},
    }
    kept = pd.read_csv(f"data/sweep/{config.profile}-{config.backbone_name}.csv")
    assert kept["delta"].tolist() == pytest.approx(table["delta"].tolist(), abs=1e-5)
    before = load_candidates(config.data / "selection.json").set_index("arm")["dose"]
    for quantity in ("layer", "latents"):
        again = table[table["quantity"] == quantity].set_index("arm")["dose"]
        assert again["lrs_causal"] == pytest.approx(before["lrs_causal"], rel=1e-3)
