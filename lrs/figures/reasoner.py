"""Figures of the built-in reasoners' model cards."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import t

from lrs.figures.style import (
    BEHAVIOR_COLORS,
    BEHAVIOR_LABELS,
    BLACK,
    BLUE,
    COLUMN,
    LIGHT,
    legend_above,
    panels,
    percent_axis,
    styled,
    wrapped,
)
from lrs.tasks.behaviors import BEHAVIORS

_WINDOW = 10  # steps of reinforcement learning that are averaged for a point


@styled
def loss_figure(losses: pd.DataFrame) -> Figure:
    """Training loss against tokens, with its running mean over 50 steps.

    Args:
        losses: columns tokens, loss (nats a token).
    """
    figure, axes = panels(1, 1, COLUMN, 2.1)
    axes = axes.flat[0]
    axes.plot(losses["tokens"] / 1e6, losses["loss"], color=LIGHT, linewidth=0.4)
    axes.plot(losses["tokens"] / 1e6, losses["loss"].rolling(50, min_periods=1).mean(), color=BLUE)
    axes.set(xlabel="training tokens (millions)", ylabel="loss (nats a token)", yscale="log")
    return figure


@styled
def learning_figure(curve: pd.DataFrame) -> Figure:
    """What reinforcement learning does: the share of attempts that are right, and that show each behavior, by step.

    A panel a benchmark; means over windows of 10 steps, with 95% t intervals over the steps, whose problems differ.

    Args:
        curve: a row a step and benchmark: step, benchmark, correct and a share for each behavior.
    """
    benchmarks = list(curve["benchmark"].unique())
    lines = {"correct": ("right", BLACK)} | {name: (BEHAVIOR_LABELS[name], BEHAVIOR_COLORS[name]) for name in BEHAVIORS}
    figure, axes = wrapped(1, len(benchmarks), 0.5, 1.6, sharex=True, sharey=True)
    for axis, benchmark in zip(axes[0], benchmarks, strict=True):
        part = curve[curve["benchmark"] == benchmark]
        windows = part.groupby(part["step"] // _WINDOW)
        center = windows["step"].mean()
        for column, (_, color) in lines.items():
            mean = windows[column].mean()
            half = t.ppf(0.975, windows.size() - 1) * windows[column].sem()
            axis.plot(center, mean, color=color)
            axis.fill_between(center, mean - half, mean + half, color=color, alpha=0.2, linewidth=0)
        axis.set_title(benchmark)
        axis.set_ylim(-0.02, 1.02)
    percent_axis(axes[0, 0], "", vertical=True)
    figure.supxlabel("step", size="medium")
    figure.supylabel("attempts (%)", size="medium")
    legend_above(figure, [Line2D([], [], color=color, label=label) for label, color in lines.values()])
    return figure
