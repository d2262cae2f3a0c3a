"""Latents of traces: sparse on disk, keyed by problem and seed; dense, padded batches in use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor

from lrs.core.closure import code_of
from lrs.core.kept import digest_of, keep, read_kept
from lrs.core.store import write_rows
from lrs.method.dictionary import Dictionary, load_dictionary
from lrs.models.activations import Replay
from lrs.models.backbones import Backbone
from lrs.models.devices import describe_device

if TYPE_CHECKING:
    from lrs.config import Config


@dataclass(frozen=True)
class LatentTraces:
    """The latents of many traces, sparse: the tokens of trace i are `offsets[i]` to `offsets[i + 1]`.

    Token j's active latents are `index[starts[j]:starts[j + 1]]`, with those `value`s.
    """

    d_sae: int
    problem_ids: np.ndarray
    seeds: np.ndarray
    correct: np.ndarray
    offsets: np.ndarray
    starts: np.ndarray
    index: np.ndarray
    value: np.ndarray

    def __len__(self) -> int:
        return len(self.correct)

    @property
    def lengths(self) -> np.ndarray:
        """Processed tokens of each trace."""
        return np.diff(self.offsets)

    def dense(self, traces: np.ndarray | Sequence[int], device: str | torch.device = "cpu") -> tuple[Tensor, Tensor]:
        """Some traces' latents, (traces, longest, d_sae), padded on the right, and which tokens are real."""
        lengths = self.lengths[traces]
        latents = torch.zeros(len(traces), int(lengths.max(initial=0)), self.d_sae)
        for row, trace in enumerate(traces):
            first, last = self.offsets[trace], self.offsets[trace + 1]
            active = slice(self.starts[first], self.starts[last])
            token = np.repeat(np.arange(last - first), np.diff(self.starts[first : last + 1]))
            latents[row, token, self.index[active].astype(int)] = torch.from_numpy(self.value[active])
        mask = torch.arange(latents.shape[1]) < torch.from_numpy(lengths)[:, None]
        return latents.to(device), mask.to(device)

    def batches(self, traces: np.ndarray, batch_size: int, rng: np.random.Generator | None) -> Iterator[np.ndarray]:
        """The traces in batches of like length; in random order if `rng` is given."""
        noise = rng.random(len(traces)) * 8 if rng else np.zeros(len(traces))
        ordered = traces[np.argsort(self.lengths[traces] + noise, kind="stable")]
        batches = [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]
        yield from (batches if rng is None else (batches[i] for i in rng.permutation(len(batches))))


def encode_traces(dictionary: Dictionary, activations: Sequence[Tensor], traces: Dataset) -> LatentTraces:
    """Encode each trace's activations, (processed tokens, d_model), one tensor a row of `traces`."""
    index, value, active = [], [], []
    for recorded in activations:
        latents = dictionary.encode(recorded)
        token, latent = latents.nonzero(as_tuple=True)
        index.append(latent.cpu().numpy().astype(np.int32))
        value.append(latents[token, latent].cpu().numpy().astype(np.float32))
        active.append(torch.bincount(token, minlength=len(latents)).cpu().numpy())
    return LatentTraces(
        d_sae=dictionary.W_dec.shape[0],
        problem_ids=np.array(traces["problem_id"]),
        seeds=np.array(traces["seed"]),
        correct=np.array(traces["correct"]),
        offsets=np.concatenate([[0], np.cumsum([len(recorded) for recorded in activations])]),
        starts=np.concatenate([[0], np.cumsum(np.concatenate(active))]),
        index=np.concatenate(index),
        value=np.concatenate(value),
    )


def save_latents(latents: LatentTraces, folder: Path) -> None:
    """Write a row a trace: its key, its label, and its tokens' active latents."""
    rows = []
    for trace in range(len(latents)):
        first, last = latents.offsets[trace], latents.offsets[trace + 1]
        active = slice(latents.starts[first], latents.starts[last])
        rows.append(
            {
                "problem_id": latents.problem_ids[trace],
                "seed": int(latents.seeds[trace]),
                "correct": bool(latents.correct[trace]),
                "d_sae": latents.d_sae,
                "active": np.diff(latents.starts[first : last + 1]).astype(np.int32),
                "index": latents.index[active],
                "value": latents.value[active],
            }
        )
    write_rows(folder / "part-00000.arrow", rows)


def load_latents(folder: Path) -> LatentTraces:
    """Read what `save_latents` wrote."""
    table = read_kept(folder).with_format("numpy")
    active = [np.asarray(row) for row in table["active"]]
    return LatentTraces(
        d_sae=int(table[0]["d_sae"]),
        problem_ids=np.array(table["problem_id"]),
        seeds=np.array(table["seed"]),
        correct=np.array(table["correct"]),
        offsets=np.concatenate([[0], np.cumsum([len(row) for row in active])]),
        starts=np.concatenate([[0], np.cumsum(np.concatenate(active))]),
        index=np.concatenate([np.asarray(row) for row in table["index"]]),
        value=np.concatenate([np.asarray(row) for row in table["value"]]),
    )


def fit_latents(
    backbone: Backbone, traces: Dataset, replay: Replay, config: Config, folder: Path, basis: str = "sae"
) -> LatentTraces:
    """The latents of all traces, by the dictionary of a basis; encoded unless they are there.

    Args:
        replay: gives the activations of `traces`.
    """
    dictionary_folder = config.dictionary(basis)
    plan = {
        "backbone": backbone.identity,
        "device": describe_device(backbone.device),
        "traces": digest_of(config.data / "traces"),
        "dictionary": digest_of(dictionary_folder),
        "batch_size": config.decoding.batch_size,
    }

    def make(made: Path) -> None:
        dictionary = load_dictionary(dictionary_folder, backbone.identity, config.backbone.layer, backbone.device)
        save_latents(encode_traces(dictionary, replay(), traces), made)

    keep(folder, "latents", plan | code_of(__name__), make)
    return load_latents(folder)
