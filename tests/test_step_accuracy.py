"""Steps are found where a text states them, and judged by what it stated before."""

import re
from random import Random

import pytest
from conftest import DIFFICULTY

from lrs.reasoners.tokenizer import build_tokenizer
from lrs.tasks.benchmarks import BENCHMARKS
from lrs.tasks.problems import Problem
from lrs.tutor import write_trace
from lrs.tutor.draft import Style
from lrs.tutor.step_accuracy import STEPS, steps_in

CLEAN = Style("clean", verify=0.8, slip=0.0, give_up=0.2, subgoal=0.5, backward=0.5)
SLIPPING = Style("slipping", verify=0.8, slip=0.5, give_up=0.2, subgoal=0.5, backward=0.5)


def problem(benchmark, **metadata):
    return Problem("id", benchmark, "", "", metadata, "test")


SUM = problem("chain_sum", expression="8 - 9 + 3")
REACH = problem("countdown", numbers=[11, 28, 10], target=29)
UP = problem("number_sorting", original_numbers=["7.0", "3.0", "9.0"], direction="ascending")
GRAPH = problem("graph_color", puzzle={"vertices": [0, 1, 2], "edges": [[0, 1], [0, 2], [1, 2]]})
KNIGHTS = problem(
    "knights_knaves",
    statements=[["->", ["lying", 1], ["lying", 2]], ["telling-truth", 2], ["not", ["telling-truth", 0]]],
)
TEXTS = [  # what is said, and which of its steps are right
    (SUM, "8 - 9 = - 1 . - 1 + 3 = 2 .", [1, 1]),
    (SUM, "8 - 9 = 1 . 1 + 3 = 4 .", [0, 1]),  # what builds on a wrong step is not wrong too
    (SUM, "8 - 9 = - 1 . check - 1 + 9 = 8 ok .", [1, 1, 1]),
    (SUM, "8 - 9 = - 1 . check - 1 + 9 = 8 wrong .", [1, 1, 0]),
    (SUM, "8 - 9 = - 1 . check - 1 + 9 = 7 ok .", [1, 0, 0]),
    (SUM, "8 - 9 = 1 . check 1 + 9 = 10 wrong . back to 8 - 9 . 8 - 9 = - 1 .", [0, 1, 1, 1]),
    (SUM, "8 - 9 = 1 . check 1 + 9 = 10 ok .", [0, 1, 0]),
    (SUM, "goal 8 - 9 : 8 - 8 = 0 , 0 - 1 = - 1 . check - 1 + 9 = 8 ok .", [1, 1, 1, 1]),
    (SUM, "goal 8 - 9 : 8 - 8 = 0 , 0 - 1 = - 2 . check - 2 + 9 = 7 ok .", [1, 0, 1, 0]),
    (SUM, "check 3 ok . left 8 : give up . 8 - = 3 . 8 - 9", []),
    (REACH, "try 28 - 10 = 18 . left 18 11 : 18 + 11 = 29 yes . check 18 + 11 = 29 ok .", [1] * 5),
    (REACH, "try 28 - 10 = 17 . left 17 11 : 17 + 11 = 28 no , 17 - 11 = 6 yes .", [0, 1, 1, 1, 0]),
    (REACH, "try 28 - 10 = 18 . goal 29 from 18 11 : 18 + 11 = 29 no .", [1, 1, 0]),
    (REACH, "want 29 = 11 + 18 . goal 18 from 28 10 : 28 + 10 = 38 no , 28 - 10 = 18 yes .", [1] * 5),
    (REACH, "want 29 = 11 + 17 . goal 17 from 28 10 : 28 - 10 = 18 yes .", [0, 1, 0]),
    (REACH, "goal 18 from 28 10 : 28 - 10 = 18 yes . try 28 - 11 = 17 . left 17 10 : 17 + 10 = 27 no .", [1] * 5),
    (REACH, "try 28 / 0 = 1 . left 28 10 : 28 / 10 = 2 no .", [0, 0, 1]),
    (REACH, "left 28 1 : 28 + 1 = 29 yes . check 28 + 1 = 29 wrong . check 28 + 1 = 30 wrong .", [1, 1, 1, 0, 0, 1]),
    (UP, "left 7 3 9 : take 3 . goal least 7 9 : take 7 .", [1, 1, 1, 1]),
    (UP, "left 7 3 9 : take 7 . left 3 9 : take 3 .", [1, 0, 1, 1]),
    (UP, "left 7 3 8 : take 3 . left 7 8 : take 8 .", [0, 1, 1, 0]),
    (UP, "left 7 3 9 : take 3 . left 9 7 : take 7 .", [1, 1, 0, 1]),
    (UP, "goal most 7 3 9 : take 3 .", [0, 1]),
    (UP, "left 7 3 9 : take 3 . check 3 with 7 9 ok .", [1, 1, 1, 1, 1]),
    (UP, "left 7 3 9 : take 3 . check 3 with 7 ok .", [1, 1, 1, 0]),
    (UP, "left 7 3 9 : take 3 . check 3 with 9 7 ok .", [1, 1, 0, 0, 1]),
    (UP, "left 7 3 9 : take 3 . check 3 with 7 wrong .", [1, 1, 1, 0]),
    (UP, "left 7 3 9 : take 7 . check 7 with 3 wrong . back to 7 3 9 . take 3 .", [1, 0, 1, 1, 1, 1]),
    (UP, "left 7 3 9 : take 7 . check 7 with 3 9 ok .", [1, 0, 1, 1, 0]),
    (UP, "left 7 3 9 : take 7 . check 7 with 3 9 wrong .", [1, 0, 1, 1, 0]),
    (UP, "left 7 3 9 : take 3 . check 7 with 3 wrong . back to 7 3 .", [1, 1, 0, 0, 0]),
    (GRAPH, "left a : try a 1 . check a 1 with none ok .", [1]),
    (GRAPH, "try a 1 . try b 2 . check b 2 with a 1 ok . try c 3 . check c 3 with a 1 , b 2 ok .", [1] * 5),
    (GRAPH, "try a 1 . try b 1 . check b 1 with a 1 wrong . back to b . try b 2 .", [1, 1]),
    (GRAPH, "try a 1 . try b 1 . check b 1 with a 1 ok .", [1, 0]),
    (GRAPH, "try a 1 . try b 1 . check b 1 with a 2 ok .", [0, 1]),
    (GRAPH, "try a 1 . try b 2 . check b 2 with none ok .", [0]),
    (GRAPH, "try a 1 . try b 2 . try c 2 . check c 2 with b 2 wrong .", [0, 1]),
    (GRAPH, "try a 1 . try b 2 . try c 3 . check c 3 with a 1 ok .", [1, 0]),
    (GRAPH, "try a 1 . try b 2 . try c 1 . check c 1 with a 1 , b 2 wrong .", [1, 1, 0]),
    (GRAPH, "try a 1 . try b 2 . check b 3 with a 1 ok .", [1, 0]),
    (GRAPH, "try a 1 . try b 1 . try b 2 . try c 3 . check c 3 with a 1 , b 1 ok .", [1, 0, 1]),
    (SUM, "b 8 - 9 = - 1 . c - 1 + 3 = 2 .", [1, 1, 1, 1]),
    (SUM, "c 8 - 9 = - 1 . b - 1 + 3 = 2 . d 2 + 3 = 5 .", [0, 1, 0, 1, 0, 1]),  # a term under another one's name
    (SUM, "goal b 8 - 9 : 8 - 8 = 0 , 0 - 1 = - 1 . check - 1 + 9 = 8 ok .", [1, 1, 1, 1, 1]),
    (KNIGHTS, "try a knight b knight c knave : a knight says b knave no then c knave yes = yes ok .", [1] * 5),
    (KNIGHTS, "try a knight b knight c knave : a knight says b knave yes then c knave yes = yes ok .", [1, 0, 1, 1, 1]),
    (KNIGHTS, "try a knight b knight c knave : a knight says b knave no then c knave no = no ok .", [1, 1, 0, 0, 0]),
    (
        KNIGHTS,
        "try a knight b knight c knave : a knight says b knave no then c knave yes = yes wrong .",
        [1, 1, 1, 1, 0],
    ),
    (
        KNIGHTS,
        "try a knight b knight c knave : a knight says c knave yes then b knave no = no wrong .",
        [1, 0, 0, 1, 1],
    ),
    (KNIGHTS, "try a knight b knight c knave : a knight says b knave no or c knave yes = yes ok .", [0]),
    (KNIGHTS, "try a knight b knight c knave : c knight says not a knight yes = no wrong .", [0, 1, 1, 1]),
    (KNIGHTS, "goal a knave b knight c knave : check b knight says c knight no wrong .", [1, 1, 1]),
    (
        KNIGHTS,
        "goal a knave b knight c knave : "
        "check b knight says c knight yes ok , c knave says not a knight no = yes wrong .",
        [1, 0, 1, 1, 1, 1, 1],
    ),
    (KNIGHTS, "goal a knave b knight c knave : c knave says not a knight no = no ok .", [1, 1, 0, 1]),
    (
        KNIGHTS,
        "goal a knave b knave c knave : back to a . try a knight b knight c knight : b knight says c knight yes ok .",
        [1, 1, 1],
    ),
    (KNIGHTS, "b knight says c knight yes ok . try a knight b knight : b knight says c knight yes ok .", [0, 0]),
    (
        KNIGHTS,
        "try a knight b knight c knight : d knight says c knight yes ok . b knight says c knight yes = yes ok .",
        [0, 0],
    ),
]


@pytest.mark.parametrize(("asked", "text", "right"), TEXTS, ids=[text for _, text, _ in TEXTS])
def test_steps_are_found_and_judged(asked, text, right):
    assert steps_in(asked, f"<think> {text} </think> answer 1 + 1 = 3") == [bool(step) for step in right]


@pytest.mark.parametrize("benchmark", DIFFICULTY)
def test_the_tutor_makes_only_right_steps_but_for_its_slips(drawn_problems, benchmark):
    rng, clean, slipped = Random(0), [], []
    for one in drawn_problems[benchmark] * 3:
        clean += steps_in(one, write_trace(one, rng, CLEAN).text)
        slipped += steps_in(one, write_trace(one, rng, SLIPPING).text)
    assert all(clean)
    slips = {"countdown", "chain_sum", "number_sorting"}  # where the temptation is in a step, not in a guess
    assert all(slipped) == (benchmark not in slips)
    assert min(len(clean), len(slipped)) > 200


CORRUPTED = {  # a word of each family's steps, and what may stand in its place
    "countdown": (r"(?<== )\d+", [str(number) for number in range(100)]),
    "chain_sum": (r"(?<== )\d+", [str(number) for number in range(100)]),
    "number_sorting": (r"(?<=take )\d+|(?<=with )\d+", [str(number) for number in range(100)]),
    "graph_color": (r"(?<=with [a-g] )\d|(?<= )(?:ok|wrong)", ["1", "2", "3", "ok", "wrong"]),
    "knights_knaves": (r"(?<= )(?:yes|no|ok|wrong)(?= )", ["yes", "no", "ok", "wrong"]),
}


@pytest.mark.parametrize("benchmark", DIFFICULTY)
def test_one_word_changed_is_noticed(drawn_problems, benchmark):
    pattern, words = CORRUPTED[benchmark]
    rng, noticed = Random(0), 0
    for one in drawn_problems[benchmark]:
        text = write_trace(one, rng, CLEAN).text
        places = [found.span() for found in re.finditer(pattern, text.partition("</think>")[0])]
        if not places:
            continue
        start, end = rng.choice(places)
        kind = [word for word in words if word != text[start:end]]
        for pair in ({"ok", "wrong"}, {"yes", "no"}, {"1", "2", "3"}):
            kind = [word for word in kind if word in pair] if text[start:end] in pair and benchmark[0] in "gk" else kind
        corrupted = text[:start] + rng.choice(kind) + text[end:]
        steps = steps_in(one, corrupted)
        assert len(steps) == len(steps_in(one, text))
        assert sum(steps) < len(steps)
        noticed += 1
    assert noticed > 20


@pytest.mark.parametrize("benchmark", DIFFICULTY)
def test_no_text_is_too_odd(drawn_problems, benchmark):
    rng, words = Random(0), list(build_tokenizer().get_vocab())
    for one in drawn_problems[benchmark]:
        broken = write_trace(one, rng, SLIPPING).text.split()
        for _ in range(6):
            broken[rng.randrange(len(broken))] = rng.choice(words)
        assert set(steps_in(one, " ".join(broken))) <= {True, False}
        steps_in(one, " ".join(rng.choices(words, k=200)))


def test_what_is_counted_is_told_of_every_data_set():
    assert set(STEPS) == {benchmark.dataset for benchmark in BENCHMARKS.values() if not benchmark.source}
