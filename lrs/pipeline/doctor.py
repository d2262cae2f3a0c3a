"""Is this machine fit to run the artifact? One line a thing: PASS, WARN or FAIL, what was found, and the mend."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, NamedTuple

_PYTHON = (3, 11)
_MEMORY, _DISK = 2.0, 1.0  # GB: what `make repro` takes, and room for a profile beside it
_DECIDES = ("PYTHONHASHSEED", "SOURCE_DATE_EPOCH", "OMP_WAIT_POLICY")  # set by the Makefile


class Finding(NamedTuple):
    """What was found of one thing; `mend` is empty where nothing has to be mended."""

    level: Literal["PASS", "WARN", "FAIL"]
    name: str
    found: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.level}  {self.name:<12} {self.found}" + (f"  ->  {self.mend}" if self.mend else "")


def check_python(found: tuple[int, int] = sys.version_info[:2]) -> Finding:
    """The one version for which the lock holds."""
    text = ".".join(map(str, found))
    if found == _PYTHON:
        return Finding("PASS", "python", text)
    return Finding("FAIL", "python", text, "make setup PYTHON=<path of a Python 3.11>")


def check_lock(lock: Path, installed: Mapping[str, str | None] | None = None) -> Finding:
    """Whether what is installed is what requirements.lock says; other releases move numbers.

    Args:
        installed: versions by name, None where a package is missing; None: those of this environment.
    """
    if not lock.exists():
        return Finding("WARN", "lock", f"there is no {lock.name}", "run this in the repository's root")
    wanted = dict(line.split("==") for line in lock.read_text("utf-8").splitlines() if "==" in line)
    found = {name: _installed(name) for name in wanted} if installed is None else installed
    missing = [name for name in wanted if found.get(name) is None]
    there = {name: version for name in wanted if (version := found.get(name)) is not None}
    drifted = [name for name, version in there.items() if version.partition("+")[0] != wanted[name]]
    if missing:
        return Finding("FAIL", "lock", f"{len(missing)} packages are missing, {missing[0]} among them", "make setup")
    if drifted:
        name = drifted[0]
        found_text = f"{len(drifted)} packages differ, {name} {found[name]} for {wanted[name]} among them"
        return Finding("WARN", "lock", found_text, "rm -rf .venv && make setup")
    return Finding("PASS", "lock", f"{len(wanted)} packages as pinned")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def check_memory(available: float | None) -> Finding:
    """Gigabytes that are free for processes; None where the system does not tell."""
    if available is None:
        return Finding("WARN", "memory", "this system does not tell", f"have {_MEMORY:g} GB free")
    if available < _MEMORY:
        return Finding("WARN", "memory", f"{available:.1f} GB free", f"{_MEMORY:g} GB are needed: close something")
    return Finding("PASS", "memory", f"{available:.1f} GB free")


def memory_available(told: Path = Path("/proc/meminfo")) -> float | None:
    """Gigabytes, where Linux tells."""
    if not told.exists():
        return None
    lines = dict(line.split(":") for line in told.read_text("utf-8").splitlines() if ":" in line)
    return int(lines["MemAvailable"].split()[0]) / 1e6 if "MemAvailable" in lines else None


def check_disk(free: float) -> Finding:
    """Gigabytes free where the repository lies."""
    if free < _DISK:
        return Finding(
            "FAIL", "disk", f"{free:.1f} GB free", f"{_DISK:g} GB are needed: make clean-build, or make room"
        )
    return Finding("PASS", "disk", f"{free:.1f} GB free")


def check_git(root: Path) -> Finding:
    """Nothing depends on git; without it DVC runs, and only the commit is not named."""
    try:
        asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True)
    except FileNotFoundError:
        return Finding("WARN", "git", "not on the path", "nothing needs it; install it to follow changes")
    if asked.returncode:
        reason = (asked.stderr.strip().splitlines() or ["it does not say why"])[0]
        return Finding("WARN", "git", reason, "nothing needs it; clone the repository to follow changes")
    return Finding("PASS", "git", asked.stdout.strip()[:12])


def check_settings(environment: Mapping[str, str]) -> Finding:
    """What the Makefile sets, so that the same run gives the same bytes."""
    missing = [name for name in _DECIDES if name not in environment]
    if missing:
        return Finding("WARN", "settings", f"not set: {', '.join(missing)}", "run commands by make, which sets them")
    return Finding("PASS", "settings", "as the Makefile sets them")


def check_torch() -> list[Finding]:
    """Threads, and an accelerator if there is one."""
    import torch

    findings = [Finding("PASS", "cpu", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {_cpu()}")]
    if found := accelerator():
        name, total = found
        text = f"{name}, {torch.cuda.mem_get_info()[0] / 1e9:.0f} of {total / 1e9:.0f} GB free"
        return [*findings, Finding("PASS", "gpu", text)]
    return [*findings, Finding("PASS", "gpu", "none, and none is needed")]


def accelerator() -> tuple[str, float] | None:
    """Name and bytes of memory of the GPU, if there is one."""
    import torch

    if not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_name(), float(torch.cuda.mem_get_info()[1])


def _cpu() -> str:
    import torch

    return f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"


def examine(root: Path) -> list[Finding]:
    """Everything, in the order in which it should be mended."""
    findings = [check_python(), check_lock(root / "requirements.lock")]
    if all(finding.level != "FAIL" for finding in findings):
        findings += check_torch()
    findings += [check_memory(memory_available()), check_disk(shutil.disk_usage(root).free / 1e9)]
    return [*findings, check_git(root), check_settings(os.environ)]
