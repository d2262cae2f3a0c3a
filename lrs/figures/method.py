"""The method at a glance: how the reward is learned, and what it then does to one token. A drawing, without data."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch, Rectangle

from lrs.figures.palette import BLACK, BLUE, GREY, ORANGE
from lrs.figures.parts import legend_above, panels
from lrs.figures.style import PAGE, Sheet, styled

_HEIGHT = 3.4  # inches, as is every place and length below
_FROZEN, _LEARNED, _STEERS = GREY, BLUE, ORANGE
_KINDS = {"frozen model": _FROZEN, "learned from traces": _LEARNED, "steering": _STEERS}
_TINT = 0.18  # opacity of what fills a box
_TEXT = 7.5  # points
_TOKENS = ("try", "24", "\N{MINUS SIGN}", "...", "15")
_LATENTS, _CELL = 6, 0.12
_ACTIVE = ((0, 3), (1, 4), (0, 2), (1, 5), (2, 4))  # of each token, the latents that are not zero
_REWARDS = (0.35, 0.55, 0.4, 0.7, 0.9)
_LEARNING, _STREAM, _DETOUR = 2.45, 0.25, 1.0  # heights of the three lines

Point = tuple[float, float]


@styled
def method_figure() -> Sheet:
    """Above, from traces to latents to a reward; below, the detour of one token: gate, ascent, write-back."""
    figure, axes = panels(1, 1, PAGE, _HEIGHT)
    axis = axes[0, 0]
    axis.set(xlim=(0, PAGE), ylim=(-0.02, _HEIGHT - 0.25))
    axis.axis("off")
    _draw_learning(axis)
    _draw_steering(axis)
    _arrow(axis, (3.7, 2.2), (3.15, 1.25), _LEARNED)
    _arrow(axis, (4.0, 2.2), (4.35, 1.25), _LEARNED)
    _label(axis, 3.33, 1.72, "$r_t$", ha="right")
    _label(axis, 4.33, 1.72, "gradient $g$ of the logit of $r_t$", ha="left")
    legend_above(figure, [Patch(facecolor=_tint(color), edgecolor=color, label=kind) for kind, color in _KINDS.items()])
    return figure


def _draw_learning(axis: Axes) -> None:
    axis.text(0, 3.03, "1  Learn from recorded traces", weight="bold")
    for place, token in enumerate(_TOKENS):
        _box(axis, (0.2 + 0.31 * place, _LEARNING), (0.29, 0.24), token, _FROZEN)
    _label(axis, 0.82, 2.0, "trace of the reasoner")
    _box(axis, (2.1, _LEARNING), (0.48, 0.46), "layer $L$\nSAE", _LEARNED)
    for place, active in enumerate(_ACTIVE):
        _draw_latents(axis, 2.52 + _CELL * place, active)
    _label(axis, 2.82, 2.0, "latents $z_1 \\ldots z_T$")
    _box(axis, (3.87, _LEARNING), (1.06, 0.5), "reward model\n$r_\\phi(z_{\\leq t})$", _LEARNED)
    for place, reward in enumerate(_REWARDS):
        corner = (4.64 + 0.14 * place, _LEARNING - 0.3)
        axis.add_patch(Rectangle(corner, 0.1, 0.6 * reward, facecolor=_LEARNED, linewidth=0))
    _label(axis, 4.97, 2.0, "rewards $r_1 \\ldots r_T$")
    _box(axis, (6.27, _LEARNING), (1.4, 0.5), "binary cross-entropy\nwith $y$, at every token", _LEARNED)
    for start, end in ((1.61, 1.84), (2.36, 2.5), (3.14, 3.32), (4.42, 4.6), (5.35, 5.55)):
        _arrow(axis, (start, _LEARNING), (end, _LEARNING))
    last = 0.2 + 0.31 * (len(_TOKENS) - 1)
    axis.plot([last, last, 6.27], [_LEARNING + 0.14, 2.88, 2.88], color=BLACK, linewidth=0.9)
    _arrow(axis, (6.27, 2.88), (6.27, _LEARNING + 0.27))
    _label(axis, 3.87, 2.95, "label: is the final answer right? $y$ = 1 or 0", va="bottom")


def _draw_steering(axis: Axes) -> None:
    axis.text(0, 1.5, "2  Repair fragile tokens as they are written", weight="bold")
    _box(axis, (0.5, _STREAM), (0.95, 0.46), "layers up to $L$", _FROZEN)
    _box(axis, (6.35, _STREAM), (1.25, 0.46), "layers above: token\n$t+1$, confidence $c_t$", _FROZEN)
    _arrow(axis, (0.99, _STREAM), (5.4, _STREAM))
    axis.add_patch(Circle((5.5, _STREAM), 0.09, facecolor="white", edgecolor=BLACK, linewidth=0.9))
    _label(axis, 5.5, _STREAM, "+")
    _arrow(axis, (5.59, _STREAM), (5.71, _STREAM))
    _label(axis, 1.12, _STREAM + 0.1, "$h_t$")
    _label(axis, 3.4, _STREAM + 0.1, "any other token: $h_t$ goes on unchanged")
    _arrow(axis, (1.4, _STREAM), (1.4, _DETOUR - 0.22))
    _box(axis, (1.4, _DETOUR), (0.42, 0.4), "SAE", _LEARNED)
    _draw_latents(axis, 1.83, _ACTIVE[2], _DETOUR)
    _label(axis, 1.89, _DETOUR - 0.46, "$z_t$")
    _box(axis, (2.9, _DETOUR), (1.3, 0.46), "gate\n$r_t < \\tau_r$ or $c_{t-1} < \\tau_c$", _STEERS)
    _box(
        axis, (4.4, _DETOUR), (1.2, 0.46), "ascent, $K$ times\n$z \\leftarrow z + \\alpha\\, g/\\Vert g\\Vert$", _STEERS
    )
    _box(axis, (5.85, _DETOUR), (1.2, 0.46), "write-back\n$(z' - z)\\, W_{\\rm dec}/s$", _STEERS)
    for start, end in ((1.63, 1.81), (1.97, 2.23), (3.57, 3.78), (5.02, 5.23)):
        _arrow(axis, (start, _DETOUR), (end, _DETOUR))
    _arrow(axis, (5.5, _DETOUR - 0.25), (5.5, _STREAM + 0.11), _STEERS)


def _draw_latents(axis: Axes, x: float, active: tuple[int, ...], middle: float = _LEARNING) -> None:
    """A token's latents, one above the other, those that are not zero filled; `x` is their left edge."""
    for number in range(_LATENTS):
        corner = (x, middle + _CELL * (_LATENTS / 2 - 1 - number))
        color = _LEARNED if number in active else "white"
        axis.add_patch(Rectangle(corner, _CELL, _CELL, facecolor=color, edgecolor=GREY, linewidth=0.5))


def _box(axis: Axes, middle: Point, size: Point, text: str, color: str) -> None:
    corner = (middle[0] - size[0] / 2, middle[1] - size[1] / 2)
    shape = "round,pad=0,rounding_size=0.05"
    axis.add_patch(FancyBboxPatch(corner, *size, shape, facecolor=_tint(color), edgecolor=color, linewidth=0.9))
    _label(axis, *middle, text, linespacing=1.4)


def _arrow(axis: Axes, start: Point, end: Point, color: str = BLACK) -> None:
    style: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 7, "shrinkA": 0, "shrinkB": 0, "linewidth": 0.9}
    axis.add_patch(FancyArrowPatch(start, end, color=color, **style))


def _label(axis: Axes, x: float, y: float, text: str, **options: Any) -> None:
    look: dict[str, Any] = {"ha": "center", "va": "center", "color": BLACK, "fontsize": _TEXT}
    axis.text(x, y, text, **look | options)


def _tint(color: str) -> tuple[str, float]:
    return color, _TINT
