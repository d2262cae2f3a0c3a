"""What a sweep finds where there is nothing: the best of many settings, on few problems, none of which is any good.

The released scripts of the paper try up to 102 settings on the 30 problems on which the best one is then reported. Here
every setting changes a given share of the answers, as often for the better as for the worse, and the best is taken. The
same of our own settings, where they were swept: the best on few of the problems, and what it gains on the others.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from lrs.core.frames import each_row
from lrs.report.comparison import pair_arms
from lrs.report.paper import read_paper_table
from lrs.report.sentences import points

PAPER_SWEEPS = Path("data/paper/sweeps.csv")
SIMULATED = 10_000  # sweeps
DRAWN = 2_000  # times that few of our problems are drawn


def best_by_chance(n: int, right: int, discordant: float, settings: int, seed: int) -> np.ndarray:
    """Gains (fractions of `n`) of the best of `settings` settings, none of which gains anything, in `SIMULATED` sweeps.

    Settings are taken as independent of one another; those that change the same answers find less.

    Args:
        n: problems, of which the unsteered model solves `right`.
        discordant: share of the problems whose outcome a setting changes, half of them for the better on average.

    Raises:
        ValueError: fewer problems are right, or wrong, than that half.
    """
    wrong, half = n - right, discordant * n / 2
    if half > min(right, wrong):
        raise ValueError(
            f"of {n} problems with {right} right, {discordant:.0%} cannot change, half of them for the better"
        )
    rng = np.random.default_rng(seed)
    won = rng.binomial(wrong, half / wrong if wrong else 0.0, size=(SIMULATED, settings))
    lost = rng.binomial(right, half / right if right else 0.0, size=(SIMULATED, settings))
    return (won - lost).max(axis=1) / n


def discordant_share(outcomes: pd.DataFrame, arm: str) -> float:
    """Share of (problem, seed) pairs whose outcome an arm changes.

    Args:
        outcomes: of one backbone and decoding.
    """
    paired = pair_arms(outcomes, "base")
    return float((paired["base"] != paired[arm]).mean())


def sweep_table(discordant: Sequence[float], level: float, seed: int) -> pd.DataFrame:
    """The paper's sweeps, had every setting been worth nothing.

    Returns:
        A row a backbone, swept benchmark and share in `discordant` (but where so few are right that the share cannot
        change, half of it for the better): settings, n, claimed (the paper's gain of `lrs`),
        by_chance (the best of a sweep, on average), by_chance_low and _high (its central interval), as_much (share of
        the sweeps whose best is at least what is claimed).
    """
    paper = read_paper_table(confidence_level=level).set_index(["backbone", "benchmark", "arm"])["successes"]
    sizes = (
        read_paper_table(confidence_level=level).set_index(["backbone", "benchmark"])["n"].groupby(level=[0, 1]).first()
    )
    tail, rows = (1 - level) / 2, []
    for sweep in each_row(pd.read_csv(PAPER_SWEEPS)):
        for backbone in paper.index.unique("backbone"):
            n, right = int(sizes[backbone, sweep.benchmark]), int(paper[backbone, sweep.benchmark, "base"])
            claimed = (paper[backbone, sweep.benchmark, "lrs"] - right) / n
            for share in (share for share in discordant if share * n / 2 <= min(right, n - right)):
                best = best_by_chance(n, right, share, sweep.settings, seed)
                low, high = np.quantile(best, [tail, 1 - tail])
                rows.append(
                    {"backbone": backbone, "benchmark": sweep.benchmark, "settings": sweep.settings, "n": n}
                    | {"discordant": share, "claimed": claimed, "by_chance": best.mean()}
                    | {"by_chance_low": low, "by_chance_high": high, "as_much": (best >= claimed - 1e-9).mean()}
                )
    return pd.DataFrame(rows)


def best_of_few(gains: Float[np.ndarray, "problems settings"], few: int, level: float, seed: int) -> dict[str, float]:
    """The best setting on few problems, drawn by lot: what it gains there, and what on the others.

    Args:
        gains: over the unsteered model, fractions of a problem.

    Returns:
        settings, n (problems), few; found and elsewhere (means over `DRAWN` draws), each with the central interval of
        the draws, found_low and so on; best (the most that one setting gains on all problems: the best of many itself).

    Raises:
        ValueError: there are no other problems.
    """
    n = len(gains)
    if not 0 < few < n:
        raise ValueError(f"few must be from 1 to {n - 1}, fewer than there are problems (got {few})")
    rng, tail = np.random.default_rng(seed), (1 - level) / 2
    drawn = rng.permuted(np.tile(np.arange(n), (DRAWN, 1)), axis=1)[:, :few]
    there = np.stack([gains[places].mean(axis=0) for places in drawn])
    chosen = there.argmax(axis=1)
    found = there[np.arange(DRAWN), chosen]
    elsewhere = (gains.sum(axis=0)[chosen] - few * found) / (n - few)
    told = {"settings": gains.shape[1], "n": n, "few": few}
    for name, values in (("found", found), ("elsewhere", elsewhere)):
        low, high = np.quantile(values, [tail, 1 - tail])
        told |= {name: values.mean(), f"{name}_low": low, f"{name}_high": high}
    return told | {"best": gains.mean(axis=0).max()}


def few_sentence(table: pd.DataFrame) -> str:
    """What sweeps of our own settings find on few problems and elsewhere.

    Args:
        table: of `lrs.bench.sweep.measure_sweep`, what it tells of chance.
    """
    told = []
    for row in each_row(table):
        told.append(
            f"On {row.few} of {row.n} problems of `{row.backbone}`, drawn by lot, the best of {row.settings} settings "
            f"of `{row.arm}` gains {points(row.found)} points on average ({row.decoding}), and "
            f"{points(row.elsewhere)} on the others"
        )
    return f"{'. '.join(told)}."


def sweep_sentence(table: pd.DataFrame) -> str:
    """What sweeps of nothing would have reported, at each share of changed answers, beside what is claimed."""
    told = []
    for share, rows in table.groupby("discordant"):
        as_good = int((rows["by_chance"] >= rows["claimed"]).sum())
        low, high = 100 * rows["by_chance"].min(), 100 * rows["by_chance"].max()
        told.append(
            f"where a setting changes {share:.0%} of the answers, a sweep's best gains {low:.1f} to {high:.1f} points "
            f"by chance, on average as much as is claimed or more in {as_good} of {len(rows)} cells"
        )
    text = "; ".join(told)
    return f"{text[:1].upper()}{text[1:]}."
