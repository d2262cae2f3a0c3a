"""One set of pins: pyproject.toml names the packages, requirements.lock holds versions, environment.yml reads it."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINES = (ROOT / "requirements.lock").read_text().splitlines()


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


PINS = {canonical(line.split("==")[0]): line.split("==")[1] for line in LINES}
UNLOCKED = {"cluster", "harness", "smollm"}  # what needs one of these extras says so
EXTRAS = PROJECT["optional-dependencies"]
NAMED = {"": PROJECT["dependencies"]} | {name: EXTRAS[name] for name in sorted(EXTRAS.keys() - UNLOCKED)}
DIRECT = [canonical(name) for names in NAMED.values() for name in names]
# Named without being imported, and why.
NOT_IMPORTED = {
    "beartype": "holds tensors to the shapes that jaxtyping states, in tests",
    "dvc": "runs the stages",
    "ipykernel": "is what notebooks run in",
    "jupyter": "`make notebook`",
    "mkdocs-material": "the site's theme",
    "mkdocstrings-python": "the site's API pages, named in mkdocs.yml",
    "mypy": "`make lint`",
    "pandas-stubs": "types of pandas, for mypy",
    "pytest-cov": "`make coverage`",
    "pytest-timeout": "the option `timeout` of pytest",
    "pytest-xdist": "fast tests abreast",
    "ruff": "`make lint`",
    "types-pyyaml": "types of yaml, for mypy",
    "types-tabulate": "types of tabulate, for mypy",
}
UNPINNED = {"setuptools"}  # comes with the environment


def sources(*folders: str) -> list[str]:
    """Code of modules, and of the cells of notebooks."""
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    cells = [
        cell["source"]
        for folder in folders
        for path in (ROOT / folder).glob("*.ipynb")
        for cell in json.loads(path.read_text())["cells"]
        if cell["cell_type"] == "code"
    ]
    return [*(path.read_text() for path in files), *("".join(cell) for cell in cells)]


def imported(*folders: str) -> set[str]:
    """Distributions that are imported there, by their canonical names."""
    owners = packages_distributions()
    names = set()
    for source in sources(*folders):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module.split(".")[0])
    return {canonical(owner) for name in names - sys.stdlib_module_names for owner in owners.get(name, [])}


def required() -> set[str]:
    """Every distribution that the direct ones need, themselves included."""
    found: set[tuple[str, frozenset[str]]] = set()
    waiting = {(name, frozenset[str]()) for name in DIRECT}
    while waiting:
        name, extras = waiting.pop()
        found.add((name, extras))
        for line in distribution(name).requires or []:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
                waiting |= {(canonical(needed.name), frozenset(needed.extras))} - found
    return {name for name, _ in found}


def test_lock_has_only_exact_public_pins():
    assert [line for line in LINES if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line)] == []


def test_extras_outside_the_lock_are_pinned_where_they_are_tested():
    makefile = (ROOT / "Makefile").read_text()
    assert [name for extra in UNLOCKED for name in EXTRAS[extra] if f" {name}==" not in makefile] == []


def test_lock_is_sorted_without_repeats():
    assert sorted(set(LINES), key=str.lower) == LINES


def test_lock_has_no_accelerator_packages():
    assert [name for name in PINS if re.match(r"nvidia|cuda|cupy|triton|pytorch-triton", name)] == []


def test_lock_holds_what_is_needed_and_nothing_else():
    accelerators = {name for name in required() if re.match(r"nvidia|cuda|triton", name)}
    assert required() - accelerators - UNPINNED == set(PINS)


def test_direct_dependencies_carry_no_versions_of_their_own():
    assert [name for name in DIRECT if not re.fullmatch(r"[a-z0-9-]+", name)] == []


@pytest.mark.parametrize("name", DIRECT)
def test_direct_dependency_is_locked_and_installed(name: str):
    assert PINS[name] == version(name).split("+")[0]


def test_every_direct_dependency_is_imported_or_has_its_reason():
    unused = set(DIRECT) - imported("lrs", "tests", "notebooks", "docs")
    assert unused == set(NOT_IMPORTED)


def test_the_package_imports_nothing_that_it_does_not_name():
    """What arrives by chance, as a dependency of a dependency, may leave again."""
    named = {canonical(name) for names in (NAMED[""], *(EXTRAS[extra] for extra in UNLOCKED)) for name in names}
    assert imported("lrs", "notebooks") - {"lrs"} <= named


STRANGERS = re.compile(r"pip install (-\S+ )*['\"]?lrs\b")  # PyPI has another package of that name


@pytest.mark.parametrize(
    ("said", "foreign"),
    [("pip install 'lrs[cluster]'", True), ("pip install -U lrs", True), ("pip install '.[cluster]'", False)],
)
def test_a_package_of_pypi_that_is_not_ours_is_known(said: str, foreign: bool):
    assert bool(STRANGERS.search(said)) is foreign


def test_nobody_is_told_to_install_a_strangers_package():
    files = [*ROOT.glob("*.*"), *(ROOT / "docs").rglob("*.*"), *(ROOT / "lrs").rglob("*.py")]
    files += (ROOT / "notebooks").glob("*.ipynb")
    told = [path.name for path in files if path.is_file() and STRANGERS.search(path.read_text("utf-8"))]
    assert told == []


def test_conda_environment_takes_its_pins_from_the_lock():
    python, pip, packages = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert (python, pip) == ("python=3.11", "pip")
    assert packages == {"pip": ["-r requirements.lock", "-e ."]}


def test_python_is_the_same_everywhere():
    assert PROJECT["requires-python"] == ">=3.11,<3.12"
    assert "PYTHON ?= python3.11" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("name", PINS)
def test_every_pin_can_be_had_on_the_first_python_3_11(name):
    """Debian 12 brings 3.11.2: once, two pins asked for 3.11.5."""
    try:
        asked = distribution(name).metadata["Requires-Python"]
    except PackageNotFoundError:
        pytest.skip("not installed here")
    assert "3.11.0" in SpecifierSet(asked or "")


def make_setup(folder: Path, *given: str) -> subprocess.CompletedProcess:
    """`make setup` in a folder of its own, with the Pythons that lie in its `tools` and no others."""
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, folder / name)
    environment = {"PATH": f"{folder}/tools:/usr/bin:/bin"}
    command = [shutil.which("make"), "--no-print-directory", "setup", *given]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def fake_python(path: Path, fits: bool) -> None:
    """A Python that is, or is not, of the version asked for; `-m venv` makes one like itself, and pip does nothing."""
    cases = '"-c "*) exit CODE;;\n"-m venv") mkdir -p $3/bin && cp "$0" $3/bin/python;;\n'
    script = f'#!/bin/sh\ncase "$1 $2" in\n{cases}esac\n'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script.replace("CODE", "0" if fits else "1"))
    path.chmod(0o755)


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_setup_looks_for_a_python_that_fits_and_says_so_if_there_is_none(tmp_path: Path):
    for name in ("python3.11", "python3", "python"):
        fake_python(tmp_path / "tools" / name, fits=False)
    failed = make_setup(tmp_path)
    assert failed.returncode != 0
    assert "lrs needs Python 3.11, and none of python3.11, python3 and python is: make setup PYTHON=" in failed.stderr
    assert not (tmp_path / ".venv").exists()
    fake_python(tmp_path / "elsewhere/python", fits=True)
    assert make_setup(tmp_path, "PYTHON=elsewhere/python").returncode == 0
    assert (tmp_path / ".venv/.installed").exists()


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_setup_makes_an_environment_of_another_python_anew(tmp_path: Path):
    fake_python(tmp_path / ".venv/bin/python", fits=False)
    (tmp_path / ".venv/old").write_text("")
    fake_python(tmp_path / "tools/python3.11", fits=True)
    assert make_setup(tmp_path).returncode == 0
    assert not (tmp_path / ".venv/old").exists()


def test_the_command_is_the_package_s_own():
    (command,) = PROJECT["scripts"].items()
    assert command == ("lrs", "lrs.__main__:main")
    module, name = command[1].split(":")
    assert callable(getattr(import_module(module), name))


@pytest.mark.slow
def test_what_is_installed_runs_outside_the_repository(tmp_path: Path):
    """Of a copy of the sources, since a build leaves its own folders beside them."""
    sources, installed, elsewhere = (tmp_path / name for name in ("sources", "installed", "elsewhere"))
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "lrs", sources / "lrs", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    elsewhere.mkdir()
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    pip = [sys.executable, "-m", "pip", "install", *offline, "--target", str(installed), str(sources)]
    subprocess.run(pip, cwd=elsewhere, check=True)
    environment = os.environ | {"PYTHONPATH": str(installed)}

    def told(*command: str) -> str:
        return subprocess.run(
            command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=True
        ).stdout

    public = "import lrs; from lrs import fit, steer; print(lrs.__file__)"
    assert told(sys.executable, "-c", public) == f"{installed}/lrs/__init__.py\n"
    assert "estimate" in told(sys.executable, "-m", "lrs", "--help")
    assert "estimate" in told(f"{installed}/bin/lrs", "--help")
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "lrs").rglob("*") if "__pycache__" not in path.parts}
    assert {str(path.relative_to(installed)) for path in (installed / "lrs").rglob("*")} >= modules
