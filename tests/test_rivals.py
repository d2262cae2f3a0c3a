"""Rivals: votes and rankings by hand, and pairing with one attempt."""

from copy import deepcopy

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrs.bench.rivals import ATTEMPTS, TEMPERATURES, choices, compare_rivals, majority, measure_rivals, single
from lrs.config import StatisticsSection
from lrs.figures.frontier import arms_in, frontier_figure
from lrs.learning.reward_training import fit_reward
from lrs.method.arms import REWARDS

STATISTICS = StatisticsSection(confidence_level=0.95, bootstrap_resamples=200)


@pytest.mark.parametrize(
    ("answers", "chosen"),
    [(["a", "b", "b"], 1), (["a", "b"], 0), ([None, "b", None], 1), ([None, None], 0), (["a", "b", "a", "b"], 0)],
)
def test_majority(answers, chosen):
    assert majority(answers) == chosen


@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=8))
def test_no_answer_has_more_votes_than_the_chosen_one(answers):
    chosen = answers[majority(answers)]
    given_ones = [answer for answer in answers if answer is not None]
    assert all(given_ones.count(chosen) >= given_ones.count(other) for other in given_ones)
    assert chosen is not None or not given_ones


def attempts():
    """Two problems of eight attempts: the first is right where it says `x`, the second never."""
    rows = []
    for problem, answers in {"p": "xyyxxyxx", "q": "zzzzzzzz"}.items():
        for seed, answer in enumerate(answers, start=1):
            row = {"benchmark": "b", "problem_id": problem, "seed": seed, "correct": answer == "x", "tokens": 10 * seed}
            row["finish_reason"] = "truncated" if answer == "y" else "answered"
            rows.append(row | {"answer": answer, "token": seed / 10, "history": -seed / 10})
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


def test_choices_by_hand():
    made = choices(attempts(), ["token", "history"]).query("problem_id == 'p'")
    right = made.set_index(["method", "attempts"])["correct"].to_dict()
    assert right == {
        ("one", 1): 1,
        **{("vote", 2): 1, ("vote", 4): 1, ("vote", 8): 1},
        **{("ranked by token", 2): 0, ("ranked by token", 4): 1, ("ranked by token", 8): 1},
        **{("ranked by history", count): 1 for count in ATTEMPTS},
        **{("any", count): 1 for count in ATTEMPTS},
    }
    tokens = made.set_index(["method", "attempts"])["tokens"]
    assert tokens["one", 1] == 10
    truncated = made.set_index(["method", "attempts"])["truncated"]
    assert (truncated == 1 - made.set_index(["method", "attempts"])["correct"]).all()  # whichever attempt was chosen
    assert tokens["vote", 4] == 10 + 20 + 30 + 40


def test_methods_are_paired_with_one_attempt_and_the_arms_stand_beside_them():
    outcomes = pd.DataFrame(
        {"arm": arm, "benchmark": "b", "problem_id": problem, "seed": seed, "correct": arm == "lrs", "tokens": 7}
        | {"decoding": "sampled" if seed else "greedy", "finish_reason": "answered", "steered_tokens": 3}
        for arm in ("base", "lrs")
        for problem in "pq"
        for seed in (0, 1, 2)
    )
    steered = single(outcomes)
    assert set(steered["method"]) == {"base, greedy", "lrs, greedy", "lrs, sampled"}
    assert len(steered) == 6
    made = pd.concat([choices(attempts(), ["token", "history"]), steered])
    table = compare_rivals(made, STATISTICS).set_index(["method", "attempts"])
    assert table.loc[("one", 1), ["accuracy", "delta", "wins", "losses"]].tolist() == [0.5, 0, 0, 0]
    assert table.loc[("lrs, sampled", 1), ["accuracy", "delta", "wins", "losses"]].tolist() == [1, 0.5, 1, 0]
    assert table.loc[("lrs, sampled", 1), ["truncated", "steered_fraction"]].tolist() == [0, 0.5]
    assert table.loc[("ranked by token", 2), ["truncated", "steered_fraction"]].tolist() == [0.5, 0]
    assert table.loc[("ranked by token", 2), ["delta", "losses", "p_mcnemar"]].tolist() == [-0.5, 1, 1]
    assert table.loc[("vote", 8), "tokens"] == sum(range(10, 90, 10))
    flat = table.reset_index()
    assert arms_in(flat, "greedy")["arm"].tolist() == ["base", "lrs"]
    figure = frontier_figure(flat, about="toy")
    assert [axis.get_xscale() for axis in figure.axes] == ["log", "log"]


def test_a_method_that_lacks_problems_is_refused():
    made = choices(attempts(), [])
    lacking = pd.concat(
        [made, made[(made["problem_id"] == "p") & (made["method"] == "one")].assign(method="lrs, greedy")]
    )
    with pytest.raises(ValueError, match="'lrs, greedy' lacks 1 of 2 problems"):
        compare_rivals(lacking, STATISTICS)


def test_a_profile_that_was_run_is_measured(small_power, ran, tmp_path, monkeypatch):
    monkeypatch.setattr("lrs.bench.rivals.load_backbone", lambda *arguments: ran.backbone)
    monkeypatch.setattr("lrs.bench.adapter.load_backbone", lambda *arguments: deepcopy(ran.backbone))
    fit_reward(REWARDS["history"], small_power, small_power.data / "reward/history")
    table = measure_rivals(small_power).set_index("method")
    asked = sum(problem.split == "test" for problem in ran.problems)
    assert set(table["n"]) == {asked}
    assert set(table["device"]) == {"cpu"}
    assert {"one", "vote", "ranked by token", "any", "base, greedy", "cot, sampled", "lrs_causal, greedy"} <= set(
        table.index
    )
    assert {"adapter, greedy", "adapter, sampled", "repaired, greedy", "guided by token"} <= set(table.index)
    assert {f"base at {t:g}, sampled" for t in TEMPERATURES} <= set(table.index)
    kept = pd.read_csv(tmp_path / "data/rivals" / f"{small_power.profile}-{small_power.backbone_name}.csv")
    assert kept["accuracy"].tolist() == pytest.approx(table["accuracy"].tolist(), abs=1e-5)


def test_without_samples_there_is_nothing_to_choose_from(small_power):
    greedy = small_power.steering.model_copy(update={"sampling": None})
    with pytest.raises(ValueError, match="answers in no samples"):
        measure_rivals(small_power.model_copy(update={"steering": greedy}))
