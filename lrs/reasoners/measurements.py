"""What a reasoner's card is written from: its answers to problems never trained on, judged in three ways."""

from random import Random
from typing import NamedTuple

import pandas as pd

from lrs.config import Config
from lrs.core.progress import Progress
from lrs.core.statistics import bootstrap_interval, mcnemar_exact, wilson_interval
from lrs.experiment.traces import outcome_row, write_generations
from lrs.models.backbones import Backbone
from lrs.reasoners.recipes import TutoredRecipe
from lrs.tasks.answers import is_correct
from lrs.tasks.behaviors import BEHAVIORS, VERIFICATION
from lrs.tasks.problems import Problem, draw_problems
from lrs.tasks.prompts import Prompting
from lrs.tutor import write_trace
from lrs.tutor.draft import STYLES
from lrs.tutor.step_accuracy import steps_in

PROBLEMS = 1000  # of split `validation`, a benchmark: as many as the gain of an instruction takes to be told from none
FEWER = 200  # the first of them, where nothing hangs on the difference between two settings
MEASURED = (("plain", 0.0), ("plain", 0.7), ("plain", 1.0), ("instructed", 0.0), ("instructed", 0.7))
SETTING = ["benchmark", "prompt", "temperature"]


class Measurements(NamedTuple):
    """Tables by benchmark, in fractions."""

    report: pd.DataFrame  # accuracy, failure modes and behaviors, by prompt and temperature
    care: pd.DataFrame  # what the instruction adds, by decoding
    steps: pd.DataFrame  # accuracy of elementary steps under greedy decoding, by prompt
    examples: dict[str, tuple[str, str]]  # a question and what was answered, from the first setting with a right answer


def answers_to(
    backbone: Backbone, problems: list[Problem], config: Config, temperature: float, instruction: str = ""
) -> pd.DataFrame:
    """A row a problem: its question, the columns of `outcome_row`, and of the steps it states, how many are right."""
    jobs = [(problem, 1) for problem in problems]
    written = write_generations(backbone, jobs, config, temperature=temperature, prompting=Prompting(instruction))
    rows = []
    for job, generation in written:
        row = outcome_row(job, generation, backbone)
        steps = steps_in(job[0], row["text"])
        rows.append(row | {"question": job[0].question, "steps": len(steps), "right_steps": sum(steps)})
    return pd.DataFrame(rows)


def measurements_of(backbone: Backbone, config: Config, instruction: str, count: int) -> Measurements:
    """Answer the profile's benchmarks plainly and told to take care, greedily and sampled, with the same random numbers
    for every prompt: `count` problems a benchmark."""
    reports, cares, steps = [], [], []
    examples: dict[str, tuple[str, str]] = {}
    with Progress("reasoner: card", len(config.benchmarks) * len(MEASURED), "measurements") as progress:
        for benchmark, difficulty in config.benchmarks.items():
            problems = draw_problems(benchmark, difficulty, {"validation": count}, config.seed)
            tables: dict[tuple[str, float], pd.DataFrame] = {}
            for prompt, temperature in MEASURED:
                asked = problems if ("instructed", temperature) in MEASURED else problems[:FEWER]
                told = instruction if prompt == "instructed" else ""
                table = tables[prompt, temperature] = answers_to(backbone, asked, config, temperature, told)
                setting = dict(zip(SETTING, (benchmark, prompt, temperature), strict=True))
                reports.append(setting | outcomes_of(table))
                if table["correct"].any():
                    examples.setdefault(benchmark, _example(table[table["correct"]]))
                if temperature == 0:
                    steps.append({"benchmark": benchmark, "prompt": prompt} | step_accuracy(table))
                progress.advance()
            for temperature, decoding in ((0.0, "greedy"), (0.7, "sampled 0.7")):
                pair = tables["plain", temperature], tables["instructed", temperature]
                cares.append({"benchmark": benchmark, "decoding": decoding} | gain(*pair, config))
    return Measurements(pd.DataFrame(reports), pd.DataFrame(cares), pd.DataFrame(steps), examples)


def outcomes_of(table: pd.DataFrame) -> dict[str, float]:
    """Accuracy with its Wilson interval, failure modes (of all answers) and behavior rates (of traces)."""
    wrong, checked = table[~table["correct"]], table[VERIFICATION] > 0
    truncated = wrong["finish_reason"] == "truncated"
    gave_up = wrong["text"].str.contains("give up") & ~truncated
    low, high = wilson_interval(table["correct"].sum(), len(table))
    return {
        "n": len(table),
        "accuracy": table["correct"].mean(),
        "low": low,
        "high": high,
        "tokens": round(table["tokens"].median()),
        "out_of_budget": truncated.sum() / len(table),
        "gave_up": gave_up.sum() / len(table),
        "wrong_otherwise": (~truncated & ~gave_up).sum() / len(table),
        "right_if_checked": table.loc[checked, "correct"].mean(),
        "right_if_unchecked": table.loc[~checked, "correct"].mean(),
        **{behavior: (table[behavior] > 0).mean() for behavior in BEHAVIORS},
    }


def gain(base: pd.DataFrame, instructed: pd.DataFrame, config: Config) -> dict[str, float]:
    """What an instruction adds to accuracy on the same problems: problems won and lost by it, exact McNemar p, and the
    gain's paired bootstrap interval.

    Raises:
        ValueError: the two tables are not of the same problems in one order.
    """
    if base["problem_id"].tolist() != instructed["problem_id"].tolist():
        raise ValueError("a gain is of the same problems, asked in two ways")
    difference = instructed["correct"].to_numpy(dtype=int) - base["correct"].to_numpy(dtype=int)
    won, lost = int((difference > 0).sum()), int((difference < 0).sum())
    level, resamples = config.statistics.confidence_level, config.statistics.bootstrap_resamples
    low, high = bootstrap_interval(difference, level, resamples, config.seed)
    return {
        "n": len(difference),
        "base": base["correct"].mean(),
        "instructed": instructed["correct"].mean(),
        "gain": difference.mean(),
        "low": low,
        "high": high,
        "won": won,
        "lost": lost,
        "p": mcnemar_exact(won, lost),
    }


def step_accuracy(table: pd.DataFrame) -> dict[str, float]:
    """Of all elementary steps that the answers state, the share that is right, with its Wilson interval over steps; not
    a number where no step is stated."""
    count, right = int(table["steps"].sum()), int(table["right_steps"].sum())
    low, high = wilson_interval(right, count) if count else (float("nan"),) * 2
    return {"n_steps": count, "step_accuracy": right / count if count else float("nan"), "low": low, "high": high}


def _example(right: pd.DataFrame) -> tuple[str, str]:
    """Question and answer: of those that show the most behaviors, the one of median length."""
    kinds = (right[list(BEHAVIORS)] > 0).sum(axis=1)
    shown = right[kinds == kinds.max()].sort_values("tokens", kind="stable")
    typical = shown.iloc[len(shown) // 2]
    return typical["question"], typical["text"]


def tutor_accuracy(recipe: TutoredRecipe, seed: int) -> pd.DataFrame:
    """How often the tutor itself is right, by benchmark and style: what its pupil could learn to do."""
    rows = []
    for benchmark, difficulty in recipe.benchmarks.items():
        problems = draw_problems(benchmark, difficulty, {"validation": FEWER}, seed)
        row = {"benchmark": benchmark}
        for style in STYLES:
            rng = Random(seed)
            right = sum(is_correct(problem, write_trace(problem, rng, style).text) for problem in problems)
            row[style.name] = f"{right / len(problems):.1%}"
        rows.append(row)
    return pd.DataFrame(rows)
