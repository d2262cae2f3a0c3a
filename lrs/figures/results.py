"""Figures of 05_steering and 09_paper: what steering does to accuracy and to behavior."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from lrs.core.frames import each_row
from lrs.figures.palette import BEHAVIOR_COLORS, BEHAVIOR_LABELS, BEHAVIOR_MARKERS, LIGHT, arm_color, arm_label
from lrs.figures.parts import (
    beside,
    categories,
    columns_of,
    decoding_handles,
    decodings_in,
    dodge,
    draw_intervals,
    few_ticks,
    fitted,
    legend_above,
    letters,
    marker_handle,
    name_columns,
    named_lines,
    panels,
    percent_axis,
)
from lrs.figures.style import PAGE, Sheet, count_range, styled
from lrs.report.comparison import POOLED, no_controls_where_many
from lrs.tasks.behaviors import BEHAVIORS

_LINE, _AROUND = 0.17, 1.2  # inches: of an arm, and for titles, legends and labels
_LETTER = 0.6  # of its height, the width of a digit
_LINES = 64  # of arms that a page has room for


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


def _draw_side(axis: Axes, part: pd.DataFrame, arms: list[str], decodings: list[str], each: float) -> None:
    """A benchmark's differences, a line an arm."""
    axis.axvline(0, color=LIGHT, linewidth=1, zorder=0)
    for row in each_row(part):
        y = arms.index(row.arm) + dodge(decodings.index(row.decoding), len(decodings), 0.7)
        ends, size = ([row.delta_low], [row.delta_high]), min(3.5, 25 * each)
        draw_intervals(axis, [row.delta], [y], *ends, arm_color(row.arm), row.decoding == "greedy", size=size)


def _write_wins(axis: Axes, part: pd.DataFrame, arms: list[str], decodings: list[str], each: float) -> None:
    """Beside the lines of a benchmark, a column a decoding: on how many answers an arm wins, and loses."""
    told, size = [f"{row.wins:.0f}/{row.losses:.0f}" for row in each_row(part)], letters(each, 6.5)
    apart = _LETTER * size * (1 + max(map(len, told)))
    for row, text in zip(each_row(part), told, strict=True):
        beside(axis, arms.index(row.arm), text, 4 + apart * decodings.index(row.decoding), size)


@styled
def delta_figure(table: pd.DataFrame) -> Sheet:
    """Forest plot: difference to base with bootstrap intervals, a line an arm, a column a benchmark, pooled first, with
    wins/losses beside it.

    Arms that only ask in another way stand below; on a scale of their own, where they change more than twice as much as
    steering does, or less than half. Open markers are sampled decoding.

    Args:
        table: of one backbone, what `lrs.report.tables.main_results` returns; the rows of base, which have no delta,
            are left out.
    """
    table, benchmarks = table.dropna(subset=["delta"]), columns_of(table)
    decodings, asking = decodings_in(table["decoding"]), table["arm_group"] == "prompting"
    halves = {"steering": table[~asking], "prompting": table[asking]}
    sides = {title: part for title, part in halves.items() if len(part)}
    arms = {title: list(part["arm"].unique()) for title, part in sides.items()}
    counts = [len(named) for named in arms.values()]
    around = _AROUND + 0.4 * (len(sides) - 1)
    each = fitted(sum(counts), around, _LINE)
    shape: dict[str, Any] = {"height_ratios": counts, "width_ratios": [1.5, *[1] * (len(benchmarks) - 1)]}
    height = around + each * sum(counts)
    reach = [float(part[["delta_low", "delta_high"]].abs().max().max()) for part in sides.values()]
    scale = True if max(reach) <= 2 * min(reach) else "row"
    figure, axes = panels(len(sides), len(benchmarks), PAGE, height, sharex=scale, sharey="row", **shape)
    for row, (title, part) in zip(axes, sides.items(), strict=True):
        for axis, benchmark in zip(row, benchmarks, strict=True):
            some = part[part["benchmark"] == benchmark]
            _draw_side(axis, some, arms[title], decodings, each)
            if axis is row[0]:
                _write_wins(axis, some, arms[title], decodings, each)
        named_lines(row, [arm_label(arm) for arm in arms[title]], each)
        percent_axis(row[0], "")
        few_ticks(row[0], len(benchmarks))
        place = {"xycoords": "axes fraction", "xytext": (-4, 3), "textcoords": "offset points"}
        row[0].annotate(title, (0, 1), **place, ha="right", va="bottom", weight="bold")
    name_columns(axes[0], benchmarks)
    beside_it = f"beside: wins/losses, {' and '.join(decodings)}"
    figure.supxlabel(f"accuracy minus base (points) · {beside_it}", size="medium")
    legend_above(figure, decoding_handles(decodings))
    figure.counted = _count(table)
    return figure


@styled
def behaviors_figure(shares: pd.DataFrame) -> Sheet:
    """Share of traces that show each behavior, with its interval: a line an arm, a column a benchmark, rows of them a
    decoding. Of more arms than a page has lines, no controls.

    Args:
        shares: of one backbone, what `lrs.report.comparison.behavior_shares` returns.
    """
    decodings = decodings_in(shares["decoding"])
    shares = no_controls_where_many(shares, _LINES // len(decodings))
    benchmarks, arms = list(shares["benchmark"].unique()), list(shares["arm"].unique())
    around = _AROUND + 0.4 * (len(decodings) - 1)
    each = fitted(len(arms) * len(decodings), around, 0.2)
    height = around + each * len(arms) * len(decodings)
    figure, axes = panels(len(decodings), len(benchmarks), PAGE, height, sharex=True, sharey=True)
    for axis_row, decoding in zip(axes, decodings, strict=True):
        for axis, benchmark in zip(axis_row, benchmarks, strict=True):
            part = shares[(shares["benchmark"] == benchmark) & (shares["decoding"] == decoding)]
            for place in each_row(part):
                y = arms.index(place.arm) + dodge(BEHAVIORS.index(place.behavior), len(BEHAVIORS), 0.85)
                color, marker = BEHAVIOR_COLORS[place.behavior], BEHAVIOR_MARKERS[place.behavior]
                draw_intervals(axis, [place.share], [y], [place.low], [place.high], color, size=2, marker=marker)
        axis_row[0].set_ylabel(decoding)
    name_columns(axes[0], benchmarks)
    percent_axis(axes[0, 0], "")
    figure.supxlabel("traces showing it (%)", size="medium")
    named_lines(axes, [arm_label(arm) for arm in arms], each)
    how = [(BEHAVIOR_LABELS[behavior], BEHAVIOR_COLORS[behavior], BEHAVIOR_MARKERS[behavior]) for behavior in BEHAVIORS]
    legend_above(figure, [marker_handle(label, color, marker=marker) for label, color, marker in how])
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
