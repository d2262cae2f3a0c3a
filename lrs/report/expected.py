"""What a run is compared with: its tables, pictures and notebooks as they were accepted, and digests of its outputs.

`data/expected` has no other writer. What people read of it (`results.md`, and the answer in the README) is computed
from its tables, so that no prose can be out of date.
"""

import hashlib
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lrs.core.frames import records
from lrs.core.statistics import fisher_p, holm
from lrs.core.store import write_text
from lrs.report.accepted import DATE, read_accepted
from lrs.report.confirmed import write_confirmed_pages
from lrs.report.gallery import gallery_page
from lrs.report.pages import results_page
from lrs.report.readme import put_block, readme_block
from lrs.saved import load_candidates

EXPECTED = Path("data/expected")
README = Path("README.md")
GALLERY = Path("docs/gallery.md")
_OUTPUTS = "outputs.sha256"
_KEPT = (".csv", ".md", ".png")  # .tex and .pdf say the same
_KEYS = ["backbone", "benchmark", "split", "decoding", "arm"]
_LEVEL = 0.05  # of a whole table: at most how often a run that differs by chance alone is faulted


class Comparison(NamedTuple):
    """A run beside the accepted one, in lines for people.

    `moved` tells which outputs have other bytes, which is no fault: another kind of machine rounds in another way.
    `faults` are accuracies that differ from the accepted ones beyond chance, and rows or tables that are missing or
    were not expected. On another kind of machine a run is a draw of its own: its numbers carry chance, and so do ours.
    """

    moved: list[str]
    faults: list[str]


def accept(profile: str, home: Path = Path()) -> None:
    """Make what a profile has written the expected, instead of any before it, with the selection that it froze and the
    day, and write the pages anew.

    The executed notebooks, and the pages of latents, are kept of the repository's own profile alone: those of profiles
    that run in a copy have several backbones, and megabytes. So are pictures of no backbone: of what was measured
    outside the pipeline, once, and of the paper's numbers.

    Args:
        home: the folder in which the profile ran: this one, or a copy of it.

    Raises:
        FileNotFoundError: the profile has no main table or no data there.
    """
    figures, notebooks = home / "figures" / profile, home / "notebooks/executed" / profile
    for needed in (figures / "main_results.csv", home / "data" / profile):
        if not needed.exists():
            raise FileNotFoundError(f"{needed} does not exist: run the profile {profile} before accepting it")
    target, scratch = EXPECTED / profile, EXPECTED / f".{profile}.tmp"  # of a kill while copying, nothing is lost
    shutil.rmtree(scratch, ignore_errors=True)
    for path in sorted(figures.rglob("*")):
        of_all = path.suffix == ".png" and path.parent == figures
        if path.suffix in _KEPT and (home == Path() or not of_all):
            _copy(path, scratch / path.relative_to(figures))
    if home == Path():
        for path in sorted(notebooks.rglob("*.ipynb")):
            _copy(path, scratch / "notebooks" / path.relative_to(notebooks))
        for path in sorted((home / "data" / profile).glob("*/dashboard/*.html")):
            _copy(path, scratch / path.parents[1].name / path.name)
    for path in sorted((home / "data" / profile).glob("*/selection.json")):
        _copy(path, scratch / path.parent.name / path.name)
    lines = "".join(f"{digest}  {name}\n" for name, digest in digests_of_outputs(profile, home).items())
    write_text(scratch / _OUTPUTS, lines)
    former, date = target / _OUTPUTS, f"{datetime.now(UTC):%Y-%m-%d}\n"
    if (target / DATE).exists() and former.exists() and former.read_text("utf-8") == lines:  # the same run again
        date = (target / DATE).read_text("utf-8")
    write_text(scratch / DATE, date)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(scratch, target)
    write_pages()


def write_pages() -> None:
    """Write the results page of every accepted profile and of every confirmation, the gallery, and the answer in the
    README."""
    for table in sorted(EXPECTED.glob("[!.]*/main_results.csv")):  # with a dot: left by a kill
        write_text(table.with_name("results.md"), results_page(read_accepted(table.parent)))
    write_confirmed_pages()
    if GALLERY.parent.exists():
        write_text(GALLERY, gallery_page(EXPECTED))
    if README.exists():
        write_text(README, put_block(README.read_text("utf-8"), readme_block(EXPECTED)))


def digests_of_outputs(profile: str, home: Path = Path()) -> dict[str, str]:
    """SHA-256 of every file that says something about results, by its path from `home`, sorted.

    That is all data that the stages made, and the tables; not what a stage was made from (`plan.json`, which changes
    with the code), nor pictures and notebooks, which only show these, nor `_left_behind`.
    """
    found = {path.relative_to(home).as_posix(): path for path in _outputs(profile, home)}
    return {name: hashlib.sha256(found[name].read_bytes()).hexdigest() for name in sorted(found)}


def _outputs(profile: str, home: Path) -> Iterator[Path]:
    apart = _left_behind(profile, home)
    for path in (home / "data" / profile).rglob("*"):
        parts = path.relative_to(home).parts
        # a name with a leading dot is a scratch file of a run that was killed
        hidden = any(part.startswith(".") for part in parts) or path.parent in apart
        if path.is_file() and path.name != "plan.json" and not hidden:
            yield path
    yield from (home / "figures" / profile).rglob("*.csv")


def _left_behind(profile: str, home: Path) -> set[Path]:
    """Folders of settings and arms that the profile no longer names: no result of the run rests on them.

    They stay where they are: they took hours, and come back with the name.
    """
    table, found = home / "figures" / profile / "main_results.csv", set()
    for backbone in (home / "data" / profile).glob("*/"):
        named: dict[str, set[str]] = {}
        if table.exists():
            arms = pd.read_csv(table)
            named["outcomes"] = set(arms["arm"] + "/" + arms["decoding"])
        if (selection := backbone / "selection.json").exists():
            tried = load_candidates(selection)
            decodings = {f"unsteered/{decoding}" for decoding in tried["decoding"]}
            named["validation"] = {"base", "signals", "doses", *decodings, *(tried["name"] + "/" + tried["decoding"])}
        for kind, names in named.items():
            folders = {path.relative_to(backbone / kind).as_posix(): path for path in (backbone / kind).rglob("*/")}
            found |= {path for name, path in folders.items() if name not in names}
    return found


def check(profile: str, home: Path = Path()) -> Comparison:
    """Compare a run with the accepted one: bytes of outputs, and each accuracy by Fisher's exact test, Holm-adjusted
    over all of the table.

    Args:
        home: the folder in which the profile ran.
    """
    return Comparison(_moved(profile, home), _faults(profile, home))


def _moved(profile: str, home: Path) -> list[str]:
    """A line a folder in which a file differs from the accepted one, is missing, or is new; and how many there are."""
    path = EXPECTED / profile / _OUTPUTS
    if not path.exists():
        return [f"there is no {path} to compare bytes with"]
    split = (line.split("  ", 1) for line in path.read_text("utf-8").splitlines())
    expected = {name: digest for digest, name in split}
    found = digests_of_outputs(profile, home)
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for name in expected.keys() | found.keys():
        how = "new" if name not in expected else "missing" if name not in found else "differs"
        counts[Path(name).parent.as_posix()][how] += found.get(name) != expected.get(name)
    lines = [
        f"{folder}: " + ", ".join(f"{count} {how}" for how, count in sorted(kinds.items()) if count)
        for folder, kinds in sorted(counts.items())
        if sum(kinds.values())
    ]
    same = sum(found.get(name) == digest for name, digest in expected.items())
    return [f"{same} of {len(expected)} outputs are the accepted ones, byte for byte", *lines]


def _faults(profile: str, home: Path) -> list[str]:
    paths = [folder / profile / "main_results.csv" for folder in (home / "figures", EXPECTED)]
    if absent := [f"{path} does not exist" for path in paths if not path.exists()]:
        return absent
    found, expected = map(pd.read_csv, paths)
    merged = expected.merge(found, on=_KEYS, how="outer", indicator="side", suffixes=("_expected", ""))
    rows = records(merged)
    p_values = [_chance(row) if row["side"] == "both" else float("nan") for row in rows]
    faults = []
    for row, p in zip(rows, holm(np.array(p_values)), strict=True):
        cell = " ".join(str(row[key]) for key in _KEYS)
        if row["side"] != "both":
            faults.append(f"{cell}: {'missing row' if row['side'] == 'left_only' else 'unexpected row'}")
        elif p < _LEVEL:
            faults.append(
                f"{cell}: accuracy {row['accuracy']:.3f} of {row['n']:.0f}, where {row['accuracy_expected']:.3f} of "
                f"{row['n_expected']:.0f} was expected (Holm p {p:.2g})"
            )
    return faults


def _chance(row: dict[str, Any]) -> float:
    """The p-value of a cell in which a run and the accepted one differ; 0 where the run has no accuracy."""
    if not np.isfinite(row["accuracy"]):
        return 0.0
    n, other_n = int(row["n"]), int(row["n_expected"])
    right, other = row["accuracy"] * n, row["accuracy_expected"] * other_n
    return fisher_p(right, other, n, other_n)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
