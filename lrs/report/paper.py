"""The paper's own numbers, beside ours: its Table 1, its costs, and how many hours a whole evaluation would take."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lrs.core.statistics import mcnemar_exact, wilson_interval

PAPER_TABLE = Path("data/paper/table1.csv")
PAPER_SETTINGS = Path("data/paper/settings.csv")
PAPER_COSTS = Path("data/paper/efficiency.csv")
_COMPARED = ("hf_generate", "unsteered", "lrs_token", "lrs_history", "lrs_slope")
_NAMED = ["source", "backbone", "benchmark", "decoding", "arm", "num_steps", "step_size"]
_COSTS = ["tokens_per_problem", "seconds_per_problem", "slowdown", "steered_fraction", "triggers"]


def measured_alike(costs: pd.DataFrame) -> pd.Series:
    """Which rows were timed in as many rounds as any of their workload: ratios to others are not to be cited."""
    return costs["rounds"] == costs.groupby(["device", "workload"])["rounds"].transform("max")


def without_cold_ratios(costs: pd.DataFrame) -> pd.DataFrame:
    """Costs without ratios between paths that were not timed alike, which compare unlike things."""
    alike, cold = measured_alike(costs), costs.copy()
    theirs = alike & costs["path"].eq("hf_generate")
    warm = theirs.groupby([costs["device"], costs["workload"]]).transform("any")
    for reference, fair in (("unsteered", alike), ("hf_generate", alike & warm)):
        columns = [column for column in map(str, costs) if column.startswith(f"ratio_to_{reference}")]
        cold[columns] = cold[columns].where(fair)
    return cold


def beside_the_paper(paths: pd.DataFrame) -> pd.DataFrame:
    """Tokens, seconds, slowdown, steered share and triggers a problem: ours, and the paper's (its numbers, not ours).

    Returns:
        columns source, model, batch, path and the costs; seconds a problem are those of the whole batch over its
        problems, and slowdown is over the unsteered run of the same source, model and batch, where both were measured
        alike.
    """
    paper = pd.read_csv(PAPER_COSTS).assign(source="Li et al.", model="ORZ-7B", batch=1)
    paper["slowdown"] = paper["seconds_per_problem"] / paper.set_index("path")["seconds_per_problem"]["unsteered"]
    ours = without_cold_ratios(paths)[paths["path"].isin(_COMPARED)].assign(source="this artifact")
    ours["slowdown"] = 1 / ours["ratio_to_unsteered"]
    return pd.concat([paper, ours], ignore_index=True)[["source", "model", "batch", "path", *_COSTS]]


def capacity_plan(
    cells: pd.DataFrame, seconds_per_problem: float, arms: int, seeds: int, devices: Sequence[int]
) -> pd.DataFrame:
    """Hours that a whole evaluation takes if problems are dealt out evenly.

    Args:
        cells: a row a cell of the evaluation, with its number of problems in column n.
        seconds_per_problem: of one device.

    Returns:
        columns devices, generations, device_hours, hours (until the last device has finished).
    """
    generations = int(cells["n"].sum()) * arms * seeds
    hours = generations * seconds_per_problem / 3600
    return pd.DataFrame(
        [{"devices": d, "generations": generations, "device_hours": hours, "hours": hours / d} for d in devices]
    )


def published_settings(path: Path = PAPER_SETTINGS) -> pd.DataFrame:
    """The paper's settings of LRS, one for each backbone and benchmark, by the names that they have here."""
    return pd.read_csv(path)


def settings_in_use(candidates: pd.DataFrame) -> pd.DataFrame:
    """With what steps and thresholds answers were steered: ours, which validation chose for all benchmarks together,
    and the paper's, one for each benchmark (its numbers, not ours).

    Args:
        candidates: of all backbones, as `lrs.saved.load_candidates` returns them, with a column backbone.

    Returns:
        columns source, backbone, benchmark, decoding, arm, num_steps, step_size; reward_quantile and
        confidence_quantile (ours: of what the unsteered model shows), reward_threshold and confidence_threshold (the
        paper's).
    """
    ours = candidates[candidates["chosen"]].assign(source="this artifact", benchmark="all")
    paper = published_settings().assign(source="Li et al.", arm="lrs_published", decoding="greedy")
    gates = [f"{signal}_{kind}" for kind in ("quantile", "threshold") for signal in ("reward", "confidence")]
    return pd.concat([ours, paper], ignore_index=True).reindex(columns=[*_NAMED, *gates])


def read_paper_table(path: Path = PAPER_TABLE, confidence_level: float = 0.95) -> pd.DataFrame:
    """The paper's Table 1 (its numbers, not ours) with what its sample sizes imply.

    Returns:
        columns backbone, benchmark, n, arm, accuracy (fraction, as printed), successes (the whole number it stands
        for), ci_low, ci_high (Wilson), and smallest_p: the smallest exact McNemar p-value the difference to `base` can
        have, which it has if no problem was lost; NaN for `base`.
    """
    table = pd.read_csv(path)
    table["accuracy"] /= 100
    table["successes"] = (table["accuracy"] * table["n"]).round().astype(int)
    table["ci_low"], table["ci_high"] = wilson_interval(table["successes"], table["n"], confidence_level)
    base = table[table["arm"] == "base"].set_index(["backbone", "benchmark"])["successes"]
    net = table["successes"] - base.reindex(table.set_index(["backbone", "benchmark"]).index).to_numpy()
    smallest = [mcnemar_exact(abs(difference), 0) for difference in net]
    return table.assign(smallest_p=np.where(table["arm"] == "base", np.nan, smallest))
