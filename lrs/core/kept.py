"""What stages make and keep: folders that know what they were made from, and whether they are as they were left.

A folder belongs to one *plan*, a description of everything its files depend on. `plan.json` in it holds the plan and
the digest of every file. What was made by another plan, and what is not as it was written, is made again; the rest is
kept, so that a killed stage resumes and an edit costs no more than it must.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple

from datasets import Dataset

from lrs.core.digests import file_digest, fingerprint
from lrs.core.progress import Progress
from lrs.core.store import Job, StoreError, parts_of, read_parts, write_rows, write_text

Plan = dict[str, Any]  # of JSON-able values
_PLAN = "plan.json"


def keep(folder: Path, stage: str, plan: Plan, make: Callable[[Path], None]) -> None:
    """Make the files of a folder, unless an earlier run has made them by the same plan and they are as it left them.

    Args:
        stage: named in the lines that say why something is made again.
        plan: everything the files depend on.
        make: writes the files into the empty folder it is given; `folder` appears whole or not at all.
    """
    scratch = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    if _still_good(folder, stage, plan) and not _told_damaged(folder, stage) and not _strangers(folder):
        return
    scratch.mkdir(parents=True)
    make(scratch)
    files = sorted(path for path in scratch.rglob("*") if path.is_file())
    _write_plan(scratch, plan, {path.relative_to(scratch).as_posix(): file_digest(path) for path in files})
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(scratch, folder)


def borrow(kept: Path, folder: Path) -> None:
    """Take what is kept elsewhere; if it is not what is needed here, it is made anew all the same."""
    if kept.exists() and not folder.exists():
        shutil.copytree(kept, folder)


class Parts(NamedTuple, Generic[Job]):
    """The rows of many jobs, in a folder of parts that are made one by one: what an earlier run has made is kept.

    Attributes:
        folder: receives `part-00000.arrow`, ... and `plan.json`.
        stage: named in progress lines.
        jobs: what to do; a part's rows depend on its jobs and the plan alone.
        part_size: jobs in each part but the last.
        plan: everything else the rows depend on, the jobs themselves included.
        make: turns some jobs into rows, reporting each finished job to its second argument.
    """

    folder: Path
    stage: str
    jobs: Sequence[Job]
    part_size: int
    plan: Plan
    make: Callable[[Sequence[Job], Callable[[int], None]], Iterable[dict[str, Any]]]

    @property
    def shares(self) -> dict[str, Sequence[Job]]:
        """The jobs of each part, by its name."""
        return parts_of(self.jobs, self.part_size)

    def keep(self) -> Dataset:
        """Make whatever is missing, and read the table of all parts."""
        missing = self.open()
        with Progress(self.stage, len(self.jobs), done=len(self.jobs) - sum(missing.values())) as progress:
            for name in missing:
                self.write(name, progress.advance)
                enter_part(self.folder, name)
        return read_kept(self.folder)

    def open(self) -> dict[str, int]:
        """The parts that are to be made, and the jobs in each; first, what is of another plan, damaged or strange in
        the folder goes. Where many processes make parts of one folder, one opens it, before all."""
        folder, plan = self.folder, self.plan | {"jobs": len(self.jobs), "part_size": self.part_size}
        kept: dict[str, str] = {}
        if _still_good(folder, self.stage, plan):
            damaged = _told_damaged(folder, self.stage)
            for name in (*damaged, *_strangers(folder)):
                (folder / name).unlink(missing_ok=True)
            kept = {name: digest for name, digest in _read_plan(folder)["digests"].items() if name not in damaged}
            if damaged:
                _write_plan(folder, plan, kept)
        else:
            shutil.rmtree(folder, ignore_errors=True)
            _write_plan(folder, plan, kept)
        return {name: len(part) for name, part in self.shares.items() if name not in kept}

    def write(self, name: str, report: Callable[[int], None] = lambda count: None) -> None:
        """Make one part. It counts once it is entered (`enter_part`)."""
        write_rows(self.folder / name, list(self.make(self.shares[name], report)))


def enter_part(folder: Path, name: str) -> None:
    """Count a part that was written among what is kept. Where many processes write parts, one enters them all."""
    content = _read_plan(folder)
    _write_plan(folder, content["plan"], content["digests"] | {name: file_digest(folder / name)})


def read_kept(path: Path) -> Dataset:
    """Read all parts of a kept folder in order, or one Arrow file of it.

    Raises:
        StoreError: nothing is there, or a file is not as it was written.
    """
    check_kept(path if path.is_dir() else path.parent)
    return read_parts(path)


def check_kept(folder: Path) -> None:
    """Hold every file of a folder to the digest that was kept of it, if any were.

    Raises:
        StoreError: naming the file, and what to do; or some parts have yet to be made.
    """
    if not (folder / _PLAN).exists():
        return
    content = _read_plan(folder)
    plan, kept = content["plan"], content["digests"]
    if damaged := _damaged(folder):
        raise StoreError(f"{folder / damaged[0]} is not as it was written; its stage makes it again (`dvc repro`)")
    if strangers := _strangers(folder):
        raise StoreError(f"{folder / strangers[0]} is none of the files kept there; rerun its stage (`dvc repro`)")
    wanted = -(-plan["jobs"] // plan["part_size"]) if "part_size" in plan else len(kept)
    if len(kept) < wanted:
        raise StoreError(f"{folder} has {len(kept)} of {wanted} parts; rerun its stage, which resumes (`dvc repro`)")


def digest_of(folder: Path) -> str:
    """One digest of all files of a kept folder, for the plans of what is made from them.

    Raises:
        StoreError: nothing is there, or a file is not as it was written.
    """
    if not (folder / _PLAN).exists():
        raise StoreError(f"nothing is kept in {folder}; run the stage that makes it (`dvc repro`)")
    check_kept(folder)
    return fingerprint(_read_plan(folder)["digests"])


def _still_good(folder: Path, stage: str, plan: Plan) -> bool:
    """Whether the folder belongs to this plan; if it belongs to another, a line says what has changed."""
    if not (folder / _PLAN).exists():
        return False
    kept, wanted = _read_plan(folder)["plan"], json.loads(json.dumps(plan))
    if changed := sorted(key for key in kept.keys() | wanted.keys() if kept.get(key) != wanted.get(key)):
        _tell(stage, f"{folder} is made anew, for other values of: {', '.join(changed)}")
    return not changed


def _damaged(folder: Path) -> list[str]:
    """Names of the files that are not as they were written, or are gone."""
    digests = _read_plan(folder)["digests"]
    return sorted(name for name in digests if not _is_as_written(folder / name, digests[name]))


def _told_damaged(folder: Path, stage: str) -> list[str]:
    """As `_damaged`, each told in a line."""
    damaged = _damaged(folder)
    for name in damaged:
        _tell(stage, f"{folder / name} is not as it was written and is made again")
    return damaged


def _strangers(folder: Path) -> list[str]:
    """Files of a folder that were not written there by what it keeps."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return sorted(found - set(_read_plan(folder)["digests"]) - {_PLAN})


def _is_as_written(path: Path, digest: str) -> bool:
    return path.exists() and file_digest(path) == digest


def _tell(stage: str, what: str) -> None:
    print(f"[{stage}] {what}", file=sys.stderr, flush=True)


def _read_plan(folder: Path) -> dict[str, Any]:
    """Plan and digests; empty ones, to which nothing matches, where the file is damaged."""
    try:
        content = json.loads((folder / _PLAN).read_text(encoding="utf-8"))
        if set(content) == {"plan", "digests"} and all(isinstance(part, dict) for part in content.values()):
            return content
    except (ValueError, AttributeError, TypeError):
        pass
    return {"plan": {}, "digests": {}}


def _write_plan(folder: Path, plan: Plan, digests: dict[str, str]) -> None:
    write_text(folder / _PLAN, json.dumps({"plan": plan, "digests": digests}, sort_keys=True, indent=2) + "\n")
