"""A control of direction alone: scores, and so a gate, and lengths are one reward's, directions are another's."""

import torch
from jaxtyping import Float
from torch import Tensor

from lrs.method.reward import Reward

_LEAST = 1e-12  # length of a step that is divided by: one that decodes to nothing stays nothing


class Turned:
    """Scores as `reward` does, and steps where `turn` points, at each token as far in the residual stream as a step of
    `reward` would go there. Satisfies `Reward`.

    Args:
        turn: whose direction at a token is taken, and whose length is not.
        W_dec: (d_sae, d_model), of the dictionary that both read; its `input_scale` cancels.
    """

    def __init__(self, reward: Reward, turn: Reward, W_dec: Float[Tensor, "d_sae d_model"]):
        self.reward, self.turn, self.W_dec = reward, turn, W_dec.to(reward.dtype)

    @property
    def d_sae(self) -> int:
        """Latents that it reads."""
        return self.reward.d_sae

    @property
    def device(self) -> torch.device:
        """Of its weights."""
        return self.reward.device

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights."""
        return self.reward.dtype

    def __call__(self, latents: Float[Tensor, "traces length d_sae"]) -> Float[Tensor, "traces length"]:
        """Reward logits."""
        return self.reward(latents)

    def direction(self, latents: Float[Tensor, "rows d_sae"]) -> Float[Tensor, "rows d_sae"]:
        """Where each token's latents are pushed to, by a step of length 1 of `reward`."""
        own, turned = self.reward.direction(latents), self.turn.direction(latents)
        far, there = ((push @ self.W_dec).norm(dim=-1, keepdim=True) for push in (own, turned))
        return turned * far / there.clamp_min(_LEAST)
