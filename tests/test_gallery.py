"""The gallery names files that there are, and says of the others why."""

import re
from pathlib import Path

from lrs.report.gallery import OUR_ITEMS, PAPER_ITEMS, gallery_page

ROOT = Path(__file__).parents[1]
EXPECTED = ROOT / "data/expected"


def test_every_item_is_there_or_says_why_not():
    for item in (*PAPER_ITEMS, *OUR_ITEMS):
        assert item.files or item.why
        assert [name for name in item.files if not (EXPECTED / name).exists()] == []
        assert not item.notebook or (ROOT / "notebooks" / f"{item.notebook}.ipynb").exists()


def test_every_command_is_one_of_the_makefile():
    targets = set(re.findall(r"^([a-z -]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for line in targets for word in line.split()}
    assert {item.command.removeprefix("make ") for item in (*PAPER_ITEMS, *OUR_ITEMS)} <= named


def test_the_page_is_the_one_that_is_committed():
    assert (ROOT / "docs/gallery.md").read_text(encoding="utf-8") == gallery_page(EXPECTED)
