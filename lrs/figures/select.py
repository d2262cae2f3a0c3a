"""Figure of 04_select: the grid searched on validation."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lrs.figures.style import (
    BLACK,
    LIGHT,
    PAGE,
    PALETTE,
    arm_label,
    dodge,
    draw_intervals,
    legend_above,
    panels,
    percent_axis,
    styled,
)

_SERIES = ["num_steps", "reward_quantile", "confidence_quantile"]


def _series_name(values: dict[str, float]) -> str:
    parts = [f"K {values['num_steps']:.0f}"]
    for column, symbol in (("reward_quantile", "reward"), ("confidence_quantile", "confidence")):
        if column in values and not pd.isna(values[column]):
            parts.append(f"{symbol} q {values[column]:g}")
    return ", ".join(parts)


@styled
def grid_figure(grid: pd.DataFrame) -> Figure:
    """Validation difference to base against step size, a panel an arm, a colour a setting; the chosen one ringed.

    Args:
        grid: columns arm, step_size, num_steps, reward_quantile (NaN where there is no gate), delta, delta_low,
            delta_high, chosen, and perhaps confidence_quantile; deltas are fractions.
    """
    arms, sizes = list(grid["arm"].unique()), sorted(grid["step_size"].unique())
    columns = [column for column in _SERIES if column == "num_steps" or (column in grid and grid[column].nunique() > 1)]
    figure, axes = panels(1, len(arms), max(0.5 * PAGE, min(PAGE, 2.4 * len(arms))), 2.6, sharey=True)
    settings = grid[columns].drop_duplicates().sort_values(columns, na_position="first")
    names = [_series_name(setting) for setting in settings.to_dict("records")]
    colors = {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(names)}
    for axis, arm in zip(axes[0], arms, strict=True):
        axis.axhline(0, color=LIGHT, linewidth=1, zorder=0)
        part = grid[grid["arm"] == arm]
        series = list(part.groupby(columns, dropna=False))
        for index, (key, points) in enumerate(series):
            points = points.sort_values("step_size")
            color = colors[_series_name(dict(zip(columns, key, strict=True)))]
            x = [sizes.index(size) + dodge(index, len(series), 0.5) for size in points["step_size"]]
            axis.plot(x, points["delta"], color=color, linewidth=0.8, alpha=0.6)
            draw_intervals(axis, x, points["delta"], points["delta_low"], points["delta_high"], color, vertical=True)
            ringed = [place for place, chosen in zip(x, points["chosen"], strict=True) if chosen]
            axis.plot(ringed, points.loc[points["chosen"], "delta"], "o", color=BLACK, mfc="none", markersize=10)
        axis.set_xticks(range(len(sizes)), [f"{size:g}" for size in sizes])
        axis.set(xlabel="step size", title=arm_label(arm), xlim=(-0.5, len(sizes) - 0.5))
    percent_axis(axes[0, 0], "accuracy minus base (points)", vertical=True)
    handles = [Line2D([], [], color=color, marker="o", markersize=4, label=name) for name, color in colors.items()]
    ring = Line2D([], [], color=BLACK, marker="o", mfc="none", markersize=8, linestyle="", label="chosen")
    legend_above(figure, [*handles, ring], columns=min(4, len(handles) + 1))
    return figure
