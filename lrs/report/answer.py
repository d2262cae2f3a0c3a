"""The answer of a run in one paragraph, what its primary contrasts say, and the table of what arms gain."""

from typing import Any

import pandas as pd

from lrs.core.frames import records
from lrs.report.comparison import POOLED, PRIMARY, is_primary, significance
from lrs.report.sentences import level_text, p_value, percent, points, with_interval

_ARMS = {  # of the table of gains, and what each is
    "lrs": "the paper's method: its reward learned to tell right answers from wrong ones",
    "lrs_causal": "the same steps, up a reward that was trained through its own push",
    "lrs_slope": "up a quadratic reward trained likewise, the further the steeper it is",
    "slope_along": "as far as `lrs_slope` at each token, always in its average direction",
    "free_push": "a push that reads the state, trained likewise; no gradient of anything",
    "free_along": "one vector trained likewise, whose length alone reads the state",
    "trained_constant": "one vector trained likewise, equally far at each token",
    "cot": "no push: the prompt says how to go about it, which is known to help",
}
_BESIDE = {  # LRS itself where answers are sampled, the others in every decoding
    "lrs": "LRS",
    "lrs_causal": "LRS with a reward trained through its own push",
    "lrs_slope": "In proportion to the gradient of a quadratic reward trained likewise, it",
    "trained_constant": "One vector trained in the same way",
}


def answer(main: pd.DataFrame, confidence_level: float) -> str:
    """`verdict`, and where LRS in samples and other trained pushes beat base."""
    told = verdict(main, confidence_level)
    return told + _beside(main, significance(confidence_level)) if is_primary(main).any() else told


def verdict(main: pd.DataFrame, confidence_level: float) -> str:
    """What the primary contrasts say, in a paragraph that begins with it.

    Args:
        main: columns `lrs.report.tables.MAIN_COLUMNS`.
        confidence_level: of its intervals; a Holm-adjusted p below 1 less this decides the verdict.
    """
    rows = records(main[is_primary(main)])
    if not rows:
        return f"This run has no primary contrast: `{PRIMARY['arm']}` is none of its arms."
    better, worse = (_significant(rows, sign, significance(confidence_level)) for sign in (1, -1))
    if len(rows) == 1:
        return _for_one(rows[0], main, "beats" if better else "falls behind" if worse else "does not beat")
    where = ", ".join(f"`{name}`" for name in better) or f"none of {len(rows)} reasoners"
    fallen = f"; it falls behind on {', '.join(f'`{name}`' for name in worse)}" if worse else ""
    each = "; ".join(f"`{row['backbone']}` {with_interval(row)} ({_problems(row, main)})" for row in rows)
    return (
        f"**Decoded greedily, LRS beats the unsteered model on {where}{fallen}.** Points of accuracy that it adds, "
        f"with {level_text(confidence_level)} intervals: {each}. The smallest p after Holm's correction over these "
        f"{len(rows)} is {p_value(min(row['p_holm'] for row in rows))}."
    )


def _problems(row: dict[str, Any], main: pd.DataFrame) -> str:
    """How many problems a reasoner's pooled row is of, and of how many benchmarks."""
    asked = main[(main["backbone"] == row["backbone"]) & (main["benchmark"] != POOLED)]["benchmark"].nunique()
    return f"{row['n']:,} test problems of {asked} benchmark{'s' * (asked > 1)}"


def _beside(main: pd.DataFrame, below: float) -> str:
    """Where LRS beats base in samples, and where other trained pushes do; nothing of arms that were not run."""
    pooled = main[(main["benchmark"] == POOLED) & main["delta"].notna()]
    told = []
    for arm, name in _BESIDE.items():
        rows = pooled[pooled["arm"] == arm]
        rows = rows[rows["decoding"] != PRIMARY["decoding"]] if arm == PRIMARY["arm"] else rows
        places = []
        for decoding, part in rows.groupby("decoding", sort=False):
            better, worse = (
                " and ".join(f"`{backbone}`" for backbone in _significant(records(part), sign, below))
                for sign in (1, -1)
            )
            how = "in samples" if decoding == "sampled" else "greedily"
            places.append(f"{how} on {better or 'none'}{f' (and falls behind on {worse})' * bool(worse)}")
        if places:
            told.append(f" {name} (`{arm}`) beats the unsteered model {', '.join(places)}.")
    told.append(_surer(main) if "lrs_causal" in set(pooled["arm"]) else "")
    return "".join(told)


def _surer(main: pd.DataFrame) -> str:
    """What a push that only makes the model surer could gain in samples: what greedy decoding gains over them."""
    base = main[(main["benchmark"] == POOLED) & (main["arm"] == "base")]
    wide = base.pivot(index="backbone", columns="decoding", values="accuracy").reindex(base["backbone"].unique())
    if not {"greedy", "sampled"} <= set(wide):
        return ""
    over = wide["greedy"] - wide["sampled"]
    each = ", ".join(f"{points(worth)} points on `{name}`" for name, worth in over[over > 0].items())
    return (
        f" Unsteered, greedy decoding is worth {each} over samples, which a push that only makes the model surer would "
        "gain in samples too; greedily there is no such way out."
        if each
        else ""
    )


def gains_table(main: pd.DataFrame, below: float) -> str:
    """What each arm adds to base, pooled, in points with intervals, as Markdown: a row an arm, a column a reasoner and
    decoding, bold what Holm's correction leaves, gains and losses. Empty without any."""
    pooled = main[(main["benchmark"] == POOLED) & main["arm"].isin(_ARMS) & main["delta"].notna()]
    if pooled.empty:
        return ""
    sure = pooled["p_holm"] < below
    cells = [with_interval(row) for row in records(pooled)]
    pooled = pooled.assign(
        cell=[f"**{cell}**" if bold else cell for cell, bold in zip(cells, sure, strict=True)],
        place="`" + pooled["backbone"] + "`, " + pooled["decoding"],
    )
    table = pooled.pivot(index="arm", columns="place", values="cell")[pooled["place"].unique()]
    table = table.reindex([arm for arm in _ARMS if arm in table.index]).fillna("not asked")
    table.insert(0, "what it is", table.index.map(_ARMS))
    head = "points over the unsteered model (bold: beyond chance, by Holm)"
    return table.rename(index="`{}`".format).rename_axis(head).reset_index().to_markdown(index=False)


def _for_one(row: dict[str, Any], main: pd.DataFrame, says: str) -> str:
    base = main[(main[list(PRIMARY)] == pd.Series(PRIMARY | {"arm": "base"})).all(axis=1)]["accuracy"].item()
    sentences = [
        f"**LRS {says} the unsteered model.** On {_problems(row, main)}, decoded greedily, `{row['backbone']}` is "
        f"right in {percent(base)} unsteered and in {percent(row['accuracy'])} with LRS: {with_interval(row)} points, "
        f"{row['wins']:.0f} problems won and {row['losses']:.0f} lost, exact McNemar p {p_value(row['p_mcnemar'])}."
    ]
    if says == "does not beat" and row["mde"] == row["mde"]:
        sentences.append(f"A true gain of {100 * row['mde']:.1f} points would have been found four times in five.")
    return " ".join(sentences)


def _significant(rows: list[dict[str, Any]], sign: int, below: float) -> list[str]:
    """Backbones whose contrast survives Holm's correction with a difference of this sign."""
    return [row["backbone"] for row in rows if row["p_holm"] < below and sign * row["delta"] > 0]
