"""A reward of one's own: any class with these five parts. This one likes states that use few latents."""

import torch
from sae_lens import TopKSAE, TopKSAEConfig
from transformers import AutoModelForCausalLM, AutoTokenizer

import lrs
from lrs.method.dictionary import SaeDictionary
from lrs.method.gate import ALWAYS


class Sparse:
    """The logit falls with the sum of a token's latents; a step goes down that sum, the same way everywhere."""

    d_sae, dtype, device = 64, torch.float32, torch.device("cpu")

    def __call__(self, latents):  # (traces, length, d_sae) -> (traces, length)
        return 2.0 - latents.sum(dim=-1)

    def direction(self, latents):  # (rows, d_sae) -> (rows, d_sae): the gradient over its norm
        return -torch.ones_like(latents) / self.d_sae**0.5


path = "data/reasoners/pocket-3m"
model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
torch.manual_seed(0)
sae = TopKSAE(TopKSAEConfig(d_in=model.config.hidden_size, d_sae=64, k=8))
dictionary = SaeDictionary(sae, input_scale=1.0, backbone=path, layer=3)
prompt = tokenizer("<user> compute a 5 , b + 6 , c - 4 <assistant>", return_tensors="pt")
with lrs.steer(model, 3, dictionary, Sparse(), ALWAYS, num_steps=1, step_size=0.5):
    print(tokenizer.decode(model.generate(**prompt, max_new_tokens=64)[0]))
