import pytest
import torch
from tape import record

from lrs.graphs import Replayed


class Counter:
    """A step that adds a tensor to another; the host counts along."""

    def __init__(self):
        self.total, self.amount = torch.zeros(3), torch.ones(3)
        self.steps_in_python = self.host_count = 0

    def step(self):
        self.steps_in_python += 1
        self.total += self.amount
        self.count()

    def count(self):
        self.host_count += 1


@pytest.mark.parametrize("recorder", [None, record])
def test_steps_add_up_whether_replayed_or_not(recorder):
    counter = Counter()
    step = Replayed(counter.step, counter.count, recorder)
    for shape in (1, 1, 1, 2, 1, 2, 2):
        step(shape)
        counter.amount += 1
    assert counter.total.tolist() == [sum(range(1, 8))] * 3
    assert counter.host_count == 7
    assert counter.steps_in_python == (4 if recorder else 7)  # twice a shape: as it is, and to be recorded


def test_what_was_forgotten_is_recorded_anew():
    counter = Counter()
    step = Replayed(counter.step, counter.count, record)
    for _ in range(4):
        step(1)
    counter.total = torch.zeros(3)  # another tensor: a recording would change the old one
    step.forget()
    for _ in range(4):
        step(1)
    assert counter.total.tolist() == [4.0] * 3
