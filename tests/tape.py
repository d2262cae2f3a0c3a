"""A stand-in for CUDA graphs on a CPU: a tape of the tensor operations of a step, and nothing of its Python."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map


class Tape(TorchDispatchMode):
    """Records every operation on tensors; `replay` does them again, on the same tensors."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        self.operations.append((function, args, kwargs or {}, output))
        return output

    def replay(self):
        made = {}  # what an operation made while recording -> what it makes now

        def current(value):
            return made.get(id(value), value) if isinstance(value, torch.Tensor) else value

        for function, args, kwargs, then in self.operations:
            now = function(*tree_map(current, args), **tree_map(current, kwargs))
            then, now = ((one,) if isinstance(one, torch.Tensor) else tuple(one or ()) for one in (then, now))
            made |= {id(old): new for old, new in zip(then, now, strict=True)}


def record(step):
    """As `cuda_recorder` does, but recording does the step, and the first replay does not do it again."""
    with Tape() as tape:
        step()
    replays = 0

    def replay():
        nonlocal replays
        replays += 1
        if replays > 1:
            tape.replay()

    return replay
