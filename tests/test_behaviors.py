import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrs.tasks.behaviors import BEHAVIORS, Span, count_behaviors, find_behaviors

CLAUSES = {
    "verification": "check 3 + 4 = 7 ok .",
    "backtracking": "back to 1 2 3 .",
    "subgoal_setting": "goal 7 from 3 4 :",
    "backward_chaining": "want 9 = 7 + 2 .",
    None: "try 3 + 4 = 7 .",
}
NOTHING = dict.fromkeys(BEHAVIORS, 0)


@given(st.lists(st.sampled_from(list(CLAUSES)), max_size=12))
def test_every_clause_is_found_where_it_stands(behaviors):
    text, expected = "<think>", []
    for behavior in behaviors:
        start = len(text) + 1
        text += f" {CLAUSES[behavior]}"
        expected += [Span(behavior, start, len(text))] if behavior else []
    assert find_behaviors(f"{text} </think> answer 7 <eos>") == expected
    assert count_behaviors(text) == {behavior: behaviors.count(behavior) for behavior in BEHAVIORS}


@pytest.mark.parametrize("behavior", BEHAVIORS)
@pytest.mark.parametrize("kept", [1, 2, 3])
def test_clause_cut_off_by_the_end_of_the_text_counts(behavior, kept):
    clause = " ".join(CLAUSES[behavior].split()[:kept])
    text = f"try 1 + 2 = 3 . {clause}"
    assert find_behaviors(text) == [Span(behavior, 16, len(text))]


def test_a_clause_without_its_end_does_not_swallow_the_next():
    assert count_behaviors("check 3 + 4 goal 7 from 3 4 : 3 + 4 = 7 .") == {**NOTHING, "subgoal_setting": 1}
    assert count_behaviors("goal 7 from 3 4 . goal 8 from 4 4 :") == {**NOTHING, "subgoal_setting": 1}


@pytest.mark.parametrize("text", ["", "try 1 + 2 = 3 .", "give up . </think> answer 3", "checked .", "goals :"])
def test_no_behavior(text):
    assert find_behaviors(text) == []
    assert count_behaviors(text) == NOTHING
