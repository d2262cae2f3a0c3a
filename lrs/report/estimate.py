"""What a profile will cost before it is run: generations, tokens and hours of each stage, memory, download and disk."""

import json
from pathlib import Path
from typing import NamedTuple

from lrs.config import Config
from lrs.method.arms import ARMS, rewards_for
from lrs.saved import BENCH, SHAPE_OF, read_costs
from lrs.tasks.benchmarks import BENCHMARKS

_BYTES = {"float32": 4, "bfloat16": 2, "float64": 8}
_LATENT = 8  # bytes that an active latent of a token takes on disk: its number and its value
_TOKEN = 16  # bytes that a token takes on disk: its id, confidence and text
_GIGA = 1e9
_SHAPES = ("config.json", "shape.json")  # a model's, or what is known of it before it is downloaded


class Load(NamedTuple):
    """What a stage generates: how many, and the most tokens that they can take."""

    name: str
    generations: int
    tokens: int


class Memory(NamedTuple):
    """Bytes: the weights, keys and values of all rows of a batch at full length, and the activations of all traces,
    which the autoencoder learns from."""

    weights: int
    cache: int
    activations: int


class Rate(NamedTuple):
    """Tokens a second that steered decoding was measured to write, and on what."""

    tokens_per_second: float
    measured: str


def _answers(config: Config, split: str) -> int:
    """Answers of one arm or setting to all problems of a split, greedy and sampled; public data sets may have fewer."""
    sampling, asked = config.steering.sampling, getattr(config.problems, split)
    first = asked if split == "validation" else min(sampling.problems, asked) if sampling else 0
    sampled = first * sampling.samples if sampling else 0
    return sum(split in BENCHMARKS[name].splits for name in config.benchmarks) * (asked + sampled)


def _settings(config: Config) -> int:
    """Candidates of the selection."""
    grid = config.select
    steps = len(grid.num_steps) * len(grid.step_size)
    quantiles = len(grid.reward_quantile) * len(grid.confidence_quantile)
    tuned = [ARMS[name] for name in config.steering.arms if ARMS[name].reward and not ARMS[name].matches]
    return sum(steps * (quantiles if arm.gated and not arm.thresholds else 1) for arm in tuned)


def stages_of(config: Config) -> list[Load]:
    """What the stages of one backbone generate."""
    learned = sum("reward" in BENCHMARKS[name].splits for name in config.benchmarks) * config.problems.reward
    pushed = sum(kind.learns == "push" for kind in rewards_for(config.steering.arms).values())
    counts = {
        "traces": learned * (1 + config.traces.samples),
        "reward": pushed * config.causal.iterations * config.causal.problems * config.causal.attempts,
        "select": (1 + _settings(config)) * _answers(config, "validation"),
        "steering": len(config.steering.arms) * _answers(config, "test"),
    }
    return [Load(name, count, count * config.decoding.max_new_tokens) for name, count in counts.items()]


def memory_of(config: Config, shape: dict[str, int]) -> Memory:
    """What a run holds at once, at most.

    Args:
        shape: a model's `config.json`.
    """
    size, width, layers = _BYTES[config.dtype], shape["hidden_size"], shape["num_hidden_layers"]
    heads = shape["num_attention_heads"]
    kept = shape.get("num_key_value_heads", heads) * shape.get("head_dim", width // heads)
    block = 2 * width * (width + kept) + 3 * width * shape["intermediate_size"]
    words = shape["vocab_size"] * width * (1 if shape.get("tie_word_embeddings") else 2)
    rows = config.decoding.batch_size * config.decoding.max_new_tokens
    traced = next(stage.tokens for stage in stages_of(config) if stage.name == "traces")
    return Memory((layers * block + words) * size, 2 * layers * kept * rows * size, traced * width * size)


def disk_of(config: Config) -> int:
    """Bytes that what is kept takes, at most: every token of every generation, and latents of the traces' tokens."""
    stages = {stage.name: stage for stage in stages_of(config)}
    written = sum(stage.tokens for name, stage in stages.items() if name != "reward")
    return written * _TOKEN + stages["traces"].tokens * config.sae.k * _LATENT


def measured_rate(backbone: str, folder: Path = BENCH) -> Rate | None:
    """What `lrs bench --shapes` measured of a model of the backbone's shape, with the most rows side by side."""
    costs = read_costs(folder)
    rows = costs[(costs["model"] == SHAPE_OF + backbone) & (costs["path"] == "lrs_token")]
    if rows.empty:
        return None
    row = rows.sort_values("batch").iloc[-1]
    return Rate(
        row["tokens_per_s"], f"one {row['device']}, {row['batch']} rows of 512 tokens, random weights of this shape"
    )


def estimate_lines(config: Config, tokens_per_second: float | None) -> list[str]:
    """Lines for people, of one backbone of a profile.

    Args:
        tokens_per_second: of the whole machine, as `make bench` measures it; None: what was measured of a model of this
            shape, and no hours where that was not.
    """
    rate = Rate(tokens_per_second, "as asked") if tokens_per_second else measured_rate(config.backbone_name)
    stages = stages_of(config)
    total = Load("all", sum(stage.generations for stage in stages), sum(stage.tokens for stage in stages))
    lines = [f"{config.profile}, {config.backbone_name}: at most"]
    for name, generations, tokens in [*stages, total]:
        hours = f", {tokens / rate.tokens_per_second / 3600:>6,.1f} hours" if rate else ""
        lines.append(f"  {name:9}{generations:>10,} generations, {tokens / 1e6:>8,.1f}M tokens{hours}")
    if rate:
        lines.append(f"  hours of decoding at {rate.tokens_per_second:,.0f} tokens a second ({rate.measured})")
    lines.append(f"  disk {disk_of(config) / _GIGA:.1f} GB")
    folder = Path(config.backbone.path)
    shapes = [path for name in _SHAPES if (path := folder / name).exists()]
    if shapes:
        memory = memory_of(config, json.loads(shapes[0].read_text("utf-8")))
        sizes = {"weights": memory.weights, "a batch": memory.cache, "activations of all traces": memory.activations}
        told = (f"{name} {size / _GIGA:.2f} GB" for name, size in sizes.items())
        lines.append(f"  memory: {', '.join(told)}")
        if (folder / "hub.yaml").exists():
            weights = memory.weights // _BYTES[config.dtype]
            lines.append(f"  download {weights * _BYTES['bfloat16'] / _GIGA:.1f} GB, if it is kept in bfloat16")
    else:
        lines.append(f"  memory: not told, since {folder} has no {' and no '.join(_SHAPES)}")
    return lines
