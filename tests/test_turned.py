"""A control of direction alone: another's direction, at each token as far in the residual stream, and the same gate."""

import pytest
import torch
from conftest import LinearDictionary, tiny_reward

from lrs.experiment.evaluation import Artifacts
from lrs.method.arms import ARMS
from lrs.method.ascent import Ascent
from lrs.method.gate import Gate
from lrs.method.reward import Reward
from lrs.method.setting import Setting
from lrs.method.turned import Turned


@pytest.mark.parametrize("variant", ["token", "potential", "free"])
def test_it_scores_and_steps_as_far_as_its_reward_in_one_direction(variant: str):
    dictionary, reward, turn = LinearDictionary(), tiny_reward(variant), tiny_reward("linear", seed=5)
    turned = Turned(reward, turn, dictionary.W_dec)
    assert isinstance(turned, Reward)
    drawn = torch.randn(6, reward.d_sae, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    latents = drawn.relu()
    assert torch.equal(turned(latents[:, None]), reward(latents[:, None]))
    own, pushes = reward.direction(latents) @ dictionary.W_dec, turned.direction(latents) @ dictionary.W_dec
    torch.testing.assert_close(pushes.norm(dim=-1), own.norm(dim=-1))
    way = turn.head.weight[0] @ dictionary.W_dec
    torch.testing.assert_close(pushes / pushes.norm(dim=-1, keepdim=True), (way / way.norm()).expand_as(pushes))
    assert own.norm(dim=-1).std() > 0.01  # lengths differ by token
    nowhere = Turned(reward, turn, torch.zeros_like(dictionary.W_dec)).direction(latents)
    assert (nowhere == 0).all()


def test_a_turned_arm_keeps_scores_and_lengths_of_the_reward_that_paces_it():
    artifacts = Artifacts.__new__(Artifacts)  # without files
    kept = {"token": tiny_reward("token"), "random_2": tiny_reward("linear", seed=5)}
    artifacts.layer, artifacts.bases = 1, dict.fromkeys(kept, "sae")
    vars(artifacts).update(dictionaries={"sae": LinearDictionary()}, rewards=kept)
    chosen = {"num_steps": 1, "step_size": 2.0, "reward_threshold": 0.4, "confidence_threshold": 0.7}
    steering = artifacts.steering(ARMS["lrs_turned_2"], Setting(arm="lrs_turned_2", **chosen))
    assert (steering.gate, steering.ascent) == (Gate(0.4, 0.7), Ascent(1, 2.0))
    assert isinstance(steering.reward, Turned)
    assert (steering.reward.reward, steering.reward.turn) == (kept["token"], kept["random_2"])
    assert artifacts.steering(ARMS["lrs"], Setting(arm="lrs", **chosen)).reward is kept["token"]
