"""The card of a reasoner with a planted mode: floor, ceiling, and whether the state at its fork is what the mode hangs
on. Written from measurements."""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lrs.config import Config
from lrs.core.statistics import wilson_interval
from lrs.core.store import write_text
from lrs.experiment.patching import fork_states, from_the_fork
from lrs.models.backbones import Backbone, load_backbone
from lrs.reasoners.checkpoints import describe_training
from lrs.reasoners.measurements import answers_to
from lrs.reasoners.recipes import PlantingRecipe, load_recipe
from lrs.tasks.answers import is_correct
from lrs.tasks.problems import Problem, draw_problems
from lrs.tutor import planted
from lrs.tutor.planted import FORK, MOON, OTHER, PASSWORDS, SUN, right_mode

_PROBLEMS = 500  # of split `validation`
_TEMPERATURES = (0.0, 0.7, 1.0)


def measure_modes(backbone: Backbone, problems: list[Problem], config: Config, tier: str) -> pd.DataFrame:
    """Accuracy and modes, unforced and under each password: the lowest accuracy is the floor, the highest the ceiling
    of what a mode that is the same everywhere can do."""
    rows = []
    right = [right_mode(problem, tier) for problem in problems]
    for password in ("", *PASSWORDS):
        for temperature in _TEMPERATURES:
            report = answers_to(backbone, problems, config, temperature, password)
            said = report["text"].str.extract(rf"\b{FORK} ({SUN}|{MOON})\b")[0]
            low, high = wilson_interval(report["correct"].sum(), len(report))
            rows.append(
                {
                    "password": password or "none",
                    "temperature": temperature,
                    "n": len(report),
                    "accuracy": report["correct"].mean(),
                    "low": low,
                    "high": high,
                    "says_sun": (said == SUN).mean(),
                    "says_the_right_mode": (said == right).mean(),
                    "right_when_sun": report.loc[said == SUN, "correct"].mean(),
                    "right_when_moon": report.loc[said == MOON, "correct"].mean(),
                }
            )
    return pd.DataFrame(rows)


def _until_next_fork(text: str) -> str:
    """What hangs on the first fork alone."""
    _, _, after = text.partition(f"{FORK} ")
    return re.sub(rf"^({SUN}|{MOON})", "", after).partition(FORK)[0].strip()


def measure_patch(
    backbone: Backbone, problems: Sequence[Problem], layer: int, max_new_tokens: int, tier: str
) -> pd.DataFrame:
    """Each mode written at the fork, with the state of the other one in its place.

    Returns:
        A row a mode: `differs`, of the problems, those where the two modes write different things at all; of these,
        `flipped`, where the patched text is the other mode's to the letter (so the arithmetic is left alone), and
        `stayed`, where it is the mode's own; `accuracy` of all patched texts. And a row `wrong`, `right`: the
        mode that is wrong is written, and patched to the right one.
    """
    written = {mode: from_the_fork(backbone, layer, problems, [mode] * len(problems), max_new_tokens) for mode in OTHER}
    states = {mode: fork_states(backbone, layer, problems, [mode] * len(problems)) for mode in OTHER}
    rows, texts = [], {}
    for mode, other in OTHER.items():
        patched = texts[mode] = from_the_fork(
            backbone, layer, problems, [mode] * len(problems), max_new_tokens, states[other]
        )
        ends = pd.DataFrame({"own": written[mode], "other": written[other], "patched": patched}).map(_until_next_fork)
        differs = ends["own"] != ends["other"]
        rows.append(
            {
                "written": mode,
                "state": other,
                "n": len(problems),
                "differs": differs.mean(),
                "flipped": (ends["patched"] == ends["other"])[differs].mean(),
                "stayed": (ends["patched"] == ends["own"])[differs].mean(),
                "accuracy": _accuracy(problems, patched),
            }
        )
    patched = [texts[OTHER[right_mode(problem, tier)]][place] for place, problem in enumerate(problems)]
    rows.append({"written": "wrong", "state": "right", "n": len(problems), "accuracy": _accuracy(problems, patched)})
    return pd.DataFrame(rows)


def _accuracy(problems: Sequence[Problem], texts: Sequence[str]) -> float:
    return sum(is_correct(problem, text) for problem, text in zip(problems, texts, strict=True)) / len(problems)


def _percent(table: pd.DataFrame, but: Sequence[str]) -> str:
    shares = [column for column in table if column not in but]
    text = table[shares].map(lambda share: "" if share != share else f"{share:.1%}")
    return pd.concat([table[list(but)], text], axis=1)[list(table)].to_markdown(index=False)


def write_planted_card(folder: Path, config: Config, device: str) -> None:
    """Measure the planted reasoner in `folder`; write `modes.csv`, `patch.csv` and its card there."""
    recipe = load_recipe(folder)
    assert isinstance(recipe, PlantingRecipe)
    backbone = load_backbone(str(folder), device)
    ((benchmark, _),) = recipe.benchmarks.items()
    difficulty = config.benchmarks[benchmark]
    problems = draw_problems(benchmark, difficulty, {"validation": _PROBLEMS}, config.seed)
    modes = measure_modes(backbone, problems, config, recipe.tier)
    patch = measure_patch(backbone, problems, recipe.layer, config.decoding.max_new_tokens, recipe.tier)
    for name, table in (("modes", modes), ("patch", patch)):
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g", lineterminator="\n")
    what = re.search(rf"^    {recipe.tier}  (.*(?:\n     .*)*)", planted.__doc__, re.MULTILINE)[1]
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
95% Wilson intervals. A password after the question forces a mode.

{_percent(modes, ["password", "temperature", "n"])}

## Does the state at the fork decide?

One mode is written at the first fork, and the residual stream there, behind layer {recipe.layer}, is that of the other.
`differs`: share of the problems in which the two modes write different things at all. Of these: `flipped`, the patched
text is the other mode's to the letter (arithmetic included); `stayed`, it is the mode's own. The last row writes the
wrong mode, and patches it to the right one.

{_percent(patch, ["written", "state", "n"])}

This file is written by `make reasoner`; do not edit it.
""",
    )
