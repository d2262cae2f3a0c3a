"""Which behaviors are promoted: by hand, and the parts of a gain add up."""

import re

import numpy as np
import pandas as pd
import pytest

from lrs.config import StatisticsSection
from lrs.core.statistics import bootstrap_interval
from lrs.figures.promoted import promoted_figure
from lrs.report.comparison import mean_intervals, resampled
from lrs.report.promoted import promoted_answer, promoted_sentence, promoted_table, rates_table
from lrs.tasks.behaviors import BEHAVIORS

STATISTICS = StatisticsSection(confidence_level=0.95, bootstrap_resamples=300)


def outcomes(seed=0, problems=30):
    rng = np.random.default_rng(seed)
    rows = []
    for arm in ("base", "lrs", "free_push"):
        for problem in range(problems):
            checks = int(rng.integers(0, 3)) + 2 * (arm == "free_push")
            row = {"arm": arm, "problem_id": f"p{problem}", "benchmark": "ab"[problem % 2], "seed": 0}
            row |= dict.fromkeys(BEHAVIORS, 1) | {"verification": checks}
            rows.append(row | {"correct": bool(rng.random() < 0.4 + 0.3 * (arm == "free_push")), "tokens": 50})
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


def naive_at_length(table, arm, behavior):
    """Answer by answer: what the arm shows beyond the mean of base's answers in the same fifth of lengths."""
    excess, unmatched = [], 0
    for _, part in table.groupby("benchmark"):
        part = part.reset_index(drop=True)
        below = [(part["tokens"] <= tokens).mean() for tokens in part["tokens"]]
        fifths = [next(k for k in range(1, 6) if share <= k / 5 + 1e-12) for share in below]
        base, own = part["arm"] == "base", part["arm"] == arm
        for place in np.flatnonzero(own):
            alike = part[base & (np.array(fifths) == fifths[place])]
            unmatched += alike.empty
            expected = part.loc[base, behavior].mean() if alike.empty else alike[behavior].mean()
            excess.append(part.loc[place, behavior] - expected)
    return np.mean(excess), unmatched / len(excess)


@pytest.mark.parametrize("seed", range(3))
def test_at_like_length_is_what_answers_show_beyond_those_of_base_that_are_as_long(seed):
    table = outcomes(seed).query("arm != 'free_push'").reset_index(drop=True)
    rng = np.random.default_rng(seed)
    table["tokens"] = rng.integers(20, 60, len(table)) + 30 * table["verification"] + 25 * (table["arm"] == "lrs")
    row = promoted_table(table, STATISTICS).query("behavior == 'verification'").iloc[0]
    assert row[["at_length", "unmatched"]].tolist() == pytest.approx(naive_at_length(table, "lrs", "verification"))
    assert row["at_length_low"] < row["at_length"] < row["at_length_high"]


def test_longer_answers_alone_promote_nothing_at_like_length():
    """Verification follows the length, and nothing else."""
    table = outcomes(problems=200).query("arm != 'free_push'").reset_index(drop=True)
    table["tokens"] = np.random.default_rng(0).permutation(np.tile([40, 80, 120, 160, 200], 80))
    table.loc[table["arm"] == "lrs", "tokens"] = table.loc[table["arm"] == "lrs", "tokens"].clip(lower=120)
    table["verification"] = table["tokens"] // 40
    row = promoted_table(table, STATISTICS).query("behavior == 'verification'").iloc[0]
    assert row["more"] > 0.3
    assert abs(row["at_length"]) < row["more"] / 10


def test_rates_by_hand():
    table = outcomes(problems=4).query("arm == 'lrs'").assign(seed=0)
    table["verification"], table["tokens"] = [2, 0, 1, 1], [100, 50, 25, 50]
    row = rates_table(table, STATISTICS).query("behavior == 'verification'").iloc[0]
    assert row[["n", "tokens", "times", "rate"]].tolist() == pytest.approx([4, 56.25, 1.0, (2 + 0 + 4 + 2) / 4])
    assert row["rate_low"] <= row["rate"] <= row["rate_high"]


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
    assert re.search(r"`free_push` on `toy`: verification \(\+[\d.]+ \[\+[\d.]+, \+[\d.]+\]\) denser;", sentence)
    assert "`lrs` on `toy`: no behavior denser or sparser;" in sentence


def gaining(**gains):
    """A table of two reasoners, in which every arm gains so much, and nothing becomes denser."""
    rows = [
        {"backbone": name, "arm": arm, "behavior": behavior, "gain": gain, "gain_more": gain}
        for name in ("small", "large")
        for arm, gain in gains.items()
        for behavior in BEHAVIORS
    ]
    return pd.DataFrame(rows).assign(decoding="greedy", density=0.0, density_low=-0.1, density_high=0.1)


def denser(table, backbone, arm, behavior, by):
    here = (table["backbone"] == backbone) & (table["arm"] == arm) & (table["behavior"] == behavior)
    table.loc[here, ["density", "density_low", "density_high"]] = by, by - 0.1, by + 0.1


def test_the_arms_in_words_are_the_papers_and_the_one_that_wins():
    table = gaining(cot=0.9, lrs=0.01, lrs_causal=0.02, free_push=0.05, trained_constant=0.03)
    table.loc[(table["backbone"] == "large") & (table["arm"] == "lrs_causal"), "gain"] = 0.06
    told = re.findall(r"`(\w+)` on `(\w+)`:", promoted_sentence(table))
    assert told == [("lrs", "small"), ("free_push", "small"), ("lrs", "large"), ("lrs_causal", "large")]
    assert re.findall(r"`(\w+)` on", promoted_sentence(gaining(lrs=0.01, free_push=-0.1))) == ["lrs", "lrs"]
    assert re.findall(r"`(\w+)` on", promoted_sentence(gaining(lrs=-0.01, free_push=0.0))) == ["lrs", "lrs"]


def test_the_answer_is_two_short_sentences():
    table = gaining(cot=0.9, lrs=0.01, lrs_causal=0.02, free_push=0.05, trained_constant=0.03, free_constant=0.02)
    table.loc[(table["backbone"] == "large") & (table["arm"] == "lrs_causal"), "gain"] = 0.06
    for arm, behavior, by in (
        ("cot", "verification", 9.0),
        ("free_push", "subgoal_setting", 2.5),
        ("trained_constant", "subgoal_setting", 1.0),
        ("free_constant", "subgoal_setting", 1.25),
    ):
        denser(table, "small", arm, behavior, by)
    denser(table, "large", "free_push", "verification", 5.0)  # which does not win there
    denser(table, "large", "lrs", "backtracking", -1.0)
    assert promoted_answer(table) == (
        "Not here: decoded greedily on 2 reasoners, LRS as the paper trains it makes no cognitive behavior denser, "
        "backtracking sparser on 1, beyond chance by intervals of each. The steered arm that gains most makes "
        "behaviors denser on 1 of 2: subgoal setting changes in 100 tokens by +2.50 with `free_push` on `small` (with"
        " a constant by at most +1.25) and by +0.00 with `lrs_causal` on `large` (with a constant by at most +0.00)."
    )
    for name in ("small", "large"):
        for arm in ("lrs", "free_push"):
            for behavior in BEHAVIORS:
                denser(table, name, arm, behavior, 1.0)
    yes, winner = re.split(r"(?<=\.) (?=The)", promoted_answer(table))
    names = ("verification", "backtracking", "subgoal setting", "backward chaining")
    every = ", ".join(f"{name} denser on 2" for name in names)
    assert yes == (
        f"Yes: decoded greedily on 2 reasoners, LRS as the paper trains it makes {every}, beyond chance by intervals "
        "of each."
    )
    assert max(len(sentence.split()) for sentence in (yes, winner)) <= 45


def test_the_answer_where_nothing_is_promoted_or_wins_or_was_run():
    table = gaining(lrs=0.01, trained_constant=0.02)
    assert promoted_answer(table).endswith("The steered arm that gains most (`trained_constant`) makes none denser.")
    denser(table, "small", "trained_constant", "verification", 1.0)  # it wins itself: nothing to hold it against
    assert promoted_answer(table).endswith(
        "on 1 of 2: verification changes in 100 tokens by +1.00 with `trained_constant` on `small` and by +0.00 with "
        "`trained_constant` on `large`."
    )
    assert promoted_answer(gaining(lrs=-0.01)).endswith(
        "no cognitive behavior denser, beyond chance by intervals of each."
    )
    assert promoted_answer(gaining(cot=0.5)) == ""


def test_the_figure_has_a_panel_a_behavior():
    figure = promoted_figure(promoted_table(outcomes(), STATISTICS), about="toy")
    assert len(figure.axes) == 2 * len(BEHAVIORS)


def test_intervals_of_means_are_those_of_one_column_at_a_time():
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_tuples([("ab"[n % 2], f"p{n}") for n in range(80)], names=["benchmark", "problem_id"])
    means = pd.DataFrame({"one": rng.normal(size=80), "other": rng.integers(0, 3, 80)}, index=index).sort_index()
    found = mean_intervals(means, resampled(means.index, 20_000, 0), 0.9)
    for name in means:
        expected = bootstrap_interval(means[name], 0.9, 20_000, 1, means.index.get_level_values("benchmark"))
        assert found[name] == pytest.approx(expected, abs=0.02)
