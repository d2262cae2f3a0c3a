"""What latents go with: when each fires, in which contexts, in whose spans; as tables, and as cards of a dashboard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.sparse import csr_matrix
from transformers import PreTrainedTokenizerBase

from lrs.learning.latents import LatentTraces
from lrs.tasks.behaviors import BEHAVIORS, Span, find_behaviors
from lrs.tasks.prompts import text_of

_BEFORE, _AFTER = 14, 5  # tokens of a context, around where a latent fires
_ATTRIBUTED, _BINS = 10, 24  # tokens to each side of a card, and bins of its histograms


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


def behavior_of_tokens(
    ids: Sequence[int], tokenizer: PreTrainedTokenizerBase, find: Callable[[str], list[Span]] = find_behaviors
) -> Told:
    """What each token of a text has to do with behaviors; where spans overlap, with that of the last one.

    Args:
        find: what finds behaviors in the text (`lrs.tasks.labeller.finder_for` its benchmark).
    """
    ends = [len(text_of(ids[: place + 1], tokenizer)) for place in range(len(ids))]
    inside: list[str | None] = [None] * len(ids)
    opens: list[str | None] = [None] * len(ids)
    for span in find(text_of(ids, tokenizer)):
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
        tokens, of its being active with the token being in such a span), correct_within (correlation, over traces, of
        its mean with the answer being right, both less the means of the same problem) and with_length (correlation,
        over traces, of its mean with the number of tokens).
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
    table["with_length"] = _correlations(means, latents.lengths.astype(float))
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
    attribution: Float[np.ndarray, "d_sae vocabulary"],
    vocabulary: Sequence[str],
    count: int = 15,
) -> list[dict[str, Any]]:
    """What a dashboard tells of every latent that ever fires.

    Args:
        table: a row a latent: the numbers and the words to be told, by name.
        words: the tokens of each trace, as text.
        attribution: what each latent adds to the logit of each token (`logit_attribution`).
        vocabulary: these tokens, as text.
        count: contexts of each.

    Returns:
        Of each latent: latent, facts (numbers by name), said (words by name, where there are any); promotes and
        demotes, the ten tokens to which it adds most and least, with how much; activations and attributions, histograms
        (counts, and edges of the bins) of how strongly it fires, where it does, and of what it adds to all tokens;
        contexts: words, values (how strongly it fires on each) and at (where most).
    """
    matrix, cards = as_matrix(latents), []
    numbers = table.select_dtypes("number")
    said = [row.dropna().to_dict() for _, row in table.drop(columns=list(numbers)).iterrows()]
    for row, words_said, added in zip(numbers.to_dict("records"), said, attribution, strict=True):
        latent, contexts = int(row.pop("latent")), []
        column = matrix.getcol(latent).toarray().ravel()
        for trace, position, _ in top_contexts(latents, latent, count):
            start, first = latents.offsets[trace], max(0, position - _BEFORE)
            end = min(position + _AFTER, int(latents.lengths[trace]))
            values = column[start + first : start + end].tolist()
            contexts.append({"words": list(words[trace][first:end]), "values": values, "at": position - first})
        if contexts:
            order = added.argsort(kind="stable")
            told = {"latent": latent, "facts": row, "said": words_said, "contexts": contexts}
            for side, ids in (("promotes", order[::-1][:_ATTRIBUTED]), ("demotes", order[:_ATTRIBUTED])):
                told[side] = [(vocabulary[token], float(added[token])) for token in ids]
            for name, values in (("activations", column[column > 0]), ("attributions", added)):
                told[name] = tuple(part.tolist() for part in np.histogram(values, _BINS))
            cards.append(told)
    return cards


def contexts_of(cards: Sequence[Mapping[str, Any]], latents: Sequence[int]) -> pd.DataFrame:
    """The contexts of some latents, those of `cards_of`, strongest first.

    Returns:
        A row a context: latent, highest (the latent's strongest activation), words, values, at, and text (the words,
        the one at which it is strongest in brackets).
    """
    by_latent = {card["latent"]: card["contexts"] for card in cards}
    rows = []
    for latent in latents:
        for context in by_latent.get(latent, []):
            marked = [f"[{word}]" if place == context["at"] else word for place, word in enumerate(context["words"])]
            highest = max(by_latent[latent][0]["values"])
            rows.append({"latent": latent, "highest": highest} | context | {"text": " ".join(marked)})
    return pd.DataFrame(rows, columns=["latent", "highest", "words", "values", "at", "text"])
