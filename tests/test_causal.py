"""Causal rewards: the replay reads what the engine writes, the gradient is the policy gradient, training works."""

import json
import shutil
from dataclasses import replace

import pandas as pd
import pytest
import torch
from conftest import tiny_llama, tiny_reward, tiny_steering
from oracle import naive_generate
from torch.nn.attention import SDPBackend, sdpa_kernel

from lrs.config import CausalSection, load_config
from lrs.engine.decoding import generate
from lrs.engine.requests import Request
from lrs.experiment import causal, on_policy
from lrs.experiment.causal import begin, causal_step, dealt, difficulty, normalised, train_causal
from lrs.experiment.on_policy import problems_of
from lrs.experiment.reading import replay_steered
from lrs.method.arms import REWARDS
from lrs.method.gate import ALWAYS
from lrs.tasks.problems import by_benchmark

BUDGET = 12
SECTION = CausalSection(
    iterations=4,
    problems=4,
    attempts=3,
    temperature=0.7,
    step_size=0.8,
    learning_rate=0.01,
    joint_weight=0.3,
    rows_per_batch=4,
    checkpoint_every=2,
)


def padded(ids):
    """Tokens of attempts, padded on the right, and which of them are generated and processed."""
    longest = max(len(prompt) + len(answer) for prompt, answer in ids)
    tokens = torch.zeros(len(ids), longest, dtype=torch.long)
    steered = torch.zeros_like(tokens, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(ids):
        tokens[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        steered[row, len(prompt) : len(prompt) + len(answer) - 1] = True
    return tokens, steered


@pytest.mark.parametrize(
    "variant", ["token", "history", "linear", "potential", "free", "along", "gated", "shift", "fresh"]
)
@pytest.mark.parametrize("num_steps", [1, 2])
def test_a_replay_reads_what_the_steered_model_wrote(model, prompts, variant, num_steps):
    steering = tiny_steering(variant, ALWAYS, num_steps)
    requests = [Request(prompt, str(row), 1, 0.7) for row, prompt in enumerate(prompts)]
    written = generate(model, requests, max_new_tokens=BUDGET, batch_size=4, end_ids=[2], steering=steering)
    ids = [(prompt, generation.token_ids) for prompt, generation in zip(prompts, written, strict=True)]
    tokens, steered = padded(ids)
    replayed = replay_steered(model, steering, tokens, steered)
    sure = replayed.logits.softmax(dim=-1).amax(dim=-1)
    for row, ((prompt, answer), generation) in enumerate(zip(ids, written, strict=True)):
        places = range(len(prompt) - 1, len(prompt) + len(answer) - 1)
        assert sure[row, places].tolist() == pytest.approx(generation.confidence, abs=1e-6)
    assert replayed.rewards.shape == (int(steered.sum()),)
    before = [generation.steering.reward_before for generation in written if len(generation.token_ids) > 1]
    means = [part.sigmoid().mean().item() for part in replayed.rewards.split(steered.sum(dim=1).tolist()) if len(part)]
    assert means == pytest.approx(before)


def test_greedy_steered_by_the_oracle_is_most_likely_in_the_replay(model, prompts):
    steering = tiny_steering("token", ALWAYS)
    for prompt in prompts[:4]:
        answer = naive_generate(model, prompt, [2], BUDGET, steering).token_ids
        tokens, steered = padded([(prompt, answer)])
        likeliest = replay_steered(model, steering, tokens, steered).logits.argmax(dim=-1)[0]
        assert likeliest[len(prompt) - 1 : -1].tolist() == answer


@pytest.mark.parametrize("variant", ["token", "history"])
def test_a_replay_in_which_nothing_is_pushed_reads_the_model_as_it_is(model, variant):
    tokens = torch.ones(2, 4, dtype=torch.long)
    replayed = replay_steered(model, tiny_steering(variant, ALWAYS), tokens, tokens == 0)
    assert torch.equal(replayed.logits, model(tokens).logits)
    assert replayed.rewards.shape == (0,)


def naive_objective(model, steering, ids, advantage, offset, right, section):
    """From the equations, an attempt at a time, in log-probabilities of the pushed model; to a reward that sees them,
    the moved latents before are constant."""
    total, count, everywhere = 0.0, 0, []
    for (prompt, answer), how, base, is_right in zip(ids, advantage, offset, right, strict=True):
        if how == 0:
            continue
        tokens = torch.tensor([prompt + answer])
        hidden = model(tokens, output_hidden_states=True).hidden_states[steering.layer + 1]
        pushes, fits, past = torch.zeros_like(hidden), [], []
        for place in range(len(prompt), len(prompt) + len(answer) - 1):
            latent = steering.dictionary.encode(hidden[0, place]).requires_grad_()
            reward = steering.reward(torch.stack([*past, latent])[None])[0, -1]
            (slope,) = torch.autograd.grad(reward, latent, create_graph=True)
            push = steering.ascent.step_size * slope / slope.norm()
            past.append((latent + push).detach())
            pushes = pushes.index_put(
                (torch.tensor(0), torch.tensor(place)),
                push @ steering.dictionary.W_dec / steering.dictionary.input_scale,
            )
            probability = torch.sigmoid(reward + base)
            fits.append(-torch.log(probability if is_right else 1 - probability))
        handle = model.model.layers[steering.layer].register_forward_hook(
            lambda _, __, output, pushes=pushes: output + pushes
        )
        try:
            logits = model(tokens).logits[0]
        finally:
            handle.remove()
        chances = (logits / section.temperature).log_softmax(dim=-1)
        said = sum(chances[len(prompt) - 1 + t, token] for t, token in enumerate(answer))
        total = total - how * said + section.joint_weight * sum(fits)
        count += len(answer)
        everywhere += list(pushes[0, len(prompt) : len(prompt) + len(answer) - 1])
    mean = sum(everywhere) / len(everywhere)
    unit = section.step_size / steering.dictionary.input_scale
    return (total + section.mean_weight * (mean @ mean) / unit**2 * len(everywhere)) / count


class Still(torch.optim.SGD):
    """An optimizer that lets one read the gradient."""

    def step(self, closure=None):
        pass


def test_a_step_whose_gradient_is_not_finite_is_left_out(model, prompts, monkeypatch):
    steering = tiny_steering("token", ALWAYS, num_steps=1)
    reward = steering.reward.requires_grad_(True)
    before = [parameter.detach().clone() for parameter in reward.parameters()]
    loss = causal.policy_loss
    monkeypatch.setattr(causal, "policy_loss", lambda *given: loss(*given) * float("inf"))
    ids = [(prompts[0], [5, 6, 7 + i]) for i in range(4)]
    right = torch.tensor([[1.0, 0, 0, 1]], dtype=torch.float64)
    with pytest.warns(UserWarning, match="a step was left out: its gradient was not finite"):
        causal_step(model, steering, torch.optim.Adam(reward.parameters()), ids, right, SECTION)
    assert all(torch.equal(old, new) for old, new in zip(before, reward.parameters(), strict=True))


@pytest.mark.parametrize(
    ("variant", "changed"),
    [("token", {}), ("history", {}), ("linear", {}), ("token", {"mean_weight": 0.5, "rows_per_batch": 2})],
)
def test_the_gradient_is_that_of_the_equations(model, prompts, variant, changed, monkeypatch):
    section = SECTION.model_copy(update=changed)
    steering = tiny_steering(variant, ALWAYS, num_steps=1)
    steering.reward.requires_grad_(True)
    monkeypatch.setattr(causal.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(0.0))
    generator = torch.Generator().manual_seed(3)
    ids = [(prompts[i // 3], torch.randint(3, 40, (2 + i,), generator=generator).tolist()) for i in range(9)]
    right = torch.tensor([[1.0, 0, 0], [1, 1, 1], [0, 1, 1]], dtype=torch.float64)
    causal_step(model, steering, Still(steering.reward.parameters(), lr=1.0), ids, right, section)
    ours = [parameter.grad.clone() for parameter in steering.reward.parameters() if parameter.grad is not None]
    steering.reward.zero_grad()
    how, base = normalised(right).flatten(), difficulty(right).flatten()
    assert (how == 0).tolist() == [False] * 3 + [True] * 3 + [False] * 3
    with sdpa_kernel(SDPBackend.MATH):  # the one that is differentiated twice
        naive_objective(model, steering, ids, how, base, right.flatten() > 0, section).backward()
    theirs = [parameter.grad for parameter in steering.reward.parameters() if parameter.grad is not None]
    assert len(ours) == len(theirs) > 0
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours, theirs, strict=True))
    assert max(gradient.abs().max() for gradient in ours) > 1e-3


def stepped(attempts, right, rows, fails=None):
    """A reward after two steps on the same attempts, their joint losses, and how many rows each pass had; memory is
    short once, in the second pass: as it begins, or amid its backward pass, when a part of its gradient is added."""
    model, steering, passes = tiny_llama(), tiny_steering("token", ALWAYS, num_steps=1), []
    reward, short = steering.reward.requires_grad_(True), []

    def run_short(*_):
        if len(passes) == 2 and not short:
            short.append(True)
            raise torch.OutOfMemoryError("no room")

    model.register_forward_pre_hook(lambda *given: passes.append(len(given[2]["input_ids"])), with_kwargs=True)
    if fails == "forward":
        model.model.layers[2].register_forward_pre_hook(run_short)
    elif fails == "backward":
        next(reward.head.parameters()).register_post_accumulate_grad_hook(run_short)
    optimizer, section = (
        torch.optim.SGD(reward.parameters(), lr=1.0),
        SECTION.model_copy(update={"rows_per_batch": rows}),
    )
    joint = [causal_step(model, steering, optimizer, attempts, right, section) for _ in range(2)]
    assert bool(short) == bool(fails)
    return [parameter.detach().clone() for parameter in reward.parameters()], joint, passes


@pytest.mark.parametrize("fails", ["forward", "backward"])
def test_a_step_in_which_memory_was_short_is_the_same_step(prompts, fails, capsys):
    attempts = [(prompts[i // 4], [5 + i, 6, 7 + i, 9][: 2 + i % 3]) for i in range(8)]
    right = torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 0]], dtype=torch.float64)
    whole, joint, passes = stepped(attempts, right, rows=4)
    assert passes == [4] * 4
    halved, joint_halved, passes = stepped(attempts, right, rows=2)
    assert passes == [2] * 8
    assert capsys.readouterr().err == ""
    short, joint_short, passes = stepped(attempts, right, 4, fails)
    assert passes == [4, 4, *[2] * 8]  # it is remembered
    assert capsys.readouterr().err == "policy gradient: out of memory with 4 rows side by side; going on with 2\n"
    assert joint_short == joint_halved == pytest.approx(joint, abs=1e-5)  # surprise is of float32
    for one, two, four in zip(short, halved, whole, strict=True):
        assert torch.equal(one, two)
        torch.testing.assert_close(one, four, atol=1e-5, rtol=0)
    assert (
        max((one - before).abs().max() for one, before in zip(short, tiny_reward("token").parameters(), strict=True))
        > 1e-2
    )


def test_advantages_are_in_units_of_the_spread_and_difficulty_is_a_smoothed_rate():
    right = torch.tensor([[1.0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1]])
    third = 3**0.5
    expected = [[third, -1 / third, -1 / third, -1 / third], [0, 0, 0, 0], [-1, -1, 1, 1]]
    torch.testing.assert_close(normalised(right), torch.tensor(expected))
    rates = torch.tensor([1.5, 4.5, 2.5]) / 5
    torch.testing.assert_close(difficulty(right).sigmoid(), rates[:, None].expand(-1, 4))


def test_dealt_outcomes_are_as_many_at_each_problem_and_tell_nothing_of_its_attempts():
    right = torch.tensor([[1.0, 0, 0, 0], [1, 1, 0, 0]]).repeat(500, 1)
    drawn = dealt(right, [0, 1, 2])
    assert torch.equal(drawn.sum(dim=1), right.sum(dim=1))
    assert torch.equal(drawn, dealt(right, [0, 1, 2]))
    assert not torch.equal(drawn, dealt(right, [0, 1, 3]))
    assert drawn[::2].mean(dim=0).tolist() == pytest.approx([0.25] * 4, abs=0.06)
    assert drawn[1::2].mean(dim=0).tolist() == pytest.approx([0.5] * 4, abs=0.08)


def test_where_all_attempts_are_alike_nothing_is_learned(model, prompts):
    steering = tiny_steering("token", ALWAYS)
    steering.reward.requires_grad_(True)
    before = [parameter.clone() for parameter in steering.reward.parameters()]
    optimizer = torch.optim.Adam(steering.reward.parameters(), lr=0.1)
    joint = causal_step(model, steering, optimizer, [(prompts[0], [5, 6, 2])] * 3, torch.ones(1, 3), SECTION)
    assert joint != joint
    assert all(torch.equal(a, b) for a, b in zip(before, steering.reward.parameters(), strict=True))


@pytest.mark.parametrize("variant", ["token", "history", "linear"])
def test_what_is_rewarded_is_written_more_often(model, prompts, variant):
    """A word that is called right becomes likelier through the push alone; one that is called wrong, rarer."""
    shares = {}
    for wanted in (True, False):
        steering = replace(tiny_steering(variant, ALWAYS, num_steps=1, step_size=2.0), reward=tiny_reward(variant))
        optimizer = torch.optim.Adam(steering.reward.parameters(), lr=0.02)
        for iteration in range(12):
            requests = [
                Request(prompt, str(row), 1 + seed + 8 * iteration, 1.0)
                for row, prompt in enumerate(prompts[:6])
                for seed in range(8)
            ]
            steering.reward.requires_grad_(False)
            written = generate(model, requests, max_new_tokens=8, batch_size=48, end_ids=[2], steering=steering)
            steering.reward.requires_grad_(True)
            said = torch.tensor([any(token < 20 for token in one.token_ids[1:3]) for one in written])
            right = (said == wanted).double().view(6, 8)
            ids = [(request.prompt, one.token_ids) for request, one in zip(requests, written, strict=True)]
            causal_step(model, steering, optimizer, ids, right, SECTION.model_copy(update={"temperature": 1.0}))
            shares.setdefault(wanted, []).append(said.double().mean().item())
    assert sum(shares[True][-3:]) / 3 > sum(shares[False][-3:]) / 3 + 0.1


@pytest.mark.parametrize("name", ["slope", "free", "free_along", "free_gated", "free_constant"])
def test_a_push_of_any_length_begins_with_none_and_learns(model, prompts, name):
    """It learns to make a token likely."""
    dictionary = tiny_steering("token").dictionary
    config = load_config("smoke")
    reward = begin(REWARDS[name], config, dictionary)
    assert reward.dtype == torch.float64
    here = torch.randn(4, reward.d_sae, dtype=torch.float64)
    assert torch.equal(reward.direction(here), torch.zeros_like(here))
    steering = replace(tiny_steering("token", ALWAYS, 1), reward=reward)
    optimizer = torch.optim.Adam(reward.parameters(), lr=0.05)
    ids = [(prompts[0], [token, 5, token]) for token in (9, 11, 9, 11)]
    right = torch.tensor([[1.0, 0.0, 1.0, 0.0]], dtype=torch.float64)
    reward.requires_grad_(True)
    for _ in range(10):
        causal_step(model, steering, optimizer, ids, right, SECTION)
    reward.requires_grad_(False)
    pushes = reward.direction(here)
    assert pushes.norm(dim=1).min() > 0
    tokens, steered = padded(ids[:1])
    plain = model(tokens).logits[0, -2].log_softmax(dim=-1)
    pushed = replay_steered(model, steering, tokens, steered).logits[0, -2].log_softmax(dim=-1)
    assert pushed[9] - pushed[11] > plain[9] - plain[11]


def test_problems_of_an_iteration_are_shared_out_and_depend_on_seed_and_iteration(drawn_problems):
    pools = {name: drawn_problems[name] for name in ("countdown", "chain_sum", "graph_color")}
    first, again, next_one, other = (
        problems_of(pools, SECTION, seed, iteration) for seed, iteration in ((0, 0), (0, 0), (0, 1), (1, 0))
    )
    assert first == again
    assert first != next_one
    assert first != other
    assert {name: len(some) for name, some in by_benchmark(first).items()} == dict.fromkeys(pools, 2)


@pytest.fixture
def config(tmp_path):
    loaded = load_config("smoke")
    decoding = loaded.decoding.model_copy(update={"max_new_tokens": 10})
    return loaded.model_copy(update={"causal": SECTION, "decoding": decoding})


def train(backbone, problems, config, scratch, draw=None):
    steering = tiny_steering("token", ALWAYS, num_steps=1)
    curve = train_causal(steering, backbone, problems, config, scratch, "reward: causal", draw)
    return curve, [parameter.tolist() for parameter in steering.reward.parameters()]


@pytest.mark.parametrize(("falling", "draw"), [(False, None), (True, None), (False, 1)])
def test_killed_training_resumes_to_the_same_weights(
    falling, draw, tiny_backbone, drawn_problems, config, tmp_path, monkeypatch
):
    config = config.model_copy(update={"causal": SECTION.model_copy(update={"falling": falling})})
    problems, asked = drawn_problems["chain_sum"][:8], []

    def by_length(job, generation, backbone):
        row = outcome_row(job, generation, backbone)
        return row | {"correct": sum(generation.token_ids) % 2 == 0}

    def counted(pools, section, seed, iteration):
        asked.append(iteration)
        if iteration == dies_at:
            raise KeyboardInterrupt
        return problems_of(pools, section, seed, iteration)

    outcome_row = on_policy.outcome_row
    monkeypatch.setattr(on_policy, "outcome_row", by_length)
    monkeypatch.setattr(on_policy, "problems_of", counted)
    dies_at = -1
    curve, weights = train(tiny_backbone, problems, config, tmp_path / "whole", draw)
    assert curve["step"].tolist() == [0, 1, 2, 3]
    assert 0 < curve["correct"].mean() < 1
    dies_at = 3
    with pytest.raises(KeyboardInterrupt):
        train(tiny_backbone, problems, config, tmp_path / "killed", draw)
    assert json.loads((tmp_path / "killed" / "state.json").read_text())["step"] == 2
    dies_at, asked[:] = -1, []
    resumed, same = train(tiny_backbone, problems, config, tmp_path / "killed", draw)
    assert asked == [2, 3]
    assert same == weights
    pd.testing.assert_frame_equal(resumed, curve)
    shutil.rmtree(tmp_path / "whole")
