"""A latent reward model in use: one token of every row at a time, with the gradient written out.

While a model is steered only the newest token's latent moves, so the gradient of its reward logit needs no autograd
graph: past keys and values are constants. `LatentRewardModel.forward` says the same for whole traces.
"""

from collections.abc import Sequence
from copy import copy
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from lrs.reward import LatentRewardModel, sinusoids
from lrs.slot_cache import bands_of, moved, newest_mask, runs_of_like_length


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
        norms = [tuple(part[rows] for part in parts) for parts in self.norms]
        attended = [(query[rows], weight[rows]) for query, weight in self.attended]
        return _Pass(norms, [hidden[rows] for hidden in self.hidden], attended)


class RewardSteps:
    """Scores the newest token of `rows` rows, each with the history of tokens scored before it.

    The `token` variant keeps no history. For `history`, `keys[layer]` and `values[layer]` are (rows, heads, capacity,
    head_width); row i holds `lengths[i]` tokens, and the token being scored lies provisionally behind them.
    """

    def __init__(self, model: LatentRewardModel, rows: int, capacity: int):
        self.model, self.config = model, model.config
        self.device, self.dtype = model.head.weight.device, model.dtype
        causal = self.config.variant == "history"
        self._embed = _after_norm(model.embed, model.norm_input)
        self._head = _after_norm(model.head, model.norm_output)
        self._blocks = [_fold(block, causal) for block in model.blocks]
        shape = (rows, self.config.heads, capacity, self.config.width // self.config.heads)
        layers = self.config.layers if causal else 0
        self.keys = [model.head.weight.new_zeros(shape) for _ in range(layers)]
        self.values = [model.head.weight.new_zeros(shape) for _ in range(layers)]
        self.host_lengths = np.zeros(rows, dtype=int)  # known without synchronisation
        self.lengths = torch.zeros(rows, dtype=torch.long, device=self.device)
        self._runs = [slice(0, rows)]
        self._prepare()

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
        self.host_lengths += 1
        self._prepare()

    def select(self, rows: Tensor) -> Self:
        """Some rows, (count,), with copies of their histories and of what `gradient` needs; `adopt` is the way back."""
        some = copy(self)
        some.host_lengths, some.lengths = self.host_lengths[rows.numpy()], self.lengths[rows]
        room = int(some.host_lengths.max(initial=0)) + 1
        some.keys = [keys[:, :, :room].index_select(0, rows) for keys in self.keys]
        some.values = [values[:, :, :room].index_select(0, rows) for values in self.values]
        some._left = self._left.select(rows)
        some.regroup()
        return some

    def adopt(self, rows: Tensor, some: Self) -> None:
        """Take over the newest keys and values of the rows selected before."""
        for ours, theirs in zip(self.keys + self.values, some.keys + some.values, strict=True):
            ours[rows, :, self.lengths[rows]] = theirs[some._rows, :, some.lengths]

    def clear(self, rows: Sequence[int]) -> None:
        """Empty some rows, for new traces to begin in them."""
        self.lengths[rows] = 0
        self.host_lengths[rows] = 0
        self._prepare()

    def keep(self, rows: Sequence[int]) -> None:
        """Let row i be what was row `rows[i]`, each at most once; the others are dropped."""
        self.keys = [moved(keys, rows, self.host_lengths) for keys in self.keys]
        self.values = [moved(values, rows, self.host_lengths) for values in self.values]
        self.lengths, self.host_lengths = self.lengths[rows], self.host_lengths[rows]
        self.regroup()

    def regroup(self) -> None:
        """Find the runs of neighbouring rows of like length, over which attention goes one after the other."""
        self._runs = runs_of_like_length(self.host_lengths, self.device)
        self._prepare()

    def _prepare(self) -> None:
        """What every pass over the newest token shares: where it lies, and what it may attend to."""
        if not self.keys:
            return
        newest = int(self.host_lengths.max(initial=0))
        if newest == self.keys[0].shape[2]:
            self.keys = [torch.cat([keys, torch.zeros_like(keys)], dim=2) for keys in self.keys]
            self.values = [torch.cat([values, torch.zeros_like(values)], dim=2) for values in self.values]
        self._rows = torch.arange(len(self.lengths), device=self.device)
        self._position = sinusoids(self.lengths, self.config.width, self.dtype)
        self._bands = bands_of(self._runs, self.host_lengths + 1)
        self._mask = newest_mask(self.lengths, newest + 1, self.dtype)

    def _forward(self, latent: Tensor) -> tuple[Tensor, _Pass]:
        left = _Pass([], [], [])
        x = linear(self._normalise(latent, left), *self._embed)
        if self.keys:
            x = x + self._position
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

    def _attend(self, layer: int, mixed: Tensor, left: _Pass) -> Tensor:
        """Attention of the newest token to its row's history and to itself: (rows, 3 * width) to (rows, width)."""
        query, key, value = mixed.unflatten(1, (3, self.config.heads, -1)).unbind(1)
        self.keys[layer][self._rows, :, self.lengths] = key
        self.values[layer][self._rows, :, self.lengths] = value
        query = query[:, :, None] * query.shape[-1] ** -0.5
        weights = query.new_zeros(*query.shape[:3], self._mask.shape[-1])
        found = torch.empty_like(query)
        for rows, width in self._bands:
            scores = query[rows] @ self.keys[layer][rows, :, :width].mT + self._mask[rows, ..., :width]
            weights[rows, ..., :width] = weight = scores.softmax(dim=-1)
            found[rows] = weight @ self.values[layer][rows, :, :width]
        left.attended.append((query, weights))
        return found.flatten(1)

    def _attend_backward(self, layer: int, grad: Tensor, left: _Pass) -> Tensor:
        """(rows, width) to (rows, 3 * width): the past is constant, the newest key and value are not."""
        query, weights = left.attended.pop()
        grad = grad.view_as(query)
        towards_query, slopes = torch.empty_like(query), torch.empty_like(weights)
        for rows, width in self._bands:
            slope = grad[rows] @ self.values[layer][rows, :, :width].mT
            weight = weights[rows, ..., :width]
            slopes[rows, ..., :width] = slope = weight * (slope - (slope * weight).sum(dim=-1, keepdim=True))
            towards_query[rows] = slope @ self.keys[layer][rows, :, :width]
        newest = self.lengths[:, None, None, None].expand(-1, self.config.heads, -1, -1)
        towards_key, towards_value = slopes.gather(-1, newest) * query, weights.gather(-1, newest) * grad
        parts = (towards_query * query.shape[-1] ** -0.5, towards_key, towards_value)
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
