"""One's own model: a reward whose gradient steers it, trained through its own push (`lrs_slope`)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lrs.config import CausalSection
from lrs.core.closure import code_of
from lrs.core.digests import fingerprint
from lrs.core.kept import keep
from lrs.core.store import write_frame
from lrs.engine.decoding import generate
from lrs.engine.requests import Request
from lrs.experiment.causal import causal_step, push_of_nothing
from lrs.experiment.on_policy import iterate, seeds_of
from lrs.experiment.own_model import (
    Fitted,
    Judge,
    digest_of_dictionary,
    end_ids,
    identity_of,
    prompts_and_answers,
)
from lrs.method.ascent import Ascent
from lrs.method.gate import ALWAYS
from lrs.method.reward import RewardConfig, load_reward, save_reward
from lrs.method.steering import Steering, check_fit
from lrs.tasks.prompts import text_of

_FEW = 5  # iterations
SLOPE = CausalSection(
    iterations=40,
    problems=24,
    attempts=8,
    temperature=0.3,
    step_size=2.0,
    learning_rate=3e-3,
    joint_weight=0.2,
    rows_per_batch=32,
    checkpoint_every=1,
)


def fit_slope(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[tuple[str, Any]],
    judge: Judge,
    *,
    fitted: Fitted,
    folder: str | Path,
    max_new_tokens: int = 1024,
    batch_size: int = 32,
    section: CausalSection = SLOPE,
    seed: int = 0,
) -> Fitted:
    """Train a quadratic reward by policy gradient on whether the model that it steers is right, up its own gradient.

    It takes `section.iterations` times `problems` times `attempts` answers, at `section.temperature`; what it learns
    from `section.rows_per_batch` of them at once has to fit the memory. A killed call resumes from the last iteration
    that was kept.

    Args:
        model, tokenizer, problems, judge: as of `fit`, but the judge is asked while it learns alone. None of the
            problems should be asked again to tell whether steering works.
        fitted: what `fit` has made of this model: layer and dictionary are taken from it.
        folder: everything is kept here; it may be that of `fit`.

    Returns:
        `fitted` with this reward, for every token and steps of size 1, as it was trained; its `quality` is the share of
        right answers in the first and in the last five iterations.

    Raises:
        ValueError: no problems, or the same question twice; or the dictionary does not fit the model.
    """
    folder, (prompts, answers) = Path(folder), prompts_and_answers(problems, tokenizer)
    dictionary, ends = fitted.dictionary, end_ids(model, tokenizer)
    reward = push_of_nothing(RewardConfig(len(dictionary.W_dec), "potential"), dictionary, seed).requires_grad_(False)
    steering = Steering(fitted.layer, dictionary, reward, ALWAYS, Ascent(1, section.step_size))
    check_fit(steering, model.config.hidden_size)
    optimizer = torch.optim.Adam(reward.parameters(), lr=section.learning_rate)

    def step(iteration: int) -> tuple[Tensor, list[dict[str, Any]]]:
        asked = Random(f"{seed}-{iteration}").sample(sorted(prompts), min(section.problems, len(prompts)))
        jobs = [(name, number) for name in asked for number in seeds_of(section, iteration)]
        requests = [Request(prompts[name], name, number, section.temperature) for name, number in jobs]
        written = generate(
            model, requests, max_new_tokens=max_new_tokens, batch_size=batch_size, end_ids=ends, steering=steering
        )
        texts = [text_of(one.token_ids, tokenizer, skip_special_tokens=True) for one in written]
        judged = [bool(judge(text, answers[name])) for text, (name, _) in zip(texts, jobs, strict=True)]
        right = torch.tensor(judged, dtype=reward.dtype).view(-1, section.attempts)
        ids = [(request.prompt, one.token_ids) for request, one in zip(requests, written, strict=True)]
        reward.requires_grad_(True)
        causal_step(model, steering, optimizer, ids, right, section)
        reward.requires_grad_(False)
        return right, [{"step": iteration, "correct": right.mean().item()}]

    plan = {"model": identity_of(model), "dictionary": digest_of_dictionary(dictionary), "layer": fitted.layer}
    plan |= {"prompts": prompts, "answers": {name: str(answer) for name, answer in answers.items()}, "ends": ends}
    plan |= {"tokens": max_new_tokens, "batch_size": batch_size, "section": section.model_dump(), "seed": seed}
    plan |= code_of(__name__)
    scratch = folder / "slope-unfinished" / fingerprint(plan)

    def train(made: Path) -> None:
        with _frozen(model):
            curve = iterate("slope", section, reward, optimizer, scratch, step)
        with torch.no_grad():
            for name, weights in reward.named_parameters():
                if name != "push.0.weight":  # what it reads
                    weights.mul_(section.step_size)  # so that steps of size 1 are those that were trained
        save_reward(reward, made)
        write_frame(made / "curve.arrow", pd.DataFrame(curve))

    keep(folder / "slope", "slope", plan, train)
    shutil.rmtree(scratch, ignore_errors=True)
    right = Dataset.from_file(str(folder / "slope/curve.arrow")).to_pandas()["correct"]
    quality = {"right_at_first": right[:_FEW].mean(), "right_at_last": right[-_FEW:].mean()}
    return replace(fitted, reward=load_reward(folder / "slope", model.device), gate=ALWAYS, quality=quality)


@contextmanager
def _frozen(model: PreTrainedModel) -> Iterator[None]:
    """Keep no gradients of the model's own weights."""
    learn = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learn:
            parameter.requires_grad_(True)
