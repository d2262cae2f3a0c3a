"""Selective latent repair inside a running model: gate, ascent and write-back at one decoder layer.

`Steerer` holds the state of a batch of rows and does the work; `hooked` puts it behind a decoder layer for as
long as a `with` block lasts. `steer` is the whole in one call, for any decoder-only Hugging Face model.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lrs.engine.reward_steps import RewardSteps
from lrs.method.ascent import ascend, write_back
from lrs.method.gate import ALWAYS
from lrs.method.steering import Steering
from lrs.models.backbones import decoder_layer


@dataclass(frozen=True)
class SteeringRecord:
    """What steering did to one generation; means are over steered tokens, NaN where there were none."""

    steered_tokens: int
    reward_before: float
    reward_after: float
    push_ratio: float  # ||dh|| / ||h||


class Steerer:
    """Steers one generated token of every row at a time.

    Attributes:
        enabled: whether the hook steers; off while prompts are read.
        confidence: (rows,) confidence with which each row's current token was chosen; 1 for a first token.
        active: (rows,) which rows are steered, where the gate lets them through.
    """

    def __init__(self, steering: Steering, rows: int = 0, capacity: int = 256):
        self.steering, self.enabled = steering, False
        self._selects = steering.reward.head.weight.device.type == "cpu" and steering.gate != ALWAYS
        self.begin(rows, capacity)

    def begin(self, rows: int, capacity: int = 256) -> None:
        """Forget everything and begin `rows` new generations; `capacity` (tokens) is where histories start."""
        device = self.steering.reward.head.weight.device
        self.reward = RewardSteps(self.steering.reward, rows, capacity)
        self.confidence = torch.ones(rows, dtype=self.reward.dtype, device=device)
        self.active = torch.ones(rows, dtype=torch.bool, device=device)
        self._sums = torch.zeros(4, rows, dtype=torch.float64, device=device)

    def reset(self, rows: list[int]) -> None:
        """Begin new generations in these rows."""
        self.confidence[rows] = 1.0
        self.active[rows] = True
        self._sums[:, rows] = 0.0
        self.reward.clear(rows)

    def keep(self, rows: list[int]) -> None:
        """Let row i be what was row `rows[i]`; the others are dropped."""
        self.confidence, self.active, self._sums = self.confidence[rows], self.active[rows], self._sums[:, rows]
        self.reward.keep(rows)

    def push(self, hidden: Tensor) -> Tensor:
        """The steered residual stream of each row's current token, (rows, d_model); rows not gated are unchanged."""
        latent = self.steering.dictionary.encode(hidden.to(self.reward.dtype))
        before = self.reward.logit(latent).sigmoid()
        steered = self.steering.gate(before, self.confidence) & self.active
        pushed = (self._repair_some if self._selects else self._repair_all)(hidden, latent, before, steered)
        self.reward.advance()
        return pushed

    def _repair_all(self, hidden: Tensor, latent: Tensor, before: Tensor, steered: Tensor) -> Tensor:
        """Ascend from every latent and keep what the gate lets through: nothing waits for the device."""
        moved = self._ascend(self.reward, latent)
        moved = torch.where(steered[:, None], moved, latent)
        change = self._change(latent, moved, hidden)
        facts = self._facts(before, self.reward.logit(moved).sigmoid(), change, hidden)
        self._sums += torch.where(steered, facts, 0.0)
        return torch.where(steered[:, None], hidden + change, hidden)

    def _repair_some(self, hidden: Tensor, latent: Tensor, before: Tensor, steered: Tensor) -> Tensor:
        """The same where rows can be told apart at no cost: only gated ones ascend."""
        (rows,) = steered.nonzero(as_tuple=True)
        if not len(rows):
            return hidden
        some = self.reward.select(rows)
        latent, before, fragile = (of_all.index_select(0, rows) for of_all in (latent, before, hidden))
        moved = self._ascend(some, latent)
        change = self._change(latent, moved, fragile)
        self._sums.index_add_(1, rows, self._facts(before, some.logit(moved).sigmoid(), change, fragile))
        self.reward.adopt(rows, some)
        return hidden.index_copy(0, rows, fragile + change)

    def _ascend(self, reward: RewardSteps, latent: Tensor) -> Tensor:
        return ascend(latent, reward.gradient(), reward.gradient_at, self.steering.ascent)

    def _change(self, latent: Tensor, moved: Tensor, hidden: Tensor) -> Tensor:
        dictionary = self.steering.dictionary
        return write_back(latent, moved, dictionary.W_dec, dictionary.input_scale).to(hidden.dtype)

    def _facts(self, before: Tensor, after: Tensor, change: Tensor, hidden: Tensor) -> Tensor:
        """What is summed up of each row's push, (4, rows): one, its rewards, and ||dh|| / ||h||."""
        ratio = change.norm(dim=-1) / hidden.norm(dim=-1)
        return torch.stack([torch.ones_like(before), before, after, ratio]).to(self._sums.dtype)

    def records(self) -> list[SteeringRecord]:
        """What has been done to each row since it was admitted."""
        count, *sums = self._sums.tolist()
        nan = float("nan")
        means = [[total / n if n else nan for total, n in zip(column, count, strict=True)] for column in sums]
        return [SteeringRecord(int(n), *values) for n, *values in zip(count, *means, strict=True)]


@contextmanager
def hooked(model: PreTrainedModel, layer: int, steerer: Steerer) -> Iterator[None]:
    """Put `steerer` behind a decoder layer; the layer is as before when the block ends, also on error."""

    def replace_last_token(_: nn.Module, __: Any, output: Any) -> Any:
        if not steerer.enabled:
            return output
        hidden = output[0] if isinstance(output, tuple) else output
        pushed = steerer.push(hidden[:, -1])[:, None]
        return (pushed, *output[1:]) if isinstance(output, tuple) else pushed

    handle = decoder_layer(model, layer).register_forward_hook(replace_last_token)
    try:
        yield
    finally:
        handle.remove()
