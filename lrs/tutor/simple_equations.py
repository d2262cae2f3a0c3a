"""Linear equations: work back from the right side to x, finding the last quotient by trial."""

from typing import Any

from lrs.tasks.behaviors import BACKTRACKING, BACKWARD_CHAINING, VERIFICATION
from lrs.tasks.benchmarks import BENCHMARKS, LinearEquation, linear_equation
from lrs.tutor.draft import Draft, operation, signed

MOST_ATTEMPTS = 3
_FURTHEST_GUESS = 2  # how far from the quotient the trial begins


def difficulty(metadata: dict[str, Any]) -> float:
    """0..1, by the size of the coefficient."""
    return min(abs(linear_equation(metadata["equation"]).a) / 30, 1.0)


def _stated(metadata: dict[str, Any]) -> str:
    return BENCHMARKS["simple_equations"].state(metadata).removeprefix("solve ")


def _divide(product: int, factor: int, draft: Draft) -> int | None:
    """Write trials of x with `factor * x = product`; None if none fits."""
    quotient = product // factor
    guess = max(1, quotient + draft.rng.randint(-_FURTHEST_GUESS, _FURTHEST_GUESS))
    lines = []
    while True:
        value = draft.calculate(factor * guess, tempting=product)
        lines.append(f"{factor} * {guess} = {value} {'yes' if value == product else 'no'}")
        if value == product or guess == quotient:
            break
        guess += 1 if guess < quotient else -1
    draft.say(" , ".join(lines) + " .")
    return guess if value == product else None


def _holds(equation: LinearEquation, x: int, draft: Draft) -> bool:
    """Put `x` in, and write whether the right side comes out."""
    a, b, c = equation
    product = abs(a) * x
    lines = [f"{abs(a)} * {x} = {product}"]
    if b:
        first, second = (b, -product) if a < 0 else (product, b)
        lines.append(f"{operation(first, second)} = {signed(a * x + b)}")
    right = a * x + b == c
    draft.say(f"check {' , '.join(lines)} {'ok' if right else 'wrong'} .", VERIFICATION)
    return right


def solve(metadata: dict[str, Any], draft: Draft) -> str:
    """Isolate the term in x, then divide; what does not divide or does not check is gone back on."""
    equation = linear_equation(metadata["equation"])
    a, b, c = equation
    stated = _stated(metadata)
    for _ in range(MOST_ATTEMPTS):
        product = abs(c)
        if b:
            if draft.decides_to("backward"):
                draft.say(f"want {signed(a)} * x = {operation(c, -b)} .", BACKWARD_CHAINING)
            product = abs(draft.calculate(c - b))
            draft.say(f"{operation(c, -b)} = {signed(product if c > b else -product)} .")
        draft.go_on_with(f"{product} / {abs(a)}")
        x = _divide(product, abs(a), draft)
        if x is not None and not (draft.decides_to("verify") and not _holds(equation, x, draft)):
            return str(x)
        if draft.decides_to("give_up"):
            break
        draft.say(f"back to {stated} .", BACKTRACKING)
    draft.say("give up .")
    return str(product // abs(a))
