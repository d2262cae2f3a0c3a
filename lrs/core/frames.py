"""Data frames in pieces. To a type checker a cell is anything: what a column holds is known to the table alone."""

from collections.abc import Iterable
from typing import Any

import pandas as pd


def each_row(frame: pd.DataFrame) -> Iterable[Any]:
    """The rows, whose cells go by the names of their columns: `row.delta`, and `row.Index`."""
    return frame.itertuples()


def each_group(frame: pd.DataFrame, by: Any, sort: bool = True) -> Iterable[tuple[Any, pd.DataFrame]]:
    """The rows that are alike in the columns `by`, under what they have there: a value, or a tuple of a list's."""
    return frame.groupby(by, sort=sort)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows, each a value by the name of its column."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def most(frame: pd.DataFrame, column: str) -> pd.Series:
    """The first row of those where a column is largest."""
    return frame.loc[[frame[column].idxmax()]].iloc[0]


def least(frame: pd.DataFrame, column: str) -> pd.Series:
    """The first row of those where a column is smallest."""
    return frame.loc[[frame[column].idxmin()]].iloc[0]


def as_markdown(frame: pd.DataFrame, layout: str = "pipe") -> str:
    """A table of strings, as they are, for people; `layout` is of the package tabulate."""
    return frame.to_markdown(index=False, tablefmt=layout, disable_numparse=True)
