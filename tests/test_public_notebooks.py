"""Profile `paper` through its notebooks, from traces to figures, in a clone of HEAD: a tiny model and small data sets
stand for the hub's."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from conftest import clone
from small_hub import FEW_SAMPLES, SHAPE, SMALL, half_right, write_data
from transformers import Qwen2Config, Qwen2ForCausalLM

from lrs.pipeline.profile_copy import run_dvc, select_profile
from lrs.tasks.benchmarks import BENCHMARKS
from lrs.tasks.hub import LOCK

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which the profile was run, on one of its backbones, at its own precision."""
    home = tmp_path_factory.mktemp("paper")
    root, stands = clone(home / "clone"), home / "stands"
    write_data(stands)
    torch.manual_seed(0)
    half_right(stands / "Open-Reasoner-Zero--Open-Reasoner-Zero-7B", Qwen2ForCausalLM(Qwen2Config(**SHAPE)))
    path = root / "profiles/paper.yaml"
    profile = yaml.safe_load(path.read_text())
    for section, update in SMALL.items():
        profile[section] |= update
    profile["steering"]["sampling"] |= FEW_SAMPLES
    profile |= {"device": "cpu", "backbones": {"orz-7b": profile["backbones"]["orz-7b"] | {"layer": 1}}}
    path.write_text(yaml.safe_dump(profile, sort_keys=False))
    select_profile(root, "paper")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("LRS_DATA", str(stands))
        patch.setenv("HF_DATASETS_CACHE", str(home / "cache"))
        assert run_dvc(root, "repro") == 0
    return root


def test_every_notebook_was_run_on_what_stands_for_the_hub(made: Path):
    executed = {path.stem for path in (made / "notebooks/executed/paper").rglob("*.ipynb")}
    assert executed == {path.stem for path in (made / "notebooks").glob("*.ipynb")}
    assert all(name.startswith("files of ") for name in json.loads((made / LOCK).read_text()))  # no revision of a hub


def test_the_main_table_holds_every_arm_on_every_benchmark(made: Path):
    profile = yaml.safe_load((made / "profiles/paper.yaml").read_text())
    tested = {name for name in profile["benchmarks"] if BENCHMARKS[name].transfer}
    table = pd.read_csv(made / "figures/paper/main_results.csv")
    found = set(table[["decoding", "benchmark", "arm"]].itertuples(index=False, name=None))
    assert len(tested) == 6
    assert found == {
        (decoding, benchmark, arm)
        for decoding in ("greedy", "sampled")
        for benchmark in {*tested, "pooled"}
        for arm in profile["steering"]["arms"]
    }
    assert table["accuracy"].between(0, 1).all()
    assert table["delta"].notna().any()


def test_its_figures_are_drawn(made: Path):
    folder = made / "figures/paper"
    assert {"method", "delta", "selection", "reward_roc", "push_paths"} <= {path.stem for path in folder.rglob("*.png")}
    assert all(path.stat().st_size > 1000 for path in folder.rglob("*.png"))
