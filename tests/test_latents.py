import numpy as np
import pytest
import torch
from conftest import LATENTS, WIDTH, LinearDictionary, sparse_traces
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from lrs.learning.latents import encode_traces, load_latents, save_latents
from lrs.models.activations import replay_traces

lengths_of_traces = st.lists(st.integers(1, 6), min_size=1, max_size=7)


def activations_of(lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, WIDTH, generator=generator, dtype=torch.float64) for length in lengths]


def rows_of(lengths):
    traces = range(len(lengths))
    return Dataset.from_list([{"problem_id": f"p{i // 2}", "seed": i % 2, "correct": i % 3 == 0} for i in traces])


@given(lengths_of_traces, st.integers(0, 99))
@settings(max_examples=25)
def test_encoding_traces_equals_encoding_each_activation(lengths, seed):
    dictionary, activations = LinearDictionary(), activations_of(lengths, seed)
    latents = encode_traces(dictionary, activations, rows_of(lengths))
    assert latents.lengths.tolist() == lengths
    chosen = list(range(len(lengths)))[::-1]
    dense, mask = latents.dense(chosen)
    assert dense.shape == (len(lengths), max(lengths), LATENTS)
    for row, trace in enumerate(chosen):
        assert mask[row].tolist() == [token < lengths[trace] for token in range(max(lengths))]
        assert not dense[row, lengths[trace] :].any()
        for token in range(lengths[trace]):
            expected = dictionary.encode(activations[trace][token]).float()
            assert torch.equal(dense[row, token], expected)
            assert (expected == 0).any()  # or sparse storage is not tested
    assert latents.correct.tolist() == [i % 3 == 0 for i in range(len(lengths))]


@pytest.mark.parametrize("lengths", [[3, 1, 5], [2, 0, 4], [1]])
def test_round_trip(tmp_path, lengths):
    latents = encode_traces(LinearDictionary(), activations_of(lengths), rows_of(lengths))
    save_latents(latents, tmp_path)
    loaded = load_latents(tmp_path)
    assert loaded.d_sae == LATENTS
    for field in ("problem_ids", "seeds", "correct", "offsets", "starts", "index", "value"):
        np.testing.assert_array_equal(getattr(loaded, field), getattr(latents, field))
    assert loaded.correct.dtype == bool
    assert loaded.value.dtype == np.float32
    for ours, theirs in zip(loaded.dense(range(len(lengths))), latents.dense(range(len(lengths))), strict=True):
        assert torch.equal(ours, theirs)


def test_a_token_without_active_latents_survives(tmp_path):
    dense = torch.zeros(3, LATENTS)
    dense[1, 4] = 2.0
    latents = sparse_traces([dense, torch.zeros(2, LATENTS)], [True, False], ["a", "b"])
    save_latents(latents, tmp_path)
    loaded = load_latents(tmp_path)
    assert torch.equal(loaded.dense([0])[0][0], dense)
    assert loaded.lengths.tolist() == [3, 2]
    assert not loaded.dense([1])[0].any()


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 9), st.integers(0, 9) | st.none())
@settings(max_examples=40)
def test_batches_cover_every_trace_exactly_once(lengths, batch_size, seed):
    latents = sparse_traces([torch.zeros(n, 2) for n in lengths], [True] * len(lengths), ["p"] * len(lengths))
    traces = np.arange(len(lengths))[::2]
    batches = list(latents.batches(traces, batch_size, None if seed is None else np.random.default_rng(seed)))
    assert sorted(np.concatenate(batches).tolist()) == traces.tolist()
    assert sorted(map(len, batches))[1:] == [batch_size] * (len(batches) - 1)
    if seed is None:
        assert np.diff(latents.lengths[np.concatenate(batches)]).min(initial=0) >= 0
    else:
        assert max(np.ptp(latents.lengths[batch]) for batch in batches) <= np.ptp(latents.lengths[traces])


def test_batches_are_shuffled_anew_by_the_generator():
    latents = sparse_traces([torch.zeros(1 + i % 5, 2) for i in range(40)], [True] * 40, ["p"] * 40)
    rng = np.random.default_rng(0)
    first, second = ([b.tolist() for b in latents.batches(np.arange(40), 8, rng)] for _ in range(2))
    again = [b.tolist() for b in latents.batches(np.arange(40), 8, np.random.default_rng(0))]
    assert first != second
    assert first == again


def test_replayed_traces_come_back_in_the_order_of_the_rows(tiny_backbone, drawn_problems):
    problems = drawn_problems["chain_sum"][:3]
    ids = [tiny_backbone.tokenizer("1 + 2 = 3 . </think>")["input_ids"][:length] for length in (6, 2, 4)]
    traces = Dataset.from_list(
        [{"problem_id": problem.id, "token_ids": tokens} for problem, tokens in zip(problems, ids, strict=True)]
    )
    together = replay_traces(tiny_backbone, 1, traces, problems, batch_size=3)
    for index, recorded in enumerate(together):
        (alone,) = replay_traces(tiny_backbone, 1, traces.select([index]), problems[::-1], batch_size=1)
        assert len(recorded) == len(ids[index]) - 1
        torch.testing.assert_close(recorded, alone, atol=1e-9, rtol=0)
