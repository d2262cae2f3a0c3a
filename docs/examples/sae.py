"""An autoencoder of one's own: here an untrained one, saved as sae-lens saves, and brought along by its folder."""

import tempfile

import torch
from sae_lens import TopKSAE, TopKSAEConfig
from transformers import AutoModelForCausalLM, AutoTokenizer

import lrs
from lrs.method.reward import LatentRewardModel, RewardConfig

path = "data/reasoners/pocket-3m"
model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
torch.manual_seed(0)
sae = TopKSAE(TopKSAEConfig(d_in=model.config.hidden_size, d_sae=64, k=8))

with tempfile.TemporaryDirectory() as folder:
    sae.save_model(folder)
    dictionary = lrs.from_sae_lens(folder, layer=3)  # or the name of a release, and sae_id=

reward = LatentRewardModel(RewardConfig(d_sae=64, variant="token")).eval().requires_grad_(False)
gate = lrs.Gate(reward_threshold=0.5, confidence_threshold=0.8)
prompt = tokenizer("<user> compute a 5 , b + 6 , c - 4 <assistant>", return_tensors="pt")
with lrs.steer(model, 3, dictionary, reward, gate, num_steps=1, step_size=1.0):
    print(tokenizer.decode(model.generate(**prompt, max_new_tokens=64)[0]))
