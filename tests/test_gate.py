import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import naive_gate, naive_signal

from lrs.method.gate import ALWAYS, NEVER, Gate, certainty_of, confidence_of, stability_of

probability = st.floats(0, 1)


@pytest.mark.parametrize(
    ("reward", "confidence", "steered"),
    [(0.4, 0.9, True), (0.4, 0.1, True), (0.6, 0.1, True), (0.6, 0.9, False), (0.5, 0.3, False)],
)
def test_truth_table(reward, confidence, steered):
    gate = Gate(reward_threshold=0.5, confidence_threshold=0.3)
    assert gate(torch.tensor([reward]), torch.tensor([confidence])).item() is steered


@given(probability, probability, probability, probability)
def test_equals_the_oracle(reward, confidence, reward_threshold, confidence_threshold):
    fast = Gate(reward_threshold, confidence_threshold)(
        torch.tensor([reward], dtype=torch.float64), torch.tensor([confidence], dtype=torch.float64)
    )
    assert fast.item() == naive_gate(reward, confidence, reward_threshold, confidence_threshold)


@given(probability, probability)
def test_always_and_never(reward, confidence):
    signals = torch.tensor([reward]), torch.tensor([confidence])
    assert ALWAYS(*signals).item()
    assert not NEVER(*signals).item()


def test_confidence_is_the_modes_probability():
    logits = torch.tensor([[0.0, math.log(3.0)], [5.0, 5.0]], dtype=torch.float64)
    assert torch.allclose(confidence_of(logits), torch.tensor([0.75, 0.5], dtype=torch.float64))
    assert torch.allclose(confidence_of(logits), logits.softmax(-1).amax(-1))


@given(st.integers(0, 1000), st.floats(0.1, 30))
def test_certainty_and_stability_equal_the_oracle(seed, scale):
    logits = torch.randn(2, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * scale
    p, before = logits.softmax(dim=-1).clamp_min(1e-300)
    certainty, stability = (certainty_of(logits[:1]).item(), stability_of(logits[:1], logits[1:]).item())
    assert certainty == pytest.approx(naive_signal("certainty", [p], None), abs=1e-9)
    assert stability == pytest.approx(naive_signal("stability", [before, p], None), abs=1e-9)
    assert stability_of(logits, logits).tolist() == pytest.approx(certainty_of(logits).tolist())
    assert 1 / 9 - 1e-9 <= certainty <= 1
    assert 0 < stability <= certainty + 1e-9


def test_half_precision_is_enough_for_what_is_summed_in_single():
    logits = torch.linspace(-3, 3, 50)[None]
    assert certainty_of(logits.bfloat16()).item() == pytest.approx(certainty_of(logits).item(), rel=0.02)
