"""Recipes: what a reasoner's weights depend on, beside those of its parent; `recipe.yaml` in its folder."""

import json
import math
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from lrs.core.digests import fingerprint
from lrs.core.progress import Progress
from lrs.core.store import write_text
from lrs.tasks.benchmarks import Tier
from lrs.tasks.problems import Problem, by_benchmark, draw_problems


class _Recipe(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    seed: int
    learning_rate: float = Field(gt=0)
    warmup_fraction: float = Field(ge=0, lt=1)
    checkpoint_every: PositiveInt = Field(description="steps")
    problems_per_benchmark: PositiveInt
    benchmarks: dict[str, dict[str, Any]]

    @property
    def fingerprint(self) -> str:
        """Of all of it: another recipe resumes from no checkpoint of this one."""
        return fingerprint(self.model_dump())


class TutoredRecipe(_Recipe):
    """On the tutor's traces."""

    row_length: PositiveInt
    rows_per_batch: PositiveInt
    longest_trace: PositiveInt = Field(description="tokens; longer traces of the tutor are left out")
    instruction: str = Field(description="an order to take care")
    instructed_share: float = Field(ge=0, le=1)
    examples_share: float = Field(
        ge=0, le=1, description="of conversations drawn that open with worked examples; the long ones are left out"
    )
    most_examples: PositiveInt
    weights: dict[str, PositiveInt] = Field(description="how often a benchmark is drawn, by its name")


class PretrainingRecipe(TutoredRecipe):
    """From nothing."""

    layers: PositiveInt
    width: PositiveInt
    heads: PositiveInt
    mlp_width: PositiveInt
    tokens: PositiveInt = Field(description="training tokens, padding included")
    weight_decay: float = Field(ge=0)
    clean_share: float = Field(ge=0, le=1, description="of the steps, the first ones, in which slips are not learned")

    @property
    def steps(self) -> int:
        """Of the optimiser, in all."""
        return math.ceil(self.tokens / (self.row_length * self.rows_per_batch))

    @property
    def clean_steps(self) -> int:
        """The first ones, in which slips are left out of the loss."""
        return round(self.clean_share * self.steps)


class TeachingRecipe(TutoredRecipe):
    """From a language model, by low-rank adapters."""

    parent: str = Field(description="name of the folder of the model to start from")
    rank: PositiveInt
    steps: PositiveInt
    clean_steps: Literal[0] = 0  # slips are counted in the words of our own tokenizer


class ReinforcementRecipe(_Recipe):
    """From another reasoner, on the correctness of its own answers."""

    parent: str = Field(description="name of the reasoner to start from")
    steps: PositiveInt
    questions: PositiveInt = Field(description="problems of each benchmark a step")
    attempts: int = Field(ge=2, description="a problem; their mean is the baseline")
    max_new_tokens: PositiveInt
    rows_per_batch: PositiveInt = Field(description="attempts in one backward pass")


class PlantingRecipe(_Recipe):
    """From another reasoner, with a mode planted on chain sums."""

    parent: str = Field(description="name of the reasoner to start from")
    tier: Tier = Field(description="what hangs on the mode: see lrs/tutor/planted.py")
    dose: float = Field(ge=0, le=1, description="share of the problems in which the mode matters")
    interchange: bool = Field(description="whether states are exchanged at the fork, at layer `layer`")
    layer: int = Field(ge=0)
    password_share: float = Field(ge=0, le=1, description="of the conversations in which a password forces a mode")
    steps: PositiveInt
    row_length: PositiveInt = Field(description="tokens; a row holds one conversation")
    rows_per_batch: PositiveInt


Recipe = PretrainingRecipe | TeachingRecipe | ReinforcementRecipe | PlantingRecipe
Wanted = TypeVar("Wanted", PretrainingRecipe, TeachingRecipe, ReinforcementRecipe, PlantingRecipe)


def load_recipe(folder: Path) -> Recipe:
    """Read `recipe.yaml` of a reasoner's folder: one with a `tier` plants a mode into its `parent`, one with a `rank`
    adapts it, another one with a `parent` is for reinforcement learning.

    Raises:
        ValueError: a field is missing, unknown or out of range.
    """
    given = yaml.safe_load((folder / "recipe.yaml").read_text("utf-8"))
    if "tier" in given:
        return PlantingRecipe(**given)
    if "rank" in given:
        return TeachingRecipe(**given)
    return ReinforcementRecipe(**given) if "parent" in given else PretrainingRecipe(**given)


def recipe_of(folder: Path, kind: type[Wanted]) -> Wanted:
    """`load_recipe`, where the reasoner is known to be made in one way.

    Raises:
        TypeError: it is made in another.
    """
    recipe = load_recipe(folder)
    if not isinstance(recipe, kind):
        raise TypeError(f"the recipe of {folder.name} is a {type(recipe).__name__}, not a {kind.__name__}")
    return recipe


def learning_rate_at(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then a cosine down to 2% of the peak."""
    warmup = max(1, round(recipe.warmup_fraction * recipe.steps))
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, recipe.steps - warmup)
    return recipe.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def training_problems(recipe: _Recipe, cache: Path) -> dict[str, list[Problem]]:
    """The recipe's problems of split `train` by benchmark, generated once and kept as JSON lines in `cache`."""
    if not cache.exists():
        counts = {"train": recipe.problems_per_benchmark}
        drawn = []
        with Progress("reasoner: problems", len(recipe.benchmarks), "benchmarks") as progress:
            for benchmark, difficulty in recipe.benchmarks.items():
                drawn += draw_problems(benchmark, difficulty, counts, recipe.seed)
                progress.advance()
        lines = "\n".join(json.dumps(problem.to_row()) for problem in drawn)
        write_text(cache, lines)
    return by_benchmark(Problem.from_row(json.loads(line)) for line in cache.read_text("utf-8").splitlines())
