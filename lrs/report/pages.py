"""The results page of a profile: sentences and tables, computed from its accepted tables; Markdown."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from lrs.config import load_config
from lrs.core.frames import each_group, least, most
from lrs.method.arms import STEERED
from lrs.report.answer import answer, p_value, with_interval
from lrs.report.assay import ASSAY_INTRO, readable_assay
from lrs.report.comparison import POOLED, PRIMARY, is_primary, significance
from lrs.report.pictures import PICTURES
from lrs.report.sentences import level_text, percent, points, smoke_warning

_MOST_LEADS = 5
_KEYS = ["backbone", "benchmark", "decoding", "arm"]


class Accepted(NamedTuple):
    """The accepted tables of a profile; one that its run did not write is empty."""

    folder: Path
    main: pd.DataFrame
    quality: pd.DataFrame
    selection: pd.DataFrame
    assay: pd.DataFrame
    behaviors: pd.DataFrame
    costs: pd.DataFrame
    confidence_level: float


def read_accepted(folder: Path) -> Accepted:
    """Read `data/expected/<profile>`.

    Raises:
        FileNotFoundError: there is no main table.
        ConfigError: the profile is no longer there.
    """
    main = pd.read_csv(folder / "main_results.csv")
    level = load_config(main["profile"].iloc[0]).statistics.confidence_level

    def read(name: str) -> pd.DataFrame:
        path = folder / f"{name}.csv"
        return pd.read_csv(path) if path.exists() else pd.DataFrame()

    return Accepted(
        folder=folder,
        main=main,
        quality=read("reward_quality"),
        selection=read("selection"),
        assay=read("assay"),
        behaviors=read("behaviors"),
        costs=read("costs"),
        confidence_level=level,
    )


def results_page(accepted: Accepted) -> str:
    """The whole of `results.md`; its links are relative to the folder of the tables."""
    profile = accepted.main["profile"].iloc[0]
    warning = smoke_warning(profile)
    sections = [
        f"# Results of profile `{profile}`",
        f"**{warning}**" if warning else "",
        answer(accepted.main, accepted.confidence_level),
        _about(accepted.main, accepted.confidence_level),
        _assay(accepted),
        _accuracies(accepted),
        _contrasts(accepted.main, significance(accepted.confidence_level)),
        _rewards(accepted),
        _selection(accepted),
        _behaviors(accepted),
        _costs(accepted),
        _links(accepted.folder),
        "This page is written by `make accept` from the tables beside it.",
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _about(main: pd.DataFrame, level: float) -> str:
    names = [main["backbone"], main["benchmark"][main["benchmark"] != POOLED], main["device"]]
    reasoners, benchmarks, devices = (", ".join(f"`{name}`" for name in column.unique()) for column in names)
    where = f"Reasoners: {reasoners}. Benchmarks: {benchmarks}. Device: {devices}."
    return f"{where} All intervals are {level_text(level)}."


def _assay(accepted: Accepted) -> str:
    """What each method recovers of a gain that is known to be there."""
    rows = readable_assay(accepted.assay)
    return "" if rows.empty else "\n\n".join(["## The assay", ASSAY_INTRO, _table(rows)])


def _accuracies(accepted: Accepted) -> str:
    """A figure for each backbone, and a pooled table for each backbone and decoding."""
    parts = ["## Accuracy"]
    pooled = accepted.main[accepted.main["benchmark"] == POOLED]
    for (backbone, decoding), rows in each_group(pooled, ["backbone", "decoding"], sort=False):
        if decoding == PRIMARY["decoding"]:
            parts += [f"### {backbone}", *_embedded(accepted.folder / backbone, "delta", under=accepted.folder)]
        seeds = f", {rows['seeds'].max()} samples each" if rows["seeds"].max() > 1 else ""
        parts.append(f"`{backbone}`, {decoding}, all benchmarks pooled ({rows['n'].max():,} problems{seeds}):")
        parts.append(_table(_arm_rows(rows)))
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
        parts.append(_table(_contrast_rows(surviving)))
    if len(steered):
        parts.append("Of steered arms, those with the smallest p; leads to test on fresh problems, and no results:")
        parts.append(_table(_contrast_rows(steered.head(_MOST_LEADS))))
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


def _rewards(accepted: Accepted) -> str:
    if accepted.quality.empty:
        return ""
    columns = {
        "auroc_traces": "AUROC, traces",
        "auroc_within_problems": "AUROC, traces of the same problem",
        "auroc_tokens": "AUROC, tokens",
        "calibration_error": "calibration error",
    }
    numbers = accepted.quality[list(columns)].map("{:.2f}".format).rename(columns=columns)
    intro = (
        "How well each reward model tells what ends well from what does not, on problems held out from its training; "
        "0.50 is chance. To tell traces of the same problem apart takes more than knowing how hard problems are."
    )
    table = _table(accepted.quality[["backbone", "variant", "traces"]].join(numbers))
    pictures = _embedded(accepted.folder, "reward_roc", "reward_calibration", "reward_by_position")
    return "\n\n".join(["## What the rewards know", intro, table, *pictures])


def _selection(accepted: Accepted) -> str:
    """What the chosen settings gained on validation and then on test, and the strongest of the grid on validation."""
    if accepted.selection.empty:
        return ""
    keys = ["backbone", "arm", "decoding"]
    tested, rows = accepted.main[accepted.main["benchmark"] == POOLED].set_index(keys)["delta"], []
    for (backbone, arm, decoding), tried in each_group(accepted.selection, keys, sort=False):
        if (backbone, arm, decoding) not in tested.index:  # selected, and then left out of the profile
            continue
        strongest = most(tried, "step_size")
        for chosen in tried[tried["chosen"]].to_dict("records"):
            rows.append(
                {
                    "backbone": backbone,
                    "arm": f"`{arm}`",
                    "decoding": decoding,
                    "step size": f"{chosen['step_size']:g}",
                    "push over state": percent(chosen["push_ratio"]),
                    "dose (nats a token)": f"{chosen['dose']:.2g}",
                    "on validation": points(chosen["delta"]),
                    "on test": points(tested[backbone, arm, decoding]),
                    "on validation (largest step size)": f"{points(strongest['delta'])} ({strongest['step_size']:g})",
                }
            )
    if not rows:
        return ""
    intro = (
        "The setting of each steered arm and decoding was chosen on validation problems. Points over base there (mean "
        "over benchmarks) and on test problems (pooled):"
    )
    return "\n\n".join(
        ["## What was selected", intro, _table(pd.DataFrame(rows)), *_embedded(accepted.folder, "selection")]
    )


def _behaviors(accepted: Accepted) -> str:
    """Mean shares by arm, and the largest change of one with what accuracy did meanwhile."""
    if accepted.behaviors.empty:
        return ""
    greedy = accepted.behaviors[accepted.behaviors["decoding"] == "greedy"]
    means = greedy.groupby(["backbone", "arm", "behavior"], sort=False)["share"].mean().unstack()
    means = means[greedy["behavior"].unique()].map(percent)
    table = means.rename(columns=lambda name: name.replace("_", " ")).reset_index().rename_axis(columns=None)
    intro = "Share of greedy traces that show each behavior, averaged over benchmarks:"
    parts = ["## Behaviors", intro, _table(table), _largest_change(greedy, accepted.main)]
    return "\n\n".join(filter(None, [*parts, *_embedded(accepted.folder, "behaviors")]))


def _largest_change(shares: pd.DataFrame, main: pd.DataFrame) -> str:
    is_base = shares["arm"] == "base"
    if is_base.all():
        return ""
    base = shares[is_base].drop(columns="arm")
    moved = shares[~is_base].merge(base, on=[*_KEYS[:3], "behavior"], suffixes=("", "_base"))
    row = most(moved.assign(change=(moved["share"] - moved["share_base"]).abs()), "change")
    delta = main.set_index(_KEYS)["delta"][tuple(row[_KEYS])]
    behavior = row["behavior"].replace("_", " ")
    return (
        f"The largest change of one: with `{row['arm']}`, `{row['backbone']}` shows {behavior} in "
        f"{percent(row['share'])} of its `{row['benchmark']}` traces instead of {percent(row['share_base'])}; its "
        f"accuracy there changes by {points(delta)} points."
    )


def _costs(accepted: Accepted) -> str:
    if (costs := accepted.costs).empty:
        return ""
    rows = pd.DataFrame({"model": costs["model"], "path": [f"`{path}`" for path in costs["path"]]})
    rows["rows"], rows["tokens/s"] = costs["batch"], costs["tokens_per_s"].map("{:,.0f}".format)
    ends = (1 / costs[f"ratio_to_unsteered{end}"] for end in ("", "_high", "_low"))
    rows["time of a token"] = [f"{time:.2f} [{low:.2f}, {high:.2f}]" for time, low, high in zip(*ends, strict=True)]
    rows["steered"] = costs["steered_fraction"].map(percent)
    rows["work"] = ["" if work != work else f"{work:.2f}" for work in costs["work_ratio"]]
    intro = (
        f"Measured by `make bench` on {', '.join(costs['device'].unique())}. Rows are decoded side by side; time of a "
        "token is over that of our loop, unsteered, with its range over rounds; work counts the multiplications of "
        "a token, attention left out, over the backbone's own."
    )
    return "\n\n".join(["## What steering costs", intro, _table(rows), *_embedded(accepted.folder, "costs")])


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
    parts = ["## Tables, figures and notebooks", f"Tables: {linked}."]
    parts += ["Figures:", "\n".join(figures)] if figures else []
    parts += ["Notebooks, as they were run:", "\n".join(notebooks)] if notebooks else []
    return "\n\n".join(parts)


def _embedded(folder: Path, *stems: str, under: Path | None = None) -> list[str]:
    """Pictures of these names, as Markdown shows them; of many backbones none, as `_links` has them all."""
    under = under or folder
    found = {stem: sorted(folder.rglob(f"{stem}.png")) for stem in stems}
    one = {stem: paths[0].relative_to(under).as_posix() for stem, paths in found.items() if len(paths) == 1}
    return [f"![{PICTURES[stem]}]({path})" for stem, path in one.items()]


def _table(rows: pd.DataFrame) -> str:
    return rows.to_markdown(index=False, disable_numparse=True)
