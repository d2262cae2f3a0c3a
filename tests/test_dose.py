import pytest
import torch
from conftest import tiny_llama, tiny_steering
from hypothesis import given
from hypothesis import strategies as st
from oracle import naive_generate

from lrs.experiment.dose import kl_divergence, token_doses
from lrs.experiment.reading import hangs_on_state, read_steered, side_by_side
from lrs.method.gate import ALWAYS, NEVER, Gate

PROMPTS = [[5, 9, 11], [7], [4, 8, 3, 6, 12]]


def dose_of(model, steering, asked):
    (doses,) = token_doses(model, [steering], asked, pad_id=0)
    return doses


def traces(model):
    budgets = zip(PROMPTS, (6, 9, 2), strict=True)
    return [(prompt, naive_generate(model, prompt, [], budget).token_ids) for prompt, budget in budgets]


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=3), st.lists(st.floats(-5, 5), min_size=3, max_size=3))
def test_divergence_is_the_sum_of_its_definition(first, second):
    p, q = (torch.tensor(logits, dtype=torch.float64).softmax(0).tolist() for logits in (first, second))
    expected = sum(a * (torch.tensor(a / b).log().item()) for a, b in zip(p, q, strict=True))
    found = kl_divergence(torch.tensor(first), torch.tensor(second)).item()
    assert found == pytest.approx(expected, abs=1e-5)
    assert found >= -1e-12


@pytest.mark.parametrize("variant", ["token", "history"])
@pytest.mark.parametrize("gate", [ALWAYS, Gate(0.5, 0.3)])
def test_dose_equals_one_trace_at_a_time_token_by_token(variant, gate):
    """Against whole passes, in which the pushes that the oracle would make at each token are put back."""
    model, steering = tiny_llama(), tiny_steering(variant, gate)
    asked = traces(model)
    found, again = token_doses(model, [steering, steering], asked, pad_id=0)
    alone = [dose_of(model, steering, [one]) for one in asked]
    assert torch.equal(found, again)
    assert torch.allclose(found, torch.cat(alone), atol=1e-9, rtol=0)
    assert len(found) == sum(len(written) - 1 for _, written in asked)
    assert (found > 1e-6).any()
    # where the steered model goes on with the same tokens, its own logits are those of the dose
    for (prompt, written), doses in zip(asked, alone, strict=True):
        own = naive_generate(model, prompt, [], len(written), steering).token_ids
        same = next((i for i, (a, b) in enumerate(zip(own, written, strict=True)) if a != b), len(written))
        if 0 < same < len(written):
            assert doses[same - 1] > 0  # another token was written after the push at the one before


@pytest.mark.parametrize("variant", ["token", "history", "potential", "free"])
def test_what_hangs_on_the_state_alone_is_read_at_once_as_token_by_token(variant):
    model, steering = tiny_llama(), tiny_steering(variant, ALWAYS)
    assert hangs_on_state(steering)
    assert not hangs_on_state(tiny_steering(variant, Gate(0.5, 0.3)))
    asked = traces(model)
    batch = side_by_side(asked, 0, torch.device("cpu"))
    at_once = batch.read_at_once(model, steering)[:, batch.width : -1]
    plain = batch.read_at_once(model, None)[:, batch.width : -1]
    for place, logits in read_steered(model, steering, batch):
        rows = [row for row, (_, written) in enumerate(asked) if place < len(written) - 1]
        torch.testing.assert_close(at_once[rows, place], logits[rows], atol=1e-9, rtol=0)
        assert (logits[rows] - plain[rows, place]).abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("gate", "step_size"), [(NEVER, 0.8), (ALWAYS, 0.0)])
def test_no_push_has_no_dose(gate, step_size, dtype):
    model = tiny_llama().to(dtype)
    doses = dose_of(model, tiny_steering("history", gate, step_size=step_size), traces(model))
    assert (doses == 0).all()


def test_traces_of_one_token_have_no_dose_and_are_no_fault():
    model = tiny_llama()
    assert len(dose_of(model, tiny_steering("token", ALWAYS), [([5, 9], [3]), ([7], [4])])) == 0


def test_a_harder_push_has_a_larger_dose():
    model = tiny_llama()
    mild, hard = (dose_of(model, tiny_steering("token", ALWAYS, 1, size), traces(model)).mean() for size in (0.05, 0.8))
    assert 0 < mild < hard
