"""The rival that edits weights: nothing at first, trained alone, resumed to the same weights."""

from copy import deepcopy

import pytest
import torch
from torch.testing import assert_close

from lrs.bench import adapter
from lrs.bench.adapter import RANK, train_adapter, with_adapter
from lrs.experiment import on_policy
from lrs.models.backbones import load_backbone
from lrs.tasks.problems import draw_problems


@pytest.fixture
def config(small_power, monkeypatch):
    """Profile power on a few problems, two iterations of it; and its reasoner, loaded once."""
    reasoner = load_backbone(small_power.backbone.path)
    monkeypatch.setattr(adapter, "load_backbone", lambda *given: deepcopy(reasoner))
    section = small_power.causal.model_copy(update={"iterations": 2, "attempts": 8, "checkpoint_every": 1})
    return small_power.model_copy(update={"causal": section})


@pytest.fixture
def problems(config):
    ((name, difficulty),) = config.benchmarks.items()
    return draw_problems(name, difficulty, {"reward": config.problems.reward}, config.seed)


def weights_of(backbone):
    return {name: weight.detach().clone() for name, weight in backbone.model.named_parameters()}


def test_it_does_nothing_before_it_is_trained(config):
    plain, adapted = (load_backbone(config.backbone.path) for _ in range(2))
    ids = torch.arange(4, 40)[None]
    expected = plain.model(ids).logits
    adapted = with_adapter(adapted, seed=0)
    assert_close(adapted.model(ids).logits, expected)
    trained = [name for name, weight in adapted.model.named_parameters() if weight.requires_grad]
    assert all("lora" in name for name in trained)
    assert not any("lm_head" in name or "embed" in name for name in trained)
    linear = [module for module in plain.model.model.layers.modules() if isinstance(module, torch.nn.Linear)]
    sizes = sum(RANK * (module.in_features + module.out_features) for module in linear)
    assert sum(w.numel() for w in adapted.model.parameters() if w.requires_grad) == sizes


def test_adapters_alone_are_trained_and_a_killed_training_resumes_to_the_same(config, problems, tmp_path, monkeypatch):
    plain = load_backbone(config.backbone.path)
    whole = train_adapter(problems, config, tmp_path / "whole")
    learned = weights_of(whole)
    for name, weight in weights_of(plain).items():
        assert_close(learned[name.replace("proj.weight", "proj.base_layer.weight")], weight, rtol=0, atol=0)
    assert any(weight.abs().sum() > 0 for name, weight in learned.items() if "lora_B" in name)
    assert whole.identity not in (plain.identity, "")
    asked, at = [], on_policy.attempts_at

    def die(*given):
        asked.append(given[3])
        if given[3] == 1:
            raise KeyboardInterrupt
        return at(*given)

    with monkeypatch.context() as patch:
        patch.setattr(on_policy, "attempts_at", die)
        with pytest.raises(KeyboardInterrupt):
            train_adapter(problems, config, tmp_path / "killed")
    asked.clear()
    monkeypatch.setattr(on_policy, "attempts_at", lambda *given: asked.append(given[3]) or at(*given))
    resumed = train_adapter(problems, config, tmp_path / "killed")
    assert asked == [1]
    assert resumed.identity == whole.identity
    assert all(torch.equal(weight, learned[name]) for name, weight in weights_of(resumed).items())
    asked.clear()
    again = train_adapter(problems, config, tmp_path / "killed")
    assert asked == []
    assert all(torch.equal(weight, learned[name]) for name, weight in weights_of(again).items())


def test_it_learns_what_pays(config, problems, tmp_path, monkeypatch):
    """Paid for short answers, it writes shorter ones."""
    at = on_policy.attempts_at

    def paid_for_brevity(*given):
        attempts, right, ids = at(*given)
        lengths = torch.tensor([len(answer) for _, answer in ids]).view(right.shape).float()
        return attempts, (lengths < lengths.median(dim=1, keepdim=True).values).float(), ids

    section = config.causal.model_copy(update={"iterations": 12, "problems": 6, "temperature": 1.0})
    longer = config.model_copy(update={"causal": section})
    pools = {problems[0].benchmark: problems}
    monkeypatch.setattr(on_policy, "attempts_at", paid_for_brevity)
    adapted = train_adapter(problems, longer, tmp_path)
    before, after = (at(one, pools, longer, 99)[2] for one in (load_backbone(config.backbone.path), adapted))
    assert sum(len(answer) for _, answer in after) < 0.9 * sum(len(answer) for _, answer in before)
