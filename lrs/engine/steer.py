"""Steer whatever a Hugging Face model generates: one call, for any decoder-only model."""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedModel

from lrs.engine.passes import Passes
from lrs.engine.policy import policy_for
from lrs.engine.rows import Rows
from lrs.engine.steerer import Steerer, hooked, warn_of_left
from lrs.method.ascent import Ascent
from lrs.method.dictionary import Dictionary
from lrs.method.gate import Gate
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
    """Steer whatever `model.generate` writes within the block (greedy or sampled, any batch, padded on the left; from a
    kept cache, with a prompt read in chunks, with candidates of prompt lookup or of an assistant).

    No token of a prompt is steered, and each generated one that is processed is gated once. Outside of `generate`, what
    fills an empty cache is the prompt, and every later pass processes one generated token a row. A token whose
    reward or push is not finite is left as it is, with one warning at the end.

    Raises:
        ValueError: the dictionary does not fit the model or the reward, the layer does not exist, the model is called
            without a cache, several tokens come over a filled cache outside of `generate`, or beams are asked for.
    """
    steering = Steering(layer, dictionary, reward, gate, Ascent(num_steps, step_size))
    check_fit(steering, model.config.hidden_size)

    def begin_rows(rows: int) -> Rows:
        return Rows.begin(rows, model.device, reward.dtype, signal=gate.signal, vocabulary=model.config.vocab_size)

    steerer = Steerer(steering, begin_rows(0), policy=policy_for(model))
    passes = Passes(model, steerer, begin_rows)
    around = {"forward": passes.forward, "generate": passes.generate}
    own = {name: vars(model)[name] for name in around if name in vars(model)}
    with hooked(model, layer, steerer):
        vars(model).update({name: wrap(getattr(model, name)) for name, wrap in around.items()})
        try:
            yield
        finally:
            for name in around:
                delattr(model, name)
            vars(model).update(own)
            warn_of_left(steerer.left, stacklevel=3)
