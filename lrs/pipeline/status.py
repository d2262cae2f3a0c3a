"""What of a profile is made, what is stale and why, and how long each stage took here."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lrs.core.store import write_text

_MINUTES = Path("build/minutes.json")  # of the longest run of each stage; a rerun that finds all kept takes seconds


class Stage(NamedTuple):
    """A stage: `made`, `stale` or `missing`; why; and the minutes that its longest run took, if it was run here."""

    name: str
    state: str
    why: str
    minutes: float | None

    def __str__(self) -> str:
        took = "" if self.minutes is None else f"{self.minutes:.1f} min"
        return f"{self.name:<24} {self.state:<8} {took:>9}  {self.why}".rstrip()


def note_minutes(root: Path, profile: str, stage: str, minutes: float) -> None:
    """Remember how long a stage took, if it took longer than ever before."""
    known = _known(root)
    of_profile = known.setdefault(profile, {})
    of_profile[stage] = max(round(minutes, 2), of_profile.get(stage, 0.0))
    write_text(root / _MINUTES, json.dumps(known, indent=2, sort_keys=True) + "\n")


def _known(root: Path) -> dict[str, dict[str, float]]:
    path = root / _MINUTES
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def state_of(changes: list[dict[str, Any]], root: Path) -> tuple[str, str]:
    """A stage's state and why, from what DVC says has changed about it (nothing: it is made)."""
    if not changes:
        return "made", ""
    told = [change for change in changes if isinstance(change, Mapping)]
    outs = [out for change in told for out in change.get("changed outs", {})]
    if gone := [out for out in outs if not (root / out).exists()]:
        return "missing", f"{gone[0]} is not there"
    changed = [name for change in told for name in change.get("changed deps", {})]
    changed = changed or outs or ["the stage itself"]  # its command, say, which DVC tells as a word
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return "stale", f"{changed[0]} changed{more}"


def stages(root: Path, profile: str) -> list[Stage]:
    """The stages of the profile that runs in `root`, in the order of dvc.yaml."""
    names = [line for line in _dvc(root, "stage", "list", "--name-only").splitlines() if line]
    changes, minutes = json.loads(_dvc(root, "status", "--json") or "{}"), _known(root).get(profile, {})
    return [Stage(name, *state_of(changes.get(name, []), root), minutes.get(name)) for name in names]


def _dvc(root: Path, *arguments: str) -> str:
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "dvc", *arguments]
    told = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    if told.returncode:
        raise ValueError(f"dvc {arguments[0]} failed: {(told.stderr.strip().splitlines() or ['no message'])[-1]}")
    return told.stdout
