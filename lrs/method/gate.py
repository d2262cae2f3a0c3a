"""The gate: which generated tokens are fragile enough to steer."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Gate:
    """Thresholds of selective latent repair.

    A token is steered if its reward is below `reward_threshold`, or if it is not and the confidence with which
    the token was chosen is below `confidence_threshold`. Both are probabilities.
    """

    reward_threshold: float
    confidence_threshold: float

    def __call__(self, reward: Float[Tensor, " rows"], confidence: Float[Tensor, " rows"]) -> Bool[Tensor, " rows"]:
        """Which rows to steer.

        Args:
            reward: probabilities that the final answer will be correct.
            confidence: probability of the mode of the distribution from which the token was chosen: of the first
                generated one, that at the prompt's last position.
        """
        return (reward < self.reward_threshold) | (confidence < self.confidence_threshold)


ALWAYS = Gate(reward_threshold=2.0, confidence_threshold=0.0)  # LRS-Basic: every token is steered
NEVER = Gate(reward_threshold=0.0, confidence_threshold=0.0)


def confidence_of(
    logits: Float[Tensor, "*rows vocabulary"], highest: Float[Tensor, "*rows"] | None = None
) -> Float[Tensor, "*rows"]:
    """Probability of the most likely token under untempered logits.

    Half precision is too coarse for the sum over the vocabulary: what is not float64 is taken as float32.
    `highest`, if it is known already, is the maximum over the vocabulary.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    highest = logits.amax(dim=-1) if highest is None else highest
    return torch.exp(highest - logits.logsumexp(dim=-1))
