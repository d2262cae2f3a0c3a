"""The loss budget: where the gain that is known to be there is lost, one stage of the method at a time.

From what the reasoner gains when it is told how to go about it, to the method as it was released; each stage is closer
to that than the one before, and what it changes is paired, problem by problem. What the cap on dose costs beside is
told by the validation problems on which settings were chosen.
"""

import pandas as pd

from lrs.config import StatisticsSection
from lrs.core.frames import least, most
from lrs.report.comparison import POOLED, bootstrap_by_problem, by_problem_means, pair_arms
from lrs.report.sentences import points

STAGES = {
    "cot": "told how to go about it",
    "raw_free_push": "a low-rank push of the residual stream, trained",
    "free_push": "a low-rank push of the latents, trained",
    "lrs_slope": "up a quadratic reward that was trained through its push, in proportion to its gradient",
    "lrs_causal": "up a reward that was trained through its push, in steps of one length",
    "lrs_advantage": "up a reward that learned from traces, difficulty cancelled",
    "lrs_basic": "up a reward that learned from traces",
    "lrs": "up a reward that learned from traces, gated",
    "lrs_published": "as released",
}
_LOST = {  # what a stage has not that the one before it has
    "raw_free_push": "layer",
    "free_push": "span",
    "lrs_slope": "gradient",
    "lrs_causal": "length",
    "lrs_advantage": "direction",
    "lrs_basic": "difficulty",
    "lrs": "tokens outside the gate",
    "lrs_published": "all that the released one does otherwise",
}
BUDGET_COLUMNS = ["backbone", "decoding", "arm", "stage", "n", "gain", "low", "high", "step", "step_low", "step_high"]
CAP_COLUMNS = ["backbone", "decoding", "arm", "n", "tried", "within_cap", "best", "chosen", "lost"]


def budget_table(outcomes: pd.DataFrame, statistics: StatisticsSection, seed: int = 0) -> pd.DataFrame:
    """Gain over base of every stage that was run, and what it changes against the stage before it.

    Args:
        outcomes: of all backbones together, as `lrs.saved.load_outcomes` returns them.
        seed: of the bootstrap over problems, within their benchmarks.

    Returns:
        columns `BUDGET_COLUMNS`, fractions; the first stage has no step. No rows of a backbone of which fewer than two
        stages were run.
    """
    rows = []
    for (backbone, decoding), group in outcomes.groupby(["backbone", "decoding"], sort=False):
        stages = [arm for arm in STAGES if arm in set(group["arm"])]
        if len(stages) < 2:
            continue
        paired = pair_arms(group[group["arm"].isin(["base", *stages])], "base")
        by_problem = by_problem_means(paired)
        before = None
        for arm in stages:
            gain = by_problem[arm] - by_problem["base"]
            low, high = bootstrap_by_problem(gain, statistics, seed)
            row = {"backbone": backbone, "decoding": decoding, "arm": arm, "stage": STAGES[arm], "n": len(gain)}
            row |= {"gain": gain.mean(), "low": low, "high": high}
            if before is not None:
                step = by_problem[arm] - by_problem[before]
                row |= dict(zip(("step_low", "step_high"), bootstrap_by_problem(step, statistics, seed), strict=True))
                row["step"] = step.mean()
            rows.append(row)
            before = arm
    return pd.DataFrame(rows).reindex(columns=BUDGET_COLUMNS)


def budget_sentence(table: pd.DataFrame) -> str:
    """Between which two stages most is lost, by backbone and decoding; the worst step of several, so its interval is no
    test."""
    told = []
    for (backbone, decoding), part in table.groupby(["backbone", "decoding"], sort=False):
        steps = part.assign(before=part["arm"].shift()).dropna(subset=["step"])
        worst = least(steps, "step")
        if worst["step"] >= 0:
            told.append(f"on `{backbone}`, {decoding}, no stage loses anything")
            continue
        interval = f"[{points(worst['step_low'])}, {points(worst['step_high'])}]"
        told.append(
            f"on `{backbone}`, {decoding}, most is lost from `{worst['before']}` to `{worst['arm']}`: "
            f"{points(worst['step'])} {interval} points"
        )
    return f"{POOLED.capitalize()} over benchmarks, {'; '.join(told)}." if told else "Too few stages were run."


def what_is_lost(table: pd.DataFrame) -> pd.Series:
    """What each stage of a budget has not that the one before it has, in a word or, where stages between them were not
    run, several; empty for the first. Gradient: that the push must be one of a reward; direction: that the reward was
    trained through its push."""
    order, lost = list(STAGES), pd.Series("", table.index)
    for _, part in table.groupby(["backbone", "decoding"], sort=False):
        places = part["arm"].map(order.index)
        for row, first, last in zip(part.index[1:], places, places.iloc[1:], strict=False):
            lost[row] = ", ".join(_LOST[arm] for arm in order[first + 1 : last + 1])
    return lost


def cap_table(candidates: pd.DataFrame) -> pd.DataFrame:
    """What the cap on dose costs each stage: on the validation problems on which settings were chosen, the best of all
    that were tried less the chosen one.

    Args:
        candidates: of all backbones, as `lrs.saved.load_candidates` returns them, with a column backbone.

    Returns:
        columns `CAP_COLUMNS`: n problems; how many settings were tried, and how many of them lay within the cap; the
        rest are fractions, gains over base.
    """
    rows = []
    tried = candidates[candidates["arm"].isin(list(STAGES))]
    for (backbone, decoding, arm), group in tried.groupby(["backbone", "decoding", "arm"], sort=False):
        best, chosen = group["delta"].max(), group.loc[group["chosen"].astype(bool), "delta"].max()
        row = {"backbone": backbone, "decoding": decoding, "arm": arm, "n": group["n"].iloc[0], "tried": len(group)}
        row |= {"within_cap": int(group["within_cap"].sum()), "best": best, "chosen": chosen, "lost": best - chosen}
        rows.append(row)
    return pd.DataFrame(rows, columns=CAP_COLUMNS)


def cap_sentence(table: pd.DataFrame) -> str:
    """Which stage the cap costs most, of each backbone and decoding where it costs anything; `table` of `cap_table`."""
    if table.empty:
        return ""
    if (table["within_cap"] == table["tried"]).all():
        return "The cap on dose left out no setting that was tried, so that it cost nothing."
    costly = table[table["lost"] > 0].groupby(["backbone", "decoding"], sort=False)
    told = [
        f"on `{backbone}`, {decoding}, {100 * worst['lost']:.1f} points (`{worst['arm']}`)"
        for (backbone, decoding), worst in ((key, most(part, "lost")) for key, part in costly)
    ]
    if not told:
        return "The cap on dose cost no stage anything: of the settings tried, none that it left out was the best."
    return f"The cap on dose costs, at most, by validation: {'; '.join(told)}."
