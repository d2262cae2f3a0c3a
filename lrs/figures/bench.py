"""Figures of 08_bench: what every way to decode and steer costs."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from lrs.core.frames import each_row
from lrs.figures.palette import LIGHT, PATH_COLORS, PATH_LABELS
from lrs.figures.parts import beside, categories, dodge, draw_intervals, legend_above, marker_handle, panels, wrapped
from lrs.figures.style import PAGE, Sheet, count_range, styled

_QUANTITIES = {
    "batch": "rows side by side",
    "length": "new tokens",
    "num_steps": "ascent steps K",
    "d_sae": "latents",
    "width": "width of the reward model",
}


def _device(table: pd.DataFrame) -> str:
    """What it was measured on, in words."""
    return f"measured on {', '.join(table['device'].unique())} · model {', '.join(table['model'].unique())}"


def _log_ticks(axes: Axes, places: list[float], labels: list[str] | None = None) -> None:
    """A logarithmic horizontal axis with these ticks and no others."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_minor_locator(NullLocator())
    if labels:
        axes.xaxis.set_ticklabels(labels)
    else:
        axes.xaxis.set_major_formatter("{x:g}")


@styled
def speed_figure(costs: pd.DataFrame) -> Sheet:
    """Tokens per second over those of our unsteered loop, a panel a workload; bars are the range over rounds, and a
    path without one was run once.

    Args:
        costs: columns device, model, workload, path, problems, rounds, tokens_per_s, ratio_to_unsteered and its _low
            and _high.
    """
    workloads, paths = list(costs["workload"].unique()), [path for path in PATH_LABELS if path in set(costs["path"])]
    figure, axes = wrapped(1, len(workloads), 0.9, 0.24 * len(paths), sharex=True, sharey=True)
    for axis, workload in zip(axes[0], workloads, strict=True):
        axis.axvline(1, color=LIGHT, linewidth=1, zorder=0)
        for row in each_row(costs[costs["workload"] == workload]):
            place = paths.index(row.path)
            ends = [row.ratio_to_unsteered_low], [row.ratio_to_unsteered_high]
            draw_intervals(axis, [row.ratio_to_unsteered], [place], *ends, PATH_COLORS[row.path])
            beside(axis, place, f"{row.tokens_per_s:,.0f}")
        beside(axis, -0.8, "tokens/s")
        axis.set_title(workload.replace(", ", "\n"))
        _log_ticks(axis, [0.01, 0.03, 0.1, 0.3, 1, 3])
    categories(axes, [PATH_LABELS[path] for path in paths])
    figure.supxlabel("speed over unsteered", size="medium")
    problems, rounds = count_range(costs["problems"], "problems a path"), count_range(costs["rounds"], "rounds")
    figure.counted = f"{_device(costs)} · {problems} · {rounds}"
    return figure


@styled
def cost_curves_figure(curves: pd.DataFrame) -> Sheet:
    """Time a token over that of our unsteered loop, against one quantity at a time; bars are the range over rounds.

    Below each value is how many milliseconds unsteered takes for a token of every row.

    Args:
        curves: what `lrs.bench.tables.cost_curves` returns.
    """
    unsteered = curves[curves["path"] == "unsteered"].set_index(["quantity", "value"])["milliseconds"]
    quantities, paths = list(curves["quantity"].unique()), list(curves["path"].unique())
    figure, axes = panels(2, -(-len(quantities) // 2), PAGE, 4.4, sharey=True)
    for axis, quantity in zip(axes.flat, quantities, strict=False):
        times = unsteered[quantity].sort_index()
        apart = (times.index.max() / times.index.min()) ** 0.02  # so that no path hides another
        for index, path in enumerate(paths):
            points = curves[(curves["quantity"] == quantity) & (curves["path"] == path)].sort_values("value")
            x, y = points["value"] * apart ** dodge(index, len(paths), len(paths)), points["ratio"]
            axis.plot(x, y, color=PATH_COLORS[path], linewidth=0.9)
            ends = points["ratio_low"], points["ratio_high"]
            draw_intervals(axis, x, y, *ends, PATH_COLORS[path], vertical=True, size=3.5)
        _log_ticks(axis, list(times.index), [f"{value:g}\n{taken:.2g}" for value, taken in times.items()])
        axis.set_xlabel(_QUANTITIES[quantity])
    for axis in axes[:, 0]:
        axis.set_ylabel("time a token over unsteered")
    for axis in axes.flat[len(quantities) :]:
        axis.set_visible(False)
    legend_above(figure, [marker_handle(PATH_LABELS[path], PATH_COLORS[path]) for path in paths])
    figure.counted = f"{_device(curves)} · below each value: milliseconds that unsteered takes for a token of every row"
    return figure
