"""What steering changes, problem by problem: the two by two of right and wrong, and the first word that differs."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd

from lrs.core.frames import each_group
from lrs.report.labelled import Finder, finders
from lrs.tasks.behaviors import BEHAVIORS, find_behaviors
from lrs.tasks.labeller import Labeller

CHANGES = {(True, True): "both right", (False, True): "repaired", (True, False): "broken", (False, False): "both wrong"}
_KEYS = ["benchmark", "problem_id", "seed"]
_END = "(its end)"
TRANSITION_COLUMNS = [
    *("backbone", "decoding", "arm", "change", "n", "share", "differ", "place"),
    *(f"opens_{behavior}" for behavior in BEHAVIORS),
    *("base_word", "arm_word", "times"),
]
DIFFERENCE_COLUMNS = [
    *("backbone", "decoding", "arm", *_KEYS, "change", "place", "base_word", "arm_word", "opens"),
]


class Difference(NamedTuple):
    """The first word in which two texts differ.

    Attributes:
        place: words before it.
        base, other: what each says there.
        opens: the behavior that begins there in the other text, if one does.
    """

    place: int
    base: str
    other: str
    opens: str | None


def first_difference(base: str, other: str, find: Finder = find_behaviors) -> Difference | None:
    """Of two texts; None where they are the same, word by word.

    Args:
        find: what finds behaviors in the other.
    """
    said, instead = base.split(), other.split()
    place = next(
        (i for i, (a, b) in enumerate(zip(said, instead, strict=False)) if a != b), min(len(said), len(instead))
    )
    if place == len(said) == len(instead):
        return None
    starts = [word.start() for word in re.finditer(r"\S+", other)]
    opened = [span.behavior for span in find(other) if starts[place : place + 1] == [span.start]]
    there, then = (words[place] if place < len(words) else _END for words in (said, instead))
    return Difference(place, there, then, opened[0] if opened else None)


class _Pair(NamedTuple):
    """Base's answer to a problem and an arm's; the first three fields name the arm."""

    backbone: str
    decoding: str
    arm: str
    benchmark: str
    problem_id: str
    seed: int
    change: str
    base: str
    other: str


def _pairs(outcomes: pd.DataFrame) -> Iterator[_Pair]:
    for (backbone, decoding), group in each_group(outcomes, ["backbone", "decoding"], sort=False):
        tables = {arm: part.set_index(_KEYS) for arm, part in each_group(group, "arm", sort=False)}
        base = tables.pop("base")
        for arm, part in tables.items():
            both = base[["correct", "text"]].merge(part[["correct", "text"]], on=_KEYS, validate="1:1")
            for (benchmark, problem, seed), right, text, then, other in both.itertuples():
                change = CHANGES[bool(right), bool(then)]
                yield _Pair(backbone, decoding, arm, benchmark, problem, seed, change, text, other)


def first_differences(outcomes: pd.DataFrame, labeller: Labeller | None = None) -> pd.DataFrame:
    """What stands where each repaired answer, and each broken one, first differs from base's.

    Args:
        outcomes: as in `transitions_table`.
        labeller: what finds behaviors; without, what `finder_for` each benchmark does.

    Returns:
        A row an answer that an arm repaired or broke, `DIFFERENCE_COLUMNS`: place (words before it), base_word and
        arm_word, and the behavior that `opens` there, `none` where none does.
    """
    find, rows = finders(labeller), []
    for pair in _pairs(outcomes):
        if pair.change not in ("repaired", "broken"):
            continue
        if difference := first_difference(pair.base, pair.other, find(pair.benchmark)):
            place, base, other, opens = difference
            rows.append((*pair[:7], place, base, other, opens or "none"))
    return pd.DataFrame(rows, columns=DIFFERENCE_COLUMNS)


def transitions_table(outcomes: pd.DataFrame, labeller: Labeller | None = None) -> pd.DataFrame:
    """What becomes of base's answers with each arm.

    Args:
        outcomes: one row a backbone x problem x arm x seed, with text and correct.
        labeller: as in `first_differences`.

    Returns:
        columns `TRANSITION_COLUMNS`: n (answers) and share of the four changes; of those whose texts `differ`, the
        median place of the first differing word (words before it over base's words), how many there open each
        behavior, and the most frequent pair of words.
    """
    find = finders(labeller)
    found: dict[tuple[str, str, str], dict[str, list[tuple[str, Difference | None]]]] = {}
    for pair in _pairs(outcomes):
        told = found.setdefault(pair[:3], {change: [] for change in CHANGES.values()})
        told[pair.change].append((pair.base, first_difference(pair.base, pair.other, find(pair.benchmark))))
    rows = []
    for (backbone, decoding, arm), told in found.items():
        count = sum(map(len, told.values()))
        for change, answers in told.items():
            row = {"backbone": backbone, "decoding": decoding, "arm": arm, "change": change, "n": len(answers)}
            rows.append(row | {"share": len(answers) / count} | _of_differences(answers))
    return pd.DataFrame(rows).reindex(columns=TRANSITION_COLUMNS)


def _of_differences(told: list[tuple[str, Difference | None]]) -> dict[str, Any]:
    some = [(text, found) for text, found in told if found]
    opened = Counter(found.opens for _, found in some)
    row: dict[str, Any] = {"differ": len(some)} | {f"opens_{name}": opened[name] for name in BEHAVIORS}
    if some:
        row["place"] = float(pd.Series([found.place / max(1, len(text.split())) for text, found in some]).median())
        ((row["base_word"], row["arm_word"]), row["times"]) = Counter(
            (found.base, found.other) for _, found in some
        ).most_common(1)[0]
    return row
