"""Final answers: found in a model's text, parsed within bounds, and scored by reasoning-gym or a judge.

A model's text is never evaluated. reasoning-gym's countdown scorer hands its input to a library that evaluates
it, so an answer reaches that scorer only if it is a short expression over the problem's own numbers.
"""

import re
from functools import cache
from typing import Any

from lrs.tasks.benchmarks import BENCHMARKS
from lrs.tasks.judges import boxed
from lrs.tasks.problems import Problem

# the tokens that end a turn: of a built-in reasoner, and as language models write them
_ANSWER = re.compile(r"\banswer\b((?:(?!\banswer\b).)*?)(?:<eos>|<\|\w+\|>|$)", re.DOTALL)


def extract_answer(text: str) -> str | None:
    """What follows the last `answer` after the reasoning has ended; None if there is no final answer."""
    _, closed, conclusion = text.rpartition("</think>")
    found = _ANSWER.findall(conclusion) if closed else []
    return found[-1].strip() or None if found else None


@cache
def _scorer(dataset: str) -> Any:
    import reasoning_gym  # takes seconds

    return reasoning_gym.create_dataset(dataset, seed=0, size=1)


def final_answer(benchmark: str, text: str) -> str | None:
    """The final answer of a text: in a box, or, as built-in reasoners write it, behind `answer`."""
    return boxed(text) if BENCHMARKS[benchmark].judge else boxed(text) or extract_answer(text)


def is_correct(problem: Problem, text: str) -> bool:
    """Whether the text's final answer solves the problem: a reasoning-gym score of 1, no partial credit; or, of a
    public benchmark, what its judge says."""
    benchmark, answer = BENCHMARKS[problem.benchmark], final_answer(problem.benchmark, text)
    if answer is None or not benchmark.legal(answer, problem.metadata):
        return False
    if benchmark.judge:
        return benchmark.judge(answer, problem.metadata)
    entry = {"answer": problem.answer, "metadata": problem.metadata}
    return _scorer(benchmark.dataset).score_answer(benchmark.spelling(answer, problem.metadata), entry) == 1.0
