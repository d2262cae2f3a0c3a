"""The reward model as it was released, written anew from its description.

A post-norm Transformer encoder with ReLU and sinusoidal positions, and a head of two layers. It was trained unmasked on
whole traces, and is asked about one token, at position 0, when steering: what it reads there it has never seen alone.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lrs.method.positions import sinusoids

_HEAD = 64  # width of the head's hidden layer


class PublishedReward(nn.Module):
    """A Transformer encoder over latents with one reward logit a token.

    Args:
        d_sae: latents.
        width, layers, heads: of the encoder; the paper's are 128, 2 and 4.
    """

    def __init__(self, d_sae: int, width: int, layers: int, heads: int):
        super().__init__()
        self.embed = nn.Sequential(nn.LayerNorm(d_sae), nn.Linear(d_sae, width))
        block = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.Linear(width, _HEAD), nn.ReLU(), nn.Linear(_HEAD, 1))

    def forward(self, latents: Float[Tensor, "traces length d_sae"]) -> Float[Tensor, "traces length"]:
        """Reward logits as they are used: of each token as if it stood alone, at position 0."""
        return self.whole(latents.reshape(-1, 1, latents.shape[-1])).view(latents.shape[:-1])

    def whole(
        self, latents: Float[Tensor, "traces length d_sae"], mask: Bool[Tensor, "traces length"] | None = None
    ) -> Float[Tensor, "traces length"]:
        """Reward logits as they are trained: every token sees the whole trace, what comes after it included.

        Args:
            mask: which tokens are real; None: all.
        """
        x = self.embed(latents)
        x = x + sinusoids(torch.arange(x.shape[1], device=x.device), x.shape[2], x.dtype)
        return self.head(self.encoder(x, src_key_padding_mask=None if mask is None else ~mask)).squeeze(-1)
