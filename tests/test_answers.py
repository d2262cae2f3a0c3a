import itertools
import re
import time
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lrs.tasks import answers
from lrs.tasks.answers import extract_answer, is_correct
from lrs.tasks.benchmarks import BENCHMARKS
from lrs.tasks.problems import Problem


def countdown(target, *numbers):
    return Problem("id", "countdown", "", "", {"numbers": list(numbers), "target": target}, "test")


def chain_sum(value):
    return Problem("id", "chain_sum", "", str(value), {"expression": "1 + 1"}, "test")


def sorting(*numbers, direction="ascending"):
    given = [f"{number}.0" for number in numbers]
    ordered = sorted(given, key=float, reverse=direction == "descending")
    metadata = {"original_numbers": given, "direction": direction}
    return Problem("id", "number_sorting", "", str(ordered), metadata, "test")


def graph(vertices, *edges):
    puzzle = {
        "vertices": list(range(vertices)),
        "edges": [["abcdefg".index(vertex) for vertex in edge] for edge in edges],
        "num_colors": 3,
        "color_options": [1, 2, 3],
    }
    return Problem("id", "graph_color", "", "", {"puzzle": puzzle}, "test")


def knights(*solution):
    terms = {"knight": "sage", "knave": "fool"}
    names = ["Zoey", "Owen", "Mia"]
    roles = ["a sage" if knight else "a fool" for knight in solution]
    told = "{} is {}, {} is {}, and {} is {}.".format(
        *(word for pair in zip(names, roles, strict=True) for word in pair)
    )
    metadata = {"statements": [], "solution": list(solution), "names": names, "knight_knave_terms": terms}
    return Problem("id", "knights_knaves", "", told, metadata, "test")


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
        ("<think> </think> answer 1 answer 2 <eos>", "2"),
        ("<think> </think> answer 1 , no : answer 2", "2"),
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


@pytest.mark.parametrize(
    ("answer", "value"), [("23", 23), ("- 23", -23), ("-23", -23), ("0", 0), ("+5", 5), ("+ 5", 5), ("007", 7)]
)
def test_chain_sum(answer, value):
    assert answered(chain_sum(value), answer)
    for other in (value + 1, value - 10, 10 * value + 3, -value or 1):
        assert not answered(chain_sum(other), answer)


@pytest.mark.parametrize(
    ("answer", "correct"),
    [
        ("3 17 17 80", True),
        ("80 17 17 3", False),
        ("17 3 17 80", False),
        ("3 17 80", False),
        ("3 17 17 80 80", False),
        ("3 17 17 81", False),
        ("4 17 17 80", False),
        ("3 17 18 80", False),
        ("3 , 17 , 17 , 80", False),
        ("[3, 17, 17, 80]", False),
        ("3.0 17.0 17.0 80.0", False),
        ("", False),
    ],
)
def test_number_sorting(answer, correct):
    assert answered(sorting(17, 80, 3, 17), answer) is correct
    assert answered(sorting(17, 80, 3, 17, direction="descending"), " ".join(answer.split()[::-1])) is correct


@pytest.mark.parametrize(
    ("answer", "correct"),
    [
        ("a 1 b 2 c 3 d 1", True),
        ("a 3 b 1 c 2 d 3", True),
        ("d 1 c 3 b 2 a 1", True),
        ("a 1 b 2 c 2 d 1", False),
        ("a 1 b 1 c 3 d 1", False),
        ("a 1 b 2 c 3", False),
        ("a 1 b 2 c 3 d 4", False),
        ("a 1 b 2 c 3 d 0", False),
        ("a 1 b 2 c 3 d", False),
        ("a 1 b 2 c 3 d 3 d 1", False),
        ("a 1 b 2 c 3 d 1 e 1", False),
        ("1 2 3 1", False),
        ("a 1 , b 2 , c 3 , d 1", False),
        ("A 1 b 2 c 3 d 1", False),
        ("", False),
    ],
)
def test_graph_color(answer, correct):
    assert answered(graph(4, "ab", "ac", "bc", "cd"), answer) is correct


@pytest.mark.parametrize(
    ("answer", "correct"),
    [
        ("a knight b knave c knight", True),
        ("a knave b knight c knave", False),
        ("a knight b knave c knave", False),
        ("a knight b knave", False),
        ("b knave c knight a knight", False),
        ("a knight b knave c knight a knight", False),
        ("a knight a knight b knave c knight", False),
        ("knight knave knight", False),
        ("a sage b fool c sage", False),
        ("", False),
    ],
)
def test_knights_knaves(answer, correct):
    assert answered(knights(True, False, True), answer) is correct


def test_every_role_counts():
    for solution in itertools.product((True, False), repeat=3):
        for said in itertools.product((True, False), repeat=3):
            answer = "a {} b {} c {}".format(*("knight" if knight else "knave" for knight in said))
            assert answered(knights(*solution), answer) is (said == solution)


@pytest.mark.parametrize("benchmark", ["chain_sum", "chain_sum_long"])
def test_integer_answers(benchmark):
    problem = Problem("id", benchmark, "", "12", {}, "test")
    assert answered(problem, "12")
    assert not answered(problem, "1 2")
    assert not answered(problem, "6")


def test_partial_credit_is_not_correct():
    entry = {"answer": sorting(3, 17, 80).answer, "metadata": sorting(3, 17, 80).metadata}
    assert answers._scorer("number_sorting").score_answer('["3", "18", "80"]', entry) == 1  # it would let that pass
    assert not answered(sorting(3, 17, 80), "3 18 80")
    one_color = {"metadata": graph(2, "ab").metadata}
    assert answers._scorer("graph_color").score_answer('{"0": 1, "1": 1}', one_color) > 0
    assert not answered(graph(2, "ab"), "a 1 b 1")
    partly = {"answer": knights(True, False, True).answer}
    assert answers._scorer("knights_knaves").score_answer("Zoey is a sage, Owen is a sage, Mia is a sage", partly) > 0
    assert not answered(knights(True, False, True), "a knight b knight c knight")
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
    "an order with code": ("3 17 __import__('os')", sorting(3, 17, 80)),
    "an order that closes its list": ('3 17 80"] + ["', sorting(3, 17, 80)),
    "a long order": ("3 " * 50_000 + "17 80", sorting(3, 17, 80)),
    "an order with a long number": ("3 17 " + "8" * 10_000, sorting(3, 17, 80)),
    "an order in Arabic digits": ("\u0663 17 80", sorting(3, 17, 80)),
    "an infinite order": ("3 17 inf", sorting(3, 17, 80)),
    "a coloring with code": ("a 1 b __import__('os')", graph(2, "ab")),
    "a coloring with a vertex of no graph": ("a 1 b 2 z 1", graph(2, "ab")),
    "a long coloring": ("a 1 " * 50_000 + "b 2", graph(2, "ab")),
    "a coloring in Arabic digits": ("a \u0661 b 2", graph(2, "ab")),
    "roles and more": ("a knight b knave c knight" + " c knight" * 50_000, knights(True, False, True)),
    "roles by name": ("Zoey is a sage, Owen is a fool, and Mia is a sage.", knights(True, False, True)),
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
    legal = {"countdown": r"[0-9+\-*/()]+", "chain_sum": r"-?[0-9]+"}.get(problem.benchmark, "nothing")
    assert all(len(text) <= 64 and re.fullmatch(legal, text) and "**" not in text for text in seen)


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
@settings(max_examples=60)
def test_scoring_equals_exact_arithmetic(tree, off):
    value = naive_value(tree)
    target = (int(value) if value is not None else 7) + off
    assert answered(countdown(target, *leaves(tree)), written(tree)) is (value == target)


@given(st.text(alphabet="123+-*/() \n", max_size=30))
@example("-\n1")
@settings(max_examples=100)
def test_no_answer_raises_or_reaches_what_cannot_be_reached(answer):
    numbers = [int(digits) for digits in re.findall("[0-9]+", answer)]
    assert not answered(countdown(10**31, *numbers), answer)
    assert not answered(chain_sum(10**31), answer)


@given(st.text(alphabet="abcz123knightve ,.\n", max_size=40))
@settings(max_examples=100)
def test_no_answer_in_words_raises(answer):
    assert not answered(graph(3, "ab", "bc", "ac"), answer) or sorted(answer.split()[1::2]) == ["1", "2", "3"]
    assert not answered(knights(True, False, True), answer) or answer.split()[1::2] == ["knight", "knave", "knight"]
    assert not answered(sorting(1, 2, 3), answer) or answer.split() == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (r"First 3 + 4 = 7, so the sum is \boxed{12}.", True),  # as another model concludes
        (r"<think> 5 </think> It is \boxed{12}", True),
        (r"<think> 5 </think> answer 12 <eos>", True),
        (r"<think> 5 </think> The answer is \boxed{12}.", True),
        (r"<think> 5 </think> answer 12 \boxed{11} <eos>", False),
        (r"\boxed{12} <think> 5 </think> it is 11", False),
        (r"It is \boxed{11}.", False),
        ("It is 12.", False),
    ],
)
def test_an_answer_in_a_box_counts_where_none_is_behind_answer(text, right):
    assert is_correct(chain_sum(12), text) is right
