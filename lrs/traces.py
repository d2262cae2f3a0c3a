"""Traces and outcomes: what a backbone writes, steered or not, judged by its final answer."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset

from lrs.answers import is_correct
from lrs.backbones import Backbone
from lrs.behaviors import count_behaviors
from lrs.config import Config
from lrs.decoding import Generation, Request, generate
from lrs.problems import BENCHMARKS, Problem, draw_problems
from lrs.prompts import PLAIN, Prompting, prompt_ids
from lrs.steering import Steering
from lrs.store import fingerprint, make_parts, read_table, write_table

# the modules that what is generated, and how it is judged, depends on
_GENERATING = (
    *("answers", "ascent", "backbones", "batch", "behaviors", "decoding", "dictionary", "gate", "graphs", "lengths"),
    *("problems", "prompts", "reward", "reward_steps", "sampling", "slot_cache", "steering", "traces"),
)
Job = tuple[Problem, int]  # a problem and a seed; seed 0 is greedy


def draw_all_problems(config: Config) -> list[Problem]:
    """The profile's problems of every benchmark and split; of transfer benchmarks test problems only."""
    counts = config.problems.model_dump()
    drawn: list[Problem] = []
    for benchmark, difficulty in config.benchmarks.items():
        wanted = {"test": counts["test"]} if BENCHMARKS[benchmark].transfer else counts
        drawn += draw_problems(benchmark, difficulty, wanted, config.seed)
    return drawn


def save_problems(problems: Sequence[Problem], folder: Path) -> None:
    """Write problems as an Arrow table."""
    write_table(folder / "part-00000.arrow", [problem.to_row() for problem in problems])


def load_problems(folder: Path, split: str | None = None) -> list[Problem]:
    """Read problems written by `save_problems`, those of one split if it is named."""
    problems = [Problem.from_row(row) for row in read_table(folder)]
    return [problem for problem in problems if split in (None, problem.split)]


def jobs_for(problems: Iterable[Problem], seeds: Sequence[int] = (0,)) -> list[Job]:
    """A job a problem and seed; seed 0, the greedy one, alone if none is named."""
    return [(problem, seed) for problem in problems for seed in seeds]


def write_generations(
    backbone: Backbone,
    jobs: Sequence[Job],
    config: Config,
    steering: Steering | None = None,
    temperature: float = 0.0,
    on_finished: Callable[[int], None] = lambda count: None,
    prompting: Prompting = PLAIN,
) -> list[tuple[Job, Generation]]:
    """Let the backbone answer: greedily for seed 0, sampled at `temperature` for the others."""
    requests = [
        Request(prompt_ids(problem, backbone.tokenizer, prompting), problem.id, seed, temperature if seed else 0.0)
        for problem, seed in jobs
    ]
    generations = generate(
        backbone.model,
        requests,
        max_new_tokens=config.decoding.max_new_tokens,
        batch_size=config.decoding.batch_size,
        workers=config.decoding.workers,
        end_ids=[backbone.tokenizer.eos_token_id],
        steering=steering,
        on_finished=on_finished,
    )
    return list(zip(jobs, generations, strict=True))


def outcome_row(job: Job, generation: Generation, backbone: Backbone) -> dict[str, Any]:
    """What is known of one generation: the columns that traces and outcomes share."""
    problem, seed = job
    text = backbone.tokenizer.decode(generation.token_ids)
    return {
        "problem_id": problem.id,
        "benchmark": problem.benchmark,
        "split": problem.split,
        "seed": seed,
        "decoding": "sampled" if seed else "greedy",
        "text": text,
        "correct": is_correct(problem, text),
        "tokens": len(generation.token_ids),
        "processed_tokens": len(generation.token_ids) - 1,
        "finish_reason": generation.finish_reason,
        **count_behaviors(text),
    }


def collect_traces(
    backbone: Backbone, problems: Sequence[Problem], config: Config, folder: Path, samples: int, stage: str = "traces"
) -> Dataset:
    """One greedy and `samples` sampled traces of the frozen backbone a problem; resumes where a killed run stopped.

    Returns:
        A row a trace: the columns of `outcome_row`, `token_ids` and `confidence` (a value a generated token).
    """

    def make(jobs: Sequence[Job], on_finished: Callable[[int], None]) -> list[dict[str, Any]]:
        written = write_generations(backbone, jobs, config, None, config.traces.temperature, on_finished)
        return [
            outcome_row(job, generation, backbone)
            | {"token_ids": generation.token_ids, "confidence": generation.confidence}
            for job, generation in written
        ]

    jobs = jobs_for(problems, range(samples + 1))
    plan = plan_of(backbone, jobs, config) | {"temperature": config.traces.temperature}
    return make_parts(folder, stage, jobs, config.decoding.problems_per_part, plan, make)


def plan_of(backbone: Backbone, jobs: Sequence[Job], config: Config) -> dict[str, Any]:
    """What any generation depends on, beside steering: after a change of any of it, what was generated is stale.

    Batch size and workers are among it: they shape batches, and so how numbers are rounded.
    """
    sources = [Path(__file__).with_name(f"{module}.py").read_text() for module in _GENERATING]
    return {
        "backbone": backbone.identity,
        "code": fingerprint([sources, transformers.__version__, torch.__version__.partition("+")[0]]),
        "decoding": config.decoding.model_dump(),
        "problems": [f"{problem.id}:{seed}" for problem, seed in jobs],
    }
