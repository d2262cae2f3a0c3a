"""A key-value cache with a slot a row: preallocated, each row with its own length, rows replaced in place."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import Parameter, signature
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from lrs.engine.history import Band, History, additive, newest_mask
from lrs.engine.policy import Policy

_ATTENTION = "lrs_banded"


@dataclass
class _Pass:
    """What the layers have to know of the forward pass under way: where it writes, and how far it reads."""

    history: History
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

    Attributes:
        history: keys and values of every layer in turn, each seen as (rows, capacity, heads, head_width).
    """

    def __init__(self, layers: int, rows: int, capacity: int, device: torch.device, dtype: torch.dtype, policy: Policy):
        self.history, self.dtype = History(rows, capacity, device, policy), dtype
        self._pass = _Pass(self.history)
        super().__init__(layers=[_SlotLayer(self._pass, layer) for layer in range(layers)])

    def prefill(self, rows: list[int], mask: Bool[Tensor, "some length"]) -> Float[Tensor, "some 1 length length"]:
        """Begin new sequences in `rows`: the pass reads prompts padded on the left.

        Args:
            mask: on the host, true on tokens and false on padding.

        Returns:
            Additive attention mask.
        """
        length, device = mask.shape[1], self.history.on_device.device
        self.history.begin(rows, mask.sum(dim=1))
        now, mask = self._pass, mask.to(device)
        now.rows, now.columns, now.bands = torch.tensor(rows, device=device), None, []
        padding = length - mask.sum(dim=1, keepdim=True)
        now.source = (padding + torch.arange(length, device=device)).clamp(max=length - 1)  # to the left
        later = torch.ones(length, length, dtype=torch.bool, device=device).triu(1)
        others = ~torch.eye(length, dtype=torch.bool, device=device)  # padding must attend to something
        return additive(((later | ~mask[:, None, :]) & others)[:, None], self.dtype)

    def decode(self) -> Float[Tensor, "rows 1 1 width"]:
        """Append one token to every row.

        Returns:
            Additive attention mask.
        """
        now, history = self._pass, self.history
        now.rows, now.columns, now.source = history.rows, history.on_device.clone(), None
        now.width, now.bands = history.next_width, history.next_bands
        history.advance()
        return newest_mask(now.columns, now.width, self.dtype)[:, None, None]

    @property
    def positions(self) -> Int[Tensor, " rows"]:
        """Where `decode` is about to write: the position ids of the tokens given to the model."""
        return self._pass.columns

    @property
    def bands(self) -> list[Band]:
        """Runs of rows of like length, and how far the pass reads in each; none while prompts are read."""
        return self._pass.bands

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Length of the longest sequence."""
        return self.history.longest


class _SlotLayer(CacheLayerMixin):
    """One decoder layer's keys and values, (rows, heads, capacity, head_width) each, in the cache's history."""

    def __init__(self, now: _Pass, layer: int):
        super().__init__()
        self.now, self.places = now, slice(2 * layer, 2 * layer + 2)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        history = self.now.history
        for states in (key_states, value_states):  # layers come in their order
            _, heads, _, width = states.shape
            history.states.append(states.new_zeros(len(history), heads, history.capacity, width).transpose(1, 2))
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        now = self.now
        keys, values = (state.transpose(1, 2) for state in now.history.states[self.places])
        if now.source is None:
            keys[now.rows, :, now.columns] = key_states[:, :, 0]
            values[now.rows, :, now.columns] = value_states[:, :, 0]
            return keys[:, :, : now.width], values[:, :, : now.width]
        for store, states in ((keys, key_states), (values, value_states)):
            index = now.source[:, None, :, None].expand_as(states)
            store[now.rows, :, : states.shape[2]] = states.gather(2, index)
        return key_states, value_states

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.now.width, 0

    def get_seq_length(self) -> int:
        return self.now.history.longest

    def get_max_length(self) -> int:
        return self.now.history.capacity


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
def banded(model: PreTrainedModel, policy: Policy) -> Iterator[bool]:
    """Let the model take `bands=` and read no more of a `SlotCache` than they say, where its code allows that.

    Yields:
        Whether it does; if not, it takes no `bands`, and reads every row as far as the longest.

    Raises:
        ValueError: the model keeps its attention.
    """
    before = model.config._attn_implementation
    kinds = {parameter.kind for parameter in signature(model.forward).parameters.values()}
    if policy.band is None or before != "sdpa" or Parameter.VAR_KEYWORD not in kinds:
        yield False
        return
    model.set_attn_implementation(_ATTENTION)
    if model.config._attn_implementation != _ATTENTION:
        raise ValueError(f"{type(model).__name__} keeps its attention; load it with attn_implementation='eager'")
    try:
        yield True
    finally:
        model.set_attn_implementation(before)
