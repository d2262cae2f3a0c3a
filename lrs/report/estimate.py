"""What a profile will cost before it is run: generations, tokens and hours of each stage, memory, download and disk."""

import json
from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from lrs.config import Config
from lrs.core.frames import records
from lrs.method.arms import ARMS, rewards_for
from lrs.report.footprint import BYTES, Shape, memory_lines, memory_of, parameters_of
from lrs.report.paper import beside_the_paper, capacity_plan, read_paper_table
from lrs.saved import BENCH, SHAPE_OF, read_costs
from lrs.tasks.benchmarks import BENCHMARKS

_LATENT = 8  # bytes that an active latent of a token takes on disk: its number and its value
_TOKEN = 16  # bytes that a token takes on disk: its id, confidence and text
_GIGA = 1e9
_SHAPES = ("config.json", "shape.json")  # a model's, or what is known of it before it is downloaded
_NEAR = 2.0  # times as many parameters, or as few, for a rate to be told of a model that was not measured
_PAPERS = "orz-7b"  # the backbone whose costs the paper tells
_MANY = 8  # GPUs of a plan


class Load(NamedTuple):
    """What a stage generates: how many, and the most tokens that they can take."""

    name: str
    generations: int
    tokens: int


class Rate(NamedTuple):
    """Tokens a second that steered decoding was measured to write, and on what."""

    tokens_per_second: float
    measured: str

    def hours(self, tokens: float) -> float:
        """That so many tokens take."""
        return tokens / self.tokens_per_second / 3600


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
    pushed = sum(kind.pushes for kind in rewards_for(config.steering.arms).values())
    counts = {
        "traces": learned * (1 + config.traces.samples),
        "reward": pushed * config.causal.iterations * config.causal.problems * config.causal.attempts,
        "select": (1 + _settings(config)) * _answers(config, "validation"),
        "steering": len(config.steering.arms) * _answers(config, "test"),
    }
    return [Load(name, count, count * config.decoding.max_new_tokens) for name, count in counts.items()]


def disk_of(config: Config) -> int:
    """Bytes that what is kept takes, at most: every token of every generation, and latents of the traces' tokens."""
    stages = {stage.name: stage for stage in stages_of(config)}
    written = sum(stage.tokens for name, stage in stages.items() if name != "reward")
    return written * _TOKEN + stages["traces"].tokens * config.sae.k * _LATENT


def measured_rate(backbone: str, folder: Path = BENCH) -> Rate | None:
    """What `lrs bench --shapes` measured of a model of the backbone's shape, with the most rows side by side."""
    row = _measured(folder).get(backbone)
    return Rate(row["tokens_per_s"], f"{_where(row)}, random weights of this shape") if row else None


def scaled_rate(home: Path, folder: Path = BENCH) -> Rate | None:
    """What was measured of the shape that is nearest in parameters to the model's in `home`, which writes slower by as
    much as it is larger; None where no shape beside it that was measured is half to twice as large."""
    if not (own := _shape_of(home)):
        return None
    measured = _measured(folder)
    others = {name: shape for name in measured if (shape := _shape_of(home.parent / name))}
    ratios = {name: parameters_of(shape) / parameters_of(own) for name, shape in others.items()}
    near = [name for name, ratio in ratios.items() if 1 / _NEAR <= ratio <= _NEAR]
    if not near:
        return None
    name = min(near, key=lambda name: abs(log(ratios[name])))
    row = measured[name]
    return Rate(row["tokens_per_s"] * ratios[name], f"not measured: scaled by parameters from {name} on {_where(row)}")


def _measured(folder: Path) -> dict[str, dict[str, Any]]:
    """Steered rows of shapes, by the backbone, each with the most rows side by side."""
    costs = read_costs(folder).sort_values("batch")
    steered = costs[(costs["path"] == "lrs_token") & costs["model"].str.startswith(SHAPE_OF)]
    return {row["model"].removeprefix(SHAPE_OF): row for row in records(steered)}


def _where(row: dict[str, Any]) -> str:
    return f"one {row['device']}, {row['batch']} rows of 512 tokens"


def _shape_of(home: Path) -> Shape | None:
    """The shape of the model in a folder, if it is known."""
    found = [path for name in _SHAPES if (path := home / name).exists()]
    return json.loads(found[0].read_text("utf-8")) if found else None


def estimate_lines(
    config: Config, tokens_per_second: float | None, device: tuple[str, float] | None = None
) -> list[str]:
    """Lines for people, of one backbone of a profile.

    Args:
        tokens_per_second: of the whole machine, as `make bench` measures it; None: what was measured of a model of this
            shape, or of one of like size, and no hours where neither was.
        device: name and bytes of the accelerator that there is, if there is one.
    """
    home, stages = Path(config.backbone.path), stages_of(config)
    rate = Rate(tokens_per_second, "as asked") if tokens_per_second else measured_rate(config.backbone_name)
    rate = rate or scaled_rate(home)
    total = Load("all", sum(stage.generations for stage in stages), sum(stage.tokens for stage in stages))
    lines = [f"{config.profile}, {config.backbone_name}: at most"]
    for name, generations, tokens in [*stages, total]:
        hours = f", {rate.hours(tokens):>6,.1f} hours" if rate else ""
        lines.append(f"  {name:9}{generations:>10,} generations, {tokens / 1e6:>8,.1f}M tokens{hours}")
    if rate:
        lines.append(f"  hours of decoding at {rate.tokens_per_second:,.0f} tokens a second ({rate.measured})")
        alone = next(stage.tokens for stage in stages if stage.name == "reward")
        many = rate.hours(alone + (total.tokens - alone) / _MANY)
        lines.append(f"  on {_MANY} of these {many:,.1f} hours: all but rewards is shared out, by `lrs cluster`")
    lines.append(f"  disk {disk_of(config) / _GIGA:.1f} GB")
    if shape := _shape_of(home):
        traced = next(stage.tokens for stage in stages if stage.name == "traces")
        lines += memory_lines(memory_of(config, shape, traced), device)
        if (home / "hub.yaml").exists():
            download = parameters_of(shape) * BYTES["bfloat16"]
            lines.append(f"  download {download / _GIGA:.1f} GB, if it is kept in bfloat16")
    else:
        lines.append(f"  memory: not told, since {home} has no {' and no '.join(_SHAPES)}")
    return lines


def paper_plan(folder: Path = BENCH) -> list[str]:
    """How long the paper's own evaluation takes on one GPU and on eight, in a sentence each: at the paper's speed, one
    problem at a time; and, where it was measured, at that of rows side by side, for as many tokens as the paper writes.
    """
    theirs = beside_the_paper(read_costs(folder)).query("source == 'Li et al.' and path == 'lrs_token'")
    cells = read_paper_table().drop_duplicates(["backbone", "benchmark"])

    def plan(seconds: float) -> pd.DataFrame:
        return capacity_plan(cells, seconds, arms=6, seeds=3, devices=(1, _MANY))

    there = plan(theirs["seconds_per_problem"].item())
    told = [
        f"{len(cells)} cells with {cells['n'].sum():,} problems, 6 arms and 3 seeds are {there['generations'][0]:,} "
        f"generations: {there['device_hours'][0]:,.0f} GPU-hours, or {there['hours'][0] / 24:.0f} days on one GPU and "
        f"{there['hours'][1] / 24:.0f} on eight. Every factor that batching gains divides these numbers."
    ]
    if rate := measured_rate(_PAPERS, folder):
        here = plan(theirs["tokens_per_problem"].item() / rate.tokens_per_second)
        told.append(
            f"{here['device_hours'][0]:,.0f} GPU-hours, which is {here['hours'][1]:.1f} hours on eight GPUs, at "
            f"{rate.tokens_per_second:,.0f} tokens a second ({rate.measured})."
        )
    return told


def estimate_of(
    configs: Sequence[Config], tokens_per_second: float | None = None, device: tuple[str, float] | None = None
) -> list[str]:
    """Lines of every backbone of a profile; and, if the paper tells the costs of one of them, of its evaluation."""
    lines = [line for config in configs for line in estimate_lines(config, tokens_per_second, device)]
    if any(config.backbone_name == _PAPERS for config in configs):
        at = ("at the paper's own speed, one problem at a time", "with rows side by side")
        told = (f"  {how}: {sentence}" for how, sentence in zip(at, paper_plan(), strict=False))
        lines += ["the paper's evaluation:", *told]
    return lines
