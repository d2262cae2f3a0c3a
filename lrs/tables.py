"""Result tables: arms compared on the same problems, and how tables are written, read, accepted and checked.

Accuracies, deltas and shares are fractions in data frames and csv; percent and points appear only in what people read.
"""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import LATEX_ESCAPE_RULES, tabulate

from lrs import config as configuration
from lrs.statistics import (
    holm,
    mcnemar_exact,
    minimum_detectable_effect,
    paired_bootstrap,
    wilson_interval,
)

EXPECTED = Path("data/expected")
FIGURES = Path("figures")
PAPER_TABLE = Path("data/paper/table1.csv")
POOLED = "pooled"

ARM_GROUPS = {
    "base": "baseline",
    "cot": "prompting",
    "few_shot": "prompting",
    "lrs_published": "method",
    "lrs_basic": "method",
    "lrs": "method",
    "lrs_history": "method",
}  # an arm that is not named here is a control

_NAME = ["benchmark", "split", "decoding", "arm", "arm_group"]
_LEVEL = ["n", "seeds", "accuracy", "ci_low", "ci_high"]
_CONTRAST = ["delta", "delta_low", "delta_high", "wins", "losses", "p_mcnemar", "p_holm", "mde"]
RESULT_COLUMNS = [*_NAME, *_LEVEL, *_CONTRAST, "tokens", "truncated", "steered_fraction"]
MAIN_COLUMNS = ["profile", "device", "backbone", *RESULT_COLUMNS]
_KEYS = ["backbone", "benchmark", "split", "decoding", "arm"]


def _pair(outcomes: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Correctness as 0/1, one row a (benchmark, problem, seed) and one column an arm, `reference` first."""
    arms = list(outcomes["arm"].unique())
    if reference not in arms:
        raise ValueError(f"no outcomes of the reference arm {reference!r}; arms found: {', '.join(arms)}")
    keys = ["benchmark", "problem_id", "seed"]
    if outcomes.duplicated([*keys, "arm"]).any():
        raise ValueError("an arm has more than one outcome for the same (problem, seed)")
    paired = outcomes.astype({"correct": float}).pivot(index=keys, columns="arm", values="correct")
    if missing := paired.isna().sum().loc[lambda counts: counts > 0].to_dict():
        faults = ", ".join(f"{arm} lacks {count} of {len(paired)}" for arm, count in missing.items())
        raise ValueError(f"arms do not cover the same (problem, seed) set: {faults}")
    return paired[[reference, *(arm for arm in arms if arm != reference)]]


def _contrast(arm: pd.Series, base: pd.Series, statistics: configuration.Statistics, seed: int) -> dict[str, float]:
    """The paired comparison of one arm with the reference, over the rows of `_pair`."""
    difference = arm - base
    delta = difference.groupby(level=["benchmark", "problem_id"]).mean()
    strata = delta.index.get_level_values("benchmark").to_numpy()
    low, high = paired_bootstrap(
        delta.to_numpy(), statistics.confidence_level, statistics.bootstrap_resamples, seed, strata
    )
    return {
        "delta": delta.mean(),
        "delta_low": low,
        "delta_high": high,
        "wins": float((difference > 0).sum()),
        "losses": float((difference < 0).sum()),
        "p_mcnemar": mcnemar_exact((delta > 0).sum(), (delta < 0).sum()),
        "mde": minimum_detectable_effect(len(delta), (delta**2).mean(), statistics.confidence_level),
    }


def _summary(rows: pd.DataFrame, correct: pd.Series, confidence_level: float) -> dict[str, float]:
    """What one arm did, without regard to the others."""
    accuracy = correct.groupby(level=["benchmark", "problem_id"]).mean()
    low, high = wilson_interval(accuracy.sum(), len(accuracy), confidence_level)
    processed = rows["processed_tokens"].sum()
    return {
        "n": len(accuracy),
        "seeds": rows["seed"].nunique(),
        "accuracy": accuracy.mean(),
        "ci_low": low,
        "ci_high": high,
        "tokens": rows["tokens"].mean(),
        "truncated": (rows["finish_reason"] == "truncated").mean(),
        "steered_fraction": rows["steered_tokens"].sum() / processed if processed else np.nan,
    }


def compare_arms(
    outcomes: pd.DataFrame, statistics: configuration.Statistics, reference: str = "base", seed: int = 0
) -> pd.DataFrame:
    """Every arm against `reference` on the same problems and seeds, per benchmark and pooled over benchmarks.

    With several seeds, accuracy is avg@k and wins and losses count (problem, seed) pairs, but every interval and
    test has the problem as its unit: Wilson over problems, bootstrap clustered over seeds, and `p_mcnemar` becomes
    the exact sign test of the per-problem differences (with one seed, that is exact McNemar on wins and losses).
    Pooled rows weigh every problem equally; their bootstrap resamples within each benchmark.

    The Holm family is the whole table: all contrasts with `reference`, per benchmark and pooled.

    Args:
        outcomes: one row a problem x arm x seed; splits and decodings are compared apart.
        seed: of the bootstrap.

    Returns:
        columns `RESULT_COLUMNS`; the reference's rows have NaN in delta, wins, losses and the tests.

    Raises:
        ValueError: `reference` is missing, or the arms do not cover the same (problem, seed) set.
    """
    records = []
    for (split, decoding), group in outcomes.groupby(["split", "decoding"], sort=False):
        paired = _pair(group, reference)
        for benchmark in [*group["benchmark"].unique(), POOLED]:
            rows = group if benchmark == POOLED else group[group["benchmark"] == benchmark]
            pairs = paired if benchmark == POOLED else paired.xs(benchmark, drop_level=False)
            for arm in paired.columns:
                name = {"benchmark": benchmark, "split": split, "decoding": decoding, "arm": arm}
                name["arm_group"] = ARM_GROUPS.get(arm, "control")
                summary = _summary(rows[rows["arm"] == arm], pairs[arm], statistics.confidence_level)
                contrast = {} if arm == reference else _contrast(pairs[arm], pairs[reference], statistics, seed)
                records.append(name | summary | contrast)
    table = pd.DataFrame(records).reindex(columns=RESULT_COLUMNS)
    return table.assign(p_holm=holm(table["p_mcnemar"].to_numpy(dtype=float)))


def main_results(outcomes: pd.DataFrame, config: configuration.Config, backbone: str, device: str) -> pd.DataFrame:
    """`compare_arms` with the profile, the device it ran on and the backbone in front: columns `MAIN_COLUMNS`."""
    table = compare_arms(outcomes, config.statistics, seed=config.seed)
    return table.assign(profile=config.profile, device=device, backbone=backbone)[MAIN_COLUMNS]


def caption_for(table: pd.DataFrame, config: configuration.Config) -> str:
    """How the numbers of `main_results` were computed, in one sentence."""
    level = f"{config.statistics.confidence_level:.0%}"
    test = (
        "exact McNemar p"
        if table["seeds"].max() == 1
        else "exact McNemar p (with several seeds a sign test by problem)"
    )
    return (
        f"Accuracy with {level} Wilson interval; difference to base, paired by problem and seed, with {level} "
        f"bootstrap interval ({config.statistics.bootstrap_resamples:,} resamples of problems, within benchmarks when "
        f"pooled); {test}, Holm-adjusted over all contrasts of the table; mde: smallest effect found with 80% power; "
        f"seed {config.seed}."
    )


_INTERVALS = {"accuracy": ("ci_low", "ci_high"), "delta": ("delta_low", "delta_high"), "auroc": ("low", "high")}
_PERCENT = {
    "accuracy": "accuracy %",
    "delta": "delta, points",
    "mde": "mde, points",
    "truncated": "truncated %",
    "steered_fraction": "steered %",
}
_FACTS = ["profile", "device", "backbone", "split", "decoding", "seeds"]  # told in the caption where they are constant


def _text(value: object, column: str) -> str:
    """One cell for people; empty where there is no value."""
    if value is None or value is pd.NA or value != value:
        return ""
    if column in _PERCENT:
        return f"{100 * value:+.1f}" if column == "delta" else f"{100 * value:.1f}"
    if column.startswith("p_") or column.endswith("_p"):
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    if column in ("tokens", "wins", "losses"):
        return f"{value:.0f}"
    if isinstance(value, float):
        return f"{value:.3f}" if column == "auroc" else f"{value:.4g}"
    return str(value)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """A table of strings for people: percent and points, intervals beside their value, `wins/losses` in one column."""
    text = {column: [_text(value, column) for value in table[column]] for column in table}
    for column, bounds in _INTERVALS.items():
        if {column, *bounds} <= set(text):
            ends = [[_text(value, column) for value in table[bound]] for bound in bounds]
            rows = zip(text[column], *ends, strict=True)
            text[column] = [f"{value} [{low}, {high}]" if value else "" for value, low, high in rows]
            text = {name: cells for name, cells in text.items() if name not in bounds}
    if {"wins", "losses"} <= set(text):
        losses = text.pop("losses")
        text["wins"] = [f"{won}/{lost}" if won else "" for won, lost in zip(text["wins"], losses, strict=True)]
        text = {"wins/losses" if name == "wins" else name: cells for name, cells in text.items()}
    return pd.DataFrame(text).rename(columns=_PERCENT)


def _split_facts(table: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """The columns of `_FACTS` that hold one value as a sentence, and the table without them."""
    constant = [column for column in _FACTS if column in table and table[column].nunique(dropna=False) == 1]
    facts = [f"{column} {table[column].iloc[0]}" for column in constant]
    if "n" in table and len(table):
        low, high = table["n"].min(), table["n"].max()
        facts.append(f"n {low}" if low == high else f"n {low} to {high}")
    sentence = "; ".join(facts)
    return (sentence[:1].upper() + sentence[1:] + "." if facts else ""), table.drop(columns=constant)


def _escape_latex(text: str) -> str:
    return "".join(LATEX_ESCAPE_RULES.get(character, character) for character in text)


def write_table(table: pd.DataFrame, folder: Path, name: str, caption: str) -> list[Path]:
    """Write `name`.csv (all columns, fractions, six digits), .md and .tex (readable, the caption above) to `folder`.

    Columns such as profile, device and seeds that hold one value move from the readable tables into the caption.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    facts, rest = _split_facts(table)
    caption = f"{caption} {facts}".strip()
    cells = readable(rest)
    latex = tabulate(cells, headers="keys", tablefmt="latex_booktabs", showindex=False, disable_numparse=True)
    contents = {
        "csv": table.to_csv(index=False, float_format="%.6g", lineterminator="\n"),
        "md": f"{caption}\n\n{cells.to_markdown(index=False, disable_numparse=True)}\n",
        "tex": f"\\begin{{table}}\n\\centering\n\\caption{{{_escape_latex(caption)}}}\n{latex}\n\\end{{table}}\n",
    }
    paths = [folder / f"{name}.{suffix}" for suffix in contents]
    for path, text in zip(paths, contents.values(), strict=True):
        path.write_text(text, encoding="utf-8", newline="\n")
    return paths


def summary_text(table: pd.DataFrame) -> str:
    """The main table in fixed width for a terminal; split, decoding and backbone appear where they vary."""
    _, rest = _split_facts(table)
    wanted = ["backbone", "split", "decoding", "benchmark", "arm", "n", "accuracy", "ci_low", "ci_high"]
    wanted += ["delta", "delta_low", "delta_high", "wins", "losses", "p_holm", "steered_fraction"]
    cells = readable(rest[[column for column in wanted if column in rest]])
    return tabulate(cells, headers="keys", tablefmt="plain", showindex=False, disable_numparse=True)


def read_paper_table(path: Path = PAPER_TABLE, confidence_level: float = 0.95) -> pd.DataFrame:
    """The paper's Table 1 (its numbers, not ours) with what its sample sizes imply.

    Returns:
        columns backbone, benchmark, n, arm, accuracy (fraction, as printed), successes (the whole number it stands
        for), ci_low, ci_high (Wilson), and smallest_p: the smallest exact McNemar p-value the difference to `base` can
        have, which it has if no problem was lost; NaN for `base`.
    """
    table = pd.read_csv(path)
    table["accuracy"] /= 100
    table["successes"] = (table["accuracy"] * table["n"]).round().astype(int)
    table["ci_low"], table["ci_high"] = wilson_interval(table["successes"], table["n"], confidence_level)
    base = table[table["arm"] == "base"].set_index(["backbone", "benchmark"])["successes"]
    net = table["successes"] - table.set_index(["backbone", "benchmark"]).index.map(base)
    smallest = [mcnemar_exact(abs(difference), 0) for difference in net]
    return table.assign(smallest_p=np.where(table["arm"] == "base", np.nan, smallest))


def accept(profile: str) -> list[Path]:
    """Make the tables in `figures/<profile>/` the expected ones; the only writer of `data/expected/`.

    Raises:
        FileNotFoundError: the profile has no main table.
    """
    source = FIGURES / profile
    if not (source / "main_results.csv").exists():
        raise FileNotFoundError(f"{source / 'main_results.csv'} does not exist: run the profile before accepting it")
    target = EXPECTED / profile
    target.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copyfile(path, target / path.name)) for path in sorted(source.glob("*.csv"))]


def check(profile: str) -> list[str]:
    """Compare each accuracy of the main table with the expected one, which must hold it in its interval.

    Returns:
        one line a fault: an accuracy outside [ci_low, ci_high], a row missing or unexpected, a table missing.
    """
    found, expected = (folder / profile / "main_results.csv" for folder in (FIGURES, EXPECTED))
    if absent := [f"{path} does not exist" for path in (found, expected) if not path.exists()]:
        return absent
    merged = pd.read_csv(expected).merge(
        pd.read_csv(found), on=_KEYS, how="outer", indicator="side", suffixes=("_expected", "")
    )
    faults = []
    for row in merged.to_dict("records"):
        cell = " ".join(str(row[key]) for key in _KEYS)
        low, high = row["ci_low_expected"], row["ci_high_expected"]
        if row["side"] != "both":
            faults.append(f"{cell}: {'missing row' if row['side'] == 'left_only' else 'unexpected row'}")
        elif not low <= row["accuracy"] <= high:
            faults.append(f"{cell}: accuracy {row['accuracy']:.3f} outside the expected [{low:.3f}, {high:.3f}]")
    return faults
