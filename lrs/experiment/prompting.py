"""What each arm puts around its questions; apart from evaluation, so that only arms that ask depend on the tutor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lrs.method.setting import Arm
from lrs.models.backbones import Backbone
from lrs.tasks.problems import Problem, by_benchmark
from lrs.tasks.prompts import PLAIN, Prompting, Turn, prompt_ids, question_ids
from lrs.tutor.planted import right_password
from lrs.tutor.worked_examples import worked_examples

if TYPE_CHECKING:
    from lrs.config import Config


def prompting_for(arm: Arm, backbone: Backbone, problems: Sequence[Problem], config: Config) -> Prompting:
    """What an arm puts around the questions of `problems`: of the worked examples, as many as fit into the context; and
    the instruction to a planted reasoner is, problem by problem, the password of the mode that is right."""
    if arm.prompt == "instructed" and config.backbone.planted:
        return Prompting(own={problem.id: right_password(problem, config.backbone.planted) for problem in problems})
    if arm.prompt == "instructed":
        return Prompting(instruction=config.prompting.instruction)
    if arm.prompt == "plain":
        return PLAIN
    room = backbone.context - config.decoding.max_new_tokens
    examples: dict[str, list[Turn]] = {}
    for benchmark, asked in by_benchmark(problems).items():
        longest = max(asked, key=lambda problem: len(prompt_ids(problem, backbone.tokenizer)))
        shown = worked_examples(benchmark, config)
        while shown and len(question_ids(longest.question, backbone.tokenizer, shown)) > room:
            shown.pop()
        examples[benchmark] = shown
    return Prompting(examples=examples)
