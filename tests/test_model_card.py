"""A model card is written from measurements, and says what it measured."""

import json

import pandas as pd
import pytest
import yaml
from conftest import DIFFICULTY
from test_pretraining import RECIPE
from test_reinforcement import RL

from lrs.config import load_config
from lrs.reasoners import model_card
from lrs.reasoners.pretraining import build_model
from lrs.reasoners.tokenizer import build_tokenizer
from lrs.tasks.behaviors import BEHAVIORS

BENCHMARK = {"gcd": DIFFICULTY["gcd"]}


def test_card_of_an_untrained_reasoner(tmp_path, monkeypatch):
    monkeypatch.setattr(model_card, "_PROBLEMS", 4)
    tokenizer = build_tokenizer()
    build_model(RECIPE, tokenizer).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE.model_dump()))
    (tmp_path / "training.json").write_text(json.dumps({"device": "cpu", "threads": 2, "minutes": 1.5}))
    (tmp_path / "loss.csv").write_text("tokens,loss\n256,5.0\n512,4.0\n")
    config = load_config("smoke")
    decoding = config.decoding.model_copy(update={"max_new_tokens": 6})
    config = config.model_copy(update={"decoding": decoding, "benchmarks": BENCHMARK})
    model_card.write_card(tmp_path, config, "cpu")
    card = (tmp_path / "README.md").read_text()
    assert "1.5 minutes (cpu, 2 threads)" in " ".join(card.split())
    assert "nan" not in card
    rows = [line for line in card.splitlines() if line.startswith("| gcd") and "[" in line]
    assert [row.split("|")[2].strip() for row in rows] == ["plain", "plain", "plain", "instructed", "instructed"]
    assert all("0.0% [0.0%, " in row and "100%" in row for row in rows)  # cut off after six tokens, every time
    assert (tmp_path / "loss.png").exists()


def test_card_of_a_reasoner_that_learned_from_outcomes_compares_it_with_its_parent(tmp_path, monkeypatch):
    failures = ("out_of_budget", "gave_up", "wrong_otherwise")
    before = {
        "benchmark": "gcd",
        "prompt": "plain",
        "temperature": 0.0,
        "n": 9,
        "accuracy": 0.4,
        "low": 0.3,
        "high": 0.5,
    }
    before = pd.DataFrame([before | {"tokens": 30} | dict.fromkeys((*failures, *model_card._STYLES, *BEHAVIORS), 0.05)])
    after = before.assign(accuracy=0.6, tokens=25, verification=0.09)
    (row,) = model_card.before_and_after(before, after).to_dict("records")
    assert row["accuracy"] == "40.0% [30.0%, 50.0%] → 60.0% [30.0%, 50.0%]"
    assert row["tokens"] == "30 → 25"
    assert (row["verification"], row["backtracking"]) == ("5% → 9%", "5% → 5%")
    parent, folder = tmp_path / "parent", tmp_path / "child"
    for made, recipe in ((parent, RECIPE), (folder, RL)):
        build_model(RECIPE, build_tokenizer()).save_pretrained(made)
        build_tokenizer().save_pretrained(made)
        (made / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump()))
    (folder / "training.json").write_text(json.dumps({"device": "cpu", "threads": 2, "minutes": 1.5}))
    curve = pd.DataFrame({"step": range(20), "benchmark": "gcd", "correct": 0.5} | dict.fromkeys(BEHAVIORS, 0.25))
    curve.to_csv(folder / "curve.csv", index=False)
    monkeypatch.setattr(model_card, "_PROBLEMS", 2)
    config = load_config("smoke")
    decoding = config.decoding.model_copy(update={"max_new_tokens": 4})
    config = config.model_copy(update={"decoding": decoding, "benchmarks": BENCHMARK})
    with pytest.raises(ValueError, match=r"no report of parent yet; run: python -m lrs card .*parent"):
        model_card.write_card(folder, config, "cpu")
    settings = {"prompt": ["plain"] * 3 + ["instructed"] * 2, "temperature": [0.0, 0.7, 1.0, 0.0, 0.7]}
    before = before.loc[[0] * 5].assign(**settings)
    before.to_csv(parent / "report.csv", index=False)
    with pytest.raises(ValueError, match="the parent's report has other settings"):
        model_card.write_card(folder, config, "cpu")
    before.assign(n=2).to_csv(parent / "report.csv", index=False)
    model_card.write_card(folder, config, "cpu")
    model_card.write_overview(tmp_path)
    card = (folder / "README.md").read_text()
    assert model_card.pretraining_of(folder) == RECIPE
    assert "[parent](../parent/README.md)" in card
    assert "4 problems 3 times each" in " ".join(card.split())
    assert card.count("40.0% [30.0%, 50.0%] → 0.0% [0.0%, 65.8%]") == 5
    overview = (tmp_path / "README.md").read_text()
    assert "- [child](child/README.md): parent after 4 steps of reinforcement learning" in overview
    (row,) = (line for line in overview.splitlines() if line.startswith("| gcd ") and "plain" in line and "0.7" in line)
    assert [cell.strip() for cell in row.split("|")[-3:-1]] == ["0.0% [0.0%, 65.8%]", "40.0% [30.0%, 50.0%]"]
    assert f'"{RECIPE.instruction}"' in card
    assert (folder / "curve.png").exists()


def test_the_tutor_of_two_styles_is_better_when_careful():
    recipe = RECIPE.model_copy(update={"benchmarks": {"chain_sum": DIFFICULTY["chain_sum"]}})
    (row,) = model_card.tutor_accuracy(recipe, seed=0).to_dict("records")
    assert float(row["careful"].strip("%")) > float(row["careless"].strip("%")) + 5
    steady = model_card.tutor_accuracy(recipe.model_copy(update={"tutor": "steady"}), seed=0)
    assert list(steady) == ["benchmark", "steady"]


def test_an_example_names_the_behaviors_in_it():
    text = "<think> 1 + 2 = 3 . check 3 - 2 = 1 ok . check 3 - 1 = 2 ok . goal 3 + 4 : 3 + 4 = 7 . </think> answer 7"
    quoted = model_card._quoted({"chain_sum": ("compute 1 + 2 + 4", text), "countdown": ("reach 3 with 1 2", "none")})
    assert "verification 2: `check 3 - 2 = 1 ok .`; subgoal setting 1: `goal 3 + 4 :`" in quoted
    assert quoted.endswith("no behavior")
    assert "compute 1 + 2 + 4\n<think> 1 + 2" in quoted
