from contextlib import nullcontext
from functools import partial

import pytest
import torch
from conftest import VOCABULARY, WIDTH, tiny_llama, tiny_reward
from sae_lens import TopKSAE, TopKSAEConfig
from tape import record
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lrs.engine.batch import Batch
from lrs.engine.decoding import _decode_token, _forward, _read_prompts
from lrs.engine.graphs import Replayed
from lrs.engine.policy import Policy
from lrs.engine.requests import Request
from lrs.engine.steerer import hooked
from lrs.method.ascent import Ascent
from lrs.method.dictionary import SaeDictionary
from lrs.method.gate import ALWAYS, Gate
from lrs.method.steering import Steering

aten = torch.ops.aten
_INDEXED = (aten.index.Tensor, aten.index_put_.default, aten._index_put_impl_.default)


class Counter:
    """A step that adds a tensor to another; the host counts along."""

    def __init__(self):
        self.total, self.amount = torch.zeros(3), torch.ones(3)
        self.steps_in_python = self.host_count = 0

    def step(self):
        self.steps_in_python += 1
        self.total += self.amount
        self.count()

    def count(self):
        self.host_count += 1


@pytest.mark.parametrize("recorder", [None, record])
def test_steps_add_up_whether_replayed_or_not(recorder):
    counter = Counter()
    step = Replayed(counter.step, counter.count, recorder)
    for shape in (1, 1, 1, 2, 1, 2, 2):
        step(shape)
        counter.amount += 1
    assert counter.total.tolist() == [sum(range(1, 8))] * 3
    assert counter.host_count == 7
    assert counter.steps_in_python == (4 if recorder else 7)  # twice a shape: as it is, and to be recorded


def test_what_was_forgotten_is_recorded_anew():
    counter = Counter()
    step = Replayed(counter.step, counter.count, record)
    for _ in range(4):
        step(1)
    counter.total = torch.zeros(3)  # another tensor: a recording would change the old one
    step.forget()
    for _ in range(4):
        step(1)
    assert counter.total.tolist() == [4.0] * 3


def test_recordings_do_not_pile_up():
    counter = Counter()
    step = Replayed(counter.step, counter.count, record)
    for shape in range(1000):
        step(shape)
        step(shape)
        assert len(step._replays) <= 64
    assert counter.total.tolist() == [2000.0] * 3
    assert counter.host_count == 2000


class OnTheDevice(TorchDispatchMode):
    """Fails where an operation reads host memory, or gives the host what it would have to wait for.

    It does not see Python lists as indices, which torch turns into tensors unseen where there are no numbers.
    """

    count = 0

    def __enter__(self):
        self.patch = pytest.MonkeyPatch()
        for name in ("tensor", "as_tensor", "from_numpy"):
            self.patch.setattr(torch, name, lambda *_, **__: pytest.fail("reads host numbers"))
        return super().__enter__()

    def __exit__(self, *error):
        self.patch.undo()
        return super().__exit__(*error)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        copies = function in (aten._to_copy.default, aten.copy_.default)  # a lone number is copied like any other
        allowed = [t.device.type == "meta" or (t.dim() == 0 and not copies) for t in tensors]
        assert all(allowed), f"{function} reads host"
        assert function.__name__.split(".")[0] not in ("nonzero", "_local_scalar_dense", "item", "masked_select")
        indices = tree_leaves(args[1]) if function in _INDEXED else []
        assert not any(index.dtype == torch.bool for index in indices if index is not None), f"{function} counts"
        self.count += 1
        return function(*args, **(kwargs or {}))


def test_the_guard_sees_copies_and_waits():
    meta = torch.ones(3, device="meta")
    with OnTheDevice(), pytest.raises(AssertionError, match="reads host"):
        torch.ones(3).to("meta")
    with OnTheDevice(), pytest.raises(AssertionError, match="reads host"):
        torch.ones(()).to("meta")
    with OnTheDevice(), pytest.raises(pytest.fail.Exception, match="reads host numbers"):
        torch.tensor([1.0], device="meta")
    with OnTheDevice(), pytest.raises(AssertionError, match="counts"):
        meta[meta > 0]
    with OnTheDevice(), pytest.raises(AssertionError, match="counts"):
        meta[meta > 0] = 1.0
    with OnTheDevice(), pytest.raises(AssertionError):
        (meta > 0).nonzero()
    with OnTheDevice(), pytest.raises(AssertionError):
        meta.sum().item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("variant", [None, "token", "history"])
@pytest.mark.parametrize("gate", [ALWAYS, Gate(0.5, 0.3)])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_token_never_waits_for_a_device(dtype, variant, gate, temperature):
    """On a device without numbers: only an operation that needs none of them can run there."""
    model = tiny_llama().to("meta", dtype)
    reward = tiny_reward(variant or "token").float().to("meta")
    sae = TopKSAE(TopKSAEConfig(d_in=WIDTH, d_sae=reward.config.d_sae, k=4)).to("meta")
    steering = Steering(1, SaeDictionary(sae, 0.7, "tiny", 1), reward, gate, Ascent(2, 0.8)) if variant else None
    requests = [Request([5, 6, 7], temperature=temperature), Request([8])]
    batch = Batch(model, 2, requests, 16, [VOCABULARY], steering, Policy())
    forward = partial(_forward, model, batch.cache, {})
    guard = OnTheDevice()
    with torch.no_grad(), hooked(model, 1, batch.steerer) if steering else nullcontext():
        _read_prompts(forward, batch, dict(enumerate(enumerate(requests))))
        with guard:
            for _ in range(3):
                _decode_token(forward, batch)
    assert guard.count > 300
    assert batch.cache.history.on_host.tolist() == [6, 4]
