"""A latent reward model in use: one token of every row at a time, with the gradient written out.

While a model is steered only the newest token's latent moves, so the gradient of its reward logit needs no autograd
graph: past keys and values are constants. `LatentRewardModel.forward` says the same for whole traces.
"""

from collections.abc import Iterator, Sequence
from copy import copy
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from lrs.reward import LatentRewardModel, sinusoids
from lrs.slot_cache import Band, bands_of, moved, newest_mask, runs_of_like_length, width_for


class _Affine(NamedTuple):
    weight: Tensor  # (out, in)
    bias: Tensor  # (out,)


class _Block(NamedTuple):
    """A block's linear maps; the scales and offsets of its LayerNorms are part of the maps that follow them."""

    mix: _Affine  # `history`: to queries, keys and values; `token`: the attention of a token to itself alone
    output: _Affine | None
    mlp_in: _Affine
    mlp_out: _Affine


class _Pass(NamedTuple):
    """What a forward pass leaves behind for the backward one: LayerNorms' (input, mean, 1/deviation) and more."""

    norms: list[tuple[Tensor, Tensor, Tensor]]
    hidden: list[Tensor]  # of each MLP, before its GELU
    attended: list[tuple[Tensor, Tensor]]  # queries and attention weights

    def select(self, rows: Tensor) -> Self:
        """What belongs to some of the rows."""

        def pick(*parts: Tensor) -> tuple[Tensor, ...]:
            return tuple(part.index_select(0, rows) for part in parts)

        attended = [pick(*parts) for parts in self.attended]
        return _Pass([pick(*parts) for parts in self.norms], list(pick(*self.hidden)), attended)


class _Newest(NamedTuple):
    """What every pass over the newest token shares."""

    rows: Tensor  # (rows,) their numbers
    position: Tensor  # (rows, width)
    mask: Tensor  # (rows, 1, 1, columns), additive
    bands: list[Band]


class RewardSteps:
    """Scores the newest token of `rows` rows, each with the history of tokens scored before it.

    The `token` variant keeps no history. For `history`, `past[layer]` is (rows, heads, capacity, 2 * head_width), keys
    before values; row i holds `lengths[i]` tokens, and the token being scored lies provisionally behind them.
    """

    def __init__(self, model: LatentRewardModel, rows: int, capacity: int):
        self.model, self.config = model, model.config
        self.device, self.dtype = model.head.weight.device, model.dtype
        causal = self.config.variant == "history"
        self._embed = _after_norm(model.embed, model.norm_input)
        self._head = _after_norm(model.head, model.norm_output)
        self._blocks = [_fold(block, causal) for block in model.blocks]
        self._head_width = self.config.width // self.config.heads
        shape = (rows, self.config.heads, capacity, 2 * self._head_width)
        self.past = [model.head.weight.new_zeros(shape) for _ in range(self.config.layers if causal else 0)]
        self._positions = self._position_table(capacity)
        self.host_lengths = np.zeros(rows, dtype=int)  # known without synchronisation
        self.lengths = torch.zeros(rows, dtype=torch.long, device=self.device)
        self._runs = [slice(0, rows)]
        self._known: _Newest | None = None

    @torch.no_grad()
    def logit(self, latent: Tensor) -> Tensor:
        """Reward logits, (rows,), of the newest latents, (rows, d_sae)."""
        logit, self._left = self._forward(latent)
        return logit

    @torch.no_grad()
    def gradient(self) -> Tensor:
        """Gradients, (rows, d_sae), of the logits given last with respect to their latents; can be asked for once."""
        return self._backward(self._left)

    def gradient_at(self, latent: Tensor) -> Tensor:
        """Gradients of the reward logits of other newest latents, both (rows, d_sae)."""
        self.logit(latent)
        return self.gradient()

    def advance(self) -> None:
        """Let what was scored last become part of the history."""
        self.lengths += 1
        self.count_token()

    def count_token(self) -> None:
        """Let the host know of a token more in every row."""
        self.host_lengths += 1
        self._known = None

    @property
    def next_width(self) -> int:
        """How many columns attention reads at the next token."""
        if not self.past:
            return 0
        return width_for(int(self.host_lengths.max(initial=0)) + 1, self.past[0].shape[2], self.device)

    def select(self, rows: Tensor) -> Self:
        """Some rows, (count,), with copies of their histories and of what `gradient` needs; `adopt` is the way back."""
        some = copy(self)
        some.host_lengths, some.lengths = self.host_lengths[rows.numpy()], self.lengths.index_select(0, rows)
        room = int(some.host_lengths.max(initial=0)) + 1
        some.past = [past[:, :, :room].index_select(0, rows) for past in self.past]
        some._left = self._left.select(rows)
        some.regroup()
        return some

    def adopt(self, rows: Tensor, some: Self) -> None:
        """Take over the newest keys and values of the rows selected before."""
        for ours, theirs in zip(self.past, some.past, strict=True):
            ours[rows, :, some.lengths] = theirs[torch.arange(len(rows)), :, some.lengths]

    def clear(self, rows: Sequence[int]) -> None:
        """Empty some rows, for new traces to begin in them."""
        self.lengths[rows] = 0
        self.host_lengths[rows] = 0
        self._known = None

    def keep(self, rows: Sequence[int]) -> None:
        """Let row i be what was row `rows[i]`, each at most once; the others are dropped."""
        self.past = [moved(past, rows, self.host_lengths) for past in self.past]
        self.lengths, self.host_lengths = self.lengths[rows], self.host_lengths[rows]
        self.regroup()

    def regroup(self) -> None:
        """Find the runs of neighbouring rows of like length, over which attention goes one after the other."""
        self._runs = runs_of_like_length(self.host_lengths, self.device)
        self._known = None

    def _position_table(self, capacity: int) -> Tensor:
        return sinusoids(torch.arange(capacity, device=self.device), self.config.width, self.dtype)

    @property
    def _newest(self) -> _Newest:
        """Where the newest tokens lie, and what they may attend to: found once a token."""
        self._known = self._known or self._find_newest()
        return self._known

    def _find_newest(self) -> _Newest:
        if self.host_lengths.max(initial=0) == self.past[0].shape[2]:
            self.past = [torch.cat([past, torch.zeros_like(past)], dim=2) for past in self.past]
            self._positions = self._position_table(self.past[0].shape[2])
        width = self.next_width
        return _Newest(
            rows=torch.arange(len(self.lengths), device=self.device),
            position=self._positions.index_select(0, self.lengths),
            mask=newest_mask(self.lengths, width, self.dtype),
            bands=bands_of(self._runs, self.host_lengths + 1) if len(self._runs) > 1 else [(self._runs[0], width)],
        )

    def _forward(self, latent: Tensor) -> tuple[Tensor, _Pass]:
        left = _Pass([], [], [])
        x = linear(self._normalise(latent, left), *self._embed)
        if self.past:
            x = x + self._newest.position
        for layer, block in enumerate(self._blocks):
            mixed = linear(self._normalise(x, left), *block.mix)
            x = x + (linear(self._attend(layer, mixed, left), *block.output) if block.output else mixed)
            left.hidden.append(linear(self._normalise(x, left), *block.mlp_in))
            x = x + linear(gelu(left.hidden[-1]), *block.mlp_out)
        return linear(self._normalise(x, left), *self._head)[:, 0], left

    def _backward(self, left: _Pass) -> Tensor:
        """The gradient of each row's logit with respect to its latent; takes apart what the forward pass left."""
        rows = len(left.norms[0][0])
        grad = _normalise_backward(self._head.weight.expand(rows, -1), left)
        for layer, block in reversed(list(enumerate(self._blocks))):
            inner = torch.ops.aten.gelu_backward(grad @ block.mlp_out.weight, left.hidden.pop())
            grad = grad + _normalise_backward(inner @ block.mlp_in.weight, left)
            mixed = self._attend_backward(layer, grad @ block.output.weight, left) if block.output else grad
            grad = grad + _normalise_backward(mixed @ block.mix.weight, left)
        return _normalise_backward(grad @ self._embed.weight, left)

    def _normalise(self, x: Tensor, left: _Pass) -> Tensor:
        norm = self.model.norm_input
        normal, mean, inverse_deviation = torch.native_layer_norm(x, x.shape[-1:], None, None, norm.eps)
        left.norms.append((x, mean, inverse_deviation))
        return normal

    def _bands(self, layer: int) -> Iterator[tuple[slice, int, Tensor, Tensor]]:
        """The rows, width, keys and values of each band."""
        for rows, width in self._newest.bands:
            past = self.past[layer][rows, :, :width]
            yield rows, width, past[..., : self._head_width], past[..., self._head_width :]

    def _attend(self, layer: int, mixed: Tensor, left: _Pass) -> Tensor:
        """Attention of the newest token to its row's history and to itself: (rows, 3 * width) to (rows, width)."""
        query, key_and_value = mixed.unflatten(1, (3, self.config.heads, -1)).split((1, 2), dim=1)
        self.past[layer][self._newest.rows, :, self.lengths] = key_and_value.transpose(1, 2).flatten(2)
        query = query.transpose(1, 2) * self._head_width**-0.5
        scores = self._newest.mask.repeat(1, self.config.heads, 1, 1)
        found = torch.empty_like(query)
        for rows, width, keys, _ in self._bands(layer):
            scores[rows, ..., :width] += query[rows] @ keys.mT
        weights = scores.softmax(dim=-1)
        for rows, width, _, values in self._bands(layer):
            found[rows] = weights[rows, ..., :width] @ values
        left.attended.append((query, weights))
        return found.flatten(1)

    def _attend_backward(self, layer: int, grad: Tensor, left: _Pass) -> Tensor:
        """(rows, width) to (rows, 3 * width): the past is constant, the newest key and value are not."""
        query, weights = left.attended.pop()
        weights = weights[..., : self._newest.mask.shape[-1]]
        grad = grad.view_as(query)
        slopes, towards_query = torch.zeros_like(weights), torch.empty_like(query)
        for rows, width, _, values in self._bands(layer):
            slopes[rows, ..., :width] = grad[rows] @ values.mT
        slopes = weights * (slopes - (slopes * weights).sum(dim=-1, keepdim=True))
        for rows, width, keys, _ in self._bands(layer):
            towards_query[rows] = slopes[rows, ..., :width] @ keys
        newest = self.lengths[:, None, None, None].expand(-1, self.config.heads, -1, -1)
        towards_key, towards_value = slopes.gather(-1, newest) * query, weights.gather(-1, newest) * grad
        parts = (towards_query * self._head_width**-0.5, towards_key, towards_value)
        return torch.cat([part.flatten(1) for part in parts], dim=1)


def _after_norm(layer: nn.Linear, norm: nn.LayerNorm) -> _Affine:
    """A linear layer that reads what LayerNorm has centred and divided, but neither scaled nor shifted."""
    return _Affine((layer.weight * norm.weight).detach(), (layer.bias + layer.weight @ norm.bias).detach())


def _fold(block: nn.Module, causal: bool) -> _Block:
    output = _Affine(block.output.weight.detach(), block.output.bias.detach())
    mix = _after_norm(block.qkv, block.norm_attention)
    if not causal:  # a token that attends to itself alone gets its value, whatever its query
        width = len(output.bias)
        value = _Affine(mix.weight[2 * width :], mix.bias[2 * width :])
        mix, output = _Affine(output.weight @ value.weight, output.weight @ value.bias + output.bias), None
    mlp_out = _Affine(block.mlp[2].weight.detach(), block.mlp[2].bias.detach())
    return _Block(mix, output, _after_norm(block.mlp[0], block.norm_mlp), mlp_out)


def _normalise_backward(grad: Tensor, left: _Pass) -> Tensor:
    x, mean, inverse_deviation = left.norms.pop()
    backward = torch.ops.aten.native_layer_norm_backward
    return backward(grad, x, x.shape[-1:], mean, inverse_deviation, None, None, [True, False, False])[0]
