"""Benchmarks, one row each: how a problem is asked, when two are the same, and which answers are legal."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

Metadata = dict[str, Any]  # of a problem: what its scorer and its tutor need to know

_LONGEST_ANSWER = 64  # characters
_EXPRESSION = re.compile(r"(?!.*\*\s*\*)(?!.*/\s*/)[0-9+\-*/() ]+")
_INTEGER = re.compile(r"[+-]?\s?[0-9]{1,9}")
_PRODUCT = re.compile(r"[0-9]{1,6}([*×][0-9]{1,6})*")


class Benchmark(NamedTuple):
    """How problems of a reasoning-gym data set are asked, told apart, answered and worked out."""

    dataset: str
    keep: tuple[str, ...]  # the metadata kept
    state: Callable[[Metadata], str]  # the question
    canonical: Callable[[Metadata], str]  # equal where two problems are the same
    legal: Callable[[str, Metadata], bool]  # whether an answer may be shown to the data set's scorer at all
    spelling: Callable[[str], str] = str  # an answer without spaces, as the scorer wants it
    tutor: str | None = None  # the module of `lrs.tutor` that works such problems out
    transfer: bool = False  # only ever tested on: nothing is trained or selected on it


def signed_terms(expression: str) -> list[int]:
    """The terms of `12 + 34 - 5`: [12, 34, -5]."""
    return [int(term) for term in expression.replace("+ ", "+").replace("- ", "-").split()]


_LINEAR_TERM = re.compile(r"([+-]?)(?:(\d+)\*)?[a-z]")


class LinearEquation(NamedTuple):
    """a x + b = c."""

    a: int
    b: int
    c: int


def linear_equation(equation: str) -> LinearEquation:
    """What `26*e + 10 = 582` says, in whatever order its left side is written.

    Raises:
        ValueError: there is not exactly one term with the variable.
    """
    left, c = equation.split(" = ")
    terms = left.replace("+ ", "+").replace("- ", "-").split()
    inner = [_LINEAR_TERM.fullmatch(term) for term in terms]
    if sum(match is not None for match in inner) != 1:
        raise ValueError(f"{equation!r} is no equation a*x + b = c (leave out products: operators_weights [.., .., 0])")
    a = next(match[1] + (match[2] or "1") for match in inner if match)
    return LinearEquation(int(a), sum(int(term) for term, match in zip(terms, inner, strict=True) if not match), int(c))


def _state_equation(metadata: Metadata) -> str:
    """The equation in x, every sign apart: `- 7 * x + 14 = - 147`."""
    signs_apart = re.sub(r"([-*])(?=\S)", r" \1 ", metadata["equation"].replace(metadata["variable"], "x"))
    return f"solve {' '.join(signs_apart.split())}"


def _canonical_equation(metadata: Metadata) -> str:
    """Both sides with their signs changed are the same equation."""
    a, b, c = linear_equation(metadata["equation"])
    return f"{[abs(a), b, c] if a > 0 else [abs(a), -b, -c]}"


def _legal_countdown(answer: str, metadata: Metadata) -> bool:
    """A short expression over the problem's own numbers: its scorer evaluates what it is given."""
    used = sorted(int(number) for number in re.findall(r"\d+", answer)) if len(answer) <= _LONGEST_ANSWER else None
    return bool(_EXPRESSION.fullmatch(answer)) and used == sorted(metadata["numbers"])


def _legal_integer(answer: str, metadata: Metadata) -> bool:
    return bool(_INTEGER.fullmatch(answer))


def _legal_product(answer: str, metadata: Metadata) -> bool:
    return len(answer) <= _LONGEST_ANSWER and bool(_PRODUCT.fullmatch(answer.replace(" ", "")))


_CHAIN_SUM = Benchmark(
    dataset="chain_sum",
    keep=("expression",),
    state=lambda m: f"compute {m['expression']}",
    canonical=lambda m: f"{sorted(signed_terms(m['expression']))}",
    legal=_legal_integer,
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
    "simple_equations": Benchmark(
        dataset="simple_equations",
        keep=("equation", "variable"),
        state=_state_equation,
        canonical=_canonical_equation,
        legal=_legal_integer,
        tutor="simple_equations",
    ),
    "gcd": Benchmark(
        dataset="gcd",
        keep=("numbers",),
        state=lambda m: f"gcd {' '.join(map(str, m['numbers']))}",
        canonical=lambda m: f"{sorted(m['numbers'])}",
        legal=_legal_integer,
        tutor="gcd",
    ),
    "prime_factorization": Benchmark(
        dataset="prime_factorization",
        keep=("number",),
        state=lambda m: f"factor {' '.join(str(m['number']))}",
        canonical=lambda m: f"{m['number']}",
        legal=_legal_product,
        spelling=lambda answer: answer.replace("*", "×"),
        tutor="prime_factorization",
    ),
    # no built-in reasoner was ever asked to add single digits
    "chain_sum_digits": _CHAIN_SUM._replace(tutor=None, transfer=True),
}
