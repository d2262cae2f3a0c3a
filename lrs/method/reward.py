"""The latent reward model: from SAE latents to the probability that the final answer will be correct.

Three variants. `token` scores one token on its own, `history` each token in the light of those before it; `linear` is
the difference between the mean latents of right and wrong traces, and so pushes everything the same way. Here whole
traces are scored, as in training; `lrs/engine/reward_steps.py` scores the same a token at a time, as in steering.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from lrs.core.store import StoreError, write_text
from lrs.method.finite import check_finite
from lrs.method.setting import Variant


@dataclass(frozen=True)
class RewardConfig:
    """Shape of a latent reward model; the paper's: width 128, 2 layers, 4 heads."""

    d_sae: int
    variant: Variant
    width: int = 128
    layers: int = 2
    heads: int = 4


class _Block(nn.Module):
    """A pre-norm Transformer block."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Float[Tensor, "traces length width"], causal: bool) -> Float[Tensor, "traces length width"]:
        """Each token attends to those up to it if `causal`, else to itself."""
        batch, length, width = x.shape
        qkv = self.qkv(self.norm_attention(x)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(query, key, value, is_causal=True) if causal else value
        x = x + self.output(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm_mlp(x))


class LatentRewardModel(nn.Module):
    """A small Transformer over latents z_1..z_T with one reward logit a token."""

    def __init__(self, config: RewardConfig):
        super().__init__()
        self.config = config
        if config.variant == "linear":
            self.head = nn.Linear(config.d_sae, 1)
            return
        self.norm_input = nn.LayerNorm(config.d_sae)
        self.embed = nn.Linear(config.d_sae, config.width)
        self.blocks = nn.ModuleList(_Block(config.width, config.heads) for _ in range(config.layers))
        self.norm_output = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, 1)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and so of latents and logits."""
        return self.head.weight.dtype

    def forward(self, latents: Float[Tensor, "traces length d_sae"]) -> Float[Tensor, "traces length"]:
        """Reward logits of whole traces.

        Args:
            latents: padding, if any, on the right.

        Returns:
            Logits; with `history`, those at t depend on latents up to t only.
        """
        if self.config.variant == "linear":
            return self.head(latents).squeeze(-1)
        causal = self.config.variant == "history"
        x = self.embed(self.norm_input(latents))
        if causal:
            x = x + sinusoids(torch.arange(x.shape[1], device=x.device), x.shape[2], x.dtype)
        for block in self.blocks:
            x = block(x, causal)
        return self.head(self.norm_output(x)).squeeze(-1)


def sinusoids(positions: Int[Tensor, "*places"], width: int, dtype: torch.dtype) -> Float[Tensor, "*places width"]:
    """Sinusoidal position embeddings."""
    half = width // 2
    frequencies = torch.exp(-math.log(10_000.0) * torch.arange(half, device=positions.device, dtype=dtype) / half)
    angles = positions[..., None].to(dtype) * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def save_reward(model: LatentRewardModel, folder: Path) -> None:
    """Write `config.json` and `model.safetensors`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.json", json.dumps(asdict(model.config), indent=2) + "\n")
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / "model.safetensors")


def load_reward(folder: str | Path, device: str | torch.device = "cpu") -> LatentRewardModel:
    """Read a model written by `save_reward`, in evaluation mode, its weights frozen.

    Raises:
        StoreError: a file is missing, truncated, or does not fit its config, or a weight is not a finite number.
    """
    folder = Path(folder)
    try:
        model = LatentRewardModel(RewardConfig(**json.loads((folder / "config.json").read_text("utf-8"))))
        model.load_state_dict(load_file(folder / "model.safetensors"))
        check_finite(model)
    except Exception as error:
        raise StoreError(f"cannot read the reward model in {folder}: {error}") from error
    return model.eval().requires_grad_(False).to(device)
