import hashlib
import itertools
import math
from collections import Counter

import numpy as np
import pytest
from conftest import COUNTS, DIFFICULTY
from hypothesis import given
from hypothesis import strategies as st

from lrs.config import load_config
from lrs.tasks import benchmarks, problems
from lrs.tasks.answers import is_correct
from lrs.tasks.benchmarks import linear_equation
from lrs.tasks.problems import Problem, draw_problems, problem_id, stream_problems
from lrs.tasks.splits import SPLIT_SHARES, assert_unseen, held_out, split_of

BENCHMARKS = list(DIFFICULTY)
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


@given(number, st.integers(-99, 99), st.integers(1, 30))
def test_an_equation_is_the_same_problem_however_it_is_written(a, b, x):
    c = a * x + b
    spellings = {
        f"{a}*x {'+' if b > 0 else '-'} {abs(b)} = {c}",
        f"{b} + {a}*x = {c}",
        f"{-b} - {a}*x = {-c}",
        f"-{a}*x {'+' if b < 0 else '-'} {abs(b)} = {-c}",
    }
    identifiers = {problem_id("simple_equations", {"equation": text, "variable": "x"}) for text in spellings}
    assert len(identifiers) == 1
    other = problem_id("simple_equations", {"equation": f"{a}*x - {a + abs(b)} = {c}", "variable": "x"})
    assert other not in identifiers


def test_linear_equations_are_read_in_any_order():
    assert linear_equation("26*e + 10 = 582") == (26, 10, 582)
    assert linear_equation("13 - 22*h = -449") == (-22, 13, -449)
    assert linear_equation("-7*g - 25 = -38") == (-7, -25, -38)
    assert linear_equation("6*p = 102") == (6, 0, 102)
    assert linear_equation("h + 3 = 5") == (1, 3, 5)
    assert linear_equation("4 - h = 5") == (-1, 4, 5)
    for other in ("12 = 12", "3*x*x = 27"):
        with pytest.raises(ValueError, match="is no equation a\\*x"):
            linear_equation(other)


@given(st.lists(number, min_size=2, max_size=3), st.randoms(use_true_random=False))
def test_gcd_is_the_same_problem_in_any_order(numbers, rng):
    shuffled = {"numbers": rng.sample(numbers, len(numbers))}
    assert problem_id("gcd", {"numbers": numbers}) == problem_id("gcd", shuffled)


def test_a_problem_is_the_same_under_the_name_of_a_transfer_benchmark():
    assert problem_id("chain_sum", {"expression": "1 + 2 - 3"}) == problem_id(
        "chain_sum_digits", {"expression": "1 - 3 + 2"}
    )


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", load_config("full").benchmarks)
def test_a_family_has_50_000_distinct_problems_and_no_constant_answers_most(benchmark):
    difficulty = load_config("full").benchmarks[benchmark]
    drawn = list(itertools.islice(stream_problems(benchmark, difficulty, seed=0), 50_000))
    assert len({problem.id for problem in drawn}) == 50_000
    ((_, commonest),) = Counter(problem.answer for problem in drawn[:2000]).most_common(1)
    assert commonest < 0.4 * 2000


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


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_drawn_problems_are_distinct_counted_and_solved_by_their_reference(drawn_problems, benchmark):
    drawn = drawn_problems[benchmark]
    assert {split: sum(problem.split == split for problem in drawn) for split in COUNTS} == COUNTS
    assert len({problem.id for problem in drawn}) == len(drawn)  # so no problem is in two splits either
    for problem in drawn:
        assert problem.id == problem_id(benchmark, problem.metadata)
        assert problem.split == split_of(problem.id)
        assert problem.benchmark == benchmark
        assert is_correct(problem, f"</think> answer {problem.answer}")


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_drawing_is_deterministic_and_a_split_does_not_depend_on_the_others(drawn_problems, benchmark):
    first = [problem for problem in drawn_problems[benchmark] if problem.split == "test"][:5]
    assert draw_problems(benchmark, DIFFICULTY[benchmark], {"test": 5}, seed=0) == first
    other = draw_problems(benchmark, DIFFICULTY[benchmark], {"test": 5}, seed=10**6)
    assert not {problem.id for problem in other} & {problem.id for problem in first}


def test_questions_state_the_problem(drawn_problems):
    countdown, chain_sum, equation, gcd, prime = (drawn_problems[benchmark][0] for benchmark in BENCHMARKS)
    a, b, c = countdown.metadata["numbers"]
    assert countdown.question == f"reach {countdown.metadata['target']} with {a} {b} {c}"
    assert chain_sum.question == f"compute {chain_sum.metadata['expression']}"
    stated = equation.question.removeprefix("solve ").replace("x", equation.metadata["variable"])
    assert stated.replace(" ", "") == equation.metadata["equation"].replace(" ", "")
    assert gcd.question == "gcd {} {}".format(*gcd.metadata["numbers"])
    assert prime.question.removeprefix("factor ").replace(" ", "") == str(prime.metadata["number"])


@pytest.mark.parametrize("equation", ["26*e + 10 = 582", "13 - 2*e = -449", "-7*e - 25 = -38", "6*e = 102"])
def test_signs_of_an_equation_stand_apart(equation):
    state = problems.BENCHMARKS["simple_equations"].state({"equation": equation, "variable": "e"})
    assert state.replace(" ", "") == "solve" + equation.replace(" ", "").replace("e", "x")
    assert all(word.isdigit() or word in {*"-+*=x", "solve"} for word in state.split())


@pytest.mark.parametrize("benchmark", ["countdown", "chain_sum", "simple_equations", "gcd", "prime_factorization"])
def test_a_stream_does_not_soon_run_dry(benchmark):
    drawn = list(itertools.islice(stream_problems(benchmark, DIFFICULTY[benchmark], seed=0), 2000))
    assert len({problem.id for problem in drawn}) == 2000


def test_unknown_names_and_too_few_problems_are_told(monkeypatch):
    with pytest.raises(ValueError, match="unknown benchmark 'sudoku'; legal: countdown, chain_sum, simple_equations"):
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
    row = benchmarks.BENCHMARKS["gcd"]._replace(dataset="lcm", state=lambda m: f"lcm {m['numbers']}", tutor=None)
    monkeypatch.setitem(benchmarks.BENCHMARKS, "lcm", row)
    drawn = draw_problems("lcm", {"min_value": 2, "max_value": 60}, {"test": 5}, seed=0)
    for problem in drawn:
        assert problem.question == f"lcm {problem.metadata['numbers']}"
        assert is_correct(problem, f"<think> </think> answer {math.lcm(*problem.metadata['numbers'])} <eos>")
        assert not is_correct(problem, f"<think> </think> answer {math.gcd(*problem.metadata['numbers'])} <eos>")
