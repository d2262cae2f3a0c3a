"""What latents mean: when each fires, what it writes, what it does to the next token, and whether it knows a behavior
or merely a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from lrs.learning.latents import LatentTraces
from lrs.method.dictionary import Dictionary
from lrs.method.reward import LatentRewardModel
from lrs.models.activations import pad_right
from lrs.models.backbones import Backbone, edited_layer
from lrs.tasks.behaviors import BEHAVIORS, find_behaviors

_BEFORE, _AFTER = 14, 5  # tokens of a context, around where a latent fires

Pair = tuple[list[int], list[int]]  # ids of a prompt and of what was written


class Context(NamedTuple):
    """Where a latent fires: a token of a trace, and how strongly."""

    trace: int
    position: int
    value: float


class Told(NamedTuple):
    """Of every token of a text, the behavior in whose span it stands, and the one whose span it opens; None where there
    is none."""

    inside: list[str | None]
    opens: list[str | None]


def behavior_of_tokens(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> Told:
    """What each token of a text has to do with behaviors."""
    ends = [len(tokenizer.decode(ids[: place + 1])) for place in range(len(ids))]
    inside: list[str | None] = [None] * len(ids)
    opens: list[str | None] = [None] * len(ids)
    for span in find_behaviors(tokenizer.decode(ids)):
        within = [place for place, end in enumerate(ends) if span.start < end <= span.end]
        for place in within:
            inside[place] = span.behavior
        if within:
            opens[within[0]] = span.behavior
    return Told(inside, opens)


def opening_tokens(written: Sequence[Sequence[int]], openings: Sequence[Sequence[str | None]]) -> dict[str, int]:
    """The token with which the spans of each behavior begin most often; behaviors that are never shown are left out.

    Args:
        openings: of every token of every trace, the behavior whose span begins there.
    """
    first: dict[str, Counter[int]] = {}
    for ids, told in zip(written, openings, strict=True):
        for token, behavior in zip(ids, told, strict=False):
            if behavior:
                first.setdefault(behavior, Counter())[token] += 1
    return {behavior: first[behavior].most_common(1)[0][0] for behavior in BEHAVIORS if behavior in first}


def as_matrix(latents: LatentTraces) -> csr_matrix:
    """Latents of all tokens, (tokens, d_sae), sparse."""
    shape = int(latents.offsets[-1]), latents.d_sae
    return csr_matrix((latents.value, latents.index, latents.starts), shape=shape)


def _correlations(columns: csr_matrix | np.ndarray, target: np.ndarray) -> np.ndarray:
    """Pearson's, of every column with a target; zero where either never varies."""
    count, target = columns.shape[0], target - target.mean()
    means = np.asarray(columns.mean(axis=0)).ravel()
    squares = columns.multiply(columns) if isinstance(columns, csr_matrix) else columns**2
    spread = np.sqrt(np.maximum(np.asarray(squares.mean(axis=0)).ravel() - means**2, 0) * target.var())
    together = np.asarray(columns.T @ target).ravel() / count
    return np.divide(together, spread, out=np.zeros_like(together), where=spread > 1e-12)


def latent_facts(latents: LatentTraces, behaviors: Sequence[Sequence[str | None]]) -> pd.DataFrame:
    """When latents fire.

    Args:
        behaviors: of every processed token of every trace.

    Returns:
        A row a latent: density (share of the tokens), mean (where it is active), `in_<behavior>` (correlation, over
        tokens, of its being active with the token being in such a span) and correct_within (correlation, over traces,
        of its mean with the answer being right, both less the means of the same problem).
    """
    matrix = as_matrix(latents)
    active = matrix.copy()
    active.data = np.ones_like(active.data)
    counts = np.asarray(active.sum(axis=0)).ravel()
    table = {"latent": np.arange(latents.d_sae), "density": counts / matrix.shape[0]}
    table["mean"] = np.asarray(matrix.sum(axis=0)).ravel() / np.maximum(counts, 1)
    told = np.array([behavior for trace in behaviors for behavior in trace], dtype=object)
    for behavior in BEHAVIORS:
        table[f"in_{behavior}"] = _correlations(active, (told == behavior).astype(float))
    traces = np.repeat(np.arange(len(latents)), latents.lengths)
    sums = csr_matrix((np.ones(len(traces)), (traces, np.arange(len(traces)))), shape=(len(latents), len(traces)))
    means = np.asarray((sums @ matrix).todense()) / np.maximum(latents.lengths, 1)[:, None]
    frame = pd.DataFrame(means).assign(correct=latents.correct.astype(float))
    centred = (frame - frame.groupby(latents.problem_ids).transform("mean")).to_numpy()
    table["correct_within"] = _correlations(centred[:, :-1], centred[:, -1])
    return pd.DataFrame(table)


def top_contexts(latents: LatentTraces, latent: int, count: int = 15) -> list[Context]:
    """Where a latent fires most strongly, once a trace."""
    found = np.flatnonzero(latents.index == latent)
    tokens = np.searchsorted(latents.starts, found, side="right") - 1
    traces = np.searchsorted(latents.offsets, tokens, side="right") - 1
    best: dict[int, Context] = {}
    for place in np.argsort(-latents.value[found], kind="stable"):
        trace = int(traces[place])
        if trace not in best:
            position = int(tokens[place] - latents.offsets[trace])
            best[trace] = Context(trace, position, float(latents.value[found[place]]))
        if len(best) == count:
            break
    return list(best.values())


def cards_of(
    table: pd.DataFrame,
    latents: LatentTraces,
    words: Sequence[Sequence[str]],
    promotes: Sequence[Sequence[str]],
    demotes: Sequence[Sequence[str]],
    count: int = 15,
) -> list[dict[str, Any]]:
    """What a dashboard tells of every latent that ever fires.

    Args:
        table: a row a latent: the numbers to be told, by name.
        words: the tokens of each trace, as text.
        promotes, demotes: tokens of each latent's direct attribution.
        count: contexts of each.

    Returns:
        Of each latent: latent, facts (numbers by name), promotes, demotes, and contexts: words, values (how strongly it
        fires on each) and at (where most).
    """
    matrix, cards = as_matrix(latents), []
    for row, more, less in zip(table.to_dict("records"), promotes, demotes, strict=True):
        latent, contexts = int(row.pop("latent")), []
        column = matrix.getcol(latent).toarray().ravel()
        for trace, position, _ in top_contexts(latents, latent, count):
            start, first = latents.offsets[trace], max(0, position - _BEFORE)
            end = min(position + _AFTER, int(latents.lengths[trace]))
            values = column[start + first : start + end].tolist()
            contexts.append({"words": list(words[trace][first:end]), "values": values, "at": position - first})
        if contexts:
            told = {"latent": latent, "facts": row, "promotes": list(more), "demotes": list(less)}
            cards.append(told | {"contexts": contexts})
    return cards


@torch.no_grad()
def logit_attribution(backbone: Backbone, dictionary: Dictionary) -> Float[Tensor, "d_sae vocabulary"]:
    """What each latent adds to the logits directly, past all layers above, up to the scale of the last norm and to what
    that norm takes away along the stream itself. A LayerNorm centres what it reads, an RMSNorm does not."""
    inner = backbone.model.base_model
    norm = next(getattr(inner, name) for name in ("norm", "ln_f", "final_layernorm") if hasattr(inner, name))
    unembedding = backbone.model.get_output_embeddings().weight
    written = dictionary.W_dec.to(unembedding)
    if isinstance(norm, nn.LayerNorm):
        written = written - written.mean(dim=1, keepdim=True)
    return (written * norm.weight) @ unembedding.T


@torch.no_grad()
def _logits(
    backbone: Backbone, layer: int, pairs: Sequence[Pair], edit: Callable[[Tensor], Tensor]
) -> list[Float[Tensor, "processed vocabulary"]]:
    """Next-token logits at every processed token of some traces, the layer's output edited there."""
    read = pad_right([prompt + ids[:-1] for prompt, ids in pairs], backbone.tokenizer.pad_token_id, backbone.device)
    written = torch.zeros_like(read["input_ids"], dtype=torch.bool)
    for row, (prompt, ids) in enumerate(pairs):
        written[row, len(prompt) : len(prompt) + len(ids) - 1] = True

    def change(hidden: Tensor) -> Tensor:
        return hidden.index_put((written,), edit(hidden[written]))

    with edited_layer(backbone.model, layer, change):
        logits = backbone.model(**read, use_cache=False).logits
    return list(logits[written].split([len(ids) - 1 for _, ids in pairs]))


def ablation_effects(
    backbone: Backbone, layer: int, dictionary: Dictionary, pairs: Sequence[Pair], latents: Sequence[int]
) -> pd.DataFrame:
    """What the model loses without a latent, at the tokens where it fires, its part of the residual stream taken out.

    Returns:
        A row a latent: n (tokens), kl (mean divergence of the next token's distribution, nats), lost and gained (the
        tokens whose probability falls and rises most, on average).
    """
    whole = torch.cat(_logits(backbone, layer, pairs, lambda hidden: hidden)).log_softmax(dim=-1)
    rows = []
    for latent in latents:
        seen: list[Tensor] = []

        def without(hidden: Tensor, latent: int = latent, seen: list[Tensor] = seen) -> Tensor:
            value = dictionary.encode(hidden)[:, latent]
            seen.append(value > 0)
            return hidden - (value[:, None] * dictionary.W_dec[latent] / dictionary.input_scale).to(hidden.dtype)

        less = torch.cat(_logits(backbone, layer, pairs, without)).log_softmax(dim=-1)
        (fires,) = seen
        p, q = whole[fires], less[fires]
        change = (q.exp() - p.exp()).mean(dim=0)
        rows.append(
            {"latent": latent, "n": int(fires.sum()), "kl": float((p.exp() * (p - q)).sum(dim=-1).mean())}
            | {"lost": int(change.argmin()), "gained": int(change.argmax())}
        )
    return pd.DataFrame(rows)


def injected(
    backbone: Backbone, layer: int, dictionary: Dictionary, pairs: Sequence[Pair], word: int, seed: int = 0
) -> tuple[Float[Tensor, "genuine d_sae"], Float[Tensor, "injected d_sae"]]:
    """Latents at a word where the model wrote it, and where it was put in the place of another, drawn by lot, one a
    trace: a latent that fires alike knows the word, and not what it does."""
    rng = np.random.default_rng(seed)
    genuine, put_in = [], []
    for prompt, ids in pairs:
        places = [place for place, token in enumerate(ids[:-1]) if token == word]
        others = [place for place in range(1, len(ids) - 1) if ids[place] != word and ids[place - 1] != word]
        if places:
            genuine.append((prompt, ids[: int(rng.choice(places)) + 1]))
        if others:
            put_in.append((prompt, [*ids[: int(rng.choice(others))], word]))
    return tuple(_at_last(backbone, layer, dictionary, some) for some in (genuine, put_in))


@torch.no_grad()
def _at_last(
    backbone: Backbone, layer: int, dictionary: Dictionary, pairs: Sequence[Pair]
) -> Float[Tensor, "pairs d_sae"]:
    found: list[Tensor] = []
    if not pairs:
        return torch.zeros(0, len(dictionary.W_dec))
    read = pad_right([prompt + ids for prompt, ids in pairs], backbone.tokenizer.pad_token_id, backbone.device)
    ends = torch.tensor([len(prompt) + len(ids) - 1 for prompt, ids in pairs], device=backbone.device)
    with edited_layer(backbone.model, layer, lambda hidden: found.append(hidden) or hidden):
        backbone.model(**read, use_cache=False)
    return dictionary.encode(found[0][torch.arange(len(pairs)), ends])


def output_scores(
    backbone: Backbone,
    layer: int,
    dictionary: Dictionary,
    pairs: Sequence[Pair],
    latents: Sequence[int],
    strengths: Sequence[float],
) -> pd.DataFrame:
    """How surely a latent, added at a strength, makes the model say what it promotes (after Arad et al. 2025).

    Returns:
        A row a latent: token (the one that `logit_attribution` says it promotes most), score (that token's probability
        times 1 - rank / vocabulary, averaged over the processed tokens) and score_without (the same, nothing added).
    """
    tokens = logit_attribution(backbone, dictionary)[list(latents)].argmax(dim=1).tolist()
    plain = torch.cat(_logits(backbone, layer, pairs, lambda hidden: hidden))

    def score(logits: Tensor, token: int) -> float:
        rank = (logits > logits[:, token : token + 1]).sum(dim=1)
        return float((logits.softmax(dim=-1)[:, token] * (1 - rank / logits.shape[1])).mean())

    rows = []
    for latent, token, strength in zip(latents, tokens, strengths, strict=True):
        push = strength * dictionary.W_dec[latent] / dictionary.input_scale
        logits = torch.cat(_logits(backbone, layer, pairs, lambda hidden, push=push: hidden + push.to(hidden.dtype)))
        rows.append({"latent": latent, "token": token, "score": score(logits, token)})
        rows[-1]["score_without"] = score(plain, token)
    return pd.DataFrame(rows)


@torch.no_grad()
def shapley_values(
    reward: LatentRewardModel, tokens: Float[Tensor, "tokens d_sae"], orders: int = 16, seed: int = 0
) -> Float[Tensor, "tokens d_sae"]:
    """Shapley values of the active latents for a token's reward logit, by sampled orders: what each adds when it joins
    those before it, all others being zero. They sum to the logit less that of no latents."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.zeros_like(tokens)
    for row, token in enumerate(tokens):
        active = token.nonzero()[:, 0]
        for _ in range(orders):
            order = active[torch.randperm(len(active), generator=generator)]
            steps = torch.zeros(len(order) + 1, len(token), dtype=token.dtype, device=token.device)
            for place, latent in enumerate(order, start=1):
                steps[place:, latent] = token[latent]
            logits = reward(steps[:, None])[:, 0]
            values[row, order] += logits.diff() / orders
    return values
