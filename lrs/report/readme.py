"""What the README says of results: what was confirmed on fresh problems, and the answers of accepted profiles."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from lrs.config import load_config
from lrs.core.frames import as_markdown, records
from lrs.report.accepted import of_natural
from lrs.report.answer import gains_table, verdict
from lrs.report.comparison import POOLED, PRIMARY, significance
from lrs.report.confirmed import against_greedy_of, place_of, read_log
from lrs.report.margins import GAIN, LEVEL, MARGIN, direction_controls, margin_table, margins_beside, own_lengths
from lrs.report.promoted import promoted_answer
from lrs.report.sentences import points, with_interval

_MARKS = ("<!-- results -->", "<!-- /results -->")
_READERS = {  # of the state, in the headline
    "lrs_slope": "the gradient of a quadratic reward",
    "free_push": "a push that is learned directly",
}
_HELD = ["lrs_causal", *_READERS]  # against every control of direction
_NATURAL = ("natural", "longer")  # profiles of reasoners in which nothing is planted, with a free push and constants
_RUNS = (_NATURAL, ("replication",), ("warm",))  # each trained and confirmed anew
_CONSTANTS = ["trained_constant", "free_constant", "slope_mean", "slope_mean_tuned", "free_mean", "free_mean_tuned"]
_CAPTION = "accuracy minus that of the unsteered model, with paired bootstrap intervals"


def confirmed_answer(home: Path) -> list[str]:
    """What was confirmed on fresh problems of natural reasoners: what it comes to, tables, and what to read beside
    them; nothing if nothing was.

    Args:
        home: `data/confirm`, see `lrs.bench.confirm`. The last selection of each reasoner in the log is told.

    Raises:
        ConfigError: a profile is no longer there.
    """
    runs = _runs(home)
    natural = {run.entry["backbone"]: run.results for run in runs if run.entry["profile"] in _NATURAL}
    if not natural:
        return []
    config, results = load_config(_NATURAL[0]), pd.concat(natural.values())
    pooled = results[results["benchmark"] == POOLED]
    greedy = pooled[pooled["decoding"] == PRIMARY["decoding"]]
    gains = greedy.pivot(index="backbone", columns="arm", values="delta").loc[list(natural)]
    everywhere, constants = gains.dropna(axis=1), gains.reindex(columns=_CONSTANTS).max(axis=1)
    told = [f"LRS adds {_each(everywhere['lrs'])} points"] if "lrs" in everywhere else []
    trained = [f"{name} (`{arm}`) adds {_each(everywhere[arm])}" for arm, name in _READERS.items() if arm in everywhere]
    if constants.notna().all():
        trained.append(f"the best constant vector, the same at each token, {_each(constants)}")
    if trained:
        told.append(f"Of what is trained on whether the steered model's answers are right, {'; '.join(trained)}")
    asked = " / ".join(f"{of:,}" for of in greedy.groupby("backbone")["n"].max()[list(natural)])
    beside = [
        _over_own_length(runs),
        _samples_against_greedy(runs),
        f"The first table: {asked} problems of {results['benchmark'].nunique() - 1} benchmarks, seed {config.seed}, "
        f"{', '.join(results['device'].unique())}. Nothing is planted in these reasoners. All settings were frozen "
        f"before the problems were drawn, which were asked once: {_pages(runs)}.",
    ]
    parts = [
        f"**On fresh problems, decoded greedily, {' / '.join(f'`{name}`' for name in natural)}: {'. '.join(told)}.**",
        gains_table(pooled, significance(config.statistics.confidence_level)),
        *_above_controls(runs),
        " ".join(sentence for sentence in beside if sentence),
    ]
    return [part for part in parts if part]


class _Run(NamedTuple):
    """What was confirmed last of a reasoner in one of `_RUNS`."""

    entry: dict[str, Any]  # of the log
    place: Path
    results: pd.DataFrame
    controls: pd.DataFrame

    @property
    def name(self) -> str:
        return f"`{self.entry['backbone']}` in `{self.entry['profile']}`"


def _runs(home: Path) -> list[_Run]:
    """Those of `_RUNS` in their order; of each the last reasoner first."""
    made = [entry for entry in read_log(home) if (place_of(entry, home) / "controls.csv").exists()]
    runs = []
    for profiles in _RUNS:
        last = {entry["backbone"]: entry for entry in made if entry["profile"] in profiles}
        for _, entry in sorted(last.items(), reverse=True):
            place = place_of(entry, home)
            runs.append(_Run(entry, place, *(pd.read_csv(place / f"{part}.csv") for part in ("results", "controls"))))
    return runs


def _above_controls(runs: Sequence[_Run]) -> list[str]:
    """How far pushes that read the state are above base and every control of their direction, in each run in which they
    were trained and confirmed: what the table is, and the table."""
    tables = {}
    for entry, _, results, controls in runs:
        run = f"`{entry['profile']}`, seed {load_config(entry['profile']).seed}, {entry['problems']:,} a benchmark"
        tables[run, entry["backbone"]] = margin_table(results, direction_controls(controls), entry["attempt"])
    if (rows := margins_beside(tables, _HELD)).empty:
        return []
    every = pd.concat(tables.values()).query("method in @_HELD and benchmark == @POOLED")
    closest = " or ".join(f"`{name}`" for name in every["closest"].unique())
    told = (
        "**Is it more than a direction?** Each cell has the points over the unsteered model; those over the strongest "
        "control (of constant vectors, trained likewise or a push's mean, the push reversed, and directions by lot "
        f"it is {closest}); and on how many benchmarks the push *holds*: at least {100 * GAIN:.0f} points over the "
        f"unsteered model and {100 * MARGIN:.0f} over every control, each with a p below {LEVEL:g}, Holm-adjusted and "
        "times the confirmations a reasoner has had (+: it holds with all benchmarks together, too). A run is "
        "trained and selected anew, and asked of fresh problems:"
    )
    return [told, as_markdown(rows)]


def _pages(runs: Sequence[_Run]) -> str:
    """Where what was confirmed last is told, by reasoner and profile."""
    return ", ".join(f"[{run.name}]({(run.place / 'README.md').as_posix()})" for run in runs)


def _over_own_length(runs: Sequence[_Run]) -> str:
    """How far the pushes that read the state are above themselves in their average direction, as far at each token, in
    each run that asked."""
    told, others = [], []
    for run in runs:
        table = margin_table(run.results, own_lengths(run.controls), run.entry["attempt"])
        asked = table[(table["benchmark"] == POOLED) & table["method"].isin(_READERS)]
        for method, rows in asked.groupby("method", sort=False):
            each = " and ".join(f"{with_interval(row, 'margin')} {row['decoding']}" for row in records(rows))
            told.append(f"`{method}` {each} on {run.name}")
        others += [run.name] * asked.empty
    if not told:
        return ""
    missing = f" Not asked: {', '.join(others)}." if others else ""
    return (
        "**Is it more than a length?** Points over the same lengths in a push's own average direction (`slope_along`, "
        f"`free_mean_along`): {'; '.join(told)}.{missing}"
    )


def _samples_against_greedy(runs: Sequence[_Run]) -> str:
    """The samples of arms that read the state less base's greedy answers, run by run: a push that only makes the model
    surer gains in samples too, and comes no further than these."""
    told = []
    for run in runs:
        if (samples := against_greedy_of(run.place)) is not None:
            pooled = {row["arm"]: row for row in records(samples[samples["benchmark"] == POOLED])}
            each = [f"{with_interval(pooled[arm])} with `{arm}`" for arm in _READERS if arm in pooled]
            told.append(f"{points(pooled['base']['delta'])} unsteered, {', '.join(each)} on {run.name}")
    if not told:
        return ""
    return (
        "**A gain in samples counts less**: a push that only makes the model surer moves them towards greedy answers. "
        f"Samples less the unsteered greedy answers to the same problems: {'; '.join(told)}."
    )


def _each(values: pd.Series) -> str:
    return " / ".join(map(points, values))


def readme_block(
    expected: Path, profiles: tuple[str, ...] = ("cpu", "full"), confirmed: Path = Path("data/confirm")
) -> str:
    """What the README says of the results, marks included: what was confirmed, whether steering promotes behaviors, the
    answers of some profiles, and a figure of the first.

    Args:
        expected: the folder of accepted tables, relative to the README's; profiles that are not in it are left out.
        confirmed: of `confirmed_answer`, likewise.

    Raises:
        ConfigError: accepted tables of a profile that is no longer there.
    """
    parts = confirmed_answer(confirmed)
    if promoted := _second_claim(expected / _NATURAL[0]):
        parts.append(promoted)
    for folder in (expected / profile for profile in profiles if (expected / profile / "main_results.csv").exists()):
        main = pd.read_csv(folder / "main_results.csv")
        level = load_config(folder.name).statistics.confidence_level
        planted = len(of_natural(main, folder.name)) < len(main)
        told = " (where a gain is known to be there in reasoners that are called planted)" if planted else ""
        parts.append(f"Profile [`{folder.name}`]({(folder / 'results.md').as_posix()}){told}: {verdict(main, level)}")
        picture = folder / main["backbone"].iloc[0] / "delta.png"
        if picture.exists() and _CAPTION not in "".join(parts):
            parts.append(f"![{_CAPTION}]({picture.as_posix()})")
    opening, closing = _MARKS
    return "\n\n".join([opening, *parts, closing])


def _second_claim(folder: Path) -> str:
    """What an accepted profile says of the behaviors that steering promotes; empty without its table."""
    if not (path := folder / "promoted.csv").exists():
        return ""
    told = promoted_answer(of_natural(pd.read_csv(path), folder.name))
    where = f"([profile `{folder.name}`]({(folder / 'results.md').as_posix()}))"
    return f"**Does steering promote cognitive behaviors**, the paper's second claim? {told} {where}"


def put_block(text: str, block: str) -> str:
    """A text with what stands between the marks of results replaced by a block.

    Raises:
        ValueError: the text does not have these marks once.
    """
    opening, closing = map(re.escape, _MARKS)
    replaced, count = re.subn(f"{opening}.*?{closing}", lambda _: block, text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"README.md must have one block from {_MARKS[0]} to {_MARKS[1]} (found {count})")
    return replaced
