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


@pytest.mark.parametrize("problems", [[], [("w3", 1), ("w3", 2)]])
def test_questions_are_distinct(llama, tmp_path, problems):
    with pytest.raises(ValueError, match="at least one question, and none twice"):
        lrs.fit(llama, tokenizer(), problems, judge, layer=1, folder=tmp_path)


def test_all_right_is_nothing_to_learn_from(llama, tmp_path):
    with pytest.raises(ValueError, match="needs correct and wrong traces"):
        fitted(llama, tmp_path, judge=lambda text, answer: True)
