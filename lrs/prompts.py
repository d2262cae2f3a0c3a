"""Prompts: a question, in the form the backbone was made for, after worked examples if there are any."""

from collections.abc import Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from lrs.problems import Problem


class Turn(NamedTuple):
    """A question and what was answered to it."""

    question: str
    answer: str


def instructed(question: str, instruction: str) -> str:
    """The question, followed by how to go about it."""
    return f"{question} {instruction}".strip()


def prompt_ids(
    problem: Problem,
    tokenizer: PreTrainedTokenizerBase,
    instruction: str = "",
    examples: Sequence[Turn] = (),
) -> list[int]:
    """Token ids of the worked `examples` and the problem's question, up to where the model's own words begin."""
    question = instructed(problem.question, instruction)
    if tokenizer.chat_template is None:
        worked = [f"{example.question}\n{example.answer}\n\n" for example in examples]
        return tokenizer("".join([*worked, question]))["input_ids"]
    messages = [
        message
        for example in examples
        for message in (
            {"role": "user", "content": example.question},
            {"role": "assistant", "content": example.answer},
        )
    ]
    text = tokenizer.apply_chat_template(
        [*messages, {"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
    )
    return tokenizer(text, add_special_tokens=False)["input_ids"]
