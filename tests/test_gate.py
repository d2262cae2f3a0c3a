import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import naive_gate

from lrs.method.gate import ALWAYS, NEVER, Gate, confidence_of

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
