"""Figure of 06_assay: the gain that is known to be there, and what each method recovers of it."""

import pandas as pd
from matplotlib.lines import Line2D

from lrs.core.frames import each_row
from lrs.figures.palette import GREY, LIGHT, arm_color, arm_label
from lrs.figures.parts import (
    categories,
    decodings_in,
    dodge,
    draw_intervals,
    legend_above,
    marker_handle,
    panels,
    percent_axis,
)
from lrs.figures.style import PAGE, Sheet, count_range, styled
from lrs.report.comparison import COLORS, POOLED, pooled_where_many


@styled
def assay_figure(table: pd.DataFrame) -> Sheet:
    """Gains over base in points, a panel a decoding, a line a benchmark: the ceiling (grey, with its interval) and each
    method (with its own). With more methods than a page has lines, all benchmarks pooled alone, a line a method.

    Args:
        table: of one backbone, what `lrs.report.assay.assay_table` returns.
    """
    if table["benchmark"].nunique() == 2:  # one, and its pool
        table = table[table["benchmark"] != POOLED]
    table = pooled_where_many(table, "method")
    decodings, benchmarks = decodings_in(table["decoding"]), list(table["benchmark"].unique())
    methods = list(table["method"].unique())
    named = len(benchmarks) == 1 and len(methods) > COLORS
    room, half = (len(methods), len(methods) / 2) if named else (0.7, 0.42)  # of the lines, and the ceiling, of a place
    shade = 0.3 if named else 0.6
    height = len(methods) * 0.16 if named else len(benchmarks) * (0.16 + 0.1 * len(methods))
    figure, axes = panels(1, len(decodings), PAGE, 0.9 + height, sharex=True, sharey=True)
    for axis, decoding in zip(axes[0], decodings, strict=True):
        axis.axvline(0, color=LIGHT, linewidth=1, zorder=0)
        part = table[table["decoding"] == decoding]
        for index, benchmark in enumerate(benchmarks):
            rows, place = part[part["benchmark"] == benchmark], half - 0.5 if named else index
            known, ends = rows.iloc[0], (place - half, place + half)
            axis.vlines(known["ceiling"], *ends, color=GREY, linewidth=1.5, zorder=1)
            axis.fill_betweenx(ends, known["ceiling_low"], known["ceiling_high"], color=LIGHT, alpha=shade)
            for row in each_row(rows):
                y = place + dodge(methods.index(row.method), len(methods), room)
                draw_intervals(axis, [row.gain], [y], [row.gain_low], [row.gain_high], arm_color(row.method), size=3)
        axis.set_title(decoding)
        percent_axis(axis, "")
    categories(axes, [arm_label(arm) for arm in methods] if named else benchmarks)
    figure.supxlabel("accuracy minus base (points)", size="medium")
    ceiling = Line2D([], [], color=GREY, linewidth=1.5, label="ceiling: told how")
    colors = [] if named else [marker_handle(arm_label(arm), arm_color(arm)) for arm in methods]
    legend_above(figure, [ceiling, *colors])
    figure.counted = count_range(table["n"], "problems")
    return figure
