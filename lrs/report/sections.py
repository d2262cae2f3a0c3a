"""Sections of a results page: from where a gain is lost to what steering costs. Those of tables that were not accepted
are empty."""

import pandas as pd

from lrs.core.frames import as_markdown, each_group, each_row, most, records
from lrs.method.arms import ARMS, STEERED
from lrs.report.accepted import Accepted, embedded, of_natural
from lrs.report.budget import budget_sentence, cap_sentence, cap_table, what_is_lost
from lrs.report.comparison import POOLED, PRIMARY
from lrs.report.margins import GAIN, LEVEL, MARGIN, direction_controls, margin_table, readable_margins
from lrs.report.mediation import mediation_sentence
from lrs.report.paper import measured_alike
from lrs.report.promoted import promoted_answer
from lrs.report.sentences import p_value, percent, points, with_interval

_KEYS = ["backbone", "benchmark", "decoding", "arm"]


def budget_section(accepted: Accepted) -> str:
    """What each stage of the method keeps of a gain."""
    if (table := accepted.budget).empty:
        return ""
    rows = pd.DataFrame({"backbone": table["backbone"], "decoding": table["decoding"], "stage": table["stage"]})
    rows["arm"], rows["lost"], rows["n"] = "`" + table["arm"] + "`", what_is_lost(table), table["n"]
    ends = {"gain_low": table["low"], "gain_high": table["high"]}
    rows["points over base"] = [with_interval(row, "gain") for row in records(table.assign(**ends))]
    steps = [with_interval(row, "step") for row in records(table)]
    rows["over the stage before"] = pd.Series(steps, rows.index).where(table["step"].notna(), "")
    intro = (
        "From what is known to be there to the method as it was released, each stage with less freedom; `lost` is what "
        "a stage has not that the one before it has (*layer*, *span*: pushes elsewhere, or outside of what the "
        "dictionary writes; *gradient*: pushes that are none; *length*: steps of any; *direction*: a reward that was "
        "trained through its push; *difficulty*: its being cancelled)."
    )
    parts = ["## Where it is lost", intro, as_markdown(rows.astype(str)), budget_sentence(table)]
    if not accepted.selection.empty:
        parts.append(cap_sentence(cap_table(accepted.selection)))
    return "\n\n".join([*parts, *embedded(accepted.folder, "budget")])


def specific_section(accepted: Accepted) -> str:
    """Each push against others that lack one thing."""
    if (table := accepted.specific).empty:
        return ""
    rows = table[["backbone", "decoding"]].assign(arm="`" + table["arm"] + "`", against="`" + table["against"] + "`")
    rows["the other"], ends = table["which"], table.assign(delta_low=table["low"], delta_high=table["high"])
    rows["points"] = [with_interval(row) for row in records(ends)]
    rows["won/lost"] = [f"{won}/{lost}" for won, lost in zip(table["wins"], table["losses"], strict=True)]
    rows["Holm p"] = table["p_holm"].map(p_value)
    intro = (
        "Each push held against others that lack one thing, on the same problems, all benchmarks pooled. Each was "
        "tuned on its own, but for parts of a push, pushes the other way and what is drawn by lot, unless they are "
        "called tuned: these take the steps of that push."
    )
    return "\n\n".join(["## What a push owes to the state, to its direction and to its gate", intro, as_markdown(rows)])


def margins_section(accepted: Accepted) -> str:
    """How far methods are above base and above every control of their direction, of each reasoner."""
    if accepted.controls.empty:
        return ""
    controls = direction_controls(accepted.controls)
    table = pd.concat(
        margin_table(main, controls[controls["backbone"] == backbone]).assign(backbone=backbone)
        for backbone, main in each_group(accepted.main, "backbone", sort=False)
    )
    if table.empty:
        return ""
    pooled = table[table["benchmark"] == POOLED].reset_index(drop=True)
    rows = readable_margins(pooled).drop(columns="benchmark")
    rows.insert(0, "backbone", pooled["backbone"])
    intro = (
        "All benchmarks pooled, on test problems, which are no confirmation. A control of direction goes along one "
        "vector, the other way, or by lot; `which` is the one that comes closest. `held`: above base by "
        f"{100 * GAIN:.0f} points and above every such control by {100 * MARGIN:.0f}, each Holm p below {LEVEL:g}."
    )
    return "\n\n".join(["## Over base, and over every control of direction", intro, as_markdown(rows.astype(str))])


def rewards_section(accepted: Accepted) -> str:
    """How well rewards tell right from wrong."""
    if accepted.quality.empty:
        return ""
    columns = {
        "auroc_traces": "AUROC, traces",
        "auroc_within_problems": "AUROC, traces of the same problem",
        "auroc_tokens": "AUROC, tokens",
        "calibration_error": "calibration error",
        "constancy": "push that is the same at every token",
    }
    asked = [column for column in columns if column in accepted.quality]  # earlier tables have no constancy
    numbers = accepted.quality[asked].map(_rounded).rename(columns=columns)
    intro = (
        "How well each reward model tells what ends well from what does not, on problems held out from its training; "
        "0.50 is chance. To tell traces of the same problem apart takes more than knowing how hard problems are. What "
        "climbing it gains stands beside it: a reward need not predict to steer, nor steer because it predicts; and "
        "which share of its push's square its mean over tokens explains, where a push is one token's alone."
    )
    rows = accepted.quality[["backbone", "variant", "traces"]].join(numbers)
    table = as_markdown(rows.join(_gains_of(accepted)).astype(str))
    pictures = embedded(accepted.folder, "reward_roc", "reward_calibration", "reward_by_position")
    return "\n\n".join(["## What the rewards know", intro, table, *pictures])


def _rounded(value: float) -> str:
    return "" if value != value else f"{value:.2f}"


def _gains_of(accepted: Accepted) -> pd.DataFrame:
    """Of each reward: the first arm that climbs it, at every token before those at some, and what that adds to base,
    greedily and pooled; of others nothing."""
    main, told = accepted.main[accepted.main["benchmark"] == POOLED], []
    main = main[(main["decoding"] == PRIMARY["decoding"]) & main["arm"].isin(STEERED)]
    main = main.assign(gated=main["arm"].map(lambda arm: bool(ARMS[arm].gated))).sort_values("gated", kind="stable")
    climbed = main["arm"].map(lambda arm: None if ARMS[arm].descends else ARMS[arm].reward)
    for row in each_row(accepted.quality):
        found = records(main[(climbed == row.variant) & (main["backbone"] == row.backbone)])
        told.append((f"`{found[0]['arm']}`", with_interval(found[0])) if found else ("", ""))
    return pd.DataFrame(told, accepted.quality.index, columns=["climbed by", "points over base, greedily"])


def selection_section(accepted: Accepted) -> str:
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
        ["## What was selected", intro, as_markdown(pd.DataFrame(rows)), *embedded(accepted.folder, "selection")]
    )


def behaviors_section(accepted: Accepted) -> str:
    """Mean shares by arm, and the largest change of one with what accuracy did meanwhile."""
    if accepted.behaviors.empty:
        return ""
    greedy = accepted.behaviors[accepted.behaviors["decoding"] == "greedy"]
    means = greedy.groupby(["backbone", "arm", "behavior"], sort=False)["share"].mean().unstack()
    means = means[greedy["behavior"].unique()].map(percent)
    table = means.rename(columns=lambda name: name.replace("_", " ")).reset_index().rename_axis(columns=None)
    intro = "Share of greedy traces that show each behavior, averaged over benchmarks:"
    parts = ["## Behaviors", intro, as_markdown(table), _largest_change(greedy, accepted.main)]
    parts += _promoted(accepted)
    return "\n\n".join(filter(None, [*parts, *embedded(accepted.folder, "behaviors")]))


def _promoted(accepted: Accepted) -> list[str]:
    """Whether steering promotes behaviors, in two sentences, the numbers behind them, and what goes through them."""
    if (table := accepted.promoted).empty:
        return []
    greedy = table[table["decoding"] == "greedy"].replace({"behavior": {"_": " "}}, regex=True)
    greedy = greedy.assign(arm="`" + greedy["arm"] + "`")
    intro = "Times in 100 tokens beyond base on the same problems, greedily, with intervals over problems:"
    profile = accepted.main["profile"].iloc[0]
    told = promoted_answer(of_natural(table, profile))  # a planted mode is none of the four
    asked = f"Does steering promote them, the paper's second claim? {told}" if told else ""
    parts = [asked, intro, _by_behavior(greedy, "density", ["backbone", "arm", "n"])]
    if "at_length" in greedy:
        intro = (
            "Times a problem beyond base's answers of like length, in fifths of each benchmark's; unmatched: the share "
            "of the arm's answers that are so long, or so short, that base has none (held against base's average):"
        )
        rows = greedy.assign(unmatched=greedy["unmatched"].map(percent))
        parts += [intro, _by_behavior(rows, "at_length", ["backbone", "arm", "unmatched"])]
    if len(matched := of_natural(accepted.mediation, profile)) and told:
        parts.append(
            f"By base's answers, matched for behaviors (an accounting, no proof): {mediation_sentence(matched)}"
        )
    return parts


def _by_behavior(table: pd.DataFrame, name: str, keys: list[str]) -> str:
    """One quantity with its interval, a column a behavior, as Markdown."""
    rounded = table[[name, f"{name}_low", f"{name}_high"]].round(2) + 0.0  # never -0.00
    cells = ["{:+.2f} [{:+.2f}, {:+.2f}]".format(*row) for row in rounded.itertuples(index=False)]
    wide = table.assign(cell=cells).pivot(index=keys, columns="behavior", values="cell")
    order = pd.MultiIndex.from_frame(table[keys].drop_duplicates())
    rows = wide.loc[order, list(table["behavior"].unique())].reset_index().rename_axis(columns=None)
    return as_markdown(rows.astype(str))


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


def costs_section(accepted: Accepted) -> str:
    """What a steered token costs; a path that was not measured as our loop was has no ratio to it."""
    if (costs := accepted.costs).empty:
        return ""
    rows = costs[["device", "model"]].assign(path=[f"`{path}`" for path in costs["path"]])
    rows["rows"], rows["tokens/s"] = costs["batch"], costs["tokens_per_s"].map("{:,.0f}".format)
    ends = (1 / costs[f"ratio_to_unsteered{end}"] for end in ("", "_high", "_low"))
    times = [f"{time:.2f} [{low:.2f}, {high:.2f}]" for time, low, high in zip(*ends, strict=True)]
    rows["time of a token"] = pd.Series(times, rows.index).where(measured_alike(costs), "")
    rows["steered"] = costs["steered_fraction"].map(percent)
    rows["work"] = ["" if work != work else f"{work:.2f}" for work in costs["work_ratio"]]
    intro = (
        "Measured by `make bench`; a model that is a shape has random weights, in bfloat16, and writes 512 tokens, by "
        "`lrs bench --shapes`. Rows are decoded side by side; time of a token is over that of our loop, unsteered, "
        "with its range over rounds. A path without a time ran once, without a warm-up, and wrote 64 tokens: it was "
        "not measured as the others were, and no ratio to it is to be cited. Work counts the multiplications of a "
        "token, attention left out, over the backbone's own."
    )
    return "\n\n".join(["## What steering costs", intro, as_markdown(rows), *embedded(accepted.folder, "costs")])
