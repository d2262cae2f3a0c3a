"""Figures of 03_reward: does the latent reward model know whether the answer will be right?"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.ticker import MaxNLocator

from lrs.core.frames import each_group
from lrs.core.statistics import auroc, calibration_bins, resample_groups
from lrs.figures.palette import LIGHT, REWARD_COLORS, looks_of
from lrs.figures.parts import draw_intervals, legend_above, panels, percent_axis
from lrs.figures.style import COLUMN, PAGE, Sheet, count_range, styled
from lrs.report.sentences import level_text

_RESAMPLES = 1000  # of problems


def _count(scores: dict[str, pd.DataFrame]) -> str:
    """How many traces and problems each variant was scored on, which is the same number for all."""
    traces = count_range([len(table) for table in scores.values()], "traces")
    problems = count_range([table["problem_id"].nunique() for table in scores.values()], "problems")
    return f"{traces} of {problems.removeprefix('n ')}"


def roc_points(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates at every distinct threshold, from (0, 0) to (1, 1).

    Args:
        labels: (n,) of 0/1, of both classes.  scores: (n,).
    """
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=np.inf))  # of each run of equal scores
    positives = np.cumsum(labels[order])[last]
    negatives = last + 1 - positives
    return _rates(negatives), _rates(positives)


def _rates(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], counts / counts[-1]])


def _resampled(table: pd.DataFrame) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Labels and scores of traces whose problems are drawn with replacement, where both classes occur."""
    labels, scores = table["correct"].to_numpy(dtype=float), table["mean"].to_numpy()
    for rows in resample_groups(table["problem_id"].to_numpy(), _RESAMPLES, seed=0):
        if 0 < labels[rows].mean() < 1:
            yield labels[rows], scores[rows]


@styled
def roc_figure(scores: dict[str, pd.DataFrame], confidence_level: float = 0.95) -> Sheet:
    """ROC curves of whole traces, AUROC in the legend, both with their bootstrap interval over problems.

    Args:
        scores: by variant, a row a trace: problem_id, correct, and mean (of its tokens' probabilities).

    Raises:
        ValueError: labels of one class only.
    """
    figure, axes = panels(1, 1, COLUMN, COLUMN)
    axis, tail = axes[0, 0], (1 - confidence_level) / 2
    axis.plot([0, 1], [0, 1], color=LIGHT, linestyle=":", linewidth=1)
    grid = np.linspace(0, 1, 101)
    for variant, table in scores.items():
        labels, means, color = table["correct"].to_numpy(dtype=float), table["mean"].to_numpy(), REWARD_COLORS[variant]
        area, draws = auroc(labels, means), list(_resampled(table))
        low, high = np.quantile([auroc(*draw) for draw in draws], [tail, 1 - tail])
        band = np.quantile([np.interp(grid, *roc_points(*draw)) for draw in draws], [tail, 1 - tail], axis=0)
        axis.fill_between(grid, *band, color=color, alpha=0.15, linewidth=0)
        axis.plot(*roc_points(labels, means), color=color, label=f"{variant} {area:.2f} [{low:.2f}, {high:.2f}]")
    axis.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axis.legend(
        title=f"AUROC [{level_text(confidence_level)}]", loc="lower right", alignment="left", title_fontsize=7.5
    )
    figure.counted = _count(scores)
    return figure


@styled
def calibration_figure(scores: dict[str, pd.DataFrame], confidence_level: float = 0.95, bins: int = 10) -> Sheet:
    """Observed share of correct answers against predicted probability, with Wilson intervals; below, traces a bin.

    Args:
        scores: by variant, a row a trace: problem_id, correct, and mean (of its tokens' probabilities).
    """
    figure, (above, below) = panels(2, 1, COLUMN, 1.2 * COLUMN, sharex=True, height_ratios=(4, 1))
    axis, strip = above[0], below[0]
    axis.plot([0, 1], [0, 1], color=LIGHT, linestyle=":", linewidth=1)
    tables = {
        variant: calibration_bins(table["correct"].to_numpy(), table["mean"].to_numpy(), bins, confidence_level)
        for variant, table in scores.items()
    }
    for variant, table in tables.items():
        color = REWARD_COLORS[variant]
        axis.plot(table["predicted"], table["observed"], color=color, label=variant)
        draw_intervals(axis, table["predicted"], table["observed"], table["low"], table["high"], color, vertical=True)
    sns.histplot(
        pd.concat([table.assign(variant=variant) for variant, table in tables.items()], ignore_index=True),
        x="predicted",
        weights="n",
        hue="variant",
        palette={variant: REWARD_COLORS[variant] for variant in tables},
        bins=bins,
        binrange=(0, 1),
        element="step",
        legend=False,
        ax=strip,
    )
    axis.set(ylabel="observed share correct", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axis.legend(loc="upper left")
    strip.set(xlabel="predicted probability", ylabel="traces")
    figure.counted = _count(scores)
    return figure


@styled
def auroc_by_position_figure(positions: pd.DataFrame) -> Sheet:
    """AUROC of the reward along the trace, with intervals; 0.5 is chance.

    Args:
        positions: columns variant, position (0..1, centre of the bin), auroc, low, high, n (problems).
    """
    figure, axes = panels(1, 1, COLUMN, 2.3)
    axis = axes[0, 0]
    axis.axhline(0.5, color=LIGHT, linestyle=":", linewidth=1)
    for variant, part in each_group(positions.sort_values("position"), "variant", sort=False):
        color = REWARD_COLORS[variant]
        axis.plot(part["position"], part["auroc"], color=color, marker="o", markersize=3, label=variant)
        axis.fill_between(part["position"], part["low"], part["high"], color=color, alpha=0.2, linewidth=0)
    axis.set(xlabel="position in the trace (0 first token, 1 last)", ylabel="AUROC", xlim=(0, 1))
    axis.legend(loc="best")
    figure.counted = count_range(positions["n"], "problems")
    return figure


@styled
def reward_training_figure(history: pd.DataFrame) -> Sheet:
    """Training loss and held-out AUROC by epoch; the epoch that early stopping keeps is ringed.

    Args:
        history: columns variant, epoch, train_loss (binary cross-entropy, nats), auroc, n (held-out problems).
    """
    figure, axes = panels(1, 2, 0.8 * PAGE, 2.1)
    history = history.reset_index(drop=True)
    best = history.loc[history.groupby("variant", sort=False)["auroc"].idxmax()]
    for axis, column in zip(axes[0], ("train_loss", "auroc"), strict=True):
        lines = {"x": "epoch", "y": column, "hue": "variant", "palette": REWARD_COLORS, "errorbar": None, "ax": axis}
        sns.lineplot(history, **lines, marker="o", markersize=3, markeredgewidth=0, legend=axis is axes[0, 1])
        rings = [REWARD_COLORS[variant] for variant in best["variant"]]
        axis.scatter(best["epoch"], best[column], s=60, facecolors="none", edgecolors=rings, zorder=3)
    axes[0, 0].set(xlabel="epoch", ylabel="training loss (nats)")
    axes[0, 1].set(xlabel="epoch", ylabel="AUROC, held-out problems")
    axes[0, 1].legend(title="ring: kept", loc="best", title_fontsize=7.5)
    figure.counted = count_range(history["n"], "held-out problems")
    return figure


_AVERAGED = 5  # iterations


@styled
def causal_figure(curves: pd.DataFrame) -> Sheet:
    """How often the steered reasoner is right while rewards are trained through their own push: dots are iterations,
    each on other problems; lines are means of five.

    Args:
        curves: columns reward, step, benchmark, n (attempts), correct (their mean).
    """
    looks = looks_of(curves["reward"].unique())
    figure, axes = panels(1, 1, COLUMN, 2.3 + 0.08 * max(0, len(looks) - 8))  # beyond eight, the legend needs more
    axis = axes[0, 0]
    for reward, part in each_group(curves, "reward", sort=False):
        right, (marker, _), color = part.groupby("step")["correct"].mean(), looks[reward], REWARD_COLORS[reward]
        axis.plot(right.index, right, marker, color=color, markersize=2.5, alpha=0.5)
        smooth = right.rolling(_AVERAGED, min_periods=1, center=True).mean()
        axis.plot(smooth.index, smooth, marker=marker, markersize=4, markevery=0.2, color=color, label=reward)
    axis.set_xlabel("iteration")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    percent_axis(axis, "attempts that are right (%)", vertical=True)
    legend_above(figure, axis.get_legend_handles_labels()[0])
    figure.counted = count_range(curves.groupby(["reward", "step"])["n"].sum(), "attempts an iteration")
    return figure
