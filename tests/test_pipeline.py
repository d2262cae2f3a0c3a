"""dvc.yaml lists what each notebook really imports, and the notebooks keep to their rules."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
import yaml

from lrs.config import load_config

ROOT = Path(__file__).parents[1]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# The stage of each notebook; those in PER_BACKBONE run once for each backbone, ${item}.
PER_BACKBONE = {stage["do"]["cmd"].split()[4] for name, stage in STAGES.items() if "do" in stage and name != "clean"}
EXECUTED = {stage["cmd"].split()[4]: stage for stage in (stage.get("do", stage) for stage in STAGES.values())}
EXECUTED.pop("${item}")  # the stage `clean`, of all notebooks
SECTIONS = set(load_config("cpu").model_dump(exclude={"profile", "backbone_name"}))
LONGEST_CELL = 20  # lines


def lrs_imports(tree: ast.AST) -> set[str]:
    """Dotted names that may be modules of lrs: `from lrs.a import b` gives lrs.a and lrs.a.b."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.update((node.module, *(f"{node.module}.{alias.name}" for alias in node.names)))
    return {name for name in names if name.split(".")[0] == "lrs"}


def files_of(name: str, root: Path) -> list[Path]:
    """The file of a dotted name, if it is a module, and of its packages below lrs (which only forwards names)."""
    parts = name.split(".")
    packages = [root.joinpath(*parts[:depth], "__init__.py") for depth in range(2, len(parts) + 1)]
    return [path for path in (*packages, root.joinpath(*parts).with_suffix(".py")) if path.exists()]


def says_something(tree: ast.Module) -> bool:
    """False for a module that is empty or holds a docstring only: nothing can depend on it."""
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in tree.body)


def closure(tree: ast.AST, root: Path = ROOT) -> list[str]:
    """Files of lrs that running `tree` reads, transitively."""
    found: set[Path] = set()
    waiting = lrs_imports(tree)
    while waiting:
        for path in set(files_of(waiting.pop(), root)) - found:
            module = ast.parse(path.read_text())
            if says_something(module):
                found.add(path)
                waiting |= lrs_imports(module)
    return sorted(path.relative_to(root).as_posix() for path in found)


def code_cells(name: str) -> list[nbformat.NotebookNode]:
    path = ROOT / "notebooks" / f"{name}.ipynb"
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def listed_parameters(name: str) -> list[str]:
    """What the stage names of its profile; a stage that reads none names none."""
    _, *sections = EXECUTED[name]["params"]
    return sections[0]["profiles/${profile}.yaml"] if sections else []


def test_the_package_itself_imports_none_of_its_modules():
    assert lrs_imports(ast.parse((ROOT / "lrs" / "__init__.py").read_text())) == set()


def test_closure_follows_packages_and_leaves_out_empty_ones(tmp_path: Path):
    for name, text in {
        "__init__": '"""Docstring."""',
        "a": "from lrs.figures import b",
        "c": "",
        "d": "x = 1",
        "figures/__init__": "import lrs.d",
        "figures/b": "def f():\n    from lrs.c import x",
    }.items():
        path = tmp_path / "lrs" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    files = closure(ast.parse("from lrs import a"), tmp_path)
    assert files == ["lrs/a.py", "lrs/d.py", "lrs/figures/__init__.py", "lrs/figures/b.py"]


@pytest.mark.parametrize("name", EXECUTED)
def test_stage_depends_on_the_modules_its_notebook_imports(name: str):
    tree = ast.parse("\n".join(cell.source for cell in code_cells(name)))
    expected = closure(tree)
    listed = [dependency for dependency in EXECUTED[name]["deps"] if dependency.startswith("lrs/")]
    paste = "\n".join(f"      - {path}" for path in expected)
    assert listed == expected, f"the lrs dependencies of {name} in dvc.yaml should be\n{paste}\n"


@pytest.mark.parametrize("name", EXECUTED)
def test_stage_runs_its_cleaned_notebook(name: str):
    stage = EXECUTED[name]
    assert name in STAGES["clean"]["foreach"]
    assert stage["deps"][0] == f"build/notebooks/{name}.ipynb"
    folder = "${profile}/${item}" if name in PER_BACKBONE else "${profile}"
    assert stage["outs"][0] == f"notebooks/executed/{folder}/{name}.ipynb"


@pytest.mark.parametrize("name", EXECUTED)
def test_stage_names_sections_that_profiles_have(name: str):
    assert EXECUTED[name]["params"][0] == "profile"
    named = {section.split(".")[0] for section in listed_parameters(name)}
    assert named <= SECTIONS


@pytest.mark.parametrize("name", EXECUTED)
def test_stage_names_the_parameters_that_its_notebook_reads(name: str):
    """What functions read of a whole `config` they are given is for the author of the stage to add."""
    source = "\n".join(cell.source for cell in code_cells(name))
    source = re.sub(r"\bconfig\.backbone\b(\.\w+)?", "config.backbones.${item}", source)
    read = set(re.findall(r"\bconfig\.(\w+(?:\.[\w${}]+)?)", source))
    read = {field for field in read if field.split(".")[0] in SECTIONS}
    listed = listed_parameters(name)
    assert {field for field in read if not {field, field.split(".")[0]} & set(listed)} == set()


@pytest.mark.parametrize("name", EXECUTED)
def test_stage_lists_the_data_that_its_notebook_names(name: str):
    source = "\n".join(cell.source for cell in code_cells(name))
    read = re.findall(r'\.data / "([\w.]+)"', source)
    named = {f"data/${{profile}}/${{item}}/{path}" if name in PER_BACKBONE else "data/${profile}" for path in read}
    listed = EXECUTED[name]["deps"] + [
        out if isinstance(out, str) else next(iter(out)) for out in EXECUTED[name]["outs"]
    ]
    assert named <= set(listed)


@pytest.mark.parametrize("name", EXECUTED)
def test_notebook_is_made_of_short_cells_without_outputs_or_definitions(name: str):
    cells = code_cells(name)
    assert [cell.source for cell in cells if cell.outputs] == []
    assert [cell.source for cell in cells if len(cell.source.splitlines()) > LONGEST_CELL] == []
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    nodes = [node for cell in cells for node in ast.walk(ast.parse(cell.source))]
    assert [ast.unparse(node) for node in nodes if isinstance(node, defined)] == []


@pytest.mark.parametrize("name", EXECUTED)
def test_notebook_has_one_cell_of_parameters(name: str):
    tagged = [cell.source for cell in code_cells(name) if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    parameters = ["profile", "backbone"] if name in PER_BACKBONE else ["profile"]
    assert [node.targets[0].id for node in ast.parse(tagged[0]).body] == parameters


def test_stages_are_made_for_the_backbones_of_the_profile():
    parameters = yaml.safe_load((ROOT / "params.yaml").read_text())
    assert parameters["backbones"] == list(load_config(parameters["profile"]).backbones)
    assert {stage["foreach"] for name, stage in STAGES.items() if "do" in stage and name != "clean"} == {"${backbones}"}
