"""Figure of 09_paper: how much of each arm's gain goes through each behavior."""

import pandas as pd
from matplotlib.lines import Line2D

from lrs.figures.palette import BEHAVIOR_COLORS, BEHAVIOR_LABELS, BLACK, GREY, LIGHT, arm_label
from lrs.figures.parts import (
    decoding_handles,
    decodings_in,
    dodge,
    draw_intervals,
    fitted,
    legend_above,
    named_lines,
    panels,
    percent_axis,
)
from lrs.figures.style import PAGE, Sheet, count_range, styled
from lrs.report.mediation import ALL_FOUR
from lrs.tasks.behaviors import BEHAVIORS

_LINE, _AROUND = 0.24, 1.2  # inches: of an arm, and for titles, legends and labels
_EDGE = 0.05  # of what is drawn, on either side


@styled
def mediation_figure(table: pd.DataFrame) -> Sheet:
    """A panel a behavior and one for all four, a row an arm: the gain in points (tick), and what of it goes through the
    behavior (dot, with its interval), greedy above sampled; the broad grey line is where that dot could lie, were base
    wrong or right wherever it has no match. Such a line may leave the panel, which an arrow says: all of it would
    squeeze the rest.

    Args:
        table: of one backbone, what `lrs.report.mediation.mediation_table` returns.
    """
    arms, decodings = list(table["arm"].unique()), decodings_in(table["decoding"])
    each = fitted(len(arms), _AROUND, _LINE)
    figure, axes = panels(1, len(BEHAVIORS) + 1, PAGE, _AROUND + each * len(arms), sharey=True, sharex=True)
    ends = table[["total", "indirect_low", "indirect_high"]].to_numpy(dtype=float)
    low, high = min(0.0, float(ends.min())), max(0.0, float(ends.max()))
    left, right = low - _EDGE * (high - low) - 0.001, high + _EDGE * (high - low) + 0.001
    axes[0, 0].set_xlim(left, right)
    tick, dot = min(7, 35 * each), min(3, 18 * each)  # points
    for behavior, axis in zip((*BEHAVIORS, ALL_FOUR), axes[0], strict=True):
        color, part = BEHAVIOR_COLORS.get(behavior, BLACK), table[table["behavior"] == behavior]
        axis.axvline(0, color=LIGHT, linewidth=1, zorder=0)
        for index, decoding in enumerate(decodings):
            rows = part[part["decoding"] == decoding].set_index("arm").reindex(arms)
            places = [place + dodge(index, len(decodings)) for place in range(len(arms))]
            axis.hlines(places, rows["indirect_least"], rows["indirect_most"], color=LIGHT, linewidth=3, zorder=1)
            least, most = rows["indirect_least"], rows["indirect_most"]
            for beyond, edge, arrow in ((least < left, left, "<"), (most > right, right, ">")):
                cut = [at for at, leaves in zip(places, beyond, strict=True) if leaves]
                arrows = axis.plot([edge] * len(cut), cut, arrow, color=GREY, markersize=3, clip_on=False, zorder=3)
                arrows[0].set_in_layout(False)
            axis.plot(rows["total"], places, "|", color=GREY, markersize=tick, markeredgewidth=1.2, zorder=2)
            bounds = rows["indirect_low"], rows["indirect_high"]
            draw_intervals(axis, rows["indirect"], places, *bounds, color, decoding == "greedy", size=dot)
        axis.set_title(BEHAVIOR_LABELS.get(behavior, "all four").replace(" ", "\n"))
        axis.locator_params(axis="x", nbins=4)
        percent_axis(axis, "")
    named_lines(axes, [arm_label(arm) for arm in arms], each)
    figure.supxlabel("points of accuracy beyond base", fontsize="medium")
    gain = Line2D([], [], marker="|", linestyle="", markersize=7, color=GREY, label="gain of the arm")
    line = Line2D([], [], color=LIGHT, linewidth=3, label="where it could lie")
    through = Line2D([], [], marker="o", markersize=3, linewidth=1.1, color=BLACK, label="through the behavior")
    legend_above(figure, [gain, through, line, *decoding_handles(decodings)])
    figure.counted = count_range(table["n"], "problems")
    return figure
