"""Rewards along what steering repaired and broke: what the model reads token by token says, made once and kept."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import LinearDictionary, tiny_reward

from lrs.config import StatisticsSection, load_config
from lrs.experiment import reward_paths
from lrs.experiment.evaluation import dictionary_key
from lrs.experiment.reward_paths import keep_paths, rewards_along
from lrs.report.along import reward_ends
from lrs.tasks.prompts import prompt_ids

LAYER = 1
TEXTS = ["<think> b 3 + 4 = 7 . </think> answer 7", "<think> goal 3 + 4 : b 3 + 4 = 8 . </think> answer 8"]


@pytest.fixture
def problems(drawn_problems):
    return drawn_problems["chain_sum"][:2]


def naive_rewards(backbone, problem, text) -> np.ndarray:
    """Of one answer, by one pass over all that was written but the last token."""
    prompt = prompt_ids(problem, backbone.tokenizer)
    ids = prompt + backbone.tokenizer(text, add_special_tokens=False)["input_ids"][:-1]
    with torch.no_grad():
        states = backbone.model(torch.tensor([ids]), output_hidden_states=True).hidden_states[LAYER + 1]
        latents = LinearDictionary().encode(states[0, len(prompt) :])
        return torch.sigmoid(tiny_reward("token")(latents[None])[0]).numpy()


def test_rewards_are_those_of_every_answer_by_itself(tiny_backbone, problems):
    read = tiny_backbone, LAYER, LinearDictionary(), tiny_reward("token")
    found = rewards_along(*read, problems, TEXTS, batch_size=8)
    for rewards, problem, text in zip(found, problems, TEXTS, strict=True):
        np.testing.assert_allclose(rewards, naive_rewards(tiny_backbone, problem, text), atol=1e-9)


def test_paths_are_of_what_changed_and_are_made_once(tiny_backbone, problems, tmp_path, monkeypatch):
    right = {("base", 0): False, ("lrs", 0): True, ("base", 1): True, ("lrs", 1): True}
    outcomes = pd.DataFrame(
        [
            {"problem_id": problems[n].id, "arm": arm, "decoding": "greedy", "correct": correct}
            | {"text": TEXTS[arm == "lrs"]}
            for (arm, n), correct in right.items()
        ]
    )
    digests = {dictionary_key("sae"): "a", "token": "b"}
    artifacts = SimpleNamespace(
        layer=LAYER, digests=digests, dictionaries={"sae": LinearDictionary()}, rewards={"token": tiny_reward("token")}
    )
    given = tiny_backbone, artifacts, problems, outcomes, "lrs", load_config("smoke"), tmp_path / "paths"
    paths = keep_paths(*given)
    assert paths[["problem_id", "change", "arm", "text"]].values.tolist() == [
        [problems[0].id, "repaired", "base", TEXTS[0]],
        [problems[0].id, "repaired", "lrs", TEXTS[1]],
    ]
    for rewards, text in zip(paths["rewards"], TEXTS, strict=True):
        np.testing.assert_allclose(rewards, naive_rewards(tiny_backbone, problems[0], text), atol=1e-9)
    monkeypatch.setattr(reward_paths, "rewards_along", lambda *again: pytest.fail("made again"))
    assert keep_paths(*given).equals(paths)
    digests["token"] = "another"
    with pytest.raises(pytest.fail.Exception, match="made again"):
        keep_paths(*given)


def test_the_cliff_before_the_end_by_hand():
    """The last three tokens against the 11th to 20th last; shorter traces are left out."""
    path = [0.9] * 5 + [0.8] * 10 + [0.3] * 7 + [0.2, 0.2, 0.2]
    rows = [{"change": "broken", "arm": arm, "rewards": path} for arm in ("base", "lrs") for _ in range(3)]
    rows += [{"change": "repaired", "arm": "base", "rewards": [0.5] * 19}] * 2
    rows += [{"change": "repaired", "arm": "lrs", "rewards": [0.5] * 30}]  # one is no interval
    statistics = StatisticsSection(confidence_level=0.95, bootstrap_resamples=100)
    table = reward_ends(pd.DataFrame(rows), statistics)
    assert list(reward_ends(pd.DataFrame(columns=["change", "arm", "rewards"]), statistics).columns) == list(table)
    assert table[["change", "arm", "n"]].to_numpy().tolist() == [["broken", "base", 3], ["broken", "lrs", 3]]
    assert table["before"].tolist() == pytest.approx([0.8, 0.8])
    assert table["end"].tolist() == pytest.approx([0.2, 0.2])
    for column in ("fall", "low", "high"):
        assert table[column].tolist() == pytest.approx([-0.6, -0.6])
