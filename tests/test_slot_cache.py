import numpy as np
import pytest
import torch

from lrs.slot_cache import SlotCache, newest_mask

CPU = torch.device("cpu")


def test_lengths_are_known_on_host_and_device_alike():
    cache = SlotCache(0, 4, 20, CPU, torch.float64)

    def check(*lengths):
        assert cache.host_lengths.tolist() == cache.lengths.tolist() == list(lengths)

    cache.prefill([2, 0], torch.tensor([[False, True, True], [True, True, True]]))
    check(3, 0, 2, 0)
    cache.decode()
    assert cache.positions.tolist() == [3, 0, 2, 0]
    check(4, 1, 3, 1)
    cache.release([1, 3])
    check(4, 0, 3, 0)
    cache.keep([2, 0])
    check(3, 4)


def test_decoding_a_token_takes_nothing_from_the_host(monkeypatch):
    """On a GPU each copy would wait; here whatever makes a tensor of host numbers fails."""
    cache = SlotCache(1, 2, 20, CPU, torch.float64)
    cache.prefill([0, 1], torch.ones(2, 3, dtype=torch.bool))
    for name in ("from_numpy", "tensor", "as_tensor"):
        monkeypatch.setattr(torch, name, lambda *_, **__: pytest.fail("a host copy"))
    assert cache.decode().shape == (2, 1, 1, 4)


def test_the_newest_token_sees_what_lies_before_it_and_itself():
    mask = newest_mask(torch.tensor([2, 0]), 4, torch.float64)
    assert mask.shape == (2, 1, 1, 4)
    np.testing.assert_array_equal(mask[:, 0, 0] == 0, [[True, True, True, False], [True, False, False, False]])
    assert mask.max() == 0
    assert mask.min() == torch.finfo(torch.float64).min
