"""Dose: how far a steering moves the distribution of the next token, in nats of KL divergence a token.

It is measured along the same tokens for every method, those of unsteered traces, so that doses can be compared. A
method whose dose is nearly nothing can change nearly nothing, whatever its gradient says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch
from datasets import Dataset
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from lrs.core.closure import code_of
from lrs.core.frames import each_row
from lrs.core.kept import digest_of, keep, read_kept
from lrs.core.progress import Progress
from lrs.core.store import write_frame
from lrs.experiment.evaluation import Artifacts
from lrs.experiment.reading import SideBySide, hangs_on_state, read_steered, side_by_side
from lrs.method.arms import ARMS
from lrs.method.setting import Setting
from lrs.method.steering import Steering
from lrs.models.backbones import Backbone
from lrs.models.devices import describe_device
from lrs.tasks.problems import Problem
from lrs.tasks.prompts import prompt_ids

if TYPE_CHECKING:
    from lrs.config import Config

_ROWS = 8  # read at once, all their logits in memory


def kl_divergence(
    logits: Float[Tensor, "*rows vocabulary"], other: Float[Tensor, "*rows vocabulary"]
) -> Float[Tensor, "*rows"]:
    """KL(p || q) in nats, of the softmax p of `logits` from the softmax q of `other`."""
    p, q = logits.double().log_softmax(dim=-1), other.double().log_softmax(dim=-1)
    return (p.exp() * (p - q)).sum(dim=-1)


@torch.no_grad()
def token_doses(
    model: PreTrainedModel,
    steerings: Iterable[Steering],
    traces: Sequence[tuple[list[int], list[int]]],
    pad_id: int,
) -> Iterator[Float[Tensor, " tokens"]]:
    """The dose of each steering at every generated token that is processed, those of all traces in a row.

    Args:
        traces: (prompt ids, generated ids) pairs; the last generated token is never processed.
    """
    batch = side_by_side(traces, pad_id, model.device)
    few = [side_by_side(traces[first : first + _ROWS], pad_id, model.device) for first in range(0, len(traces), _ROWS)]
    plain: list[Tensor] = []
    for steering in steerings:
        if hangs_on_state(steering):
            each = [dose for some in few for dose in _at_once(model, steering, some)]
        else:
            plain = plain or [logits for _, logits in read_steered(model, None, batch)]
            each = list(_by_token(model, steering, batch, plain))
        yield torch.cat([doses[: len(written) - 1] for doses, (_, written) in zip(each, traces, strict=True)])


def _at_once(model: PreTrainedModel, steering: Steering, batch: SideBySide) -> Float[Tensor, "rows places"]:
    there, here = (batch.read_at_once(model, which)[:, batch.width : -1] for which in (steering, None))
    return kl_divergence(there, here)


def _by_token(
    model: PreTrainedModel, steering: Steering, batch: SideBySide, plain: Sequence[Float[Tensor, "rows vocabulary"]]
) -> Float[Tensor, "rows places"]:
    doses = torch.zeros(len(batch.ids), len(plain), dtype=torch.float64, device=model.device)
    for place, logits in read_steered(model, steering, batch):
        doses[:, place] = kl_divergence(logits, plain[place])
    return doses


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
