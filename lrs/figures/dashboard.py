"""The page of latents that 07_latents writes, and traces as coloured text: HTML that needs no network."""

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_MARK = "255,140,0"  # red, green and blue of a token on which a latent fires
_SAID = {
    "lost": "without it the next token is less often",
    "gained": "without it the next token is more often",
    "word": "fires most (genuine: where the model wrote it; put_in: where it took the place of another) on",
}
_WIDE, _HIGH = 200, 40  # of a histogram, in CSS pixels
_STYLE = """body{font:14px/1.45 system-ui,sans-serif;margin:1.5em auto;max-width:72em;padding:0 1em}
.card{border:1px solid #bbb;border-radius:6px;margin:1em 0;padding:.6em 1em}
.card h2{font-size:1.05em;margin:.2em 0}.facts{color:#555}.words{font-family:monospace}
.line{font-family:monospace;margin:.15em 0;white-space:pre-wrap}
.drawn{display:flex;flex-wrap:wrap;gap:1.5em;margin:.5em 0}figure{margin:0}figcaption{color:#777;font-size:.85em}
svg{fill:rgb(255,140,0);border-bottom:1px solid #bbb;display:block}
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}.facts,figcaption{color:#aaa}}"""
_SCRIPT = """const cards=[...document.querySelectorAll('.card')],box=document.querySelector('#cards');
const facts=JSON.parse(document.querySelector('#facts').textContent);
document.querySelector('#sort').onchange=e=>{const by=e.target.value;
cards.sort((a,b)=>facts[b.dataset.latent][by]-facts[a.dataset.latent][by]).forEach(c=>box.append(c))};
document.querySelector('#find').oninput=e=>{const text=e.target.value.toLowerCase();
cards.forEach(c=>c.hidden=!c.textContent.toLowerCase().includes(text))};"""


def context_html(shown: Mapping[str, Any], highest: float) -> str:
    """A line of text, each token on a background as strong as the latent fires on it; `highest` is full strength.

    Args:
        shown: one of the `contexts` of `lrs.learning.meaning.cards_of`.
    """
    marked = []
    for place, (word, value) in enumerate(zip(shown["words"], shown["values"], strict=True)):
        weight = "font-weight:bold" if place == shown["at"] else ""
        shade = f"background:rgba({_MARK},{min(value / highest, 1):.2f})" if value > 0 else ""
        style = ";".join(part for part in (shade, weight) if part)
        told = f' style="{style}" title="{value:.2f}"' if style else ""
        marked.append(f"<span{told}>{html.escape(word)}</span>")
    return f'<div class="line">{" ".join(marked)}</div>'


def case_html(words: Sequence[str], rewards: Sequence[float], changed: Sequence[bool]) -> str:
    """A trace, each token on a background as strong as its reward (0 to 1), and underlined where a push made it another
    one than would have come."""
    marked = []
    for word, reward, other in zip(words, rewards, changed, strict=True):
        style = f"background:rgba({_MARK},{reward:.2f})" + (";border-bottom:2px solid" if other else "")
        marked.append(f'<span style="{style}" title="{reward:.2f}">{html.escape(word)}</span>')
    return f'<div style="font-family:monospace">{" ".join(marked)}</div>'


def histogram_html(counts: Sequence[float], edges: Sequence[float], told: str) -> str:
    """A small histogram: a bar a bin, the tallest as high as it is, with its ends and what is counted below it."""
    step, most = _WIDE / max(len(counts), 1), max([*counts, 1])
    bars = "".join(
        f'<rect x="{place * step:.1f}" y="{_HIGH * (1 - count / most):.1f}" width="{step - 1:.1f}" '
        f'height="{_HIGH * count / most:.1f}"><title>{count:g}: {low:.3g} to {high:.3g}</title></rect>'
        for place, (count, low, high) in enumerate(zip(counts, edges, edges[1:], strict=False))
    )
    ends = f"{html.escape(told)}, {edges[0]:.2g} to {edges[-1]:.2g}"
    drawn = f'<svg width="{_WIDE}" height="{_HIGH}" role="img" aria-label="{ends}">{bars}</svg>'
    return f"<figure>{drawn}<figcaption>{ends}</figcaption></figure>"


def card_html(card: Mapping[str, Any]) -> str:
    """A latent: its numbers, the tokens of its direct attribution, those that hang on it, the one on which it fires
    most strongly, how strongly it fires, and its strongest contexts.

    Args:
        card: one of `lrs.learning.meaning.cards_of`.
    """
    highest = max((value for shown in card["contexts"] for value in shown["values"]), default=1.0)
    known = {name: value for name, value in card["facts"].items() if value == value}
    facts = " &middot; ".join(f"{html.escape(name)} {value:.3g}" for name, value in known.items())
    lists = "".join(
        f'<div>{side} <span class="words">{html.escape(", ".join(f"{word} {by:+.2f}" for word, by in card[side]))}'
        "</span></div>"
        for side in ("promotes", "demotes")
    )
    lists += "".join(
        f'<div>{label} <span class="words">{html.escape(card["said"][name])}</span></div>'
        for name, label in _SAID.items()
        if name in card["said"]
    )
    shown = (("activations", "activations"), ("attributions", "logits, by token"))
    drawn = "".join(histogram_html(card[name][0], card[name][1], label) for name, label in shown)
    lines = "\n".join(context_html(shown, highest) for shown in card["contexts"])
    return (
        f'<section class="card" data-latent="{card["latent"]}"><h2>latent {card["latent"]}</h2>'
        f'<div class="facts">{facts}</div>{lists}<div class="drawn">{drawn}</div>\n{lines}</section>'
    )


def dashboard_html(cards: Sequence[Mapping[str, Any]], title: str) -> str:
    """A page of its own that needs no network: all cards, to be searched and to be sorted by any of their numbers."""
    names = list(cards[0]["facts"]) if cards else []
    facts = {
        card["latent"]: {name: float(np.nan_to_num(value)) for name, value in card["facts"].items()} for card in cards
    }
    options = "".join(f"<option>{html.escape(name)}</option>" for name in names)
    body = "\n".join(map(card_html, cards))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1>"
        f'<p>find <input id="find"> sort by <select id="sort">{options}</select></p>'
        f'<main id="cards">\n{body}\n</main><script type="application/json" id="facts">{json.dumps(facts)}</script>'
        f"<script>{_SCRIPT}</script></html>\n"
    )
