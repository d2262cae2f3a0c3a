import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrs.engine.history import History, newest_mask
from lrs.engine.policy import Policy

CPU = torch.device("cpu")
BAND = 48
IN_BANDS = Policy(band=BAND)


def of(*sizes, capacity=20, policy=IN_BANDS):
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


@given(st.lists(st.integers(0, 200), min_size=1, max_size=20))
def test_bands_cover_every_row_as_far_as_it_reaches(sizes):
    some = of(*sizes, capacity=300)
    some.regroup()
    bands = some.next_bands
    assert [row for rows, _ in bands for row in range(rows.start, rows.stop)] == list(range(len(sizes)))
    for rows, width in bands:
        assert width == max(sizes[rows]) + 1
        assert max(sizes[rows]) // BAND == min(sizes[rows]) // BAND
    assert max(width for _, width in bands) == some.next_width


@given(st.lists(st.integers(0, 200), min_size=1, max_size=20), st.data())
def test_in_their_order_rows_of_like_length_are_neighbours_and_few_move(sizes, data):
    rows = data.draw(st.lists(st.sampled_from(range(len(sizes))), min_size=1, unique=True).map(sorted))
    order = of(*sizes, capacity=300).order(rows)
    bands = [sizes[row] // BAND for row in order]
    assert sorted(order) == rows
    assert bands == sorted(bands, reverse=True)
    for place, row in enumerate(order):
        if row != place and place in rows:  # a row had to leave its place for its length alone
            assert sizes[place] // BAND != bands[place]


def test_widths_on_a_gpu_are_few_and_never_beyond_capacity():
    few = Policy(width_multiple=8)
    assert [of(size, policy=few).next_width for size in (0, 7, 8, 16, 19)] == [8, 8, 16, 20, 20]


def test_without_bands_rows_stay_where_they_are_in_one_run():
    some = of(100, 3, 200, capacity=300, policy=Policy())
    some.regroup()
    assert some.order([0, 2]) == [0, 2]
    assert some.next_bands == [(slice(0, 3), 201)]


def test_moving_touches_nothing_beyond_a_rows_length():
    some, states = of(1, 3, 2), torch.arange(24.0).view(3, 8)
    expected = states[[2, 1]].clone()
    expected[0, 2:] = states[0, 2:]
    some.states.append(states)
    some.keep([2, 1])
    assert torch.equal(some.states[0], expected)


def test_selected_rows_are_copies_and_their_newest_states_can_be_taken_over():
    some = of(1, 3, 2, capacity=8)
    some.states.append(torch.arange(24.0).view(3, 8))
    before = some.states[0].clone()
    rows = torch.tensor([2, 0])
    chosen = some.select(rows)
    assert chosen.capacity == 3
    assert torch.equal(chosen.states[0], before[[2, 0], :3])
    chosen.states[0][:] = -1.0
    assert torch.equal(some.states[0], before)
    some.adopt(rows, chosen)
    changed = before.clone()
    changed[2, 2] = changed[0, 1] = -1.0
    assert torch.equal(some.states[0], changed)


def test_a_history_grows_without_losing_anything():
    some = of(2, 1, capacity=2)
    some.states.append(torch.arange(4.0).view(2, 2))
    some.grow()
    assert some.capacity == 4
    assert some.states[0].tolist() == [[0.0, 1.0, 0.0, 0.0], [2.0, 3.0, 0.0, 0.0]]


def test_the_newest_token_sees_what_lies_before_it_and_itself():
    mask = newest_mask(torch.tensor([2, 0]), 4, torch.float64)
    np.testing.assert_array_equal(mask == 0, [[True, True, True, False], [True, False, False, False]])
    assert mask.max() == 0
    assert mask.min() == torch.finfo(torch.float64).min
