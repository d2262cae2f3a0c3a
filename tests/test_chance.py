"""What a sweep finds where there is nothing."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrs.figures.chance import sweep_figure
from lrs.report.chance import (
    best_by_chance,
    best_of_few,
    discordant_share,
    few_sentence,
    sweep_sentence,
    sweep_table,
)


def test_one_setting_gains_nothing_on_average_and_many_do():
    alone, best = (best_by_chance(30, 12, 0.2, count, seed=0) for count in (1, 102))
    assert alone.mean() == pytest.approx(0, abs=0.004)
    assert best.mean() > 0.1
    assert best.std() < alone.std()


def test_best_of_two_by_hand():
    """One problem wrong and one right, each changed by half of the settings: a gain is one, none or minus one."""
    best = best_by_chance(2, 1, 0.5, 2, seed=1)
    shares = pd.Series(best).value_counts(normalize=True)
    p = 0.5  # that a setting changes the one problem
    win, even = p * (1 - p), (1 - p) ** 2 + p**2
    lose = 1 - win - even
    assert shares[0.5] == pytest.approx(1 - (1 - win) ** 2, abs=0.02)
    assert shares[-0.5] == pytest.approx(lose**2, abs=0.01)


@settings(max_examples=20)
@given(st.integers(1, 60), st.floats(0, 1), st.floats(0, 1))
def test_gains_lie_within_what_there_is(n, solved, share):
    right = round(solved * n)
    discordant = share * 2 * min(right, n - right) / n  # no more than can change
    best = best_by_chance(n, right, discordant * (1 - 1e-9), 3, seed=0)
    assert best.max() <= (n - right) / n
    assert best.min() >= -right / n
    if discordant == 0:
        assert not best.any()


def test_more_than_can_change_is_refused_and_left_out():
    with pytest.raises(ValueError, match="of 30 problems with 1 right, 20% cannot change"):
        best_by_chance(30, 1, 0.2, 5, seed=0)
    small = sweep_table([0.05, 0.2], 0.95, seed=0).query("backbone == 'ORZ-1.5B' and benchmark == 'AIME24'")
    assert small["discordant"].tolist() == [0.05]


def test_discordant_share_counts_changed_answers():
    correct = {"base": [1, 1, 0, 0], "lrs": [1, 0, 1, 0]}
    rows = [
        {"benchmark": "b", "problem_id": i, "seed": 0, "arm": arm, "correct": bool(value)}
        for arm, values in correct.items()
        for i, value in enumerate(values)
    ]
    assert discordant_share(pd.DataFrame(rows), "lrs") == 0.5


def test_table_has_the_papers_cells_and_the_sentence_counts_them():
    table = sweep_table([0.1, 0.3], 0.95, seed=0)
    assert len(table) == 2 * 4 * 2 - 4  # of the smaller model on AIME no setting can change so many
    aime = table[(table["backbone"] == "ORZ-7B") & (table["benchmark"] == "AIME24")].set_index("discordant")
    assert aime["claimed"].unique() == pytest.approx([3 / 30])
    assert (aime["settings"] == 102).all()
    assert aime.loc[0.3, "by_chance"] > aime.loc[0.1, "by_chance"] > 0
    assert (aime["by_chance_low"] <= aime["by_chance"]).all()
    best = best_by_chance(30, 5, 0.3, 102, seed=0)
    assert aime.loc[0.3, "as_much"] == pytest.approx(np.mean(best >= 0.1 - 1e-9))
    told = sweep_sentence(table)
    reached = int((table.query("discordant == 0.3")["by_chance"] >= table.query("discordant == 0.3")["claimed"]).sum())
    assert f"in {reached} of 6 cells" in told
    assert len(sweep_figure(table).axes) == 2


def test_the_best_of_settings_that_do_nothing_is_good_on_few_problems_and_nowhere_else():
    gains = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], p=[0.1, 0.8, 0.1], size=(400, 40))
    told = best_of_few(gains - gains.mean(axis=0), 30, 0.95, seed=0)
    assert (told["settings"], told["n"], told["few"]) == (40, 400, 30)
    assert told["found"] > 0.12
    assert told["elsewhere"] == pytest.approx(-30 / 370 * told["found"], abs=1e-9)  # gains sum to none
    assert told["best"] == pytest.approx(0, abs=1e-9)
    assert told["found_low"] < told["found"] < told["found_high"]


def test_the_best_on_one_problem_by_hand():
    """Each of two settings is the best on one problem of three; on the third, the first of them."""
    gains = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    gains[2] = 0.5, -0.5
    told = best_of_few(gains, 1, 0.95, seed=0)
    assert told["best"] == pytest.approx(0.5)
    assert told["found"] == pytest.approx((1 + 1 + 0.5) / 3, abs=0.03)
    assert told["elsewhere"] == pytest.approx((0.25 - 0.25 + 0.5) / 3, abs=0.03)
    assert (told["found_low"], told["found_high"]) == (0.5, 1.0)
    assert (told["elsewhere_low"], told["elsewhere_high"]) == (-0.25, 0.5)


def test_settings_that_gain_nothing_gain_nothing_elsewhere():
    draws = [
        np.random.default_rng(seed).choice([-1.0, 0.0, 1.0], p=[0.1, 0.8, 0.1], size=(200, 20)) for seed in range(8)
    ]
    told = pd.DataFrame([best_of_few(gains, 30, 0.95, seed=0) for gains in draws]).mean()
    assert told["found"] > 0.1
    assert told["best"] > 0.03  # the best of many, on the problems that it is read from
    assert abs(told["elsewhere"]) < 0.02


def test_a_setting_that_gains_is_found_and_gains_elsewhere():
    gains = np.zeros((100, 3))
    gains[:, 1] = 0.25
    told = best_of_few(gains, 50, 0.95, seed=1)
    assert told["found"] == told["elsewhere"] == told["best"] == pytest.approx(0.25)
    for few in (0, 100):
        with pytest.raises(ValueError, match=rf"from 1 to 99, .* \(got {few}\)"):
            best_of_few(gains, few, 0.95, seed=1)
    row = pd.DataFrame([told | {"backbone": "toy", "arm": "lrs", "decoding": "greedy"}])
    assert few_sentence(row) == (
        "On 50 of 100 problems of `toy`, drawn by lot, the best of 3 settings of `lrs` gains +25.0 points on average "
        "(greedy), and +25.0 on the others."
    )
