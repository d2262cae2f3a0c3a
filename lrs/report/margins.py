"""By how much a method beats base and every control of its direction, benchmark by benchmark.

A control of direction goes where what was learned does not say: along one vector, the other way, or by lot. Pushes that
go along one vector that was learned, as far as the state says (`slope_along`, `causal_along`, `free_mean_along`,
`free_along`, `free_gated`), are none: they read the state. Against the first three, each as far at each token as the
push whose mean it follows, a method shows what reading *the way* is worth: `ALONG`.
"""

from collections.abc import Mapping, Sequence
from itertools import product

import pandas as pd

from lrs.core.frames import least, records
from lrs.method.arms import ARMS, DRAWS, TUNED
from lrs.report.comparison import POOLED
from lrs.report.sentences import p_value, points, with_interval

GAIN, MARGIN, LEVEL = 0.05, 0.03, 0.01  # over base, over every control (fractions), and Holm-adjusted p
_AS_TAKEN = (
    *("trained_constant", "free_constant", "free_mean", "slope_mean", "mean_difference", "caa"),
    *("negated", "slope_negated", "free_negated"),
    *(f"random{where}{draw}" for where in ("", "_fresh", "_outside", "_fresh_outside") for draw in DRAWS),
    *(f"{name}_turned{draw}" for name in ("causal", "slope", "free") for draw in DRAWS),
)
DIRECTION_CONTROLS = (*_AS_TAKEN, *(name for name, fixed in TUNED.items() if fixed in _AS_TAKEN))
ALONG = {ARMS[name].matches: name for name in ("causal_along", "slope_along", "free_mean_along")}
MARGIN_COLUMNS = [
    *("decoding", "benchmark", "method", "n", "told", "gain", "gain_low", "gain_high", "gain_p"),
    *("closest", "margin", "margin_low", "margin_high", "margin_p", "held"),
]


def direction_controls(controls: pd.DataFrame) -> pd.DataFrame:
    """Of every arm against each method, named in column reference, the controls of direction."""
    return controls[controls["arm"].isin(DIRECTION_CONTROLS)]


def own_lengths(controls: pd.DataFrame) -> pd.DataFrame:
    """Likewise, what goes as far as the method at each token, always in the method's average direction."""
    return controls[controls["arm"] == controls["reference"].map(ALONG)]


def margin_table(results: pd.DataFrame, rivals: pd.DataFrame, attempts: int = 1) -> pd.DataFrame:
    """A row a decoding, benchmark (and pooled) and method that was held against other arms.

    Args:
        results: every arm against base, as `lrs.bench.confirm` writes them.
        rivals: of `direction_controls`, or of `own_lengths`.
        attempts: confirmations of that backbone so far, for which each p is multiplied (Bonferroni).

    Returns:
        columns `MARGIN_COLUMNS`, fractions: told (what the instruction gains, if it was asked), the method's gain with
        its interval and adjusted p; the rival that comes closest, by how much the method is above it, and the largest
        adjusted p of all rivals; held: whether it is above base by `GAIN` and above each of them by `MARGIN`, all p
        below `LEVEL`. No rows where no rival was run.
    """
    keys, rows = ["decoding", "benchmark"], []
    results, rivals = (of.assign(p_holm=(attempts * of["p_holm"]).clip(upper=1)) for of in (results, rivals))
    over = {(row["decoding"], row["benchmark"], row["arm"]): row for row in records(results)}
    rivals = rivals[rivals["reference"].isin(results["arm"])]
    for (decoding, benchmark, method), group in rivals.groupby([*keys, "reference"], sort=False):
        own, told = over[decoding, benchmark, method], over.get((decoding, benchmark, "cot"))
        flipped = group.assign(margin=-group["delta"], low=-group["delta_high"], high=-group["delta_low"])
        closest, worst = least(flipped, "margin"), group["p_holm"].max()
        beats = own["delta"] >= GAIN and closest["margin"] >= MARGIN and max(own["p_holm"], worst) < LEVEL
        rows.append(
            {"decoding": decoding, "benchmark": benchmark, "method": method, "n": own["n"]}
            | {"told": told["delta"] if told else float("nan")}
            | {"gain": own["delta"], "gain_low": own["delta_low"], "gain_high": own["delta_high"]}
            | {"gain_p": own["p_holm"], "closest": closest["arm"], "margin": closest["margin"]}
            | {"margin_low": closest["low"], "margin_high": closest["high"], "margin_p": worst, "held": bool(beats)}
        )
    return pd.DataFrame(rows).reindex(columns=MARGIN_COLUMNS)


def readable_margins(table: pd.DataFrame) -> pd.DataFrame:
    """For people: points with their intervals."""
    rows = table[["decoding", "benchmark"]].assign(method="`" + table["method"] + "`", n=table["n"])
    rows["told"] = table["told"].map(lambda gain: "" if gain != gain else points(gain))
    for name, against in (("gain", "base"), ("margin", "the control that comes closest")):
        ends = {"delta": table[name], "delta_low": table[f"{name}_low"], "delta_high": table[f"{name}_high"]}
        rows[f"over {against}"] = [with_interval(row) for row in records(table.assign(**ends))]
        rows[f"Holm p{'' if name == 'gain' else ', the largest'}"] = table[f"{name}_p"].map(p_value)
    rows.insert(7, "which", "`" + table["closest"] + "`")
    return rows.assign(held=table["held"].map({True: "yes", False: "no"}))


def margins_beside(tables: Mapping[tuple[str, str], pd.DataFrame], methods: Sequence[str]) -> pd.DataFrame:
    """For people: what each method gains with all benchmarks together, by how much it is above the control that comes
    closest, and on how many benchmarks the margins are held; a row a method and run, a column a reasoner and decoding.

    Args:
        tables: of `margin_table`, by run and reasoner; rows and columns stand in this order.
    """
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for method, ((run, name), table) in product(methods, tables.items()):
        for how in ("greedy", "sampled"):
            own = table[(table["method"] == method) & (table["decoding"] == how)]
            for row in records(own[own["benchmark"] == POOLED]):
                told = f"{points(row['gain'])}; {with_interval(row, 'margin')}; {held_on(own)}"
                cells.setdefault((f"`{method}`", run), {})[f"`{name}`, {how}"] = told
    rows = [{"push": push, "run": run} | own for (push, run), own in cells.items()]
    places = [f"`{name}`, {how}" for name in dict.fromkeys(name for _, name in tables) for how in ("greedy", "sampled")]
    return pd.DataFrame([dict.fromkeys(("push", "run", *places), "not asked") | row for row in rows])


def held_on(rows: pd.DataFrame) -> str:
    """On how many benchmarks the margins are held, of rows of one reasoner, decoding and method; + if on all of them
    together, too."""
    pooled = rows["benchmark"] == POOLED
    single, together = rows.loc[~pooled, "held"], rows.loc[pooled, "held"]
    return f"{single.sum()} of {len(single)}{'+' * bool(together.any())}"


def margin_sentence(table: pd.DataFrame) -> str:
    """On which benchmarks each method holds the margins, in a line a method and decoding."""
    told = []
    for (method, decoding), group in table.groupby(["method", "decoding"], sort=False):
        held = {row["benchmark"]: row["held"] for row in records(group)}
        single = [benchmark for benchmark in held if benchmark != POOLED]
        names = [benchmark for benchmark in single if held[benchmark]]
        pooled = "and pooled" if held.get(POOLED) else "and not pooled"
        where = f": {', '.join(names)}" if names else ""
        told.append(f"- `{method}`, {decoding}: on {len(names)} of {len(single)} benchmarks, {pooled}{where}.")
    return "\n".join(told)
