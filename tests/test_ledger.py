"""The ledger tells what the engine does, and is enough to do it again."""

import pytest
import torch
from conftest import tiny_steering
from oracle import naive_generate

from lrs.engine.decoding import generate
from lrs.engine.ledger import replay_ledger, write_ledger
from lrs.engine.requests import Request
from lrs.method.gate import ALWAYS, NEVER, Gate

BUDGET, END = 14, [2]
GATES = {"every": ALWAYS, "gated": Gate(reward_threshold=0.5, confidence_threshold=0.3)}


def requests_for(prompts, temperature):
    return [Request(prompt, f"p{row}", 1, temperature) for row, prompt in enumerate(prompts)]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("variant", ["token", "history", "linear", "potential", "free", "along", "gated", "fresh"])
def test_it_writes_what_the_engine_writes_and_a_replay_writes_it_again(model, prompts, variant, gate, temperature):
    steering, requests = tiny_steering(variant, GATES[gate]), requests_for(prompts, temperature)
    written = generate(model, requests, max_new_tokens=BUDGET, batch_size=4, end_ids=END, steering=steering)
    steered = 0
    for request, generation in zip(requests, written, strict=True):
        ids, entries = write_ledger(model, request, steering, BUDGET, END)
        assert ids == generation.token_ids
        assert len(entries) == generation.steering.steered_tokens
        assert replay_ledger(model, request, steering.layer, entries, BUDGET, END) == ids
        for entry in entries:
            assert (entry.token, entry.with_push) == tuple(ids[entry.position : entry.position + 2])
            assert entry.confidence == pytest.approx(generation.confidence[entry.position], abs=1e-6)
        if entries:
            mean = sum(entry.reward_before for entry in entries) / len(entries)
            assert mean == pytest.approx(generation.steering.reward_before)
        steered += len(entries)
    assert steered > 20


def test_a_gate_that_reads_another_signal_is_refused(model, prompts):
    steering = tiny_steering("token", Gate(0.5, 0.3, "certainty"))
    with pytest.raises(ValueError, match="gates that read confidence"):
        write_ledger(model, Request(prompts[0]), steering, BUDGET, END)


@pytest.mark.parametrize("variant", ["token", "history"])
def test_entries_are_the_tokens_that_the_equations_steer(model, prompts, variant):
    steering = tiny_steering(variant, GATES["gated"])
    for request in requests_for(prompts[:5], 0.0):
        trace = naive_generate(model, request.prompt, END, BUDGET, steering)
        _, entries = write_ledger(model, request, steering, BUDGET, END)
        assert [entry.position for entry in entries] == [place for place, was in enumerate(trace.steered) if was]
        rewards = [trace.rewards[entry.position] for entry in entries]
        assert [entry.reward_before for entry in entries] == pytest.approx(rewards)
        assert all((entry.clause == "reward") == (entry.reward_before < 0.5) for entry in entries)
        assert all(entry.confidence < 0.3 for entry in entries if entry.clause == "confidence")


def test_without_its_push_a_token_is_followed_as_the_earlier_pushes_alone_would_have_it(model, prompts):
    steering, changed = tiny_steering("token", ALWAYS, step_size=3.0), 0
    for request in requests_for(prompts[:6], 0.0):
        _, entries = write_ledger(model, request, steering, BUDGET, END)
        for count, entry in enumerate(entries):
            ids = replay_ledger(model, request, steering.layer, entries[:count], entry.position + 2, END)
            assert ids[entry.position + 1] == entry.without_push
            changed += entry.without_push != entry.with_push
    assert changed > 3


def test_a_closed_gate_leaves_an_empty_ledger_and_hooks_are_gone(model, prompts):
    before = model(torch.tensor([prompts[0]])).logits
    _, entries = write_ledger(model, requests_for(prompts, 0.0)[0], tiny_steering("token", NEVER), BUDGET, END)
    assert entries == []
    assert torch.equal(model(torch.tensor([prompts[0]])).logits, before)
