"""What latents mean: each number against one by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import LATENTS, LinearDictionary, sparse_traces, tiny_reward
from transformers import GPT2Config, GPT2LMHeadModel

from lrs.learning.influence import (
    ablation_effects,
    injected,
    logit_attribution,
    output_scores,
    shapley_values,
)
from lrs.learning.meaning import as_matrix, behavior_of_tokens, latent_facts, opening_tokens, top_contexts
from lrs.models.activations import replay
from lrs.reasoners.tokenizer import build_tokenizer
from lrs.tasks.behaviors import BACKTRACKING, SUBGOAL_SETTING, VERIFICATION
from lrs.tasks.labeller import finder_for

LAYER = 1


def toy_latents():
    generator = torch.Generator().manual_seed(0)
    dense = [
        torch.rand(n, 4, generator=generator) * (torch.rand(n, 4, generator=generator) > 0.5) for n in (5, 3, 6, 4)
    ]
    return sparse_traces(dense, [True, False, True, False], ["a", "a", "b", "b"]), dense


@pytest.fixture
def latents():
    return toy_latents()


@pytest.fixture
def pairs(prompts):
    generator = torch.Generator().manual_seed(3)
    return [(prompt, torch.randint(5, 40, (9,), generator=generator).tolist()) for prompt in prompts[:5]]


def test_tokens_are_in_the_span_that_covers_them():
    tokenizer = build_tokenizer()
    ids = tokenizer("<think> goal 3 + 4 : b 3 + 4 = 7 . check 7 - 4 = 3 ok . back to 3 . </think> answer 7")[
        "input_ids"
    ]
    words = tokenizer.convert_ids_to_tokens(ids)
    told = dict(zip(words, behavior_of_tokens(ids, tokenizer).inside, strict=True))
    assert told["goal"] == SUBGOAL_SETTING
    assert told["ok"] == VERIFICATION
    assert told["to"] == BACKTRACKING
    assert told["answer"] is None
    assert told["b"] is None
    twice = tokenizer("<think> check 1 + 1 = 2 ok . check 2 + 1 = 3 ok . </think>")["input_ids"]
    opens = behavior_of_tokens(twice, tokenizer).opens
    words = tokenizer.convert_ids_to_tokens(twice)
    assert [word for word, behavior in zip(words, opens, strict=True) if behavior == VERIFICATION] == ["check", "check"]


def test_answers_in_english_are_read_as_english():
    tokenizer = build_tokenizer()
    ids = tokenizer("check 7 - 4 = 3 ok . back to 3 .")["input_ids"]
    english = behavior_of_tokens(ids, tokenizer, finder_for("math_500"))
    assert set(english.inside) == {VERIFICATION, None}  # of the two words, English knows one
    assert set(behavior_of_tokens(ids, tokenizer).inside) == {VERIFICATION, BACKTRACKING}


def test_a_behavior_opens_with_the_word_that_its_spans_begin_with_most_often():
    opens = [[None, VERIFICATION, None, BACKTRACKING], [VERIFICATION, VERIFICATION, None]]
    assert opening_tokens([[1, 7, 8, 9], [7, 3, 5]], opens) == {VERIFICATION: 7, BACKTRACKING: 9}


def test_facts_by_hand(latents):
    given, dense = latents
    behaviors = [[VERIFICATION if place % 2 else None for place in range(len(trace))] for trace in dense]
    facts = latent_facts(given, behaviors)
    every = torch.cat(dense).numpy()
    assert np.allclose(as_matrix(given).todense(), every)
    assert facts["density"].tolist() == pytest.approx((every > 0).mean(axis=0).tolist())
    told = np.concatenate([[place % 2 for place in range(len(trace))] for trace in dense])
    for latent in range(4):
        expected = np.corrcoef(every[:, latent] > 0, told)[0, 1]
        assert facts[f"in_{VERIFICATION}"][latent] == pytest.approx(expected)
        means = np.array([trace[:, latent].mean() for trace in dense])
        centred = means - np.repeat([means[:2].mean(), means[2:].mean()], 2)
        assert facts["correct_within"][latent] == pytest.approx(np.corrcoef(centred, [1, 0, 1, 0])[0, 1], abs=1e-5)
        lengths = [len(trace) for trace in dense]
        assert facts["with_length"][latent] == pytest.approx(np.corrcoef(means, lengths)[0, 1], abs=1e-5)
    assert (facts[f"in_{BACKTRACKING}"] == 0).all()


def test_contexts_are_the_strongest_of_each_trace(latents):
    given, dense = latents
    for latent in range(4):
        found = top_contexts(given, latent, 3)
        strongest = {
            trace: float(rows[:, latent].max()) for trace, rows in enumerate(dense) if rows[:, latent].max() > 0
        }
        wanted = sorted(strongest.values(), reverse=True)[:3]
        assert [context.value for context in found] == pytest.approx(wanted)
        for context in found:
            assert float(dense[context.trace][context.position, latent]) == pytest.approx(context.value)


@pytest.mark.parametrize("kind", ["rms", "layer"])
def test_attribution_is_the_slope_of_the_logits_past_the_layers_above(tiny_backbone, kind):
    """Of a push behind the last layer, up to a factor a token and what the norm takes away along the stream."""
    dictionary, backbone = LinearDictionary(), tiny_backbone
    if kind == "layer":
        torch.manual_seed(0)
        sizes = {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "initializer_range": 0.3}
        model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=None, eos_token_id=2)).double().eval()
        torch.nn.init.normal_(model.transformer.ln_f.weight, mean=1.0, std=0.3)
        backbone = replace(tiny_backbone, model=model)
    found = logit_attribution(backbone, dictionary)
    inner = backbone.model.base_model
    norm = inner.norm if kind == "rms" else inner.ln_f
    unembedding = backbone.model.get_output_embeddings().weight
    stream = torch.randn(16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    slope = torch.autograd.functional.jvp(lambda here: unembedding @ norm(here), stream, dictionary.W_dec[2])[1]
    centred = stream - stream.mean() if kind == "layer" else stream
    rest = unembedding @ (centred * norm.weight)
    basis = torch.stack([found[2], rest], dim=1)
    solved = torch.linalg.lstsq(basis, slope[:, None]).solution
    assert torch.allclose((basis @ solved)[:, 0], slope, atol=1e-5)  # an RMSNorm reckons in float32
    assert solved[0] > 0


def test_without_a_latent_the_model_says_what_it_says_without_it(tiny_backbone, pairs):
    dictionary = LinearDictionary()
    effects = ablation_effects(tiny_backbone, LAYER, dictionary, pairs, range(LATENTS)).set_index("latent")
    activations = dict(replay(tiny_backbone.model, LAYER, pairs, 8, 0))
    fires = sum(int((dictionary.encode(activations[row])[:, 2] > 0).sum()) for row in range(len(pairs)))
    assert effects["n"][2] == fires
    assert (effects["kl"] > 0).all()
    with_any = [row for row in range(len(pairs)) if (dictionary.encode(activations[row])[:, 2] > 0).any()]
    one, few = pairs[with_any[0]], ablation_effects(tiny_backbone, LAYER, dictionary, pairs, [2], most=1)
    alone = ablation_effects(tiny_backbone, LAYER, dictionary, [one], [2]).set_index("latent").loc[2]
    assert few.set_index("latent").loc[2, ["n", "kl"]].tolist() == pytest.approx(alone[["n", "kl"]].tolist())
    dictionary.W_dec[2] = 0
    nothing = ablation_effects(tiny_backbone, LAYER, dictionary, pairs, range(LATENTS)).set_index("latent")
    assert nothing["kl"][2] == pytest.approx(0, abs=1e-12)
    dictionary.encode = lambda hidden: torch.zeros(len(hidden), LATENTS, dtype=hidden.dtype)
    assert ablation_effects(tiny_backbone, LAYER, dictionary, pairs, range(LATENTS)).empty


def test_a_word_is_read_where_it_was_written_and_where_it_was_put(tiny_backbone, pairs):
    dictionary, word = LinearDictionary(), pairs[0][1][3]
    genuine, put_in = injected(tiny_backbone, LAYER, dictionary, pairs, word)
    assert len(genuine) == sum(word in ids[:-1] for _, ids in pairs)
    assert len(put_in) == len(pairs)
    ids = pairs[0][1]
    (place,) = [place for place, token in enumerate(ids) if token == word]
    activations = dict(replay(tiny_backbone.model, LAYER, [pairs[0]], 1, 0))
    assert torch.allclose(genuine[0], dictionary.encode(activations[0])[place])
    nowhere, _ = injected(tiny_backbone, LAYER, dictionary, pairs, 99)
    assert nowhere.shape == (0, LATENTS)


def test_an_added_latent_says_what_it_promotes_the_more_the_stronger(tiny_backbone, pairs):
    dictionary = LinearDictionary()
    weak, strong = (
        output_scores(tiny_backbone, 2, dictionary, pairs, range(LATENTS), [strength] * LATENTS)
        for strength in (0.0, 50.0)
    )
    assert weak["score"].tolist() == pytest.approx(weak["score_without"].tolist())
    assert (strong["score"] > strong["score_without"]).all()
    assert strong["token"].tolist() == logit_attribution(tiny_backbone, dictionary).argmax(dim=1).tolist()


def test_shapley_values_share_out_the_reward(latents):
    reward = tiny_reward("token").float()
    tokens = torch.rand(3, LATENTS, generator=torch.Generator().manual_seed(0))
    tokens[:, ::2] = 0
    values = shapley_values(reward, tokens)
    whole = reward(tokens[:, None])[:, 0] - reward(torch.zeros_like(tokens)[:, None])[:, 0]
    assert torch.allclose(values.sum(dim=1), whole, atol=1e-4)
    assert (values[:, ::2] == 0).all()
    linear = tiny_reward("linear").float()
    assert torch.allclose(shapley_values(linear, tokens, orders=1), tokens * linear.head.weight, atol=1e-5)
