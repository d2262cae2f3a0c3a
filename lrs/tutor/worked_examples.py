"""Worked examples for few-shot prompts: of the built-in families the tutor's careful and right solutions of problems in
split `train`, of public benchmarks a data set's own solutions of problems that rewards learn from."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from lrs.tasks.answers import is_correct
from lrs.tasks.benchmarks import BENCHMARKS
from lrs.tasks.problems import draw_problems
from lrs.tasks.prompts import Turn
from lrs.tutor import write_trace
from lrs.tutor.draft import CAREFUL

if TYPE_CHECKING:
    from lrs.config import Config

_DRAWN = 6  # solutions for each one that is shown
_SOLVED = "math_train"  # the public data set that comes with solutions


def worked_examples(benchmark: str, config: Config) -> list[Turn]:
    """Up to `config.prompting.shots` examples for a benchmark, the shortest of some, the shortest first.

    A transfer benchmark is shown problems of the benchmark with its data set's name: the tutor knows no others. All
    public ones are shown problems of MATH.

    Raises:
        ValueError: the profile lacks that benchmark, or the tutor does not know it.
    """
    kind, count = BENCHMARKS[benchmark], config.prompting.shots
    shown, split = (_SOLVED, "reward") if kind.source else (kind.dataset, "train")
    if shown not in config.benchmarks:
        raise ValueError(f"few_shot on {benchmark} shows problems of {shown}: add {shown} to the profile's benchmarks")
    drawn = min(_DRAWN * count, config.problems.reward) if kind.source else _DRAWN * count  # no others than are learned
    problems = draw_problems(shown, config.benchmarks[shown], {split: drawn}, config.seed)
    rng = Random(config.seed)
    worked = [
        (problem, problem.metadata["solution"] if kind.source else write_trace(problem, rng, CAREFUL).text)
        for problem in problems
    ]
    right = [Turn(problem.question, text) for problem, text in worked if is_correct(problem, text)]
    return sorted(right, key=lambda turn: len(turn.answer.split()))[:count]
