"""Figure of the power analysis: how often a headroom of known size is found, and how much of it."""

import pandas as pd

from lrs.figures.palette import LIGHT, arm_color, looks_of
from lrs.figures.parts import arm_handles, decodings_in, dodge, draw_intervals, legend_above, panels, percent_axis
from lrs.figures.style import PAGE, Sheet, count_range, styled
from lrs.report.power import FOUND, power_table

_APART = 0.006  # of all headroom, between the methods


@styled
def power_figure(runs: pd.DataFrame, level: float) -> Sheet:
    """Detection rate (above, with Wilson intervals over runs) and gain (below, a dot a run, means joined; on the dashed
    line all of the headroom is recovered) against the headroom planted; a column a decoding.

    Args:
        runs: of `lrs.bench.power.measure_power`.
        level: of confidence.
    """
    table, methods, decodings = power_table(runs, level), list(runs["method"].unique()), decodings_in(runs["decoding"])
    figure, axes = panels(2, len(decodings), PAGE, 3.8, sharex="col", sharey="row")
    looks = looks_of(methods)
    for column, decoding in zip(axes.T, decodings, strict=True):
        above, below = column
        above.axhline(FOUND, color=LIGHT, linewidth=1, linestyle="--", zorder=0)
        below.axhline(0, color=LIGHT, linewidth=1, zorder=0)
        most = table["headroom"].max()
        below.plot([0, most], [0, most], color=LIGHT, linewidth=1, linestyle="--", zorder=0)
        for index, method in enumerate(methods):
            rows = table[(table["method"] == method) & (table["decoding"] == decoding)].sort_values("headroom")
            shift, color = dodge(index, len(methods), len(methods) * _APART), arm_color(method)
            marker, filled = looks[method]
            x = rows["headroom"] + shift
            above.plot(x, rows["rate"], color=color, linewidth=0.9)
            ends = rows["rate_low"], rows["rate_high"]
            draw_intervals(above, x, rows["rate"], *ends, color, filled, vertical=True, size=3.5, marker=marker)
            single = runs[(runs["method"] == method) & (runs["decoding"] == decoding)]
            below.plot(single["ceiling"] + shift, single["gain"], marker, color=color, markersize=2.5, alpha=0.6)
            below.plot(x, rows["gain"], color=color, linewidth=0.9)
        above.set_title(decoding)
        percent_axis(below, "headroom planted (points)")
    percent_axis(axes[0, 0], "runs that found it (%)", vertical=True)
    percent_axis(axes[1, 0], "gain over base (points)", vertical=True)
    axes[0, 0].set_ylim(-0.05, 1.05)
    legend_above(figure, arm_handles(looks))
    runs_told, asked = count_range(table["runs"], "runs a dose"), count_range(table["n"], "problems a run")
    dashed = f"dashed: {FOUND:.0%} of the runs, and all of the headroom"
    figure.counted = f"{runs_told} · {asked} · bars: {level:.0%} intervals · {dashed}"
    return figure
