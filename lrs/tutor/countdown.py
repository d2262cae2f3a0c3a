"""Countdown: reach a target with three numbers, by searching forwards or backwards from the target. The temptations are
a value near the target, and to give up after a dead end."""

from itertools import permutations
from typing import Any, NamedTuple

from lrs.tasks.behaviors import BACKTRACKING, BACKWARD_CHAINING, SUBGOAL_SETTING, VERIFICATION
from lrs.tutor.draft import LARGEST_NUMBER, Draft

INSIGHT = 0.5  # how often the first branch is one that leads to the target
NEAR = 10  # how far from the target a value may be and still be mistaken for it


class Equation(NamedTuple):
    """One operation on two numbers, and its value."""

    left: int
    op: str
    right: int
    value: int

    def __str__(self) -> str:
        return f"{self.left} {self.op} {self.right} = {self.value}"


class Branch(NamedTuple):
    """A first move: forwards, `equation` of two numbers; backwards, target = an `equation` with a needed number."""

    backward: bool
    equation: Equation
    rest: tuple[int, ...]  # forwards: the number left over; backwards: the two that must make `needed`
    needed: int


def equations(a: int, b: int) -> list[Equation]:
    """Every operation on two numbers that stays within 0..LARGEST_NUMBER, larger number first."""
    high, low = max(a, b), min(a, b)
    found = [Equation(high, "+", low, high + low), Equation(high, "-", low, high - low)]
    found.append(Equation(high, "*", low, high * low))
    if low > 1 and high % low == 0:
        found.append(Equation(high, "/", low, high // low))
    return [equation for equation in found if equation.value <= LARGEST_NUMBER]


def _forward(numbers: list[int], target: int) -> list[Branch]:
    pairs = {(tuple(sorted(order[:2])), order[2]) for order in permutations(numbers)}
    return [Branch(False, equation, (rest,), target) for pair, rest in sorted(pairs) for equation in equations(*pair)]


def _backward(numbers: list[int], target: int) -> list[Branch]:
    branches = []
    for c, pair in sorted({(order[0], tuple(order[1:])) for order in permutations(numbers)}):
        candidates = [(c, "+", target - c), (c, "-", c - target), (target + c, "-", c)]
        if target % c == 0:
            candidates.append((c, "*", target // c))
        for left, op, right in candidates:
            needed = left if (op == "-" and right == c) else right
            if 0 < needed <= LARGEST_NUMBER and tuple(pair) == tuple(sorted(pair)):
                branches.append(Branch(True, Equation(left, op, right, target), tuple(pair), needed))
    return branches


def _leads_home(branch: Branch) -> bool:
    pair = branch.rest if branch.backward else (branch.equation.value, branch.rest[0])
    return any(equation.value == branch.needed for equation in equations(*pair))


def _expression(outer: Equation, inner: Equation, made: int) -> str:
    """The answer: `outer` with its operand `made` replaced by `inner` in brackets."""
    bracket = f"( {inner.left} {inner.op} {inner.right} )"
    if outer.left == made:
        return f"{bracket} {outer.op} {outer.right}"
    return f"{outer.left} {outer.op} {bracket}"


def _evaluate(pair: tuple[int, int], goal: int, draft: Draft) -> Equation | None:
    """Try the operations on `pair` in order, writing each; the one that (seemingly) gives `goal`, if any."""
    found = None
    lines = []
    for equation in equations(*pair):
        tempting = 0 < abs(equation.value - goal) <= NEAR
        claimed = equation._replace(value=goal) if tempting and draft.decides_to("slip") else equation
        lines.append(f"{claimed} {'yes' if claimed.value == goal else 'no'}")
        if claimed.value == goal:
            found = claimed
            break
    slipped = f"{goal} yes" if found and found not in equations(*pair) else ""
    draft.say(" , ".join(lines) + " .", slipped=slipped)
    return found


def _verify(claim: Equation, draft: Draft) -> bool:
    """Recompute the claimed equation."""
    true_value = next(e.value for e in equations(claim.left, claim.right) if e.op == claim.op)
    verdict = "ok" if true_value == claim.value else "wrong"
    draft.say(f"check {claim._replace(value=true_value)} {verdict} .", VERIFICATION)
    return true_value == claim.value


def _explore(branch: Branch, draft: Draft) -> str | None:
    """Write one branch of the search; the answer it ends in, right or wrong, or None for a dead end."""
    outer: Equation | None
    inner: Equation | None
    if branch.backward:
        outer = branch.equation
        draft.say(f"want {outer.value} = {outer.left} {outer.op} {outer.right} .", BACKWARD_CHAINING)
        draft.say(f"goal {branch.needed} from {branch.rest[0]} {branch.rest[1]} :", SUBGOAL_SETTING)
        inner = _evaluate((branch.rest[0], branch.rest[1]), branch.needed, draft)
    else:
        inner = branch.equation
        pair = (inner.value, branch.rest[0])
        draft.say(f"try {inner} .")
        draft.go_on_with(f"{pair[0]} {pair[1]}", goal=f"{branch.needed} from {pair[0]} {pair[1]}")
        outer = _evaluate(pair, branch.needed, draft)
    if outer is None or inner is None:
        return None
    claim, made = (inner, branch.needed) if branch.backward else (outer, inner.value)
    if draft.decides_to("verify") and not _verify(claim, draft):
        return None
    return _expression(outer, inner, made)


def solve(metadata: dict[str, Any], draft: Draft) -> str:
    """Begin anywhere, from the target or forwards, then go round the forward branches, so that none is tried twice,
    until an answer is found, all were tried, or the style gives up."""
    numbers, target = metadata["numbers"], metadata["target"]
    forward, backward = _forward(numbers, target), _backward(numbers, target)
    pool = backward if backward and draft.decides_to("backward") else forward
    promising = [branch for branch in pool if _leads_home(branch)]
    first = draft.rng.choice(promising if promising and draft.rng.random() < INSIGHT else pool)
    start = (forward.index(first) if first in forward else -1) + 1
    for branch in [first, *forward[start:], *forward[: max(start - 1, 0)]]:
        answer = _explore(branch, draft)
        if answer is not None:
            return answer
        if draft.decides_to("give_up"):
            break
        draft.say(f"back to {numbers[0]} {numbers[1]} {numbers[2]} .", BACKTRACKING)
    draft.say("give up .")
    return f"( {numbers[0]} + {numbers[1]} ) + {numbers[2]}"
