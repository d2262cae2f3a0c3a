"""Figure of 04_select: the grid searched on validation, and the rule by which one setting was chosen."""

from itertools import product
from textwrap import fill

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from lrs.core.frames import each_row
from lrs.figures.palette import BLACK, GREY, LIGHT, arm_color, arm_label, dashes_of
from lrs.figures.parts import decodings_in, draw_intervals, fitted, legend_above, panels, percent_axis, wrapped
from lrs.figures.style import PAGE, Sheet, count_range, styled

_SERIES = ["num_steps", "reward_quantile", "confidence_quantile"]
_ABREAST, _TITLE = 6, 20  # arms, more are broken into lines; and letters of a title there
_EACH, _AROUND = 1.3, 1.4  # inches: of such a line, and for legends and labels


def _series_name(values: dict[str, float]) -> str:
    parts = [f"K {values['num_steps']:.0f}"]
    for column, symbol in (("reward_quantile", "reward"), ("confidence_quantile", "confidence")):
        if column in values and not pd.isna(values[column]):
            parts.append(f"{symbol} q {values[column]:.3g}")
    return ", ".join(parts)


def _draw_rule(axes: Axes, part: pd.DataFrame, cap: float) -> None:
    """What lies beyond the cap, and the setting of an arm that was chosen."""
    chosen = part[part["chosen"]]
    axes.axvspan(cap, 10 * max(cap, part["dose"].max()), color=LIGHT, alpha=0.4, linewidth=0, zorder=0)
    axes.plot(chosen["dose"], chosen["delta"], "o", color=BLACK, mfc="none", markersize=10)


@styled
def grid_figure(grid: pd.DataFrame, cap: float) -> Sheet:
    """Validation difference to base against dose, a row a decoding, a panel an arm, a line a setting of K and gate.

    Shows the rule: of the settings within the cap on dose (what lies beyond is grey), the most accurate is chosen
    (ringed). Small numbers are step sizes.

    Args:
        grid: columns arm, decoding, step_size, num_steps, reward_quantile (NaN where there is no gate), delta,
            delta_low, delta_high (fractions), dose (nats a token), chosen, n (problems), and perhaps
            confidence_quantile.
        cap: nats a token.
    """
    arms, decodings = list(grid["arm"].unique()), decodings_in(grid["decoding"])
    columns = [column for column in _SERIES if column == "num_steps" or (column in grid and grid[column].nunique() > 1)]
    names = grid[columns].apply(lambda row: _series_name(row.to_dict()), axis=1)
    lines = dashes_of(sorted(names.unique()))
    crowded = len(arms) > _ABREAST
    if crowded:
        each = fitted(len(decodings) * -(-len(arms) // _ABREAST), _AROUND, _EACH)
        figure, axes = wrapped(len(decodings), len(arms), _AROUND, each, _ABREAST, sharey=True)
    else:
        width = max(0.5 * PAGE, min(PAGE, 2.4 * len(arms)))
        figure, axes = panels(len(decodings), len(arms), width, 1.0 + 1.6 * len(decodings), sharey=True)
    for (row, decoding), (column, arm) in product(enumerate(decodings), enumerate(arms)):
        axis, color = axes[row, column], arm_color(arm)
        axis.axhline(0, color=LIGHT, linewidth=1, zorder=0)
        part = grid[(grid["arm"] == arm) & (grid["decoding"] == decoding)].sort_values("dose")
        _draw_rule(axis, part, cap)
        for name, points in part.groupby(names, sort=False):
            axis.plot(points["dose"], points["delta"], color=color, linestyle=lines[name], linewidth=0.8, alpha=0.6)
        ends = part["delta_low"], part["delta_high"]
        draw_intervals(axis, part["dose"], part["delta"], *ends, color, filled=decoding == "greedy", vertical=True)
        for index, setting in enumerate(each_row(part)):
            place = {"xytext": (5, -10 if index % 2 else 4), "textcoords": "offset points"}  # neighbours stand close
            axis.annotate(f"{setting.step_size:g}", (setting.dose, setting.delta), **place, fontsize=6.5, color=GREY)
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(numticks=2 if crowded else 4))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlim(0.5 * part["dose"].min(), 2 * max(cap, part["dose"].max()))
        if crowded or not row:
            title = fill(arm_label(arm), _TITLE) if crowded else arm_label(arm)
            axis.set_title(title, fontsize=6.5 if crowded else None)
        if crowded:
            axis.tick_params(axis="x", labelsize=7)
    figure.supxlabel("dose (nats of KL divergence a token)", size="medium")
    low, high = axes[0, 0].get_ylim()
    axes[0, 0].set_ylim(min(low, -0.01), max(high, 0.01))
    for row, decoding in enumerate(decodings):
        percent_axis(axes[row, 0], f"{decoding} gain (points)", vertical=True)
    shown = [
        Line2D([], [], color=LIGHT, marker="s", ms=6, alpha=0.6, linestyle="", label="beyond the cap"),
        Line2D([], [], color=BLACK, marker="o", mfc="none", ms=8, linestyle="", label="chosen"),
    ]
    series = [Line2D([], [], color=GREY, linestyle=line, linewidth=0.8, label=name) for name, line in lines.items()]
    legend_above(figure, shown + series * (len(series) > 1), columns=min(len(arms), _ABREAST) + 1)
    figure.counted = f"{count_range(grid['n'], 'validation problems')} · small numbers: step size"
    return figure
