"""The gallery names files that there are, and says of the others why."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from lrs.report.gallery import OUR_ITEMS, PAPER_ITEMS, gallery_page, rates_shown, writer_of
from lrs.tasks.behaviors import BEHAVIORS

ROOT = Path(__file__).parents[1]
EXPECTED = ROOT / "data/expected"


def test_every_item_is_there_or_says_why_not():
    for item in (*PAPER_ITEMS, *OUR_ITEMS):
        assert item.files or item.why
        assert [name for name in item.files if not (EXPECTED / name).exists()] == []
        assert not item.notebook or (ROOT / "notebooks" / f"{item.notebook}.ipynb").exists()


def saved_by(notebook):
    """What the cells of a notebook save: names as they are quoted there, of which some lack their ending, or those that
    a function has which is named for them."""
    cells = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    saving = [cell for cell in code if re.search(r"\b(show|write_table|to_csv|write_text|write_prompts)\(", cell)]
    found = [re.findall(r"""["']([\w.]+)["']|\bwrite_(prompts)\(""", cell) for cell in saving]
    return {name for names in found for pair in names for name in pair if name}


SAVED = sorted({name for item in (*PAPER_ITEMS, *OUR_ITEMS) for name in item.files if not name.endswith(".ipynb")})


@pytest.mark.parametrize("name", SAVED)
def test_a_file_is_saved_by_the_notebook_that_is_named(name):
    path, notebooks = Path(name), [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    names = {path.name} if path.suffix == ".html" else {path.name, path.stem}
    assert [notebook for notebook in notebooks if names & saved_by(notebook)] == [*filter(None, [writer_of(name)])]


def test_what_notebooks_show_is_told_where_it_is_told():
    """An accepted notebook that is shown is the one that tells of the item."""
    for item in (*PAPER_ITEMS, *OUR_ITEMS):
        assert {Path(name).stem for name in item.files if name.endswith(".ipynb")} <= {item.notebook}


def test_rates_have_a_row_an_arm_and_a_column_a_behavior():
    rates = pd.DataFrame(
        {"backbone": "toy", "decoding": decoding, "arm": arm, "behavior": behavior, "rate": 0.5}
        for decoding in ("greedy", "sampled")
        for arm in ("lrs", "base")
        for behavior in BEHAVIORS
    ).assign(rate_low=0.25, rate_high=lambda rows: rows["arm"].map({"lrs": 1.0, "base": 2.0}))
    head, _, *rows = rates_shown(rates).splitlines()
    assert [cell.strip() for cell in head.split("|")[3:-1]] == [name.replace("_", " ") for name in BEHAVIORS]
    assert [row.split("|")[2].strip() for row in rows] == ["`lrs`", "`base`"]  # in their order
    assert rows[1].count("0.50 [0.25, 2.00]") == len(BEHAVIORS)


def test_every_command_is_one_of_the_makefile():
    targets = set(re.findall(r"^([a-z -]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for line in targets for word in line.split()}
    assert {item.command.removeprefix("make ") for item in (*PAPER_ITEMS, *OUR_ITEMS)} <= named


def test_the_page_is_the_one_that_is_committed():
    assert (ROOT / "docs/gallery.md").read_text(encoding="utf-8") == gallery_page(EXPECTED)
