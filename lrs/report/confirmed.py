"""What was confirmed: the append-only log, and a page beside the tables of each line of it."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from lrs.config import Config, load_config
from lrs.core.frames import as_markdown
from lrs.core.store import write_text
from lrs.report.comparison import POOLED
from lrs.report.margins import (
    GAIN,
    LEVEL,
    MARGIN,
    direction_controls,
    margin_sentence,
    margin_table,
    own_lengths,
    readable_margins,
)
from lrs.report.tables import caption_for, readable

CONFIRMED = Path("data/confirm")
AGAINST_GREEDY = "against_greedy"  # a table beside those of confirmations of today
_SHOWN = ["decoding", "benchmark", "arm", "n", "accuracy", "ci_low", "ci_high", "delta", "delta_low", "delta_high"]
_SHOWN += ["wins", "losses", "p_holm"]


def read_log(home: Path = CONFIRMED) -> list[dict[str, Any]]:
    """The lines of the log, oldest first, each with `attempt`: how often its backbone had been confirmed by then, this
    time included, with whichever selection."""
    log = home / "log.jsonl"
    entries = [json.loads(line) for line in log.read_text("utf-8").splitlines()] if log.exists() else []
    tried: dict[str, int] = {}
    for entry in entries:
        entry["attempt"] = tried[entry["backbone"]] = tried.get(entry["backbone"], 0) + 1
    return entries


def place_of(entry: dict[str, Any], home: Path = CONFIRMED) -> Path:
    """The folder of a line of the log."""
    return home / entry["profile"] / entry["backbone"] / entry["selection"]


def against_greedy_of(folder: Path) -> pd.DataFrame | None:
    """The samples of each arm against the unsteered model's greedy answers; None of confirmations that have no such
    table."""
    path = folder / f"{AGAINST_GREEDY}.csv"
    return pd.read_csv(path) if path.exists() else None


def write_confirmed_pages(home: Path = CONFIRMED) -> None:
    """Write the page of every confirmation that has come to its end, from its tables; but for the first ones, which
    kept no selection beside them, and tables of another form."""
    for entry in read_log(home):
        folder = place_of(entry, home)
        if all((folder / name).exists() for name in ("results.csv", "selection.json")):
            write_text(folder / "README.md", confirmed_page(entry, load_config(entry["profile"]), home))


def confirmed_page(entry: dict[str, Any], config: Config, home: Path = CONFIRMED) -> str:
    """What came of one line of the log, against base and against the profile's methods.

    Args:
        entry: of `read_log`.
    """
    folder = place_of(entry, home)
    results = pd.read_csv(folder / "results.csv")
    parts = [
        f"# {entry['backbone']}, profile {entry['profile']}: confirmed",
        f"The settings of selection `{entry['selection'][:16]}`, frozen before, on {entry['problems']:,} problems a "
        "benchmark that were drawn from its digest, none of them seen before, once (`lrs confirm`; the attempts are in "
        "[log.jsonl](../../../log.jsonl), the settings in [selection.json](selection.json)). It is attempt "
        f"{entry['attempt']} at this reasoner, with whichever profile and selection, each on problems of its own.",
        f"## Against base\n\n{caption_for(results, config)}",
        as_markdown(readable(results[_SHOWN])),
    ]
    if (folder / "controls.csv").exists():
        against = pd.read_csv(folder / "controls.csv")
        parts += _margins(results, against, entry["attempt"])
        for reference, others in against[against["benchmark"] == POOLED].groupby("reference", sort=False):
            parts += [
                f"## Against `{reference}`\n\n`delta` is the other arm less `{reference}`: below zero, it does worse. "
                "`p_holm` is over all contrasts with it, those of each benchmark too.",
                as_markdown(readable(others.loc[others["arm"] != reference, _SHOWN])),
            ]
    if (samples := against_greedy_of(folder)) is not None:
        parts += [
            "## Samples against the unsteered model's greedy answers",
            "A push that only makes the model surer gains over samples, and comes no further than these. `delta`: the "
            "samples of an arm less the greedy answers of the unsteered model to the same problems; `p_holm` is over "
            "this table.",
            as_markdown(readable(samples.loc[samples["arm"] != "greedy", _SHOWN])),
        ]
    return "\n\n".join(parts) + "\n"


def _margins(results: pd.DataFrame, against: pd.DataFrame, attempts: int) -> list[str]:
    """How far each method is above base and above the controls of its direction; and above itself in its average
    direction, as far at each token."""
    every, way = direction_controls(against), own_lengths(against)
    rule = (
        f"A method holds on a benchmark if it is above base by {100 * GAIN:.0f} points and above every control of its "
        f"direction that was run (one vector, the other way, by lot) by {100 * MARGIN:.0f}, each with a p below "
        f"{LEVEL:g}, Holm-adjusted over the table and then times the number of attempts ({attempts}). `told`: what the "
        "instruction gains there, where what is known to be there ends."
    )
    likewise = (
        "Held against what goes as far as the method at each token, but always in the method's average direction: by "
        "which it gains that *the way*, too, follows from the state. By the same rule:"
    )
    parts = []
    for over, intro, rivals in (
        ("every control of direction", rule, every),
        ("the same lengths in one direction", likewise, way),
    ):
        if len(table := margin_table(results, rivals, attempts)):
            told = [intro, margin_sentence(table), as_markdown(readable_margins(table))]
            parts += [f"## Over base, and over {over}", *told]
    return parts
