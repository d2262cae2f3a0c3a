"""The smoke profile, twice, from fresh clones of HEAD: the same bytes, and nothing left to do."""

import hashlib
import json
import os
import random
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from lrs.pipeline.profile_copy import dvc_call, run_dvc, select_profile

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


LONG = bool(os.environ.get("LRS_LONG"))  # `make test-long`
KILLS = 20 if LONG else 0


def clone(target: Path) -> Path:
    subprocess.run(["git", "clone", "-q", str(ROOT), str(target)], check=True)
    (target / "dvc.lock").unlink(missing_ok=True)  # the default profile's
    select_profile(target, "smoke")
    return target


def clone_and_run(target: Path) -> Path:
    assert run_dvc(clone(target), "repro") == 0
    return target


@pytest.fixture(scope="module")
def clones(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Made side by side: stages of so few problems keep one core busy, mostly with starting."""
    folder = tmp_path_factory.mktemp("clones")
    with ThreadPoolExecutor() as pool:
        return list(pool.map(clone_and_run, (folder / "first", folder / "second")))


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


def test_every_output_is_there(clones: list[Path]):
    locked = yaml.safe_load((clones[0] / "dvc.lock").read_text())["stages"]
    outputs = [out["path"] for stage in locked.values() for out in stage["outs"]]
    assert len(outputs) >= len(locked)
    assert [path for path in outputs if not (clones[0] / path).exists()] == []
    assert digests(clones[0])


def test_two_clones_make_the_same_bytes(clones: list[Path]):
    """They lie in folders of different names, so this also finds a machine's path in an output."""
    assert_same_end(*clones)


def test_nothing_is_left_to_do(clones: list[Path], capfd: pytest.CaptureFixture[str]):
    capfd.readouterr()
    assert run_dvc(clones[0], "status") == 0
    assert "up to date" in capfd.readouterr().out
    assert run_dvc(clones[0], "repro") == 0
    assert "Running stage" not in capfd.readouterr().out


def one_of_each(folders: list[Path], data: Path) -> list[Path]:
    """Of kept folders that lie beside each other and have plans of the same parts, made alike, the first."""
    plans = [json.loads((folder / "plan.json").read_text())["plan"] for folder in folders]
    alike = [(folder.relative_to(data).parts[0], *sorted(plan)) for folder, plan in zip(folders, plans, strict=True)]
    return [folder for place, folder in enumerate(folders) if alike[place] not in alike[:place]]


def test_a_byte_changed_in_each_kind_of_result_is_made_again(clones: list[Path], capfd: pytest.CaptureFixture[str]):
    """Else DVC would rerun the stages, which would keep the wrong files, and all would look well. Of folders that are
    made alike, as one for each arm, one is changed; all are when asked for: each is decoded anew, which takes minutes.
    """
    root, before, data = clones[1], digests(clones[1]), clones[1] / "data" / "smoke" / "pocket-3m"
    kept = sorted(plan.parent for plan in data.rglob("plan.json"))
    folders = kept if LONG else one_of_each(kept, data)
    kinds = {folder.relative_to(data).parts[0] for folder in folders}
    made = {"problems", "traces", "sae", "bases", "latents", "reward", "validation", "outcomes"}
    assert kinds == made | {"meaning", "paths", "pushes"}
    changed = [max(folder.glob("*[!n]"), key=lambda path: path.stat().st_size) for folder in folders]  # no plan.json
    for path in changed:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))
    assert digests(root) != before
    assert run_dvc(root, "repro") == 0
    told = capfd.readouterr().err
    assert [
        path for path in changed if f"{path.relative_to(root)} is not as it was written and is made again" not in told
    ] == []
    assert digests(root) == before


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
def test_killed_at_any_moment_it_ends_as_if_it_never_was(clones: list[Path], tmp_path: Path):
    """Moments are drawn by a seed; between them the run gets on, since every kill leaves what was done.

    A run that ends in spite of its kills is compared, and the kills left fall on another one.
    """
    moments, kills, ended = random.Random(0), 0, 0
    killed = clone(tmp_path / "0")
    while kills < KILLS:
        if killed_after(moments.uniform(2, 30), killed):
            kills += 1
        else:
            assert_same_end(killed, clones[0])
            ended += 1
            killed = clone(tmp_path / str(ended))
    assert run_dvc(killed, "repro") == 0
    assert_same_end(killed, clones[0])
