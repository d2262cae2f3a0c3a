"""The estimate counts what a run then generates, and the weights that a model has."""

import json
from pathlib import Path

import pandas as pd
import pytest

from lrs.config import load_config
from lrs.experiment.whole import run_whole
from lrs.models.backbones import load_backbone
from lrs.report.estimate import disk_of, estimate_lines, measured_rate, memory_of, stages_of
from lrs.saved import load_candidates, write_measured
from lrs.tasks.benchmarks import BENCHMARKS


def test_what_is_estimated_is_what_is_generated(small_power, ran):
    steering = small_power.steering
    sampling = steering.sampling.model_copy(update={"problems": 2})  # of 4, which selection asks all the same
    small_power = small_power.model_copy(update={"steering": steering.model_copy(update={"sampling": sampling})})
    outcomes = run_whole(ran.backbone, ran.problems, small_power)
    stages = {stage.name: stage for stage in stages_of(small_power)}
    assert stages["steering"].generations == len(outcomes)
    tried = load_candidates(small_power.data / "selection.json")
    assert set(tried["n"]) == {small_power.problems.validation}
    assert stages["select"].generations == tried["n"].sum() + 2 * small_power.problems.validation
    assert stages["traces"].generations == small_power.problems.reward * (1 + small_power.traces.samples)
    assert (
        disk_of(small_power) > sum(path.stat().st_size for path in (small_power.data / "outcomes").rglob("*.arrow")) / 4
    )


@pytest.mark.parametrize("name", ["pocket-3m", "pocket-1m"])
def test_weights_are_counted(name):
    config = load_config("natural", name)
    backbone = load_backbone(config.backbone.path)
    with open(f"{config.backbone.path}/config.json", encoding="utf-8") as file:
        memory = memory_of(config, json.load(file))
    assert memory.weights == pytest.approx(4 * sum(weight.numel() for weight in backbone.model.parameters()), rel=0.02)


def test_it_is_told_in_lines():
    lines = estimate_lines(load_config("cpu"), 10_000)
    assert lines[0] == "cpu, pocket-3m: at most"
    assert "hours" in lines[1]
    assert "memory: weights 0.0" in lines[-1]
    assert "hours" not in estimate_lines(load_config("cpu"), None)[1]


def test_hours_are_those_of_the_most_rows_that_were_measured_of_the_shape(tmp_path):
    paths = pd.DataFrame(
        {"device": "cpu", "model": "pocket-3m", "path": ["lrs_token"], "batch": 64, "tokens_per_s": 9.0}
    )
    write_measured(paths, "paths", tmp_path)
    assert measured_rate("orz-7b", tmp_path) is None
    shapes = paths.assign(device="some GPU", model="shape of orz-7b")
    rows = [shapes.assign(batch=1, tokens_per_s=5.0), shapes.assign(batch=32, tokens_per_s=50.0)]
    rows += [shapes.assign(path="unsteered", batch=32, tokens_per_s=70.0), shapes.assign(model="shape of orz-1b5")]
    write_measured(pd.concat(rows), "shapes", tmp_path)
    rate = measured_rate("orz-7b", tmp_path)
    assert (rate.tokens_per_second, rate.measured.split(", ")[:2]) == (50, ["one some GPU", "32 rows of 512 tokens"])
    assert measured_rate("pocket-3m", tmp_path) is None


def test_a_model_of_the_hub_is_downloaded_and_its_activations_are_held():
    config = load_config("paper", "orz-7b")
    held, download = estimate_lines(config, None)[-2:]
    traced = config.problems.reward * (1 + config.traces.samples)
    traced *= sum("reward" in BENCHMARKS[name].splits for name in config.benchmarks)
    assert f"activations of all traces {2 * traced * config.decoding.max_new_tokens * 3584 / 1e9:.2f} GB" in held
    assert download == "  download 15.2 GB, if it is kept in bfloat16"
    assert not any("download" in line for line in estimate_lines(load_config("cpu"), None))


def test_a_model_of_unknown_shape_has_no_memory_told(tmp_path):
    config = load_config("cpu", "pocket-3m")
    unknown = config.backbone.model_copy(update={"path": str(tmp_path)})
    changed = config.model_copy(update={"backbones": {"pocket-3m": unknown}})
    assert (
        estimate_lines(changed, None)[-1]
        == f"  memory: not told, since {tmp_path} has no config.json and no shape.json"
    )


def test_the_paper_s_models_are_estimated_in_the_guide():
    guide = Path("docs/running.md").read_text("utf-8")
    for name in load_config("paper").backbones:
        assert "\n".join(estimate_lines(load_config("paper", name), None)) in guide


@pytest.mark.parametrize(("name", "billions"), [("orz-7b", 7.6), ("orz-1b5", 1.54), ("r1-llama-8b", 8.03)])
def test_shapes_have_as_many_weights_as_their_models(name, billions):
    shape = json.loads(Path(f"data/reasoners/{name}/shape.json").read_text("utf-8"))
    assert memory_of(load_config("paper", name), shape).weights / 2e9 == pytest.approx(billions, rel=0.01)
