"""Sampling: which token comes next, a function of the logits and of problem, seed and position alone."""

import hashlib

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def uniforms(problem_id: str, seed: int, count: int) -> np.ndarray:
    """Uniform numbers for positions 0..count-1 of one generation: Philox, keyed by problem and seed."""
    key = int.from_bytes(hashlib.sha256(f"{problem_id}:{seed}".encode()).digest()[:16], "little")
    return np.random.Generator(np.random.Philox(key=key)).random(count)


def gate_lots(problem_id: str, seed: int, count: int) -> np.ndarray:
    """What a gate that reads `lot` reads of the tokens of one generation."""
    return uniforms(f"gate of {problem_id}", seed, count)


def choose_tokens(
    logits: Float[Tensor, "rows vocabulary"],
    temperature: Float[Tensor, " rows"],
    uniform: Float[Tensor, " rows"],
    mode: Int[Tensor, " rows"],
) -> Int[Tensor, " rows"]:
    """The next token of each row: the mode where temperature is 0, else the inverse CDF in vocabulary order.

    Args:
        logits: untempered.
        temperature: at least 0.
        uniform: in [0, 1).
        mode: tokens of the highest logits.
    """
    tempered = logits.double() / torch.where(temperature > 0, temperature, 1.0)[:, None]
    cumulative = tempered.softmax(dim=-1).cumsum(dim=-1)
    threshold = (uniform * cumulative[:, -1])[:, None]
    sampled = torch.searchsorted(cumulative, threshold, right=True).squeeze(-1).clamp(max=logits.shape[-1] - 1)
    return torch.where(temperature > 0, sampled, mode)
