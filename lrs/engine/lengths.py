"""How many tokens lie in each row of a batch: known on the device, and on the host, which need not wait to know."""

from collections.abc import Sequence
from copy import copy
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from torch import Tensor

Band = tuple[slice, int]  # neighbouring rows, and how many columns their longest sequence needs

# On a CPU attention waits for memory: rows of like length are kept together, and read no further than they need.
# On an accelerator one wide read costs less than several narrow ones.
_BAND = 48  # tokens
_WIDTH_MULTIPLE = {"cuda": 128}  # columns; on a GPU each width is a recording of its own, so there are few


class Lengths:
    """Lengths of `rows` sequences of up to `capacity` tokens each, all zero at first.

    Attributes:
        capacity: no row may grow beyond it.
        on_device: (rows,) integers.
        on_host: the same.
        rows: (rows,) 0, 1, ..., on the device.
    """

    def __init__(self, rows: int, capacity: int, device: torch.device):
        self.capacity = capacity
        self.on_device = torch.zeros(rows, dtype=torch.long, device=device)
        self.on_host = np.zeros(rows, dtype=int)
        self.rows = torch.arange(rows, device=device)
        self._runs = [slice(0, rows)]

    def __len__(self) -> int:
        return len(self.on_host)

    @property
    def longest(self) -> int:
        """Length of the longest sequence; 0 of none."""
        return int(self.on_host.max(initial=0))

    @property
    def next_width(self) -> int:
        """How many columns attention reads at the next token."""
        multiple = _WIDTH_MULTIPLE.get(self.on_device.device.type, 1)
        return min(-(-(self.longest + 1) // multiple) * multiple, self.capacity)

    @property
    def next_bands(self) -> list[Band]:
        """Runs of rows that were of like length at the last `regroup`, and the columns each reads at the next token."""
        if len(self._runs) == 1:
            return [(self._runs[0], self.next_width)]
        return [(run, int(self.on_host[run].max()) + 1) for run in self._runs]

    def begin(self, rows: list[int], lengths: Tensor) -> None:
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

    def regroup(self) -> None:
        """Find the runs of neighbouring rows of like length, over which attention goes one after the other."""
        bands = self.on_host // _BAND if self.on_device.device.type == "cpu" else np.zeros_like(self.on_host)
        changes = np.flatnonzero(np.diff(bands)) + 1
        self._runs = [slice(start, end) for start, end in pairwise([0, *changes.tolist(), len(self)])]

    def keep(self, rows: Sequence[int]) -> None:
        """Let row i be what was row `rows[i]`, each at most once; the others are dropped."""
        self.on_device, self.on_host, self.rows = self.on_device[rows], self.on_host[rows], self.rows[: len(rows)]
        self._runs = [slice(0, len(rows))]

    def select(self, rows: Tensor) -> Self:
        """A copy of some rows, in one run; for use on a CPU."""
        some = copy(self)
        some.on_device, some.on_host = self.on_device.index_select(0, rows), self.on_host[rows.numpy()]
        some.rows, some._runs = self.rows[: len(rows)], [slice(0, len(rows))]
        return some

    def order(self, rows: Sequence[int]) -> list[int]:
        """An order of these rows in which those of like length are neighbours, the longest first.

        Rows whose place is right already stay where they are, so that few have to be moved.
        """
        band = self.on_host // _BAND
        wanted = sorted((int(band[row]) for row in rows), reverse=True)  # the band of each place
        staying = {row for row in rows if row < len(wanted) and band[row] == wanted[row]}
        others = iter(sorted(set(rows) - staying, key=lambda row: (-band[row], row)))
        return [place if place in staying else next(others) for place in range(len(wanted))]

    def move(self, states: Tensor, rows: Sequence[int]) -> Tensor:
        """`states[rows]`, made in place; only rows that move are touched. To be called before `keep(rows)`.

        Args:
            states: (rows, capacity, ...); what lies beyond a row's length is not moved.
        """
        to = [place for place, row in enumerate(rows) if place != row]
        if to:
            come = [rows[place] for place in to]
            width = int(self.on_host[come].max())
            states[to, :width] = states[come, :width]
        return states[: len(rows)]


def newest_mask(lengths: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """Additive mask, (rows, width), of each row's newest token: it sees itself and `lengths`, (rows,), before."""
    return additive(torch.arange(width, device=lengths.device) > lengths[:, None], dtype)


def additive(forbidden: Tensor, dtype: torch.dtype) -> Tensor:
    """What to add to attention scores, of the same shape: the lowest number where it is forbidden to attend, else 0."""
    return torch.zeros_like(forbidden, dtype=dtype).masked_fill_(forbidden, torch.finfo(dtype).min)
