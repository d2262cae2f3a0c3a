"""The commands: profiles run in a copy and resume, and what the user can mend is told in one line."""

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from lrs.__main__ import main
from lrs.config import load_config
from lrs.pipeline.profile_copy import copy_sources, list_sources, select_profile

ROOT = Path(__file__).parents[1]
LINES = "layer: 3}\n  second: {path: elsewhere, layer: 1}\n"
DVC_YAML = """
stages:
  paper:
    cmd: cp source.txt copied.txt && mkdir -p figures/${profile} && cp table.csv figures/${profile}/main_results.csv
    deps: [source.txt, table.csv]
    params: [profile]
    outs: ["figures/${profile}"]
"""

PARAMETERS = "# a comment\nprofile: cpu\nbackbones: [pocket-3m]\n"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git and DVC repository of one stage with the profiles cpu (the default) and smoke; we stand in it."""
    root = tmp_path / "repository"
    (root / "profiles").mkdir(parents=True)
    for name in ("cpu", "smoke"):
        shutil.copy(ROOT / "profiles" / "smoke.yaml", root / "profiles" / f"{name}.yaml")
    (root / "params.yaml").write_text(PARAMETERS)
    (root / "source.txt").write_text("first")
    (root / "old.txt").write_text("to be removed")
    (root / "table.csv").write_text("profile,arm,n,accuracy,irrelevant\nsmoke,lrs,10,0.5,1\n")
    (root / "dvc.yaml").write_text(DVC_YAML)
    (root / ".gitignore").write_text("build/\n*.secret\n")
    (root / "x.secret").write_text("ignored")
    (root / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", root / ".dvc" / "config")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    monkeypatch.chdir(root)
    return root


def add_backbone(root: Path, profile: str) -> None:
    """A second backbone, `second`, in a profile."""
    path = root / "profiles" / f"{profile}.yaml"
    path.write_text(path.read_text().replace("layer: 3}\n", LINES, 1))


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str:
    """Exit code of a command, or the line it ends with."""
    monkeypatch.setattr(sys, "argv", ["lrs", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0


def test_copy_follows_the_sources_and_keeps_its_own_data(repository: Path):
    copy = repository / "build" / "profiles" / "smoke"
    copy.mkdir(parents=True)
    copy_sources(repository, copy)
    assert not (copy / "x.secret").exists()
    for name in ("data/smoke/part", "dvc.lock", ".dvc/cache/x"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("made here")
    unchanged = (copy / "dvc.yaml").stat().st_mtime_ns
    (repository / "dvc.lock").write_text("the default profile's")
    (repository / "source.txt").write_text("other")
    (repository / "old.txt").unlink()
    copy_sources(repository, copy)
    assert (copy / "source.txt").read_text() == "other"
    assert not (copy / "old.txt").exists()
    assert (copy / "dvc.yaml").stat().st_mtime_ns == unchanged
    assert {(copy / name).read_text() for name in ("data/smoke/part", "dvc.lock", ".dvc/cache/x")} == {"made here"}


def test_no_line_of_a_log_that_only_grows_is_lost(repository: Path):
    """What was confirmed in a copy is told there until somebody takes it over."""
    copy, log = repository / "build" / "copy", "data/confirm/log.jsonl"
    (repository / log).parent.mkdir(parents=True)
    (repository / log).write_text("first\nsecond\n")
    copy.mkdir(parents=True)
    copy_sources(repository, copy)
    (copy / log).write_text("first\nsecond\nconfirmed here\n")
    copy_sources(repository, copy)
    assert (copy / log).read_text() == "first\nsecond\nconfirmed here\n"
    (repository / log).write_text("first\nsecond\nconfirmed there\n")
    copy_sources(repository, copy)
    assert (copy / log).read_text() == "first\nsecond\nconfirmed there\nconfirmed here\n"
    (repository / log).write_text("first\nsecond\nconfirmed there\nconfirmed here\n")
    copy_sources(repository, copy)
    assert (copy / log).read_text() == (repository / log).read_text()


def test_copy_from_a_zip_leaves_out_what_was_made(repository: Path):
    shutil.rmtree(repository / ".git")
    copy = repository / "build" / "copy"
    for name in ("data/cpu/part", "data/reasoners/model", ".venv/lib", "figures/cpu/a.csv", "build/other"):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text("x")
    copy.mkdir()
    copy_sources(repository, copy)
    files = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
    assert {"data/reasoners/model", "source.txt", "profiles/smoke.yaml", ".dvc/config"} <= files
    assert not {name for name in files if name.startswith(("data/cpu", ".venv", "figures", "build"))}


@pytest.mark.parametrize("before", ["backbones: [a, b]", "backbones:\n  - a\n  - b", "backbones:\n- a"])
def test_selecting_a_profile_changes_its_lines_alone(repository: Path, before: str):
    add_backbone(repository, "smoke")
    (repository / "params.yaml").write_text(f"# a comment\nprofile: cpu\n{before}\nother: 1\n")
    select_profile(repository, "smoke")
    lines = "# a comment\nprofile: smoke\nbackbones: [pocket-3m, second]\nother: 1\n"
    assert (repository / "params.yaml").read_text() == lines


def test_backbones_of_params_must_be_those_of_the_profile(repository: Path, monkeypatch: pytest.MonkeyPatch):
    add_backbone(repository, "cpu")
    told = "params.yaml: backbones must be those of its profile, 'backbones: [pocket-3m, second]' (got ['pocket-3m'])"
    assert run(monkeypatch, "execute", "09_paper") == told
    assert run(monkeypatch, "execute", "01_traces", "second") == told
    unknown = "unknown backbone 'third' of profile 'cpu'; legal: pocket-3m, second"
    assert run(monkeypatch, "execute", "01_traces", "third") == unknown


def test_ready_names_the_legal_profiles(repository: Path, monkeypatch: pytest.MonkeyPatch):
    (repository / "params.yaml").write_text(PARAMETERS.replace("cpu", "cpuu"))
    assert run(monkeypatch, "ready") == "unknown profile 'cpuu'; legal: cpu, smoke"


def break_git(repository: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """No repository, no git, or one that refuses with two lines."""
    if how == "a zip":
        shutil.rmtree(repository / ".git")
        return
    (repository / "tools").mkdir()
    if how == "distrust":
        (repository / "tools/git").write_text("#!/bin/sh\necho 'fatal: dubious\nownership' >&2\nexit 128\n")
        (repository / "tools/git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{repository}/tools:/bin" if how == "distrust" else f"{repository}/tools")


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("a zip", "there is no .git"),
        ("no git", "there is no git on the PATH"),
        ("distrust", "fatal: dubious ownership"),
    ],
)
def test_without_git_a_profile_runs_all_the_same(repository, monkeypatch, capfd, how: str, why: str):
    assert run(monkeypatch, "ready") == 0
    assert not (repository / ".dvc/config.local").exists()
    capfd.readouterr()
    (repository / ".dvc/config.local").write_text("['remote \"own\"']\n    url = elsewhere\n")
    break_git(repository, monkeypatch, how)
    assert run(monkeypatch, "ready") == 0
    assert capfd.readouterr().err == f"running without git ({why})\n"
    told = (repository / ".dvc/config.local").read_text()
    assert "no_scm = true" in told
    assert "url = elsewhere" in told
    copy = repository / "build/copy"
    copy.mkdir(parents=True)
    copy_sources(repository, copy)
    assert (copy / "source.txt").exists()


def test_git_that_answers_again_is_used_again(repository: Path, monkeypatch: pytest.MonkeyPatch):
    local = repository / ".dvc/config.local"
    local.write_text("[core]\n    no_scm = true\n    autostage = true\n")
    assert run(monkeypatch, "ready") == 0
    assert "no_scm" not in local.read_text()
    assert "autostage = true" in local.read_text()


def test_what_git_would_ignore_is_not_copied_from_a_zip(repository: Path):
    shutil.rmtree(repository / ".git")
    lines = [line for line in (ROOT / ".gitignore").read_text().splitlines() if line and not line.startswith("#")]
    places = [line.strip("/").replace("*", "x") for line in lines]
    for place in places:
        (repository / place).mkdir(parents=True, exist_ok=True)
        (repository / place / "made.txt").write_text("x")
    copied = list_sources(repository)
    assert len(places) > 8
    assert not [place for place in places if f"{place}/made.txt" in copied]


def test_notebooks_run_for_one_backbone_or_for_all(repository: Path, monkeypatch: pytest.MonkeyPatch):
    (repository / "notebooks").mkdir()
    for name, wanted in (("each", ("profile", "backbone")), ("all", ("profile",))):
        parameters = "\n".join(f"{parameter} = None" for parameter in wanted)
        cells = [nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
        cells.append(nbformat.v4.new_code_cell(f"({', '.join(wanted)},)"))
        nbformat.write(nbformat.v4.new_notebook(cells=cells), repository / "notebooks" / f"{name}.ipynb")
        assert run(monkeypatch, "clean", name) == 0
    for arguments, place in ((["each", "pocket-3m"], "cpu/pocket-3m/each.ipynb"), (["all"], "cpu/all.ipynb")):
        assert run(monkeypatch, "execute", *arguments) == 0
        executed = nbformat.read(repository / "notebooks" / "executed" / place, as_version=4)
        (output,) = executed.cells[-1].outputs
        assert output["data"]["text/plain"] == str(("cpu", *arguments[1:]))
    assert run(monkeypatch, "execute", "each") == "notebooks/each.ipynb: no value for parameter backbone"
    assert "unknown parameter backbone" in run(monkeypatch, "execute", "all", "pocket-3m")


def test_run_profile_brings_figures_back_and_reruns_only_what_changed(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    assert run(monkeypatch, "run-profile", "smoke") == 0
    printed = capfd.readouterr().out
    assert "Running stage 'paper'" in printed
    assert "SMOKE" in printed
    assert "figures/smoke/main_results.csv" in printed
    assert "irrelevant" not in printed
    assert (repository / "figures/smoke/main_results.csv").exists()
    assert (repository / "params.yaml").read_text() == PARAMETERS
    assert not (repository / "dvc.lock").exists()

    assert run(monkeypatch, "run-profile", "smoke") == 0
    assert "Running stage" not in capfd.readouterr().out

    (repository / "source.txt").write_text("second")
    assert run(monkeypatch, "run-profile", "smoke") == 0
    assert "Running stage 'paper'" in capfd.readouterr().out
    assert (repository / "build/profiles/smoke/copied.txt").read_text() == "second"


def test_stopped_profile_says_how_to_resume(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    (repository / "source.txt").unlink()
    assert run(monkeypatch, "run-profile", "smoke") != 0
    assert capfd.readouterr().err.splitlines()[-1] == "profile smoke stopped (see above); `make smoke` resumes it"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run-profile", "smok"], "unknown profile 'smok'; legal: cpu, smoke"),
        (["run-profile", "cpu"], "cpu is the profile of params.yaml: run `make repro`"),
        (["summary"], "there is no figures/cpu/main_results.csv yet: run the profile cpu first"),
        (["clean", "01_trace"], "[Errno 2] No such file or directory: 'notebooks/01_trace.ipynb'"),
    ],
)
def test_fault_is_told_in_one_line(repository: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str):
    assert run(monkeypatch, *arguments) == told


def test_misspelt_parameter_is_named_with_what_is_legal(repository: Path, monkeypatch: pytest.MonkeyPatch):
    profile = repository / "profiles" / "cpu.yaml"
    profile.write_text(profile.read_text().replace("  d_sae:", "  d_sea:"))
    told = run(monkeypatch, "execute", "01_traces")
    assert "sae.d_sea is not a parameter; legal: " in str(told)
    assert "\n" not in str(told)


def test_elsewhere_than_in_the_root_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "summary") == "there is no params.yaml here; run from the repository's root"


def test_debugging_shows_the_traceback(repository: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LRS_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["lrs", "summary"])
    with pytest.raises(FileNotFoundError):
        main()


@pytest.mark.parametrize(
    ("name", "trainer", "writer"),
    [
        ("pocket-1m", "pretraining.train_reasoner", "model_card.write_card"),
        ("planted-p1", "planting.plant_mode", "planted_card.write_planted_card"),
        ("pocket-3m-rl", "reinforcement.reinforce_reasoner", "model_card.write_card"),
    ],
)
def test_a_reasoner_is_made_and_told_of_as_its_recipe_asks(
    name: str, trainer: str, writer: str, monkeypatch: pytest.MonkeyPatch
):
    """Before its card is written, and the overview after it, on the device that was named."""
    called: list[tuple] = []
    makers = ("pretraining.train_reasoner", "planting.plant_mode", "reinforcement.reinforce_reasoner")
    for place in (*makers, "model_card.write_card", "planted_card.write_planted_card", "model_card.write_overview"):
        monkeypatch.setattr(f"lrs.reasoners.{place}", lambda *given, place=place: called.append((place, *given)))
    monkeypatch.chdir(ROOT)
    folder = Path("data/reasoners") / name
    assert run(monkeypatch, "reasoner", str(folder), "--device", "cuda") == 0
    assert called == [
        (trainer, folder, Path("build/reasoners") / name, "cuda"),
        (writer, folder, load_config("full"), "cuda"),
        ("model_card.write_overview", folder.parent),
    ]


@pytest.mark.parametrize("faults", [[], ["a row left its interval", "another did"]])
def test_check_fails_by_accuracies_and_not_by_bytes(repository: Path, monkeypatch, capsys, faults: list[str]):
    asked = []
    moved = ["2 of 3 outputs differ:", "one", "two"]
    monkeypatch.setattr(
        "lrs.report.expected.check", lambda profile, home: asked.append((profile, home)) or (moved, faults)
    )
    assert run(monkeypatch, "check", "--profile", "smoke") == bool(faults)
    assert asked == [("smoke", Path("build/profiles/smoke"))]
    printed = capsys.readouterr().out.splitlines()
    assert printed[:3] == moved
    assert "accuracies decide" in printed[3]
    assert printed[4:] == (faults or ["smoke: no accuracy differs from the accepted one beyond chance"])


def test_a_run_is_accepted_from_where_it_ran(repository: Path, monkeypatch: pytest.MonkeyPatch):
    accepted = []
    monkeypatch.setattr("lrs.report.expected.accept", lambda *given: accepted.append(given))
    assert run(monkeypatch, "accept") == 0
    assert run(monkeypatch, "accept", "--profile", "smoke") == 0
    assert accepted == [("cpu", Path()), ("smoke", Path("build/profiles/smoke"))]


def test_an_estimate_is_of_every_backbone_at_the_rate_that_is_named(repository: Path, monkeypatch, capsys):
    add_backbone(repository, "smoke")
    monkeypatch.setattr("lrs.pipeline.doctor.accelerator", lambda: ("a GPU", 1.0))
    monkeypatch.setattr(
        "lrs.report.estimate.estimate_lines",
        lambda config, rate, device: [f"{config.profile} {config.backbone_name} {rate} {device[0]}"],
    )
    assert run(monkeypatch, "estimate", "--profile", "smoke", "--tokens-per-second", "10") == 0
    assert run(monkeypatch, "estimate") == 0
    assert capsys.readouterr().out.splitlines() == [
        *("smoke pocket-3m 10.0 a GPU", "smoke second 10.0 a GPU", "cpu pocket-3m None a GPU")
    ]
