"""Sorting: take the least (or greatest) of what is left, again and again. The temptation is the second best; care
compares what was taken with each number left."""

from typing import Any

from lrs.tasks.behaviors import BACKTRACKING, VERIFICATION
from lrs.tasks.benchmarks import numbers_to_sort, spaced
from lrs.tutor.draft import Draft


def solve(metadata: dict[str, Any], draft: Draft) -> str:
    """Sort by selection; a choice that fails its check is gone back to."""
    left, rises = numbers_to_sort(metadata), metadata["direction"] == "ascending"
    ordered = []
    while len(left) > 1:
        ranked = sorted(left, reverse=not rises)
        taken = ranked[1] if draft.decides_to("slip") else ranked[0]
        draft.go_on_with(spaced(left), goal=f"{'least' if rises else 'most'} {spaced(left)}")
        draft.say(f"take {taken} .", slipped=str(taken) if taken != ranked[0] else "")
        while draft.decides_to("verify"):
            others = [number for number in left if number != taken]
            better = next((i for i, other in enumerate(others) if (other < taken) == rises), None)
            if better is None:
                draft.say(" ".join(f"check {taken} with {spaced(others)} ok .".split()), VERIFICATION)
                break
            draft.say(f"check {taken} with {spaced(others[: better + 1])} wrong .", VERIFICATION)
            draft.say(f"back to {spaced(left)} .", BACKTRACKING)
            taken = ranked[0]
            draft.say(f"take {taken} .")
        left.remove(taken)
        ordered.append(taken)
    return spaced([*ordered, *left])
