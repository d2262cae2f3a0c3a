"""Dictionaries: what turns an activation into latents, and a change of latents into a change of activation.

The sparse autoencoders are sae-lens's, trained, saved and loaded by sae-lens. Beside each lies what sae-lens
does not keep: the scale of its input, and which backbone and layer it reads.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from lrs.core.store import StoreError, write_text
from lrs.method.finite import check_finite


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
        return self.sae.encode(activation.to(self.sae.dtype) * self.input_scale)

    @torch.no_grad()
    def reconstruct(self, activation: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows d_in"]:
        """The activation as the latents tell it."""
        return self.sae.decode(self.encode(activation)) / self.input_scale


def save_dictionary(dictionary: SaeDictionary, folder: Path) -> None:
    """Write the autoencoder as sae-lens does, and `dictionary.json` beside it."""
    _, config_file = dictionary.sae.save_inference_model(folder)
    write_text(config_file, json.dumps(json.loads(config_file.read_text("utf-8")), sort_keys=True, indent=2) + "\n")
    about = {"input_scale": dictionary.input_scale, "backbone": dictionary.backbone, "layer": dictionary.layer}
    write_text(folder / "dictionary.json", json.dumps(about, sort_keys=True, indent=2) + "\n")


def load_dictionary(
    folder: str | Path, backbone: str | None = None, layer: int | None = None, device: str | torch.device = "cpu"
) -> SaeDictionary:
    """Read a dictionary written by `save_dictionary`.

    Args:
        backbone: identity of the backbone that is to be steered; not checked if None.
        layer: decoder layer at which it is to be steered; not checked if None.

    Raises:
        StoreError: a file is missing or truncated, a weight is not a finite number, or the dictionary was made for
            another backbone or layer.
    """
    from sae_lens import SAE

    folder = Path(folder)
    try:
        about = json.loads((folder / "dictionary.json").read_text("utf-8"))
        sae = SAE.load_from_disk(folder, device=str(device))
        check_finite(sae)
    except Exception as error:
        raise StoreError(f"cannot read the dictionary in {folder}: {error}") from error
    made_for = (about["backbone"], about["layer"])
    if made_for != (backbone or made_for[0], made_for[1] if layer is None else layer):
        raise StoreError(
            f"the dictionary in {folder} was made for layer {made_for[1]} of backbone {made_for[0]}, "
            f"not for layer {layer} of {backbone}; rerun the stages from 01 on"
        )
    return SaeDictionary(sae, about["input_scale"], *made_for)
