"""Which behaviors steering promotes, and whether what it gains goes through them: every arm against base, paired."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lrs.config import StatisticsSection
from lrs.core.frames import each_group, each_row
from lrs.report.comparison import (
    PRIMARY,
    best_steered,
    by_problem_means,
    mean_intervals,
    pair_arms,
    resampled,
    worded_arms,
)
from lrs.report.mediation import through
from lrs.report.sentences import points
from lrs.tasks.behaviors import BEHAVIORS

_KEYS = ["benchmark", "problem_id", "seed"]
PROMOTED_COLUMNS = [
    *("backbone", "decoding", "arm", "behavior", "n", "more", "more_low", "more_high"),
    *("density", "density_low", "density_high", "at_length", "at_length_low", "at_length_high", "unmatched"),
    *("gain", "gain_more", "gain_same", "gain_fewer"),
]
RATE_COLUMNS = [
    *("backbone", "decoding", "arm", "behavior", "n", "tokens", "times", "times_low", "times_high"),
    *("rate", "rate_low", "rate_high"),
]
_LENGTHS = 5  # strata of like length, as many answers of arm and base in each
_CONSTANTS = ("trained_constant", "free_constant")
_WAYS = {"more": 1, "same": 0, "fewer": -1}  # of a behavior than base shows on the same problem and seed: its sign


def promoted_table(outcomes: pd.DataFrame, statistics: StatisticsSection, seed: int = 0) -> pd.DataFrame:
    """How often each arm shows each behavior beyond base, and where it wins.

    Args:
        outcomes: one row a backbone x problem x arm x seed, with tokens and one count column a behavior.
        seed: of the bootstrap over problems, within their benchmarks.

    Returns:
        columns `PROMOTED_COLUMNS`: n (problems); `more`: times a problem beyond base, with its paired
        interval `more_low`, `more_high`; `density`: times in 100 tokens beyond base, with its interval, which a trace
        that is only longer does not raise; `at_length`: times a problem beyond base's answers of like length (in fifths
        of each benchmark's), with its interval, and `unmatched`: the share of the arm's that are so long, or so short,
        that base has none; `gain` (a fraction), and its three parts, `gain_more`, `gain_same` and `gain_fewer`: from
        problems on which the arm shows more of the behavior than base, as much, or less.
    """
    rows = []
    for (backbone, decoding), group in outcomes.groupby(["backbone", "decoding"], sort=False):
        right = pair_arms(group, "base")
        tables = {arm: part.set_index(_KEYS).loc[right.index] for arm, part in group.groupby("arm", sort=False)}
        base, shown = tables.pop("base"), list(BEHAVIORS)
        times = resampled(by_problem_means(right).index, statistics.bootstrap_resamples, seed)
        for arm, table in tables.items():
            gained, more = right[arm] - right["base"], table[shown] - base[shown]
            density = 100 * (table[shown].div(table["tokens"], axis=0) - base[shown].div(base["tokens"], axis=0))
            by_problem = {"more": by_problem_means(more), "density": by_problem_means(density)}
            told = _means(by_problem, times, statistics.confidence_level)
            long = _of_like_length(table["tokens"], base["tokens"])
            for behavior in shown:
                row = {"backbone": backbone, "decoding": decoding, "arm": arm, "behavior": behavior}
                row |= {"n": len(by_problem["more"]), "gain": gained.mean()} | told[behavior]
                found = through(table[behavior], base[behavior], *long, times, statistics.confidence_level)
                row |= {f"at_length{end}": found[f"direct{end}"] for end in ("", "_low", "_high")}
                row["unmatched"] = found["unmatched"]
                for way, sign in _WAYS.items():
                    row[f"gain_{way}"] = gained.where(np.sign(more[behavior]) == sign, 0.0).sum() / len(right)
                rows.append(row)
    return pd.DataFrame(rows).reindex(columns=PROMOTED_COLUMNS)


def _of_like_length(arm: pd.Series, base: pd.Series) -> tuple[pd.Series, pd.Series]:
    """In which fifth of its benchmark's answers, of arm and base together, each answer's length lies."""
    both = pd.concat([arm, base], keys=["arm", "base"])
    shares = both.groupby(level="benchmark").rank(method="max", pct=True)
    fifths = np.ceil(_LENGTHS * shares).astype(int)
    return fifths.loc["arm"], fifths.loc["base"]


def _means(
    quantities: Mapping[str, pd.DataFrame], times: Sequence[np.ndarray], level: float
) -> dict[str, dict[str, float]]:
    """Of each behavior, the means of some quantities over problems, with their intervals.

    Args:
        quantities: what `by_problem_means` returns, a column a behavior.
        times: of `resampled`.
    """
    told: dict[str, dict[str, float]] = {behavior: {} for behavior in BEHAVIORS}
    for name, means in quantities.items():
        for behavior, (low, high) in mean_intervals(means, times, level).items():
            told[behavior] |= {name: means[behavior].mean(), f"{name}_low": low, f"{name}_high": high}
    return told


def rates_table(outcomes: pd.DataFrame, statistics: StatisticsSection, seed: int = 0) -> pd.DataFrame:
    """How often each arm, base among them, shows each behavior.

    Args:
        outcomes, seed: as in `promoted_table`.

    Returns:
        columns `RATE_COLUMNS`: n (problems), mean tokens; `times` a problem and `rate` in 100 tokens, with intervals.
    """
    rows = []
    for name, group in each_group(outcomes, ["backbone", "decoding", "arm"], sort=False):
        answers, length = group.set_index(_KEYS), group["tokens"].mean()
        counts = answers[list(BEHAVIORS)]
        shown = {
            "times": by_problem_means(counts),
            "rate": by_problem_means(100 * counts.div(answers["tokens"], axis=0)),
        }
        times = resampled(shown["rate"].index, statistics.bootstrap_resamples, seed)
        for behavior, means in _means(shown, times, statistics.confidence_level).items():
            rows.append(dict(zip(RATE_COLUMNS, (*name, behavior, len(shown["rate"]), length), strict=False)) | means)
    return pd.DataFrame(rows).reindex(columns=RATE_COLUMNS)


def promoted_sentence(table: pd.DataFrame) -> str:
    """Of the paper's arm and of the one that wins on each backbone, decoded greedily, which behaviors become denser or
    sparser beyond chance, and how much of the gain comes from problems on which verification becomes more frequent."""
    told = []
    for backbone, part in each_group(table[table["decoding"] == "greedy"], "backbone", sort=False):
        for arm in worded_arms(part, "gain"):
            rows = part[part["arm"] == arm]
            told.append(f"`{arm}` on `{backbone}`: {_changed(rows)}; {_where_won(rows)}")
    return f"{'. '.join(told)}." if told else "None of the arms in question was run."


def promoted_answer(table: pd.DataFrame) -> str:
    """Whether steering promotes behaviors, the paper's second claim, in two short sentences about greedy answers: LRS
    as the paper trains it, and the arm that wins on each reasoner beside constant vectors that were trained alike.

    Args:
        table: of `promoted_table`, of the reasoners in question.
    """
    greedy = table[table["decoding"] == "greedy"]
    paper, winning, constants = [], [], []
    for _, part in each_group(greedy, "backbone", sort=False):
        if len(own := part[part["arm"] == PRIMARY["arm"]]):
            paper.append(own)
        if best := best_steered(part, "gain"):
            winning.append(part[part["arm"] == best])
            constants.append(part[part["arm"].isin(_CONSTANTS) & (part["arm"] != best)])
    told = []
    if paper:
        found = pd.concat(paper)
        changed = {way: rows["behavior"].value_counts() for way, rows in _ways(found).items()}
        told.append(
            f"{'Yes' if len(changed['denser']) else 'Not here'}: decoded greedily on {len(paper)} "
            f"reasoner{'s' * (len(paper) > 1)}, LRS as the paper trains it makes "
            f"{'' if len(changed['denser']) else 'no cognitive behavior denser, '}"
            + "".join(
                f"{_words(name)} {way} on {counts[name]}, "
                for way, counts in changed.items()
                for name in BEHAVIORS
                if name in counts
            )
            + "beyond chance by intervals of each."
        )
    return " ".join([*told, _winner_told(winning, constants)] if winning else told)


def _winner_told(winning: Sequence[pd.DataFrame], constants: Sequence[pd.DataFrame]) -> str:
    """The sentence about the arms that win: of the behavior that they make denser most, by how much, and the constants.

    Args:
        winning, constants: their rows on each reasoner; of constants the one that shows most of that behavior is told.
    """
    every = pd.concat(winning)
    arms = ", ".join(f"`{arm}`" for arm in every["arm"].unique())
    places = sum((rows["density_low"] > 0).any() for rows in winning)
    if not places:
        return f"The steered arm that gains most ({arms}) makes none denser."
    behavior, each = every.groupby("behavior")["density"].mean().idxmax(), []
    for rows, others in zip(winning, constants, strict=True):
        row = rows[rows["behavior"] == behavior].iloc[0]
        most = others.loc[others["behavior"] == behavior, "density"].max()  # not a number without any
        beside = f" (with a constant by at most {most + 0.0:+.2f})" if most == most else ""
        each.append(f"{row.density + 0.0:+.2f} with `{row.arm}` on `{row.backbone}`{beside}")
    return (
        f"The steered arm that gains most makes behaviors denser on {places} of {len(winning)}: {_words(behavior)} "
        f"changes in 100 tokens by {' and by '.join(each)}."
    )


def _words(behavior: object) -> str:
    return str(behavior).replace("_", " ")


def _ways(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of behaviors that become denser, and sparser, beyond chance."""
    return {"denser": rows[rows["density_low"] > 0], "sparser": rows[rows["density_high"] < 0]}


def _changed(rows: pd.DataFrame) -> str:
    """Which behaviors an arm makes denser or sparser beyond chance, in words."""
    named = {way: ", ".join(map(_with_density, each_row(some))) for way, some in _ways(rows).items()}
    return " and ".join(f"{names} {way}" for way, names in named.items() if names) or "no behavior denser or sparser"


def _with_density(row: Any) -> str:
    ends = f"[{row.density_low:+.2f}, {row.density_high:+.2f}]"
    return f"{_words(row.behavior)} ({row.density:+.2f} {ends})"


def _where_won(rows: pd.DataFrame) -> str:
    row = rows[rows["behavior"] == "verification"].iloc[0]
    return f"of its {points(row['gain'])} points {points(row['gain_more'])} are won where it verifies more often"
