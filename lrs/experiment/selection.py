"""Selection: one configuration an arm and decoding, chosen on the validation problems alone and frozen to a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from lrs.core.statistics import bootstrap_interval
from lrs.experiment.evaluation import Artifacts, evaluate
from lrs.method.arms import ARMS, STEERED
from lrs.method.setting import Arm, Setting
from lrs.models.backbones import Backbone
from lrs.tasks.problems import Problem

if TYPE_CHECKING:
    from lrs.config import Config, SamplingSection, SelectSection, StatisticsSection


def candidates(grid: SelectSection, arms: Sequence[str], signals: pd.DataFrame) -> list[Setting]:
    """Every setting of the grid for every steered one of `arms` that matches no other, thresholds at quantiles of the
    unsteered signals."""
    settings = []
    for arm in (name for name in STEERED if name in arms and not ARMS[name].matches):
        for num_steps, step_size in product(grid.num_steps, grid.step_size):
            mild = Setting(arm=arm, num_steps=num_steps, step_size=step_size)
            if not ARMS[arm].gated:
                settings.append(mild)
                continue
            if fixed := ARMS[arm].thresholds:
                thresholds = dict(zip(("reward_threshold", "confidence_threshold"), fixed, strict=True))
                settings.append(mild.model_copy(update=thresholds))
                continue
            for quantiles in product(grid.reward_quantile, grid.confidence_quantile):
                settings.append(mild.model_copy(update=thresholds_at(*quantiles, ARMS[arm], signals)))
    return list({setting.name: setting for setting in settings}.values())


def thresholds_at(
    reward_quantile: float, confidence_quantile: float, arm: Arm, signals: pd.DataFrame
) -> dict[str, float]:
    """What a setting says of a gate whose clauses lie at quantiles of the unsteered signals; one of a single clause, of
    whatever signal, fires at as many tokens as the paper's two together would, or at a share of the arm's own."""
    reward, confidence = signals[arm.paced or arm.reward], signals["confidence"]  # what its gate reads
    low = reward < reward.quantile(reward_quantile)
    share = arm.fires or float((low | (confidence < confidence.quantile(confidence_quantile))).mean())
    if arm.gated == "reward":
        reward_quantile, confidence_quantile = share, 0.0
    elif arm.gated is not True:
        reward_quantile, confidence_quantile, confidence = 0.0, share, signals[arm.gated]
    return {
        "reward_quantile": reward_quantile,
        "confidence_quantile": confidence_quantile,
        "reward_threshold": float(reward.quantile(reward_quantile)) if reward_quantile else 0.0,
        "confidence_threshold": float(confidence.quantile(confidence_quantile)) if confidence_quantile else 0.0,
    }


class Trial(NamedTuple):
    """What is generated to try a setting in one decoding, or (without one) the unsteered model's samples beside it."""

    arm: str
    setting: Setting | None
    decoding: str
    sampling: SamplingSection | None
    folder: Path


def trials(
    settings: Sequence[Setting], problems: Sequence[Problem], config: Config, folder: Path
) -> dict[str, list[Trial]]:
    """By decoding, what `try_settings` generates on all validation problems; the unsteered one first, where sampled."""
    found: dict[str, list[Trial]] = {}
    for decoding, how in config.steering.decodings.items():
        how = how and how.model_copy(update={"problems": len(problems)})  # all of them
        unsteered = [Trial("base", None, decoding, how, folder / "unsteered" / decoding)] if how else []
        tried = [Trial(one.arm, one, decoding, how, folder / one.name / decoding) for one in settings]
        found[decoding] = [*unsteered, *tried] if settings else []
    return found


def try_settings(
    backbone: Backbone,
    problems: Sequence[Problem],
    settings: Sequence[Setting],
    artifacts: Artifacts,
    config: Config,
    folder: Path,
    doses: Mapping[str, float],
    greedy: pd.DataFrame,
) -> list[dict[str, Any]]:
    """A `candidate_row` for every setting and decoding, on all validation problems; resumes where a killed run stopped.

    Args:
        folder: receives the outcomes of each setting, and the unsteered model's samples.
        doses: nats a token, by the name of a setting.
        greedy: the unsteered model's greedy outcomes.
    """
    rows = []
    for tried in trials(settings, problems, config, folder).values():
        base = greedy
        for arm, setting, _, how, place in tried:
            outcomes = evaluate(backbone, problems, ARMS[arm], setting, artifacts, config, place, how)
            if setting is None:
                base = outcomes
            else:
                rows.append(candidate_row(setting, outcomes, base, doses[setting.name], config.statistics))
    return rows


def candidate_row(
    setting: Setting, outcomes: pd.DataFrame, base: pd.DataFrame, dose: float, statistics: StatisticsSection
) -> dict[str, Any]:
    """A setting's result on validation in one decoding, paired with base; accuracies are means over benchmarks.

    Args:
        outcomes, base: of one decoding, with the same problems and seeds.
        dose: nats a token, of `lrs.experiment.dose`.
    """
    keys = ["problem_id", "seed"]
    paired = outcomes.merge(base[[*keys, "correct"]], on=keys, suffixes=("", "_base"), validate="1:1")
    difference = paired["correct"].astype(int) - paired["correct_base"].astype(int)
    by_problem = difference.groupby([paired["benchmark"], paired["problem_id"]], sort=False).mean()
    low, high = bootstrap_interval(
        by_problem.to_numpy(),
        statistics.confidence_level,
        statistics.bootstrap_resamples,
        seed=0,
        strata=by_problem.index.get_level_values("benchmark").to_numpy(),
    )
    return {
        "name": setting.name,
        "arm": setting.arm,
        "decoding": outcomes["decoding"].iloc[0],
        "num_steps": setting.num_steps,
        "step_size": setting.step_size,
        "reward_quantile": setting.reward_quantile,
        "confidence_quantile": setting.confidence_quantile,
        "dose": dose,
        "n": len(by_problem),
        "accuracy": outcomes.groupby("benchmark")["correct"].mean().mean(),
        "delta": difference.groupby(paired["benchmark"]).mean().mean(),
        "delta_low": low,
        "delta_high": high,
        "wins": int((difference > 0).sum()),
        "losses": int((difference < 0).sum()),
        "steered_fraction": outcomes["steered_tokens"].sum() / outcomes["processed_tokens"].sum(),
        "push_ratio": np.nanmean(outcomes["push_ratio"]) if outcomes["push_ratio"].notna().any() else 0.0,
    }


def choose_settings(table: pd.DataFrame, dose_cap: float) -> pd.DataFrame:
    """Mark one setting an arm and decoding as chosen: the most accurate whose dose is within the cap, of equals the one
    of least dose; where none is within it, the one of least dose.

    Args:
        table: of `candidate_row`s.
        dose_cap: nats a token.

    Returns:
        The table with `within_cap` and `chosen`.
    """
    table = table.assign(within_cap=table["dose"] <= dose_cap, chosen=False)
    for _, rows in table.groupby(["arm", "decoding"], sort=False):
        legal = rows[rows["within_cap"]] if rows["within_cap"].any() else rows.nsmallest(1, "dose")
        best = legal[legal["accuracy"] >= legal["accuracy"].max() - 1e-12]
        table.loc[best["dose"].idxmin(), "chosen"] = True
    return table
