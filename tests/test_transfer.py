"""Rewards that are asked about other benchmarks: what carries over does, what does not does not."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import sparse_traces

from lrs.bench.transfer import measure_transfer, only, transfer_table
from lrs.config import load_config
from lrs.core.kept import keep
from lrs.figures.transfer import transfer_figure
from lrs.learning.latents import save_latents
from lrs.tasks.problems import Problem, save_problems


@pytest.fixture
def config():
    loaded = load_config("cpu")
    reward = loaded.reward.model_copy(update={"epochs": 12, "patience": 12, "width": 16, "early_stopping_share": 0.3})
    statistics = loaded.statistics.model_copy(update={"bootstrap_resamples": 100})
    return loaded.model_copy(update={"reward": reward, "statistics": statistics})


def toy(signs):
    """Traces of benchmarks in which the first latent tells right from wrong, one way or the other."""
    generator = torch.Generator().manual_seed(0)
    dense, correct, problems, benchmarks = [], [], [], []
    for name, sign in signs.items():
        for number in range(120):
            right = number % 2 == 0
            trace = torch.rand(6, 5, generator=generator) * 0.3 + 0.1
            trace[:, 0] += 0.5 * ((right == (sign > 0)) + 0.2)
            dense.append(trace)
            correct.append(right)
            problems.append(f"{name}{number // 4}")
            benchmarks.append(name)
    return sparse_traces(dense, correct, problems), np.array(benchmarks), dense


def test_some_traces_alone_are_what_they_were():
    latents, _, dense = toy({"a": 1, "b": -1})
    some = only(latents, np.array([7, 3, 200]))
    found, mask = some.dense(np.arange(3))
    assert mask.all()
    for row, trace in enumerate((7, 3, 200)):
        assert torch.allclose(found[row], dense[trace])
    assert some.problem_ids.tolist() == latents.problem_ids[[7, 3, 200]].tolist()
    assert some.correct.tolist() == latents.correct[[7, 3, 200]].tolist()


def test_what_means_the_same_carries_over_and_what_means_the_contrary_misleads(config):
    latents, benchmarks, _ = toy({"a": 1, "b": 1, "c": -1})
    table = transfer_table(latents, benchmarks, config).set_index(["learned_from", "asked_about"])
    assert table.loc[("a", "b"), "auroc"] > 0.9
    assert table.loc[("a", "c"), "auroc"] < 0.1
    assert table.loc[("a", "b"), "auroc_within"] > 0.9
    assert set(table.index.get_level_values("learned_from")) == {"a", "b", "c", "all"}
    assert ((table["low"] <= table["auroc"]) & (table["auroc"] <= table["high"])).all()
    assert len(transfer_figure(table.reset_index(), about="toy").axes) == 2


def test_it_is_measured_on_what_is_kept(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    latents, benchmarks, _ = toy({"countdown": 1, "chain_sum": -1})
    names = dict(zip(latents.problem_ids, benchmarks, strict=True))
    problems = [Problem(name, benchmark, "?", "", {}, "reward") for name, benchmark in names.items()]
    save_problems(problems, config.data / "problems")
    keep(config.data / "latents", "latents", {}, lambda made: save_latents(latents, made))
    table = measure_transfer(config)
    kept = pd.read_csv(tmp_path / "data/transfer/cpu-pocket-3m.csv")
    assert kept["auroc"].tolist() == pytest.approx(table["auroc"].tolist(), abs=1e-5)
