"""How much a table of one seed hangs on it: the whole pipeline at several, `make seeds`, run by run."""

import pandas as pd
from scipy.stats import t

from lrs.core.frames import each_group, each_row
from lrs.report.comparison import POOLED
from lrs.report.sentences import level_text, points

_BY = ["profile", "backbone", "device", "decoding", "arm"]


def seeds_table(runs: pd.DataFrame, confidence_level: float) -> pd.DataFrame:
    """What each arm gains over base in runs that share nothing but their profile and reasoner, all benchmarks pooled.

    Args:
        runs: of `lrs.bench.seeds.measure_seeds`.

    Returns:
        A row a backbone, decoding and arm: runs, seeds (their numbers), n (test problems of each), delta (mean over the
        runs, a fraction) with the interval `low`, `high` of that mean (Student's t over runs; none of one run), spread
        (standard deviation over runs), least and most, and above and below: runs whose own interval over problems is.
    """
    rows = []
    contrasts = runs[(runs["benchmark"] == POOLED) & runs["delta"].notna()]
    for names, group in each_group(contrasts, _BY, sort=False):
        delta = group["delta"]
        half = t.ppf((1 + confidence_level) / 2, len(group) - 1) * delta.sem()  # NaN of one run
        rows.append(
            dict(zip(_BY, names, strict=True))
            | {"runs": len(group), "seeds": ", ".join(map(str, sorted(group["seed"]))), "n": int(group["n"].max())}
            | {"delta": delta.mean(), "low": delta.mean() - half, "high": delta.mean() + half, "spread": delta.std()}
            | {"least": delta.min(), "most": delta.max()}
            | {"above": int((group["delta_low"] > 0).sum()), "below": int((group["delta_high"] < 0).sum())}
        )
    return pd.DataFrame(rows)


def seeds_sentence(table: pd.DataFrame, confidence_level: float, arms: tuple[str, ...] = ("lrs", "lrs_causal")) -> str:
    """What some arms gain in how many runs, and how far these lie apart.

    Args:
        table: of `seeds_table`.
    """
    told = [
        f"`{row.arm}` on `{row.backbone}`, {row.decoding}: {points(row.delta)} points [{points(row.low)}, "
        f"{points(row.high)}] in {row.runs} runs, from {points(row.least)} to {points(row.most)}"
        for row in each_row(table[(table["runs"] > 1) & table["arm"].isin(arms)])
    ]
    if not told:
        return "One run tells nothing of how far several lie apart."
    level = level_text(confidence_level)
    return f"{'; '.join(told)}. Each run draws and learns all anew; intervals are over runs, at {level}."
