"""The oracle that repairs the first wrong step: how much is lost at elementary steps, and how much elsewhere?

A wrong step is found by `lrs.tutor.step_accuracy`, which knows the problem. The trace is cut before the sentence in
which it stands, other sentences are drawn from the model until one has no wrong step, and from there the model goes on
as it likes. No method has this oracle; what it gains is what a perfect judge of single steps could.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from lrs.engine.decoding import generate
from lrs.engine.policy import policy_for
from lrs.engine.requests import Generation, Request
from lrs.models.backbones import Backbone
from lrs.report.comparison import POOLED
from lrs.tasks.answers import is_correct
from lrs.tasks.problems import Problem
from lrs.tasks.prompts import prompt_ids, text_of
from lrs.tutor.step_accuracy import steps_in

if TYPE_CHECKING:
    from lrs.config import Config

_TRIES = 8  # sentences drawn in the place of a wrong one
_END = "."  # of a sentence
_LONGEST = 64  # tokens of a sentence


def before_first_wrong(problem: Problem, tokens: Sequence[str]) -> int | None:
    """How many tokens stand before the sentence with the first wrong step; None if all steps are right."""
    begins = 0
    for place, token in enumerate(tokens, start=1):
        if token == _END or place == len(tokens):
            if not all(steps_in(problem, " ".join(tokens[:place]))):
                return begins
            begins = place
    return None


def go_on(backbone: Backbone, requests: Sequence[Request], longest: int, config: Config) -> list[Generation]:
    """At most `longest` more tokens of each, by the unsteered backbone."""
    return generate(
        backbone.model,
        requests,
        max_new_tokens=longest,
        batch_size=config.decoding.batch_size,
        end_ids=[backbone.tokenizer.eos_token_id],
        policy=policy_for(backbone.model, config.decoding.workers),
    )


def repair(backbone: Backbone, problems: Sequence[Problem], config: Config) -> pd.DataFrame:
    """Greedy answers, the first wrong step of each repaired, if it has one and a right one is drawn.

    Returns:
        A row a problem: benchmark, problem_id, before and correct (whether the greedy answer was right, and whether the
        repaired one is), truncated (it, by the budget), tokens (all that were drawn among them), slipped (a step was
        wrong), repaired.
    """
    names = backbone.tokenizer.convert_ids_to_tokens
    prompts = {problem.id: prompt_ids(problem, backbone.tokenizer) for problem in problems}

    room = config.decoding.max_new_tokens
    plain = go_on(backbone, [Request(prompts[problem.id], problem.id) for problem in problems], room, config)
    kept: dict[str, list[int]] = {}
    lost: dict[str, int] = {}
    for problem, one in zip(problems, plain, strict=True):
        place = before_first_wrong(problem, names(one.token_ids))
        if place is not None:
            kept[problem.id], lost[problem.id] = one.token_ids[:place], len(one.token_ids) - place
    slipped = [problem for problem in problems if problem.id in kept]
    tries = range(1, _TRIES + 1)
    asked = [Request(prompts[p.id] + kept[p.id], f"repair of {p.id}", seed, 1.0) for p in slipped for seed in tries]
    drawn = iter(go_on(backbone, asked, _LONGEST, config))
    mended: dict[str, list[int]] = {}
    spent: dict[str, int] = {}
    for problem in slipped:
        others = [next(drawn).token_ids for _ in tries]
        spent[problem.id] = sum(map(len, others)) + lost[problem.id]
        for ids in others:
            words = names(ids)
            if _END not in words:  # it ended, or never came to an end
                continue
            whole = kept[problem.id] + ids[: words.index(_END) + 1]
            if all(steps_in(problem, " ".join(names(whole)))):
                mended.setdefault(problem.id, whole)
    going_on = [problem for problem in slipped if problem.id in mended and len(mended[problem.id]) < room]
    finished = go_on(backbone, [Request(prompts[p.id] + mended[p.id], p.id) for p in going_on], room, config)
    ends = {problem.id: end for problem, end in zip(going_on, finished, strict=True)}
    rows = []
    for problem, one in zip(problems, plain, strict=True):
        last, begun = ends.get(problem.id, one), mended[problem.id] if problem.id in ends else []
        ids = (begun + last.token_ids)[:room]
        rows.append(
            {"benchmark": problem.benchmark, "problem_id": problem.id, "tokens": len(ids) + spent.get(problem.id, 0)}
            | {
                "before": is_correct(problem, text_of(one.token_ids, backbone.tokenizer)),
                "correct": is_correct(problem, text_of(ids, backbone.tokenizer)),
            }
            | {"truncated": float(last.finish_reason == "truncated")}
            | {"slipped": problem.id in kept, "repaired": problem.id in ends}
        )
    return pd.DataFrame(rows)


def repair_table(repaired: pd.DataFrame) -> pd.DataFrame:
    """What repairs do, by benchmark and pooled.

    Args:
        repaired: of `repair`.

    Returns:
        benchmark, n, slipped and repaired (shares of all problems), wrong_that_slipped (of the wrong greedy answers),
        before and after (accuracies), wins, losses.
    """
    rows = []
    for benchmark, group in [*repaired.groupby("benchmark", sort=False), (POOLED, repaired)]:
        change = group["correct"].astype(int) - group["before"].astype(int)
        rows.append(
            {"benchmark": benchmark, "n": len(group), **group[["slipped", "repaired"]].mean()}
            | {"wrong_that_slipped": group.loc[~group["before"], "slipped"].mean()}
            | {"before": group["before"].mean(), "after": group["correct"].mean()}
            | {"wins": int((change > 0).sum()), "losses": int((change < 0).sum())}
        )
    return pd.DataFrame(rows)
