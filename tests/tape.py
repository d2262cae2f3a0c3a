"""A stand-in for CUDA graphs on a CPU: a tape of the tensor operations of a step, and nothing of its Python."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode


def _tensors(output):
    made = output if isinstance(output, (tuple, list)) else (output,)
    assert all(one is None or isinstance(one, torch.Tensor) for one in made)
    return tuple(one for one in made if one is not None)


class Tape(TorchDispatchMode):
    """Records every operation on tensors; `replay` does them again, on the same tensors."""

    def __init__(self):
        super().__init__()
        self.operations, self.made = [], []
        self.places = {}  # of what an operation made, by its id, in `made`

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        holes = []
        self.operations.append((function, self._open(args, holes), self._open(kwargs or {}, holes), holes))
        for tensor in _tensors(output):
            self.places[id(tensor)] = len(self.made)
            self.made.append(tensor)  # held, so that its id stays its own
        return output

    def _open(self, given, holes):
        """A copy of arguments, lists for tuples; `holes` gains where what was made before goes in."""
        named = isinstance(given, dict)
        copy = dict(given) if named else list(given)
        for key, value in copy.items() if named else enumerate(copy):
            if isinstance(value, (tuple, list)):
                copy[key] = self._open(value, holes)
            elif isinstance(value, torch.Tensor) and id(value) in self.places:
                holes.append((copy, key, self.places[id(value)]))
        return copy

    def replay(self):
        made = []
        for function, args, kwargs, holes in self.operations:
            for container, key, place in holes:
                container[key] = made[place]
            made += _tensors(function(*args, **kwargs))
        assert len(made) == len(self.made)


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
