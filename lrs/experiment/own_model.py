"""One's own model: from questions and a judge to a dictionary, a reward and a gate, in one call.

What notebooks 1 to 3 do for the built-in reasoners, for any decoder-only model of transformers; every stage is kept, so
that a killed call resumes, and a changed one makes again only what its change reaches.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lrs.config import RewardSection, SaeSection
from lrs.core.closure import code_of
from lrs.core.digests import fingerprint
from lrs.core.kept import Parts, digest_of, keep
from lrs.core.store import StoreError, write_frame, write_text
from lrs.engine.decoding import generate
from lrs.engine.requests import Request
from lrs.engine.steer import steer
from lrs.learning.latents import encode_traces, load_latents, save_latents
from lrs.learning.reward_metrics import summarise
from lrs.learning.reward_training import score_traces, train_reward
from lrs.learning.sae import train_sae
from lrs.method.dictionary import Dictionary, load_dictionary, save_dictionary
from lrs.method.gate import Gate
from lrs.method.reward import LatentRewardModel, load_reward, save_reward
from lrs.method.setting import Variant
from lrs.models.activations import replay
from lrs.tasks.prompts import question_ids, text_of
from lrs.tasks.splits import held_out

Judge = Callable[[str, Any], bool]  # of the text that the model wrote and the answer that is right
_PART = 256  # generations that a killed call loses at most
_ABOUT = "fitted.json"
_QUANTILES = 0.3, 0.1  # of rewards and of confidences: below them the gate opens
SAE = SaeSection(d_sae=1024, k=32, learning_rate=1e-3, batch_size=1024, epochs=4)
REWARD = RewardSection(
    width=128,
    layers=2,
    heads=4,
    learning_rate=5e-4,
    weight_decay=0.01,
    batch_size=64,
    epochs=10,
    patience=3,
    early_stopping_share=0.1,
)


@dataclass(frozen=True)
class Fitted:
    """What `fit` has made: all that steering one model needs.

    Attributes:
        gate: thresholds at quantiles of what the unsteered model showed (0.3 of the rewards, 0.1 of the confidences).
        quality: of the reward on problems held out from its training: see `lrs.learning.reward_metrics.summarise`.
        accuracy: share of the model's own traces that are right.
    """

    layer: int
    dictionary: Dictionary
    reward: LatentRewardModel
    gate: Gate
    quality: dict[str, Any]
    accuracy: float

    def steer(
        self, model: PreTrainedModel, num_steps: int = 1, step_size: float = 1.0, gate: Gate | None = None
    ) -> AbstractContextManager[None]:
        """`lrs.steer` with what was made: whatever `model.generate` writes within the block is steered."""
        return steer(model, self.layer, self.dictionary, self.reward, gate or self.gate, num_steps, step_size)


def fit(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[tuple[str, Any]],
    judge: Judge,
    *,
    layer: int,
    folder: str | Path,
    dictionary: Dictionary | None = None,
    samples: int = 4,
    temperature: float = 1.0,
    max_new_tokens: int = 1024,
    batch_size: int = 32,
    variant: Variant = "token",
    sae: SaeSection = SAE,
    reward: RewardSection = REWARD,
    seed: int = 0,
) -> Fitted:
    """Let a model answer, and learn from nothing but whether it was right: traces, dictionary, reward, gate.

    Args:
        model: decoder-only, with full attention; it is not changed.
        problems: (question, answer) pairs; a question is asked in the tokenizer's chat template, if it has one.
        judge: whether a text that the model wrote gives the answer; it is asked anew in every call.
        layer: decoder layer whose output is read and steered, counted from 0.
        folder: everything is kept here.
        dictionary: one that is there already, on the model's device, of sae-lens say (`from_sae_lens`); None: an
            autoencoder is trained, on problems that are not held out from the reward's training.
        samples: traces a problem, sampled at `temperature`, beside a greedy one.
        variant: of the reward: `token` or `history`.

    Raises:
        ValueError: no problems, or the same question twice; a dictionary of another layer; all traces are right, or all
            wrong; or there are fewer generated tokens than `sae.batch_size`.
    """
    folder, (prompts, answers) = Path(folder), prompts_and_answers(problems, tokenizer)
    identity, ends = identity_of(model), end_ids(model, tokenizer)
    plan = {"model": identity, "prompts": fingerprint(list(prompts.items())), "tokens": max_new_tokens, "ends": ends}
    plan |= {"temperature": temperature, "batch_size": batch_size}

    def written(jobs: Sequence[tuple[str, int]], on_finished: Callable[[int], None]) -> list[dict[str, Any]]:
        requests = [Request(prompts[name], name, number, temperature if number else 0.0) for name, number in jobs]
        generations = generate(
            model,
            requests,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            end_ids=ends,
            on_finished=on_finished,
        )
        return [
            {"problem_id": name, "seed": number, "token_ids": one.token_ids, "confidence": one.confidence}
            for (name, number), one in zip(jobs, generations, strict=True)
        ]

    jobs = [(name, number) for name in prompts for number in range(samples + 1)]
    traces = Parts(folder / "traces", "traces", jobs, _PART, plan | code_of(__name__), written).keep()
    texts = [text_of(ids, tokenizer, skip_special_tokens=True) for ids in traces["token_ids"]]
    right = [bool(judge(text, answers[name])) for text, name in zip(texts, traces["problem_id"], strict=True)]
    traces = traces.add_column("correct", right)

    @cache  # only where something has to be learned from them
    def activations() -> list[Tensor]:
        pairs = [(prompts[row["problem_id"]], row["token_ids"]) for row in traces.select_columns(_PAIR)]
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        return [found for _, found in sorted(replay(model, layer, pairs, batch_size, pad), key=lambda item: item[0])]

    made_from = {"model": identity, "traces": digest_of(folder / "traces"), "layer": layer, "seed": seed}
    if dictionary is None:
        share = reward.early_stopping_share
        plan = made_from | {"sae": sae.model_dump(), "held_out": share} | code_of(__name__)
        out = held_out(np.array(traces["problem_id"]), share, seed)

        def train(made: Path) -> None:
            seen = [recorded for recorded, is_out in zip(activations(), out, strict=True) if not is_out]
            save_dictionary(train_sae(torch.cat(seen), sae, seed, identity, layer)[0], made)

        keep(folder / "sae", "sae", plan, train)
        dictionary = load_dictionary(folder / "sae", identity, layer, model.device)
    elif (reads := getattr(dictionary, "layer", layer)) != layer:
        raise ValueError(f"the dictionary reads layer {reads}, and layer {layer} is to be steered")
    return _learn(folder, traces, activations, dictionary, variant, reward, made_from, model.device)


def prompts_and_answers(
    problems: Sequence[tuple[str, Any]], tokenizer: PreTrainedTokenizerBase
) -> tuple[dict[str, list[int]], dict[str, Any]]:
    """The tokens that ask each question, and its right answer, by a name that follows from the question.

    Raises:
        ValueError: no problems, or the same question twice.
    """
    questions = [question for question, _ in problems]
    if not problems or len(set(questions)) < len(questions):
        raise ValueError(f"problems must hold at least one question, and none twice (got {len(questions)})")
    names = list(map(fingerprint, questions))
    prompts = {name: question_ids(question, tokenizer) for name, question in zip(names, questions, strict=True)}
    return prompts, {name: answer for name, (_, answer) in zip(names, problems, strict=True)}


_PAIR = ["problem_id", "token_ids"]


def _learn(
    folder: Path,
    traces: Dataset,
    activations: Callable[[], list[Tensor]],
    dictionary: Dictionary,
    variant: Variant,
    section: RewardSection,
    made_from: dict[str, Any],
    device: torch.device,
) -> Fitted:
    """Latents and reward, kept; and the gate's thresholds from what both show on the traces."""
    known_by = digest_of_dictionary(dictionary)
    plan = made_from | {"dictionary": known_by, "right": list(traces["correct"])} | code_of(__name__)
    keep(
        folder / "latents",
        "latents",
        plan,
        lambda made: save_latents(encode_traces(dictionary, activations(), traces), made),
    )
    latents = load_latents(folder / "latents")

    def train(made: Path) -> None:
        trained = train_reward(latents, variant, section, made_from["seed"], str(device))
        save_reward(trained.model, made)
        write_frame(made / "heldout.arrow", trained.heldout)

    keep(folder / "reward", "reward", plan | {"variant": variant, "reward": section.model_dump()}, train)
    reward = load_reward(folder / "reward", device)
    heldout = Dataset.from_file(str(folder / "reward/heldout.arrow")).to_pandas()
    scores = score_traces(reward, latents, np.arange(len(latents)), section.batch_size)["probability"]
    confidences = np.concatenate([values[:-1] for values in traces["confidence"]])
    thresholds = float(scores.quantile(_QUANTILES[0])), float(np.quantile(confidences, _QUANTILES[1]))
    quality, accuracy = summarise(variant, heldout), float(np.mean(list(traces["correct"])))
    gate = Gate(*thresholds)
    about = {name: made_from[name] for name in ("model", "layer")} | {"dictionary": known_by, "gate": asdict(gate)}
    about |= {"quality": quality, "accuracy": accuracy}
    write_text(folder / _ABOUT, json.dumps(about, sort_keys=True, indent=2, default=float) + "\n")
    return Fitted(made_from["layer"], dictionary, reward, gate, quality, accuracy)


def load_fitted(folder: str | Path, model: PreTrainedModel, dictionary: Dictionary | None = None) -> Fitted:
    """What `fit` has made in a folder, without problems and judge, on the device of the model.

    Args:
        dictionary: the one that was brought along, if one was.

    Raises:
        StoreError: nothing was fitted there, a file is damaged, or the model or the dictionary is another one.
    """
    folder = Path(folder)
    if not (folder / _ABOUT).exists():
        raise StoreError(f"there is no {folder / _ABOUT}: let `lrs.fit` make it")
    about = json.loads((folder / _ABOUT).read_text("utf-8"))
    if (identity := identity_of(model)) != about["model"]:
        raise StoreError(f"{folder} was fitted to another model (in weights, configuration or number format)")
    dictionary = dictionary or load_dictionary(folder / "sae", identity, about["layer"], model.device)
    if digest_of_dictionary(dictionary) != about["dictionary"]:
        raise StoreError(f"{folder} was fitted with another dictionary: bring along the same")
    reward, gate = load_reward(folder / "reward", model.device), Gate(**about["gate"])
    return Fitted(about["layer"], dictionary, reward, gate, about["quality"], about["accuracy"])


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Whatever ends a generation, for the model or for its tokenizer."""
    ends = model.generation_config.eos_token_id
    return sorted({*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id} - {None})


def identity_of(model: PreTrainedModel) -> str:
    """Of configuration and weights."""
    return fingerprint([model.config.to_json_string(), *map(_bytes, model.parameters())])


def digest_of_dictionary(dictionary: Dictionary) -> str:
    """Of all that a dictionary reads and writes."""
    probe = torch.eye(dictionary.W_dec.shape[1], dtype=dictionary.W_dec.dtype, device=dictionary.W_dec.device)
    return fingerprint([dictionary.input_scale, _bytes(dictionary.W_dec), _bytes(dictionary.encode(probe))])


def _bytes(tensor: Tensor) -> str:
    """A hash of a tensor's values, whatever device they are on."""
    return sha256(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data).hexdigest()
