"""Mediation: by hand, against a resampling of base's answers, and what has no match is told."""

import numpy as np
import pandas as pd
import pytest

from lrs.config import StatisticsSection
from lrs.figures.mediation import mediation_figure
from lrs.report.comparison import compare_arms
from lrs.report.mediation import ALL_FOUR, MEDIATION_COLUMNS, mediation_sentence, mediation_table
from lrs.tasks.behaviors import BEHAVIORS

STATISTICS = StatisticsSection(confidence_level=0.95, bootstrap_resamples=400)
CHECKS, BACK = BEHAVIORS[:2]


def answers(arm, rows, benchmark="a", seed=0):
    """Answers to problems 0, 1, ...: how often each checks, how often it goes back, and whether it is right."""
    frame = pd.DataFrame(rows, columns=[CHECKS, BACK, "correct"]).astype({"correct": bool})
    names = [f"{benchmark}{number}" for number in range(len(rows))]
    frame = frame.assign(arm=arm, problem_id=names, benchmark=benchmark, seed=seed, subgoal_setting=1)
    return frame.assign(backward_chaining=0, backbone="toy", decoding="greedy")


def row_of(outcomes, behavior=CHECKS, arm="lrs"):
    return mediation_table(outcomes, STATISTICS).query("arm == @arm and behavior == @behavior").iloc[0]


def test_a_gain_that_goes_through_one_behavior():
    """Who checks is right and who does not is wrong, in both arms; the arm checks three times as often."""
    outcomes = pd.concat(
        [
            answers("base", [(0, 0, 0), (0, 1, 0), (0, 0, 0), (1, 1, 1)]),
            answers("lrs", [(1, 0, 1), (1, 1, 1), (0, 0, 0), (1, 1, 1)]),
        ]
    )
    row = row_of(outcomes)
    assert row[["total", "indirect", "direct", "unmatched"]].tolist() == pytest.approx([0.5, 0.5, 0, 0])
    assert row_of(outcomes, BACK)[["indirect", "direct"]].tolist() == pytest.approx([0, 0.5])
    # all four: the arm's answers that check and do not go back are a pattern that base never shows
    together = row_of(outcomes, ALL_FOUR)
    assert together["unmatched"] == pytest.approx(0.25)
    assert together["indirect"] == pytest.approx((0 + 2 * 1 + 0.25) / 4 - 0.25)
    assert row["answers"] == pytest.approx(4**2 / (3 * (1 / 3) ** 2 + 3**2))  # the one that checks stands for three


def test_a_gain_that_goes_through_no_behavior():
    """As many checks as before, in other places; what is right does not hang on them."""
    outcomes = pd.concat(
        [
            answers("base", [(0, 0, 0), (0, 0, 1), (2, 0, 0), (2, 0, 1)]),
            answers("lrs", [(2, 0, 1), (3, 0, 1), (0, 0, 1), (0, 0, 0)]),
        ]
    )
    for behavior in (*BEHAVIORS, ALL_FOUR):
        row = row_of(outcomes, behavior)
        assert row[["total", "indirect", "direct"]].tolist() == pytest.approx([0.25, 0, 0.25])
        assert row["answers"] == pytest.approx(4)


def test_what_base_never_shows_is_counted_and_bounded():
    """In benchmark a the arm always checks and base never does; in b they are alike."""
    outcomes = pd.concat(
        [
            answers("base", [(0, 0, 0), (0, 0, 0), (0, 0, 1)]),
            answers("lrs", [(1, 0, 1), (1, 0, 1), (1, 0, 1)]),
            answers("base", [(1, 0, 1)], "b"),
            answers("lrs", [(1, 0, 1)], "b"),
        ]
    )
    row = row_of(outcomes)
    assert row["unmatched"] == pytest.approx(3 / 4)
    assert row[["total", "indirect", "direct"]].tolist() == pytest.approx([0.5, 0, 0.5])
    assert row[["indirect_least", "indirect_most"]].tolist() == pytest.approx([-1 / 4, 2 / 4])
    assert "75.0% of its answers show what base's never do" in mediation_sentence(mediation_table(outcomes, STATISTICS))


def drawn(seed=0, problems=60, seeds=1):
    """Two benchmarks, one of them harder; checks help, and `lrs` and `free_push` check more often than base does."""
    rng = np.random.default_rng(seed)
    parts = []
    for benchmark, easy in (("a", 0.2), ("b", 0.5)):
        for arm, more in (("base", 0), ("lrs", 1), ("free_push", 2)):
            for number in range(seeds):
                checks = rng.poisson(0.6 + 0.5 * more, problems)
                right = rng.random(problems) < easy + 0.2 * np.minimum(checks, 2) + 0.05 * more
                rows = list(zip(checks, rng.integers(0, 2, problems), right, strict=True))
                parts.append(answers(arm, rows, benchmark, number))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("seed", range(3))
def test_the_direct_effect_is_what_a_resampled_base_lacks(seed):
    """Base's answers drawn anew, within benchmark and stratum, as many as the arm has there."""
    outcomes, rng = drawn(seed), np.random.default_rng(seed)
    row, matched = row_of(outcomes), 0.0
    arm, base = (outcomes[outcomes["arm"] == name] for name in ("lrs", "base"))
    for benchmark, part in arm.groupby("benchmark"):
        reference = base[base["benchmark"] == benchmark]
        for checks in part[CHECKS]:
            alike = reference.loc[np.minimum(reference[CHECKS], 2) == min(checks, 2), "correct"]
            matched += rng.choice(alike, 400).mean()
    assert row["unmatched"] == 0
    assert row["direct"] == pytest.approx(arm["correct"].mean() - matched / len(arm), abs=0.005)


@pytest.mark.parametrize(("seed", "seeds"), [(0, 1), (1, 1), (2, 3)])
def test_the_parts_add_up_and_intervals_hold_them(seed, seeds):
    outcomes = drawn(seed, seeds=seeds)
    table = mediation_table(outcomes, STATISTICS)
    assert list(table) == MEDIATION_COLUMNS
    assert len(table) == 2 * (len(BEHAVIORS) + 1)
    assert (table["indirect"] + table["direct"]).tolist() == pytest.approx(table["total"].tolist())
    for part in ("total", "indirect", "direct"):
        assert (table[f"{part}_low"] <= table[part]).all()
        assert (table[part] <= table[f"{part}_high"]).all()
    assert table["n"].eq(120).all()
    same = table[
        table["behavior"].isin(["subgoal_setting", "backward_chaining"])
    ]  # of which every answer shows one, none
    assert (same[["indirect", "indirect_low", "indirect_high", "unmatched"]] == 0).all(axis=None)


def test_the_gain_is_the_one_of_the_main_table():
    outcomes = drawn().assign(split="test", processed_tokens=1, tokens=1, finish_reason="answered", steered_tokens=0)
    main = compare_arms(outcomes, STATISTICS).query("benchmark == 'pooled' and arm != 'base'").set_index("arm")
    table = mediation_table(outcomes, STATISTICS).query("behavior == @CHECKS").set_index("arm")
    for column in ("total", "total_low", "total_high"):
        assert table[column].to_dict() == main[column.replace("total", "delta")].to_dict()


def test_intervals_shrink_with_the_problems_and_not_with_their_seeds_alone():
    def width(outcomes):
        row = row_of(outcomes)
        return row["indirect_high"] - row["indirect_low"]

    few, many = width(drawn(problems=60)), width(drawn(problems=540))
    assert few / many == pytest.approx(3, rel=0.35)
    again = pd.concat([drawn(), drawn().assign(seed=1)])  # the same answers told twice tell nothing new
    assert width(again) == pytest.approx(few)


def test_the_order_of_rows_does_not_matter():
    outcomes = drawn(seeds=2)
    by = ["arm", "behavior"]
    first, again = (
        mediation_table(given, STATISTICS).sort_values(by, ignore_index=True)
        for given in (outcomes, outcomes.sample(frac=1, random_state=1))
    )
    pd.testing.assert_frame_equal(first, again)


def test_base_alone_mediates_nothing():
    table = mediation_table(drawn().query("arm == 'base'"), STATISTICS)
    assert table.empty
    assert mediation_sentence(table) == "None of the arms in question was run."


def test_the_sentence_tells_the_numbers_of_the_table():
    table = mediation_table(drawn(), STATISTICS)
    table.loc[table["arm"] == "lrs", "total"] = 0.01
    row = table.query("arm == 'free_push' and behavior == 'all_four'").iloc[0]
    told = f"of {100 * row['total']:+.1f} points {100 * row['indirect']:+.1f} [{100 * row['indirect_low']:+.1f}, "
    assert f"`free_push` on `toy`, greedy: {told}" in mediation_sentence(table)
    assert "most through verification" in mediation_sentence(table)
    assert "`lrs` on `toy`, greedy: " in mediation_sentence(table)
    other = table.assign(arm=table["arm"].replace("lrs", "lrs_causal"))  # which is neither the paper's nor wins
    assert "`lrs" not in mediation_sentence(other)
    bounds = {"unmatched": 0.25, "indirect_least": -0.4, "indirect_most": 0.3}
    apart = mediation_sentence(table.assign(**bounds))
    assert "; 25.0% of its answers show what base's never do" in apart
    assert "the part through them lies between -40.0 and +30.0." in apart


def test_the_figure_has_a_panel_a_behavior_and_one_for_all():
    table = mediation_table(drawn(), STATISTICS)
    axes = mediation_figure(table, about="toy").axes
    assert [axis.get_title() for axis in axes][-1] == "all\nfour"
    assert len(axes) == len(BEHAVIORS) + 1
    (dots,) = [line for line in axes[0].lines if line.get_marker() == "o"]
    assert dots.get_xdata().tolist() == table.query("behavior == @CHECKS")["indirect"].tolist()


def test_an_arrow_is_where_a_bound_leaves_the_panel():
    table = mediation_table(drawn(), STATISTICS).query("behavior == @CHECKS")
    cut = table.assign(indirect_least=[-9.0, *table["indirect_least"][1:]], indirect_most=float("nan"))
    (first, *_) = mediation_figure(cut, about="toy").axes
    arrows = {line.get_marker(): len(line.get_xdata()) for line in first.lines if line.get_marker() in "<>"}
    assert arrows == {"<": 1, ">": 0}
