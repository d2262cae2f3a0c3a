import copy

import pytest
import torch
from conftest import VOCABULARY, WIDTH, tiny_llama
from transformers import GPT2Config, GPT2LMHeadModel

from lrs.models.activations import replay
from lrs.models.backbones import decoder_layer

LAYER = 1


def tiny_gpt2():
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_embd=WIDTH, n_layer=2, n_head=2, n_positions=64, eos_token_id=2, initializer_range=0.3
    )
    return GPT2LMHeadModel(config).double().eval()


def decode_and_record(model, prompt, budget):
    """Greedy tokens, and the layer's output at each token processed after the prompt, with the model's own cache."""
    seen = []

    def hook(_, __, output):
        seen.append((output[0] if isinstance(output, tuple) else output)[0])

    handle = decoder_layer(model, LAYER).register_forward_hook(hook)
    output = model.generate(torch.tensor([prompt]), max_new_tokens=budget, min_new_tokens=budget, pad_token_id=0)
    handle.remove()
    return output[0, len(prompt) :].tolist(), torch.cat(seen[1:])


@pytest.fixture(scope="module", params=[tiny_llama, tiny_gpt2])
def decoded(request):
    """A model, (prompt, generated) pairs of different lengths, and the activations recorded meanwhile."""
    model = request.param()
    prompts = [[7, 8, 9, 4, 5, 6], [3], [5, 4, 3], [9, 9]]
    written = [decode_and_record(model, prompt, budget) for prompt, budget in zip(prompts, (2, 8, 4, 8), strict=True)]
    tokens, seen = zip(*written, strict=True)
    return model, list(zip(prompts, tokens, strict=True)), seen


def replayed(model, traces, batch_size):
    recorded = dict(replay(model, LAYER, traces, batch_size, pad_id=0))
    return [recorded[index].clone() for index in range(len(traces))]


@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_replay_equals_what_was_seen_while_decoding(decoded, batch_size):
    model, traces, expected = decoded
    for trace, seen, recorded in zip(traces, expected, replayed(model, traces, batch_size), strict=True):
        assert recorded.shape == (len(trace[1]) - 1, WIDTH)  # the last token is never processed
        torch.testing.assert_close(recorded, seen, atol=1e-9, rtol=0)


def test_last_token_does_not_matter_and_the_one_before_does(model):
    first, last, other = (replayed(model, [([3, 4], tokens)], 1)[0] for tokens in ([5, 6, 7], [5, 6, 8], [5, 9, 7]))
    assert torch.equal(first, last)
    assert not torch.allclose(first[1], other[1])


def test_a_trace_of_one_token_has_no_activations(model):
    assert [len(recorded) for recorded in replayed(model, [([3, 4], [5]), ([3], [5, 6])], 2)] == [0, 1]


def test_layers_above_are_not_computed(model):
    decoder_layer(model, LAYER + 1).register_forward_hook(lambda *_: pytest.fail("the layer above was computed"))
    assert len(replayed(model, [([3, 4], [5, 6])], 1)) == 1


def hooks_of(model):
    return [len(module._forward_hooks) for module in model.modules()]


def test_hook_is_gone_afterwards_also_on_error_or_when_stopped(model):
    before = hooks_of(model)
    replayed(model, [([3, 4], [5, 6])], 1)
    assert hooks_of(model) == before
    with pytest.raises(IndexError):
        replayed(model, [([3, 4], [5, 6]), ([3, VOCABULARY], [5, 6, 7])], 1)
    assert hooks_of(model) == before
    stopped = replay(model, LAYER, [([3], [5, 6]), ([4], [5, 6])], 1, pad_id=0)
    next(stopped)
    stopped.close()
    assert hooks_of(model) == before
    assert model(torch.tensor([[3, 4]])).logits.shape == (1, 2, VOCABULARY)


def test_out_of_memory_halves_the_batch_and_goes_on(decoded, capsys):
    given, traces, expected = decoded
    model, asked = copy.deepcopy(given), []  # what a model was found to hold is remembered

    def room_for_few_tokens(_, given, named):
        asked.append(len(named["input_ids"]))
        if named["input_ids"].numel() > 14:
            raise torch.OutOfMemoryError("no room")

    model.register_forward_pre_hook(room_for_few_tokens, with_kwargs=True)
    yielded = list(replay(model, LAYER, traces, 2, pad_id=0))
    assert sorted(index for index, _ in yielded) == list(range(len(traces)))  # none is lost, none read twice
    for index, recorded in yielded:
        torch.testing.assert_close(recorded, expected[index], atol=1e-9, rtol=0)
    assert asked == [2, 2, 1, 1]
    assert capsys.readouterr().err.count("replay: out of memory with 2 rows side by side; going on with 1\n") == 1
    asked.clear()
    replayed(model, traces, 4)
    assert asked == [1, 1, 1, 1]
    assert "out of memory" not in capsys.readouterr().err


def test_memory_that_is_too_small_for_one_trace_is_an_error(model):
    def no_room(*_):
        raise torch.OutOfMemoryError("none at all")

    model.register_forward_pre_hook(no_room)
    before = hooks_of(model)
    with pytest.raises(torch.OutOfMemoryError, match="none at all"):
        replayed(model, [([3, 4], [5, 6]), ([3], [5, 6])], 2)
    assert hooks_of(model) == before
