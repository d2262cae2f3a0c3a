"""Figures of 03_reward: does the latent reward model know whether the answer will be right?"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from lrs.core.statistics import auroc
from lrs.figures.style import COLUMN, LIGHT, PAGE, PALETTE, draw_intervals, panels, styled


def _colors(variants) -> dict[str, str]:
    return dict(zip(variants, PALETTE, strict=False))


@styled
def roc_figure(curves: list[tuple[str, np.ndarray, np.ndarray]]) -> Figure:
    """ROC curves, AUROC in the legend.

    Args:
        curves: (name, labels (n,) of 0/1, scores (n,)) each.

    Raises:
        ValueError: labels of one class only.
    """
    figure, axes = panels(1, 1, COLUMN, COLUMN)
    axis = axes[0, 0]
    axis.plot([0, 1], [0, 1], color=LIGHT, linestyle=":", linewidth=1)
    for (name, labels, scores), color in zip(curves, PALETTE, strict=False):
        false_positive, true_positive, _ = roc_curve(labels, scores)
        axis.plot(false_positive, true_positive, color=color, label=f"{name}: {auroc(labels, scores):.3f}")
    axis.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axis.legend(title="AUROC", loc="lower right", alignment="left", title_fontsize=7.5)
    return figure


@styled
def calibration_figure(bins: dict[str, pd.DataFrame]) -> Figure:
    """Observed share of correct answers against predicted probability, with Wilson intervals.

    Args:
        bins: per variant, what `lrs.core.statistics.calibration_bins` returns.
    """
    figure, axes = panels(1, 1, COLUMN, COLUMN)
    axis = axes[0, 0]
    axis.plot([0, 1], [0, 1], color=LIGHT, linestyle=":", linewidth=1)
    for variant, color in _colors(bins).items():
        table = bins[variant]
        axis.plot(table["predicted"], table["observed"], color=color, label=f"{variant} (n {table['n'].sum():,})")
        draw_intervals(axis, table["predicted"], table["observed"], table["low"], table["high"], color, vertical=True)
    axis.set(xlabel="predicted probability", ylabel="observed share correct", aspect="equal")
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axis.legend(loc="upper left")
    return figure


@styled
def auroc_by_position_figure(positions: pd.DataFrame) -> Figure:
    """AUROC of the reward along the trace, with intervals; 0.5 is chance.

    Args:
        positions: columns variant, position (0..1, centre of the bin), auroc, low, high.
    """
    figure, axes = panels(1, 1, COLUMN, 2.3)
    axis = axes[0, 0]
    axis.axhline(0.5, color=LIGHT, linestyle=":", linewidth=1)
    for variant, color in _colors(positions["variant"].unique()).items():
        part = positions[positions["variant"] == variant].sort_values("position")
        axis.plot(part["position"], part["auroc"], color=color, marker="o", markersize=3, label=variant)
        axis.fill_between(part["position"], part["low"], part["high"], color=color, alpha=0.2, linewidth=0)
    axis.set(xlabel="position in the trace (0 first token, 1 last)", ylabel="AUROC", xlim=(0, 1))
    axis.legend(loc="best")
    return figure


@styled
def training_figure(history: pd.DataFrame) -> Figure:
    """Training loss and held-out AUROC by epoch; the epoch that early stopping keeps is ringed.

    Args:
        history: columns variant, epoch, train_loss (binary cross-entropy, nats), auroc.
    """
    figure, axes = panels(1, 2, 0.8 * PAGE, 2.1)
    for variant, color in _colors(history["variant"].unique()).items():
        part = history[history["variant"] == variant].sort_values("epoch")
        best = part.loc[part["auroc"].idxmax()]
        for axis, column in zip(axes[0], ("train_loss", "auroc"), strict=True):
            axis.plot(part["epoch"], part[column], color=color, marker=".", markersize=4, label=variant)
            axis.plot(best["epoch"], best[column], "o", color=color, markerfacecolor="none", markersize=8)
    axes[0, 0].set(xlabel="epoch", ylabel="training loss (nats)")
    axes[0, 1].set(xlabel="epoch", ylabel="AUROC, held-out problems")
    axes[0, 1].legend(title="ring: kept", loc="best", title_fontsize=7.5)
    return figure
