"""What a model can do, asked in plain English."""

import re

import pandas as pd
import pytest
from reasoning_gym import create_dataset

from lrs.bench import survey
from lrs.bench.survey import FAMILIES, Family, ask_families, last_number, measure_survey, worked_sum
from lrs.engine.requests import Generation

SUMS = FAMILIES[0].difficulty


def test_sums_are_worked_out_term_by_term():
    assert worked_sum("8 - 0 + 7") == ("What is 8 - 0 + 7?", "8 - 0 = 8, 8 + 7 = 15. The answer is 15.")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("15 * 43 = 645<|im_end|>", "645"),
        ("It is 1,234,567.", "1234567"),
        ("-7, or 8", "8"),
        ("-7", "-7"),
        ("1,23", None),
        ("12.5", None),
        ("none", None),
        ("9" * 200_000 + ".5", None),
    ],
)
def test_the_last_number_is_a_whole_one(text, number):
    assert last_number(text) == number


def test_problems_are_drawn_by_lot(tiny_backbone, monkeypatch):
    """The first products that are drawn are of one digit as often as not; of all distinct ones, few are."""
    asked = []
    products = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2}
    monkeypatch.setattr(survey, "FAMILIES", (Family("products", products),))
    monkeypatch.setattr(survey, "question_ids", lambda question, tokenizer, shown: asked.append(question) or [0])
    monkeypatch.setattr(survey, "text_of", lambda ids, tokenizer: "1")
    silent = Generation([0], [], "answered", None)
    monkeypatch.setattr(survey, "generate", lambda model, requests, **how: [silent] * len(requests))
    (row,) = ask_families(tiny_backbone, 150)
    small = sum(re.search(r": \d \* \d\.", question) is not None for question in asked)
    assert len(asked) == row["n"] == 150
    assert small < 0.2 * 150


def test_the_last_number_of_an_answer_counts(tiny_backbone, tmp_path, monkeypatch):
    """Every other answer ends in the sum, and all begin with it."""
    asked, shown = [], []

    def ids_of(question, tokenizer, examples):
        shown.append([example.question for example in examples])
        asked.append(question)
        return [len(asked) - 1]

    sums = {}
    for entry in create_dataset("chain_sum", seed=0, size=3000, **SUMS):
        sums |= dict.fromkeys((entry["question"], f"What is {entry['metadata']['expression']}?"), entry["answer"])

    def written(model, requests, **how):
        return [Generation(request.prompt, [], "answered", None) for request in requests]

    monkeypatch.setattr(survey, "FAMILIES", (Family("chain_sum", SUMS), Family("chain_sum", SUMS, worked=True)))
    monkeypatch.setattr(survey, "load_backbone", lambda path: tiny_backbone)
    monkeypatch.setattr(survey, "question_ids", ids_of)
    monkeypatch.setattr(survey, "generate", written)
    monkeypatch.setattr(
        survey, "text_of", lambda ids, tokenizer: f"{sums[asked[ids[0]]]} is it" + ids[0] % 2 * ", or 777."
    )
    table = measure_survey("anywhere", 20, tmp_path)
    assert table["accuracy"].tolist() == [0.5, 0.5]
    assert table["n"].tolist() == [20, 20]
    assert table["worked_examples"].tolist() == [0, 5]
    assert table["distinct"].nunique() == 1
    assert 100 < table["distinct"][0] <= 200
    assert table["constant"].between(1 / 20, 0.5).all()
    assert shown[:20] == [[]] * 20
    assert len(set(shown[20])) == 5
    assert not set(shown[20]) & set(asked)
    read = pd.read_csv(tmp_path / f"{tiny_backbone.name}.csv")
    assert read["ci_low"].tolist() == pytest.approx(table["ci_low"].tolist(), rel=1e-4)
