"""`steer` around `model.generate`: the way other projects use the package."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import LATENTS, VOCABULARY, WIDTH, LinearDictionary, tiny_llama, tiny_model, tiny_reward, tiny_steering
from oracle import naive_generate
from transformers import CompileConfig, GenerationConfig

from lrs.engine.decoding import generate
from lrs.engine.policy import Policy
from lrs.engine.requests import Request
from lrs.engine.rows import Rows
from lrs.engine.steer import steer
from lrs.engine.steerer import Steerer
from lrs.method.gate import ALWAYS, NEVER, Gate

BUDGET = 20
ENDS = [2, 7]


def left_padded(prompts):
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return {"input_ids": ids, "attention_mask": mask}


def write(model, prompts):
    batch = left_padded(prompts)
    output = model.generate(**batch, max_new_tokens=BUDGET, do_sample=False, eos_token_id=ENDS, pad_token_id=0)
    return output[:, batch["input_ids"].shape[1] :].tolist()


def steered(model, variant="token", gate=None, step_size=0.8, num_steps=2):
    parts = tiny_steering(variant, gate)
    return steer(model, parts.layer, parts.dictionary, parts.reward, parts.gate, num_steps, step_size)


def hooks_of(model):
    return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]


@pytest.mark.parametrize("signal", ["certainty", "stability"])
def test_a_gate_may_read_another_signal(model, prompts, signal):
    gate = Gate(0.3, 0.2, signal)
    with steered(model, "token", gate):
        batched = write(model, prompts)
    for prompt, tokens in zip(prompts, batched, strict=True):
        expected = naive_generate(model, prompt, ENDS, BUDGET, tiny_steering("token", gate)).token_ids
        assert tokens[: len(expected)] == expected


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_gate_by_lot_fires_as_often_as_it_says(model, prompts, share, monkeypatch):
    fired, gate = [], Gate.__call__
    monkeypatch.setattr(Gate, "__call__", lambda *read: fired.append(gate(*read)) or fired[-1])
    with steered(model, "token", Gate(0.0, share, "lot"), step_size=1e-9):
        write(model, prompts)
    assert torch.cat(fired).double().mean().item() == pytest.approx(share, abs=0.12 * (0 < share < 1))


@pytest.mark.parametrize("variant", ["token", "history"])
def test_left_padded_generate_equals_the_oracle_and_our_decoding(model, prompts, variant):
    with steered(model, variant):
        batched = write(model, prompts)
    ours = generate(
        model,
        [Request(prompt) for prompt in prompts],
        max_new_tokens=BUDGET,
        batch_size=4,
        end_ids=ENDS,
        steering=tiny_steering(variant),
    )
    for prompt, tokens, generation in zip(prompts, batched, ours, strict=True):
        expected = naive_generate(model, prompt, ENDS, BUDGET, tiny_steering(variant)).token_ids
        assert tokens[: len(expected)] == expected
        assert generation.token_ids == expected


def test_one_context_serves_many_calls(model, prompts):
    with steered(model, "history"):
        first, second = write(model, prompts[:3]), write(model, prompts[:5])
    assert [row[:5] for row in second[:3]] == [row[:5] for row in first]


@pytest.mark.parametrize(("num_steps", "step_size", "gate"), [(2, 0.0, ALWAYS), (0, 0.8, ALWAYS), (2, 0.8, NEVER)])
def test_no_push_is_bit_identical(model, prompts, num_steps, step_size, gate):
    batch = left_padded(prompts)
    asked = {"max_new_tokens": 8, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    plain = model.generate(**batch, **asked, eos_token_id=ENDS, pad_token_id=0)
    with steered(model, gate=gate, step_size=step_size, num_steps=num_steps):
        same = model.generate(**batch, **asked, eos_token_id=ENDS, pad_token_id=0)
    assert all(torch.equal(a, b) for a, b in zip(plain.logits, same.logits, strict=True))


def test_batch_one_equals_left_padded_batch_to_1e9(model, prompts):
    asked = {"max_new_tokens": 6, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    with steered(model, "history"):
        together = model.generate(**left_padded(prompts), **asked, pad_token_id=0, eos_token_id=VOCABULARY + 1)
        for row, prompt in enumerate(prompts):
            alone = model.generate(**left_padded([prompt]), **asked, pad_token_id=0, eos_token_id=VOCABULARY + 1)
            for a, b in zip(alone.logits, together.logits, strict=True):
                assert torch.allclose(a[0], b[row], atol=1e-9, rtol=0)


def test_the_prompt_is_never_steered_and_each_generated_token_is_gated_once(model, monkeypatch):
    gated = []
    push = Steerer.push

    def counted(self, hidden):
        gated.append((len(hidden), self.rows.newest_confidence.tolist()))
        return push(self, hidden)

    monkeypatch.setattr(Steerer, "push", counted)
    plain = model(torch.tensor([[5, 6, 7]])).logits
    at_the_end = model(torch.tensor([[5]])).logits[0, -1].softmax(dim=-1).max().item()
    with steered(model, gate=ALWAYS):
        assert torch.equal(model(torch.tensor([[5, 6, 7]]), use_cache=True).logits, plain)
        assert gated == []
        model.generate(torch.tensor([[5]]), max_new_tokens=5, do_sample=False, eos_token_id=VOCABULARY + 1)
    assert len(gated) == 4  # the fifth token is chosen and never processed
    assert gated[0] == (1, [pytest.approx(at_the_end)])  # the first token's is that of the prompt's last position
    assert all(0 < confidence[0] < 1 for _, confidence in gated)


@pytest.mark.parametrize("fires", [True, False])
def test_confidence_gates_the_token_it_chose(model, fires):
    """With a reward that never fires, exactly the tokens chosen with low confidence are steered, the first one too."""
    prompt, endless = [5], [VOCABULARY + 1]
    first = model(torch.tensor([prompt])).logits[0, -1].softmax(dim=-1).max().item()
    threshold = first * (1.01 if fires else 0.99)
    steering = tiny_steering("token", Gate(reward_threshold=0.0, confidence_threshold=threshold))
    naive = naive_generate(model, prompt, endless, BUDGET, steering)
    ours = generate(model, [Request(prompt)], max_new_tokens=BUDGET, batch_size=1, end_ids=endless, steering=steering)[
        0
    ]
    low = [confidence < threshold for confidence in ours.confidence[:-1]]
    assert naive.steered == low
    assert low[0] == fires
    assert any(low)
    assert not all(low)
    assert ours.steering.steered_tokens == sum(low)
    with steer(model, 1, steering.dictionary, steering.reward, steering.gate, 2, 0.8):
        hooked = model.generate(torch.tensor([prompt]), max_new_tokens=BUDGET, do_sample=False, eos_token_id=endless)
    assert hooked[0, len(prompt) :].tolist() == naive.token_ids == ours.token_ids


@pytest.mark.parametrize("variant", ["token", "history"])
@pytest.mark.parametrize("gate", [ALWAYS, Gate(1.5, 0.0)])  # all rows ascend; those that are gated do
@pytest.mark.parametrize("selecting", [False, True])
def test_rows_that_are_done_are_left_alone_and_not_counted(variant, gate, selecting):
    hidden = torch.randn(3, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    policies = (Policy(selects_rows=True), Policy())
    steerers = [
        Steerer(tiny_steering(variant, gate), Rows.begin(3, hidden.device, hidden.dtype), policy=p) for p in policies
    ]
    every, some = steerers if selecting else steerers[::-1]
    some.rows.done[1] = True
    for _ in range(3):
        expected, pushed = every.push(hidden), some.push(hidden)
        assert torch.equal(pushed[1], hidden[1])
        assert torch.allclose(pushed[[0, 2]], expected[[0, 2]], atol=1e-12, rtol=0)
        assert (pushed[[0, 2]] != hidden[[0, 2]]).any(dim=1).all()
    assert [record.steered_tokens for record in some.records()] == [3, 0, 3]
    assert some.records()[0].reward_after == pytest.approx(every.records()[0].reward_after, abs=1e-12)


@pytest.mark.parametrize("fail", [False, True])
def test_hooks_are_gone_afterwards_also_on_error(model, prompts, fail):
    before, plain = hooks_of(model), write(model, prompts)
    try:
        with steered(model):
            assert sum(hooks_of(model)) == sum(before) + 1
            assert {"forward", "generate"} <= set(vars(model))
            write(model, prompts)
            if fail:
                raise RuntimeError("inside")
    except RuntimeError:
        pass
    assert hooks_of(model) == before
    assert not {"forward", "generate"} & set(vars(model))
    assert write(model, prompts) == plain


def test_refusals_name_what_is_wrong(model):
    dictionary, reward = LinearDictionary(), tiny_reward("token")
    with (
        pytest.raises(ValueError, match="layer 9 does not exist; legal: 0 to 2"),
        steer(model, 9, dictionary, reward, ALWAYS),
    ):
        pass
    with pytest.raises(ValueError, match="use_cache=True"), steer(model, 1, dictionary, reward, ALWAYS):
        model(torch.tensor([[5]]), use_cache=False)
    with pytest.raises(ValueError, match="no beams"), steer(model, 1, dictionary, reward, ALWAYS):
        model.generate(torch.tensor([[5]]), num_beams=2)
    beams = GenerationConfig(num_beams=2, max_new_tokens=2)
    with pytest.raises(ValueError, match="no beams"), steer(model, 1, dictionary, reward, ALWAYS):
        model.generate(torch.tensor([[5]]), beams)
    with pytest.raises(ValueError, match="2 tokens over a filled cache"), steer(model, 1, dictionary, reward, ALWAYS):
        model(torch.tensor([[7, 8]]), past_key_values=model(torch.tensor([[5]]), use_cache=True).past_key_values)
    narrow = LinearDictionary()
    narrow.W_dec = narrow.W_dec[:, :8]
    with (
        pytest.raises(ValueError, match="width 8, but the backbone's are 16 wide"),
        steer(model, 1, narrow, reward, ALWAYS),
    ):
        pass
    few = LinearDictionary()
    few.W_dec = few.W_dec[:5]
    with (
        pytest.raises(ValueError, match=f"has 5 latents, but the reward model reads {LATENTS}"),
        steer(model, 1, few, reward, ALWAYS),
    ):
        pass
    assert sum(hooks_of(model)) == 0


def test_earlier_layers_do_not_notice():
    model = tiny_llama(layers=3)
    seen = {}

    def watch(name):
        def hook(module, inputs, output):
            seen.setdefault(name, []).append(output.clone())

        return hook

    handles = [layer.register_forward_hook(watch(number)) for number, layer in enumerate(model.model.layers)]
    ids = torch.tensor([[5, 6]])
    cache = model(ids, use_cache=True).past_key_values
    model(torch.tensor([[7]]), past_key_values=cache, use_cache=True)
    with steered(model, gate=ALWAYS):
        cache = model(ids, use_cache=True).past_key_values
        model(torch.tensor([[7]]), past_key_values=cache, use_cache=True)
    for handle in handles:
        handle.remove()
    plain, pushed = 1, 3  # the second and the fourth pass processed token 7
    assert torch.equal(seen[0][plain], seen[0][pushed])
    assert not torch.equal(seen[2][plain], seen[2][pushed])


def test_over_a_static_cache_no_compiled_pass_goes_by_the_steering(model, prompts, monkeypatch):
    """As on an accelerator, where transformers compiles the forward pass of a cache that allows it."""
    compiled = []
    monkeypatch.setattr(model, "get_compiled_call", lambda config: compiled.append(config) or model.__call__)
    config = CompileConfig()
    config._compile_all_devices = True
    batch = left_padded(prompts)
    asked = {"max_new_tokens": BUDGET, "do_sample": False, "eos_token_id": ENDS, "pad_token_id": 0}
    how = asked | {"cache_implementation": "static", "compile_config": config}
    plain = model.generate(**batch, **how)
    assert compiled
    compiled.clear()
    with steered(model, gate=ALWAYS):
        static = model.generate(**batch, **how)
        grown = model.generate(**batch, **asked)
    assert not compiled
    assert torch.equal(static, grown)
    assert not torch.equal(static, plain)


@pytest.mark.gpu
@pytest.mark.parametrize("how", [{}, {"cache_implementation": "static"}], ids=["growing", "static"])
def test_steered_on_an_accelerator_as_on_the_cpu(model, prompts, how, monkeypatch):
    asked = {"max_new_tokens": BUDGET, "do_sample": False, "eos_token_id": ENDS, "pad_token_id": 0}
    batch = left_padded(prompts)
    with steered(model, gate=ALWAYS):
        here = model.generate(**batch, **asked)
    monkeypatch.setattr("conftest.DEVICE", "cuda")
    with steered(model.to("cuda"), gate=ALWAYS):
        there = model.generate(**{name: part.to("cuda") for name, part in batch.items()}, **asked, **how)
    assert torch.equal(there.cpu(), here)


@pytest.mark.parametrize("signal", ["certainty", "stability"])
def test_a_prompt_in_chunks_leaves_its_first_token_no_other_before_it(model, signal):
    gate, prompt = Gate(0.3, 0.2, signal), [5, 9, 11, 6, 12]
    asked = {"max_new_tokens": BUDGET, "do_sample": False, "eos_token_id": VOCABULARY + 1, "pad_token_id": 0}
    with steered(model, "token", gate):
        cut = model.generate(torch.tensor([prompt]), prefill_chunk_size=2, **asked)
    naive = naive_generate(model, prompt, [], BUDGET, tiny_steering("token", gate))
    assert cut[0, len(prompt) :].tolist() == naive.token_ids


@pytest.mark.parametrize("variant", ["token", "history"])
@pytest.mark.parametrize("signal", ["confidence", "stability"])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_prompts_of_other_lengths_in_chunks_are_answered_as_each_alone(
    model, prompts, variant, signal, size, monkeypatch
):
    """The first chunks of some rows are padding alone."""
    gate, batch, read, push = Gate(0.3, 0.2, signal), left_padded(prompts), [], Steerer.push

    def watched(self, hidden):
        read.append(self.rows.newest_confidence.clone())
        return push(self, hidden)

    monkeypatch.setattr(Steerer, "push", watched)
    asked = {"max_new_tokens": BUDGET, "do_sample": False, "eos_token_id": VOCABULARY + 1, "pad_token_id": 0}
    with steered(model, variant, gate):
        cut = model.generate(**batch, prefill_chunk_size=size, **asked)
        model.generate(**batch, **asked)
    assert torch.allclose(torch.stack(read[: BUDGET - 1]), torch.stack(read[BUDGET - 1 :]), atol=1e-9, rtol=0)
    for prompt, row in zip(prompts, cut[:, batch["input_ids"].shape[1] :].tolist(), strict=True):
        naive = naive_generate(model, prompt, [], BUDGET, tiny_steering(variant, gate))
        assert row == naive.token_ids


def test_many_candidates_may_be_taken_back_at_once(model, monkeypatch):
    read, push = [], Steerer.push

    def watched(self, hidden):
        read.append(self.rows.newest_confidence.item())
        return push(self, hidden)

    monkeypatch.setattr(Steerer, "push", watched)
    ids = torch.tensor([[5, 9] * 50 + [5]])
    asked = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": VOCABULARY + 1, "pad_token_id": 0}
    with steered(model, "token", Gate(0.5, 0.3)):
        plain, few = model.generate(ids, **asked), list(read)
        read.clear()
        many = model.generate(ids, prompt_lookup_num_tokens=90, max_matching_ngram_size=1, **asked)
    assert many.tolist() == plain.tolist()
    assert len(read) > 70
    assert all(min(abs(value - other) for other in read) < 1e-9 for value in few)
    again = [value for value in read if min(abs(value - other) for other in few) < 1e-9]
    assert len(again) >= len(few)


WAYS = {
    "chunks": {"prefill_chunk_size": 2},
    "lookup": {"prompt_lookup_num_tokens": 3, "max_matching_ngram_size": 1},
    "static": {"cache_implementation": "static"},
}


@pytest.mark.parametrize(
    ("architecture", "variant"), [("llama", "token"), ("llama", "history"), ("qwen2", "history"), ("gpt2", "token")]
)
@pytest.mark.parametrize("way", [*WAYS, "assistant"])
def test_however_passes_are_cut_the_same_is_written_and_each_token_gated_once(architecture, variant, way, monkeypatch):
    """Prompts that repeat themselves, so that candidates are found in them, accepted and rejected."""
    model = tiny_model(architecture)
    how = WAYS.get(way) or {"assistant_model": tiny_llama(seed=0 if variant == "token" else 1)}
    asked = {"max_new_tokens": BUDGET, "do_sample": False, "eos_token_id": VOCABULARY + 1, "pad_token_id": 0}
    counted, push = [], Steerer.push
    monkeypatch.setattr(Steerer, "push", lambda self, hidden: counted.append(len(hidden)) or push(self, hidden))
    several = 0
    for prompt in ([5, 9, 11, 5, 9, 11, 5], [8, 8, 8, 8], [30, 7, 12, 19, 30, 7]):
        ids = torch.tensor([prompt])
        naive = naive_generate(model, prompt, [], BUDGET, tiny_steering(variant))
        counted.clear()
        with steered(model, variant):
            cut = model.generate(ids, **asked, **how)
        assert cut[0, len(prompt) :].tolist() == naive.token_ids
        assert len(counted) >= len(naive.steered)  # candidates that were taken back came in addition
        several += len(counted) - len(naive.steered)
    assert (several > 0) == (way in ("lookup", "assistant"))


@pytest.mark.parametrize("variant", ["token", "history"])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("gate", [ALWAYS, Gate(0.5, 0.3), Gate(0.3, 0.2, "stability")])
def test_a_second_turn_over_a_kept_cache_is_written_as_without_one(model, variant, whole, gate, monkeypatch):
    """No token of its prompt is steered, and what was steered in the first turn stays so."""
    asked = {"do_sample": False, "eos_token_id": VOCABULARY + 1, "pad_token_id": 0, "return_dict_in_generate": True}
    first, more = torch.tensor([[5, 9, 11, 6]]), torch.tensor([[13, 14, 15]])
    counted, push = [], Steerer.push
    monkeypatch.setattr(Steerer, "push", lambda self, hidden: counted.append(len(hidden)) or push(self, hidden))
    with steered(model, variant, gate):
        one = model.generate(first, max_new_tokens=6, **asked)
        assert len(counted) == 5
        kept, turn = one.past_key_values, torch.cat([one.sequences, more], dim=1)
        counted.clear()
        ids = turn if whole else turn[:, kept.get_seq_length() :]
        mask = torch.ones_like(turn)
        two = model.generate(ids, attention_mask=mask, past_key_values=kept, max_new_tokens=BUDGET, **asked)
    assert len(counted) == BUDGET - 1
    steering = tiny_steering(variant, gate)
    before = naive_generate(model, first[0].tolist(), [], 6, steering)
    assert turn[0, 4:10].tolist() == before.token_ids
    naive = naive_generate(model, turn[0].tolist(), [], BUDGET, steering, turn_before=before)
    assert two.sequences[0, ids.shape[1] :].tolist() == naive.token_ids
    assert any(naive.steered)


def test_half_precision_is_steered(model):
    """Where the gate opens, and to the last bit nowhere else."""
    half, prompts = tiny_llama().bfloat16(), [[5, 6, 7], [8, 9]]
    plain = write(half, prompts)
    with steered(half, gate=NEVER):
        assert write(half, prompts) == plain
    with steered(half, gate=ALWAYS):
        pushed = write(half, prompts)
    assert pushed != plain
    assert [row[:1] for row in pushed] == [row[:1] for row in plain]  # no token of a prompt is steered


class Broken(torch.nn.Module):
    """A reward whose direction is not a number where a latent is large."""

    d_sae, dtype, device = LATENTS, torch.float64, torch.device("cpu")

    def forward(self, latents):
        return latents.sum(dim=-1)

    def direction(self, latents):
        return torch.where(latents.amax(dim=-1, keepdim=True) > 2, float("nan"), 0.0).expand_as(latents)


def test_a_push_that_is_no_number_leaves_its_token_unsteered_and_warns_once(model, prompts):
    plain, parts = write(model, prompts), tiny_steering()
    with (
        pytest.warns(UserWarning, match=r"\d+ tokens were left unsteered") as told,
        steer(model, 1, parts.dictionary, Broken(), ALWAYS),
    ):
        assert write(model, prompts) == plain
    assert len(told) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_so_it_does_where_many_rows_are_decoded(model, prompts, workers):
    requests = [Request(prompt, f"problem-{i}") for i, prompt in enumerate(prompts)]
    asked = {"max_new_tokens": 12, "batch_size": 3, "end_ids": [2]}
    plain, parts = generate(model, requests, **asked), tiny_steering()
    asked |= {"steering": replace(parts, reward=Broken(), gate=ALWAYS), "policy": Policy(workers=workers)}
    with pytest.warns(UserWarning, match=r"\d+ tokens were left unsteered") as told:
        broken = generate(model, requests, **asked)
    assert told[0].message.args[0].startswith(f"{sum(g.steering.left_tokens for g in broken)} tokens")
    assert len(told) == 1
    assert [(g.token_ids, g.confidence) for g in broken] == [(g.token_ids, g.confidence) for g in plain]
    assert all(np.isfinite(g.confidence).all() for g in broken)


@pytest.mark.parametrize("variant", ["token", "history"])
@pytest.mark.parametrize("selects", [True, False])
@pytest.mark.parametrize("fault", ["latents", "reward", "push"])
def test_a_row_whose_push_failed_once_goes_on_as_if_its_gate_had_been_closed(variant, selects, fault, monkeypatch):
    """And, where its latents were no numbers, as if they had been zero."""
    hidden = torch.randn(5, 3, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def pushed(fails):
        rows = Rows.begin(3, hidden.device, torch.float64)
        steerer = Steerer(tiny_steering(variant, Gate(0.0, 0.5)), rows, policy=Policy(selects_rows=selects))
        written = []
        for number, states in enumerate(hidden):
            rows.newest_confidence[:] = 0.2
            rows.newest_confidence[1] = 0.9 if number == 2 and not fails else 0.2
            with monkeypatch.context() as patch:
                if number == 2 and fault == "latents":
                    spoil_latents(patch, steerer, float("nan") if fails else 0.0)
                elif number == 2 and fails:
                    break_row(patch, steerer, fault)
                written.append(steerer.push(states))
        records = steerer.records()
        return torch.stack(written), *([getattr(one, name) for one in records] for name in COUNTED), steerer.left

    (expected, counts, none, _), (got, counted, left, total) = pushed(fails=False), pushed(fails=True)
    assert torch.equal(got, expected)
    assert not torch.equal(got[4, 1], hidden[4, 1])  # the row is pushed again
    assert counted == counts == [5, 4, 5]
    assert (none, left, total) == ([0, 0, 0], [0, 1, 0], 1)


COUNTED = ("steered_tokens", "left_tokens")


def spoil_latents(patch, steerer, value):
    """Let the dictionary find nothing but `value` in row 1."""
    dictionary = steerer.steering.dictionary
    encode, others = dictionary.encode, torch.arange(3)[:, None] != 1
    patch.setattr(dictionary, "encode", lambda activation: encode(activation).where(others, value))


def break_row(patch, steerer, fault):
    """Let row 1 have no reward, or no push, that is a number."""

    def spoiled(of_all):
        of_all = of_all.clone()
        of_all[1] = float("nan")
        return of_all

    score, ascend_from = type(steerer.reward).score, steerer._ascend
    if fault == "push":
        patch.setattr(steerer, "_ascend", lambda *given: spoiled(ascend_from(*given)))
        return
    calls = []

    def spoiled_once(*given):
        scored = score(*given)
        calls.append(1)
        return scored._replace(logit=spoiled(scored.logit)) if len(calls) == 1 else scored

    patch.setattr(type(steerer.reward), "score", spoiled_once)
