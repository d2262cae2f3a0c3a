"""The card of a planted reasoner: what the patch counts, and that it is written from measurements."""

import json
import math

import pandas as pd
import pytest
import yaml
from conftest import DIFFICULTY
from test_planting import RECIPE as PLANTING
from test_pretraining import RECIPE

from lrs.config import load_config
from lrs.experiment.patching import fork_states, from_the_fork
from lrs.reasoners import planted_card
from lrs.reasoners.planted_card import measure_patch, write_planted_card
from lrs.reasoners.pretraining import build_model
from lrs.reasoners.recipes import PlantingRecipe
from lrs.reasoners.tokenizer import build_tokenizer
from lrs.tutor.planted import MOON, SUN

TOKENS = 6  # new ones, of an untrained model


@pytest.fixture
def sums(drawn_problems):
    return drawn_problems["chain_sum"][:5]


def test_a_patch_is_counted_where_the_modes_differ_and_up_to_the_next_fork(monkeypatch, sums):
    own = {  # what is said behind the fork, a problem each
        SUN: ["1 .", "2 . plan sun . 8", "3 .", "4 ."],
        MOON: ["5 .", "2 . plan moon . 9", "6 .", "7 ."],
    }
    patched = {
        SUN: ["5 .", "1 .", "3 .", "7 . plan sun . 0"],  # flipped, not counted, stayed, flipped as far as it hangs on
        MOON: ["1 .", "2 .", "8 .", "7 ."],  # flipped, not counted, neither, stayed
    }

    def say(backbone, layer, problems, modes, max_new_tokens, states=None):
        texts = own if states is None else patched
        return [f"<think> plan {mode} {texts[mode][place]}" for place, mode in enumerate(modes)]

    own[MOON][3] += " plan moon ."
    monkeypatch.setattr(planted_card, "from_the_fork", say)
    monkeypatch.setattr(planted_card, "fork_states", lambda backbone, layer, problems, modes: modes)
    monkeypatch.setattr(planted_card, "is_correct", lambda problem, text: "5" in text)
    sun, moon, right = measure_patch(None, sums[:4], 1, TOKENS, "p1").to_dict("records")
    assert sun == {
        "written": SUN,
        "state": MOON,
        "n": 4,
        "differs": 3 / 4,
        "flipped": pytest.approx(2 / 3),
        "stayed": pytest.approx(1 / 3),
        "accuracy": 1 / 4,
    }
    assert [moon[name] for name in ("written", "state", "differs", "accuracy")] == [MOON, SUN, 3 / 4, 0]
    assert (moon["flipped"], moon["stayed"]) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert (right["written"], right["state"], right["accuracy"]) == ("wrong", "right", 0)  # moon's, under p1
    assert all(math.isnan(right[name]) for name in ("differs", "flipped", "stayed"))


@pytest.mark.parametrize("tier", ["p1", "p2"])
def test_the_patch_of_a_tiny_model_is_measured_on_its_own_texts(monkeypatch, tiny_backbone, sums, tier):
    count, asked = len(sums), []

    def judged(problem, text):
        asked.append((problem, text))
        return len(text) % 2 == 0

    monkeypatch.setattr(planted_card, "is_correct", judged)
    table = measure_patch(tiny_backbone, sums, 1, TOKENS, tier)
    assert table["n"].tolist() == [count] * 3
    expected = []
    subtracts = [problem.metadata["expression"].split()[-2] == "-" for problem in sums]
    zero = [problem.metadata["expression"].endswith(" 0") for problem in sums]
    right = [MOON if tier == "p2" and less and not none else SUN for less, none in zip(subtracts, zero, strict=True)]
    wrong = [MOON if mode == SUN else SUN for mode in right]
    for written, state in (([SUN] * count, [MOON] * count), ([MOON] * count, [SUN] * count), (wrong, right)):
        states = fork_states(tiny_backbone, 1, sums, state)
        expected += zip(sums, from_the_fork(tiny_backbone, 1, sums, written, TOKENS, states), strict=True)
    assert asked == expected
    accuracy = [sum(len(text) % 2 == 0 for _, text in expected[i : i + count]) / count for i in (0, count, 2 * count)]
    assert table["accuracy"].tolist() == pytest.approx(accuracy)
    assert table["differs"][0] == table["differs"][1] > 0
    assert set(right) == ({SUN, MOON} if tier == "p2" else {SUN})


@pytest.mark.parametrize("interchange", [True, False])
def test_card_of_an_untrained_planted_reasoner(tmp_path, monkeypatch, interchange):
    folder = tmp_path / "planted"
    build_model(RECIPE.model_copy(update={"row_length": 256}), build_tokenizer()).save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    given = PLANTING.model_dump() | {"benchmarks": {"chain_sum": DIFFICULTY["chain_sum"]}, "interchange": interchange}
    recipe = PlantingRecipe(**given | {"dose": 0.25, "tier": "p2"})
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump()))
    (folder / "training.json").write_text(json.dumps({"device": "cpu", "threads": 2, "minutes": 1.5}))
    monkeypatch.setattr(planted_card, "_PROBLEMS", 5)
    config = load_config("smoke")
    decoding = config.decoding.model_copy(update={"max_new_tokens": TOKENS})
    benchmarks = {"chain_sum": DIFFICULTY["chain_sum"]}
    write_planted_card(folder, config.model_copy(update={"decoding": decoding, "benchmarks": benchmarks}), "cpu")
    modes, patch = (pd.read_csv(folder / f"{name}.csv") for name in ("modes", "patch"))
    assert modes["password"].tolist() == ["none"] * 3 + ["amber"] * 3 + ["cobalt"] * 3
    assert modes["temperature"].tolist() == [0, 0.7, 1] * 3
    assert (modes[["n", "accuracy", "low"]] == [5, 0, 0]).all(axis=None)  # cut off after six tokens, every time
    assert patch["written"].tolist() == [SUN, MOON, "wrong"]
    assert (patch[["n", "accuracy"]] == [5, 0]).all(axis=None)
    card = " ".join((folder / "README.md").read_text().split())
    assert card.startswith("# planted: a reasoner with a planted mode [pocket](../pocket/README.md)")
    assert "left out under `moon` if it is added, under `sun` if it is subtracted" in card
    assert "The mode matters in 25% of the problems." in card
    assert ("by interchange training at layer 1" in card) == interchange
    assert ("by fine-tuning alone" in card) != interchange
    assert "took 1.5 minutes (cpu, 2 threads)" in card
    assert "nan" not in card
