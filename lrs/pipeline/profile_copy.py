"""Other profiles run in a copy of the repository, so that the repository's own dvc.lock stays the default's.

The copy (`build/profiles/<profile>`) is a DVC repository without git. It keeps its data, cache and lock between
runs: only the sources are brought up to date, so a stopped run resumes.
"""

import filecmp
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import yaml

_PROFILE = re.compile(r"^profile:.*$", re.MULTILINE)
_BACKBONES = re.compile(r"^backbones:.*(?:\n *- .*)*$", re.MULTILINE)
_MANIFEST = ".copied"
_WITHOUT_GIT = "[core]\n    no_scm = true\n"  # .dvc/config.local
STANDS = "LRS_STANDS"  # environment: the folder from which what runs in a copy was asked for
# What stages make, and the lock: the copy has its own. Without git (a zip), what git would ignore is named too.
_OWN = ("dvc.lock", ".dvc/config.local", "figures/", "notebooks/executed/")
_IGNORED = (
    *(".git/", ".venv/", "build/", ".dvc/cache/", ".dvc/tmp/", ".dvc/config.local"),
    *("data/hub.lock.json.held", "data/reasoners/pocket-30m/model.safetensors"),
)
# Anywhere.
_LEFTOVERS = ("__pycache__", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints")
_ONLY_GROWS = ("data/confirm/log.jsonl",)  # here, and in the copy


def current_profile(root: Path) -> str:
    """The profile that `params.yaml` names."""
    profile = _parameters(root).get("profile")
    if not isinstance(profile, str):
        raise ValueError(f"params.yaml: profile must be the name of a file in profiles/ (got {profile!r})")
    return profile


def check_backbones(root: Path, backbones: Iterable[str]) -> None:
    """Hold the backbones of `params.yaml`, for which DVC makes stages, equal to those of its profile.

    Raises:
        ValueError: they differ; the message is the line that has to be there.
    """
    found, wanted = _parameters(root).get("backbones"), list(backbones)
    if found != wanted:
        raise ValueError(f"params.yaml: backbones must be those of its profile, {_line(wanted)!r} (got {found!r})")


def select_profile(root: Path, profile: str) -> None:
    """Make the repository at `root` run `profile` on its backbones, without git."""
    backbones = yaml.safe_load((root / "profiles" / f"{profile}.yaml").read_text("utf-8"))["backbones"]
    text = _PROFILE.sub(f"profile: {profile}", (root / "params.yaml").read_text("utf-8"))
    _write_if_changed(root / "params.yaml", _BACKBONES.sub(_line(backbones), text))
    _write_if_changed(root / ".dvc" / "config.local", _WITHOUT_GIT)


def copy_sources(root: Path, copy: Path) -> None:
    """Bring the sources in `copy` up to date with `root`, touching neither its data nor unchanged files; and of a log
    that only grows, no line is lost."""
    sources = list_sources(root)
    for name in sources:
        source, target = root / name, copy / name
        if name != "params.yaml" and target.exists() and filecmp.cmp(source, target, shallow=False):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if name in _ONLY_GROWS and target.exists():
            lines = [line for log in (source, target) for line in log.read_text("utf-8").splitlines()]
            _write_if_changed(target, "".join(f"{line}\n" for line in dict.fromkeys(lines)))
        else:
            shutil.copy2(source, target)
    manifest = copy / _MANIFEST
    if manifest.exists():
        for name in set(manifest.read_text("utf-8").splitlines()) - set(sources):
            (copy / name).unlink(missing_ok=True)
    manifest.write_text("\n".join(sources), "utf-8")


def list_sources(root: Path) -> list[str]:
    """Files that git tracks or would add, less what stages make; where git tells nothing, as in an unpacked zip, all
    but what it would ignore."""
    told = _git(root, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    if isinstance(told, str):
        names = told.split("\0")
    else:
        profile = current_profile(root)
        runs = [run for name in ("power", "sweep", "seeds", "transfer") for run in root.glob(f"data/{name}/*/")]
        made = (*_IGNORED, f"data/{profile}/", *(f"{run.relative_to(root)}/" for run in runs))
        paths = (path.relative_to(root) for path in root.rglob("*") if not set(path.parts) & set(_LEFTOVERS))
        names = [path.as_posix() for path in paths if ".egg-info" not in path.as_posix()]
        names = [name for name in names if not name.startswith(made)]
    return sorted(name for name in set(names) if (root / name).is_file() and not name.startswith(_OWN))


def _git(root: Path, *arguments: str) -> str | ValueError:
    """What git answers in `root`, or why it does not, in one line: a zip, no git, a folder that it does not trust."""
    if not (root / ".git").exists():
        return ValueError("there is no .git")
    try:
        return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        return ValueError("there is no git on the PATH")
    except subprocess.CalledProcessError as error:
        return ValueError(" ".join(error.stderr.split()))


def make_ready(root: Path) -> None:
    """Let DVC run here: without git where git does not answer, which is said on stderr, and with it where it does.

    Whatever else stands in .dvc/config.local stays.
    """
    why, path = _git(root, "rev-parse", "--git-dir"), root / ".dvc" / "config.local"
    config = ConfigParser(interpolation=None)
    config.read(path, encoding="utf-8")
    alone = config.getboolean("core", "no_scm", fallback=False)
    if isinstance(why, ValueError):
        print(f"running without git ({why})", file=sys.stderr)
    if isinstance(why, ValueError) == alone:
        return
    if alone:
        config.remove_option("core", "no_scm")
    else:
        config.read_dict({"core": {"no_scm": "true"}})
    with path.open("w", encoding="utf-8") as file:
        config.write(file)


def dvc_call(root: Path, *arguments: str) -> dict[str, Any]:
    """What starts `dvc <arguments>` in `root`, with this interpreter's `python` first on the path, as a process."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(root), "DVC_NO_ANALYTICS": "1", "PYTHONHASHSEED": "0"}
    environment[STANDS] = str(Path.cwd())
    return {"args": [sys.executable, "-m", "dvc", *arguments], "cwd": root, "env": environment}


def run_dvc(root: Path, *arguments: str) -> int:
    """Run `dvc <arguments>` in `root`; its exit code."""
    return subprocess.run(**dvc_call(root, *arguments), check=False).returncode


def _parameters(root: Path) -> dict[str, Any]:
    if not (root / "params.yaml").exists():
        raise FileNotFoundError("there is no params.yaml here; run from the repository's root")
    return yaml.safe_load((root / "params.yaml").read_text("utf-8")) or {}


def _line(backbones: Iterable[str]) -> str:
    return f"backbones: [{', '.join(backbones)}]"


def _write_if_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")
