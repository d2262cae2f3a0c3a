"""How every figure looks, and how it is saved: one colour an arm and a behavior, byte-identical files.

Colours are Okabe and Ito's, which colour-blind readers can tell apart. Widths are those of a two-column page.
"""

from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from lrs.tasks.behaviors import BACKTRACKING, BACKWARD_CHAINING, BEHAVIORS, SUBGOAL_SETTING, VERIFICATION

COLUMN, PAGE = 3.4, 7.0  # inches
ABREAST = 3  # panels that stand side by side on a page

BLACK, GREY, LIGHT = "#222222", "#777777", "#bbbbbb"
ORANGE, SKY, GREEN = "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, BLACK)

ARM_COLORS = {
    "base": BLACK,
    "cot": SKY,
    "few_shot": VERMILLION,
    "lrs_published": PURPLE,
    "lrs_basic": ORANGE,
    "lrs": BLUE,
    "lrs_history": GREEN,
}
ARM_LABELS = {
    "base": "Base",
    "cot": "CoT",
    "few_shot": "few-shot",
    "lrs_published": "LRS (published)",
    "lrs_basic": "LRS-Basic",
    "lrs": "LRS",
    "lrs_history": "LRS (history)",
}
BEHAVIOR_COLORS = {VERIFICATION: BLUE, BACKTRACKING: VERMILLION, SUBGOAL_SETTING: GREEN, BACKWARD_CHAINING: PURPLE}
BEHAVIOR_LABELS = {behavior: behavior.replace("_", " ") for behavior in BEHAVIORS}
CORRECT_COLORS = {True: BLUE, False: VERMILLION}
CORRECT_LABELS = {True: "correct", False: "wrong"}
DECODINGS = ("greedy", "sampled")  # drawn as a filled and as an open marker

STYLE = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "lines.linewidth": 1.3,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorator of every figure function: draw under `STYLE` whatever the notebook has set, and settle the layout."""

    @wraps(draw)
    def drawn(*arguments: object, **options: object) -> Figure:
        with plt.rc_context(STYLE):
            figure = draw(*arguments, **options)
            figure.draw_without_rendering()
        figure.set_layout_engine("none")  # constrained layout moves a little at every draw: files would differ
        return figure

    return drawn


def arm_color(arm: str) -> str:
    """The colour of an arm; controls share one grey."""
    return ARM_COLORS.get(arm, GREY)


def arm_label(arm: str) -> str:
    """The name of an arm as printed."""
    return ARM_LABELS.get(arm, arm.replace("_", " "))


def panels(rows: int, columns: int, width: float, height: float, **options: object) -> tuple[Figure, np.ndarray]:
    """A figure of `width` x `height` inches and its (rows, columns) axes.

    It is closed for pyplot, so that a notebook shows it once, where it is returned, and memory is given back.
    """
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False, **options)
    plt.close(figure)
    return figure, axes


def wrapped(rows: int, count: int, around: float, each: float, **options: object) -> tuple[Figure, np.ndarray]:
    """A page of `rows` times `count` panels, each row broken into lines of at most `ABREAST`, and (rows, count) axes.

    Lines are `each` inches high, and `around` is left for legends and labels.
    """
    columns = min(count, ABREAST)
    lines = -(-count // columns)
    figure, axes = panels(rows * lines, columns, PAGE, around + rows * lines * each, **options)
    by_row = axes.reshape(rows, lines * columns)
    for axis in by_row[:, count:].flat:
        axis.set_visible(False)
    for above in by_row[-1, count - columns : count]:
        above.tick_params(labelbottom=True)  # nothing but empty places below it
    return figure, by_row[:, :count]


def draw_intervals(axes: Axes, x, y, low, high, color: str, filled: bool = True, vertical: bool = False) -> None:
    """Dots with the interval low..high along x (or along y); arrays of one shape."""
    x, y, low, high = (np.asarray(values, dtype=float) for values in (x, y, low, high))
    center = y if vertical else x
    spread = np.stack([np.maximum(center - low, 0.0), np.maximum(high - center, 0.0)])
    axes.errorbar(
        x,
        y,
        **{"yerr" if vertical else "xerr": spread},
        fmt="o",
        color=color,
        markerfacecolor=color if filled else "white",
        markersize=4,
        markeredgewidth=1.0,
        elinewidth=1.1,
        capsize=0,
    )


def dodge(index: int, count: int, width: float = 0.6) -> float:
    """Offset of item `index` of `count` that share a place on an axis, symmetric about 0 and within `width`."""
    return (index - (count - 1) / 2) * width / count


def marker_handle(label: str, color: str = GREY, filled: bool = True) -> Line2D:
    """A legend entry for dots drawn by `draw_intervals`."""
    face = color if filled else "white"
    return Line2D([], [], marker="o", linestyle="", markersize=4, color=color, markerfacecolor=face, label=label)


def decoding_handles(decodings: Iterable[str]) -> list[Line2D]:
    """Legend entries that tell filled from open markers; none where there is one decoding only."""
    present = [decoding for decoding in DECODINGS if decoding in set(decodings)]
    return [marker_handle(name, filled=name == "greedy") for name in present] if len(present) > 1 else []


def legend_above(figure: Figure, handles: list, columns: int | None = None) -> None:
    """One legend for the whole figure, outside the axes and above them."""
    if handles:
        figure.legend(handles=handles, loc="outside upper center", ncols=columns or len(handles), handletextpad=0.3)


def percent_axis(axes: Axes, label: str, vertical: bool = False) -> None:
    """Label an axis that holds fractions in percent."""
    axis = axes.yaxis if vertical else axes.xaxis
    axis.set_major_formatter(FuncFormatter(lambda fraction, _: f"{100 * fraction:.6g}".replace("-", "\N{MINUS SIGN}")))
    axis.set_label_text(label)


def categories(axes: np.ndarray, labels: list[str]) -> None:
    """Name the places 0, 1, ... of the vertical axis, which all `axes` share; the first on top."""
    axes.flat[0].set_yticks(range(len(labels)), labels)
    axes.flat[0].set_ylim(len(labels) - 0.45, -0.55)
    for axis in axes.flat:
        axis.tick_params(axis="y", length=0)


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write `name`.png (200 dots an inch) and `name`.pdf to `folder`, without date or version of the program."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png", folder / f"{name}.pdf"]
    with plt.rc_context(STYLE):
        figure.savefig(paths[0], metadata={"Software": None})
        figure.savefig(paths[1], metadata={"CreationDate": None, "Creator": None, "Producer": None})
    return paths
