"""Steer whatever a Hugging Face model generates: one call, for any decoder-only model."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from lrs.engine.policy import policy_for
from lrs.engine.rows import Rows
from lrs.engine.steerer import Steerer, hooked
from lrs.method.ascent import Ascent
from lrs.method.dictionary import Dictionary
from lrs.method.gate import Gate, confidence_of
from lrs.method.reward import Reward
from lrs.method.steering import Steering, check_fit


@contextmanager
def steer(
    model: PreTrainedModel,
    layer: int,
    dictionary: Dictionary,
    reward: Reward,
    gate: Gate,
    num_steps: int = 1,
    step_size: float = 1.0,
) -> Iterator[None]:
    """Steer whatever `model.generate` writes within the block (greedy or sampled, any batch, padded on the left).

    Every forward pass with an empty cache reads a prompt and is left alone; every later one processes one
    generated token a row, which is gated once.

    Raises:
        ValueError: the dictionary does not fit the model or the reward, the layer does not exist, or the model
            is called without a cache.
    """
    steering = Steering(layer, dictionary, reward, gate, Ascent(num_steps, step_size))
    check_fit(steering, model.config.hidden_size)
    signal, lots = gate.signal, torch.Generator().manual_seed(0)
    sizes = {"signal": signal, "vocabulary": model.config.vocab_size}
    begin_rows = partial(Rows.begin, device=model.device, dtype=reward.dtype, **sizes)
    steerer = Steerer(steering, begin_rows(0), policy=policy_for(model))

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if kwargs.get("use_cache") is False:
            raise ValueError("steering needs a key-value cache: call the model with use_cache=True")
        cache = kwargs.get("past_key_values")
        steerer.enabled = cache is not None and cache.get_seq_length() > 0
        if not steerer.enabled:
            inputs = (*args[:1], kwargs.get("input_ids"), kwargs.get("inputs_embeds"))
            steerer.begin(begin_rows(len(next(given for given in inputs if given is not None))))

    def after(_: nn.Module, __: Any, output: Any) -> None:
        logits, rows = output.logits[:, -1], steerer.rows  # of a prompt, what the first token has
        every = torch.arange(len(rows), device=logits.device)
        if signal == "lot":  # which problem a row answers is not known here
            rows.newest_confidence[:] = torch.rand(len(rows), generator=lots)
        else:
            rows.read_signal(signal, every, rows.count, logits, confidence_of(logits))
        rows.count += 1

    with hooked(model, layer, steerer):
        handles = [
            model.register_forward_pre_hook(before, with_kwargs=True),
            model.register_forward_hook(after),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
