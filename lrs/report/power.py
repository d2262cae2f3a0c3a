"""How large a gain this pipeline finds: the runs of `make power`, dose by dose."""

import pandas as pd

from lrs.core.statistics import wilson_interval
from lrs.report.comparison import significance
from lrs.report.sentences import level_text, percent

FOUND = 0.8  # of the runs: what `power` means where no other share is named
_BY = ["method", "decoding", "dose"]


def found_in(runs: pd.DataFrame, confidence_level: float) -> pd.Series:
    """Whether each run found a gain: above zero, and beyond chance by the exact McNemar test."""
    return (runs["gain"] > 0) & (runs["p"] < significance(confidence_level))


def power_table(runs: pd.DataFrame, confidence_level: float) -> pd.DataFrame:
    """What was planted and what was found, by method, decoding and dose.

    Args:
        runs: of `lrs.bench.power.measure_power`, a row a run, method and decoding.

    Returns:
        runs, headroom (mean gain of the password, a fraction) and its lowest and highest; found (runs), rate with its
        Wilson interval over runs; gain and share (means; of a headroom of nothing there is no share), mde (mean: the
        smallest gain that McNemar's test finds four times in five, at this many changed answers).
    """
    rows = []
    for names, group in runs.assign(found=found_in(runs, confidence_level)).groupby(_BY, sort=False):
        low, high = wilson_interval(group["found"].sum(), len(group), confidence_level)
        rows.append(
            dict(zip(_BY, names, strict=True))
            | {"runs": len(group), "n": int(group["n"].iloc[0]), "headroom": group["ceiling"].mean()}
            | {"headroom_low": group["ceiling"].min(), "headroom_high": group["ceiling"].max()}
            | {"found": int(group["found"].sum()), "rate": group["found"].mean(), "rate_low": low, "rate_high": high}
            | {"gain": group["gain"].mean(), "share": group["share"].mean(), "mde": group["mde"].mean()}
        )
    return pd.DataFrame(rows).sort_values(_BY, kind="stable").reset_index(drop=True)


def power_sentence(runs: pd.DataFrame, confidence_level: float) -> str:
    """The least headroom from which on every dose is found in `FOUND` of the runs, beside what the test can do."""
    told = []
    table = power_table(runs, confidence_level)
    for (method, decoding), rows in table.groupby(["method", "decoding"], sort=False):
        rows = rows[rows["dose"] > 0].sort_values("headroom", ascending=False)
        often = rows[(rows["rate"] >= FOUND).cummin()]
        if often.empty:
            told.append(f"with `{method}`, {decoding}, it finds none of the headrooms tried that often")
            continue
        least = often.iloc[-1]
        mde = "" if least["mde"] != least["mde"] else f" (McNemar's test alone: {100 * least['mde']:.1f})"
        told.append(
            f"with `{method}`, {decoding}, this pipeline finds a headroom of {100 * least['headroom']:.1f} points in "
            f"{percent(least['rate'])} of its {least['runs']} runs{mde}"
        )
    nothing = found_in(runs[runs["dose"] == 0], confidence_level)
    wrongly = f"Of {len(nothing)} contrasts where nothing was planted, {nothing.sum()} showed a gain"
    level = f"p below {significance(confidence_level):g}, intervals at {level_text(confidence_level)}"
    text = "; ".join(told)
    return f"{text[:1].upper()}{text[1:]}. {wrongly} ({level})."
