"""Decoding: many prompts at once, with a cache, finished rows replaced by waiting prompts, steered if asked to.

Nothing in the token loop waits for the device: finished rows are looked for once every few tokens only.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lrs.gate import confidence_of
from lrs.graphs import Replayed, cuda_recorder
from lrs.sampling import choose, uniforms
from lrs.slot_cache import SlotCache, banded, order_by_length
from lrs.steering import Steerer, Steering, SteeringRecord, hooked
from lrs.workers import CAN_COPY, in_processes

Forward = Callable[[Tensor, Tensor, Tensor], Tensor]  # ids, attention mask, position ids: logits of the last token

_TOKENS_BETWEEN_CHECKS = 8
_SMALLEST_REFILL = 1 / 16  # of the batch: fewer free rows wait for company
_WORTH_COMPACTING = 0.75  # of the rows still at work, once no prompt waits


@dataclass(frozen=True)
class Request:
    """A prompt to continue; `temperature` 0 is greedy. What is sampled depends on problem, seed and position alone."""

    prompt: list[int]
    problem_id: str = ""
    seed: int = 0
    temperature: float = 0.0


@dataclass(frozen=True)
class Generation:
    """What a model wrote. `confidence[t]` is the mode's untempered probability when token t was chosen."""

    token_ids: list[int]
    confidence: list[float]
    finish_reason: str  # answered, truncated
    steering: SteeringRecord | None


class _Batch:
    """The rows being decoded: tensors with a row each, and the numbers of the requests in them."""

    def __init__(self, model: PreTrainedModel, rows: int, longest_prompt: int, max_new_tokens: int, sampled: bool):
        device = model.device
        room = max_new_tokens + _TOKENS_BETWEEN_CHECKS
        self.max_new_tokens = max_new_tokens
        self.requests: list[int | None] = [None] * rows
        self.cache = SlotCache(model.config.num_hidden_layers, rows, longest_prompt + room, device, model.dtype)
        self.tokens = torch.zeros(rows, room, dtype=torch.long, device=device)
        self.confidence = torch.zeros(rows, room, device=device)
        self.count = torch.zeros(rows, dtype=torch.long, device=device)
        self.temperature = torch.zeros(rows, dtype=torch.float64, device=device)
        self.uniform = torch.zeros(rows, room if sampled else 0, dtype=torch.float64, device=device)
        self.done = torch.ones(rows, dtype=torch.bool, device=device)

    @property
    def free(self) -> list[int]:
        return [row for row, request in enumerate(self.requests) if request is None]

    def append(self, logits: Tensor, rows: Tensor, ends: Tensor) -> Tensor:
        """Choose the next token of some rows from (rows, vocabulary) logits; the confidence of the choice."""
        logits = logits if logits.dtype == torch.float64 else logits.float()
        count = self.count[rows].clamp(max=self.tokens.shape[1] - 1)
        highest, token = logits.max(dim=-1)
        if self.uniform.shape[1]:
            token = choose(logits, self.temperature[rows], self.uniform[rows, count], token)
        confidence = confidence_of(logits, highest)
        self.tokens[rows, count] = token
        self.confidence[rows, count] = confidence.to(self.confidence.dtype)
        self.count[rows] = count + 1
        self.done[rows] |= (token[:, None] == ends).any(dim=1) | (count + 1 >= self.max_new_tokens)
        return confidence

    def keep(self, rows: list[int]) -> None:
        """Let row i be what was row `rows[i]`; the others are dropped."""
        self.cache.keep(rows)
        for name in ("tokens", "confidence", "count", "temperature", "uniform", "done"):
            setattr(self, name, getattr(self, name)[rows])
        self.requests = [self.requests[row] for row in rows]


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    requests: Sequence[Request],
    *,
    max_new_tokens: int,
    batch_size: int,
    end_ids: Sequence[int],
    steering: Steering | None = None,
    workers: int = 1,
    on_finished: Callable[[int], None] = lambda count: None,
) -> list[Generation]:
    """Continue every prompt until an end token or `max_new_tokens`.

    The rows of a batch work side by side; a finished row takes the next waiting prompt, those of like length
    together. Prompts are never steered; each generated token that is processed is gated exactly once.

    Args:
        batch_size: the most rows side by side, those of all workers together.
        end_ids: tokens that end a generation (they are part of it).
        steering: what to steer with, if anything.
        workers: processes of one thread that share the rows, on a CPU; an accelerator needs no more than one.
        on_finished: told how many more generations have finished, now and then.

    Returns:
        One generation a request, in the order of the requests.

    Raises:
        ValueError: the model has layers that do not attend to everything before, or an empty prompt.
    """
    _check(model, requests)
    by_length = sorted(range(len(requests)), key=lambda number: len(requests[number].prompt))
    workers = min(workers, batch_size, len(requests)) if model.device.type == "cpu" and CAN_COPY else 1
    loop = partial(_loop, model, requests, max_new_tokens, batch_size // max(workers, 1), end_ids, steering)
    if workers < 2:
        written = loop(by_length, on_finished)
    else:  # each takes prompts of every length
        shares = [by_length[first::workers] for first in range(workers)]
        written = {number: g for share in in_processes(loop, shares, on_finished) for number, g in share.items()}
    return [written[number] for number in range(len(requests))]


def _loop(
    model: PreTrainedModel,
    requests: Sequence[Request],
    max_new_tokens: int,
    batch_size: int,
    end_ids: Sequence[int],
    steering: Steering | None,
    waiting: Sequence[int],
    on_finished: Callable[[int], None],
) -> dict[int, Generation]:
    """Continue the requests of the numbers in `waiting`, the last one first: their generations by number."""
    waiting = list(waiting)
    longest = max((len(requests[number].prompt) for number in waiting), default=0)
    sampled = any(requests[number].temperature > 0 for number in waiting)
    batch = _Batch(model, min(batch_size, len(waiting)), longest, max_new_tokens, sampled)
    steerer = Steerer(steering, len(batch.requests), max_new_tokens + _TOKENS_BETWEEN_CHECKS) if steering else None
    ends = torch.tensor(list(end_ids), device=model.device)
    written: dict[int, Generation] = {}
    with (
        hooked(model, steering.layer, steerer) if steerer else nullcontext(),
        banded(model) as takes_bands,
    ):
        forward = partial(_forward, model, batch.cache, _options(model), takes_bands)
        step = Replayed(
            step=partial(_decode_token, forward, batch, steerer, ends),
            count=partial(_count_token, batch, steerer),
            record=_recorder(model),
        )
        while waiting or len(batch.free) < len(batch.requests):
            _release(batch, steerer)
            if _rearrange(batch, steerer, bool(waiting)):
                step.forget()
            if waiting and len(free := batch.free) >= max(1, round(_SMALLEST_REFILL * len(batch.requests))):
                chosen = {row: waiting.pop() for row in free[: len(waiting)]}
                _admit(forward, batch, steerer, requests, chosen, ends)
            batch.cache.regroup()
            if steerer:
                steerer.reward.regroup()
            for _ in range(_TOKENS_BETWEEN_CHECKS):
                step(_shape(batch, steerer))
            finished = _collect(batch, steerer, set(end_ids))
            written |= finished
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


def _release(batch: _Batch, steerer: Steerer | None) -> None:
    """Empty the free rows, which go on to no effect, so that however long they wait they outgrow nothing."""
    if free := batch.free:
        batch.cache.release(free)
        batch.count[free] = 0
        if steerer:
            steerer.reset(free)


def _shape(batch: _Batch, steerer: Steerer | None) -> tuple[int, ...]:
    """What a recording of the next step would hold for: rows, and the columns that attention reads."""
    return len(batch.requests), batch.cache.next_width, steerer.reward.next_width if steerer else 0


def _recorder(model: PreTrainedModel) -> Callable[[Callable[[], None]], Callable[[], None]] | None:
    """How token steps of this model are recorded; None where they cannot be, as with a rope that looks at lengths."""
    dynamic = "dynamic" in str(getattr(model.config, "rope_parameters", ""))
    return cuda_recorder(model.device) if model.device.type == "cuda" and not dynamic else None


def _rearrange(batch: _Batch, steerer: Steerer | None, more: bool) -> bool:
    """Drop free rows if many are and no prompt waits; on a CPU, bring rows of like length together.

    Returns:
        Whether any row was moved or dropped.
    """
    rows = list(range(len(batch.requests)))
    if not more and len(batch.free) > (1 - _WORTH_COMPACTING) * len(rows):
        rows = [row for row in rows if batch.requests[row] is not None]
    if batch.tokens.device.type == "cpu":
        rows = order_by_length(batch.cache.host_lengths, rows)
    changed = rows != list(range(len(batch.requests)))
    if changed:
        batch.keep(rows)
        if steerer:
            steerer.keep(rows)
    return changed


def _admit(
    forward: Forward,
    batch: _Batch,
    steerer: Steerer | None,
    requests: Sequence[Request],
    placement: dict[int, int],
    ends: Tensor,
) -> None:
    """Read the prompts of `placement` (row to request number), padded on the left, and choose the first tokens."""
    rows = list(placement)
    device = batch.tokens.device
    length = max(len(requests[number].prompt) for number in placement.values())
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    mask = torch.zeros(len(rows), length, dtype=torch.bool)
    for index, (row, number) in enumerate(placement.items()):
        request = requests[number]
        ids[index, length - len(request.prompt) :] = torch.tensor(request.prompt)
        mask[index, length - len(request.prompt) :] = True
        batch.requests[row] = number
        batch.temperature[row] = request.temperature
        if batch.uniform.shape[1]:
            drawn = uniforms(request.problem_id, request.seed, batch.uniform.shape[1])
            batch.uniform[row] = torch.from_numpy(drawn).to(device)
    batch.done[rows] = False
    if steerer:
        steerer.enabled = False
    attention = batch.cache.prefill(rows, mask)
    positions = (mask.long().cumsum(dim=1) - 1).clamp(min=0)
    batch.append(forward(ids.to(device), attention, positions.to(device)), torch.tensor(rows, device=device), ends)


def _decode_token(forward: Forward, batch: _Batch, steerer: Steerer | None, ends: Tensor) -> None:
    """Process each row's newest token and choose the next; rows that are done go on, unsteered and to no effect."""
    rows = torch.arange(len(batch.requests), device=batch.tokens.device)
    newest = batch.tokens[rows, batch.count - 1]
    attention = batch.cache.decode()
    if steerer:
        steerer.enabled = True
        torch.logical_not(batch.done, out=steerer.active)
    confidence = batch.append(forward(newest[:, None], attention, batch.cache.positions[:, None]), rows, ends)
    if steerer:
        steerer.confidence.copy_(confidence)


def _count_token(batch: _Batch, steerer: Steerer | None) -> None:
    """What the host knows after a token of every row."""
    batch.cache.count_token()
    if steerer:
        steerer.reward.count_token()


def _forward(
    model: PreTrainedModel,
    cache: SlotCache,
    options: dict[str, Any],
    takes_bands: bool,
    ids: Tensor,
    attention: Tensor,
    positions: Tensor,
) -> Tensor:
    """Logits at the last position of each row, (rows, vocabulary)."""
    bands = {"bands": cache.bands} if takes_bands else {}
    output = model(
        input_ids=ids,
        attention_mask=attention,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        **options,
        **bands,
    )
    return output.logits[:, -1]


def _collect(batch: _Batch, steerer: Steerer | None, ends: set[int]) -> dict[int, Generation]:
    """Take the finished generations out of the batch: the one place where the host waits for the device."""
    done = batch.done.tolist()
    finished = [row for row, number in enumerate(batch.requests) if number is not None and done[row]]
    if not finished:
        return {}
    tokens, confidence = batch.tokens[finished].tolist(), batch.confidence[finished].tolist()
    records = steerer.records() if steerer else None
    taken = {}
    for index, row in enumerate(finished):
        written = tokens[index][: batch.max_new_tokens]
        end = next((i for i, token in enumerate(written) if token in ends), None)
        length = len(written) if end is None else end + 1
        taken[batch.requests[row]] = Generation(
            token_ids=written[:length],
            confidence=confidence[index][:length],
            finish_reason="truncated" if end is None else "answered",
            steering=records[row] if records else None,
        )
        batch.requests[row] = None
    return taken
