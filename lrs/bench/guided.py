"""A rival that steers nothing: decoding that a reward guides, block by block.

At every block several continuations are drawn, and the one is kept at whose last token the reward is highest: blockwise
controlled decoding (Mudgal et al., arXiv 2310.17022), with the reward that LRS climbs as its value function.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
import torch

from lrs.bench.repair import go_on
from lrs.engine.requests import Request
from lrs.experiment.evaluation import Artifacts
from lrs.models.activations import replay
from lrs.models.backbones import Backbone
from lrs.report.methods import GUIDED
from lrs.tasks.answers import is_correct
from lrs.tasks.problems import Problem
from lrs.tasks.prompts import prompt_ids, text_of

if TYPE_CHECKING:
    from lrs.config import Config

BLOCK, WIDTH = 16, 4  # tokens of a block, and continuations among which one is kept


def guided(
    backbone: Backbone, problems: Sequence[Problem], artifacts: Artifacts, name: str, temperature: float, config: Config
) -> pd.DataFrame:
    """One answer a problem, guided by the reward `name`.

    Returns:
        A row a problem, as of `lrs.bench.rivals.choices`: tokens are all that were drawn.
    """
    prompts = {problem.id: prompt_ids(problem, backbone.tokenizer) for problem in problems}
    written: dict[str, list[int]] = {problem.id: [] for problem in problems}
    going, room, drawn = list(written), config.decoding.max_new_tokens, Counter[str]()
    for begin in range(0, room, BLOCK):
        seeds = range(1, WIDTH + 1)
        asked = [
            Request(prompts[one] + written[one], f"{one} from {begin}", seed, temperature)
            for one in going
            for seed in seeds
        ]
        blocks = go_on(backbone, asked, min(BLOCK, room - begin), config)
        numbered = [one for one in going for _ in seeds]
        tried = [(prompts[one], written[one] + block.token_ids) for one, block in zip(numbered, blocks, strict=True)]
        read = [  # the last token of a trace is never processed: one more, and that of a whole block is
            (prompt, [*ids, ids[-1]] if block.finish_reason == "truncated" else ids)
            for (prompt, ids), block in zip(tried, blocks, strict=True)
        ]
        values = last_values(backbone, artifacts, name, read, config.decoding.batch_size)
        left = []
        for start in range(0, len(tried), WIDTH):
            best = max(range(start, start + WIDTH), key=values.__getitem__)
            one = numbered[best]
            drawn[one] += sum(len(block.token_ids) for block in blocks[start : start + WIDTH])
            written[one] = tried[best][1]
            if blocks[best].finish_reason == "truncated":
                left.append(one)
        if not (going := left):
            break
    rows = [
        {"benchmark": problem.benchmark, "problem_id": problem.id, "tokens": drawn[problem.id]}
        | {"correct": float(is_correct(problem, text_of(written[problem.id], backbone.tokenizer)))}
        | {"truncated": float(problem.id in going)}
        for problem in problems
    ]
    return pd.DataFrame(rows).assign(method=f"{GUIDED}{name}", attempts=WIDTH, steered_tokens=0)


@torch.no_grad()
def last_values(
    backbone: Backbone, artifacts: Artifacts, name: str, tried: Sequence[tuple[list[int], list[int]]], batch_size: int
) -> list[float]:
    """The reward `name` at the last token of each trace that is processed, logits; of a trace of one token, minus
    infinity."""
    dictionary, reward = artifacts.dictionaries[artifacts.bases[name]], artifacts.rewards[name]
    values = [float("-inf")] * len(tried)
    for index, hidden in replay(backbone.model, artifacts.layer, tried, batch_size, backbone.tokenizer.pad_token_id):
        if len(hidden):
            values[index] = float(reward(dictionary.encode(hidden).to(reward.dtype)[None])[0, -1])
    return values
