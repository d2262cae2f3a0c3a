"""What a model can do before anybody teaches it: families of reasoning-gym, asked in their own English.

For a profile of a pre-trained model, which needs families that it is right on neither always nor never, with enough
problems that are not the same, and not most of them with the same answer. Answers are greedy, and what counts is the
last whole number that one says. Problems are drawn by lot from all distinct ones: the first that a data set draws
are easier than those that a profile of hundreds gets, for small numbers are soon drawn twice.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pandas as pd

from lrs.core.progress import Progress
from lrs.core.statistics import wilson_interval
from lrs.engine.decoding import generate
from lrs.engine.policy import policy_for
from lrs.engine.requests import Request
from lrs.models.backbones import Backbone, load_backbone
from lrs.saved import write_measured
from lrs.tasks.prompts import Turn, question_ids, text_of

SURVEY = Path("data/survey")
_SHOTS = 5  # worked examples, where any are shown
_DRAWS = 3000  # in which distinct problems are counted
_BUDGET, _BATCH = 64, 64
_NUMBER = re.compile(r"(?<![\d.,])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?!\d|[.,]\d)")  # not a part of `12.5`, nor of `1,23`


class Family(NamedTuple):
    """A data set of reasoning-gym whose answers are whole numbers, at one difficulty."""

    dataset: str
    difficulty: dict[str, Any]
    worked: bool = False  # asked after worked sums


def _sums(terms: int, low: int, high: int, worked: bool = False) -> Family:
    sizes = {"min_terms": terms, "max_terms": terms, "min_digits": low, "max_digits": high}
    return Family("chain_sum", sizes, worked)


FAMILIES = (
    *(_sums(2, 1, 1), _sums(2, 1, 2), _sums(2, 2, 2), _sums(3, 1, 1), _sums(4, 1, 1)),
    *(_sums(3, 1, 1, worked=True), _sums(4, 1, 1, worked=True)),
    Family("products", {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}),
    Family("products", {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2}),
    Family("gcd", {"min_numbers": 2, "max_numbers": 2, "min_value": 2, "max_value": 30}),
    Family("lcm", {"min_numbers": 2, "max_numbers": 2, "min_value": 2, "max_value": 10}),
    Family("letter_counting", {"min_words": 1, "max_words": 2}),
    Family("letter_counting", {"min_words": 2, "max_words": 4}),
    Family("leg_counting", {"min_animals": 1, "max_animals": 2, "min_instances": 1, "max_instances": 9}),
    Family("simple_equations", {}),
)


def worked_sum(expression: str) -> Turn:
    """A sum, added up term by term: `2 + 3 - 4`, `2 + 3 = 5, 5 - 4 = 1. The answer is 1.`"""
    first, *others = expression.split()
    total, steps = int(first), []
    for sign, term in zip(others[::2], others[1::2], strict=True):
        before, total = total, total + (int(term) if sign == "+" else -int(term))
        steps.append(f"{before} {sign} {term} = {total}")
    return Turn(f"What is {expression}?", f"{', '.join(steps)}. The answer is {total}.")


def last_number(text: str) -> str | None:
    """The last whole number of a text, without the commas of its thousands; None if there is none."""
    found = _NUMBER.findall(text)
    return found[-1].replace(",", "") if found else None


def ask_families(backbone: Backbone, problems: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """A row a family: accuracy with its Wilson interval, that of the one answer that is right most often (`constant`),
    tokens an answer, and how many distinct problems there are.

    Args:
        problems: distinct ones of each family; fewer, where it has fewer.
    """
    import reasoning_gym  # takes seconds

    ends, policy = [backbone.tokenizer.eos_token_id], policy_for(backbone.model)
    with Progress(f"survey: {backbone.name}", len(FAMILIES), "families") as progress:
        for family in FAMILIES:
            drawn = reasoning_gym.create_dataset(family.dataset, seed=seed, size=_DRAWS, **family.difficulty)
            found = list({entry["question"]: entry for entry in drawn}.values())
            Random(seed).shuffle(found)
            asked, shown = found[_SHOTS:][:problems], []
            questions = [entry["question"] for entry in asked]
            if family.worked:
                questions = [worked_sum(entry["metadata"]["expression"]).question for entry in asked]
                shown = [worked_sum(entry["metadata"]["expression"]) for entry in found[:_SHOTS]]
            prompts = [Request(question_ids(question, backbone.tokenizer, shown)) for question in questions]
            written = generate(
                backbone.model, prompts, max_new_tokens=_BUDGET, batch_size=_BATCH, policy=policy, end_ids=ends
            )
            said = [last_number(text_of(one.token_ids, backbone.tokenizer)) for one in written]
            right = sum(number == entry["answer"] for number, entry in zip(said, asked, strict=True))
            ((_, commonest),) = Counter(entry["answer"] for entry in asked).most_common(1)
            low, high = wilson_interval(right, len(asked))
            difficulty = ", ".join(f"{name} {value}" for name, value in family.difficulty.items())
            row: dict[str, Any] = {"backbone": backbone.name, "dataset": family.dataset, "difficulty": difficulty}
            row |= {"worked_examples": len(shown), "distinct": len(found), "n": len(asked), "seed": seed}
            row |= {"accuracy": right / len(asked), "ci_low": low, "ci_high": high}
            row["constant"] = commonest / len(asked)
            yield row | {"tokens": sum(len(one.token_ids) for one in written) / len(written), "example": questions[0]}
            progress.advance(note=f"{family.dataset}: {right / len(asked):.0%}")


def measure_survey(path: str, problems: int, folder: Path = SURVEY) -> pd.DataFrame:
    """Ask a model of each family, and write `<name>.csv`: columns as in `ask_families`."""
    backbone = load_backbone(path)
    table = pd.DataFrame(ask_families(backbone, problems))
    write_measured(table, backbone.name, folder)
    return table
