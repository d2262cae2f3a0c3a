"""The latent reward model: from SAE latents to the probability that the final answer will be correct.

Two variants. `token` scores one token on its own, and is trained as it is used. `history` scores each token in
the light of those before it, with a cache when used step by step; training and steering give it the same input.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from lrs.store import StoreError

Variant = Literal["token", "history"]


@dataclass(frozen=True)
class RewardConfig:
    """Shape of a latent reward model; the paper's: width 128, 2 layers, 4 heads."""

    d_sae: int
    variant: Variant
    width: int = 128
    layers: int = 2
    heads: int = 4


@dataclass
class History:
    """Keys and values of the tokens scored so far, one slot a row: the cache of the `history` variant.

    `keys[layer]` and `values[layer]` are (rows, heads, capacity, head_width); row i holds `lengths[i]` tokens.
    """

    keys: list[Tensor]
    values: list[Tensor]
    lengths: Tensor
    host_lengths: np.ndarray  # the same numbers where no synchronisation is needed to read them

    @property
    def longest(self) -> int:
        """The number of tokens in the fullest row."""
        return int(self.host_lengths.max(initial=0))

    def make_room(self) -> None:
        """Double the capacity if the fullest row has used it up."""
        if self.longest == self.keys[0].shape[2]:
            self.keys = [torch.cat([keys, torch.zeros_like(keys)], dim=2) for keys in self.keys]
            self.values = [torch.cat([values, torch.zeros_like(values)], dim=2) for values in self.values]

    def clear(self, rows: list[int]) -> None:
        """Empty some rows, for new traces to begin in them."""
        self.lengths[rows] = 0
        self.host_lengths[rows] = 0

    def keep(self, rows: list[int]) -> None:
        """Drop every row but these."""
        self.keys = [keys[rows] for keys in self.keys]
        self.values = [values[rows] for values in self.values]
        self.lengths, self.host_lengths = self.lengths[rows], self.host_lengths[rows]


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

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of (batch, length, width), each (batch, heads, length, head_width)."""
        batch, length, width = x.shape
        qkv = self.qkv(self.norm_attention(x)).view(batch, length, 3, self.heads, width // self.heads)
        return qkv.permute(2, 0, 3, 1, 4).unbind(0)

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add what attention found, (batch, heads, length, head_width), then the MLP's contribution."""
        x = x + self.output(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm_mlp(x))


class LatentRewardModel(nn.Module):
    """A small Transformer over latents z_1..z_T with one reward logit a token."""

    def __init__(self, config: RewardConfig):
        super().__init__()
        self.config = config
        self.norm_input = nn.LayerNorm(config.d_sae)
        self.embed = nn.Linear(config.d_sae, config.width)
        self.blocks = nn.ModuleList(_Block(config.width, config.heads) for _ in range(config.layers))
        self.norm_output = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, 1)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and so of latents and logits."""
        return self.head.weight.dtype

    def forward(self, latents: Tensor) -> Tensor:
        """Reward logits of whole traces.

        Args:
            latents: (batch, length, d_sae); padding, if any, on the right.

        Returns:
            (batch, length) logits; with `history`, those at t depend on latents up to t only.
        """
        batch, length, _ = latents.shape
        causal = self.config.variant == "history"
        x = self._embed(latents, torch.arange(length, device=latents.device).expand(batch, -1))
        for block in self.blocks:
            query, key, value = block.project(x)
            attended = scaled_dot_product_attention(query, key, value, is_causal=True) if causal else value
            x = block.finish(x, attended)
        return self._read_out(x)

    def new_history(self, rows: int, capacity: int) -> History | None:
        """An empty cache for `rows` rows of up to `capacity` tokens; None for the `token` variant."""
        if self.config.variant == "token":
            return None
        shape = (rows, self.config.heads, capacity, self.config.width // self.config.heads)
        empty = [self.head.weight.new_zeros(shape) for _ in range(2 * self.config.layers)]
        lengths = torch.zeros(rows, dtype=torch.long, device=self.head.weight.device)
        return History(empty[: self.config.layers], empty[self.config.layers :], lengths, np.zeros(rows, dtype=int))

    def step(self, latent: Tensor, history: History | None = None) -> Tensor:
        """Reward logit of the newest token of each row, (batch, d_sae) to (batch,); does not extend the history."""
        return self._step(latent, history)[0]

    @torch.no_grad()
    def extend(self, history: History | None, latent: Tensor) -> Tensor:
        """Like `step`, and append the token to the history, if there is one."""
        logit, keys, values = self._step(latent, history)
        if history is not None:
            history.make_room()
            rows = torch.arange(len(latent), device=latent.device)
            for layer in range(self.config.layers):
                history.keys[layer][rows, :, history.lengths] = keys[layer][:, :, 0]
                history.values[layer][rows, :, history.lengths] = values[layer][:, :, 0]
            history.lengths += 1
            history.host_lengths += 1
        return logit

    def _step(self, latent: Tensor, history: History | None) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        positions = torch.zeros_like(latent[:, :1]).long() if history is None else history.lengths[:, None]
        x = self._embed(latent[:, None], positions)
        keys, values = [], []
        for layer, block in enumerate(self.blocks):
            query, key, value = block.project(x)
            attended = value if history is None else _attend(query, key, value, history, layer)
            x = block.finish(x, attended)
            keys.append(key.detach())
            values.append(value.detach())
        return self._read_out(x)[:, 0], keys, values

    def _embed(self, latents: Tensor, positions: Tensor) -> Tensor:
        x = self.embed(self.norm_input(latents))
        return x + _sinusoids(positions, x) if self.config.variant == "history" else x

    def _read_out(self, x: Tensor) -> Tensor:
        return self.head(self.norm_output(x)).squeeze(-1)


def _attend(query: Tensor, key: Tensor, value: Tensor, history: History, layer: int) -> Tensor:
    """Attention of one new token a row to the row's history and to itself: (batch, heads, 1, head_width)."""
    longest = history.longest
    past = slice(0, longest)
    keys = torch.cat([history.keys[layer][:, :, past], key], dim=2)
    values = torch.cat([history.values[layer][:, :, past], value], dim=2)
    seen = torch.arange(longest, device=query.device) < history.lengths[:, None]
    mask = torch.cat([seen, seen.new_ones(len(seen), 1)], dim=1)[:, None, None]
    return scaled_dot_product_attention(query, keys, values, attn_mask=mask)


def _sinusoids(positions: Tensor, like: Tensor) -> Tensor:
    """Sinusoidal position embeddings, (batch, length) to (batch, length, width)."""
    half = like.shape[-1] // 2
    frequencies = torch.exp(-math.log(10_000.0) * torch.arange(half, device=like.device, dtype=like.dtype) / half)
    angles = positions[..., None].to(like.dtype) * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def save_reward(model: LatentRewardModel, folder: Path) -> None:
    """Write `config.json` and `model.safetensors`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(asdict(model.config), indent=2) + "\n")
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / "model.safetensors")


def load_reward(folder: str | Path, device: str | torch.device = "cpu") -> LatentRewardModel:
    """Read a model written by `save_reward`, in evaluation mode, its weights frozen.

    Raises:
        StoreError: a file is missing, truncated, or does not fit its config.
    """
    folder = Path(folder)
    try:
        model = LatentRewardModel(RewardConfig(**json.loads((folder / "config.json").read_text())))
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except Exception as error:
        raise StoreError(f"cannot read the reward model in {folder}: {error}") from error
    return model.eval().requires_grad_(False).to(device)
