"""One's own model: three architectures, killed and resumed, judged anew, and with a dictionary of somebody else's."""

import json

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

import lrs
from lrs.config import RewardSection, SaeSection
from lrs.experiment import own_model
from lrs.method.gate import ALWAYS

SMALL_SAE = SaeSection(d_sae=24, k=4, learning_rate=1e-2, batch_size=32, epochs=2)
SMALL_REWARD = RewardSection(
    width=8,
    layers=1,
    heads=2,
    learning_rate=1e-2,
    weight_decay=0.0,
    batch_size=16,
    epochs=2,
    patience=2,
    early_stopping_share=0.4,
)
SIZES = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
LLAMA = SIZES | {"intermediate_size": 24, "num_key_value_heads": 1, "initializer_range": 0.4, "eos_token_id": 0}
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**LLAMA)),
    "qwen2, bfloat16": lambda: Qwen2ForCausalLM(Qwen2Config(**LLAMA)).to(torch.bfloat16),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=40, n_embd=16, n_layer=3, n_head=2, n_positions=64, eos_token_id=0, initializer_range=0.4)
    ),
}
PROBLEMS = [(f"w{i} w{i + 1} w{i + 2}", i % 2) for i in range(3, 15)]


def tokenizer():
    words = {"<end>": 0, "<pad>": 1} | {f"w{i}": i for i in range(2, 40)}
    inner = Tokenizer(WordLevel(words, unk_token="<pad>"))
    inner.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>", pad_token="<pad>")


def judge(text, answer):
    return len(text.split()) % 2 == answer


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    return MODELS[request.param]().eval()


@pytest.fixture
def llama():
    torch.manual_seed(0)
    return MODELS["llama"]().eval()


def fitted(model, folder, judge=judge, **options):
    how = {"samples": 2, "max_new_tokens": 12, "batch_size": 8, "sae": SMALL_SAE, "reward": SMALL_REWARD} | options
    return lrs.fit(model, tokenizer(), PROBLEMS, judge, layer=1, folder=folder, **how)


def test_any_architecture_is_fitted_and_steered(model, tmp_path):
    made = fitted(model, tmp_path)
    assert 0 < made.accuracy < 1
    assert made.dictionary.W_dec.shape == (24, 16)
    assert 0 <= made.quality["auroc_tokens"] <= 1
    prompt = tokenizer()("w3 w4 w5", return_tensors="pt")
    asked = {"input_ids": prompt["input_ids"], "max_new_tokens": 12, "do_sample": False, "pad_token_id": 1}
    plain = model.generate(**asked)
    with made.steer(model, step_size=0.0):
        assert torch.equal(model.generate(**asked), plain)
    with made.steer(model, step_size=50.0, gate=ALWAYS):
        assert not torch.equal(model.generate(**asked), plain)
    assert torch.equal(model.generate(**asked), plain)


def test_what_is_kept_is_not_made_again_and_a_killed_call_resumes(llama, tmp_path, monkeypatch):
    first = fitted(llama, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.arrow")}
    again = fitted(llama, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.arrow")} == before
    assert again.gate == first.gate

    def killed(*_):
        raise KeyboardInterrupt

    (tmp_path / "reward/plan.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(own_model, "train_reward", killed)
        with pytest.raises(KeyboardInterrupt):
            fitted(llama, tmp_path)
    resumed = fitted(llama, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "traces").rglob("*.arrow")}.items() <= before.items()
    assert all(torch.equal(a, b) for a, b in zip(first.reward.parameters(), resumed.reward.parameters(), strict=True))


def test_a_call_killed_among_its_traces_resumes(llama, tmp_path, monkeypatch):
    monkeypatch.setattr(own_model, "_PART", 12)
    whole = fitted(llama, tmp_path / "whole")
    generate, calls = own_model.generate, []

    def dies_at_the_third(*arguments, **how):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return generate(*arguments, **how)

    with monkeypatch.context() as patch:
        patch.setattr(own_model, "generate", dies_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            fitted(llama, tmp_path / "killed")
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed/traces").glob("*.arrow")}
    assert len(kept) == 2
    assert fitted(llama, tmp_path / "killed").gate == whole.gate
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in kept}.items()


def test_the_reward_can_see_the_trace_so_far(llama, tmp_path):
    assert fitted(llama, tmp_path, variant="history").reward.config.variant == "history"


def test_the_same_weights_are_the_same_model_whatever_the_threads(llama):
    threads, found = torch.get_num_threads(), set()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.add(own_model.identity_of(llama))
    finally:
        torch.set_num_threads(threads)
    assert len(found) == 1
    assert own_model.identity_of(llama.bfloat16()) not in found


def test_a_model_that_writes_the_same_is_fitted_anew_all_the_same(llama, tmp_path):
    fitted(llama, tmp_path)
    llama.config.pad_token_id = 3
    assert fitted(llama, tmp_path).dictionary.backbone == own_model.identity_of(llama)


def test_what_a_dictionary_reads_counts_too(llama, tmp_path):
    def plan():
        return json.loads((tmp_path / "second/latents/plan.json").read_text())["plan"]

    fitted(llama, tmp_path / "first")
    theirs = lrs.from_sae_lens(tmp_path / "first/sae", layer=1)
    fitted(llama, tmp_path / "second", dictionary=theirs)
    before, theirs.input_scale = plan(), 3.0
    fitted(llama, tmp_path / "second", dictionary=theirs)
    assert plan()["dictionary"] != before["dictionary"]
    with pytest.raises(ValueError, match="the dictionary reads layer 2, and layer 1 is to be steered"):
        fitted(llama, tmp_path / "third", dictionary=lrs.from_sae_lens(tmp_path / "first/sae", layer=2))


def test_a_judge_that_changed_its_mind_is_asked_again(llama, tmp_path):
    one = fitted(llama, tmp_path)
    other = fitted(llama, tmp_path, judge=lambda text, answer: not judge(text, answer))
    assert other.accuracy == pytest.approx(1 - one.accuracy)
    assert not torch.equal(one.reward.head.weight, other.reward.head.weight)


def test_other_weights_are_another_model(llama, tmp_path):
    fitted(llama, tmp_path)
    plan = json.loads((tmp_path / "traces/plan.json").read_text())["plan"]
    with torch.no_grad():
        llama.model.layers[2].mlp.down_proj.weight[0, 0] += 1
    fitted(llama, tmp_path)
    assert json.loads((tmp_path / "traces/plan.json").read_text())["plan"]["model"] != plan["model"]


def test_an_autoencoder_of_sae_lens_can_be_brought_along(llama, tmp_path):
    trained = fitted(llama, tmp_path / "first").dictionary
    theirs = lrs.from_sae_lens(tmp_path / "first/sae", layer=1)  # as sae-lens wrote it
    here = torch.randn(3, 16)
    assert torch.equal(theirs.encode(here * trained.input_scale), trained.encode(here))
    made = fitted(llama, tmp_path / "second", dictionary=theirs)
    assert made.dictionary is theirs
    assert not (tmp_path / "second/sae").exists()


def test_an_autoencoder_is_brought_along_by_the_name_of_its_release(llama, tmp_path, monkeypatch):
    kept = fitted(llama, tmp_path).dictionary.sae
    asked = []
    monkeypatch.setattr("sae_lens.SAE.from_pretrained", lambda *named, **how: asked.append((named, how)) or kept)
    theirs = lrs.from_sae_lens("release", "blocks.1", layer=1)
    assert asked == [(("release", "blocks.1"), {"device": "cpu"})]
    assert (theirs.sae, theirs.input_scale, theirs.layer) == (kept, 1.0, 1)


@pytest.mark.parametrize(
    ("normal", "hook", "told"),
    [
        ("layer_norm", None, r"reads normalised activations \(layer_norm\); legal: none"),
        ("none", "blocks.1.hook_resid_pre", "and not what layer 1 writes to the residual stream"),
        ("none", "blocks.1.hook_mlp_out", "and not what layer 1 writes"),
        ("none", "blocks.2.hook_resid_post", "reads blocks.2.hook_resid_post"),
        ("none", "blocks.1.hook_resid_post", None),
        ("none", "blocks.2.hook_resid_pre", None),
        ("none", "blocks.1.hook_out", None),
        ("none", "", None),
        ("none", "model.layers.1", None),
        ("none", "model.layers.7", "reads model.layers.7"),
        ("none", "hook_embed", "reads hook_embed"),
        ("none", "centred", "that TransformerLens has centred"),
    ],
)
def test_an_autoencoder_that_reads_something_else_is_refused(llama, tmp_path, monkeypatch, normal, hook, told):
    sae = fitted(llama, tmp_path).dictionary.sae
    sae.cfg.normalize_activations, sae.cfg.metadata.hook_name = normal, hook
    sae.cfg.metadata.model_from_pretrained_kwargs = {"center_writing_weights": hook == "centred"}
    monkeypatch.setattr("sae_lens.SAE.from_pretrained", lambda *named, **how: sae)
    if told:
        with pytest.raises(ValueError, match=told):
            lrs.from_sae_lens("release", "one", layer=1)
    else:
        assert lrs.from_sae_lens("release", "one", layer=1).layer == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_autoencoder_with_a_weight_that_is_no_number_is_refused(llama, tmp_path, value):
    sae = fitted(llama, tmp_path).dictionary.sae
    with torch.no_grad():
        sae.W_dec[0, 0] = value
    sae.save_model(tmp_path / "broken")
    with pytest.raises(ValueError, match="W_dec has a value that is not a finite number"):
        lrs.from_sae_lens(tmp_path / "broken", layer=1)


@pytest.mark.parametrize("problems", [[], [("w3", 1), ("w3", 2)]])
def test_questions_are_distinct(llama, tmp_path, problems):
    with pytest.raises(ValueError, match="at least one question, and none twice"):
        lrs.fit(llama, tokenizer(), problems, judge, layer=1, folder=tmp_path)


def test_all_right_is_nothing_to_learn_from(llama, tmp_path):
    with pytest.raises(ValueError, match="needs correct and wrong traces"):
        fitted(llama, tmp_path, judge=lambda text, answer: True)
