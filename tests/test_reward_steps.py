"""A token at a time, with the gradient written out, against the full causal pass and autograd."""

import pytest
import torch
from conftest import LATENTS, tiny_reward
from hypothesis import given, settings
from hypothesis import strategies as st

from lrs.engine.reward_steps import RewardSteps
from lrs.method.reward import LatentRewardModel, RewardConfig

VARIANTS = ("token", "history")


def latents_of(rows, length, seed=0):
    return torch.randn(rows, length, LATENTS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def begin(model, latents, lengths, capacity=4):
    """Rows that have read their first `lengths` tokens; shorter ones are begun anew on the way."""
    steps = RewardSteps(model, len(latents), capacity)
    for t in range(max(lengths)):
        steps.history.clear([row for row, length in enumerate(lengths) if max(lengths) - t == length])
        at = [max(t - max(lengths) + length, 0) for length in lengths]
        steps.score(latents[range(len(latents)), at], steps.newest())
        steps.history.advance()
    steps.history.clear([row for row, length in enumerate(lengths) if length == 0])
    return steps


def by_autograd(model, prefix, newest):
    """Logit and gradient of the newest latent of one row, from the whole sequence."""
    newest = newest.clone().requires_grad_(True)
    logit = model(torch.cat([prefix, newest[None]])[None])[0, -1]
    return logit.detach(), torch.autograd.grad(logit, newest)[0]


@given(st.sampled_from(VARIANTS), st.integers(1, 5), st.integers(1, 12), st.integers(0, 50))
@settings(max_examples=20)
def test_step_by_step_equals_the_full_causal_pass(variant, rows, length, seed):
    model, latents = tiny_reward(variant), latents_of(rows, length, seed)
    steps, stepped = RewardSteps(model, rows, capacity=4), []  # grows as needed
    for t in range(length):
        stepped.append(steps.score(latents[:, t], steps.newest()).logit)
        steps.history.advance()
    assert torch.allclose(torch.stack(stepped, dim=1), model(latents), atol=1e-12)


@given(
    variant=st.sampled_from(VARIANTS),
    lengths=st.lists(st.integers(0, 130), min_size=1, max_size=6),
    seed=st.integers(0, 50),
)
@settings(max_examples=20)
def test_gradient_equals_autograd_in_rows_of_any_length(variant, lengths, seed):
    model, latents = tiny_reward(variant), latents_of(len(lengths), max(lengths) + 1, seed)
    steps = begin(model, latents, lengths)
    newest = latents[range(len(lengths)), lengths]
    scored = steps.score(newest, steps.newest())
    logit, gradient = scored.logit, steps.gradient(scored)
    for row, length in enumerate(lengths):
        expected = by_autograd(model, latents[row, :length], newest[row])
        assert torch.allclose(logit[row], expected[0], atol=1e-12)
        assert torch.allclose(gradient[row], expected[1], atol=1e-12)
    assert torch.equal(steps.gradient(scored), gradient)  # it can be asked for again


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rows", [[], [1], [0, 2, 3]])
def test_selected_rows_are_scored_alike_and_adopted(variant, rows):
    model, latents, lengths = tiny_reward(variant), latents_of(4, 9), [5, 0, 7, 3]
    steps, expected = (begin(model, latents, lengths) for _ in range(2))
    newest = latents[range(4), lengths]
    changed = newest.clone()
    changed[rows] += 0.3
    rows = torch.tensor(rows, dtype=torch.long)
    scored = steps.score(newest, steps.newest())  # it leaves the newest token behind, provisionally
    some = steps.select(rows)
    scored = scored.select(rows, some.history)
    wanted = expected.score(newest, expected.newest())
    assert torch.allclose(some.gradient(scored), expected.gradient(wanted)[rows], atol=1e-12)
    found, wanted = some.score(changed[rows], scored.newest), expected.score(changed, wanted.newest)
    assert torch.allclose(found.logit, wanted.logit[rows], atol=1e-12)
    steps.history.adopt(rows, some.history)
    steps.history.advance()
    expected.history.advance()
    assert torch.allclose(
        steps.score(newest, steps.newest()).logit, expected.score(newest, expected.newest()).logit, atol=1e-12
    )


def test_scoring_leaves_the_history_alone_and_rows_are_independent():
    model, latents = tiny_reward("history"), latents_of(3, 5)
    steps = begin(model, latents, [2, 2, 2])
    first = steps.score(latents[:, 2], steps.newest()).logit
    steps.score(latents[:, 4], steps.newest())
    assert torch.equal(first, steps.score(latents[:, 2], steps.newest()).logit)
    steps.history.clear([1])
    renewed = steps.score(latents[:, 2], steps.newest()).logit
    assert torch.allclose(renewed[[0, 2]], first[[0, 2]])
    assert torch.allclose(renewed[1], model(latents[1:2, 2:3])[0, 0])
    steps.history.keep([2, 1])
    assert torch.allclose(steps.score(latents[[2, 1], 2], steps.newest()).logit, renewed[[2, 1]])


def test_linear_rewards_score_and_climb_the_same_way_everywhere():
    model = LatentRewardModel(RewardConfig(7, "linear")).double().requires_grad_(False)
    steps = RewardSteps(model, rows=5, capacity=4)
    latent = torch.randn(5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scored = steps.score(latent, steps.newest())
    assert torch.equal(scored.logit, model(latent[:, None])[:, 0])
    assert torch.equal(steps.gradient(scored), model.head.weight.expand(5, 7))
    some = scored.select(torch.tensor([3, 1]), steps.select(torch.tensor([3, 1])).history)
    assert torch.equal(some.logit, scored.logit[[3, 1]])
