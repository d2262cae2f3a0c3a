"""In bfloat16, as models of the hub are run: a row of a batch, padded on the left, is written as it is alone.

Sums of other shapes round in another way, so equal is meant up to that: confidences to within `ROUNDING`, and the same
tokens up to one that was chosen alone with a confidence below `SURE`, where the second likeliest may be as likely.
"""

import pytest
import torch
from conftest import VOCABULARY, WIDTH, LinearDictionary, tiny_llama, tiny_reward
from transformers import GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

from lrs.engine.decoding import generate
from lrs.engine.requests import Request
from lrs.engine.steer import steer
from lrs.method.ascent import Ascent
from lrs.method.gate import ALWAYS, confidence_of
from lrs.method.steering import Steering

BUDGET = 12
SURE, ROUNDING = 0.6, 0.1
SIZES = {"vocab_size": VOCABULARY, "bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0, "initializer_range": 0.3}


def tiny_qwen2():
    wide = {"hidden_size": WIDTH, "intermediate_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2}
    return Qwen2ForCausalLM(Qwen2Config(**SIZES, **wide, num_hidden_layers=3))


def tiny_gpt2():
    return GPT2LMHeadModel(GPT2Config(**SIZES, n_embd=WIDTH, n_layer=3, n_head=2, n_positions=64))


@pytest.fixture(params=[tiny_llama, tiny_qwen2, tiny_gpt2])
def half(request):
    """A tiny model in bfloat16, with gaps between its logits that are wide for what is rounded."""
    torch.manual_seed(0)
    model = request.param().bfloat16().eval().requires_grad_(False)
    model.get_output_embeddings().register_forward_hook(lambda _, __, logits: 4 * logits)
    return model


def steering(variant):
    """Dictionary and reward in float32, as they are kept."""
    dictionary = LinearDictionary()
    dictionary.W_enc, dictionary.W_dec = dictionary.W_enc.float(), dictionary.W_dec.float()
    return Steering(1, dictionary, tiny_reward(variant).float(), ALWAYS, Ascent(2, 0.8))


def by_loop(model, prompts, parts):
    requests = [Request(prompt) for prompt in prompts]
    written = generate(
        model, requests, max_new_tokens=BUDGET, batch_size=len(prompts), end_ids=[VOCABULARY], steering=parts
    )
    return [(one.token_ids, torch.tensor(one.confidence)) for one in written]


def by_hook(model, prompts, parts):
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    asked = {"max_new_tokens": BUDGET, "do_sample": False, "eos_token_id": VOCABULARY + 1, "pad_token_id": 0}
    ascent = parts.ascent
    with steer(model, parts.layer, parts.dictionary, parts.reward, parts.gate, ascent.num_steps, ascent.step_size):
        output = model.generate(ids, attention_mask=mask, output_logits=True, return_dict_in_generate=True, **asked)
    confidence = confidence_of(torch.stack(output.logits, dim=1))
    return list(zip(output.sequences[:, longest:].tolist(), confidence, strict=True))


@pytest.mark.parametrize("variant", ["token", "history"])
@pytest.mark.parametrize("write", [by_loop, by_hook])
def test_a_row_of_a_batch_is_written_as_it_is_alone(half, prompts, write, variant):
    prompts, parts, alike = prompts[:6], steering(variant), 0
    for prompt, (tokens, confidence) in zip(prompts, write(half, prompts, parts), strict=True):
        ((expected, sure),) = write(half, [prompt], parts)
        parted = [place for place in range(BUDGET) if tokens[place] != expected[place]]
        until = parted[0] if parted else BUDGET
        assert not parted or sure[until] < SURE
        torch.testing.assert_close(confidence[:until], sure[:until], atol=ROUNDING, rtol=0)
        alike += until
    assert alike > 0.7 * len(prompts) * BUDGET
