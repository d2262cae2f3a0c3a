"""Latent ascent: steps of fixed length along the gradient of the reward logit."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_SMALLEST_NORM = 1e-12  # below it a gradient has no direction and the step is zero


@dataclass(frozen=True)
class Ascent:
    """`num_steps` (K) steps of length `step_size` (alpha), in units of the normalised activation."""

    num_steps: int
    step_size: float


def unit(gradient: Tensor) -> Tensor:
    """The gradient's direction along the last dimension; zero where it has none."""
    return gradient / gradient.norm(dim=-1, keepdim=True).clamp_min(_SMALLEST_NORM)


def ascend(latent: Tensor, reward_logit: Callable[[Tensor], Tensor], ascent: Ascent) -> tuple[Tensor, Tensor]:
    """Repeat z <- z + alpha * g / ||g|| with g the gradient of the reward logit at z.

    Args:
        latent: (batch, d_sae).
        reward_logit: maps (batch, d_sae) to (batch,), each row on its own.
        ascent: number and length of the steps.

    Returns:
        The latents after the last step, (batch, d_sae), and the logits before the first, (batch,).
    """
    before = None
    with torch.enable_grad():
        for _ in range(ascent.num_steps):
            latent = latent.detach().requires_grad_(True)
            logit = reward_logit(latent)
            (gradient,) = torch.autograd.grad(logit.sum(), latent)
            before = logit.detach() if before is None else before
            latent = latent + ascent.step_size * unit(gradient)
    return latent.detach(), before


def write_back(latent: Tensor, moved: Tensor, decoder: Tensor, input_scale: float) -> Tensor:
    """What to add to the residual stream: the decoded difference, with the input normalisation undone.

    Only the difference is decoded, so the dictionary's reconstruction error never enters the model.

    Args:
        latent: (batch, d_sae), before the ascent.
        moved: (batch, d_sae), after it.
        decoder: W_dec, (d_sae, d_model).
        input_scale: what activations were multiplied by before they were encoded.

    Returns:
        (batch, d_model), in units of the residual stream.
    """
    return (moved - latent) @ decoder / input_scale
