import hashlib
import itertools
import json
import math
import os
import re
from collections import Counter
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from conftest import COUNTS, DIFFICULTY
from hypothesis import given
from hypothesis import strategies as st

from lrs.config import load_config
from lrs.tasks import benchmarks, problems
from lrs.tasks.answers import extract_answer, is_correct
from lrs.tasks.problems import Problem, draw_problems, problem_id, stream_problems
from lrs.tasks.splits import SPLIT_SHARES, assert_unseen, held_out, split_of
from lrs.tutor import write_trace
from lrs.tutor.draft import CAREFUL

BENCHMARKS = list(DIFFICULTY)
LONG = bool(os.environ.get("LRS_LONG"))  # `make test-long`
CLEAN = replace(CAREFUL, slip=0.0)
number = st.integers(1, 99)


def sum_of(terms):
    return str(terms[0]) + "".join(f" {'+' if term > 0 else '-'} {abs(term)}" for term in terms[1:])


@given(st.lists(number, min_size=2, max_size=5), number, st.randoms(use_true_random=False))
def test_countdown_is_the_same_problem_in_any_order(numbers, target, rng):
    identifier = problem_id("countdown", {"numbers": numbers, "target": target})
    shuffled = rng.sample(numbers, len(numbers))
    assert problem_id("countdown", {"numbers": shuffled, "target": target}) == identifier
    assert problem_id("countdown", {"numbers": numbers, "target": target + 1}) != identifier
    assert problem_id("countdown", {"numbers": [numbers[0] + 1, *numbers[1:]], "target": target}) != identifier
    assert problem_id("countdown", {"numbers": [*numbers, numbers[0]], "target": target}) != identifier


@given(number, st.lists(number | number.map(lambda n: -n), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_chain_sum_is_the_same_problem_in_any_order(first, rest, rng):
    identifier = problem_id("chain_sum", {"expression": sum_of([first, *rest])})
    assert problem_id("chain_sum", {"expression": sum_of([first, *rng.sample(rest, len(rest))])}) == identifier
    assert problem_id("chain_sum", {"expression": sum_of([first, -rest[0], *rest[1:]])}) != identifier
    assert problem_id("chain_sum", {"expression": sum_of([first, *rest, rest[0]])}) != identifier


@given(st.lists(number, min_size=2, max_size=8), st.randoms(use_true_random=False))
def test_sorting_is_the_same_problem_in_any_order_but_not_in_the_other_direction(numbers, rng):
    def identifier(numbers, direction="ascending"):
        return problem_id("number_sorting", {"original_numbers": [f"{n}.0" for n in numbers], "direction": direction})

    assert identifier(rng.sample(numbers, len(numbers))) == identifier(numbers)
    assert identifier(numbers, "descending") != identifier(numbers)
    assert identifier([numbers[0] + 1, *numbers[1:]]) != identifier(numbers)
    assert identifier([*numbers, numbers[0]]) != identifier(numbers)


def test_a_graph_is_told_apart_by_its_edges_and_its_vertices():
    def identifier(vertices, edges):
        return problem_id("graph_color", {"puzzle": {"vertices": list(range(vertices)), "edges": edges}})

    edges = [[0, 1], [0, 3], [2, 3]]
    assert identifier(4, list(edges)) == identifier(4, edges)
    assert len({identifier(4, edges), identifier(5, edges), identifier(4, edges[:2]), identifier(4, [[0, 1]])}) == 4


def test_knights_are_told_apart_by_what_is_said_and_not_by_their_names():
    said = [["lying", 1], ["and", ["lying", 0], ["telling-truth", 2]], ["not", ["telling-truth", 0]]]
    names = {"solution": [True, False, False], "names": ["A", "B", "C"], "knight_knave_terms": {"knight": "sage"}}
    identifier = problem_id("knights_knaves", {"statements": said} | names)
    assert problem_id("knights_knaves", {"statements": said} | names | {"names": ["D", "E", "F"]}) == identifier
    for other in (["or", *said[1][1:]], ["and", ["lying", 0], ["lying", 2]], ["and", ["lying", 2], ["lying", 0]]):
        assert problem_id("knights_knaves", {"statements": [said[0], other, said[2]]} | names) != identifier
    assert problem_id("knights_knaves", {"statements": said[::-1]} | names) != identifier


def test_a_problem_is_the_same_under_the_name_of_a_transfer_benchmark():
    assert problem_id("chain_sum", {"expression": "1 + 2 - 3"}) == problem_id(
        "chain_sum_long", {"expression": "1 - 3 + 2"}
    )


def answer_of(problem):
    """What to compare answers by: roles, as names differ; of a graph, which has no one answer, the tutor's own."""
    if problem.benchmark == "knights_knaves":
        return tuple(problem.metadata["solution"])
    return problem.answer or extract_answer(write_trace(problem, Random(0), CLEAN).text)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("benchmark", load_config("full").benchmarks)
def test_a_family_has_many_distinct_problems_and_no_constant_answers_most(benchmark, monkeypatch):
    """All 50,000 of each are counted when asked for: of `countdown` that takes minutes."""
    asked, many = [], 50_000 if LONG else 5_000
    monkeypatch.setattr(problems, "problem_id", lambda *of: asked.append(of) or problem_id(*of))
    difficulty = load_config("full").benchmarks[benchmark]
    drawn = list(itertools.islice(stream_problems(benchmark, difficulty, seed=0), many))
    assert len({problem.id for problem in drawn}) == many <= len(asked)
    assert LONG or len(asked) < 1.1 * many  # a family that is soon exhausted repeats itself
    ((answer, commonest),) = Counter(map(answer_of, drawn[:2000])).most_common(1)
    assert commonest < 0.4 * 2000
    if benchmark == "graph_color":  # another coloring than the tutor's may be right as well
        assert sum(is_correct(problem, f"</think> answer {answer}") for problem in drawn[:2000]) < 0.4 * 2000


@pytest.mark.parametrize(
    ("position", "split"),
    [
        (0.699, "train"),
        (0.701, "reward"),
        (0.799, "reward"),
        (0.801, "validation"),
        (0.849, "validation"),
        (0.851, "test"),
    ],
)
def test_split_follows_from_the_id(position, split):
    assert split_of(f"{int(position * 16**16):016x}") == split
    assert (split_of("0" * 16), split_of("f" * 16)) == ("train", "test")


def test_shares_of_the_splits_are_as_declared():
    splits = [split_of(hashlib.sha256(str(i).encode()).hexdigest()[:16]) for i in range(10_000)]
    assert sum(SPLIT_SHARES.values()) == pytest.approx(1)
    for split, share in SPLIT_SHARES.items():
        assert splits.count(split) / len(splits) == pytest.approx(share, abs=0.02)


def leaves(value):
    parts = value.values() if isinstance(value, dict) else value
    return [leaf for part in parts for leaf in leaves(part)] if isinstance(value, dict | list) else [value]


def coloring_of(puzzle):
    """The first coloring of all that there are, in which no edge joins two of a color."""
    for colors in itertools.product(puzzle["color_options"], repeat=len(puzzle["vertices"])):
        if all(colors[u] != colors[v] for u, v in puzzle["edges"]):
            return " ".join(f"{'abcdefg'[vertex]} {color}" for vertex, color in enumerate(colors))


def reference_of(problem):
    """An answer in the reasoner's words that solves the problem, made without the tutor."""
    if problem.benchmark == "graph_color":
        return coloring_of(problem.metadata["puzzle"])
    if problem.benchmark == "knights_knaves":
        roles = ["knight" if knight else "knave" for knight in problem.metadata["solution"]]
        return "a {} b {} c {}".format(*roles)
    return " ".join(re.findall(r"\d+(?=\.0)", problem.answer)) or problem.answer


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_drawn_problems_are_distinct_counted_and_solved_by_their_reference(drawn_problems, benchmark):
    drawn = drawn_problems[benchmark]
    assert {split: sum(problem.split == split for problem in drawn) for split in COUNTS} == COUNTS
    assert len({problem.id for problem in drawn}) == len(drawn)  # so no problem is in two splits either
    for problem in drawn:
        assert problem.id == problem_id(benchmark, problem.metadata)
        assert problem.split == split_of(problem.id)
        assert problem.benchmark == benchmark
        assert is_correct(problem, f"</think> answer {reference_of(problem)}")


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_metadata_is_what_comes_back_from_json(drawn_problems, benchmark):
    for problem in drawn_problems[benchmark]:
        assert json.loads(json.dumps(problem.metadata)) == problem.metadata  # a tuple would come back as a list
        assert set(problem.metadata) == set(benchmarks.BENCHMARKS[benchmark].keep)
        assert {type(leaf) for leaf in leaves(problem.metadata)} <= {str, int, bool}  # numpy's are equal to these


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_drawing_is_deterministic_and_a_split_does_not_depend_on_the_others(drawn_problems, benchmark):
    first = [problem for problem in drawn_problems[benchmark] if problem.split == "test"][:5]
    assert draw_problems(benchmark, DIFFICULTY[benchmark], {"test": 5}, seed=0) == first
    other = draw_problems(benchmark, DIFFICULTY[benchmark], {"test": 5}, seed=10**6)
    assert not {problem.id for problem in other} & {problem.id for problem in first}


def test_questions_state_the_problem(drawn_problems):
    countdown, chain_sum, sorting, graph, knights = (drawn_problems[benchmark][0] for benchmark in BENCHMARKS)
    a, b, c = countdown.metadata["numbers"]
    assert countdown.question == f"reach {countdown.metadata['target']} with {a} {b} {c}"
    named = chain_sum.question.removeprefix("compute ").split(" , ")
    assert [term[0] for term in named] == list("abcdefghijklmno"[: len(named)])
    assert " ".join(term[2:] for term in named) == chain_sum.metadata["expression"]
    way, *numbers = sorting.question.removeprefix("sort ").split()
    assert [f"{number}.0" for number in numbers] == sorting.metadata["original_numbers"]
    assert way == {"ascending": "up", "descending": "down"}[sorting.metadata["direction"]]
    lines = [line.split() for line in graph.question.removeprefix("color ").split(" , ")]
    assert ["abcdefg".index(vertex) for vertex, *_ in lines] == graph.metadata["puzzle"]["vertices"]
    edges = [(other, vertex) for vertex, *near in lines for other in near if near != ["none"]]
    numbered = sorted(["abcdefg".index(first), "abcdefg".index(second)] for first, second in edges)
    assert numbered == sorted(graph.metadata["puzzle"]["edges"])
    said = knights.question.removeprefix("suppose ").split(" , ")
    assert [line.split(" says ")[0] for line in said] == ["a", "b", "c"]


def test_statements_are_said_in_words():
    said = [["->", ["lying", 1], ["telling-truth", 2]], ["not", ["lying", 0]], ["<=>", ["lying", 0], ["lying", 1]]]
    assert problems.BENCHMARKS["knights_knaves"].state({"statements": said}) == (
        "suppose a says b knave then c knight , b says not a knave , c says a knave iff b knave"
    )
    other = [["and", ["lying", 1], ["telling-truth", 2]], ["telling-truth", 0], ["or", ["lying", 0], ["lying", 1]]]
    assert problems.BENCHMARKS["knights_knaves"].state({"statements": other}) == (
        "suppose a says b knave and c knight , b says a knight , c says a knave or b knave"
    )


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_a_stream_does_not_soon_run_dry(benchmark):
    drawn = list(itertools.islice(stream_problems(benchmark, DIFFICULTY[benchmark], seed=0), 2000))
    assert len({problem.id for problem in drawn}) == 2000


def test_unknown_names_and_too_few_problems_are_told(monkeypatch):
    with pytest.raises(ValueError, match="unknown benchmark 'sudoku'; legal: countdown, chain_sum, number_sorting"):
        draw_problems("sudoku", {}, {"test": 1}, seed=0)
    with pytest.raises(ValueError, match=r"unknown split \['exam'\]; legal: train, reward, validation, test"):
        draw_problems("chain_sum", DIFFICULTY["chain_sum"], {"exam": 1}, seed=0)
    monkeypatch.setattr(problems, "_MOST_REPEATS", 300)
    tiny = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
    with pytest.raises(ValueError, match=r"chain_sum with .* too few distinct problems: still missing .* of") as error:
        draw_problems("chain_sum", tiny, {"test": 1000}, seed=0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_row_round_trip(drawn_problems, benchmark):
    for problem in drawn_problems[benchmark]:
        row = problem.to_row()
        assert {type(value) for value in row.values()} == {str}
        assert Problem.from_row(row) == problem


@given(st.lists(st.sampled_from("abcdefghij"), min_size=2, max_size=40), st.floats(0.05, 0.9), st.integers(0, 99))
def test_held_out_keeps_problems_whole(identifiers, share, seed):
    identifiers = np.array(identifiers)
    out = held_out(identifiers, share, seed)
    held, kept = set(identifiers[out]), set(identifiers[~out])
    assert not held & kept
    assert len(held) == max(1, round(share * len(held | kept)))
    assert np.array_equal(out, held_out(identifiers, share, seed))
    by_problem = dict(zip(identifiers, out, strict=True))
    assert [by_problem[i] for i in identifiers[::-1]] == held_out(identifiers[::-1], share, seed).tolist()


def test_assert_unseen_finds_leaks(drawn_problems):
    by_split = {split: [p for p in drawn_problems["countdown"] if p.split == split] for split in COUNTS}
    seen = [problem.id for problem in by_split["reward"]]
    assert_unseen(by_split["test"], iter(seen))
    leaked = by_split["test"][3]
    with pytest.raises(ValueError, match=f"1 evaluated problems were seen .* {leaked.id}"):
        assert_unseen(by_split["test"], [*seen, leaked.id])
    with pytest.raises(ValueError, match="2 evaluated problems were seen"):
        assert_unseen(by_split["test"] + by_split["train"][:2], seen)


def test_other_seeds_draw_other_problems():
    """reasoning-gym seeds entry i with seed + i, so that near seeds would share nearly all."""
    first, second = (
        {problem.id for problem in draw_problems("chain_sum", DIFFICULTY["chain_sum"], {"test": 100}, seed)}
        for seed in (0, 1)
    )
    assert len(first & second) < 5


def test_a_misspelt_difficulty_is_named():
    with pytest.raises(ValueError, match=r"benchmarks.chain_sum: reasoning-gym refuses .*min_trems"):
        draw_problems("chain_sum", {"min_trems": 3}, {"test": 1}, 0)


def test_a_new_benchmark_is_one_row(monkeypatch):
    row = benchmarks.BENCHMARKS["chain_sum"]._replace(
        dataset="lcm",
        keep=("numbers",),
        state=lambda m: f"lcm {m['numbers']}",
        canonical=lambda m: str(sorted(m["numbers"])),
        tutor=None,
    )
    monkeypatch.setitem(benchmarks.BENCHMARKS, "lcm", row)
    drawn = draw_problems("lcm", {"min_value": 2, "max_value": 60}, {"test": 5}, seed=0)
    for problem in drawn:
        assert problem.question == f"lcm {problem.metadata['numbers']}"
        assert is_correct(problem, f"<think> </think> answer {math.lcm(*problem.metadata['numbers'])} <eos>")
        assert not is_correct(problem, f"<think> </think> answer {math.gcd(*problem.metadata['numbers'])} <eos>")
