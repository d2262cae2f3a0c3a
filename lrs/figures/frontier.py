"""Figure of what accuracy costs: methods that choose among attempts, and methods that steer, against tokens."""

from typing import Any

import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, ScalarFormatter

from lrs.core.frames import each_row
from lrs.figures.palette import BLACK, GREY, LIGHT, REWARD_COLORS, VERMILLION, arm_color, arm_label, looks_of
from lrs.figures.parts import draw_intervals, legend_above, marker_handle, panels, percent_axis
from lrs.figures.style import PAGE, Sheet, count_range, styled
from lrs.report.methods import GUIDED

_WARMER = "base, other temperatures"
_RING = "8"  # an octagon: circles are arms
_CHOICES = {
    "vote": VERMILLION,
    "ranked by token": REWARD_COLORS["token"],
    "ranked by history": REWARD_COLORS["history"],
}


@styled
def frontier_figure(table: pd.DataFrame) -> Sheet:
    """Accuracy against tokens a problem: lines, which begin at base's one sample (ring), are choices among 2, 4 and 8
    (dashed, light: a perfect choice); stars choices block by block, by the reward of that colour; dots are one sample
    (left) or greedy answer (right) of each arm.

    Args:
        table: of `lrs.bench.rivals.compare_rivals`.
    """
    arms = pd.concat([arms_in(table, decoding) for decoding in ("sampled", "greedy")])["arm"]
    colors = {_told(arm): arm_color(arm) for arm in dict.fromkeys(arms)}
    looks = looks_of(colors)
    figure, axes = panels(1, 2, PAGE, 2.7 + 0.07 * len(looks), sharex=True, sharey=True)
    start = table[table["method"] == "one"]
    for axis, decoding in zip(axes[0], ("sampled", "greedy"), strict=True):
        for method, color in {**_CHOICES, "any": LIGHT}.items():
            line = pd.concat([start, table[table["method"] == method]])
            style = "--" if method == "any" else "-"
            axis.plot(line["tokens"], line["accuracy"], style, color=color, linewidth=1, marker=".", markersize=4)
        for row in each_row(table[table["method"].str.startswith(GUIDED)]):
            color = REWARD_COLORS[row.method.removeprefix(GUIDED)]
            axis.plot([row.tokens], [row.accuracy], marker="*", color=color, markersize=6, linestyle="")
        draw_intervals(axis, start["tokens"], start["accuracy"], start["low"], start["high"], BLACK, vertical=True)
        for row in each_row(arms_in(table, decoding)):
            x, y, (marker, filled) = [row.tokens], [row.accuracy], looks[_told(row.arm)]
            draw_intervals(axis, x, y, [row.low], [row.high], arm_color(row.arm), filled, True, marker=marker)
        axis.plot(start["tokens"], start["accuracy"], _RING, color=BLACK, mfc="none", ms=8, zorder=3)
        axis.set_title("one sample of each arm" if decoding == "sampled" else "the greedy answer of each arm")
        axis.set(xscale="log", xlabel="tokens a problem")
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xticks([50, 100, 200, 400, 800])
    percent_axis(axes[0, 0], "accuracy (%)", vertical=True)
    handles = [marker_handle(name, color, looks[name][1], looks[name][0]) for name, color in colors.items()]
    point: dict[str, Any] = {"linewidth": 1, "marker": ".", "markersize": 4}
    lines = [Line2D([], [], color=color, label=name, **point) for name, color in _CHOICES.items()]
    lines += [Line2D([], [], color=LIGHT, linestyle="--", label="any of them right", **point)]
    lines += [Line2D([], [], color=BLACK, marker=_RING, mfc="none", ms=8, linestyle="", label="base, one sample")]
    stars = [Line2D([], [], linestyle="", marker="*", color=GREY, label="guided, block by block")]
    legend_above(figure, [*handles, *lines, *(stars if table["method"].str.startswith(GUIDED).any() else [])])
    figure.counted = count_range(table["n"], "problems")
    return figure


def _told(arm: str) -> str:
    """The name of an arm in the legend, where base has one for all of its other temperatures."""
    return _WARMER if arm.startswith("base at") else arm_label(arm)


def arms_in(table: pd.DataFrame, decoding: str) -> pd.DataFrame:
    """The rows of the profile's arms in one decoding, with their names as `arm`."""
    rows = table[table["method"].str.endswith(f", {decoding}")]
    return rows.assign(arm=rows["method"].str.rpartition(", ")[0])
