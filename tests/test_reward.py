import json

import pytest
import torch
from conftest import LATENTS, tiny_reward

from lrs.core.store import StoreError
from lrs.method.reward import load_reward, save_reward


def test_history_is_causal_and_token_sees_one_token():
    latents = torch.randn(2, 6, LATENTS, dtype=torch.float64)
    changed = latents.clone()
    changed[:, 3] = torch.randn(2, LATENTS, dtype=torch.float64)
    for variant, unaffected in (("history", [0, 1, 2]), ("token", [0, 1, 2, 4, 5])):
        model = tiny_reward(variant)
        before, after = model(latents), model(changed)
        assert torch.allclose(before[:, unaffected], after[:, unaffected], atol=1e-12)
        assert not torch.allclose(before[:, 3], after[:, 3])
    assert not torch.allclose(tiny_reward("history")(latents)[:, 5], tiny_reward("history")(changed)[:, 5])


def test_right_padding_does_not_matter():
    model = tiny_reward("history")
    latents = torch.randn(1, 4, LATENTS, dtype=torch.float64)
    padded = torch.cat([latents, torch.randn(1, 3, LATENTS, dtype=torch.float64)], dim=1)
    assert torch.allclose(model(padded)[:, :4], model(latents), atol=1e-12)


@pytest.mark.parametrize("variant", ["token", "history"])
def test_round_trip(tmp_path, variant):
    model = tiny_reward(variant).float()
    save_reward(model, tmp_path)
    loaded = load_reward(tmp_path)
    latents = torch.randn(2, 3, LATENTS)
    assert torch.equal(loaded(latents), model(latents))
    assert loaded.config == model.config
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_truncated_weights_are_one_clear_line(tmp_path):
    save_reward(tiny_reward("token").float(), tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(StoreError, match="cannot read the reward model in ") as error:
        load_reward(tmp_path)
    assert "\n" not in str(error.value)


def test_weights_of_another_shape_are_refused(tmp_path):
    save_reward(tiny_reward("token").float(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"d_sae": 7}))
    with pytest.raises(StoreError, match="cannot read the reward model"):
        load_reward(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path, value):
    model = tiny_reward("token").float()
    model.head.weight[0, 3] = value
    save_reward(model, tmp_path)
    with pytest.raises(StoreError, match=r"head.weight has a value that is not a finite number") as error:
        load_reward(tmp_path)
    assert "\n" not in str(error.value)
