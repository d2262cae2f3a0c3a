"""What a run holds in memory at once, from a profile and the shape of its model, if all answers are of full length."""

from typing import NamedTuple

from lrs.config import Config
from lrs.method.arms import ARMS, REWARDS

BYTES = {"float32": 4, "bfloat16": 2, "float64": 8}
_GIGA = 1e9
_SINGLE = BYTES["float32"]  # of dictionaries, rewards and latents, whatever the model's precision
_DRAWN = 3 * BYTES["float64"]  # bytes that sampling takes a logit: tempered, as a probability, and summed up

Shape = dict[str, int]  # a model's `config.json`, or what is known of it before it is downloaded


class Memory(NamedTuple):
    """Bytes.

    Attributes:
        weights: of the model.
        cache: keys and values of all rows of a batch.
        dictionary: encoder and decoder, and what a difference of latents is decoded with.
        reward: the largest that is steered by: weights, maps made of them, and its own keys and values if it sees the
            trace; 0 if none is.
        logits: of all rows, and what sampling makes of them.
        activations: of all traces, from which the autoencoder learns.
    """

    weights: int
    cache: int
    dictionary: int
    reward: int
    logits: int
    activations: int


def parameters_of(shape: Shape) -> int:
    """Weights of a model, norms and biases left out."""
    width, kept, heads = shape["hidden_size"], _kept(shape), shape["num_attention_heads"]
    block = 2 * width * (heads * _head(shape) + kept) + 3 * width * shape["intermediate_size"]
    words = shape["vocab_size"] * width * (1 if shape.get("tie_word_embeddings") else 2)
    return shape["num_hidden_layers"] * block + words


def _kept(shape: Shape) -> int:
    """Numbers that a layer keeps of a token, as keys and as values."""
    return (shape.get("num_key_value_heads") or shape["num_attention_heads"]) * _head(shape)


def _head(shape: Shape) -> int:
    """Numbers of one head of attention."""
    return shape.get("head_dim") or shape["hidden_size"] // shape["num_attention_heads"]


def memory_of(config: Config, shape: Shape, traced: int) -> Memory:
    """What a run holds at once.

    Args:
        traced: tokens of all traces.
    """
    size, width, rows = BYTES[config.dtype], shape["hidden_size"], config.decoding.batch_size
    tokens, latents = rows * config.decoding.max_new_tokens, config.sae.d_sae
    return Memory(
        weights=parameters_of(shape) * size,
        cache=2 * shape["num_hidden_layers"] * _kept(shape) * tokens * size,
        dictionary=3 * latents * width * _SINGLE,
        reward=_reward_bytes(config, tokens),
        logits=rows * shape["vocab_size"] * (size + _DRAWN),
        activations=traced * width * size,
    )


def _reward_bytes(config: Config, tokens: int) -> int:
    """Args: tokens: of all rows."""
    sizes, climbed = config.reward, {ARMS[name].reward for name in config.steering.arms} - {None}
    if not climbed:
        return 0
    weights = config.sae.d_sae * sizes.width + 12 * sizes.layers * sizes.width**2
    sees_the_trace = any(REWARDS[name].variant == "history" for name in climbed if name)
    return (2 * weights + sees_the_trace * 2 * sizes.layers * sizes.width * tokens) * _SINGLE


def phases_of(memory: Memory) -> dict[str, dict[str, int]]:
    """What lies in memory together, in bytes: while answers are steered, and while the autoencoder learns, when
    activations lie there trace by trace and in one piece."""
    steering = {"weights": memory.weights, "keys and values of a batch": memory.cache, "dictionary": memory.dictionary}
    learning = {"weights": memory.weights, "activations of all traces (twice)": 2 * memory.activations}
    return {
        "steering": steering | {"reward": memory.reward, "logits": memory.logits},
        "the autoencoder learns": learning,
    }


def memory_lines(memory: Memory, device: tuple[str, float] | None) -> list[str]:
    """Lines for people.

    Args:
        device: name and bytes of the accelerator that there is, if there is one.
    """
    phases = phases_of(memory)
    totals = {phase: sum(parts.values()) for phase, parts in phases.items()}
    lines = []
    for phase, parts in phases.items():
        told = ", ".join(f"{name} {size / _GIGA:.2f}" for name, size in parts.items())
        lines.append(f"  memory while {phase} {totals[phase] / _GIGA:.2f} GB: {told}")
    if device:
        name, there = device
        fits = (f"{'room' if total <= there else 'too little'} while {phase}" for phase, total in totals.items())
        lines.append(f"  {name} has {there / _GIGA:.2f} GB: {', '.join(fits)}")
    return lines
