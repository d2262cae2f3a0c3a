"""Figures of the built-in reasoners' model cards."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.lines import Line2D
from scipy.stats import t

from lrs.figures.palette import BEHAVIOR_COLORS, BEHAVIOR_LABELS, BLACK, LIGHT
from lrs.figures.parts import legend_above, panels, percent_axis, wrapped
from lrs.figures.style import COLUMN, Sheet, styled
from lrs.tasks.behaviors import BEHAVIORS

_WINDOW = 10  # steps of reinforcement learning that are averaged for a point


@styled
def loss_figure(losses: pd.DataFrame) -> Sheet:
    """Training loss against tokens, with its running mean over 50 steps.

    Args:
        losses: columns tokens, loss (nats a token).
    """
    figure, axes = panels(1, 1, COLUMN, 2.1)
    axes = axes.flat[0]
    axes.plot(losses["tokens"] / 1e6, losses["loss"], color=LIGHT, linewidth=0.4)
    axes.plot(losses["tokens"] / 1e6, losses["loss"].rolling(50, min_periods=1).mean(), color=BLACK)
    axes.set(xlabel="training tokens (millions)", ylabel="loss (nats a token)", yscale="log")
    figure.counted = f"n {losses['tokens'].max():,.0f} tokens · dark: mean over 50 steps"
    return figure


def _t_interval(values: pd.Series) -> tuple[float, float]:
    """95% interval of a mean of independent values; NaN for a lone one."""
    half = t.ppf(0.975, len(values) - 1) * values.sem() if len(values) > 1 else np.nan
    return values.mean() - half, values.mean() + half


@styled
def learning_figure(curve: pd.DataFrame) -> Sheet:
    """What reinforcement learning does: the share of attempts that are right, and that show each behavior, by step.

    A panel a benchmark; means over windows of 10 steps, with 95% t intervals over the steps, whose problems differ.

    Args:
        curve: a row a step and benchmark: step, benchmark, correct and a share for each behavior.
    """
    benchmarks = list(curve["benchmark"].unique())
    colors, labels = {"correct": BLACK} | BEHAVIOR_COLORS, {"correct": "right"} | BEHAVIOR_LABELS
    window = curve.groupby(curve["step"] // _WINDOW)["step"].transform("mean")
    shares = curve.assign(window=window).melt(["window", "benchmark"], list(labels), "what", "share")
    figure, axes = wrapped(1, len(benchmarks), 0.5, 1.6, sharex=True, sharey=True)
    for axis, benchmark in zip(axes[0], benchmarks, strict=True):
        part = shares[shares["benchmark"] == benchmark]
        lines = {"x": "window", "y": "share", "hue": "what", "palette": colors, "errorbar": _t_interval}
        sns.lineplot(part, **lines, err_kws={"linewidth": 0}, legend=False, ax=axis)
        axis.set(title=benchmark, ylim=(-0.02, 1.02), xlabel="", ylabel="")
    percent_axis(axes[0, 0], "", vertical=True)
    figure.supxlabel("step", size="medium")
    figure.supylabel("attempts (%)", size="medium")
    legend_above(figure, [Line2D([], [], color=colors[what], label=labels[what]) for what in ("correct", *BEHAVIORS)])
    figure.counted = f"n {curve['step'].nunique():,} steps · means over {_WINDOW} steps"
    return figure
