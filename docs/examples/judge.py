"""A judge of one's own for `lrs.fit`, of an answer and the reference: it bounds what it reads, and runs nothing."""

import tempfile

from transformers import AutoModelForCausalLM, AutoTokenizer

import lrs
from lrs.tasks.problems import draw_problems


def near(text: str, reference: str) -> bool:
    """Whether the last word is a number at most one away."""
    said = text[-200:].split()[-1:]
    return bool(said) and said[0].removeprefix("-").isdecimal() and abs(int(said[0]) - int(reference)) <= 1


path, difficulty = "data/reasoners/pocket-3m", {"min_terms": 6, "max_terms": 8, "min_digits": 1, "max_digits": 1}
model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
asked = [(one.question, one.answer) for one in draw_problems("chain_sum", difficulty, {"reward": 12}, seed=0)]
with tempfile.TemporaryDirectory() as folder:
    fitted = lrs.fit(model, tokenizer, asked, near, layer=3, folder=folder, max_new_tokens=96)
print(f"within one of the answer: {fitted.accuracy:.0%}")
