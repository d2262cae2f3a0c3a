"""What was learned on one backbone, on another: the table and the words of `lrs stitch`."""

import pandas as pd

from lrs.core.frames import each_group, each_row, records
from lrs.report.comparison import POOLED
from lrs.report.sentences import with_interval

_BY = ["backbone", "decoding", "arm"]
_COLUMNS = [*_BY, "learned_on", "n", "delta", "delta_low", "delta_high", "wins", "losses", "p_holm"]
_WORDED = ("lrs", "lrs_slope", "free_push", "trained_constant")  # those that were moved


def stitched_table(measured: pd.DataFrame) -> pd.DataFrame:
    """What each arm gains over base, all benchmarks pooled: a row a backbone that is steered, decoding, arm and
    backbone that it was learned on, its own first.

    Args:
        measured: of `lrs.bench.stitch.measure_stitch`.
    """
    table = measured[(measured["benchmark"] == POOLED) & measured["delta"].notna()]
    groups = [group for _, group in table.groupby(_BY, sort=False)]
    return pd.concat(groups, ignore_index=True)[[*_COLUMNS, "explained_variance"]]


def stitched_sentence(table: pd.DataFrame) -> str:
    """What some arms add, decoded greedily, where they were learned on another backbone, and where on the same.

    Args:
        table: of `stitched_table`.
    """
    greedy = table[(table["decoding"] == "greedy") & table["arm"].isin(_WORDED)]
    moved = greedy["learned_on"] != greedy["backbone"]
    own = {(row["backbone"], row["arm"]): with_interval(row) for row in records(greedy[~moved])}
    told = []
    for (steered, learned_on), group in each_group(greedy[moved], ["backbone", "learned_on"], sort=False):
        gains = [
            f"`{row['arm']}` {with_interval(row)} (learned on itself {own[steered, row['arm']]})"
            for row in records(group)
        ]
        told.append(f"`{steered}`, steered by what was learned on `{learned_on}`: {', '.join(gains)}")
    share = ", ".join(
        f"{100 * row.explained_variance:.0f}% on `{row.backbone}` by that of `{row.learned_on}`"
        for row in each_row(greedy.drop_duplicates(["backbone", "learned_on"]))
    )
    return f"Points over base, greedily. {'; '.join(told)}. Variance of held-out activations explained: {share}."
