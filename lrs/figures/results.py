"""Figures of 05_steering and 09_paper: what steering does to accuracy and to behavior."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lrs.core.frames import each_row
from lrs.figures.palette import BEHAVIOR_LABELS, LIGHT, arm_color, arm_label
from lrs.figures.parts import (
    beside,
    categories,
    decoding_handles,
    decodings_in,
    dodge,
    draw_intervals,
    legend_above,
    marker_handle,
    panels,
    percent_axis,
    wrapped,
)
from lrs.figures.style import DECODINGS, PAGE, Sheet, count_range, styled
from lrs.report.comparison import POOLED, no_controls_where_many, pooled_where_many
from lrs.tasks.behaviors import BEHAVIORS

_ROW = 0.17  # inches a line of a forest plot
_HEAD, _GAP = 1.2, 0.8  # lines for the name of a block; more of them below the pooled one, which stands apart


def _count(table: pd.DataFrame) -> str:
    """How many problems each decoding has in a table with columns decoding, n and perhaps benchmark and seeds."""
    told = []
    for decoding in decodings_in(table["decoding"]):
        part = table[table["decoding"] == decoding]
        pooled = part["benchmark"] == POOLED
        parts = [] if pooled.all() else [count_range(part.loc[~pooled, "n"], "a benchmark")]
        parts += [f"{part.loc[pooled, 'n'].iloc[0]:,} pooled"] if pooled.any() else []
        samples = part["seeds"].max() if "seeds" in part else 1
        parts += [f"{samples} samples each"] if samples > 1 else []
        told.append(f"{decoding} {', '.join(parts)}")
    return " · ".join(told)


def _draw_side(axes: Axes, part: pd.DataFrame, tops: dict[str, float], decodings: list[str]) -> None:
    """Some arms of the forest plot: a line an arm below the `tops` of each block."""
    arms = list(part["arm"].unique())
    axes.axvline(0, color=LIGHT, linewidth=1, zorder=0)
    for row in each_row(part):
        index = decodings.index(row.decoding)
        line = tops[row.benchmark] + _HEAD + arms.index(row.arm)
        y = line + dodge(index, len(decodings), 0.7)
        filled = row.decoding == "greedy"
        draw_intervals(axes, [row.delta], [y], [row.delta_low], [row.delta_high], arm_color(row.arm), filled, size=3.5)
        beside(axes, line, f"{row.wins:.0f}/{row.losses:.0f}", 4 + 38 * index)
    beside(axes, -1.0, "wins/losses")
    for index, decoding in enumerate(decodings):
        beside(axes, 0.2, decoding, 4 + 38 * index)
    places = [(top + _HEAD + index, arm_label(arm)) for top in tops.values() for index, arm in enumerate(arms)]
    axes.set_yticks(*map(list, zip(*places, strict=True)))
    axes.tick_params(axis="y", length=0)
    percent_axis(axes, "")
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


@styled
def delta_figure(table: pd.DataFrame) -> Sheet:
    """Forest plot: difference to base with bootstrap intervals, a block a benchmark, pooled first; wins/losses beside.

    Arms that only ask in another way have a panel with a scale of its own: their losses can be ten times what steering
    does. Open markers are sampled decoding. With more arms than a page has lines, the pooled block alone.

    Args:
        table: of one backbone, what `lrs.report.tables.main_results` returns; the rows of base, which have no delta,
            are left out.
    """
    table = pooled_where_many(table.dropna(subset=["delta"]), "arm")
    decodings = decodings_in(table["decoding"])
    asking = table["arm_group"] == "prompting"
    halves = {"steering": table[~asking], "prompting": table[asking]}
    sides = {title: part for title, part in halves.items() if len(part)}
    benchmarks = sorted(table["benchmark"].unique(), key=lambda name: name != POOLED)  # stable: the rest as they come
    block = _HEAD + 0.3 + max(part["arm"].nunique() for part in sides.values())
    tops = {name: index * block + _GAP * (index > 0) for index, name in enumerate(benchmarks)}
    height = tops[benchmarks[-1]] + block
    figure, axes = panels(1, len(sides), PAGE, 0.7 + _ROW * height, width_ratios=(3, 2)[: len(sides)])
    for axis, (title, part) in zip(axes[0], sides.items(), strict=True):
        _draw_side(axis, part, tops, decodings)
        axis.axhspan(-0.5, block - 0.5, color=LIGHT, alpha=0.2, linewidth=0, zorder=-1)
        axis.set(title=title, ylim=(height - 0.5, -0.5))
    first = axes[0, 0]
    for name, top in tops.items():
        place = {"xycoords": ("axes fraction", "data"), "xytext": (-4, 0), "textcoords": "offset points"}
        first.annotate(name, (0, top + 0.2), **place, ha="right", va="center", weight="bold", annotation_clip=False)
    figure.supxlabel("accuracy minus base (points)", size="medium")
    legend_above(figure, decoding_handles(decodings))
    figure.counted = _count(table)
    return figure


@styled
def behaviors_figure(shares: pd.DataFrame) -> Sheet:
    """Share of traces that show each behavior, by arm and benchmark, with its interval; a row a decoding. Of more arms
    than colors can tell apart, no controls.

    Args:
        shares: of one backbone, what `lrs.report.comparison.behavior_shares` returns.
    """
    shares = no_controls_where_many(shares)
    benchmarks, arms = list(shares["benchmark"].unique()), list(shares["arm"].unique())
    decodings = [decoding for decoding in DECODINGS if decoding in set(shares["decoding"])]
    height = 0.3 + len(BEHAVIORS) * (0.08 + 0.06 * len(arms))
    figure, axes = wrapped(len(decodings), len(benchmarks), 0.5, height, sharex=True, sharey=True)
    for axis_row, decoding in zip(axes, decodings, strict=True):
        for axis, benchmark in zip(axis_row, benchmarks, strict=True):
            part = shares[(shares["benchmark"] == benchmark) & (shares["decoding"] == decoding)]
            for place in each_row(part):
                y = BEHAVIORS.index(place.behavior) + dodge(arms.index(place.arm), len(arms), 0.8)
                draw_intervals(axis, [place.share], [y], [place.low], [place.high], arm_color(place.arm), size=2.8)
            axis.set_title(f"{benchmark}, {decoding}")
    percent_axis(axes[0, 0], "")
    figure.supxlabel("traces showing it (%)", size="medium")
    categories(axes, [BEHAVIOR_LABELS[behavior] for behavior in BEHAVIORS])
    legend_above(figure, [marker_handle(arm_label(arm), arm_color(arm)) for arm in arms])
    figure.counted = _count(shares)
    return figure


@styled
def paper_figure(paper: pd.DataFrame) -> Sheet:
    """The paper's own Base and LRS accuracies with the Wilson intervals its sample sizes imply.

    Beside each pair stands the smallest p-value that an exact McNemar test could give for it.

    Args:
        paper: what `lrs.report.paper.read_paper_table` returns.
    """
    backbones, arms = list(paper["backbone"].unique()), ["base", "lrs"]
    names = paper.drop_duplicates("benchmark").set_index("benchmark")["n"]
    figure, axes = panels(1, len(backbones), PAGE, 0.9 + 0.36 * len(names), sharex=True, sharey=True)
    for axis, backbone in zip(axes[0], backbones, strict=True):
        part = paper[(paper["backbone"] == backbone) & paper["arm"].isin(arms)]
        for row in each_row(part):
            place = list(names.index).index(row.benchmark)
            y = place + dodge(arms.index(row.arm), len(arms), 0.5)
            draw_intervals(axis, [row.accuracy], [y], [row.ci_low], [row.ci_high], arm_color(row.arm))
            if row.arm == "lrs":
                beside(axis, place, "<0.001" if row.smallest_p < 0.001 else f"{row.smallest_p:.3f}")
        beside(axis, -0.75, "smallest p")
        axis.set_title(f"{backbone}, as the paper reports it")
        percent_axis(axis, "accuracy (%)")
    categories(axes, [f"{name} (n {n})" for name, n in names.items()])
    legend_above(figure, [marker_handle(arm_label(arm), arm_color(arm)) for arm in arms])
    whose = "numbers of Li et al. (arXiv 2606.00726), not ours · Wilson intervals, ours"
    figure.counted = f"{whose} · {count_range(names, 'problems')}"
    return figure
