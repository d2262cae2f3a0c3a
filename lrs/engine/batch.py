"""The rows that are decoded side by side: what has been written in each, and who leaves and moves when."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lrs.engine.cache import SlotCache
from lrs.engine.requests import Generation, Request
from lrs.engine.sampling import choose, uniforms
from lrs.engine.steerer import Steerer
from lrs.method.gate import confidence_of
from lrs.method.steering import Steering

TOKENS_BETWEEN_CHECKS = 8  # the most tokens that a row is written beyond its end
_SMALLEST_REFILL = 1 / 16  # of the batch: fewer free rows wait for company
_WORTH_COMPACTING = 0.75  # of the rows still at work, once no prompt waits


class Batch:
    """A row a generation: tensors, the cache, the steerer if there is one, and the numbers of the requests.

    Attributes:
        done: (rows,) which rows have ended; they go on to no effect until they are collected.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        rows: int,
        requests: Sequence[Request],
        max_new_tokens: int,
        end_ids: Sequence[int],
        steering: Steering | None,
    ):
        device, room = model.device, max_new_tokens + TOKENS_BETWEEN_CHECKS
        longest = max((len(request.prompt) for request in requests), default=0)
        sampled = any(request.temperature > 0 for request in requests)
        self.max_new_tokens, self.end_ids = max_new_tokens, set(end_ids)
        self.numbers: list[int | None] = [None] * rows
        self.cache = SlotCache(model.config.num_hidden_layers, rows, longest + room, device, model.dtype)
        self.steerer = Steerer(steering, rows, room) if steering else None
        self.tokens = torch.zeros(rows, room, dtype=torch.long, device=device)
        self.confidence = torch.zeros(rows, room, device=device)
        self.count = torch.zeros(rows, dtype=torch.long, device=device)
        self.temperature = torch.zeros(rows, dtype=torch.float64, device=device)
        self.uniform = torch.zeros(rows, room if sampled else 0, dtype=torch.float64, device=device)
        self.done = torch.ones(rows, dtype=torch.bool, device=device)
        self._ends = torch.tensor(list(end_ids), device=device)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def free(self) -> list[int]:
        """Rows without a request."""
        return [row for row, number in enumerate(self.numbers) if number is None]

    @property
    def worth_refilling(self) -> bool:
        """Whether enough rows are free for a pass over new prompts."""
        return len(self.free) >= max(1, round(_SMALLEST_REFILL * len(self)))

    @property
    def shape(self) -> tuple[int, ...]:
        """What a recording of the next token would hold for: rows, and the columns that attention reads."""
        return len(self), self.cache.lengths.next_width, self.steerer.reward.next_width if self.steerer else 0

    def admit(self, placement: dict[int, tuple[int, Request]]) -> None:
        """Give free rows to requests (row to number and request), whose prompts have yet to be read."""
        self.done[list(placement)] = False
        for row, (number, request) in placement.items():
            self.numbers[row] = number
            self.temperature[row] = request.temperature
            if room := self.uniform.shape[1]:
                drawn = torch.from_numpy(uniforms(request.problem_id, request.seed, room))
                self.uniform[row] = drawn.to(self.uniform.device)

    def append(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Choose the next token of some rows from (rows, vocabulary) logits; the confidence of the choice."""
        count = self.count[rows].clamp(max=self.tokens.shape[1] - 1)
        highest, token = logits.max(dim=-1)
        if self.uniform.shape[1]:
            token = choose(logits, self.temperature[rows], self.uniform[rows, count], token)
        confidence = confidence_of(logits, highest)
        self.tokens[rows, count] = token
        self.confidence[rows, count] = confidence.to(self.confidence.dtype)
        self.count[rows] = count + 1
        self.done[rows] |= (token[:, None] == self._ends).any(dim=1) | (count + 1 >= self.max_new_tokens)
        return confidence

    def count_on_host(self) -> None:
        """Let the host know of a token more in every row, which the device has counted already."""
        self.cache.lengths.count_on_host()
        if self.steerer:
            self.steerer.reward.count_on_host()

    def release(self) -> None:
        """Empty the free rows, which go on to no effect, so that however long they wait they outgrow nothing."""
        if free := self.free:
            self.cache.lengths.clear(free)
            self.count[free] = 0
            if self.steerer:
                self.steerer.reset(free)

    def rearrange(self, more: bool) -> bool:
        """Drop free rows if many are and no prompt waits; on a CPU, bring rows of like length together.

        Returns:
            Whether any row was moved or dropped.
        """
        rows = list(range(len(self)))
        if not more and len(self.free) > (1 - _WORTH_COMPACTING) * len(rows):
            rows = [row for row in rows if self.numbers[row] is not None]
        if self.done.device.type == "cpu":
            rows = self.cache.lengths.order(rows)
        if rows == list(range(len(self))):
            return False
        self.cache.keep(rows)
        if self.steerer:
            self.steerer.keep(rows)
        for name in ("tokens", "confidence", "count", "temperature", "uniform", "done"):
            setattr(self, name, getattr(self, name)[rows])
        self.numbers = [self.numbers[row] for row in rows]
        return True

    def regroup(self) -> None:
        """Find the runs of neighbouring rows of like length, over which attention goes one after the other."""
        self.cache.lengths.regroup()
        if self.steerer:
            self.steerer.reward.regroup()

    def collect(self) -> dict[int, Generation]:
        """Take out what has ended, by number of the request: the one place where the host waits for the device."""
        done = self.done.tolist()
        ended = [row for row, number in enumerate(self.numbers) if number is not None and done[row]]
        if not ended:
            return {}
        tokens, confidence = self.tokens[ended].tolist(), self.confidence[ended].tolist()
        records = self.steerer.records() if self.steerer else [None] * len(self)
        taken = {}
        for row, written, confident in zip(ended, tokens, confidence, strict=True):
            written = written[: self.max_new_tokens]
            end = next((i for i, token in enumerate(written) if token in self.end_ids), None)
            length = len(written) if end is None else end + 1
            finish_reason = "truncated" if end is None else "answered"
            taken[self.numbers[row]] = Generation(written[:length], confident[:length], finish_reason, records[row])
            self.numbers[row] = None
        return taken
