"""Decoding: many prompts at once, with a cache, finished rows replaced by waiting prompts, steered if asked to.

Nothing in the token loop waits for the device: finished rows are looked for once every few tokens only.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lrs.engine.batch import TOKENS_BETWEEN_CHECKS, Batch
from lrs.engine.cache import SlotCache
from lrs.engine.graphs import Replayed
from lrs.engine.policy import Policy, policy_for
from lrs.engine.requests import Generation, Request
from lrs.engine.steerer import hooked, warn_of_left
from lrs.engine.workers import Report, in_processes
from lrs.method.steering import Steering
from lrs.models.memory import in_memory

Forward = Callable[[Tensor, Tensor, Tensor], Tensor]  # ids, attention mask, position ids: logits of the last token


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    requests: Sequence[Request],
    *,
    max_new_tokens: int,
    batch_size: int,
    end_ids: Sequence[int],
    steering: Steering | None = None,
    policy: Policy | None = None,
    on_finished: Report = lambda count: None,
) -> list[Generation]:
    """Continue every prompt until an end token or `max_new_tokens`.

    The rows of a batch work side by side; a finished row takes the next waiting prompt, those of like length
    together. Prompts are never steered; each generated token that is processed is gated exactly once. Where memory
    is too small for so many rows, what is not written yet goes on in half as many, then and from then on. A token whose
    reward or push is not finite is left unsteered, with a warning.

    Args:
        batch_size: the most rows side by side, those of all workers together.
        end_ids: tokens that end a generation (they are part of it).
        steering: what to steer with, if anything.
        policy: how the device is asked; None: as `policy_for` says, in one process.
        on_finished: told how many more generations have finished, now and then.

    Returns:
        One generation a request, in the order of the requests.

    Raises:
        ValueError: the model has layers that do not attend to everything before, or an empty prompt.
    """
    _check(model, requests)
    policy = policy or policy_for(model)
    by_length = sorted(range(len(requests)), key=lambda number: len(requests[number].prompt))
    workers = min(policy.workers, batch_size, len(requests))
    loop = partial(_loop, model, requests, max_new_tokens, end_ids, steering, policy)
    written: dict[int, Generation] = {}
    if workers < 2:

        def go_on(rows: int) -> None:
            waiting = [number for number in by_length if number not in written]
            loop((waiting, rows), on_finished, written)

        if requests:
            in_memory(model, "writing", min(batch_size, len(requests)), go_on)
    else:  # each takes prompts of every length
        shares = [(by_length[i::workers], len(range(i, batch_size, workers))) for i in range(workers)]
        written = {number: g for share in in_processes(loop, shares, on_finished) for number, g in share.items()}
    warn_of_left(sum(one.steering.left_tokens for one in written.values() if one.steering), stacklevel=3)
    return [written[number] for number in range(len(requests))]


def _loop(
    model: PreTrainedModel,
    requests: Sequence[Request],
    max_new_tokens: int,
    end_ids: Sequence[int],
    steering: Steering | None,
    policy: Policy,
    share: tuple[Sequence[int], int],
    on_finished: Report,
    written: dict[int, Generation] | None = None,
) -> dict[int, Generation]:
    """Continue a share, the numbers of some requests and the most rows for them, the last one first.

    Returns:
        `written`, or a dictionary of its own, with generations by the numbers of their requests.
    """
    written = {} if written is None else written
    waiting = [(number, requests[number]) for number in share[0]]
    count = min(share[1], len(waiting))
    batch = Batch(model, count, [request for _, request in waiting], max_new_tokens, end_ids, steering, policy)
    with hooked(model, steering.layer, batch.steerer) if steering and batch.steerer else nullcontext():
        forward = partial(_forward, model, batch.cache, _options(model))
        recordable = not batch.steerer or batch.steerer.reward.recordable
        record = policy.recorder(model.device) if policy.recorder and recordable else None
        step = Replayed(partial(_decode_token, forward, batch), batch.count_on_host, record)
        while waiting or len(batch.free) < len(batch):
            # 1. Make room: free rows are emptied, or dropped where no prompt waits for them.
            if batch.make_room(more=bool(waiting)):
                step.forget()
            # 2. Read prompts into free rows, once it is worth a pass, and choose their first tokens.
            if waiting and batch.worth_refilling:
                _read_prompts(forward, batch, {row: waiting.pop() for row in batch.free[: len(waiting)]})
            # 3. Write a few tokens in every row. Nothing here waits for the device.
            for _ in range(TOKENS_BETWEEN_CHECKS):
                step(batch.shape)
            # 4. Collect what has ended.
            finished = batch.collect()
            written.update(finished)
            on_finished(len(finished))
    return written


def _check(model: PreTrainedModel, requests: Sequence[Request]) -> None:
    kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        raise ValueError(f"decoding supports full attention only; {type(model).__name__} has layers of {sorted(kinds)}")
    if not all(request.prompt for request in requests):
        raise ValueError("a prompt is empty; every request needs at least one token")


def _options(model: PreTrainedModel) -> dict[str, Any]:
    """What every forward pass is asked for: only the logits that are needed, where the model can do that."""
    return {"logits_to_keep": 1} if "logits_to_keep" in signature(model.forward).parameters else {}


def _read_prompts(forward: Forward, batch: Batch, placement: dict[int, tuple[int, Request]]) -> None:
    """Read the prompts of `placement` (row to number and request), padded on the left, and choose the first tokens."""
    device, rows = batch.rows.tokens.device, list(placement)
    length = max(len(request.prompt) for _, request in placement.values())
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    mask = torch.zeros(len(rows), length, dtype=torch.bool)
    for index, (_, request) in enumerate(placement.values()):
        ids[index, length - len(request.prompt) :] = torch.tensor(request.prompt)
        mask[index, length - len(request.prompt) :] = True
    batch.admit(placement)
    if batch.steerer:
        batch.steerer.enabled = False
    attention = batch.cache.prefill(rows, mask)
    positions = (mask.long().cumsum(dim=1) - 1).clamp(min=0)
    batch.append(forward(ids.to(device), attention, positions.to(device)), torch.tensor(rows, device=device))


def _decode_token(forward: Forward, batch: Batch) -> None:
    """Process each row's newest token and choose the next; rows that are done go on, unsteered and to no effect."""
    every = batch.cache.history.rows
    newest = batch.rows.tokens[every, batch.rows.count - 1]
    attention = batch.cache.decode()
    if batch.steerer:
        batch.steerer.enabled = True
    batch.append(forward(newest[:, None], attention, batch.cache.positions[:, None]), every)


def _forward(
    model: PreTrainedModel,
    cache: SlotCache,
    options: dict[str, Any],
    ids: Tensor,
    attention: Tensor,
    positions: Tensor,
) -> Tensor:
    """Logits at the last position of each row, (rows, vocabulary)."""
    output = model(
        input_ids=ids,
        attention_mask=attention,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        **options,
    )
    return output.logits[:, -1]
