import json

import pytest
import torch
from conftest import VOCABULARY, tiny_llama
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from lrs.core.store import StoreError
from lrs.models import backbones
from lrs.models.backbones import decoder_layer, decoder_layers, load_backbone
from lrs.models.devices import describe_device, resolve_device
from lrs.reasoners.tokenizer import build_tokenizer
from lrs.tasks import hub

SIZES = {"vocab_size": VOCABULARY, "bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0}


def tiny_gpt2():
    return GPT2LMHeadModel(GPT2Config(**SIZES, n_embd=16, n_layer=3, n_head=2))


def tiny_qwen2():
    wide = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1}
    return Qwen2ForCausalLM(Qwen2Config(**SIZES, **wide, num_hidden_layers=3))


@pytest.fixture
def folder(tmp_path, tiny_backbone):
    """A folder with a model and the built-in reasoner's tokenizer."""
    tiny_backbone.model.save_pretrained(tmp_path / "tiny")
    tiny_backbone.tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.mark.parametrize("build", [tiny_llama, tiny_gpt2, tiny_qwen2])
def test_decoder_layers_are_found_whatever_they_are_called(build):
    model = build()
    expected = model.transformer.h if build is tiny_gpt2 else model.model.layers
    assert decoder_layers(model) is expected
    assert [decoder_layer(model, layer) for layer in range(3)] == list(expected)


@pytest.mark.parametrize("layer", [-1, 3])
def test_layer_out_of_range_says_what_is_legal(layer):
    with pytest.raises(ValueError, match=rf"layer {layer} does not exist; legal: 0 to 2"):
        decoder_layer(tiny_llama(), layer)


def test_lists_inside_the_layers_are_not_taken_for_them():
    model = tiny_llama()
    for layer in model.model.layers:
        layer.experts = torch.nn.ModuleList(torch.nn.Identity() for _ in range(3))
    assert decoder_layers(model) is model.model.layers


def test_unclear_layers_are_refused():
    model = tiny_llama()
    model.adapters = torch.nn.ModuleList(torch.nn.Identity() for _ in range(3))
    with pytest.raises(ValueError, match=r"cannot tell the decoder layers of LlamaForCausalLM: .*adapters"):
        decoder_layers(model)


def test_loaded_backbone_is_frozen_and_the_same_model(folder, tiny_backbone):
    backbone = load_backbone(str(folder), dtype="float64")
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(backbone.model(ids).logits, tiny_backbone.model(ids).logits)
    assert not backbone.model.training
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
    assert backbone.tokenizer.padding_side == "left"
    assert (backbone.name, backbone.d_model, backbone.device) == ("tiny", 16, torch.device("cpu"))
    assert load_backbone(str(folder), dtype="bfloat16").model.dtype == torch.bfloat16


def test_identity_follows_weights_name_and_precision(folder, tiny_backbone):
    first = load_backbone(str(folder)).identity
    assert load_backbone(str(folder)).identity == first
    assert load_backbone(str(folder), dtype="float64").identity != first
    tiny_backbone.model.lm_head.weight[0, 0] += 1
    tiny_backbone.model.save_pretrained(folder)
    assert load_backbone(str(folder)).identity != first


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "chat_template.jinja"])
def test_identity_follows_what_the_model_is_asked_with(folder, name):
    first, path = load_backbone(str(folder)).identity, folder / name
    path.write_text(path.read_text() + "\n")
    assert load_backbone(str(folder)).identity != first


def test_tokenizer_without_padding_pads_with_its_end(folder):
    tokenizer = build_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    assert load_backbone(str(folder)).tokenizer.pad_token == "<eos>"


@pytest.mark.parametrize("damage", ["truncated weights", "missing weights", "missing config", "missing folder"])
def test_what_cannot_be_loaded_is_one_clear_line(folder, damage):
    weights = folder / "model.safetensors"
    if damage == "truncated weights":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif damage == "missing weights":
        weights.unlink()
    elif damage == "missing config":
        (folder / "config.json").unlink()
    path = str(folder / "absent" if damage == "missing folder" else folder)
    with pytest.raises(StoreError, match=f"cannot load backbone '{path}': ") as error:
        load_backbone(path)
    assert "\n" not in str(error.value)


def test_devices():
    assert resolve_device("cpu") == torch.device("cpu")
    assert describe_device(torch.device("cpu")) == "cpu"
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    assert resolve_device("auto").type == (accelerator.type if accelerator else "cpu")
    for name in ("gpuu", "cuda:99"):
        with pytest.raises(ValueError, match=f"device '{name}' cannot be used: ") as error:
            resolve_device(name)
        assert "\n" not in str(error.value)


def test_the_built_in_reasoner_is_a_llama(folder):
    assert isinstance(load_backbone(str(folder)).model, LlamaForCausalLM)


def test_a_recipe_without_weights_says_how_to_make_them(tmp_path):
    (tmp_path / "recipe.yaml").write_text("seed: 0\n")
    with pytest.raises(StoreError, match=f"has a recipe and no weights: make reasoner REASONER={tmp_path.name} "):
        load_backbone(str(tmp_path))


def test_a_reference_may_name_a_folder_elsewhere(folder, tmp_path, tiny_backbone):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/hub.yaml").write_text(f"folder: {folder}\n")
    loaded = load_backbone(str(tmp_path / "mine"))
    assert loaded.name == "mine"
    assert loaded.identity == load_backbone(str(folder)).identity
    (tmp_path / "mine/hub.yaml").write_text("folder: nowhere\n")
    with pytest.raises(StoreError, match="cannot load backbone 'nowhere'"):
        load_backbone(str(tmp_path / "mine"))


@pytest.fixture
def named(folder, tmp_path, monkeypatch):
    """A folder that names the model of `folder` as one of the hub, which LRS_DATA stands for."""
    folder.rename(tmp_path / "owner--tiny")
    (tmp_path / "one").mkdir()
    (tmp_path / "one/hub.yaml").write_text("model: owner/tiny\n")
    monkeypatch.setenv("LRS_DATA", str(tmp_path))
    monkeypatch.setenv("LRS_STANDS", str(tmp_path / "stands"))
    return tmp_path / "one"


def changed(path, place):
    """One bit of a file is turned."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("what", ["config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors", "other"])
def test_a_model_that_stands_for_one_of_the_hub_is_held_to_what_it_was(named, tiny_backbone, what):
    home, lock = named.with_name("owner--tiny"), named.with_name("stands") / hub.LOCK
    first = load_backbone(str(named)).identity
    (home / "README.md").write_text("Nothing that decides what it writes.")
    assert load_backbone(str(named)).identity == first
    assert list(json.loads(lock.read_text())) == ["files of owner/tiny"]
    if what == "model.safetensors":  # the same tensors, with other numbers
        tiny_backbone.model.lm_head.weight[0, 0] += 1
        tiny_backbone.model.save_pretrained(home)
    elif what == "other":
        (home / "model.safetensors").rename(home / "other.safetensors")
    else:
        (home / what).write_text((home / what).read_text() + "\n")
    with pytest.raises(StoreError, match=r"owner--tiny is not as it was .*take 'files of owner/tiny' out of") as error:
        load_backbone(str(named))
    assert "\n" not in str(error.value)
    lock.unlink()
    if what != "other":
        assert load_backbone(str(named)).identity != first


def test_between_the_ends_of_its_files_a_model_is_told_apart_by_its_identity_alone(named, monkeypatch):
    weights = named.with_name("owner--tiny") / "model.safetensors"
    monkeypatch.setattr(backbones, "_END", 64)
    first = load_backbone(str(named)).identity
    changed(weights, -65)
    assert load_backbone(str(named)).identity != first
    changed(weights, -64)
    with pytest.raises(StoreError, match="is not as it was"):
        load_backbone(str(named))


def test_a_folder_without_weights_is_refused_and_not_held_to(named):
    weights = named.with_name("owner--tiny") / "model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    with pytest.raises(StoreError, match="owner--tiny holds no weights"):
        load_backbone(str(named))
    weights.write_bytes(content)
    assert load_backbone(str(named)).name == "one"
