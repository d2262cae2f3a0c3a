"""The card of a reasoner with a planted mode: floor, ceiling, and whether the state at its fork is what the mode hangs
on. Written from measurements."""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from lrs.config import Config
from lrs.core.statistics import wilson_interval
from lrs.core.store import write_text
from lrs.experiment.patching import fork_states, from_the_fork
from lrs.models.backbones import Backbone, load_backbone
from lrs.reasoners.measurements import answers_to
from lrs.reasoners.recipes import PlantingRecipe, recipe_of
from lrs.reasoners.saving import describe_training
from lrs.tasks.answers import is_correct
from lrs.tasks.benchmarks import Tier
from lrs.tasks.problems import Problem, draw_problems
from lrs.tutor import planted
from lrs.tutor.planted import FORK, MODE_AT_FORK, MOON, PASSWORDS, SUN, right_mode, right_password

_PROBLEMS = 500  # of split `validation`
_TEMPERATURES = (0.0, 0.7, 1.0)


def measure_modes(backbone: Backbone, problems: list[Problem], config: Config, tier: Tier) -> pd.DataFrame:
    """Accuracy and modes, unforced and under each password: the lowest accuracy is the floor, the highest the ceiling
    of what a mode that is the same everywhere can do."""
    rows = []
    right = [right_mode(problem, tier) for problem in problems]
    for password in ("", *PASSWORDS):
        for temperature in _TEMPERATURES:
            report = answers_to(backbone, problems, config, temperature, password)
            said = report["text"].str.findall(MODE_AT_FORK)  # of p4 at every step
            forks = pd.DataFrame({"mode": said, "right": right}).explode("mode")
            low, high = wilson_interval(report["correct"].sum(), len(report))
            rows.append(
                {
                    "password": password or "none",
                    "temperature": temperature,
                    "n": len(report),
                    "accuracy": report["correct"].mean(),
                    "low": low,
                    "high": high,
                    "says_sun": (forks["mode"] == SUN).mean(),
                    "says_the_right_mode": (forks["mode"] == forks["right"]).mean(),
                    "right_when_sun": report.loc[said.map(lambda modes: set(modes) == {SUN}), "correct"].mean(),
                    "right_when_moon": report.loc[said.map(lambda modes: MOON in modes), "correct"].mean(),
                }
            )
    return pd.DataFrame(rows)


def _until_second_fork(text: str) -> str:
    """What hangs on the first fork alone."""
    return "".join(text.partition(FORK)[2].partition(FORK)[0].split())


def measure_patch(
    backbone: Backbone, problems: Sequence[Problem], layer: int, max_new_tokens: int, tier: Tier
) -> pd.DataFrame:
    """Each question asked with one password or none, with the state that another password leads to at the fork.

    Returns:
        A row a pair of passwords, all of them greedy: `chosen`, of the problems, those where the patched text chooses
        the mode that the state's password forces; `exactly`, those where it is, to the letter, what is written under
        that password (so the arithmetic is left alone); `accuracy` of the patched texts. In the last row the state is,
        problem by problem, that of the password of the right mode: the most that a patch can do.
    """
    count = len(problems)
    written = {
        word: from_the_fork(backbone, layer, problems, [word] * count, tier, max_new_tokens) for word in PASSWORDS
    }
    states = {word: fork_states(backbone, layer, problems, [word] * count, tier) for word in PASSWORDS}
    right = [right_password(problem, tier) for problem in problems]
    rows = []
    for asked, given in [("amber", "cobalt"), ("cobalt", "amber"), ("", "amber"), ("", "cobalt"), ("", "right")]:
        from_words = right if given == "right" else [given] * count
        state = torch.stack([states[word][place] for place, word in enumerate(from_words)])
        patched = from_the_fork(backbone, layer, problems, [asked] * count, tier, max_new_tokens, state)
        chosen = [PASSWORDS[word] in text.split()[3:4] for word, text in zip(from_words, patched, strict=True)]
        same = [
            _until_second_fork(text) == _until_second_fork(written[word][place])
            for place, (word, text) in enumerate(zip(from_words, patched, strict=True))
        ]
        correct = [is_correct(problem, text) for problem, text in zip(problems, patched, strict=True)]
        rows.append(
            {
                "asked": asked or "none",
                "state": given,
                "n": count,
                "chosen": sum(chosen) / count,
                "exactly": sum(same) / count,
                "accuracy": sum(correct) / count,
            }
        )
    return pd.DataFrame(rows)


def _percent(table: pd.DataFrame, but: Sequence[str]) -> str:
    shares = [column for column in table if column not in but]
    text = table[shares].map(lambda share: "" if share != share else f"{share:.1%}")
    return pd.concat([table[list(but)], text], axis=1)[list(table)].to_markdown(index=False)


def write_planted_card(folder: Path, config: Config, device: str) -> None:
    """Measure the planted reasoner in `folder`; write `modes.csv`, `patch.csv` and its card there."""
    recipe = recipe_of(folder, PlantingRecipe)
    backbone = load_backbone(str(folder), device)
    ((benchmark, _),) = recipe.benchmarks.items()
    difficulty = config.benchmarks[benchmark]
    problems = draw_problems(benchmark, difficulty, {"validation": _PROBLEMS}, config.seed)
    modes = measure_modes(backbone, problems, config, recipe.tier)
    patch = measure_patch(backbone, problems, recipe.layer, config.decoding.max_new_tokens, recipe.tier)
    for name, table in (("modes", modes), ("patch", patch)):
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g", lineterminator="\n")
    told = re.search(rf"^    {recipe.tier}  (.*(?:\n     .*)*)", planted.__doc__ or "", re.MULTILINE)
    what = told[1] if told else ""
    way = f"by interchange training at layer {recipe.layer}" if recipe.interchange else "by fine-tuning alone"
    write_text(
        folder / "README.md",
        f"""# {folder.name}: a reasoner with a planted mode

[{recipe.parent}](../{recipe.parent}/README.md) with a mode planted {way} (`lrs/tutor/planted.py`, tier {recipe.tier}):
{" ".join(what.split())}. The mode matters in {recipe.dose:.0%} of the problems.
`make reasoner REASONER={folder.name}` makes it from `recipe.yaml` (resumable, seed {recipe.seed}), which took
{describe_training(folder)}.

## Floor and ceiling

On {_PROBLEMS} problems of split `validation` ({benchmark}: {difficulty}), at the temperatures named (0 is greedy), with
95% Wilson intervals. A password after the question forces a mode{", at every step" if recipe.tier == "p4" else ""}.
`says_sun` and `says_the_right_mode` are shares of the forks; an answer is counted under `sun` if no fork said `moon`.

{_percent(modes, ["password", "temperature", "n"])}

## Does the state at the fork decide?

Asked with one password (or none), with the residual stream at the first fork, behind layer {recipe.layer}, put in from
the same problem asked with another, greedily. `chosen`: share of the problems in which the mode of the state's password
is chosen. `exactly`: {"what follows, up to the second fork," if recipe.tier == "p4" else "all that follows"} is, to the
letter, what is written under that password, arithmetic included. In
the last row the state is that of the right mode's password, problem by problem: the most that a patch can do.

{_percent(patch, ["asked", "state", "n"])}

This file is written by `make reasoner`; do not edit it.
""",
    )
