import numpy as np
import torch

from lrs.engine.history import History, newest_mask
from lrs.engine.policy import Policy

CPU = torch.device("cpu")
PLAIN = Policy()


def of(*sizes, capacity=20, policy=PLAIN):
    some = History(len(sizes), capacity, CPU, policy)
    some.begin(list(range(len(sizes))), torch.tensor(sizes))
    return some


def test_host_and_device_agree():
    some = History(4, 20, CPU, Policy())

    def check(*expected):
        assert some.on_host.tolist() == some.on_device.tolist() == list(expected)
        assert some.rows.tolist() == list(range(len(expected)))
        assert some.longest == max(expected)

    some.begin([2, 0], torch.tensor([2, 3]))
    check(3, 0, 2, 0)
    some.advance()
    check(4, 1, 3, 1)
    some.clear([1, 3])
    check(4, 0, 3, 0)
    some.keep([2, 0])
    check(3, 4)
    chosen = some.select(torch.tensor([1]))
    chosen.advance()
    assert chosen.on_host.tolist() == chosen.on_device.tolist() == [5]
    check(3, 4)


def test_widths_on_a_gpu_are_few_and_never_beyond_capacity():
    few = Policy(width_multiple=8)
    assert [of(size, policy=few).next_width for size in (0, 7, 8, 16, 19)] == [8, 8, 16, 20, 20]


def test_moving_touches_nothing_beyond_a_rows_length():
    some, states = of(1, 3, 2), torch.arange(96.0).view(3, 2, 8, 2)
    expected = states[[2, 1]].clone()
    expected[0, :, 2:] = states[0, :, 2:]
    some.states.append(states)
    some.keep([2, 1])
    assert torch.equal(some.states[0], expected)


def test_selected_rows_are_copies_and_their_newest_states_can_be_taken_over():
    some = of(1, 3, 2, capacity=8)
    some.states.append(torch.arange(96.0).view(3, 2, 8, 2))
    before = some.states[0].clone()
    rows = torch.tensor([2, 0])
    chosen = some.select(rows)
    assert chosen.capacity == 3
    assert torch.equal(chosen.states[0], before[[2, 0], :, :3])
    chosen.states[0][:] = -1.0
    assert torch.equal(some.states[0], before)
    some.adopt(rows, chosen)
    changed = before.clone()
    changed[2, :, 2] = changed[0, :, 1] = -1.0
    assert torch.equal(some.states[0], changed)


def test_a_history_grows_without_losing_anything():
    some = of(2, 1, capacity=2)
    some.states.append(torch.arange(4.0).view(2, 1, 2, 1))
    some.grow()
    assert some.capacity == 4
    assert some.states[0].flatten(1).tolist() == [[0.0, 1.0, 0.0, 0.0], [2.0, 3.0, 0.0, 0.0]]


def test_the_newest_token_sees_what_lies_before_it_and_itself():
    mask = newest_mask(torch.tensor([2, 0]), 4, torch.float64)
    np.testing.assert_array_equal(mask == 0, [[True, True, True, False], [True, False, False, False]])
    assert mask.max() == 0
    assert mask.min() == torch.finfo(torch.float64).min
