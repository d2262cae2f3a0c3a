"""Rewards of other makes: the released one, a push of any direction, and one that nobody here knows."""

import pytest
import torch
from conftest import LATENTS, LinearDictionary, tiny_reward, tiny_steering
from torch import nn

from lrs.engine.any_reward import AnyRewardSteps, steps_for
from lrs.engine.decoding import generate
from lrs.engine.policy import Policy
from lrs.engine.requests import Request
from lrs.engine.reward_steps import RewardSteps
from lrs.engine.steer import steer
from lrs.method.gate import ALWAYS
from lrs.method.reward import Reward, load_reward, save_reward


class Foreign(nn.Module):
    """A reward that is highest where the latents are those of a hidden place."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.linspace(-1, 1, LATENTS, dtype=torch.float64), requires_grad=False)

    d_sae, dtype, device = LATENTS, torch.float64, torch.device("cpu")

    def forward(self, latents):
        return -(latents - self.place).square().sum(dim=-1)

    def direction(self, latents):
        return (self.place - latents) / (self.place - latents).norm(dim=-1, keepdim=True)


@pytest.fixture
def latents():
    return torch.randn(3, 5, LATENTS, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_ours_and_others_are_rewards():
    assert isinstance(Foreign(), Reward)
    assert isinstance(tiny_reward("published"), Reward)


def test_what_scores_a_reward():
    for variant, kind in {"token": RewardSteps, "linear": RewardSteps, "published": AnyRewardSteps}.items():
        assert isinstance(steps_for(tiny_reward(variant), 2, 4, Policy()), kind)


def test_the_released_reward_reads_one_token_where_it_learned_from_all(latents):
    released = tiny_reward("published").released
    assert torch.allclose(released(latents)[1, 3], released.whole(latents[1:2, 3:4])[0, 0])
    whole = released.whole(latents)
    assert not torch.allclose(released(latents), whole)
    other = latents.clone()
    other[:, 4] *= -1
    assert not torch.allclose(released.whole(other)[:, 0], whole[:, 0])  # what comes after is seen
    assert torch.allclose(released(other)[:, :4], released(latents)[:, :4])


def test_padding_is_not_seen_by_the_released_reward(latents):
    released = tiny_reward("published").released
    mask = torch.arange(5) < torch.tensor([5, 2, 3])[:, None]
    padded = released.whole(latents, mask)
    for row, length in enumerate((5, 2, 3)):
        assert torch.allclose(padded[row, :length], released.whole(latents[row : row + 1, :length])[0])


def test_directions_are_gradients_over_their_norms(latents):
    for reward in (tiny_reward("published"), tiny_reward("token")):
        found = reward.direction(latents[0])
        for token, direction in zip(latents[0], found, strict=True):
            here = token.clone().requires_grad_()
            reward(here[None, None]).sum().backward()
            assert torch.allclose(direction, here.grad / here.grad.norm())


def test_a_free_push_is_as_long_as_it_likes(latents):
    reward = tiny_reward("free")
    pushes = reward.direction(latents[0])
    assert torch.allclose(pushes, latents[0] @ reward.push[0].weight.T @ reward.push[1].weight.T + reward.shift)
    assert pushes.norm(dim=1).std() > 0.01


def test_a_push_along_one_vector_is_as_long_as_the_state_says(latents):
    reward = tiny_reward("along")
    (reads, writes), bias = (layer.weight for layer in reward.push), reward.push[0].bias
    lengths = latents[0] @ reads[0] + bias
    assert torch.allclose(reward.direction(latents[0]), lengths[:, None] * writes[:, 0])
    assert len(lengths.unique()) > 1


def test_steps_up_a_potential_are_as_long_as_it_is_steep(latents):
    reward = tiny_reward("potential")
    reads, writes, head = reward.push[0].weight, reward.push[1].weight, reward.head
    for token, step in zip(latents[0], reward.direction(latents[0]), strict=True):
        quadratic = sum((reads[k] @ token) * (writes[:, k] @ token) for k in range(len(reads)))
        assert torch.allclose(reward(token[None, None])[0, 0], head.weight[0] @ token + head.bias[0] + quadratic)
        slope = head.weight[0].clone()
        for k in range(len(reads)):
            slope += reads[k] * (writes[:, k] @ token) + writes[:, k] * (reads[k] @ token)
        assert torch.allclose(step, slope)


def test_a_shift_is_the_same_everywhere(latents):
    reward = tiny_reward("shift")
    assert torch.equal(reward.direction(latents[0]), reward.shift.expand(5, -1))


def test_what_is_drawn_anew_at_each_state_is_the_states_own_and_has_no_mean():
    reward = tiny_reward("fresh")
    states = torch.rand(400, reward.d_sae, dtype=reward.dtype)
    pushes = reward.direction(states)
    assert torch.allclose(pushes.norm(dim=1), torch.ones(400, dtype=reward.dtype))
    assert torch.allclose(reward.direction(states[7:9]), pushes[7:9])  # the same in any batch
    near = states.clone()
    near[:, 3] += 0.3  # one latent differs a little
    for others in (pushes.roll(1, dims=0), reward.direction(near)):
        assert (pushes * others).sum(dim=1).mean().abs() < 0.1
    assert pushes.mean(dim=0).norm() < 0.15
    assert torch.allclose(reward.direction(states + 1e-7), pushes, atol=1e-4)  # rounding is nothing


@pytest.mark.parametrize("variant", ["published", "potential", "free", "along", "gated", "shift", "fresh"])
def test_round_trip(variant, latents, tmp_path):
    reward = tiny_reward(variant).float()
    save_reward(reward, tmp_path)
    loaded = load_reward(tmp_path)
    assert loaded.config == reward.config
    assert torch.equal(loaded(latents.float()), reward(latents.float()))
    assert torch.equal(loaded.direction(latents[0].float()), reward.direction(latents[0].float()))


class Differentiating(Foreign):
    """The same reward, which asks autograd for its direction."""

    def direction(self, latents):
        with torch.enable_grad():
            here = latents.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self(here[None]).sum(), here)
        return slope / slope.norm(dim=-1, keepdim=True)


def test_a_reward_may_differentiate_itself():
    latent = torch.randn(4, LATENTS, dtype=torch.float64)
    for reward in (Foreign(), Differentiating()):
        steps = AnyRewardSteps(reward, 4, 8)
        found = steps.direction(steps.score(latent, None))
        assert torch.allclose(found, Foreign().direction(latent))
        assert not found.requires_grad


def test_a_foreign_reward_steers_to_its_place(model, prompts):
    """With a step as long as the way, and a dictionary of which nothing is lost, the state is what it decodes to."""
    steering = tiny_steering("token", ALWAYS, 1, 0.5)
    foreign = Foreign()
    with steer(model, 1, LinearDictionary(), foreign, ALWAYS, 1, 0.5):
        ids = model.generate(torch.tensor([prompts[0]]), max_new_tokens=8, do_sample=False, pad_token_id=0)
    written = generate(
        model,
        [Request(prompts[0], "a", 1, 0.0)],
        max_new_tokens=8,
        batch_size=1,
        end_ids=[],
        steering=type(steering)(1, LinearDictionary(), foreign, ALWAYS, steering.ascent),
    )
    assert ids[0, len(prompts[0]) :].tolist() == written[0].token_ids
    record = written[0].steering
    assert record.steered_tokens == 7
    assert record.reward_after >= record.reward_before
