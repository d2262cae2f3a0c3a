"""Where the reward looks: what it says along the traces that steering repaired and broke."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from lrs.core.closure import code_of
from lrs.core.digests import fingerprint
from lrs.core.kept import keep, read_kept
from lrs.core.store import write_frame
from lrs.experiment.evaluation import Artifacts, dictionary_key
from lrs.method.dictionary import Dictionary
from lrs.method.reward import LatentRewardModel
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
    arm: str,
    config: Config,
    folder: Path,
) -> pd.DataFrame:
    """The paper's reward along what an arm repaired and broke, made once and kept.

    Args:
        problems: those of `outcomes`, and maybe others.

    Returns:
        A row a trace: problem_id, change, arm (`base` or the arm), text, words (its processed tokens, each as text),
        rewards (probabilities along them).
    """
    changed, by_id = changed_by(outcomes, arm), {problem.id: problem for problem in problems}
    plan = {
        "backbone": backbone.identity,
        "device": describe_device(backbone.device),
        "layer": artifacts.layer,
        "artifacts": {name: artifacts.digests[name] for name in (dictionary_key("sae"), "token")},
        "texts": fingerprint(changed.to_dict("records")),
        "arm": arm,
        "batch_size": config.decoding.batch_size,
    }

    def make(made: Path) -> None:
        read = backbone, artifacts.layer, artifacts.dictionaries["sae"], artifacts.rewards["token"]
        asked = [by_id[name] for name in changed["problem_id"]]
        tables = []
        for name in ("base", arm):
            found = rewards_along(*read, asked, changed[name].tolist(), config.decoding.batch_size)
            table = changed[["problem_id", "change"]].assign(arm=name, text=changed[name])
            table["words"] = [_words(text, backbone) for text in changed[name]]
            tables.append(table.assign(rewards=[rewards.tolist() for rewards in found]))
        write_frame(made / "paths.arrow", pd.concat(tables, ignore_index=True))

    keep(folder, "rewards along traces", plan | code_of(__name__), make)
    return read_kept(folder).to_pandas()


def _words(text: str, backbone: Backbone) -> list[str]:
    ids = backbone.tokenizer(text, add_special_tokens=False)["input_ids"]
    return [text_of([one], backbone.tokenizer).strip() for one in ids[:-1]]
