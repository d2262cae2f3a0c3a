"""Where the reward looks: what it says along the traces that steering repaired and broke."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from lrs.core.closure import code_of
from lrs.core.digests import fingerprint
from lrs.core.frames import each_row
from lrs.core.kept import keep, read_kept
from lrs.core.store import write_frame
from lrs.engine.ledger import write_ledger
from lrs.engine.requests import Request
from lrs.experiment.cases import case_studies
from lrs.experiment.evaluation import Artifacts, dictionary_key
from lrs.method.arms import ARMS
from lrs.method.dictionary import Dictionary
from lrs.method.reward import LatentRewardModel
from lrs.method.setting import Setting
from lrs.method.steering import Steering
from lrs.models.activations import replay
from lrs.models.backbones import Backbone
from lrs.models.devices import describe_device
from lrs.tasks.problems import Problem
from lrs.tasks.prompts import prompt_ids, text_of

if TYPE_CHECKING:
    from lrs.config import Config


@torch.no_grad()
def rewards_along(
    backbone: Backbone,
    layer: int,
    dictionary: Dictionary,
    reward: LatentRewardModel,
    problems: Sequence[Problem],
    texts: Sequence[str],
    batch_size: int,
) -> list[np.ndarray]:
    """Probabilities at every processed token of answers to problems, as the unsteered model reads them."""
    tokenizer = backbone.tokenizer
    pairs = [
        (prompt_ids(problem, tokenizer), tokenizer(text, add_special_tokens=False)["input_ids"])
        for problem, text in zip(problems, texts, strict=True)
    ]
    found: list[np.ndarray] = [np.zeros(0)] * len(pairs)
    for index, hidden in replay(backbone.model, layer, pairs, batch_size, tokenizer.pad_token_id):
        latents = dictionary.encode(hidden).to(reward.dtype)
        found[index] = reward(latents[None])[0].sigmoid().cpu().numpy()
    return found


def changed_by(outcomes: pd.DataFrame, arm: str) -> pd.DataFrame:
    """The problems that an arm repaired or broke, greedily.

    Returns:
        A row a problem: problem_id, change (`repaired` or `broken`), and the texts of `base` and of the arm.
    """
    greedy = outcomes.loc[outcomes["decoding"] == "greedy", ["problem_id", "arm", "text", "correct"]]
    base, steered = (greedy[greedy["arm"] == name] for name in ("base", arm))
    both = base.merge(steered, on="problem_id", suffixes=("", "_steered"), validate="1:1")
    flipped = both[both["correct"].astype(bool) != both["correct_steered"].astype(bool)]
    change = np.where(flipped["correct_steered"].astype(bool), "repaired", "broken")
    table = flipped.rename(columns={"text": "base", "text_steered": arm})[["problem_id", "base", arm]]
    return table.assign(change=change).reset_index(drop=True)


def keep_paths(
    backbone: Backbone,
    artifacts: Artifacts,
    problems: Sequence[Problem],
    outcomes: pd.DataFrame,
    settings: Mapping[str, Setting],
    config: Config,
    folder: Path,
) -> pd.DataFrame:
    """The paper's reward along what some arms repaired and broke, made once and kept.

    Args:
        problems: those of `outcomes`, and maybe others.
        settings: of each of these arms, decoded greedily.

    Returns:
        A row a trace: by (the arm that repaired or broke), problem_id, change, arm (`base` or that arm), text, words
        (its processed tokens, each as text), rewards (probabilities along them), pushed (in an answer of the arm that
        `case_studies` chooses: whether each token came because of a push; else empty).
    """
    by_id = {problem.id: problem for problem in problems}
    changed = {arm: changed_by(outcomes, arm) for arm in settings}
    plan = {
        "backbone": backbone.identity,
        "device": describe_device(backbone.device),
        "layer": artifacts.layer,
        "artifacts": {name: artifacts.digests[name] for name in (dictionary_key("sae"), "token")},
        "texts": {arm: fingerprint(table.to_dict("records")) for arm, table in changed.items()},
        "settings": {arm: setting.model_dump() for arm, setting in settings.items()},
        "batch_size": config.decoding.batch_size,
    }

    def make(made: Path) -> None:
        read = backbone, artifacts.layer, artifacts.dictionaries["sae"], artifacts.rewards["token"]
        tables = []
        for arm, flipped in changed.items():
            asked, both = [by_id[name] for name in flipped["problem_id"]], []
            for name in ("base", arm):
                found = rewards_along(*read, asked, flipped[name].tolist(), config.decoding.batch_size)
                table = flipped[["problem_id", "change"]].assign(by=arm, arm=name, text=flipped[name])
                table["words"] = [_words(text, backbone) for text in flipped[name]]
                both.append(table.assign(rewards=[rewards.tolist() for rewards in found]))
            table, steering = pd.concat(both), artifacts.steering(ARMS[arm], settings[arm])
            shown, budget = {name for *_, name in case_studies(table)}, config.decoding.max_new_tokens
            table["pushed"] = [
                came_of_a_push(backbone, steering, by_id[row.problem_id], row.text, budget)
                if row.arm == arm and row.problem_id in shown
                else []
                for row in each_row(table)
            ]
            tables.append(table)
        write_frame(made / "paths.arrow", pd.concat(tables, ignore_index=True))

    keep(folder, "rewards along traces", plan | code_of(__name__), make)
    return read_kept(folder).to_pandas()


def came_of_a_push(
    backbone: Backbone, steering: Steering, problem: Problem, text: str, max_new_tokens: int
) -> list[bool]:
    """Whether each processed token of a steered greedy answer would have been another, had the token before it not been
    pushed; empty if the answer, written anew by itself, is another one (a batch rounds in another way)."""
    tokenizer = backbone.tokenizer
    request = Request(prompt_ids(problem, tokenizer), problem.id)
    ids, entries = write_ledger(backbone.model, request, steering, max_new_tokens, [tokenizer.eos_token_id])
    if text_of(ids, tokenizer) != text:
        return []
    came = {entry.position + 1 for entry in entries if entry.with_push != entry.without_push}
    return [place in came for place in range(len(_words(text, backbone)))]


def _words(text: str, backbone: Backbone) -> list[str]:
    ids = backbone.tokenizer(text, add_special_tokens=False)["input_ids"]
    return [text_of([one], backbone.tokenizer).strip() for one in ids[:-1]]
