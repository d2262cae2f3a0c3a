"""Frames in pieces, held to the same values picked by hand."""

import numpy as np
import pandas as pd
import pytest

from lrs.core.frames import each_group, each_row, least, most, records

FRAME = pd.DataFrame({"arm": ["b", "a", "b"], "n": [2, 7, 2], "gain": [np.nan, -0.5, 0.25]}, index=[4, 9, 2])


def test_rows_go_by_their_columns_in_their_order():
    assert [(row.Index, row.arm, row.n) for row in each_row(FRAME)] == [(4, "b", 2), (9, "a", 7), (2, "b", 2)]
    assert [row["n"] for row in records(FRAME)] == [2, 7, 2]
    assert list(records(FRAME)[0]) == ["arm", "n", "gain"]


def test_groups_are_alike_in_one_column_or_in_several():
    assert [(name, list(part.index)) for name, part in each_group(FRAME, "arm")] == [("a", [9]), ("b", [4, 2])]
    unsorted = each_group(FRAME, ["arm", "n"], sort=False)
    assert [(name, list(part.index)) for name, part in unsorted] == [(("b", 2), [4, 2]), (("a", 7), [9])]


def test_extremes_are_the_first_of_their_kind_and_leave_out_what_is_missing():
    assert (most(FRAME, "gain").name, least(FRAME, "gain").name) == (2, 9)
    assert (most(FRAME, "n")["arm"], least(FRAME, "n").name) == ("a", 4)
    with pytest.raises(ValueError, match="empty"):
        most(FRAME[:0], "n")
