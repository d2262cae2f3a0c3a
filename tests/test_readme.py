"""The README's ten lines run as they stand, on the reasoner and untrained artifacts of the right shapes.

Its tables are of the expected results, and of what `make bench` has measured.
"""

import re
from pathlib import Path

import pandas as pd
import pytest
import torch

from lrs.config import SaeSection, load_config
from lrs.learning.sae import train_sae
from lrs.method.dictionary import save_dictionary
from lrs.method.reward import LatentRewardModel, RewardConfig, save_reward
from lrs.models.backbones import load_backbone

ROOT = Path(__file__).parents[1]
REASONER = "data/reasoners/pocket-3m"
README = ROOT / "README.md"


@pytest.fixture
def example() -> str:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
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


def points(row: pd.Series, column: str = "delta") -> str:
    ends = (row[f"{column}_low"], row[f"{column}_high"])
    return f"{100 * row[column]:+.1f} [{100 * ends[0]:+.1f}, {100 * ends[1]:+.1f}]"


def p_value(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.2g}"


def pooled(profile: str) -> pd.DataFrame:
    table = pd.read_csv(ROOT / f"data/expected/{profile}/main_results.csv")
    return table[table["benchmark"] == "pooled"].set_index(["backbone", "decoding", "arm"]).sort_index()


def test_the_table_of_profile_cpu_is_the_expected_one():
    rows, text = pooled("cpu").loc["pocket-3m", "greedy"], README.read_text()
    assert f"against base at {100 * rows.loc['base', 'accuracy']:.1f}%" in " ".join(text.split())
    for arm in ("lrs", "lrs_basic", "lrs_history", "cot", "few_shot"):
        row = rows.loc[arm]
        cells = f"| {points(row)} | {row['wins']:.0f}/{row['losses']:.0f} | {p_value(row['p_mcnemar'])} |"
        (line,) = (line for line in text.splitlines() if line.startswith(f"| `{arm}`") and "[" in line)
        assert line.endswith(cells)


def test_the_table_of_profile_full_is_the_expected_one():
    table, text = pooled("full"), README.read_text()
    for name in load_config("full").backbones:
        rows, sampled = table.loc[name, "greedy"], table.loc[name, "sampled"]
        lrs = rows.loc["lrs"]
        cells = [name, f"{100 * rows.loc['base', 'accuracy']:.1f}", points(lrs)]
        cells += [f"{lrs['wins']:.0f}/{lrs['losses']:.0f}", p_value(lrs["p_holm"]), points(sampled.loc["lrs"])]
        prompted = [(rows, "cot"), (sampled, "cot"), (rows, "few_shot"), (sampled, "few_shot")]
        cells += [f"{100 * table.loc[arm, 'delta']:+.1f}" for table, arm in prompted]
        assert f"| {' | '.join(cells)} |" in text


def test_the_table_of_costs_is_the_measured_one():
    table = pd.read_csv(ROOT / "data/efficiency/efficiency.csv").set_index(["path", "model"])
    lines = README.read_text().splitlines()
    for path in table.index.unique("path"):
        cells = []
        for model in ("pocket-3m", "random-28m"):
            row = table.loc[path, model]
            time, low, high = (1 / row[f"ratio_to_unsteered{end}"] for end in ("", "_high", "_low"))
            cells += [f"{row['tokens_per_s']:,.0f}", f"{time:.2f} [{low:.2f}, {high:.2f}]"]
        (line,) = (line for line in lines if line.startswith(f"| {path} |"))
        assert line.endswith(f"| {' | '.join(cells)} |")
