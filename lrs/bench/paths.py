"""How it is done: our loop, transformers' `generate`, and the published one; and what each costs."""

import ctypes
import gc
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from lrs.bench.naive import naive_generate
from lrs.bench.workloads import Workload, alone
from lrs.engine.rows import Rows
from lrs.engine.steerer import Steerer
from lrs.method.gate import ALWAYS, NEVER
from lrs.method.steering import Steering

# Not counted: each device has its own, and torch's counter does not know grouped heads.
_ATTENTION = [
    torch.ops.aten._scaled_dot_product_efficient_attention,
    torch.ops.aten._scaled_dot_product_flash_attention,
    torch.ops.aten._scaled_dot_product_cudnn_attention,
]

Run = Callable[[], tuple[int, int]]  # runs a workload: tokens written, tokens steered


class Measured(NamedTuple):
    """One run of one path."""

    seconds: float
    tokens: int
    steered: int
    peak_memory_mb: float


def run_engine(workload: Workload, steering: Steering | None = None) -> tuple[int, int]:
    """Our loop, steered or not."""
    written = workload.write(steering)
    steered = sum(generation.steering.steered_tokens for generation in written if generation.steering)
    return sum(len(generation.token_ids) for generation in written), steered


@torch.no_grad()
def _run_hf(workload: Workload) -> tuple[int, int]:
    """transformers' own `generate`: batches of prompts of like length, padded on the left, until all have ended."""
    prompts, total = sorted(workload.prompts, key=len), 0
    for start in range(0, len(prompts), workload.batch):
        batch = prompts[start : start + workload.batch]
        width = max(map(len, batch))
        ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in batch])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in batch])
        written = workload.model.generate(  # type: ignore[operator]  # a mixin has it, of which the class is silent
            input_ids=ids.to(workload.model.device),
            attention_mask=mask.to(workload.model.device),
            max_new_tokens=workload.max_new_tokens,
            do_sample=False,
            eos_token_id=workload.end_ids,
            pad_token_id=0,
        )[:, width:]
        ended = torch.isin(written, torch.tensor(workload.end_ids, device=written.device)).int()
        total += int((ended.cumsum(dim=1) - ended == 0).sum())  # up to the first end, which counts
    return total, 0


def _run_naive(workload: Workload, steering: Steering) -> tuple[int, int]:
    most, ends = workload.max_new_tokens, workload.end_ids
    written = [
        naive_generate(workload.model, prompt, max_new_tokens=most, end_ids=ends, steering=steering)
        for prompt in workload.prompts
    ]
    return sum(len(tokens) for tokens, _ in written), sum(steered for _, steered in written)


def paths_of(
    workload: Workload,
    steerings: dict[str, Steering],
    naive_prompts: int,
    without: bool = False,
    naive_tokens: int | None = None,
) -> dict[str, tuple[Workload, Run]]:
    """Every path, with the workload that it runs: the naive ones, which are slow, run `naive_prompts` of it, if any.

    Args:
        without: whether our loop also runs without what its policy does for speed.
        naive_tokens: new tokens of the naive paths; None: as many as the others write.
    """
    ours = {"unsteered": None, **{f"lrs_{name}": steering for name, steering in steerings.items()}}
    variants = {name: (workload, steering) for name, steering in ours.items()}
    if without and workload.policy.selects_rows:
        all_rows = replace(workload, policy=replace(workload.policy, selects_rows=False))
        gated = {name: steering for name, steering in ours.items() if steering and steering.gate != ALWAYS}
        variants |= {f"{name}_all_rows": (all_rows, steering) for name, steering in gated.items()}
    brief = replace(workload, max_new_tokens=naive_tokens or workload.max_new_tokens)
    few = replace(brief.spread(naive_prompts), batch=1, policy=alone(workload.policy))
    naive = {"naive": "token", "naive_history": "history"} if naive_prompts else {}
    return {
        "hf_generate": (workload, lambda: _run_hf(workload)),
        **{name: (some, partial(run_engine, some, steering)) for name, (some, steering) in variants.items()},
        **{name: (few, partial(_run_naive, few, steerings[variant])) for name, variant in naive.items()},
    }


@torch.no_grad()
def work_ratio(workload: Workload, steering: Steering, share: float) -> float:
    """Multiplications a token of our loop, steered over unsteered, both without attention to earlier tokens.

    What the slowdown would be if those took all the time, and each the same.

    Args:
        share: of the tokens that are steered.
    """
    model = workload.model
    newest = torch.zeros(1, 1, dtype=torch.long, device=model.device)
    hidden = torch.ones(1, model.config.hidden_size, dtype=model.dtype, device=model.device)
    of_model = _multiplications(lambda: model(newest, use_cache=False))
    rows = partial(Rows.begin, 1, model.device, steering.reward.dtype)
    gates = (Steerer(replace(steering, gate=gate), rows(), policy=workload.policy) for gate in (NEVER, ALWAYS))
    closed, opened = (_multiplications(partial(steerer.push, hidden)) for steerer in gates)
    return 1 + (closed + share * (opened - closed)) / of_model


def _multiplications(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False, custom_mapping=dict.fromkeys(_ATTENTION, lambda *_, **__: 0)) as counter:
        run()
    return counter.get_total_flops() // 2


def measure(run: Run, device: torch.device) -> Measured:
    """Run once: seconds, tokens, and the most memory that was in use meanwhile (of the process, or of the device)."""
    gc.collect()
    if hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)  # what earlier paths left behind is not this one's
    _reset_peak(device)
    started = time.perf_counter()
    tokens, steered = run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return Measured(time.perf_counter() - started, tokens, steered, _peak_mb(device))


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")  # Linux: begin a new high-water mark


def _peak_mb(device: torch.device) -> float:
    """NaN where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if not Path("/proc/self/status").exists():
        return float("nan")
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) / 2**10 for line in lines if line.startswith("VmHWM"))
