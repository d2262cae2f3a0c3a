"""The README: its lines run as they stand, its answer is that of the accepted tables, and it is short."""

import re
from functools import partial
from pathlib import Path

import lrs
from lrs.experiment import own_model
from lrs.report import expected
from lrs.report.readme import put_block, readme_block

ROOT = Path(__file__).parents[1]
REASONER = "data/reasoners/pocket-3m"
TEXT = (ROOT / "README.md").read_text()
MOST_LINES = 80


def test_the_example_is_short_and_runs(tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
    (tmp_path / "data/reasoners").mkdir(parents=True)
    (tmp_path / REASONER).symlink_to(ROOT / REASONER)
    monkeypatch.chdir(tmp_path)
    quick = {"samples": 1, "sae": own_model.SAE.model_copy(update={"d_sae": 32, "k": 4, "epochs": 1})}
    quick |= {"reward": own_model.REWARD.model_copy(update={"epochs": 1})}
    monkeypatch.setattr(lrs, "fit", partial(own_model.fit, **quick), raising=False)
    exec(compile(example, "README.md", "exec"), {})
    assert "<think>" in capsys.readouterr().out


def test_the_answer_is_that_of_the_accepted_tables(monkeypatch):
    """`make accept` writes it, and `python -m lrs pages` after an edit of how it is said."""
    monkeypatch.chdir(ROOT)
    assert put_block(TEXT, readme_block(expected.EXPECTED)) == TEXT


def test_it_is_short():
    assert len(TEXT.splitlines()) <= MOST_LINES


def test_what_it_links_to_exists():
    """The site's build holds every page to this; this is the one that people meet first."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", TEXT)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
