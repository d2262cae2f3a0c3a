from lrs.config import ProblemsSection, load_config
from lrs.experiment.traces import draw_all_problems


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
