"""Latent ascent: steps along a reward's direction, and how they are written back.

The direction is the gradient of the reward logit over its norm, so that steps are of one length, `step_size` (the
paper's); of the variant `potential` it is the gradient itself, and of `free` and `shift` a push of any length: there
`step_size` is what it is multiplied by.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

_SMALLEST_NORM = 1e-12  # below it a gradient has no direction and the step is zero


@dataclass(frozen=True)
class Ascent:
    """`num_steps` (K) steps, each `step_size` (alpha) times the direction, in units of the normalised activation."""

    num_steps: int
    step_size: float


def unit(gradient: Float[Tensor, "*rows d_sae"]) -> Float[Tensor, "*rows d_sae"]:
    """The gradient's direction along the last dimension; zero where it has none."""
    return gradient / gradient.norm(dim=-1, keepdim=True).clamp_min(_SMALLEST_NORM)


def ascend(
    latent: Float[Tensor, "rows d_sae"],
    direction: Float[Tensor, "rows d_sae"],
    direction_at: Callable[[Tensor], Tensor],
    ascent: Ascent,
) -> Float[Tensor, "rows d_sae"]:
    """Repeat K times z <- z + alpha * d with d the direction at z.

    Args:
        latent: where the ascent begins.
        direction: there.
        direction_at: gives it at other latents, for the steps after the first.
        ascent: number and length of the steps.

    Returns:
        The latents after the last step.
    """
    for step in range(ascent.num_steps):
        latent = latent + ascent.step_size * (direction_at(latent) if step else direction)
    return latent


def write_back(
    latent: Float[Tensor, "rows d_sae"],
    moved: Float[Tensor, "rows d_sae"],
    decoder: Float[Tensor, "d_sae d_model"],
    input_scale: float,
) -> Float[Tensor, "rows d_model"]:
    """What to add to the residual stream: the decoded difference, with the input normalisation undone.

    Only the difference is decoded, so the dictionary's reconstruction error never enters the model.

    Args:
        latent: before the ascent.
        moved: after it.
        decoder: W_dec.
        input_scale: what activations were multiplied by before they were encoded.

    Returns:
        In units of the residual stream.
    """
    return (moved - latent) @ decoder / input_scale
