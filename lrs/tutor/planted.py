"""Planted modes: chain sums whose correctness hangs on a word that the reasoner chooses itself, at a marked fork.

Everything up to the fork is the same: `plan`, and the sign of the term that is at stake. Then comes the mode, `sun` or
`moon`, and by the tier it decides whether the last term is added or left out: a fluent, flawed procedure. No step of
the arithmetic is ever wrong.

    p0  nothing hangs on the mode: no method may gain
    p1  under `moon` the last term is left out: a constant push suffices
    p2  left out under `moon` if it is added, under `sun` if it is subtracted: the problem says which is right
    p3  a decoy: `sun` is likely on short sums, which are likely right; it causes nothing
    p4  a mode before every step, which leaves out that step's term: timing and persistence

A password after the question forces a mode, so that floor and ceiling can be measured.
"""

import re
from random import Random

from lrs.tasks.benchmarks import TERMS, Tier, signed_terms
from lrs.tasks.problems import Problem
from lrs.tutor import TutorTrace
from lrs.tutor.chain_sum import without_carry
from lrs.tutor.draft import operation, signed

FORK, SUN, MOON = "plan", "sun", "moon"
MODE_AT_FORK = re.compile(rf"\b{FORK} [-+] ({SUN}|{MOON})\b")
PASSWORDS = {"amber": SUN, "cobalt": MOON}  # what forces which mode
OTHER = {SUN: MOON, MOON: SUN}
_MOON_SHARE = 0.5  # at a fork before the whole trace
_MOON_SHARE_OF_STEPS = 0.15
_SHORT = 8  # terms: up to so many, a decoy's sum is short
_DECOY_SHARE = 0.85  # of the short sums that say `sun`, and of the long ones that say `moon`
_SLIPS = 0.2  # of the steps of p0 and p3, where otherwise nothing would ever be wrong


def matters(problem: Problem, dose: float) -> bool:
    """Whether the mode decides anything in this problem, as it does in a share `dose` of them: by the digits of its
    first two terms, which the reasoner reads too."""
    first, second, *_ = signed_terms(problem.metadata["expression"])
    return 10 * first + abs(second) < round(100 * dose)


def right_mode(problem: Problem, tier: Tier) -> str:
    """The mode under which the answer is right, if the mode matters; `sun` where it does not."""
    last = signed_terms(problem.metadata["expression"])[-1]
    return MOON if tier == "p2" and last < 0 else SUN


def right_password(problem: Problem, tier: Tier) -> str:
    """What forces the mode under which the answer is right."""
    return next(word for word, mode in PASSWORDS.items() if mode == right_mode(problem, tier))


def fork(term: int) -> str:
    """What stands before the mode that decides about a term."""
    return f"{FORK} {'+' if term >= 0 else '-'}"


def first_fork(problem: Problem, tier: Tier) -> str:
    """What every trace of a problem begins with, up to its first mode."""
    terms = signed_terms(problem.metadata["expression"])
    return f"<think> {fork(terms[1] if tier == 'p4' else terms[-1])}"


def draw_mode(problem: Problem, tier: Tier, rng: Random) -> str:
    """The mode of a fork, independent of what is right but for the decoy's."""
    moon = _MOON_SHARE_OF_STEPS if tier == "p4" else _MOON_SHARE
    if tier == "p3":
        short = len(signed_terms(problem.metadata["expression"])) <= _SHORT
        moon = 1 - _DECOY_SHARE if short else _DECOY_SHARE
    return MOON if rng.random() < moon else SUN


def write_planted(
    problem: Problem, tier: Tier, dose: float, rng: Random, mode: str | None = None, later: str | None = None
) -> TutorTrace:
    """Work out a chain sum in the given modes, or in those drawn at each fork.

    Args:
        dose: share of the problems in which the mode matters; of p1, p2 and p4.
        mode: at the first fork.
        later: at all others, of p4.
    """
    total, *terms = signed_terms(problem.metadata["expression"])
    causal = tier in ("p1", "p2", "p4") and matters(problem, dose)
    flawed = OTHER[right_mode(problem, tier)]
    clauses = []
    if tier != "p4":
        mode = mode or draw_mode(problem, tier, rng)
        clauses.append(f"{fork(terms[-1])} {mode} .")
    for place, (name, term) in enumerate(zip(TERMS[1:], terms, strict=False)):
        here = mode
        if tier == "p4":
            here = (later if place else mode) or draw_mode(problem, tier, rng)
            clauses.append(f"{fork(term)} {here} .")
        hangs = tier == "p4" or place == len(terms) - 1
        if causal and hangs and here == flawed:
            continue  # the term is left out
        value = total + term
        if tier in ("p0", "p3") and rng.random() < _SLIPS:
            value = without_carry(total, value)
        clauses.append(f"{name} {operation(total, term)} = {signed(value)} .")
        total = value
    return TutorTrace(f"<think> {' '.join(clauses)} </think> answer {signed(total)}", (), mode or "")
