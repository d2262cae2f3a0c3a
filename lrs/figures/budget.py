"""Figure of 06_assay: the loss budget, one stage of the method at a time."""

from textwrap import fill

import pandas as pd

from lrs.core.frames import each_row
from lrs.figures.palette import LIGHT, arm_color
from lrs.figures.parts import categories, decodings_in, draw_intervals, panels, percent_axis
from lrs.figures.style import PAGE, Sheet, count_range, styled

_WIDE = 48  # letters of a stage's name in a line


@styled
def budget_figure(table: pd.DataFrame) -> Sheet:
    """Gains over base in points, a panel a decoding, a line a stage with its interval.

    Args:
        table: of one backbone, what `lrs.report.budget.budget_table` returns.
    """
    decodings, stages = decodings_in(table["decoding"]), list(dict.fromkeys(table["stage"]))
    figure, axes = panels(1, len(decodings), PAGE, 0.9 + 0.3 * len(stages), sharex=True, sharey=True)
    for axis, decoding in zip(axes[0], decodings, strict=True):
        axis.axvline(0, color=LIGHT, linewidth=1, zorder=0)
        part = table[table["decoding"] == decoding].set_index("stage").loc[stages]
        for place, row in enumerate(each_row(part)):
            draw_intervals(axis, [row.gain], [place], [row.low], [row.high], arm_color(row.arm), size=4)
        axis.set_title(decoding)
        percent_axis(axis, "")
    categories(axes, [fill(stage, _WIDE) for stage in stages])
    figure.supxlabel("accuracy minus base (points)", size="medium")
    figure.counted = count_range(table["n"], "problems")
    return figure
