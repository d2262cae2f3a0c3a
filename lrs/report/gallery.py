"""The gallery: every item of the paper, and of ours, with the file that shows it, what makes it, and why, if it is not
here."""

from pathlib import Path
from typing import NamedTuple


class Item(NamedTuple):
    """An item of the paper, or of ours.

    Attributes:
        name: what it is.
        files: that show it, under `data/expected`; none of what is not here.
        notebook: that draws it.
        command: that makes its numbers.
        why: it is not here, or differs.
    """

    name: str
    files: tuple[str, ...] = ()
    notebook: str = ""
    command: str = "make repro"
    why: str = ""


_PAPER = "09_paper"
_FROM = "../data/expected/"  # the page's links
PAPER_ITEMS = (
    Item("the method (Figure 1)", ("cpu/method.png",), _PAPER),
    Item(
        "accuracy of all methods (Table 1)",
        ("cpu/table1.md", "cpu/paper_table1.md", "cpu/paper_table1.png"),
        _PAPER,
        why="ours, on reasoners of our own, beside the paper's numbers, which nobody here can make",
    ),
    Item("settings", ("cpu/settings.md",), _PAPER),
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
        why="in the same figure",
    ),
    Item(
        "rewards moved to other benchmarks",
        ("cpu/transfer.png",),
        "06_assay",
        "make transfer",
        why="not to other backbones: a reward reads the latents of its own dictionary",
    ),
    Item("which behaviors are promoted", ("cpu/pocket-3m/promoted.png", "cpu/pocket-3m/behaviors.png"), _PAPER),
    Item(
        "what latents mean",
        ("cpu/pocket-3m/latents.png", "cpu/pocket-3m/words.png", "cpu/pocket-3m/latents.html"),
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
    Item("transitions between right and wrong", ("controls/pocket-3m/transitions.png",), _PAPER, "make controls"),
    Item("reward paths", ("cpu/pocket-3m/reward_paths.png",), "07_latents"),
    Item(
        "where pushes act, and which heads read them",
        ("cpu/pocket-3m/push_paths.png", "cpu/pocket-3m/heads.png"),
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
    Item("how much of a gain goes through each behavior", ("cpu/pocket-3m/mediation.png",), _PAPER),
    Item("rewards that predict", ("cpu/pocket-3m/reward_roc.png", "cpu/pocket-3m/reward_by_position.png"), "03_reward"),
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
        rows = ["| item | here | notebook | command | profile |", "|---|---|---|---|---|"]
        rows += [f"| {item.name} | {_shown(item)} | {_notebook(item)} | {_origin(item)} |" for item in items]
        sections += [f"## {heading}", "\n".join(rows)]
        for item in items:
            pictures = [name for name in item.files if name.endswith(".png") and name not in drawn]
            pictures = [name for name in pictures if (expected / name).exists()]
            sections += [f"### {item.name[:1].upper()}{item.name[1:]}"] if pictures else []
            sections += [f"![{item.name}]({_FROM}{name})" for name in pictures]
            drawn |= set(pictures)
    return "\n\n".join(sections) + "\n"


def _shown(item: Item) -> str:
    links = ", ".join(f"[{Path(name).name}]({_FROM}{name})" for name in item.files)
    return "; ".join(part for part in (links or "**not here**", item.why) if part)


def _notebook(item: Item) -> str:
    return f"`{item.notebook}`" if item.notebook else ""


def _origin(item: Item) -> str:
    """The command, and, in a cell of its own, the profiles whose runs are shown."""
    profiles = dict.fromkeys(name.partition("/")[0] for name in item.files)
    return f"`{item.command}` | {', '.join(f'`{profile}`' for profile in profiles)}" if item.files else " | "
