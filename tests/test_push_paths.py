"""Pushes along traces: what a gate lets through, as hard as it is, where it is; and heads that read it, by hand."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import tiny_llama, tiny_steering

from lrs.config import StatisticsSection, load_config
from lrs.experiment import push_paths as module
from lrs.experiment.push_paths import PushPath, keep_push_paths, push_paths
from lrs.method.gate import ALWAYS, NEVER, stability_of
from lrs.models.activations import pad_right, replay
from lrs.models.backbones import Backbone, decoder_layers, edited_layer
from lrs.report.along import head_means, instability_halves, push_means
from lrs.tasks.prompts import prompt_ids

STATISTICS = StatisticsSection(confidence_level=0.95, bootstrap_resamples=100)


class Padding:
    """All that is asked of a tokenizer here."""

    pad_token_id = 0


@pytest.fixture
def backbone():
    return Backbone("tiny", tiny_llama(), Padding(), "tiny")


TRACES = [([3, 4, 5], [6, 7, 8, 9]), ([2, 9], [5, 5, 1, 2, 3, 4, 7])]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_closed_gate_pushes_nothing_and_no_head_reads_it(backbone, dtype: torch.dtype):
    backbone.model.to(dtype)
    found = push_paths(backbone, tiny_steering("token", gate=NEVER), TRACES)
    for path, (_, written) in zip(found, TRACES, strict=True):
        assert len(path.push) == len(path.instability) == len(path.heads) == len(written) - 1
        assert (path.push == 0).all()
        assert (path.heads == 0).all()


def test_pushes_in_half_precision_are_near_those_in_full(backbone):
    full = push_paths(backbone, tiny_steering("token", gate=ALWAYS), TRACES)
    backbone.model.to(torch.bfloat16)
    half = push_paths(backbone, tiny_steering("token", gate=ALWAYS), TRACES)
    for there, here in zip(full, half, strict=True):
        assert here.push.dtype == here.instability.dtype == here.heads.dtype == np.float32
        np.testing.assert_allclose(here.push, there.push, rtol=0.05)


@torch.no_grad()
def test_pushes_and_heads_are_those_of_a_loop(backbone):
    """The push of a reward that reads one token, added by hand to a whole trace at once."""
    steering, model = tiny_steering("token", gate=ALWAYS), backbone.model
    found = push_paths(backbone, steering, TRACES)
    for path, (prompt, written) in zip(found, TRACES, strict=True):
        ((_, hidden),) = replay(model, steering.layer, [(prompt, written)], 1, 0)
        dictionary = steering.dictionary
        latents = dictionary.encode(hidden).to(steering.reward.dtype)
        moved = latents
        for _ in range(steering.ascent.num_steps):
            with torch.enable_grad():
                moved = moved.detach().requires_grad_(True)
                (gradient,) = torch.autograd.grad(steering.reward(moved[:, None]).sum(), moved)
            moved = moved + steering.ascent.step_size * gradient / gradient.norm(dim=-1, keepdim=True)
        push = ((moved - latents) @ dictionary.W_dec / dictionary.input_scale).detach().to(hidden.dtype)
        np.testing.assert_allclose(path.push, push.norm(dim=-1) / hidden.norm(dim=-1), rtol=1e-5)

        def of_heads(edit, prompt=prompt, written=written):
            seen = []
            above = list(decoder_layers(model))[steering.layer + 1 :]
            maps = [one.self_attn.o_proj for one in above]
            handles = [one.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for one in maps]
            with edited_layer(model, steering.layer, edit):
                logits = model(**pad_right([prompt + written[:-1]], 0, model.device)).logits[0]
            for handle in handles:
                handle.remove()
            return logits, torch.stack([one[0, len(prompt) :] for one in seen], dim=1)

        def add(hidden, push=push, prompt=prompt):
            return torch.cat([hidden[:, : len(prompt)], hidden[:, len(prompt) :] + push], dim=1)

        (logits, plain), (_, pushed) = of_heads(lambda hidden: hidden), of_heads(add)
        heads = model.config.num_attention_heads
        change, size = ((part.unflatten(-1, (heads, -1)) ** 2).sum(-1) for part in (pushed - plain, plain))
        np.testing.assert_allclose(path.heads, change / size, rtol=1e-4, atol=1e-10)
        chosen = logits[len(prompt) - 1 : -1]
        before = torch.cat([chosen[:1], chosen[:-1]])
        np.testing.assert_allclose(path.instability, -stability_of(chosen, before).log(), rtol=1e-5, atol=1e-8)


def test_the_last_layer_has_no_reader(backbone):
    steering = tiny_steering("token", gate=ALWAYS)
    last = type(steering)(1 + steering.layer + 99, *list(vars(steering).values())[1:])
    with pytest.raises(ValueError, match="no layer lies above layer"):
        push_paths(backbone, last, TRACES)


def test_paths_are_along_the_first_answers_of_base_and_made_once(tiny_backbone, drawn_problems, tmp_path, monkeypatch):
    problems = drawn_problems["chain_sum"][:2]
    texts = ["<think> b 3 + 4 = 7 . </think> answer 7", "<think> b 3 + 4 = 8 . </think> answer 8"]
    rows = [
        {"problem_id": problem.id, "arm": arm, "decoding": decoding, "correct": right, "text": text}
        for problem, text, right in zip(problems, texts, (True, False), strict=True)
        for arm in ("base", "lrs")
        for decoding in ("greedy", "sampled")
    ]
    steering, where = tiny_steering("token", gate=ALWAYS), tmp_path / "pushes"
    given = tiny_backbone, {"lrs": steering}, problems, pd.DataFrame(rows), load_config("smoke"), where
    kept = keep_push_paths(*given, {"token": "a"}).set_index("problem_id")
    assert list(kept.index) == sorted(problem.id for problem in problems)
    tokenizer = tiny_backbone.tokenizer
    for problem, text, right in zip(problems, texts, (True, False), strict=True):
        written = tokenizer(text, add_special_tokens=False)["input_ids"]
        (path,) = push_paths(tiny_backbone, steering, [(prompt_ids(problem, tokenizer), written)])
        row = kept.loc[problem.id]
        assert row["correct"] == right
        np.testing.assert_allclose(row["push"], path.push, atol=1e-9)
        np.testing.assert_allclose(row["heads"], path.heads.mean(axis=0).flatten(), atol=1e-9)
        assert row["layers"] * row["heads_each"] == len(row["heads"])
    monkeypatch.setattr(module, "push_paths", lambda *again: pytest.fail("made again"))
    keep_push_paths(*given, {"token": "a"})
    with pytest.raises(pytest.fail.Exception, match="made again"):
        keep_push_paths(*given, {"token": "another"})


def test_means_by_tenth_and_by_head():
    path = PushPath(np.r_[np.zeros(10), np.full(10, 0.2)], np.arange(20.0), np.zeros(0))
    rows = [
        {"problem_id": str(n), "arm": arm, "correct": n > 0, "push": path.push * scale, "instability": path.instability}
        | {"heads": [scale, 2.0, 3.0, 4.0, 5.0, 6.0 + n], "layers": 2, "heads_each": 3}
        for arm, scale in (("lrs", 1.0), ("lrs_causal", 0.5))
        for n in range(3)
    ]
    means = push_means(pd.DataFrame(rows), STATISTICS).set_index(["quantity", "line", "place"])["mean"]
    assert means["gate"]["lrs"].tolist() == [0.0] * 5 + [1.0] * 5
    assert means["push"]["lrs_causal"].tolist() == pytest.approx([0.0] * 5 + [0.1] * 5)
    assert means["instability"]["right"].tolist() == [0.5 + 2 * place for place in range(10)]
    assert set(means.index.get_level_values("line")) == {"right", "wrong", "lrs", "lrs_causal"}
    short = [row | {"push": row["push"][:9], "instability": row["instability"][:9]} for row in rows]
    assert push_means(pd.DataFrame(short), STATISTICS).empty  # no trace has tenths
    heads = head_means(pd.DataFrame(rows), layer=3).set_index(["arm", "layer", "head"])
    assert heads.loc[("lrs_causal", 4, 0), "change"] == 0.5
    assert heads.loc[("lrs", 5, 2), "change"] == 7.0
    assert set(heads["n"]) == {3}


def test_early_against_late_instability_by_hand():
    rows = [
        {"arm": arm, "correct": n % 2 == 0, "instability": [1.0, 1.0, 2.0 + (n % 2), 2.0 + (n % 2)]}
        for arm in ("lrs", "lrs_causal")
        for n in range(6)
    ]
    table = instability_halves(pd.DataFrame(rows), STATISTICS).set_index("half")
    assert table.loc["second", ["right", "wrong", "difference", "low", "high"]].tolist() == [2.0, 3.0, 1.0, 1.0, 1.0]
    assert table.loc["first", "difference"] == 0
    assert (table[["n_right", "n_wrong"]] == 3).all(axis=None)  # of one arm's reading: base's traces are the same
    short = pd.DataFrame([*rows, {"arm": "lrs", "correct": False, "instability": [9.0]}])  # has no halves
    pd.testing.assert_frame_equal(instability_halves(short, STATISTICS).set_index("half"), table)
    alone = instability_halves(pd.DataFrame(rows).query("correct"), STATISTICS)
    assert alone["difference"].isna().all()
    assert alone["n_wrong"].tolist() == [0, 0]
