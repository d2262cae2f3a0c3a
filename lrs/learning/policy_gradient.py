"""Policy gradients from outcomes: several attempts at each problem, and whether each was right."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from lrs.models.memory import in_memory


def advantages(rewards: Float[Tensor, "problems attempts"]) -> Float[Tensor, "problems attempts"]:
    """Rewards less the mean of the same problem's attempts."""
    return rewards - rewards.mean(dim=1, keepdim=True)


def policy_loss(
    logits: Float[Tensor, "rows length vocabulary"],
    tokens: Int[Tensor, "rows length"],
    written: Bool[Tensor, "rows length"],
    advantage: Float[Tensor, " rows"],
) -> Float[Tensor, ""]:
    """Minus the log-probability of what the policy wrote, weighted by advantage and summed: its gradient is minus the
    policy gradient.

    Args:
        logits: of the token after each position, over the temperature.
        tokens: prompt and answer, padded on the right.
        written: True at the tokens of the answer.
    """
    surprise = cross_entropy(logits[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten(), reduction="none")
    return (advantage[:, None] * surprise.view_as(tokens[:, 1:]) * written[:, 1:]).sum()


def attempt_batches(
    ids: Sequence[tuple[list[int], list[int]]], advantage: Float[Tensor, " attempts"], rows: int
) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
    """The attempts that teach something, up to `rows` at a time, those of like length together.

    Args:
        ids: of each attempt, the tokens of prompt and answer.

    Yields:
        Tokens and `written`, as `policy_loss` wants them, and the numbers of the attempts.
    """
    useful = [number for number in range(len(ids)) if advantage[number] != 0]
    useful.sort(key=lambda number: sum(map(len, ids[number])))
    for start in range(0, len(useful), rows):
        chosen = useful[start : start + rows]
        tokens = [torch.tensor(ids[number][0] + ids[number][1]) for number in chosen]
        written = [torch.arange(len(row)) >= len(ids[number][0]) for number, row in zip(chosen, tokens, strict=True)]
        yield pad_sequence(tokens, batch_first=True), pad_sequence(written, batch_first=True), chosen


def update(
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    ids: Sequence[tuple[list[int], list[int]]],
    advantage: Tensor,
    rows_per_batch: int,
    temperature: float = 1.0,
) -> None:
    """One step up the policy gradient of the model's own weights, averaged over all tokens that were written.

    Args:
        ids: of each attempt, the tokens of prompt and answer.
        advantage: (attempts,).
        rows_per_batch: attempts differentiated at a time; where memory is too small, half as many.
        temperature: at which they were sampled.
    """
    count = sum(len(answer) for _, answer in ids)

    def differentiate(rows: int) -> None:
        optimizer.zero_grad(set_to_none=True)  # a batch that did not fit may have left a part of its gradient
        for tokens, written, chosen in attempt_batches(ids, advantage, rows):
            tokens, written, weight = (part.to(model.device) for part in (tokens, written, advantage[chosen]))
            logits = model(input_ids=tokens, use_cache=False).logits  # padding is on the right: no answer sees it
            (policy_loss(logits / temperature, tokens, written, weight) / count).backward()

    in_memory(model, "policy gradient", rows_per_batch, differentiate)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
