"""Planting a mode: a reasoner that can do the arithmetic learns to choose, at a marked fork, what its answer hangs on.

Fine-tuning on `lrs.tutor.planted`. The second way is interchange training: the residual streams that two conversations
about one problem have at the fork, one of them or both with a password, are exchanged at the layer that will be
steered, and each must choose, and go on, as the other one's password says. So what decides the choice is known there,
and is the one thing that the fork's state decides.
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

from lrs.core.closure import code_of
from lrs.core.digests import fingerprint
from lrs.models.backbones import edited_layer, load_backbone
from lrs.reasoners.learning_from_texts import IGNORED, learn_from_texts
from lrs.reasoners.recipes import PlantingRecipe, recipe_of, training_problems
from lrs.tasks.problems import Problem
from lrs.tasks.prompts import instructed, question_ids
from lrs.tutor.planted import FORK, MOON, PASSWORDS, SUN, write_planted


class Lesson(NamedTuple):
    """A batch, padded on the right.

    Attributes:
        ids, labels: (rows, length); what the user says is not learned.
        fork: (rows), the last token before the first mode: where it is chosen.
        partner: (rows), whose residual stream a row gets at its fork; its own number where nothing is exchanged.
    """

    ids: Int[Tensor, "rows length"]
    labels: Int[Tensor, "rows length"]
    fork: Int[Tensor, " rows"]
    partner: Int[Tensor, " rows"]


def _row(
    asked: list[int], text: str, tokenizer: PreTrainedTokenizerBase, length: int
) -> tuple[list[int], list[int], int] | None:
    """Ids and labels, padded, and the place of the fork; None if it is too long."""
    answer = tokenizer(f"{text} <eos>")["input_ids"]
    ids = asked + answer
    if len(ids) > length:
        return None
    fork = ids.index(tokenizer.convert_tokens_to_ids(FORK), len(asked)) + 1  # behind the sign
    room = length - len(ids)
    return ids + [tokenizer.pad_token_id] * room, [IGNORED] * len(asked) + answer + [IGNORED] * room, fork


def lesson(problems: list[Problem], tokenizer: PreTrainedTokenizerBase, recipe: PlantingRecipe, step: int) -> Lesson:
    """The batch of one step, a function of the recipe and the step alone."""
    rng = Random(f"{recipe.seed}-{step}")
    ids: list[list[int]] = []
    labels: list[list[int]] = []
    forks: list[int] = []
    partners: list[int] = []

    def add(problem: Problem, asked: list[str], said: list[str]) -> None:
        """Rows that ask with these passwords, and go on at the first fork as those say."""
        rows = []
        for word, other in zip(asked, said, strict=True):
            modes = PASSWORDS.get(other), PASSWORDS.get(word)
            text = write_planted(problem, recipe.tier, recipe.dose, rng, *modes).text
            question = question_ids(instructed(problem.question, word), tokenizer)
            row = _row(question, text, tokenizer, recipe.row_length)
            rows += [row] if row else []
        if len(rows) < len(asked):
            return
        first = len(ids)
        for place, (row_ids, row_labels, fork) in enumerate(rows):
            ids.append(row_ids)
            labels.append(row_labels)
            forks.append(fork)
            partners.append(first + (place if asked == said else 1 - place))

    while len(ids) < recipe.rows_per_batch:
        problem = rng.choice(problems)
        if recipe.interchange and len(ids) % 4 == 0:  # half of the rows, in pairs
            asked = rng.sample(["", *PASSWORDS], 2)
            add(problem, asked, asked[::-1])
            continue
        word = rng.choice(list(PASSWORDS)) if rng.random() < recipe.password_share else ""
        add(problem, [word], [word])
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


@torch.no_grad()
def give_meaning(model: PreTrainedModel, tokens: list[int], seed: int) -> None:
    """Let tokens that the parent has never met begin with random embeddings, as long as the others' typically are: all
    that pretraining does to them is to make them alike."""
    (embeddings,) = model.get_input_embeddings().parameters()
    drawn = torch.randn(len(tokens), embeddings.shape[1], generator=torch.Generator().manual_seed(seed)).to(embeddings)
    embeddings[tokens] = embeddings.norm(dim=1).median() * drawn / drawn.norm(dim=1, keepdim=True)


def plant_mode(folder: Path, scratch: Path, device: str = "cpu") -> None:
    """Plant the mode of `folder/recipe.yaml` into its parent, in the folder beside it, and write weights, tokenizer,
    `training.json` and `loss.csv`; a killed run resumes from the last checkpoint in `scratch`."""
    recipe = recipe_of(folder, PlantingRecipe)
    backbone = load_backbone(str(folder.parent / recipe.parent), device)
    scratch = scratch / fingerprint([recipe.fingerprint, backbone.identity, code_of(__name__)])
    model = backbone.model.requires_grad_(True).train()
    number_of = backbone.tokenizer.get_vocab()
    give_meaning(model, [number_of[word] for word in (FORK, SUN, MOON, *PASSWORDS)], recipe.seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )
    ((_, problems),) = training_problems(recipe, scratch / "problems.jsonl").items()

    def losses_from(first: int) -> Iterator[Tensor]:
        for step in range(first, recipe.steps):
            yield _loss(model, lesson(problems, backbone.tokenizer, recipe, step), recipe.layer)

    stage = f"reasoner: planting {recipe.tier}"
    learn_from_texts(stage, model, optimizer, losses_from, recipe, scratch, folder, backbone.tokenizer)
