"""One step repeated many times: on an NVIDIA GPU recorded as CUDA graphs, and replayed without Python."""

from collections.abc import Callable, Hashable

import torch

Step = Callable[[], object]  # what it returns is read by nobody
Record = Callable[[Step], Step]  # what a step does, as something that does it again without Python

_MOST_SHAPES = 64  # a recording takes memory; long generations of many lengths see more shapes than are worth it


def cuda_recorder(device: torch.device) -> Record:
    """What records a step of a GPU as a CUDA graph, without doing it, and returns the way to do it.

    The step must not wait for the GPU. All recordings share their memory.
    """
    stream, pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()

    def record(step: Step) -> Step:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            step()
        return graph.replay

    # A pool that has lost its last recording cannot be recorded into again: this one outlives all that are forgotten.
    vars(record)["first"] = record(lambda: torch.zeros(1, device=device))
    return record


class Replayed:
    """A step that is recorded for each shape it takes, and replayed from then on.

    The step may change tensors in place and nothing else that it reads: a replay sees the tensors of the recording.
    What the host counts along, `count` counts when a replay does not. The first step of a shape is taken as it is,
    which warms libraries up; the second is recorded. After 64 shapes all are forgotten.
    """

    def __init__(self, step: Step, count: Step, record: Record | None):
        self._step, self._count, self._record = step, count, record
        self._replays: dict[Hashable, Step | None] = {}

    def __call__(self, shape: Hashable) -> None:
        """Take the step, at a shape of its tensors."""
        if self._record is None:
            self._step()
            return
        if shape not in self._replays:
            if len(self._replays) == _MOST_SHAPES:
                self.forget()  # all at once: those of a stream share what libraries keep for it
            self._replays[shape] = None
            self._step()
            return
        replay = self._replays[shape]
        if replay is None:
            replay = self._replays[shape] = self._record(self._step)  # counts on the host, does nothing on the device
        else:
            self._count()
        replay()

    def forget(self) -> None:
        """Drop all recordings: the tensors of the step are others from now on."""
        self._replays.clear()
