"""The repair of a first wrong step: where it is cut, and that the rest of a right trace is left alone."""

import pandas as pd
import pytest

from lrs.bench import repair as module
from lrs.bench.repair import before_first_wrong, repair, repair_table
from lrs.config import load_config
from lrs.models.backbones import load_backbone
from lrs.tasks.problems import draw_problems


@pytest.fixture(scope="module")
def sums():
    difficulty = {"min_terms": 4, "max_terms": 4, "min_digits": 1, "max_digits": 1}
    return draw_problems("chain_sum", difficulty, {"test": 4}, seed=0)


def stated(problem, wrong=None):
    """Each sum of a problem, one of them wrong."""
    total, *terms = (int(part) for part in problem.metadata["expression"].replace("- ", "-").replace("+ ", "").split())
    sentences = []
    for place, term in enumerate(terms):
        value = total + term + (place == wrong)
        spelled = [f"- {-n}" if n < 0 else str(n) for n in (total, value)]
        sentences.append(f"{'bcd'[place]} {spelled[0]} {'-' if term < 0 else '+'} {abs(term)} = {spelled[1]} .")
        total = value
    return f"<think> {' '.join(sentences)} </think> answer {total}"


@pytest.mark.parametrize("wrong", [None, 0, 1, 2])
def test_a_trace_is_cut_before_the_sentence_of_its_first_wrong_step(sums, wrong):
    for problem in sums:
        tokens = stated(problem, wrong).split()
        place = before_first_wrong(problem, tokens)
        if wrong is None:
            assert place is None
        else:
            assert place == ([0] + [i + 1 for i, token in enumerate(tokens) if token == "."])[wrong]


def test_what_has_no_wrong_step_is_left_alone_and_what_has_is_gone_on_with(monkeypatch):
    config = load_config("smoke")
    backbone = load_backbone("data/reasoners/pocket-1m")
    problems = draw_problems("chain_sum", config.benchmarks["chain_sum"], {"test": 6}, seed=1)
    plain = repair(backbone, problems, config)
    assert not plain["repaired"][~plain["slipped"]].any()
    cuts = iter([None, 4, 4, None, None, 4])
    monkeypatch.setattr(module, "before_first_wrong", lambda problem, tokens: next(cuts))
    cut = repair(backbone, problems, config)
    assert cut["slipped"].tolist() == [False, True, True, False, False, True]
    same = ~cut["slipped"] & ~plain["slipped"]
    assert (cut["tokens"] == plain["tokens"])[same].all()
    assert (cut["tokens"] > plain["tokens"])[cut["slipped"] & ~plain["slipped"]].all()
    assert cut["repaired"][cut["slipped"]].any()


def test_the_table_counts_by_benchmark_and_pooled():
    columns = ["benchmark", "before", "correct", "slipped", "repaired"]
    rows = [("a", False, True, True, True), ("a", True, False, True, True), ("b", False, False, False, False)]
    table = repair_table(pd.DataFrame(rows, columns=columns)).set_index("benchmark")
    assert table["n"].to_dict() == {"a": 2, "b": 1, "pooled": 3}
    assert table.loc["pooled", ["wins", "losses"]].tolist() == [1, 1]
    assert table["wrong_that_slipped"].to_dict() == {"a": 1, "b": 0, "pooled": 0.5}
    assert table.loc["a", ["before", "after"]].tolist() == [0.5, 0.5]
