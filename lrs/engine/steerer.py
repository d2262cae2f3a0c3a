"""Selective latent repair inside a running model: gate, ascent and write-back at one decoder layer.

`Steerer` holds what a batch's rewards have seen and does the work; `hooked` puts it behind a decoder layer for as long
as a `with` block lasts.
"""

import warnings
from contextlib import AbstractContextManager

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import PreTrainedModel

from lrs.engine.any_reward import Score, ScoredAny, Steps, steps_for
from lrs.engine.policy import Policy
from lrs.engine.requests import SteeringRecord
from lrs.engine.reward_steps import Scored
from lrs.engine.rows import Rows
from lrs.method.ascent import ascend, write_back
from lrs.method.gate import ALWAYS
from lrs.method.steering import Steering
from lrs.models.backbones import edited_layer


class Steerer:
    """Steers one generated token of every row at a time; one whose reward or push is not finite is left as it is.

    Attributes:
        enabled: whether the hook steers; off while prompts are read.
        rows: of the batch; rows that are done are left alone.
        reward: scores the newest token of every row.
    """

    def __init__(self, steering: Steering, rows: Rows, capacity: int = 256, policy: Policy | None = None):
        self.steering, self.policy, self.enabled = steering, policy or Policy(), False
        self._selects = self.policy.selects_rows and steering.gate != ALWAYS
        self._left_before = torch.zeros_like(rows.left.sum())
        self.rows = rows
        self.begin(rows, capacity)

    def begin(self, rows: Rows, capacity: int = 256) -> None:
        """Forget everything and steer new generations; `capacity` (tokens) is where histories start."""
        self._left_before = self._left_before + self.rows.left.sum()
        self.rows = rows
        self.reward = steps_for(self.steering.reward, len(rows), capacity, self.policy)

    def push(self, hidden: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows d_model"]:
        """The steered residual stream of each row's newest token; rows not gated are unchanged."""
        latent = self.steering.dictionary.encode(hidden.to(self.reward.dtype))
        known = _finite(latent)
        latent = torch.where(known[:, None], latent, 0.0)  # so that a history keeps nothing that is not finite
        scored = self.reward.score(latent, self.reward.newest())
        reward = scored.logit.sigmoid()
        known &= reward.isfinite()
        self.rows.left += ~known & ~self.rows.done
        steered = self.steering.gate(reward, self.rows.newest_confidence) & known & ~self.rows.done
        pushed = (self._repair_some if self._selects else self._repair_all)(hidden, latent, scored, reward, steered)
        self.reward.history.advance()
        return pushed

    def _repair_all(
        self,
        hidden: Float[Tensor, "rows d_model"],
        latent: Float[Tensor, "rows d_sae"],
        scored: Scored | ScoredAny,
        before: Float[Tensor, " rows"],
        steered: Bool[Tensor, " rows"],
    ) -> Float[Tensor, "rows d_model"]:
        """Ascend from every latent and keep what the gate lets through: nothing waits for the device."""
        moved = self._ascend(self.reward, latent, scored)
        change = self._change(latent, moved, hidden)
        pushed = hidden + change
        kept = steered & _finite(moved) & _finite(pushed)
        self.rows.left += steered & ~kept
        moved = torch.where(kept[:, None], moved, latent)
        after = self.reward.score(moved, scored.newest).logit.sigmoid()
        self.rows.steered += torch.where(kept[:, None], self._facts(before, after, change, hidden), 0.0)
        return torch.where(kept[:, None], pushed, hidden)

    def _repair_some(
        self,
        hidden: Float[Tensor, "rows d_model"],
        latent: Float[Tensor, "rows d_sae"],
        scored: Scored | ScoredAny,
        before: Float[Tensor, " rows"],
        steered: Bool[Tensor, " rows"],
    ) -> Float[Tensor, "rows d_model"]:
        """The same where rows can be told apart at no cost: only gated ones ascend."""
        (rows,) = steered.nonzero(as_tuple=True)
        if not len(rows):
            return hidden
        some = self.reward.select(rows)
        scored = scored.select(rows, some.history)
        latent, before, fragile = (of_all.index_select(0, rows) for of_all in (latent, before, hidden))
        moved = self._ascend(some, latent, scored)
        change = self._change(latent, moved, fragile)
        pushed = fragile + change
        kept = _finite(moved) & _finite(pushed)
        self.rows.left.index_add_(0, rows, (~kept).long())
        moved = torch.where(kept[:, None], moved, latent)
        after = some.score(moved, scored.newest).logit.sigmoid()
        facts = torch.where(kept[:, None], self._facts(before, after, change, fragile), 0.0)
        self.rows.steered.index_add_(0, rows, facts)
        self.reward.history.adopt(rows, some.history)
        return hidden.index_copy(0, rows, torch.where(kept[:, None], pushed, fragile))

    def _ascend(self, reward: Steps[Score], latent: Tensor, scored: Score) -> Tensor:
        def direction_at(other: Tensor) -> Tensor:
            return reward.direction(reward.score(other, scored.newest))

        return ascend(latent, reward.direction(scored), direction_at, self.steering.ascent)

    def _change(self, latent: Tensor, moved: Tensor, hidden: Tensor) -> Tensor:
        dictionary = self.steering.dictionary
        return write_back(latent, moved, dictionary.W_dec, dictionary.input_scale).to(hidden.dtype)

    def _facts(self, before: Tensor, after: Tensor, change: Tensor, hidden: Tensor) -> Float[Tensor, "rows 4"]:
        """What is summed up of each row's push: one, its rewards, and ||dh|| / ||h||."""
        ratio = change.norm(dim=-1) / hidden.norm(dim=-1)
        return torch.stack([torch.ones_like(before), before, after, ratio], dim=-1).to(self.rows.steered.dtype)

    @property
    def left(self) -> int:
        """Tokens that were left unsteered, of all generations: to ask waits for the device."""
        return int(self._left_before + self.rows.left.sum())

    def records(self) -> list[SteeringRecord]:
        """What has been done to each row since it was admitted."""
        records = []
        for (count, *sums), left in zip(self.rows.steered.tolist(), self.rows.left.tolist(), strict=True):
            before, after, ratio = (total / count if count else float("nan") for total in sums)
            records.append(SteeringRecord(int(count), before, after, ratio, left))
        return records


def warn_of_left(count: int, stacklevel: int) -> None:
    """Say how many tokens were left unsteered, if any were."""
    if count:
        told = f"{count} tokens were left unsteered: their rewards or pushes were not finite"
        warnings.warn(told, stacklevel=stacklevel + 1)


def _finite(vectors: Float[Tensor, "rows width"]) -> Bool[Tensor, " rows"]:
    return vectors.isfinite().all(dim=-1)


def hooked(model: PreTrainedModel, layer: int, steerer: Steerer) -> AbstractContextManager[None]:
    """Put `steerer` behind a decoder layer; the layer is as before when the block ends, also on error."""

    def replace_last_token(hidden: Tensor) -> Tensor:
        return steerer.push(hidden[:, -1])[:, None] if steerer.enabled else hidden

    return edited_layer(model, layer, replace_last_token)
