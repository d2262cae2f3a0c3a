"""Training the built-in reasoner from nothing on the tutor's traces: seeded, packed, resumable."""

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from lrs.core.closure import code_of
from lrs.core.digests import fingerprint
from lrs.models.devices import resolve_device
from lrs.reasoners.learning_from_texts import IGNORED, learn_from_texts
from lrs.reasoners.recipes import PretrainingRecipe, TeachingRecipe, TutoredRecipe, recipe_of, training_problems
from lrs.reasoners.tokenizer import build_tokenizer
from lrs.tasks.problems import Problem
from lrs.tasks.prompts import instructed, question_ids
from lrs.tutor import TutorTrace, draw_style, write_trace
from lrs.tutor.draft import CAREFUL


def build_model(recipe: PretrainingRecipe, tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """A Llama with random weights drawn from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.width,
            intermediate_size=recipe.mlp_width,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            max_position_embeddings=recipe.row_length,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def conversation(
    problem: Problem, others: Sequence[Problem], recipe: TutoredRecipe, rng: Random
) -> list[tuple[str, TutorTrace]]:
    """What the tutor says to `problem`, and before it, sometimes, to a few `others` in the same style.

    An instruction to take care, in a share of the conversations, is always followed.
    """
    instruct = rng.random() < recipe.instructed_share
    style = CAREFUL if instruct else draw_style(rng)
    count = rng.randint(1, recipe.most_examples) if rng.random() < recipe.examples_share else 0
    asked = [*rng.sample(others, count), problem]
    turns = [(one.question, write_trace(one, rng, style)) for one in asked]
    if instruct:
        turns[-1] = (instructed(problem.question, recipe.instruction), turns[-1][1])
    return turns


def _documents(
    problems: dict[str, list[Problem]],
    tokenizer: PreTrainedTokenizerBase,
    recipe: TutoredRecipe,
    rng: Random,
    clean: bool,
) -> Iterator[tuple[list[int], list[int]]]:
    """Endless (token ids, labels) of conversations with the tutor; what the user says is not learned, nor, from a
    `clean` tutor, its slips."""
    weights = [recipe.weights[benchmark] for benchmark in problems]
    while True:
        pool = rng.choices(list(problems.values()), weights)[0]
        ids: list[int] = []
        labels: list[int] = []
        longest = 0
        for question, trace in conversation(rng.choice(pool), pool, recipe, rng):
            asked_ids, text = question_ids(question, tokenizer), f"{trace.text} {tokenizer.eos_token}"
            answer_ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            ids += asked_ids + answer_ids
            unlearned = set(trace.slips) if clean else set()
            learned = [IGNORED if word in unlearned else token for word, token in enumerate(answer_ids)]
            labels += [IGNORED] * len(asked_ids) + learned
            longest = max(longest, len(answer_ids))
        if longest <= recipe.longest_trace and len(ids) <= recipe.row_length:
            yield ids, labels


def pack_batch(
    problems: dict[str, list[Problem]],
    tokenizer: PreTrainedTokenizerBase,
    recipe: PretrainingRecipe | TeachingRecipe,
    step: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The batch of one step, a function of the recipe and the step alone.

    Returns:
        input_ids, labels, position_ids and document numbers, each (rows_per_batch, row_length). Documents are
        whole; position ids restart with each; document 0 is padding.
    """
    documents = _documents(problems, tokenizer, recipe, Random(f"{recipe.seed}-{step}"), step < recipe.clean_steps)
    shape = (recipe.rows_per_batch, recipe.row_length)
    input_ids = torch.full(shape, tokenizer.pad_token_id)
    labels, positions, numbers = torch.full(shape, IGNORED), torch.zeros(shape).long(), torch.zeros(shape).long()
    filled, count = [0] * recipe.rows_per_batch, [0] * recipe.rows_per_batch
    for ids, targets in documents:
        row = next((r for r, used in enumerate(filled) if used + len(ids) <= recipe.row_length), None)
        if row is None:
            break
        start, end = filled[row], filled[row] + len(ids)
        filled[row], count[row] = end, count[row] + 1
        input_ids[row, start:end] = torch.tensor(ids)
        labels[row, start:end] = torch.tensor(targets)
        positions[row, start:end] = torch.arange(len(ids))
        numbers[row, start:end] = count[row]
    return input_ids, labels, positions, numbers


def batches_from(
    first: int,
    problems: dict[str, list[Problem]],
    tokenizer: PreTrainedTokenizerBase,
    recipe: PretrainingRecipe | TeachingRecipe,
    packers: int,
) -> Iterable[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """The batches of step `first` and all that follow, the same however many processes (`packers`; 0: this one) pack
    them ahead."""
    pack = partial(pack_batch, problems, tokenizer, recipe)
    steps: Any = range(first, recipe.steps)  # any sequence is a data set, whatever DataLoader's types say
    return DataLoader(steps, batch_size=None, collate_fn=pack, num_workers=packers)


def packers_for(device: torch.device) -> int:
    """Processes that pack: a CPU trains more slowly than it packs; an accelerator is fed by all cores but one."""
    return 0 if device.type == "cpu" else max(1, (os.cpu_count() or 1) - 1)


def block_mask(numbers: Tensor) -> Tensor:
    """Causal attention within documents only: (batch, 1, length, length), True where attention is allowed."""
    length = numbers.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=numbers.device).tril()
    return (causal & (numbers[:, :, None] == numbers[:, None, :]))[:, None]


def training_step(model: nn.Module, batch: tuple[Tensor, ...], device: torch.device) -> Tensor:
    """The loss of what `pack_batch` returns."""
    input_ids, labels, positions, numbers = (part.to(device) for part in batch)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        logits = model(
            input_ids=input_ids, attention_mask=block_mask(numbers), position_ids=positions, use_cache=False
        ).logits
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())


def train_reasoner(folder: Path, scratch: Path, device: str = "cpu") -> None:
    """Train the reasoner of `folder/recipe.yaml` and write its weights, tokenizer and loss curve there.

    Args:
        folder: of the reasoner; receives `model.safetensors` (bfloat16), `config.json`, tokenizer, `loss.csv`, and
            `training.json` (how long it took, and on what).
        scratch: checkpoints go here; a killed run resumes from the last.
        device: as torch names it, or `auto`.
    """
    recipe = recipe_of(folder, PretrainingRecipe)
    scratch = scratch / fingerprint([recipe.fingerprint, code_of(__name__)])
    tokenizer = build_tokenizer()
    model = build_model(recipe, tokenizer)
    model.to(resolve_device(device)).train()  # type: ignore[arg-type]  # transformers' wrapper of `to` hides its self
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        betas=(0.9, 0.95),
        fused=True,
    )
    problems = training_problems(recipe, scratch / "problems.jsonl")

    def losses_from(first: int) -> Iterator[Tensor]:
        for batch in batches_from(first, problems, tokenizer, recipe, packers_for(model.device)):
            yield training_step(model, batch, model.device)

    learn_from_texts("reasoner: training", model, optimizer, losses_from, recipe, scratch, folder, tokenizer)
