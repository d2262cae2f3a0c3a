"""Activations: teacher-forced replay of traces, recording the residual stream at one decoder layer."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache, partial

import torch
from datasets import Dataset
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from lrs.core.progress import Progress
from lrs.models.backbones import Backbone, edited_layer
from lrs.models.memory import in_memory
from lrs.tasks.problems import Problem
from lrs.tasks.prompts import prompt_ids

Replay = Callable[[], list[Tensor]]  # activations, a tensor a trace; long to make, so asked for only where needed


class _Recorded(Exception):
    """Raised by the recording hook: what lies above the layer need not be computed."""


@torch.no_grad()
def replay(
    model: PreTrainedModel,
    layer: int,
    traces: Sequence[tuple[list[int], list[int]]],
    batch_size: int,
    pad_id: int,
) -> Iterator[tuple[int, Tensor]]:
    """The layer's output at every generated token that is processed when the trace is generated.

    Args:
        traces: (prompt ids, generated ids) pairs. The last generated token is never processed.
        batch_size: traces read at a time, those of like length together; where memory is too small, half as many.

    Yields:
        The trace's index and its activations, (generated - 1, d_model), in order of length.
    """
    order = sorted(range(len(traces)), key=lambda index: len(traces[index][0]) + len(traces[index][1]))
    start = 0
    with Progress("replay", len(traces), "traces") as progress:
        while start < len(order):
            batch = order[start : start + batch_size]
            read = partial(_read, model, layer, [traces[index] for index in batch], pad_id)
            recorded = in_memory(model, "replay", len(batch), read)
            yield from zip(batch[: len(recorded)], recorded, strict=True)
            start += len(recorded)
            progress.advance(len(recorded))


@torch.no_grad()
def layer_states(
    model: PreTrainedModel, layer: int, traces: Sequence[tuple[list[int], list[int]]], pad_id: int
) -> list[Float[Tensor, "processed d_model"]]:
    """What `replay` yields of a few traces that are read side by side, in their order."""
    recorded: list[Tensor] = []

    def record(hidden: Tensor) -> Tensor:
        recorded.append(hidden)
        raise _Recorded

    sequences = [prompt + ids[:-1] for prompt, ids in traces]
    with edited_layer(model, layer, record), suppress(_Recorded):
        model(**pad_right(sequences, pad_id, model.device), use_cache=False)
    (hidden,) = recorded
    pairs = zip(hidden, traces, sequences, strict=True)
    return [states[len(prompt) : len(sequence)] for states, (prompt, _), sequence in pairs]


def _read(
    model: PreTrainedModel, layer: int, traces: Sequence[tuple[list[int], list[int]]], pad_id: int, rows: int
) -> list[Tensor]:
    return layer_states(model, layer, traces[:rows], pad_id)


def pad_right(sequences: list[list[int]], pad_id: int, device: torch.device) -> dict[str, Tensor]:
    """What a model is called with to read sequences side by side."""
    longest = max(map(len, sequences))
    ids = torch.full((len(sequences), longest), pad_id)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        mask[row, : len(sequence)] = 1
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}


def pairs_of(backbone: Backbone, traces: Dataset, problems: Sequence[Problem]) -> list[tuple[list[int], list[int]]]:
    """The ids of prompt and answer of every trace, as `replay` reads them."""
    prompts = {problem.id: prompt_ids(problem, backbone.tokenizer) for problem in problems}
    return [(prompts[name], ids) for name, ids in zip(traces["problem_id"], traces["token_ids"], strict=True)]


def replay_traces(
    backbone: Backbone, layer: int, traces: Dataset, problems: Sequence[Problem], batch_size: int
) -> list[Tensor]:
    """Activations of every trace at a decoder layer: a (processed tokens, d_model) tensor a row of `traces`."""
    pairs = pairs_of(backbone, traces, problems)
    activations: list[Tensor] = [torch.empty(0)] * len(pairs)
    for index, recorded in replay(backbone.model, layer, pairs, batch_size, backbone.tokenizer.pad_token_id):
        activations[index] = recorded.clone()
    return activations


def replay_later(
    backbone: Backbone, layer: int, traces: Dataset, problems: Sequence[Problem], batch_size: int
) -> Replay:
    """What `replay_traces` returns, made when it is first asked for, and known from then on."""
    return cache(partial(replay_traces, backbone, layer, traces, problems, batch_size))
