"""Behaviors as another labeller than the built-in ones finds them: a judge model, say, on answers that are kept.

The pipeline counts behaviors while answers are written, by the words of the test-bed or by rules of English. Another
labeller reads the same answers afterwards: what `labelled_by` returns goes wherever outcomes go.
"""

from collections.abc import Callable
from functools import cache

import pandas as pd

from lrs.tasks.behaviors import BEHAVIORS, Span, count_behaviors
from lrs.tasks.labeller import Labeller, finder_for

Finder = Callable[[str], list[Span]]


def finders(labeller: Labeller | None = None) -> Callable[[str], Finder]:
    """From a benchmark to what finds behaviors in answers to it: a labeller, asked once a text, or `finder_for`'s."""
    if labeller is None:
        return finder_for
    find = cache(labeller.label)
    return lambda benchmark: find


def labelled_by(outcomes: pd.DataFrame, labeller: Labeller) -> pd.DataFrame:
    """Outcomes with behaviors counted anew: how often a labeller finds each in every answer, asked once a text.

    Args:
        outcomes: one row an answer, with its text.

    Raises:
        JudgeError: a judge did not answer as it was asked to.
    """
    counts = {text: count_behaviors(text, labeller.label) for text in outcomes["text"].unique()}
    return outcomes.assign(**{name: [counts[text][name] for text in outcomes["text"]] for name in BEHAVIORS})
