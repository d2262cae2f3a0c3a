"""Decoding that a reward guides: what it keeps, what it counts, what it reads, and that no draw is made twice."""

from types import SimpleNamespace

import pytest
import torch

from lrs.bench import guided as module
from lrs.bench.guided import WIDTH, guided, last_values
from lrs.config import load_config
from lrs.models.backbones import load_backbone
from lrs.tasks.problems import draw_problems
from lrs.tasks.prompts import prompt_ids

CONFIG = load_config("smoke")


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("data/reasoners/pocket-1m")


@pytest.fixture(scope="module")
def problems():
    return draw_problems("chain_sum", CONFIG.benchmarks["chain_sum"], {"test": 3}, seed=1)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_block_that_the_reward_prefers_is_kept_and_all_that_were_drawn_are_counted(
    backbone, problems, monkeypatch, sign
):
    """A reward that counts a token: what is kept of each round has most of it, or least."""
    seen, wanted = [], backbone.tokenizer.convert_tokens_to_ids(".")

    def values(model, artifacts, name, tried, batch_size):
        ended = backbone.tokenizer.eos_token_id  # else the last token is there twice, so that it is read
        wrote = [(prompt, ids if ids[-1] == ended else ids[:-1]) for prompt, ids in tried]
        assert all(ids[-1] == ended or ids[-2] == ids[-1] for _, ids in tried)
        told = [sign * ids.count(wanted) for _, ids in wrote]
        seen.append(list(zip(wrote, told, strict=True)))
        return told

    monkeypatch.setattr(module, "last_values", values)
    table, differ = guided(backbone, problems, None, "token", 1.0, CONFIG).set_index("problem_id"), False
    assert (table["attempts"] == WIDTH).all()
    for problem in problems:
        prompt, kept, tokens = prompt_ids(problem, backbone.tokenizer), [], 0
        for around in seen:
            mine = [(ids, value) for (given, ids), value in around if given == prompt]
            if not mine:  # it had ended
                continue
            assert len(mine) == WIDTH
            assert all(ids[: len(kept)] == kept for ids, _ in mine)
            differ |= len({tuple(ids) for ids, _ in mine}) > 1
            tokens += sum(len(ids) - len(kept) for ids, _ in mine)
            kept = next(ids for ids, value in mine if value == max(other for _, other in mine))
        assert tokens == table.loc[problem.id, "tokens"]
        assert len(kept) <= CONFIG.decoding.max_new_tokens
    assert differ


def test_a_value_is_the_rewards_at_the_last_processed_token(backbone):
    """Read in batches as alone; of one token, nothing is processed."""

    class Reward:
        dtype = torch.float32

        def __call__(self, latents):
            return latents.mean(dim=-1).cumsum(dim=-1)  # it sees the history

    tried = [([1, 9, 8], [7, 6, 5, 4]), ([1, 9], [3]), ([1, 2, 3, 4], [8, 9])]
    toy = SimpleNamespace(encode=lambda hidden: hidden)
    artifacts = SimpleNamespace(layer=2, bases={"token": "sae"}, dictionaries={"sae": toy}, rewards={"token": Reward()})
    values = last_values(backbone, artifacts, "token", tried, batch_size=3)
    assert values[1] == float("-inf")
    for place in (0, 2):
        prompt, ids = tried[place]
        given = torch.tensor([prompt + ids[:-1]])
        with torch.no_grad():
            states = backbone.model(given, output_hidden_states=True).hidden_states[3]
        expected = states[0, len(prompt) :].mean(dim=-1).sum()
        assert values[place] == pytest.approx(float(expected), abs=1e-5)


def test_a_reward_without_a_view_takes_the_first_of_draws_none_of_which_is_made_twice(backbone, problems, monkeypatch):
    monkeypatch.setattr(module, "last_values", lambda *given: [0.0] * len(given[3]))
    asked, write = [], module.go_on

    def watched(model, requests, *others):
        written = write(model, requests, *others)
        asked.extend(zip(requests, written, strict=True))
        return written

    monkeypatch.setattr(module, "go_on", watched)
    first = guided(backbone, problems, None, "token", 0.7, CONFIG)
    drawn = [(request.problem_id, request.seed) for request, _ in asked]
    assert len(set(drawn)) == len(drawn)
    for problem in problems:
        mine = [(request, block) for request, block in asked if request.problem_id.startswith(problem.id)]
        kept = prompt_ids(problem, backbone.tokenizer)
        for request, block in (pair for pair in mine if pair[0].seed == 1):
            assert request.prompt == kept
            kept = kept + block.token_ids
    assert guided(backbone, problems, None, "token", 0.7, CONFIG).equals(first)
