"""State-specificity: how much of a reward's push is the same at every token.

A push that is the same everywhere is one vector, whatever it is called; only the rest of it reads the state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lrs.learning.latents import LatentTraces, load_latents
from lrs.method.arms import REWARDS
from lrs.method.ascent import write_back
from lrs.method.dictionary import Dictionary, load_dictionary
from lrs.method.reward import LatentRewardModel, load_reward

if TYPE_CHECKING:
    from lrs.config import Config

_BATCH = 64  # traces
_TRACES = 256  # on which constancy is measured


def first_pushes(
    model: LatentRewardModel, dictionary: Dictionary, latents: LatentTraces, traces: np.ndarray
) -> Float[Tensor, "tokens d_model"]:
    """The residual-stream push of one ascent step of length 1, at every token of some traces.

    Raises:
        ValueError: a reward that sees the trace so far: its gradient is not one token's alone.
    """
    pushes = []
    for batch in latents.batches(traces, _BATCH, rng=None):
        dense, mask = latents.dense(batch, model.device)
        before = dense[mask].to(model.dtype)
        moved = before + model.direction(before).detach()
        pushes.append(write_back(before, moved, dictionary.W_dec, dictionary.input_scale))
    return torch.cat(pushes)


def constancy(pushes: Float[Tensor, "tokens d_model"]) -> float:
    """Share of the pushes' mean square that their mean explains: 1 for one vector, 0 for pushes that cancel."""
    return float(pushes.mean(dim=0).square().sum() / pushes.square().sum(dim=1).mean())


def constancy_of(reward: str, config: Config) -> float:
    """`constancy` of the first push up a reward that was fitted, over some unsteered traces drawn from the profile's
    seed; NaN of one that sees the trace so far."""
    kind = REWARDS[reward]
    if kind.variant == "history":
        return float("nan")
    latents = load_latents(config.latents(kind.basis))
    dictionary, model = load_dictionary(config.dictionary(kind.basis)), load_reward(config.data / "reward" / reward)
    some = np.random.default_rng(config.seed).permutation(len(latents))[:_TRACES]
    return constancy(first_pushes(model, dictionary, latents, some))
