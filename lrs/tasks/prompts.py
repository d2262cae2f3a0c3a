"""Prompts: a question, in the form the backbone was made for, after worked examples if there are any."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from lrs.tasks.problems import Problem


class Turn(NamedTuple):
    """A question and what was answered to it."""

    question: str
    answer: str


def instructed(question: str, instruction: str) -> str:
    """The question, followed by how to go about it."""
    return f"{question} {instruction}".strip()


class Prompting(NamedTuple):
    """What stands around every question: an instruction after it, worked examples of its benchmark before it.

    Attributes:
        own: an instruction of its own in place of that, by problem id.
    """

    instruction: str = ""
    examples: Mapping[str, Sequence[Turn]] = MappingProxyType({})
    own: Mapping[str, str] = MappingProxyType({})


PLAIN = Prompting()


def question_ids(question: str, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Turn] = ()) -> list[int]:
    """Token ids of a question after worked examples, up to where the model's own words begin."""
    if tokenizer.chat_template is None:
        worked = [f"{example.question}\n{example.answer}\n\n" for example in examples]
        return tokenizer("".join([*worked, question]))["input_ids"]
    messages = [
        {"role": role, "content": content}
        for example in examples
        for role, content in zip(("user", "assistant"), example, strict=True)
    ]
    text = tokenizer.apply_chat_template(
        [*messages, {"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
    )
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def text_of(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase, skip_special_tokens: bool = False) -> str:
    """What one sequence of token ids says."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens))


def prompt_ids(problem: Problem, tokenizer: PreTrainedTokenizerBase, prompting: Prompting = PLAIN) -> list[int]:
    """Token ids of what the model is asked about a problem."""
    question = instructed(problem.question, prompting.own.get(problem.id, prompting.instruction))
    return question_ids(question, tokenizer, prompting.examples.get(problem.benchmark, ()))
