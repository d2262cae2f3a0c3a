"""What a push does along a trace: where the gate fires, how hard it pushes, and which heads above it read that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from transformers import PreTrainedModel

from lrs.core.closure import code_of
from lrs.core.digests import fingerprint
from lrs.core.kept import keep, read_kept
from lrs.core.store import write_frame
from lrs.experiment.dose import read_steered, side_by_side
from lrs.method.gate import stability_of
from lrs.method.steering import Steering
from lrs.models.backbones import Backbone, decoder_layers
from lrs.models.devices import describe_device
from lrs.tasks.problems import Problem
from lrs.tasks.prompts import prompt_ids

if TYPE_CHECKING:
    from lrs.config import Config

_LEAST = 1e-4  # of the residual stream: what is below is rounding, and no push
_READ = 48  # traces
PATHS = ("push", "instability")


class PushPath(NamedTuple):
    """Of one trace, a value a processed token.

    Attributes:
        push: length of the push over that of the residual stream; 0 where the gate stays closed.
        instability: Jensen-Shannon divergence of the next token's distribution from the one before it, plus its
            entropy, in nats, unsteered.
        heads: (tokens, layers above the steered one, heads), squared length of what the push changes in a head's
            output over that of the output.
    """

    push: np.ndarray
    instability: np.ndarray
    heads: np.ndarray


@contextmanager
def _watched(model: PreTrainedModel, layer: int) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """The residual streams that the layer above `layer` is given, and what goes into the map behind the heads of each
    layer above, in order, as forward passes go by."""
    residual: list[Tensor] = []
    heads: list[Tensor] = []
    above = list(decoder_layers(model))[layer + 1 :]
    with ExitStack() as stack:
        stack.callback(above[0].register_forward_pre_hook(lambda _, given: residual.append(given[0])).remove)
        for one in above:
            (outward,) = [part for name, part in one.named_modules() if name.endswith(("attn.o_proj", "attn.c_proj"))]
            stack.callback(outward.register_forward_pre_hook(lambda _, given: heads.append(given[0])).remove)
        yield residual, heads


@torch.no_grad()
def push_paths(backbone: Backbone, steering: Steering, traces: Sequence[tuple[list[int], list[int]]]) -> list[PushPath]:
    """The path of each trace, all read as one batch, at once without the push, and token by token with it.

    Args:
        traces: (prompt ids, generated ids) pairs; the last generated token is never processed.

    Raises:
        ValueError: the layer is the last: nothing above it could read a push.
    """
    model, shape = backbone.model, (-1, backbone.model.config.num_attention_heads)
    if steering.layer + 1 >= model.config.num_hidden_layers:
        raise ValueError(f"no layer lies above layer {steering.layer}, the steered one")
    batch = side_by_side(traces, backbone.tokenizer.pad_token_id, model.device)
    with _watched(model, steering.layer) as (residual, heads):
        logits = batch.read(model)[:, batch.width - 1 : -1]
        plain, own = residual[0][:, batch.width :], torch.stack(heads, dim=2)[:, batch.width :]
    before = torch.cat([logits[:, :1], logits[:, :-1]], dim=1)  # the first token's has none
    instability = -stability_of(logits, before).log()
    pushes, changes = [], []
    with _watched(model, steering.layer) as (residual, heads):
        for place, _ in read_steered(model, steering, batch):
            push = (residual[-1][:, -1] - plain[:, place]).norm(dim=-1) / plain[:, place].norm(dim=-1)
            pushes.append(torch.where(push < _LEAST, 0, push))
            there = torch.stack([one[:, -1] for one in heads[-own.shape[2] :]], dim=1)
            parts = there - own[:, place], own[:, place]
            change, size = (part.unflatten(-1, (shape[1], -1)).square().sum(-1) for part in parts)
            changes.append(change / size)
            residual.clear()
            heads.clear()
    found = torch.stack(pushes, dim=1), instability, torch.stack(changes, dim=1)
    told = [values.float().cpu().numpy() for values in found]  # numpy has no bfloat16
    return [PushPath(*(values[row, : len(written) - 1] for values in told)) for row, (_, written) in enumerate(traces)]


def keep_push_paths(
    backbone: Backbone,
    steerings: Mapping[str, Steering],
    problems: Sequence[Problem],
    outcomes: pd.DataFrame,
    config: Config,
    folder: Path,
    made_from: Mapping[str, str],
) -> pd.DataFrame:
    """`push_paths` of some arms along base's greedy answers to the first problems by id, made once and kept.

    Args:
        steerings: by arm.
        outcomes: of `base`, among others.
        made_from: digests of what the arms steer with.

    Returns:
        A row a trace and arm: problem_id, arm, correct, push and instability (see `PushPath`), heads (flat: the means
        over tokens by layer and head), layers and heads_each (how many).
    """
    greedy = outcomes[(outcomes["decoding"] == "greedy") & (outcomes["arm"] == "base")]
    some, by_id = greedy.sort_values("problem_id").head(_READ), {problem.id: problem for problem in problems}
    tokenizer = backbone.tokenizer
    traces = [
        (prompt_ids(by_id[name], tokenizer), tokenizer(text, add_special_tokens=False)["input_ids"])
        for name, text in zip(some["problem_id"], some["text"], strict=True)
    ]
    plan = {
        "backbone": backbone.identity,
        "device": describe_device(backbone.device),
        "steered": {arm: [repr(one.gate), repr(one.ascent), one.layer] for arm, one in steerings.items()},
        "artifacts": dict(made_from),
        "traces": fingerprint(traces),
    }

    def make(made: Path) -> None:
        tables = []
        for arm, steering in steerings.items():
            paths = push_paths(backbone, steering, traces)
            facts = some[["problem_id", "correct"]].assign(arm=arm)
            facts["push"], facts["instability"] = ([getattr(p, name).tolist() for p in paths] for name in PATHS)
            facts["heads"] = [p.heads.mean(axis=0).flatten().tolist() for p in paths]
            tables.append(facts.assign(layers=paths[0].heads.shape[1], heads_each=paths[0].heads.shape[2]))
        write_frame(made / "pushes.arrow", pd.concat(tables, ignore_index=True))

    keep(folder, "pushes along traces", plan | code_of(__name__), make)
    return read_kept(folder).to_pandas()
