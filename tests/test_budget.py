"""The loss budget: stages in their order, steps paired by problem."""

import numpy as np
import pandas as pd
import pytest

from lrs.config import StatisticsSection
from lrs.figures.budget import budget_figure
from lrs.report.budget import (
    STAGES,
    budget_sentence,
    budget_table,
    cap_sentence,
    cap_table,
    what_is_lost,
)

MORE = {"one": {"lrs": 12}, "two": {"free_push": 18}}
LATER = "length, direction, difficulty, tokens outside the gate"
STATISTICS = StatisticsSection(confidence_level=0.95, bootstrap_resamples=500)


def outcomes(**right):
    """The first problems of forty are right, as many as are given for each arm."""
    return pd.DataFrame(
        {"arm": arm, "problem_id": f"p{i}", "benchmark": ("a", "b")[i % 2], "seed": 0, "correct": i < count}
        for arm, count in right.items()
        for i in range(40)
    ).assign(backbone="toy", decoding="greedy")


def test_steps_are_paired_and_add_up_from_one_end_to_the_other():
    table = budget_table(outcomes(lrs=13, base=10, cot=30, free_push=28, lrs_causal=20), STATISTICS)
    assert table["arm"].tolist() == ["cot", "free_push", "lrs_causal", "lrs"]
    assert table["gain"].tolist() == pytest.approx([0.5, 0.45, 0.25, 0.075])
    assert np.isnan(table["step"].iloc[0])
    assert table["step"].iloc[1:].tolist() == pytest.approx([-0.05, -0.2, -0.175])
    assert table["gain"].iloc[0] + table["step"].sum() == pytest.approx(table["gain"].iloc[-1])
    assert (table["step_low"] <= table["step"]).iloc[1:].all()
    assert (table["step"] <= table["step_high"]).iloc[1:].all()
    assert "most is lost from `free_push` to `lrs_causal`: -20.0 [" in budget_sentence(table)


def test_one_stage_is_no_budget():
    table = budget_table(outcomes(base=10, lrs=12), STATISTICS)
    assert table.empty
    assert budget_sentence(table) == "Too few stages were run."


def test_where_nothing_is_lost_it_says_so():
    table = budget_table(outcomes(base=10, cot=12, lrs_causal=14, lrs=15), STATISTICS)
    assert "no stage loses anything" in budget_sentence(table)


def test_the_figure_has_a_line_a_stage():
    table = budget_table(outcomes(base=10, cot=30, free_push=28, lrs=9), STATISTICS)
    figure = budget_figure(table, about="toy")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert sorted(labels) == sorted(STAGES[arm] for arm in ("cot", "free_push", "lrs"))


def test_what_is_lost_is_told_of_every_stage_between_two_that_were_run():
    both = [outcomes(cot=20, base=10, lrs_slope=15, **more).assign(backbone=name) for name, more in MORE.items()]
    table = budget_table(pd.concat(both), STATISTICS)
    table["lost"] = what_is_lost(table)
    told = table.set_index(["backbone", "arm"])["lost"].to_dict()
    assert told == {
        **{("one", "cot"): "", ("one", "lrs_slope"): "layer, span, gradient", ("one", "lrs"): LATER},
        **{("two", "cot"): "", ("two", "free_push"): "layer, span", ("two", "lrs_slope"): "gradient"},
    }


def test_the_cap_costs_what_the_best_of_all_tried_gains_beyond_the_chosen():
    tried = pd.DataFrame(
        [
            ("lrs", 0.02, True, True),
            ("lrs", 0.05, False, False),  # over the cap
            ("free_push", 0.2, True, True),
            ("free_push", 0.1, False, True),
            ("random", -0.1, True, True),  # no stage
        ],
        columns=["arm", "delta", "chosen", "within_cap"],
    ).assign(backbone="toy", decoding="greedy", n=50)
    table = cap_table(tried).set_index("arm")
    assert table.loc["lrs", ["n", "tried", "within_cap"]].tolist() == [50, 2, 1]
    assert table.loc["lrs", ["best", "chosen", "lost"]].tolist() == pytest.approx([0.05, 0.02, 0.03])
    assert table["lost"].to_dict() == pytest.approx({"lrs": 0.03, "free_push": 0.0})
    assert cap_sentence(cap_table(tried)).endswith("by validation: on `toy`, greedy, 3.0 points (`lrs`).")
    assert cap_sentence(cap_table(tried[2:])).startswith("The cap on dose left out no setting")
    short = tried[2:].assign(within_cap=[True, False, True])
    assert cap_sentence(cap_table(short)).startswith("The cap on dose cost no stage anything")
    assert cap_sentence(cap_table(tried[:0])) == ""
