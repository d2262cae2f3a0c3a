"""Figure of 06_assay: what steps, thresholds, layer, latents and how causal rewards are trained do."""

from itertools import product

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from lrs.core.frames import each_row
from lrs.figures.palette import BLACK, LIGHT, arm_color, arm_label, looks_of
from lrs.figures.parts import (
    arm_handles,
    decodings_in,
    dodge,
    draw_intervals,
    ink_on,
    legend_above,
    panels,
    percent_axis,
)
from lrs.figures.style import COLUMN, Sheet, count_range, styled
from lrs.report.sentences import points
from lrs.report.sweep import GRIDS, LINES, swept_grid, swept_places

_NAMES = {
    "num_steps": "steps K",
    "step_size": "step size",
    "reward_quantile": "quantile of rewards",
    "confidence_quantile": "quantile of\nconfidences",
    "layer": "layer",
    "latents": "latents",
    "joint": "weight of the joint loss",
    "penalty": "penalty on the mean push",
    "temperature": "temperature in training",
    "value": "step size in training",
}
_ROW, _LINE, _AROUND = 0.27, 1.0, 0.55  # inches: of a map, for a line's panel, and for the labels of either
_ABREAST = 2  # of these


@styled
def swept_figure(table: pd.DataFrame) -> Sheet:
    """Gains over base on validation problems: a map of K by step size for each arm, one of the two thresholds for those
    with a gate, one of step sizes in training and in steering, and then what is varied alone, with intervals; two of
    these abreast, each with a panel a decoding.

    In a cell stand the gain in points and half the width of its interval.

    Args:
        table: of one backbone, what `lrs.bench.sweep.measure_sweep` returns.
    """
    places = {quantity: swept_places(table, quantity) for quantity in (*GRIDS, *LINES)}
    decodings, arms = decodings_in(table["decoding"]), list(table["arm"].unique())
    maps = [(quantity, arm) for quantity in GRIDS for arm in places[quantity]["arm"].unique()]
    lines = [quantity for quantity in LINES if len(places[quantity])]
    heights = [_ROW * places[quantity][GRIDS[quantity][1]].nunique() + _AROUND for quantity, _ in maps]
    heights += [_LINE + _AROUND] * len(lines)
    abreast = min(_ABREAST, len(heights))
    rows = [max(heights[first : first + abreast]) for first in range(0, len(heights), abreast)]
    figure, axes = panels(
        len(rows), abreast * len(decodings), abreast * COLUMN, 0.3 + sum(rows), height_ratios=rows, sharey=False
    )
    blocks = axes.reshape(-1, len(decodings))
    strongest = max([0.01, *(places[quantity]["delta"].abs().max() for quantity in GRIDS if len(places[quantity]))])
    for (block, (quantity, arm)), (column, decoding) in product(enumerate(maps), enumerate(decodings)):
        some = places[quantity].query("arm == @arm and decoding == @decoding")
        _draw_map(blocks[block, column], some, quantity, strongest)
        blocks[block, column].set_title(f"{arm_label(arm)}, {decoding}", fontsize=6.5)
    for (block, quantity), (column, decoding) in product(enumerate(lines, len(maps)), enumerate(decodings)):
        _draw_lines(blocks[block, column], places[quantity].query("decoding == @decoding"), arms)
        blocks[block, column].set_xlabel(_NAMES[quantity])
        blocks[block, column].set_title(decoding, fontsize=6.5)
    for block in blocks[: len(heights)]:
        lowest, highest = zip(*(axis.get_ylim() for axis in block), strict=True)
        for axis in block[1:]:
            axis.sharey(block[0])
            axis.tick_params(labelleft=False)
        if block[0].lines:  # as far as any panel reaches
            block[0].set_ylim(min(lowest), max(highest))
    for block in blocks[len(maps) : len(heights)]:
        percent_axis(block[0], "gain (points)", vertical=True)
    for quantity, block in zip([name for name, _ in maps], blocks, strict=False):
        block[0].set_ylabel(_NAMES[GRIDS[quantity][1]])
    for axis in blocks[len(heights) :].flat:
        axis.set_visible(False)
    legend_above(figure, arm_handles(looks_of(arms)) if lines else [])
    device = ", ".join(table["device"].unique())
    figure.counted = (
        f"{count_range(table['n'], 'validation problems')} · {device} · gains in points, ± half the width of the "
        "interval · boxed, dashed: the profile's own · *: beyond the cap on dose"
    )
    return figure


def _draw_map(axis: Axes, places: pd.DataFrame, quantity: str, strongest: float) -> None:
    """A grid in colours that are the same in all maps of a figure, with what they mean written in the cells."""
    x, y = GRIDS[quantity]
    grid = swept_grid(places, quantity)
    image = axis.imshow(grid.to_numpy(), cmap="PuOr_r", vmin=-strongest, vmax=strongest, aspect="auto")
    columns, rows = list(grid.columns), list(grid.index)
    for cell in each_row(places):
        column, row = columns.index(getattr(cell, x)), rows.index(getattr(cell, y))
        text = f"{points(cell.delta)}{'' if cell.within_cap else '*'}\n±{50 * (cell.delta_high - cell.delta_low):.1f}"
        color = ink_on(image, cell.delta)
        axis.text(column, row, text, ha="center", va="center", fontsize=5.5, color=color, linespacing=0.95)
        if cell.own:
            axis.add_patch(Rectangle((column - 0.47, row - 0.45), 0.94, 0.9, fill=False, edgecolor=BLACK, linewidth=1))
    axis.set_xticks(range(len(grid.columns)), [f"{value:g}" for value in grid.columns])
    axis.set_yticks(range(len(grid)), [f"{value:g}" for value in grid.index])
    axis.set_xlabel(_NAMES[x])
    axis.tick_params(length=0)


def _draw_lines(axis: Axes, places: pd.DataFrame, arms: list[str]) -> None:
    values = sorted(places["value"].unique())
    axis.axhline(0, color=LIGHT, linewidth=1, zorder=0)
    for own in places.loc[places["own"], "value"].unique():
        axis.axvline(values.index(own), color=LIGHT, linewidth=1, linestyle="--", zorder=0)
    for index, (arm, (marker, _)) in enumerate(looks_of(arms).items()):
        rows, color = places[places["arm"] == arm].sort_values("value"), arm_color(arm)
        x = [values.index(value) + dodge(index, len(arms), 0.3) for value in rows["value"]]
        axis.plot(x, rows["delta"], color=color, linewidth=0.8, alpha=0.6)
        ends = rows["delta_low"], rows["delta_high"]
        filled = "greedy" in set(rows["decoding"])
        draw_intervals(axis, x, rows["delta"], *ends, color, filled=filled, vertical=True, size=3, marker=marker)
        for place, row in zip(x, each_row(rows), strict=True):
            if not row.within_cap:
                axis.annotate("*", (place, row.delta_high), ha="center", va="bottom", fontsize=6.5, color=color)
    axis.margins(y=0.1)
    axis.set_xticks(range(len(values)), [f"{value:g}" for value in values])
