"""The study of latents: its columns speak of the same latents, and its numbers are those of the parts by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import LATENTS, LinearDictionary, tiny_reward
from datasets import Dataset

from lrs.experiment import latent_study
from lrs.experiment.cases import extremes
from lrs.experiment.latent_study import study
from lrs.learning.influence import ablation_effects, injected, logit_attribution
from lrs.learning.latents import encode_traces
from lrs.models.activations import pairs_of, replay_traces
from lrs.tasks.behaviors import VERIFICATION

LAYER = 1
TEXTS = (
    "<think> b 3 + 4 = 7 . check 7 - 4 = 3 ok . </think> answer 7",
    "<think> b 2 + 4 = 6 . </think> answer 6",
    "<think> b 5 + 1 = 7 . check 7 - 1 = 6 ok . </think> answer 7",
)
GOAL = "check 7 - 1 = 6 ok . goal 3 + 4 : b 3 + 4 = 7 . </think> answer 7"


def test_what_is_told_of_each_latent_is_told_of_that_one(tiny_backbone, drawn_problems):
    tokenizer, problems, dictionary = tiny_backbone.tokenizer, drawn_problems["chain_sum"][:3], LinearDictionary()
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    names = [problem.id for problem in problems]
    rows = {"problem_id": names, "seed": [0] * 3, "correct": [True, True, False], "token_ids": ids}
    traces = Dataset.from_dict(rows)
    activations = replay_traces(tiny_backbone, LAYER, traces, problems, 8)
    latents = encode_traces(dictionary, activations, traces)
    paper, causal = tiny_reward("token"), tiny_reward("token", seed=1)
    told: list[int] = []
    found = study(tiny_backbone, dictionary, latents, traces, problems, (paper, causal), LAYER, 0, told.append)
    assert told == [1] * 3 * LATENTS

    table, tokens = found.latents, torch.cat([dictionary.encode(states) for states in activations])
    assert table["latent"].tolist() == list(range(LATENTS))
    assert table["density"].tolist() == pytest.approx((tokens > 0).double().mean(dim=0).tolist())
    np.testing.assert_allclose(table["pushed"], causal.direction(tokens).mean(dim=0).detach(), atol=1e-5)
    whole = (paper(tokens[:, None]) - paper(torch.zeros_like(tokens)[:, None])).sum().item()
    shared = sum(
        share * active for share, active in zip(table["shapley"], (tokens > 0).sum(dim=0).tolist(), strict=True)
    )
    assert shared == pytest.approx(whole, abs=1e-3)
    spread = causal.direction(tokens).detach().std(dim=0) / len(tokens) ** 0.5
    np.testing.assert_allclose(table["pushed_se"], spread, atol=1e-5)
    assert (table["shapley_se"].dropna() >= 0).all()

    attribution = logit_attribution(tiny_backbone, dictionary)
    assert table["promotes"].tolist() == tokenizer.convert_ids_to_tokens(attribution.argmax(dim=1).tolist())
    assert table["demotes"].tolist() == tokenizer.convert_ids_to_tokens(attribution.argmin(dim=1).tolist())
    pairs = pairs_of(tiny_backbone, traces, problems)
    effects = ablation_effects(tiny_backbone, LAYER, dictionary, pairs, range(LATENTS)).set_index("latent")
    assert table.loc[table["kl"].notna(), "latent"].tolist() == effects.index.tolist()
    np.testing.assert_allclose(table.set_index("latent").loc[effects.index, "kl"], effects["kl"], rtol=1e-6)

    shown, encoded = table[table["word"].notna()], [dictionary.encode(states) for states in activations]
    assert len(shown) > 10
    assert set(shown["latent"]) == set(table.query("density > 0")["latent"])
    assert table.loc[table["word"].isna(), ["genuine", "put_in", "n_put_in"]].isna().all(axis=None)
    order = np.random.default_rng(0).choice(3, 3, replace=False)  # as the study draws its traces
    for row in shown.itertuples():
        fired = {(n, place): float(at[row.latent]) for n in range(3) for place, at in enumerate(encoded[n])}
        trace, place = max(fired, key=fired.get)
        token = ids[trace][place]
        assert row.word == tokenizer.convert_ids_to_tokens(token)
        parts = injected(tiny_backbone, LAYER, dictionary, [pairs[n] for n in order], token)
        written, put_in = (part[:, row.latent] for part in parts)
        assert (row.genuine, row.put_in) == pytest.approx((float(written.mean()), float(put_in.mean())))
        assert (row.n_genuine, row.n_put_in) == (len(written), len(put_in))

    checks = found.words.set_index("behavior").loc[VERIFICATION]
    assert isinstance(found.words, pd.DataFrame)
    assert (checks["word"], checks["n_genuine"]) == ("check", 2)
    places = [ids[n].index(tokenizer.convert_tokens_to_ids("check")) for n in (0, 2)]
    here = [dictionary.encode(activations[n])[place, checks["latent"]] for n, place in zip((0, 2), places, strict=True)]
    assert checks["genuine"] == pytest.approx(float(sum(here) / 2))
    assert checks["genuine_se"] == pytest.approx(float(abs(here[0] - here[1])) / 2, abs=1e-6)


def test_of_a_large_dictionary_only_the_extremes_are_taken_out_and_added(tiny_backbone, drawn_problems, monkeypatch):
    """Each takes two passes of the model, and there may be tens of thousands."""
    monkeypatch.setattr(latent_study, "_STUDIED", 2)
    dictionary, problems = LinearDictionary(), drawn_problems["chain_sum"][:3]
    ids = [tiny_backbone.tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    rows = {"problem_id": [one.id for one in problems], "seed": [0] * 3, "correct": [True, True, False]}
    traces = Dataset.from_dict(rows | {"token_ids": ids})
    latents = encode_traces(dictionary, replay_traces(tiny_backbone, LAYER, traces, problems, 8), traces)
    rewards = tiny_reward("token"), tiny_reward("token", seed=1)
    table = study(tiny_backbone, dictionary, latents, traces, problems, rewards, LAYER, seed=0).latents
    assert set(table.loc[table["score"].notna(), "latent"]) == set(extremes(table, 2)["latent"])


def test_what_is_told_of_behaviors_is_read_in_the_language_of_the_benchmark(tiny_backbone, drawn_problems):
    """A goal is one in the test-bed's own language alone."""
    dictionary, rewards = LinearDictionary(), (tiny_reward("token"), tiny_reward("token", seed=1))
    ids = [tiny_backbone.tokenizer(GOAL, add_special_tokens=False)["input_ids"]] * 2
    told = {}
    for benchmark in ("chain_sum", "math_500"):
        problems = [replace(one, benchmark=benchmark) for one in drawn_problems["chain_sum"][:2]]
        rows = {"problem_id": [one.id for one in problems], "seed": [0] * 2, "correct": [True, False]}
        traces = Dataset.from_dict(rows | {"token_ids": ids})
        latents = encode_traces(dictionary, replay_traces(tiny_backbone, LAYER, traces, problems, 8), traces)
        found = study(tiny_backbone, dictionary, latents, traces, problems, rewards, LAYER, seed=0)
        told[benchmark] = list(found.words["behavior"])
        assert found.latents["in_verification"].abs().max() > 0
    assert told == {"chain_sum": ["verification", "subgoal_setting"], "math_500": ["verification"]}
