"""A key-value cache with a slot a row: preallocated, each row with its own length, rows replaced in place."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import Parameter, signature
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward

Band = tuple[slice, int]  # neighbouring rows, and how many columns their longest sequence needs

# On a CPU attention waits for memory: rows of like length are kept together, and read no further than they need.
# On an accelerator one wide read costs less than several narrow ones.
_BAND = 48  # tokens
_WIDTH_MULTIPLE = {"cuda": 128}  # columns; on a GPU each width is a recording of its own, so there are few
_ATTENTION = "lrs_banded"


class SlotCache(Cache):
    """Keys and values of up to `rows` sequences of up to `capacity` tokens each.

    A sequence lies at the left of its slot, so its own length is all that tells where it ends: admitting a new
    one writes over an old one, and nothing is ever concatenated. Before each forward pass of the model call
    `prefill` or `decode`, which say where the pass writes and return the attention mask to give to the model.
    """

    def __init__(self, model_layers: int, rows: int, capacity: int, device: torch.device, dtype: torch.dtype):
        super().__init__(layers=[_SlotLayer(self) for _ in range(model_layers)])
        self.rows, self.capacity, self.device, self.dtype = rows, capacity, device, dtype
        self.host_lengths = np.zeros(rows, dtype=int)  # known without synchronisation
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)
        self._target: Tensor | None = None
        self._source: Tensor | None = None
        self._width = 0
        self._runs = [slice(0, rows)]

    def prefill(self, rows: list[int], mask: Tensor) -> Tensor:
        """Begin new sequences in `rows`: the pass reads prompts padded on the left.

        Args:
            mask: (rows, length) on the host, true on tokens and false on padding.

        Returns:
            Additive attention mask, (rows, 1, length, length).
        """
        length = mask.shape[1]
        self.host_lengths[rows] = mask.sum(dim=1).numpy()
        mask = mask.to(self.device)
        sizes = mask.sum(dim=1)
        self._target = torch.tensor(rows, device=self.device)
        self.lengths[self._target] = sizes
        columns = torch.arange(length, device=self.device)
        self._source = (length - sizes[:, None] + columns).clamp(max=length - 1)  # left padding to left alignment
        causal = torch.ones(length, length, dtype=torch.bool, device=self.device).tril()
        itself = torch.eye(length, dtype=torch.bool, device=self.device)  # padding must attend to something
        return _additive((causal & mask[:, None, :] | itself)[:, None], self.dtype)

    def decode(self) -> Tensor:
        """Append one token to every row.

        Returns:
            Additive attention mask, (rows, 1, 1, width).
        """
        self._source = None
        self._target = self.lengths.clone()
        self.lengths += 1
        self._width = self.next_width
        self.count_token()
        return newest_mask(self._target, self._width, self.dtype)

    def count_token(self) -> None:
        """Let the host know of a token more in every row."""
        self.host_lengths += 1

    @property
    def next_width(self) -> int:
        """How many columns attention reads at the next token."""
        return width_for(self.get_seq_length() + 1, self.capacity, self.device)

    @property
    def positions(self) -> Tensor:
        """Where `decode` is about to write, (rows,): the position ids of the tokens given to the model."""
        return self._target

    @property
    def bands(self) -> list[Band]:
        """Runs of rows that were of like length at the last `regroup`, and the width each needs; none in `prefill`."""
        return bands_of(self._runs, self.host_lengths) if self._source is None else []

    def regroup(self) -> None:
        """Find the runs of neighbouring rows of like length, over which attention goes one after the other."""
        self._runs = runs_of_like_length(self.host_lengths, self.device)

    def release(self, rows: list[int]) -> None:
        """Forget the sequences in these rows, so that they no longer widen what attention reads."""
        self.host_lengths[rows] = 0
        self.lengths[rows] = 0

    def keep(self, rows: Sequence[int]) -> None:
        """Let row i be what was row `rows[i]`, each at most once; the others are dropped."""
        for layer in self.layers:
            layer.keys, layer.values = (moved(states, rows, self.host_lengths) for states in (layer.keys, layer.values))
        self.lengths, self.host_lengths, self.rows = self.lengths[rows], self.host_lengths[rows], len(rows)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Length of the longest sequence."""
        return int(self.host_lengths.max())


class _SlotLayer(CacheLayerMixin):
    """One decoder layer's keys and values, each (rows, heads, capacity, head_width)."""

    def __init__(self, cache: SlotCache):
        super().__init__()
        self.cache = cache

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        def empty(states: Tensor) -> Tensor:
            return states.new_zeros(self.cache.rows, states.shape[1], self.cache.capacity, states.shape[3])

        self.keys, self.values = empty(key_states), empty(value_states)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        target, source, width = self.cache._target, self.cache._source, self.cache._width
        if source is None:
            rows = torch.arange(len(target), device=target.device)
            self.keys[rows, :, target] = key_states[:, :, 0]
            self.values[rows, :, target] = value_states[:, :, 0]
            return self.keys[:, :, :width], self.values[:, :, :width]
        for store, states in ((self.keys, key_states), (self.values, value_states)):
            index = source[:, None, :, None].expand_as(states)
            store[target, :, : states.shape[2]] = states.gather(2, index)
        return key_states, value_states

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.cache._width, 0

    def get_seq_length(self) -> int:
        return self.cache.get_seq_length()

    def get_max_length(self) -> int:
        return self.cache.capacity


def order_by_length(lengths: np.ndarray, rows: Sequence[int]) -> list[int]:
    """An order of these rows in which those of like length are neighbours, the longest first.

    Rows whose place is right already stay where they are, so that few have to be moved.
    """
    band = lengths // _BAND
    wanted = sorted((int(band[row]) for row in rows), reverse=True)  # the band of each place
    staying = {row for row in rows if row < len(wanted) and band[row] == wanted[row]}
    others = iter(sorted(set(rows) - staying, key=lambda row: (-band[row], row)))
    return [place if place in staying else next(others) for place in range(len(wanted))]


def runs_of_like_length(lengths: np.ndarray, device: torch.device) -> list[slice]:
    """The rows, in runs of neighbours whose lengths lie in the same band; on an accelerator in one run."""
    changes = np.flatnonzero(np.diff(lengths // _BAND)) + 1 if device.type == "cpu" else np.array([], dtype=int)
    return [slice(start, end) for start, end in pairwise([0, *changes.tolist(), len(lengths)])]


def width_for(length: int, capacity: int, device: torch.device) -> int:
    """How many columns attention reads where the longest row has `length` tokens."""
    multiple = _WIDTH_MULTIPLE.get(device.type, 1)
    return min(-(-length // multiple) * multiple, capacity)


def newest_mask(lengths: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """Additive mask, (rows, 1, 1, width), of each row's newest token: it sees itself and `lengths`, (rows,), before."""
    seen = torch.arange(width, device=lengths.device) <= lengths[:, None]
    return _additive(seen[:, None, None], dtype)


def _additive(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros_like(allowed, dtype=dtype).masked_fill_(~allowed, torch.finfo(dtype).min)


def bands_of(runs: list[slice], lengths: np.ndarray) -> list[Band]:
    """Runs of rows with the length of the longest sequence in each."""
    return [(run, int(lengths[run].max(initial=0))) for run in runs]


def moved(states: Tensor, rows: Sequence[int], lengths: np.ndarray) -> Tensor:
    """`states[rows]` of (rows, heads, capacity, head_width), in place, touching only rows that move.

    Args:
        lengths: of what lies in each row before the move; what lies beyond is not moved.
    """
    to = [place for place, row in enumerate(rows) if place != row]
    if to:
        come = [rows[place] for place in to]
        width = int(lengths[come].max())
        states[to, :, :width] = states[come, :, :width]
    return states[: len(rows)]


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
