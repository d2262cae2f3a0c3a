import numpy as np
import pandas as pd

from lrs.config import StatisticsSection
from lrs.figures.assay import assay_figure
from lrs.figures.palette import GREY, arm_color
from lrs.report.assay import ASSAY_COLUMNS, assay_sentence, assay_table

STATISTICS = StatisticsSection(confidence_level=0.95, bootstrap_resamples=400)


def outcomes(right, benchmark="sums", seeds=(0,), decoding="greedy"):
    """Arms with the numbers of the problems that each gets right, out of 40."""
    rows = [
        {"arm": arm, "problem_id": f"{benchmark}-{i}", "seed": seed, "correct": i in numbers, "benchmark": benchmark}
        for arm, numbers in right.items()
        for seed in seeds
        for i in range(40)
    ]
    return pd.DataFrame(rows).assign(backbone="pocket", decoding=decoding)


RIGHT = {"base": range(10), "cot": range(30), "lrs": range(15), "lrs_basic": [*range(5), *range(20, 25)]}


def row(table, benchmark, method):
    return table.set_index(["benchmark", "method"]).loc[(benchmark, method)]


def test_share_is_the_gain_over_the_ceiling():
    table = assay_table(outcomes(RIGHT), STATISTICS)
    assert list(table) == ASSAY_COLUMNS
    assert set(table["method"]) == {"lrs", "lrs_basic"}
    found = row(table, "sums", "lrs")
    assert (found["ceiling"], found["gain"], found["share"]) == (0.5, 0.125, 0.25)
    assert (found["wins"], found["losses"], found["n"]) == (5, 0, 40)
    assert 0 <= found["share_low"] < 0.25 < found["share_high"] < 1
    nothing = row(table, "sums", "lrs_basic")
    assert (nothing["gain"], nothing["share"], nothing["wins"], nothing["losses"]) == (0, 0, 5, 5)


def test_the_interval_draws_ceiling_and_gain_together():
    """A method that does what the ceiling does has a share of one, whatever is drawn."""
    same = outcomes(RIGHT | {"lrs": RIGHT["cot"]})
    found = row(assay_table(same, STATISTICS), "pooled", "lrs")
    assert (found["share_low"], found["share"], found["share_high"]) == (1, 1, 1)


def test_no_share_of_what_is_not_known_to_be_there():
    flat = outcomes(RIGHT | {"cot": [*range(9), 20]})
    table = assay_table(flat, STATISTICS)
    assert table["share"].isna().all()
    assert np.isfinite(table["gain"]).all()
    assert assay_sentence(table) == "No ceiling lies above zero: nothing to recover."


def test_benchmarks_are_pooled_by_problem_and_samples_averaged():
    both = pd.concat([outcomes(RIGHT, seeds=(1, 2)), outcomes(RIGHT | {"lrs": range(10)}, "search", (1, 2))])
    table = assay_table(both.assign(decoding="sampled"), STATISTICS)
    pooled = row(table, "pooled", "lrs")
    assert (pooled["n"], pooled["seeds"], pooled["ceiling"], pooled["gain"]) == (80, 2, 0.5, 0.0625)
    assert (pooled["wins"], row(table, "search", "lrs")["gain"]) == (10, 0)
    assert "`lrs` on `pocket`, sampled: +6.2 of +50.0 points, a share of 12%" in assay_sentence(table)


def test_without_a_ceiling_there_is_no_assay():
    table = assay_table(outcomes({"base": [1], "lrs": [1]}), STATISTICS)
    assert (len(table), list(table)) == (0, ASSAY_COLUMNS)
    assert assay_sentence(table) == "No ceiling lies above zero: nothing to recover."


def drawn_gains(axis):
    """Gain and line of every dot, by its colour; the ceiling among them, in grey, and where its rule stands."""
    dots, rules = {}, set()
    for line in axis.lines:
        if line.get_marker() == "o":
            dots.setdefault(line.get_color(), []).append(tuple(line.get_xydata()[0].tolist()))
        elif line.get_color() == GREY:
            rules |= set(line.get_xdata())
    return dots, rules


def test_every_method_is_drawn_below_its_ceiling():
    """Of one benchmark, its pool says the same and is left out; of two, it stands before them."""
    (axis,) = assay_figure(assay_table(outcomes(RIGHT), STATISTICS)).axes
    dots, rules = drawn_gains(axis)
    assert rules == {0.5}
    assert dots == {GREY: [(0.5, 0)], arm_color("lrs"): [(0.125, 1)], arm_color("lrs_basic"): [(0, 2)]}
    lines = [label.get_text() for label in axis.get_yticklabels()]
    assert lines == ["ceiling: told how", "LRS", "LRS-Basic"]
    both = pd.concat([outcomes(RIGHT), outcomes(RIGHT | {"lrs": range(10), "cot": range(20)}, "search")])
    panels = [drawn_gains(axis) for axis in assay_figure(assay_table(both, STATISTICS)).axes]
    assert [rules for _, rules in panels] == [{0.375}, {0.5}, {0.25}]
    assert [dots[arm_color("lrs")] for dots, _ in panels] == [[(0.0625, 1)], [(0.125, 1)], [(0.0, 1)]]
