"""Reinforcement learning from outcomes: a reasoner goes on learning from nothing but whether its answers are right.

Policy gradient (REINFORCE), on-policy: one update a step, no KL term. The baseline is the mean of a problem's attempts,
where Open-Reasoner-Zero has a value model.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pandas as pd
import torch

from lrs.core.closure import code_of
from lrs.core.digests import fingerprint
from lrs.core.progress import Progress
from lrs.engine.decoding import generate
from lrs.engine.requests import Request
from lrs.experiment.traces import jobs_for, means_of_attempts, outcome_row
from lrs.learning.checkpoints import load_checkpoint, save_checkpoint
from lrs.learning.policy_gradient import advantages, update
from lrs.models.backbones import Backbone, load_backbone
from lrs.reasoners.recipes import ReinforcementRecipe, learning_rate_at, recipe_of, training_problems
from lrs.reasoners.saving import save_reasoner
from lrs.tasks.problems import Problem
from lrs.tasks.prompts import prompt_ids


def questions_of(problems: dict[str, list[Problem]], recipe: ReinforcementRecipe, step: int) -> list[Problem]:
    """The problems of one step, a function of the recipe and the step alone."""
    rng = Random(f"{recipe.seed}-{step}")
    return [problem for pool in problems.values() for problem in rng.sample(pool, recipe.questions)]


def attempt(
    backbone: Backbone, problems: Sequence[Problem], recipe: ReinforcementRecipe, step: int
) -> tuple[pd.DataFrame, list[tuple[list[int], list[int]]]]:
    """`recipe.attempts` answers to each problem, sampled from the policy at temperature 1.

    Returns:
        A row an attempt (columns of `outcome_row`), a problem's attempts in a row; and the token ids of each prompt and
        answer.
    """
    jobs = jobs_for(problems, range(step * recipe.attempts + 1, (step + 1) * recipe.attempts + 1))
    requests = [Request(prompt_ids(problem, backbone.tokenizer), problem.id, seed, 1.0) for problem, seed in jobs]
    generations = generate(
        backbone.model,
        requests,
        max_new_tokens=recipe.max_new_tokens,
        batch_size=len(requests),
        end_ids=[backbone.tokenizer.eos_token_id],
    )
    rows = [outcome_row(job, generation, backbone) for job, generation in zip(jobs, generations, strict=True)]
    ids = [(request.prompt, generation.token_ids) for request, generation in zip(requests, generations, strict=True)]
    return pd.DataFrame(rows), ids


def reinforce_reasoner(folder: Path, scratch: Path, device: str = "cpu") -> None:
    """Train the reasoner of `folder/recipe.yaml`, from its parent in the folder beside it, and write its weights,
    tokenizer, `training.json` and learning curve there.

    Args:
        folder: of the reasoner; receives `curve.csv` too: a row a step and benchmark, the means of its attempts
            (correct, tokens, truncated, and the share that shows each behavior).
        scratch: checkpoints go here; a killed run resumes from the last, of the same recipe and parent.
        device: as torch names it, or `auto`.
    """
    recipe = recipe_of(folder, ReinforcementRecipe)
    backbone = load_backbone(str(folder.parent / recipe.parent), device)
    scratch = scratch / fingerprint([recipe.fingerprint, backbone.identity, code_of(__name__)])
    model = backbone.model.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )
    problems = training_problems(recipe, scratch / "problems.jsonl")
    first, log = load_checkpoint(scratch, model, optimizer)
    curve = log.get("curve", [])
    started = time.monotonic() - log.get("seconds", 0.0)
    with Progress("reasoner: reinforcement", recipe.steps, "steps", done=first) as progress:
        for step in range(first, recipe.steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step, recipe)
            attempts, ids = attempt(backbone, questions_of(problems, recipe, step), recipe, step)
            rewards = torch.tensor(attempts["correct"].to_numpy(), dtype=torch.float32)
            advantage = advantages(rewards.view(-1, recipe.attempts)).flatten()
            update(model, optimizer, ids, advantage, recipe.rows_per_batch)
            curve += means_of_attempts(step, attempts)
            progress.advance(1, f"{rewards.mean():.1%} right")
            if (step + 1) % recipe.checkpoint_every == 0:
                log = {"curve": curve, "seconds": time.monotonic() - started}
                save_checkpoint(scratch, step + 1, model, optimizer, log)
    save_reasoner(folder, model, backbone.tokenizer, time.monotonic() - started)
    pd.DataFrame(curve).set_index("step").to_csv(folder / "curve.csv", lineterminator="\n")
