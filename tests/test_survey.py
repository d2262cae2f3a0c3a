"""What a model can do, asked in plain English."""

import pandas as pd
import pytest
from reasoning_gym import create_dataset

from lrs.bench import survey
from lrs.bench.survey import FAMILIES, Family, measure_survey, worked_sum
from lrs.engine.requests import Generation

SUMS = FAMILIES[0].difficulty


def test_sums_are_worked_out_term_by_term():
    assert worked_sum("8 - 0 + 7") == ("What is 8 - 0 + 7?", "8 - 0 = 8, 8 + 7 = 15. The answer is 15.")


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
    assert shown[:20] == [[]] * 20
    assert len(set(shown[20])) == 5
    assert not set(shown[20]) & set(asked)
    read = pd.read_csv(tmp_path / f"{tiny_backbone.name}.csv")
    assert read["ci_low"].tolist() == pytest.approx(table["ci_low"].tolist(), rel=1e-4)
