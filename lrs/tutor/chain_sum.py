"""Chain sums: add and subtract from left to right, splitting hard steps and checking them backwards."""

from typing import Any

from lrs.tasks.behaviors import BACKTRACKING, SUBGOAL_SETTING, VERIFICATION
from lrs.tasks.benchmarks import signed_terms
from lrs.tutor.draft import Draft, operation, signed

FEWEST_TERMS, MOST_TERMS = 3, 8  # the range over which difficulty rises from 0 to 1


def difficulty(metadata: dict[str, Any]) -> float:
    """0..1, by the number of terms."""
    terms = len(signed_terms(metadata["expression"]))
    return min(max((terms - FEWEST_TERMS) / (MOST_TERMS - FEWEST_TERMS), 0.0), 1.0)


def _carries(total: int, ones: int) -> bool:
    return total // 10 != (total + ones) // 10


def _add(total: int, term: int, draft: Draft) -> int:
    """Write `total + term`, in one go or split into tens and ones; the value as computed."""
    stated = operation(total, term)
    ones = (abs(term) % 10) * (1 if term > 0 else -1)
    hard = abs(term) >= 10 and _carries(total, ones)
    if not (hard and draft.decides_to("subgoal")):
        value = draft.calculate(total + term)
        draft.say(f"{stated} = {signed(value)} .")
        return value
    middle = draft.calculate(total + term - ones)
    value = draft.calculate(middle + ones)
    draft.say(f"goal {stated} :", SUBGOAL_SETTING)
    draft.say(f"{operation(total, term - ones)} = {signed(middle)} ,")
    draft.say(f"{operation(middle, ones)} = {signed(value)} .")
    return value


def solve(metadata: dict[str, Any], draft: Draft) -> str:
    """Add up the terms; a step that fails its check is gone back to."""
    total, *terms = signed_terms(metadata["expression"])
    for term in terms:
        value = _add(total, term, draft)
        while draft.decides_to("verify"):
            undone = operation(value, -term)
            if value - term == total:
                draft.say(f"check {undone} = {signed(total)} ok .", VERIFICATION)
                break
            draft.say(f"check {undone} = {signed(value - term)} wrong .", VERIFICATION)
            draft.say(f"back to {operation(total, term)} .", BACKTRACKING)
            value = _add(total, term, draft)
        total = value
    return signed(total)
