"""What is said to lie in memory is what lies there, and is held against the device's."""

import json
from pathlib import Path

import pytest
import torch
from sae_lens import TopKSAE, TopKSAEConfig

from lrs.config import Config, load_config
from lrs.engine.reward_steps import RewardSteps
from lrs.method.dictionary import SaeDictionary
from lrs.method.reward import LatentRewardModel, RewardConfig
from lrs.models.backbones import load_backbone
from lrs.report.footprint import Memory, memory_lines, memory_of, parameters_of, phases_of

SHAPE = {
    **{"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 3},
    **{"intermediate_size": 96, "vocab_size": 50, "tie_word_embeddings": True},
}


def bytes_of(*tensors: torch.Tensor) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def with_arms(config: Config, *arms: str) -> Config:
    return config.model_copy(update={"steering": config.steering.model_copy(update={"arms": list(arms)})})


@pytest.mark.parametrize("name", ["pocket-3m", "pocket-1m"])
def test_weights_are_counted(name):
    config = load_config("natural", name)
    backbone = load_backbone(config.backbone.path)
    shape = json.loads(Path(f"{config.backbone.path}/config.json").read_text("utf-8"))
    assert memory_of(config, shape, traced=0).weights == pytest.approx(bytes_of(*backbone.model.parameters()), rel=0.02)


@pytest.mark.parametrize(("name", "billions"), [("orz-7b", 7.6), ("orz-1b5", 1.54), ("r1-llama-8b", 8.03)])
def test_shapes_have_as_many_weights_as_their_models(name, billions):
    shape = json.loads(Path(f"data/reasoners/{name}/shape.json").read_text("utf-8"))
    assert parameters_of(shape) / 1e9 == pytest.approx(billions, rel=0.01)


def test_dictionary_and_rewards_are_as_large_as_they_are_made():
    config = load_config("cpu")
    sizes, rows, room = config.reward, config.decoding.batch_size, config.decoding.max_new_tokens
    sae = TopKSAE(TopKSAEConfig(d_in=SHAPE["hidden_size"], d_sae=config.sae.d_sae, k=config.sae.k))
    dictionary = SaeDictionary(sae, 1.0, "none", 1)
    made = bytes_of(sae.W_enc, sae.W_dec, dictionary.W_dec)
    assert memory_of(config, SHAPE, traced=0).dictionary == made
    reward = LatentRewardModel(RewardConfig(config.sae.d_sae, "history", sizes.width, sizes.layers, sizes.heads))
    weights, kept = bytes_of(*reward.parameters()), bytes_of(*RewardSteps(reward, rows, room).history.states)
    seen = {
        arm: memory_of(with_arms(config, "base", arm), SHAPE, traced=0).reward for arm in ("cot", "lrs", "lrs_history")
    }
    assert seen["cot"] == 0
    assert seen["lrs"] == pytest.approx(2 * weights, rel=0.05)  # and the maps that are made of them
    assert seen["lrs_history"] - seen["lrs"] == kept


def test_logits_are_of_every_row_in_the_models_precision_and_as_sampling_reads_them():
    config = load_config("cpu").model_copy(update={"dtype": "bfloat16"})
    assert memory_of(config, SHAPE, traced=0).logits == config.decoding.batch_size * SHAPE["vocab_size"] * (2 + 3 * 8)


def test_traces_lie_there_twice():
    config = load_config("cpu")
    memory = memory_of(config, SHAPE, traced=10)
    assert memory.activations == 10 * 64 * 4
    assert sum(phases_of(memory)["the autoencoder learns"].values()) == memory.weights + 2 * memory.activations


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (14.9, "too little while steering, too little while the autoencoder learns"),
        (15.1, "room while steering, too little while the autoencoder learns"),
        (20.1, "room while steering, room while the autoencoder learns"),
    ],
)
def test_totals_are_held_against_the_device(there, said):
    giga = 10**9
    memory = Memory(*(size * giga for size in (1, 2, 3, 4, 5, 9.5)))
    steering, learning, device = memory_lines(memory, ("some GPU", there * giga))
    told = "weights 1.00, keys and values of a batch 2.00, dictionary 3.00, reward 4.00, logits 5.00"
    assert steering == f"  memory while steering 15.00 GB: {told}"
    assert learning.startswith("  memory while the autoencoder learns 20.00 GB: weights 1.00, ")
    assert device == f"  some GPU has {there:.2f} GB: {said}"
    assert memory_lines(memory, None) == [steering, learning]
