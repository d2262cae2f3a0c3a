"""A reward whose gradient steers one's own model: it learns what pays, leaves the model alone, and resumes."""

import pytest
import torch
from test_own_model import MODELS, PROBLEMS, fitted, tokenizer

import lrs
from lrs.config import CausalSection
from lrs.experiment import own_slope
from lrs.method.gate import ALWAYS

SECTION = CausalSection(
    iterations=10,
    problems=6,
    attempts=6,
    temperature=1.0,
    step_size=2.0,
    learning_rate=3e-2,
    joint_weight=0.0,
    rows_per_batch=16,
    checkpoint_every=2,
)


def judge(text, answer):
    """Whatever the question: some words are right."""
    return any(word in text.split() for word in ("w7", "w11", "w23"))


def slope(model, made, folder, section=SECTION):
    how = {"fitted": made, "folder": folder, "max_new_tokens": 8, "batch_size": 36, "section": section}
    return lrs.fit_slope(model, tokenizer(), PROBLEMS, judge, **how)


@pytest.mark.parametrize("name", MODELS)
def test_it_learns_what_pays_and_leaves_the_model_alone(name, tmp_path):
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    made = fitted(model, tmp_path)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    learned = slope(model, made, tmp_path)
    assert learned.quality["right_at_last"] > learned.quality["right_at_first"] + 0.1
    assert (learned.gate, learned.reward.config.variant, learned.layer) == (ALWAYS, "potential", 1)
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    prompt = tokenizer()("w3 w4 w5", return_tensors="pt")["input_ids"]
    asked = {"input_ids": prompt, "max_new_tokens": 8, "do_sample": False, "pad_token_id": 1}
    plain = model.generate(**asked)
    with learned.steer(model):
        assert not torch.equal(model.generate(**asked), plain)


def test_steps_of_size_one_are_those_that_were_trained(tmp_path, monkeypatch):
    torch.manual_seed(0)
    model, trained = MODELS["llama"]().eval(), []
    step = own_slope.causal_step
    monkeypatch.setattr(own_slope, "causal_step", lambda *given: trained.append(given[1]) or step(*given))
    made = fitted(model, tmp_path)
    latents = torch.rand(5, len(made.dictionary.W_dec))
    before = []

    iterate = own_slope.iterate

    def and_then(*given):
        curve = iterate(*given)
        before.append(trained[-1].ascent.step_size * trained[-1].reward.direction(latents).detach())
        return curve

    monkeypatch.setattr(own_slope, "iterate", and_then)
    learned = slope(model, made, tmp_path, SECTION.model_copy(update={"iterations": 2}))
    assert before[0].abs().max() > 0
    torch.testing.assert_close(learned.reward.direction(latents).detach(), before[0])


def test_a_killed_call_resumes_to_the_same_and_what_is_kept_is_not_made_again(tmp_path, monkeypatch):
    torch.manual_seed(0)
    model = MODELS["llama"]().eval()
    made, few = fitted(model, tmp_path), SECTION.model_copy(update={"iterations": 6})
    whole = slope(model, made, tmp_path / "whole", few)
    step, calls = own_slope.causal_step, []

    def dies_at_the_fourth(*given):
        calls.append(given)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return step(*given)

    with monkeypatch.context() as patch:
        patch.setattr(own_slope, "causal_step", dies_at_the_fourth)
        with pytest.raises(KeyboardInterrupt):
            slope(model, made, tmp_path / "killed", few)
        assert all(parameter.requires_grad for parameter in model.parameters())
        resumed = slope(model, made, tmp_path / "killed", few)
    assert len(calls) == 4 + 4  # two were kept
    pairs = zip(whole.reward.parameters(), resumed.reward.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert resumed.quality == whole.quality
    monkeypatch.setattr(own_slope, "causal_step", None)
    assert slope(model, made, tmp_path / "whole", few).quality == whole.quality
    assert not list((tmp_path / "killed/slope-unfinished").iterdir())
