"""What becomes of base's answers, and the first word that differs, by hand."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrs.report.changes import TRANSITION_COLUMNS, Difference, first_difference, transitions_table

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


def test_base_alone_changes_nothing():
    assert transitions_table(outcomes().query("arm == 'base'")).empty
