"""Sparse autoencoders of a backbone's activations: trained by sae-lens, made once and kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from torch import Tensor

from lrs.core.closure import code_of
from lrs.core.kept import digest_of, keep, read_kept
from lrs.core.progress import Progress
from lrs.core.store import write_frame, write_text
from lrs.method.dictionary import SaeDictionary, load_sae, save_dictionary
from lrs.method.finite import check_finite
from lrs.models.activations import Replay
from lrs.models.backbones import Backbone
from lrs.models.devices import describe_device
from lrs.tasks.splits import held_out

if TYPE_CHECKING:
    from lrs.config import Config, SaeSection

_HISTORY_STEPS = 50  # steps averaged for one point of the training curve
_AT_ONCE = 32_768  # tokens whose latents are held in memory, while faithfulness is measured


def input_scale_for(activations: Tensor) -> float:
    """What brings activations (count, d_in) to an average norm of sqrt(d_in)."""
    return float(activations.shape[1] ** 0.5 / activations.norm(dim=1).mean())


def _batches(activations: Tensor, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    while True:
        order = torch.randperm(len(activations), generator=generator)
        for start in range(0, len(order) - batch_size + 1, batch_size):
            yield activations[order[start : start + batch_size]]


def untrained_sae(activations: Tensor, config: SaeSection, seed: int, backbone: str, layer: int) -> SaeDictionary:
    """A top-k sparse autoencoder of activations (count, d_in) as its training begins: its decoder drawn by lot, its
    encoder the decoder's transpose."""
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig

    torch.manual_seed(seed)
    shape = {"d_in": activations.shape[1], "d_sae": config.d_sae, "k": config.k}
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(**shape, device=str(activations.device)))
    return SaeDictionary(sae, input_scale_for(activations), backbone, layer)


def train_sae(
    activations: Tensor, config: SaeSection, seed: int, backbone: str, layer: int
) -> tuple[SaeDictionary, pd.DataFrame]:
    """Train a top-k sparse autoencoder on activations (count, d_in).

    Returns:
        The dictionary, and its training curve: step, reconstruction_loss (mean squared error per
        dimension of the normalised activation), dead_fraction.

    Raises:
        ValueError: too few activations for a batch, or training diverged.
    """
    from sae_lens import LoggingConfig
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    if len(activations) < config.batch_size:
        raise ValueError(f"sae.batch_size is {config.batch_size}, but there are only {len(activations)} activations")
    dictionary = untrained_sae(activations, config, seed, backbone, layer)
    sae, scale = dictionary.sae.requires_grad_(True).train(), dictionary.input_scale
    steps = config.epochs * (len(activations) // config.batch_size)
    device = str(activations.device)
    trainer = SAETrainer(
        SAETrainerConfig(
            total_training_samples=steps * config.batch_size,
            train_batch_size_samples=config.batch_size,
            lr=config.learning_rate,
            lr_end=config.learning_rate / 10,
            lr_scheduler_name="cosineannealing",
            device=device,
            logger=LoggingConfig(log_to_wandb=False),
        ),
        sae,
        _batches(activations, config.batch_size, torch.Generator().manual_seed(seed)),
    )
    history, window = [], []
    with Progress("sae: training", steps, "steps") as progress:
        for step in range(1, steps + 1):
            output = trainer.step(next(trainer.data_provider).to(sae.dtype) * scale)
            trainer.n_training_steps += 1
            window.append(output.losses["mse_loss"].detach() / activations.shape[1])
            if step % _HISTORY_STEPS == 0 or step == steps:
                loss = torch.stack(window).mean().item()
                dead = trainer.dead_neurons.float().mean().item()
                history.append({"step": step, "reconstruction_loss": loss, "dead_fraction": dead})
                window.clear()
            progress.advance()
    check_finite(sae.state_dict())
    return SaeDictionary(sae, scale, backbone, layer), pd.DataFrame(history)


@torch.no_grad()
def explained_variance(dictionary: SaeDictionary, activations: Tensor) -> float:
    """Share of the variance of activations (count, d_in) that their reconstruction keeps; at most 1."""
    mean, lost, spread = activations.mean(dim=0), 0.0, 0.0
    for part in activations.split(_AT_ONCE):
        lost += (part - dictionary.reconstruct(part)).pow(2).sum(dtype=torch.float64).item()
        spread += (part - mean).pow(2).sum(dtype=torch.float64).item()
    return 1 - lost / spread


class FittedSae(NamedTuple):
    """What training an autoencoder left behind.

    `history`: as `train_sae` returns it. `explained_variance`: of the activations it learned from (`seen`) and of those
    of problems it did not see (`held out`), at most 1.
    """

    history: pd.DataFrame
    explained_variance: dict[str, float]


def fitting_plan(backbone: Backbone, config: Config) -> dict[str, Any]:
    """What a dictionary of the profile's traces depends on, beside code."""
    return {
        "backbone": backbone.identity,
        "device": describe_device(backbone.device),
        "layer": config.backbone.layer,
        "traces": digest_of(config.data / "traces"),
        "sae": config.sae.model_dump(),
        "batch_size": config.decoding.batch_size,
        "early_stopping_share": config.reward.early_stopping_share,
        "seed": config.seed,
    }


def parted(replay: Replay, traces: Dataset, config: Config) -> dict[str, list[Tensor]]:
    """Activations of the traces that a dictionary learns from (`seen`), and of problems `held out` for early stopping,
    which teach it nothing."""
    out = held_out(np.array(traces["problem_id"]), config.reward.early_stopping_share, config.seed)
    parts: dict[str, list[Tensor]] = {"seen": [], "held out": []}
    for recorded, held in zip(replay(), out, strict=True):
        parts["held out" if held else "seen"].append(recorded)
    return parts


def fit_sae(backbone: Backbone, traces: Dataset, replay: Replay, config: Config, folder: Path) -> FittedSae:
    """Train the autoencoder of `folder`, unless it is there.

    Args:
        replay: gives the activations of `traces`.
    """

    def make(made: Path) -> None:
        parts = {name: torch.cat(of_traces) for name, of_traces in parted(replay, traces, config).items()}
        trained, history = train_sae(parts["seen"], config.sae, config.seed, backbone.identity, config.backbone.layer)
        save_dictionary(trained, made)
        dictionary = load_sae(made, backbone.device)  # as later stages will use it
        faithful = {name: explained_variance(dictionary, activations) for name, activations in parts.items()}
        write_frame(made / "history.arrow", history)
        write_text(made / "explained_variance.json", json.dumps(faithful, indent=2) + "\n")

    keep(folder, "sae", fitting_plan(backbone, config) | code_of(__name__), make)
    faithful = json.loads((folder / "explained_variance.json").read_text("utf-8"))
    return FittedSae(read_kept(folder / "history.arrow").to_pandas(), faithful)
