"""What the notebooks' results say, in a sentence each, computed from the tables: no such prose can be out of date."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lrs.core.frames import each_group, each_row, most
from lrs.report.comparison import is_primary, significance

SMOKE_MARK = "SMOKE: not the paper's numbers"  # short enough to be written across a figure


def smoke_warning(profile: str) -> str:
    """What has to stand before numbers of profile smoke; empty of any other."""
    return f"{SMOKE_MARK}. It only shows that every stage runs." if profile == "smoke" else ""


def not_measured(profile: str, folder: Path) -> str:
    """What stands in the place of a table that a command of the folder's name has not written of this profile."""
    return f"`{folder}` has no table of profile {profile} yet: `make {folder.name}` writes it."


def percent(share: float) -> str:
    """A share of 0..1, in percent."""
    return f"{100 * share:.1f}%"


def points(difference: float) -> str:
    """A difference of shares, in percentage points, with its sign; never -0.0."""
    return f"{round(100 * difference, 1) + 0.0:+.1f}"


def with_interval(row: dict[str, Any], name: str = "delta") -> str:
    """A difference and its interval (`<name>_low`, `<name>_high`), in points: `-0.2 [-0.9, +0.5]`."""
    return f"{points(row[name])} [{points(row[f'{name}_low'])}, {points(row[f'{name}_high'])}]"


def p_value(p: float) -> str:
    """Two digits of a p-value, empty where there is none."""
    return "" if p != p else "<0.001" if p < 0.001 else f"{p:.2g}"


def count_span(counts: Collection[int] | pd.Series) -> str:
    """`500`, or `30 to 500` where several counts differ."""
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def level_text(confidence_level: float) -> str:
    """A confidence level as intervals are named by it: `95%`."""
    return f"{100 * confidence_level:g}%"


def traces_sentence(traces: pd.DataFrame) -> str:
    """How often the reasoner is right, and how many problems tell more than their own difficulty.

    Args:
        traces: columns problem_id, decoding, correct.
    """
    accuracy = traces.groupby("decoding")["correct"].mean()
    by_problem = traces.groupby("problem_id")["correct"].mean()
    mixed = by_problem.between(0, 1, inclusive="neither").sum()
    how = " and ".join(f"{percent(share)} of the {decoding} ones" for decoding, share in accuracy.items())
    return (
        f"Of {len(traces):,} traces {percent(traces['correct'].mean())} are right ({how}). {mixed:,} of "
        f"{len(by_problem):,} problems have right and wrong traces; only within these can a reward learn more than "
        "which problems are hard."
    )


def sae_sentence(explained_variance: Mapping[str, float], density: np.ndarray) -> str:
    """How faithful an autoencoder is, and how many of its latents are in use.

    Args:
        explained_variance: of what it learned from (`seen`), and of problems it did not see (`held out`).
        density: (d_sae,) share of tokens on which each latent is active.
    """
    seen, unseen = (percent(explained_variance[name]) for name in ("seen", "held out"))
    return (
        f"With {density.sum():.1f} of {density.size} latents active on a token, on average, the autoencoder keeps "
        f"{seen} of the variance where it learned and {unseen} on problems it has not seen; "
        f"{(density == 0).sum()} of its latents never fire."
    )


def reward_sentence(quality: pd.DataFrame, positions: pd.DataFrame) -> str:
    """What each reward model knows of unseen problems, and whether it knows early.

    Args:
        quality: a row a variant, of `lrs.learning.reward_metrics.summarise`.
        positions: of `lrs.learning.reward_metrics.auroc_by_position`, all variants together.
    """
    sentences = []
    for row in each_row(quality):
        along = positions[positions["variant"] == row.variant].sort_values("position")["auroc"]
        sentences.append(
            f"`{row.variant}` tells right from wrong traces with an AUROC of {row.auroc_traces:.2f} "
            f"({row.auroc_within_problems:.2f} among those of one problem), and tokens with {along.iloc[0]:.2f} at "
            f"the start of a trace and {along.iloc[-1]:.2f} at its end."
        )
    return f"{' '.join(sentences)} Chance is 0.50."


_FEW = 5  # iterations


def causal_sentence(curves: pd.DataFrame, quality: pd.DataFrame) -> str:
    """What training through its own push did to each reward: how often attempts are right, and what it still knows.

    Args:
        curves: columns reward, step, benchmark and correct, of `lrs.experiment.causal.train_causal`.
        quality: a row a reward, of `lrs.learning.reward_metrics.summarise`; `token` among them.
    """
    known = quality.set_index("variant")["auroc_within_problems"]
    told = []
    for reward, part in curves.groupby("reward", sort=False):
        right = part.groupby("step")["correct"].mean()
        told.append(
            f"With `{reward}` {percent(right.iloc[:_FEW].mean())} of the attempts were right in the first "
            f"{min(_FEW, len(right))} iterations and {percent(right.iloc[-_FEW:].mean())} in the last, and it tells "
            f"right from wrong traces of one problem with an AUROC of {known[reward]:.2f}"
        )
    return f"{'. '.join(told)} (`token`: {known['token']:.2f})."


def selection_sentence(candidates: pd.DataFrame) -> str:
    """What was frozen of each method, and what it did on validation.

    Args:
        candidates: of `lrs.experiment.selection.choose_settings`.
    """
    if candidates.empty:
        return "The profile names no steered arm: there was nothing to choose."
    chosen = candidates[candidates["chosen"]]
    settings = [
        f"`{row.arm}`, {row.decoding} (K {row.num_steps}, alpha {row.step_size:g}), pushes "
        f"{percent(row.steered_fraction)} of the tokens by {percent(row.push_ratio)} of their norm, a dose of "
        f"{row.dose:.2g} nats a token, for {points(row.delta)} points"
        for row in each_row(chosen)
    ]
    return f"Chosen from {len(candidates)} candidates, by validation alone: {'; '.join(settings)}."


def corrected_sentence(results: pd.DataFrame, confidence_level: float) -> str:
    """Which arms lie above or below base beyond chance, on which benchmarks, the primary contrast apart.

    Args:
        results: of one backbone, what `lrs.report.tables.main_results` returns.
    """
    others = results[~is_primary(results) & results["p_holm"].notna()]
    told = others[others["p_holm"] < significance(confidence_level)]
    above, below = (_places(told[side]) for side in (told["delta"] > 0, told["delta"] < 0))
    return f"Of {len(others)} secondary contrasts, after Holm's correction, above base: {above}; below it: {below}."


def _places(rows: pd.DataFrame) -> str:
    """Each arm with its benchmarks, `none` without any."""
    sampled = rows["decoding"].ne("greedy")
    where = rows["benchmark"] + (", " + rows["decoding"]).where(sampled, "")
    return (
        ", ".join(f"`{arm}` ({'; '.join(places)})" for arm, places in where.groupby(rows["arm"], sort=False)) or "none"
    )


def speed_sentence(costs: pd.DataFrame) -> str:
    """What a token costs on each way, over the unsteered loop; a sentence a workload.

    Args:
        costs: columns workload, path, tokens_per_s, ratio_to_unsteered; of paths without that ratio nothing is said.
    """
    sentences = []
    for workload, rows in costs.groupby("workload", sort=False):
        rows = rows.set_index("path")
        times = {path: _times(1 / ratio) for path, ratio in rows["ratio_to_unsteered"].dropna().items()}
        published = (
            f"; steered in the published loop, one problem at a time, {times['naive']}" if "naive" in times else ""
        )
        theirs = f"; unsteered in transformers' `generate` {times['hf_generate']}" if "hf_generate" in times else ""
        slope = f", up a quadratic reward at every token {times['lrs_slope']}" if "lrs_slope" in times else ""
        sentences.append(
            f"{workload}: our loop writes {rows['tokens_per_s']['unsteered']:,.0f} tokens a second. Steered, a "
            f"token takes {times['lrs_token']} as long, with `history` {times['lrs_history']}{slope}{theirs}"
            f"{published}."
        )
    return "\n\n".join(sentences)


def _times(ratio: float) -> str:
    return f"{ratio:.2f} times" if ratio < 10 else f"{ratio:.0f} times"


def meaning_sentence(latents: pd.DataFrame, words: pd.DataFrame) -> str:
    """What notebook 7 found: whether the reward reads what a push that works writes, and what the model needs; and how
    much of what the latents of behaviors know is the word that opens them.

    Args:
        latents, words: of `lrs.experiment.latent_study`.
    """
    firing = latents[latents["density"] > 0]
    alike = firing["shapley"].corr(firing["pushed"], method="spearman")
    missed = firing["shapley"].abs().corr(firing["kl"], method="spearman")
    told = [
        f"{len(firing)} of {len(latents)} latents ever fire. Over these, the rank correlation of a latent's share of "
        f"the paper's reward with what the causal reward's step does to it is {alike:+.2f}; that of the size of its "
        f"share with how much the next token changes without it is {missed:+.2f}."
    ]
    shares = [
        f"`{row.word}` {percent(row.put_in / row.genuine)} (n {row.n_genuine} and {row.n_put_in})"
        for row in each_row(words)
        if row.genuine > 0
    ]
    if shares:
        told.append(
            "Where the word that opens a behavior is put in the place of another, the latent most tied to that opening "
            f"fires this strongly, compared with where the model wrote it: {', '.join(shares)}. Means over few tokens."
        )
    return " ".join(told)


def heads_sentence(heads: pd.DataFrame) -> str:
    """Which head each push changes most.

    Args:
        heads: of `lrs.experiment.push_paths.head_means`.
    """
    told = []
    for arm, part in each_group(heads, "arm", sort=False):
        row = most(part, "change")
        told.append(
            f"The push of `{arm}` changes head {row['head']:.0f} of layer {row['layer']:.0f} most: {row['change']:.2g} "
            f"of the square of what it puts out; the median head changes by {part['change'].median():.2g}."
        )
    return " ".join(told)
