"""Greatest common divisors: Euclid's algorithm, each remainder a smaller problem of the same kind."""

from typing import Any

from lrs.tasks.behaviors import BACKTRACKING, VERIFICATION
from lrs.tutor.draft import Draft

MOST_STEPS = 14


def difficulty(metadata: dict[str, Any]) -> float:
    """0..1, by the number of steps."""
    low, high = sorted(metadata["numbers"])
    steps = 0
    while low:
        low, high = high % low, low
        steps += 1
    return min(max((steps - 1) / 5, 0.0), 1.0)


def _remainder(high: int, low: int, draft: Draft) -> int:
    """Write what `low` leaves of `high`; a step that fails its check is gone back to."""
    quotient = high // low
    while True:
        product = draft.calculate(quotient * low)
        rest = abs(draft.calculate(high - product))
        draft.say(f"{quotient} * {low} = {product} , {high} - {product} = {rest} .")
        if not draft.decides_to("verify"):
            return rest
        lines = [f"{quotient} * {low} = {quotient * low}"]
        if product == quotient * low:
            lines.append(f"{product} + {rest} = {product + rest}")
        if product == quotient * low and product + rest == high:
            draft.say(f"check {' , '.join(lines)} ok .", VERIFICATION)
            return rest
        draft.say(f"check {' , '.join(lines)} wrong .", VERIFICATION)
        draft.say(f"back to {high} {low} .", BACKTRACKING)


def solve(metadata: dict[str, Any], draft: Draft) -> str:
    """Replace the larger number by what the smaller leaves of it, until nothing is left."""
    low, high = sorted(metadata["numbers"])
    for _ in range(MOST_STEPS):
        rest = _remainder(high, low, draft)
        if rest == 0:
            return str(low)
        low, high = sorted((rest, low))
        draft.go_on_with(f"{high} {low}", goal=f"gcd {high} {low}")
    draft.say("give up .")
    return "1"
