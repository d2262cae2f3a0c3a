"""The latent reward model: from SAE latents to the probability that the final answer will be correct.

Variants: `token` scores one token on its own, `history` each token in the light of those before it; `linear` pushes
everything the same way; `published` is the released one; `potential` is a quadratic form of low rank, climbed in
proportion to its gradient; `free` is no reward but a push of any direction and length, which says what a layer has to
give, `along` one in a direction that is the same everywhere, `gated` one that goes along it and never back, as far as
a gate is open, and `shift` one that is the same altogether; `fresh` goes in a direction drawn by lot, another at every
state (and so at every step of an ascent). Here whole traces are scored, as in training; in steering a token at a time,
by `lrs/engine/reward_steps.py` and `any_reward.py`.

Any other reward can be steered by, if it satisfies `Reward`.
"""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from lrs.core.store import StoreError, write_text
from lrs.method.ascent import unit
from lrs.method.finite import check_finite
from lrs.method.positions import sinusoids
from lrs.method.published import PublishedReward
from lrs.method.setting import Variant

# Variants whose head reads no embedding.
HEAD_ON_LATENTS = ("linear", "potential", "free", "along", "gated", "shift", "fresh")
_SCATTER = 30.0  # radians by which a latent of size one turns what `fresh` draws: near states have nothing in common
# Of the push of variant `free`, beside its shift; of the form of `potential`, whose push has up to 16; and of a gate.
_RANK = 8


@runtime_checkable
class Reward(Protocol):
    """What steering asks of a reward, of whatever make: it scores a token on its own, and is differentiable."""

    @property
    def d_sae(self) -> int:
        """Latents that it reads."""

    @property
    def device(self) -> torch.device:
        """Of its weights."""

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights, and so of latents and logits."""

    def __call__(self, latents: Float[Tensor, "traces length d_sae"]) -> Float[Tensor, "traces length"]:
        """Reward logits."""

    def direction(self, latents: Float[Tensor, "rows d_sae"]) -> Float[Tensor, "rows d_sae"]:
        """Where each token's latents are pushed to, by a step of size 1: the gradient of its logit over its norm, if
        steps are to be as the paper's. It is asked while no gradients are recorded; a reward that differentiates itself
        turns them on."""


@dataclass(frozen=True)
class RewardConfig:
    """Shape of a latent reward model; the paper's: width 128, 2 layers, 4 heads."""

    d_sae: int
    variant: Variant
    width: int = 128
    layers: int = 2
    heads: int = 4


class Block(nn.Module):
    """A pre-norm Transformer block."""

    mlp: Any  # an nn.Sequential, whose types forget what it holds: Linear, GELU, Linear

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
        query, key, value = self._queries_keys_values(x)
        return self._beyond(x, scaled_dot_product_attention(query, key, value, is_causal=True) if causal else value)

    def newest(
        self, x: Float[Tensor, "traces length width"], past: Float[Tensor, "traces length width"]
    ) -> Float[Tensor, "traces length width"]:
        """Each token attends to itself and to those before it in another stream, the `past`."""
        query, key, value = self._queries_keys_values(x)
        _, keys, values = self._queries_keys_values(past)
        query = query * query.shape[-1] ** -0.5
        unseen = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu()
        seen, own = (query @ keys.mT).masked_fill(unseen, -torch.inf), (query * key).sum(dim=-1, keepdim=True)
        weights = torch.cat([seen, own], dim=-1).softmax(dim=-1)
        return self._beyond(x, weights[..., :-1] @ values + weights[..., -1:] * value)

    def _queries_keys_values(self, x: Tensor) -> Float[Tensor, "three traces heads length head_width"]:
        batch, length, width = x.shape
        qkv = self.qkv(self.norm_attention(x)).view(batch, length, 3, self.heads, width // self.heads)
        return qkv.permute(2, 0, 3, 1, 4)

    def _beyond(self, x: Tensor, attended: Float[Tensor, "traces heads length head_width"]) -> Tensor:
        x = x + self.output(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm_mlp(x))


class LatentRewardModel(nn.Module):
    """A small Transformer over latents z_1..z_T with one reward logit a token."""

    blocks: Any  # an nn.ModuleList, whose types forget what it holds: a `Block` a layer

    def __init__(self, config: RewardConfig):
        super().__init__()
        self.config = config
        if config.variant == "published":
            self.released = PublishedReward(config.d_sae, config.width, config.layers, config.heads)
            return
        if config.variant in HEAD_ON_LATENTS:
            self.head = nn.Linear(config.d_sae, 1)
            if config.variant == "fresh":
                self.lots = nn.Linear(config.d_sae, config.d_sae)
                nn.init.normal_(self.lots.weight, std=_SCATTER)
                nn.init.uniform_(self.lots.bias, 0, 2 * math.pi)
            if config.variant in ("free", "shift"):
                self.shift = nn.Parameter(torch.zeros(config.d_sae))
            if config.variant in ("potential", "free", "along", "gated"):
                rank = 1 if config.variant in ("along", "gated") else _RANK
                reads: nn.Module
                if config.variant == "gated":
                    reads = nn.Sequential(nn.Linear(config.d_sae, _RANK), nn.GELU(), nn.Linear(_RANK, 1), nn.Softplus())
                else:
                    reads = nn.Linear(config.d_sae, rank, bias=config.variant == "along")
                writes = nn.Linear(rank, config.d_sae, bias=False)
                nn.init.zeros_(writes.weight)
                self.push = nn.Sequential(reads, writes)
            return
        self.norm_input = nn.LayerNorm(config.d_sae)
        self.embed = nn.Linear(config.d_sae, config.width)
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.layers))
        self.norm_output = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, 1)

    @property
    def d_sae(self) -> int:
        """Latents that it reads."""
        return self.config.d_sae

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and so of latents and logits."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        return next(self.parameters()).device

    def direction(self, latents: Float[Tensor, "rows d_sae"]) -> Float[Tensor, "rows d_sae"]:
        """Where each token's latents are pushed to, by a step of length 1: the gradient of its logit over its norm; of
        variant `potential` the gradient itself, of `free`, `along`, `gated` and `shift` a push of any length, of
        `fresh` what is drawn for these latents, of length 1. Differentiable in the weights.

        Raises:
            ValueError: the reward sees the trace so far: its gradient is not one token's alone (`direction_in`).
        """
        if self.config.variant == "history":
            raise ValueError("a reward that sees the trace so far has no direction of one token; legal: any other")
        if self.config.variant == "shift":
            return self.shift.expand_as(latents)
        if self.config.variant in ("along", "gated"):
            return self.push(latents)
        if self.config.variant == "free":
            return self.push(latents) + self.shift
        if self.config.variant == "fresh":
            return unit(self.lots(latents).cos())
        slope = self._slope(latents, lambda here: self(here[None]))
        return slope if self.config.variant == "potential" else unit(slope)

    def forward(self, latents: Float[Tensor, "traces length d_sae"]) -> Float[Tensor, "traces length"]:
        """Reward logits of whole traces.

        Args:
            latents: padding, if any, on the right.

        Returns:
            Logits; with `history`, those at t depend on latents up to t only.
        """
        if self.config.variant == "published":
            return self.released(latents)
        if self.config.variant == "potential":
            return self.head(latents).squeeze(-1) + (latents * self.push(latents)).sum(-1)
        if self.config.variant in HEAD_ON_LATENTS:
            return self.head(latents).squeeze(-1)
        x = self._embedded(latents)
        for block in self.blocks:
            x = block(x, self.config.variant == "history")
        return self.head(self.norm_output(x)).squeeze(-1)

    def newest(
        self, latents: Float[Tensor, "traces length d_sae"], past: Float[Tensor, "traces length d_sae"]
    ) -> Float[Tensor, "traces length"]:
        """Reward logits of variant `history`: of each token as the newest, seen after those before it in `past`."""
        x, before = self._embedded(latents), self._embedded(past)
        for block in self.blocks:
            x, before = block.newest(x, before), block(before, causal=True)
        return self.head(self.norm_output(x)).squeeze(-1)

    def direction_in(
        self, latents: Float[Tensor, "traces length d_sae"], past: Float[Tensor, "traces length d_sae"]
    ) -> Float[Tensor, "traces length d_sae"]:
        """`direction` of variant `history`: of each token as the newest, those before it in `past` being constant."""
        return unit(self._slope(latents, lambda here: self.newest(here, past)))

    @torch.enable_grad()
    def _slope(self, latents: Tensor, logits_at: Callable[[Tensor], Tensor]) -> Tensor:
        """The gradient of some logits, summed, in their latents; differentiable in weights that learn."""
        latents = latents if latents.requires_grad else latents.detach().requires_grad_()
        learns = any(weight.requires_grad for weight in self.parameters())
        (slope,) = torch.autograd.grad(logits_at(latents).sum(), latents, create_graph=learns)
        return slope

    def _embedded(self, latents: Float[Tensor, "traces length d_sae"]) -> Float[Tensor, "traces length width"]:
        x = self.embed(self.norm_input(latents))
        if self.config.variant == "history":
            x = x + sinusoids(torch.arange(x.shape[1], device=x.device), x.shape[2], x.dtype)
        return x


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
        check_finite(model.state_dict())
    except Exception as error:
        raise StoreError(f"cannot read the reward model in {folder}: {error}") from error
    return model.eval().requires_grad_(False).to(device)
