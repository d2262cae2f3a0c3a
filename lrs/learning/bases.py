"""Other bases in which a reward may read activations: controls for what the trained sparse autoencoder adds.

random_sae   a sparse autoencoder that has learned nothing
pca          principal components, as many as the autoencoder has latents, if the residual stream is that wide
raw          the residual stream itself
projections  what the released method reads: ten signed projections of the centred activation, brought to length 1.
                 They learn to rebuild the mean activation of each trace from the three that are largest; later all ten
                 are used
outside      the directions of the residual stream in which the autoencoder's decoder cannot write
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from datasets import Dataset
from jaxtyping import Float
from torch import Tensor

from lrs.core.closure import code_of
from lrs.core.kept import digest_of, keep
from lrs.learning.latents import fit_latents
from lrs.learning.sae import fit_sae, fitting_plan, input_scale_for, parted, untrained_sae
from lrs.method.ascent import unit
from lrs.method.dictionary import (
    Dictionary,
    ProjectionDictionary,
    SaeDictionary,
    inside_and_outside,
    load_dictionary,
    save_dictionary,
)
from lrs.method.setting import Basis
from lrs.models.activations import Replay
from lrs.models.backbones import Backbone

if TYPE_CHECKING:
    from lrs.config import Config, SaeSection

_PROJECTIONS, _LARGEST = 10, 3  # as released
_STEPS, _RATE = 1000, 1e-2  # of their training, on all traces at once

Activations = Sequence[Float[Tensor, "tokens d_in"]]  # a tensor a trace


def _precision(activations: Activations) -> torch.dtype:
    """Of what is made of activations: a model's own, but no half precision, in which nothing is learned or kept."""
    return torch.promote_types(activations[0].dtype, torch.float32)


def raw_basis(activations: Activations, _: SaeSection, __: int, backbone: str, layer: int) -> ProjectionDictionary:
    """The residual stream itself, scaled as for the autoencoder."""
    every = torch.cat(list(activations))
    same = torch.eye(every.shape[1], device=every.device, dtype=_precision(activations))
    return ProjectionDictionary(same[0] * 0, same, same, False, input_scale_for(every), backbone, layer)


def pca_basis(activations: Activations, config: SaeSection, _: int, backbone: str, layer: int) -> ProjectionDictionary:
    """The principal components of largest variance."""
    every = torch.cat(list(activations))
    scale, dtype = input_scale_for(every), _precision(activations)
    mean = every.mean(dim=0, dtype=dtype) * scale
    _, vectors = torch.linalg.eigh(torch.cov((every * scale).double().T))
    components = vectors.flip(1)[:, : config.d_sae].to(dtype)
    return ProjectionDictionary(mean, components, components.T.contiguous(), False, scale, backbone, layer)


def projection_basis(
    activations: Activations, _: SaeSection, seed: int, backbone: str, layer: int
) -> ProjectionDictionary:
    """The released method's projections; what they decode to is added to activations as they are."""
    dtype = _precision(activations)
    mean = torch.cat(list(activations)).mean(dim=0, dtype=dtype)
    seen = unit(torch.stack([trace.mean(dim=0, dtype=dtype) for trace in activations]) - mean)
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(_PROJECTIONS, seen.shape[1], generator=generator).to(seen)
    encoder, decoder = (matrix.clone().requires_grad_() for matrix in (unit(start).T, unit(start)))
    optimizer = torch.optim.Adam([encoder, decoder], lr=_RATE)
    for _step in range(_STEPS):
        read = seen @ encoder
        largest = torch.zeros_like(read).scatter(1, *reversed(read.topk(_LARGEST, dim=1)))
        loss = (largest @ unit(decoder) - seen).square().sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return ProjectionDictionary(mean, encoder.detach(), unit(decoder.detach()), True, 1.0, backbone, layer)


def random_sae_basis(
    activations: Activations, config: SaeSection, seed: int, backbone: str, layer: int
) -> SaeDictionary:
    """The autoencoder as its training begins."""
    return untrained_sae(torch.cat(list(activations)), config, seed, backbone, layer)


def outside_basis(sae: Dictionary, backbone: str, layer: int) -> ProjectionDictionary:
    """What the autoencoder's decoder cannot write.

    Raises:
        ValueError: it can write everything.
    """
    _, outside = inside_and_outside(sae.W_dec)
    if not len(outside):
        raise ValueError("the decoder spans the residual stream: no direction is outside; leave out arm random_outside")
    return ProjectionDictionary(
        outside[0] * 0, outside.T.contiguous(), outside, False, sae.input_scale, backbone, layer
    )


_Maker = Callable[[Activations, "SaeSection", int, str, int], SaeDictionary | ProjectionDictionary]
_MAKERS: dict[Basis, _Maker] = {
    "random_sae": random_sae_basis,
    "pca": pca_basis,
    "raw": raw_basis,
    "projections": projection_basis,
}


def fit_basis(basis: Basis, backbone: Backbone, traces: Dataset, replay: Replay, config: Config) -> None:
    """Make the dictionary of a basis and the latents of all traces in it, unless they are there.

    Args:
        replay: gives the activations of `traces`.
    """
    folder = config.dictionary(basis)
    if basis == "sae":
        fit_sae(backbone, traces, replay, config, folder)
    else:

        def make(made: Path) -> None:
            made_for = backbone.identity, config.backbone.layer
            made_of: SaeDictionary | ProjectionDictionary
            if basis == "outside":
                made_of = outside_basis(load_dictionary(config.dictionary("sae"), *made_for), *made_for)
            else:
                seen = parted(replay, traces, config)["seen"]
                made_of = _MAKERS[basis](seen, config.sae, config.seed, *made_for)
            save_dictionary(made_of, made)

        plan = fitting_plan(backbone, config) | {"basis": basis}
        if basis == "outside":
            plan |= {"of": digest_of(config.dictionary("sae"))}
        keep(folder, f"basis: {basis}", plan | code_of(__name__), make)
    fit_latents(backbone, traces, replay, config, config.latents(basis), basis)
