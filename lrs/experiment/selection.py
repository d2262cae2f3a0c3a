"""Selection: one configuration an arm, chosen on the validation problems alone and frozen to a file."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lrs.core.statistics import bootstrap_interval
from lrs.method.arms import ARMS, STEERED
from lrs.method.setting import Setting

if TYPE_CHECKING:
    from lrs.config import SelectSection, StatisticsSection


def candidates(grid: SelectSection, signals: pd.DataFrame) -> list[Setting]:
    """Every setting of the grid for every steered arm, thresholds set at quantiles of the unsteered signals."""
    settings = []
    for arm in STEERED:
        for num_steps, step_size in product(grid.num_steps, grid.step_size):
            mild = Setting(arm=arm, num_steps=num_steps, step_size=step_size)
            if not ARMS[arm].gated:
                settings.append(mild)
                continue
            for reward_quantile, confidence_quantile in product(grid.reward_quantile, grid.confidence_quantile):
                thresholds = {
                    "reward_quantile": reward_quantile,
                    "confidence_quantile": confidence_quantile,
                    "reward_threshold": float(signals[ARMS[arm].reward].quantile(reward_quantile)),
                    "confidence_threshold": float(signals["confidence"].quantile(confidence_quantile)),
                }
                settings.append(mild.model_copy(update=thresholds))
    return settings


def candidate_row(
    setting: Setting, outcomes: pd.DataFrame, base: pd.DataFrame, statistics: StatisticsSection
) -> dict[str, Any]:
    """A setting's result on validation, paired with base by problem; accuracies are means over benchmarks."""
    paired = outcomes.merge(base[["problem_id", "correct"]], on="problem_id", suffixes=("", "_base"), validate="1:1")
    difference = paired["correct"].astype(int) - paired["correct_base"].astype(int)
    low, high = bootstrap_interval(
        difference.to_numpy(),
        statistics.confidence_level,
        statistics.bootstrap_resamples,
        seed=0,
        strata=paired["benchmark"].to_numpy(),
    )
    return {
        "name": setting.name,
        "arm": setting.arm,
        "num_steps": setting.num_steps,
        "step_size": setting.step_size,
        "reward_quantile": setting.reward_quantile,
        "n": len(paired),
        "accuracy": outcomes.groupby("benchmark")["correct"].mean().mean(),
        "delta": difference.groupby(paired["benchmark"]).mean().mean(),
        "delta_low": low,
        "delta_high": high,
        "wins": int((difference > 0).sum()),
        "losses": int((difference < 0).sum()),
        "steered_fraction": outcomes["steered_tokens"].sum() / outcomes["processed_tokens"].sum(),
        "push_ratio": np.nanmean(outcomes["push_ratio"]) if outcomes["push_ratio"].notna().any() else 0.0,
    }


def paired_standard_error(first: pd.DataFrame, second: pd.DataFrame) -> float:
    """Standard error of the difference of two accuracies on the same problems (means over benchmarks)."""
    paired = first.merge(second[["problem_id", "correct"]], on="problem_id", suffixes=("", "_2"), validate="1:1")
    difference = paired["correct"].astype(float) - paired["correct_2"].astype(float)
    groups = difference.groupby(paired["benchmark"])
    return float(np.sqrt((groups.var(ddof=1) / groups.size()).sum()) / groups.ngroups)


def choose_settings(table: pd.DataFrame, outcomes: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Mark one setting an arm as chosen: the mildest within one paired standard error of the arm's best.

    Mildest is the smallest push, steered_fraction * push_ratio, averaged over tokens.

    Args:
        table: of `candidate_row`s.
        outcomes: the validation outcomes by the setting's name.

    Returns:
        The table with mildness; behind, the distance to the arm's best accuracy, and standard_error, that of this
        distance; and chosen.
    """
    table = table.assign(mildness=table["steered_fraction"] * table["push_ratio"], chosen=False)
    for _, rows in table.groupby("arm", sort=False):
        best = rows.loc[rows["accuracy"].idxmax()]
        table.loc[rows.index, "behind"] = best["accuracy"] - rows["accuracy"]
        errors = [paired_standard_error(outcomes[best["name"]], outcomes[name]) for name in rows["name"]]
        table.loc[rows.index, "standard_error"] = errors
        close = table["behind"] <= table["standard_error"] + 1e-12
        table.loc[rows.loc[close[rows.index], "mildness"].idxmin(), "chosen"] = True
    return table
