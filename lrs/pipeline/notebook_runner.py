"""Notebooks as build steps: strip them, run them with papermill, and write the same bytes on every run."""

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lrs.core.closure import library_versions, source_fingerprint
from lrs.pipeline.profile_copy import STANDS

Json = dict[str, Any]

# One kernel for everybody: whichever Jupyter saved the notebook last leaves no trace.
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
_WIDGET = "application/vnd.jupyter.widget-view+json"
_PAPERMILLS = {"injected-parameters", "papermill-error-cell-tag"}  # tags of the cells that it adds
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # in `<Axes at 0x7f...>`: another number each run

# Set for the kernel whatever the caller has, because the executed notebook's bytes depend on them.
_FIXED = {
    "PYTHONHASHSEED": "0",
    "SOURCE_DATE_EPOCH": "0",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # else the debugger warns on stderr as the kernel starts
}
# Set unless the caller did: `make paper` goes online; spinning threads starve a shared machine, and so do numpy's for
# the small products of a bootstrap.
_DEFAULTS = {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
    "KMP_BLOCKTIME": "0",
    "OPENBLAS_NUM_THREADS": "1",
}


class NotebookError(ValueError):
    """A notebook that cannot be read or run; the message is one line."""


def clean_notebook(source: Path, target: Path, root: Path) -> None:
    """Write `source` without outputs, counts and metadata, stamped: what a stage depends on instead of the edited file.

    The stamp, in the notebook's metadata, is `code`, a hash of what the modules do that the notebook imports from the
    package in the folder `root`, and `libraries`, versions of those that move numbers.

    Raises:
        FileNotFoundError: there is no `source`.
        NotebookError: `source` is not a notebook.
    """
    notebook = _read(source)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
    cleaned = _normalise(notebook)
    cleaned["metadata"] |= {"code": source_fingerprint(notebook_source(cleaned), root), "libraries": library_versions()}
    _write(cleaned, target)


def notebook_source(notebook: Json) -> str:
    """The code of all cells."""
    return "\n\n".join(_text(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")


def execute_notebook(source: Path, target: Path, parameters: Mapping[str, Any], root: Path) -> None:
    """Run a clean notebook in the folder `root` and write it, with its outputs, to `target`.

    What the notebook prints to stderr (progress) appears on ours at once and is not saved. `target` appears only
    when every cell has run; of a failed run the partial notebook is kept in `root/build/failed`.

    Raises:
        FileNotFoundError: there is no `source`.
        NotebookError: a parameter that the notebook does not have or is not given, or a cell that fails.
    """
    # jsonschema would compile a grammar of identifiers that no notebook uses: two seconds a stage.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # None: it is not to be imported
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    name = f"notebooks/{source.name}"
    _read(source)
    legal = list(papermill.inspect_notebook(str(source)))
    if unknown := sorted(set(parameters) - set(legal)):
        raise NotebookError(f"{name}: unknown parameter {', '.join(unknown)}; legal: {', '.join(legal) or 'none'}")
    if missing := [parameter for parameter in legal if parameter not in parameters]:
        raise NotebookError(f"{name}: no value for parameter {', '.join(missing)}")
    place = Path(target.parent.name, source.name)  # of its own for each profile and backbone
    scratch = root.resolve() / "build" / "scratch" / place
    scratch.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _environment(_DEFAULTS | dict(os.environ) | _FIXED | {"PYTHONPATH": str(root.resolve())}):
            papermill.execute_notebook(
                source,
                scratch,
                dict(parameters),
                kernel_name=_METADATA["kernelspec"]["name"],
                cwd=root,
                progress_bar=False,
                stderr_file=sys.stderr,
                start_timeout=300,
                iopub_timeout=300,
                shutdown_kernel="immediate",  # torch takes seconds to say goodbye, and all is written
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],  # its start and end are no news
            )
    except (PapermillExecutionError, DeadKernelError) as error:
        failed = root / "build" / "failed" / place
        failed.parent.mkdir(parents=True, exist_ok=True)
        os.replace(scratch, failed)
        what = "the kernel died (killed, or out of memory)"
        if not isinstance(error, DeadKernelError):
            what = f"{error.ename}: {error.evalue}"
        what = " ".join(_ANSI.sub("", what).split())
        where = f"partial notebook: {os.path.relpath(failed, os.environ.get(STANDS, '.'))}"
        raise NotebookError(f"FAILED {name} cell {_last_started(failed)}: {what} ({where})") from None
    _write(_normalise(_read(scratch)), target)
    scratch.unlink()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Papermill starts the kernel with our own environment, so ours is what has to change."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _last_started(partial: Path) -> int:
    """Number of the cell, counted from 1 as in the source, at which papermill stopped."""
    own = [cell["metadata"] for cell in _read(partial)["cells"]]
    own = [metadata for metadata in own if not _PAPERMILLS & set(metadata.get("tags", []))]
    return max((n for n, metadata in enumerate(own, 1) if metadata["papermill"]["start_time"]), default=1)


def _read(path: Path) -> Json:
    """A notebook as plain JSON, which spares importing nbformat; its texts are strings or lists of lines."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise NotebookError(f"{path} is not a notebook: {error}") from None
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4 or "cells" not in notebook:
        raise NotebookError(f"{path} is not a notebook of format 4")
    return notebook


def _normalise(notebook: Json) -> Json:
    """Keep what the author wrote and what the cells returned; fix or drop all that changes between runs."""
    cells = []
    for number, cell in enumerate(notebook["cells"], 1):
        tags = cell["metadata"].get("tags")
        fixed: Json = {
            "id": f"cell-{number:03d}",
            "metadata": {"tags": tags} if tags else {},
            "source": _lines(cell["source"]),
        }
        if cell["cell_type"] == "code":
            fixed["outputs"] = _normalise_outputs(cell["outputs"])
        cells.append(cell | fixed)
    return {"cells": cells, "metadata": dict(_METADATA), "nbformat": 4, "nbformat_minor": 5}


def _normalise_outputs(outputs: list[Json]) -> list[Json]:
    kept: list[Json] = []
    for output in outputs:
        data = output.get("data", {})
        if output.get("name") == "stderr" or _WIDGET in data:
            continue
        if output["output_type"] == "stream" and kept and kept[-1]["output_type"] == "stream":
            # How prints fall into messages depends on timing.
            kept[-1]["text"] = _lines(_text(kept[-1]["text"]) + _text(output["text"]))
            continue
        if "text/plain" in data:
            data["text/plain"] = _lines(_ADDRESS.sub("", _text(data["text/plain"])))
        kept.append(output)
    return kept


def _text(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def _lines(text: str | list[str]) -> list[str]:
    return _text(text).splitlines(keepends=True)


def _write(notebook: Json, target: Path) -> None:
    """Write, as Jupyter would, a file that is either whole or not there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, target)
