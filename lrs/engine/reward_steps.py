"""A latent reward model in use: one token of every row at a time, with the gradient written out.

While a model is steered only the newest token's latent moves, so the gradient of its reward logit needs no autograd
graph: the past is constant. `LatentRewardModel.forward` says the same for whole traces.

Keys and values are linear in what attention reads, n_j at token j. So n_j alone is kept, half as much: the map of keys
goes over to the query, q.(K n_j + b) = (K^T q).n_j + c, where c moves no softmax, and the maps of values and output
come after the mean, O sum_j w_j (V n_j + b) = O V (sum_j w_j n_j) + O b. Maps that follow each other are one map here.
Every head then reads the whole of n_j: with the paper's four heads the past, which waits for memory, gains more than
the multiplications cost.
"""

from collections.abc import Sequence
from copy import copy
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from lrs.engine.lengths import Band, Lengths, newest_mask
from lrs.method.reward import LatentRewardModel, sinusoids


class _Affine(NamedTuple):
    weight: Tensor  # (out, in)
    bias: Tensor  # (out,)


class _Block(NamedTuple):
    """A block's linear maps; the scales and offsets of its LayerNorms are part of the maps that follow them."""

    query: _Affine | None  # (width) to (heads * width), to be multiplied with n_j; None if a token attends to itself
    mix: _Affine  # of the means of n_j, (heads * width), or of n itself, to (width)
    mlp_in: _Affine
    mlp_out: _Affine


class _Pass(NamedTuple):
    """What a forward pass leaves behind for the backward one: LayerNorms' (input, mean, 1/deviation) and more."""

    norms: list[tuple[Tensor, Tensor, Tensor]]
    hidden: list[Tensor]  # of each MLP, before its GELU
    attended: list[tuple[Tensor, Tensor]]  # (rows, heads, width) queries and (rows, heads, columns) weights

    def select(self, rows: Tensor) -> Self:
        """What belongs to some of the rows."""

        def pick(*parts: Tensor) -> tuple[Tensor, ...]:
            return tuple(part.index_select(0, rows) for part in parts)

        attended = [pick(*parts) for parts in self.attended]
        return _Pass([pick(*parts) for parts in self.norms], list(pick(*self.hidden)), attended)


class _Newest(NamedTuple):
    """What every pass over the newest token shares."""

    position: Tensor  # (rows, width)
    mask: Tensor  # (rows, 1, columns), additive
    bands: list[Band]

    def select(self, rows: Tensor, width: int) -> Self:
        """What belongs to some of the rows, in one band of this width."""
        mask = self.mask[..., :width].index_select(0, rows)
        return _Newest(self.position.index_select(0, rows), mask, [(slice(0, len(rows)), width)])


class RewardSteps:
    """Scores the newest token of `rows` rows, each with the history of tokens scored before it.

    The `token` variant keeps no history. For `history`, `past[layer]` is (rows, capacity, width), what attention reads;
    row i holds `lengths.on_host[i]` tokens, and the token being scored lies provisionally behind them.
    """

    def __init__(self, model: LatentRewardModel, rows: int, capacity: int):
        self.model, self.config, self.dtype = model, model.config, model.dtype
        causal = self.config.variant == "history"
        self.lengths = Lengths(rows, capacity, model.head.weight.device)
        self._embed = _after_norm(model.embed, model.norm_input)
        self._head = _after_norm(model.head, model.norm_output)
        self._blocks = [_fold(block, causal) for block in model.blocks]
        shape = (rows, capacity, self.config.width)
        self.past = [model.head.weight.new_zeros(shape) for _ in range(self.config.layers if causal else 0)]
        self._positions = self._position_table()
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
        self.lengths.advance()
        self._known = None

    def count_on_host(self) -> None:
        """Let the host know of a token more in every row, which the device has counted already."""
        self.lengths.count_on_host()
        self._known = None

    @property
    def next_width(self) -> int:
        """How many columns attention reads at the next token."""
        return self.lengths.next_width if self.past else 0

    def select(self, rows: Tensor) -> Self:
        """Some rows, (count,), with copies of their histories and of what `gradient` needs; `adopt` is the way back."""
        some = copy(self)
        some.lengths = self.lengths.select(rows)
        room = some.lengths.longest + 1
        if self.past:
            some.past, some.lengths.capacity = [past[:, :room].index_select(0, rows) for past in self.past], room
        some._left, some._known = self._left.select(rows), self._known.select(rows, room) if self._known else None
        return some

    def adopt(self, rows: Tensor, some: Self) -> None:
        """Take over the newest token of the rows selected before."""
        for ours, theirs in zip(self.past, some.past, strict=True):
            ours[rows, some.lengths.on_device] = theirs[some.lengths.rows, some.lengths.on_device]

    def clear(self, rows: Sequence[int]) -> None:
        """Empty some rows, for new traces to begin in them."""
        self.lengths.clear(rows)
        self._known = None

    def keep(self, rows: Sequence[int]) -> None:
        """Let row i be what was row `rows[i]`, each at most once; the others are dropped."""
        self.past = [self.lengths.move(past, rows) for past in self.past]
        self.lengths.keep(rows)
        self._known = None

    def regroup(self) -> None:
        """Find the runs of neighbouring rows of like length, over which attention goes one after the other."""
        self.lengths.regroup()
        self._known = None

    def _position_table(self) -> Tensor:
        return sinusoids(
            torch.arange(self.lengths.capacity, device=self._head.weight.device), self.config.width, self.dtype
        )

    @property
    def _newest(self) -> _Newest:
        """Where the newest tokens lie, and what they may attend to: found once a token."""
        self._known = self._known or self._find_newest()
        return self._known

    def _find_newest(self) -> _Newest:
        if self.lengths.longest == self.lengths.capacity:  # only where nobody said how long generations can be
            self.past = [torch.cat([past, torch.zeros_like(past)], dim=1) for past in self.past]
            self.lengths.capacity *= 2
            self._positions = self._position_table()
        lengths, width = self.lengths.on_device, self.next_width
        mask = newest_mask(lengths, width, self.dtype)[:, None]
        return _Newest(self._positions.index_select(0, lengths), mask, self.lengths.next_bands)

    def _forward(self, latent: Tensor) -> tuple[Tensor, _Pass]:
        left = _Pass([], [], [])
        x = linear(self._normalise(latent, left), *self._embed)
        if self.past:
            x = x + self._newest.position
        for layer, block in enumerate(self._blocks):
            read = self._normalise(x, left)
            x = x + linear(self._attend(layer, read, left) if self.past else read, *block.mix)
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
            mixed = grad @ block.mix.weight
            grad = grad + _normalise_backward(self._attend_backward(layer, mixed, left) if self.past else mixed, left)
        return _normalise_backward(grad @ self._embed.weight, left)

    def _normalise(self, x: Tensor, left: _Pass) -> Tensor:
        norm = self.model.norm_input
        normal, mean, inverse_deviation = torch.native_layer_norm(x, x.shape[-1:], None, None, norm.eps)
        left.norms.append((x, mean, inverse_deviation))
        return normal

    def _attend(self, layer: int, read: Tensor, left: _Pass) -> Tensor:
        """What the heads of the newest token find in their row's history and in itself.

        (rows, width) to (rows, heads * width): means of what has been read.
        """
        newest, past = self._newest, self.past[layer]
        past[self.lengths.rows, self.lengths.on_device] = read
        query = linear(read, *self._blocks[layer].query).unflatten(1, (self.config.heads, -1))
        weights, found = [], []
        for rows, width in newest.bands:
            seen = past[rows, :width]
            weights.append(torch.baddbmm(newest.mask[rows, :, :width], query[rows], seen.mT).softmax(dim=-1))
            found.append(torch.bmm(weights[-1], seen))
        left.attended.append((query, _joined(weights, newest.bands)))
        return _joined(found, newest.bands).flatten(1)

    def _attend_backward(self, layer: int, grad: Tensor, left: _Pass) -> Tensor:
        """(rows, heads * width) to (rows, width): the past is constant, what has just been read is not."""
        query, weights = left.attended.pop()
        grad, past, bands = grad.view_as(query), self.past[layer], self._newest.bands
        slopes, towards_query = [], []
        for rows, width in bands:
            seen = past[rows, :width]
            steep = torch.bmm(grad[rows], seen.mT)
            slopes.append(torch._softmax_backward_data(steep, weights[rows, :, :width], -1, self.dtype))
            towards_query.append(torch.bmm(slopes[-1], seen))
        newest = self.lengths.on_device[:, None, None].expand(-1, self.config.heads, -1)
        itself = _joined(slopes, bands).gather(-1, newest) * query + weights.gather(-1, newest) * grad
        return _joined(towards_query, bands).flatten(1) @ self._blocks[layer].query.weight + itself.sum(dim=1)


def _joined(parts: list[Tensor], bands: list[Band]) -> Tensor:
    """(rows, heads, ...) of all bands in one tensor, zero where a band is narrower than others."""
    if len(parts) == 1:
        return parts[0]
    whole = parts[0].new_zeros(bands[-1][0].stop, parts[0].shape[1], max(part.shape[2] for part in parts))
    for (rows, _), part in zip(bands, parts, strict=True):
        whole[rows, :, : part.shape[2]] = part
    return whole


def _after_norm(layer: nn.Linear, norm: nn.LayerNorm) -> _Affine:
    """A linear layer that reads what LayerNorm has centred and divided, but neither scaled nor shifted."""
    return _Affine((layer.weight * norm.weight).detach(), (layer.bias + layer.weight @ norm.bias).detach())


@torch.no_grad()
def _fold(block: nn.Module, causal: bool) -> _Block:
    weight, bias = _after_norm(block.qkv, block.norm_attention)
    query, key, value = weight.unflatten(0, (3, block.heads, -1))  # each (heads, head_width, width)
    query_bias, _, value_bias = bias.unflatten(0, (3, block.heads, -1))
    output = block.output.weight.unflatten(1, (block.heads, -1))  # (width, heads, head_width)
    mix = torch.einsum("ohd,hdi->ohi", output, value)
    mix_bias = block.output.bias + block.output.weight @ value_bias.flatten()
    asked = None
    if causal:
        scale = key.shape[1] ** -0.5
        asked = _Affine(
            torch.einsum("hdk,hdi->hki", key, query).flatten(0, 1) * scale,
            torch.einsum("hdk,hd->hk", key, query_bias).flatten() * scale,
        )
    mlp_out = _Affine(block.mlp[2].weight, block.mlp[2].bias)
    mix = _Affine(mix.flatten(1) if causal else mix.sum(dim=1), mix_bias)
    return _Block(asked, mix, _after_norm(block.mlp[0], block.norm_mlp), mlp_out)


def _normalise_backward(grad: Tensor, left: _Pass) -> Tensor:
    x, mean, inverse_deviation = left.norms.pop()
    backward = torch.ops.aten.native_layer_norm_backward
    return backward(grad, x, x.shape[-1:], mean, inverse_deviation, None, None, [True, False, False])[0]
