"""Stitching: latents of one backbone read in another's stream, and its pushes written there."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import sae_lens
import torch

from lrs.bench import stitch
from lrs.bench.stitch import MOVED, measure_stitch, stitch_of
from lrs.config import load_config
from lrs.core.kept import digest_of, keep, read_kept
from lrs.figures.palette import arm_label
from lrs.figures.transfer import stitched_figure
from lrs.learning.sae import train_sae
from lrs.learning.stitching import Affine, fit_affine, stitched_sae
from lrs.method.dictionary import SaeDictionary, load_dictionary, load_sae, save_dictionary
from lrs.method.reward import load_reward, save_reward
from lrs.models.activations import replay_traces
from lrs.models.backbones import load_backbone
from lrs.pipeline import measuring
from lrs.report.stitched import stitched_rows, stitched_sentence, stitched_table
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
    torch.testing.assert_close(found.weight.float(), image.weight)
    torch.testing.assert_close(found.offset.float(), image.offset)
    noisy = wide + torch.randn(wide.shape, generator=torch.Generator().manual_seed(1))
    fitted = fit_affine(narrow, noisy)
    left = noisy - narrow.double() @ fitted.weight - fitted.offset
    for normal in (left.mean(dim=0), narrow.double().T @ left / len(left)):  # nothing linear is left
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


@pytest.mark.parametrize("kind", ["StandardSAE", "AbsTopKSAE", "TopKSAE"])
def test_another_kind_of_autoencoder_is_refused(kind):
    how = {"normalize_activations": "expected_average_only_in"} if kind == "TopKSAE" else {}
    config = getattr(sae_lens, f"{kind}Config")(d_in=NARROW, d_sae=8, **how)
    other, same = getattr(sae_lens, kind)(config), Affine(torch.eye(NARROW).double(), torch.zeros(NARROW).double())
    with pytest.raises(ValueError, match=r"that is stitched must be topk and normalise none \(got "):
        stitched_sae(SaeDictionary(other, 1.0, "narrow", 1), same, same, "wide", 1)


def named(config, name):
    """The same backbone under another name, found from wherever a test stands."""
    there = config.backbone.model_copy(update={"path": str(ROOT / config.backbone.path)})
    return config.model_copy(update={"backbone_name": name, "backbones": {name: there}})


@pytest.fixture
def twin(ran, small_power, tmp_path):
    """What was learned on the same model with a residual stream twice as large, but for its causal reward, which pushes
    the other way."""
    config, model = named(small_power, "twin"), load_backbone(str(ROOT / small_power.backbone.path)).model
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("embed_tokens.weight", "o_proj.weight", "down_proj.weight")):
                weight *= 2
    shutil.copytree(ROOT / small_power.backbone.path, tmp_path / "twin")
    model.save_pretrained(tmp_path / "twin")
    there = config.backbone.model_copy(update={"path": str(tmp_path / "twin")})
    config = config.model_copy(update={"backbones": {"twin": there}})
    shutil.copytree(small_power.data, config.data)
    dictionary, causal = load_sae(config.data / "sae"), load_reward(config.data / "reward" / "causal")
    with torch.no_grad():
        causal.head.weight *= -1
    halved = replace(dictionary, input_scale=dictionary.input_scale / 2)
    keep(config.data / "sae", "sae", {"of": "twin"}, partial(save_dictionary, halved))
    keep(config.data / "reward/causal", "causal", {"of": "twin"}, partial(save_reward, causal))
    return config


@pytest.mark.filterwarnings("ignore")  # of transformers, that saves a model
def test_what_a_larger_twin_has_learned_steers_as_ones_own(ran, small_power, twin, monkeypatch):
    own = named(small_power, small_power.backbone_name)
    run = stitch_of(own, twin).model_copy(update={"select": own.select})  # no longer steps: the same as its own
    monkeypatch.setattr(stitch, "stitch_of", lambda config, source: run)
    table = measure_stitch(own, [twin])
    layer = own.backbone.layer
    states = torch.cat(replay_traces(ran.backbone, layer, read_kept(own.data / "traces"), ran.problems, 8))
    mine, moved = (load_dictionary(some.data / "sae", ran.backbone.identity, layer) for some in (own, run))
    same = torch.isclose(mine.encode(states), moved.encode(states), atol=1e-3, rtol=1e-3).all(dim=1)
    assert same.float().mean() > 0.99  # but for ties, within rounding
    torch.testing.assert_close(mine.W_dec / mine.input_scale, moved.W_dec / moved.input_scale, atol=1e-2, rtol=1e-2)
    told = table.groupby("learned_on")["explained_variance"].first()
    assert told["twin"] == pytest.approx(told[own.backbone_name], abs=1e-2)
    made = {name: digest_of(one.data / "reward/causal") for name, one in (("own", own), ("twin", twin), ("run", run))}
    assert made["run"] == made["twin"] != made["own"]
    kept = [read_kept(one.data / "outcomes/lrs/greedy").to_pandas() for one in (own, run)]
    assert kept[0]["text"].tolist() == kept[1]["text"].tolist()
    pooled = table[(table["benchmark"] == "pooled") & (table["arm"] == "lrs") & (table["decoding"] == "greedy")]
    assert pooled.set_index("learned_on")["less_own"]["twin"] == 0
    assert set(table["arm"]) == set(MOVED) & set(own.steering.arms)
    assert set(table.loc[table["arm"] == "base", "learned_on"]) == {own.backbone_name}
    assert len(find_measured([own], TRANSFER, STITCHED)) == len(table)
    before = {path: path.stat().st_mtime_ns for path in run.data.rglob("part-*.arrow")}
    (run.data / "reward/causal/left_over").touch()  # of another reward that was moved before
    pd.testing.assert_frame_equal(measure_stitch(own, [twin]), table)
    assert {path: path.stat().st_mtime_ns for path in run.data.rglob("part-*.arrow")} == before


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


def test_one_backbone_has_nothing_to_move(small_power):
    with pytest.raises(ValueError, match="profile power has one backbone"):
        measure_stitch(small_power, [])


@pytest.fixture
def measured(small_power):
    """Two backbones of twenty problems: what is learned elsewhere repairs four of ten that it repairs at home."""
    right = {"base": range(4), "lrs_slope": range(14), "lrs": range(4)}
    parts = []
    for steered, other in (("small", "large"), ("large", "small")):
        for arm, here in right.items():
            for learned_on, solved in ((steered, here), *([(other, range(8))] if arm == "lrs_slope" else [])):
                rows = pd.DataFrame({"problem_id": range(20), "correct": [p in solved for p in range(20)]})
                parts.append(rows.assign(backbone=steered, arm=arm, learned_on=learned_on))
    outcomes = pd.concat(parts[::-1], ignore_index=True).assign(benchmark="sums", split="test", decoding="greedy")
    outcomes = outcomes.assign(seed=0, tokens=9, processed_tokens=9, steered_tokens=9, finish_reason="answered")
    tables = [stitched_rows(part, small_power) for _, part in outcomes.assign(device="cpu").groupby("backbone")]
    return pd.concat(tables, ignore_index=True).assign(explained_variance=0.8)


def test_what_was_moved_stands_beside_ones_own(measured, small_power):
    table = stitched_table(measured)
    slope = table[table["arm"] == "lrs_slope"]
    assert slope["learned_on"].tolist() == ["large", "small", "small", "large"]
    assert slope["delta"].tolist() == pytest.approx([0.5, 0.2] * 2)
    assert slope["less_own"].tolist() == pytest.approx([float("nan"), -0.3] * 2, nan_ok=True)
    assert (slope["less_own_low"].dropna() < -0.3).all()
    assert (slope["less_own_high"].dropna() > -0.3).all()
    secondary = table[table["arm"] != "lrs"].groupby("backbone")["p_holm"]
    assert (secondary.min() > 0.002).all()  # exact McNemar of ten won and none lost, with others in the family
    told = stitched_sentence(table, small_power)
    assert "`small`, steered by what was learned on `large`: `lrs_slope` +20.0 [" in told
    assert "which is -30.0 [" in told
    assert "80% of `small` by that of `large`" in told
    figure = stitched_figure(table[table["backbone"] == "large"], about="toy")
    assert [axis.get_title() for axis in figure.axes] == ["greedy"]
    named = {label.get_text() for label in figure.axes[0].get_yticklabels()}
    assert named == {arm_label("lrs_slope"), arm_label("lrs")}
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"learned on itself", "learned on small"}


def test_what_was_not_asked_is_told(small_power):
    alone = stitched_sentence(pd.DataFrame(), small_power)
    assert alone == "Of one reasoner alone nothing can be told."
    assert "lrs stitch --profile natural" in stitched_sentence(pd.DataFrame(), load_config("natural"))


@pytest.mark.parametrize("ignored", [".gitignore", ".dvcignore"])
def test_runs_of_measurements_are_no_data_of_the_pipeline(ignored):
    lines = (ROOT / ignored).read_text("utf-8").splitlines()
    assert {f"/data/{name}/*/" for name in ("power", "sweep", "seeds", "transfer")} <= set(lines)
