"""What steering costs, beside the paper's own account of it, and how many hours a whole evaluation would take."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

MEASURED = Path("data/efficiency")  # written by `make bench`
PAPER = Path("data/paper/efficiency.csv")
_COSTS = ["tokens_per_problem", "seconds_per_problem", "slowdown", "steered_fraction", "triggers"]


def read_measured(name: str) -> pd.DataFrame:
    """One of the tables of `make bench`: efficiency, cost_curves or placebo.

    Raises:
        FileNotFoundError: `make bench` has not been run.
    """
    path = MEASURED / f"{name}.csv"
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}; run `make bench` first")
    return pd.read_csv(path)


def beside_the_paper(efficiency: pd.DataFrame) -> pd.DataFrame:
    """Tokens, seconds, slowdown, steered share and triggers a problem: ours, and the paper's (its numbers, not ours).

    Returns:
        columns source, model, batch, path and the costs; seconds a problem are those of the whole batch over its
        problems, and slowdown is over the unsteered run of the same source, model and batch.
    """
    paper = pd.read_csv(PAPER).assign(source="Li et al.", model="ORZ-7B", batch=1)
    paper["slowdown"] = paper["seconds_per_problem"] / paper.set_index("path").loc["unsteered", "seconds_per_problem"]
    ours = efficiency[~efficiency["path"].str.startswith("naive")].assign(source="this artifact")
    ours = ours.assign(slowdown=1 / ours["ratio_to_unsteered"])
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
