"""Step accuracy: how many of the elementary steps that a text states are right, whatever becomes of its answer.

Each step is judged against what the text itself stated before it: a wrong sum is one wrong step, not also the ruin of
those that build on it. What is not of a step's form is no step. Guesses (which color, who is a knight, which numbers to
begin with) are not steps; what is then read off, computed or compared is.
"""

import operator
import re
from collections.abc import Callable, Iterator

from lrs.tasks.benchmarks import (
    BENCHMARKS,
    CONNECTIVES,
    PEOPLE,
    ROLES,
    TERMS,
    VERTICES,
    Metadata,
    Statement,
    numbers_to_sort,
    signed_terms,
)
from lrs.tasks.problems import Problem
from lrs.tutor.knights_knaves import is_true

STEPS = {  # what is counted, by data set
    "chain_sum": "each term looked up by its name, sum, and verdict on one",
    "countdown": "each equation, and each verdict on one",
    "number_sorting": "each number taken, list copied, number looked at again in a check, and verdict of a check",
    "graph_color": "each neighbor looked up with its color, and verdict of a check",
    "knights_knaves": "each role and claim looked up with its truth, value of a statement, and verdict on it",
}
_NUMBER = r"(?:- )?\d+"
_EQUATION = re.compile(rf"(?:try |check |[a-o] )?({_NUMBER}) ([-+*/]) (\d+) = ({_NUMBER})(?: (yes|no|ok|wrong))?")
_WANTED = re.compile(r"want (\d+) = (\d+) ([-+*/]) (\d+)")
_SOUGHT = re.compile(r"goal (\d+) from \d+ \d+")
_SUM_TO_DO = re.compile(rf"goal (?:[a-o] )?({_NUMBER}) [-+] \d+")
_TERM = re.compile(rf"(?:goal )?([a-o]) {_NUMBER} ([-+]) (\d+)(?: = .*)?")
_LISTED = re.compile(r"(left|goal least|goal most|back to) (\d+(?: \d+)*)")
_CHECKED = re.compile(r"check (\d+) with ((?:\d+ )*)(ok|wrong)")
_TRIED = re.compile(r"try ([a-z]) (\d+)")
_LOOKED_UP = re.compile(r"check ([a-z]) (\d+) with (none|[a-z] \d+(?: , [a-z] \d+)*) (ok|wrong)")
_SUPPOSED = re.compile(r"(?:try|goal)((?: [a-z] kn(?:ight|ave))+)")
_CLAIM = r"([a-z]) (knight|knave) (yes|no)"
_SAID = re.compile(
    rf"([a-z]) (knight|knave) says (not )?{_CLAIM}(?: (and|or|then|iff) {_CLAIM})?(?: = (yes|no))? (ok|wrong)"
)
_OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
_MEANINGS: dict[str, Callable[..., bool]] = {
    "not": lambda a: not a,
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
    "then": lambda a, b: b or not a,
    "iff": lambda a, b: a == b,
}


def steps_in(problem: Problem, text: str) -> list[bool]:
    """Whether each elementary step in the reasoning of `text` is right, in their order."""
    thought = text.partition("</think>")[0].replace("<think>", "")
    return list(_READERS[BENCHMARKS[problem.benchmark].dataset](problem.metadata, thought))


def _clauses(thought: str, ends: str) -> Iterator[str]:
    return (clause.strip() for clause in re.split(f"[{ends}]", thought))


def _int(number: str) -> int:
    return int(number.replace(" ", ""))


def _holds(left: str, sign: str, right: str, value: str) -> bool:
    a, b, c = map(_int, (left, right, value))
    return (b != 0 and b * c == a) if sign == "/" else _OPERATIONS[sign](a, b) == c


def _sums(metadata: Metadata, thought: str) -> Iterator[bool]:
    """A named term is to be the problem's; a check is to come back to where the step before it began."""
    start, terms = None, dict(zip(TERMS, signed_terms(metadata["expression"]), strict=False))
    for sentence in _clauses(thought, "."):
        begun = None
        for clause in _clauses(sentence, ":,"):
            if named := _TERM.fullmatch(clause):
                yield terms.get(named[1]) == (1 if named[2] == "+" else -1) * int(named[3])
            if to_do := _SUM_TO_DO.fullmatch(clause):
                begun = to_do[1]
            elif found := _EQUATION.fullmatch(clause):
                begun = begun or found[1]
                yield _holds(*found.groups()[:4])
                if found[5]:
                    yield found[5] in ("ok", "wrong") and (found[4] == start) == (found[5] == "ok")
        if begun and not sentence.startswith("check"):
            start = begun


def _search(metadata: Metadata, thought: str) -> Iterator[bool]:
    """A verdict is on whether the value is the one sought: the target, unless a goal names another."""
    sought = str(metadata["target"])
    for clause in _clauses(thought, ".:,"):
        if goal := _SOUGHT.fullmatch(clause):
            sought = goal[1]
        elif clause.startswith("left"):
            sought = str(metadata["target"])
        elif wanted := _WANTED.fullmatch(clause):
            yield _holds(*wanted.group(2, 3, 4, 1))
        elif found := _EQUATION.fullmatch(clause):
            yield _holds(*found.groups()[:4])
            if found[5]:
                yield (found[4] == sought) == (found[5] in ("yes", "ok"))


def _sorting(metadata: Metadata, thought: str) -> Iterator[bool]:
    """A list is to be what the last one was, less what was taken; a check goes through it up to what is better."""
    rises = metadata["direction"] == "ascending"
    pick, word = (min, "least") if rises else (max, "most")
    listed = numbers_to_sort(metadata)
    taken: int | None = None
    for clause in _clauses(thought, ".:"):
        if found := _LISTED.fullmatch(clause):
            numbers = [int(number) for number in found[2].split()]
            expected = list(listed)
            if taken in expected and found[1] != "back to":
                expected.remove(taken)
            yield numbers == expected and found[1] in ("left", "back to", f"goal {word}")
            listed, taken = numbers, None
        elif found := re.fullmatch(r"take (\d+)", clause):
            taken = int(found[1])
            yield taken == pick(listed)
        elif found := _CHECKED.fullmatch(clause):
            others = [number for number in listed if number != taken]
            seen = [int(number) for number in found[2].split()]
            for place, number in enumerate(seen):
                yield others[place : place + 1] == [number]
            better = [number != taken and taken is not None and (number < taken) == rises for number in seen]
            passed, last = not any(better[:-1]), any(better[-1:])
            whole = last if found[3] == "wrong" else not last and len(seen) == len(others)
            yield int(found[1]) == taken and passed and whole


def _coloring(metadata: Metadata, thought: str) -> Iterator[bool]:
    """A check looks up the neighbors before a vertex in their order, up to one of the same color."""
    edges, colors, tried = metadata["puzzle"]["edges"], {}, None
    for clause in _clauses(thought, ".:"):
        if found := _TRIED.fullmatch(clause):
            tried = found[1], found[2]
            colors[found[1]] = found[2]
        elif found := _LOOKED_UP.fullmatch(clause):
            near = [VERTICES[u] for u, v in sorted(edges) if VERTICES[v] == found[1]]
            seen = [] if found[3] == "none" else [tuple(pair.split()) for pair in found[3].split(" , ")]
            for place, (vertex, color) in enumerate(seen):
                yield near[place : place + 1] == [vertex] and colors.get(vertex) == color
            clashes = [color == found[2] for _, color in seen]
            passed, last = not any(clashes[:-1]), any(clashes[-1:])
            whole = last if found[4] == "wrong" else not last and len(seen) == len(near)
            yield (found[1], found[2]) == tried and passed and whole


def _form(statement: Statement) -> str:
    """The word that joins or denies a statement's claims; none if it is one itself."""
    return "not" if statement[0] == "not" else CONNECTIVES.get(statement[0], "")


def _statements(metadata: Metadata, thought: str) -> Iterator[bool]:
    """A line is to repeat the person's role and claims, with whether they are true, and to compare the value of it all
    with the role."""
    supposed: tuple[bool, ...] = ()
    for clause in _clauses(thought, ".:,"):
        clause = clause.removeprefix("check ")
        if found := _SUPPOSED.fullmatch(clause):
            words = found[1].split()
            supposed = tuple(role == "knight" for role in words[1::2]) if "".join(words[::2]) == PEOPLE else ()
        elif found := _SAID.fullmatch(clause):
            person, role, deny, *first, connective, who, what, truth, value, verdict = found.groups()
            form = "not" if deny else connective or ""
            statement = metadata["statements"][PEOPLE.index(person)] if person in PEOPLE else []
            if not supposed or not statement or form != _form(statement) or bool(form) != bool(value):
                yield False  # another statement, or nothing to put in
                continue
            yield (role == "knight") == supposed[PEOPLE.index(person)]
            stated = [tuple(first)] + ([(who, what, truth)] if connective else [])
            for claim, (name, claimed, seen) in zip(statement[1:] if form else [statement], stated, strict=True):
                same = (name, claimed) == (PEOPLE[claim[1]], ROLES[claim[0]])
                yield same and (seen == "yes") == is_true(claim, supposed)
            truths = [seen == "yes" for *_, seen in stated]
            whole = value == "yes" if form else truths[0]
            if form:
                yield whole == _MEANINGS[form](*truths)
            yield (whole == (role == "knight")) == (verdict == "ok")


_READERS: dict[str, Callable[[Metadata, str], Iterator[bool]]] = {
    "chain_sum": _sums,
    "countdown": _search,
    "number_sorting": _sorting,
    "graph_color": _coloring,
    "knights_knaves": _statements,
}
