"""Dose: how far a steering moves the distribution of the next token, in nats of KL divergence a token.

It is measured along the same tokens for every method, those of unsteered traces, so that doses can be compared. A
method whose dose is nearly nothing can change nearly nothing, whatever its gradient says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
import torch
from datasets import Dataset
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from lrs.core.closure import code_of
from lrs.core.frames import each_row
from lrs.core.kept import digest_of, keep, read_kept
from lrs.core.progress import Progress
from lrs.core.store import write_frame
from lrs.engine.steer import steer
from lrs.experiment.evaluation import Artifacts
from lrs.method.arms import ARMS
from lrs.method.setting import Setting
from lrs.method.steering import Steering
from lrs.models.backbones import Backbone
from lrs.models.devices import describe_device
from lrs.tasks.problems import Problem
from lrs.tasks.prompts import prompt_ids

if TYPE_CHECKING:
    from lrs.config import Config


def kl_divergence(
    logits: Float[Tensor, "*rows vocabulary"], other: Float[Tensor, "*rows vocabulary"]
) -> Float[Tensor, "*rows"]:
    """KL(p || q) in nats, of the softmax p of `logits` from the softmax q of `other`."""
    p, q = logits.double().log_softmax(dim=-1), other.double().log_softmax(dim=-1)
    return (p.exp() * (p - q)).sum(dim=-1)


class SideBySide(NamedTuple):
    """Traces in one batch: prompts end, and answers begin, in the same column, `width`."""

    ids: Int[Tensor, "rows length"]
    mask: Int[Tensor, "rows length"]
    positions: Int[Tensor, "rows length"]
    width: int

    def read(self, model: PreTrainedModel, columns: slice = slice(None), cache: DynamicCache | None = None) -> Tensor:
        """Logits of these columns, all that lie before them being in the cache: (rows, columns, vocabulary)."""
        return model(
            input_ids=self.ids[:, columns],
            attention_mask=self.mask[:, : columns.stop],
            position_ids=self.positions[:, columns],
            past_key_values=cache,
            use_cache=cache is not None,
        ).logits


def side_by_side(traces: Sequence[tuple[list[int], list[int]]], pad_id: int, device: torch.device) -> SideBySide:
    """(prompt ids, generated ids) pairs as one batch."""
    width, length = max(len(prompt) for prompt, _ in traces), max(len(written) for _, written in traces)
    ids = torch.full((len(traces), width + length), pad_id, device=device)
    mask = torch.zeros_like(ids)
    for row, (prompt, written) in enumerate(traces):
        ids[row, width - len(prompt) : width + len(written)] = torch.tensor(prompt + written)
        mask[row, width - len(prompt) :] = 1
    return SideBySide(ids, mask, (mask.cumsum(dim=1) - 1).clamp(min=0), width)


@torch.no_grad()
def read_steered(model: PreTrainedModel, steering: Steering | None, batch: SideBySide) -> Iterator[tuple[int, Tensor]]:
    """Read the batch as the engine would have written it, token by token.

    Args:
        steering: None: unsteered, and where a gate stays closed the same to the last bit.

    Yields:
        The place of a generated token, from 0, and the logits behind it, (rows, vocabulary). All but the last
        are processed; those behind the end of a shorter trace mean nothing.
    """
    cache, width = DynamicCache(config=model.config), batch.width
    with ExitStack() as stack:
        if steering:
            pushed = steering.layer, steering.dictionary, steering.reward, steering.gate
            stack.enter_context(steer(model, *pushed, steering.ascent.num_steps, steering.ascent.step_size))
        batch.read(model, slice(0, width), cache)
        for place in range(batch.ids.shape[1] - width - 1):
            yield place, batch.read(model, slice(width + place, width + place + 1), cache)[:, -1]


@torch.no_grad()
def token_doses(
    model: PreTrainedModel,
    steerings: Iterable[Steering],
    traces: Sequence[tuple[list[int], list[int]]],
    pad_id: int,
) -> Iterator[Float[Tensor, " tokens"]]:
    """The dose of each steering at every generated token that is processed, those of all traces in a row.

    Args:
        traces: (prompt ids, generated ids) pairs, read as one batch; the last generated token is never processed.
    """
    batch = side_by_side(traces, pad_id, model.device)
    plain = [logits for _, logits in read_steered(model, None, batch)]
    for steering in steerings:
        doses = torch.zeros(len(traces), len(plain), dtype=torch.float64, device=model.device)
        for place, logits in read_steered(model, steering, batch):
            doses[:, place] = kl_divergence(logits, plain[place])
        yield torch.cat([doses[row, : len(written) - 1] for row, (_, written) in enumerate(traces)])


def keep_doses(
    backbone: Backbone,
    settings: Sequence[Setting],
    traces: Dataset,
    problems: Sequence[Problem],
    artifacts: Artifacts,
    config: Config,
    folder: Path,
) -> dict[str, float]:
    """The mean dose of every setting, by its name, on `select.dose_traces` of the traces kept in `base` beside
    `folder`, the first of each benchmark. Made once and kept."""
    plan = {
        "backbone": backbone.identity,
        "device": describe_device(backbone.device),
        "artifacts": artifacts.digests,
        "traces": digest_of(folder.with_name("base")),
        "settings": [setting.model_dump() for setting in settings],
        "dose_traces": config.select.dose_traces,
    }

    def make(made: Path) -> None:
        of_each = -(-config.select.dose_traces // len(set(traces["benchmark"])))
        first = traces.select_columns(["problem_id", "benchmark", "token_ids"]).to_pandas()
        first = first.groupby("benchmark", sort=False).head(of_each)
        prompts = {problem.id: prompt_ids(problem, backbone.tokenizer) for problem in problems}
        pairs = [(prompts[row.problem_id], list(row.token_ids)) for row in each_row(first)]
        rows = []
        steerings = (artifacts.steering(ARMS[setting.arm], setting) for setting in settings)
        measured = token_doses(backbone.model, steerings, pairs, backbone.tokenizer.pad_token_id)
        with Progress("validation: dose", len(settings), "settings") as progress:
            for setting, doses in zip(settings, measured, strict=True):
                rows.append({"name": setting.name, "dose": doses.mean().item()})
                progress.advance()
        write_frame(made / "doses.arrow", pd.DataFrame(rows))

    keep(folder, "validation: dose", plan | code_of(__name__), make)
    kept = read_kept(folder).to_pandas()
    return dict(zip(kept["name"], kept["dose"], strict=True))
