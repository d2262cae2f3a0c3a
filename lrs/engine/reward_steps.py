"""A latent reward model in use: one token of every row at a time, with the gradient written out.

While a model is steered only the newest token's latent moves, so the gradient of its reward logit needs no autograd
graph: the past is constant. `LatentRewardModel.forward` says the same for whole traces.
"""

from copy import copy
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from lrs.engine.history import History, newest_mask
from lrs.engine.policy import Policy
from lrs.method.ascent import unit
from lrs.method.positions import sinusoids
from lrs.method.reward import Block, LatentRewardModel


class _Affine(NamedTuple):
    weight: Tensor  # (out, in)
    bias: Tensor  # (out,)


class _Maps(NamedTuple):
    """A block's linear maps; the scales and offsets of its LayerNorms are part of the maps that follow them."""

    mix: _Affine  # of what the heads have found, or of n itself, to (width)
    mlp_in: _Affine
    mlp_out: _Affine


class Newest(NamedTuple):
    """Where the newest tokens stand, and what they may attend to: the same in every pass over them."""

    position: Tensor  # (rows, width)
    mask: Tensor  # (rows, 1, 1, columns), additive


class _Norm(NamedTuple):
    """What a LayerNorm has read, (rows, width), and what its gradient needs of it."""

    x: Tensor
    mean: Tensor
    inverse_deviation: Tensor


class _Attended(NamedTuple):
    query: Tensor  # (rows, heads, 1, head_width)
    weights: Tensor  # (rows, heads, 1, columns)


class _Passed(NamedTuple):
    """What a block leaves behind for its gradient."""

    read: _Norm
    attended: _Attended | None
    mlp_read: _Norm
    mlp_hidden: Tensor  # (rows, 4 * width), before its GELU


class Scored(NamedTuple):
    """The rewards of some newest tokens, and what the gradient needs beside their history, as this score left it."""

    logit: Tensor  # (rows,)
    read: _Norm | None  # None for the variant `linear`, as is `read_last`
    passed: tuple[_Passed, ...]
    read_last: _Norm | None
    newest: Newest | None  # None for any variant but `history`

    def select(self, rows: Int[Tensor, " some"], history: History) -> "Scored":
        """What belongs to some of the rows, whose history is given and may be narrower."""
        some: Scored = _picked(self, rows)
        if some.newest is None:
            return some
        width = history.capacity
        passed = tuple(block._replace(attended=_narrowed(block.attended, width)) for block in some.passed)
        return some._replace(passed=passed, newest=some.newest._replace(mask=some.newest.mask[..., :width]))


class RewardSteps:
    """Scores the newest token of `rows` rows, each with the history of tokens scored before it.

    The `token` and `linear` variants keep no history. For `history`, `history.states` has keys and values of every
    layer in turn; those of the token being scored lie provisionally behind what a row holds, and `history.advance` lets
    them stay.
    """

    recordable = True  # nothing here waits for the device

    def __init__(self, model: LatentRewardModel, rows: int, capacity: int, policy: Policy | None = None):
        self.model, self.config, self.dtype = model, model.config, model.dtype
        self.history = History(rows, capacity, model.head.weight.device, policy or Policy())
        self._causal, self._linear = self.config.variant == "history", self.config.variant == "linear"
        if self._linear:
            return
        self._embed = _after_norm(model.embed, model.norm_input)
        self._head = _after_norm(model.head, model.norm_output)
        self._blocks = [_maps(block, self._causal) for block in model.blocks]
        if self._causal:
            self._qkv = [_query_key_value(block) for block in model.blocks]
            shape = (rows, self.config.heads, capacity, self.config.width // self.config.heads)
            self.history.states += [model.head.weight.new_zeros(shape) for _ in range(2 * len(model.blocks))]
            self._positions = self._position_table()

    @torch.no_grad()
    def newest(self) -> Newest | None:
        """Where the newest tokens stand, found once a token; None for the variant `token`."""
        if not self._causal:
            return None
        if self.history.longest == self.history.capacity:  # only where nobody said how long generations can be
            self.history.grow()
            self._positions = self._position_table()
        lengths = self.history.on_device
        mask = newest_mask(lengths, self.history.next_width, self.dtype)[:, None, None]
        return Newest(self._positions.index_select(0, lengths), mask)

    @torch.no_grad()
    def score(self, latent: Float[Tensor, "rows d_sae"], newest: Newest | None) -> Scored:
        """Reward logits of the newest latents."""
        if self._linear:
            return Scored(self.model.head(latent)[:, 0], None, (), None, None)
        read = self._norm(latent)
        x = linear(read[0], *self._embed)
        if newest is not None:
            x = x + newest.position
        passed = []
        for layer, block in enumerate(self._blocks):
            (seen, norm), attended = self._norm(x), None
            if newest is not None:
                seen, attended = self._attend(layer, seen, newest)
            x = x + linear(seen, *block.mix)
            mlp_seen, mlp_norm = self._norm(x)
            hidden = linear(mlp_seen, *block.mlp_in)
            x = x + linear(gelu(hidden), *block.mlp_out)
            passed.append(_Passed(norm, attended, mlp_norm, hidden))
        last, norm_last = self._norm(x)
        return Scored(linear(last, *self._head)[:, 0], read[1], tuple(passed), norm_last, newest)

    @torch.no_grad()
    def gradient(self, scored: Scored) -> Float[Tensor, "rows d_sae"]:
        """Gradients of the logits with respect to the latents."""
        if scored.read is None or scored.read_last is None:
            return self.model.head.weight.expand(len(scored.logit), -1)
        grad = _norm_backward(self._head.weight.expand(len(scored.logit), -1), scored.read_last)
        for layer in reversed(range(len(self._blocks))):
            block, passed = self._blocks[layer], scored.passed[layer]
            inner = torch.ops.aten.gelu_backward(grad @ block.mlp_out.weight, passed.mlp_hidden)
            grad = grad + _norm_backward(inner @ block.mlp_in.weight, passed.mlp_read)
            mixed = grad @ block.mix.weight
            if passed.attended is not None and scored.newest is not None:
                mixed = self._attend_backward(layer, mixed, passed.attended, scored.newest)
            grad = grad + _norm_backward(mixed, passed.read)
        return _norm_backward(grad @ self._embed.weight, scored.read)

    def direction(self, scored: Scored) -> Float[Tensor, "rows d_sae"]:
        """Where a step of length 1 leads: the gradients over their norms."""
        return unit(self.gradient(scored))

    def select(self, rows: Int[Tensor, " some"]) -> "RewardSteps":
        """The same for some rows, with copies of their histories; `history.adopt` is the way back."""
        some = copy(self)
        some.history = self.history.select(rows)
        return some

    def _position_table(self) -> Float[Tensor, "capacity width"]:
        positions = torch.arange(self.history.capacity, device=self._head.weight.device)
        return sinusoids(positions, self.config.width, self.dtype)

    def _norm(self, x: Float[Tensor, "rows width"]) -> tuple[Float[Tensor, "rows width"], _Norm]:
        norm = self.model.norm_input
        normal, mean, inverse_deviation = torch.native_layer_norm(x, x.shape[-1:], None, None, norm.eps)
        return normal, _Norm(x, mean, inverse_deviation)

    def _attend(
        self, layer: int, seen: Float[Tensor, "rows width"], newest: Newest
    ) -> tuple[Float[Tensor, "rows width"], _Attended]:
        """What heads find in their row's history and in its newest token, which joins it provisionally."""
        query, key, value = linear(seen, *self._qkv[layer]).unflatten(1, (3, self.config.heads, -1)).unbind(1)
        keys, values = self._kept(layer, newest)
        rows, at = self.history.rows, self.history.on_device
        keys[rows, :, at], values[rows, :, at] = key, value
        query = query[:, :, None]
        weights = (query @ keys.mT + newest.mask).softmax(dim=-1)
        return (weights @ values).flatten(1), _Attended(query, weights)

    def _attend_backward(
        self, layer: int, grad: Float[Tensor, "rows width"], attended: _Attended, newest: Newest
    ) -> Float[Tensor, "rows width"]:
        """The past is constant; query, key and value of the newest token are not."""
        query, weights = attended
        keys, values = self._kept(layer, newest)
        grad = grad.view_as(query)
        slopes = torch._softmax_backward_data(grad @ values.mT, weights, -1, self.dtype)
        at = self.history.on_device[:, None, None, None].expand(-1, self.config.heads, -1, -1)
        parts = [slopes @ keys, slopes.gather(-1, at) * query, weights.gather(-1, at) * grad]
        return torch.stack(parts, dim=1).flatten(1) @ self._qkv[layer].weight

    def _kept(self, layer: int, newest: Newest) -> list[Float[Tensor, "rows heads columns head_width"]]:
        """Keys and values of a layer, as far as attention reads."""
        return [state[:, :, : newest.mask.shape[-1]] for state in self.history.states[2 * layer : 2 * layer + 2]]


def _picked(parts: Any, rows: Tensor) -> Any:
    """Some rows of every tensor in a nest of named tuples."""
    if isinstance(parts, Tensor):
        return parts.index_select(0, rows)
    if parts is None:
        return None
    inner = [_picked(part, rows) for part in parts]
    return type(parts)(*inner) if hasattr(parts, "_fields") else tuple(inner)


def _narrowed(attended: _Attended | None, columns: int) -> _Attended | None:
    return attended and attended._replace(weights=attended.weights[..., :columns])


def _after_norm(layer: nn.Linear, norm: nn.LayerNorm) -> _Affine:
    """A linear layer that reads what LayerNorm has centred and divided, but neither scaled nor shifted."""
    return _Affine((layer.weight * norm.weight).detach(), (layer.bias + layer.weight @ norm.bias).detach())


@torch.no_grad()
def _query_key_value(block: Block) -> _Affine:
    """What attention reads, with its scale in the query."""
    qkv = _after_norm(block.qkv, block.norm_attention)
    width = len(qkv.bias) // 3
    for part in qkv:  # copies of the model's
        part[:width] *= (width // block.heads) ** -0.5
    return qkv


@torch.no_grad()
def _maps(block: Block, causal: bool) -> _Maps:
    mix = _Affine(block.output.weight, block.output.bias)
    if not causal:  # a token finds its own value, and maps that follow each other are one map
        weight, bias = (part[2 * len(mix.bias) :] for part in _after_norm(block.qkv, block.norm_attention))
        mix = _Affine(mix.weight @ weight, linear(bias, *mix))
    mlp_out = _Affine(block.mlp[2].weight, block.mlp[2].bias)
    return _Maps(mix, _after_norm(block.mlp[0], block.norm_mlp), mlp_out)


def _norm_backward(grad: Float[Tensor, "rows width"], norm: _Norm) -> Float[Tensor, "rows width"]:
    backward = torch.ops.aten.native_layer_norm_backward
    shape = norm.x.shape[-1:]
    return backward(grad, norm.x, shape, norm.mean, norm.inverse_deviation, None, None, [True, False, False])[0]
