"""Recipes are validated, tell their checkpoints apart, and draw problems of split `train` alone."""

from itertools import pairwise

import pytest
import yaml
from conftest import DIFFICULTY
from test_planting import RECIPE as PLANTING
from test_pretraining import RECIPE, STEPS

from lrs.reasoners import recipes
from lrs.reasoners.recipes import (
    PretrainingRecipe,
    ReinforcementRecipe,
    learning_rate_at,
    load_recipe,
    recipe_of,
    training_problems,
)


def test_learning_rate_warms_up_and_decays_along_a_cosine():
    recipe = RECIPE.model_copy(update={"tokens": 256 * 100, "warmup_fraction": 0.1})
    rates = [learning_rate_at(step, recipe) for step in range(recipe.steps)]
    assert recipe.steps == 100
    assert rates[:10] == pytest.approx([0.001 * (step + 1) for step in range(10)])
    assert rates[10] == max(rates) == pytest.approx(0.01)
    assert rates[55] == pytest.approx(0.01 * (0.02 + 0.98 / 2))
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))
    assert learning_rate_at(100, recipe) == pytest.approx(0.02 * 0.01)


def test_recipes_differ_in_their_fingerprints_and_misspelt_ones_are_refused(tmp_path):
    assert (RECIPE.steps, RECIPE.clean_steps) == (STEPS, STEPS // 2)
    assert RECIPE.fingerprint == PretrainingRecipe(**RECIPE.model_dump()).fingerprint
    assert RECIPE.fingerprint != RECIPE.model_copy(update={"seed": 1}).fingerprint
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE.model_dump() | {"widht": 3}))
    with pytest.raises(ValueError, match="widht"):
        load_recipe(tmp_path)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE.model_dump() | {"clean_share": 1.1}))
    with pytest.raises(ValueError, match="clean_share"):
        load_recipe(tmp_path)


def test_training_problems_are_of_split_train_and_kept(tmp_path, monkeypatch):
    drawn = training_problems(RECIPE, tmp_path / "made" / "problems.jsonl")
    assert list(drawn) == list(DIFFICULTY)
    for benchmark, pool in drawn.items():
        assert [(problem.split, problem.benchmark) for problem in pool] == [("train", benchmark)] * 10
        assert len({problem.question for problem in pool}) == 10
    monkeypatch.setattr(recipes, "draw_problems", None)
    assert training_problems(RECIPE, tmp_path / "made" / "problems.jsonl") == drawn


def test_a_recipe_with_a_parent_is_for_reinforcement_learning(tmp_path):
    given = {"parent": "x", "seed": 0, "steps": 2, "questions": 1, "attempts": 2, "max_new_tokens": 4}
    given |= {"rows_per_batch": 4, "learning_rate": 0.1, "warmup_fraction": 0.0, "checkpoint_every": 1}
    given |= {"problems_per_benchmark": 3, "benchmarks": DIFFICULTY}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(given))
    assert load_recipe(tmp_path) == ReinforcementRecipe(**given)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(given | {"attempts": 1}))
    with pytest.raises(ValueError, match="attempts"):  # one attempt has no baseline but itself
        load_recipe(tmp_path)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE.model_dump()))
    assert load_recipe(tmp_path) == recipe_of(tmp_path, PretrainingRecipe) == RECIPE
    with pytest.raises(TypeError, match="is a PretrainingRecipe, not a ReinforcementRecipe"):
        recipe_of(tmp_path, ReinforcementRecipe)


def test_a_recipe_with_a_tier_plants_a_mode(tmp_path):
    given = PLANTING.model_dump()
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(given))
    assert load_recipe(tmp_path) == PLANTING
    for field, value in (("tier", "p5"), ("dose", 1.5), ("layer", -1), ("password_share", -0.1), ("attempts", 2)):
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(given | {field: value}))
        with pytest.raises(ValueError, match=field):
            load_recipe(tmp_path)
