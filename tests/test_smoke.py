"""The smoke profile, twice, in fresh clones of HEAD: the same bytes, and nothing left to do.

The second begins with the ruins of what the first made, so that two runs show both that what is damaged is made again
and that it comes out the same.
"""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from conftest import clone

from lrs.pipeline.profile_copy import dvc_call, run_dvc, select_profile

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


KILLS = 20 if os.environ.get("LRS_LONG") else 0  # `make test-long`


def smoke(target: Path) -> Path:
    select_profile(clone(target), "smoke")
    return target


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which everything was made, from nothing."""
    root = smoke(tmp_path_factory.mktemp("clones") / "first")
    assert run_dvc(root, "repro") == 0
    return root


def digests(root: Path) -> dict[str, str]:
    """SHA-256 of every file that the stages made."""
    made = [root / "data" / "smoke", root / "figures" / "smoke", root / "notebooks" / "executed" / "smoke"]
    files = sorted(path for folder in made for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def assert_same_end(one: Path, other: Path) -> None:
    """Every file that the stages made, and what DVC locked: the same bytes."""
    first, second = digests(one), digests(other)
    assert {path for path in first.keys() | second.keys() if first.get(path) != second.get(path)} == set()
    assert (one / "dvc.lock").read_bytes() == (other / "dvc.lock").read_bytes()


def test_every_output_is_there(made: Path):
    locked = yaml.safe_load((made / "dvc.lock").read_text())["stages"]
    outputs = [out["path"] for stage in locked.values() for out in stage["outs"]]
    assert len(outputs) >= len(locked)
    assert [path for path in outputs if not (made / path).exists()] == []
    assert digests(made)


def test_nothing_is_left_to_do(made: Path, capfd: pytest.CaptureFixture[str]):
    capfd.readouterr()
    assert run_dvc(made, "status") == 0
    assert "up to date" in capfd.readouterr().out
    assert run_dvc(made, "repro") == 0
    assert "Running stage" not in capfd.readouterr().out


def ruin(folder: Path) -> Path:
    """Change a byte in the middle of the largest file of a kept folder, and delete every other but `plan.json`."""
    largest, *others = sorted(
        (path for path in folder.rglob("*") if path.is_file() and path.name != "plan.json"),
        key=lambda path: path.stat().st_size,
        reverse=True,
    )
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(bytes(content))
    for path in others:
        path.unlink()
    return largest


def test_a_clone_makes_the_same_bytes_from_ruins(made: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """It lies in a folder of another name, so this also finds a machine's path in an output. It has no lock, so that
    every stage runs, and finds one file of each folder that is kept, with a byte of it changed: nothing may be kept.
    """
    root, data = smoke(tmp_path / "second"), Path("data/smoke/pocket-3m")
    folders = sorted(plan.parent.relative_to(made) for plan in (made / data).rglob("plan.json"))
    kinds = {folder.relative_to(data).parts[0] for folder in folders}
    expected = {"problems", "traces", "sae", "bases", "latents", "reward", "validation", "outcomes"}
    assert kinds == expected | {"meaning", "paths", "pushes"}
    for folder in folders:
        shutil.copytree(made / folder, root / folder)
    changed = [ruin(root / folder).relative_to(root) for folder in folders]
    capfd.readouterr()
    assert run_dvc(root, "repro") == 0
    told = capfd.readouterr().err
    assert [path for path in changed if f"{path} is not as it was written and is made again" not in told] == []
    assert_same_end(root, made)


def test_of_two_runs_at_once_one_is_refused(tmp_path: Path):
    """By DVC's own locks, with what stands in the way; the first is not disturbed."""
    stage = {"cmd": "touch begun && while [ ! -f enough ]; do sleep 0.1; done && touch made", "outs": ["made"]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"one": stage}}))
    subprocess.run(**dvc_call(tmp_path, "init", "--no-scm", "--quiet"), check=True)
    first = subprocess.Popen(**dvc_call(tmp_path, "repro"))
    while not (tmp_path / "begun").exists():
        assert first.poll() is None
        time.sleep(0.1)
    second = subprocess.run(**dvc_call(tmp_path, "repro"), capture_output=True, text=True, check=False)
    (tmp_path / "enough").touch()
    assert "is busy, it is being blocked by" in second.stderr
    assert second.returncode != 0
    assert first.wait() == 0
    assert (tmp_path / "made").exists()


def killed_after(seconds: float, root: Path) -> bool:
    """Whether a run was killed by SIGKILL after some seconds; else it had ended before, and well."""
    running = subprocess.Popen(**dvc_call(root, "repro"), start_new_session=True)
    try:
        assert running.wait(seconds) == 0
        return False
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        return True


@pytest.mark.skipif(not KILLS, reason="takes minutes a kill: `make test-long`")
@pytest.mark.timeout(3600)
def test_killed_at_any_moment_it_ends_as_if_it_never_was(made: Path, tmp_path: Path):
    """Moments are drawn by a seed; between them the run gets on, since every kill leaves what was done.

    A run that ends in spite of its kills is compared, and the kills left fall on another one.
    """
    moments, kills, ended = random.Random(0), 0, 0
    killed = smoke(tmp_path / "0")
    while kills < KILLS:
        if killed_after(moments.uniform(2, 30), killed):
            kills += 1
        else:
            assert_same_end(killed, made)
            ended += 1
            killed = smoke(tmp_path / str(ended))
    assert run_dvc(killed, "repro") == 0
    assert_same_end(killed, made)
