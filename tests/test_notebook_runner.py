"""Notebooks run to the same bytes each time, show progress at once, and fail in one line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from lrs.core.closure import library_versions
from lrs.pipeline.notebook_runner import NotebookError, clean_notebook, execute_notebook
from lrs.pipeline.profile_copy import STANDS


def write_notebook(root: Path, *cells: str) -> Path:
    """`notebooks/x.ipynb`: a title, the parameter `profile` and `cells`, with all that Jupyter may leave behind."""
    parameters = nbformat.v4.new_code_cell(
        "profile = 'cpu'", metadata={"tags": ["parameters"], "collapsed": True}, execution_count=7
    )
    codes = [nbformat.v4.new_code_cell(cell) for cell in cells]
    codes[0].outputs = [nbformat.v4.new_output("stream", name="stdout", text="old")]
    metadata = {
        "kernelspec": {"name": "other", "display_name": "Other"},
        "language_info": {"name": "python", "version": "2.7"},
    }
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# Title"), parameters, *codes], metadata=metadata
    )
    path = root / "notebooks" / "x.ipynb"
    path.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, path)
    return path


def execute(root: Path, *cells: str, **parameters: object) -> Path:
    source, target = root / "build" / "notebooks" / "x.ipynb", root / "executed" / "x.ipynb"
    clean_notebook(write_notebook(root, *cells), source, root)
    execute_notebook(source, target, parameters, root)
    return target


def test_cleaning_leaves_what_the_author_wrote(tmp_path: Path):
    target = tmp_path / "clean.ipynb"
    clean_notebook(write_notebook(tmp_path, "1 + 1"), target, tmp_path)
    notebook = json.loads(target.read_text())
    assert [cell["id"] for cell in notebook["cells"]] == ["cell-001", "cell-002", "cell-003"]
    assert [cell["metadata"] for cell in notebook["cells"]] == [{}, {"tags": ["parameters"]}, {}]
    assert notebook["cells"][2]["outputs"] == []
    assert notebook["cells"][1]["execution_count"] is None
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert notebook["metadata"]["language_info"] == {"name": "python"}


def test_cleaning_again_changes_nothing(tmp_path: Path):
    first, second = tmp_path / "first.ipynb", tmp_path / "second.ipynb"
    clean_notebook(write_notebook(tmp_path, "1 + 1"), first, tmp_path)
    clean_notebook(first, second, tmp_path)
    assert first.read_bytes() == second.read_bytes()


def test_another_release_of_a_library_is_another_stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source, target = write_notebook(tmp_path, "1 + 1"), tmp_path / "clean.ipynb"
    clean_notebook(source, target, tmp_path)
    first = json.loads(target.read_text())["metadata"]
    assert first["libraries"] == library_versions()
    monkeypatch.setattr("lrs.core.closure.version", lambda name: f"99.{name}+cpu")
    clean_notebook(source, target, tmp_path)
    second = json.loads(target.read_text())["metadata"]
    assert second["libraries"]["torch"] == "99.torch"
    assert second["code"] == first["code"]


def test_two_runs_write_the_same_bytes(tmp_path: Path):
    cells = (
        "import sys, time",
        "for i in range(3):\n    print(i, flush=True)\n    print('progress', file=sys.stderr)\n    time.sleep(0.05)",
        "print({'a', 'b', 'c'}, profile)\nobject()",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2])",
        "from tqdm.auto import tqdm\nfor _ in tqdm(range(2)):\n    pass",
    )
    first = execute(tmp_path, *cells, profile="smoke").read_bytes()
    assert execute(tmp_path, *cells, profile="smoke").read_bytes() == first
    text = first.decode()
    assert "'smoke'" not in text
    assert "smoke" in text
    assert "image/png" in text
    for volatile in ('"stderr"', "widget", " at 0x", "papermill", '"version"'):
        assert volatile not in text
    printed = [cell["outputs"][0] for cell in json.loads(text)["cells"] if "range(3)" in "".join(cell["source"])]
    assert printed == [{"name": "stdout", "output_type": "stream", "text": ["0\n", "1\n", "2\n"]}]
    assert not [path for path in (tmp_path / "build" / "scratch").rglob("*") if path.is_file()]


def test_kernel_runs_in_the_root_and_imports_from_it(tmp_path: Path):
    (tmp_path / "local_module.py").write_text("WHERE = 'the root'")
    cell = "import os, local_module\nprint(local_module.WHERE, os.environ['HF_HUB_OFFLINE'], os.listdir())"
    text = execute(tmp_path, cell, profile="smoke").read_text()
    assert "the root 1" in text
    assert "local_module.py" in text


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.parametrize(("asked", "offline"), [({"HF_HUB_OFFLINE": "0"}, False), ({}, True)])
def test_one_variable_decides_whether_models_and_data_sets_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, str], offline: bool
):
    """What `make` exports and what the runner adds: a second variable would be heeded by `datasets` alone."""
    switches = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    for switch in switches:
        monkeypatch.delenv(switch, raising=False)
    command = ["make", "--no-print-directory", "--eval=told: ; @env", "told"]
    told = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, check=True).stdout
    for switch, value in (line.split("=", 1) for line in told.splitlines() if line.startswith(switches)):
        monkeypatch.setenv(switch, value)
    cell = "import huggingface_hub\nfrom datasets import config\n"
    cell += "print('offline:', config.HF_DATASETS_OFFLINE, huggingface_hub.is_offline_mode())"
    text = execute(tmp_path, cell, profile="paper").read_text()
    assert f"offline: {offline} {offline}\\n" in text


def test_progress_appears_while_the_cell_still_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Terminal:
        def write(self, text: str) -> None:
            (tmp_path / "seen").write_text(text)

        def flush(self) -> None: ...

    monkeypatch.setattr(sys, "stderr", Terminal())
    cell = (
        "import pathlib, sys, time\n"
        "print('[traces] 1/2', file=sys.stderr)\n"
        "end = time.monotonic() + 60\n"
        "while not pathlib.Path('seen').exists():\n"
        "    assert time.monotonic() < end, 'nobody saw the progress'\n"
        "    time.sleep(0.05)"
    )
    execute(tmp_path, cell, profile="smoke")
    assert (tmp_path / "seen").read_text() == "[traces] 1/2\n"


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (
            "raise ValueError('step_size:\\n  \\x1b[31mmust be positive\\x1b[0m')",
            "ValueError: step_size: must be positive",
        ),
        ("import os\nos._exit(1)", "the kernel died (killed, or out of memory)"),
    ],
)
def test_failing_cell_is_told_in_one_line(tmp_path: Path, cell: str, told: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(STANDS, str(tmp_path))
    with pytest.raises(NotebookError) as raised:
        execute(tmp_path, "1 + 1", cell, "2 + 2", profile="smoke")
    place = "(partial notebook: build/failed/executed/x.ipynb)"
    assert str(raised.value) == f"FAILED notebooks/x.ipynb cell 4: {told} {place}"
    assert "1 + 1" in (tmp_path / "build" / "failed" / "executed" / "x.ipynb").read_text()
    assert not (tmp_path / "executed").exists()


def test_a_failed_notebook_is_found_from_where_the_user_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(STANDS, str(tmp_path.parent))
    with pytest.raises(NotebookError, match=rf"\(partial notebook: {tmp_path.name}/build/failed/executed/x.ipynb\)"):
        execute(tmp_path, "1 / 0", profile="smoke")


def test_a_notebook_edited_while_it_runs_ends_as_it_began(tmp_path: Path):
    edit = "from pathlib import Path\nfor path in Path().glob('*/**/x.ipynb'):\n    path.write_text('edited')"
    executed = json.loads(execute(tmp_path, edit, "print('as it began')", profile="cpu").read_text())
    assert executed["cells"][-1]["outputs"][0]["text"] == ["as it began\n"]
    assert (tmp_path / "notebooks/x.ipynb").read_text() == "edited"  # which is the next run's


def test_unknown_parameter_is_an_error(tmp_path: Path):
    with pytest.raises(NotebookError, match=r"unknown parameter profil; legal: profile$"):
        execute(tmp_path, "1", profil="smoke")


def test_what_is_not_a_notebook_is_named(tmp_path: Path):
    (tmp_path / "x.ipynb").write_text("{")
    with pytest.raises(NotebookError, match=r"x\.ipynb is not a notebook"):
        clean_notebook(tmp_path / "x.ipynb", tmp_path / "y.ipynb", tmp_path)
