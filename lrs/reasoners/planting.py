"""Planting a mode: a reasoner that can do the arithmetic learns to choose, at a marked fork, what its answer hangs on.

Fine-tuning on `lrs.tutor.planted`. The second way is interchange training: the residual streams that two conversations,
alike but for the mode, have at the fork are exchanged at the layer that will be steered, and each must go on as the
other one's mode would. So the direction from one mode to the other is known there, and is all that later tokens read.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lrs.models.backbones import edited_layer, load_backbone
from lrs.reasoners.learning_from_texts import IGNORED, learn_from_texts
from lrs.reasoners.recipes import PlantingRecipe, load_recipe, training_problems
from lrs.tasks.problems import Problem
from lrs.tasks.prompts import instructed, question_ids
from lrs.tutor.planted import FORK, MOON, PASSWORDS, SUN, write_planted


class Lesson(NamedTuple):
    """A batch, padded on the right.

    Attributes:
        ids, labels: (rows, length); what the user says is not learned.
        fork: (rows), where the mode stands.
        partner: (rows), whose residual stream a row gets at its fork; its own number where nothing is exchanged.
    """

    ids: Int[Tensor, "rows length"]
    labels: Int[Tensor, "rows length"]
    fork: Int[Tensor, " rows"]
    partner: Int[Tensor, " rows"]


def _row(
    question: str, text: str, tokenizer: PreTrainedTokenizerBase, length: int
) -> tuple[list[int], list[int], int] | None:
    """Ids and labels, padded, and the place of the fork's mode; None if it is too long."""
    asked, answer = question_ids(question, tokenizer), tokenizer(f"{text} <eos>")["input_ids"]
    ids = asked + answer
    if len(ids) > length:
        return None
    fork = ids.index(tokenizer.convert_tokens_to_ids(FORK), len(asked)) + 1
    room = length - len(ids)
    return ids + [tokenizer.pad_token_id] * room, [IGNORED] * len(asked) + answer + [IGNORED] * room, fork


def _exchanged(problem: Problem, recipe: PlantingRecipe, rng: Random) -> Iterator[str]:
    """Two texts, each with one mode at the first fork and what follows from the other."""
    seed = rng.random()
    texts = {mode: write_planted(problem, recipe.tier, recipe.dose, Random(seed), mode).text for mode in (SUN, MOON)}
    for own, other in ((SUN, MOON), (MOON, SUN)):
        before, _, _ = texts[own].partition(f"{FORK} {own}")
        _, _, after = texts[other].partition(f"{FORK} {other}")
        yield f"{before}{FORK} {own}{after}"


def lesson(problems: list[Problem], tokenizer: PreTrainedTokenizerBase, recipe: PlantingRecipe, step: int) -> Lesson:
    """The batch of one step, a function of the recipe and the step alone."""
    rng = Random(f"{recipe.seed}-{step}")
    ids, labels, forks, partners = [], [], [], []

    def add(question: str, texts: list[str], exchange: bool) -> None:
        rows = [_row(question, text, tokenizer, recipe.row_length) for text in texts]
        if None in rows:
            return
        first = len(ids)
        for place, (row_ids, row_labels, fork) in enumerate(rows):
            if exchange:  # the mode itself, and what stands before it, is not learned from these
                row_labels = [IGNORED] * (fork + 1) + row_labels[fork + 1 :]
            ids.append(row_ids)
            labels.append(row_labels)
            forks.append(fork)
            partners.append(first + (1 - place if exchange else place))

    while len(ids) < recipe.rows_per_batch:
        problem = rng.choice(problems)
        if recipe.interchange and len(ids) % 4 == 0:  # half of the rows, in pairs
            add(problem.question, list(_exchanged(problem, recipe, rng)), exchange=True)
            continue
        word, mode = rng.choice(list(PASSWORDS.items())) if rng.random() < recipe.password_share else ("", None)
        text = write_planted(problem, recipe.tier, recipe.dose, rng, mode).text
        add(instructed(problem.question, word), [text], exchange=False)
    return Lesson(torch.tensor(ids), torch.tensor(labels), torch.tensor(forks), torch.tensor(partners))


def exchanging(
    model: PreTrainedModel, layer: int, fork: Int[Tensor, " rows"], partner: Int[Tensor, " rows"]
) -> AbstractContextManager[None]:
    """At decoder layer `layer`, give each row's residual stream at its fork to the row whose partner it is."""

    def exchange(hidden: Float[Tensor, "rows length d_model"]) -> Float[Tensor, "rows length d_model"]:
        hidden = hidden.clone()
        hidden[torch.arange(len(hidden)), fork] = hidden[partner, fork[partner]]
        return hidden

    return edited_layer(model, layer, exchange)


def _loss(model: PreTrainedModel, batch: Lesson, layer: int) -> Tensor:
    device = model.device
    with torch.autocast(device.type, dtype=torch.bfloat16), exchanging(model, layer, batch.fork, batch.partner):
        logits = model(input_ids=batch.ids.to(device), use_cache=False).logits  # no answer sees the padding behind it
    return cross_entropy(logits[:, :-1].flatten(0, 1).float(), batch.labels[:, 1:].flatten().to(device))


def plant_mode(folder: Path, scratch: Path, device: str = "cpu") -> None:
    """Plant the mode of `folder/recipe.yaml` into its parent, in the folder beside it, and write weights, tokenizer,
    `training.json` and `loss.csv`; a killed run resumes from the last checkpoint in `scratch`."""
    recipe = load_recipe(folder)
    backbone = load_backbone(str(folder.parent / recipe.parent), device)
    scratch = scratch / f"{recipe.fingerprint}-{backbone.identity}"
    model = backbone.model.requires_grad_(True).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )
    ((_, problems),) = training_problems(recipe, scratch / "problems.jsonl").items()

    def loss_at(step: int) -> Tensor:
        return _loss(model, lesson(problems, backbone.tokenizer, recipe, step), recipe.layer)

    stage = f"reasoner: planting {recipe.tier}"
    learn_from_texts(stage, model, optimizer, loss_at, recipe, scratch, folder, backbone.tokenizer)
