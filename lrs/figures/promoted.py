"""Figure of 09_paper: which behaviors each arm promotes, and where it wins."""

import pandas as pd

from lrs.figures.palette import BEHAVIOR_COLORS, BEHAVIOR_LABELS, GREY, LIGHT, arm_label
from lrs.figures.parts import categories, draw_intervals, panels, percent_axis
from lrs.figures.style import PAGE, Sheet, count_range, styled
from lrs.tasks.behaviors import BEHAVIORS

_LABELS = "per 100 tokens", "points of its gain"


@styled
def promoted_figure(table: pd.DataFrame, decoding: str = "greedy") -> Sheet:
    """A panel a behavior, a line an arm: times in 100 tokens beyond base, with its interval (above), and the parts of
    the arm's gain (below): from problems with more of the behavior (coloured), with as much and with less (grey).

    Args:
        table: of one backbone, what `lrs.report.promoted.promoted_table` returns.
    """
    part = table[table["decoding"] == decoding]
    arms = list(part["arm"].unique())
    height = 0.9 + 2 * (0.3 + 0.13 * len(arms))
    figure, axes = panels(2, len(BEHAVIORS), PAGE, height, sharey=True, sharex="row")
    for behavior, (above, below) in zip(BEHAVIORS, axes.T, strict=True):
        rows, color = part[part["behavior"] == behavior].set_index("arm").loc[arms], BEHAVIOR_COLORS[behavior]
        places = range(len(arms))
        for axis in (above, below):
            axis.axvline(0, color=LIGHT, linewidth=1, zorder=0)
        draw_intervals(above, rows["density"], places, rows["density_low"], rows["density_high"], color, size=3)
        below.barh(places, rows["gain_more"], 0.6, color=color, alpha=0.8)
        below.plot(rows["gain_same"] + rows["gain_fewer"], places, "|", color=GREY, markersize=6)
        above.set_title(BEHAVIOR_LABELS[behavior])
        percent_axis(below, "")
    categories(axes, [arm_label(arm) for arm in arms])
    for axis, label in zip(axes[:, 0], _LABELS, strict=True):
        axis.set_xlabel(label)
    figure.counted = count_range(part["n"], "problems")
    return figure
