"""What steering changes, problem by problem: the two by two of right and wrong, and the first word that differs."""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd

from lrs.core.frames import each_group
from lrs.tasks.behaviors import BEHAVIORS, Span, find_behaviors
from lrs.tasks.labeller import finder_for

CHANGES = {(True, True): "both right", (False, True): "repaired", (True, False): "broken", (False, False): "both wrong"}
Finder = Callable[[str], list[Span]]
_KEYS = ["benchmark", "problem_id", "seed"]
_END = "(its end)"
TRANSITION_COLUMNS = [
    *("backbone", "decoding", "arm", "change", "n", "share", "differ", "place"),
    *(f"opens_{behavior}" for behavior in BEHAVIORS),
    *("base_word", "arm_word", "times"),
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
    here = len(" ".join([*instead[:place], ""])) if place < len(instead) else -1
    opened = [span.behavior for span in find(" ".join(instead)) if span.start == here]
    there, then = (words[place] if place < len(words) else _END for words in (said, instead))
    return Difference(place, there, then, opened[0] if opened else None)


def transitions_table(outcomes: pd.DataFrame) -> pd.DataFrame:
    """What becomes of base's answers with each arm.

    Args:
        outcomes: one row a backbone x problem x arm x seed, with text and correct.

    Returns:
        columns `TRANSITION_COLUMNS`: n (answers) and share of the four changes; of those whose texts `differ`, the
        median place of the first differing word (words before it over base's words), how many there open each
        behavior, and the most frequent pair of words.
    """
    rows = []
    for (backbone, decoding), group in each_group(outcomes, ["backbone", "decoding"], sort=False):
        tables = {arm: part.set_index(_KEYS) for arm, part in each_group(group, "arm", sort=False)}
        base = tables.pop("base")
        for arm, part in tables.items():
            pairs = base[["correct", "text"]].merge(part[["correct", "text"]], on=_KEYS, validate="1:1")
            found: dict[str, list[tuple[str, Difference | None]]] = {change: [] for change in CHANGES.values()}
            for (benchmark, *_), right, text, then, other in pairs.itertuples():
                difference = first_difference(text, other, finder_for(benchmark))
                found[CHANGES[bool(right), bool(then)]].append((text, difference))
            for change, told in found.items():
                row = {"backbone": backbone, "decoding": decoding, "arm": arm, "change": change, "n": len(told)}
                rows.append(row | {"share": len(told) / len(pairs)} | _of_differences(told))
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
