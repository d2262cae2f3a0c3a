"""Behaviors as another labeller than the built-in ones finds them: a judge model, say, on answers that are kept.

The pipeline counts behaviors while answers are written, by the words of the test-bed or by rules of English. Another
labeller reads the same answers afterwards: what `labelled_by` returns goes wherever outcomes go.
"""

from collections.abc import Callable
from functools import cache

import pandas as pd

from lrs.tasks.behaviors import BEHAVIORS, Span, count_behaviors
from lrs.tasks.benchmarks import BENCHMARKS
from lrs.tasks.labeller import Labeller, RuleLabeller, finder_for, validate_labeller

LABELLER_CAPTION = (
    "Behaviors found by rules, against the exact labels of traces: precision and recall, over spans, with Wilson "
    "intervals. The rules of English know one of the test-bed's four words. With all four added they find behaviors "
    "almost by definition, since there these words stand for behaviors by design: that tells how well rules read "
    "sentences, and nothing of how well they read English."
)
_RULES = {"English": RuleLabeller(), "English and the test-bed's four words": RuleLabeller(own_words=True)}
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


def labeller_table(traces: pd.DataFrame) -> pd.DataFrame:
    """The rules held against exact labels; `LABELLER_CAPTION` says what that tells, and what not.

    Args:
        traces: of one reasoner, with benchmark and text; answers to public data sets have no exact labels, and are left
            out.

    Returns:
        rules, and the columns of `validate_labeller`: a row a set of rules and behavior.
    """
    exact = traces[[BENCHMARKS[name].source is None for name in traces["benchmark"]]]
    tables = {name: validate_labeller(labeller, exact) for name, labeller in _RULES.items()}
    return pd.concat(tables, names=["rules", None]).reset_index("rules").reset_index(drop=True)
