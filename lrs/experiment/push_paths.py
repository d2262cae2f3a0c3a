"""What a push does along a trace: where the gate fires, how hard it pushes, and which heads above it read that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Module
from transformers import PreTrainedModel

from lrs.core.closure import code_of
from lrs.core.digests import fingerprint
from lrs.core.kept import keep, read_kept
from lrs.core.store import write_frame
from lrs.experiment.reading import SideBySide, hangs_on_state, read_steered, side_by_side
from lrs.method.gate import stability_of
from lrs.method.steering import Steering
from lrs.models.backbones import Backbone, decoder_layers
from lrs.models.devices import describe_device
from lrs.tasks.problems import Problem
from lrs.tasks.prompts import prompt_ids

if TYPE_CHECKING:
    from lrs.config import Config

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


@torch.no_grad()
def _read(
    model: PreTrainedModel, layer: int, steering: Steering | None, batch: SideBySide, at_once: bool
) -> list[Float[Tensor, "rows places width"]]:
    """At each generated token but the last: the residual stream that the layer above `layer` is given, and what goes
    into the map behind the heads of each layer above."""
    seen: list[Tensor] = []
    above = list(decoder_layers(model))[layer + 1 :]
    with ExitStack() as stack:
        for one in (above[0], *(_behind_heads(one) for one in above)):
            stack.callback(one.register_forward_pre_hook(lambda _, given: seen.append(given[0])).remove)
        if at_once:
            batch.read_at_once(model, steering)
            return [part[:, batch.width : -1] for part in seen]
        places = []
        for _ in read_steered(model, steering, batch):
            places.append([part[:, -1] for part in seen[-1 - len(above) :]])
            seen.clear()
    return [torch.stack(parts, dim=1) for parts in zip(*places, strict=True)]


def _behind_heads(layer: Module) -> Module:
    (outward,) = [part for name, part in layer.named_modules() if name.endswith(("attn.o_proj", "attn.c_proj"))]
    return outward


@torch.no_grad()
def push_paths(backbone: Backbone, steering: Steering, traces: Sequence[tuple[list[int], list[int]]]) -> list[PushPath]:
    """The path of each trace, all read as one batch, without the push and with it.

    Args:
        traces: (prompt ids, generated ids) pairs; the last generated token is never processed.

    Raises:
        ValueError: the layer is the last: nothing above it could read a push.
    """
    model, count = backbone.model, backbone.model.config.num_attention_heads
    if steering.layer + 1 >= model.config.num_hidden_layers:
        raise ValueError(f"no layer lies above layer {steering.layer}, the steered one")
    batch = side_by_side(traces, backbone.tokenizer.pad_token_id, model.device)
    logits = batch.read_at_once(model, None)[:, batch.width - 1 : -1]
    before = torch.cat([logits[:, :1], logits[:, :-1]], dim=1)  # the first token's has none
    instability = -stability_of(logits, before).log()
    at_once = hangs_on_state(steering)
    plain, *own = _read(model, steering.layer, None, batch, at_once)
    residual, *pushed = _read(model, steering.layer, steering, batch, at_once)
    push = (residual - plain).norm(dim=-1) / plain.norm(dim=-1)
    there, here = (torch.stack(parts, dim=2).unflatten(-1, (count, -1)) for parts in (pushed, own))
    found = push, instability, (there - here).square().sum(dim=-1) / here.square().sum(dim=-1)
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
