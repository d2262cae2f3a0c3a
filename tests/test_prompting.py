"""What arms put around their questions: an instruction, or worked examples of the tutor."""

import re
from types import SimpleNamespace

import pandas as pd
import pytest
from conftest import DIFFICULTY

from lrs.config import load_config
from lrs.experiment.asked import prompts_asked
from lrs.experiment.prompting import prompting_for
from lrs.method.arms import ARMS
from lrs.report.prompts import write_prompts
from lrs.saved import load_prompts, save_prompts
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


def test_the_appendix_has_every_prompt_word_for_word(tiny_backbone, config, problems, tmp_path):
    config.steering.arms[:] = ["base", "cot", "few_shot"]
    other = draw_problems("countdown", DIFFICULTY["countdown"], {"test": 2}, seed=0)
    asked = prompts_asked(tiny_backbone, [*problems, *other], config)
    assert asked[["benchmark", "way"]].to_numpy().tolist() == [
        [benchmark, way] for benchmark in ("chain_sum", "countdown") for way in ("plain", "instructed", "examples")
    ]
    plain, instructed, examples = asked["text"][:3]
    assert plain == tiny_backbone.tokenizer.decode(prompt_ids(problems[0], tiny_backbone.tokenizer))
    assert config.prompting.instruction not in plain
    assert config.prompting.instruction in instructed
    shown = worked_examples("chain_sum", config)[0]
    assert shown.question in examples
    assert shown.answer.rsplit("<eos>", 1)[0].strip() in examples
    save_prompts(asked, tmp_path)
    pd.testing.assert_frame_equal(load_prompts(tmp_path), asked)


def test_what_two_backbones_are_asked_in_the_same_words_is_told_once(tmp_path):
    text = 'reach 3\n```\n"with" <a> & 1_2'
    rows = [("p", text, "one"), ("p", text, "two"), ("p", "else", "three")]
    table = pd.DataFrame([{"benchmark": b, "way": "plain", "text": t, "backbone": name} for b, t, name in rows])
    page = write_prompts(table, tmp_path)
    assert re.findall(r"\*\*(.*)\*\*", page) == ["p, asked plainly: one, two", "p, asked plainly: three"]
    assert f"````text\n{text}\n````" in page
    assert (tmp_path / "prompts.md").read_text("utf-8") == page
    assert (tmp_path / "prompts.tex").read_text("utf-8").count(f"\\begin{{verbatim}}\n{text}\n") == 1
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "prompts.csv"), table)
