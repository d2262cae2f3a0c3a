"""Every figure of a notebook is told whose numbers it shows: reasoner, profile, seed and device."""

import ast
import json
from pathlib import Path

import pytest

from lrs.figures import style

ROOT = Path(__file__).parents[1]
CONFIGS = {"config", "one", "backbones[name]", "load_config('cpu', 'pocket-3m')"}  # as they are named there
NOT_OURS = {
    "method_figure",
    "paper_figure",
    "sweep_figure",
}  # drawn by code; the paper's numbers; its sweeps, simulated


def styled_figures():
    modules = [ast.parse(path.read_text("utf-8")) for path in Path(style.__file__).parent.glob("*.py")]
    functions = [node for module in modules for node in module.body if isinstance(node, ast.FunctionDef)]
    return {node.name for node in functions if "styled" in map(ast.unparse, node.decorator_list)}


def nodes_of(notebook):
    cells = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return [node for cell in code for node in ast.walk(ast.parse(cell))]


def told_of_figures(notebook):
    """Of each call of a figure, its name and what it is told: a name of `CONFIGS`, or a text."""
    nodes, styled = nodes_of(notebook), styled_figures()
    texts = {
        node.targets[0].id: ast.unparse(node.value)
        for node in nodes
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    told = []
    for node in nodes:
        if isinstance(node, ast.Call) and (name := ast.unparse(node.func).rpartition(".")[2]) in styled:
            about = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}.get("about", "")
            text = about if about in CONFIGS else texts.get(about, about)
            for known, value in texts.items():  # of a text that another is put in
                text = text.replace(f"{{{known}}}", value)
            told.append((name, text))
    return told


@pytest.mark.parametrize("notebook", sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb")))
def test_every_figure_is_told_whose_numbers_it_shows(notebook):
    told = told_of_figures(notebook)
    assert told
    assert [pair for pair in told if pair[0] not in NOT_OURS and pair[1] not in CONFIGS and "seed" not in pair[1]] == []
