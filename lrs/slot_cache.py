"""A key-value cache with a slot a row: preallocated, each row with its own length, rows replaced in place."""

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class SlotCache(Cache):
    """Keys and values of up to `rows` sequences of up to `capacity` tokens each.

    A sequence lies at the left of its slot, so its own length is all that tells where it ends: admitting a new
    one writes over an old one, and nothing is ever concatenated. Before each forward pass of the model call
    `prefill` or `decode`, which say where the pass writes and return the attention mask to give to the model.
    """

    def __init__(self, model_layers: int, rows: int, capacity: int, device: torch.device, dtype: torch.dtype):
        super().__init__(layers=[_SlotLayer(self) for _ in range(model_layers)])
        self.rows, self.capacity, self.device, self.dtype = rows, capacity, device, dtype
        self.lengths = np.zeros(rows, dtype=int)  # kept on the host: known there without synchronisation
        self._target: Tensor | None = None
        self._source: Tensor | None = None
        self._width = 0

    def prefill(self, rows: list[int], mask: Tensor) -> Tensor:
        """Begin new sequences in `rows`: the pass reads prompts padded on the left.

        Args:
            mask: (rows, length), true on tokens and false on padding.

        Returns:
            Additive attention mask, (rows, 1, length, length).
        """
        length = mask.shape[1]
        sizes = mask.sum(dim=1)
        self.lengths[rows] = sizes.cpu().numpy()
        self._target = torch.tensor(rows, device=self.device)
        columns = torch.arange(length, device=self.device)
        self._source = (length - sizes[:, None] + columns).clamp(max=length - 1)  # left padding to left alignment
        causal = torch.ones(length, length, dtype=torch.bool, device=self.device).tril()
        itself = torch.eye(length, dtype=torch.bool, device=self.device)  # padding must attend to something
        return self._additive((causal & mask[:, None, :] | itself)[:, None])

    def decode(self) -> Tensor:
        """Append one token to every row.

        Returns:
            Additive attention mask, (rows, 1, 1, width).
        """
        self._source = None
        self._target = torch.from_numpy(self.lengths).to(self.device, copy=True)
        self.lengths = self.lengths + 1
        self._width = int(self.lengths.max())
        seen = torch.arange(self._width, device=self.device) <= self._target[:, None]
        return self._additive(seen[:, None, None])

    @property
    def positions(self) -> Tensor:
        """Where `decode` is about to write, (rows,): the position ids of the tokens given to the model."""
        return self._target

    def release(self, rows: list[int]) -> None:
        """Forget the sequences in these rows, so that they no longer widen what attention reads."""
        self.lengths[rows] = 0

    def keep(self, rows: list[int]) -> None:
        """Drop every row but these."""
        for layer in self.layers:
            layer.keys, layer.values = layer.keys[rows], layer.values[rows]
        self.lengths, self.rows = self.lengths[rows], len(rows)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Length of the longest sequence."""
        return int(self.lengths.max())

    def _additive(self, allowed: Tensor) -> Tensor:
        blocked = torch.finfo(self.dtype).min
        return torch.zeros_like(allowed, dtype=self.dtype).masked_fill_(~allowed, blocked)


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
