"""What latents do: what each writes, what the next token is without it or with more of it, and what it adds to a
reward."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lrs.method.dictionary import Dictionary
from lrs.method.reward import LatentRewardModel
from lrs.models.activations import layer_states, pad_right
from lrs.models.backbones import Backbone, edited_layer

Pair = tuple[list[int], list[int]]  # ids of a prompt and of what was written


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
    backbone: Backbone,
    layer: int,
    dictionary: Dictionary,
    pairs: Sequence[Pair],
    latents: Sequence[int],
    most: int = 8,
    on_finished: Callable[[int], None] = lambda count: None,
) -> pd.DataFrame:
    """What the model loses without a latent, at the tokens where it fires, its part of the residual stream taken out.

    Args:
        most: traces that are read without a latent: the first of those in which it fires.

    Returns:
        A row a latent of those that fire in any of the traces: latent, n (tokens), kl (mean divergence of the next
        token's distribution, nats), lost and gained (the tokens whose probability falls and rises most, on average).
    """
    found: list[Tensor] = []

    def note(hidden: Tensor) -> Tensor:
        found.append(dictionary.encode(hidden))
        return hidden

    whole = _logits(backbone, layer, pairs, note)
    values, rows = found[0].split([len(logits) for logits in whole]), []
    for latent in latents:
        chosen = [place for place, of_trace in enumerate(values) if (of_trace[:, latent] > 0).any()][:most]
        if chosen:
            value = torch.cat([values[place][:, latent] for place in chosen])
            part = value[:, None] * dictionary.W_dec[latent] / dictionary.input_scale
            less = _logits(backbone, layer, [pairs[place] for place in chosen], _adding(-part))
            with_it = [whole[place] for place in chosen]
            p, q = (torch.cat(logits)[value > 0].log_softmax(dim=-1) for logits in (with_it, less))
            change = (q.exp() - p.exp()).mean(dim=0)
            rows.append(
                {"latent": latent, "n": len(p), "kl": float((p.exp() * (p - q)).sum(dim=-1).mean())}
                | {"lost": int(change.argmin()), "gained": int(change.argmax())}
            )
        on_finished(1)
    return pd.DataFrame(rows)


def _adding(push: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda hidden: hidden + push.to(hidden.dtype)


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
    return _at_last(backbone, layer, dictionary, genuine), _at_last(backbone, layer, dictionary, put_in)


def _at_last(
    backbone: Backbone, layer: int, dictionary: Dictionary, pairs: Sequence[Pair]
) -> Float[Tensor, "pairs d_sae"]:
    if not pairs:
        return torch.zeros(0, len(dictionary.W_dec))
    pad_id = backbone.tokenizer.pad_token_id
    read = [(prompt, [*ids, pad_id]) for prompt, ids in pairs]  # the last token of a trace is never processed
    states = layer_states(backbone.model, layer, read, pad_id)
    return dictionary.encode(torch.stack([of_trace[-1] for of_trace in states]))


def output_scores(
    backbone: Backbone,
    layer: int,
    dictionary: Dictionary,
    pairs: Sequence[Pair],
    latents: Sequence[int],
    strengths: Sequence[float],
    on_finished: Callable[[int], None] = lambda count: None,
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

    rows, without = [], {token: score(plain, token) for token in set(tokens)}
    for latent, token, strength in zip(latents, tokens, strengths, strict=True):
        push = strength * dictionary.W_dec[latent] / dictionary.input_scale
        logits = torch.cat(_logits(backbone, layer, pairs, _adding(push)))
        told = {"score": score(logits, token), "score_without": without[token]}
        rows.append({"latent": latent, "token": token} | told)
        on_finished(1)
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
