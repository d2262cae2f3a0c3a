"""The ledger: what steering did to one generation, token by token; and a replay that needs nothing else."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from lrs.engine.requests import Request
from lrs.engine.rows import Rows
from lrs.engine.sampling import choose_tokens, uniforms
from lrs.engine.steerer import Steerer, hooked
from lrs.method.gate import ALWAYS, confidence_of
from lrs.method.steering import Steering
from lrs.models.backbones import edited_layer


@dataclass(frozen=True)
class LedgerEntry:
    """One steered token.

    Attributes:
        position: of the token among those generated, from 0.
        token: its id.
        clause: of the gate that fired: `reward`, `confidence`, or `every` where there is no gate.
        reward_before, reward_after: probabilities.
        confidence: with which the token was chosen.
        push: (d_model,) what was added to the residual stream, in float64, so that the sum is the same to the last bit.
        with_push, without_push: ids of the token that came next, and of the one that would have come without this push
            (and with all before it).
    """

    position: int
    token: int
    clause: str
    reward_before: float
    reward_after: float
    confidence: float
    push: Float[Tensor, " d_model"]
    with_push: int
    without_push: int


class _Recorder(Steerer):
    """A steerer whose newest push is known."""

    newest = torch.zeros(0)

    def push(self, hidden: Float[Tensor, "1 d_model"]) -> Float[Tensor, "1 d_model"]:
        pushed = super().push(hidden)
        self.newest = (pushed.double() - hidden.double())[0].cpu()
        return pushed


Process = Callable[[int, int, float, DynamicCache], Float[Tensor, "1 vocabulary"]]


class _Writer:
    """Writes one generation, one token at a time, whatever processes the tokens."""

    def __init__(self, model: PreTrainedModel, request: Request, max_new_tokens: int):
        self.model, self.request, self.most = model, request, max_new_tokens
        self.draws = (
            uniforms(request.problem_id, request.seed, max_new_tokens)
            if request.temperature
            else [0.0] * max_new_tokens
        )

    def read(self, ids: list[int], cache: DynamicCache) -> Float[Tensor, "1 vocabulary"]:
        tokens = torch.tensor([ids], device=self.model.device)
        return self.model(input_ids=tokens, past_key_values=cache, use_cache=True).logits[:, -1]

    def choose(self, logits: Float[Tensor, "1 vocabulary"], position: int) -> int:
        """The token at a position, 0 being the first generated one."""
        how = (self.request.temperature, self.draws[position])
        temperature, drawn = (torch.tensor([value], dtype=torch.float64) for value in how)
        logits = logits.cpu()
        return int(choose_tokens(logits, temperature, drawn, logits.argmax(dim=-1)))

    @torch.no_grad()
    def write(self, process: Process, end_ids: Collection[int]) -> list[int]:
        cache = DynamicCache(config=self.model.config)
        written: list[int] = []
        logits = self.read(self.request.prompt, cache)
        while True:
            written.append(self.choose(logits, len(written)))
            if written[-1] in end_ids or len(written) == self.most:
                return written
            logits = process(written[-1], len(written) - 1, float(confidence_of(logits)), cache)


def write_ledger(
    model: PreTrainedModel, request: Request, steering: Steering, max_new_tokens: int, end_ids: Collection[int]
) -> tuple[list[int], list[LedgerEntry]]:
    """The steered generation of one request, as the engine writes it, and an entry for every token that is steered.

    Every token is processed twice, with its push and without, so this is for looking, not for evaluation.

    Raises:
        ValueError: the gate reads another signal than confidence.
    """
    if steering.gate.signal != "confidence":
        raise ValueError(f"a ledger tells of gates that read confidence (this one's signal: {steering.gate.signal!r})")
    dtype = steering.reward.dtype
    rows = Rows.begin(1, model.device, dtype)
    recorder, writer = _Recorder(steering, rows), _Writer(model, request, max_new_tokens)
    entries: list[LedgerEntry] = []

    def process(token: int, position: int, confidence: float, cache: DynamicCache) -> Float[Tensor, "1 vocabulary"]:
        before = rows.steered.clone()
        recorder.enabled = False
        plain = writer.read([token], cache)
        cache.crop(-1)
        recorder.enabled, rows.newest_confidence[:] = True, confidence
        logits = writer.read([token], cache)
        recorder.enabled = False
        steered, reward_before, reward_after, _ = (rows.steered - before)[0].tolist()
        if steered:
            low = reward_before < steering.gate.reward_threshold
            clause = "every" if steering.gate == ALWAYS else "reward" if low else "confidence"
            after = [writer.choose(scores, position + 1) for scores in (logits, plain)]
            entries.append(
                LedgerEntry(position, token, clause, reward_before, reward_after, confidence, recorder.newest, *after)
            )
        return logits

    with hooked(model, steering.layer, recorder):
        return writer.write(process, end_ids), entries


def replay_ledger(
    model: PreTrainedModel,
    request: Request,
    layer: int,
    entries: Sequence[LedgerEntry],
    max_new_tokens: int,
    end_ids: Collection[int],
) -> list[int]:
    """The generation that a ledger tells of, from its pushes alone: no dictionary, no reward, no gate."""
    writer, pushes = _Writer(model, request, max_new_tokens), {entry.position: entry.push for entry in entries}
    newest: list[Tensor] = []

    def add(hidden: Float[Tensor, "1 length d_model"]) -> Float[Tensor, "1 length d_model"]:
        if not newest:
            return hidden
        pushed = hidden[:, -1:].double() + newest[0].to(hidden.device)
        return torch.cat([hidden[:, :-1], pushed.to(hidden.dtype)], dim=1)

    def process(token: int, position: int, confidence: float, cache: DynamicCache) -> Float[Tensor, "1 vocabulary"]:
        newest[:] = [pushes[position]] if position in pushes else []
        return writer.read([token], cache)

    with edited_layer(model, layer, add):
        return writer.write(process, end_ids)
