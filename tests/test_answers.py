import re
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrs.tasks import answers
from lrs.tasks.answers import extract_answer, is_correct
from lrs.tasks.benchmarks import BENCHMARKS
from lrs.tasks.problems import Problem


def countdown(target, *numbers):
    return Problem("id", "countdown", "", "", {"numbers": list(numbers), "target": target}, "test")


def chain_sum(value):
    return Problem("id", "chain_sum", "", str(value), {"expression": "1 + 1"}, "test")


def factored(number, *factors):
    metadata = {"number": number}
    return Problem("id", "prime_factorization", "", " × ".join(map(str, factors)), metadata, "test")


def answered(problem, answer):
    return is_correct(problem, f"<think> wait </think> answer {answer} <eos>")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think> a </think> answer 12 <eos>", "12"),
        ("<think> a </think> answer 12", "12"),
        ("<think> a </think> answer 12 <eos> <pad> <pad>", "12"),
        ("<think> answer 1 </think> answer 2", "2"),
        ("<think> </think> answer 1 <think> </think> answer 2", "2"),
        ("<think> </think> answer - 23 <eos>", "- 23"),
        ("<think> </think> answer 1 <eos> answer 2 <eos>", "2"),
        ("<think> answer 1 </think> 2", None),
        ("<think> answer 1", None),
        ("answer 1", None),
        ("</think> answer <eos>", None),
        ("</think> answers 3", None),
        ("", None),
    ],
)
def test_the_answer_follows_the_last_end_of_thinking(text, answer):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("answer", "correct"),
    [
        ("( 7 - 3 ) * 5", True),
        ("5 * ( 7 - 3 )", True),
        ("5*(7-3)", True),
        ("5 * 7 - 3", False),
        ("20", False),
        ("5 * 4", False),
        ("", False),
    ],
)
def test_countdown(answer, correct):
    assert answered(countdown(20, 3, 5, 7), answer) is correct


@pytest.mark.parametrize(("answer", "value"), [("23", 23), ("- 23", -23), ("-23", -23), ("0", 0)])
def test_chain_sum(answer, value):
    assert answered(chain_sum(value), answer)
    for other in (value + 1, value - 10, 10 * value + 3, -value or 1):
        assert not answered(chain_sum(other), answer)


@pytest.mark.parametrize(
    ("answer", "correct"),
    [
        ("2 * 3 * 7 1 9", True),
        ("7 1 9 * 3 * 2", True),
        ("2 × 3 × 719", True),
        ("2 * 3", False),
        ("6 * 719", False),
        ("2 * 3 * 7 * 1 9", False),
        ("4314", False),
    ],
)
def test_prime_factorization(answer, correct):
    assert answered(factored(4314, 2, 3, 719), answer) is correct


@pytest.mark.parametrize("benchmark", ["gcd", "chain_sum_digits", "simple_equations"])
def test_integer_answers(benchmark):
    problem = Problem("id", benchmark, "", "12", {}, "test")
    assert answered(problem, "12")
    assert not answered(problem, "1 2")
    assert not answered(problem, "6")


def test_partial_credit_is_not_correct():
    assert answers._scorer("prime_factorization").score_answer("6×719", {"answer": "2 × 3 × 719"}) > 0
    assert answers._scorer("countdown").score_answer("3+5+7", {"metadata": {"numbers": [3, 5, 7], "target": 9}}) > 0
    assert not answered(countdown(9, 3, 5, 7), "3 + 5 + 7")
    assert answers._scorer("chain_sum").score_answer("231", {"answer": "23"}) > 0
    assert not answered(chain_sum(23), "231")


HOSTILE = {
    "a tower of powers": ("9**9**9", countdown(9, 9, 9, 9)),
    "spaces between the stars": ("9 * * 9 * * 9", countdown(9, 9, 9, 9)),
    "another white space between the stars": ("9 *\n* 9 *\t* 9", countdown(9, 9, 9, 9)),
    "very long": ("1 + " * 50_000 + "1", countdown(50_001, *[1] * 50_001)),
    "long number": ("9" * 10_000, chain_sum(9)),
    "deep brackets": ("(" * 5_000 + "1" + ")" * 5_000, countdown(1, 1)),
    "code": ("__import__('os')", countdown(1, 1)),
    "a name": ("x + 1", countdown(1, 1)),
    "a function": ("factorial ( 9 )", countdown(362_880, 9)),
    "a factorial": ("9 !", countdown(362_880, 9)),
    "a float": ("1.0", countdown(1, 1, 0)),
    "another number": ("4 + 2", countdown(6, 3, 3)),
    "a number used twice": ("3 + 3", countdown(6, 3)),
    "a number not used": ("3 + 3", countdown(6, 3, 3, 1)),
    "numbers written together": ("1 2 + 3", countdown(15, 1, 2, 3)),
    "division by zero": ("3 / ( 2 - 2 )", countdown(3, 2, 2, 3)),
    "floor division": ("7 // 2", countdown(3, 7, 2)),
    "floor division with a space": ("7 / / 2", countdown(3, 7, 2)),
    "unclosed": ("( 1 + 2", countdown(3, 1, 2)),
    "a call": ("3 ( 2 )", countdown(6, 3, 2)),
    "a comparison": ("1 == 1", countdown(1, 1, 1)),
    "Arabic digits": ("\u0663 + \u0665", countdown(8, 3, 5)),
    "Arabic digits in a sum": ("\u0662\u0663", chain_sum(23)),
    "superscript": ("3\u00b2", countdown(9, 3)),
    "words": ("23 or so", chain_sum(23)),
    "an exponent": ("1e2", chain_sum(100)),
    "an expression for an integer": ("20 + 3", chain_sum(23)),
    "not a number": ("nan", chain_sum(23)),
    "a product that begins with a sign": ("-2*-3", factored(6, 2, 3)),
    "a product without its end": ("2 * 3 *", factored(6, 2, 3)),
    "a long product": ("1 * " * 50_000 + "6", factored(6, 2, 3)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers_are_wrong_at_once_and_reach_no_evaluator(monkeypatch, name):
    answer, problem = HOSTILE[name]
    seen = []
    scorer = answers._scorer(BENCHMARKS[problem.benchmark].dataset)
    score = type(scorer).score_answer
    monkeypatch.setattr(type(scorer), "score_answer", lambda self, *given: seen.append(given[0]) or score(self, *given))
    start = time.monotonic()
    assert not answered(problem, answer)
    assert time.monotonic() - start < 1
    assert all(len(text) <= 64 and re.fullmatch(r"[0-9+\-*/()]+", text) and "**" not in text for text in seen)


def naive_value(tree):
    """The exact value of a nested (left, operator, right), or None where it divides by zero."""
    if isinstance(tree, int):
        return Fraction(tree)
    left, right = naive_value(tree[0]), naive_value(tree[2])
    if left is None or right is None or (tree[1] == "/" and right == 0):
        return None
    return {"+": left + right, "-": left - right, "*": left * right, "/": left / right if right else None}[tree[1]]


def written(tree):
    return str(tree) if isinstance(tree, int) else f"( {written(tree[0])} {tree[1]} {written(tree[2])} )"


def leaves(tree):
    return [tree] if isinstance(tree, int) else leaves(tree[0]) + leaves(tree[2])


leaf = st.integers(1, 40)
pair = st.tuples(leaf, st.sampled_from("+-*/"), leaf)
tree = st.tuples(leaf, st.sampled_from("+-*/"), pair) | st.tuples(pair, st.sampled_from("+-*/"), leaf)


@given(tree, st.integers(-2, 2))
@settings(max_examples=60, deadline=None)
def test_scoring_equals_exact_arithmetic(tree, off):
    value = naive_value(tree)
    target = (int(value) if value is not None else 7) + off
    assert answered(countdown(target, *leaves(tree)), written(tree)) is (value == target)


@given(st.text(alphabet="123+-*/() \n", max_size=30))
@settings(max_examples=100, deadline=None)
def test_no_answer_raises_or_reaches_what_cannot_be_reached(answer):
    numbers = [int(digits) for digits in re.findall("[0-9]+", answer)]
    assert not answered(countdown(10**31, *numbers), answer)
    assert not answered(chain_sum(10**31), answer)
