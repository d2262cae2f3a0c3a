"""Forward passes of any caller: which tokens are a prompt's, which are generated, and one generated token at a time.

A gate reads the confidence with which a token was chosen, and that is known once the token before it has been
processed, steered. So generated tokens that come several at a time over a filled cache, as candidates of prompt lookup
or of an assistant do, are processed one by one; and where some are taken back, so is what was kept of them.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lrs.engine.rows import Rows
from lrs.engine.steerer import Steerer
from lrs.method.gate import confidence_of

_ALONG_TOKENS = ("input_ids", "position_ids", "cache_position", "token_type_ids")


class Passes:
    """What stands between a model and its callers while it is steered.

    Attributes:
        prompt: how many tokens of each row are the prompt's; None outside of `generate`, where what fills an empty
            cache is the prompt.
    """

    def __init__(self, model: PreTrainedModel, steerer: Steerer, begin_rows: Callable[[int], Rows]):
        self.model, self.steerer, self._begin_rows = model, steerer, begin_rows
        self.prompt: int | None = None
        self._lots = torch.Generator().manual_seed(0)
        self._fresh, self._seen = True, 0  # tokens in the cache, as this object knows it
        self._noted: dict[int, tuple[Tensor, Tensor]] = {}  # what the gate reads of the token at a place

    def generate(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """`model.generate`, whose prompt is known from here on."""

        signature = inspect.signature(original)

        @wraps(original)
        def generate(*args: Any, **kwargs: Any) -> Any:
            asked_for = _named(signature, args, kwargs)
            settings = asked_for.get("generation_config") or self.model.generation_config
            if (asked_for.get("num_beams") or settings.num_beams or 1) > 1:
                raise ValueError("steering follows no beams; legal: num_beams=1")
            given = _first(asked_for.get(name) for name in ("inputs", "input_ids", "inputs_embeds"))
            cache, mask = asked_for.get("past_key_values"), asked_for.get("attention_mask")
            kept = int(cache.get_seq_length()) if cache is not None else 0
            asked = 1 if given is None else given.shape[1]
            whole = mask.shape[1] if mask is not None else asked if asked > kept else kept + asked
            self.prompt, self._fresh = whole, True
            try:  # over a static cache an accelerator would run a compiled forward pass, which knows of no steering
                return original(*args, **kwargs | {"disable_compile": True})
            finally:
                self.prompt = None

        return generate

    def forward(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """`model.forward`, for a prompt as it is, for generated tokens one at a time."""
        signature = inspect.signature(original)

        @wraps(original)
        def forward(*args: Any, **kwargs: Any) -> Any:
            given = _named(signature, args, kwargs)
            if given.get("use_cache") is False:
                raise ValueError("steering needs a key-value cache: call the model with use_cache=True")
            tokens = _first(given.get(name) for name in ("input_ids", "inputs_embeds"))
            cache = given.get("past_key_values")
            start, count = int(cache.get_seq_length()) if cache is not None else 0, tokens.shape[1]
            read = self._of_prompt(start, count)
            self._settle(start, len(tokens))
            parts = [slice(0, read)] * (read > 0) + [slice(at, at + 1) for at in range(read, count)]
            outputs = []
            for part in parts:
                self._before(start + part.start, generated=part.start >= read)
                whole = len(parts) == 1
                outputs.append(original(**(given if whole else _cut(given, part, start))))
                self._after(start + part.stop, outputs[-1].logits[:, -1], generated=part.start >= read)
            last = outputs[-1]
            if len(outputs) > 1:
                last.logits = torch.cat([output.logits for output in outputs], dim=1)
            return last

        return forward

    def _of_prompt(self, start: int, count: int) -> int:
        """How many of `count` tokens, behind `start` in the cache, are the prompt's."""
        if self.prompt is not None:
            return min(max(self.prompt - start, 0), count)
        if not start:
            return count
        if count > 1:
            raise ValueError(
                f"{count} tokens over a filled cache: which of them are a prompt's is known in model.generate alone"
            )
        return 0

    def _settle(self, start: int, rows: int) -> None:
        """Begin anew, or take back what is no longer in the cache."""
        if self._fresh or not start or len(self.steerer.rows) != rows:
            self.steerer.begin(self._begin_rows(rows))
            self._noted.clear()
        elif start < self._seen:
            back, history = self._seen - start, self.steerer.reward.history
            history.on_device -= back
            history.on_host -= back
            self.steerer.rows.count -= back
        self._noted = {place: noted for place, noted in self._noted.items() if place >= start}
        self._fresh, self._seen = False, start

    def _before(self, place: int, generated: bool) -> None:
        rows, self.steerer.enabled = self.steerer.rows, generated
        if generated and place in self._noted:
            rows.newest_confidence, rows.before = (noted.clone() for noted in self._noted[place])

    def _after(self, place: int, logits: Tensor, generated: bool) -> None:
        """Note what the gate will read of the token that comes next, at `place`."""
        rows, signal = self.steerer.rows, self.steerer.steering.gate.signal
        every = torch.arange(len(rows), device=logits.device)
        if signal == "lot":  # which problem a row answers is not known here
            rows.newest_confidence[:] = torch.rand(len(rows), generator=self._lots)
        else:
            rows.read_signal(signal, every, rows.count, logits, confidence_of(logits))
        rows.count += int(generated)  # a first token has none before it, in however many chunks its prompt came
        self._noted[place] = rows.newest_confidence.clone(), rows.before.clone()
        self._seen = place


def _named(signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """All arguments of a call by their names, those in `**kwargs` too."""
    others = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), "")
    given = dict(signature.bind_partial(*args, **kwargs).arguments)
    return given | given.pop(others, {})


def _first(given: Any) -> Any:
    return next((one for one in given if one is not None), None)


def _cut(given: dict[str, Any], part: slice, start: int) -> dict[str, Any]:
    """The arguments of a pass over some of its tokens."""
    mask = given.get("attention_mask")
    if mask is not None and not (isinstance(mask, Tensor) and mask.dim() == 2):
        raise ValueError("several generated tokens at a time need an attention mask of rows and columns, or none")
    cut = {name: value[..., part] for name, value in given.items() if name in _ALONG_TOKENS and value is not None}
    if given.get("inputs_embeds") is not None:
        cut["inputs_embeds"] = given["inputs_embeds"][:, part]
    if mask is not None:
        cut["attention_mask"] = mask[:, : start + part.stop]
    return given | cut
