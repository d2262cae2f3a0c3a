"""What a gate would see on unsteered traces, held to the oracle, and what it is made anew for."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from conftest import LinearDictionary, tiny_reward, tiny_steering
from datasets import Dataset
from oracle import naive_generate, naive_signal

from lrs.core.kept import keep
from lrs.core.store import write_rows
from lrs.engine.sampling import gate_lots
from lrs.experiment import signals
from lrs.experiment.signals import gate_signals, keep_signals
from lrs.method.gate import NEVER
from lrs.tasks.prompts import prompt_ids

OTHERS = ("certainty", "stability", "lot")


def test_gate_signals_are_what_the_oracles_gate_would_see(tiny_backbone, drawn_problems):
    """The reward at each processed token of unsteered traces, and the confidence with which that token was chosen."""
    problems = drawn_problems["countdown"][:3]
    rewards = {variant: tiny_reward(variant).float() for variant in ("token", "history")}
    rows, expected = [], []
    for problem, budget in zip(problems, (5, 2, 7), strict=True):
        prompt = prompt_ids(problem, tiny_backbone.tokenizer)
        naive = {v: naive_generate(tiny_backbone.model, prompt, [], budget, tiny_steering(v, NEVER)) for v in rewards}
        ids = naive["token"].token_ids
        logits = tiny_backbone.model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
        chosen = logits.softmax(dim=-1).amax(dim=-1).tolist()
        rows.append({"problem_id": problem.id, "seed": 0, "correct": True, "token_ids": ids, "confidence": chosen})
        confidence, lots = chosen[:-1], gate_lots(problem.id, 0, budget)
        for position in range(budget - 1):
            signals = {variant: naive[variant].rewards[position] for variant in rewards}
            signals["confidence"] = confidence[position]
            for signal in ("certainty", "stability"):
                signals[signal] = naive_signal(signal, logits.softmax(dim=-1)[: position + 1], None)
            signals["lot"] = lots[position]
            expected.append({"problem_id": problem.id, "position": position} | signals)
    bases = dict.fromkeys(rewards, "sae")
    artifacts = SimpleNamespace(layer=1, dictionaries={"sae": LinearDictionary()}, rewards=rewards, bases=bases)
    config = SimpleNamespace(decoding=SimpleNamespace(batch_size=2))
    keys = ["problem_id", "position"]
    found = gate_signals(tiny_backbone, Dataset.from_list(rows), problems, artifacts, config, OTHERS)
    found, wanted = (frame.sort_values(keys, ignore_index=True) for frame in (found, pd.DataFrame(expected)))
    pd.testing.assert_frame_equal(found[wanted.columns], wanted, atol=1e-4, check_dtype=False)


def test_what_no_gate_reads_is_not_made(tiny_backbone, drawn_problems, monkeypatch):
    problem = drawn_problems["countdown"][0]
    row = {"problem_id": problem.id, "seed": 0, "correct": True, "token_ids": [5, 6, 7], "confidence": [0.5] * 3}
    artifacts = SimpleNamespace(layer=1, dictionaries={"sae": LinearDictionary()}, bases={"token": "sae"})
    artifacts.rewards = {"token": tiny_reward("token").float()}
    config = SimpleNamespace(decoding=SimpleNamespace(batch_size=2))
    asked = tiny_backbone, Dataset.from_list([row]), [problem], artifacts, config
    monkeypatch.setattr(signals, "_distributions", lambda *read: pytest.fail("nobody reads it"))
    assert set(gate_signals(*asked)) == {"problem_id", "position", "token", "confidence"}
    assert "lot" in gate_signals(*asked, ("lot",))


def test_signals_are_made_once_for_the_rewards_and_traces_that_they_show(tiny_backbone, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(signals, "gate_signals", lambda *read: made.append(read) or pd.DataFrame({"token": [0.5]}))
    keep(tmp_path / "base", "base", {}, lambda folder: write_rows(folder / "part-00000.arrow", [{"a": 1}]))
    config = SimpleNamespace(decoding=SimpleNamespace(batch_size=2))
    digests = {"dictionary": "a", "token": "b", "history": "c"}
    for found in (digests, digests, digests | {"history": "d"}):
        artifacts = SimpleNamespace(digests=found)
        table = keep_signals(tiny_backbone, Dataset.from_list([]), [], artifacts, config, tmp_path / "signals")
        assert table["token"].tolist() == [0.5]
        assert json.loads((tmp_path / "signals" / "plan.json").read_text())["plan"]["artifacts"] == found
    assert len(made) == 2


def test_every_reward_is_asked_in_its_own_basis(tiny_backbone, drawn_problems):
    problems = drawn_problems["countdown"][:2]
    rows = [
        {"problem_id": problem.id, "seed": 0, "correct": True, "token_ids": [5, 6, 7, 8], "confidence": [0.5] * 4}
        for problem in problems
    ]
    other = LinearDictionary(seed=1)
    rewards = {name: tiny_reward("token").float() for name in ("token", "pca")}
    dictionaries, bases = {"sae": LinearDictionary(), "pca": other}, {"token": "sae", "pca": "pca"}
    artifacts = SimpleNamespace(layer=1, dictionaries=dictionaries, rewards=rewards, bases=bases)
    config = SimpleNamespace(decoding=SimpleNamespace(batch_size=2))
    found = gate_signals(tiny_backbone, Dataset.from_list(rows), problems, artifacts, config)
    artifacts.dictionaries = {"sae": other}
    artifacts.rewards = {"token": rewards["pca"]}
    alone = gate_signals(tiny_backbone, Dataset.from_list(rows), problems, artifacts, config)
    assert found["pca"].tolist() == alone["token"].tolist()
    assert found["pca"].tolist() != found["token"].tolist()
