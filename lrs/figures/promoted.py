"""Figure of 09_paper: which behaviors each arm promotes, and where it wins."""

import pandas as pd

from lrs.figures.palette import BEHAVIOR_COLORS, BEHAVIOR_LABELS, GREY, LIGHT, arm_label
from lrs.figures.parts import draw_intervals, few_ticks, fitted, named_lines, panels, percent_axis
from lrs.figures.style import PAGE, Sheet, count_range, styled
from lrs.tasks.behaviors import BEHAVIORS

_LABELS = "in 100 tokens beyond base", "points of the arm's gain"
_LINE, _AROUND = 0.17, 1.2  # inches: of an arm, and for titles and labels


@styled
def promoted_figure(table: pd.DataFrame, decoding: str = "greedy") -> Sheet:
    """A line an arm, a panel a behavior: times in 100 tokens beyond base, with its interval (left), and the parts of
    the arm's gain (right): from problems with more of the behavior (coloured), with as much and with less (grey).

    Args:
        table: of one backbone, what `lrs.report.promoted.promoted_table` returns.
    """
    part = table[table["decoding"] == decoding]
    arms = list(part["arm"].unique())
    each, count = fitted(len(arms), _AROUND, _LINE), len(BEHAVIORS)
    figure, axes = panels(1, 2 * count, PAGE, _AROUND + each * len(arms), sharey=True)
    left, right = axes[0, :count], axes[0, count:]
    places = range(len(arms))
    for behavior, more, gain in zip(BEHAVIORS, left, right, strict=True):
        rows, color = part[part["behavior"] == behavior].set_index("arm").loc[arms], BEHAVIOR_COLORS[behavior]
        ends, size = (rows["density_low"], rows["density_high"]), min(3, 18 * each)
        draw_intervals(more, rows["density"], places, *ends, color, size=size)
        gain.barh(places, rows["gain_more"], 0.6, color=color, alpha=0.8)
        gain.plot(rows["gain_same"] + rows["gain_fewer"], places, "|", color=GREY, markersize=min(6, 35 * each))
    for half, label in zip((left, right), _LABELS, strict=True):
        for axis, behavior in zip(half, BEHAVIORS, strict=True):
            axis.sharex(half[0])
            axis.axvline(0, color=LIGHT, linewidth=1, zorder=0)
            axis.set_title(BEHAVIOR_LABELS[behavior].replace(" ", "\n"), fontsize=6.5)
            axis.tick_params(axis="x", labelsize=7)
        few_ticks(half[0], 2 * count)
        half[0].xaxis.set_major_formatter("{x:g}")
        half[1].set_xlabel(label, x=1.1)  # in the middle of the four
    percent_axis(right[0], "")
    named_lines(axes, [arm_label(arm) for arm in arms], each)
    figure.counted = count_range(part["n"], "problems")
    return figure
