"""The gate: which generated tokens are fragile enough to steer.

Its second clause reads one number of each token, from 0 to 1 and low where it is fragile. The paper's is the confidence
with which the token was chosen; the others are controls:

confidence  probability of the mode of the distribution from which it was chosen
certainty   exp(-H), H the entropy of that distribution (nats)
stability   exp(-(JS + H)), JS the Jensen-Shannon divergence (nats) of it from the one that the token before came from
lot         a number drawn uniformly
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lrs.method.setting import Signal


@dataclass(frozen=True)
class Gate:
    """Thresholds of selective latent repair.

    A token is steered if its reward is below `reward_threshold`, or if it is not and the confidence with which
    the token was chosen (or another `signal`) is below `confidence_threshold`. Both are probabilities.
    """

    reward_threshold: float
    confidence_threshold: float
    signal: Signal = "confidence"

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


def certainty_of(logits: Float[Tensor, "*rows vocabulary"]) -> Float[Tensor, "*rows"]:
    """exp(-H): 1 where the next token is certain, one over the vocabulary's size where all are alike."""
    return torch.exp(-_entropy(_log_probabilities(logits)))


def stability_of(
    logits: Float[Tensor, "*rows vocabulary"], before: Float[Tensor, "*rows vocabulary"]
) -> Float[Tensor, "*rows"]:
    """exp(-(JS + H)), of the distribution of the next token and of the one before it."""
    here, there = _log_probabilities(logits), _log_probabilities(before)
    between = _entropy(torch.logaddexp(here, there) - math.log(2))
    return torch.exp(-(between - (_entropy(here) + _entropy(there)) / 2 + _entropy(here)))


def _log_probabilities(logits: Tensor) -> Tensor:
    return (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(dim=-1)


def _entropy(log_probabilities: Float[Tensor, "*rows vocabulary"]) -> Float[Tensor, "*rows"]:
    return -(log_probabilities.exp() * log_probabilities).sum(dim=-1)
