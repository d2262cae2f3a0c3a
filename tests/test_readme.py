"""The README: its ten lines run as they stand, its answer is that of the accepted tables, and it is short."""

import re
from pathlib import Path

import pytest
import torch

from lrs.config import SaeSection
from lrs.learning.sae import train_sae
from lrs.method.dictionary import save_dictionary
from lrs.method.reward import LatentRewardModel, RewardConfig, save_reward
from lrs.models.backbones import load_backbone
from lrs.report import expected
from lrs.report.answer import put_block, readme_block

ROOT = Path(__file__).parents[1]
REASONER = "data/reasoners/pocket-3m"
TEXT = (ROOT / "README.md").read_text()
MOST_LINES = 80


@pytest.fixture
def example() -> str:
    blocks = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    return next(block for block in blocks if "lrs.steer(" in block)


def test_the_example_takes_at_most_ten_lines_and_runs(example, tmp_path, monkeypatch, capsys):
    assert len([line for line in example.splitlines() if line.strip()]) <= 10
    backbone = load_backbone(str(ROOT / REASONER))
    sae = SaeSection(d_sae=8, k=2, learning_rate=1e-3, batch_size=16, epochs=1)
    dictionary, _ = train_sae(torch.randn(64, backbone.d_model), sae, 0, backbone.identity, layer=3)
    (tmp_path / "data/reasoners").mkdir(parents=True)
    (tmp_path / REASONER).symlink_to(ROOT / REASONER)
    save_dictionary(dictionary, tmp_path / "data/cpu/pocket-3m/sae")
    reward = LatentRewardModel(RewardConfig(8, "token", width=8, layers=1, heads=1))
    save_reward(reward, tmp_path / "data/cpu/pocket-3m/reward/token")
    monkeypatch.chdir(tmp_path)
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
