"""Parts that figures are put together from: panels, dots with intervals, axes and legends."""

from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import ArrayLike

from lrs.figures.palette import BLACK, GREY, LIGHT, Dashes, arm_color, arm_label
from lrs.figures.style import DECODINGS, PAGE, Sheet
from lrs.report.comparison import POOLED

_DARK = 0.5  # luminance below which a cell is too dark for black letters
_LUMINANCE = (0.299, 0.587, 0.114)  # shares of red, green and blue (ITU-R BT.601)

ABREAST = 3  # panels that stand side by side on a page
_TALL = 9.1  # inches of a page; a figure's foot has the rest of them
_POINTS, _LETTERS = 72, 0.8  # an inch; and the share of a line that its letters take


def panels(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple[Sheet, np.ndarray]:
    """A figure of `width` x `height` inches, foot not counted, and its (rows, columns) axes.

    It is closed for pyplot, so that a notebook shows it once, where it is returned, and memory is given back.
    """
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False, FigureClass=Sheet, **options)
    plt.close(figure)
    return figure, axes


def wrapped(
    rows: int, count: int, around: float, each: float, abreast: int = ABREAST, **options: Any
) -> tuple[Sheet, np.ndarray]:
    """A page of `rows` times `count` panels, each row broken into as few lines of at most `abreast` as it takes, all
    but the last as long, and (rows, count) axes.

    Lines are `each` inches high, and `around` is left for legends and labels.
    """
    lines = -(-count // abreast)
    columns = -(-count // lines)
    figure, axes = panels(rows * lines, columns, PAGE, around + rows * lines * each, **options)
    by_row = axes.reshape(rows, lines * columns)
    for axis in by_row[:, count:].flat:
        axis.set_visible(False)
    for above in by_row[-1, count - columns : count]:
        above.tick_params(labelbottom=True)  # nothing but empty places below it
    return figure, by_row[:, :count]


def draw_intervals(
    axes: Axes,
    x: ArrayLike,
    y: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    color: str,
    filled: bool = True,
    vertical: bool = False,
    size: float = 4,
    marker: str = "o",
) -> None:
    """Dots of `size` points with the interval low..high along x (or along y); arrays of one shape."""
    x, y, low, high = (np.asarray(values, dtype=float) for values in (x, y, low, high))
    center = y if vertical else x
    spread = np.stack([np.maximum(center - low, 0.0), np.maximum(high - center, 0.0)])
    axes.errorbar(
        x,
        y,
        xerr=None if vertical else spread,
        yerr=spread if vertical else None,
        fmt=marker,
        color=color,
        markerfacecolor=color if filled else "white",
        markersize=size,
        markeredgewidth=1.0,
        elinewidth=1.1,
        capsize=0,
    )


def draw_band(axes: Axes, x: ArrayLike, rows: pd.DataFrame, color: str, label: str, style: Dashes = "-") -> None:
    """A line of means in a band from `low` to `high`."""
    axes.plot(x, rows["mean"], color=color, linestyle=style, label=label)
    axes.fill_between(x, rows["low"], rows["high"], color=color, alpha=0.2, linewidth=0)


def ink_on(image: AxesImage, value: float) -> str:
    """Of letters that can be read on the cell of an image that shows a value."""
    return "white" if np.dot(_LUMINANCE, image.to_rgba(np.asarray(value))[:3]) < _DARK else BLACK


def dodge(index: int, count: int, width: float = 0.6) -> float:
    """Offset of item `index` of `count` that share a place on an axis, symmetric about 0 and within `width`."""
    return (index - (count - 1) / 2) * width / count


def beside(axes: Axes, y: float, text: str, points: float = 4, size: float = 7) -> None:
    """Small grey text at height `y` (of the data), `points` to the right of the axes."""
    axes.annotate(
        text,
        (1, y),
        xycoords=("axes fraction", "data"),
        xytext=(points, 0),
        textcoords="offset points",
        va="center",
        fontsize=size,
        color=GREY,
        annotation_clip=False,
    )


def marker_handle(label: str, color: str = GREY, filled: bool = True, marker: str = "o") -> Line2D:
    """A legend entry for dots drawn by `draw_intervals`."""
    face = color if filled else "white"
    return Line2D([], [], marker=marker, linestyle="", markersize=4, color=color, markerfacecolor=face, label=label)


def arm_handles(looks: Mapping[str, tuple[str, bool]]) -> list[Line2D]:
    """Legend entries of arms that `looks_of` tells apart."""
    return [marker_handle(arm_label(arm), arm_color(arm), filled, marker) for arm, (marker, filled) in looks.items()]


def decodings_in(decodings: Iterable[str]) -> list[str]:
    """The decodings that occur, greedy first."""
    present = set(decodings)
    return [decoding for decoding in DECODINGS if decoding in present]


def decoding_handles(decodings: Iterable[str]) -> list[Line2D]:
    """Legend entries that tell filled from open markers; none where there is one decoding only."""
    present = decodings_in(decodings)
    return [marker_handle(name, filled=name == "greedy") for name in present] if len(present) > 1 else []


_HANDLE, _LETTER = 0.45, 0.058  # inches that an entry of a legend takes, and each of its letters


def legend_above(figure: Figure, handles: list, columns: int | None = None) -> None:
    """One legend for the whole figure, outside the axes and above them, in as many columns as it has room for."""
    if handles:
        longest = max(len(handle.get_label()) for handle in handles)
        room = int(figure.get_figwidth() / (_HANDLE + _LETTER * longest))
        ncols = min(columns or len(handles), max(1, room))
        figure.legend(handles=handles, loc="outside upper center", ncols=ncols, handletextpad=0.3)


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


def fitted(lines: float, around: float, most: float) -> float:
    """Inches a line: `most`, or as many as let a page hold all `lines` and the inches `around` them."""
    return min(most, (_TALL - around) / lines)


def letters(each: float, most: float = 8) -> float:
    """Points of the letters of lines that are `each` inches high."""
    return min(most, _LETTERS * _POINTS * each)


def named_lines(axes: np.ndarray, labels: list[str], each: float) -> None:
    """As `categories`, of lines that are `each` inches high and are ruled through all `axes`."""
    categories(axes, labels)
    for axis in axes.flat:
        axis.tick_params(axis="y", labelsize=letters(each))
        axis.grid(axis="y", color=LIGHT, linewidth=0.4, alpha=0.5)
        axis.set_axisbelow(True)


def columns_of(table: pd.DataFrame) -> list[str]:
    """The benchmarks of a table in the order of a figure's columns: pooled first; of a single one, no pool."""
    single = [benchmark for benchmark in table["benchmark"].unique() if benchmark != POOLED]
    return [POOLED, *single] if len(single) > 1 and POOLED in set(table["benchmark"]) else single


def few_ticks(axis: Axes, columns: int) -> None:
    """As many ticks along x as a panel has room for of which `columns` stand side by side."""
    axis.xaxis.set_major_locator(MaxNLocator(2 if columns > ABREAST + 1 else 4, steps=[1, 2, 3, 4, 5, 10]))


def name_columns(axes: np.ndarray, benchmarks: list[str]) -> None:
    """Titles of a row of panels, in lines where these are narrow."""
    apart = "\n" if len(benchmarks) > ABREAST else " "
    for axis, benchmark in zip(axes, benchmarks, strict=True):
        axis.set_title(benchmark.replace("_", apart), fontsize=7)
