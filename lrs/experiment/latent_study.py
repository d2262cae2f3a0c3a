"""The study of what a backbone's latents mean, made once and kept: a row a latent, and a row a word that was put in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from jaxtyping import Float
from torch import Tensor

from lrs.core.closure import code_of
from lrs.core.frames import most
from lrs.core.kept import digest_of, keep, read_kept
from lrs.core.progress import Progress
from lrs.core.store import write_frame
from lrs.experiment.cases import extremes
from lrs.learning.influence import (
    Pair,
    ablation_effects,
    injected,
    logit_attribution,
    output_scores,
    shapley_values,
)
from lrs.learning.latents import LatentTraces
from lrs.learning.meaning import as_matrix, behavior_of_tokens, latent_facts, opening_tokens
from lrs.method.dictionary import Dictionary, load_dictionary
from lrs.method.reward import LatentRewardModel, load_reward
from lrs.models.activations import pairs_of
from lrs.models.backbones import Backbone
from lrs.models.devices import describe_device
from lrs.tasks.labeller import finder_for
from lrs.tasks.problems import Problem

if TYPE_CHECKING:
    from lrs.config import Config

_STUDIED = 128  # latents that raise the reward most, and as many that lower it most: of small dictionaries, all
_TRACES = 64  # in which latents are taken out, and words put in
_ADDED = 8  # of these, to which a latent is added
_LONGEST = 128  # tokens of each that are read: all logits of all traces are held at once
_TOKENS = 256  # whose rewards are shared out
_WORD_TEST = ["word", "latent", "genuine", "genuine_se", "n_genuine", "put_in", "put_in_se", "n_put_in"]


class LatentStudy(NamedTuple):
    """What `keep_study` keeps.

    Attributes:
        latents: a row a latent: the columns of `latent_facts`; shapley (mean share in the paper's reward, logits, where
            it is active); promotes and demotes (tokens, by direct attribution); pushed (how far one step of the
            causal reward moves it, on average); of those that are studied, kl, lost and gained of `ablation_effects`,
            if they fire in the traces that are read, and score and score_without of `output_scores`; standard errors
            over tokens of two of the means, shapley_se and pushed_se; of those that are studied, if they fire in the
            traces that are read, the word on which each fires most strongly there, and what is told of `words`.
        words: a row a behavior and the latent most tied to its beginning: word (the token that opens it), latent,
            genuine and put_in (its mean where the model wrote the word, and where it was put in the place of another),
            their standard errors genuine_se and put_in_se, n_genuine and n_put_in.
    """

    latents: pd.DataFrame
    words: pd.DataFrame


def study(
    backbone: Backbone,
    dictionary: Dictionary,
    latents: LatentTraces,
    traces: Dataset,
    problems: Sequence[Problem],
    rewards: tuple[LatentRewardModel, LatentRewardModel],
    layer: int,
    seed: int,
    on_finished: Callable[[int], None] = lambda count: None,
) -> LatentStudy:
    """What the latents of some traces mean.

    Args:
        traces: whose latents these are, in their order.
        rewards: the paper's, whose values are shared out, and the causal one, whose push is told.
        on_finished: told each time that a latent was taken out, added, or tested on its word.
    """
    rng, names = np.random.default_rng(seed), backbone.tokenizer.convert_ids_to_tokens
    written = [list(ids) for ids in traces["token_ids"]]
    finders = {problem.id: finder_for(problem.benchmark) for problem in problems}
    told = [
        behavior_of_tokens(ids, backbone.tokenizer, finders[name])
        for ids, name in zip(written, traces["problem_id"], strict=True)
    ]
    table = latent_facts(latents, [of_trace.inside[:-1] for of_trace in told])
    some = rng.choice(len(latents), min(_TRACES, len(latents)), replace=False)
    dense, mask = latents.dense(some, backbone.device)
    tokens = dense[mask][torch.from_numpy(rng.permutation(int(mask.sum()))[:_TOKENS])]
    paper, causal = rewards
    values = shapley_values(paper, tokens.to(paper.dtype), seed=seed).cpu()
    active = (tokens != 0).cpu()
    table["shapley"] = (values.sum(dim=0) / active.sum(dim=0).clamp_min(1)).numpy()
    table["shapley_se"] = pd.DataFrame(values.numpy()).where(active.numpy()).sem()
    attribution = logit_attribution(backbone, dictionary)
    for name, ids in (("promotes", attribution.argmax(dim=1)), ("demotes", attribution.argmin(dim=1))):
        table[name] = names(ids.tolist())
    pushes = causal.direction(tokens.to(causal.dtype)).detach().cpu()
    table["pushed"], table["pushed_se"] = pushes.mean(dim=0).numpy(), pd.DataFrame(pushes.numpy()).sem()
    pairs = [(prompt, ids[:_LONGEST]) for prompt, ids in pairs_of(backbone, traces.select(some), problems)]
    studied = extremes(table, _STUDIED)["latent"].tolist()
    effects = ablation_effects(backbone, layer, dictionary, pairs, studied, on_finished=on_finished)
    effects = effects.assign(**{side: names(effects[side].tolist()) for side in ("lost", "gained")})
    strengths = as_matrix(latents).max(axis=0).toarray()[0][studied].tolist()
    scores = output_scores(backbone, layer, dictionary, pairs[:_ADDED], studied, strengths, on_finished)
    table = table.merge(effects.drop(columns="n"), on="latent", how="left")
    table = table.merge(scores.drop(columns="token"), on="latent", how="left")
    put = cache(lambda token: injected(backbone, layer, dictionary, pairs, token, seed))
    strongest = []
    for latent in studied:
        if (token := _strongest(dense, pairs, latent)) is not None:
            strongest.append(_word_test(latent, token, put(token), backbone))
        on_finished(1)
    table = table.merge(pd.DataFrame(strongest, columns=_WORD_TEST), on="latent", how="left")
    openings = [of_trace.opens[:-1] for of_trace in told]
    opening, rows = latent_facts(latents, openings), []
    for behavior, token in opening_tokens(written, openings).items():
        latent = int(most(opening, f"in_{behavior}")["latent"])
        rows.append({"behavior": behavior} | _word_test(latent, token, put(token), backbone))
    return LatentStudy(table, pd.DataFrame(rows))


def _strongest(dense: Float[Tensor, "traces places d_sae"], pairs: Sequence[Pair], latent: int) -> int | None:
    """The token on which a latent fires most strongly, of those that are read of some traces; None if on none."""
    values = dense[:, : _LONGEST - 1, latent].cpu().numpy()
    trace, place = np.unravel_index(values.argmax(), values.shape)
    return pairs[int(trace)][1][int(place)] if values[trace, place] > 0 else None


def _word_test(latent: int, token: int, found: tuple[Tensor, Tensor], backbone: Backbone) -> dict[str, object]:
    """What a latent does on a word, a row of `_WORD_TEST`.

    Args:
        found: of `injected`.
    """
    row: dict[str, object] = {"word": backbone.tokenizer.convert_ids_to_tokens(token), "latent": latent}
    for name, states in zip(("genuine", "put_in"), found, strict=True):
        fired = pd.Series(states[:, latent].float().cpu().numpy())
        row |= {name: float(fired.mean()), f"{name}_se": fired.sem(), f"n_{name}": len(fired)}
    return row


def keep_study(
    backbone: Backbone,
    latents: LatentTraces,
    traces: Dataset,
    problems: Sequence[Problem],
    config: Config,
    folder: Path,
) -> LatentStudy:
    """`study` of the profile's traces, made once and kept."""
    read = {"sae": config.data / "sae", "latents": config.data / "latents", "traces": config.data / "traces"}
    read |= {name: config.data / "reward" / name for name in ("token", "causal")}
    plan = {
        "backbone": backbone.identity,
        "device": describe_device(backbone.device),
        "layer": config.backbone.layer,
        "made_from": {name: digest_of(path) for name, path in read.items()},
        "seed": config.seed,
    }

    def make(made: Path) -> None:
        dictionary = load_dictionary(read["sae"], backbone.identity, config.backbone.layer, backbone.device)
        rewards = load_reward(read["token"], backbone.device), load_reward(read["causal"], backbone.device)
        layer, steps = config.backbone.layer, 3 * min(2 * _STUDIED, len(dictionary.W_dec))
        with Progress("meaning of latents", steps, "steps") as progress:
            found = study(
                backbone, dictionary, latents, traces, problems, rewards, layer, config.seed, progress.advance
            )
        for name, table in found._asdict().items():
            write_frame(made / f"{name}.arrow", table)

    keep(folder, "meaning of latents", plan | code_of(__name__), make)
    return LatentStudy(*(read_kept(folder / f"{name}.arrow").to_pandas() for name in LatentStudy._fields))
