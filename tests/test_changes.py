"""What becomes of base's answers, and the first word that differs, by hand."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrs.report.changes import (
    DIFFERENCE_COLUMNS,
    TRANSITION_COLUMNS,
    Difference,
    first_difference,
    first_differences,
    transitions_table,
)
from lrs.report.labelled import labelled_by
from lrs.tasks.behaviors import Span

BASE = "<think> b 3 + 4 = 8 . </think> answer 8"
CHECKED = "<think> b 3 + 4 = 8 . check 3 + 4 = 7 no . back to b . b 3 + 4 = 7 . </think> answer 7"


@pytest.mark.parametrize(
    ("base", "other", "expected"),
    [
        (BASE, BASE, None),
        (BASE, f" {BASE}  ", None),
        (BASE, CHECKED, Difference(8, "</think>", "check", "verification")),
        (CHECKED, BASE, Difference(8, "check", "</think>", None)),
        ("a b", "a b c", Difference(2, "(its end)", "c", None)),
        ("a b c", "a", Difference(1, "b", "(its end)", None)),
        ("a b", "a back to b .", Difference(1, "b", "back", "backtracking")),
        ("a b .", "a\nb  check 2 .", Difference(2, ".", "check", "verification")),  # whatever space there is
        ("a check 1 .", "a check 2 .", Difference(2, "1", "2", None)),  # inside of a behavior, and none opens
    ],
)
def test_the_first_word_that_differs(base: str, other: str, expected: Difference | None):
    assert first_difference(base, other) == expected


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_texts_are_the_same_before_the_first_difference_and_not_at_it(said: list[str], instead: list[str]):
    found = first_difference(" ".join(said), " ".join(instead))
    if found is None:
        assert said == instead
    else:
        assert said[: found.place] == instead[: found.place]
        assert said[found.place : found.place + 1] != instead[found.place : found.place + 1]


def outcomes() -> pd.DataFrame:
    """Of four problems: one repaired by a check, one broken, and two that stay as they are."""
    right = {"base": (False, True, True, False), "lrs": (True, False, True, False)}
    texts = {"base": (BASE, "a b", "a b", "a b"), "lrs": (CHECKED, "a c", "a c", "a b")}
    rows = [
        {"problem_id": f"p{n}", "arm": arm, "correct": right[arm][n], "text": texts[arm][n]}
        for arm in right
        for n in range(4)
    ]
    return pd.DataFrame(rows).assign(backbone="toy", decoding="greedy", benchmark="chain_sum", seed=0)


def test_answers_to_public_problems_are_read_as_english():
    english = outcomes().assign(benchmark="math_500")
    spoken = {CHECKED: "So 3 + 4 = 8. Wait, no. It is 7.", BASE: "So 3 + 4 = 8. Answer 8."}
    table = transitions_table(english.assign(text=english["text"].replace(spoken))).set_index("change")
    assert table.loc["repaired", "opens_backtracking"] == 1
    assert table.loc["repaired", "opens_verification"] == 0


def test_transitions_by_hand():
    table = transitions_table(outcomes().sample(frac=1, random_state=0))
    assert list(table.columns) == TRANSITION_COLUMNS
    table = table.set_index("change")
    assert table["n"].to_dict() == {"both right": 1, "repaired": 1, "broken": 1, "both wrong": 1}
    assert (table["share"] == 0.25).all()
    assert table["differ"].to_dict() == {"both right": 1, "repaired": 1, "broken": 1, "both wrong": 0}
    repaired = table.loc["repaired"]
    assert (repaired["base_word"], repaired["arm_word"], repaired["times"]) == ("</think>", "check", 1)
    assert (repaired["opens_verification"], repaired["opens_backtracking"]) == (1, 0)
    assert repaired["place"] == pytest.approx(8 / len(BASE.split()))
    assert table.loc["broken", "opens_verification"] == 0
    assert pd.isna(table.loc["both wrong", "place"])


def test_every_repaired_and_broken_answer_has_a_row():
    table = first_differences(outcomes().sample(frac=1, random_state=0))
    assert list(table.columns) == DIFFERENCE_COLUMNS
    rows = table.set_index("problem_id")
    assert sorted(rows.index) == ["p0", "p1"]
    keys = ["backbone", "decoding", "arm", "benchmark", "seed"]
    assert rows.loc["p0", keys].tolist() == ["toy", "greedy", "lrs", "chain_sum", 0]
    told = ["change", "place", "base_word", "arm_word", "opens"]
    assert rows.loc["p0", told].tolist() == ["repaired", 8, "</think>", "check", "verification"]
    assert rows.loc["p1", told].tolist() == ["broken", 1, "b", "c", "none"]


class Saying:
    """A labeller to which all that lies behind a word is subgoal setting."""

    def __init__(self, word: str):
        self.word, self.asked = word, []

    def label(self, text: str) -> list[Span]:
        self.asked.append(text)
        return [Span("subgoal_setting", text.index(self.word), len(text))] if self.word in text else []


def test_another_labeller_may_say_what_opens():
    table = outcomes()
    rows = first_differences(table, Saying("c")).set_index("problem_id")
    assert rows["opens"].to_dict() == {"p0": "subgoal_setting", "p1": "subgoal_setting"}
    changes = transitions_table(table, Saying("check")).set_index("change")
    assert changes.loc["repaired", ["opens_verification", "opens_subgoal_setting"]].tolist() == [0, 1]
    assert changes.loc["broken", "opens_subgoal_setting"] == 0


def test_behaviors_are_counted_anew_by_another_labeller_asked_once_a_text():
    table, labeller = outcomes().assign(verification=7, tokens=5), Saying("check")
    found = labelled_by(table, labeller)
    assert found["subgoal_setting"].tolist() == [int("check" in text) for text in table["text"]]
    assert (found["verification"] == 0).all()
    assert found["tokens"].equals(table["tokens"])
    assert sorted(labeller.asked) == sorted(set(table["text"]))
    assert table["verification"].eq(7).all()


def test_base_alone_changes_nothing():
    assert first_differences(outcomes().query("arm == 'base'")).empty
    assert transitions_table(outcomes().query("arm == 'base'")).empty
