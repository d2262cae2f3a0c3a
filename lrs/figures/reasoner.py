"""Figures of the built-in reasoner's model card."""

import pandas as pd
from matplotlib.figure import Figure

from lrs.figures.style import BLUE, COLUMN, LIGHT, panels, styled


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
