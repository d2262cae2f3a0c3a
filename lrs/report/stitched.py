"""What was learned on one backbone, on another: the table and the words of `lrs stitch`."""

import pandas as pd

from lrs.config import Config
from lrs.core.frames import each_group, each_row, records
from lrs.method.arms import ARMS
from lrs.report.comparison import POOLED, pair_arms, paired_contrast
from lrs.report.sentences import level_text, with_interval
from lrs.report.tables import main_results

_BY = ["backbone", "decoding", "arm"]
_COLUMNS = [*_BY, "learned_on", "n", "delta", "delta_low", "delta_high", "wins", "losses", "p_holm"]
_LESS = ["less_own", "less_own_low", "less_own_high"]
_WORDED = ("lrs", "lrs_slope", "free_push", "trained_constant", "slope_turned")


def stitched_rows(outcomes: pd.DataFrame, config: Config) -> pd.DataFrame:
    """`main_results` of arms that were learned on several backbones, all against base; all contrasts but that of the
    backbone's own `lrs` are one family of Holm's correction.

    Args:
        outcomes: of one backbone that is steered, with a column learned_on (a backbone).

    Returns:
        With columns learned_on and, pooled, less_own: what an arm that was learned elsewhere gains over the same arm,
        learned here, with its paired interval less_own_low, less_own_high.
    """
    moved = outcomes["learned_on"] != outcomes["backbone"]
    told = outcomes["arm"].where(~moved, outcomes["arm"] + " of " + outcomes["learned_on"])
    meant = dict(zip(told, zip(outcomes["arm"], outcomes["learned_on"], strict=True), strict=True))
    named = outcomes.assign(arm=told)
    table, less = main_results(named, config), {}
    for decoding, group in named.groupby("decoding", sort=False):
        paired = pair_arms(group, "base")
        for name in (name for name in paired if meant[name][0] != name):
            contrast = paired_contrast(paired[name], paired[meant[name][0]], config.statistics, config.seed)
            less[decoding, POOLED, name] = [contrast[end] for end in ("delta", "delta_low", "delta_high")]
    places = zip(table["decoding"], table["benchmark"], table["arm"], strict=True)
    table[_LESS] = [less.get(place, [float("nan")] * len(_LESS)) for place in places]
    arms, sources = zip(*(meant[name] for name in table["arm"]), strict=True)
    return table.assign(arm=arms, learned_on=sources, arm_group=[ARMS[arm].group for arm in arms])


def stitched_table(measured: pd.DataFrame) -> pd.DataFrame:
    """What each arm gains over base, all benchmarks pooled: a row a backbone that is steered, decoding, arm and
    backbone that it was learned on, its own first.

    Args:
        measured: of `lrs.bench.stitch.measure_stitch`.
    """
    table = measured[(measured["benchmark"] == POOLED) & measured["delta"].notna()]
    table = table.assign(moved=table["learned_on"] != table["backbone"]).sort_values("moved", kind="stable")
    groups = [group for _, group in table.groupby(_BY, sort=False)]
    return pd.concat(groups, ignore_index=True)[[*_COLUMNS, *_LESS, "explained_variance"]]


def stitched_sentence(table: pd.DataFrame, config: Config) -> str:
    """What some arms add where they were learned on another backbone, decoded greedily; or that nobody has asked.

    Args:
        table: of `stitched_table`; empty: not measured.
    """
    if table.empty:
        how = f"`python -m lrs stitch --profile {config.profile}` asks that."
        return how if len(config.backbones) > 1 else "Of one reasoner alone nothing can be told."
    greedy = table[(table["decoding"] == "greedy") & (table["learned_on"] != table["backbone"])]
    worded = greedy[greedy["arm"].isin(_WORDED)]
    told = []
    for (steered, learned_on), group in each_group(worded, ["backbone", "learned_on"], sort=False):
        gains = [
            f"`{row['arm']}` {with_interval(row)}, which is {with_interval(row, 'less_own')} to what was learned here"
            for row in records(group)
        ]
        told.append(f"`{steered}`, steered by what was learned on `{learned_on}`: {'; '.join(gains)}.")
    share = [
        f"{100 * row.explained_variance:.0f}% of `{row.backbone}` by that of `{row.learned_on}`"
        for row in each_row(worded.drop_duplicates(["backbone", "learned_on"]))
    ]
    level = level_text(config.statistics.confidence_level)
    return (
        f"Points over base, greedily, with {level} intervals. {' '.join(told)} Steps were chosen on validation "
        "problems, up to twice as long as one's own may be. Variance of held-out activations that a dictionary "
        f"explains: {', '.join(share)}."
    )
