"""Teaching: adapters alone are learned and kept, they are added to the parent's weights, and kills do not matter."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch.testing import assert_close

from lrs.core.store import StoreError
from lrs.models.backbones import load_backbone
from lrs.reasoners import teaching
from lrs.reasoners.recipes import TeachingRecipe, load_recipe, recipe_of
from lrs.reasoners.teaching import teach
from lrs.tasks.answers import extract_answer

RECIPE = {
    **{"parent": "pocket-1m", "rank": 2, "steps": 6, "seed": 0, "row_length": 200, "rows_per_batch": 2},
    **{"learning_rate": 0.01, "warmup_fraction": 0.1, "checkpoint_every": 2, "longest_trace": 120},
    **{"instruction": "check every step", "instructed_share": 0.2, "examples_share": 0.0, "most_examples": 1},
    **{"problems_per_benchmark": 30, "weights": {"knights_knaves": 1}},
    "benchmarks": {"knights_knaves": {"n_people": 3, "depth_constraint": 2, "width_constraint": 2}},
}


@pytest.fixture
def folder(tmp_path):
    """Of a recipe, beside its parent."""
    shutil.copytree("data/reasoners/pocket-1m", tmp_path / "pocket-1m")
    home = tmp_path / "taught"
    home.mkdir()
    (home / "recipe.yaml").write_text(yaml.safe_dump(RECIPE), "utf-8")
    return home


def test_adapters_are_added_to_the_parents_weights(folder, tmp_path):
    teach(folder, tmp_path / "scratch")
    assert not (folder / "model.safetensors").exists()
    assert json.loads((folder / "adapter_config.json").read_text("utf-8"))["base_model_name_or_path"] == "pocket-1m"
    parent, taught = load_backbone(str(folder.parent / "pocket-1m")), load_backbone(str(folder))
    assert (taught.name, taught.tokenizer.get_vocab()) == ("taught", parent.tokenizer.get_vocab())
    assert taught.identity != parent.identity
    learned, after = load_file(folder / "adapter_model.safetensors"), taught.model.state_dict()
    assert not any(weight.requires_grad for weight in taught.model.parameters())
    changed = 0
    for name, weight in parent.model.state_dict().items():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{stem}.lora_A.weight" in learned:
            down, up = (learned[f"{stem}.lora_{part}.weight"].float() for part in "AB")
            assert down.shape[0] == RECIPE["rank"]
            weight, changed = weight + 2.0 * up @ down, changed + 1
        assert_close(after[name], weight)
    assert changed == 7 * parent.model.config.num_hidden_layers


def test_a_killed_teaching_resumes_to_the_same(folder, tmp_path, monkeypatch):
    teach(folder, tmp_path / "whole")
    whole = load_file(folder / "adapter_model.safetensors")
    losses = pd.read_csv(folder / "loss.csv")["loss"]
    assert len(losses) == 6
    assert losses.iloc[-2:].mean() < losses.iloc[:2].mean()
    step, seen = teaching.training_step, []

    def die(*given):
        seen.append(1)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return step(*given)

    with monkeypatch.context() as patch:
        patch.setattr(teaching, "training_step", die)
        with pytest.raises(KeyboardInterrupt):
            teach(folder, tmp_path / "killed")
    teach(folder, tmp_path / "killed")
    for name, weight in load_file(folder / "adapter_model.safetensors").items():
        assert_close(weight, whole[name], rtol=0, atol=0)


def test_recipes_are_told_apart(folder):
    assert isinstance(load_recipe(folder), TeachingRecipe)
    assert isinstance(load_recipe(Path("data/reasoners/smollm2-taught")), TeachingRecipe)
    with pytest.raises(TypeError, match="is a PretrainingRecipe, not a TeachingRecipe"):
        recipe_of(folder.parent / "pocket-1m", TeachingRecipe)


def test_a_package_that_is_not_there_is_named(tmp_path):
    (tmp_path / "hub.yaml").write_text("package: no_such_package\n", "utf-8")
    with pytest.raises(StoreError, match="package no_such_package is not installed"):
        load_backbone(str(tmp_path))


@pytest.mark.parametrize("end", ["<eos>", "<|im_end|>", "<|endoftext|>", "", "<|im_end|>\n<|im_start|>user"])
def test_an_answer_ends_where_the_turn_does(end):
    assert extract_answer(f"<think> ... </think> answer a knight {end}") == "a knight"


@torch.no_grad()
def test_a_model_of_one_gguf_file_is_what_it_was_written_from(tmp_path):
    """Written by the library that defines the format; llama.cpp keeps rows of queries and keys in another order."""
    gguf = pytest.importorskip("gguf")
    model = load_backbone("data/reasoners/pocket-1m").model
    config, weights = model.config, model.state_dict()
    tokens = ["a", "b", "ab", *(f"w{number}" for number in range(3, config.vocab_size))]
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * len(tokens))
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(1)
    writer.add_bos_token_id(1)
    parts = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v"}
    parts |= {"self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up"}
    parts |= {"mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    writer.add_tensor("token_embd.weight", weights["model.embed_tokens.weight"].numpy())
    writer.add_tensor("output_norm.weight", weights["model.norm.weight"].numpy())
    for layer in range(config.num_hidden_layers):
        for ours, theirs in parts.items():
            weight = weights[f"model.layers.{layer}.{ours}.weight"]
            if theirs in ("attn_q", "attn_k"):
                heads = weight.view(config.num_attention_heads, 2, -1, config.hidden_size)
                weight = heads.transpose(1, 2).reshape(weight.shape)
            writer.add_tensor(f"blk.{layer}.{theirs}.weight", weight.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    loaded = load_backbone(str(tmp_path))
    ids = torch.tensor([[5, 9, 2, 30, 11]])
    assert_close(loaded.model(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-4)
    assert loaded.tokenizer.get_vocab()["w7"] == 7
    (tmp_path / "model.gguf").write_bytes((tmp_path / "model.gguf").read_bytes()[:5000])
    with pytest.raises(StoreError, match="cannot load backbone"):
        load_backbone(str(tmp_path))
