"""The answer of a run in one paragraph: what its primary contrasts say. The README opens with it."""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd

from lrs.config import load_config
from lrs.core.frames import each_group, records
from lrs.report.accepted import of_natural
from lrs.report.comparison import POOLED, PRIMARY, is_primary, significance
from lrs.report.margins import held_sentence, margin_table
from lrs.report.promoted import promoted_answer
from lrs.report.sentences import count_span, level_text, p_value, percent, points, with_interval

_MARKS = ("<!-- results -->", "<!-- /results -->")
_ARMS = {  # of the table of gains, and what each is
    "lrs": "the paper's method: its reward learned to tell right answers from wrong ones",
    "lrs_causal": "the same steps, up a reward that was trained through its own push",
    "lrs_slope": "up a quadratic reward trained likewise, the further the steeper it is",
    "slope_along": "as far as `lrs_slope` at each token, always in its average direction",
    "slope_along_tuned": "the same, at a step size of its own",
    "slope_even": "in the directions of `lrs_slope`, equally far at each token",
    "free_push": "a push that reads the state, trained likewise; no gradient of anything",
    "free_mean_along": "as far as `free_push` at each token, always in its average direction",
    "free_along": "one vector trained likewise, whose length alone reads the state",
    "free_gated": "one vector and a gate that reads the state, trained likewise together",
    "trained_constant": "one vector trained likewise, equally far at each token",
    "free_constant": "one vector trained likewise, of any length, the same at each token",
    "slope_mean": "the average push of `lrs_slope`, the same at each token",
    "random": "one vector in a random direction",
    "negated": "`lrs_causal`, the other way",
    "cot": "no push: the prompt says how to go about it, which is known to help",
}
_BESIDE = {  # LRS itself where answers are sampled, the others in every decoding
    "lrs": "LRS",
    "lrs_causal": "LRS with a reward trained through its own push",
    "lrs_slope": "In proportion to the gradient of a quadratic reward trained likewise, it",
    "trained_constant": "One vector trained in the same way",
}
_READERS = {  # of the state, in the headline
    "lrs_slope": "the gradient of a quadratic reward that was trained through its own push",
    "free_push": "a push that was trained likewise, reads the state and is no gradient",
}
_NATURAL = ("natural", "longer")  # profiles of reasoners in which nothing is planted, with a free push and constants
_CONSTANTS = ["trained_constant", "free_constant", "slope_mean", "slope_mean_tuned"]
_CAPTION = "accuracy minus that of the unsteered model, with paired bootstrap intervals"


def answer(main: pd.DataFrame, confidence_level: float) -> str:
    """`verdict`, and where LRS in samples and other trained pushes beat base."""
    told = verdict(main, confidence_level)
    return told + _beside(main, significance(confidence_level)) if is_primary(main).any() else told


def verdict(main: pd.DataFrame, confidence_level: float) -> str:
    """What the primary contrasts say, in a paragraph that begins with it.

    Args:
        main: columns `lrs.report.tables.MAIN_COLUMNS`.
        confidence_level: of its intervals; a Holm-adjusted p below 1 less this decides the verdict.
    """
    rows = records(main[is_primary(main)])
    if not rows:
        return f"This run has no primary contrast: `{PRIMARY['arm']}` is none of its arms."
    benchmarks = main[main["benchmark"] != POOLED]["benchmark"].nunique()
    count = count_span([row["n"] for row in rows])
    problems = f"{count} test problems of {benchmarks} benchmark{'s' * (benchmarks > 1)}, decoded greedily"
    better, worse = (_significant(rows, sign, significance(confidence_level)) for sign in (1, -1))
    if len(rows) == 1:
        return _for_one(rows[0], main, problems, "beats" if better else "falls behind" if worse else "does not beat")
    where = ", ".join(f"`{name}`" for name in better) or f"none of {len(rows)} reasoners"
    fallen = f"; it falls behind on {', '.join(f'`{name}`' for name in worse)}" if worse else ""
    each = "; ".join(f"`{row['backbone']}` {with_interval(row)}" for row in rows)
    return (
        f"**LRS beats the unsteered model on {where}{fallen}.** Points of accuracy that it adds on {problems}, with "
        f"{level_text(confidence_level)} intervals: {each}. The smallest p after Holm's correction over these "
        f"{len(rows)} is {p_value(min(row['p_holm'] for row in rows))}."
    )


def _beside(main: pd.DataFrame, below: float) -> str:
    """Where LRS beats base in samples, and where other trained pushes do; nothing of arms that were not run."""
    pooled = main[(main["benchmark"] == POOLED) & main["delta"].notna()]
    told = []
    for arm, name in _BESIDE.items():
        rows = pooled[pooled["arm"] == arm]
        rows = rows[rows["decoding"] != PRIMARY["decoding"]] if arm == PRIMARY["arm"] else rows
        places = []
        for decoding, part in rows.groupby("decoding", sort=False):
            better, worse = (
                " and ".join(f"`{backbone}`" for backbone in _significant(records(part), sign, below))
                for sign in (1, -1)
            )
            how = "in samples" if decoding == "sampled" else "greedily"
            places.append(f"{how} on {better or 'none'}{f' (and falls behind on {worse})' * bool(worse)}")
        if places:
            told.append(f" {name} (`{arm}`) beats the unsteered model {', '.join(places)}.")
    told.append(_surer(main) if "lrs_causal" in set(pooled["arm"]) else "")
    return "".join(told)


def _surer(main: pd.DataFrame) -> str:
    """What a push that only makes the model surer could gain in samples: what greedy decoding gains over them."""
    base = main[(main["benchmark"] == POOLED) & (main["arm"] == "base")]
    wide = base.pivot(index="backbone", columns="decoding", values="accuracy").reindex(base["backbone"].unique())
    if not {"greedy", "sampled"} <= set(wide):
        return ""
    over = wide["greedy"] - wide["sampled"]
    each = ", ".join(f"{points(worth)} points on `{name}`" for name, worth in over[over > 0].items())
    return (
        f" Unsteered, greedy decoding is worth {each} over samples, which a push that only makes the model surer would "
        "gain in samples too; greedily there is no such way out."
        if each
        else ""
    )


def gains_table(main: pd.DataFrame, below: float) -> str:
    """What each arm adds to base, pooled, in points with intervals, as Markdown: a row an arm, a column a reasoner and
    decoding, bold what Holm's correction leaves, gains and losses. Empty without any."""
    pooled = main[(main["benchmark"] == POOLED) & main["arm"].isin(_ARMS) & main["delta"].notna()]
    if pooled.empty:
        return ""
    sure = pooled["p_holm"] < below
    cells = [with_interval(row) for row in records(pooled)]
    pooled = pooled.assign(
        cell=[f"**{cell}**" if bold else cell for cell, bold in zip(cells, sure, strict=True)],
        place="`" + pooled["backbone"] + "`, " + pooled["decoding"],
    )
    table = pooled.pivot(index="arm", columns="place", values="cell")[pooled["place"].unique()]
    table = table.reindex([arm for arm in _ARMS if arm in table.index]).fillna("not asked")
    table.insert(0, "what it is", table.index.map(_ARMS))
    head = "points over the unsteered model (bold: beyond chance, by Holm)"
    return table.rename(index="`{}`".format).rename_axis(head).reset_index().to_markdown(index=False)


def _for_one(row: dict[str, Any], main: pd.DataFrame, problems: str, says: str) -> str:
    base = main[(main[list(PRIMARY)] == pd.Series(PRIMARY | {"arm": "base"})).all(axis=1)]["accuracy"].item()
    sentences = [
        f"**LRS {says} the unsteered model.** On {problems}, `{row['backbone']}` is right in {percent(base)} "
        f"unsteered and in {percent(row['accuracy'])} with LRS: {with_interval(row)} points, {row['wins']:.0f} "
        f"problems won and {row['losses']:.0f} lost, exact McNemar p {p_value(row['p_mcnemar'])}."
    ]
    if says == "does not beat" and row["mde"] == row["mde"]:
        sentences.append(f"A true gain of {100 * row['mde']:.1f} points would have been found four times in five.")
    return " ".join(sentences)


def _significant(rows: list[dict[str, Any]], sign: int, below: float) -> list[str]:
    """Backbones whose contrast survives Holm's correction with a difference of this sign."""
    return [row["backbone"] for row in rows if row["p_holm"] < below and sign * row["delta"] > 0]


def confirmed_answer(home: Path) -> str:
    """What was confirmed on fresh problems of natural reasoners: a paragraph and a table; empty if nothing was.

    Args:
        home: `data/confirm`, see `lrs.bench.confirm`. The last selection of each reasoner in the log is told.

    Raises:
        ConfigError: a profile is no longer there.
    """
    if not (places := _confirmed(home)):
        return ""
    config = load_config(_NATURAL[0])
    last = {name: of_one[-1] for name, of_one in places.items()}
    results, controls = (
        pd.concat([pd.read_csv(place / f"{name}.csv") for place in last.values()]) for name in ("results", "controls")
    )
    pooled, every = (table[table["benchmark"] == POOLED] for table in (results, controls))
    greedy = pooled[pooled["decoding"] == PRIMARY["decoding"]]
    gains = greedy.pivot(index="backbone", columns="arm", values="delta").loc[list(last)]
    everywhere, constants = gains.dropna(axis=1), gains.reindex(columns=_CONSTANTS).max(axis=1)
    told = [f"LRS adds {_each(everywhere['lrs'])} points"] if "lrs" in everywhere else []
    told += [f"{name} (`{arm}`), {_each(everywhere[arm])}" for arm, name in _READERS.items() if arm in everywhere]
    if constants.notna().all():
        told.append(f"the best vector that is the same at each token, {_each(constants)}")
    held = {name: margin_table(*(of[of["backbone"] == name] for of in (results, controls))) for name in last}
    earlier = [place for of_one in places.values() for place in of_one[:-1]]
    before = f"; selections before these: {', '.join(map(_page, earlier))}" if earlier else ""
    asked = " / ".join(f"{of:,}" for of in greedy.groupby("backbone")["n"].max()[list(last)])
    return (
        f"**On fresh problems, decoded greedily, on {' / '.join(f'`{name}`' for name in last)}: {'; '.join(told)}.** "
        f"{_closest(held)}Nothing is planted in these reasoners. All settings were frozen before "
        f"the problems were drawn ({asked}, of {results['benchmark'].nunique() - 1} benchmarks), which were asked "
        f"once ({', '.join(results['device'].unique())}; seed {config.seed}; "
        f"{', '.join(map(_page, last.values()))}{before})."
        f"{held_sentence(held, list(_READERS))}"
        f"{_samples_against_greedy(pooled)}{_beyond_lengths(every)}\n\n"
        f"{gains_table(pooled, significance(config.statistics.confidence_level))}"
    )


def _closest(held: dict[str, pd.DataFrame]) -> str:
    """How far pushes that read the state are above the control of their direction that comes closest, by reasoner."""
    told = []
    for arm in _READERS:
        pooled = pd.Series({"benchmark": POOLED, "decoding": PRIMARY["decoding"], "method": arm})
        rows = [row for of in held.values() for row in records(of[(of[list(pooled.index)] == pooled).all(axis=1)])]
        if len(rows) == len(held):
            each = " / ".join(with_interval(row, "margin") for row in rows)
            names = [f"`{row['closest']}`" for row in rows]
            names = names[:1] if len(set(names)) == 1 else names
            told.append(f"`{arm}` {each} ({' / '.join(names)})")
    return f"Over the control of direction that comes closest: {'; '.join(told)}. " if told else ""


def _confirmed(home: Path) -> dict[str, list[Path]]:
    """The folders of what was confirmed of each natural reasoner, in the order of the log; the last reasoner first."""
    made: dict[str, list[Path]] = {}
    log = home / "log.jsonl"
    for entry in map(json.loads, log.read_text("utf-8").splitlines() if log.exists() else ()):
        place = home / entry["profile"] / entry["backbone"] / entry["selection"]
        if entry["profile"] in _NATURAL and (place / "controls.csv").exists():
            made.setdefault(entry["backbone"], []).append(place)
    return dict(sorted(made.items(), reverse=True))


def _page(place: Path) -> str:
    return f"[`{place.parent.name}`]({(place / 'README.md').as_posix()})"


def _samples_against_greedy(pooled: pd.DataFrame) -> str:
    """The samples of arms that read the state beside base's greedy answers: a push that only makes the model surer
    gains in samples too, and comes no further than these."""
    right = pooled.set_index(["decoding", "arm", "backbone"])["accuracy"].sort_index()
    places = list(pooled["backbone"].unique())
    reading = [arm for arm in _READERS if all(("sampled", arm, place) in right.index for place in places)]
    if not reading or not all(("greedy", "base", place) in right.index for place in places):
        return ""
    each = [f"{_percents(right['sampled', arm], places)} (`{arm}`)" for arm in reading]
    return (
        " A gain in samples counts less: a push that only makes the model surer has one too. Unsteered, greedy answers "
        f"are right in {_percents(right['greedy', 'base'], places)}; samples, steered, in {', and in '.join(each)}."
    )


def _percents(right: pd.Series, places: list[str]) -> str:
    return " / ".join(percent(right[place]) for place in places)


def _beyond_lengths(over: pd.DataFrame) -> str:
    """What the slope's direction is worth: its gain over pushes that go as far at each token, along its average; empty
    where a reasoner was not asked."""
    rows = over[(over["reference"] == "lrs_slope") & (over["arm"] == "slope_along")]
    ways, asked = {"greedy": "greedily", "sampled": "in samples"}, over["backbone"].nunique()
    parts = [(how, part) for how, part in each_group(rows, "decoding", sort=False) if len(part) == asked]
    told = [f"{_each(-part['delta'])} {ways[how]}" for how, part in parts]
    return (
        f" `lrs_slope` less pushes that go as far at each token in one direction, its average (`slope_along`, which "
        f"reads the state too, by its length alone), is {' and '.join(told)}."
        if told
        else ""
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
    first, *table = confirmed_answer(confirmed).split("\n\n", 1)
    parts = list(filter(None, [first, _second_claim(expected / _NATURAL[0]), *table]))
    for folder in (expected / profile for profile in profiles if (expected / profile / "main_results.csv").exists()):
        main = pd.read_csv(folder / "main_results.csv")
        level = load_config(folder.name).statistics.confidence_level
        parts.append(f"{verdict(main, level)} ([profile `{folder.name}`]({(folder / 'results.md').as_posix()}))")
        parts += filter(None, [gains_table(main, significance(level))])
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
    return f"Does steering promote cognitive behaviors, the paper's second claim? {told} {where}"


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
