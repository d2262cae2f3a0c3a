import torch
from conftest import LATENTS, LinearDictionary, tiny_reward
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import naive_ascent

from lrs.method.ascent import Ascent, ascend, unit, write_back


def climb(reward, latent, num_steps, step_size):
    """`ascend` in the reward's own direction, and the logits before and after."""
    moved = ascend(latent, reward.direction(latent), reward.direction, Ascent(num_steps, step_size))
    return moved, logit_of(reward, latent), logit_of(reward, moved)


def logit_of(reward, latent):
    return reward(latent[:, None])[:, 0]


@given(st.integers(0, 4), st.floats(0, 3), st.integers(0, 100))
@settings(max_examples=20)
def test_equals_the_oracle(num_steps, step_size, seed):
    reward = tiny_reward("token")
    latent = torch.randn(3, LATENTS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    moved, _, _ = climb(reward, latent, num_steps, step_size)
    for row in range(3):
        expected = naive_ascent(reward, [], latent[row], num_steps, step_size)
        assert torch.allclose(moved[row], expected, atol=1e-12)


def test_one_step_has_the_asked_length_and_raises_the_reward():
    latent = torch.randn(64, LATENTS, dtype=torch.float64)
    moved, before, after = climb(tiny_reward("token"), latent, 1, 1e-3)
    assert torch.allclose((moved - latent).norm(dim=-1), torch.full((64,), 1e-3, dtype=torch.float64))
    assert (after > before).all()


def test_no_gradient_no_step():
    latent = torch.zeros(2, LATENTS, dtype=torch.float64)
    assert torch.equal(ascend(latent, latent, torch.zeros_like, Ascent(2, 1.0)), latent)
    assert torch.equal(unit(latent), latent)


def test_write_back_decodes_the_difference_and_undoes_the_scale():
    dictionary = LinearDictionary()
    latent, moved = torch.randn(2, 4, LATENTS, dtype=torch.float64)
    change = write_back(latent, moved, dictionary.W_dec, dictionary.input_scale)
    for row in range(4):
        expected = sum((moved[row, j] - latent[row, j]) * dictionary.W_dec[j] for j in range(LATENTS)) / 0.7
        assert torch.allclose(change[row], expected)
    assert torch.equal(write_back(latent, latent, dictionary.W_dec, 0.7), torch.zeros(4, 16, dtype=torch.float64))
