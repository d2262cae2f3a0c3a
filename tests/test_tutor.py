import re
from collections import Counter
from random import Random

import pytest
from conftest import DIFFICULTY
from hypothesis import given
from hypothesis import strategies as st

from lrs.reasoners.tokenizer import build_tokenizer
from lrs.tasks.answers import is_correct
from lrs.tasks.behaviors import BACKWARD_CHAINING, BEHAVIORS, VERIFICATION, find_behaviors
from lrs.tasks.benchmarks import linear_equation
from lrs.tasks.problems import Problem
from lrs.tutor import write_trace
from lrs.tutor.draft import CAREFUL, CARELESS, STEADY, Style
from lrs.tutor.prime_factorization import PRIMES, divide

BENCHMARKS = list(DIFFICULTY)
STYLES = {"careful": CAREFUL, "careless": CARELESS}
PERFECT = Style("perfect", verify=0.5, slip=0.0, give_up=0.0, subgoal=0.5, backward=0.5)
SLIPPING = Style("slipping", verify=0.9, slip=0.4, give_up=0.0, subgoal=0.5, backward=0.3)
REPEATS = 4  # traces a problem, benchmark and style

EQUATION = re.compile(r"(?<![-+*/] )(?<!\d)((?:- )?\d+) ([-+*/]) (\d+) = ((?:- )?\d+)")


def holds(left, operator, right, value):
    left, right, value = (int(number.replace(" ", "")) for number in (left, right, value))
    return {"+": left + right, "-": left - right, "*": left * right, "/": left / right if right else None}[
        operator
    ] == value


def solvable(problem):
    """Whether the tutor can solve it: of a product of two primes that it never tries it cannot tell."""
    factors = problem.answer.split(" × ") if problem.benchmark == "prime_factorization" else []
    return sum(int(factor) > max(PRIMES) for factor in factors) < 2


@pytest.fixture(scope="module")
def traces(drawn_problems):
    """(benchmark, style) -> pairs of a problem and a trace."""
    rng = Random(0)
    return {
        (benchmark, name): [
            (problem, write_trace(problem, rng, style)) for problem in drawn_problems[benchmark] * REPEATS
        ]
        for benchmark in BENCHMARKS
        for name, style in (STYLES | {"steady": STEADY, "perfect": PERFECT, "slipping": SLIPPING}).items()
    }


def each(traces, *names):
    return [pair for (_, name), pairs in traces.items() if name in names for pair in pairs]


def test_text_is_in_the_vocabulary_and_round_trips(traces):
    tokenizer = build_tokenizer()
    for _, trace in each(traces, *STYLES, "steady"):
        ids = tokenizer(trace.text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == trace.text
        assert tokenizer.decode(ids, skip_special_tokens=True) == trace.text  # nothing of a trace is special


def test_the_parser_finds_the_tutors_own_spans(traces):
    found = {benchmark: set() for benchmark in BENCHMARKS}
    for problem, trace in each(traces, *STYLES, "steady", "slipping"):
        spans = find_behaviors(trace.text)
        assert tuple(spans) == trace.spans
        found[problem.benchmark] |= {span.behavior for span in spans}
    backward = {"countdown", "simple_equations"}  # the others have no goal to work back from
    for benchmark, behaviors in found.items():
        assert behaviors == set(BEHAVIORS) - ({BACKWARD_CHAINING} if benchmark not in backward else set())


def test_a_trace_is_thought_and_answer(traces):
    for _, trace in each(traces, *STYLES):
        assert re.fullmatch(r"<think> [^<>]* \. </think> answer [-0-9+*/() ]+", trace.text)


def test_what_was_checked_as_ok_is_true_and_as_wrong_was_false(traces):
    verdicts = {"ok": 0, "wrong": 0}
    for problem, trace in each(traces, "careful", "slipping"):
        for span in trace.spans:
            clause = trace.text[span.start : span.end]
            if span.behavior == VERIFICATION:
                if problem.benchmark != "prime_factorization":
                    equations = EQUATION.findall(clause)
                    assert equations
                    assert all(holds(*equation) for equation in equations)  # a check computes rightly
                verdicts[clause.split()[-2]] += 1
    assert min(verdicts.values()) > 20


def test_a_check_of_countdown_notices_what_the_claims_got_wrong(traces):
    for problem, trace in each(traces, "careful", "slipping"):
        checks = re.finditer(r"check ([^.]*?) (ok|wrong) \.", trace.text) if problem.benchmark == "countdown" else []
        for check in checks:
            before = trace.text[: check.start()]
            confirmed = []
            for equation in check[1].split(" , "):
                left, value = equation.split(" = ")
                confirmed.append(re.findall(rf"(?<!\d){re.escape(left)} = (\d+)", before)[-1] == value)
            assert all(confirmed[:-1])
            assert confirmed[-1] == (check[2] == "ok")


def checks_of(traces, benchmark):
    """(problem, equations written before, clause) of every check, of which there are enough to tell something."""
    found = [
        (problem, EQUATION.findall(trace.text[: span.start]), trace.text[span.start : span.end])
        for problem, trace in each(traces, "careful", "slipping")
        for span in trace.spans
        if problem.benchmark == benchmark and span.behavior == VERIFICATION
    ]
    assert len(found) > 20
    return found


def test_a_check_of_a_chain_sum_undoes_the_step_just_made(traces):
    for _, before, clause in checks_of(traces, "chain_sum"):
        assert clause.startswith(f"check {before[-1][-1]} ")


def test_a_check_of_an_equation_puts_x_in(traces):
    for problem, before, clause in checks_of(traces, "simple_equations"):
        a, b, c = linear_equation(problem.metadata["equation"])
        x = before[-1][2]
        assert clause.startswith(f"check {abs(a)} * {x} = ")
        assert clause.endswith("ok .") == (a * int(x) + b == c)


def test_a_check_of_a_remainder_adds_it_up_again(traces):
    for _, before, clause in checks_of(traces, "gcd"):
        (quotient, _, low, product), (high, _, _, rest) = before[-2:]
        right = int(quotient) * int(low) == int(product) and int(product) + int(rest) == int(high)
        assert clause.endswith("ok .") == right


def test_trials_of_primes_are_long_divisions(traces):
    pattern = re.compile(r"(?:try (\d+) :|check (\d+) with) ([\d ,]+) (yes|no|ok|wrong) \.")
    seen = Counter()
    for _, trace in [pair for style in (*STYLES, "slipping") for pair in traces["prime_factorization", style]]:
        for prime, checked, steps, verdict in pattern.findall(trace.text):
            rests = [int(step.split()[1]) for step in steps.split(" , ")]
            seen[verdict] += 1
            assert all(rest < int(prime or checked) for rest in rests)
            if verdict in ("yes", "no"):
                assert (rests[-1] == 0) == (verdict == "yes")
                tried = steps
            else:  # a check divides rightly, and says whether the trial before it did
                assert verdict == ("ok" if steps == tried else "wrong")
    assert min(seen.values()) > 20
    assert set(seen) == {"yes", "no", "ok", "wrong"}


def test_a_check_of_a_prime_divides_what_is_being_factored(traces):
    seen = 0
    for problem, trace in traces["prime_factorization", "slipping"]:
        number = " ".join(str(problem.metadata["number"]))
        for clause in re.findall(r"[^.:]*[.:]", trace.text.removeprefix("<think> ")):
            if left := re.match(r" ?(?:left|goal) ([\d ]+) :", clause):
                number = left[1]
            if check := re.match(r" ?check (\d+) with ([\d ,]+) (?:ok|wrong) \.", clause):
                seen += 1
                assert check[2] == str(divide(int(number.replace(" ", "")), int(check[1])))
    assert seen > 20


@given(st.integers(4, 99_999), st.sampled_from(PRIMES))
def test_long_division_divides(number, prime):
    division = divide(number, prime)
    assert (division.quotient, division.rest) == divmod(number, prime)
    if division.quotient:
        assert int("".join(str(digit) for digit, _ in division.steps)) == division.quotient


def test_without_slips_what_is_found_is_right(traces):
    for benchmark in BENCHMARKS:
        pairs = traces[benchmark, "perfect"]
        found = [(problem, trace) for problem, trace in pairs if "give up" not in trace.text]
        assert len(found) > 0.9 * len(pairs)
        assert all(is_correct(problem, trace.text) == solvable(problem) for problem, trace in found)
        for _, trace in pairs:
            assert all(holds(*equation) for equation in EQUATION.findall(trace.text))
            assert " wrong ." not in trace.text


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_care_pays(traces, benchmark):
    accuracy = {}
    for style in STYLES:
        right = [is_correct(problem, trace.text) for problem, trace in traces[benchmark, style] if solvable(problem)]
        accuracy[style] = sum(right) / len(right)
    assert accuracy["careful"] > 0.85
    assert accuracy["careful"] > accuracy["careless"] + 0.02


def test_style_is_drawn_with_the_difficulty_and_never_told(drawn_problems):
    rng = Random(0)
    drawn = {0.0: [], 1.0: []}
    hard = {0.0: "1 + 1 + 1", 1.0: " + ".join(["11"] * 8)}
    for difficulty, styles in drawn.items():
        problem = Problem("id", "chain_sum", "", "", {"expression": hard[difficulty]}, "train")
        for _ in range(400):
            trace = write_trace(problem, rng)
            styles.append(trace.style)
            assert "care" not in trace.text
    assert set(drawn[0.0]) == set(STYLES)
    assert drawn[0.0].count("careful") == pytest.approx(0.25 * 400, abs=40)
    assert drawn[1.0].count("careful") == pytest.approx(0.75 * 400, abs=40)


def test_the_generator_decides_the_trace(drawn_problems):
    for problem in (drawn_problems[benchmark][0] for benchmark in BENCHMARKS):
        texts = [write_trace(problem, Random(seed)).text for seed in range(20)]
        assert texts == [write_trace(problem, Random(seed)).text for seed in range(20)]
        assert len(set(texts)) > 2


def test_unknown_benchmark_is_told():
    problem = Problem("id", "sudoku", "", "", {}, "train")
    with pytest.raises(ValueError, match=r"no tutor for benchmark 'sudoku'; .*'chain_sum', 'countdown'"):
        write_trace(problem, Random(0))
