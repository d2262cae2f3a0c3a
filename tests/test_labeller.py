"""Labellers: rules on sentences written by hand, a judge that is held to its form, and both against exact labels."""

import json
import re
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrs.core.statistics import wilson_interval
from lrs.report.labelled import labeller_table
from lrs.tasks.behaviors import BEHAVIORS, Span, find_behaviors
from lrs.tasks.labeller import JudgeError, JudgeLabeller, RuleLabeller, behaviors_written, validate_labeller

V, B, S, C = BEHAVIORS
# English as reasoning models write it, and what each sentence shows.
SENTENCES = {
    "Let me check that 3 times 8 is 24.": {V},
    "Let\N{RIGHT SINGLE QUOTATION MARK}s verify this with a small case.": {V},
    "I should double-check the arithmetic.": {V},
    "Plugging x = 3 back into the equation gives 9 = 9.": {V},
    "Substituting these values back, both sides are equal.": {V},
    "Does this satisfy the second condition?": {V},
    "Is that right?": {V},
    "Check: 17 + 25 = 42.": {V},
    "Just to make sure, I'll recompute the sum.": {V},
    "We can confirm this by counting.": {V},
    "Wait, I added the wrong numbers.": {B},
    "Hmm, wait.": {B},
    "No, that's wrong.": {B},
    "That can't be right, since the total is odd.": {B},
    "Let me try a different approach.": {B},
    "Let's use the other root instead.": {B},
    "Going back to the first equation, x is free.": {B},
    "I made a mistake in the second line.": {B},
    "This is a dead end.": {B},
    "Let me start over.": {B},
    "Hold on, the sign flips here.": {B},
    "Step 1: list the divisors.": {S},
    "First, find the slope of the line.": {S},
    "First I factor the left side, then I compare coefficients.": {S},
    "Now we need to find the height of the triangle.": {S},
    "The problem can be broken into two subproblems.": {S},
    "My plan is to bound both terms apart.": {S},
    "Let's break this down into cases.": {S},
    "Once we know the radius, the area follows.": {S},
    "Next, compute the remainder.": {S},
    "Working backwards from 24, the last step is a product.": {C},
    "To get 24, we need a 6 and a 4.": {C},
    "For this to be an integer, n must divide 12.": {C},
    "To obtain a remainder of 1 we would need an odd number.": {C},
    "Let's start from the target and undo each operation.": {C},
    "What could give us 24?": {C},
    "Hmm, the second guess does not fit, so let me try another one.": {B},
    "Actually, let me reconsider the question.": {B},
    "Let me recount the edges of the graph.": {V},
    "- Wait, but let me double-check the third condition.": {V, B},
    "Wait, let me check the second term.": {V, B},
    "The sum of the angles is 180 degrees.": set(),
    "So x = 3.5 and y = 2.": set(),
    "The waiter waited for the train.": set(),
    "He wrote a check mark beside the wrong answer.": set(),
    "Multiply both sides by 2.": set(),
    "Instead of a sum there is a product here.": set(),
    "We want to give each child an apple.": set(),
    "The goal was scored in the last minute.": set(),
    "The back of the house is red.": set(),
    "He needs to get to the station.": set(),
    "The first term is 3 and the last is 11.": set(),
}


def shown(labeller, text):
    return {span.behavior for span in labeller.label(text)}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_rules_read_english(sentence):
    assert shown(RuleLabeller(), sentence) == SENTENCES[sentence]


@pytest.mark.parametrize("behavior", BEHAVIORS)
def test_a_sentence_is_labelled_where_it_stands_and_once_a_behavior(behavior):
    """Among sentences that show nothing, in lines and without, each stretch is the whole sentence and no more."""
    plain = [sentence for sentence, told in SENTENCES.items() if not told]
    for sentence, told in SENTENCES.items():
        if told != {behavior}:
            continue
        for between in (" ", "\n", "\n\n"):
            text = between.join([plain[0], sentence, plain[1], sentence])
            first = text.index(sentence)
            second = text.index(sentence, first + 1)
            expected = [Span(behavior, start, start + len(sentence)) for start in (first, second)]
            assert RuleLabeller().label(text) == expected


@given(st.text(st.sampled_from("ab .!?\n"), max_size=60))
def test_every_word_lies_in_one_sentence(text):
    """Told by a rule that every sentence keeps: the words of the text stand in the labelled stretches, each once."""
    marked = re.sub(r"[ab]+", "check", text)
    spans = RuleLabeller(own_words=True).label(marked)
    assert all(before.end <= after.start for before, after in pairwise(spans))
    assert sum(marked[span.start : span.end].count("check") for span in spans) == marked.count("check")


def test_long_texts_are_read_in_no_time():
    for word in ("first ", "to get ", "plug ", "what could ", "wait for this to be ", "....", "but "):
        RuleLabeller(own_words=True).label(word * 20_000)


def test_own_words_count_only_where_they_are_asked_for():
    trace = "<think> want 24 = 6 * 4 . goal 6 from 3 2 : 3 + 2 = 5 no . back to 3 2 . check 3 * 2 = 6 ok . </think>"
    assert shown(RuleLabeller(own_words=True), trace) == set(BEHAVIORS)
    assert shown(RuleLabeller(), trace) == {V}  # "Check" opens a sentence in English too
    assert shown(RuleLabeller(), "We want to reach our goal.") == set()


def test_rules_are_not_the_grammar_of_the_tutor():
    """In English that holds none of its clauses they find what `find_behaviors` does not."""
    told = [sentence for sentence, shows in SENTENCES.items() if shows]
    seen = sum(bool(find_behaviors(sentence)) for sentence in told)
    assert seen < 0.2 * len(told)


TEXT = "I add. Wait, I add again. To get 9 I need 5 and 4. I add again."


def answer(**quotes):
    return json.dumps({behavior: [] for behavior in BEHAVIORS} | quotes)


def test_a_judge_is_shown_the_text_and_its_quotes_become_spans():
    asked = []
    given = answer(backtracking=["Wait, I add again."], verification=["I add", "I add", "I add again."])
    judge = JudgeLabeller(lambda prompt: asked.append(prompt) or given)
    spans = judge.label(TEXT)
    assert TEXT in asked[0]
    assert all(behavior in asked[0] for behavior in BEHAVIORS)
    assert [(span.behavior, TEXT[span.start : span.end]) for span in spans] == [
        (V, "I add"),
        (B, "Wait, I add again."),
        (V, "I add"),
        (V, "I add again."),
    ]
    assert [span.start for span in spans] == [0, 7, 13, 51]  # what is said twice is found twice, in its order


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Here you are: " + answer(),
        "```json\n" + answer() + "\n```",
        "[]",
        json.dumps({V: []}),
        answer(doubt=[]),
        json.dumps(dict.fromkeys(BEHAVIORS, None)),
        answer(verification="I add"),
        answer(verification=[3]),
        answer(verification=[" "]),
        answer(verification=["I subtract."]),
        answer(verification=["Wait, I add again.", "I add."]),  # out of order
        answer(verification=["I add."] * 2),  # more often than it stands there
        answer()[:-1] + ', "verification": []}',  # a key twice
    ],
)
def test_a_malformed_answer_is_one_clear_error(given):
    with pytest.raises(JudgeError, match="malformed"):
        JudgeLabeller(lambda _: given).label(TEXT)


def test_what_goes_wrong_with_the_judge_itself_is_not_hidden():
    def broken(_):
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        JudgeLabeller(broken).label(TEXT)


class Given:
    """Labels that were laid down beforehand."""

    def __init__(self, *spans):
        self.spans = list(spans)

    def label(self, text):
        return self.spans


def test_quality_by_hand():
    text = "check 1 ok . check 2 ok . back to 3 ."
    exact = find_behaviors(text)
    assert [span.behavior for span in exact] == [V, V, B]
    one, two = exact[:2]
    # over both checks: right once; between them: wrong; at the end of the other: right; a behavior elsewhere: wrong
    spans = [Span(V, one.start, two.end), Span(V, one.end, two.start), Span(V, two.end - 1, len(text)), Span(B, 0, 3)]
    rows = validate_labeller(Given(*spans), pd.DataFrame({"text": [text]})).set_index("behavior")
    assert rows.loc[V, ["labelled", "exact", "precision", "recall"]].tolist() == pytest.approx([3, 2, 2 / 3, 1])
    assert rows.loc[B, ["labelled", "exact", "precision", "recall"]].tolist() == [1, 1, 0, 0]
    assert rows.loc[V, ["precision_low", "precision_high"]].tolist() == pytest.approx(wilson_interval(2, 3))
    assert np.isnan(rows.loc[S, ["precision", "precision_low", "recall", "recall_high"]].astype(float)).all()


def test_exact_labels_are_right_everywhere():
    texts = ["check 1 ok . back to 3 .", "goal 3 from 1 2 : 1 + 2 = 3 yes . want 9 = 5 + 4 .", ""]
    for text in texts:
        rows = validate_labeller(Given(*find_behaviors(text)), pd.DataFrame({"text": [text]}))
        told = rows[rows["exact"] > 0]
        assert (told[["precision", "recall"]] == 1).all(axis=None)
    rules = validate_labeller(RuleLabeller(own_words=True), pd.DataFrame({"text": texts}))
    assert (rules[["precision", "recall"]] == 1).all(axis=None)


def test_answers_to_public_problems_are_read_as_english_and_no_others():
    for text, english, own in (("Wait, no. 3 + 4 = 7.", 1, 0), ("back to b .", 0, 1)):
        assert behaviors_written("math_500", text)[B] == english
        assert behaviors_written("chain_sum", text)[B] == own


def test_the_rules_are_held_against_exact_labels_where_there_are_any():
    spoken = ["check 1 ok . back to 3 .", "Let me check. Wait, no."]
    traces = pd.DataFrame({"text": [*spoken, "check 2 ok ."], "benchmark": ["chain_sum", "math_500", "countdown"]})
    table = labeller_table(traces)
    assert table["behavior"].tolist() == 2 * list(BEHAVIORS)
    english, own = (part.set_index("behavior") for _, part in table.groupby("rules", sort=False))
    assert english.loc[[V, B], "exact"].tolist() == own.loc[[V, B], "labelled"].tolist() == [2, 1]
    assert english.loc[[V, B], "labelled"].tolist() == [2, 0]
    assert own.loc[[V, B], ["precision", "recall"]].to_numpy().tolist() == [[1, 1], [1, 1]]
