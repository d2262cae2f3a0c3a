"""The examples of the documents run, and are shown whole."""

import runpy
from pathlib import Path

import pytest

from lrs.tasks.benchmarks import BENCHMARKS

EXAMPLES = sorted(Path("docs/examples").glob("*.py"))
SAID = {
    "benchmark": "True",
    "judge": "within one of the answer",
    "labeller": "repaired  </think>    check  verification",
    "reward": "answer",
    "sae": "answer",
}
NEVER = {"benchmark": "False"}


def test_there_is_one_of_each():
    assert [path.stem for path in EXAMPLES] == sorted(SAID)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_stands_in_the_guide(path: Path, capsys, monkeypatch):
    monkeypatch.setitem(BENCHMARKS, "gcd", None)  # and taken out again afterwards
    runpy.run_path(str(path), run_name="__main__")
    said = capsys.readouterr().out
    assert SAID[path.stem] in said
    assert NEVER.get(path.stem, "Traceback") not in said
    assert path.read_text("utf-8") in Path("docs/extending.md").read_text("utf-8")
