"""A key-value cache with a slot a row: preallocated, each row with its own length, rows replaced in place."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from lrs.engine.history import History, additive, newest_mask
from lrs.engine.policy import Policy


@dataclass
class _Pass:
    """What the layers have to know of the forward pass under way: where it writes, and how far it reads."""

    history: History
    rows: Tensor | None = None
    columns: Tensor | None = None  # (rows,) of the newest token; None while prompts are read
    source: Tensor | None = None  # (rows, length) where in a padded prompt each column comes from
    width: int = 0


class SlotCache(Cache):
    """Keys and values of up to `rows` sequences of up to `capacity` tokens each.

    A sequence lies at the left of its slot, so its own length is all that tells where it ends: admitting a new
    one writes over an old one, and nothing is ever concatenated. Before each forward pass of the model call
    `prefill` or `decode`, which say where the pass writes and return the attention mask to give to the model.

    Attributes:
        history: keys and values of every layer in turn.
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
        now.rows, now.columns = torch.tensor(rows, device=device), None
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
        now.width = history.next_width
        history.advance()
        return newest_mask(now.columns, now.width, self.dtype)[:, None, None]

    @property
    def positions(self) -> Int[Tensor, " rows"]:
        """Where `decode` is about to write: the position ids of the tokens given to the model.

        Raises:
            ValueError: the pass under way reads prompts.
        """
        if self._pass.columns is None:
            raise ValueError("a pass that reads prompts writes in many places of a row; call `decode` first")
        return self._pass.columns

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Length of the longest sequence."""
        return self.history.longest


class _SlotLayer(CacheLayerMixin):
    """One decoder layer's keys and values, in the cache's history."""

    def __init__(self, now: _Pass, layer: int):
        super().__init__()
        self.now, self.places = now, slice(2 * layer, 2 * layer + 2)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        history = self.now.history
        if len(history.states) != self.places.start:
            raise ValueError("a decoder layer does not keep keys and values, or layers run out of their order")
        for states in (key_states, value_states):
            _, heads, _, width = states.shape
            history.states.append(states.new_zeros(len(history), heads, history.capacity, width))
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        now = self.now
        keys, values = now.history.states[self.places]
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
