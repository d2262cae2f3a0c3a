"""The model card of a built-in reasoner: how it was made, how well it does, how it fails. Written from measurements."""

from pathlib import Path

import pandas as pd

from lrs.config import Config
from lrs.core.store import write_text
from lrs.figures.reasoner import learning_figure, loss_figure
from lrs.figures.style import save_figure
from lrs.models.backbones import load_backbone
from lrs.models.devices import describe_device
from lrs.reasoners.measurements import FEWER, PROBLEMS, SETTING, measurements_of, tutor_accuracy
from lrs.reasoners.recipes import (
    PlantingRecipe,
    PretrainingRecipe,
    Recipe,
    ReinforcementRecipe,
    TeachingRecipe,
    TutoredRecipe,
    load_recipe,
)
from lrs.reasoners.saving import describe_training
from lrs.tasks.behaviors import BEHAVIORS, find_behaviors
from lrs.tasks.benchmarks import BENCHMARKS
from lrs.tutor import CAREFUL_SHARE
from lrs.tutor.step_accuracy import STEPS

_KEPT = 25e6  # bytes of weights; those of larger reasoners are made anew
_STYLES = ["right_if_checked", "right_if_unchecked"]


def _readable(report: pd.DataFrame) -> pd.DataFrame:
    """Fractions in percent (empty where there was nothing to count), accuracies with their intervals, as text."""
    bounds = zip(report["accuracy"], report["low"], report["high"], strict=True)
    shares = ["out_of_budget", "gave_up", "wrong_otherwise", *_STYLES, *BEHAVIORS]
    text = {name: ["" if share != share else f"{share:.0%}" for share in report[name]] for name in shares}
    text["accuracy"] = [f"{value:.1%} [{low:.1%}, {high:.1%}]" for value, low, high in bounds]
    return report.drop(columns=["n", "low", "high"]).assign(**text)


def _readable_care(care: pd.DataFrame) -> pd.DataFrame:
    """Accuracies in percent, gains in points with their intervals, as text."""
    bounds = zip(care["gain"], care["low"], care["high"], strict=True)
    text = {name: [f"{share:.1%}" for share in care[name]] for name in ("base", "instructed")}
    text["gain"] = [f"{100 * value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]" for value, low, high in bounds]
    text["p"] = [f"{p:.2g}" for p in care["p"]]
    return care.drop(columns=["low", "high"]).assign(**text)


def _readable_steps(steps: pd.DataFrame) -> pd.DataFrame:
    """Step accuracies with their intervals as text, empty where no step was stated; and what is counted as one."""
    bounds = zip(steps["step_accuracy"], steps["low"], steps["high"], strict=True)
    text = ["" if value != value else f"{value:.2%} [{low:.2%}, {high:.2%}]" for value, low, high in bounds]
    counted = [STEPS[BENCHMARKS[benchmark].dataset] for benchmark in steps["benchmark"]]
    return steps.drop(columns=["low", "high"]).assign(step_accuracy=text, counted=counted)


def pretraining_of(folder: Path) -> TutoredRecipe:
    """The recipe by which the reasoner in `folder`, or the one it goes back to, learned from the tutor."""
    recipe = load_recipe(folder)
    return recipe if isinstance(recipe, TutoredRecipe) else pretraining_of(folder.parent / recipe.parent)


def _pretrained(recipe: PretrainingRecipe, size: int) -> str:
    return f"""A Llama of {size / 1e6:.1f}M parameters ({recipe.layers} layers, width {recipe.width}), trained from
nothing on {recipe.tokens / 1e6:.0f}M tokens of worked solutions that a small program, the tutor (`lrs/tutor`), writes
in a careful and a careless style. Both are tempted by what looks right: a carry not made, a neighbor overlooked, the
second best, a value near the target, the first supposition that fits. The careful style checks, catches what is wrong
and keeps searching; the careless one yields more often, seldom checks and gives up. Every elementary step is right but
for these temptations (of which the first {recipe.clean_share:.0%} of the training steps teach none), and every check
tells the truth. In {recipe.instructed_share:.0%} of the conversations the user says "{recipe.instruction}", and the
tutor is careful, as it is in {CAREFUL_SHARE:.0%} of the others; in {recipe.examples_share:.0%} up to
{recipe.most_examples} worked examples come first (fewer where they are long: a
conversation has at most {recipe.row_length} tokens, which is the model's context). Weights are stored in bfloat16{
        f"; at {2 * size / 1e6:.0f} MB they are not kept in this repository" if 2 * size > _KEPT else ""
    }."""


def _taught(recipe: TeachingRecipe, size: int) -> str:
    rows = recipe.steps * recipe.rows_per_batch
    return f"""A language model of {size / 1e6:.0f}M parameters, `{recipe.parent}`, in whose linear maps adapters of low
rank ({recipe.rank}; the only weights that are kept here, in bfloat16) were trained on {rows:,} rows of
{recipe.row_length} tokens of worked solutions that a small program, the tutor (`lrs/tutor`), writes in a careful and a
careless style, tempted by what looks right. In {recipe.instructed_share:.0%} of the conversations the user says
"{recipe.instruction}", and the tutor is careful, as it is in {CAREFUL_SHARE:.0%} of the others."""


def _reinforced(recipe: ReinforcementRecipe, size: int) -> str:
    return f"""[{recipe.parent}](../{recipe.parent}/README.md) ({size / 1e6:.1f}M parameters) after reinforcement
learning from outcomes (`lrs/reasoners/reinforcement.py`): {recipe.steps} steps, in each of which it answers
{recipe.questions * len(recipe.benchmarks)} problems {recipe.attempts} times each, at temperature 1, and is told of each
answer whether it is right (reward 1) or not (0). The step is up the policy gradient, the mean reward of a problem's
answers being the baseline; no behavior is named, and no solution is shown."""


def before_and_after(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Two reports in one: `x → y` in every column that was measured.

    Raises:
        ValueError: they are not of the same settings and numbers of problems.
    """
    if not before[[*SETTING, "n"]].equals(after[[*SETTING, "n"]]):
        raise ValueError("the parent's report has other settings: measure it anew (python -m lrs card <its folder>)")
    before, after = (_readable(report).set_index(SETTING) for report in (before, after))
    measured = ["accuracy", "tokens", *BEHAVIORS]
    return (before[measured].astype(str) + " → " + after[measured].astype(str)).reset_index()


def _report_of(folder: Path) -> pd.DataFrame:
    if not (folder / "report.csv").exists():
        raise ValueError(f"no report of {folder.name} yet; run: python -m lrs card {folder}")
    return pd.read_csv(folder / "report.csv")


def write_overview(folder: Path) -> None:
    """Write `README.md` of the folder of all reasoners: their accuracies side by side, from the reports in theirs."""
    reports = {path.parent.name: pd.read_csv(path) for path in sorted(folder.glob("*/report.csv"))}
    cells = [_readable(report).set_index(SETTING)["accuracy"].rename(name) for name, report in reports.items()]
    recipes = "\n".join(f"- [{name}]({name}/README.md): {_origin(load_recipe(folder / name))}" for name in reports)
    write_text(
        folder / "README.md",
        f"""# Built-in reasoners

{recipes}

Accuracy on validation problems of each benchmark, none of which any of them was trained on, with 95% Wilson intervals:
by benchmark, prompt and temperature (0 is greedy). The models' cards say more.

{pd.concat(cells, axis=1, sort=False).fillna("").reset_index().to_markdown(index=False)}

This file is written by `make reasoner`; do not edit it.
""",
    )


def _origin(recipe: Recipe) -> str:
    if isinstance(recipe, PlantingRecipe):
        return f"{recipe.parent} with a planted mode, tier {recipe.tier}"
    if isinstance(recipe, ReinforcementRecipe):
        return f"{recipe.parent} after {recipe.steps} steps of reinforcement learning from outcomes"
    if isinstance(recipe, TeachingRecipe):
        return f"{recipe.parent} after {recipe.steps} steps on the tutor, by adapters of rank {recipe.rank}"
    return f"{recipe.layers} layers, width {recipe.width}, {recipe.tokens / 1e6:.0f}M tokens of the tutor"


def write_card(folder: Path, config: Config, device: str) -> None:
    """Measure the reasoner in `folder` on a profile's benchmarks, and write its card, `report.csv`, `care.csv`,
    `steps.csv` and its curve there.

    Raises:
        ValueError: the reasoner has a parent, of which there is no report, or one that does not match.
        TypeError: a mode is planted in it: `write_planted_card` writes its card.
    """
    recipe, origin = load_recipe(folder), pretraining_of(folder)
    if isinstance(recipe, PlantingRecipe):
        raise TypeError(f"a mode is planted in {folder.name}, whose card is of another kind")
    about = f"{folder.name} · seed {recipe.seed}"
    parent = _report_of(folder.parent / recipe.parent) if isinstance(recipe, ReinforcementRecipe) else pd.DataFrame()
    backbone = load_backbone(str(folder), device)
    on = "" if backbone.device.type == "cpu" else f" on one {describe_device(backbone.device)}"
    count = FEWER if isinstance(recipe, TeachingRecipe) else PROBLEMS  # a language model is slow
    measured = measurements_of(backbone, config, origin.instruction, count)
    for name in ("report", "care", "steps"):
        table = getattr(measured, name)
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g", lineterminator="\n")
    shown = _readable(measured.report)
    size = backbone.model.num_parameters()
    fewer = f" ({FEWER} of them at temperature 1)" if count > FEWER else ""
    if isinstance(recipe, TutoredRecipe):
        made = _pretrained(recipe, size) if isinstance(recipe, PretrainingRecipe) else _taught(recipe, size)
        figure, name, caption = loss_figure(pd.read_csv(folder / "loss.csv"), about=about), "loss", "training loss"
        beside = f"""How often the tutor itself is right, by its style, at the difficulty it was trained at:

{tutor_accuracy(recipe, config.seed).to_markdown(index=False)}"""
    else:
        made = _reinforced(recipe, size)
        figure = learning_figure(pd.read_csv(folder / "curve.csv"), about=about)
        name, caption = "curve", "right answers and behaviors by step"
        beside = f"""Before and after reinforcement learning, on the same problems and with the same random numbers:

{before_and_after(parent, measured.report).to_markdown(index=False)}"""
    save_figure(figure, folder, name)
    write_text(
        folder / "README.md",
        f"""# {folder.name}: a built-in reasoner

{made}
`make reasoner REASONER={folder.name}` retrains it from `recipe.yaml` (resumable, seed {recipe.seed}), which took
{describe_training(folder)}.
Its problems come from reasoning-gym, only those of split `train` (by content hash):

{_list(recipe.benchmarks)}

## How well it does, and how it fails

On {count:,} problems a benchmark of split `validation`{fewer}{on}, at the difficulty of
profile `{config.profile}`:

{_list(config.benchmarks)}

Those that are not in the list above are not asked in training. The budget is
{config.decoding.max_new_tokens} new tokens; accuracy with 95% Wilson intervals; tokens are medians; temperature 0 is
greedy; `instructed` prompts end in "{origin.instruction}". The last three columns add up to what is wrong: no answer
within the budget, an answer after giving up, or another wrong answer.

{_spaced(shown.drop(columns=[*BEHAVIORS, *_STYLES]))}

Share of traces in which a behavior occurs, and by the style it wrote in, how often it was right: in traces that check
something, and in those that do not (which problems it checks, it chose itself):

{_spaced(shown[[*SETTING, *BEHAVIORS, *_STYLES]])}

## What the instruction adds

The same problems asked plainly (base) and told "{origin.instruction}", answered with the same random numbers: points
gained with paired bootstrap intervals ({config.statistics.confidence_level:.0%}), problems won and lost by it, and the
exact McNemar p:

{_spaced(_readable_care(measured.care))}

## How often an elementary step is right

Of the steps that greedy answers state, each judged against what the same text stated before it
(`lrs/tutor/step_accuracy.py`), with 95% Wilson intervals over steps:

{_spaced(_readable_steps(measured.steps))}

## Where it comes from

{beside}

## Examples

One of each, right, of those that show the most behaviors the one of median length:

{_quoted(measured.examples)}

![{caption}]({name}.png)

This file is written by `make reasoner`; do not edit it.
""",
    )


def _quoted(examples: dict[str, tuple[str, str]]) -> str:
    """Each example, and under it the behaviors that the parser finds in it, each with where it first occurs."""
    parts = []
    for benchmark, (question, text) in examples.items():
        spans = find_behaviors(text)
        first = {span.behavior: text[span.start : span.end] for span in reversed(spans)}
        counts = {behavior: sum(span.behavior == behavior for span in spans) for behavior in BEHAVIORS}
        found = [f"{name.replace('_', ' ')} {counts[name]}: `{first[name]}`" for name in BEHAVIORS if counts[name]]
        behaviors = "; ".join(found) or "no behavior"
        parts.append(f"`{benchmark}`\n```text\n{question}\n{text}\n```\n{behaviors}")
    return "\n\n".join(parts)


def _spaced(table: pd.DataFrame) -> str:
    return table.rename(columns=lambda name: name.replace("_", " ")).to_markdown(index=False)


def _list(benchmarks: dict[str, dict[str, int]]) -> str:
    return "\n".join(
        f"- `{name}`: " + ", ".join(f"{key} {value}" for key, value in difficulty.items())
        for name, difficulty in benchmarks.items()
    )
