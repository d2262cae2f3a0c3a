"""Other bases: each reads and writes back what it says, learns nothing from what is held out, and is kept."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from lrs.config import SaeSection, load_config
from lrs.core.kept import keep
from lrs.core.store import StoreError, write_rows
from lrs.learning import bases
from lrs.learning.bases import fit_basis, outside_basis, pca_basis, projection_basis, random_sae_basis, raw_basis
from lrs.learning.latents import encode_traces, load_latents
from lrs.learning.sae import input_scale_for
from lrs.method.ascent import write_back
from lrs.method.dictionary import Dictionary, load_dictionary, save_dictionary
from lrs.tasks.splits import held_out

SECTION = SaeSection(d_sae=6, k=2, learning_rate=1e-3, batch_size=16, epochs=1)
WIDTH = 8


def traces(seed=0):
    generator = torch.Generator().manual_seed(seed)
    stretched = torch.diag(torch.linspace(3, 0.5, WIDTH))
    return [torch.randn(length, WIDTH, generator=generator) @ stretched + 1 for length in (30, 50, 20, 40, 35)]


def made(maker):
    return maker(traces(), SECTION, 0, "b", 3)


@pytest.mark.parametrize("maker", [raw_basis, pca_basis, projection_basis, random_sae_basis])
def test_every_basis_is_a_dictionary_that_can_be_kept(maker, tmp_path):
    dictionary = made(maker)
    assert isinstance(dictionary, Dictionary)
    save_dictionary(dictionary, tmp_path)
    loaded, activations = load_dictionary(tmp_path, "b", 3), traces(1)[0]
    again = load_dictionary(tmp_path)
    assert torch.equal(loaded.encode(activations), again.encode(activations))
    assert loaded.W_dec.norm(dim=1).tolist() == pytest.approx([1.0] * len(loaded.W_dec), abs=1e-5)
    with pytest.raises(StoreError, match="was made for layer 3 of backbone b, not for layer 4 of b"):
        load_dictionary(tmp_path, "b", 4)


@pytest.mark.parametrize("maker", [raw_basis, pca_basis, projection_basis, random_sae_basis])
def test_of_activations_in_half_precision_a_basis_of_full_precision_is_made(maker):
    """It is the one of the same numbers, up to their rounding; its latents can be kept."""
    half = [trace.bfloat16() for trace in traces()]
    dictionary, expected = (maker(some, SECTION, 0, "b", 3) for some in (half, [trace.float() for trace in half]))
    assert dictionary.W_dec.dtype == torch.float32
    assert dictionary.input_scale == pytest.approx(expected.input_scale, rel=0.01)
    rows = Dataset.from_dict({"problem_id": list("abcde"), "seed": [0] * 5, "correct": [True] * 5})
    kept = encode_traces(dictionary, half, rows)
    dense, _ = kept.dense(range(len(half)))
    wanted, _ = encode_traces(expected, half, rows).dense(range(len(half)))
    assert wanted.any()
    assert torch.allclose(dense, wanted, atol=0.02 * wanted.abs().max().item())


def test_a_projection_with_nan_is_refused(tmp_path):
    dictionary = made(raw_basis)
    dictionary.W_enc[0, 0] = float("nan")
    save_dictionary(dictionary, tmp_path)
    with pytest.raises(StoreError, match="has a value that is not a finite number"):
        load_dictionary(tmp_path)


def test_raw_moves_the_residual_stream_by_the_change_itself():
    dictionary, here = made(raw_basis), traces(1)[0]
    assert dictionary.input_scale == pytest.approx(input_scale_for(torch.cat(traces())))
    latent = dictionary.encode(here)
    there = here + torch.randn(here.shape)
    moved = write_back(latent, dictionary.encode(there), dictionary.W_dec, dictionary.input_scale)
    assert torch.allclose(moved, there - here, atol=1e-4)


def test_components_are_those_of_largest_variance():
    dictionary, every = made(pca_basis), torch.cat(traces())
    assert torch.allclose(dictionary.W_enc.T @ dictionary.W_enc, torch.eye(6), atol=1e-5)
    latent = dictionary.encode(every)
    assert latent.mean(dim=0).abs().max() < 1e-4
    variance = latent.var(dim=0)
    assert (variance.diff() <= 1e-4).all()
    largest = torch.linalg.eigvalsh(torch.cov((every * dictionary.input_scale).T)).flip(0)[:6]
    assert torch.allclose(variance, largest, rtol=1e-3)


@given(st.floats(0.1, 10), st.integers(0, 50))
@settings(max_examples=20)
def test_projections_read_where_a_state_points_to_and_not_how_far(stretch, seed):
    dictionary = made(projection_basis)
    offset = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(seed))
    near, far = (dictionary.encode(dictionary.mean + offset * length) for length in (1, stretch))
    assert torch.allclose(near, far, atol=1e-4)
    assert near.shape == (4, 10)


def test_projections_are_signed_and_write_back_unscaled():
    dictionary = made(projection_basis)
    latent = dictionary.encode(torch.cat(traces(1)))
    assert (latent < 0).any()
    assert (latent > 0).any()
    step = torch.zeros(1, 10)
    step[0, 4] = 2.5
    assert torch.allclose(
        write_back(step * 0, step, dictionary.W_dec, dictionary.input_scale), 2.5 * dictionary.W_dec[4]
    )


def test_projections_have_learned_something():
    """Trained on the mean of each trace, they rebuild those from their three largest readings better than by lot."""
    torch.manual_seed(0)
    centres = torch.randn(4, WIDTH) * 3
    seen = [centres[i % 4] + 0.1 * torch.randn(20, WIDTH) for i in range(40)]
    dictionary = projection_basis(seen, SECTION, 0, "b", 3)
    latent = dictionary.encode(torch.stack([trace.mean(dim=0) for trace in seen]))
    largest = torch.zeros_like(latent).scatter(1, *reversed(latent.topk(3, dim=1)))
    means = torch.stack([trace.mean(dim=0) for trace in seen]) - dictionary.mean
    wanted = means / means.norm(dim=1, keepdim=True)
    assert (largest @ dictionary.W_dec - wanted).square().sum(dim=1).mean() < 0.1


def test_a_random_autoencoder_is_sparse_and_follows_its_seed():
    one, same, other = (random_sae_basis(traces(), SECTION, seed, "b", 3) for seed in (0, 0, 1))
    latent = one.encode(traces(1)[0])
    assert ((latent != 0).sum(dim=1) <= SECTION.k).all()
    assert torch.equal(one.W_dec, same.W_dec)
    assert not torch.equal(one.W_dec, other.W_dec)


def test_a_basis_is_made_once_of_what_is_not_held_out(tmp_path, monkeypatch):
    config = load_config("smoke")
    monkeypatch.chdir(tmp_path)
    config = config.model_copy(update={"sae": SECTION.model_copy(update={"k": 2})})
    rows = [{"problem_id": f"p{i}", "seed": 0, "correct": i % 2 == 0} for i in range(5)]
    found = Dataset.from_list(rows)
    keep(config.data / "traces", "traces", {}, lambda folder: write_rows(folder / "part-00000.arrow", rows))
    backbone = SimpleNamespace(identity="b", device=torch.device("cpu"))
    asked = []
    fit_basis("pca", backbone, found, lambda: asked.append(1) or traces(), config)
    fit_basis("pca", backbone, found, lambda: asked.append(1) or traces(), config)
    assert len(asked) == 2  # for the dictionary and for the latents, once each
    out = held_out(np.array(found["problem_id"]), config.reward.early_stopping_share, config.seed)
    seen = [trace for trace, is_out in zip(traces(), out, strict=True) if not is_out]
    wanted = pca_basis(seen, config.sae, config.seed, "b", config.backbone.layer)
    dictionary = load_dictionary(config.dictionary("pca"))
    assert torch.equal(dictionary.W_enc, wanted.W_enc)
    latents = load_latents(config.latents("pca"))
    assert torch.allclose(latents.dense([2])[0][0], wanted.encode(traces()[2]), atol=1e-6)


def test_every_basis_but_the_autoencoders_has_a_maker():
    from typing import get_args

    from lrs.method.setting import Basis

    assert set(bases._MAKERS) == set(get_args(Basis)) - {"sae", "outside"}


def test_outside_is_what_the_decoder_cannot_write():
    decoder = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(0))
    sae = SimpleNamespace(W_dec=torch.cat([decoder, decoder[:1] + decoder[1:2]]), input_scale=0.5)
    dictionary = outside_basis(sae, "b", 3)
    assert dictionary.W_dec.shape == (WIDTH - 3, WIDTH)
    assert (decoder @ dictionary.W_dec.T).abs().max() < 1e-5
    assert torch.allclose(dictionary.W_dec @ dictionary.W_dec.T, torch.eye(WIDTH - 3), atol=1e-5)
    assert dictionary.input_scale == 0.5
    with pytest.raises(ValueError, match="no direction is outside"):
        outside_basis(SimpleNamespace(W_dec=torch.randn(20, WIDTH), input_scale=1.0), "b", 3)
