"""Rewards along what steering repaired and broke: what the model reads token by token says, made once and kept."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import LinearDictionary, tiny_reward

from lrs.config import StatisticsSection, load_config
from lrs.engine.decoding import generate
from lrs.engine.requests import Request
from lrs.experiment import reward_paths
from lrs.experiment.evaluation import dictionary_key
from lrs.experiment.reward_paths import came_of_a_push, keep_paths, rewards_along
from lrs.method.ascent import Ascent
from lrs.method.gate import ALWAYS
from lrs.method.setting import Setting
from lrs.method.steering import Steering
from lrs.report.along import reward_ends
from lrs.tasks.prompts import prompt_ids, text_of

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
    digests, reward = {dictionary_key("sae"): "a", "token": "b"}, tiny_reward("token")
    sae = LinearDictionary()
    artifacts = SimpleNamespace(
        layer=LAYER,
        digests=digests,
        dictionaries={"sae": sae},
        rewards={"token": reward},
        steering=lambda arm, setting: Steering(LAYER, sae, reward, ALWAYS, Ascent(1, setting.step_size)),
    )
    settings = {"lrs": Setting(arm="lrs", num_steps=1, step_size=1.0)}
    given = tiny_backbone, artifacts, problems, outcomes, settings, load_config("smoke"), tmp_path / "paths"
    paths = keep_paths(*given)
    assert paths[["by", "problem_id", "change", "arm", "text"]].values.tolist() == [
        ["lrs", problems[0].id, "repaired", "base", TEXTS[0]],
        ["lrs", problems[0].id, "repaired", "lrs", TEXTS[1]],
    ]
    assert [len(pushed) for pushed in paths["pushed"]] == [0, 0]  # no answer that this model writes
    for rewards, text in zip(paths["rewards"], TEXTS, strict=True):
        np.testing.assert_allclose(rewards, naive_rewards(tiny_backbone, problems[0], text), atol=1e-9)
    monkeypatch.setattr(reward_paths, "rewards_along", lambda *again: pytest.fail("made again"))
    assert keep_paths(*given).equals(paths)
    digests["token"] = "another"
    with pytest.raises(pytest.fail.Exception, match="made again"):
        keep_paths(*given)


@pytest.mark.parametrize("step_size", [0.0, 3.0])
def test_tokens_that_came_of_a_push_are_those_that_would_else_be_others(tiny_backbone, problems, step_size):
    """Written anew token by token: steered up to each place, and not at it."""
    steering = Steering(LAYER, LinearDictionary(), tiny_reward("token"), ALWAYS, Ascent(1, step_size))
    request = Request(prompt_ids(problems[0], tiny_backbone.tokenizer), problems[0].id)
    how = {"max_new_tokens": 12, "batch_size": 1, "end_ids": [tiny_backbone.tokenizer.eos_token_id]}
    (written,) = generate(tiny_backbone.model, [request], **how, steering=steering)
    text = text_of(written.token_ids, tiny_backbone.tokenizer)
    pushed = came_of_a_push(tiny_backbone, steering, problems[0], text, 12)
    assert len(pushed) == len(written.token_ids) - 1
    assert any(pushed) == bool(step_size)
    assert came_of_a_push(tiny_backbone, steering, problems[0], text + " 1", 12) == []


def test_the_cliff_before_the_end_by_hand():
    """The last three tokens against the 11th to 20th last; shorter traces are left out."""
    path = [0.9] * 5 + [0.8] * 10 + [0.3] * 7 + [0.2, 0.2, 0.2]
    rows = [{"by": "lrs", "change": "broken", "arm": arm, "rewards": path} for arm in ("base", "lrs") for _ in range(3)]
    rows += [{"by": "lrs", "change": "repaired", "arm": "base", "rewards": [0.5] * 19}] * 2
    rows += [{"by": "lrs", "change": "repaired", "arm": "lrs", "rewards": [0.5] * 30}]  # one is no interval
    statistics = StatisticsSection(confidence_level=0.95, bootstrap_resamples=100)
    table = reward_ends(pd.DataFrame(rows), statistics)
    assert list(reward_ends(pd.DataFrame(columns=["by", "change", "arm", "rewards"]), statistics).columns) == list(
        table
    )
    assert table[["change", "arm", "n"]].to_numpy().tolist() == [["broken", "base", 3], ["broken", "lrs", 3]]
    assert table["before"].tolist() == pytest.approx([0.8, 0.8])
    assert table["end"].tolist() == pytest.approx([0.2, 0.2])
    for column in ("fall", "low", "high"):
        assert table[column].tolist() == pytest.approx([-0.6, -0.6])
