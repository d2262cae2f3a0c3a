"""Saved results: what every table and figure is made from, without loading a model."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lrs.store import read_table


def load_outcomes(folder: Path, arms: Sequence[str]) -> pd.DataFrame:
    """The outcomes of some arms, in that order: a row a problem, arm and seed, with the backbone and its device."""
    about = load_about(folder)
    outcomes = pd.concat([read_table(folder / arm).to_pandas() for arm in arms], ignore_index=True)
    return outcomes.assign(backbone=about["backbone"], device=about["device"])


def load_about(folder: Path) -> dict[str, Any]:
    """Where outcomes come from: backbone, device, profile and seed."""
    return json.loads((folder / "about.json").read_text())


def load_candidates(path: Path) -> pd.DataFrame:
    """The validation table behind a frozen selection: a row a setting, the chosen ones marked."""
    return pd.DataFrame(json.loads(path.read_text())["candidates"])
