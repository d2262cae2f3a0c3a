"""Evaluation: arms on problems, to outcome tables of one row a problem, arm and seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lrs.core.closure import code_of
from lrs.core.kept import Parts, digest_of
from lrs.engine.requests import SteeringRecord
from lrs.experiment.traces import Job, jobs_for, outcome_row, plan_of, write_generations
from lrs.method.ascent import Ascent
from lrs.method.dictionary import Dictionary, ProjectionDictionary, SaeDictionary, load_dictionary
from lrs.method.gate import ALWAYS, Gate
from lrs.method.reward import LatentRewardModel, Reward, load_reward
from lrs.method.setting import Arm, RewardKind, Setting, Signal, check_setting
from lrs.method.steering import Steering, check_fit
from lrs.method.turned import Turned
from lrs.models.backbones import Backbone
from lrs.tasks.problems import Problem, first_of_each
from lrs.tasks.prompts import PLAIN, Prompting

if TYPE_CHECKING:
    from lrs.config import Config, DecodingSection, SamplingSection

_UNSTEERED = SteeringRecord(0, reward_before=float("nan"), reward_after=float("nan"), push_ratio=float("nan"))


class Artifacts:
    """The profile's dictionaries and reward models, loaded when first used, for the backbone they are to steer.

    Attributes:
        bases: in which each reward reads activations, by its name.
        digests: of what is kept of each: of every reward by its name, of every dictionary by its `dictionary_key`.

    Args:
        rewards: those that are needed, by name.
    """

    def __init__(self, backbone: Backbone, config: Config, rewards: Mapping[str, RewardKind]):
        self.layer = config.backbone.layer
        self._backbone = backbone
        self._rewards = {name: config.data / "reward" / name for name in rewards}
        self.bases = {name: kind.basis for name, kind in rewards.items()}
        self._dictionaries = {basis: config.dictionary(basis) for basis in ("sae", *self.bases.values())}
        named = {dictionary_key(basis): folder for basis, folder in self._dictionaries.items()} | self._rewards
        self.digests = {name: digest_of(folder) for name, folder in named.items()}

    @cached_property
    def dictionaries(self) -> dict[str, SaeDictionary | ProjectionDictionary]:
        """By basis, checked against backbone and layer; the autoencoder's is always there."""
        made_for = self._backbone.identity, self.layer, self._backbone.device
        return {basis: load_dictionary(folder, *made_for) for basis, folder in self._dictionaries.items()}

    @cached_property
    def rewards(self) -> dict[str, LatentRewardModel]:
        """By name, as they are kept."""
        return {name: load_reward(folder, self._backbone.device) for name, folder in self._rewards.items()}

    def steering(self, arm: Arm, setting: Setting) -> Steering:
        """The steering of an arm at a setting, in the basis of its reward."""
        dictionary, rewards = self.dictionaries[self.bases[arm.climbs]], dict[str, Reward](self.rewards)
        if arm.paced:
            rewards[arm.climbs] = Turned(rewards[arm.paced], rewards[arm.climbs], dictionary.W_dec)
        return steering_for(arm, setting, self.layer, dictionary, rewards)


def dictionary_key(basis: str) -> str:
    """By which plans know the dictionary of a basis: rewards have names of their own."""
    return f"dictionary of {basis}"


def steering_for(
    arm: Arm, setting: Setting, layer: int, dictionary: Dictionary, rewards: Mapping[str, Reward]
) -> Steering:
    """The steering of an arm at a setting."""
    step = -setting.step_size if arm.descends else setting.step_size
    return Steering(layer, dictionary, rewards[arm.climbs], _gate(arm, setting), Ascent(setting.num_steps, step))


def _gate(arm: Arm, setting: Setting) -> Gate:
    if not arm.gated:
        return ALWAYS
    if setting.reward_threshold is None or setting.confidence_threshold is None:
        raise ValueError(f"arm {arm.name!r} has a gate, and its setting no thresholds")
    signal: Signal = "confidence" if arm.gated is True or arm.gated == "reward" else arm.gated
    return Gate(setting.reward_threshold, setting.confidence_threshold, signal)


def evaluate(
    backbone: Backbone,
    problems: Sequence[Problem],
    arm: Arm,
    setting: Setting | None,
    artifacts: Artifacts | None,
    config: Config,
    folder: Path,
    sampling: SamplingSection | None = None,
    prompting: Prompting = PLAIN,
) -> pd.DataFrame:
    """Outcomes of one arm on `problems`, in one decoding; resumes where a killed run stopped.

    Args: those of `outcome_parts`.

    Returns:
        A row a problem and seed: see `outcome_row`, plus arm, shots (worked examples in its prompt), steered_tokens,
        reward_before, reward_after, push_ratio.

    Raises:
        ValueError: as in `outcome_parts`.
    """
    parts = outcome_parts(backbone, problems, arm, setting, artifacts, config, folder, sampling, prompting)
    return parts.keep().to_pandas()


def outcome_parts(
    backbone: Backbone,
    problems: Sequence[Problem],
    arm: Arm,
    setting: Setting | None,
    artifacts: Artifacts | None,
    config: Config,
    folder: Path,
    sampling: SamplingSection | None = None,
    prompting: Prompting = PLAIN,
) -> Parts[Job]:
    """The parts that `evaluate` makes, for whoever has them made by many processes.

    Args:
        setting: of a steered arm; None for the others.
        artifacts: what it steers with.
        sampling: how the first problems of each benchmark are sampled (seeds from 1; arms share their random numbers);
            None: every problem is answered greedily (seed 0).
        prompting: what stands around the questions, of `lrs.experiment.prompting.prompting_for`.

    Raises:
        ValueError: a steered arm without a setting of its own, or another arm with one; an arm that asks in another
            way without its prompting, or another arm with one; or what it steers with does not fit the backbone.
    """
    check_setting(arm, setting)
    if (arm.prompt == "plain") != (prompting == PLAIN):
        needs = "needs its prompting" if prompting == PLAIN else "takes no prompting"
        raise ValueError(f"arm {arm.name!r} {needs}: give `evaluate` what `prompting_for` returns")
    if arm.name == "placebo":
        config = config.model_copy(update={"decoding": other_geometry(config.decoding)})
    jobs, temperature = jobs_asked(problems, sampling), sampling.temperature if sampling else 0.0
    plan = plan_of(backbone, jobs, config) | code_of(__name__)
    plan |= {"arm": arm._asdict(), "temperature": temperature}
    if prompting != PLAIN:
        plan |= {"prompting": [prompting.instruction, dict(prompting.examples), dict(prompting.own)]}
    load: Callable[[], Steering] | None = None
    if setting:
        if artifacts is None:
            raise ValueError(f"arm {arm.name!r} steers, and nothing is given that it could steer with")
        named = [dictionary_key(artifacts.bases[arm.climbs]), *arm.reads]
        read = {name: artifacts.digests[name] for name in named}
        load = partial(artifacts.steering, arm, setting)
        plan |= {"setting": setting.model_dump(), "artifacts": read, "layer": artifacts.layer}

    @cache  # loads nothing where all parts are kept
    def steering() -> Steering | None:
        if load is None:
            return None
        loaded = load()
        check_fit(loaded, backbone.d_model)
        return loaded

    def make(jobs: Sequence[Job], on_finished: Callable[[int], None]) -> list[dict[str, Any]]:
        written = write_generations(backbone, jobs, config, steering(), temperature, on_finished, prompting)
        return [
            outcome_row(job, generation, backbone)
            | {"arm": arm.name, "shots": len(prompting.examples.get(job[0].benchmark, ()))}
            | asdict(generation.steering or _UNSTEERED)
            for job, generation in written
        ]

    stage = f"{folder.parent.parent.name}: {setting.name if setting else arm.name}, {folder.name}"
    return Parts(folder, stage, jobs, config.decoding.problems_per_part, plan, make)


def jobs_asked(problems: Sequence[Problem], sampling: SamplingSection | None) -> list[Job]:
    """What `evaluate` generates, in one decoding."""
    if not sampling:
        return jobs_for(problems)
    return jobs_for(first_of_each(problems, sampling.problems), range(1, sampling.samples + 1))


def other_geometry(decoding: DecodingSection) -> DecodingSection:
    """The same decoding in batches of another shape: equal in exact arithmetic, not in rounding."""
    return decoding.model_copy(update={"batch_size": max(1, decoding.batch_size // 2 - 1)})
