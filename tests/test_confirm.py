"""Confirmation: problems come from the selection's digest and were never seen, and every attempt is on record."""

import json

import pandas as pd
import pytest
import torch

from lrs.bench.confirm import confirm, enter, fresh_problems
from lrs.config import load_config
from lrs.method.dictionary import load_dictionary
from lrs.method.reward import load_reward
from lrs.saved import selection_digest
from lrs.tasks.problems import draw_problems

DIGESTS = ["ab12" * 16, "cd34" * 16]


@pytest.fixture
def config():
    return load_config("power")


def test_fresh_problems_follow_from_the_digest_and_are_unknown(config):
    one, other = (fresh_problems(digest, 20, [], config) for digest in DIGESTS)
    assert [problem.id for problem in one] == [problem.id for problem in fresh_problems(DIGESTS[0], 20, [], config)]
    assert not {problem.id for problem in one} & {problem.id for problem in other}
    assert {problem.split for problem in one} == {"test"}
    without = fresh_problems(DIGESTS[0], 20, one[:5], config)
    assert len({problem.id for problem in without}) == 20
    assert not {problem.id for problem in without} & {problem.id for problem in one[:5]}
    assert [problem.id for problem in without][:15] == [problem.id for problem in one[5:]]


def test_the_log_only_grows_and_a_selection_is_confirmed_in_one_way(tmp_path):
    home = tmp_path / "new"
    log, entry = home / "log.jsonl", {"selection": "a", "backbone": "one", "problems": 10, "arms": ["base"]}
    first_line = enter(entry, home)
    first = log.read_text()
    assert enter(entry, home) == first_line  # resumed
    assert first_line["attempt"] == 1
    assert log.read_text() == first
    assert json.loads(first).items() >= entry.items()
    with pytest.raises(ValueError, match=r"selection of one was confirmed once and for all, with problems 10 \(got"):
        enter(entry | {"problems": 20}, home)
    with pytest.raises(ValueError, match=r"with arms \['base'\]"):
        enter(entry | {"arms": ["base", "lrs"]}, home)
    assert enter(entry | {"backbone": "two", "problems": 20}, home)["attempt"] == 1
    assert enter(entry | {"selection": "b", "problems": 20}, home)["attempt"] == 2  # at that backbone
    assert enter(entry, home) == first_line
    assert log.read_text().startswith(first)
    assert len(log.read_text().splitlines()) == 3


def test_a_frozen_selection_is_confirmed_on_problems_it_could_not_know(small_power, ran, tmp_path, monkeypatch):
    problems = ran.problems
    monkeypatch.setattr("lrs.bench.confirm.load_backbone", lambda *arguments: ran.backbone)
    folder = confirm(small_power, 3)
    harder = {"chain_sum": small_power.benchmarks["chain_sum"] | {"max_terms": 6}}
    with pytest.raises(ValueError, match="confirmed once and for all, with asked"):
        confirm(small_power.model_copy(update={"benchmarks": harder}), 3)
    with pytest.raises(ValueError, match="power has no arm 'lrs_basic'; legal: base, cot, lrs, lrs_causal"):
        confirm(small_power, 3, ["lrs_basic"])
    few = pd.read_csv(confirm(small_power, 3, ["lrs"], tmp_path / "few") / "results.csv")
    assert set(few["arm"]) == {"base", "lrs"}
    results = pd.read_csv(folder / "results.csv")
    assert set(results["n"]) == {3}
    assert set(results["arm"]) == set(small_power.steering.arms)
    assert set(results["decoding"]) == {"greedy", "sampled"}
    controls = pd.read_csv(folder / "controls.csv").set_index(["benchmark", "decoding", "arm"])
    assert set(controls["reference"]) == {"lrs_causal"}
    over = results.set_index(["benchmark", "decoding", "arm"])
    place = ("pooled", "greedy")
    assert controls.loc[(*place, "base"), "delta"] == pytest.approx(-over.loc[(*place, "lrs_causal"), "delta"])
    samples = pd.read_csv(folder / "against_greedy.csv").set_index(["benchmark", "arm"])
    assert set(samples["decoding"]) == {"sampled"}
    for benchmark in set(results["benchmark"]):
        reference = over.loc[(benchmark, "greedy", "base"), "accuracy"]
        assert samples.loc[(benchmark, "greedy"), "accuracy"] == pytest.approx(reference)
        for arm in small_power.steering.arms:
            row = samples.loc[(benchmark, arm)]
            assert row["accuracy"] == pytest.approx(over.loc[(benchmark, "sampled", arm), "accuracy"])
            assert row["delta"] == pytest.approx(row["accuracy"] - reference)
    digest = selection_digest(small_power.data / "selection.json")
    (line,) = (tmp_path / "data/confirm/log.jsonl").read_text().splitlines()
    assert json.loads(line)["selection"] == digest == folder.name == selection_digest(folder / "selection.json")
    known = {problem.id for problem in problems}
    assert not {problem.id for problem in fresh_problems(digest, 3, problems, small_power)} & known
    assert {path.name for path in (folder / "fitted").iterdir()} == {"sae", "token", "causal"}
    assert {path.name for path in (tmp_path / "few").glob("*/*/*/fitted/*")} == {"sae", "token"}
    kept, made = (load_reward(place / "causal") for place in (folder / "fitted", small_power.data / "reward"))
    dictionary = load_dictionary(folder / "fitted/sae", ran.backbone.identity, small_power.backbone.layer)
    assert torch.equal(dictionary.W_dec, load_dictionary(small_power.data / "sae").W_dec)
    latents = dictionary.encode(torch.randn(4, ran.backbone.d_model))
    assert torch.equal(kept.direction(latents), made.direction(latents))
    page = (folder / "README.md").read_text()
    assert "on 3 problems a benchmark" in page
    assert "## Against `lrs_causal`" in page
    assert "## Samples against the unsteered model's greedy answers" in page


def test_problems_of_other_splits_cannot_be_drawn(config):
    ((benchmark, difficulty),) = config.benchmarks.items()
    others = draw_problems(benchmark, difficulty, {"validation": 5, "reward": 5}, int(DIGESTS[0][:8], 16))
    assert not {problem.id for problem in others} & {
        problem.id for problem in fresh_problems(DIGESTS[0], 20, [], config)
    }
