"""Figure of 06_assay: which reward carries over to which benchmark."""

import pandas as pd

from lrs.figures.parts import ink_on, panels
from lrs.figures.style import COLUMN, Sheet, count_range, styled


@styled
def transfer_figure(table: pd.DataFrame) -> Sheet:
    """AUROC over traces of held-out problems: a row a benchmark that a reward learned from, a column one that it is
    asked about, and half the width of its interval.

    Args:
        table: of `lrs.bench.transfer.transfer_table`.
    """
    sources, asked = list(dict.fromkeys(table["learned_from"])), list(dict.fromkeys(table["asked_about"]))
    grid = table.pivot(index="learned_from", columns="asked_about", values="auroc").loc[sources, asked]
    half = (table["high"] - table["low"]) / 2
    width = table.assign(half=half).pivot(index="learned_from", columns="asked_about", values="half")
    figure, axes = panels(1, 1, COLUMN + 1.2, 1.3 + 0.36 * len(sources))
    (axis,) = axes[0]
    image = axis.imshow(grid.to_numpy(), cmap="PuOr_r", vmin=0.2, vmax=0.8, aspect="auto")
    for row, name in enumerate(sources):
        for column, other in enumerate(asked):
            value = grid.loc[name, other]
            text = f"{value:.2f}\n±{width.loc[name, other]:.2f}"
            axis.text(column, row, text, ha="center", va="center", fontsize=6, color=ink_on(image, value))
    axis.set_xticks(range(len(asked)), [name.replace("_", " ") for name in asked], rotation=25, ha="right")
    axis.set_yticks(range(len(sources)), [name.replace("_", " ") for name in sources])
    axis.set(xlabel="asked about", ylabel="learned from")
    axis.grid(visible=False)
    figure.colorbar(image, ax=axis, label="AUROC over traces", shrink=0.9)
    figure.counted = count_range(table["problems"], "held-out problems")
    return figure
