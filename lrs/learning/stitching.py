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
    """A map x -> x weight + offset, in double precision."""

    weight: Float[Tensor, "d_from d_to"]
    offset: Float[Tensor, " d_to"]


def fit_affine(x: Float[Tensor, "tokens d_from"], y: Float[Tensor, "tokens d_to"]) -> Affine:
    """The map that takes x to y with the least square error; of several, the shortest."""
    x, y = x.double().cpu(), y.double().cpu()
    weight = torch.linalg.lstsq(x - x.mean(dim=0), y - y.mean(dim=0)).solution
    return Affine(weight, y.mean(dim=0) - x.mean(dim=0) @ weight)


@torch.no_grad()
def stitched_sae(there: SaeDictionary, reads: Affine, writes: Affine, backbone: str, layer: int) -> SaeDictionary:
    """A top-k autoencoder of another backbone as one of `backbone`.

    Args:
        reads: from activations of `backbone` at `layer` to those that `there` was made for.
        writes: the way back.

    Raises:
        ValueError: it is no top-k autoencoder, or normalises what it reads.
    """
    from sae_lens import TopKSAE, TopKSAEConfig

    sae, scale = there.sae, there.input_scale
    if (kind := (sae.cfg.architecture(), sae.cfg.normalize_activations)) != ("topk", "none"):
        raise ValueError(f"an autoencoder that is stitched must be topk and normalise none (got {', '.join(kind)})")
    weights = {name: weight.double().cpu() for name, weight in sae.state_dict().items()}
    W_enc, b_enc, b_dec = (weights[name] for name in ("W_enc", "b_enc", "b_dec"))
    norm = weights["W_dec"].norm(dim=-1) if sae.cfg.rescale_acts_by_decoder_norm else torch.ones_like(b_enc)
    centre = b_dec * sae.cfg.apply_b_dec_to_input
    folded = {
        "W_enc": reads.weight @ W_enc * norm,
        "b_enc": ((scale * reads.offset - centre) @ W_enc + b_enc) * norm,
        "W_dec": there.W_dec.double().cpu() @ writes.weight,
        "b_dec": b_dec @ writes.weight + scale * writes.offset,
    }
    shape = {"d_in": len(reads.weight), "d_sae": len(b_enc), "k": sae.cfg.k}
    plain = {"rescale_acts_by_decoder_norm": False, "apply_b_dec_to_input": False}
    own = TopKSAE(TopKSAEConfig(**shape, **plain, dtype=sae.cfg.dtype, device=str(sae.device)))
    own.load_state_dict(folded)
    return SaeDictionary(own, scale, backbone, layer)
