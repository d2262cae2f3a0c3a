"""The doctor: what is fit passes, what is not is named with its mend, and only what stops a run fails."""

import subprocess
import sys
from pathlib import Path

import pytest

from lrs.pipeline import doctor
from lrs.pipeline.doctor import Finding

ROOT = Path(__file__).parents[1]


def test_here_nothing_fails():
    findings = doctor.examine(ROOT)
    assert [finding for finding in findings if finding.level == "FAIL"] == []
    assert {"python", "lock", "cpu", "gpu", "memory", "disk", "git", "settings"} == {one.name for one in findings}


def test_another_python_fails_with_the_command_that_mends_it():
    assert doctor.check_python((3, 12)) == Finding(
        "FAIL", "python", "3.12", "make setup PYTHON=<path of a Python 3.11>"
    )


@pytest.mark.parametrize(
    ("installed", "level", "found"),
    [
        ({"a": "1.0", "b": "2.0"}, "PASS", "2 packages as pinned"),
        ({"a": "1.0+cpu", "b": "2.0"}, "PASS", "2 packages as pinned"),
        ({"a": "1.0", "b": "2.1"}, "WARN", "1 packages differ, b 2.1 for 2.0 among them"),
        ({"a": "1.0"}, "FAIL", "1 packages are missing, b among them"),
    ],
)
def test_what_is_installed_is_held_to_the_lock(tmp_path, installed, level, found):
    lock = tmp_path / "requirements.lock"
    lock.write_text("a==1.0\nb==2.0\n")
    finding = doctor.check_lock(lock, installed)
    assert (finding.level, finding.found) == (level, found)
    assert bool(finding.mend) == (level != "PASS")


def test_no_lock_is_told(tmp_path):
    assert doctor.check_lock(tmp_path / "requirements.lock").level == "WARN"


@pytest.mark.parametrize(("free", "level"), [(0.5, "FAIL"), (5.0, "PASS")])
def test_disk(free, level):
    assert doctor.check_disk(free).level == level


@pytest.mark.parametrize(("free", "level"), [(None, "WARN"), (0.5, "WARN"), (5.0, "PASS")])
def test_memory(free, level):
    assert doctor.check_memory(free).level == level


def test_memory_is_what_linux_tells(tmp_path):
    told = tmp_path / "meminfo"
    told.write_text("MemTotal:  8000000 kB\nMemAvailable:  3000000 kB\n")
    assert doctor.memory_available(told) == 3.0
    assert doctor.memory_available(tmp_path / "absent") is None


def test_without_git_or_a_repository_it_only_warns(tmp_path, monkeypatch):
    assert doctor.check_git(tmp_path).level == "WARN"
    monkeypatch.setenv("PATH", "")
    assert doctor.check_git(ROOT).found == "not on the path"


def test_settings_are_those_of_the_makefile():
    assert doctor.check_settings({}).level == "WARN"
    assert doctor.check_settings(dict.fromkeys(doctor._DECIDES, "0")).level == "PASS"
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"export {name} :=" in makefile for name in doctor._DECIDES)


@pytest.mark.parametrize(("level", "code"), [("PASS", 0), ("WARN", 0), ("FAIL", 1)])
def test_the_command_fails_where_a_run_would(level, code, tmp_path):
    program = (
        "from lrs.pipeline import doctor; from lrs import __main__ as m; "
        f"doctor.examine = lambda root: [doctor.Finding({level!r}, 'a', 'b', 'c')]; m.app(['doctor'])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == code
    assert run.stdout == f"{level}  a            b  ->  c\n"
