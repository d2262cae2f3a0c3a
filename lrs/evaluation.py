"""Evaluation: arms on problems, to outcome tables of one row a problem, arm and seed."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from lrs.arms import ARMS, Setting, check_setting
from lrs.ascent import Ascent
from lrs.backbones import Backbone
from lrs.config import Config, Decoding, Sampling
from lrs.devices import describe_device
from lrs.dictionary import Dictionary, SaeDictionary, load_dictionary
from lrs.gate import ALWAYS, Gate
from lrs.problems import Problem, by_benchmark
from lrs.prompts import PLAIN, Prompting, Turn, prompt_ids, question_ids
from lrs.reward import LatentRewardModel, load_reward
from lrs.steering import Steering, SteeringRecord, check_fit
from lrs.store import file_digest, make_parts, write_text
from lrs.traces import Job, jobs_for, outcome_row, plan_of, write_generations
from lrs.worked_examples import worked_examples

_UNSTEERED = SteeringRecord(0, reward_before=float("nan"), reward_after=float("nan"), push_ratio=float("nan"))


class Artifacts:
    """The profile's trained dictionary and reward models, checked against the backbone they are to steer."""

    def __init__(self, backbone: Backbone, config: Config):
        folders = [config.data / "sae", config.data / "reward" / "token", config.data / "reward" / "history"]
        layer = config.backbone.layer
        self.layer = layer
        self.dictionary: SaeDictionary = load_dictionary(folders[0], backbone.identity, layer, backbone.device)
        self.rewards: dict[str, LatentRewardModel] = {
            folder.name: load_reward(folder, backbone.device) for folder in folders[1:]
        }
        self.identity = [file_digest(path) for folder in folders for path in sorted(folder.glob("*.safetensors"))]


def steering_for(
    setting: Setting, layer: int, dictionary: Dictionary, rewards: Mapping[str, LatentRewardModel]
) -> Steering:
    """The steering of an arm at a setting."""
    arm = ARMS[setting.arm]
    gate = Gate(setting.reward_threshold, setting.confidence_threshold) if arm.gated else ALWAYS
    return Steering(layer, dictionary, rewards[arm.reward], gate, Ascent(setting.num_steps, setting.step_size))


def evaluate(
    backbone: Backbone,
    problems: Sequence[Problem],
    arm: str,
    setting: Setting | None,
    artifacts: Artifacts | None,
    config: Config,
    folder: Path,
    sampling: Sampling | None = None,
) -> pd.DataFrame:
    """Outcomes of one arm on `problems`, decoded greedily (seed 0); resumes where a killed run stopped.

    Args:
        setting: of a steered arm; None for the others.
        artifacts: what it steers with.
        sampling: how the first problems of each benchmark are sampled too (seeds from 1); None: greedy answers alone.
            Arms share their random numbers.

    Returns:
        A row a problem and seed: see `outcome_row`, plus arm, shots (worked examples in its prompt), steered_tokens,
        reward_before, reward_after, push_ratio.

    Raises:
        ValueError: a steered arm without a setting of its own, or another arm with one.
    """
    check_setting(arm, setting)
    steering = steering_for(setting, artifacts.layer, artifacts.dictionary, artifacts.rewards) if setting else None
    if steering:
        check_fit(steering, backbone.d_model)
    prompting = prompting_for(arm, backbone, problems, config)
    if arm == "placebo":
        config = config.model_copy(update={"decoding": other_geometry(config.decoding)})

    def make(jobs: Sequence[Job], on_finished: Callable[[int], None]) -> list[dict[str, Any]]:
        written = write_generations(backbone, jobs, config, steering, temperature, on_finished, prompting)
        return [
            outcome_row(job, generation, backbone)
            | {"arm": arm, "shots": len(prompting.examples.get(job[0].benchmark, ()))}
            | asdict(generation.steering or _UNSTEERED)
            for job, generation in written
        ]

    jobs, temperature = jobs_for(problems), 0.0
    if sampling:
        first = [problem for asked in by_benchmark(problems).values() for problem in asked[: sampling.problems]]
        jobs += jobs_for(first, range(1, sampling.samples + 1))
        temperature = sampling.temperature
    plan = plan_of(backbone, jobs, config) | {
        "temperature": temperature,
        "prompting": [prompting.instruction, dict(prompting.examples)],
    }
    if setting:
        plan |= {"setting": setting.model_dump(), "artifacts": artifacts.identity}
    stage = f"{folder.parent.name}: {setting.name if setting else arm}"
    return make_parts(folder, stage, jobs, config.decoding.problems_per_part, plan, make).to_pandas()


def prompting_for(arm: str, backbone: Backbone, problems: Sequence[Problem], config: Config) -> Prompting:
    """What an arm puts around the questions of `problems`: of the worked examples, as many as fit into the context."""
    if ARMS[arm].prompt == "instructed":
        return Prompting(instruction=config.prompting.instruction)
    if ARMS[arm].prompt == "plain":
        return PLAIN
    room = backbone.context - config.decoding.max_new_tokens
    examples: dict[str, list[Turn]] = {}
    for benchmark, asked in by_benchmark(problems).items():
        longest = max(asked, key=lambda problem: len(prompt_ids(problem, backbone.tokenizer)))
        shown = worked_examples(benchmark, config)
        while shown and len(question_ids(longest.question, backbone.tokenizer, shown)) > room:
            shown.pop()
        examples[benchmark] = shown
    return Prompting(examples=examples)


def other_geometry(decoding: Decoding) -> Decoding:
    """The same decoding in batches of another shape: equal in exact arithmetic, not in rounding."""
    return decoding.model_copy(update={"batch_size": max(1, decoding.batch_size // 2 - 1)})


def describe_run(backbone: Backbone, config: Config, folder: Path) -> None:
    """Write beside the outcomes what every table has to say about where they come from."""
    about = {"backbone": config.backbone_name, "device": describe_device(backbone.device), "profile": config.profile}
    write_text(folder / "about.json", json.dumps(about | {"seed": config.seed}, indent=2, sort_keys=True) + "\n")
