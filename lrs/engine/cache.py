"""A key-value cache with a slot a row: preallocated, each row with its own length, rows replaced in place."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from lrs.engine.lengths import Band, Lengths, additive, newest_mask

_ATTENTION = "lrs_banded"


@dataclass
class _Pass:
    """What the layers have to know of the forward pass under way: where it writes, and how far it reads."""

    lengths: Lengths
    rows: Tensor | None = None
    columns: Tensor | None = None  # (rows,) of the newest token; None while prompts are read
    source: Tensor | None = None  # (rows, length) where in a padded prompt each column comes from
    width: int = 0
    bands: list[Band] = field(default_factory=list)


class SlotCache(Cache):
    """Keys and values of up to `rows` sequences of up to `capacity` tokens each.

    A sequence lies at the left of its slot, so its own length is all that tells where it ends: admitting a new
    one writes over an old one, and nothing is ever concatenated. Before each forward pass of the model call
    `prefill` or `decode`, which say where the pass writes and return the attention mask to give to the model.
    """

    def __init__(self, model_layers: int, rows: int, capacity: int, device: torch.device, dtype: torch.dtype):
        self.lengths, self.dtype = Lengths(rows, capacity, device), dtype
        self._pass = _Pass(self.lengths)
        super().__init__(layers=[_SlotLayer(self._pass) for _ in range(model_layers)])

    def prefill(self, rows: list[int], mask: Tensor) -> Tensor:
        """Begin new sequences in `rows`: the pass reads prompts padded on the left.

        Args:
            mask: (rows, length) on the host, true on tokens and false on padding.

        Returns:
            Additive attention mask, (rows, 1, length, length).
        """
        length, device = mask.shape[1], self.lengths.on_device.device
        self.lengths.begin(rows, mask.sum(dim=1))
        now, mask = self._pass, mask.to(device)
        now.rows, now.columns, now.bands = torch.tensor(rows, device=device), None, []
        padding = length - mask.sum(dim=1, keepdim=True)
        now.source = (padding + torch.arange(length, device=device)).clamp(max=length - 1)  # to the left
        later = torch.ones(length, length, dtype=torch.bool, device=device).triu(1)
        others = ~torch.eye(length, dtype=torch.bool, device=device)  # padding must attend to something
        return additive(((later | ~mask[:, None, :]) & others)[:, None], self.dtype)

    def decode(self) -> Tensor:
        """Append one token to every row.

        Returns:
            Additive attention mask, (rows, 1, 1, width).
        """
        now, lengths = self._pass, self.lengths
        now.rows, now.columns, now.source = lengths.rows, lengths.on_device.clone(), None
        now.width, now.bands = lengths.next_width, lengths.next_bands
        lengths.advance()
        return newest_mask(now.columns, now.width, self.dtype)[:, None, None]

    @property
    def positions(self) -> Tensor:
        """Where `decode` is about to write, (rows,): the position ids of the tokens given to the model."""
        return self._pass.columns

    @property
    def bands(self) -> list[Band]:
        """Runs of rows of like length, and how far the pass reads in each; none while prompts are read."""
        return self._pass.bands

    def keep(self, rows: Sequence[int]) -> None:
        """Let row i be what was row `rows[i]`, each at most once; the others are dropped."""
        for layer in self.layers:
            layer.keys, layer.values = (
                self.lengths.move(states.transpose(1, 2), rows).transpose(1, 2) for states in (layer.keys, layer.values)
            )
        self.lengths.keep(rows)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Length of the longest sequence."""
        return self.lengths.longest


class _SlotLayer(CacheLayerMixin):
    """One decoder layer's keys and values, each (rows, heads, capacity, head_width)."""

    def __init__(self, now: _Pass):
        super().__init__()
        self.now = now

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        def empty(states: Tensor) -> Tensor:
            return states.new_zeros(len(self.now.lengths), states.shape[1], self.now.lengths.capacity, states.shape[3])

        self.keys, self.values = empty(key_states), empty(value_states)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        now = self.now
        if now.source is None:
            self.keys[now.rows, :, now.columns] = key_states[:, :, 0]
            self.values[now.rows, :, now.columns] = value_states[:, :, 0]
            return self.keys[:, :, : now.width], self.values[:, :, : now.width]
        for store, states in ((self.keys, key_states), (self.values, value_states)):
            index = now.source[:, None, :, None].expand_as(states)
            store[now.rows, :, : states.shape[2]] = states.gather(2, index)
        return key_states, value_states

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.now.width, 0

    def get_seq_length(self) -> int:
        return self.now.lengths.longest

    def get_max_length(self) -> int:
        return self.now.lengths.capacity


def _banded_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, bands: list[Band] = (), **kwargs: Any
) -> tuple[Tensor, None]:
    """transformers' attention, a band of rows at a time, each over the columns that it needs."""
    if len(bands) < 2:
        return sdpa_attention_forward(module, query, key, value, mask, **kwargs)
    parts = [
        sdpa_attention_forward(
            module, query[rows], key[rows, :, :width], value[rows, :, :width], mask[rows, ..., :width], **kwargs
        )[0]
        for rows, width in bands
    ]
    return torch.cat(parts), None


AttentionInterface.register(_ATTENTION, _banded_attention)


@contextmanager
def banded(model: PreTrainedModel) -> Iterator[bool]:
    """Let the model take `bands=` and read no more of a `SlotCache` than they say, where its code allows that.

    Yields:
        Whether it does; if not, it takes no `bands`, and reads every row as far as the longest.

    Raises:
        ValueError: the model keeps its attention.
    """
    before = model.config._attn_implementation
    kinds = {parameter.kind for parameter in signature(model.forward).parameters.values()}
    if model.device.type != "cpu" or before != "sdpa" or Parameter.VAR_KEYWORD not in kinds:
        yield False
        return
    model.set_attn_implementation(_ATTENTION)
    if model.config._attn_implementation != _ATTENTION:
        raise ValueError(f"{type(model).__name__} keeps its attention; load it with attn_implementation='eager'")
    try:
        yield True
    finally:
        model.set_attn_implementation(before)
