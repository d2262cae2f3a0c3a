import pytest

from lrs.config import ProblemsSection, load_config
from lrs.experiment import traces
from lrs.experiment.traces import draw_all_problems, keep_problems


def test_transfer_benchmarks_are_tested_and_nothing_else():
    config = load_config("full")
    some = {name: config.benchmarks[name] for name in ("chain_sum", "chain_sum_long")}
    config = config.model_copy(update={"benchmarks": some, "problems": ProblemsSection(reward=3, validation=2, test=4)})
    drawn = [(problem.benchmark, problem.split) for problem in draw_all_problems(config)]
    assert {name: drawn.count(name) for name in set(drawn)} == {
        ("chain_sum", "reward"): 3,
        ("chain_sum", "validation"): 2,
        ("chain_sum", "test"): 4,
        ("chain_sum_long", "test"): 4,
    }


def test_problems_are_drawn_once_for_what_is_asked(tmp_path, monkeypatch):
    config = load_config("smoke")
    drawn = draw_all_problems(config)
    assert keep_problems(config, tmp_path / "problems") == drawn
    monkeypatch.setattr(traces, "draw_all_problems", lambda config: pytest.fail("drawn again"))
    assert keep_problems(config, tmp_path / "problems") == drawn
    with pytest.raises(pytest.fail.Exception, match="drawn again"):
        keep_problems(config.model_copy(update={"seed": 1}), tmp_path / "problems")
