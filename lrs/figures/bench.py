"""Figures of 08_bench: what every way to decode and steer costs."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from lrs.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LIGHT,
    PAGE,
    VERMILLION,
    categories,
    draw_intervals,
    legend_above,
    marker_handle,
    panels,
    styled,
)

_COLORS = {
    "hf_generate": GREY,
    "unsteered": BLACK,
    "lrs_token": BLUE,
    "lrs_history": GREEN,
    "naive": VERMILLION,
    "naive_history": VERMILLION,
}
_LABELS = {
    "hf_generate": "transformers generate",
    "unsteered": "our loop, unsteered",
    "lrs_token": "LRS",
    "lrs_history": "LRS (history)",
    "naive": "published loop",
    "naive_history": "published loop, whole history",
}
_QUANTITIES = {
    "batch": "rows side by side",
    "length": "new tokens",
    "num_steps": "ascent steps K",
    "d_sae": "latents",
    "width": "width of the reward model",
}


@styled
def speed_figure(costs: pd.DataFrame) -> Figure:
    """Tokens per second over those of our unsteered loop, a panel a workload; bars are the range over rounds.

    Args:
        costs: columns workload, path, tokens_per_s, ratio_to_unsteered and its _low and _high.
    """
    workloads, paths = list(costs["workload"].unique()), list(_LABELS)
    figure, axes = panels(1, len(workloads), PAGE, 0.9 + 0.24 * len(paths), sharey=True)
    for axis, workload in zip(axes[0], workloads, strict=True):
        rows = costs[costs["workload"] == workload]
        axis.axvline(1, color=LIGHT, linewidth=1, zorder=0)
        for row in rows.itertuples():
            place = paths.index(row.path)
            ends = [row.ratio_to_unsteered_low], [row.ratio_to_unsteered_high]
            draw_intervals(axis, [row.ratio_to_unsteered], [place], *ends, _COLORS[row.path])
            text, where = f"{row.tokens_per_s:,.0f}", axis.get_yaxis_transform()
            axis.text(1.02, place, text, transform=where, va="center", fontsize=7, color=GREY)
        axis.text(1.02, -0.8, "tokens/s", transform=axis.get_yaxis_transform(), va="center", fontsize=7, color=GREY)
        axis.set(xscale="log", title=workload, xlabel="speed over unsteered")
        axis.xaxis.set_major_locator(FixedLocator([0.01, 0.03, 0.1, 0.3, 1, 3]))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_locator(NullLocator())
    categories(axes, [_LABELS[path] for path in paths])
    return figure


@styled
def cost_curves_figure(curves: pd.DataFrame) -> Figure:
    """Milliseconds that a token of every row takes against one quantity at a time; bars are the range over rounds.

    Args:
        curves: columns quantity, value, path, milliseconds, low, high.
    """
    quantities, paths = list(curves["quantity"].unique()), list(curves["path"].unique())
    figure, axes = panels(2, -(-len(quantities) // 2), PAGE, 4.2, sharey=True)
    for axis, quantity in zip(axes.flat, quantities, strict=False):
        part = curves[curves["quantity"] == quantity]
        for path in paths:
            points = part[part["path"] == path].sort_values("value")
            x, y = points["value"], points["milliseconds"]
            axis.plot(x, y, color=_COLORS[path], linewidth=0.9)
            draw_intervals(axis, x, y, points["low"], points["high"], _COLORS[path], vertical=True)
        axis.set(xscale="log", xlabel=_QUANTITIES[quantity])
        axis.xaxis.set_major_locator(FixedLocator(sorted(part["value"].unique())))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_locator(NullLocator())
    axes[0, 0].set_ylim(0, 1.05 * curves["high"].max())
    for axis in axes[:, 0]:
        axis.set_ylabel("ms a token of every row")
    for axis in axes.flat[len(quantities) :]:
        axis.set_visible(False)
    legend_above(figure, [marker_handle(_LABELS[path], _COLORS[path]) for path in paths])
    return figure
