"""Knights and knaves: suppose who is a knight, and see whether what they say fits. The temptation is the first
supposition that fits what the first one says; care asks the others too."""

from itertools import product
from typing import Any

from lrs.tasks.behaviors import BACKTRACKING, VERIFICATION
from lrs.tasks.benchmarks import CONNECTIVES, PEOPLE, ROLES, Statement
from lrs.tutor.draft import Draft

INSIGHT = 0.5  # how often the first supposition is the right one
_ROLE = {True: "knight", False: "knave"}
Supposed = tuple[bool, ...]  # whether each is a knight


def _yes(truth: bool) -> str:
    return "yes" if truth else "no"


def is_true(statement: Statement, supposed: Supposed) -> bool:
    """Whether a statement is true if these are the knights."""
    kind, *parts = statement
    if kind in ROLES:
        return supposed[parts[0]] == (kind == "telling-truth")
    truths = [is_true(part, supposed) for part in parts]
    if kind == "not":
        return not truths[0]
    if kind == "and":
        return all(truths)
    if kind == "or":
        return any(truths)
    return not truths[0] or truths[1] if kind == "->" else truths[0] == truths[1]


def _put_in(statement: Statement, supposed: Supposed) -> str:
    """The statement with each of its claims followed by whether it is true: `b knight yes and c knave no = no`."""
    kind, *parts = statement
    value = _yes(is_true(statement, supposed))
    if kind in ROLES:
        return f"{PEOPLE[parts[0]]} {ROLES[kind]} {value}"
    claims = [_put_in(part, supposed) for part in parts]
    said = f"not {claims[0]}" if kind == "not" else f" {CONNECTIVES[kind]} ".join(claims)
    return f"{said} = {value}"


def _fits(person: int, statements: list[Statement], supposed: Supposed) -> bool:
    return is_true(statements[person], supposed) == supposed[person]


def _line(person: int, statements: list[Statement], supposed: Supposed) -> str:
    verdict = "ok" if _fits(person, statements, supposed) else "wrong"
    return f"{PEOPLE[person]} {_ROLE[supposed[person]]} says {_put_in(statements[person], supposed)} {verdict}"


def _stated(supposed: Supposed) -> str:
    return " ".join(f"{PEOPLE[i]} {_ROLE[knight]}" for i, knight in enumerate(supposed))


def _next(supposed: Supposed) -> Supposed:
    """The supposition after this one, in a fixed round of all: so that none is tried twice."""
    every = list(product((True, False), repeat=len(supposed)))
    return every[(every.index(supposed) + 1) % len(every)]


def _verify(statements: list[Statement], supposed: Supposed, draft: Draft) -> bool:
    """Ask all but the first; stops at the first that does not fit."""
    others = range(1, len(statements))
    unfit = next((person for person in others if not _fits(person, statements, supposed)), None)
    lines = [_line(person, statements, supposed) for person in others if unfit is None or person <= unfit]
    draft.say(f"check {' , '.join(lines)} .", VERIFICATION)
    return unfit is None


def solve(metadata: dict[str, Any], draft: Draft) -> str:
    """Suppose until everything (or what was looked at) fits, or the style gives up."""
    statements, solution = metadata["statements"], tuple(metadata["solution"])
    every = list(product((True, False), repeat=len(statements)))
    supposed = solution if draft.rng.random() < INSIGHT else draft.rng.choice(every)
    for _ in every:
        draft.go_on_with(_stated(supposed), plainly="try")
        draft.say(f"{_line(0, statements, supposed)} .")
        if _fits(0, statements, supposed) and (not draft.decides_to("verify") or _verify(statements, supposed, draft)):
            return _stated(supposed)
        if draft.decides_to("give_up"):
            break
        draft.say(f"back to {PEOPLE[0]} .", BACKTRACKING)
        supposed = _next(supposed)
    draft.say("give up .")
    return _stated(supposed)
