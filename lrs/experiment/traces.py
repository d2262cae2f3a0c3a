"""Problems and traces: what a backbone is asked, and what it writes, judged by its final answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from datasets import Dataset

from lrs.core.closure import code_of
from lrs.core.digests import fingerprint
from lrs.core.frames import records
from lrs.core.kept import Parts, Plan, keep
from lrs.engine.decoding import generate
from lrs.engine.policy import policy_for
from lrs.engine.requests import Generation, Request
from lrs.method.steering import Steering
from lrs.models.backbones import Backbone
from lrs.models.devices import describe_device
from lrs.tasks.answers import is_correct
from lrs.tasks.behaviors import BEHAVIORS
from lrs.tasks.benchmarks import BENCHMARKS
from lrs.tasks.hub import version_of
from lrs.tasks.labeller import behaviors_written
from lrs.tasks.problems import Problem, draw_problems, load_problems, save_problems
from lrs.tasks.prompts import PLAIN, Prompting, prompt_ids, text_of
from lrs.tasks.splits import assert_unseen

if TYPE_CHECKING:
    from lrs.config import Config

Job = tuple[Problem, int]  # a problem and a seed; seed 0 is greedy


def draw_all_problems(config: Config) -> list[Problem]:
    """The profile's problems of every benchmark and split that it has.

    Raises:
        ValueError: one that is tested is among those that are learned from or selected on, in whatever benchmark.
    """
    counts = config.problems.model_dump()
    drawn: list[Problem] = []
    for benchmark, difficulty in config.benchmarks.items():
        wanted = {split: counts[split] for split in BENCHMARKS[benchmark].splits}
        drawn += draw_problems(benchmark, difficulty, wanted, config.seed)
    tested = [problem for problem in drawn if problem.split == "test"]
    assert_unseen(tested, {problem.id for problem in drawn if problem.split != "test"})
    return drawn


def keep_problems(config: Config, folder: Path) -> list[Problem]:
    """Draw the profile's problems into a folder, unless they are there already; all of them."""
    plan = {"benchmarks": config.benchmarks, "counts": config.problems.model_dump(), "seed": config.seed}
    if public := {name: source for name in config.benchmarks if (source := BENCHMARKS[name].source)}:
        plan |= {"versions": {name: version_of(source) for name, source in public.items()}}
    keep(folder, "problems", plan | code_of(__name__), lambda made: save_problems(draw_all_problems(config), made))
    return load_problems(folder)


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
        policy=policy_for(backbone.model, config.decoding.workers),
        end_ids=[backbone.tokenizer.eos_token_id],
        steering=steering,
        on_finished=on_finished,
    )
    return list(zip(jobs, generations, strict=True))


def outcome_row(job: Job, generation: Generation, backbone: Backbone) -> dict[str, Any]:
    """What is known of one generation: the columns that traces and outcomes share."""
    problem, seed = job
    text = text_of(generation.token_ids, backbone.tokenizer)
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
        **behaviors_written(problem.benchmark, text),
    }


def means_of_attempts(step: int, attempts: pd.DataFrame) -> list[dict[str, Any]]:
    """A row a benchmark: the means of a step's attempts."""
    facts = attempts.assign(truncated=attempts["finish_reason"] == "truncated")
    facts[list(BEHAVIORS)] = facts[list(BEHAVIORS)] > 0
    means = facts.groupby("benchmark", sort=False)[["correct", "tokens", "truncated", *BEHAVIORS]].mean().round(4)
    return records(means.reset_index().assign(step=step))


def collect_traces(
    backbone: Backbone, problems: Sequence[Problem], config: Config, folder: Path, samples: int, stage: str = "traces"
) -> Dataset:
    """One greedy and `samples` sampled traces of the frozen backbone a problem; resumes where a killed run stopped.

    Returns:
        A row a trace: the columns of `outcome_row`, `token_ids` and `confidence` (a value a generated token).
    """
    return trace_parts(backbone, problems, config, folder, samples, stage).keep()


def trace_parts(
    backbone: Backbone, problems: Sequence[Problem], config: Config, folder: Path, samples: int, stage: str = "traces"
) -> Parts[Job]:
    """The parts that `collect_traces` makes, for whoever has them made by many processes."""
    jobs, temperature = jobs_for(problems, range(samples + 1)), config.traces.temperature
    plan = plan_of(backbone, jobs, config) | code_of(__name__) | {"temperature": temperature}
    make = partial(_trace_rows, backbone, config)
    return Parts(folder, stage, jobs, config.decoding.problems_per_part, plan, make)


def _trace_rows(
    backbone: Backbone, config: Config, jobs: Sequence[Job], on_finished: Callable[[int], None]
) -> list[dict[str, Any]]:
    written = write_generations(backbone, jobs, config, None, config.traces.temperature, on_finished)
    return [
        outcome_row(job, generation, backbone)
        | {"token_ids": generation.token_ids, "confidence": generation.confidence}
        for job, generation in written
    ]


def plan_of(backbone: Backbone, jobs: Sequence[Job], config: Config) -> Plan:
    """What any generation depends on, beside code and steering: after a change of it, what was generated is stale.

    Batch size and workers are among it: they shape batches, and so how numbers are rounded. So are the questions, word
    for word: one problem may be asked with its numbers, or its choices, in another order.
    """
    return {
        "backbone": backbone.identity,
        "device": describe_device(backbone.device),
        "decoding": config.decoding.model_dump(),
        "problems": fingerprint([[problem.id, problem.question, seed] for problem, seed in jobs]),
    }
