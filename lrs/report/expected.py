"""Expected tables: what another machine's run is compared with."""

import shutil
from pathlib import Path

import pandas as pd

EXPECTED = Path("data/expected")
FIGURES = Path("figures")
_KEYS = ["backbone", "benchmark", "split", "decoding", "arm"]


def accept(profile: str) -> list[Path]:
    """Make the tables and pictures under `figures/<profile>/` the expected ones, instead of any before them.

    This is the only writer of `data/expected/`.

    Raises:
        FileNotFoundError: the profile has no main table.
    """
    source = FIGURES / profile
    if not (source / "main_results.csv").exists():
        raise FileNotFoundError(f"{source / 'main_results.csv'} does not exist: run the profile before accepting it")
    target = EXPECTED / profile
    shutil.rmtree(target, ignore_errors=True)
    kept = [path.relative_to(source) for path in sorted(source.rglob("*")) if path.suffix in (".csv", ".md", ".png")]
    for path in kept:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, target / path)
    return [target / path for path in kept]


def check(profile: str) -> list[str]:
    """Compare each accuracy of the main table with the expected one, which must hold it in its interval.

    Returns:
        one line a fault: an accuracy outside [ci_low, ci_high], a row missing or unexpected, a table missing.
    """
    found, expected = (folder / profile / "main_results.csv" for folder in (FIGURES, EXPECTED))
    if absent := [f"{path} does not exist" for path in (found, expected) if not path.exists()]:
        return absent
    merged = pd.read_csv(expected).merge(
        pd.read_csv(found), on=_KEYS, how="outer", indicator="side", suffixes=("_expected", "")
    )
    faults = []
    for row in merged.to_dict("records"):
        cell = " ".join(str(row[key]) for key in _KEYS)
        low, high = row["ci_low_expected"], row["ci_high_expected"]
        if row["side"] != "both":
            faults.append(f"{cell}: {'missing row' if row['side'] == 'left_only' else 'unexpected row'}")
        elif not low <= row["accuracy"] <= high:
            faults.append(f"{cell}: accuracy {row['accuracy']:.3f} outside the expected [{low:.3f}, {high:.3f}]")
    return faults
