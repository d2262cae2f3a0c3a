"""Sinusoidal positions."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


def sinusoids(positions: Int[Tensor, "*places"], width: int, dtype: torch.dtype) -> Float[Tensor, "*places width"]:
    """Sinusoidal position embeddings."""
    half = width // 2
    frequencies = torch.exp(-math.log(10_000.0) * torch.arange(half, device=positions.device, dtype=dtype) / half)
    angles = positions[..., None].to(dtype) * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
