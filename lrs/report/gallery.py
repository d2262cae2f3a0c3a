"""The gallery: every item of the paper, and of ours, with the file that shows it, what makes it, and why, if it is not
here."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from lrs.core.frames import as_markdown, records
from lrs.tasks.behaviors import BEHAVIORS


class Item(NamedTuple):
    """An item of the paper, or of ours.

    Attributes:
        name: what it is.
        files: that show it, under `data/expected`; none of what is not here.
        notebook: in which it is told; the files may be saved by another, see `writer_of`.
        command: that makes its numbers.
        why: it is not here, or differs.
    """

    name: str
    files: tuple[str, ...] = ()
    notebook: str = ""
    command: str = "make repro"
    why: str = ""


_PAPER = "09_paper"
_RATES_TOLD = "How often each behavior is shown in 100 tokens of a greedy answer, with its interval:"
_FROM = "../data/expected/"  # the page's links
RATES = "cpu/behavior_rates.csv"
PAPER_ITEMS = (
    Item("the method (Figure 1)", ("cpu/method.png",), _PAPER),
    Item(
        "accuracy of all methods (Table 1)",
        ("cpu/table1.md", "cpu/paper_table1.md", "cpu/paper_table1.png"),
        _PAPER,
        why="ours, on reasoners of our own, beside the paper's numbers, which nobody here can make",
    ),
    Item("settings", ("cpu/settings.md",), _PAPER),
    Item("how they were chosen", ("cpu/pocket-3m/selection.png", "cpu/selection.csv"), "04_select"),
    Item("prompts", ("cpu/prompts.md",), _PAPER),
    Item("efficiency", ("cpu/costs.md", "cpu/costs.png", "cpu/cost_curves.png"), "08_bench", "make bench"),
    Item(
        "ablation of the gate",
        ("controls/pocket-3m/delta.png", "controls/specific.csv"),
        _PAPER,
        "make controls",
        why="without a gate, by reward alone, by confidence alone, and by signals that the paper does not have",
    ),
    Item(
        "sweep over K and alpha",
        ("cpu/pocket-3m/sweep.png", "cpu/sweep_by_chance.csv", "cpu/paper_sweeps.png"),
        "06_assay",
        "make sweep",
        why="on validation problems; what sweeps like the paper's find by chance, and what ours does",
    ),
    Item("sensitivity to the thresholds", ("cpu/pocket-3m/sweep.png",), "06_assay", "make sweep", "in the same figure"),
    Item(
        "layers, and number of latents",
        ("cpu/pocket-3m/sweep.png",),
        "06_assay",
        "make sweep",
        why="in the same figure; so will be temperatures and step sizes in training and a penalty on the mean push",
    ),
    Item(
        "rewards moved to other benchmarks",
        ("cpu/transfer.png",),
        "06_assay",
        "make transfer",
        why="to other backbones: `lrs stitch`, which maps one's dictionary to the other's stream; not measured yet",
    ),
    Item(
        "which behaviors are promoted",
        (
            *("cpu/pocket-3m/promoted.png", "cpu/pocket-3m/behaviors.png"),
            *("cpu/promoted.csv", "cpu/behaviors.csv", RATES, "cpu/behavior_rates.md"),
        ),
        _PAPER,
    ),
    Item(
        "behaviors of the unsteered reasoner",
        ("cpu/pocket-3m/trace_behaviors.png",),
        "01_traces",
    ),
    Item(
        "what the labels are worth",
        ("cpu/notebooks/pocket-3m/01_traces.ipynb", "cpu/labeller.md"),
        "01_traces",
        why="precision and recall of the rules for models of the hub, against the exact labels",
    ),
    Item(
        "what latents mean",
        (
            *("cpu/pocket-3m/latents.png", "cpu/pocket-3m/words.png", "cpu/pocket-3m/contexts.png"),
            "cpu/pocket-3m/latents.html",
        ),
        "07_latents",
        why="the page has all of them, with their contexts, to be searched and sorted",
    ),
    Item(
        "latents against length",
        ("controls/pocket-3m/latents.png",),
        "07_latents",
        "make controls",
        why="its column `long trace`",
    ),
    Item(
        "transitions between right and wrong",
        ("controls/pocket-3m/transitions.png", "controls/transitions.csv", "cpu/first_differences.csv"),
        _PAPER,
        "make controls",
    ),
    Item("reward paths", ("cpu/pocket-3m/reward_paths.png", "cpu/reward_ends.csv"), "07_latents"),
    Item(
        "where pushes act, and which heads read them",
        ("cpu/pocket-3m/push_paths.png", "cpu/pocket-3m/heads.png", "cpu/instability.csv"),
        "07_latents",
    ),
    Item(
        "case studies",
        ("cpu/pocket-3m/cases.png", "cpu/planted-p1/cases.png", "cpu/notebooks/pocket-3m/07_latents.ipynb"),
        "07_latents",
        why="the second figure's first repair is a planted one",
    ),
)
OUR_ITEMS = (
    Item("what is known to be there, and what is found", ("cpu/pocket-3m/assay.png",), "06_assay"),
    Item("planted modes", ("planted/results.md",), "06_assay", "make planted"),
    Item("where it is lost", ("controls/pocket-3m/budget.png",), "06_assay", "make controls"),
    Item("what rewards know, and what climbing them gains", ("controls/results.md",), _PAPER, "make controls"),
    Item(
        "what a push owes to the state, to its direction and to its gate",
        ("controls/specific.csv", "natural/specific.csv"),
        "06_assay",
        "make controls",
    ),
    Item("how large a gain must be to be found", ("cpu/power.png",), "06_assay", "make power"),
    Item("accuracy against tokens", ("cpu/frontier.png",), "06_assay", "make rivals"),
    Item(
        "how much of a gain goes through each behavior",
        ("cpu/pocket-3m/mediation.png", "cpu/mediation.csv"),
        _PAPER,
    ),
    Item(
        "rewards that predict",
        (
            *("cpu/pocket-3m/reward_roc.png", "cpu/pocket-3m/reward_calibration.png"),
            *("cpu/pocket-3m/reward_by_position.png", "cpu/reward_quality.csv"),
        ),
        "03_reward",
    ),
)


def gallery_page(expected: Path) -> str:
    """The page `docs/gallery.md`: an index, and below it every picture of it.

    Args:
        expected: where accepted runs lie.
    """
    drawn: set[str] = set()  # a figure of several items stands below the first
    sections = [
        "# Gallery",
        "Every item of the paper, and what we add, as they were accepted. This page is written by `make accept` from "
        "`lrs/report/gallery.py`.",
    ]
    for heading, items in (("The paper's items", PAPER_ITEMS), ("Ours", OUR_ITEMS)):
        rows = ["| item | here | told in | files saved by | command | profile |", "|---|---|---|---|---|---|"]
        rows += [f"| {item.name} | {_shown(item)} | {_notebooks(item)} | {_origin(item)} |" for item in items]
        sections += [f"## {heading}", "\n".join(rows)]
        for item in items:
            pictures = [name for name in item.files if name.endswith(".png") and name not in drawn]
            pictures = [name for name in pictures if (expected / name).exists()]
            sections += [f"### {item.name[:1].upper()}{item.name[1:]}"] if pictures else []
            sections += [f"![{item.name}]({_FROM}{name})" for name in pictures]
            drawn |= set(pictures)
            if RATES in item.files and (expected / RATES).exists():
                sections += [_RATES_TOLD, rates_shown(pd.read_csv(expected / RATES))]
    return "\n\n".join(sections) + "\n"


def _shown(item: Item) -> str:
    links = ", ".join(f"[{Path(name).name}]({_FROM}{name})" for name in item.files)
    return "; ".join(part for part in (links or "**not here**", item.why) if part)


def writer_of(name: str) -> str:
    """The notebook that saves a file under `data/expected`; empty for a page that `make accept` writes."""
    path = Path(name)
    if path.suffix == ".ipynb":
        return path.stem
    if path.suffix == ".html":
        return "07_latents"
    return "" if path.name == "results.md" else _PAPER


def rates_shown(rates: pd.DataFrame) -> str:
    """A table for people: how often each arm shows each behavior in 100 tokens of its greedy answers, with intervals.

    Args:
        rates: of `lrs.report.promoted.rates_table`.
    """
    greedy = rates[rates["decoding"] == "greedy"]
    cells = [f"{row['rate']:.2f} [{row['rate_low']:.2f}, {row['rate_high']:.2f}]" for row in records(greedy)]
    wide = greedy.assign(cell=cells, arm="`" + greedy["arm"] + "`", backbone="`" + greedy["backbone"] + "`")
    order = pd.MultiIndex.from_frame(wide[["backbone", "arm"]].drop_duplicates())
    wide = wide.pivot(index=["backbone", "arm"], columns="behavior", values="cell")
    table = wide.loc[order, list(BEHAVIORS)].reset_index()
    return as_markdown(table.rename(columns=lambda name: name.replace("_", " ")))


def _notebooks(item: Item) -> str:
    """The notebook that tells of an item, and, in a cell of its own, those that save its files."""
    writers = dict.fromkeys(writer_of(name) for name in item.files)
    told = ", ".join(f"`{writer or 'make accept'}`" for writer in writers)
    return f"{f'`{item.notebook}`' if item.notebook else ''} | {told}"


def _origin(item: Item) -> str:
    """The command, and, in a cell of its own, the profiles whose runs are shown."""
    profiles = dict.fromkeys(name.partition("/")[0] for name in item.files)
    return f"`{item.command}` | {', '.join(f'`{profile}`' for profile in profiles)}" if item.files else " | "
