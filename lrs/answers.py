"""Final answers: found in a model's text, parsed within bounds, and scored by reasoning-gym.

A model's text is never evaluated. reasoning-gym's countdown scorer hands its input to a library that evaluates
it, so an answer reaches that scorer only if it is a short expression over the problem's own numbers.
"""

import re
from functools import cache
from typing import Any

from lrs.problems import BENCHMARKS, Problem

_ANSWER = re.compile(r"\banswer\b(.*?)(?:<eos>|$)", re.DOTALL)
_LONGEST_ANSWER = 64  # characters
_EXPRESSION = re.compile(r"(?!.*\*\s*\*)(?!.*/\s*/)[0-9+\-*/() ]+")
_INTEGER = re.compile(r"[+-]?\s?[0-9]{1,9}")
_PRODUCT = re.compile(r"[0-9]{1,6}([*×][0-9]{1,6})*")


def extract_answer(text: str) -> str | None:
    """What follows the last `answer` after the reasoning has ended; None if there is no final answer."""
    _, closed, conclusion = text.rpartition("</think>")
    found = _ANSWER.findall(conclusion) if closed else []
    return found[-1].strip() or None if found else None


def _legal_countdown(answer: str, metadata: dict[str, Any]) -> bool:
    used = sorted(int(number) for number in re.findall(r"\d+", answer)) if len(answer) <= _LONGEST_ANSWER else None
    return bool(_EXPRESSION.fullmatch(answer)) and used == sorted(metadata["numbers"])


def _legal_integer(answer: str, metadata: dict[str, Any]) -> bool:
    return bool(_INTEGER.fullmatch(answer))


def _legal_product(answer: str, metadata: dict[str, Any]) -> bool:
    return len(answer) <= _LONGEST_ANSWER and bool(_PRODUCT.fullmatch(answer.replace(" ", "")))


_LEGAL = {
    "countdown": _legal_countdown,
    "chain_sum": _legal_integer,
    "simple_equations": _legal_integer,
    "gcd": _legal_integer,
    "prime_factorization": _legal_product,
}
_SPELLING = {"prime_factorization": lambda answer: answer.replace("*", "×")}  # as its scorer wants it


@cache
def _scorer(dataset: str) -> Any:
    import reasoning_gym  # takes seconds

    return reasoning_gym.create_dataset(dataset, seed=0, size=1)


def is_correct(problem: Problem, text: str) -> bool:
    """Whether the text's final answer solves the problem (a reasoning-gym score of 1, no partial credit)."""
    dataset = BENCHMARKS[problem.benchmark].dataset
    answer = extract_answer(text)
    if answer is None or not _LEGAL[dataset](answer, problem.metadata):
        return False
    answer = _SPELLING.get(dataset, str)(answer.replace(" ", ""))
    entry = {"answer": problem.answer, "metadata": problem.metadata}
    return _scorer(dataset).score_answer(answer, entry) == 1.0
