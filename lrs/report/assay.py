"""The assay: how much of a gain that is known to be there each method recovers.

The ceiling is what the reasoner gains when it is told how to go about it: on natural reasoners an instruction to take
care, on planted ones the password of the mode that is right. A null of a method counts only where that gain is real.
"""

import numpy as np
import pandas as pd

from lrs.config import StatisticsSection
from lrs.core.frames import each_row, records
from lrs.report.comparison import POOLED, by_problem_means, pair_arms
from lrs.report.sentences import with_interval

ASSAY_INTRO = (
    "Points over base, all benchmarks pooled. What is known to be there is what the same reasoner gains on the same "
    "problems when it is told how to go about it: to check every step, or, if its mode is planted, by the password of "
    "the mode that is right."
)
CEILING, REFERENCE = "cot", "base"
ASSAY_COLUMNS = [
    *("backbone", "benchmark", "decoding", "method", "n", "seeds", "ceiling", "ceiling_low", "ceiling_high"),
    *("gain", "gain_low", "gain_high", "share", "share_low", "share_high", "wins", "losses"),
]


def _interval(draws: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _row(ceiling: pd.Series, gain: pd.Series, drawn: np.ndarray, statistics: StatisticsSection) -> dict[str, float]:
    """Gains of the ceiling and of a method over base, a value a problem, and the share of one in the other.

    Args:
        drawn: (resamples, problems), of a bootstrap: numbers of problems.
    """
    ceilings, gains = ceiling.to_numpy()[drawn].mean(axis=1), gain.to_numpy()[drawn].mean(axis=1)
    level = statistics.confidence_level
    row = {"ceiling": ceiling.mean(), "gain": gain.mean()}
    row["ceiling_low"], row["ceiling_high"] = _interval(ceilings, level)
    row["gain_low"], row["gain_high"] = _interval(gains, level)
    if row["ceiling_low"] > 0:  # else there is nothing known to be there, and a share of it means nothing
        row["share"] = row["gain"] / row["ceiling"]
        row["share_low"], row["share_high"] = _interval(gains[ceilings > 0] / ceilings[ceilings > 0], level)
    return row


def assay_table(outcomes: pd.DataFrame, statistics: StatisticsSection, seed: int = 0) -> pd.DataFrame:
    """Share of the ceiling that each method recovers, by backbone, benchmark (and pooled) and decoding.

    Args:
        outcomes: of all backbones together, as `lrs.saved.load_outcomes` returns them.
        seed: of the bootstrap over problems, which draws ceiling and gain together.

    Returns:
        columns `ASSAY_COLUMNS`; all gains are fractions over base on the same problems and seeds, averaged over the
        seeds of a problem; `share` is empty where the interval of the ceiling does not lie above zero.

        Without the arm of the ceiling there are no rows.
    """
    rows: list[dict[str, object]] = []
    if CEILING not in set(outcomes["arm"]):
        return pd.DataFrame(rows, columns=ASSAY_COLUMNS)
    for (backbone, decoding), group in outcomes.groupby(["backbone", "decoding"], sort=False):
        paired = pair_arms(group, REFERENCE)
        over = paired.sub(paired[REFERENCE], axis=0)
        by_problem = by_problem_means(over)
        methods = [arm for arm in group["arm"].unique() if arm not in (REFERENCE, CEILING)]
        for benchmark in [*group["benchmark"].unique(), POOLED]:
            part = by_problem if benchmark == POOLED else by_problem.loc[[benchmark]]
            single = over if benchmark == POOLED else over.loc[[benchmark]]
            drawn = np.random.default_rng(seed).integers(len(part), size=(statistics.bootstrap_resamples, len(part)))
            for method in methods:
                name = {"backbone": backbone, "benchmark": benchmark, "decoding": decoding, "method": method}
                counts = {"n": len(part), "seeds": group["seed"].nunique()}
                counts |= {"wins": int((single[method] > 0).sum()), "losses": int((single[method] < 0).sum())}
                rows.append(name | counts | _row(part[CEILING], part[method], drawn, statistics))
    return pd.DataFrame(rows).reindex(columns=ASSAY_COLUMNS)


def assay_sentence(table: pd.DataFrame) -> str:
    """What was known to be there, and how much of it each method found, pooled."""
    told = []
    for row in each_row(table[(table["benchmark"] == POOLED) & table["share"].notna()]):
        told.append(
            f"`{row.method}` on `{row.backbone}`, {row.decoding}: {100 * row.gain:+.1f} of {100 * row.ceiling:+.1f} "
            f"points, a share of {row.share:.0%} [{row.share_low:.0%}, {row.share_high:.0%}]"
        )
    return f"Pooled over benchmarks: {'; '.join(told)}." if told else "No ceiling lies above zero: nothing to recover."


def readable_assay(table: pd.DataFrame) -> pd.DataFrame:
    """The pooled rows of `assay_table` as people read them; none of a table without rows."""
    pooled = table[table["benchmark"] == POOLED] if len(table) else table
    return pd.DataFrame(
        {
            "backbone": row["backbone"],
            "decoding": row["decoding"],
            "method": f"`{row['method']}`",
            "n": f"{row['n']:,}",
            "known to be there": with_interval(row, "ceiling"),
            "gain": with_interval(row, "gain"),
            "share recovered": "" if row["share"] != row["share"] else f"{row['share']:.0%}",
            "won/lost": f"{row['wins']}/{row['losses']}",
        }
        for row in records(pooled)
    )
