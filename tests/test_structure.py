"""The house: packages with one import direction, and one meaning for each name."""

import ast
import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from lrs.core.closure import ROOT, imports_of

# Each imports only from those before it. Nothing imports `reasoners`, which makes the test-bed.
ORDER = (
    *("core", "tasks", "method", "config", "saved", "models", "engine", "learning", "tutor", "experiment", "report"),
    *("figures", "reasoners", "bench", "pipeline", "__init__", "__main__"),
)
LRS = ROOT / "lrs"
MODULES = sorted(LRS.rglob("*.py"))
MOST_EDGES = 60
MOST_IGNORES = 10
# Every tutor answers to the same name.
SAME_ON_PURPOSE = {"solve"}


def place(path: Path) -> str:
    return path.relative_to(LRS).parts[0].removesuffix(".py")


def edges() -> dict[tuple[str, str], list[str]]:
    """Imports between places: (from, to) and the modules that import."""
    found = defaultdict(list)
    for path in MODULES:
        for imported in imports_of(path):
            if place(imported) != place(path):
                found[place(path), place(imported)].append(path.relative_to(LRS).as_posix())
    return found


def test_every_place_has_its_rank():
    assert {place(path) for path in MODULES} == set(ORDER)


def test_imports_point_one_way():
    rank = {name: number for number, name in enumerate(ORDER)}
    wrong = {f"{here} imports {there}": by for (here, there), by in edges().items() if rank[here] <= rank[there]}
    assert wrong == {}


def test_only_the_door_imports_the_reasoners():
    assert {here for here, there in edges() if there == "reasoners"} <= {"__main__"}


def test_few_places_and_few_edges():
    assert len(ORDER) <= 20
    assert len(edges()) <= MOST_EDGES


@pytest.mark.parametrize("name", ["core", "tasks", "config", "saved", "report", "figures"])
def test_reading_results_does_not_import_torch(name: str):
    heads = {
        node.module if isinstance(node, ast.ImportFrom) else alias.name
        for path in MODULES
        if place(path) == name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert not {head for head in heads if head.split(".")[0] in ("torch", "sae_lens", "reasoning_gym")}


def test_the_notebook_of_all_figures_does_not_load_torch():
    cells = json.loads((ROOT / "notebooks" / "09_paper.ipynb").read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    imports = [node for node in ast.parse(code).body if isinstance(node, ast.Import | ast.ImportFrom)]
    lines = "\n".join(map(ast.unparse, imports))
    loaded = "import sys; sys.exit(sorted({'torch', 'transformers', 'sae_lens'} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", f"{lines}\n{loaded}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_public_name_has_one_meaning():
    homes = defaultdict(set)
    for path in MODULES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].add(path.relative_to(LRS).as_posix())
    commands = {
        "clean",
        "execute",
        "card",
        "reasoner",
        "bench",
        "accept",
        "confirm",
        "check",
        "summary",
        "run_profile",
        "main",
    }
    twice = {name: sorted(found) for name, found in homes.items() if len(found) > 1}
    assert {name: found for name, found in twice.items() if name not in SAME_ON_PURPOSE | commands} == {}


def public(body: list[ast.stmt]) -> list[ast.FunctionDef | ast.ClassDef]:
    named = [node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return [node for node in named if not node.name.startswith("_")]


def test_every_module_and_public_name_says_what_it_is():
    silent = []
    for path in MODULES:
        module = ast.parse(path.read_text())
        nodes = public(module.body)
        nodes += [method for node in nodes if isinstance(node, ast.ClassDef) for method in public(node.body)]
        silent += [f"{path.name}: {node.name}" for node in nodes if not ast.get_docstring(node)]
        silent += [path.name] * (not ast.get_docstring(module))
    assert silent == []


def test_types_are_ignored_rarely_and_for_a_reason():
    ignores = [line for path in MODULES for line in path.read_text().splitlines() if "type: ignore" in line]
    assert len(ignores) <= MOST_IGNORES
    assert [line for line in ignores if not re.search(r"# type: ignore\[[a-z-]+\]  # \w", line)] == []


def test_modules_are_short():
    assert {path.name: count for path in MODULES if (count := len(path.read_text().splitlines())) > 300} == {}
