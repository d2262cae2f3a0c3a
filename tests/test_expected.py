"""What `make accept` keeps of a run, and what `make check` tells of another."""

import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest

from lrs.config import PROFILES
from lrs.core.digests import fingerprint
from lrs.report import expected
from lrs.report.tables import MAIN_COLUMNS

TABLE = Path("figures/cpu/main_results.csv")
ACCEPTED = Path("data/expected/cpu")
OUTCOMES = Path("data/cpu/pocket/outcomes/lrs/greedy")
VALIDATION = Path("data/cpu/pocket/validation")


def row_of(benchmark: str, arm: str, accuracy: float, **others: object) -> dict[str, object]:
    """A row of a main table, greedy, of 100 problems."""
    given = {"profile": "cpu", "device": "cpu", "backbone": "pocket", "split": "test", "decoding": "greedy"}
    given |= {"benchmark": benchmark, "arm": arm, "arm_group": "baseline" if arm == "base" else "method"}
    given |= {"n": 100, "seeds": 1, "accuracy": accuracy, "ci_low": accuracy - 0.1, "ci_high": accuracy + 0.1}
    given |= {"tokens": 50.0, "truncated": 0.25, "steered_fraction": 0.0}
    return {column: (given | others).get(column) for column in MAIN_COLUMNS}


CONTRAST = {"delta": 0.02, "delta_low": -0.01, "delta_high": 0.05, "wins": 5, "losses": 3, "mde": 0.08}
CONTRAST |= {"p_mcnemar": 0.73, "p_holm": 0.73, "steered_fraction": 0.4}


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def make_run(home: Path) -> None:
    """What a run of profile cpu leaves behind, in little."""
    arms = (("base", 0.6, {}), ("lrs", 0.62, CONTRAST))
    rows = [row_of(name, arm, accuracy, **more) for name in ("gcd", "pooled") for arm, accuracy, more in arms]
    table = home / TABLE
    table.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(table, index=False)
    for name in ("main_results.md", "main_results.tex", "power.png", "pocket/delta.png", "pocket/delta.pdf"):
        write(table.parent / name, name)
    for name in ("09_paper.ipynb", "pocket/01_traces.ipynb"):
        write(home / "notebooks/executed/cpu" / name, json.dumps({"cells": [], "name": name}))
    write(home / OUTCOMES / "part-00000.arrow", b"\x00\x01")
    write(home / OUTCOMES / "plan.json", '{"code": "1"}')
    write(home / "data/cpu/pocket/dashboard/latents.html", "<p>")
    write(home / OUTCOMES.parents[1] / ".lrs.tmp/part-00000.arrow", "scratch of a run that was killed")
    write(home / VALIDATION / "base/part-00000.arrow", "base")
    write(home / VALIDATION / "lrs-k1-a1/greedy/part-00000.arrow", "lrs")
    selection = {"candidates": [{"name": "lrs-k1-a1", "decoding": "greedy"}]}
    write(home / "data/cpu/pocket/selection.json", json.dumps(selection | {"digest": fingerprint(selection)}))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository in which the profile has run; we stand in it."""
    monkeypatch.setattr("lrs.config.PROFILES", PROFILES.absolute())
    monkeypatch.chdir(tmp_path)
    make_run(Path())
    write(Path("README.md"), "# Title\n\n<!-- results -->\nsuperseded\n<!-- /results -->\n\nRest.\n")
    return tmp_path


def change(accuracy: float, row: int = 0) -> None:
    table = pd.read_csv(TABLE)
    table.loc[row, "accuracy"] = accuracy
    table.to_csv(TABLE, index=False)


def test_a_run_agrees_with_itself(project: Path):
    write(ACCEPTED / "stale.png", "of a former run")
    expected.accept("cpu")
    files = {path.relative_to(ACCEPTED).as_posix() for path in ACCEPTED.rglob("*") if path.is_file()}
    notebooks = {"notebooks/09_paper.ipynb", "notebooks/pocket/01_traces.ipynb"}
    tables = {"main_results.csv", "main_results.md", "pocket/selection.json", "pocket/latents.html"}
    tables |= {"power.png", "pocket/delta.png"}
    assert files == tables | notebooks | {"outputs.sha256", "results.md", "accepted"}
    today = (ACCEPTED / "accepted").read_text().strip()
    assert f"Accepted on {today}." in (ACCEPTED / "results.md").read_text()
    executed = Path("notebooks/executed/cpu/pocket/01_traces.ipynb").read_bytes()
    assert (ACCEPTED / "notebooks/pocket/01_traces.ipynb").read_bytes() == executed
    assert expected.check("cpu") == (["6 of 6 outputs are the accepted ones, byte for byte"], [])


def test_accepting_twice_changes_nothing(project: Path):
    expected.accept("cpu")
    write(ACCEPTED / "accepted", "2026-01-02\n")
    expected.accept("cpu")  # the same run: on the same day
    first = {path: path.read_bytes() for path in [*ACCEPTED.rglob("*"), Path("README.md")] if path.is_file()}
    assert first[ACCEPTED / "accepted"] == b"2026-01-02\n"
    expected.accept("cpu")
    assert {path: path.read_bytes() for path in first} == first


def test_another_run_is_accepted_on_a_day_of_its_own(project: Path):
    expected.accept("cpu")
    write(ACCEPTED / "accepted", "2026-01-02\n")
    change(0.61)
    expected.accept("cpu")
    assert (ACCEPTED / "accepted").read_text() > "2026-01-02\n"


def test_digests_are_of_results_alone_and_as_sha256sum_writes_them(project: Path):
    expected.accept("cpu")
    lines = (ACCEPTED / "outputs.sha256").read_text().splitlines()
    paths = ["data/cpu/pocket/dashboard/latents.html", f"{OUTCOMES}/part-00000.arrow", "data/cpu/pocket/selection.json"]
    paths += [f"{VALIDATION}/{name}/part-00000.arrow" for name in ("base", "lrs-k1-a1/greedy")] + [str(TABLE)]
    assert lines == [f"{hashlib.sha256(Path(path).read_bytes()).hexdigest()}  {path}" for path in paths]


def test_what_changes_with_the_code_alone_moves_nothing(project: Path):
    expected.accept("cpu")
    write(OUTCOMES / "plan.json", '{"code": "2"}')
    write(Path("notebooks/executed/cpu/09_paper.ipynb"), '{"cells": [1]}')
    write(Path("figures/cpu/pocket/delta.png"), "other colours")
    assert expected.check("cpu") == (["6 of 6 outputs are the accepted ones, byte for byte"], [])


def test_settings_and_arms_that_left_the_profile_are_kept_and_count_for_nothing(project: Path):
    expected.accept("cpu")
    names = ("lrs-k1-a9/greedy", "lrs-k1-a1/sampled", "lrs-k1-a1", "unsteered/sampled")
    for left in (*(VALIDATION / name for name in names), OUTCOMES.parents[1] / "lrs_history/greedy", OUTCOMES.parent):
        write(left / "part-00000.arrow", "hours of work")
    write(OUTCOMES.parents[1] / "about.json", "{}")
    assert expected.check("cpu").moved[1:] == ["data/cpu/pocket/outcomes: 1 new"]  # about.json
    expected.accept("cpu")
    accepted = (ACCEPTED / "outputs.sha256").read_text()
    assert not [name for name in ("lrs-k1-a9", "lrs_history", "sampled", "lrs/part") if name in accepted]
    assert (VALIDATION / "lrs-k1-a9/greedy/part-00000.arrow").exists()
    TABLE.unlink()
    assert "1 missing" in " ".join(expected.check("cpu").moved)  # without a table no arm is known to have left


def test_moved_outputs_are_told_and_are_no_fault(project: Path):
    expected.accept("cpu")
    write(OUTCOMES / "part-00000.arrow", b"\x00\x02")
    write(OUTCOMES / "part-00001.arrow", "more")
    Path("data/cpu/pocket/selection.json").unlink()
    change(0.65)  # base on gcd, 0.6 before
    moved, faults = expected.check("cpu")
    assert faults == []
    assert moved == [
        "3 of 6 outputs are the accepted ones, byte for byte",
        "data/cpu/pocket: 1 missing",
        f"{OUTCOMES}: 1 differs, 1 new",
        "figures/cpu: 1 differs",
    ]


def test_each_fault_is_named(project: Path):
    expected.accept("cpu")
    table = pd.read_csv(TABLE)
    table.loc[0, "accuracy"] = 0.9
    table.loc[1, "arm"] = "cot"
    table.to_csv(TABLE, index=False)
    faults = expected.check("cpu").faults
    assert sorted(faults) == [
        "pocket gcd test greedy base: accuracy 0.900 of 100, where 0.600 of 100 was expected (Holm p 3.7e-06)",
        "pocket gcd test greedy cot: unexpected row",
        "pocket gcd test greedy lrs: missing row",
    ]


@pytest.mark.parametrize(("accuracy", "faults"), [(0.75, 0), (0.77, 0), (0.78, 1), (0.4, 1), (float("nan"), 1)])
def test_an_accuracy_is_faulted_beyond_what_chance_does_to_both_runs_and_to_a_whole_table(project, accuracy, faults):
    """60 of 100 beside 77 of 100: p 0.0145, four times that in a table of four cells; beside 78: 0.0091, so 0.036."""
    expected.accept("cpu")
    change(accuracy)
    assert len(expected.check("cpu").faults) == faults


def test_without_anything_accepted(project: Path):
    moved, faults = expected.check("cpu")
    assert moved == ["there is no data/expected/cpu/outputs.sha256 to compare bytes with"]
    assert faults == ["data/expected/cpu/main_results.csv does not exist"]


@pytest.mark.parametrize("missing", [TABLE, Path("data/cpu")])
def test_accepting_half_a_run_is_refused(project: Path, missing: Path):
    expected.accept("cpu")
    missing.rename(project / "elsewhere")
    with pytest.raises(FileNotFoundError, match=f"{missing} does not exist: run the profile cpu"):
        expected.accept("cpu")
    assert (ACCEPTED / "main_results.csv").exists()


def test_accepting_that_is_stopped_leaves_the_expected_as_it_was(project: Path, monkeypatch: pytest.MonkeyPatch):
    expected.accept("cpu")
    before = {path: path.read_bytes() for path in ACCEPTED.rglob("*") if path.is_file()}
    change(0.65)
    with monkeypatch.context() as patch:
        patch.setattr(expected, "digests_of_outputs", lambda *read: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            expected.accept("cpu")
    expected.write_pages()
    assert {path: path.read_bytes() for path in ACCEPTED.rglob("*") if path.is_file()} == before
    expected.accept("cpu")
    assert expected.check("cpu").moved == ["6 of 6 outputs are the accepted ones, byte for byte"]
    assert [path.name for path in ACCEPTED.parent.iterdir()] == ["cpu"]


def test_a_profile_that_ran_in_a_copy_is_read_there_and_leaves_its_notebooks(project: Path):
    home = Path("build/profiles/cpu")
    make_run(home)
    write(home / OUTCOMES / "part-00000.arrow", "of the copy")
    expected.accept("cpu", home)
    lines = (ACCEPTED / "outputs.sha256").read_text().splitlines()
    assert (ACCEPTED / "pocket/delta.png").exists()
    assert not (ACCEPTED / "power.png").exists()  # not of this profile
    assert f"{hashlib.sha256(b'of the copy').hexdigest()}  {OUTCOMES}/part-00000.arrow" in lines
    assert not (ACCEPTED / "notebooks").exists()
    assert not (ACCEPTED / "pocket/latents.html").exists()
    assert expected.check("cpu", home).moved == ["6 of 6 outputs are the accepted ones, byte for byte"]
    assert f"{OUTCOMES}: 1 differs" in expected.check("cpu").moved


def test_pages_of_every_profile_and_the_readme_are_written(project: Path):
    expected.accept("cpu")
    table = pd.read_csv(ACCEPTED / "main_results.csv").assign(profile="full")
    other = Path("data/expected/full")
    other.mkdir()
    table.to_csv(other / "main_results.csv", index=False)
    expected.write_pages()
    assert (other / "results.md").read_text().startswith("# Results of profile `full`\n")
    readme = Path("README.md").read_text()
    link = "Profile [`cpu`](data/expected/cpu/results.md): "
    assert readme.startswith(f"# Title\n\n<!-- results -->\n\n{link}**LRS does not beat the unsteered model.** ")
    assert readme.endswith("<!-- /results -->\n\nRest.\n")
    assert "superseded" not in readme
    assert "](data/expected/cpu/results.md)" in readme
    assert "](data/expected/full/results.md)" in readme


def test_the_pages_in_the_repository_are_those_of_its_tables(monkeypatch: pytest.MonkeyPatch):
    """`make accept` writes them, and `python -m lrs pages` after an edit of lrs/report."""
    monkeypatch.chdir(Path(__file__).parents[1])
    for table in sorted(expected.EXPECTED.glob("*/main_results.csv")):
        page = expected.results_page(expected.read_accepted(table.parent))
        assert table.with_name("results.md").read_text() == page


def test_accepted_outputs_are_those_of_the_accepted_tables():
    """Tables and digests are of the same run, for every profile that has digests."""
    root = Path(__file__).parents[1]
    for path in sorted((root / expected.EXPECTED).glob("*/outputs.sha256")):
        digests = {name: digest for digest, name in (line.split("  ") for line in path.read_text().splitlines())}
        for table in path.parent.glob("*.csv"):
            digest = digests[f"figures/{path.parent.name}/{table.name}"]
            assert hashlib.sha256(table.read_bytes()).hexdigest() == digest
