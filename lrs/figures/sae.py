"""Figures of 02_sae: how the sparse autoencoder trained, and how often its latents fire."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.ticker import MaxNLocator

from lrs.figures.palette import BLACK, GREY
from lrs.figures.parts import panels, percent_axis
from lrs.figures.style import COLUMN, PAGE, Sheet, styled


@styled
def sae_training_figure(history: pd.DataFrame) -> Sheet:
    """Reconstruction loss and share of dead latents over training steps, and explained variance if recorded.

    Args:
        history: columns step, reconstruction_loss (mean squared error), dead_fraction, and perhaps
            explained_variance (1 is perfect).
    """
    has_variance = "explained_variance" in history
    figure, axes = panels(1, 2 + has_variance, PAGE if has_variance else 0.75 * PAGE, 2.0)
    loss, *others = axes[0]
    loss.plot(history["step"], history["reconstruction_loss"], color=BLACK)
    loss.set_yscale("log")
    loss.set_ylabel("reconstruction loss (MSE)")
    if has_variance:
        others[0].plot(history["step"], history["explained_variance"], color=BLACK)
        percent_axis(others[0], "variance explained (%)", vertical=True)
        others[0].set_ylim(top=1.0)
    others[-1].plot(history["step"], history["dead_fraction"], color=BLACK)
    others[-1].set_ylim(bottom=0.0)
    percent_axis(others[-1], "dead latents (%)", vertical=True)
    for axis in axes[0]:
        axis.set_xlabel("step")
    figure.counted = f"n {history['step'].max():,} steps"
    return figure


@styled
def density_figure(density: np.ndarray) -> Sheet:
    """Histogram of firing frequencies on a log scale; latents that never fire are counted in the corner.

    Args:
        density: (d_sae,) share of tokens on which each latent is active, in [0, 1].
    """
    density = np.asarray(density, dtype=float)
    alive = density[density > 0]
    figure, axes = panels(1, 1, COLUMN, 2.1)
    axis = axes[0, 0]
    lowest = min(np.floor(np.log10(alive.min())) if alive.size else -6.0, -1.0)
    axis.set_xscale("log")
    sns.histplot(x=alive, bins=np.linspace(lowest, 0, 41), color=GREY, alpha=1, linewidth=0.3, ax=axis)
    axis.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axis.set(xlabel="share of tokens on which a latent fires", ylabel="latents", xlim=(10**lowest, 1))
    dead = density.size - alive.size
    figure.legend(
        handles=[], title=f"{dead} of {density.size} latents never fire", loc="outside upper right", title_fontsize=7.5
    ).get_title().set_color(GREY)
    figure.counted = f"n {density.size:,} latents"
    return figure
