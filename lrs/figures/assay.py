"""Figure of 06_assay: the gain that is known to be there, and what each method recovers of it."""

import pandas as pd
from matplotlib.lines import Line2D

from lrs.core.frames import each_row
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
from lrs.figures.style import GREY, LIGHT, PAGE, Sheet, arm_color, arm_label, count_range, styled
from lrs.report.comparison import POOLED


@styled
def assay_figure(table: pd.DataFrame) -> Sheet:
    """Gains over base in points, a panel a decoding, a line a benchmark: the ceiling (grey, with its interval) and each
    method (with its own).

    Args:
        table: of one backbone, what `lrs.report.assay.assay_table` returns.
    """
    if table["benchmark"].nunique() == 2:  # one, and its pool
        table = table[table["benchmark"] != POOLED]
    decodings, benchmarks = decodings_in(table["decoding"]), list(table["benchmark"].unique())
    methods = list(table["method"].unique())
    height = 0.9 + len(benchmarks) * (0.16 + 0.1 * len(methods))
    figure, axes = panels(1, len(decodings), PAGE, height, sharex=True, sharey=True)
    for axis, decoding in zip(axes[0], decodings, strict=True):
        axis.axvline(0, color=LIGHT, linewidth=1, zorder=0)
        part = table[table["decoding"] == decoding]
        for place, benchmark in enumerate(benchmarks):
            rows = part[part["benchmark"] == benchmark]
            known = rows.iloc[0]
            span = {"ymin": place - 0.42, "ymax": place + 0.42}
            axis.vlines(known["ceiling"], span["ymin"], span["ymax"], color=GREY, linewidth=1.5, zorder=1)
            axis.fill_betweenx(list(span.values()), known["ceiling_low"], known["ceiling_high"], color=LIGHT, alpha=0.6)
            for row in each_row(rows):
                y = place + dodge(methods.index(row.method), len(methods), 0.7)
                draw_intervals(axis, [row.gain], [y], [row.gain_low], [row.gain_high], arm_color(row.method), size=3)
        axis.set_title(decoding)
        percent_axis(axis, "")
    categories(axes, benchmarks)
    figure.supxlabel("accuracy minus base (points)", size="medium")
    ceiling = Line2D([], [], color=GREY, linewidth=1.5, label="ceiling: told how")
    legend_above(figure, [ceiling, *(marker_handle(arm_label(arm), arm_color(arm)) for arm in methods)])
    figure.counted = count_range(table["n"], "problems")
    return figure
