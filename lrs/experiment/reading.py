"""Traces that are there already, read as a steered model would have written them.

A gate may hang on what the pushes before it did to confidences and rewards. Then traces are read token by token, as
the engine writes. Without one, a push hangs on nothing but states, which the layers up to the steered one make of the
tokens alone, and whole traces are read at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, PreTrainedModel

from lrs.engine.reward_steps import Newest, RewardSteps
from lrs.engine.steer import steer
from lrs.method.ascent import Ascent, ascend, write_back
from lrs.method.gate import ALWAYS
from lrs.method.reward import LatentRewardModel
from lrs.method.steering import Steering
from lrs.models.backbones import edited_layer


def hangs_on_state(steering: Steering | None) -> bool:
    """Whether pushes hang on states alone: no gate."""
    return not steering or steering.gate == ALWAYS


class SteeredReading(NamedTuple):
    """A steered model's reading of whole attempts, differentiable in the reward's weights.

    Attributes:
        logits: (rows, length, vocabulary) of the token after each position.
        rewards: (steered tokens,) reward logits before the push.
        pushes: (steered tokens, d_model), which were added to the residual stream.
    """

    logits: Tensor
    rewards: Tensor
    pushes: Tensor


def replay_steered(
    model: PreTrainedModel,
    steering: Steering,
    tokens: Int[Tensor, "rows length"],
    steered: Bool[Tensor, "rows length"],
    **given: Tensor,
) -> SteeredReading:
    """Read whole traces at once, pushing the tokens that are `steered`, whatever the gate says. To a reward that sees
    the trace so far, the pushed tokens before are constant: its weights learn what they are worth, not how to set them.

    Args:
        tokens: padded on the right; or with what else the model must be given.
        steered: a row's in one piece.
    """
    rewards, pushes = [], []

    def push(hidden: Float[Tensor, "rows length d_model"]) -> Float[Tensor, "rows length d_model"]:
        latent = steering.dictionary.encode(hidden[steered].to(steering.reward.dtype))
        logits, direction_at = _in_their_traces(steering, latent, steered.sum(dim=1).tolist())
        rewards.append(logits)
        moved = ascend(latent, direction_at(latent), direction_at, steering.ascent)
        change = write_back(latent, moved, steering.dictionary.W_dec, steering.dictionary.input_scale)
        pushes.append(change)
        return hidden.index_put((steered,), change.to(hidden.dtype), accumulate=True)

    with edited_layer(model, steering.layer, push):
        logits = model(input_ids=tokens, use_cache=False, **given).logits  # no answer sees what is to its right
    return SteeredReading(logits, rewards[0], pushes[0])


def _in_their_traces(
    steering: Steering, latent: Float[Tensor, "tokens d_sae"], lengths: list[int]
) -> tuple[Float[Tensor, " tokens"], Callable[[Tensor], Tensor]]:
    """Reward logits of the tokens of some traces, and what gives the reward's direction at other latents of theirs."""
    reward = steering.reward
    if not isinstance(reward, LatentRewardModel) or reward.config.variant != "history":
        return reward(latent[None])[0], reward.direction

    def as_traces(tokens: Float[Tensor, "tokens d_sae"]) -> Float[Tensor, "traces length d_sae"]:
        return pad_sequence(tokens.split(lengths), batch_first=True)

    inside = as_traces(torch.ones_like(latent[:, :1]))[..., 0] > 0
    past = moved_in_turn(reward, as_traces(latent), steering.ascent)
    logits = reward.newest(as_traces(latent), past)[inside]
    return logits, lambda tokens: reward.direction_in(as_traces(tokens), past)[inside]


@torch.no_grad()
def moved_in_turn(
    reward: LatentRewardModel, latents: Float[Tensor, "traces length d_sae"], ascent: Ascent
) -> Float[Tensor, "traces length d_sae"]:
    """Where each token's latents are moved, in the light of the moved ones before it, as the engine does it."""
    steps, moved = RewardSteps(reward, len(latents), latents.shape[1]), latents.clone()
    for place, latent in enumerate(latents.unbind(dim=1)):
        newest = steps.newest()

        def direction_at(other: Tensor, newest: Newest | None = newest) -> Tensor:
            return steps.direction(steps.score(other, newest))

        moved[:, place] = ascend(latent, direction_at(latent), direction_at, ascent)
        steps.score(moved[:, place], newest)  # what the history keeps
        steps.history.advance()
    return moved


class SideBySide(NamedTuple):
    """Traces in one batch: prompts end, and answers begin, in the same column, `width`."""

    ids: Int[Tensor, "rows length"]
    mask: Int[Tensor, "rows length"]
    positions: Int[Tensor, "rows length"]
    width: int

    def read(self, model: PreTrainedModel, columns: slice, cache: DynamicCache) -> Tensor:
        """Logits of these columns, all that lie before them being in the cache: (rows, columns, vocabulary)."""
        mask, positions = self.mask[:, : columns.stop], self.positions[:, columns]
        given = {"attention_mask": mask, "position_ids": positions, "past_key_values": cache}
        return model(input_ids=self.ids[:, columns], use_cache=True, **given).logits

    def read_at_once(self, model: PreTrainedModel, steering: Steering | None) -> Tensor:
        """Logits of all columns, (rows, length, vocabulary), every generated token but the last pushed."""
        given = {"attention_mask": self.mask, "position_ids": self.positions}
        if not steering:
            return model(input_ids=self.ids, use_cache=False, **given).logits
        steered = torch.zeros_like(self.mask, dtype=torch.bool)
        steered[:, self.width : -1] = True
        return replay_steered(model, steering, self.ids, steered, **given).logits


def side_by_side(traces: Sequence[tuple[list[int], list[int]]], pad_id: int, device: torch.device) -> SideBySide:
    """(prompt ids, generated ids) pairs as one batch."""
    width, length = max(len(prompt) for prompt, _ in traces), max(len(written) for _, written in traces)
    ids = torch.full((len(traces), width + length), pad_id, device=device)
    mask = torch.zeros_like(ids)
    for row, (prompt, written) in enumerate(traces):
        ids[row, width - len(prompt) : width + len(written)] = torch.tensor(prompt + written)
        mask[row, width - len(prompt) :] = 1
    return SideBySide(ids, mask, (mask.cumsum(dim=1) - 1).clamp(min=0), width)


@torch.no_grad()
def read_steered(model: PreTrainedModel, steering: Steering | None, batch: SideBySide) -> Iterator[tuple[int, Tensor]]:
    """Read the batch as the engine would have written it, token by token.

    Args:
        steering: None: unsteered, and where a gate stays closed the same to the last bit.

    Yields:
        The place of a generated token, from 0, and the logits behind it, (rows, vocabulary). All but the last
        are processed; those behind the end of a shorter trace mean nothing.
    """
    cache, width = DynamicCache(config=model.config), batch.width
    with ExitStack() as stack:
        if steering:
            pushed = steering.layer, steering.dictionary, steering.reward, steering.gate
            stack.enter_context(steer(model, *pushed, steering.ascent.num_steps, steering.ascent.step_size))
        batch.read(model, slice(0, width), cache)
        for place in range(batch.ids.shape[1] - width - 1):
            yield place, batch.read(model, slice(width + place, width + place + 1), cache)[:, -1]
