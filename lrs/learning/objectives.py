"""What a reward may be trained to tell, a rung of the ladder each; all from final-answer correctness alone.

bce        right traces' tokens from wrong ones', both classes weighing the same: the paper's
advantage  the same, where the logit of the problem's own smoothed success rate is a fixed offset: difficulty mostly
               cancels (problems whose attempts are all right, or all wrong, still teach some)
shuffled   the paper's, where right and wrong have been dealt out by lot to the traces that teach: a control. Its epoch
               is still chosen by what held-out traces really were, so it knows a little more than nothing
unmasked   the paper's as released: every token sees the whole trace in training, and none other when it is used
pairwise   a right from a wrong attempt at one problem, by the mean logit of its tokens (Bradley and Terry)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from lrs.learning.latents import LatentTraces
from lrs.method.reward import LatentRewardModel
from lrs.method.setting import Objective


@dataclass(frozen=True)
class Task:
    """What there is to learn from some traces, in batches.

    Attributes:
        count: traces (or, of pairs, twice as many as there are) that an epoch goes through.
        batches: of an epoch, in the order that a random generator draws: numbers of traces; a batch of pairs has all
            right ones first, then in their order the wrong ones.
        loss: of a reward model on a batch.
    """

    count: int
    batches: Callable[[np.random.Generator], Iterator[np.ndarray]]
    loss: Callable[[LatentRewardModel, np.ndarray], Tensor]


def class_weights(correct: np.ndarray, lengths: np.ndarray) -> tuple[float, float]:
    """Weights (wrong, correct) under which both classes' tokens weigh the same, 1 on average.

    Raises:
        ValueError: all traces are correct, or all are wrong.
    """
    right = int(lengths[correct].sum())
    wrong = int(lengths[~correct].sum())
    if not right or not wrong:
        raise ValueError(
            f"a reward needs correct and wrong traces, but of {len(correct)} traces {int(correct.sum())} are correct; "
            "change the benchmarks' difficulty or collect more traces"
        )
    return (right + wrong) / (2 * wrong), (right + wrong) / (2 * right)


def success_logits(problem_ids: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Logit of the smoothed success rate, (k + 1/2) / (n + 1), of each trace's own problem."""
    attempts = pd.Series(correct.astype(float)).groupby(problem_ids)
    rate = (attempts.transform("sum") + 0.5) / (attempts.transform("size") + 1)
    return np.log((rate / (1 - rate)).to_numpy())


def pairs_within(problem_ids: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """(pairs, 2) numbers of all right and wrong traces of one problem each."""
    found = [
        (right, wrong)
        for members in map(np.asarray, pd.Series(np.arange(len(correct))).groupby(problem_ids).indices.values())
        for right in members[correct[members]]
        for wrong in members[~correct[members]]
    ]
    return np.array(found, dtype=int).reshape(-1, 2)


Scores = Callable[[LatentRewardModel, LatentTraces, np.ndarray], tuple[Tensor, Tensor]]


def _scores(model: LatentRewardModel, latents: LatentTraces, batch: np.ndarray) -> tuple[Tensor, Tensor]:
    """Logits at every token of a batch, (traces, longest), and which tokens are real."""
    dense, mask = latents.dense(batch, model.device)
    return model(dense), mask


def _labels(latents: LatentTraces, batch: np.ndarray, mask: Tensor) -> Tensor:
    return torch.from_numpy(latents.correct[batch]).to(mask.device)[:, None].expand_as(mask)[mask]


def _bce(latents: LatentTraces, training: np.ndarray, batch_size: int, scores: Scores = _scores) -> Task:
    wrong, right = class_weights(latents.correct[training], latents.lengths[training])

    def loss(model: LatentRewardModel, batch: np.ndarray) -> Tensor:
        logits, mask = scores(model, latents, batch)
        target = _labels(latents, batch, mask)
        weight = torch.where(target, right, wrong)
        return binary_cross_entropy_with_logits(logits[mask], target.float(), weight=weight)

    return Task(len(training), lambda rng: latents.batches(training, batch_size, rng), loss)


def _whole_scores(model: LatentRewardModel, latents: LatentTraces, batch: np.ndarray) -> tuple[Tensor, Tensor]:
    dense, mask = latents.dense(batch, model.device)
    return model.released.whole(dense, mask), mask


def _unmasked(latents: LatentTraces, training: np.ndarray, batch_size: int) -> Task:
    return _bce(latents, training, batch_size, _whole_scores)


def _advantage(latents: LatentTraces, training: np.ndarray, batch_size: int) -> Task:
    class_weights(latents.correct[training], latents.lengths[training])
    offsets = torch.tensor(success_logits(latents.problem_ids, latents.correct), dtype=torch.float32)

    def loss(model: LatentRewardModel, batch: np.ndarray) -> Tensor:
        logits, mask = _scores(model, latents, batch)
        easy = offsets[batch].to(logits)[:, None].expand_as(mask)[mask]
        return binary_cross_entropy_with_logits(logits[mask] + easy, _labels(latents, batch, mask).to(logits))

    return Task(len(training), lambda rng: latents.batches(training, batch_size, rng), loss)


def _pairwise(latents: LatentTraces, training: np.ndarray, batch_size: int) -> Task:
    pairs = training[pairs_within(latents.problem_ids[training], latents.correct[training])]
    if not len(pairs):
        raise ValueError(
            f"pairs need right and wrong traces of one problem, but of {len(training)} traces there are none; change "
            "the benchmarks' difficulty or collect more traces"
        )

    def batches(rng: np.random.Generator) -> Iterator[np.ndarray]:
        mixed, half = rng.permutation(pairs), max(1, batch_size // 2)
        yield from (mixed[start : start + half].T.ravel() for start in range(0, len(mixed), half))

    def loss(model: LatentRewardModel, batch: np.ndarray) -> Tensor:
        logits, mask = _scores(model, latents, batch)
        means = (logits * mask).sum(dim=1) / mask.sum(dim=1)
        right, wrong = means.chunk(2)
        return -logsigmoid(right - wrong).mean()

    return Task(2 * len(pairs), batches, loss)


_TASKS: dict[Objective, Callable[[LatentTraces, np.ndarray, int], Task]] = {
    "bce": _bce,
    "advantage": _advantage,
    "pairwise": _pairwise,
    "unmasked": _unmasked,
}


def task_of(objective: Objective, latents: LatentTraces, training: np.ndarray, batch_size: int, draw: int = 0) -> Task:
    """What an objective makes of some traces.

    Args:
        draw: of the labels, if they are dealt out by lot.

    Raises:
        ValueError: they have nothing to teach: all are right, or all wrong, or none of one problem differ.
    """
    if objective == "shuffled":
        dealt = latents.correct.copy()
        dealt[training] = np.random.default_rng(draw).permutation(dealt[training])
        latents, objective = replace(latents, correct=dealt), "bce"
    return _TASKS[objective](latents, training, batch_size)
