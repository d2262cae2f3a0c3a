"""Result tables: how they are captioned, written and read.

Accuracies, deltas and shares are fractions in data frames and csv; percent and points appear only in what people read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import LATEX_ESCAPE_RULES

from lrs.config import Config
from lrs.core.frames import as_markdown
from lrs.report.comparison import RESULT_COLUMNS, compare_arms
from lrs.report.sentences import level_text, smoke_warning

MAIN_COLUMNS = ["profile", "device", *RESULT_COLUMNS]
REFERENCES = ("lrs_causal", "lrs_slope", "free_push", "free_along")  # arms that every other one is compared with too


def main_results(outcomes: pd.DataFrame, config: Config, reference: str = "base") -> pd.DataFrame:
    """`compare_arms` with the profile and the device that each backbone ran on in front: columns `MAIN_COLUMNS`.

    Args:
        outcomes: of all backbones together, as `lrs.saved.load_outcomes` returns them.
    """
    table = compare_arms(outcomes, config.statistics, reference, config.seed)
    device = table["backbone"].map(outcomes.groupby("backbone")["device"].first())
    return table.assign(profile=config.profile, device=device)[MAIN_COLUMNS]


def controls_table(outcomes: pd.DataFrame, config: Config) -> pd.DataFrame:
    """Every arm against each of `REFERENCES` that was run, named in column reference, as `main_results` compares."""
    run = [arm for arm in REFERENCES if arm in set(outcomes["arm"])]
    tables = [main_results(outcomes, config, arm).assign(reference=arm) for arm in run]
    return pd.concat(tables) if tables else pd.DataFrame(columns=[*MAIN_COLUMNS, "reference"])


def against_greedy(outcomes: pd.DataFrame, config: Config) -> pd.DataFrame:
    """The first sample of every arm against the greedy answer of base to the same problem, as `main_results` compares;
    no rows where either is missing. (Of several samples a sign test would not be one of their mean.)

    Returns:
        columns `MAIN_COLUMNS`; the reference is called `greedy`.
    """
    greedy = outcomes[(outcomes["decoding"] == "greedy") & (outcomes["arm"] == "base")]
    keys = ["backbone", "split", "benchmark", "problem_id"]
    sampled = outcomes[outcomes["decoding"] != "greedy"]
    sampled = sampled[sampled["seed"] == sampled.groupby([*keys, "decoding", "arm"])["seed"].transform("min")]
    drawn = sampled[[*keys, "decoding", "seed"]].drop_duplicates()
    reference = greedy.drop(columns=["decoding", "seed"]).merge(drawn, on=keys).assign(arm="greedy")
    if reference.empty:
        return pd.DataFrame(columns=MAIN_COLUMNS)
    return main_results(pd.concat([reference, sampled], ignore_index=True), config, "greedy")


def describe_rows(outcomes: pd.DataFrame, config: Config) -> str:
    """What a reader has to know of sampled rows and of few_shot's, in sentences; empty where there are neither."""
    return " ".join(filter(None, [_describe_sampling(config), _describe_shots(outcomes)]))


def _describe_sampling(config: Config) -> str:
    """What stands behind rows of sampled decoding, as a sentence; empty where there are none."""
    if not (sampling := config.steering.sampling):
        return ""
    return (
        f"Sampled rows: {sampling.samples} samples a problem at temperature {sampling.temperature:g}, of the first "
        f"{sampling.problems} problems of each benchmark, with the same random numbers in every arm."
    )


def _describe_shots(outcomes: pd.DataFrame) -> str:
    """How many worked examples `few_shot` shows of each benchmark, as a sentence; empty without that arm.

    Args:
        outcomes: columns arm, benchmark and shots.
    """
    shots = outcomes[outcomes["arm"] == "few_shot"].groupby("benchmark", sort=False)["shots"].max()
    shown = ", ".join(f"{count or 'none'} of {benchmark}" for benchmark, count in shots.items())
    same = " (where none fits into the context, few_shot is base)" * bool((shots == 0).any())
    return f"Worked examples that few_shot shows: {shown}{same}." if shown else ""


def caption_for(table: pd.DataFrame, config: Config) -> str:
    """How the numbers of `main_results` were computed, and whether they mean anything."""
    level = level_text(config.statistics.confidence_level)
    interval, test = f"{level} Wilson interval", "exact McNemar p"
    if table["seeds"].max() > 1:
        interval += " (with several seeds avg@k, over the effective sample size, clustered by problem)"
        test += " (with several seeds a sign test by problem)"
    caption = (
        f"Accuracy with {interval}; difference to base, paired by problem and seed, with {level} "
        f"bootstrap interval ({config.statistics.bootstrap_resamples:,} resamples of problems, within benchmarks when "
        f"pooled); {test}, Holm-adjusted in two families: the pooled greedy contrasts of lrs, which are primary, and "
        f"all others but the placebo's; mde: smallest effect found with 80% power; seed {config.seed}."
    )
    return f"{smoke_warning(config.profile)} {caption}".strip()


_INTERVALS = {"accuracy": ("ci_low", "ci_high")}  # the ends of others' are called as they are, or low and high
_LONE = ("auroc", "gain", "delta", "fall", "difference")  # what `low` and `high` are the ends of
_POINTS = (
    *("delta", "ceiling", "gain", "step", "total", "indirect", "direct"),
    *("gain_more", "gain_same", "gain_fewer", "less_own"),
)
_PERCENT = {
    "precision": "precision %",
    "recall": "recall %",
    "accuracy": "accuracy %",
    "mde": "mde, points",
    "truncated": "truncated %",
    "steered_fraction": "steered %",
    "share": "share %",
    "unmatched": "unmatched %",
    **{name: f"{name.replace('_', ' ')}, points" for name in _POINTS},
}
_FACTS = ["profile", "device", "backbone", "split", "decoding", "seeds"]  # told in the caption where they are constant


def _text(value: Any, column: str) -> str:
    """One cell for people; empty where there is no value."""
    if value is None or value is pd.NA or value != value:
        return ""
    if (name := column.removesuffix("_low").removesuffix("_high")) in _PERCENT:
        return f"{100 * value:+.1f}" if name in _POINTS else f"{100 * value:.1f}"
    if column.startswith("p_") or column.endswith("_p"):
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    if column in ("tokens", "wins", "losses"):
        return f"{value:.0f}"
    if isinstance(value, float):
        return f"{value:.3f}" if column == "auroc" else f"{value:.4g}"
    return str(value)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """A table of strings for people: percent and points, intervals beside their value, `wins/losses` in one column."""
    text = {column: [_text(value, column) for value in table[column]] for column in map(str, table)}
    lone = [column for column in _LONE if column in text and f"{column}_low" not in text][:1]
    named = {column: (f"{column}_low", f"{column}_high") for column in text} | dict.fromkeys(lone, ("low", "high"))
    for column, bounds in (named | _INTERVALS).items():
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


def table_one(table: pd.DataFrame) -> pd.DataFrame:
    """The layout of the paper's Table 1, for people: a row a backbone, decoding and benchmark, a column an arm.

    Args:
        table: of `main_results`, or of `read_paper_table`.

    Returns:
        Percent with its interval, as text, and the number of problems.
    """
    rows = [name for name in ("backbone", "split", "decoding", "benchmark", "n") if name in table]
    bounds = [100 * table[column] for column in ("accuracy", "ci_low", "ci_high")]
    cells = [f"{value:.1f} [{low:.1f}, {high:.1f}]" for value, low, high in zip(*bounds, strict=True)]
    wide = table.assign(cell=cells).pivot(index=rows, columns="arm", values="cell")
    order = pd.MultiIndex.from_frame(table[rows].drop_duplicates())
    return wide.loc[order, list(table["arm"].unique())].reset_index().rename_axis(columns=None)


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


_SETTINGS = ("decoding", "traces", "sae", "reward", "causal", "select", "prompting", "statistics")  # sections


def settings_table(config: Config) -> pd.DataFrame:
    """Every number that a profile sets for its methods: section, setting, value; the layer of each backbone first."""
    rows = [
        {"section": "backbones", "setting": f"layer of {name}", "value": str(one.layer)}
        for name, one in config.backbones.items()
    ]
    for section in _SETTINGS:
        for setting, value in getattr(config, section).model_dump().items():
            rows.append({"section": section, "setting": setting, "value": str(value)})
    return pd.DataFrame(rows)


def write_table(
    table: pd.DataFrame, folder: Path, name: str, caption: str, suffixes: Sequence[str] = ("csv", "md", "tex")
) -> list[Path]:
    """Write `name`.csv (all columns, fractions, six digits), .md and .tex (readable, the caption above) to `folder`.

    Columns such as profile, device and seeds that hold one value move from the readable tables into the caption.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    facts, rest = _split_facts(table)
    caption = f"{caption} {facts}".strip()
    cells = readable(rest)
    latex = as_markdown(cells, "latex_booktabs")
    contents = {
        "csv": table.to_csv(index=False, float_format="%.6g", lineterminator="\n"),
        "md": f"{caption}\n\n{as_markdown(cells)}\n",
        "tex": f"\\begin{{table}}\n\\centering\n\\caption{{{_escape_latex(caption)}}}\n{latex}\n\\end{{table}}\n",
    }
    paths = [folder / f"{name}.{suffix}" for suffix in suffixes]
    for path in paths:
        path.write_text(contents[path.suffix[1:]], encoding="utf-8", newline="\n")
    return paths


def summary_text(table: pd.DataFrame) -> str:
    """The main table in fixed width for a terminal; split, decoding and backbone appear where they vary."""
    _, rest = _split_facts(table)
    wanted = ["backbone", "split", "decoding", "benchmark", "arm", "n", "accuracy", "ci_low", "ci_high"]
    wanted += ["delta", "delta_low", "delta_high", "wins", "losses", "p_holm", "steered_fraction"]
    cells = readable(rest[[column for column in wanted if column in rest]])
    return as_markdown(cells, "plain")


def summary_of(profile: str) -> str:
    """The main table of a profile's figures as `summary_text`, and what else lies beside it.

    Raises:
        FileNotFoundError: there is none yet.
    """
    folder = Path("figures") / profile
    if not (folder / "main_results.csv").exists():
        raise FileNotFoundError(f"there is no {folder}/main_results.csv yet: run the profile {profile} first")
    warning = list(filter(None, [smoke_warning(profile)]))
    table = summary_text(pd.read_csv(folder / "main_results.csv"))
    files = [str(path) for path in sorted(folder.rglob("*")) if path.is_file()]
    return "\n".join([f"\n{folder}/main_results.csv", *warning, table, "", *files])
