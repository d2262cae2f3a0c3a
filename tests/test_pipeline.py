"""dvc.yaml lists what each notebook depends on, and the notebooks keep to their rules."""

import ast
import re
import shutil
from pathlib import Path

import nbformat
import pytest
import yaml

from lrs.config import load_config
from lrs.pipeline.notebook_runner import clean_notebook

ROOT = Path(__file__).parents[1]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# The stage of each notebook; those in PER_BACKBONE run once for each backbone, ${item}.
PER_BACKBONE = {stage["do"]["cmd"].split()[4] for name, stage in STAGES.items() if "do" in stage and name != "clean"}
EXECUTED = {stage["cmd"].split()[4]: stage for stage in (stage.get("do", stage) for stage in STAGES.values())}
EXECUTED.pop("${item}")  # the stage `clean`, of all notebooks
SECTIONS = set(load_config("cpu").model_dump(exclude={"profile", "backbone_name"}))
LONGEST_CELL = 14  # lines


def code_cells(name: str) -> list[nbformat.NotebookNode]:
    path = ROOT / "notebooks" / f"{name}.ipynb"
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def listed_parameters(name: str) -> list[str]:
    """What the stage names of its profile; a stage that reads none names none."""
    _, *sections = EXECUTED[name]["params"]
    return sections[0]["profiles/${profile}.yaml"] if sections else []


@pytest.mark.parametrize("name", EXECUTED)
def test_stage_learns_of_code_by_the_stamp_on_its_notebook(name: str):
    assert [dependency for dependency in EXECUTED[name]["deps"] if dependency.startswith("lrs")] == []
    assert STAGES["clean"]["do"]["deps"] == ["lrs", "notebooks/${item}.ipynb"]


def test_the_stamp_follows_what_the_notebooks_modules_do(tmp_path: Path):
    """A changed figure reaches the notebooks that draw it, a changed comment none, a new module none."""
    shutil.copytree(ROOT / "lrs", tmp_path / "lrs", ignore=shutil.ignore_patterns("__pycache__"))

    def stamps() -> dict[str, str]:
        found = {}
        for name in EXECUTED:
            clean_notebook(ROOT / f"notebooks/{name}.ipynb", tmp_path / f"{name}.ipynb", tmp_path)
            found[name] = nbformat.read(tmp_path / f"{name}.ipynb", as_version=4).metadata["code"]
        return found

    before, figure = stamps(), tmp_path / "lrs/figures/select.py"
    assert len(set(before.values())) == len(EXECUTED)
    figure.write_text(figure.read_text() + "\n# a comment\n")
    (tmp_path / "lrs/figures/new.py").write_text("NEW = 1\n")
    assert stamps() == before
    figure.write_text(figure.read_text() + "\n_EDITED = 1\n")
    after = stamps()
    assert {name for name in EXECUTED if after[name] != before[name]} == {"04_select", "09_paper"}


def test_dvc_yaml_is_short():
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 140


def test_what_stages_keep_survives_their_rerun():
    """DVC deletes outputs before it runs a stage, but for those that are marked."""
    for name in PER_BACKBONE:
        kept = [out for out in EXECUTED[name]["outs"] if isinstance(out, dict)]
        assert all(options == {"persist": True} for out in kept for options in out.values())
        plain = [out for out in EXECUTED[name]["outs"] if isinstance(out, str)]
        assert all(out.endswith((".ipynb", ".json")) for out in plain)


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
