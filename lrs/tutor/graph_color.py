"""Graph coloring: one vertex after the other. The temptation is to overlook a neighbor; care looks each of them up."""

from typing import Any

from lrs.tasks.behaviors import BACKTRACKING, VERIFICATION
from lrs.tasks.benchmarks import VERTICES, earlier_neighbors
from lrs.tutor.draft import Draft


def _extends(colors: list[int], earlier: list[list[int]], options: list[int]) -> bool:
    """Whether the coloring of the first vertices, right or wrong itself, can be gone on with to the end."""
    if len(colors) == len(earlier):
        return True
    taken = {colors[other] for other in earlier[len(colors)]}
    return any(_extends([*colors, color], earlier, options) for color in options if color not in taken)


def _try(vertex: int, colors: list[int], earlier: list[list[int]], options: list[int], draft: Draft) -> int:
    """Write a color for the next vertex: the first that leads on, or, after a slip, one that overlooks a neighbor."""
    near = earlier[vertex]
    if near and draft.decides_to("slip"):
        color = colors[draft.rng.choice(near)]
        draft.say(f"try {VERTICES[vertex]} {color} .", slipped=str(color))
        return color
    taken = {colors[other] for other in near}
    free = [color for color in options if color not in taken]
    leading = [color for color in free if _extends([*colors, color], earlier, options)]
    color = (leading or free or options)[0]
    draft.say(f"try {VERTICES[vertex]} {color} .")
    return color


def _verify(vertex: int, color: int, colors: list[int], near: list[int], draft: Draft) -> bool:
    """Look up the earlier neighbors' colors; stops at the first that clashes."""
    seen = []
    for other in near:
        seen.append(f"{VERTICES[other]} {colors[other]}")
        if colors[other] == color:
            draft.say(f"check {VERTICES[vertex]} {color} with {' , '.join(seen)} wrong .", VERIFICATION)
            return False
    draft.say(f"check {VERTICES[vertex]} {color} with {' , '.join(seen) or 'none'} ok .", VERIFICATION)
    return True


def solve(metadata: dict[str, Any], draft: Draft) -> str:
    """Color the vertices in order; a color that fails its check is gone back to, until none is left to try."""
    puzzle = metadata["puzzle"]
    options = puzzle["color_options"]
    earlier = earlier_neighbors(puzzle)
    colors: list[int] = []
    for vertex, near in enumerate(earlier):
        if near:
            draft.go_on_with(VERTICES[vertex])
        else:
            draft.say(f"left {VERTICES[vertex]} :")
        color = _try(vertex, colors, earlier, options, draft)
        for _ in options:
            if not draft.decides_to("verify") or _verify(vertex, color, colors, near, draft):
                break
            draft.say(f"back to {VERTICES[vertex]} .", BACKTRACKING)
            color = _try(vertex, colors, earlier, options, draft)
        colors.append(color)
    return " ".join(f"{VERTICES[vertex]} {color}" for vertex, color in enumerate(colors))
