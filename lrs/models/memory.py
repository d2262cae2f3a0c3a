"""Memory: fewer rows side by side where it is too small for so many."""

import sys
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

Result = TypeVar("Result")

_MOST: WeakKeyDictionary[nn.Module, dict[str, int]] = WeakKeyDictionary()  # that memory was found to hold, by task


def in_memory(model: nn.Module, task: str, rows: int, work: Callable[[int], Result]) -> Result:
    """What `work` returns when it is asked to use up to `rows` rows. Where memory is too small for so many, it is asked
    anew with half as many, then and from then on.

    Args:
        model: what is found is remembered for it, apart for each `task`.
        task: what is done, as a line on stderr tells it.
        work: leaves nothing behind that does harm when it is asked anew.

    Raises:
        OutOfMemoryError: memory is too small for one row.
    """
    most = _MOST.setdefault(model, {})
    while True:
        rows = min(rows, most.get(task, rows))
        try:
            return work(rows)
        except torch.OutOfMemoryError:
            if rows == 1:
                raise
        most[task] = rows // 2
        print(f"{task}: out of memory with {rows} rows side by side; going on with {rows // 2}", file=sys.stderr)
