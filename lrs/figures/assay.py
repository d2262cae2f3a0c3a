"""Figure of 06_assay: the gain that is known to be there, and what each method recovers of it."""

import pandas as pd

from lrs.core.frames import each_row
from lrs.figures.palette import GREY, LIGHT, arm_color, arm_label
from lrs.figures.parts import (
    columns_of,
    decoding_handles,
    decodings_in,
    dodge,
    draw_intervals,
    few_ticks,
    fitted,
    legend_above,
    name_columns,
    named_lines,
    panels,
    percent_axis,
)
from lrs.figures.style import PAGE, Sheet, count_range, styled

_LINE, _AROUND = 0.2, 1.2  # inches: of a method, and for titles, legends and labels
_CEILING = "ceiling: told how"


@styled
def assay_figure(table: pd.DataFrame) -> Sheet:
    """Gains over base in points, a column a benchmark, pooled first, a line a method, each with its interval; on the
    first line, and in grey through all of them (dashed: sampled), the ceiling.

    Args:
        table: of one backbone, what `lrs.report.assay.assay_table` returns.
    """
    decodings, benchmarks, methods = decodings_in(table["decoding"]), columns_of(table), list(table["method"].unique())
    each = fitted(len(methods) + 1, _AROUND, _LINE)
    height = _AROUND + each * (len(methods) + 1)
    figure, axes = panels(1, len(benchmarks), PAGE, height, sharex=True, sharey=True)
    for axis, benchmark in zip(axes[0], benchmarks, strict=True):
        axis.axvline(0, color=LIGHT, linewidth=1, zorder=0)
        for index, decoding in enumerate(decodings):
            rows = table[(table["benchmark"] == benchmark) & (table["decoding"] == decoding)]
            filled, shift = decoding == "greedy", dodge(index, len(decodings))
            known, size = rows.iloc[0], min(3.5, 20 * each)
            axis.axvline(known["ceiling"], color=GREY, linewidth=0.8, linestyle="-" if filled else "--", zorder=0)
            ends = [known["ceiling_low"]], [known["ceiling_high"]]
            draw_intervals(axis, [known["ceiling"]], [shift], *ends, GREY, filled, size=size)
            for row in each_row(rows):
                y = 1 + methods.index(row.method) + shift
                ends, color = ([row.gain_low], [row.gain_high]), arm_color(row.method)
                draw_intervals(axis, [row.gain], [y], *ends, color, filled, size=size)
    name_columns(axes[0], benchmarks)
    percent_axis(axes[0, 0], "")
    few_ticks(axes[0, 0], len(benchmarks))
    named_lines(axes, [_CEILING, *map(arm_label, methods)], each)
    figure.supxlabel("accuracy minus base (points)", size="medium")
    legend_above(figure, decoding_handles(decodings))
    figure.counted = count_range(table["n"], "problems")
    return figure
