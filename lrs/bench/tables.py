"""The tables of `make bench`, which notebook 08 reads."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from lrs.bench.paths import Measured, measure, paths_of, run_engine, work_ratio
from lrs.bench.workloads import Shape, Workload, alone, larger_shapes, random_workload, reasoner_workload, steerings_for
from lrs.config import Config
from lrs.core.progress import Progress
from lrs.engine.policy import policy_for
from lrs.method.steering import Steering
from lrs.models.backbones import load_backbone
from lrs.models.devices import describe_device, resolve_device
from lrs.saved import BENCH, write_measured
from lrs.tasks.answers import is_correct
from lrs.tasks.prompts import text_of

_REFERENCES = ("unsteered", "hf_generate")
_NAIVE = ("naive", "naive_history")
_GRID = {
    "batch": (1, 8, 32, 64, 128),
    "length": (32, 64, 128),
    "num_steps": (1, 2, 4, 8),
    "d_sae": (32, 128, 512, 2048),
    "width": (32, 64, 128, 256),
}


def compare_paths(
    workload: Workload,
    steerings: dict[str, Steering],
    rounds: int,
    naive_prompts: int,
    without: bool = False,
    naive_tokens: int | None = None,
) -> pd.DataFrame:
    """Every path on a workload, `rounds` times in turn, after a warm-up in one process, which shows its memory.

    Args:
        naive_prompts, without: see `paths_of`.
        naive_tokens: new tokens of the naive paths, which then run once, without a warm-up, so that their speed stands
            beside the others' for its order of magnitude alone. None: as the others.

    Returns:
        A row a path: device, model, path, batch, tokens_per_s (median), ratio_to_unsteered and ratio_to_hf_generate
        (of tokens per second; medians of the ratios within a round, so that a machine's moods cancel), their
        range over the rounds, peak_memory_mb (of one process with the whole batch, or of the device), workload (model
        and batch), workers (processes that shared the batch of our loop), problems, tokens and seconds a problem,
        steered_fraction, triggers (steered tokens a problem), work_ratio (see there; of our steered paths), rounds.
    """
    device = workload.model.device
    paths = paths_of(workload, steerings, naive_prompts, without, naive_tokens)
    one = replace(workload.spread(workload.batch), policy=alone(workload.policy))
    once = () if naive_tokens is None else _NAIVE
    memory = {
        name: measure(run, device).peak_memory_mb
        for name, (_, run) in paths_of(one, steerings, min(naive_prompts, 1), without, naive_tokens).items()
        if name not in once
    }
    runs: dict[str, list[Measured]] = {name: [] for name in paths}
    wanted = {name: 1 if name in once else rounds for name in paths}
    with Progress(f"bench: {workload.name}, batch {workload.batch}", sum(wanted.values()), "runs") as progress:
        for number in range(rounds):
            for name, (_, run) in paths.items():
                if number >= wanted[name]:
                    continue
                runs[name].append(measure(run, device))
                progress.advance(note=f"{name}: {runs[name][-1].tokens / runs[name][-1].seconds:,.0f} tokens/s")
    speeds = {name: np.array([one.tokens / one.seconds for one in path]) for name, path in runs.items()}
    rows = []
    for name, (done, _) in paths.items():
        some, problems = runs[name][0], len(done.prompts)
        row: dict[str, Any] = {"device": describe_device(device), "model": workload.name, "path": name}
        row["batch"] = done.batch
        row["tokens_per_s"] = np.median(speeds[name])
        for reference in _REFERENCES:
            ratios = np.array([ours / theirs for ours, theirs in zip(speeds[name], speeds[reference], strict=False)])
            row[f"ratio_to_{reference}"] = np.median(ratios)
            row |= {f"ratio_to_{reference}_low": ratios.min(), f"ratio_to_{reference}_high": ratios.max()}
        row["workload"] = f"{workload.name}, batch {workload.batch}"
        row["peak_memory_mb"] = memory.get(name, some.peak_memory_mb)
        row |= {"workers": done.policy.workers, "problems": problems, "tokens_per_problem": some.tokens / problems}
        row["seconds_per_problem"] = np.median([one.seconds for one in runs[name]]) / problems
        row["steered_fraction"] = some.steered / (some.tokens - problems)  # the last token is never processed
        row |= {"triggers": some.steered / problems, "rounds": len(runs[name])}
        steering = steerings.get(name.removeprefix("lrs_"))
        row["work_ratio"] = work_ratio(workload, steering, row["steered_fraction"]) if steering else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


def cost_curves(
    workload: Workload, batch: int, length: int, shape: Shape, grid: Mapping[str, Sequence[int]], rounds: int
) -> pd.DataFrame:
    """Milliseconds that a token of every row takes (the prompts' share included), against one quantity at a time.

    In one process and, on a CPU, on one thread: what a worker does.

    Args:
        workload: model and prompts, as many as the largest batch.
        batch, length, shape: what is held fixed.
        grid: values of batch, length (new tokens), num_steps, d_sae and width.

    Returns:
        columns device, model, quantity, value, path, milliseconds (median over rounds), and ratio, ratio_low and
        ratio_high: the median and the range of the time over unsteered's of the same round.
    """
    rows = []
    with one_thread(), Progress("bench: cost curves", sum(map(len, grid.values())), "points") as progress:
        for quantity, values in grid.items():
            for value in values:
                rows_now = value if quantity == "batch" else batch
                fixed = workload.fixed(rows_now, value if quantity == "length" else length, rows_now)
                sized = _replace_shape(shape, quantity, value)
                steerings = steerings_for(fixed, sized)
                paths = {"unsteered": None} | {f"lrs_{name}": steering for name, steering in steerings.items()}
                times = pd.DataFrame(
                    {path: _step_ms(fixed, steering) for path, steering in paths.items()} for _ in range(rounds)
                )
                where = {"device": describe_device(fixed.model.device), "model": fixed.name, "quantity": quantity}
                for path, taken in times.items():
                    ratio = taken / times["unsteered"]
                    row = {"path": path, "milliseconds": taken.median(), "ratio": ratio.median()}
                    row |= {"ratio_low": ratio.min(), "ratio_high": ratio.max()}
                    rows.append(where | {"value": value} | row)
                progress.advance(note=f"{quantity} {value}")
    return pd.DataFrame(rows)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread on a CPU for as long as the block lasts."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _replace_shape(shape: Shape, quantity: str, value: int) -> Shape:
    """The shape with one of its sizes changed, if `quantity` is one of them."""
    return shape._replace(**{quantity: value}) if quantity in Shape._fields else shape


def _step_ms(workload: Workload, steering: Steering | None) -> float:
    run = measure(lambda: run_engine(workload, steering), workload.model.device)
    return 1000 * run.seconds / workload.max_new_tokens


def placebo_table(config: Config, problems_each: int, device: str, batches: tuple[int, int]) -> pd.DataFrame:
    """What rounding alone does: base in batches of two shapes, in single and in half precision.

    Returns:
        columns device, dtype, batch, other_batch, n, accuracy, other_accuracy, wins, losses, same_text (share of
        problems).
    """
    rows = []
    for dtype in ("float32", "bfloat16"):
        backbone = load_backbone(config.backbone.path, device, dtype)
        workload, problems = reasoner_workload(backbone, config, problems_each, batches[0])
        texts, right = [], []
        for batch in batches:
            written = replace(workload, batch=batch).write()
            texts.append([text_of(generation.token_ids, backbone.tokenizer) for generation in written])
            right.append(np.array([is_correct(p, text) for p, text in zip(problems, texts[-1], strict=True)]))
        row = {"device": describe_device(backbone.device), "dtype": dtype, "batch": batches[0]}
        row |= {"other_batch": batches[1], "n": len(problems)}
        row |= {"accuracy": right[0].mean(), "other_accuracy": right[1].mean()}
        row |= {"wins": int((right[1] & ~right[0]).sum()), "losses": int((right[0] & ~right[1]).sum())}
        rows.append(row | {"same_text": np.mean([one == other for one, other in zip(*texts, strict=True)])})
    return pd.DataFrame(rows)


def write_all(config: Config, folder: Path = BENCH) -> None:
    """`make bench`: paths, cost curves and placebo, on the profile's device, with dictionaries and rewards of its
    sizes; on a CPU the paths of a larger shape too."""
    device = str(resolve_device(config.device))
    backbone = load_backbone(config.backbone.path, device, config.dtype)
    shape = _shape_of(config)
    reasoner, _ = reasoner_workload(backbone, config, problems_each=128, batch=128)
    comparisons = [compare_paths(reasoner, steerings_for(reasoner, shape), rounds=5, naive_prompts=8, without=True)]
    write_measured(cost_curves(reasoner, 64, 32, shape, _GRID, rounds=3), "cost_curves", folder)
    if backbone.device.type == "cpu":
        comparisons += compare_shapes(shape, device, torch.float32, 64, (128,), workers=config.decoding.workers)
    write_measured(pd.concat(comparisons), "paths", folder)
    write_measured(placebo_table(config, 200, device, (128, 63)), "placebo", folder)


def _shape_of(config: Config) -> Shape:
    return Shape(config.sae.d_sae, config.sae.k, config.reward.width, config.reward.layers, config.reward.heads)


def compare_shapes(
    shape: Shape,
    device: str,
    dtype: torch.dtype,
    new_tokens: int,
    batches: tuple[int, ...],
    rounds: int = 3,
    naive_tokens: int | None = None,
    workers: int = 1,
) -> Iterator[pd.DataFrame]:
    """`compare_paths` on models of the sizes that the device can be asked to run, with random weights; the naive paths,
    which write one problem at a time, beside the smallest batch alone."""
    for name, model_shape in larger_shapes(device).items():
        largest = random_workload(name, model_shape, dtype, device, max(batches), new_tokens, max(batches))
        for batch in batches:
            policy = policy_for(largest.model, workers)
            workload = replace(largest, prompts=largest.prompts[:batch], batch=batch, policy=policy)
            naive = min(batch, 3) if batch == min(batches) else 0
            steerings = steerings_for(workload, shape)
            yield compare_paths(workload, steerings, rounds, naive, naive_tokens=naive_tokens)
        del largest, workload, steerings  # the next one needs the room


def write_shapes(config: Config, folder: Path = BENCH) -> None:
    """`lrs bench --shapes`: the paper's two models, 512 new tokens a problem in bfloat16, on an accelerator, 64 of them
    by the naive paths; with dictionaries and rewards of the profile's sizes.

    Raises:
        ValueError: there is no accelerator.
    """
    device = str(resolve_device("auto"))
    if device == "cpu":
        raise ValueError("the paper's shapes need an accelerator, and there is none: `make bench` runs on a CPU")
    shape = _shape_of(config)
    compared: list[pd.DataFrame] = []
    for table in compare_shapes(shape, device, torch.bfloat16, 512, (32, 1), rounds=3, naive_tokens=64):
        compared.append(table)
        write_measured(pd.concat(compared), "shapes", folder)  # what is measured is not lost
