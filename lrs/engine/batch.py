"""The rows that are decoded side by side: what has been written in each, and who comes and leaves when."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from lrs.engine.cache import SlotCache
from lrs.engine.policy import Policy
from lrs.engine.requests import Generation, Request
from lrs.engine.rows import Rows
from lrs.engine.sampling import choose_tokens, gate_lots, uniforms
from lrs.engine.steerer import Steerer
from lrs.method.gate import confidence_of
from lrs.method.steering import Steering

TOKENS_BETWEEN_CHECKS = 8  # the most tokens that a row is written beyond its end
_SMALLEST_REFILL = 1 / 16  # of the batch: fewer free rows wait for company
_WORTH_COMPACTING = 0.75  # of the rows still at work, once no prompt waits


class Batch:
    """A row a generation.

    Attributes:
        numbers: of the request in each row; None of a free one.
        rows: what is known of each.
        histories: what attention has kept of each: the cache's, and the reward's if there is one.
        steerer: None where nothing is steered.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        count: int,
        requests: Sequence[Request],
        max_new_tokens: int,
        end_ids: Sequence[int],
        steering: Steering | None,
        policy: Policy,
    ):
        device, room = model.device, max_new_tokens + TOKENS_BETWEEN_CHECKS
        longest = max((len(request.prompt) for request in requests), default=0)
        sampled = any(request.temperature > 0 for request in requests)
        precise = steering.reward.dtype if steering else torch.float32
        self.max_new_tokens, self.end_ids = max_new_tokens, set(end_ids)
        self.numbers: list[int | None] = [None] * count
        self._signal = steering.gate.signal if steering else "confidence"
        self.rows = Rows.begin(count, device, precise, room, sampled, self._signal, model.config.vocab_size)
        self.rows.done[:] = True
        self.cache = SlotCache(model.config.num_hidden_layers, count, longest + room, device, model.dtype, policy)
        self.steerer = Steerer(steering, self.rows, room, policy) if steering else None
        self.histories = [self.cache.history, *([self.steerer.reward.history] if self.steerer else [])]
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
        return len(self), *(history.next_width for history in self.histories if history.states)

    def admit(self, placement: dict[int, tuple[int, Request]]) -> None:
        """Give free rows to requests (row to number and request), whose prompts have yet to be read."""
        self.rows.done[list(placement)] = False
        for row, (number, request) in placement.items():
            self.numbers[row] = number
            self.rows.temperature[row] = request.temperature
            if room := self.rows.uniform.shape[1]:
                drawn = torch.from_numpy(uniforms(request.problem_id, request.seed, room))
                self.rows.uniform[row] = drawn.to(self.rows.uniform.device)
            if room := self.rows.lot.shape[1]:
                drawn = torch.from_numpy(gate_lots(request.problem_id, request.seed, room))
                self.rows.lot[row] = drawn.to(self.rows.lot.device)

    def append(self, logits: Float[Tensor, "some vocabulary"], some: Int[Tensor, " some"]) -> None:
        """Choose the next token of some rows."""
        rows = self.rows
        count = rows.count[some].clamp(max=rows.tokens.shape[1] - 1)
        highest, token = logits.max(dim=-1)
        if rows.uniform.shape[1]:
            token = choose_tokens(logits, rows.temperature[some], rows.uniform[some, count], token)
        confidence = confidence_of(logits, highest)
        rows.tokens[some, count] = token
        rows.confidence[some, count] = confidence.to(rows.confidence.dtype)
        rows.read_signal(self._signal, some, count, logits, confidence)
        rows.count[some] = count + 1
        rows.done[some] |= (token[:, None] == self._ends).any(dim=1) | (count + 1 >= self.max_new_tokens)

    def make_room(self, more: bool) -> bool:
        """Empty free rows, or drop them if they are many and no prompt waits.

        A free row goes on to no effect; emptied, it outgrows nothing however long it waits.

        Args:
            more: whether prompts wait.

        Returns:
            Whether rows were dropped, and tensors are others now.
        """
        if free := self.free:
            self.rows.clear(free)
            for history in self.histories:
                history.clear(free)
        if more or len(free) <= (1 - _WORTH_COMPACTING) * len(self):
            return False
        busy = [row for row, number in enumerate(self.numbers) if number is not None]
        self.numbers = [self.numbers[row] for row in busy]
        self.rows = self.rows.select(busy)
        for history in self.histories:
            history.keep(busy)
        if self.steerer:
            self.steerer.rows = self.rows
        return True

    def count_on_host(self) -> None:
        """Let the host know of a token more in every row, which the device has counted already."""
        for history in self.histories:
            history.count_on_host()

    def collect(self) -> dict[int, Generation]:
        """Take out what has ended, by number of the request: the one place where the host waits for the device."""
        done = self.rows.done.tolist()
        ended = {row: number for row, number in enumerate(self.numbers) if number is not None and done[row]}
        if not ended:
            return {}
        tokens, confidence = (of_all[list(ended)].tolist() for of_all in (self.rows.tokens, self.rows.confidence))
        records = self.steerer.records() if self.steerer else [None] * len(self)
        taken = {}
        for (row, number), written, confident in zip(ended.items(), tokens, confidence, strict=True):
            written = written[: self.max_new_tokens]
            end = next((i for i, token in enumerate(written) if token in self.end_ids), None)
            length = len(written) if end is None else end + 1
            finish_reason = "truncated" if end is None else "answered"
            taken[number] = Generation(written[:length], confident[:length], finish_reason, records[row])
            self.numbers[row] = None
        return taken
