"""The results page of a profile: sentences and tables, computed from its accepted tables; Markdown."""

from pathlib import Path

import pandas as pd

from lrs.core.frames import as_markdown, each_group, least, most
from lrs.method.arms import STEERED
from lrs.report.accepted import Accepted, embedded
from lrs.report.answer import answer
from lrs.report.assay import ASSAY_INTRO, readable_assay
from lrs.report.comparison import POOLED, PRIMARY, is_primary, significance
from lrs.report.pictures import PICTURES
from lrs.report.sections import (
    behaviors_section,
    budget_section,
    costs_section,
    margins_section,
    rewards_section,
    selection_section,
    specific_section,
)
from lrs.report.sentences import level_text, p_value, percent, points, smoke_warning, with_interval

_MOST_LEADS = 5


def results_page(accepted: Accepted) -> str:
    """The whole of `results.md`; its links are relative to the folder of the tables."""
    profile = accepted.main["profile"].iloc[0]
    warning = smoke_warning(profile)
    sections = [
        f"# Results of profile `{profile}`",
        f"**{warning}**" if warning else "",
        answer(accepted.main, accepted.confidence_level),
        _about(accepted),
        _assay(accepted),
        _accuracies(accepted),
        _contrasts(accepted.main, significance(accepted.confidence_level)),
        margins_section(accepted),
        budget_section(accepted),
        specific_section(accepted),
        rewards_section(accepted),
        selection_section(accepted),
        behaviors_section(accepted),
        costs_section(accepted),
        _links(accepted.folder),
        "This page is written by `make accept` from the tables beside it.",
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _about(accepted: Accepted) -> str:
    main, level = accepted.main, accepted.confidence_level
    names = [main["backbone"], main["benchmark"][main["benchmark"] != POOLED], main["device"]]
    reasoners, benchmarks, devices = (", ".join(f"`{name}`" for name in column.unique()) for column in names)
    where = f"Reasoners: {reasoners}. Benchmarks: {benchmarks}. Device: {devices}."
    when = f" Accepted on {accepted.date}." if accepted.date else ""
    return f"{where} All intervals are {level_text(level)}.{when}"


def _assay(accepted: Accepted) -> str:
    """What each method recovers of a gain that is known to be there."""
    rows = readable_assay(accepted.assay)
    return "" if rows.empty else "\n\n".join(["## The assay", ASSAY_INTRO, as_markdown(rows)])


def _accuracies(accepted: Accepted) -> str:
    """A figure for each backbone, and a pooled table for each backbone and decoding."""
    parts = ["## Accuracy"]
    pooled = accepted.main[accepted.main["benchmark"] == POOLED]
    for (backbone, decoding), rows in each_group(pooled, ["backbone", "decoding"], sort=False):
        if decoding == PRIMARY["decoding"]:
            parts += [f"### {backbone}", *embedded(accepted.folder / backbone, "delta", under=accepted.folder)]
        seeds = f", {rows['seeds'].max()} samples each" if rows["seeds"].max() > 1 else ""
        parts.append(f"`{backbone}`, {decoding}, all benchmarks pooled ({rows['n'].max():,} problems{seeds}):")
        parts.append(as_markdown(_arm_rows(rows)))
    if "placebo" in set(pooled["arm"]):
        moved = int(pooled[pooled["arm"] == "placebo"][["wins", "losses"]].to_numpy().sum())
        told = (
            f"won or lost {moved} answers in all: that many flips come from rounding alone"
            if moved
            else ("won and lost nothing, so what the others won and lost is their doing")
        )
        parts.append(f"`placebo`, the unsteered model in batches of another shape, {told}.")
    parts.append("Each benchmark apart: [table1.md](table1.md), and with all tests [main_results.md](main_results.md).")
    return "\n\n".join(parts)


def _arm_rows(rows: pd.DataFrame) -> pd.DataFrame:
    compared = rows["delta"].notna()
    changed = [f"{won:.0f}/{lost:.0f}" for won, lost in zip(rows["wins"], rows["losses"], strict=True)]
    return pd.DataFrame(
        {
            "arm": [f"`{arm}`" for arm in rows["arm"]],
            "accuracy": rows["accuracy"].map(percent),
            "points over base": rows.apply(with_interval, axis=1).where(compared, ""),
            "won/lost": pd.Series(changed, rows.index).where(compared, ""),
            "p": rows["p_mcnemar"].map(p_value),
            "Holm p": rows["p_holm"].map(p_value),
            "out of budget": rows["truncated"].map(percent),
            "steered": rows["steered_fraction"].map(percent),
        }
    )


def _contrasts(main: pd.DataFrame, below: float) -> str:
    """What survives the correction among secondary contrasts, and what comes closest among steered arms."""
    others = main[~is_primary(main)].dropna(subset="p_holm").sort_values("p_mcnemar", kind="stable")
    survives = others["p_holm"] < below
    surviving, steered = others[survives], others[~survives & others["arm"].isin(STEERED)]
    parts = [
        "## Secondary contrasts",
        f"There are {len(others)}: an arm against base, on one benchmark or all, in one decoding. Holm's correction "
        f"leaves {len(surviving)} of them, {surviving['arm'].isin(STEERED).sum()} of steered arms.",
    ]
    if len(surviving):
        parts.append(as_markdown(_contrast_rows(surviving)))
    if len(steered):
        parts.append("Of steered arms, those with the smallest p; leads to test on fresh problems, and no results:")
        parts.append(as_markdown(_contrast_rows(steered.head(_MOST_LEADS))))
    single = others[others["benchmark"] != POOLED]
    kinds = {"Steered": single["arm"].isin(STEERED), "Prompting": single["arm_group"] == "prompting"}
    parts += [f"{kind} arms range from {_extremes(single[rows])}." for kind, rows in kinds.items() if rows.any()]
    return "\n\n".join(parts)


def _extremes(rows: pd.DataFrame) -> str:
    """The largest loss and the largest gain on one benchmark, in words."""
    ends = [least(rows, "delta"), most(rows, "delta")]
    return " to ".join(
        f"{points(row['delta'])} points (`{row['arm']}`, `{row['backbone']}`, `{row['benchmark']}`, {row['decoding']})"
        for row in ends
    )


def _contrast_rows(rows: pd.DataFrame) -> pd.DataFrame:
    compared = _arm_rows(rows)[["arm", "points over base", "won/lost", "p", "Holm p"]]
    return pd.concat([rows[["backbone", "benchmark", "decoding"]], compared], axis=1)


def _links(folder: Path) -> str:
    """Links to all else that was accepted."""
    tables = sorted(path.name for path in folder.glob("*.*") if path.suffix in (".csv", ".md"))
    linked = ", ".join(f"[{name}]({name})" for name in tables if name != "results.md")
    by_stem: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*.png")):
        name = path.relative_to(folder).as_posix()
        by_stem.setdefault(path.stem, []).append(f"[{name}]({name})")
    order = [stem for stem in PICTURES if stem in by_stem] + sorted(by_stem.keys() - PICTURES.keys())
    figures = [f"- {PICTURES.get(stem, stem)}: {', '.join(by_stem[stem])}" for stem in order]
    names = [path.relative_to(folder).as_posix() for path in sorted((folder / "notebooks").rglob("*.ipynb"))]
    notebooks = [f"- [{name.removeprefix('notebooks/')}]({name})" for name in names]
    frozen = [path.relative_to(folder).as_posix() for path in sorted(folder.glob("*/selection.json"))]
    parts = ["## Tables, figures and notebooks", f"Tables: {linked}."]
    parts += [f"Frozen selections: {', '.join(f'[{name}]({name})' for name in frozen)}."] if frozen else []
    parts += ["Figures:", "\n".join(figures)] if figures else []
    parts += ["Notebooks, as they were run:", "\n".join(notebooks)] if notebooks else []
    return "\n\n".join(parts)
