"""Contrasts between pushes that differ in one thing."""

import pytest
from test_budget import STATISTICS, outcomes

from lrs.method.arms import ARMS
from lrs.report.specific import HELD_AGAINST, SPECIFIC_COLUMNS, specific_table


def test_contrasts_by_hand():
    table = specific_table(outcomes(base=10, free_push=30, free_constant=20, lrs_causal=18, random=22), STATISTICS)
    assert list(zip(table["arm"], table["against"], strict=True)) == [
        ("free_push", "free_constant"),
        ("lrs_causal", "random"),
    ]
    assert table["delta"].tolist() == pytest.approx([0.25, -0.1])
    assert (table["wins"].tolist(), table["losses"].tolist()) == ([10, 0], [0, 4])
    assert table["p_holm"].tolist() == pytest.approx([2 * 2 * 0.5**10, 2 * 0.5**4])
    assert (table["low"] <= table["delta"]).all()
    assert (table["delta"] <= table["high"]).all()


def test_without_two_that_differ_there_is_no_contrast():
    table = specific_table(outcomes(base=10, lrs=12, free_push=12), STATISTICS)
    assert table.empty
    assert list(table.columns) == SPECIFIC_COLUMNS


def test_all_are_arms():
    assert {arm for pair in HELD_AGAINST for arm in pair} <= set(ARMS)
