"""The README's ten lines run as they stand, on the reasoner and untrained artifacts of the right shapes."""

import re
from pathlib import Path

import pytest
import torch

from lrs.backbones import load_backbone
from lrs.config import Sae
from lrs.dictionary import save_dictionary, train_sae
from lrs.reward import LatentRewardModel, RewardConfig, save_reward

ROOT = Path(__file__).parents[1]
REASONER = "data/reasoners/pocket-3m"


@pytest.fixture
def example() -> str:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    return next(block for block in blocks if "lrs.steer(" in block)


def test_the_example_takes_at_most_ten_lines_and_runs(example, tmp_path, monkeypatch, capsys):
    assert len([line for line in example.splitlines() if line.strip()]) <= 10
    backbone = load_backbone(str(ROOT / REASONER))
    sae = Sae(d_sae=8, k=2, learning_rate=1e-3, batch_size=16, epochs=1)
    dictionary, _ = train_sae(torch.randn(64, backbone.d_model), sae, 0, backbone.identity, layer=3)
    (tmp_path / "data/reasoners").mkdir(parents=True)
    (tmp_path / REASONER).symlink_to(ROOT / REASONER)
    save_dictionary(dictionary, tmp_path / "data/cpu/pocket-3m/sae")
    reward = LatentRewardModel(RewardConfig(8, "token", width=8, layers=1, heads=1))
    save_reward(reward, tmp_path / "data/cpu/pocket-3m/reward/token")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    assert "<think>" in capsys.readouterr().out
