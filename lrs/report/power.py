"""How large a gain this pipeline finds: the runs of `make power`, dose by dose."""

import numpy as np
import pandas as pd

from lrs.core.frames import each_group
from lrs.core.statistics import wilson_interval
from lrs.report.comparison import significance
from lrs.report.sentences import level_text, percent

FOUND = 0.8  # of the runs: what `power` means where no other share is named
_BY = ["method", "decoding", "dose"]


def found_in(runs: pd.DataFrame, confidence_level: float, sign: int = 1) -> pd.Series:
    """Whether each run found a gain (with `sign` -1: a loss) beyond chance: exact McNemar, Holm-adjusted over the rows
    of the run."""
    return (sign * runs["gain"] > 0) & (runs["p_holm"] < significance(confidence_level))


def power_table(runs: pd.DataFrame, confidence_level: float) -> pd.DataFrame:
    """What was planted and what was found, by method, decoding and dose.

    Args:
        runs: of `lrs.bench.power.measure_power`, a row a run, method and decoding.

    Returns:
        runs, n (test problems of each), headroom (mean gain of the password, a fraction) and its lowest and highest;
        found (runs), rate with its Wilson interval over runs; lost (runs that found a loss); gain (mean), share (of it
        in the mean headroom; none at dose 0), and mde: the smallest gain that McNemar's test finds four times
        in five where as many answers change as at dose 0.
    """
    rows, marked = (
        [],
        runs.assign(found=found_in(runs, confidence_level), lost=found_in(runs, confidence_level, sign=-1)),
    )
    still = marked[marked["dose"] == 0].groupby(["method", "decoding"])["mde"].mean()
    for names, group in each_group(marked, _BY, sort=False):
        low, high = wilson_interval(group["found"].sum(), len(group), confidence_level)
        headroom, gain = group["ceiling"].mean(), group["gain"].mean()
        rows.append(
            dict(zip(_BY, names, strict=True))
            | {"runs": len(group), "n": int(group["n"].iloc[0]), "headroom": headroom}
            | {"headroom_low": group["ceiling"].min(), "headroom_high": group["ceiling"].max()}
            | {"found": int(group["found"].sum()), "rate": group["found"].mean(), "rate_low": low, "rate_high": high}
            | {"lost": int(group["lost"].sum()), "gain": gain, "share": gain / headroom if names[2] > 0 else np.nan}
            | {"mde": still.get(names[:2], np.nan)}
        )
    return pd.DataFrame(rows).sort_values(_BY, kind="stable").reset_index(drop=True)


def power_sentence(runs: pd.DataFrame, confidence_level: float) -> str:
    """The least headroom from which on each dose is found in `FOUND` of the runs, beside what the test can do; and what
    is found where nothing was planted."""
    told = []
    table = power_table(runs, confidence_level)
    for (method, decoding), rows in table.groupby(["method", "decoding"], sort=False):
        rows = rows[rows["dose"] > 0].sort_values("headroom", ascending=False)
        often = rows[(rows["rate"] >= FOUND).cummin()]
        if often.empty:
            told.append(f"with `{method}`, {decoding}, it finds none of the headrooms tried that often")
            continue
        least = often.iloc[-1]
        mde = "" if least["mde"] != least["mde"] else f"; McNemar's test alone could find {100 * least['mde']:.1f}"
        interval = f"[{percent(least['rate_low'])}, {percent(least['rate_high'])}]"
        told.append(
            f"with `{method}`, {decoding}, this pipeline finds a headroom of {100 * least['headroom']:.1f} points in "
            f"{percent(least['rate'])} {interval} of its {least['runs']} runs{mde}"
        )
    nothing = runs[runs["dose"] == 0]
    gained, lost = (found_in(nothing, confidence_level, sign).sum() for sign in (1, -1))
    return (
        f"{'. '.join(f'{text[:1].upper()}{text[1:]}' for text in told)}. Of {len(nothing)} contrasts where nothing was "
        f"planted, {gained} showed a gain and {lost} a loss (n {table['n'].min():,} test problems a run, p below "
        f"{significance(confidence_level):g} after Holm's correction within a run, intervals at "
        f"{level_text(confidence_level)})."
    )
