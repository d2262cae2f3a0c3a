"""Figures of 05_steering and 09_paper: what steering does to accuracy and to behavior."""

import pandas as pd
from matplotlib.figure import Figure

from lrs.figures.style import (
    BEHAVIOR_LABELS,
    DECODINGS,
    GREY,
    LIGHT,
    PAGE,
    arm_color,
    arm_label,
    categories,
    decoding_handles,
    dodge,
    draw_intervals,
    legend_above,
    marker_handle,
    panels,
    percent_axis,
    styled,
    wrapped,
)
from lrs.tasks.behaviors import BEHAVIORS

_ROW = 0.2  # inches a line of a forest plot


@styled
def accuracy_figure(table: pd.DataFrame) -> Figure:
    """Accuracy of every arm with its interval, a panel a benchmark; open markers are sampled decoding.

    A title with two numbers of problems gives that of greedy decoding first.

    Args:
        table: what `lrs.report.tables.main_results` returns.
    """
    benchmarks, arms = list(table["benchmark"].unique()), list(table["arm"].unique())
    decodings = [decoding for decoding in DECODINGS if decoding in set(table["decoding"])]
    height = 0.5 + _ROW * len(arms) * (0.6 + 0.4 * len(decodings))
    figure, axes = wrapped(1, len(benchmarks), 0.4, height, sharey=True)
    for axis, benchmark in zip(axes[0], benchmarks, strict=True):
        part = table[table["benchmark"] == benchmark]
        for row in part.itertuples():
            y = arms.index(row.arm) + dodge(decodings.index(row.decoding), len(decodings))
            color, filled = arm_color(row.arm), row.decoding == "greedy"
            draw_intervals(axis, [row.accuracy], [y], [row.ci_low], [row.ci_high], color, filled)
        counts = part.groupby("decoding", sort=False)["n"].first()
        axis.set_title(f"{benchmark} (n {'/'.join(f'{count:,}' for count in counts.unique())})")
        percent_axis(axis, "accuracy (%)")
    categories(axes, [arm_label(arm) for arm in arms])
    legend_above(figure, decoding_handles(decodings))
    return figure


@styled
def delta_figure(table: pd.DataFrame) -> Figure:
    """Forest plot: difference to base with bootstrap intervals, a block a benchmark; wins/losses on the right.

    Args:
        table: what `lrs.report.tables.main_results` returns; the rows of base, which have no delta, are left out.
    """
    table = table.dropna(subset=["delta"])
    decodings = [decoding for decoding in DECODINGS if decoding in set(table["decoding"])]
    lines = table[["benchmark", "arm"]].drop_duplicates().reset_index(drop=True)
    blocks = lines["benchmark"].ne(lines["benchmark"].shift()).cumsum() - 1
    lines["y"] = lines.index + 1.2 * blocks + 1.0  # a line for the benchmark's name above each block
    figure, axes = panels(
        1,
        len(decodings),
        PAGE if len(decodings) > 1 else 0.62 * PAGE,
        0.6 + _ROW * lines["y"].max(),
        sharex=True,
        sharey=True,
    )
    for axis, decoding in zip(axes[0], decodings, strict=True):
        axis.axvline(0, color=LIGHT, linewidth=1, zorder=0)
        for row in table[table["decoding"] == decoding].merge(lines).itertuples():
            draw_intervals(axis, [row.delta], [row.y], [row.delta_low], [row.delta_high], arm_color(row.arm))
            count = f"{row.wins:.0f}/{row.losses:.0f}"
            axis.text(1.02, row.y, count, transform=axis.get_yaxis_transform(), va="center", fontsize=7, color=GREY)
        axis.text(1.02, 0.0, "wins/losses", transform=axis.get_yaxis_transform(), va="center", fontsize=7, color=GREY)
        percent_axis(axis, "accuracy minus base (points)")
        if len(decodings) > 1:
            axis.set_title(decoding)
        axis.tick_params(axis="y", length=0)
    heads = lines.groupby("benchmark", sort=False)["y"].min() - 1.0
    axes[0, 0].set_yticks([*lines["y"], *heads], [*map(arm_label, lines["arm"]), *heads.index])
    for label in axes[0, 0].get_yticklabels()[len(lines) :]:
        label.set_fontweight("bold")
    axes[0, 0].set_ylim(lines["y"].max() + 0.7, -0.7)
    return figure


@styled
def behaviors_figure(shares: pd.DataFrame) -> Figure:
    """Share of traces that show each behavior, by arm and benchmark, with its interval; a row a decoding.

    Args:
        shares: of one backbone, what `lrs.report.comparison.behavior_shares` returns.
    """
    benchmarks, arms = list(shares["benchmark"].unique()), list(shares["arm"].unique())
    decodings = [decoding for decoding in DECODINGS if decoding in set(shares["decoding"])]
    height = 0.2 + len(BEHAVIORS) * (0.16 + 0.08 * len(arms))
    figure, axes = wrapped(len(decodings), len(benchmarks), 0.5, height, sharex=True, sharey=True)
    for axis_row, decoding in zip(axes, decodings, strict=True):
        for axis, benchmark in zip(axis_row, benchmarks, strict=True):
            part = shares[(shares["benchmark"] == benchmark) & (shares["decoding"] == decoding)]
            for place in part.itertuples():
                y = BEHAVIORS.index(place.behavior) + dodge(arms.index(place.arm), len(arms), 0.75)
                draw_intervals(axis, [place.share], [y], [place.low], [place.high], arm_color(place.arm))
            axis.set_title(f"{benchmark}, {decoding}")
    percent_axis(axes[0, 0], "")
    figure.supxlabel("traces showing it (%)", size="medium")
    categories(axes, [BEHAVIOR_LABELS[behavior] for behavior in BEHAVIORS])
    legend_above(figure, [marker_handle(arm_label(arm), arm_color(arm)) for arm in arms], columns=min(6, len(arms)))
    return figure


@styled
def paper_figure(paper: pd.DataFrame) -> Figure:
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
        for row in part.itertuples():
            place = names.index.get_loc(row.benchmark)
            y = place + dodge(arms.index(row.arm), len(arms), 0.5)
            draw_intervals(axis, [row.accuracy], [y], [row.ci_low], [row.ci_high], arm_color(row.arm))
            if row.arm == "lrs":
                p = "<0.001" if row.smallest_p < 0.001 else f"{row.smallest_p:.3f}"
                axis.text(1.02, place, p, transform=axis.get_yaxis_transform(), va="center", fontsize=7, color=GREY)
        axis.text(1.02, -0.75, "smallest p", transform=axis.get_yaxis_transform(), va="center", fontsize=7, color=GREY)
        axis.set_title(f"{backbone}, as the paper reports it")
        percent_axis(axis, "accuracy (%)")
    categories(axes, [f"{name} (n {n})" for name, n in names.items()])
    legend_above(figure, [marker_handle(arm_label(arm), arm_color(arm)) for arm in arms])
    return figure
