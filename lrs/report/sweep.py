"""What the settings do that a profile fixes or searches coarsely: the table of `make sweep`, read place by place.

A place is a cell of a grid (K by step size, the two quantiles of the gate, or the step size in training by the one in
steering), a layer, a number of latents, a weight of the joint loss or of the penalty on the mean push, or a temperature
of training. Where several settings were tried at a place, the one stands for it that stage `select` would have taken
there.
"""

from typing import Any

import pandas as pd

from lrs.core.frames import each_group, each_row, most
from lrs.report.sentences import level_text, points

# Columns of a setting that are varied together, and the columns and the rows of what is drawn of them.
GRIDS = {
    "step": ("num_steps", "step_size"),
    "threshold": ("reward_quantile", "confidence_quantile"),
    "trained": ("value", "step_size"),
}
LINES = ("layer", "latents", "joint", "penalty", "temperature")  # varied alone: all is fitted anew
_AT = {
    "step": "K {row.num_steps:g}, alpha {row.step_size:g}",
    "threshold": "reward q {row.reward_quantile:g}, confidence q {row.confidence_quantile:g}",
    **dict.fromkeys(LINES, "{row.quantity} {row.value:g}"),
    "trained": "alpha {row.step_size:g}, {row.value:g} in training",
}
_SERIES = ["backbone", "arm", "decoding"]
BEST_COLUMNS = [
    *("profile", "backbone", "device", "seed", "arm", "decoding", "quantity"),
    *("places", "at", "n", "delta", "delta_low", "delta_high", "dose", "within_cap", "own"),
]


def swept_places(table: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """The rows that stand for the places of a quantity; an arm without a gate has none of `threshold`.

    Args:
        table: of `lrs.bench.sweep.measure_sweep`.
    """
    rows = table[(table["quantity"] == quantity) & table["shown"]]
    return rows.dropna(subset=list(GRIDS.get(quantity, ())))


def swept_grid(places: pd.DataFrame, quantity: str, column: str = "delta") -> pd.DataFrame:
    """One column of a table as a grid: along x and along y what `GRIDS` names of a quantity.

    Args:
        places: of `swept_places`, of one backbone, arm and decoding.
    """
    x, y = GRIDS[quantity]
    return places.pivot(index=y, columns=x, values=column).sort_index(ascending=False)


def swept_lines(table: pd.DataFrame) -> pd.DataFrame:
    """What is varied alone, for people: a row a place, a column an arm and decoding; in a cell the gain in points with
    its interval, the dose (nats a token), the AUROC of the reward over held-out traces and, where it was measured, the
    share of its pushes that is the same everywhere."""
    places = pd.concat([swept_places(table, quantity) for quantity in LINES])
    cells = [f"{_gain(row)}, {row.dose:.2g} nats, AUROC {row.auroc:.2f}{_share_told(row)}" for row in each_row(places)]
    named = places.assign(cell=cells, n=places["n"].astype(int))
    wide = named.pivot(index=["backbone", "quantity", "value", "n"], columns=["arm", "decoding"], values="cell")
    return wide.rename(index="{:g}".format, level="value")


def swept_rises(table: pd.DataFrame) -> pd.DataFrame:
    """The reward against accuracy over steps and step size, for people: a row K and step size, a column an arm and
    decoding; in a cell how far a push raises its own reward (a probability), and the gain in points."""
    places = swept_places(table, "step")
    cells = [f"reward {row.rise:+.3f}, {points(row.delta)}" for row in each_row(places)]
    named = places.assign(cell=cells, num_steps=places["num_steps"].astype(int))
    return named.pivot(index=["backbone", *GRIDS["step"]], columns=["arm", "decoding"], values="cell")


def best_swept(table: pd.DataFrame) -> pd.DataFrame:
    """The place of most gain, within the cap on dose where any is within it, by backbone, arm, decoding and quantity.

    Returns:
        columns `BEST_COLUMNS`: `places` (so many were tried), `at` (which it is, in words), n (problems), delta with
        its interval (which knows nothing of the others that were tried), and `own`: the most that the profile's own
        places of this quantity gain.
    """
    rows = []
    for quantity in _AT:
        for _, places in each_group(swept_places(table, quantity), _SERIES, sort=False):
            legal = places[places["within_cap"]] if places["within_cap"].any() else places
            best = most(legal, "delta")
            told = {"places": len(places), "at": _AT[quantity].format(row=best)}
            rows.append(best.to_dict() | told | {"own": places.loc[places["own"], "delta"].max()})
    return pd.DataFrame(rows).reindex(columns=BEST_COLUMNS)


def swept_sentence(table: pd.DataFrame, confidence_level: float) -> str:
    """The best place of each arm and decoding, of how many, and what such a best is worth."""
    told = []
    for (backbone, device, seed), group in each_group(best_swept(table), ["backbone", "device", "seed"], sort=False):
        parts = []
        for (arm, decoding), rows in each_group(group, ["arm", "decoding"], sort=False):
            best = most(rows[rows["within_cap"]] if rows["within_cap"].any() else rows, "delta")
            beyond = "" if best["within_cap"] else ", beyond the cap on dose"
            parts.append(
                f"`{arm}`, {decoding}, {_gain(best)} points at {best['at']}{beyond} (of {rows['places'].sum()} places)"
            )
        n = group["n"].max()
        told.append(
            f"On `{backbone}` ({device}, seed {seed}, n {n:,} validation problems) the best places within the cap on "
            f"dose gain: {'; '.join(parts)}."
        )
    return (
        f"{' '.join(told)} Intervals ({level_text(confidence_level)}) are as if nothing else had been tried: the best "
        "of many is better here than it will be elsewhere. Nothing was chosen by this sweep, and no test problem asked."
    )


def _share_told(row: Any) -> str:
    share = getattr(row, "constancy", float("nan"))  # earlier tables have none
    return "" if share != share else f", {share:.0%} constant"


def _gain(row: pd.Series) -> str:
    return f"{points(row.delta)} [{points(row.delta_low)}, {points(row.delta_high)}]"
