"""Stitching: latents of one backbone read in another's stream, and its pushes written there."""

import shutil
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
import torch
from sae_lens import StandardSAE, StandardSAEConfig

from lrs.bench import stitch
from lrs.bench.stitch import MOVED, measure_stitch, stitch_of
from lrs.core.kept import read_kept
from lrs.figures.palette import arm_label
from lrs.figures.transfer import stitched_figure
from lrs.learning.sae import train_sae
from lrs.learning.stitching import Affine, fit_affine, stitched_sae
from lrs.method.dictionary import SaeDictionary, load_dictionary, save_dictionary
from lrs.models.activations import replay_traces
from lrs.models.backbones import load_backbone
from lrs.pipeline import measuring
from lrs.report.stitched import stitched_sentence, stitched_table
from lrs.saved import STITCHED, TRANSFER, find_measured

ROOT = Path(__file__).parents[1]
NARROW, WIDE = 6, 9


@pytest.fixture
def streams():
    """Activations of a narrow stream, of a wide one that is an affine image of it, and the image."""
    generator = torch.Generator().manual_seed(0)
    narrow = torch.randn(300, NARROW, generator=generator) + 0.5
    image = Affine(torch.randn(NARROW, WIDE, generator=generator), torch.randn(WIDE, generator=generator))
    return narrow, narrow @ image.weight + image.offset, image


@pytest.fixture
def dictionary(streams, small_power):
    config = small_power.sae.model_copy(update={"d_sae": 12, "k": 3, "batch_size": 64})
    return train_sae(streams[0], config, 0, "narrow", 1)[0]


def test_the_map_is_that_of_least_squares(streams):
    narrow, wide, image = streams
    found = fit_affine(narrow, wide)
    torch.testing.assert_close(found.weight, image.weight)
    torch.testing.assert_close(found.offset, image.offset)
    noisy = wide + torch.randn(wide.shape, generator=torch.Generator().manual_seed(1))
    fitted = fit_affine(narrow, noisy)
    left = noisy - narrow @ fitted.weight - fitted.offset
    for normal in (left.mean(dim=0), narrow.T @ left / len(left)):  # nothing linear is left
        torch.testing.assert_close(normal, torch.zeros_like(normal), atol=1e-4, rtol=0)


def test_stitched_latents_are_those_there_and_pushes_their_image(streams, dictionary, tmp_path):
    narrow, wide, image = streams
    made = stitched_sae(dictionary, fit_affine(wide, narrow), fit_affine(narrow, wide), "wide", 2)
    latents = dictionary.encode(narrow)
    assert (latents > 0).sum(dim=1).max() == 3
    torch.testing.assert_close(made.encode(wide), latents, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(made.W_dec, dictionary.W_dec @ image.weight, atol=1e-4, rtol=1e-4)
    rebuilt = dictionary.reconstruct(narrow) @ image.weight + image.offset
    torch.testing.assert_close(made.reconstruct(wide), rebuilt, atol=1e-3, rtol=1e-3)
    save_dictionary(made, tmp_path)
    again = load_dictionary(tmp_path, "wide", 2)
    assert torch.equal(again.encode(wide), made.encode(wide))
    assert torch.equal(again.W_dec, made.W_dec)


def test_another_kind_of_autoencoder_is_refused(streams):
    plain = SaeDictionary(StandardSAE(StandardSAEConfig(d_in=NARROW, d_sae=8)), 1.0, "narrow", 1)
    same = Affine(torch.eye(NARROW), torch.zeros(NARROW))
    with pytest.raises(ValueError, match=r"only a top-k autoencoder can be stitched \(got standard\)"):
        stitched_sae(plain, same, same, "wide", 1)


def named(config, name):
    """The same backbone under another name, found from wherever a test stands."""
    there = config.backbone.model_copy(update={"path": str(ROOT / config.backbone.path)})
    return config.model_copy(update={"backbone_name": name, "backbones": {name: there}})


def test_what_a_twin_has_learned_steers_as_ones_own(ran, small_power):
    """The same model under another name: the maps are the identity."""
    small_power, twin = named(small_power, small_power.backbone_name), named(small_power, "twin")
    shutil.copytree(small_power.data, twin.data)
    table = measure_stitch(small_power, [twin])
    run = stitch_of(small_power, twin)
    traces = read_kept(small_power.data / "traces")
    layer = small_power.backbone.layer
    states = torch.cat(replay_traces(ran.backbone, layer, traces, ran.problems, 8))
    own, moved = (load_dictionary(some.data / "sae", ran.backbone.identity, layer) for some in (small_power, run))
    agree = (own.encode(states) > 0) == (moved.encode(states) > 0)
    assert agree.float().mean() > 0.999  # but for ties, within rounding
    told = table.groupby("learned_on")["explained_variance"].first()
    assert told["twin"] == pytest.approx(told[small_power.backbone_name], abs=1e-3)
    by = table[table["benchmark"] == "pooled"].set_index(["learned_on", "decoding", "arm"])["accuracy"]
    assert set(table["arm"]) == set(MOVED) & set(small_power.steering.arms)
    for decoding in small_power.steering.decodings:
        assert by["twin", decoding, "base"] == by[small_power.backbone_name, decoding, "base"]
    kept = find_measured([small_power], TRANSFER, STITCHED)
    assert len(kept) == len(table)


def test_longer_steps_are_tried_and_the_arms_are_the_profiles(small_power):
    run = stitch_of(small_power, small_power)
    assert run.select.step_size == [2.0, 4.0]
    assert run.steering.arms == [arm for arm in small_power.steering.arms if arm in MOVED]
    assert run.data.parent == small_power.data.parents[1] / "transfer"


def test_backbones_that_read_other_tokens_are_refused(small_power, ran, monkeypatch):
    other = load_backbone(str(ROOT / small_power.backbone.path))
    other.tokenizer.add_tokens("<another>")
    loaded = [other, ran.backbone]
    monkeypatch.setattr(stitch, "load_backbone", lambda *given: loaded.pop())
    with pytest.raises(ValueError, match=r"^planted-half and planted-half do not read the same tokens$"):
        measure_stitch(small_power, [small_power])


def test_the_command_moves_each_to_each_other(monkeypatch):
    asked = []

    def measure(config, sources):
        asked.append([config.backbone_name, *(source.backbone_name for source in sources)])

    monkeypatch.setattr(stitch, "measure_stitch", measure)
    measuring.stitch("natural")
    assert asked == [["pocket-3m", "pocket-1m"], ["pocket-1m", "pocket-3m"]]


@pytest.fixture
def measured():
    """Of two backbones, each steered by what was learned on both, in two decodings."""
    rows = []
    for place, (steered, learned_on) in enumerate(product(("small", "large"), repeat=2)):
        for decoding, arm, benchmark in product(("greedy", "sampled"), ("base", "lrs_slope"), ("sums", "pooled")):
            gain = float("nan") if arm == "base" else 0.1 * (1 + place)
            rows.append(
                {"backbone": steered, "decoding": decoding, "arm": arm, "learned_on": learned_on, "n": 100}
                | {"benchmark": benchmark, "delta": gain, "delta_low": gain - 0.05, "delta_high": gain + 0.05}
                | {"wins": 12, "losses": 2, "p_holm": 0.01, "explained_variance": 0.9 - 0.1 * place}
            )
    return pd.DataFrame(rows)


def test_what_was_moved_stands_beside_ones_own(measured):
    table = stitched_table(measured)
    assert len(table) == 8
    assert table["learned_on"].tolist()[:2] == ["small", "large"]  # of the first backbone, decoding and arm
    assert table.groupby(["backbone", "decoding", "arm"]).size().eq(2).all()
    told = stitched_sentence(table)
    assert (
        "`small`, steered by what was learned on `large`: `lrs_slope` +20.0 [+15.0, +25.0] (learned on itself" in told
    )
    assert (
        "`large`, steered by what was learned on `small`: `lrs_slope` +30.0 [+25.0, +35.0] (learned on itself" in told
    )
    assert "80% on `small` by that of `large`" in told
    figure = stitched_figure(table[table["backbone"] == "large"], about="toy")
    assert [axis.get_title() for axis in figure.axes] == ["greedy", "sampled"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [arm_label("lrs_slope")]
