"""Figures of 07_latents: what latents go with, behaviors or words, where rewards look and pushes act."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lrs.core.frames import each_group, each_row
from lrs.figures.palette import BEHAVIOR_LABELS, BLACK, GREEN, GREY, ORANGE, VERMILLION, arm_color, arm_label, dashes_of
from lrs.figures.parts import categories, dodge, draw_band, draw_intervals, ink_on, legend_above, marker_handle, panels
from lrs.figures.style import COLUMN, PAGE, Sheet, count_range, styled
from lrs.tasks.behaviors import BEHAVIORS

_ERRORS = 2  # standard errors to each side of a mean
_LINE, _LABEL = 120, 24  # letters: of a line of tokens, and of the label before it
# a label, and each word with where it starts, its reward, and whether the trace splits there, and came of a push
Line = tuple[str, list[tuple[int, str, float, bool, bool]]]
# inside its axes, so that the layout need not ask each word how large it is
_WORD = {"family": "monospace", "size": 5.5, "va": "center", "in_layout": False}
_ENDS = {"right": GREEN, "wrong": VERMILLION}
_UNMARKED = " (steered tokens not marked)"
_BEFORE = 10  # tokens of a context, before the one on which a latent is strongest
_MARGIN = 0.1  # of rewards, above and below what is drawn
_NUMBERED = 6  # heads, whose numbers can be read side by side


@styled
def meaning_figure(table: pd.DataFrame) -> Sheet:
    """What the latents that weigh most in the reward go with: a row a latent, a column a behavior, being right within a
    problem, and the length of the trace; beside them the share of the reward, and how far the causal push moves each,
    with two standard errors to both sides.

    Args:
        table: of `lrs.experiment.latent_study`, its `latents` that are to be shown.
    """
    columns = [*(f"in_{behavior}" for behavior in BEHAVIORS), "correct_within", "with_length"]
    labels = [*(BEHAVIOR_LABELS[behavior].lower() for behavior in BEHAVIORS), "right, within a problem", "long trace"]
    figure, axes = panels(1, 3, PAGE, 1.2 + 0.2 * len(table), sharey=True, gridspec_kw={"width_ratios": [3, 2, 2]})
    left, middle, right = axes[0]
    most = float(table[columns].abs().to_numpy().max())
    image = left.imshow(table[columns].to_numpy(), cmap="PuOr_r", vmin=-most, vmax=most, aspect="auto")
    left.set_xticks(range(len(columns)), labels, rotation=30, ha="right")
    left.grid(visible=False)
    figure.colorbar(image, ax=left, label="correlation", shrink=0.8)
    for axis, column, label in ((middle, "shapley", "share of the reward (logits)"), (right, "pushed", "causal push")):
        axis.axvline(0, color=GREY, linewidth=0.8)
        error = {"xerr": _ERRORS * table[f"{column}_se"].fillna(0), "error_kw": {"elinewidth": 0.9, "ecolor": BLACK}}
        colors = [ORANGE if value > 0 else GREY for value in table[column]]
        axis.barh(range(len(table)), table[column], color=colors, **error)
        axis.set_xlabel(label)
    categories(axes[:, :1], [str(latent) for latent in table["latent"]])
    left.set_ylabel("latent")
    figure.counted = count_range([len(table)], "latents")
    return figure


@styled
def reward_paths_figure(table: pd.DataFrame) -> Sheet:
    """The reward along traces, a panel for what each arm repaired and for what it broke: mean over problems by tenth of
    the trace, unsteered and steered, with intervals.

    Args:
        table: of `lrs.report.along.path_means`.
    """
    kinds, arms = (list(dict.fromkeys(table[column])) for column in ("change", "by"))
    figure, axes = panels(len(arms), len(kinds), PAGE, 0.6 + 1.8 * len(arms), sharex=True, sharey=True)
    for (row, by), (column, kind) in product(enumerate(arms), enumerate(kinds)):
        axis, part = axes[row, column], table[(table["by"] == by) & (table["change"] == kind)]
        for arm, line in part.groupby("arm", sort=False):
            draw_band(axis, line["place"], line, arm_color(arm), arm_label(arm))
        axis.set_title(f"{kind} by {arm_label(by)} (n {part['n'].max() if len(part) else 0:.0f})")
    for axis in axes[-1]:
        axis.set_xlabel("tenth of the trace")
    for axis in axes[:, 0]:
        axis.set_ylabel("reward")
    axes[0, 0].set_ylim(max(0, table["low"].min() - _MARGIN), min(1, table["high"].max() + _MARGIN))
    legend_above(figure, list(_handles_by_label(axes.flat).values()))
    figure.counted = count_range(table.groupby(["by", "change"])["n"].max(), "problems")
    return figure


def _handles_by_label(axes: Iterable[Axes]) -> dict[str, Artist]:
    """What a legend shows of several axes, each label once."""
    found = (axis.get_legend_handles_labels() for axis in axes)
    return {label: handle for handles, labels in found for handle, label in zip(handles, labels, strict=True)}


@styled
def words_figure(table: pd.DataFrame) -> Sheet:
    """Behavior or word? How strongly the latent most tied to the beginning of a behavior fires on the word that opens
    it, where the model wrote it (filled) and where it was put in the place of another (hollow), each with two standard
    errors to both sides.

    Args:
        table: of `lrs.experiment.latent_study`, its `words`, with the words as text.
    """
    figure, axes = panels(1, 1, COLUMN, 0.9 + 0.28 * len(table))
    (axis,) = axes[0]
    for index, name in enumerate(("genuine", "put_in")):
        error = _ERRORS * table[f"{name}_se"].fillna(0)
        places = np.arange(len(table)) + dodge(index, 2, 0.5)
        draw_intervals(axis, table[name], places, table[name] - error, table[name] + error, ORANGE, filled=not index)
    axis.set_xlim(left=0)
    axis.set_xlabel("mean activation (± 2 standard errors)")
    categories(axes, [f"{row.word} (latent {row.latent})" for row in each_row(table)])
    legend_above(figure, [marker_handle("written by the model", ORANGE), marker_handle("put in", ORANGE, filled=False)])
    figure.counted = count_range([*table["n_genuine"], *table["n_put_in"]], "tokens")
    return figure


@styled
def contexts_figure(table: pd.DataFrame, count: int = 3) -> Sheet:
    """Where latents fire most strongly: each of the first contexts of each, a token darker where the latent is stronger
    (full where it is strongest of all), and framed where it is strongest in this context.

    Args:
        table: of `lrs.learning.meaning.contexts_of`.
    """
    lines: list[tuple[str, float, list[tuple[int, str, float, bool, bool]]]] = []
    for latent, of_latent in each_group(table, "latent", sort=False):
        for place, row in enumerate(each_row(of_latent.head(count))):
            first = max(0, row.at - _BEFORE)
            shown, values = row.words[first:], row.values[first:]
            ((_, words), *_) = _wrapped("", shown, values, [False] * len(shown), row.at - first)
            lines.append(("" if place else f"latent {latent}", row.highest, words))
    figure, axes = panels(1, 1, PAGE, 0.3 + 0.16 * len(lines))
    axis = axes[0, 0]
    axis.set(xlim=(0, _LINE + _LABEL), ylim=(len(lines), 0))
    axis.axis("off")
    for height, (label, highest, words) in enumerate(lines):
        axis.text(0, height + 0.5, label, size=6.5, va="center")
        for start, word, value, strongest, _ in words:
            shade = _shade(value, 0, highest) if value > 0 else "none"
            frame = {"boxstyle": "square,pad=0.15", "lw": 0.8 if strongest else 0, "ec": BLACK, "fc": shade}
            axis.text(_LABEL + start, height + 0.5, word, bbox=frame, **_WORD)
    figure.counted = count_range([table["latent"].nunique()], f"latents, {count} contexts of each")
    return figure


@styled
def cases_figure(paths: pd.DataFrame, cases: Sequence[tuple[str, str, str]], questions: Mapping[str, str]) -> Sheet:
    """Case studies: each answer without and with steering, a token darker where the reward is higher (from the lowest
    of these answers to the highest), framed where the steered one first goes another way, and underlined where it came
    because of a push; it is told of a case that these are not known.

    Args:
        paths: of `lrs.experiment.reward_paths.keep_paths`.
        cases: of `lrs.experiment.cases.case_studies`.
        questions: by problem id.
    """
    lines: list[Line] = []
    for by, title, name in cases:
        told = paths[(paths["by"] == by) & (paths["problem_id"] == name)]
        known = told.loc[told["arm"] == by, "pushed"].map(len).all()
        lines.append((f"{arm_label(by)}, {title}{'' if known else _UNMARKED}: {questions[name]}", []))
        pairs = enumerate(zip(*told["words"], strict=False))
        split = next((place for place, (one, other) in pairs if one != other), -1)
        for row in each_row(told):
            came = [*row.pushed, *[False] * (len(row.words) - len(row.pushed))]
            lines += _wrapped(arm_label(row.arm), row.words, row.rewards, came, split if row.arm != "base" else -1)
    figure, axes = panels(1, 1, PAGE, 0.5 + 0.16 * len(lines))
    axis = axes[0, 0]
    axis.set(xlim=(0, _LINE + _LABEL), ylim=(len(lines), 0))
    axis.axis("off")
    drawn = paths.loc[paths["problem_id"].isin([name for *_, name in cases]), "rewards"]
    rewards = np.concatenate([np.asarray(one) for one in drawn] or [np.zeros(1)])
    low, high = float(rewards.min()), float(rewards.max())
    for height, (label, words) in enumerate(lines):
        axis.text(0, height + 0.5, label, size=6.5, va="center", weight="normal" if words else "bold")
        for start, word, reward, first, pushed in words:
            shade = _shade(reward, low, high)
            frame = {"boxstyle": "square,pad=0.15", "lw": 0.8 if first else 0, "ec": BLACK, "fc": shade}
            axis.text(_LABEL + start, height + 0.5, word, bbox=frame, **_WORD)
            if pushed:
                axis.plot([_LABEL + start, _LABEL + start + len(word)], [height + 0.93] * 2, color=VERMILLION, lw=1)
    scale: list[Artist] = [
        Patch(facecolor=_shade(reward, low, high), label=f"reward {reward:.2f}") for reward in np.linspace(low, high, 3)
    ]
    scale += [Patch(facecolor="none", edgecolor=BLACK, linewidth=0.8, label="first token that differs")]
    scale += [Line2D([], [], color=VERMILLION, lw=1, label="came of a push")]
    figure.legend(handles=scale, loc="outside upper center", ncols=len(scale), fontsize=6.5)
    figure.counted = count_range([len(cases)], "cases")
    return figure


def _shade(reward: float, low: float, high: float) -> tuple[float, float, float, float]:
    return to_rgba(ORANGE, float(np.clip(0.08 + 0.92 * (reward - low) / max(high - low, 1e-9), 0, 1)))


def _wrapped(
    label: str, words: Sequence[str], rewards: Sequence[float], pushed: Sequence[bool], split: int
) -> list[Line]:
    """Lines of at most `_LINE` letters; the trace splits at token number `split`."""
    lines: list[Line] = [(label, [])]
    start = 0
    for place, (word, reward, came) in enumerate(zip(words, rewards, pushed, strict=False)):
        if start + len(word) > _LINE:
            lines.append(("", []))
            start = 0
        lines[-1][1].append((start, word, float(reward), place == split, bool(came)))
        start += len(word) + 1
    return lines


@styled
def push_paths_figure(table: pd.DataFrame) -> Sheet:
    """Along base's greedy answers: where gates fire, how hard pushes are, and how unstable the next token is where the
    answer is right and where it is wrong; means by tenth of the trace, with intervals.

    Args:
        table: of `lrs.experiment.push_paths.push_means`.
    """
    titles = {"gate": "tokens pushed", "push": "push, of the residual stream", "instability": "instability, nats"}
    figure, axes = panels(1, len(titles), PAGE, 2.4, sharex=True)
    dashes = dashes_of(line for line in table["line"].unique() if line not in _ENDS)
    for axis, (quantity, title) in zip(axes[0], titles.items(), strict=True):
        for line, part in each_group(table[table["quantity"] == quantity], "line", sort=False):
            color = _ENDS.get(line, arm_color(line))
            draw_band(axis, part["place"], part, color, arm_label(line), dashes.get(line, "-"))
        axis.set_title(title)
        axis.set_xlabel("tenth of the trace")
        axis.set_ylim(bottom=0)
    handles = [handle for axis in axes[0][[0, 2]] for handle in axis.get_legend_handles_labels()[0]]
    legend_above(figure, handles)
    figure.counted = count_range(table["n"], "traces")
    return figure


@styled
def heads_figure(table: pd.DataFrame) -> Sheet:
    """Which heads above the steered layer read a push: how much it changes of what each puts out, an arm a panel; in
    numbers too, where there are so few heads that these can be read.

    Args:
        table: of `lrs.experiment.push_paths.head_means`.
    """
    arms = list(dict.fromkeys(table["arm"]))
    layers = sorted(table["layer"].unique())
    figure, axes = panels(1, len(arms), PAGE, 1.1 + 0.3 * len(layers), sharey=True)
    most = float(table["change"].max())
    for axis, arm in zip(axes[0], arms, strict=True):
        wide = table[table["arm"] == arm].pivot(index="layer", columns="head", values="change")
        image = axis.imshow(wide.to_numpy(), cmap="Blues", vmin=0, vmax=most, aspect="auto", origin="lower")
        for (row, head), change in np.ndenumerate(wide.to_numpy()) if wide.shape[1] <= _NUMBERED else ():
            axis.text(head, row, f"{change:.2g}", ha="center", va="center", size="small", color=ink_on(image, change))
        axis.set_yticks(range(len(layers)), layers)
        axis.set_xticks(range(0, wide.shape[1], 1 + wide.shape[1] // 12))
        axis.grid(visible=False)
        axis.set_title(arm_label(arm))
        axis.set_xlabel("head")
    axes[0, 0].set_ylabel("layer")
    figure.colorbar(image, ax=list(axes[0]), label="change, squared", shrink=0.9)
    figure.counted = count_range(table["n"], "traces")
    return figure
