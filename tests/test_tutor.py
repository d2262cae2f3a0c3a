import itertools
import re
from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from conftest import DIFFICULTY

from lrs.reasoners.tokenizer import build_tokenizer
from lrs.tasks.answers import is_correct
from lrs.tasks.behaviors import BACKTRACKING, BACKWARD_CHAINING, BEHAVIORS, VERIFICATION, find_behaviors
from lrs.tasks.problems import Problem
from lrs.tutor import CAREFUL_SHARE, write_trace
from lrs.tutor.draft import CAREFUL, CARELESS, Style

BENCHMARKS = list(DIFFICULTY)
STYLES = {"careful": CAREFUL, "careless": CARELESS}
OTHERS = {
    "perfect": Style("perfect", verify=1.0, slip=0.0, give_up=0.0, subgoal=0.5, backward=0.5),
    "slipping": Style("slipping", verify=0.9, slip=0.4, give_up=0.0, subgoal=0.5, backward=0.3),
    "clean": replace(CARELESS, slip=0.0),
    "clean careful": replace(CAREFUL, slip=0.0),
}
REPEATS = 4  # traces a problem, benchmark and style

EQUATION = re.compile(r"(?<![-+*/] )(?<!\d)((?:- )?\d+) ([-+*/]) (\d+) = ((?:- )?\d+)")


def holds(left, operator, right, value):
    left, right, value = (int(number.replace(" ", "")) for number in (left, right, value))
    return {"+": left + right, "-": left - right, "*": left * right, "/": left / right if right else None}[
        operator
    ] == value


@pytest.fixture(scope="module")
def traces(drawn_problems):
    """(benchmark, style) -> pairs of a problem and a trace."""
    rng = Random(0)
    return {
        (benchmark, name): [
            (problem, write_trace(problem, rng, style)) for problem in drawn_problems[benchmark] * REPEATS
        ]
        for benchmark in BENCHMARKS
        for name, style in (STYLES | OTHERS).items()
    }


def each(traces, *names):
    return [pair for (_, name), pairs in traces.items() if name in names for pair in pairs]


def test_text_is_in_the_vocabulary_and_round_trips(traces):
    tokenizer = build_tokenizer()
    for _, trace in each(traces, *STYLES):
        ids = tokenizer(trace.text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == trace.text
        assert tokenizer.decode(ids, skip_special_tokens=True) == trace.text  # nothing of a trace is special


def test_the_parser_finds_the_tutors_own_spans(traces):
    found = {benchmark: set() for benchmark in BENCHMARKS}
    for problem, trace in each(traces, *STYLES, "slipping"):
        spans = find_behaviors(trace.text)
        assert tuple(spans) == trace.spans
        found[problem.benchmark] |= {span.behavior for span in spans}
    for benchmark, behaviors in found.items():  # one family only has a goal to work back from
        assert behaviors == set(BEHAVIORS) - ({BACKWARD_CHAINING} if benchmark != "countdown" else set())


def test_a_trace_is_thought_and_answer(traces):
    for _, trace in each(traces, *STYLES):
        assert re.fullmatch(r"<think> [^<>]* \. </think> answer [-0-9+*/() a-z]+", trace.text)


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_both_verdicts_occur_and_what_is_wrong_is_gone_back_to(traces, benchmark):
    verdicts = Counter()
    for _, trace in traces[benchmark, "careful"] + traces[benchmark, "slipping"]:
        for span, following in itertools.zip_longest(trace.spans, trace.spans[1:]):
            if span.behavior == VERIFICATION:
                verdict = trace.text[span.start : span.end].split()[-2]
                verdicts[verdict] += 1
                if verdict == "wrong" and not trace.text[span.end :].startswith(" give up"):
                    assert following.behavior == BACKTRACKING
                    assert following.start == span.end + 1
    assert set(verdicts) == {"ok", "wrong"}
    assert min(verdicts.values()) > 20


@pytest.mark.parametrize("benchmark", ["countdown", "chain_sum"])
def test_the_sums_of_a_check_hold(traces, benchmark):
    for _, _, clause in checks_of(traces, benchmark):
        equations = EQUATION.findall(clause)
        assert equations
        assert all(holds(*equation) for equation in equations)


def test_a_slip_is_a_carry_forgotten_or_a_value_near_the_target(traces):
    slips = Counter()
    for benchmark in ("chain_sum", "countdown"):
        for _, trace in traces[benchmark, "slipping"]:
            for left, sign, right, value in EQUATION.findall(trace.text):
                if not holds(left, sign, right, value):
                    a, b, stated = (int(number.replace(" ", "")) for number in (left, right, value))
                    off = stated - {"+": a + b, "-": a - b, "*": a * b, "/": a // (b or 1)}[sign]
                    assert off == (-10 if sign == "+" else 10) if benchmark == "chain_sum" else 0 < abs(off) <= 10
                    slips[benchmark] += 1
    assert min(slips["chain_sum"], slips["countdown"]) > 20


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
    seen = Counter()
    for problem, trace in each(traces, "careful", "slipping"):
        if problem.benchmark != "chain_sum":
            continue
        total = int(problem.metadata["expression"].split()[0])
        pattern = r"(?:goal (.*?) : )?(.*?) \. (?:check (.*?) (ok|wrong) \. )?"
        for goal, step, check, verdict in re.findall(pattern, trace.text.removeprefix("<think> ")):
            if step.startswith("back"):
                continue
            equations = EQUATION.findall(step)
            left, sign, right, value = equations[-1]
            if goal:  # by way of a ten, both halves of which hold
                assert len(equations) == 2
                assert equations[0][3] == left
                assert left.endswith("0")
                assert all(holds(*equation) for equation in equations)
                start, sign, right = re.fullmatch(r"[b-o] ((?:- )?\d+) ([-+]) (\d+)", goal).groups()
                assert start == equations[0][0]
                assert holds(start, sign, right, value)
            stated, undone = int(value.replace(" ", "")), {"+": "-", "-": "+"}[sign]
            if check:
                begun, end = check.split(" = ")
                assert begun == f"{value} {undone} {right}" or (right == "0" and begun == f"{value} + 0")
                assert holds(value, begun.split()[-2], right, end)
                assert (int(end.replace(" ", "")) == total) == (verdict == "ok")
                seen[verdict] += 1
            if verdict != "wrong":
                total = stated
        assert trace.text.split("answer ")[1].replace(" ", "") == str(total)
    assert min(seen["ok"], seen["wrong"]) > 20


def test_a_check_of_an_order_lists_what_is_left_up_to_what_is_better(traces):
    seen = Counter()
    for problem, trace in each(traces, "careful", "slipping"):
        if problem.benchmark != "number_sorting":
            continue
        left = [int(float(number)) for number in problem.metadata["original_numbers"]]
        rises, ordered = problem.metadata["direction"] == "ascending", []
        for clause in re.findall(r"[^.:]+[.:]", trace.text.removeprefix("<think>")[: trace.text.index("</think>") - 7]):
            opening, *words = clause.split()[:-1]
            numbers = [int(word) for word in words if word.isdigit()]
            if opening in ("left", "goal"):
                if ordered:
                    left.remove(ordered[-1])
                assert numbers == left
                assert opening == "left" or words[0] == ("least" if rises else "most")
                ordered.append(None)
            elif opening == "take":
                (ordered[-1],) = numbers
                assert ordered[-1] in sorted(left, reverse=not rises)[:2]
            elif opening == "back":
                assert numbers == left
            else:
                taken, *listed = numbers
                others = [number for number in left if number != taken]
                better = [number < taken if rises else number > taken for number in listed]
                assert taken == ordered[-1]
                assert listed == others[: len(listed)]
                assert not any(better[:-1])
                assert any(better) == (words[-1] == "wrong")
                assert words[-1] == "wrong" or listed == others
                seen[words[-1]] += 1
        last = [number for number in left if number != ordered[-1]] or left[:1]
        assert [int(word) for word in trace.text.split("answer ")[1].split()] == [*ordered, *last]
    assert min(seen["ok"], seen["wrong"]) > 20


def test_a_check_of_a_coloring_looks_up_the_neighbors_before_it_in_order(traces):
    seen = Counter()
    for problem, trace in each(traces, "careful", "slipping"):
        if problem.benchmark != "graph_color":
            continue
        edges, colors = problem.metadata["puzzle"]["edges"], {}
        for clause in re.findall(r"(?:try|check) [^.]*", trace.text):
            words = clause.replace(",", " ").split()
            if words[0] == "try":
                colors[words[1]] = words[2]
                continue
            _, vertex, color, _, *looked_up, verdict = words
            near = [other for other in "abcdefg" if ["abcdefg".index(other), "abcdefg".index(vertex)] in edges]
            listed = [] if looked_up == ["none"] else list(zip(looked_up[::2], looked_up[1::2], strict=True))
            assert colors[vertex] == color
            assert listed == [(other, colors[other]) for other in near][: len(listed)]
            same = [other == color for _, other in listed]
            assert not any(same[:-1])
            assert any(same) == (verdict == "wrong")
            assert verdict == "wrong" or len(listed) == len(near)
            seen[verdict] += 1
        assert trace.text.split("answer ")[1] == " ".join(f"{vertex} {color}" for vertex, color in colors.items())
    assert min(seen["ok"], seen["wrong"]) > 20


def truth(statement, knights):
    """A statement's truth by rules written out: `knights` are the numbers of those who are."""
    match statement:
        case ["telling-truth", who]:
            return who in knights
        case ["lying", who]:
            return who not in knights
        case ["not", inner]:
            return not truth(inner, knights)
        case [word, first, second]:
            pair = (truth(first, knights), truth(second, knights))
            true_for = {
                "and": {(True, True)},
                "or": {(True, True), (True, False), (False, True)},
                "->": {(True, True), (False, True), (False, False)},
                "<=>": {(True, True), (False, False)},
            }
            return pair in true_for[word]


def test_statements_of_knights_are_evaluated_rightly(traces):
    seen, forms = Counter(), Counter()
    for problem, trace in each(traces, *STYLES, "slipping"):
        if problem.benchmark != "knights_knaves":
            continue
        statements, knights = problem.metadata["statements"], None
        for clause in re.findall(r"[^.:]+", trace.text.partition(" </think>")[0].removeprefix("<think> ")):
            words = clause.split()
            if words[0] in ("try", "goal"):
                assert words[1::2] == ["a", "b", "c"]
                knights = {place for place, role in enumerate(words[2::2]) if role == "knight"}
            if "says" not in words:
                continue
            asked = []
            for line in clause.removeprefix(" ").removeprefix("check ").split(" , "):
                person, role, _, *stated, verdict = line.split()
                who = "abc".index(person)
                assert (role == "knight") == (who in knights)
                statement = statements[who]
                yes = {True: "yes", False: "no"}
                whole = truth(statement, knights)
                claims = [part for part in statement[1:] if isinstance(part, list)] or [statement]
                roles = {"telling-truth": "knight", "lying": "knave"}
                said = [["abc"[who], roles[kind], yes[truth([kind, who], knights)]] for kind, who in claims]
                word = {"->": "then", "<=>": "iff"}.get(statement[0], statement[0])
                if len(said) == 2:
                    expected = [*said[0], word, *said[1], "=", yes[whole]]
                else:
                    expected = ["not", *said[0], "=", yes[whole]] if statement[0] == "not" else said[0]
                assert stated == expected
                assert (verdict == "ok") == (whole == (who in knights))
                asked.append((who, verdict))
                seen[verdict] += 1
                forms[statement[0]] += 1
            people, verdicts = zip(*asked, strict=True)
            assert people == ((0,) if "check" not in words else (1, 2)[: len(people)])
            assert "wrong" not in verdicts[:-1]
            assert verdicts[-1] == "wrong" or people in ((0,), (1, 2))
    assert min(seen["ok"], seen["wrong"]) > 20
    assert len(forms) == 7  # each of them was met


def words_at(text, start, end):
    """Numbers of the words between two places of a text."""
    first = text[:start].count(" ")
    return set(range(first, first + len(text[start:end].split())))


def not_as_a_right_step_says(problem, text):
    """Numbers of the words that differ from what a right step says, by rules written out; and of those where no word
    is right."""
    wrong, neither = set(), set()
    if problem.benchmark in ("chain_sum", "countdown"):
        for found in EQUATION.finditer(text):
            if not holds(*found.groups()):
                verdict = len(" yes") if problem.benchmark == "countdown" else 0
                assert text[found.end() :].startswith(" yes"[:verdict])
                wrong |= words_at(text, found.start(4), found.end() + verdict)
    elif problem.benchmark == "number_sorting":
        best = min if problem.metadata["direction"] == "ascending" else max
        takes = list(re.finditer(r"(?:left|least|most|to) ([\d ]+) [:.] take (\d+)", text))
        assert len(takes) == text.count("take")
        for found in takes:
            if int(found[2]) != best(map(int, found[1].split())):
                wrong |= words_at(text, *found.span(2))
    elif problem.benchmark == "graph_color":
        edges, colors = problem.metadata["puzzle"]["edges"], {}
        for found in re.finditer(r"try ([a-g]) (\d)", text):
            near = [u for u in "abcdefg" if ["abcdefg".index(u), "abcdefg".index(found[1])] in edges]
            taken = {colors[u] for u in near}
            if found[2] in taken:
                kind = neither if taken == {"1", "2", "3"} else wrong
                kind |= words_at(text, *found.span(2))
            colors[found[1]] = found[2]
    return wrong, neither


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_slips_are_exactly_the_words_that_differ_from_what_a_right_step_says(traces, benchmark):
    count = 0
    for style in ("slipping", *STYLES):
        for problem, trace in traces[benchmark, style]:
            wrong, neither = not_as_a_right_step_says(problem, trace.text)
            assert len(set(trace.slips)) == len(trace.slips)
            assert wrong <= set(trace.slips) <= wrong | neither
            count += len(wrong)
    assert (count > 50) == (benchmark != "knights_knaves")  # whose temptation is to ask no further: no word is wrong
    assert count > 50 or count == 0
    assert all(trace.slips == () for style in ("clean", "perfect") for _, trace in traces[benchmark, style])


OPENINGS = {"countdown": r"(?:try|want) [^.]*", "knights_knaves": r"(?:try|goal)((?: [abc] kn(?:ight|ave)){3})"}


@pytest.mark.parametrize("benchmark", OPENINGS)
def test_no_branch_and_no_supposition_is_tried_twice(traces, benchmark):
    most = 0
    for style in (*STYLES, *OTHERS):
        for _, trace in traces[benchmark, style]:
            tried = re.findall(OPENINGS[benchmark], trace.text)
            assert len(set(tried)) == len(tried) > 0
            assert trace.text.count("back to") in (len(tried) - 1, len(tried))  # the last one: all were tried
            most = max(most, len(tried))
    assert most > 5


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_without_slips_and_with_every_check_what_is_found_is_right(traces, benchmark):
    pairs = traces[benchmark, "perfect"]
    found = [(problem, trace) for problem, trace in pairs if "give up" not in trace.text]
    assert len(found) > 0.9 * len(pairs)
    assert all(is_correct(problem, trace.text) for problem, trace in found)
    assert all("check" in trace.text or problem.benchmark == "knights_knaves" for problem, trace in found)


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_a_clean_tutor_makes_right_steps_in_either_style(traces, benchmark):
    for style in ("clean", "clean careful"):
        for problem, trace in traces[benchmark, style]:
            assert all(holds(*equation) for equation in EQUATION.findall(trace.text))
            if benchmark in ("chain_sum", "number_sorting", "graph_color"):  # in the others one has to search
                assert is_correct(problem, trace.text)
                assert " wrong ." not in trace.text


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_care_pays(traces, benchmark):
    accuracy = {}
    for style in STYLES:
        right = [is_correct(problem, trace.text) for problem, trace in traces[benchmark, style]]
        accuracy[style] = sum(right) / len(right)
    assert accuracy["careful"] > 0.9
    assert accuracy["careful"] > accuracy["careless"] + 0.1


def test_style_is_drawn_by_its_share_and_never_told(drawn_problems):
    rng, styles = Random(0), []
    for problem in drawn_problems["chain_sum"] * 20:
        trace = write_trace(problem, rng)
        styles.append(trace.style)
        assert "care" not in trace.text
    assert set(styles) == set(STYLES)
    assert styles.count("careful") / len(styles) == pytest.approx(CAREFUL_SHARE, abs=0.05)


def test_the_generator_decides_the_trace(drawn_problems):
    for problem in (drawn_problems[benchmark][0] for benchmark in BENCHMARKS):
        texts = [write_trace(problem, Random(seed)).text for seed in range(20)]
        assert texts == [write_trace(problem, Random(seed)).text for seed in range(20)]
        assert len(set(texts)) > 2


def test_unknown_benchmark_is_told():
    problem = Problem("id", "sudoku", "", "", {}, "train")
    with pytest.raises(ValueError, match=r"no tutor for benchmark 'sudoku'; .*'chain_sum', 'countdown'"):
        write_trace(problem, Random(0))
