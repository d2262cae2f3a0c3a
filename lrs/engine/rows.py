"""What is known of every row of a batch, a tensor a fact."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lrs.method.gate import certainty_of, stability_of
from lrs.method.setting import Signal


@dataclass
class Rows:
    """The rows that are written side by side.

    Attributes:
        tokens: what has been written in each, from the left.
        confidence: with which each of these was chosen.
        count: how many there are.
        temperature: 0 is greedy.
        uniform: random numbers, a token; no columns where nothing is sampled.
        done: which rows have ended; they go on, unsteered and to no effect, until they are collected.
        newest_confidence: with which the newest token was chosen (of a first token, at the prompt's last position), or
            what else the gate's second clause reads.
        lot: numbers that a gate may read, a token; no columns where it reads another signal.
        before: logits that the newest token was chosen from; no columns where the gate does not ask for them.
        steered: sums over the steered tokens of one, reward before, reward after, and ||dh|| / ||h||.
        left: tokens that are not steered since their reward or push is not finite.
    """

    tokens: Int[Tensor, "rows room"]
    confidence: Float[Tensor, "rows room"]
    count: Int[Tensor, " rows"]
    temperature: Float[Tensor, " rows"]
    uniform: Float[Tensor, "rows drawn"]
    done: Bool[Tensor, " rows"]
    newest_confidence: Float[Tensor, " rows"]
    lot: Float[Tensor, "rows lots"]
    before: Float[Tensor, "rows vocabulary"]
    steered: Float[Tensor, "rows 4"]
    left: Int[Tensor, " rows"]

    @classmethod
    def begin(
        cls,
        rows: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        room: int = 0,
        sampled: bool = False,
        signal: Signal = "confidence",
        vocabulary: int = 0,
    ) -> "Rows":
        """Rows that have yet to be written, with `room` for tokens.

        Args:
            dtype: of confidences where they are compared.
            signal: that the gate reads.
        """
        return cls(
            tokens=torch.zeros(rows, room, dtype=torch.long, device=device),
            confidence=torch.zeros(rows, room, device=device),
            count=torch.zeros(rows, dtype=torch.long, device=device),
            temperature=torch.zeros(rows, dtype=torch.float64, device=device),
            uniform=torch.zeros(rows, room if sampled else 0, dtype=torch.float64, device=device),
            done=torch.zeros(rows, dtype=torch.bool, device=device),
            newest_confidence=torch.ones(rows, dtype=dtype, device=device),
            lot=torch.zeros(rows, room if signal == "lot" else 0, dtype=torch.float64, device=device),
            before=torch.zeros(rows, vocabulary if signal == "stability" else 0, dtype=dtype, device=device),
            steered=torch.zeros(rows, 4, dtype=torch.float64, device=device),
            left=torch.zeros(rows, dtype=torch.long, device=device),
        )

    def __len__(self) -> int:
        return len(self.count)

    def clear(self, rows: list[int]) -> None:
        """Let nothing have been written in these rows."""
        self.count[rows] = 0
        self.newest_confidence[rows] = 1.0
        self.steered[rows] = 0.0
        self.left[rows] = 0

    def select(self, rows: list[int]) -> "Rows":
        """Row i becomes what was row `rows[i]`."""
        return type(self)(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def read_signal(
        self,
        signal: Signal,
        some: Int[Tensor, " some"],
        count: Int[Tensor, " some"],
        logits: Float[Tensor, "some vocabulary"],
        confidence: Float[Tensor, " some"],
    ) -> None:
        """Note what the gate will read of the tokens of some rows that are chosen from `logits`, `count` being how many
        each held before."""
        if signal == "certainty":
            confidence = certainty_of(logits)
        elif signal == "stability":
            before = torch.where(count[:, None] > 0, self.before[some], logits.to(self.before.dtype))
            confidence = stability_of(logits, before)
            self.before[some] = logits.to(self.before.dtype)
        elif signal == "lot":
            confidence = self.lot[some, count]
        self.newest_confidence[some] = confidence.to(self.newest_confidence.dtype)
