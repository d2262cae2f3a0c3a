"""The patch: at a planted fork, put the state that one password leads to in the place of another's, and see what is
chosen and written then.

This is the most that a push at the fork, at this layer, can do; and it says whether the state there is what the mode
hangs on.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from lrs.models.activations import replay
from lrs.models.backbones import Backbone, edited_layer
from lrs.tasks.benchmarks import Tier
from lrs.tasks.problems import Problem
from lrs.tasks.prompts import Prompting, prompt_ids
from lrs.tutor.planted import first_fork

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
            written = backbone.model.generate(
                **batch, max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id
            )
        for problem, row in zip(asked, written[:, batch["input_ids"].shape[1] :], strict=True):
            said = tokenizer.decode(row).replace(tokenizer.pad_token, "").strip()
            texts.append(f"{first_fork(problem, tier)} {said}")
    return texts
