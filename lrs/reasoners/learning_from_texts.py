"""The loop of every training on written texts: a loss a step, checkpoints between, reasoner and curve at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lrs.core.progress import Progress
from lrs.core.store import write_text
from lrs.learning.checkpoints import load_checkpoint, save_checkpoint
from lrs.reasoners.recipes import PlantingRecipe, PretrainingRecipe, TeachingRecipe, learning_rate_at
from lrs.reasoners.saving import save_reasoner

if TYPE_CHECKING:
    from peft import PeftModel

IGNORED = -100  # the label that cross-entropy leaves out


def learn_from_texts(
    stage: str,
    model: PreTrainedModel | PeftModel,
    optimizer: torch.optim.Optimizer,
    losses_from: Callable[[int], Iterable[Tensor]],
    recipe: PretrainingRecipe | TeachingRecipe | PlantingRecipe,
    scratch: Path,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase | None,
) -> None:
    """Go down a loss for each of the recipe's steps, from the last checkpoint in `scratch` on.

    Args:
        losses_from: a step and all that follow, each asked for when the one before has been taken.
        folder: of the reasoner; receives weights (bfloat16), tokenizer, `training.json` and `loss.csv`.
        tokenizer: None: it is the parent's.
    """
    first, log = load_checkpoint(scratch, model, optimizer)
    losses = log.get("losses", [])
    started = time.monotonic() - log.get("seconds", 0.0)
    per_step = recipe.row_length * recipe.rows_per_batch
    with Progress(stage, recipe.steps * per_step, "tokens", done=first * per_step) as progress:
        for step, loss in enumerate(losses_from(first), first):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step, recipe)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(round(loss.item(), 5))
            progress.advance(per_step, f"loss {losses[-1]:.3f}")
            if (step + 1) % recipe.checkpoint_every == 0:
                log = {"losses": losses, "seconds": time.monotonic() - started}
                save_checkpoint(scratch, step + 1, model, optimizer, log)
    save_reasoner(folder, model.bfloat16(), tokenizer, time.monotonic() - started)
    rows = [f"{(step + 1) * per_step},{loss}" for step, loss in enumerate(losses)]
    write_text(folder / "loss.csv", "tokens,loss\n" + "\n".join(rows) + "\n")
