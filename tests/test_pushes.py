"""State-specificity: a linear reward pushes one and the same way; what is the same in a push is counted."""

import numpy as np
import pytest
import torch
from conftest import LATENTS, LinearDictionary, sparse_traces, tiny_reward

from lrs.learning.pushes import constancy, constancy_of, first_pushes
from lrs.learning.reward_training import fit_reward
from lrs.method.arms import REWARDS

GENERATOR = torch.Generator().manual_seed(0)
TRACES = [torch.rand(length, LATENTS, generator=GENERATOR) * (torch.arange(LATENTS) % 3 > 0) for length in (5, 3, 7)]


@pytest.fixture
def latents():
    return sparse_traces(TRACES, [True, False, True], ["a", "a", "b"])


def test_constancy_by_hand():
    assert constancy(torch.tensor([[1.0, 0.0], [1.0, 0.0]])) == 1
    assert constancy(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == 0
    assert constancy(torch.tensor([[1.0, 0.0], [0.0, 1.0]])) == pytest.approx(0.5)


def test_a_linear_reward_is_one_vector(latents):
    pushes = first_pushes(tiny_reward("linear"), LinearDictionary(), latents, np.arange(3))
    assert pushes.shape == (15, 16)
    assert constancy(pushes) == pytest.approx(1)


def test_pushes_are_those_of_single_tokens(latents):
    model, dictionary = tiny_reward("token"), LinearDictionary()
    pushes = first_pushes(model, dictionary, latents, np.array([2]))
    by_hand = []
    for token in TRACES[2]:
        here = token.double().requires_grad_()
        (slope,) = torch.autograd.grad(model(here[None, None]).sum(), here)
        by_hand.append(slope / slope.norm() @ dictionary.W_dec / dictionary.input_scale)
    assert torch.allclose(pushes.double(), torch.stack(by_hand), atol=1e-5)
    assert 0 < constancy(pushes) < 1


def test_history_is_refused(latents):
    with pytest.raises(ValueError, match="has no direction of one token"):
        first_pushes(tiny_reward("history"), LinearDictionary(), latents, np.arange(3))


def test_constancy_of_what_a_run_has_fitted(ran, small_power):
    """One direction is one vector; a reward that reads the state is not; a history's push is no token's alone."""
    fit_reward(REWARDS["linear"], small_power, small_power.data / "reward/linear")
    assert constancy_of("linear", small_power) == pytest.approx(1)
    assert 0 < constancy_of("causal", small_power) < 1
    assert np.isnan(constancy_of("history", small_power))
