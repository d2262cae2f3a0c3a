"""Prompts: a question, in the form the backbone was made for."""

from transformers import PreTrainedTokenizerBase

from lrs.problems import Problem


def prompt_ids(problem: Problem, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids of the problem's question, up to where the model's own words begin."""
    if tokenizer.chat_template is None:
        return tokenizer(problem.question)["input_ids"]
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": problem.question}], tokenize=False, add_generation_prompt=True
    )
    return tokenizer(text, add_special_tokens=False)["input_ids"]
