"""Signals: what a gate would see on unsteered traces; apart from the selection, so that no new arm remakes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from datasets import Dataset

from lrs.core.closure import code_of
from lrs.core.kept import digest_of, keep, read_kept
from lrs.core.store import write_frame
from lrs.learning.latents import encode_traces
from lrs.learning.reward_training import score_traces
from lrs.method.setting import REWARDS
from lrs.models.activations import replay_traces
from lrs.models.backbones import Backbone
from lrs.models.devices import describe_device
from lrs.tasks.problems import Problem

if TYPE_CHECKING:
    from lrs.config import Config
    from lrs.experiment.evaluation import Artifacts


def gate_signals(
    backbone: Backbone, traces: Dataset, problems: Sequence[Problem], artifacts: Artifacts, config: Config
) -> pd.DataFrame:
    """What a gate would see on unsteered traces.

    Returns:
        A row a processed token: the confidence with which it was chosen and every reward, by its name.
    """
    activations = replay_traces(backbone, artifacts.layer, traces, problems, config.decoding.batch_size)
    size, scored = config.decoding.batch_size, {}
    for basis, dictionary in artifacts.dictionaries.items():
        latents = encode_traces(dictionary, activations, traces)
        for name, model in artifacts.rewards.items():
            if REWARDS[name].basis == basis:
                scores = score_traces(model, latents, np.arange(len(latents)), size)
                scored[name] = scores.set_index(["problem_id", "position"])
    confidence = {
        (problem, position): value
        for problem, values in zip(traces["problem_id"], traces["confidence"], strict=True)
        for position, value in enumerate(values[:-1])
    }
    signals = pd.DataFrame({name: scored[name]["probability"] for name in artifacts.rewards})
    return signals.assign(confidence=[confidence[key] for key in signals.index]).reset_index()


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
