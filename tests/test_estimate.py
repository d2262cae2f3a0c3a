"""The estimate counts what a run then generates, and the weights that a model has."""

import json
from pathlib import Path

import pandas as pd
import pytest

from lrs.config import load_config
from lrs.experiment.whole import run_whole
from lrs.report.estimate import (
    disk_of,
    estimate_lines,
    estimate_of,
    measured_rate,
    paper_plan,
    scaled_rate,
    stages_of,
)
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


def test_it_is_told_in_lines():
    lines = estimate_lines(load_config("cpu"), 10_000)
    assert lines[0] == "cpu, pocket-3m: at most"
    assert "hours" in lines[1]
    assert lines[-2].startswith("  memory while steering 0.")
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
    tokens = traced * config.decoding.max_new_tokens
    assert f"activations of all traces (twice) {2 * 2 * tokens * 3584 / 1e9:.2f}" in held
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


def test_of_many_gpus_all_but_the_training_of_rewards_makes_use():
    """At a rate at which a token takes an hour."""
    config = load_config("cpu")
    tokens = {stage.name: stage.tokens for stage in stages_of(config)}
    shared = tokens["traces"] + tokens["select"] + tokens["steering"]
    hours = f"  on 8 of these {tokens['reward'] + shared / 8:,.1f} hours: all but rewards is shared out"
    assert any(line.startswith(hours) for line in estimate_lines(config, 1 / 3600))


@pytest.fixture
def shapes(tmp_path) -> Path:
    """Measured: `small`, of 2 layers, at 90 tokens a second, and `large`, of 20, at 8; words take next to nothing."""
    rows = []
    for name, layers, speed in (("small", 2, 90.0), ("large", 20, 8.0), ("asked", 0, 0.0)):
        write_shape(tmp_path / name, layers)
        row = {"device": "a GPU", "model": f"shape of {name}", "path": "lrs_token", "batch": 32, "tokens_per_s": speed}
        rows += [row] if layers else []
    write_measured(pd.DataFrame(rows).assign(model="pocket-3m"), "paths", tmp_path)
    write_measured(pd.DataFrame(rows), "shapes", tmp_path)
    return tmp_path


def write_shape(home: Path, layers: int) -> None:
    home.mkdir(exist_ok=True)
    shape = {"hidden_size": 1024, "num_attention_heads": 8, "intermediate_size": 4096, "vocab_size": 1}
    (home / "shape.json").write_text(json.dumps(shape | {"num_hidden_layers": layers}), "utf-8")


@pytest.mark.parametrize(("layers", "of", "speed"), [(3, "small", 60), (15, "large", 8 * 4 / 3), (30, "large", 16 / 3)])
def test_a_model_of_like_size_is_told_a_rate_that_says_it_was_not_measured(shapes, layers, of, speed):
    write_shape(shapes / "asked", layers)
    rate = scaled_rate(shapes / "asked", shapes)
    assert rate.tokens_per_second == pytest.approx(speed, rel=1e-3)
    assert rate.measured == f"not measured: scaled by parameters from {of} on one a GPU, 32 rows of 512 tokens"


def test_no_rate_is_told_where_nothing_of_like_size_was_measured(shapes):
    for layers in (1, 5, 9, 41):
        write_shape(shapes / "asked", layers)
        assert (scaled_rate(shapes / "asked", shapes) is None) == (layers != 1)
    assert scaled_rate(shapes / "nowhere", shapes) is None


def test_what_was_not_measured_is_named_in_the_lines():
    own, scaled = (estimate_lines(load_config("paper", name), None) for name in ("orz-7b", "r1-llama-8b"))
    assert not any("scaled" in line for line in own)
    assert any("scaled by parameters from orz-7b" in line for line in scaled)
    assert not any("hours" in line for line in estimate_lines(load_config("cpu"), None))


def test_the_plan_is_of_the_papers_cells():
    """156.2 s a problem, and 2,596 tokens, on the six benchmarks of two models."""
    alone, aside = paper_plan()
    generations = 2 * (500 + 30 + 30 + 198 + 40 + 100) * 6 * 3
    assert f"{generations:,} generations: {generations * 156.2 / 3600:,.0f} GPU-hours" in alone
    rate = measured_rate("orz-7b").tokens_per_second
    hours = generations * 2596 / rate / 3600
    assert aside.startswith(f"{hours:,.0f} GPU-hours, which is {hours / 8:.1f} hours on eight GPUs, at {rate:,.0f} ")


def test_the_papers_evaluation_is_planned_beside_its_model_alone():
    paper = [load_config("paper", name) for name in load_config("paper").backbones]
    assert [line.split(": ", 1)[1] for line in estimate_of(paper)[-2:]] == paper_plan()
    assert estimate_of([load_config("cpu")]) == estimate_lines(load_config("cpu"), None)
    assert "  a GPU has 1.00 GB: " in "\n".join(estimate_of([load_config("cpu")], device=("a GPU", 1e9)))


def test_the_paper_s_models_are_estimated_in_the_guide():
    paper = [load_config("paper", name) for name in load_config("paper").backbones]
    assert "\n".join(estimate_of(paper)) in Path("docs/paper_scale.md").read_text("utf-8")
