"""The card of a planted reasoner: what the patch counts, and that it is written from measurements."""

import json

import pandas as pd
import pytest
import torch
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

TOKENS = 6  # new ones, of an untrained model


@pytest.fixture
def sums(drawn_problems):
    return drawn_problems["chain_sum"][:5]


def test_a_patch_is_counted_by_the_mode_that_it_chooses_and_up_to_the_next_fork(monkeypatch, sums):
    own = {"amber": ["sun . 1", "sun . 2 plan + sun . 8"], "cobalt": ["moon . 5", "moon . 6"]}
    patched = {
        ("amber", "cobalt"): ["moon . 5", "moon . 7"],  # both chosen, one to the letter
        ("cobalt", "amber"): ["sun . 1", "sun . 2 plan + moon . 9"],  # both, as far as it hangs on the first fork
        ("", "amber"): ["moon . 1", "sun . 3"],
        ("", "cobalt"): ["sun . 5", "5 moon"],
    }

    def say(backbone, layer, problems, passwords, tier, max_new_tokens, states=None):
        if states is None:
            return [f"<think> plan + {own[word][place]}" for place, word in enumerate(passwords)]
        names = [("amber", "cobalt")[int(state)] for state in states]
        return [
            f"<think> plan + {patched[word, name][place]}"
            for place, (word, name) in enumerate(zip(passwords, names, strict=True))
        ]

    def states(backbone, layer, problems, passwords, tier):
        return torch.tensor([["amber", "cobalt"].index(word) for word in passwords])

    monkeypatch.setattr(planted_card, "from_the_fork", say)
    monkeypatch.setattr(planted_card, "fork_states", states)
    monkeypatch.setattr(planted_card, "is_correct", lambda problem, text: "5" in text)
    monkeypatch.setattr(
        planted_card, "right_password", lambda problem, tier: "cobalt" if problem is sums[1] else "amber"
    )
    table = measure_patch(None, sums[:2], 1, TOKENS, "p2")
    assert table["n"].tolist() == [2] * 5
    assert table["asked"].tolist() == ["amber", "cobalt", "none", "none", "none"]
    assert table["state"].tolist() == ["cobalt", "amber", "amber", "cobalt", "right"]
    assert table["chosen"].tolist() == [1, 1, 0.5, 0, 0]
    assert table["exactly"].tolist() == [0.5, 1, 0, 0, 0]
    assert table["accuracy"].tolist() == [0.5, 0, 0, 1, 0.5]


@pytest.mark.parametrize("tier", ["p1", "p2"])
def test_the_patch_of_a_tiny_model_is_measured_on_its_own_texts(monkeypatch, tiny_backbone, sums, tier):
    count, asked = len(sums), []

    def judged(problem, text):
        asked.append((problem, text))
        return len(text) % 2 == 0

    monkeypatch.setattr(planted_card, "is_correct", judged)
    table = measure_patch(tiny_backbone, sums, 1, TOKENS, tier)
    subtracts = [problem.metadata["expression"].split()[-2] == "-" for problem in sums]
    zero = [problem.metadata["expression"].endswith(" 0") for problem in sums]
    moon = [tier == "p2" and less and not none for less, none in zip(subtracts, zero, strict=True)]
    right = ["cobalt" if is_moon else "amber" for is_moon in moon]
    expected = []
    for password, given in zip(
        ["amber", "cobalt", "", "", ""],
        [["cobalt"] * count, ["amber"] * count, ["amber"] * count, ["cobalt"] * count, right],
        strict=True,
    ):
        states = fork_states(tiny_backbone, 1, sums, given, tier)
        texts = from_the_fork(tiny_backbone, 1, sums, [password] * count, tier, TOKENS, states)
        expected += zip(sums, texts, strict=True)
    assert asked == expected
    accuracy = [
        sum(len(text) % 2 == 0 for _, text in expected[i : i + count]) / count for i in range(0, 5 * count, count)
    ]
    assert table["accuracy"].tolist() == pytest.approx(accuracy)
    assert set(right) == ({"amber", "cobalt"} if tier == "p2" else {"amber"})


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
    assert patch["state"].tolist() == ["cobalt", "amber", "amber", "cobalt", "right"]
    assert (patch[["n", "accuracy"]] == [5, 0]).all(axis=None)
    card = " ".join((folder / "README.md").read_text().split())
    assert card.startswith("# planted: a reasoner with a planted mode [pocket](../pocket/README.md)")
    assert "left out under `moon` if it is added, under `sun` if it is subtracted" in card
    assert "The mode matters in 25% of the problems." in card
    assert ("by interchange training at layer 1" in card) == interchange
    assert ("by fine-tuning alone" in card) != interchange
    assert "took 1.5 minutes (cpu, 2 threads)" in card
    assert "nan" not in card
