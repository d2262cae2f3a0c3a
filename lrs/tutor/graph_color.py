"""Graph coloring: one vertex after the other. The temptation is to overlook a neighbor; care looks each of them up."""

from typing import Any

from lrs.tasks.behaviors import BACKTRACKING, VERIFICATION
from lrs.tasks.benchmarks import VERTICES
from lrs.tutor.draft import Draft


def _extends(colors: list[int], earlier: list[list[int]], options: list[int]) -> bool:
    """Whether the coloring of the first vertices, right or wrong itself, can be gone on with to the end."""
    if len(colors) == len(earlier):
        return True
    taken = {colors[other] for other in earlier[len(colors)]}
    return any(_extends([*colors, color], earlier, options) for color in options if color not in taken)


def _color(vertex: int, colors: list[int], earlier: list[list[int]], options: list[int], draft: Draft) -> int:
    """A color for the next vertex: the first that leads on, or, after a slip, one that overlooks a neighbor."""
    near = earlier[vertex]
    if near and draft.decides_to("slip"):
        return colors[draft.rng.choice(near)]
    taken = {colors[other] for other in near}
    free = [color for color in options if color not in taken]
    leading = [color for color in free if _extends([*colors, color], earlier, options)]
    return (leading or free or options)[0]


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
    earlier = [[u for u in puzzle["vertices"] if [u, v] in puzzle["edges"] and u < v] for v in puzzle["vertices"]]
    colors: list[int] = []
    for vertex, near in enumerate(earlier):
        if near:
            draft.go_on_with(VERTICES[vertex])
        else:
            draft.say(f"left {VERTICES[vertex]} :")
        color = _color(vertex, colors, earlier, options, draft)
        draft.say(f"try {VERTICES[vertex]} {color} .")
        for _ in options:
            if not draft.decides_to("verify") or _verify(vertex, color, colors, near, draft):
                break
            draft.say(f"back to {VERTICES[vertex]} .", BACKTRACKING)
            color = _color(vertex, colors, earlier, options, draft)
            draft.say(f"try {VERTICES[vertex]} {color} .")
        colors.append(color)
    return " ".join(f"{VERTICES[vertex]} {color}" for vertex, color in enumerate(colors))
