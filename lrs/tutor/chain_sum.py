"""Chain sums: add and subtract digits from left to right. The temptation is to forget a carry; care goes by way of the
ten, and undoes each step to check it."""

from typing import Any

from lrs.tasks.behaviors import BACKTRACKING, SUBGOAL_SETTING, VERIFICATION
from lrs.tasks.benchmarks import TERMS, signed_terms
from lrs.tutor.draft import Draft, operation, signed


def _ten_between(total: int, value: int) -> int | None:
    """The multiple of ten that lies strictly between, if any: one digit crosses no two."""
    low, high = sorted((total, value))
    ten = (low // 10 + 1) * 10
    return ten if ten < high else None


def without_carry(total: int, value: int) -> int:
    """The `value` of a step from `total` with its carry forgotten; itself where none is made."""
    if _ten_between(total, value) is None:
        return value
    return value - (10 if value > total else -10)


def _add(name: str, total: int, term: int, draft: Draft) -> int:
    """Write `total + term` behind the term's name, in one go or by way of the ten; the value as computed."""
    right = total + term
    ten = _ten_between(total, right)
    if ten is not None and draft.decides_to("subgoal"):
        draft.say(f"goal {name} {operation(total, term)} :", SUBGOAL_SETTING)
        draft.say(f"{operation(total, ten - total)} = {signed(ten)} ,")
        draft.say(f"{operation(ten, right - ten)} = {signed(right)} .")
        return right
    if ten is not None and draft.decides_to("slip"):
        value = without_carry(total, right)
        draft.say(f"{name} {operation(total, term)} = {signed(value)} .", slipped=signed(value))
        return value
    draft.say(f"{name} {operation(total, term)} = {signed(right)} .")
    return right


def solve(metadata: dict[str, Any], draft: Draft) -> str:
    """Add up the terms; a step that fails its check is gone back to."""
    total, *terms = signed_terms(metadata["expression"])
    for name, term in zip(TERMS[1:], terms, strict=False):
        value = _add(name, total, term, draft)
        while draft.decides_to("verify"):
            undone = operation(value, -term)
            if value - term == total:
                draft.say(f"check {undone} = {signed(total)} ok .", VERIFICATION)
                break
            draft.say(f"check {undone} = {signed(value - term)} wrong .", VERIFICATION)
            draft.say(f"back to {signed(total)} .", BACKTRACKING)
            value = _add(name, total, term, draft)
        total = value
    return signed(total)
