"""How much of an arm's gain goes through each behavior: its answers against base's, matched for that behavior.

Within a benchmark, base's answers are weighted until they show a behavior as often as the arm's do. What base is then
right more often than before is the indirect effect; what the arm is right more often still is the direct one. They add
up to the arm's gain.

It assumes that nothing else, within a benchmark, makes both for the behavior and for a right answer. Difficulty does:
where base goes back because a problem is hard, the indirect effect comes out too low, and where it checks what it is
sure of, too high. So it is an accounting, and no proof.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from lrs.config import StatisticsSection
from lrs.core.frames import each_group, records
from lrs.report.comparison import bootstrap_by_problem, by_problem_means, pair_arms, resampled, worded_arms
from lrs.report.sentences import percent, points
from lrs.tasks.behaviors import BEHAVIORS

ALL_FOUR = "all_four"  # which of the four an answer shows, whatever their number
MEDIATION_COLUMNS = [
    *("backbone", "decoding", "arm", "behavior", "n", "total", "total_low", "total_high"),
    *("indirect", "indirect_low", "indirect_high", "direct", "direct_low", "direct_high"),
    *("unmatched", "indirect_least", "indirect_most", "answers"),
]
_MOST = 2  # times and more are one stratum
_DIGITS = 12  # behind which there is the rounding of sums alone: where nothing goes through, zero
_KEYS = ["benchmark", "problem_id", "seed"]


class _Benchmark(NamedTuple):
    """The problems of a benchmark; each weighs 1, its seeds alike.

    Attributes:
        arm, base: (problems, strata) share of a problem's answers that lies in each stratum.
        right: (problems, strata) share that lies there and is right, of base's.
        arm_right: (problems,) share that is right, of the arm's.
    """

    arm: np.ndarray
    base: np.ndarray
    right: np.ndarray
    arm_right: np.ndarray


def mediation_table(outcomes: pd.DataFrame, statistics: StatisticsSection, seed: int = 0) -> pd.DataFrame:
    """The gain of every arm over base, and its parts that go through each behavior and past it.

    Strata are how often an answer shows a behavior (not at all, once, more often); for `ALL_FOUR`, which of the four it
    shows. An arm's answer in a stratum that base does not show on that benchmark has no match. For these, base is taken
    to be right as often as on the whole benchmark, so that their gain counts as direct.

    Args:
        outcomes: one row a backbone x problem x arm x seed, with one count column a behavior.
        seed: of the bootstrap over problems, within their benchmarks; both arms' answers to a problem stay together.

    Returns:
        columns `MEDIATION_COLUMNS`: n (problems); `total` = `indirect` + `direct` (fractions), each with its interval;
        `unmatched`: share of the arm's answers that have no match; `indirect_least` and `indirect_most`: what the
        indirect effect would be, were base wrong, or right, wherever there is no match; `answers`: how many of base's
        the match rests on, as an effective sample size: a match of few answers is worth little, whatever its interval.

    Raises:
        ValueError: base is missing, or the arms do not cover the same (problem, seed) set.
    """
    rows = []
    for (backbone, decoding), group in outcomes.groupby(["backbone", "decoding"], sort=False):
        right = pair_arms(group, "base")
        problems = by_problem_means(right)
        times = resampled(problems.index, statistics.bootstrap_resamples, seed)
        shown = {arm: _strata(part.set_index(_KEYS).loc[right.index]) for arm, part in group.groupby("arm", sort=False)}
        for arm in right.columns.drop("base"):
            gain = problems[arm] - problems["base"]
            low, high = bootstrap_by_problem(gain, statistics, seed)
            total = {"n": len(gain), "total": gain.mean(), "total_low": low, "total_high": high}
            for behavior in shown[arm]:
                name = {"backbone": backbone, "decoding": decoding, "arm": arm, "behavior": behavior}
                both = right[arm], right["base"], shown[arm][behavior], shown["base"][behavior]
                rows.append(name | total | through(*both, times, statistics.confidence_level))
    return pd.DataFrame(rows).reindex(columns=MEDIATION_COLUMNS)


def _strata(answers: pd.DataFrame) -> pd.DataFrame:
    """The stratum of each answer, as a number: a column a behavior, and `ALL_FOUR`."""
    counts = answers[list(BEHAVIORS)]
    strata = counts.clip(upper=_MOST)
    strata[ALL_FOUR] = (counts > 0).to_numpy(dtype=int) @ (2 ** np.arange(len(BEHAVIORS)))
    return strata


def _benchmarks(right: pd.Series, base: pd.Series, strata: pd.Series, of_base: pd.Series) -> Iterator[_Benchmark]:
    """The benchmarks, sorted, from series over (benchmark, problem, seed): what is compared, and strata."""
    levels = np.union1d(strata, of_base)
    lies, base_lies = (given.to_numpy()[:, None] == levels for given in (strata, of_base))
    parts = lies, base_lies, base_lies * base.to_numpy()[:, None], right.to_numpy()[:, None]
    by_problem = by_problem_means(pd.DataFrame(np.hstack(parts).astype(float), index=right.index))
    ends = np.cumsum([part.shape[1] for part in parts[:-1]])
    for benchmark in sorted(by_problem.index.unique("benchmark")):
        shown, base_shown, base_right, arm_right = np.hsplit(by_problem.loc[benchmark].to_numpy(), ends)
        yield _Benchmark(shown, base_shown, base_right, arm_right[:, 0])


def through(
    of_arm: pd.Series,
    of_base: pd.Series,
    strata: pd.Series,
    base_strata: pd.Series,
    times: Sequence[np.ndarray],
    level: float,
) -> dict[str, float]:
    """How much of what an arm has beyond base goes through the strata that its answers lie in (indirect), and how much
    lies within them (direct), with their intervals, and what the match rests on.

    Args:
        of_arm, of_base: what is compared, over (benchmark, problem_id, seed): 0/1 whether right, or a count.
        strata, base_strata: in which answers lie, likewise.
        times: of `resampled`.
    """
    benchmarks = list(_benchmarks(of_arm, of_base, strata, base_strata))
    ones = [np.ones((1, len(benchmark.arm_right))) for benchmark in benchmarks]
    drawn, point = (_effects(benchmarks, counts) for counts in (times, ones))
    found: dict[str, float] = {}
    for name in ("indirect", "direct"):
        low, high = np.quantile(drawn[name], [(1 - level) / 2, (1 + level) / 2])
        found |= {name: point[name].item(), f"{name}_low": float(low), f"{name}_high": float(high)}
    bounds = {f"indirect_{end}": found["indirect"] + point[end].item() for end in ("least", "most")}
    return found | {"unmatched": point["unmatched"].item()} | bounds | {"answers": _answers(benchmarks)}


def _effects(benchmarks: list[_Benchmark], times: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Means over all problems, (resamples,) each.

    In a benchmark with shares p(k) of the arm's answers in stratum k, and base right in q(k) of its own there and in q
    of all, the matched base is right in the sum over k of p(k) q(k), with q in place of q(k) where base has no answer.
    """
    sums = dict.fromkeys(("indirect", "direct", "unmatched", "least", "most"), 0.0)
    for benchmark, count in zip(benchmarks, times, strict=True):
        ends = np.cumsum([part.shape[1] for part in benchmark[:-1]])
        drawn = np.column_stack(benchmark).T @ count.T  # resamples last: sums over a few strata are then fast
        arm, base, right, arm_right = np.split(drawn, ends)
        there = base > 0
        rates = right / np.where(there, base, 1.0)
        unmatched = np.where(there, 0.0, arm).sum(0)
        own = right.sum(0) / base.sum(0)
        matched = (arm * rates).sum(0) + unmatched * own
        sums["indirect"] += matched - right.sum(0)
        sums["direct"] += arm_right[0] - matched
        sums["unmatched"] += unmatched
        sums["least"] -= unmatched * own
        sums["most"] += unmatched * (1 - own)
    problems = sum(len(benchmark.arm_right) for benchmark in benchmarks)
    return {name: np.round(total / problems, _DIGITS) + 0.0 for name, total in sums.items()}


def _answers(benchmarks: list[_Benchmark]) -> float:
    """Effective sample size of the weighted base: (sum of weights)^2 / sum of their squares, over its problems."""
    weights = []
    for benchmark in benchmarks:
        arm, base = benchmark.arm.sum(0), benchmark.base.sum(0)
        ratio = np.divide(arm, base, out=np.zeros_like(arm), where=base > 0)
        weights.append(benchmark.base @ ratio + arm[base == 0].sum() / len(benchmark.base))
    every = np.concatenate(weights)
    return float(every.sum() ** 2 / (every**2).sum())


def mediation_sentence(table: pd.DataFrame) -> str:
    """Of the paper's arm, and of the one that wins on each backbone in each decoding, how much of the gain goes through
    all four behaviors together, and through which of them most; where some answers have no match, how many these are,
    and between what that part may lie. As an accounting, no proof: see the module."""
    told = []
    for (backbone, decoding), part in each_group(table, ["backbone", "decoding"], sort=False):
        for arm in worded_arms(part, "total"):
            told.append(f"`{arm}` on `{backbone}`, {decoding}: {_parts_told(part[part['arm'] == arm])}")
    return f"{'. '.join(told)}." if told else "None of the arms in question was run."


def _parts_told(rows: pd.DataFrame) -> str:
    (together,) = records(rows[rows["behavior"] == ALL_FOUR])
    apart = max(records(rows[rows["behavior"] != ALL_FOUR]), key=lambda row: row["indirect"])
    interval = f"[{points(together['indirect_low'])}, {points(together['indirect_high'])}]"
    most = f", most through {apart['behavior'].replace('_', ' ')}, taken alone ({points(apart['indirect'])})"
    alone = (
        f"; {percent(together['unmatched'])} of its answers show what base's never do, and their gain counts as past "
        f"them: the part through them lies between {points(together['indirect_least'])} and "
        f"{points(together['indirect_most'])}"
    )
    return (
        f"of {points(together['total'])} points {points(together['indirect'])} {interval} go through the four behaviors"
        f"{most * (round(apart['indirect'], 3) > 0)}{alone * (together['unmatched'] > 0)}"
    )
