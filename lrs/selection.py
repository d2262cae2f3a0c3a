"""Selection: one configuration an arm, chosen on the validation problems alone and frozen to a file."""

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset

from lrs.arms import ARMS, STEERED, Setting
from lrs.backbones import Backbone
from lrs.config import Config, Select, Statistics
from lrs.evaluation import Artifacts
from lrs.latents import encode_traces, replay_traces
from lrs.problems import Problem
from lrs.reward_training import score_traces
from lrs.statistics import bootstrap_interval
from lrs.store import StoreError, write_text


def gate_signals(
    backbone: Backbone, traces: Dataset, problems: Sequence[Problem], artifacts: Artifacts, config: Config
) -> pd.DataFrame:
    """What a gate would see on unsteered traces.

    Returns:
        A row a processed token: confidence (1 at the first token) and, by variant, the reward: token, history.
    """
    activations = replay_traces(backbone, artifacts.layer, traces, problems, config.decoding.batch_size)
    latents = encode_traces(artifacts.dictionary, activations, traces)
    order = np.arange(len(latents))
    scored = {
        variant: score_traces(model, latents, order, config.decoding.batch_size).set_index(["problem_id", "position"])
        for variant, model in artifacts.rewards.items()
    }
    confidence = {
        (problem, position): value if position else 1.0
        for problem, values in zip(traces["problem_id"], traces["confidence"], strict=True)
        for position, value in enumerate(values[:-1])
    }
    signals = pd.DataFrame({variant: scores["probability"] for variant, scores in scored.items()})
    return signals.assign(confidence=[confidence[key] for key in signals.index]).reset_index()


def candidates(grid: Select, signals: pd.DataFrame) -> list[Setting]:
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
    setting: Setting, outcomes: pd.DataFrame, base: pd.DataFrame, statistics: Statistics
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


def choose(table: pd.DataFrame, outcomes: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Mark one setting an arm as chosen: the mildest within one paired standard error of the arm's best.

    Mildest is the smallest push, steered_fraction * push_ratio, averaged over tokens.

    Args:
        table: of `candidate_row`s.
        outcomes: the validation outcomes by the setting's name.
    """
    table = table.assign(mildness=table["steered_fraction"] * table["push_ratio"], chosen=False)
    for _, rows in table.groupby("arm", sort=False):
        best = rows.loc[rows["accuracy"].idxmax()]
        close = [
            index
            for index, row in rows.iterrows()
            if best["accuracy"] - row["accuracy"]
            <= paired_standard_error(outcomes[best["name"]], outcomes[row["name"]]) + 1e-12
        ]
        table.loc[rows.loc[close, "mildness"].idxmin(), "chosen"] = True
    return table


def freeze(table: pd.DataFrame, settings: Sequence[Setting], backbone: Backbone, config: Config, path: Path) -> None:
    """Write the chosen settings, the whole table behind them, and what they were chosen for."""
    chosen = set(table.loc[table["chosen"], "name"])
    rows = json.loads(table.to_json(orient="records", double_precision=10))
    content = {
        "profile": config.profile,
        "backbone": backbone.identity,
        "layer": config.backbone.layer,
        "chosen": {setting.arm: setting.model_dump() for setting in settings if setting.name in chosen},
        "candidates": rows,
    }
    write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")


def load_selection(path: Path, backbone: Backbone) -> dict[str, Setting]:
    """The frozen setting of each arm.

    Raises:
        StoreError: nothing was selected yet, or it was for another backbone.
    """
    if not path.exists():
        raise StoreError(f"no selection at {path}; run stage `select` first")
    try:
        content = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise StoreError(f"{path} is damaged ({error}); delete it and rerun stage `select`") from None
    if content["backbone"] != backbone.identity:
        raise StoreError(f"{path} was made for backbone {content['backbone']}, not {backbone.identity}; rerun `select`")
    return {arm: Setting(**setting) for arm, setting in content["chosen"].items()}
