"""The released method at the paper's own settings, one for each benchmark: to be read beside its Table 1.

These settings were found on the problems on which they are reported, so what comes of them is no evidence for the
method; our protocol, in which one setting is chosen on other problems, is what `lrs_published` has in the pipeline.
Beside it stands the unsteered model, asked plainly and with as many worked examples as the paper shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from lrs.experiment.evaluation import Artifacts, evaluate
from lrs.experiment.prompting import prompting_for
from lrs.method.arms import ARMS, rewards_for
from lrs.method.setting import Arm, Setting
from lrs.models.backbones import Backbone, load_backbone
from lrs.models.devices import describe_device
from lrs.report.comparison import compare_arms
from lrs.report.paper import published_settings
from lrs.saved import AS_PUBLISHED, write_measured
from lrs.tasks.problems import Problem, by_benchmark, load_problems
from lrs.tasks.prompts import Prompting

if TYPE_CHECKING:
    from lrs.config import Config

_ARM = "lrs_published"
_SHOTS = 5  # worked examples that the paper's few-shot prompts have
_SCRATCH = Path("build/published")  # outcomes, from which a killed run resumes


def settings_of(config: Config) -> dict[str, Setting]:
    """The paper's setting of each benchmark of the profile that it has one for, for this backbone.

    Raises:
        ValueError: the paper has none for this backbone.
    """
    table = published_settings()
    own = table[table["backbone"] == config.backbone_name].drop(columns="backbone").set_index("benchmark")
    if own.empty:
        legal = ", ".join(table["backbone"].unique())
        raise ValueError(f"the paper has no settings for backbone {config.backbone_name!r}; legal: {legal}")
    return {name: Setting(arm=_ARM, **own.loc[name].to_dict()) for name in own.index if name in config.benchmarks}


def published_prompting(arm: Arm, backbone: Backbone, problems: Sequence[Problem], config: Config) -> Prompting:
    """What an arm puts around the questions: `prompting_for`, with the paper's number of worked examples in place of
    the profile's."""
    shown = config.prompting.model_copy(update={"shots": _SHOTS})
    return prompting_for(arm, backbone, problems, config.model_copy(update={"prompting": shown}))


def measure_as_published(config: Config, home: Path = AS_PUBLISHED) -> pd.DataFrame:
    """Answer the test problems of one backbone of a profile that was run, greedily, unsteered, after worked examples
    and as published, and write `<profile>-<backbone>.csv`: `compare_arms`, with the setting of each benchmark and the
    worked examples that were shown (shots), which are fewer where the context holds fewer."""
    backbone = load_backbone(config.backbone.path, config.device, config.dtype)
    artifacts = Artifacts(backbone, config, rewards_for([_ARM], shown=()))
    asked = by_benchmark(load_problems(config.data / "problems", split="test"))
    place, settings = _SCRATCH / config.profile / config.backbone_name, settings_of(config)
    parts = []
    for name, setting in settings.items():
        for arm, chosen in (("base", None), ("few_shot", None), (_ARM, setting)):
            prompting = published_prompting(ARMS[arm], backbone, asked[name], config)
            folder = place / name / arm
            answers = evaluate(backbone, asked[name], ARMS[arm], chosen, artifacts, config, folder, prompting=prompting)
            parts.append(answers)
    outcomes = pd.concat(parts, ignore_index=True).assign(backbone=config.backbone_name)
    table = compare_arms(outcomes, config.statistics, seed=config.seed)
    told = pd.DataFrame([{"benchmark": name} | setting.model_dump() for name, setting in settings.items()])
    shown = ["benchmark", "arm", "num_steps", "step_size", "reward_threshold", "confidence_threshold"]
    table = table.merge(told[shown], on=["benchmark", "arm"], how="left")
    shots = outcomes.groupby(["benchmark", "arm"], as_index=False)["shots"].max()
    table = table.merge(shots, on=["benchmark", "arm"], how="left")
    table = table.assign(device=describe_device(backbone.device), profile=config.profile)
    write_measured(table, f"{config.profile}-{config.backbone_name}", home)
    return table
