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
from lrs.method.setting import Signal
from lrs.models.activations import pad_right, pairs_of, replay_traces
from lrs.models.backbones import Backbone
from lrs.models.devices import describe_device
from lrs.tasks.problems import Problem

_FEWER = 4  # times fewer traces at once than are decoded: all their logits are held

if TYPE_CHECKING:
    from lrs.config import Config
    from lrs.experiment.evaluation import Artifacts


def gate_signals(
    backbone: Backbone,
    traces: Dataset,
    problems: Sequence[Problem],
    artifacts: Artifacts,
    config: Config,
    others: Sequence[Signal] = (),
) -> pd.DataFrame:
    """What a gate would see on unsteered traces.

    Args:
        others: signals that are read beside confidence.

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
    clauses = clause_signals(backbone, traces, problems, size, others).set_index(["problem_id", "position"])
    return rewards.join(clauses).reset_index()


def clause_signals(
    backbone: Backbone, traces: Dataset, problems: Sequence[Problem], batch_size: int, others: Sequence[Signal]
) -> pd.DataFrame:
    """A row a processed token of unsteered traces: confidence, and `others`, as the engine would read them."""
    named = zip(*(traces[name] for name in ("problem_id", "seed", "token_ids", "confidence")), strict=True)
    tables = [
        pd.DataFrame({"problem_id": name, "position": range(len(ids) - 1), "confidence": confidence[:-1]}).assign(
            **({"lot": gate_lots(name, seed, len(ids) - 1)} if "lot" in others else {})
        )
        for name, seed, ids, confidence in named
    ]
    if {"certainty", "stability"} & set(others):
        read = _distributions(backbone, traces, problems, max(1, batch_size // _FEWER))
        for table, (certainty, stability) in zip(tables, read, strict=True):
            table["certainty"], table["stability"] = certainty, stability
    return pd.concat(tables, ignore_index=True)


@torch.no_grad()
def _distributions(
    backbone: Backbone, traces: Dataset, problems: Sequence[Problem], batch_size: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Certainty and stability of every processed token, a pair a trace."""
    pairs = pairs_of(backbone, traces, problems)
    order = np.argsort([len(ids) for _, ids in pairs], kind="stable")
    found: list[tuple[np.ndarray, np.ndarray]] = [(np.zeros(0), np.zeros(0))] * len(pairs)
    for start in range(0, len(pairs), batch_size):
        batch = order[start : start + batch_size]
        sequences = [prompt + ids for prompt, ids in (pairs[number] for number in batch)]
        padded = pad_right(sequences, backbone.tokenizer.pad_token_id, backbone.device)
        logits = backbone.model(**padded, use_cache=False).logits
        for number, of_row in zip(batch, logits, strict=True):
            prompt, ids = pairs[number]
            here = of_row[len(prompt) - 1 : len(prompt) + len(ids) - 2]
            before = torch.cat([here[:1], here[:-1]])  # the first token's has none
            found[number] = certainty_of(here).cpu().numpy(), stability_of(here, before).cpu().numpy()
    return found


def keep_signals(
    backbone: Backbone,
    traces: Dataset,
    problems: Sequence[Problem],
    artifacts: Artifacts,
    config: Config,
    folder: Path,
    others: Sequence[Signal] = (),
) -> pd.DataFrame:
    """`gate_signals` of the traces kept in `base` beside `folder`, made once and kept."""
    plan = {
        "backbone": backbone.identity,
        "device": describe_device(backbone.device),
        "artifacts": artifacts.digests,
        "traces": digest_of(folder.with_name("base")),
        "batch_size": config.decoding.batch_size,
        "signals": list(others),
    }

    def make(made: Path) -> None:
        write_frame(made / "signals.arrow", gate_signals(backbone, traces, problems, artifacts, config, others))

    keep(folder, "validation: signals", plan | code_of(__name__), make)
    return read_kept(folder).to_pandas()
