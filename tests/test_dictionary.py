import json

import pytest
import torch
from conftest import WIDTH
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from lrs.config import SaeSection
from lrs.core.store import StoreError
from lrs.learning import sae
from lrs.learning.sae import explained_variance, input_scale_for, train_sae
from lrs.method.dictionary import ProjectionDictionary, load_dictionary, save_dictionary

CONFIG = SaeSection(d_sae=24, k=4, learning_rate=0.01, batch_size=128, epochs=6)


def planted_activations(count=2048):
    """Activations made of few of many directions, far from having norm sqrt(d)."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(20, WIDTH, generator=generator)
    active = torch.rand(count, 20, generator=generator) < 0.12
    return 30 * (active * torch.rand(count, 20, generator=generator)) @ directions + 5


@pytest.fixture(scope="module")
def activations():
    return planted_activations()


@pytest.fixture(scope="module")
def trained(activations):
    return train_sae(activations, CONFIG, seed=0, backbone="backbone-a", layer=3)


@pytest.fixture
def saved(trained, tmp_path):
    save_dictionary(trained[0], tmp_path)
    return tmp_path


def test_training_explains_what_an_untrained_one_does_not(trained, activations):
    slow = CONFIG.model_copy(update={"learning_rate": 1e-9, "epochs": 1})
    untrained, _ = train_sae(activations, slow, seed=0, backbone="", layer=0)
    assert explained_variance(trained[0], activations) > 0.7
    assert explained_variance(trained[0], activations) > explained_variance(untrained, activations) + 0.3


def test_history_is_the_training_curve(trained):
    _, history = trained
    assert list(history.columns) == ["step", "reconstruction_loss", "dead_fraction"]
    assert history["step"].tolist() == [50, 96]  # 6 epochs of 16 steps
    assert history["reconstruction_loss"].is_monotonic_decreasing
    assert history["dead_fraction"].between(0, 1).all()


def test_latents_are_sparse_and_not_negative(trained, activations):
    latents = trained[0].encode(activations[:100])
    assert latents.shape == (100, CONFIG.d_sae)
    assert (latents >= 0).all()
    assert ((latents > 0).sum(dim=-1) <= CONFIG.k).all()
    assert ((latents > 0).sum(dim=-1) == CONFIG.k).any()
    torch.testing.assert_close(trained[0].encode(activations[None, :6])[0], latents[:6])


def test_decoder_is_the_linear_part_of_decoding(trained):
    dictionary = trained[0]
    first, second = torch.randn(2, 10, CONFIG.d_sae)
    expected = dictionary.sae.decode(first) - dictionary.sae.decode(second)
    assert dictionary.W_dec.shape == (CONFIG.d_sae, WIDTH)
    torch.testing.assert_close((first - second) @ dictionary.W_dec, expected, atol=1e-4, rtol=1e-4)


def test_a_difference_of_latents_moves_the_reconstruction_as_write_back_says(trained, activations):
    from lrs.method.ascent import write_back

    dictionary = trained[0]
    first, second = activations[:10], activations[10:20]
    change = write_back(dictionary.encode(first), dictionary.encode(second), dictionary.W_dec, dictionary.input_scale)
    expected = dictionary.reconstruct(second) - dictionary.reconstruct(first)
    torch.testing.assert_close(change, expected, atol=1e-3, rtol=1e-4)


@given(st.integers(1, 20), st.integers(2, 64), st.floats(1e-3, 1e3), st.integers(0, 99))
def test_input_scale_brings_the_average_norm_to_sqrt_d(count, width, size, seed):
    activations = size * torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    scaled = activations * input_scale_for(activations)
    assert scaled.norm(dim=1).mean().item() == pytest.approx(width**0.5, rel=1e-4)


def test_dictionary_keeps_the_scale_of_what_it_was_trained_on(trained, activations):
    assert trained[0].input_scale == pytest.approx(WIDTH**0.5 / activations.norm(dim=1).mean().item(), rel=1e-5)
    other, _ = train_sae(activations * 8, CONFIG.model_copy(update={"epochs": 1}), seed=0, backbone="", layer=0)
    same, _ = train_sae(activations, CONFIG.model_copy(update={"epochs": 1}), seed=0, backbone="", layer=0)
    torch.testing.assert_close(other.encode(activations * 8), same.encode(activations), atol=1e-4, rtol=1e-4)


def test_explained_variance_of_simple_reconstructions(activations):
    class Fixed:
        def __init__(self, reconstruct):
            self.reconstruct = reconstruct

    assert explained_variance(Fixed(lambda x: x), activations) == 1.0
    assert explained_variance(Fixed(lambda x: x.mean(dim=0)), activations) == pytest.approx(0, abs=1e-5)
    halfway = Fixed(lambda x: (x + x.mean(dim=0)) / 2)
    assert explained_variance(halfway, activations) == pytest.approx(0.75, abs=1e-4)


def test_explained_variance_in_parts_is_that_of_all_together(trained, activations, monkeypatch):
    dictionary, sizes = trained[0], []
    whole, reconstruct = explained_variance(dictionary, activations), dictionary.reconstruct

    def counted(some):
        sizes.append(len(some))
        return reconstruct(some)

    monkeypatch.setattr(sae, "_AT_ONCE", 7)
    monkeypatch.setattr(dictionary, "reconstruct", counted)
    assert explained_variance(dictionary, activations) == pytest.approx(whole, abs=1e-6)
    assert sum(sizes) == len(activations)
    assert max(sizes) == 7


def test_round_trip(saved, trained, activations):
    loaded = load_dictionary(saved, "backbone-a", 3)
    latents, expected = loaded.encode(activations), trained[0].encode(activations)
    assert torch.equal(latents > 0, expected > 0)
    torch.testing.assert_close(latents, expected, atol=1e-5, rtol=0)  # sae-lens folds the decoder's norms in on saving
    torch.testing.assert_close(loaded.W_dec, trained[0].W_dec, atol=1e-6, rtol=0)
    assert torch.equal(load_dictionary(saved).encode(activations), latents)  # unasked, neither name is checked
    assert (loaded.input_scale, loaded.backbone, loaded.layer) == (trained[0].input_scale, "backbone-a", 3)
    assert not any(parameter.requires_grad for parameter in loaded.sae.parameters())


def test_same_seed_same_files(saved, activations, tmp_path_factory):
    again = tmp_path_factory.mktemp("again")
    save_dictionary(train_sae(activations, CONFIG, seed=0, backbone="backbone-a", layer=3)[0], again)
    files = {path.name: path.read_bytes() for path in saved.iterdir()}
    assert {path.name: path.read_bytes() for path in again.iterdir()} == files
    assert json.loads(files["cfg.json"])["d_sae"] == CONFIG.d_sae


@pytest.mark.parametrize(("backbone", "layer"), [("backbone-b", 3), ("backbone-a", 2), ("backbone-a", 0)])
def test_dictionary_of_another_backbone_or_layer_is_refused(saved, backbone, layer):
    told = f"was made for layer 3 of backbone backbone-a, not for layer {layer} of {backbone}"
    with pytest.raises(StoreError, match=told) as error:
        load_dictionary(saved, backbone, layer)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["sae_weights.safetensors", "cfg.json", "dictionary.json"])
@pytest.mark.parametrize("how", ["truncated", "missing"])
def test_damaged_file_is_one_clear_line(saved, name, how):
    path = saved / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if how == "missing":
        path.unlink()
    with pytest.raises(StoreError, match="cannot read the dictionary in ") as error:
        load_dictionary(saved, "backbone-a", 3)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_a_scale_that_is_no_number_is_refused(saved, value):
    path = saved / "dictionary.json"
    scale = json.dumps(json.loads(path.read_text())["input_scale"])
    path.write_text(path.read_text().replace(scale, value))
    with pytest.raises(StoreError, match="input_scale has a value that is not a finite number") as error:
        load_dictionary(saved)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["W_enc", "b_enc", "W_dec", "b_dec"])
def test_a_weight_that_is_no_number_is_refused(saved, name):
    weights = load_file(saved / "sae_weights.safetensors")
    weights[name].view(-1)[3] = float("nan")
    save_file(weights, saved / "sae_weights.safetensors")
    with pytest.raises(StoreError, match=f"{name} has a value that is not a finite number") as error:
        load_dictionary(saved)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["mean", "W_enc", "W_dec"])
def test_so_is_one_of_projections(tmp_path, name):
    matrices = {"mean": torch.zeros(4), "W_enc": torch.eye(4), "W_dec": torch.eye(4)}
    matrices[name].view(-1)[2] = float("inf")
    save_dictionary(
        ProjectionDictionary(**matrices, normalises=False, input_scale=1.0, backbone="a", layer=1), tmp_path
    )
    with pytest.raises(StoreError, match=f"{name} has a value that is not a finite number"):
        load_dictionary(tmp_path)


def test_too_few_activations_are_told(activations):
    with pytest.raises(ValueError, match=r"sae\.batch_size is 128, but there are only 100 activations"):
        train_sae(activations[:100], CONFIG, seed=0, backbone="", layer=0)
