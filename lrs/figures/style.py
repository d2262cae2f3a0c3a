"""How every figure looks, what it tells of its numbers, and how it is saved: one colour a thing, byte-identical files.

Colours are Okabe and Ito's, which colour-blind readers can tell apart. Widths are those of a two-column page.
"""

import re
import textwrap
from collections.abc import Callable, Collection
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Image as Shown
from IPython.display import display
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from lrs.config import Config
from lrs.report.sentences import SMOKE_MARK
from lrs.tasks.behaviors import BACKTRACKING, BACKWARD_CHAINING, BEHAVIORS, SUBGOAL_SETTING, VERIFICATION

_DRAW = re.compile(r"_[2-9]$")  # of a control that is drawn several times

COLUMN, PAGE = 3.4, 7.0  # inches

BLACK, GREY, LIGHT = "#222222", "#777777", "#bbbbbb"
ORANGE, SKY, GREEN = "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"

ARM_COLORS = {
    "base": BLACK,
    "cot": SKY,
    "few_shot": VERMILLION,
    "lrs_published": PURPLE,
    "lrs_basic": ORANGE,
    "lrs": BLUE,
    "lrs_history": GREEN,
    "mean_difference": "#F0E442",
    "lrs_advantage": "#6699CC",
    "lrs_advantage_history": "#332288",
    "lrs_pairwise": "#117733",
    "lrs_pairwise_history": "#661100",
    "lrs_causal": "#882255",
    "lrs_causal_gated": "#AA4499",
    "trained_constant": "#999933",
    "negated": "#DDCC77",
    "random": "#44AA99",
    "random_outside": "#77CCBB",
    "lrs_negated": "#BBAA55",
    "lrs_turned": "#5588AA",
    "free_turned": "#77AA77",
    "untrained": "#225555",
    "gate_reward": "#88CCEE",
    "gate_confidence": "#4477AA",
    "causal_gate_reward": "#CC6677",
    "causal_gate_confidence": "#EE99AA",
    "causal_gate_certainty": "#994455",
    "causal_gate_stability": "#EE8866",
    "causal_gate_lot": "#8C8C6B",
    "free_push": "#228833",
    "free_mean": "#BBCC33",
    "free_rest": "#44BB99",
    "free_constant": "#AAAA00",
    "raw_free_push": "#66CCEE",
    "shuffled": "#BBBBBB",
    "random_sae": "#999999",
    "pca": "#AA7744",
    "raw": "#774411",
    "caa": "#CCBB44",
    "cast": "#EEDD88",
    "reinforced": "#AA3377",
    "adapter": "#005F73",
    "repaired": "#CC3311",
    "patch": "#555555",
}
ARM_LABELS = {
    "base": "Base",
    "cot": "CoT",
    "few_shot": "few-shot",
    "lrs_published": "LRS (published)",
    "lrs_basic": "LRS-Basic",
    "lrs": "LRS",
    "lrs_history": "LRS (history)",
    "mean_difference": "mean difference",
    "lrs_advantage": "LRS, advantage",
    "lrs_advantage_history": "LRS, advantage (history)",
    "lrs_pairwise": "LRS, pairwise",
    "lrs_pairwise_history": "LRS, pairwise (history)",
    "lrs_causal": "LRS, causal reward",
    "lrs_causal_gated": "LRS, causal, gated",
    "trained_constant": "trained constant",
    "negated": "causal, negated",
    "random": "random direction",
    "random_outside": "random, outside the span",
    "lrs_negated": "LRS, negated",
    "lrs_turned": "LRS, turned by lot",
    "free_turned": "free push, turned by lot",
    "untrained": "untrained reward",
    "gate_reward": "LRS, gated by reward",
    "gate_confidence": "LRS, gated by confidence",
    "causal_gate_reward": "causal, gated by reward",
    "causal_gate_confidence": "causal, gated by confidence",
    "causal_gate_certainty": "causal, gated by certainty",
    "causal_gate_stability": "causal, gated by stability",
    "causal_gate_lot": "causal, gated by lot",
    "free_push": "free push in the span",
    "free_mean": "free push, its mean alone",
    "free_rest": "free push without its mean",
    "free_constant": "constant of free length",
    "raw_free_push": "free push",
    "shuffled": "LRS, shuffled labels",
    "random_sae": "LRS, random SAE",
    "pca": "LRS, principal components",
    "raw": "LRS, raw residual",
    "caa": "mean difference, raw (CAA)",
    "cast": "conditional CAA (CAST)",
    "adapter": "adapters (LoRA)",
    "repaired": "first wrong step repaired",
    "patch": "patch at the fork",
}
REWARD_COLORS = {  # of the arm that climbs it
    "token": ARM_COLORS["lrs"],
    "history": ARM_COLORS["lrs_history"],
    "causal": ARM_COLORS["lrs_causal"],
    "constant": ARM_COLORS["trained_constant"],
    "free": ARM_COLORS["free_push"],
    "raw_free": ARM_COLORS["raw_free_push"],
    "free_constant": ARM_COLORS["free_constant"],
}
PATH_COLORS = {
    "hf_generate": GREY,
    "unsteered": ARM_COLORS["base"],
    "lrs_token": REWARD_COLORS["token"],
    "lrs_history": REWARD_COLORS["history"],
    **dict.fromkeys(("lrs_token_all_rows", "lrs_history_all_rows"), GREY),
    "naive": ARM_COLORS["lrs_published"],
    "naive_history": ARM_COLORS["lrs_published"],
}
PATH_LABELS = {
    "hf_generate": "transformers generate",
    "unsteered": "our loop, unsteered",
    "lrs_token": ARM_LABELS["lrs"],
    "lrs_history": ARM_LABELS["lrs_history"],
    "lrs_token_all_rows": "LRS, all rows ascend",
    "lrs_history_all_rows": "LRS (history), all rows ascend",
    "naive": "published loop",
    "naive_history": "published loop, whole history",
}
BEHAVIOR_COLORS = {VERIFICATION: BLUE, BACKTRACKING: VERMILLION, SUBGOAL_SETTING: GREEN, BACKWARD_CHAINING: PURPLE}
BEHAVIOR_LABELS = {behavior: behavior.replace("_", " ") for behavior in BEHAVIORS}
CORRECT_COLORS = {True: BLUE, False: VERMILLION}
CORRECT_LABELS = {True: "correct", False: "wrong"}
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
_FOOT_SIZE, _FOOT_LINE = 6.5, 0.11  # points; inches a line
_SHOWN = 100  # of a browser's pixels an inch, in notebooks
_GRID = 2.0**-24  # of a figure's width or height: a ten-thousandth of a dot


class Sheet(Figure):
    """A figure that knows what it counted (`n 360 traces of 120 problems`, say), as told at its foot."""

    counted: str = ""


def arm_color(arm: str) -> str:
    """The colour of an arm; those that have none are grey, and all draws of a control are alike."""
    return ARM_COLORS.get(arm, ARM_COLORS.get(_DRAW.sub("", arm), GREY))


def arm_label(arm: str) -> str:
    """The name of an arm as printed."""
    first = _DRAW.sub("", arm)
    if arm not in ARM_LABELS and first in ARM_LABELS:
        return f"{ARM_LABELS[first]}, draw {arm.rpartition('_')[2]}"
    return ARM_LABELS.get(arm, arm.replace("_", " "))


def count_range(counts: Collection[int] | pd.Series, unit: str) -> str:
    """`n 500 problems`, or `n 30 to 500 problems` where several counts differ."""
    low, high = min(counts), max(counts)
    return f"n {low:,} {unit}" if low == high else f"n {low:,} to {high:,} {unit}"


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
                figure.supxlabel(label, y=strip + 0.01, size="medium")  # the layout leaves it at the very bottom
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
        engine.set(rect=(0, share, 1, 1 - share))
    return share


def _mark(figure: Sheet, text: str) -> None:
    """Write across the whole figure, so that no crop of it goes without."""
    size = 3.0 * figure.get_size_inches()[0]  # points, at which the text is nearly as long as the figure is wide
    look: dict[str, Any] = {"color": VERMILLION, "alpha": 0.35, "weight": "bold", "rotation": 12, "zorder": 10}
    figure.text(0.5, 0.5, text, size=size, ha="center", va="center", **look)


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write `name`.png (200 dots an inch) and `name`.pdf to `folder`, without date or version of the program.

    Pictures are kept in git, so they have a palette of 256 colours: no colour moves visibly, and they are a third as
    large.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png", folder / f"{name}.pdf"]
    with plt.rc_context(STYLE):
        figure.savefig(drawn := BytesIO(), format="png", pil_kwargs={"compress_level": 0})
        picture = Image.open(drawn).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
        picture.save(paths[0], optimize=True)
        figure.savefig(paths[1], metadata={"CreationDate": None, "Creator": None, "Producer": None})
    return paths


def show(figure: Figure, folder: Path, name: str) -> None:
    """Save a figure that was just drawn (see `save_figure`), and show the saved picture in the notebook: what is looked
    at there is what is kept, and nothing is drawn twice."""
    picture, _ = save_figure(figure, folder, name)
    display(Shown(filename=picture, width=round(_SHOWN * figure.get_figwidth())))
