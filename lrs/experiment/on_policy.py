"""Learning on policy: attempts at some problems, a step on whether each is right, and again, from any checkpoint on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lrs.core.progress import Progress
from lrs.experiment.traces import jobs_for, means_of_attempts, outcome_row, write_generations
from lrs.learning.checkpoints import load_checkpoint, save_checkpoint
from lrs.method.steering import Steering
from lrs.models.backbones import Backbone
from lrs.tasks.problems import Problem, by_benchmark
from lrs.tasks.prompts import prompt_ids

if TYPE_CHECKING:
    from lrs.config import CausalSection, Config

Ids = list[tuple[list[int], list[int]]]  # of each attempt, the tokens of prompt and answer


def problems_of(pools: dict[str, list[Problem]], section: CausalSection, seed: int, iteration: int) -> list[Problem]:
    """The problems of one iteration, shared out among the benchmarks: a function of seed and iteration alone."""
    rng = Random(f"{seed}-{iteration}")
    each = -(-section.problems // len(pools))
    return [problem for pool in pools.values() for problem in rng.sample(pool, min(each, len(pool)))]


def attempts_at(
    backbone: Backbone,
    pools: dict[str, list[Problem]],
    config: Config,
    iteration: int,
    steering: Steering | None = None,
) -> tuple[pd.DataFrame, Float[Tensor, "problems attempts"], Ids]:
    """The attempts of one iteration, sampled, a problem's in a row: their outcomes, whether each is right, and the
    tokens of prompt and answer."""
    section = config.causal
    asked = problems_of(pools, section, config.seed, iteration)
    jobs = jobs_for(asked, seeds_of(section, iteration))
    written = write_generations(backbone, jobs, config, steering, section.temperature)
    attempts = pd.DataFrame([outcome_row(job, generation, backbone) for job, generation in written])
    right = torch.tensor(attempts["correct"].to_numpy(), dtype=torch.float32).view(-1, section.attempts)
    ids = [(prompt_ids(job[0], backbone.tokenizer), generation.token_ids) for job, generation in written]
    return attempts, right, ids


def seeds_of(section: CausalSection, iteration: int) -> range:
    """Of the attempts at each problem of one iteration; none of them greedy, and none of another iteration."""
    return range(iteration * section.attempts + 1, (iteration + 1) * section.attempts + 1)


def iterate(
    stage: str,
    section: CausalSection,
    trained: nn.Module,
    optimizer: torch.optim.Optimizer,
    scratch: Path,
    step: Callable[[int], tuple[Float[Tensor, "problems attempts"], list[dict[str, Any]]]],
) -> list[dict[str, Any]]:
    """Attempt and learn for the section's iterations, from the last checkpoint of `trained` in `scratch` on.

    Args:
        step: attempts and learns once; whether each attempt was right, and rows that tell of it.

    Returns:
        All of these rows.
    """
    first, log = load_checkpoint(scratch, trained, optimizer)
    curve = log.get("curve", [])
    with Progress(stage, section.iterations, "iterations", done=first) as progress:
        for iteration in range(first, section.iterations):
            for group in optimizer.param_groups:
                group["lr"] = section.rate_at(iteration)
            right, told = step(iteration)
            curve += told
            progress.advance(1, f"{right.mean():.1%} right")
            if (iteration + 1) % section.checkpoint_every == 0 or iteration + 1 == section.iterations:
                save_checkpoint(scratch, iteration + 1, trained, optimizer, {"curve": curve})
    return curve


def learn_on_policy(
    stage: str,
    backbone: Backbone,
    problems: Sequence[Problem],
    config: Config,
    trained: nn.Module,
    optimizer: torch.optim.Optimizer,
    scratch: Path,
    learn: Callable[[Tensor, Ids, int], dict[str, float]],
    steering: Steering | None = None,
) -> list[dict[str, Any]]:
    """`iterate` over a profile's problems.

    Args:
        learn: from whether each attempt is right and its tokens, as in `attempts_at`, and the iteration; what it
            returns is told too.

    Returns:
        A row an iteration and benchmark: step, n (attempts), what `learn` returned, and the means of
        `means_of_attempts`.
    """
    pools = by_benchmark(problems)

    def step(iteration: int) -> tuple[Tensor, list[dict[str, Any]]]:
        attempts, right, ids = attempts_at(backbone, pools, config, iteration, steering)
        told, counts = learn(right, ids, iteration), attempts["benchmark"].value_counts()
        means = means_of_attempts(iteration, attempts)
        return right, [row | {"n": int(counts[row["benchmark"]])} | told for row in means]

    return iterate(stage, config.causal, trained, optimizer, scratch, step)
