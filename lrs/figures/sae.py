"""Figures of 02_sae: how the sparse autoencoder trained, and how often its latents fire."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lrs.figures.style import BLUE, COLUMN, GREY, ORANGE, PAGE, panels, percent_axis, styled


@styled
def training_figure(history: pd.DataFrame) -> Figure:
    """Reconstruction loss and share of dead latents over training steps, and explained variance if recorded.

    Args:
        history: columns step, reconstruction_loss (mean squared error), dead_fraction, and perhaps
            explained_variance (1 is perfect).
    """
    has_variance = "explained_variance" in history
    figure, axes = panels(1, 2 + has_variance, PAGE if has_variance else 0.75 * PAGE, 2.0)
    loss, *others = axes[0]
    loss.plot(history["step"], history["reconstruction_loss"], color=BLUE)
    loss.set_yscale("log")
    loss.set_ylabel("reconstruction loss (MSE)")
    if has_variance:
        others[0].plot(history["step"], history["explained_variance"], color=BLUE)
        percent_axis(others[0], "variance explained (%)", vertical=True)
        others[0].set_ylim(top=1.0)
    others[-1].plot(history["step"], history["dead_fraction"], color=ORANGE)
    others[-1].set_ylim(bottom=0.0)
    percent_axis(others[-1], "dead latents (%)", vertical=True)
    for axis in axes[0]:
        axis.set_xlabel("step")
    return figure


@styled
def density_figure(density: np.ndarray) -> Figure:
    """Histogram of firing frequencies on a log scale; latents that never fire are counted in the corner.

    Args:
        density: (d_sae,) share of tokens on which each latent is active, in [0, 1].
    """
    density = np.asarray(density, dtype=float)
    alive = density[density > 0]
    figure, axes = panels(1, 1, COLUMN, 2.1)
    axis = axes[0, 0]
    lowest = np.floor(np.log10(alive.min())) if alive.size else -6.0
    axis.hist(alive, bins=np.logspace(min(lowest, -1.0), 0, 41), color=BLUE)
    axis.set_xscale("log")
    axis.set_xlabel("share of tokens on which a latent fires")
    axis.set_ylabel("latents")
    dead = density.size - alive.size
    figure.legend(
        handles=[], title=f"{dead} of {density.size} latents never fire", loc="outside upper right", title_fontsize=7.5
    ).get_title().set_color(GREY)
    return figure
