"""The page of latents holds what it was given, escaped, and needs no network; the figures draw their tables."""

import html
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_meaning import toy_latents

from lrs.config import StatisticsSection
from lrs.experiment.reward_paths import changed_by
from lrs.figures.dashboard import card_html, case_html, context_html, dashboard_html, histogram_html
from lrs.figures.latents import meaning_figure, reward_paths_figure, words_figure
from lrs.learning.meaning import cards_of, contexts_of
from lrs.learning.reward_metrics import cases_of
from lrs.report.along import path_means
from lrs.report.sentences import meaning_sentence
from lrs.tasks.behaviors import BEHAVIORS

STATISTICS = StatisticsSection(confidence_level=0.95, bootstrap_resamples=200)
ATTRIBUTED = {
    "promotes": [("<eos>", 1.25)],
    "demotes": [("&", -0.5)],
    "activations": ([2, 1], [0.0, 1.0, 2.0]),
    "attributions": ([1, 0, 4], [-1.0, 0.0, 1.0, 2.0]),
    "said": {"lost": "<three>"},
}
CARDS = [
    {
        "latent": number,
        "facts": {"density": 0.1 * number, "shapley": -number},
        "contexts": [{"words": ["a", "<think>", "b"], "values": [0.0, 2.0, 1.0], "at": 1}],
    }
    | ATTRIBUTED
    for number in (3, 7)
]
TABLE = pd.DataFrame(
    {f"in_{behavior}": [0.1, -0.2] for behavior in BEHAVIORS}
    | {
        "correct_within": [0.3, 0.0],
        "with_length": [0.0, 0.4],
        "shapley": [0.5, -0.5],
        "pushed": [0.1, 0.1],
        "shapley_se": [0.1, 0.1],
        "pushed_se": [0.02, 0.02],
        "kl": [0.2, 0.1],
        "latent": [4, 9],
        "density": [0.1, 0],
    }
)
WORDS = pd.DataFrame(
    {"word": ["check", "back"], "latent": [1, 2], "genuine": [2.0, 3.0], "put_in": [1.9, 0.5]}
    | {"genuine_se": [0.2, 0.3], "put_in_se": [0.1, 0.1], "n_genuine": [8, 9], "n_put_in": [20, 20]}
)


def test_text_is_escaped_and_shaded_by_how_strongly_a_latent_fires():
    line = context_html(CARDS[0]["contexts"][0], 2.0)
    assert "&lt;think&gt;" in line
    assert "<think>" not in line
    assert [float(value) for value in re.findall(r"rgba\(255,140,0,([\d.]+)\)", line)] == [1.0, 0.5]
    assert "font-weight:bold" in line
    assert all(told in card_html(CARDS[0]) for told in ("&lt;eos&gt; +1.25", "&amp; -0.50"))
    assert 'less often <span class="words">&lt;three&gt;</span>' in card_html(CARDS[0])
    assert "more often" not in card_html(CARDS[0])
    case = case_html(["a", "<b>"], [0.2, 0.9], [False, True])
    assert case.count("border-bottom") == 1
    assert "&lt;b&gt;" in case


class Shown(HTMLParser):
    """What a page shows: each span's text, how opaque its background is, and whether it is bold or underlined."""

    def __init__(self, page):
        super().__init__()
        self.spans, self.style = [], None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.style = dict(attrs).get("style", "") if tag == "span" else None

    def handle_data(self, data):
        if self.style is not None:
            opaque = re.search(r"rgba\(255,140,0,([\d.]+)\)", self.style)
            marks = "bold" in self.style, "border-bottom" in self.style
            self.spans.append((data, float(opaque[1]) if opaque else 0.0, *marks))
            self.style = None


def test_pages_show_each_token_as_it_was_given():
    case = case_html(["<a>", "b", "c"], [0.25, 0.5, 1.0], [False, True, False])
    assert Shown(case).spans == [
        ("<a>", 0.25, False, False),
        ("b", 0.5, False, True),
        ("c", 1.0, False, False),
    ]
    page = dashboard_html(CARDS, "Latents")
    assert Shown(page).spans == 2 * [
        ("<eos> +1.25", 0.0, False, False),
        ("& -0.50", 0.0, False, False),
        ("<three>", 0.0, False, False),
        ("a", 0.0, False, False),
        ("<think>", 1.0, True, False),
        ("b", 0.5, False, False),
    ]


def test_a_histogram_draws_a_bar_a_bin_as_high_as_it_counts():
    drawn = histogram_html([2, 0, 4], [-1.0, 0.0, 1.0, 2.0], "<logits>")
    heights = [float(height) for height in re.findall(r'<rect [^>]*height="([\d.]+)"', drawn)]
    assert heights == [20, 0, 40]
    assert "&lt;logits&gt;, -1 to 2" in drawn
    assert "<title>4: 1 to 2</title>" in drawn


def test_a_page_of_its_own_names_all_latents_and_asks_nobody():
    page = dashboard_html(CARDS, "Latents of <a>")
    assert len(re.findall(r'<section class="card"', page)) == 2
    assert not re.search(r"(src|href)=|https?://|@import", page)
    facts = json.loads(re.search(r'id="facts">(.*?)</script>', page)[1])
    assert facts == {
        "3": {"density": pytest.approx(0.3), "shapley": -3},
        "7": {"density": pytest.approx(0.7), "shapley": -7},
    }
    assert dashboard_html([], "none").startswith("<!doctype html>")


# Appended to the page: does what a reader would, and leaves what is then shown, in its order, in the title.
DRIVER = """<script>
const told = {}, find = document.querySelector('#find'), sort = document.querySelector('#sort');
const note = name => told[name] = [...document.querySelectorAll('.card')]
    .filter(card => getComputedStyle(card).display !== 'none').map(card => card.dataset.latent);
const type = text => {find.value = text; find.dispatchEvent(new Event('input', {bubbles: true}))};
const choose = by => {sort.value = by; sort.dispatchEvent(new Event('change', {bubbles: true}))};
note('opened');
choose('density'); note('dense first');
choose('shapley'); note('by share');
type('LATENT 7'); note('one');
type('carry'); note('a word of a context'); choose('density'); note('found, then sorted');
type('nowhere'); note('none');
type(''); note('all again');
told.strange = document.querySelectorAll('img, link, iframe, .card script').length;
addEventListener('load', () => setTimeout(() => document.title = JSON.stringify({...told, asked}), 100));
</script></html>"""
# Put before all else: nothing may be loaded from anywhere, and whatever the page asks for is written down.
NOTHING_LOADED = """<meta charset="utf-8"><script>
const asked = [];
document.addEventListener('securitypolicyviolation', event => asked.push(event.blockedURI));
</script><meta http-equiv="Content-Security-Policy"
content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'">"""
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    *("--virtual-time-budget=5000", "--dump-dom"),
)
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def title_of(path, scratch):
    """What a browser leaves in the title of a page, from JSON, and the page as it then is."""
    profile = f"--user-data-dir={scratch / 'profile'}"
    command = [BROWSER, *FLAGS, profile, path.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    return json.loads(html.unescape(re.search(r"<title>(.*?)</title>", shown, re.DOTALL)[1])), shown


def asked_of(page, driver, scratch):
    """What a driver leaves of a page of latents that may load nothing, as `title_of`."""
    path = scratch / "latents.html"
    watched = page.replace('<meta charset="utf-8">', NOTHING_LOADED).replace("</html>", driver)
    path.write_text(watched, encoding="utf-8")
    return title_of(path, scratch)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here (apt-get install chromium)")
def test_a_browser_searches_and_sorts_the_page_and_asks_nobody(tmp_path):
    words = {3: ["carry", "one"], 7: ["<img src=x onerror=alert(1)>", "</script>"], 11: ["one", "CARRY"]}
    cards = [
        {
            "latent": latent,
            "facts": {"density": density, "shapley": share},
            "contexts": [{"words": words[latent], "values": [1.0] * len(words[latent]), "at": 0}],
        }
        | ATTRIBUTED
        for latent, density, share in ((3, 0.1, -0.5), (7, 0.3, 0.0), (11, 0.2, 2.5))
    ]
    page = dashboard_html(cards, "Latents")
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//|@import|url\(", page)
    told, shown = asked_of(page, DRIVER, tmp_path)
    assert told == {
        "opened": ["3", "7", "11"],
        "dense first": ["7", "11", "3"],
        "by share": ["11", "7", "3"],
        "one": ["7"],
        "a word of a context": ["11", "3"],
        "found, then sorted": ["11", "3"],
        "none": [],
        "all again": ["7", "11", "3"],
        "asked": [],
        "strange": 0,
    }
    assert shown.count('<section class="card"') == len(cards)
    assert "<option>density</option><option>shapley</option>" in shown


# As `DRIVER`, of a page whose cards are not known: sorts by each number, searches for what is not there, and for all.
ANY = """<script>
const told = {}, find = document.querySelector('#find'), sort = document.querySelector('#sort');
const listed = () => [...document.querySelectorAll('.card')];
const values = by => listed().map(card => facts[card.dataset.latent][by]);
const type = text => {find.value = text; find.dispatchEvent(new Event('input', {bubbles: true}))};
told.cards = listed().length;
told.unsorted = [...sort.options].map(option => option.value).filter(by => {
    sort.value = by; sort.dispatchEvent(new Event('change', {bubbles: true}));
    return values(by).some((value, place, all) => place && value > all[place - 1])});
type('what no latent is called'); told.none = listed().filter(card => !card.hidden).length;
type(''); told.all = listed().filter(card => !card.hidden).length;
addEventListener('load', () => setTimeout(() => document.title = JSON.stringify({...told, asked}), 100));
</script></html>"""
ACCEPTED = sorted((Path(__file__).parents[1] / "data/expected").glob("*/*/latents.html"))


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here (apt-get install chromium)")
@pytest.mark.parametrize("page", ACCEPTED, ids=lambda path: path.parent.name)
def test_a_browser_opens_the_accepted_pages(page, tmp_path):
    text = page.read_text(encoding="utf-8")
    count = len(re.findall(r'<section class="card"', text))
    told, _ = asked_of(text, ANY, tmp_path)
    assert count > 0
    assert told == {"cards": count, "unsorted": [], "none": 0, "all": count, "asked": []}


# Put at the end of a page of the site: which of its pictures could not be shown, once all are loaded.
PICTURES = """<script>addEventListener('load', () => setTimeout(() => document.title = JSON.stringify({
    shown: document.images.length,
    broken: [...document.images].filter(image => !image.naturalWidth).map(image => image.src)}), 100));
</script></body>"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here (apt-get install chromium)")
def test_a_browser_shows_every_picture_of_the_gallery(tmp_path):
    root, site = Path(__file__).parents[1], tmp_path / "site"
    build = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(site)]
    subprocess.run(build, cwd=root, check=True, capture_output=True)
    page = site / "docs/gallery.html"
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("</body>", PICTURES), encoding="utf-8")
    told, _ = title_of(page, tmp_path)
    pictures = set(
        re.findall(r"^!\[.*\]\((.*)\)$", (root / "docs/gallery.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert told["broken"] == []
    assert told["shown"] >= len(pictures) > 20


def test_cards_show_each_latents_strongest_contexts():
    given, dense = toy_latents()
    table = pd.DataFrame({"latent": range(4), "density": 0.5, "lost": ["x", None, "y", "z"], "kl": [1, np.nan, 2, 3]})
    words = [[f"{trace}.{place}" for place in range(len(rows))] for trace, rows in enumerate(dense)]
    attribution = np.array([[0.0, 3.0, -1.0], [1.0, 0.0, 2.0], [5.0, 4.0, 3.0], [0.1, 0.2, 0.5]])
    cards = cards_of(table, given, words, attribution, ["x", "y", "z"], count=2)
    assert [card["said"] for card in cards] == [{"lost": "x"}, {}, {"lost": "y"}, {"lost": "z"}]
    assert all(list(card["facts"]) == ["density", "kl"] for card in cards)
    for card in cards:
        added = dict(zip("xyz", attribution[card["latent"]], strict=True))
        assert card["promotes"] == sorted(added.items(), key=lambda pair: -pair[1])
        assert card["demotes"] == sorted(added.items(), key=lambda pair: pair[1])
        fired = np.concatenate([rows[:, card["latent"]] for rows in dense])
        assert sum(card["activations"][0]) == (fired > 0).sum()
        assert card["activations"][1][-1] == pytest.approx(fired.max())
        assert sum(card["attributions"][0]) == 3
        for context in card["contexts"]:
            trace, place = map(int, context["words"][context["at"]].split("."))
            assert context["values"][context["at"]] == pytest.approx(float(dense[trace][place, card["latent"]]))
            assert len(context["words"]) == len(context["values"])


def test_contexts_of_some_latents_are_those_of_their_cards_with_the_strongest_word_in_brackets():
    weak = {"words": ["a", "b"], "values": [0.5, 0.1], "at": 0}
    strong = {"words": ["c", "d", "e"], "values": [0.0, 2.0, 1.0], "at": 1}
    cards = [{"latent": 4, "contexts": [weak]}, {"latent": 9, "contexts": [strong, weak]}]
    table = contexts_of(cards, [9, 7, 4])  # 7 never fires
    assert table["latent"].tolist() == [9, 9, 4]
    assert table["highest"].tolist() == [2.0, 2.0, 0.5]
    assert table["text"].tolist() == ["c [d] e", "[a] b", "[a] b"]
    assert table["words"].tolist() == [strong["words"], weak["words"], weak["words"]]
    assert contexts_of(cards, []).empty


def test_figures_draw_their_tables():
    assert len(meaning_figure(TABLE, about="toy").axes) == 4
    written, put_in = (dots[0].get_xdata().tolist() for dots in words_figure(WORDS, about="toy").axes[0].containers)
    assert (written, put_in) == ([2.0, 3.0], [1.9, 0.5])
    told = meaning_sentence(TABLE, WORDS)
    assert "1 of 2 latents ever fire" in told
    assert "`check` 95.0% (n 8 and 20), `back` 16.7% (n 9 and 20)" in told


def outcomes():
    rows = []
    for name, base, steered in (("p1", False, True), ("p2", True, False), ("p3", True, True), ("p0", False, True)):
        for arm, right in (("base", base), ("lrs", steered)):
            rows.append(
                {"problem_id": name, "arm": arm, "decoding": "greedy", "text": f"{name} {arm}", "correct": right}
            )
    return pd.DataFrame(rows)


def test_what_an_arm_repaired_and_broke_and_the_reward_along_it():
    changed = changed_by(outcomes(), "lrs")
    assert changed.set_index("problem_id")["change"].to_dict() == {"p1": "repaired", "p2": "broken", "p0": "repaired"}
    assert changed.set_index("problem_id").loc["p1", ["base", "lrs"]].tolist() == ["p1 base", "p1 lrs"]
    rewards = {"base": 0.2, "lrs": 0.6}
    paths = pd.concat(
        changed[["problem_id", "change"]].assign(
            by="lrs", arm=arm, rewards=[np.full(20, value + 0.1 * (name == "p1")) for name in changed["problem_id"]]
        )
        for arm, value in rewards.items()
    )
    risen = (paths["problem_id"] == "p2") & (paths["arm"] == "lrs")
    paths["rewards"] = [np.full(20, 0.9) if up else found for up, found in zip(risen, paths["rewards"], strict=True)]
    means = path_means(paths, STATISTICS)
    repaired = means[(means["change"] == "repaired") & (means["arm"] == "base")]
    assert repaired["mean"].tolist() == pytest.approx([0.25] * 10)
    assert (repaired["low"] <= repaired["mean"]).all()
    assert cases_of(paths) == [
        ("lrs", "largest rise of the reward", "p2"),
        ("lrs", "first repaired", "p0"),
    ]
    assert [axis.get_title() for axis in reward_paths_figure(means, about="toy").axes] == [
        "repaired by LRS (n 2)",
        "broken by LRS (n 1)",
    ]
