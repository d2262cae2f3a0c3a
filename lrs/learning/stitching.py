"""Stitching: an autoencoder of one backbone, for another that reads the same tokens.

Affine maps between the residual streams of two backbones, fitted on the same traces, are folded into its encoder and
its decoder: what comes of it is an ordinary autoencoder of the other backbone, whose latents mean what they meant.
After model stitching (Lenc and Vedaldi 2015; Bansal et al. 2021).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lrs.method.dictionary import SaeDictionary


class Affine(NamedTuple):
    """A map x -> x weight + offset."""

    weight: Float[Tensor, "d_from d_to"]
    offset: Float[Tensor, " d_to"]


def fit_affine(x: Float[Tensor, "tokens d_from"], y: Float[Tensor, "tokens d_to"]) -> Affine:
    """The map that takes x to y with the least square error."""
    mean_x, mean_y = x.double().mean(dim=0), y.double().mean(dim=0)
    weight = torch.linalg.lstsq(x.double() - mean_x, y.double() - mean_y).solution
    return Affine(weight.to(y), (mean_y - mean_x @ weight).to(y))


@torch.no_grad()
def stitched_sae(there: SaeDictionary, reads: Affine, writes: Affine, backbone: str, layer: int) -> SaeDictionary:
    """A top-k autoencoder of another backbone as one of `backbone`.

    Args:
        reads: from activations of `backbone` at `layer` to those that `there` was made for.
        writes: the way back.

    Raises:
        ValueError: it is no top-k autoencoder.
    """
    from sae_lens import TopKSAE, TopKSAEConfig

    sae, scale = there.sae, there.input_scale
    if not hasattr(sae.cfg, "k"):
        raise ValueError(f"only a top-k autoencoder can be stitched (got {sae.cfg.architecture()})")
    norm = sae.W_dec.norm(dim=-1) if sae.cfg.rescale_acts_by_decoder_norm else torch.ones_like(sae.b_enc)
    centre = sae.b_dec * sae.cfg.apply_b_dec_to_input
    shape = {"d_in": len(reads.weight), "d_sae": len(sae.b_enc), "k": sae.cfg.k}
    folded = {"rescale_acts_by_decoder_norm": False, "apply_b_dec_to_input": False}
    own = TopKSAE(TopKSAEConfig(**shape, **folded, dtype=sae.cfg.dtype, device=str(sae.device)))
    weights = {
        "W_enc": reads.weight @ (sae.W_enc * norm),
        "b_enc": ((scale * reads.offset - centre) @ sae.W_enc + sae.b_enc) * norm,
        "W_dec": there.W_dec @ writes.weight,
        "b_dec": sae.b_dec @ writes.weight + scale * writes.offset,
    }
    own.load_state_dict(weights)
    return SaeDictionary(own, scale, backbone, layer)
