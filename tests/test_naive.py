import pytest
from conftest import tiny_steering

from lrs.bench.naive import naive_generate
from lrs.engine.decoding import Request, generate


@pytest.mark.parametrize("variant", ["token", "history"])
def test_the_published_loop_and_the_engine_write_the_same(model, prompts, variant):
    steering, budget = tiny_steering(variant), {"max_new_tokens": 24, "end_ids": [2, 7]}
    ours = generate(model, [Request(prompt) for prompt in prompts], batch_size=4, steering=steering, **budget)
    for prompt, generation in zip(prompts, ours, strict=True):
        tokens, steered = naive_generate(model, prompt, steering=steering, **budget)
        assert tokens == generation.token_ids
        assert steered == generation.steering.steered_tokens
