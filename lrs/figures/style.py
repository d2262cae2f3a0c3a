"""How every figure looks, what it tells of its numbers, and how it is saved: byte-identical files.

Widths are those of a two-column page; what each thing is called and which colour it has stands in `palette.py`.
"""

import textwrap
from collections.abc import Callable, Collection
from functools import partial, wraps
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from fontTools.subset import Options
from IPython.display import Image as Shown
from IPython.display import display
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image, ImageChops

from lrs.config import Config
from lrs.core.aside import meanwhile
from lrs.figures.palette import GREY, VERMILLION
from lrs.report.sentences import SMOKE_MARK, count_span

COLUMN, PAGE = 3.4, 7.0  # inches

DECODINGS = ("greedy", "sampled")  # drawn as a filled and as an open marker

STYLE: dict[Any, Any] = {  # matplotlib's types list the keys, hundreds
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "lines.linewidth": 1.3,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
}
# Letters of a PDF are placed one by one. The font's tables of how they combine are of no use there, and to cut these
# down takes nearly half of the time of saving a figure.
Options._drop_tables_default += ["GDEF", "GPOS", "GSUB"]
_FOOT_SIZE, _FOOT_LINE = 6.5, 0.11  # points; inches a line
_HIGH, _ROOM = 7.0, 0.024  # inches; share of the width left free: small letters are wider when saved than when measured
_VISIBLE, _AREA = 8, 0.002  # of 255, by which a colour moves; and a share of the picture
_ABOVE_FOOT = 0.1  # inches at most, of a label that all axes share
_SHOWN = 100  # of a browser's pixels an inch, in notebooks
_GRID = 2.0**-24  # of a figure's width or height: a ten-thousandth of a dot


class Sheet(Figure):
    """A figure that knows what it counted (`n 360 traces of 120 problems`, say), as told at its foot."""

    counted: str = ""


def count_range(counts: Collection[int] | pd.Series, unit: str) -> str:
    """`n 500 problems`, or `n 30 to 500 problems` where several counts differ."""
    return f"n {count_span(counts)} {unit}"


def styled(draw: Callable[..., Sheet]) -> Callable[..., Sheet]:
    """Decorator of every figure function: draws under `STYLE` whatever the notebook has set, and settles the layout.

    It gives the function a keyword `about`: the configuration that the numbers were made with, or any text. The line
    at the foot of the figure tells of it and of what the function counted in the table it drew.
    """

    @wraps(draw)
    def drawn(*arguments: object, about: Config | str = "", **options: object) -> Sheet:
        with plt.rc_context(STYLE):
            figure = draw(*arguments, **options)
            strip = _write_foot(figure, " · ".join(filter(None, [_provenance(about), figure.counted])))
            if isinstance(about, Config) and about.profile == "smoke":
                _mark(figure, SMOKE_MARK)
            _settle(figure)
            if label := figure.get_supxlabel():
                above = min(0.01, _ABOVE_FOOT / figure.get_figheight())  # the layout leaves it at the very bottom
                figure.supxlabel(label, y=strip + above, size="medium")
        return figure

    return drawn


def _settle(figure: Sheet) -> None:
    """Lay a figure out once and for all, each of its axes on a grid that is finer than a dot.

    Constrained layout moves a little at every draw, and its solver may add up in another order, so that places differ
    in their last digits and files with them. The grid is binary, because what layouts are made of (halves, and 64ths
    of a dot) often lies midway between two decimals of any length, and would be rounded either way.
    """
    if engine := figure.get_layout_engine():
        engine.execute(figure)
    figure.set_layout_engine("none")
    for axis in figure.axes:
        left, bottom, width, height = (round(x / _GRID) * _GRID for x in axis.get_position(original=True).bounds)
        axis.set_position((left, bottom, width, height))


def _provenance(about: Config | str) -> str:
    if isinstance(about, str):
        return about
    return f"{about.backbone_name} · profile {about.profile} · seed {about.seed} · {about.device}"


def _write_foot(figure: Sheet, text: str) -> float:
    """Add a strip of grey text below all else, by which the figure grows; the strip's share of its height."""
    if not text:
        return 0.0
    width, height = figure.get_size_inches()
    foot = figure.text(0.04 / width, 0, text, va="bottom", fontsize=_FOOT_SIZE, color=GREY, gid="foot")
    letters = len(text)
    while foot.get_window_extent().x1 > figure.bbox.x1 - 0.04 * figure.dpi:
        letters -= 1
        foot.set_text("\n".join(textwrap.wrap(text, letters)))
    strip = _FOOT_LINE * (foot.get_text().count("\n") + 1.5)
    figure.set_size_inches(width, height + strip)
    foot.set_y(0.04 / (height + strip))
    share = strip / (height + strip)
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):  # as `STYLE` has it
        room = _ROOM if height > _HIGH else 0
        engine.set(rect=(room, share, 1 - 2 * room, 1 - share))
    return share


def _mark(figure: Sheet, text: str) -> None:
    """Write across the whole figure, so that no crop of it goes without."""
    size = 3.0 * figure.get_size_inches()[0]  # points, at which the text is nearly as long as the figure is wide
    look: dict[str, Any] = {"color": VERMILLION, "alpha": 0.35, "weight": "bold", "rotation": 12, "zorder": 10}
    figure.text(0.5, 0.5, text, size=size, ha="center", va="center", **look)


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write `name`.png (200 dots an inch) and `name`.pdf to `folder`, without date or version of the program.

    Pictures are kept in git, so they have a palette of 256 colours: no colour moves visibly, and they are a third as
    large. (Packing them as tightly as can be would take eight times as long, for a tenth of their size.) The two are
    drawn side by side, each once: `savefig` would draw them a second time, for a layout that is settled.

    Raises:
        RuntimeError: the PDF could not be written, and why.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png", folder / f"{name}.pdf"]
    with plt.rc_context(STYLE):
        figure.set_dpi(STYLE["savefig.dpi"])
        with meanwhile(partial(_write_pdf, figure, paths[1])):
            _write_png(figure, paths[0])
    return paths


def _write_png(figure: Figure, path: Path) -> None:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    in_palette(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")).save(path)


def in_palette(picture: Image.Image) -> Image.Image:
    """A picture in 256 colours. Where it has so many that whole areas would move visibly, they are fitted to it, which
    takes four times as long."""
    found = picture.quantize(256, Image.Quantize.MAXCOVERAGE)
    histograms = np.reshape(ImageChops.difference(picture, found.convert("RGB")).histogram(), (3, 256))
    moved = histograms[:, _VISIBLE + 1 :].sum() / (picture.width * picture.height)
    return picture.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1) if moved > _AREA else found


def _write_pdf(figure: Figure, path: Path) -> None:
    FigureCanvasPdf(figure).print_pdf(path, metadata={"CreationDate": None, "Creator": None, "Producer": None})


def show(figure: Figure, folder: Path, name: str) -> None:
    """Save a figure that was just drawn (see `save_figure`), and show the saved picture in the notebook: what is looked
    at there is what is kept, and nothing is drawn twice."""
    picture, _ = save_figure(figure, folder, name)
    display(Shown(filename=picture, width=round(_SHOWN * figure.get_figwidth())))
