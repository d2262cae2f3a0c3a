"""What attention has kept of a batch: the states of every row, and how many there are.

Lengths are known on the device, and on the host, which need not wait to know.
"""

from collections.abc import Sequence
from copy import copy

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lrs.engine.policy import Policy


class History:
    """States of `rows` sequences of up to `capacity` tokens each, none at first.

    Attributes:
        states: (rows, heads, capacity, head_width) each; whoever keeps keys or values of tokens appends them here.
        capacity: no row may grow beyond it.
        on_device: (rows,) lengths.
        on_host: the same.
        rows: (rows,) 0, 1, ..., on the device.
    """

    def __init__(self, rows: int, capacity: int, device: torch.device, policy: Policy):
        self.states: list[Tensor] = []
        self.capacity, self.policy = capacity, policy
        self.on_device = torch.zeros(rows, dtype=torch.long, device=device)
        self.on_host = np.zeros(rows, dtype=int)
        self.rows = torch.arange(rows, device=device)

    def __len__(self) -> int:
        return len(self.on_host)

    @property
    def longest(self) -> int:
        """Length of the longest sequence; 0 of none."""
        return int(self.on_host.max(initial=0))

    @property
    def next_width(self) -> int:
        """How many columns attention reads at the next token."""
        multiple = self.policy.width_multiple
        return min(-(-(self.longest + 1) // multiple) * multiple, self.capacity)

    def begin(self, rows: list[int], lengths: Int[Tensor, " some"]) -> None:
        """Begin new sequences in `rows`, of `lengths` (on the host)."""
        self.on_host[rows] = lengths.numpy()
        self.on_device[torch.tensor(rows, device=self.on_device.device)] = lengths.to(self.on_device.device)

    def clear(self, rows: Sequence[int]) -> None:
        """Forget the sequences in these rows, so that they no longer widen what attention reads."""
        self.on_host[rows] = 0
        self.on_device[rows] = 0

    def advance(self) -> None:
        """Count a token more in every row."""
        self.on_device += 1
        self.count_on_host()

    def count_on_host(self) -> None:
        """Let the host know of a token more in every row, which the device has counted already."""
        self.on_host += 1

    def grow(self) -> None:
        """Make room for twice as many tokens."""
        self.states = [torch.cat([state, torch.zeros_like(state)], dim=2) for state in self.states]
        self.capacity *= 2

    def keep(self, rows: Sequence[int]) -> None:
        """Let row i be what was row `rows[i]`, each at most once; the others are dropped."""
        self.states = [self._moved(state, rows) for state in self.states]
        self.on_device, self.on_host, self.rows = self.on_device[rows], self.on_host[rows], self.rows[: len(rows)]

    def _moved(self, state: Float[Tensor, "rows heads capacity width"], rows: Sequence[int]) -> Float[Tensor, "..."]:
        """`state[rows]`, made in place; only rows that move are touched, as far as their sequences reach."""
        to = [place for place, row in enumerate(rows) if place != row]
        if to:
            come = [rows[place] for place in to]
            width = int(self.on_host[come].max())
            state[to, :, :width] = state[come, :, :width]
        return state[: len(rows)]

    def select(self, rows: Int[Tensor, " some"]) -> "History":
        """A copy of some rows; for use on a CPU."""
        some = copy(self)
        some.on_device, some.on_host = self.on_device.index_select(0, rows), self.on_host[rows.numpy()]
        some.rows, some.capacity = self.rows[: len(rows)], some.longest + 1
        some.states = [state[:, :, : some.capacity].index_select(0, rows) for state in self.states]
        return some

    def adopt(self, rows: Int[Tensor, " some"], some: "History") -> None:
        """Take over the newest states of the rows selected before."""
        for ours, theirs in zip(self.states, some.states, strict=True):
            ours[rows, :, some.on_device] = theirs[some.rows, :, some.on_device]


def newest_mask(lengths: Int[Tensor, " rows"], width: int, dtype: torch.dtype) -> Float[Tensor, "rows width"]:
    """Additive mask of each row's newest token: it sees itself and the `lengths` before it."""
    return additive(torch.arange(width, device=lengths.device) > lengths[:, None], dtype)


def additive(forbidden: Bool[Tensor, "*shape"], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
    """What to add to attention scores: the lowest number where it is forbidden to attend, else 0."""
    return torch.zeros_like(forbidden, dtype=dtype).masked_fill_(forbidden, torch.finfo(dtype).min)
