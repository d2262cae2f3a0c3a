"""Figures of 06_assay: which reward carries over to which benchmark, and to which backbone."""

import pandas as pd

from lrs.core.frames import each_row
from lrs.figures.palette import LIGHT, arm_color, arm_label
from lrs.figures.parts import (
    categories,
    decodings_in,
    dodge,
    draw_intervals,
    ink_on,
    legend_above,
    marker_handle,
    panels,
    percent_axis,
)
from lrs.figures.style import COLUMN, PAGE, Sheet, count_range, styled

_MARKERS = "os^vDP*X"  # of the backbone itself, and of others


@styled
def transfer_figure(table: pd.DataFrame) -> Sheet:
    """AUROC over traces of held-out problems: a row a benchmark that a reward learned from, a column one that it is
    asked about, and half the width of its interval.

    Args:
        table: of `lrs.bench.transfer.transfer_table`.
    """
    sources, asked = list(dict.fromkeys(table["learned_from"])), list(dict.fromkeys(table["asked_about"]))
    grid = table.pivot(index="learned_from", columns="asked_about", values="auroc").loc[sources, asked]
    half = (table["high"] - table["low"]) / 2
    width = table.assign(half=half).pivot(index="learned_from", columns="asked_about", values="half")
    figure, axes = panels(1, 1, COLUMN + 1.2, 1.3 + 0.36 * len(sources))
    (axis,) = axes[0]
    image = axis.imshow(grid.to_numpy(), cmap="PuOr_r", vmin=0.2, vmax=0.8, aspect="auto")
    for row, name in enumerate(sources):
        for column, other in enumerate(asked):
            value = grid.loc[name, other]
            text = f"{value:.2f}\n±{width.loc[name, other]:.2f}"
            axis.text(column, row, text, ha="center", va="center", fontsize=6, color=ink_on(image, value))
    axis.set_xticks(range(len(asked)), [name.replace("_", " ") for name in asked], rotation=25, ha="right")
    axis.set_yticks(range(len(sources)), [name.replace("_", " ") for name in sources])
    axis.set(xlabel="asked about", ylabel="learned from")
    axis.grid(visible=False)
    figure.colorbar(image, ax=axis, label="AUROC over traces", shrink=0.9)
    figure.counted = count_range(table["problems"], "held-out problems")
    return figure


@styled
def stitched_figure(table: pd.DataFrame) -> Sheet:
    """Points over base, all benchmarks pooled, a column a decoding: by what was learned on the backbone that is steered
    (dots), and by what was learned on others (a marker each).

    Args:
        table: of one backbone that is steered, of `lrs.report.stitched.stitched_table`.
    """
    arms, decodings = list(dict.fromkeys(table["arm"])), decodings_in(table["decoding"])
    sources = dict(zip(dict.fromkeys(table["learned_on"]), _MARKERS, strict=False))
    figure, axes = panels(1, len(decodings), PAGE, 1.0 + 0.3 * len(arms), sharex=True, sharey=True)
    for axis, decoding in zip(axes[0], decodings, strict=True):
        axis.axvline(0, color=LIGHT, linewidth=1, zorder=0)
        for row in each_row(table[table["decoding"] == decoding]):
            y = arms.index(row.arm) + dodge(list(sources).index(row.learned_on), len(sources))
            ends, marker = ([row.delta_low], [row.delta_high]), sources[row.learned_on]
            draw_intervals(axis, [row.delta], [y], *ends, arm_color(row.arm), marker=marker)
        axis.set_title(decoding)
        percent_axis(axis, "accuracy minus base (points)")
    categories(axes, [arm_label(arm) for arm in arms])
    itself = table["backbone"].iloc[0]
    names = {name: "itself" if name == itself else name for name in sources}
    legend_above(figure, [marker_handle(f"learned on {names[name]}", marker=m) for name, m in sources.items()])
    figure.counted = count_range(table["n"], "problems")
    return figure
