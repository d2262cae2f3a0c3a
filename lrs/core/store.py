"""Files on disk: Arrow tables and texts, each there whole or not at all."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow
from datasets import Dataset, concatenate_datasets

Job = TypeVar("Job")
_END_OF_STREAM = bytes.fromhex("ffffffff00000000")  # of an Arrow stream


class StoreError(ValueError):
    """A file that is missing, damaged or does not fit; the message says which and why."""


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.tmp")
    scratch.write_text(text, "utf-8")
    os.replace(scratch, path)


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
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


def read_rows(path: Path) -> Dataset:
    """Read an Arrow file.

    Raises:
        StoreError: it is not there, truncated, or no Arrow file.
    """
    if not path.exists():
        raise _missing(path)
    try:
        with path.open("rb") as stream:
            stream.seek(-len(_END_OF_STREAM), os.SEEK_END)
            if stream.read() != _END_OF_STREAM:  # cut between two messages, it would only seem shorter
                raise pyarrow.ArrowInvalid("its end is missing")
        return Dataset.from_file(str(path))
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise StoreError(f"{path} is truncated or no Arrow file ({error}); delete it and rerun its stage") from None


def parts_of(jobs: Sequence[Job], part_size: int) -> dict[str, Sequence[Job]]:
    """Which jobs' rows lie in which file, `part_size` jobs in each, in order."""
    return {f"part-{i // part_size:05d}.arrow": jobs[i : i + part_size] for i in range(0, len(jobs), part_size)}


def read_parts(path: Path) -> Dataset:
    """Read all Arrow files of a folder in order of their names, or one Arrow file.

    Raises:
        StoreError: there is none, or one is truncated or no Arrow file.
    """
    files = sorted(path.glob("*.arrow")) if path.is_dir() else [path]
    if not files:
        raise _missing(path)
    return concatenate_datasets([read_rows(file) for file in files])


def _missing(path: Path) -> StoreError:
    return StoreError(f"no table at {path}; run the stage that makes it (`dvc repro`)")
