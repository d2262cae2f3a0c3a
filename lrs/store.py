"""Tables on disk: folders of Arrow files, written atomically, part by part, so that a killed stage resumes.

A folder belongs to one `plan`, a description of everything its rows depend on. Parts made under another plan
are discarded; parts made under the same one are kept, and only the missing ones are made.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow
from datasets import Dataset, concatenate_datasets

from lrs.progress import Progress

Job = TypeVar("Job")
_END_OF_STREAM = bytes.fromhex("ffffffff00000000")  # of an Arrow stream


class StoreError(ValueError):
    """A file that is missing, truncated or does not fit; the message says which and why."""


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.tmp")
    scratch.write_text(text)
    os.replace(scratch, path)


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as one Arrow file."""
    _write_arrow(path, Dataset.from_list(list(rows)).data.table)


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write a data frame as one Arrow file."""
    _write_arrow(path, pyarrow.Table.from_pandas(frame, preserve_index=False))


def _write_arrow(path: Path, table: pyarrow.Table) -> None:
    table = table.combine_chunks().replace_schema_metadata(None)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.tmp")
    with pyarrow.OSFile(str(scratch), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    os.replace(scratch, path)


def read_table(path: Path) -> Dataset:
    """Read an Arrow file, or all parts of a folder in order.

    Raises:
        StoreError: nothing is there, or a file is truncated.
    """
    files = sorted(path.glob("*.arrow")) if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise StoreError(f"no table at {path}; run the stage that makes it (`dvc repro`)")
    parts = []
    for file in files:
        try:
            with file.open("rb") as stream:
                stream.seek(-len(_END_OF_STREAM), os.SEEK_END)
                if stream.read() != _END_OF_STREAM:  # cut between two messages, it would only seem shorter
                    raise pyarrow.ArrowInvalid("its end is missing")
            parts.append(Dataset.from_file(str(file)))
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise StoreError(f"{file} is truncated or no Arrow file ({error}); delete it and rerun its stage") from None
    return concatenate_datasets(parts)


def fingerprint(content: Any) -> str:
    """16 hexadecimal digits of the SHA-256 of anything JSON can say."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """16 hexadecimal digits of the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def make_parts(
    folder: Path,
    stage: str,
    jobs: Sequence[Job],
    part_size: int,
    plan: dict[str, Any],
    make: Callable[[Sequence[Job], Callable[[int], None]], Iterable[dict[str, Any]]],
) -> Dataset:
    """Make the rows of all jobs, `part_size` jobs at a time, keeping what an earlier run has made.

    Args:
        folder: receives `part-00000.arrow`, ... and `plan.json`.
        stage: named in progress lines.
        jobs: what to do; a part's rows depend on its jobs and the plan alone.
        plan: everything else the rows depend on, as JSON-able values.
        make: turns some jobs into rows, reporting each finished job to its second argument.

    Returns:
        The table of all parts.
    """
    identity = json.dumps(plan | {"jobs": len(jobs), "part_size": part_size}, sort_keys=True, indent=2)
    plan_file = folder / "plan.json"
    if not plan_file.exists() or plan_file.read_text() != identity:
        for stale in [*folder.glob("part-*.arrow"), *folder.glob("plan.json")]:
            stale.unlink()
        write_text(plan_file, identity)
    starts = range(0, len(jobs), part_size)
    paths = {start: folder / f"part-{number:05d}.arrow" for number, start in enumerate(starts)}
    done = sum(len(jobs[start : start + part_size]) for start in starts if paths[start].exists())
    with Progress(stage, len(jobs), done=done) as progress:
        for start in starts:
            if not paths[start].exists():
                write_table(paths[start], list(make(jobs[start : start + part_size], progress.advance)))
    return read_table(folder)
