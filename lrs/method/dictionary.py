"""Dictionaries: what turns an activation into latents, and a change of latents into a change of activation.

The sparse autoencoders are sae-lens's, trained, saved and loaded by sae-lens. Beside each lies what sae-lens
does not keep: the scale of its input, and which backbone and layer it reads. Projections, which no sparse autoencoder
can be, are ours.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from lrs.core.store import StoreError, write_text
from lrs.method.ascent import unit
from lrs.method.finite import check_finite

_PROJECTIONS = "projections.safetensors"
_MATRICES = ("mean", "W_enc", "W_dec")


@runtime_checkable
class Dictionary(Protocol):
    """An encoder of activations, and a linear decoder for differences of latents.

    Attributes:
        W_dec: (d_sae, d_in).
        input_scale: activations are multiplied by it before they are encoded.
    """

    W_dec: Tensor
    input_scale: float

    def encode(self, activation: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows d_sae"]:
        """Latents of activations as they are in the residual stream.

        It must not wait for the device: on a GPU it becomes part of a CUDA graph.
        """


@dataclass
class SaeDictionary:
    """A sae-lens sparse autoencoder behind the `Dictionary` protocol."""

    sae: Any  # sae_lens.SAE
    input_scale: float
    backbone: str
    layer: int

    def __post_init__(self) -> None:
        self.sae.eval().requires_grad_(False)
        # whatever sae-lens does to decode, its linear part is what a difference of latents is decoded with
        with torch.no_grad():
            identity = torch.eye(self.sae.cfg.d_sae, dtype=self.sae.dtype, device=self.sae.device)
            self.W_dec = self.sae.decode(identity) - self.sae.decode(torch.zeros_like(identity))

    @torch.no_grad()
    def encode(self, activation: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows d_sae"]:
        """Latents of the scaled activation, as the autoencoder finds them."""
        return self.sae.encode(activation.to(self.sae.dtype) * self.input_scale)

    @torch.no_grad()
    def reconstruct(self, activation: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows d_in"]:
        """The activation as the latents tell it."""
        return self.sae.decode(self.encode(activation)) / self.input_scale


@dataclass
class ProjectionDictionary:
    """Signed linear readings of the activation, all of them active: principal components, the raw residual stream, or
    the projections of the released method.

    Attributes:
        mean: (d_in,) of the scaled activations.
        W_enc: (d_in, d_sae).
        normalises: whether an activation, once centred, is brought to length 1 before it is read; pushes are not
            brought back from it, so that they are as long whatever the activation.
    """

    mean: Tensor
    W_enc: Tensor
    W_dec: Tensor
    normalises: bool
    input_scale: float
    backbone: str
    layer: int

    @torch.no_grad()
    def encode(self, activation: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows d_sae"]:
        """Coordinates along the directions, of the centred activation."""
        centred = activation.to(self.W_enc.dtype) * self.input_scale - self.mean
        return (unit(centred) if self.normalises else centred) @ self.W_enc


def inside_and_outside(
    decoder: Float[Tensor, "d_sae d_model"],
) -> tuple[Float[Tensor, "rank d_model"], Float[Tensor, "rest d_model"]]:
    """Orthonormal directions in which a decoder can write, and the others."""
    squares, directions = torch.linalg.eigh(decoder.double().T @ decoder.double())
    writes = squares > 1e-8 * squares[-1]
    directions = directions.T.to(decoder.dtype)
    return directions[writes], directions[~writes]


def save_dictionary(dictionary: SaeDictionary | ProjectionDictionary, folder: Path) -> None:
    """Write an autoencoder as sae-lens does, or the matrices of projections, and `dictionary.json` beside it."""
    about = {"input_scale": dictionary.input_scale, "backbone": dictionary.backbone, "layer": dictionary.layer}
    if isinstance(dictionary, ProjectionDictionary):
        folder.mkdir(parents=True, exist_ok=True)
        matrices = {name: getattr(dictionary, name).cpu().contiguous().clone() for name in _MATRICES}
        save_file(matrices, folder / _PROJECTIONS)
        about |= {"normalises": dictionary.normalises}
    else:
        _save_sae(dictionary, folder)
    write_text(folder / "dictionary.json", json.dumps(about, sort_keys=True, indent=2) + "\n")


def _save_sae(dictionary: SaeDictionary, folder: Path) -> None:
    sae = dictionary.sae  # as it was trained, or as it was read
    _, config_file = (getattr(sae, "save_inference_model", None) or sae.save_model)(folder)
    write_text(config_file, json.dumps(json.loads(config_file.read_text("utf-8")), sort_keys=True, indent=2) + "\n")


def load_dictionary(
    folder: str | Path, backbone: str | None = None, layer: int | None = None, device: str | torch.device = "cpu"
) -> SaeDictionary | ProjectionDictionary:
    """Read a dictionary written by `save_dictionary`.

    Args:
        backbone: identity of the backbone that is to be steered; not checked if None.
        layer: decoder layer at which it is to be steered; not checked if None.

    Raises:
        StoreError: a file is missing or truncated, a weight or the scale of the input is not a finite number, or the
            dictionary was made for another backbone or layer.
    """
    folder = Path(folder)
    try:
        about = json.loads((folder / "dictionary.json").read_text("utf-8"))
        check_finite({"input_scale": torch.tensor(about["input_scale"])})
        read: SaeDictionary | ProjectionDictionary
        if (folder / _PROJECTIONS).exists():
            read = _load_projections(folder / _PROJECTIONS, about, device)
        else:
            read = _load_sae(folder, about, device)
    except Exception as error:
        raise StoreError(f"cannot read the dictionary in {folder}: {error}") from error
    made_for = (about["backbone"], about["layer"])
    if made_for != (backbone or made_for[0], made_for[1] if layer is None else layer):
        raise StoreError(
            f"the dictionary in {folder} was made for layer {made_for[1]} of backbone {made_for[0]}, "
            f"not for layer {layer} of {backbone}; rerun the stages from 01 on"
        )
    return read


def load_sae(folder: Path, device: str | torch.device = "cpu") -> SaeDictionary:
    """`load_dictionary` of an autoencoder.

    Raises:
        StoreError: as there; or the folder holds projections.
    """
    read = load_dictionary(folder, device=device)
    if not isinstance(read, SaeDictionary):
        raise StoreError(f"{folder} holds projections where an autoencoder is needed")
    return read


def _load_sae(folder: Path, about: dict[str, Any], device: str | torch.device) -> SaeDictionary:
    from sae_lens import SAE

    sae = SAE.load_from_disk(folder, device=str(device))
    check_finite(sae.state_dict())
    return SaeDictionary(sae, about["input_scale"], about["backbone"], about["layer"])


def _load_projections(path: Path, about: dict[str, Any], device: str | torch.device) -> ProjectionDictionary:
    matrices: dict[str, Any] = load_file(path, device=str(device))
    check_finite(matrices)
    return ProjectionDictionary(**matrices, **about)


def from_sae_lens(
    name: str | Path, sae_id: str = "", *, layer: int, device: str | torch.device = "cpu"
) -> SaeDictionary:
    """A dictionary from an autoencoder of sae-lens: a folder, or the name of a release and the id of one in it.

    Activations are given to it as they are, and what it decodes is added as it is.

    Raises:
        ValueError: it was trained on normalised activations (unless that was folded into its weights), or on others
            than the layer writes to the residual stream; or a weight is not a finite number.
    """
    from sae_lens import SAE

    if Path(name).is_dir():
        sae = SAE.load_from_disk(name, device=str(device))
    else:
        sae = SAE.from_pretrained(str(name), sae_id, device=str(device))
    check_finite(sae.state_dict())
    if (normal := sae.cfg.normalize_activations) != "none":
        raise ValueError(f"{name} reads normalised activations ({normal}); legal: none, or folded into weights")
    about = sae.cfg.metadata
    if (getattr(about, "model_from_pretrained_kwargs", None) or {}).get("center_writing_weights"):
        raise ValueError(f"{name} reads a residual stream that TransformerLens has centred; legal: one as it is")
    if not _reads_after(hook := getattr(about, "hook_name", None) or "", layer):
        raise ValueError(f"{name} reads {hook}, and not what layer {layer} writes to the residual stream")
    return SaeDictionary(sae, 1.0, str(name), layer)


# Places of a layer that are the residual stream after one: how far that one is from the layer itself.
_AFTER = {"hook_resid_post": 0, "hook_out": 0, "hook_resid_pre": -1}


def _reads_after(hook: str, layer: int) -> bool:
    """Whether a hook, by its name, is the residual stream after a layer; one that is not named is taken for it."""
    if place := re.fullmatch(r"blocks\.(\d+)\.(\w+)", hook):
        return place[2] in _AFTER and int(place[1]) + _AFTER[place[2]] == layer
    of_layer = re.fullmatch(r"(?:model\.layers|transformer\.h|layers)\.(\d+)", hook)
    return not hook or bool(of_layer and int(of_layer[1]) == layer)
