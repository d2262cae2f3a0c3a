"""The whole method as one function: what notebooks 1 to 5 do step by step, for experiments that repeat it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from datasets import Dataset

from lrs.experiment.causal import fit_causal
from lrs.experiment.dose import keep_doses
from lrs.experiment.evaluation import Artifacts, evaluate
from lrs.experiment.prompting import prompting_for
from lrs.experiment.selection import candidates, choose_settings, try_settings
from lrs.experiment.signals import keep_signals
from lrs.experiment.traces import collect_traces
from lrs.learning.bases import fit_basis
from lrs.learning.reward_training import fit_reward
from lrs.method.arms import ARMS, bases_for, rewards_for, signals_for
from lrs.method.setting import Setting
from lrs.models.activations import replay_later
from lrs.models.backbones import Backbone
from lrs.models.devices import describe_device
from lrs.saved import describe_run, freeze, load_outcomes, load_selection
from lrs.tasks.problems import Problem
from lrs.tasks.splits import assert_unseen

if TYPE_CHECKING:
    from lrs.config import Config


def fit_all(backbone: Backbone, problems: Sequence[Problem], config: Config) -> Artifacts:
    """Traces of the problems for rewards, and every dictionary and reward that the profile's arms need."""
    data, rewards = config.data, rewards_for(config.steering.arms, shown=())
    traces = collect_traces(backbone, problems, config, data / "traces", config.traces.samples)
    replay = replay_later(backbone, config.backbone.layer, traces, problems, config.decoding.batch_size)
    for basis in bases_for(rewards):
        fit_basis(basis, backbone, traces, replay, config)
    for name, kind in rewards.items():
        if kind.pushes:
            fit_causal(kind, backbone, problems, config, data / "reward" / name)
        else:
            fit_reward(kind, config, data / "reward" / name)
    return Artifacts(backbone, config, rewards)


def settings_and_doses(
    backbone: Backbone, problems: Sequence[Problem], config: Config, artifacts: Artifacts, folder: Path
) -> tuple[Dataset, list[Setting], dict[str, float]]:
    """What has to be known before anything is tried: the unsteered traces of validation problems, the profile's grid
    with thresholds at quantiles of their signals, and the dose of each setting along them. Made once and kept."""
    base = collect_traces(backbone, problems, config, folder / "base", samples=0, stage="validation: base")
    others = signals_for(config.steering.arms)
    signals = keep_signals(backbone, base, problems, artifacts, config, folder / "signals", others)
    settings = candidates(config.select, config.steering.arms, signals)
    return base, settings, keep_doses(backbone, settings, base, problems, artifacts, config, folder / "doses")


def try_all(
    backbone: Backbone, problems: Sequence[Problem], config: Config, artifacts: Artifacts, folder: Path
) -> tuple[list[Setting], pd.DataFrame]:
    """Every setting of the profile's grid on validation problems; and its `candidate_row`s, the chosen ones marked."""
    base, settings, doses = settings_and_doses(backbone, problems, config, artifacts, folder)
    rows = try_settings(backbone, problems, settings, artifacts, config, folder, doses, base.to_pandas())
    return settings, choose_settings(pd.DataFrame(rows), config.select.dose_cap)


def run_whole(backbone: Backbone, problems: Sequence[Problem], config: Config) -> pd.DataFrame:
    """From traces to test outcomes; all of it is kept under `config.data`, and a killed run resumes.

    Args:
        problems: of all three splits.

    Returns:
        The outcomes of every arm of the profile on the test problems: see `lrs.saved.load_outcomes`.

    Raises:
        ValueError: a test problem is among those that were trained or selected on; or all traces are right, or all
            wrong.
    """
    reward, _, _ = _parts(problems)
    return select_and_test(backbone, problems, fit_all(backbone, reward, config), config)


def select_and_test(
    backbone: Backbone, problems: Sequence[Problem], artifacts: Artifacts, config: Config
) -> pd.DataFrame:
    """The second half of `run_whole`, with dictionaries and rewards that are there.

    Args:
        problems: of all three splits.

    Raises:
        ValueError: a test problem is among those that were trained or selected on.
    """
    _, validation, test = _parts(problems)
    data = config.data
    settings, table = try_all(backbone, validation, config, artifacts, data / "validation")
    freeze(table, settings, backbone.identity, artifacts.digests, config, data / "selection.json")
    selection = load_selection(data / "selection.json", backbone.identity, artifacts.digests)
    describe_run(config, describe_device(backbone.device), data / "outcomes")
    for arm in config.steering.arms:
        asked = prompting_for(ARMS[arm], backbone, test, config)
        for decoding, how in config.steering.decodings.items():
            setting, place = selection.get(decoding, {}).get(arm), data / "outcomes" / arm / decoding
            evaluate(backbone, test, ARMS[arm], setting, artifacts, config, place, how, asked)
    return load_outcomes(data / "outcomes", config.steering)


def _parts(problems: Sequence[Problem]) -> tuple[list[Problem], list[Problem], list[Problem]]:
    """Those for rewards, for validation and for the test, none of which is among the others."""
    reward, validation, test = ([p for p in problems if p.split == s] for s in ("reward", "validation", "test"))
    assert_unseen(test, {problem.id for problem in (*reward, *validation)})
    return reward, validation, test
