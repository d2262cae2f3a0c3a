"""The accepted tables of a profile, and how its results page shows a table or a picture."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from lrs.config import load_config
from lrs.report.pictures import PICTURES

DATE = "accepted"  # a file: the day on which it was


class Accepted(NamedTuple):
    """The accepted tables of a profile; one that its run did not write is empty. `date`: when, if that is known."""

    folder: Path
    date: str
    main: pd.DataFrame
    quality: pd.DataFrame
    selection: pd.DataFrame
    assay: pd.DataFrame
    controls: pd.DataFrame
    budget: pd.DataFrame
    specific: pd.DataFrame
    behaviors: pd.DataFrame
    promoted: pd.DataFrame
    mediation: pd.DataFrame
    costs: pd.DataFrame
    confidence_level: float


def read_accepted(folder: Path) -> Accepted:
    """Read `data/expected/<profile>`.

    Raises:
        FileNotFoundError: there is no main table.
        ConfigError: the profile is no longer there.
    """
    main = pd.read_csv(folder / "main_results.csv")
    level = load_config(main["profile"].iloc[0]).statistics.confidence_level

    def read(name: str) -> pd.DataFrame:
        path = folder / f"{name}.csv"
        return pd.read_csv(path) if path.exists() else pd.DataFrame()

    return Accepted(
        folder=folder,
        date=(folder / DATE).read_text("utf-8").strip() if (folder / DATE).exists() else "",
        main=main,
        quality=read("reward_quality"),
        selection=read("selection"),
        assay=read("assay"),
        controls=read("controls"),
        budget=read("budget"),
        specific=read("specific"),
        behaviors=read("behaviors"),
        promoted=read("promoted"),
        mediation=read("mediation"),
        costs=read("costs"),
        confidence_level=level,
    )


def of_natural(table: pd.DataFrame, profile: str) -> pd.DataFrame:
    """The rows of the profile's reasoners in which no mode was planted.

    Args:
        table: with a column backbone.
    """
    planted = [name for name, one in load_config(profile).backbones.items() if one.planted]
    return table[~table["backbone"].isin(planted)]


def embedded(folder: Path, *stems: str, under: Path | None = None) -> list[str]:
    """Pictures of these names, as Markdown shows them; of many backbones none, as the links below have them all."""
    under = under or folder
    found = {stem: sorted(folder.rglob(f"{stem}.png")) for stem in stems}
    one = {stem: paths[0].relative_to(under).as_posix() for stem, paths in found.items() if len(paths) == 1}
    return [f"![{PICTURES[stem]}]({path})" for stem, path in one.items()]
