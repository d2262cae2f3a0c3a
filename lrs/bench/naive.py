"""Steering the way it was published: one problem, one token at a time, the host asking the device at every step.

Written from the equations, for `make bench` to measure the engine against, and for a test to hold the two equal. With
the `history` reward everything before is scored again at each token, without a cache; the authors' later variant reads
128 tokens at most.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lrs.method.reward import LatentRewardModel
from lrs.method.steering import Steering
from lrs.models.backbones import decoder_layer


class _OneToken:
    """A forward hook that steers the newest token; the latents of all earlier ones are kept as they were steered."""

    def __init__(self, steering: Steering):
        self.steering, self.steered = steering, 0
        self.past: list[Tensor] = []
        self.confidence: float | None = None
        reward = steering.reward
        self._whole = isinstance(reward, LatentRewardModel) and reward.config.variant == "history"

    def __call__(self, _: nn.Module, __: Any, output: Any) -> Any:
        if self.confidence is None:  # the prompt
            return output
        hidden = output[0] if isinstance(output, tuple) else output
        latent = self.steering.dictionary.encode(hidden[:, -1].to(self.steering.reward.dtype))[0]
        gate, moved = self.steering.gate, latent
        reward = torch.sigmoid(self._logit(latent)).item()
        if reward < gate.reward_threshold or self.confidence < gate.confidence_threshold:
            moved = self._climb(latent)
            change = (moved - latent) @ self.steering.dictionary.W_dec / self.steering.dictionary.input_scale
            hidden[:, -1] += change.to(hidden.dtype)
            self.steered += 1
        self.past.append(moved)
        return output

    def _logit(self, latent: Tensor) -> Tensor:
        return self.steering.reward(torch.stack([*self.past, latent] if self._whole else [latent])[None])[0, -1]

    def _climb(self, latent: Tensor) -> Tensor:
        for _ in range(self.steering.ascent.num_steps):
            with torch.enable_grad():
                latent = latent.detach().requires_grad_(True)
                (gradient,) = torch.autograd.grad(self._logit(latent), latent)
            length = gradient.norm().item()
            latent = (latent + self.steering.ascent.step_size * gradient / length).detach() if length else latent
        return latent.detach()


@torch.no_grad()
def naive_generate(
    model: PreTrainedModel, prompt: list[int], *, max_new_tokens: int, end_ids: Sequence[int], steering: Steering
) -> tuple[list[int], int]:
    """Continue one prompt greedily: the tokens written, and how many of them were steered."""
    hook = _OneToken(steering)
    handle = decoder_layer(model, steering.layer).register_forward_hook(hook)
    tokens: list[int] = []
    try:
        output = model(torch.tensor([prompt], device=model.device), use_cache=True)
        while True:
            tokens.append(output.logits[0, -1].argmax().item())
            if tokens[-1] in end_ids or len(tokens) == max_new_tokens:
                return tokens, hook.steered
            hook.confidence = output.logits[0, -1].softmax(dim=-1).max().item()
            newest = torch.tensor([tokens[-1:]], device=model.device)
            output = model(newest, past_key_values=output.past_key_values, use_cache=True)
    finally:
        handle.remove()
