"""One set of pins: pyproject.toml names the packages, requirements.lock holds versions, environment.yml reads it."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINES = (ROOT / "requirements.lock").read_text().splitlines()


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


PINS = {canonical(line.split("==")[0]): line.split("==")[1] for line in LINES}
DIRECT = [canonical(name) for name in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]]


def test_lock_has_only_exact_public_pins():
    assert [line for line in LINES if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line)] == []


def test_lock_is_sorted_without_repeats():
    assert sorted(set(LINES), key=str.lower) == LINES


def test_lock_has_no_accelerator_packages():
    assert [name for name in PINS if re.match(r"nvidia|cuda|cupy|triton|pytorch-triton", name)] == []


def test_direct_dependencies_carry_no_versions_of_their_own():
    assert [name for name in DIRECT if not re.fullmatch(r"[a-z0-9-]+", name)] == []


@pytest.mark.parametrize("name", DIRECT)
def test_direct_dependency_is_locked_and_installed(name: str):
    assert PINS[name] == version(name).split("+")[0]


def test_conda_environment_takes_its_pins_from_the_lock():
    python, pip, packages = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert (python, pip) == ("python=3.11", "pip")
    assert packages == {"pip": ["-r requirements.lock", "-e ."]}


def test_python_is_the_same_everywhere():
    assert PROJECT["requires-python"] == ">=3.11,<3.12"
    assert "PYTHON ?= python3.11" in (ROOT / "Makefile").read_text()
