"""A reward whose push was trained before, on a small reasoner of this repository: a puzzle without it, and with it."""

from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

import lrs

reasoner = "data/reasoners/pocket-3m"
model, tokenizer = (auto.from_pretrained(reasoner) for auto in (AutoModelForCausalLM, AutoTokenizer))
fitted = Path("data/confirm/replication/pocket-3m/766e300ee3f8f478/fitted")
dictionary, slope = lrs.load_dictionary(fitted / "sae"), lrs.load_reward(fitted / "slope")
prompt = tokenizer("<user> color a none , b a , c none , d a , e b , f b e <assistant>", return_tensors="pt")
print(tokenizer.decode(model.generate(**prompt, max_new_tokens=256)[0]))
always = lrs.Gate(reward_threshold=2.0, confidence_threshold=0.0)
with lrs.steer(model, dictionary.layer, dictionary, slope, always, num_steps=1, step_size=4.0):
    print(tokenizer.decode(model.generate(**prompt, max_new_tokens=256)[0]))
