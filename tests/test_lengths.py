import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrs.engine import lengths
from lrs.engine.lengths import Lengths, newest_mask

CPU = torch.device("cpu")


def of(*sizes, capacity=20):
    some = Lengths(len(sizes), capacity, CPU)
    some.begin(list(range(len(sizes))), torch.tensor(sizes))
    return some


def test_host_and_device_agree():
    some = Lengths(4, 20, CPU)

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
        assert max(sizes[rows]) // lengths._BAND == min(sizes[rows]) // lengths._BAND
    assert max(width for _, width in bands) == some.next_width


@given(st.lists(st.integers(0, 200), min_size=1, max_size=20), st.data())
def test_in_their_order_rows_of_like_length_are_neighbours_and_few_move(sizes, data):
    rows = data.draw(st.lists(st.sampled_from(range(len(sizes))), min_size=1, unique=True).map(sorted))
    order = of(*sizes, capacity=300).order(rows)
    bands = [sizes[row] // lengths._BAND for row in order]
    assert sorted(order) == rows
    assert bands == sorted(bands, reverse=True)
    for place, row in enumerate(order):
        if row != place and place in rows:  # a row had to leave its place for its length alone
            assert sizes[place] // lengths._BAND != bands[place]


def test_widths_on_a_gpu_are_few_and_never_beyond_capacity(monkeypatch):
    monkeypatch.setitem(lengths._WIDTH_MULTIPLE, "cpu", 8)
    assert [of(size, capacity=20).next_width for size in (0, 7, 8, 16, 19)] == [8, 8, 16, 20, 20]


def test_moving_touches_nothing_beyond_a_rows_length():
    some, states = of(1, 3, 2), torch.arange(24.0).view(3, 8)
    expected = states[[2, 1]].clone()
    expected[0, 2:] = states[0, 2:]
    assert torch.equal(some.move(states, [2, 1]), expected)


def test_the_newest_token_sees_what_lies_before_it_and_itself():
    mask = newest_mask(torch.tensor([2, 0]), 4, torch.float64)
    np.testing.assert_array_equal(mask == 0, [[True, True, True, False], [True, False, False, False]])
    assert mask.max() == 0
    assert mask.min() == torch.finfo(torch.float64).min
