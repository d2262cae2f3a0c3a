"""Figure of what a sweep finds where there is nothing, beside what the paper reports."""

import pandas as pd

from lrs.core.frames import each_row
from lrs.figures.palette import BLUE, LIGHT, ORANGE, SKY, VERMILLION
from lrs.figures.parts import categories, dodge, draw_intervals, legend_above, marker_handle, panels, percent_axis
from lrs.figures.style import PAGE, Sheet, styled

_SHADES = (SKY, BLUE, ORANGE)


@styled
def sweep_figure(table: pd.DataFrame) -> Sheet:
    """The best gain of a sweep of settings that are worth nothing, with its central interval, by how many answers a
    setting changes; and the gain that the paper reports (its number). A panel a backbone, a line a benchmark.

    Args:
        table: of `lrs.report.chance.sweep_table`.
    """
    backbones, shares = list(table["backbone"].unique()), sorted(table["discordant"].unique())
    rows = table.drop_duplicates(["benchmark"])
    names = [f"{row.benchmark}\n{row.settings} settings, {row.n} problems" for row in each_row(rows)]
    figure, axes = panels(1, len(backbones), PAGE, 0.9 + 0.45 * len(names), sharey=True, sharex=True)
    for axis, backbone in zip(axes[0], backbones, strict=True):
        axis.axvline(0, color=LIGHT, linewidth=1, zorder=0)
        part = table[table["backbone"] == backbone]
        for place, benchmark in enumerate(rows["benchmark"]):
            cell = part[part["benchmark"] == benchmark]
            for index, share in enumerate(shares):
                row = cell[cell["discordant"] == share]  # none where so few are right that no such share can change
                y = [place + dodge(index, len(shares), 0.6)] * len(row)
                color = _SHADES[index % len(_SHADES)]
                draw_intervals(axis, row["by_chance"], y, row["by_chance_low"], row["by_chance_high"], color)
            axis.vlines(cell["claimed"].head(1), place - 0.42, place + 0.42, color=VERMILLION, linewidth=1.6)
        axis.set_title(backbone)
        percent_axis(axis, "")
    categories(axes, names)
    figure.supxlabel("gain over base (points)", size="medium")
    handles = [
        marker_handle(f"by chance, {share:.0%} of answers changed", _SHADES[index % len(_SHADES)])
        for index, share in enumerate(shares)
    ]
    claimed = marker_handle("reported by Li et al.", VERMILLION)
    legend_above(figure, [*handles, claimed])
    figure.counted = (
        "dots and bars: means and central intervals of simulated sweeps; none where too few are right to change"
    )
    return figure
