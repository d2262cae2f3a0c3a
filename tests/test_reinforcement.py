"""Reinforcement learning: its gradient is the policy gradient, it learns what is rewarded, and it resumes."""

import json
import shutil

import pandas as pd
import pytest
import torch
import yaml
from conftest import DIFFICULTY, tiny_llama
from safetensors.torch import load_file
from test_pretraining import RECIPE, files_of

from lrs.learning.policy_gradient import advantages, attempt_batches, policy_loss, update
from lrs.models.backbones import load_backbone
from lrs.reasoners import reinforcement
from lrs.reasoners.pretraining import build_model
from lrs.reasoners.recipes import ReinforcementRecipe, learning_rate_at, load_recipe
from lrs.reasoners.reinforcement import attempt, questions_of, reinforce_reasoner
from lrs.reasoners.tokenizer import build_tokenizer
from lrs.tasks.behaviors import BEHAVIORS

RL = ReinforcementRecipe(
    parent="parent",
    seed=0,
    steps=4,
    questions=2,
    attempts=3,
    max_new_tokens=6,
    rows_per_batch=4,
    learning_rate=0.02,
    warmup_fraction=0.0,
    checkpoint_every=2,
    problems_per_benchmark=6,
    benchmarks={name: DIFFICULTY[name] for name in ("number_sorting", "chain_sum")},
)
ATTEMPTS = [([3, 4, 5], [6, 7]), ([8], [9, 10, 11, 2]), ([12, 13], [14]), ([15, 16], [17, 18, 19])]


def test_advantages_are_against_the_mean_of_the_problems_attempts():
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]])
    expected = torch.tensor([[0.5, -0.5, -0.5, 0.5], [0.0] * 4, [-0.25, -0.25, 0.75, -0.25]])
    torch.testing.assert_close(advantages(rewards), expected)


def naive_gradients(model, attempts, advantage):
    """Sum over attempts and their tokens of minus advantage * gradient of log p(token | before), a token at a time."""
    model.zero_grad()
    for (prompt, answer), weight in zip(attempts, advantage.tolist(), strict=True):
        for position, token in enumerate(answer):
            logits = model(input_ids=torch.tensor([prompt + answer[:position]])).logits[0, -1]
            (-weight * logits.log_softmax(-1)[token]).backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def test_the_gradient_is_the_policy_gradient_in_any_batches():
    model = tiny_llama().requires_grad_(True)
    advantage = torch.tensor([0.5, -1.0, 0.0, 2.0], dtype=torch.float64)
    expected = naive_gradients(model, ATTEMPTS, advantage)
    for rows in (1, 2, 4):
        model.zero_grad()
        for tokens, written, chosen in attempt_batches(ATTEMPTS, advantage, rows):
            policy_loss(model(input_ids=tokens).logits, tokens, written, advantage[chosen]).backward()
        for parameter, gradient in zip(model.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, atol=1e-5, rtol=1e-5)  # surprise is of float32


def test_an_update_makes_the_better_attempt_likelier_and_equal_ones_change_nothing():
    model = tiny_llama().requires_grad_(True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)

    def log_probability(number):
        prompt, answer = ATTEMPTS[number]
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        return sum(logits[len(prompt) - 1 + index, token].item() for index, token in enumerate(answer))

    before = [log_probability(number) for number in range(4)]
    update(model, optimizer, ATTEMPTS, torch.zeros(4), rows_per_batch=4)
    assert [log_probability(number) for number in range(4)] == before
    update(model, optimizer, ATTEMPTS, torch.tensor([1.0, -1.0, 0.0, 0.0]), rows_per_batch=4)
    assert log_probability(0) > before[0]
    assert log_probability(1) < before[1]


def test_an_update_in_which_memory_was_short_is_the_same_update(capsys):
    advantage, moved = torch.tensor([0.5, -1.0, 1.0, 2.0], dtype=torch.float64), {}
    for rows, fails in ((4, False), (1, False), (2, True)):
        model, calls = tiny_llama().requires_grad_(True), []

        def run_short(parameter, calls=calls, fails=fails):
            calls.append(parameter)
            if fails and len(calls) == 2:  # amid the second batch's backward pass
                raise torch.OutOfMemoryError("no room")

        model.lm_head.weight.register_post_accumulate_grad_hook(run_short)
        update(model, torch.optim.SGD(model.parameters(), lr=0.5), ATTEMPTS, advantage, rows_per_batch=rows)
        moved[rows] = list(model.parameters())
    assert capsys.readouterr().err == "policy gradient: out of memory with 2 rows side by side; going on with 1\n"
    for once, one, four in zip(moved[2], moved[1], moved[4], strict=True):
        assert torch.equal(once, one)
        torch.testing.assert_close(once, four, atol=1e-5, rtol=1e-5)  # surprise is of float32
    assert not torch.allclose(moved[2][0], next(tiny_llama().parameters()), atol=1e-3)


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """The folder of an untrained reasoner."""
    folder = tmp_path_factory.mktemp("reasoners") / "parent"
    tokenizer = build_tokenizer()
    build_model(RECIPE, tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE.model_dump()))
    return folder


def child(parent, name, recipe=RL):
    folder = parent.parent / name
    folder.mkdir()
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump()))
    assert load_recipe(folder) == recipe
    return folder


@pytest.fixture(autouse=True)
def rewarded(monkeypatch):
    """About half of the answers are right, whatever an untrained model writes."""
    monkeypatch.setattr("lrs.experiment.traces.is_correct", lambda problem, text: len(text) % 2 == 0)


@pytest.fixture(scope="module")
def problems(drawn_problems):
    return {name: [one for one in drawn_problems[name] if one.split == "train"] for name in RL.benchmarks}


def test_attempts_are_sampled_by_step_and_belong_to_their_prompts(parent, problems):
    backbone = load_backbone(str(parent))
    asked = questions_of(problems, RL, step=1)
    assert [problem.benchmark for problem in asked] == ["number_sorting"] * 2 + ["chain_sum"] * 2
    assert questions_of(problems, RL, step=1) == asked != questions_of(problems, RL, step=2)
    table, ids = attempt(backbone, asked, RL, step=1)
    assert table["problem_id"].tolist() == [problem.id for problem in asked for _ in range(3)]
    assert table["seed"].tolist() == [4, 5, 6] * 4
    assert table["text"].tolist() == [backbone.tokenizer.decode(answer) for _, answer in ids]
    assert all(problem.question in backbone.tokenizer.decode(ids[3 * i][0]) for i, problem in enumerate(asked))
    again, _ = attempt(backbone, asked, RL, step=1)
    assert again["text"].tolist() == table["text"].tolist()
    other, _ = attempt(backbone, asked, RL, step=2)
    assert other["text"].tolist() != table["text"].tolist()


def test_what_is_rewarded_is_learned(parent, monkeypatch):
    monkeypatch.setattr("lrs.experiment.traces.is_correct", lambda problem, text: "(" in text.split())
    update = {"steps": 40, "questions": 6, "attempts": 12, "checkpoint_every": 40, "learning_rate": 0.05}
    folder = child(parent, "pupil", RL.model_copy(update=update))
    reinforce_reasoner(folder, parent.parent / "scratch-pupil")
    curve = pd.read_csv(folder / "curve.csv")
    assert list(curve) == ["step", "benchmark", "correct", "tokens", "truncated", *BEHAVIORS]
    assert len(curve) == 80
    right = curve.groupby("step")["correct"].mean()
    assert right[:3].mean() < 0.2
    assert right[-3:].mean() > 0.8
    assert load_backbone(str(folder)).name == "pupil"


def test_an_update_is_a_step_along_the_mean_over_all_tokens(monkeypatch):
    advantage = torch.tensor([0.5, -1.0, 0.0, 2.0], dtype=torch.float64)
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda parameters, norm: None)
    model, moved = tiny_llama().requires_grad_(True), tiny_llama().requires_grad_(True)
    gradients = naive_gradients(model, ATTEMPTS, advantage)
    update(moved, torch.optim.SGD(moved.parameters(), lr=0.5), ATTEMPTS, advantage, rows_per_batch=2)
    count = sum(len(answer) for _, answer in ATTEMPTS)
    for before, after, gradient in zip(model.parameters(), moved.parameters(), gradients, strict=True):
        torch.testing.assert_close(after, before - 0.5 * gradient / count, atol=1e-5, rtol=1e-5)


def test_a_step_compares_the_attempts_at_one_problem_on_policy_at_the_scheduled_rate(parent, tmp_path, monkeypatch):
    seen, asked, rates = [], [], []
    real_attempt, real_generate = reinforcement.attempt, reinforcement.generate

    def watched(*given):
        seen.append(real_attempt(*given)[0])
        return real_attempt(*given)

    def learned(model, optimizer, ids, advantage, rows):
        table = seen[-1].assign(correct=seen[-1]["correct"].astype(float))
        expected = table["correct"] - table.groupby("problem_id")["correct"].transform("mean")
        assert advantage.tolist() == pytest.approx(expected.tolist(), abs=1e-6)
        rates.append(optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(reinforcement, "attempt", watched)
    monkeypatch.setattr(reinforcement, "generate", lambda m, r, **more: asked.extend(r) or real_generate(m, r, **more))
    monkeypatch.setattr(reinforcement, "update", learned)
    folder = child(parent, "watched")
    reinforce_reasoner(folder, tmp_path)
    assert 0 < pd.concat(seen)["correct"].mean() < 1
    assert {request.temperature for request in asked} == {1.0}
    assert rates == [learning_rate_at(step, RL) for step in range(RL.steps)]
    shutil.rmtree(folder)


def test_another_parent_starts_anew(parent, tmp_path):
    folder = child(parent, "orphan")
    reinforce_reasoner(folder, tmp_path)
    first = (folder / "model.safetensors").read_bytes()
    reinforce_reasoner(folder, tmp_path)  # all steps are done
    assert (folder / "model.safetensors").read_bytes() == first
    weights = (parent / "model.safetensors").read_bytes()
    other = build_model(RECIPE.model_copy(update={"seed": 1}), build_tokenizer())
    other.save_pretrained(parent)
    reinforce_reasoner(folder, tmp_path)
    assert (folder / "model.safetensors").read_bytes() != first
    (parent / "model.safetensors").write_bytes(weights)
    shutil.rmtree(folder)


@pytest.mark.parametrize("step", [1, 3])
def test_killed_training_resumes_to_the_same_bytes(parent, tmp_path, monkeypatch, step):
    whole, killed = child(parent, f"whole{step}"), child(parent, f"killed{step}")
    reinforce_reasoner(whole, tmp_path / "whole")
    with monkeypatch.context() as patch:
        real = reinforcement.attempt

        def die(*given):
            if given[3] == step:
                raise KeyboardInterrupt
            return real(*given)

        patch.setattr(reinforcement, "attempt", die)
        with pytest.raises(KeyboardInterrupt):
            reinforce_reasoner(killed, tmp_path / "killed")
    assert not (killed / "model.safetensors").exists()
    reinforce_reasoner(killed, tmp_path / "killed")
    assert files_of(killed) == files_of(whole)
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")
    trained, untrained = (load_file(made / "model.safetensors") for made in (whole, parent))
    assert all(not torch.equal(trained[name], untrained[name]) for name in trained)
    assert load_file(next((tmp_path / "whole").rglob("optimizer-4.safetensors")))
    assert json.loads((killed / "training.json").read_text())["device"] == "cpu"
    for folder in (whole, killed):
        shutil.rmtree(folder)
