"""What arms put around their questions: an instruction, or worked examples of the tutor."""

from types import SimpleNamespace

import pytest
from conftest import DIFFICULTY

from lrs.config import load_config
from lrs.experiment.prompting import prompting_for
from lrs.method.arms import ARMS
from lrs.tasks.answers import is_correct
from lrs.tasks.problems import draw_problems
from lrs.tasks.prompts import PLAIN, Prompting, prompt_ids
from lrs.tutor.worked_examples import worked_examples


@pytest.fixture
def config():
    return load_config("smoke")


@pytest.fixture(scope="module")
def problems():
    return draw_problems("chain_sum", DIFFICULTY["chain_sum"], {"test": 7}, seed=0)


def test_an_arm_asks_plainly_or_in_its_own_way(tiny_backbone, config, problems):
    for name, arm in ARMS.items():
        if arm.prompt == "plain":
            assert prompting_for(arm, tiny_backbone, problems, config) == PLAIN, name
    cot = prompting_for(ARMS["cot"], tiny_backbone, problems, config)
    assert cot == Prompting(instruction=config.prompting.instruction)


@pytest.mark.parametrize("seed", range(4))
def test_worked_examples_are_right_and_of_split_train(config, seed):
    config = config.model_copy(update={"benchmarks": DIFFICULTY, "seed": seed})
    for benchmark, difficulty in DIFFICULTY.items():
        solved = {p.question: p for p in draw_problems(benchmark, difficulty, {"train": 12}, seed)}
        worked = worked_examples(benchmark, config)
        assert len(worked) == config.prompting.shots
        assert all(is_correct(solved[question], answer) for question, answer in worked)


def test_as_many_worked_examples_as_the_context_holds(tiny_backbone, config, problems):
    worked, tokenizer = worked_examples("chain_sum", config), tiny_backbone.tokenizer
    whole = prompting_for(ARMS["few_shot"], SimpleNamespace(tokenizer=tokenizer, context=9999), problems, config)
    assert whole.examples == {"chain_sum": worked}
    longest = max(len(prompt_ids(problem, tokenizer, whole)) for problem in problems)
    context = longest + config.decoding.max_new_tokens
    for room, count in ((context, 2), (context - 1, 1), (config.decoding.max_new_tokens, 0)):
        narrow = SimpleNamespace(tokenizer=tokenizer, context=room)
        assert prompting_for(ARMS["few_shot"], narrow, problems, config).examples["chain_sum"] == worked[:count]


def test_a_transfer_benchmark_is_shown_the_problems_it_is_to_transfer_from(config):
    assert worked_examples("chain_sum_long", config) == worked_examples("chain_sum", config)
    without = config.model_copy(update={"benchmarks": {}})
    with pytest.raises(ValueError, match="add chain_sum to the profile's benchmarks"):
        worked_examples("chain_sum_long", without)
