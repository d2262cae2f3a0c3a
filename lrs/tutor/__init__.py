"""The tutor: writes the reasoning traces from which the built-in reasoner learns.

It really solves each problem, in one of two styles. The careful one checks its work, catches its slips and
keeps searching; the careless one slips more often, seldom checks and gives up. Which style writes a trace is
a coin toss that favours care on harder problems, and is never announced in the trace. (A third, steady style
is that of a tutor without a choice.)
"""

from dataclasses import dataclass
from random import Random
from types import ModuleType

from lrs.tasks.behaviors import Span
from lrs.tasks.benchmarks import BENCHMARKS
from lrs.tasks.problems import Problem
from lrs.tutor import chain_sum, countdown, gcd, prime_factorization, simple_equations
from lrs.tutor.draft import CAREFUL, CARELESS, Draft, Style

_SOLVERS = {
    solver.__name__.rpartition(".")[2]: solver
    for solver in (countdown, chain_sum, simple_equations, gcd, prime_factorization)
}


@dataclass(frozen=True)
class TutorTrace:
    """One worked solution: `text` from `<think>` to the answer, its behavior `spans` in characters, its style."""

    text: str
    spans: tuple[Span, ...]
    style: str


def _solver(problem: Problem) -> ModuleType:
    tutors = {name: benchmark.tutor for name, benchmark in BENCHMARKS.items() if benchmark.tutor}
    if problem.benchmark not in tutors:
        raise ValueError(f"no tutor for benchmark {problem.benchmark!r}; there is one for {sorted(tutors)}")
    return _SOLVERS[tutors[problem.benchmark]]


def draw_style(problem: Problem, rng: Random) -> Style:
    """Careful with a probability that rises from 0.25 to 0.75 with the problem's difficulty."""
    return CAREFUL if rng.random() < 0.25 + 0.5 * _solver(problem).difficulty(problem.metadata) else CARELESS


def write_trace(problem: Problem, rng: Random, style: Style | None = None) -> TutorTrace:
    """Work out `problem` in the given style, or in one drawn from `rng`.

    Raises:
        ValueError: the tutor does not know the problem's benchmark.
    """
    solver = _solver(problem)
    if style is None:
        style = draw_style(problem, rng)
    draft = Draft(style, rng)
    answer = solver.solve(problem.metadata, draft)
    opening = "<think> "
    text = f"{opening}{draft.text} </think> answer {answer}"
    spans = tuple(Span(s.behavior, s.start + len(opening), s.end + len(opening)) for s in draft.spans)
    return TutorTrace(text, spans, style.name)
