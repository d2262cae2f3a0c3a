"""Benchmarks, one row each: how a problem is asked, when two are the same, and which answers are legal."""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, get_args

from lrs.tasks.hub import SOURCES, Source
from lrs.tasks.judges import same_bound, same_letter, same_mathematics, same_relation

Metadata = dict[str, Any]  # of a problem: what its scorer and its tutor need to know

Tier = Literal["p0", "p1", "p2", "p3", "p4"]  # of modes planted on chain sums: see lrs/tutor/planted.py
TIERS = get_args(Tier)

_LONGEST_ANSWER = 64  # characters
_EXPRESSION = re.compile(r"(?!.*\*\s*\*)(?!.*/\s*/)[0-9+\-*/() ]+")
_INTEGER = re.compile(r"[+-]?\s?[0-9]{1,9}")
VERTICES = "abcdefg"
TERMS = "abcdefghijklmno"  # names of the terms of a sum
_COLORED = re.compile(rf"([{VERTICES}]) ([0-9])")
_COLORING = re.compile(rf"{_COLORED.pattern}( {_COLORED.pattern})*")
PEOPLE = "abc"
ROLES = {"telling-truth": "knight", "lying": "knave"}
CONNECTIVES = {"and": "and", "or": "or", "->": "then", "<=>": "iff"}
Statement = list[Any]  # of a knight or knave: ["lying", 2], ["not", statement] or [connective, statement, statement]


class Benchmark(NamedTuple):
    """How problems of a data set are asked, told apart, answered and worked out.

    It is one of reasoning-gym, which draws problems and scores answers; or, with a `source`, a public one, whose
    answers stand in a box and are judged by `judge`.
    """

    dataset: str
    keep: tuple[str, ...]  # the metadata kept
    state: Callable[[Metadata], str]  # the question
    canonical: Callable[[Metadata], str]  # equal where two problems are the same
    legal: Callable[[str, Metadata], bool]  # whether an answer may be shown to the data set's scorer at all
    spelling: Callable[[str, Metadata], str] = lambda answer, _: answer.replace(" ", "")  # as the scorer wants it
    tutor: str | None = None  # the module of `lrs.tutor` that works such problems out
    transfer: bool = False  # only ever tested on: nothing is trained or selected on it
    source: Source | None = None
    judge: Callable[[str, Metadata], bool] | None = None  # of what stands in the box

    @property
    def splits(self) -> tuple[str, ...]:
        """Those that a profile may ask it for."""
        if self.transfer:
            return ("test",)
        return ("reward", "validation") if self.source else ("reward", "validation", "test")


def _normal(metadata: Metadata) -> str:
    """A question without spaces and capitals, by which the same problem of another data set is known; with choices that
    are dealt out, in an order that does not depend on how they were."""
    dealt = "stem" in metadata
    text = " ".join([metadata["stem"], *sorted(metadata["choices"])]) if dealt else metadata["question"]
    return "".join(text.split()).lower()


def _public(name: str, judge: Callable[[str, Metadata], bool], tested: bool) -> Benchmark:
    return Benchmark(
        dataset="public",
        keep=(),
        state=lambda m: m["question"],
        canonical=_normal,
        legal=lambda answer, _: bool(answer),
        transfer=tested,
        source=SOURCES[name],
        judge=judge,
    )


def _mathematics(answer: str, metadata: Metadata) -> bool:
    return same_mathematics(answer, metadata["reference"])


def _letter(answer: str, metadata: Metadata) -> bool:
    return same_letter(answer, metadata["reference"])


def _inequality(answer: str, metadata: Metadata) -> bool:
    judge = same_bound if metadata["kind"] == "bound" else same_relation
    return judge(answer, metadata["reference"])


def signed_terms(expression: str) -> list[int]:
    """The terms of `12 + 34 - 5`: [12, 34, -5]."""
    return [int(term) for term in expression.replace("+ ", "+").replace("- ", "-").split()]


def _state_sum(metadata: Metadata) -> str:
    """The terms with names, by which each is found again: `compute a 4 , b - 5 , c + 2`."""
    first, *others = re.sub(r"([+-]) ", r"\1", metadata["expression"]).split()
    signs_apart = [first, *(f"{term[0]} {term[1:]}" for term in others)]
    return f"compute {' , '.join(f'{name} {term}' for name, term in zip(TERMS, signs_apart, strict=False))}"


def numbers_to_sort(metadata: Metadata) -> list[int]:
    """The integers of a sorting problem, in the order in which they are given."""
    return [int(float(number)) for number in metadata["original_numbers"]]


def _state_sorting(metadata: Metadata) -> str:
    return f"sort {'up' if metadata['direction'] == 'ascending' else 'down'} {spaced(numbers_to_sort(metadata))}"


def earlier_neighbors(puzzle: Metadata) -> list[list[int]]:
    """Of each vertex, those before it that it must differ from."""
    edges = {tuple(edge) for edge in puzzle["edges"]}
    return [[u for u in puzzle["vertices"] if u < v and (u, v) in edges] for v in puzzle["vertices"]]


def _state_graph(metadata: Metadata) -> str:
    """Each vertex with those before it that it touches: `color a none , b a , c none , d a c`."""
    lines = (
        f"{VERTICES[v]} {spaced(VERTICES[u] for u in near) or 'none'}"
        for v, near in enumerate(earlier_neighbors(metadata["puzzle"]))
    )
    return f"color {' , '.join(lines)}"


def _say(statement: Statement) -> str:
    """A statement in words: `b knave and c knight`, `not a knight`."""
    kind, *parts = statement
    if kind in ROLES:
        return f"{PEOPLE[parts[0]]} {ROLES[kind]}"
    said = [_say(part) for part in parts]
    return f"not {said[0]}" if kind == "not" else f" {CONNECTIVES[kind]} ".join(said)


def _state_knights(metadata: Metadata) -> str:
    lines = (f"{PEOPLE[i]} says {_say(statement)}" for i, statement in enumerate(metadata["statements"]))
    return f"suppose {' , '.join(lines)}"


def spaced(parts: Iterable[object]) -> str:
    """The parts with a space between each two."""
    return " ".join(map(str, parts))


def _legal_countdown(answer: str, metadata: Metadata) -> bool:
    """A short expression over the problem's own numbers: its scorer evaluates what it is given."""
    used = sorted(int(number) for number in re.findall(r"\d+", answer)) if len(answer) <= _LONGEST_ANSWER else None
    return bool(_EXPRESSION.fullmatch(answer)) and used == sorted(metadata["numbers"])


def _legal_integer(answer: str, metadata: Metadata) -> bool:
    return bool(_INTEGER.fullmatch(answer))


def _spell_integer(answer: str, metadata: Metadata) -> str:
    """Without a plus, white space and leading zeros, none of which makes it another number."""
    return str(int("".join(answer.split())))


def _legal_order(answer: str, metadata: Metadata) -> bool:
    """The problem's own numbers, each once: its scorer would let them be off by one."""
    numbers = answer.split() if len(answer) <= _LONGEST_ANSWER else []
    own = sorted(numbers_to_sort(metadata))
    return all(_INTEGER.fullmatch(number) for number in numbers) and sorted(map(int, numbers)) == own


def _spell_order(answer: str, metadata: Metadata) -> str:
    return json.dumps(answer.split())


def _legal_coloring(answer: str, metadata: Metadata) -> bool:
    """Every vertex once: its scorer would take the last color of two, and let there be vertices of no graph."""
    if len(answer) > _LONGEST_ANSWER or not _COLORING.fullmatch(answer):
        return False
    return sorted(answer.split()[::2]) == [VERTICES[vertex] for vertex in metadata["puzzle"]["vertices"]]


def _spell_coloring(answer: str, metadata: Metadata) -> str:
    """The map that the scorer reads: `a 1 b 2` is `{"0": 1, "1": 2}`."""
    return json.dumps({str(VERTICES.index(vertex)): int(color) for vertex, color in _COLORED.findall(answer)})


def _legal_roles(answer: str, metadata: Metadata) -> bool:
    """Every person once, in order."""
    return bool(re.fullmatch(" ".join(f"{person} kn(ight|ave)" for person in PEOPLE), answer))


def _spell_roles(answer: str, metadata: Metadata) -> str:
    """By the names and the words for knights and knaves of the problem."""
    words = metadata["knight_knave_terms"]
    roles = zip(metadata["names"], answer.split()[1::2], strict=True)
    return " , ".join(f"{name} is a {words[role]}" for name, role in roles)


_CHAIN_SUM = Benchmark(
    dataset="chain_sum",
    keep=("expression",),
    state=_state_sum,
    canonical=lambda m: f"{sorted(signed_terms(m['expression']))}",
    legal=_legal_integer,
    spelling=_spell_integer,
    tutor="chain_sum",
)
BENCHMARKS = {
    "countdown": Benchmark(
        dataset="countdown",
        keep=("numbers", "target"),
        state=lambda m: f"reach {m['target']} with {' '.join(map(str, m['numbers']))}",
        canonical=lambda m: f"{m['target']}={sorted(m['numbers'])}",
        legal=_legal_countdown,
        tutor="countdown",
    ),
    "chain_sum": _CHAIN_SUM,
    "number_sorting": Benchmark(
        dataset="number_sorting",
        keep=("original_numbers", "direction"),
        state=_state_sorting,
        canonical=lambda m: f"{m['direction']}={sorted(numbers_to_sort(m))}",
        legal=_legal_order,
        spelling=_spell_order,
        tutor="number_sorting",
    ),
    "graph_color": Benchmark(
        dataset="graph_color",
        keep=("puzzle",),
        state=_state_graph,
        canonical=lambda m: f"{len(m['puzzle']['vertices'])}={m['puzzle']['edges']}",
        legal=_legal_coloring,
        spelling=_spell_coloring,
        tutor="graph_color",
    ),
    "knights_knaves": Benchmark(
        dataset="knights_knaves",
        keep=("statements", "solution", "names", "knight_knave_terms"),
        state=_state_knights,
        canonical=lambda m: f"{m['statements']}",
        legal=_legal_roles,
        spelling=_spell_roles,
        tutor="knights_knaves",
    ),
    # no built-in reasoner was ever asked for so long a sum
    "chain_sum_long": _CHAIN_SUM._replace(tutor=None, transfer=True),
    "math_500": _public("math_500", _mathematics, tested=True),
    "aime_2024": _public("aime_2024", _mathematics, tested=True),
    "aime_2025": _public("aime_2025", _mathematics, tested=True),
    "gpqa_diamond": _public("gpqa_diamond", _letter, tested=True),
    "amc_23": _public("amc_23", _mathematics, tested=True),
    "ineq_math": _public("ineq_math", _inequality, tested=True),
    "aime_2022_2023": _public("aime_2022_2023", _mathematics, tested=False),
    "math_train": _public("math_train", _mathematics, tested=False),
}
