"""Figures of 01_traces: what the frozen reasoner writes, how long, and how often it is right."""

import html
import re

import pandas as pd
import seaborn as sns
from matplotlib.ticker import MaxNLocator

from lrs.core.frames import each_row
from lrs.core.statistics import shares_by
from lrs.figures.palette import ARM_COLORS, BEHAVIOR_COLORS, BEHAVIOR_LABELS, CORRECT_COLORS, CORRECT_LABELS, GREY
from lrs.figures.parts import (
    categories,
    decoding_handles,
    dodge,
    draw_intervals,
    legend_above,
    marker_handle,
    panels,
    percent_axis,
    wrapped,
)
from lrs.figures.style import COLUMN, DECODINGS, Sheet, styled
from lrs.tasks.behaviors import BEHAVIORS, find_behaviors

_CLAUSE_END = re.compile(r"(?:(?<=[.:])|(?<=think>))[ \n]+(?=\S)")


def _mark(text: str, behavior: str | None) -> str:
    if behavior is None or not text:
        return html.escape(text)
    style = f"background:{BEHAVIOR_COLORS[behavior]}40;border-radius:3px"  # 40: a quarter opaque, on light and dark
    return f'<span style="{style}" title="{BEHAVIOR_LABELS[behavior]}">{html.escape(text)}</span>'


def trace_html(text: str) -> str:
    """A reasoning trace as HTML: a clause a line, behavior spans on the background of their colour, a legend above."""
    pieces, end = [], 0
    for span in find_behaviors(text):
        pieces += [(text[end : span.start], None), (text[span.start : span.end], span.behavior)]
        end = span.end
    pieces.append((text[end:], None))
    breaks = {match.start(): match.end() for match in _CLAUSE_END.finditer(text)}
    lines, at = [], 0
    for piece, behavior in pieces:
        cut = at
        for start in [start for start in breaks if at <= start < at + len(piece)]:
            lines += [_mark(text[cut:start], behavior), "<br>\n"]
            cut = min(breaks[start], at + len(piece))
        at += len(piece)
        lines.append(_mark(text[cut:at], behavior))
    legend = " &middot; ".join(_mark(BEHAVIOR_LABELS[behavior], behavior) for behavior in BEHAVIORS)
    return f'<div style="font-family:monospace"><p>{legend}</p>\n{"".join(lines)}\n</div>'


def _with_decoding(traces: pd.DataFrame) -> pd.DataFrame:
    return traces.assign(decoding=traces["seed"].eq(0).map({True: "greedy", False: "sampled"}))


def _count(traces: pd.DataFrame) -> str:
    return f"n {len(traces):,} traces of {traces['problem_id'].nunique():,} problems"


@styled
def behavior_rates(traces: pd.DataFrame, confidence_level: float = 0.95) -> Sheet:
    """Share of traces that show each behavior, by benchmark, correctness and decoding, with Wilson intervals.

    Args:
        traces: columns problem_id, benchmark, seed (0 greedy, others sampled), correct, one count per behavior.
    """
    traces = _with_decoding(traces)
    benchmarks = list(traces["benchmark"].unique())
    groups = [(correct, decoding) for decoding in DECODINGS for correct in (True, False)]
    figure, axes = wrapped(1, len(benchmarks), 0.5, 2.0, sharex=True, sharey=True)
    for axis, benchmark in zip(axes[0], benchmarks, strict=True):
        part = traces[traces["benchmark"] == benchmark]
        for row, behavior in enumerate(BEHAVIORS):
            shares = shares_by(
                part.assign(shown=part[behavior] > 0), ["correct", "decoding"], "shown", confidence_level
            )
            for place in each_row(shares):
                y = row + dodge(groups.index((place.correct, place.decoding)), len(groups))
                color, filled = CORRECT_COLORS[place.correct], place.decoding == "greedy"
                draw_intervals(axis, [place.share], [y], [place.low], [place.high], color, filled)
        axis.set_title(benchmark)
    percent_axis(axes[0, 0], "")
    figure.supxlabel("traces showing it (%)", size="medium")
    categories(axes, [BEHAVIOR_LABELS[behavior] for behavior in BEHAVIORS])
    handles = [marker_handle(CORRECT_LABELS[correct], CORRECT_COLORS[correct]) for correct in (True, False)]
    legend_above(figure, handles + decoding_handles(traces["decoding"]))
    figure.counted = _count(traces)
    return figure


@styled
def length_figure(traces: pd.DataFrame, max_new_tokens: int) -> Sheet:
    """Histogram of generated tokens by correctness, with a dotted line at the budget, where a trace is truncated.

    Args:
        traces: columns problem_id, benchmark, correct, tokens, finish_reason.
    """
    benchmarks = list(traces["benchmark"].unique())
    figure, axes = wrapped(1, len(benchmarks), 0.4, 1.7, sharex=True)
    for axis, benchmark in zip(axes[0], benchmarks, strict=True):
        part = traces[traces["benchmark"] == benchmark]
        bins = {"bins": 40, "binrange": (0, max_new_tokens), "element": "step", "legend": False}
        sns.histplot(part, x="tokens", hue="correct", palette=CORRECT_COLORS, **bins, ax=axis)
        axis.set(xlabel="", ylabel="")
        axis.axvline(max_new_tokens, color=GREY, linestyle=":", linewidth=1)
        truncated = (part["finish_reason"] == "truncated").mean()
        axis.set_title(f"{benchmark}\n{truncated:.0%} truncated")
        axis.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    figure.supxlabel("generated tokens", size="medium")
    figure.supylabel("traces", size="medium")
    legend_above(figure, [marker_handle(CORRECT_LABELS[correct], color) for correct, color in CORRECT_COLORS.items()])
    figure.counted = _count(traces)
    return figure


@styled
def accuracy_by_decoding(traces: pd.DataFrame, confidence_level: float = 0.95) -> Sheet:
    """Accuracy of the frozen reasoner per benchmark, greedy and sampled, with Wilson intervals over problems.

    Args:
        traces: columns problem_id, benchmark, seed (0 greedy, others sampled), correct.
    """
    shares = shares_by(_with_decoding(traces), ["benchmark", "decoding"], "correct", confidence_level)
    benchmarks = list(shares["benchmark"].unique())
    figure, axes = panels(1, 1, COLUMN, 0.9 + 0.35 * len(benchmarks))
    for place in each_row(shares):
        y = benchmarks.index(place.benchmark) + dodge(DECODINGS.index(place.decoding), len(DECODINGS))
        filled = place.decoding == "greedy"
        draw_intervals(axes[0, 0], [place.share], [y], [place.low], [place.high], ARM_COLORS["base"], filled)
    categories(axes, benchmarks)
    percent_axis(axes[0, 0], "accuracy (%)")
    legend_above(figure, decoding_handles(shares["decoding"]))
    figure.counted = _count(traces)
    return figure
