import pytest
import torch

from lrs.engine.cache import SlotCache
from lrs.engine.policy import Policy

CPU = torch.device("cpu")


def test_a_token_is_written_behind_what_each_row_holds():
    cache = SlotCache(0, 3, 20, CPU, torch.float64, Policy())
    mask = cache.prefill([2, 0], torch.tensor([[False, True, True], [True, True, True]]))
    assert (mask[:, 0] == 0).tolist() == [
        [[True, False, False], [False, True, False], [False, True, True]],  # padding attends to itself alone
        [[True, False, False], [True, True, False], [True, True, True]],
    ]
    assert cache.decode().shape == (3, 1, 1, 4)
    assert cache.positions.tolist() == [3, 0, 2]
    assert cache.get_seq_length() == 4


def test_decoding_a_token_takes_nothing_from_the_host(monkeypatch):
    """On a GPU each copy would wait; here whatever makes a tensor of host numbers fails."""
    cache = SlotCache(1, 2, 20, CPU, torch.float64, Policy())
    cache.prefill([0, 1], torch.ones(2, 3, dtype=torch.bool))
    for name in ("from_numpy", "tensor", "as_tensor"):
        monkeypatch.setattr(torch, name, lambda *_, **__: pytest.fail("a host copy"))
    assert cache.decode().shape == (2, 1, 1, 4)
