"""Splits, which keep training, selection and test apart: a problem's split follows from its id alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from lrs.tasks.benchmarks import BENCHMARKS

if TYPE_CHECKING:
    from lrs.tasks.problems import Problem

SPLIT_SHARES = {"train": 0.70, "reward": 0.10, "validation": 0.05, "test": 0.15}


def split_of(identifier: str) -> str:
    """The split a problem belongs to, by its id alone."""
    position = int(identifier, 16) / 16**16
    for split, upper in zip(SPLIT_SHARES, itertools.accumulate(SPLIT_SHARES.values()), strict=True):
        if position < upper:
            return split
    return split


def learning_split_of(identifier: str) -> str:
    """Of a public data set that is learned from: `reward` for two thirds of its problems, `validation` for the rest."""
    return "reward" if int(identifier, 16) % 3 else "validation"


def held_out(problem_ids: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which rows belong to the `share` of problems that is held out within a split: all rows of a problem, or none.

    Args:
        problem_ids: (rows,).

    Returns:
        (rows,) booleans; at least one problem is held out.
    """
    distinct = np.unique(problem_ids)
    count = max(1, round(share * len(distinct)))
    return np.isin(problem_ids, np.random.default_rng(seed).permutation(distinct)[:count])


def _taught(problem: Problem) -> bool:
    """Whether a built-in reasoner learned from it: the split follows from the id, whatever a table says of it. A public
    data set has splits of its own, and nothing was taught from it."""
    kind = BENCHMARKS.get(problem.benchmark)
    return split_of(problem.id) == "train" and not (kind and kind.source)


def assert_unseen(evaluated: Iterable[Problem], seen: Iterable[str]) -> None:
    """Refuse to go on when an evaluated problem was seen in training or selection.

    Args:
        evaluated: the problems about to be evaluated.
        seen: ids of the problems used so far; those of split `train`, from which a built-in reasoner learned, always
            are.

    Raises:
        ValueError: naming how many problems, and one of them.
    """
    seen = set(seen)
    leaked = [problem for problem in evaluated if problem.id in seen or _taught(problem)]
    if leaked:
        raise ValueError(
            f"{len(leaked)} evaluated problems were seen in training or selection, "
            f"among them {leaked[0].id} ({leaked[0].question!r})"
        )
