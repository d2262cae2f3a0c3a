"""Worked examples for few-shot prompts: careful solutions by the tutor, of problems in split `train`."""

from random import Random

from lrs.config import Config
from lrs.problems import BENCHMARKS, draw_problems
from lrs.prompts import Turn
from lrs.tutor import write_trace
from lrs.tutor.draft import CAREFUL

_DRAWN = 4  # solutions for each one that is shown


def worked_examples(benchmark: str, config: Config) -> list[Turn]:
    """`config.prompting.shots` examples for a benchmark, the shortest of some, so that prompts stay short.

    A transfer benchmark is shown problems of the benchmark with its data set's name: the tutor knows no others.

    Raises:
        ValueError: the profile lacks that benchmark, or the tutor does not know it.
    """
    shown = BENCHMARKS[benchmark].dataset
    if shown not in config.benchmarks:
        raise ValueError(f"few_shot on {benchmark} shows problems of {shown}: add {shown} to the profile's benchmarks")
    count = config.prompting.shots
    problems = draw_problems(shown, config.benchmarks[shown], {"train": _DRAWN * count}, config.seed)
    rng = Random(config.seed)
    worked = [Turn(problem.question, write_trace(problem, rng, CAREFUL).text) for problem in problems]
    return sorted(worked, key=lambda turn: len(turn.answer.split()))[:count]
