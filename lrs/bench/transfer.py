"""Does a reward carry over? The paper's reward, learned from one benchmark's traces, asked about those of another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lrs.core.progress import Progress
from lrs.core.statistics import auroc_interval
from lrs.learning.latents import LatentTraces, load_latents
from lrs.learning.meaning import as_matrix
from lrs.learning.reward_metrics import summarise, trace_scores
from lrs.learning.reward_training import score_traces, train_reward
from lrs.saved import TRANSFER, write_measured
from lrs.tasks.problems import load_problems
from lrs.tasks.splits import held_out

if TYPE_CHECKING:
    from lrs.config import Config

ALL = "all"  # benchmarks together


def only(latents: LatentTraces, traces: np.ndarray) -> LatentTraces:
    """Some traces alone, in the order in which they are named."""
    spans = [np.arange(latents.offsets[trace], latents.offsets[trace + 1]) for trace in traces]
    tokens = as_matrix(latents)[np.concatenate(spans)]
    return LatentTraces(
        d_sae=latents.d_sae,
        problem_ids=latents.problem_ids[traces],
        seeds=latents.seeds[traces],
        correct=latents.correct[traces],
        offsets=np.concatenate([[0], np.cumsum(latents.lengths[traces])]),
        starts=tokens.indptr,
        index=tokens.indices,
        value=tokens.data,
    )


def _interval(scores: pd.DataFrame, config: Config) -> tuple[float, float]:
    """Of the AUROC over traces, by a bootstrap over problems."""
    traces = trace_scores(scores)
    correct, mean, problems = (traces[name].to_numpy() for name in ("correct", "mean", "problem_id"))
    how = config.statistics
    return auroc_interval(correct, mean, problems, how.confidence_level, how.bootstrap_resamples, config.seed)


def transfer_table(latents: LatentTraces, benchmarks: np.ndarray, config: Config) -> pd.DataFrame:
    """Rewards learned from each benchmark, and from all together, asked about the held-out problems of each.

    Args:
        benchmarks: of every trace.

    Returns:
        A row a pair: learned_from, asked_about, problems, auroc (over traces) with its interval low and high, and
        auroc_within (problems). Benchmarks whose traces, or held-out ones, are all right or all wrong are left out.
    """
    names = list(dict.fromkeys(benchmarks))
    out = held_out(latents.problem_ids, config.reward.early_stopping_share, config.seed)
    asked = {name: np.flatnonzero(out & (benchmarks == name)) for name in names}
    asked = {name: traces for name, traces in asked.items() if 0 < latents.correct[traces].mean() < 1}
    rows = []
    with Progress("transfer", len(asked) + 1, "rewards") as progress:
        for source in (*asked, ALL):
            seen = np.flatnonzero(~out & ((benchmarks == source) | (source == ALL)))
            reward = train_reward(only(latents, seen), "token", config.reward, config.seed, config.device).model
            for name, traces in asked.items():
                scores = score_traces(reward, latents, traces, config.reward.batch_size)
                low, high = _interval(scores, config)
                known = summarise(source, scores)
                rows.append(
                    {"learned_from": source, "asked_about": name, "problems": scores["problem_id"].nunique()}
                    | {"auroc": known["auroc_traces"], "low": low, "high": high}
                    | {"auroc_within": known["auroc_within_problems"]}
                )
            progress.advance()
    return pd.DataFrame(rows)


def measure_transfer(config: Config, home: Path = TRANSFER) -> pd.DataFrame:
    """Learn from the kept traces of one backbone of a profile that was run, and write `<profile>-<backbone>.csv`."""
    by_id = {problem.id: problem.benchmark for problem in load_problems(config.data / "problems", split="reward")}
    latents = load_latents(config.data / "latents")
    table = transfer_table(latents, np.array([by_id[name] for name in latents.problem_ids]), config)
    write_measured(table, f"{config.profile}-{config.backbone_name}", home)
    return table
