"""The patch: at a planted fork, put the state that one password leads to in the place of another's, and see what is
chosen and written then.

It says whether the state there is what the mode hangs on, and what the right mode's own state would do: a reference for
pushes, and no bound, since they reach other tokens too.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from lrs.core.closure import code_of
from lrs.core.kept import keep
from lrs.core.store import write_frame
from lrs.experiment.evaluation import Artifacts, dictionary_key
from lrs.experiment.traces import jobs_for, plan_of
from lrs.method.ascent import write_back
from lrs.method.dictionary import Dictionary, inside_and_outside
from lrs.models.activations import replay
from lrs.models.backbones import Backbone, edited_layer
from lrs.tasks.answers import is_correct
from lrs.tasks.benchmarks import Tier
from lrs.tasks.problems import Problem
from lrs.tasks.prompts import Prompting, prompt_ids, text_of
from lrs.tutor.planted import first_fork, right_password

if TYPE_CHECKING:
    from lrs.config import Config

_BATCH = 128


def at_the_fork(problem: Problem, password: str, tier: Tier, backbone: Backbone) -> list[int]:
    """Token ids of the prompt, and of what is written up to where the first mode is chosen."""
    asked = prompt_ids(problem, backbone.tokenizer, Prompting(password))
    return asked + backbone.tokenizer(first_fork(problem, tier))["input_ids"]


def fork_states(
    backbone: Backbone, layer: int, problems: Sequence[Problem], passwords: Sequence[str], tier: Tier
) -> Float[Tensor, "problems d_model"]:
    """The residual stream behind decoder layer `layer` where the first mode is chosen, a password a problem."""
    ids = [at_the_fork(problem, word, tier, backbone) for problem, word in zip(problems, passwords, strict=True)]
    states = torch.empty(len(ids), backbone.d_model, dtype=backbone.model.dtype)
    pairs = [(before[:-1], [before[-1], 0]) for before in ids]  # the last token of a trace is not processed
    for index, recorded in replay(backbone.model, layer, pairs, _BATCH, backbone.tokenizer.pad_token_id):
        states[index] = recorded[0]
    return states


def _replacing(
    model: PreTrainedModel, layer: int, states: Float[Tensor, "rows d_model"]
) -> AbstractContextManager[None]:
    """Behind decoder layer `layer`, the last token of what is read at once (and only there) gets these states."""

    def replace(hidden: Tensor) -> Tensor:
        if hidden.shape[1] == 1:
            return hidden
        return torch.cat([hidden[:, :-1], states[:, None].to(hidden)], dim=1)

    return edited_layer(model, layer, replace)


@torch.no_grad()
def from_the_fork(
    backbone: Backbone,
    layer: int,
    problems: Sequence[Problem],
    passwords: Sequence[str],
    tier: Tier,
    max_new_tokens: int,
    states: Float[Tensor, "problems d_model"] | None = None,
) -> list[str]:
    """What is chosen and written (greedily) from the first fork on; with `states`, as if that were the state there.

    Returns:
        The whole text of each answer, from `<think>` on.
    """
    tokenizer, texts = backbone.tokenizer, []
    for start in range(0, len(problems), _BATCH):
        asked = problems[start : start + _BATCH]
        words = passwords[start : start + _BATCH]
        ids = [at_the_fork(problem, word, tier, backbone) for problem, word in zip(asked, words, strict=True)]
        batch = tokenizer.pad({"input_ids": ids}, padding_side="left", return_tensors="pt").to(backbone.device)
        with nullcontext() if states is None else _replacing(backbone.model, layer, states[start : start + _BATCH]):
            written = backbone.model.generate(  # type: ignore[operator]  # a mixin has it, of which the class is silent
                **batch, max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id
            )
        for problem, row in zip(asked, written[:, batch["input_ids"].shape[1] :], strict=True):
            said = text_of(row.tolist(), tokenizer).replace(tokenizer.pad_token, "").strip()
            texts.append(f"{first_fork(problem, tier)} {said}")
    return texts


def shares_of_patch(
    dictionary: Dictionary, before: Float[Tensor, "problems d_model"], after: Float[Tensor, "problems d_model"]
) -> tuple[Float[Tensor, " problems"], Float[Tensor, " problems"]]:
    """How much of the square of each patch `after - before` lies in the span of the decoder, and how much of it the
    dictionary tells: the decoded difference of the two encodings (1 less what that misses; it may be below zero)."""
    before, after = (states.to(dictionary.W_dec.device) for states in (before, after))
    patch = after - before
    size = patch.square().sum(dim=1)
    spanning, _ = inside_and_outside(dictionary.W_dec.to(patch))
    inside = (patch @ spanning.T).square().sum(dim=1) / size
    told = write_back(dictionary.encode(before), dictionary.encode(after), dictionary.W_dec, dictionary.input_scale)
    return inside, 1 - (patch - told.to(patch)).square().sum(dim=1) / size


def keep_patch(
    backbone: Backbone, problems: Sequence[Problem], artifacts: Artifacts, config: Config, folder: Path
) -> None:
    """The patch as an arm, made once and kept: each problem asked plainly, with the state at its first fork that the
    password of its right mode leads to, greedily: what the right mode's own state does there, a reference and no bound.

    The rows have the columns that pair them with other arms' outcomes, and `in_span` and `told`, of
    `shares_of_patch`, of that state less the one that was there.

    Raises:
        ValueError: no mode is planted.
    """
    tier, layer, empty = config.backbone.planted, artifacts.layer, [""] * len(problems)
    if tier is None:
        raise ValueError(f"no mode is planted in backbone {config.backbone_name}")
    plan = plan_of(backbone, jobs_for(problems), config) | code_of(__name__)
    plan |= {"tier": tier, "layer": layer, "dictionary": artifacts.digests[dictionary_key("sae")]}

    def make(made: Path) -> None:
        right = [right_password(problem, tier) for problem in problems]
        before, after = (fork_states(backbone, layer, problems, words, tier) for words in (empty, right))
        texts = from_the_fork(backbone, layer, problems, empty, tier, config.decoding.max_new_tokens, after)
        in_span, told = shares_of_patch(artifacts.dictionaries["sae"], before, after)
        rows = [
            {"problem_id": problem.id, "benchmark": problem.benchmark, "split": problem.split, "seed": 0}
            | {"arm": "patch", "decoding": "greedy", "text": text, "correct": is_correct(problem, text)}
            for problem, text in zip(problems, texts, strict=True)
        ]
        write_frame(
            made / "patch.arrow", pd.DataFrame(rows).assign(in_span=in_span.cpu().numpy(), told=told.cpu().numpy())
        )

    keep(folder, "the patch", plan, make)
