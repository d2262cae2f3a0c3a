"""Signals: what a gate would see on unsteered traces; apart from the selection, so that no new arm remakes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from datasets import Dataset

from lrs.core.closure import code_of
from lrs.core.kept import digest_of, keep, read_kept
from lrs.core.store import write_frame
from lrs.engine.sampling import gate_lots
from lrs.learning.latents import encode_traces
from lrs.learning.reward_training import score_traces
from lrs.method.gate import certainty_of, stability_of
from lrs.models.activations import pad_right, replay_traces
from lrs.models.backbones import Backbone
from lrs.models.devices import describe_device
from lrs.tasks.problems import Problem
from lrs.tasks.prompts import prompt_ids

if TYPE_CHECKING:
    from lrs.config import Config
    from lrs.experiment.evaluation import Artifacts


def gate_signals(
    backbone: Backbone, traces: Dataset, problems: Sequence[Problem], artifacts: Artifacts, config: Config
) -> pd.DataFrame:
    """What a gate would see on unsteered traces.

    Returns:
        A row a processed token: every reward, by its name, and all that the gate's other clause may read of it.
    """
    activations = replay_traces(backbone, artifacts.layer, traces, problems, config.decoding.batch_size)
    size, scored = config.decoding.batch_size, {}
    for basis, dictionary in artifacts.dictionaries.items():
        latents = encode_traces(dictionary, activations, traces)
        for name, model in artifacts.rewards.items():
            if artifacts.bases[name] == basis:
                scores = score_traces(model, latents, np.arange(len(latents)), size)
                scored[name] = scores.set_index(["problem_id", "position"])
    rewards = pd.DataFrame({name: scored[name]["probability"] for name in artifacts.rewards})
    others = clause_signals(backbone, traces, problems, size).set_index(["problem_id", "position"])
    return rewards.join(others).reset_index()


@torch.no_grad()
def clause_signals(backbone: Backbone, traces: Dataset, problems: Sequence[Problem], batch_size: int) -> pd.DataFrame:
    """A row a processed token of unsteered traces: every `Signal` of it, as the engine would read it."""
    prompts = {problem.id: prompt_ids(problem, backbone.tokenizer) for problem in problems}
    columns = zip(*(traces[name] for name in ("problem_id", "seed", "token_ids", "confidence")), strict=True)
    rows, order = list(columns), np.argsort([len(ids) for ids in traces["token_ids"]], kind="stable")
    tables = []
    for start in range(0, len(rows), batch_size):
        batch = [rows[number] for number in order[start : start + batch_size]]
        read = pad_right(
            [prompts[name] + ids for name, _, ids, _ in batch], backbone.tokenizer.pad_token_id, backbone.device
        )
        logits = backbone.model(**read, use_cache=False).logits
        for (name, seed, ids, confidence), of_row in zip(batch, logits, strict=True):
            processed, first = len(ids) - 1, len(prompts[name]) - 1
            here = of_row[first : first + processed]
            before = torch.cat([here[:1], here[:-1]])  # the first token's has none
            tables.append(
                pd.DataFrame(
                    {
                        "problem_id": name,
                        "position": np.arange(processed),
                        "confidence": confidence[:processed],
                        "certainty": certainty_of(here).cpu().numpy(),
                        "stability": stability_of(here, before).cpu().numpy(),
                        "lot": gate_lots(name, seed, processed),
                    }
                )
            )
    return pd.concat(tables, ignore_index=True)


def keep_signals(
    backbone: Backbone, traces: Dataset, problems: Sequence[Problem], artifacts: Artifacts, config: Config, folder: Path
) -> pd.DataFrame:
    """`gate_signals` of the traces kept in `base` beside `folder`, made once and kept."""
    plan = {
        "backbone": backbone.identity,
        "device": describe_device(backbone.device),
        "artifacts": artifacts.digests,
        "traces": digest_of(folder.with_name("base")),
        "batch_size": config.decoding.batch_size,
    }

    def make(made: Path) -> None:
        write_frame(made / "signals.arrow", gate_signals(backbone, traces, problems, artifacts, config))

    keep(folder, "validation: signals", plan | code_of(__name__), make)
    return read_kept(folder).to_pandas()
