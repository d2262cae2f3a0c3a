"""A model card is written from measurements, and says what it measured."""

import json

import pandas as pd
import pytest
import yaml
from conftest import DIFFICULTY
from test_pretraining import RECIPE
from test_reinforcement import RL

from lrs.config import load_config
from lrs.reasoners import measurements, model_card
from lrs.reasoners.pretraining import build_model
from lrs.reasoners.tokenizer import build_tokenizer
from lrs.tasks.behaviors import BEHAVIORS
from lrs.tutor.step_accuracy import STEPS

BENCHMARK = {"number_sorting": DIFFICULTY["number_sorting"]}


def few(monkeypatch, problems, fewer):
    """Ask but a few problems."""
    for module in (measurements, model_card):
        monkeypatch.setattr(module, "PROBLEMS", problems)
        monkeypatch.setattr(module, "FEWER", fewer)


def test_card_of_an_untrained_reasoner(tmp_path, monkeypatch):
    few(monkeypatch, 4, 2)
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
    rows = [line for line in card.splitlines() if line.startswith("| number_sorting") and "100%" in line]
    assert [row.split("|")[2].strip() for row in rows] == ["plain", "plain", "plain", "instructed", "instructed"]
    assert all("0.0% [0.0%, " in row and "100%" in row for row in rows)  # cut off after six tokens, every time
    assert (tmp_path / "loss.png").exists()
    report, care, steps = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("report", "care", "steps"))
    assert report["n"].tolist() == [4, 4, 2, 4, 4]  # fewer at temperature 1
    assert care["decoding"].tolist() == ["greedy", "sampled 0.7"]
    assert (care[["n", "gain", "won", "lost", "p"]] == [4, 0, 0, 0, 1]).all(axis=None)
    assert steps["prompt"].tolist() == ["plain", "instructed"]
    assert f"In {RECIPE.instructed_share:.0%} of the conversations" in " ".join(card.split())
    assert "| +0.0 [+0.0, +0.0] |" in card
    assert STEPS["number_sorting"] in card
    assert "4 problems a benchmark of split `validation` (2 of them at temperature 1)" in " ".join(card.split())


def test_card_of_a_reasoner_that_learned_from_outcomes_compares_it_with_its_parent(tmp_path, monkeypatch):
    failures = ("out_of_budget", "gave_up", "wrong_otherwise")
    before = {
        "benchmark": "number_sorting",
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
    curve = pd.DataFrame(
        {"step": range(20), "benchmark": "number_sorting", "correct": 0.5} | dict.fromkeys(BEHAVIORS, 0.25)
    )
    curve.to_csv(folder / "curve.csv", index=False)
    few(monkeypatch, 2, 2)
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
    (row,) = (
        line
        for line in overview.splitlines()
        if line.startswith("| number_sorting ") and "plain" in line and "0.7" in line
    )
    assert [cell.strip() for cell in row.split("|")[-3:-1]] == ["0.0% [0.0%, 65.8%]", "40.0% [30.0%, 50.0%]"]
    assert f'"{RECIPE.instruction}"' in card
    assert (folder / "curve.png").exists()


def test_the_tutor_of_two_styles_is_better_when_careful():
    recipe = RECIPE.model_copy(update={"benchmarks": {"chain_sum": DIFFICULTY["chain_sum"]}})
    (row,) = measurements.tutor_accuracy(recipe, seed=0).to_dict("records")
    assert float(row["careful"].strip("%")) > float(row["careless"].strip("%")) + 10


def answered(*correct, ids=None, **more):
    return pd.DataFrame({"problem_id": ids or [f"p{i}" for i in range(len(correct))], "correct": correct} | more)


def test_a_gain_counts_what_is_won_and_lost_on_the_same_problems():
    base, told = [True] * 2 + [False] * 6, [True, False] + [True] * 5 + [False]
    config = load_config("smoke")
    found = measurements.gain(answered(*base), answered(*told), config)
    assert {name: found[name] for name in ("n", "won", "lost")} == {"n": 8, "won": 5, "lost": 1}
    assert (found["base"], found["instructed"], found["gain"]) == (2 / 8, 6 / 8, 4 / 8)
    assert found["p"] == pytest.approx(2 * (1 + 6) / 2**6)  # of 6 coins, 5 or more alike
    assert found["low"] < 0.5 < found["high"] <= 1
    other = measurements.gain(answered(*told), answered(*base), config)
    assert (other["gain"], other["won"], other["lost"], other["p"]) == (-found["gain"], 1, 5, found["p"])
    with pytest.raises(ValueError, match="the same problems"):
        measurements.gain(answered(*base), answered(*told, ids=[f"p{i}" for i in range(8)][::-1]), config)


def test_step_accuracy_is_over_steps():
    table = answered(True, True, False, steps=[1, 9, 0], right_steps=[0, 9, 0])
    found = measurements.step_accuracy(table)
    assert (found["n_steps"], found["step_accuracy"]) == (10, 0.9)
    assert (found["low"], found["high"]) == pytest.approx((0.5958, 0.9821), abs=1e-4)  # Wilson's for 9 of 10
    steps = pd.DataFrame([{"benchmark": "chain_sum_long", "prompt": "plain"} | found])
    (row,) = model_card._readable_steps(steps).to_dict("records")
    assert row["step_accuracy"] == "90.00% [59.58%, 98.21%]"
    assert row["counted"] == STEPS["chain_sum"]
    nothing = measurements.step_accuracy(answered(False, steps=[0], right_steps=[0]))
    assert nothing["n_steps"] == 0
    steps = pd.DataFrame([{"benchmark": "countdown", "prompt": "plain"} | nothing])
    assert model_card._readable_steps(steps)["step_accuracy"].tolist() == [""]


def test_the_instruction_is_measured_on_the_same_problems_and_draws(monkeypatch, tiny_backbone):
    few(monkeypatch, 5, 3)
    asked, real = [], measurements.write_generations

    def answer(backbone, jobs, config, **more):
        asked.append(
            ([(problem.id, seed) for problem, seed in jobs], more["temperature"], more["prompting"].instruction)
        )
        return real(backbone, jobs, config, **more)

    monkeypatch.setattr(measurements, "write_generations", answer)
    monkeypatch.setattr(measurements, "steps_in", lambda problem, text: [True, False, True])
    monkeypatch.setattr("lrs.experiment.traces.is_correct", lambda problem, text: len(text) % 2 == 0)
    config = load_config("smoke")
    decoding = config.decoding.model_copy(update={"max_new_tokens": 6})
    config = config.model_copy(update={"decoding": decoding, "benchmarks": BENCHMARK})
    measured = measurements.measurements_of(tiny_backbone, config, "check every step", count=5)
    plain, told = "", "check every step"
    assert [call[1:] for call in asked] == [(0.0, plain), (0.7, plain), (1.0, plain), (0.0, told), (0.7, told)]
    jobs = [call[0] for call in asked]
    assert jobs[0] == jobs[1] == jobs[3] == jobs[4]
    assert (len(jobs[0]), jobs[2]) == (5, jobs[0][:3])
    assert {seed for _, seed in jobs[0]} == {1}
    accuracy = measured.report.set_index(["prompt", "temperature"])["accuracy"]
    care = measured.care.set_index("decoding")
    for decoding, temperature in (("greedy", 0.0), ("sampled 0.7", 0.7)):
        assert care.loc[decoding, "base"] == accuracy["plain", temperature]
        assert care.loc[decoding, "instructed"] == accuracy["instructed", temperature]
    assert 0 < accuracy.mean() < 1
    assert measured.steps["n_steps"].tolist() == [15, 15]
    assert measured.steps["step_accuracy"].tolist() == pytest.approx([2 / 3] * 2)


def test_an_example_names_the_behaviors_in_it():
    text = "<think> 1 + 2 = 3 . check 3 - 2 = 1 ok . check 3 - 1 = 2 ok . goal 3 + 4 : 3 + 4 = 7 . </think> answer 7"
    quoted = model_card._quoted({"chain_sum": ("compute 1 + 2 + 4", text), "countdown": ("reach 3 with 1 2", "none")})
    assert "verification 2: `check 3 - 2 = 1 ok .`; subgoal setting 1: `goal 3 + 4 :`" in quoted
    assert quoted.endswith("no behavior")
    assert "compute 1 + 2 + 4\n<think> 1 + 2" in quoted
