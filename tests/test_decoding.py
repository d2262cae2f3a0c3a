from dataclasses import replace
from typing import get_args

import conftest
import numpy as np
import pytest
import tape
import torch
from conftest import VOCABULARY, tiny_llama, tiny_model, tiny_steering
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import naive_generate
from scipy.stats import kstest
from transformers import MistralConfig, MistralForCausalLM

from lrs.engine import decoding
from lrs.engine.batch import Batch
from lrs.engine.decoding import generate
from lrs.engine.graphs import cuda_recorder
from lrs.engine.policy import Policy
from lrs.engine.requests import Request
from lrs.engine.sampling import choose_tokens, gate_lots, uniforms
from lrs.method.gate import NEVER, Gate
from lrs.method.setting import Signal

BUDGET = 24
ENDS = [2, 7]
MANY = {"max_new_tokens": 10, "end_ids": [7]}
POLICIES = {
    "cpu": Policy(selects_rows=True),
    "accelerator": Policy(width_multiple=8, recorder=lambda device: tape.record),
    "gpu": Policy(width_multiple=8, recorder=cuda_recorder),
}


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(
    params=["cpu", "accelerator", pytest.param("gpu", marks=[pytest.mark.gpu, needs_gpu])], autouse=True, scope="module"
)
def way(request):
    """Every test runs all ways: on gated rows alone, as on a CPU; on whole batches and, after the first
    steps of a shape, from a recording of its tensor operations, as on a GPU; and, with `-m gpu`, on one."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "gpu":
            patch.setattr(conftest, "DEVICE", "cuda")
        yield request.param


@pytest.fixture(scope="module")
def policy(way):
    return POLICIES[way]


@pytest.fixture(scope="module")
def run(policy):
    """`generate` in that way."""

    def run(model, requests, batch_size=4, steering=None, ends=ENDS, workers=1, **options):
        asked = {"max_new_tokens": BUDGET, "policy": replace(policy, workers=workers)} | options
        return generate(model, requests, batch_size=batch_size, end_ids=ends, steering=steering, **asked)

    return run


def requests_for(prompts, sampled=False):
    return [Request(prompt, f"problem-{i}", seed=1, temperature=1.3 * sampled) for i, prompt in enumerate(prompts)]


def mixed(prompts):
    """Every other one sampled."""
    both = zip(requests_for(prompts), requests_for(prompts, sampled=True), strict=True)
    return [pair[i % 2] for i, pair in enumerate(both)]


def admitted(prompts):
    """Requests that are admitted in this order, if the prompts are of one length: the last one first."""
    return requests_for(prompts[::-1])


def run_with_logits(model, requests, **asked):
    """Generations, and for each the float64 logits, (tokens, vocabulary), that its tokens were chosen from."""
    seen = [[] for _ in requests]
    append = Batch.append

    def watched(batch, logits, rows):
        for row, of_row in zip(rows.tolist(), logits, strict=True):
            if batch.numbers[row] is not None:
                seen[batch.numbers[row]].append(of_row)
        return append(batch, logits, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batch, "append", watched)
        watchable = replace(asked.pop("policy"), recorder=None)  # a replay would not be watched
        written = generate(model, requests, policy=watchable, **asked)
    return written, [torch.stack(of[: len(g.token_ids)]) for of, g in zip(seen, written, strict=True)]


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2"])
def test_greedy_equals_transformers_generate(run, architecture, prompts):
    model = tiny_model(architecture)
    for prompt, ours in zip(prompts, run(model, requests_for(prompts)), strict=True):
        theirs = model.generate(
            torch.tensor([prompt], device=model.device),
            max_new_tokens=BUDGET,
            do_sample=False,
            eos_token_id=ENDS,
            pad_token_id=0,
        )
        assert theirs[0, len(prompt) :].tolist() == ours.token_ids


SOMETIMES = {"certainty": 0.08, "stability": 0.06, "lot": 0.4}  # thresholds that some tokens of a tiny model are below


@pytest.mark.parametrize("signal", SOMETIMES)
def test_what_else_a_gate_reads_is_the_rows_own(run, model, prompts, signal):
    requests, steering = mixed(prompts), tiny_steering("token", Gate(0.0, SOMETIMES[signal], signal))
    alone = run(model, requests, batch_size=1, steering=steering)
    fired = [generation.steering.steered_tokens for generation in alone]
    assert 0 < sum(fired) < sum(len(generation.token_ids) - 1 for generation in alone)
    for others in (
        run(model, requests, batch_size=3, steering=steering),
        run(model, requests[::-1], batch_size=5, steering=steering)[::-1],
    ):
        assert [generation.token_ids for generation in others] == [generation.token_ids for generation in alone]
        assert [generation.steering.steered_tokens for generation in others] == fired


@pytest.mark.parametrize("variant", [None, "token", "history", "published", "free"])
def test_batch_size_order_row_replacement_and_workers_do_not_matter(run, way, model, prompts, variant):
    requests = mixed(prompts)
    steering = tiny_steering(variant) if variant else None
    alone = run(model, requests, batch_size=1, steering=steering)
    replaced = run(model, requests, batch_size=3, steering=steering)
    together = run(model, requests, batch_size=len(requests), steering=steering)
    shuffled = run(model, requests[::-1], batch_size=4, steering=steering)[::-1]
    finished = []
    workers = 1 if way == "gpu" else 2  # a copied process cannot use a GPU
    shared_out = run(model, requests, batch_size=5, steering=steering, workers=workers, on_finished=finished.append)
    assert sum(finished) == len(requests)
    for expected, *others in zip(alone, replaced, together, shuffled, shared_out, strict=True):
        for other in others:
            assert other.token_ids == expected.token_ids
            assert other.finish_reason == expected.finish_reason
            assert np.allclose(other.confidence, expected.confidence, atol=1e-6)  # confidences are kept in float32
            if steering:
                assert other.steering.steered_tokens == expected.steering.steered_tokens
                np.testing.assert_allclose(other.steering.reward_before, expected.steering.reward_before, atol=1e-9)
                np.testing.assert_allclose(other.steering.push_ratio, expected.steering.push_ratio, atol=1e-9)


@pytest.fixture(scope="module")
def early_and_late(policy):
    """Prompts of 4 tokens that `MANY` answers within 8 tokens, and others that it does not answer."""
    prompts = torch.randint(3, VOCABULARY, (200, 4), generator=torch.Generator().manual_seed(2)).tolist()
    pairs = list(
        zip(prompts, generate(tiny_llama(), requests_for(prompts), batch_size=64, policy=policy, **MANY), strict=True)
    )
    late = [prompt for prompt, generation in pairs if generation.finish_reason == "truncated"]
    return [prompt for prompt, generation in pairs if len(generation.token_ids) <= 8], late


@pytest.mark.parametrize("variant", [None, "token", "history"])
def test_many_rows_equal_one_row(policy, model, early_and_late, variant):
    """Of 24 rows two are refilled at once; one ends early again, and the other, later than the rest, waits alone."""
    early, late = early_and_late
    asked = MANY | {
        "policy": policy,
        "steering": tiny_steering(variant, Gate(0.5, 0.0), step_size=0.01) if variant else None,
    }
    finished = []
    requests = admitted([*early[:2], *late[:22], early[2], *late[22:52]])
    many, logits = run_with_logits(model, requests, batch_size=24, on_finished=finished.append, **asked)
    one, expected = run_with_logits(model, requests, batch_size=1, **asked)
    assert finished[:4] == [2, 23, 1, 23]
    assert [g.token_ids for g in many] == [g.token_ids for g in one]
    assert all(torch.allclose(a, b, atol=1e-9, rtol=0) for a, b in zip(logits, expected, strict=True))
    if variant:
        assert sum(g.steering.steered_tokens for g in many) > 0
        assert [g.steering.steered_tokens for g in many] == [g.steering.steered_tokens for g in one]


def test_on_a_gpu_most_tokens_are_replayed(policy, model, prompts, way, monkeypatch):
    steps, step = [], decoding._decode_token
    monkeypatch.setattr(decoding, "_decode_token", lambda *state: steps.append(1) or step(*state))
    generate(
        model,
        requests_for(prompts[:4]),
        max_new_tokens=64,
        batch_size=4,
        end_ids=[VOCABULARY],
        steering=tiny_steering(),
        policy=policy,
    )
    widths = (max(map(len, prompts[:4])) + 64) // 8 + 1
    assert len(steps) == 64 if way == "cpu" else len(steps) <= 2 * widths < 32


def test_a_row_that_waits_long_does_not_outgrow_the_cache(policy, model, early_and_late):
    """The last of 24 rows ends early and waits for company; then 19 prompts are left for 24 free rows."""
    early, late = early_and_late
    finished, requests = [], admitted([*late[:23], early[0], *late[23:42]])
    many = generate(model, requests, batch_size=24, on_finished=finished.append, policy=policy, **MANY)
    assert finished == [1, 23, 0, 19]
    assert [g.finish_reason for g in many].count("truncated") == 42


@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    batch_size=st.integers(1, 5),
    variant=st.sampled_from(["token", "history", "published", "potential"]),
    reward_threshold=st.floats(0.2, 0.8),
    confidence_threshold=st.floats(0.0, 0.6),
    num_steps=st.integers(1, 3),
    signal=st.sampled_from(get_args(Signal)),
    ends=st.lists(st.integers(0, VOCABULARY), min_size=1, max_size=4),
)
@settings(max_examples=15)
def test_steered_equals_the_oracle(
    run, seed, sizes, batch_size, variant, reward_threshold, confidence_threshold, num_steps, signal, ends
):
    model, often = tiny_llama(seed), 1 if signal in ("confidence", "lot") else 0.2
    steering = tiny_steering(variant, Gate(reward_threshold, confidence_threshold * often, signal), num_steps)
    generator = torch.Generator().manual_seed(seed)
    prompts = [torch.randint(3, VOCABULARY, (size,), generator=generator).tolist() for size in sizes]
    requests = requests_for(prompts)
    for request, ours in zip(requests, run(model, requests, batch_size, steering, ends), strict=True):
        lots = gate_lots(request.problem_id, request.seed, BUDGET)
        naive = naive_generate(model, request.prompt, ends, BUDGET, steering, lots)
        assert ours.token_ids == naive.token_ids
        assert ours.steering.steered_tokens == sum(naive.steered)
        assert len(naive.steered) == len(ours.token_ids) - 1  # each processed token is gated exactly once
        fired = [reward for reward, steered in zip(naive.rewards, naive.steered, strict=True) if steered]
        if fired:
            assert ours.steering.reward_before == pytest.approx(np.mean(fired), abs=1e-9)


def test_steering_changes_something(run, model, prompts):
    base, steered = run(model, requests_for(prompts)), run(model, requests_for(prompts), steering=tiny_steering())
    assert any(a.token_ids != b.token_ids for a, b in zip(base, steered, strict=True))


@pytest.mark.parametrize("variant", ["token", "history"])
@pytest.mark.parametrize("how", ["alpha 0", "closed gate"])
def test_no_push_is_bit_identical_to_unsteered(run, model, prompts, variant, how):
    steering = tiny_steering(variant, step_size=0.0) if how == "alpha 0" else tiny_steering(variant, NEVER)
    base = run(model, requests_for(prompts))
    same = run(model, requests_for(prompts), steering=steering)
    for expected, got in zip(base, same, strict=True):
        assert got.token_ids == expected.token_ids
        assert got.confidence == expected.confidence


def test_sampling_is_keyed_by_problem_seed_and_position(run, model, prompts):
    first = run(model, requests_for(prompts, sampled=True))
    again = run(model, requests_for(prompts, sampled=True)[:3])
    assert [g.token_ids for g in again] == [g.token_ids for g in first[:3]]
    other_seed = [
        Request(r.prompt, r.problem_id, seed=2, temperature=r.temperature) for r in requests_for(prompts, True)
    ]
    assert [g.token_ids for g in run(model, other_seed)] != [g.token_ids for g in first]
    assert np.array_equal(uniforms("a", 1, 5), uniforms("a", 1, 9)[:5])
    assert kstest(uniforms("a", 1, 2000), "uniform").pvalue > 1e-3


@given(st.integers(0, 1000), st.floats(0.3, 2.0))
@settings(max_examples=30)
def test_choose_is_the_inverse_cdf_in_vocabulary_order(seed, temperature):
    rng = np.random.default_rng(seed)
    logits, uniform = rng.normal(size=9) * 3, rng.random()
    weights = np.exp(logits / temperature)
    running, expected = 0.0, None
    for token, weight in enumerate(weights):
        running += weight / weights.sum()
        if expected is None and uniform < running:
            expected = token
    mode = torch.tensor([int(logits.argmax())])
    given = torch.tensor(logits)[None], torch.tensor([temperature, 0.0]).double(), torch.tensor([uniform]).double()
    got = choose_tokens(given[0], given[1][:1], given[2], mode)
    assert got.item() == expected
    greedy = choose_tokens(given[0], given[1][1:], given[2], mode)
    assert greedy.item() == mode.item()


def test_finish_reasons_and_confidence(run, model, prompts):
    for generation in run(model, requests_for(prompts)):
        answered = generation.token_ids[-1] in ENDS
        assert generation.finish_reason == ("answered" if answered else "truncated")
        assert answered or len(generation.token_ids) == BUDGET
        assert not set(generation.token_ids[:-1]) & set(ENDS)
        assert len(generation.confidence) == len(generation.token_ids)
        assert all(0 < value <= 1 for value in generation.confidence)


def test_refuses_what_it_cannot_decode(run, model):
    with pytest.raises(ValueError, match="a prompt is empty"):
        run(model, [Request([])])
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = MistralConfig(vocab_size=VOCABULARY, **sizes, num_key_value_heads=1, sliding_window=4)
    config.layer_types = ["sliding_attention", "sliding_attention"]
    with pytest.raises(ValueError, match="full attention only"):
        run(MistralForCausalLM(config).double().eval(), [Request([3, 4])])


@pytest.mark.parametrize("variant", [None, "history"])
def test_out_of_memory_halves_the_batch_and_goes_on(run, model, prompts, variant, capsys):
    requests, steering = requests_for(prompts, sampled=True), tiny_steering(variant) if variant else None
    expected = run(model, requests, batch_size=1, steering=steering)
    asked, finished = [], []

    def room_for_two(_, given, named):
        rows = named["input_ids"].shape[0]
        asked.append(rows)
        if rows > 2 and len(asked) > 3:  # some have been written by then
            raise torch.OutOfMemoryError("no room")

    small = tiny_llama()  # what a model was found to hold is remembered
    small.register_forward_pre_hook(room_for_two, with_kwargs=True)
    told = {"steering": steering, "on_finished": finished.append}
    written = run(small, requests, batch_size=6, **told)
    assert [generation.token_ids for generation in written] == [generation.token_ids for generation in expected]
    assert sum(finished) == len(requests)  # none is written twice
    heard = capsys.readouterr().err.splitlines()
    assert heard == [
        "writing: out of memory with 6 rows side by side; going on with 3",
        "writing: out of memory with 3 rows side by side; going on with 1",
    ]
    run(small, requests, batch_size=6, **told)
    assert capsys.readouterr().err == ""
    small.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("none at all")))
    with pytest.raises(torch.OutOfMemoryError, match="none at all"):
        run(small, requests, batch_size=6)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("variant", ["token", "history"])
@pytest.mark.parametrize("sampled", [False, True])
def test_a_gpu_writes_what_a_cpu_does(run, way, prompts, variant, sampled, monkeypatch):
    """On the CPU the engine equals the oracle; in float64 a GPU must give the same tokens and rewards."""
    if way != "gpu":
        pytest.skip("the way does not matter")
    requests, written = requests_for(prompts, sampled), {}
    for device, policy in (("cpu", POLICIES["cpu"]), ("cuda", POLICIES["gpu"])):
        monkeypatch.setattr(conftest, "DEVICE", device)
        written[device] = run(tiny_llama(), requests, steering=tiny_steering(variant), policy=policy)
    for got, want in zip(written["cuda"], written["cpu"], strict=True):
        assert got.token_ids == want.token_ids
        assert got.steering.steered_tokens == want.steering.steered_tokens
        np.testing.assert_allclose(got.steering.reward_after, want.steering.reward_after, atol=1e-9)
