"""The tutor: writes the reasoning traces from which the built-in reasoner learns.

It really solves each problem, in one of two styles, and never says which. Both are tempted by what looks right: a
carry not made, a neighbor overlooked, the second best, a value near the target, the first supposition that fits. The
careful style checks, catches what is wrong and keeps searching; the careless one yields more often, seldom checks and
gives up. Every elementary step of either is right but for these temptations, and every check tells the truth.
"""

from dataclasses import dataclass
from random import Random
from types import ModuleType

from lrs.tasks.behaviors import Span
from lrs.tasks.benchmarks import BENCHMARKS
from lrs.tasks.problems import Problem
from lrs.tutor import chain_sum, countdown, graph_color, knights_knaves, number_sorting
from lrs.tutor.draft import CAREFUL, CARELESS, Draft, Style

_SOLVERS = {
    solver.__name__.rpartition(".")[2]: solver
    for solver in (countdown, chain_sum, number_sorting, graph_color, knights_knaves)
}
CAREFUL_SHARE = 0.4  # of the traces, where nobody asks for care


@dataclass(frozen=True)
class TutorTrace:
    """One worked solution: `text` from `<think>` to the answer, its behavior `spans` in characters, its style, and the
    numbers of the words that are `slips`, parted by spaces."""

    text: str
    spans: tuple[Span, ...]
    style: str
    slips: tuple[int, ...] = ()


def _solver(problem: Problem) -> ModuleType:
    tutors = {name: benchmark.tutor for name, benchmark in BENCHMARKS.items() if benchmark.tutor}
    if problem.benchmark not in tutors:
        raise ValueError(f"no tutor for benchmark {problem.benchmark!r}; there is one for {sorted(tutors)}")
    return _SOLVERS[tutors[problem.benchmark]]


def draw_style(rng: Random) -> Style:
    """Careful in `CAREFUL_SHARE` of the draws."""
    return CAREFUL if rng.random() < CAREFUL_SHARE else CARELESS


def write_trace(problem: Problem, rng: Random, style: Style | None = None) -> TutorTrace:
    """Work out `problem` in the given style, or in one drawn from `rng`.

    Raises:
        ValueError: the tutor does not know the problem's benchmark.
    """
    solver = _solver(problem)
    if style is None:
        style = draw_style(rng)
    draft = Draft(style, rng)
    answer = solver.solve(problem.metadata, draft)
    opening = "<think> "
    text = f"{opening}{draft.text} </think> answer {answer}"
    spans = tuple(Span(s.behavior, s.start + len(opening), s.end + len(opening)) for s in draft.spans)
    return TutorTrace(text, spans, style.name, tuple(1 + word for word in draft.slips))
