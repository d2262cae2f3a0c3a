"""Which behaviors are promoted: by hand, and the parts of a gain add up."""

import re

import numpy as np
import pandas as pd
import pytest

from lrs.config import StatisticsSection
from lrs.figures.promoted import promoted_figure
from lrs.report.promoted import promoted_sentence, promoted_table
from lrs.tasks.behaviors import BEHAVIORS

STATISTICS = StatisticsSection(confidence_level=0.95, bootstrap_resamples=300)


def outcomes(seed=0, problems=30):
    rng = np.random.default_rng(seed)
    rows = []
    for arm in ("base", "lrs", "cot"):
        for problem in range(problems):
            checks = int(rng.integers(0, 3)) + 2 * (arm == "cot")
            row = {"arm": arm, "problem_id": f"p{problem}", "benchmark": "ab"[problem % 2], "seed": 0}
            row |= dict.fromkeys(BEHAVIORS, 1) | {"verification": checks}
            rows.append(row | {"correct": bool(rng.random() < 0.4 + 0.3 * (arm == "cot")), "tokens": 50})
    return pd.DataFrame(rows).assign(backbone="toy", decoding="greedy")


def test_by_hand():
    table = outcomes(problems=4)
    table.loc[table["arm"] == "base", ["correct", "verification"]] = [[False, 0], [False, 1], [True, 2], [True, 0]]
    table.loc[table["arm"] == "lrs", ["correct", "verification"]] = [[True, 2], [True, 1], [False, 1], [True, 0]]
    row = promoted_table(table, STATISTICS).query("arm == 'lrs' and behavior == 'verification'").iloc[0]
    assert row["more"] == pytest.approx((2 + 0 - 1 + 0) / 4)
    assert row["density"] == pytest.approx(100 * (2 + 0 - 1 + 0) / 50 / 4)
    assert row[["gain", "gain_more", "gain_same", "gain_fewer"]].tolist() == pytest.approx([0.25, 0.25, 0.25, -0.25])


@pytest.mark.parametrize("seed", range(3))
def test_the_parts_of_a_gain_add_up(seed):
    table = promoted_table(outcomes(seed), STATISTICS)
    assert len(table) == 2 * len(BEHAVIORS)
    parts = table["gain_more"] + table["gain_same"] + table["gain_fewer"]
    assert parts.tolist() == pytest.approx(table["gain"].tolist())
    assert (table["density_low"] <= table["density"]).all()
    assert (table["density"] <= table["density_high"]).all()
    same = table[table["behavior"] == "subgoal_setting"]
    assert (same[["more", "density", "gain_more", "gain_fewer"]] == 0).all(axis=None)


def test_base_alone_promotes_nothing():
    table = promoted_table(outcomes().query("arm == 'base'"), STATISTICS)
    assert table.empty
    assert promoted_sentence(table) == "None of the arms in question was run."


def test_the_order_of_rows_does_not_matter():
    table = outcomes()
    pd.testing.assert_frame_equal(
        promoted_table(table, STATISTICS).sort_values(["arm", "behavior"], ignore_index=True),
        promoted_table(table.sample(frac=1, random_state=1), STATISTICS).sort_values(
            ["arm", "behavior"], ignore_index=True
        ),
    )


def test_what_is_denser_beyond_chance_is_named():
    sentence = promoted_sentence(promoted_table(outcomes(), STATISTICS))
    assert re.search(r"`cot` on `toy`: verification \(\+[\d.]+ \[\+[\d.]+, \+[\d.]+\]\) denser;", sentence)
    assert "`lrs` on `toy`: no behavior denser or sparser;" in sentence


def test_the_figure_has_a_panel_a_behavior():
    figure = promoted_figure(promoted_table(outcomes(), STATISTICS), about="toy")
    assert len(figure.axes) == 2 * len(BEHAVIORS)
