"""What stages keep: made once, resumed when killed, and made again when stale or damaged."""

import errno
import json

import pytest

from lrs.core.kept import Parts, check_kept, digest_of, enter_part, keep, read_kept
from lrs.core.store import StoreError, write_rows, write_text


class Maker:
    """Makes a row a job, remembers its calls, and dies at the job it is told to."""

    def __init__(self, dies_at=None):
        self.calls, self.dies_at = [], dies_at

    def __call__(self, jobs, on_finished):
        self.calls.append(list(jobs))
        for job in jobs:
            if job == self.dies_at:
                raise KeyboardInterrupt
            on_finished(1)
        return [{"job": job, "square": job * job, "text": "x" * job} for job in jobs]


def make(folder, maker, jobs=range(10), plan=None):
    return Parts(folder, "squares", list(jobs), 4, plan or {"model": "a"}, maker).keep()


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_killed_stage_resumes_and_ends_as_an_uninterrupted_one(tmp_path):
    expected = make(tmp_path / "whole", Maker())
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "killed", killed := Maker(dies_at=5))
    assert killed.calls == [[0, 1, 2, 3], [4, 5, 6, 7]]
    resumed = Maker()
    table = make(tmp_path / "killed", resumed)
    assert resumed.calls == [[4, 5, 6, 7], [8, 9]]
    assert table.to_list() == expected.to_list()
    assert [row["square"] for row in table] == [job**2 for job in range(10)]
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")
    again = Maker()
    assert make(tmp_path / "killed", again).to_list() == expected.to_list()
    assert again.calls == []


def test_parts_that_others_write_are_kept_once_they_are_entered(tmp_path):
    """As by many processes: one opens the folder and enters what the others write, in any order."""
    make(tmp_path / "whole", Maker())
    parts = Parts(tmp_path / "shared", "squares", range(10), 4, {"model": "a"}, Maker())
    assert parts.open() == {"part-00000.arrow": 4, "part-00001.arrow": 4, "part-00002.arrow": 2}
    for name in ("part-00002.arrow", "part-00000.arrow"):
        parts.write(name)
    enter_part(parts.folder, "part-00002.arrow")
    with pytest.raises(StoreError, match=r"part-00000.arrow is none of the files kept there"):
        check_kept(parts.folder)
    assert list(parts.open()) == ["part-00000.arrow", "part-00001.arrow"]
    assert not (parts.folder / "part-00000.arrow").exists()  # whoever wrote it may have died over it
    for name in ("part-00001.arrow", "part-00000.arrow"):
        parts.write(name)
        enter_part(parts.folder, name)
    assert bytes_of(parts.folder) == bytes_of(tmp_path / "whole")
    (parts.folder / "part-00001.arrow").write_bytes(b"damaged")
    assert list(parts.open()) == ["part-00001.arrow"]
    assert not (parts.folder / "part-00001.arrow").exists()


def test_a_full_disk_costs_one_part(tmp_path, monkeypatch):
    """A file cannot grow any more in its middle, which is what a full disk does to it."""
    expected, written = make(tmp_path / "whole", Maker()), []

    def until_full(path, rows):
        write_rows(path, rows)
        written.append(path.name)
        if len(written) == 2:
            path.write_bytes(path.read_bytes()[:100])
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("lrs.core.kept.write_rows", until_full)
        with pytest.raises(OSError, match="No space left on device"):
            make(tmp_path / "full", Maker())
    resumed = Maker()
    assert make(tmp_path / "full", resumed).to_list() == expected.to_list()
    assert resumed.calls == [[4, 5, 6, 7], [8, 9]]
    assert bytes_of(tmp_path / "full") == bytes_of(tmp_path / "whole")


@pytest.mark.parametrize("change", [{"plan": {"model": "b"}}, {"plan": {"model": "a", "seed": 1}}, {"jobs": range(9)}])
def test_changed_plan_discards_stale_parts(tmp_path, change):
    make(tmp_path, Maker())
    maker = Maker()
    table = make(tmp_path, maker, **change)
    jobs = list(change.get("jobs", range(10)))
    assert [job for call in maker.calls for job in call] == jobs
    assert list(table["job"]) == jobs


def test_kill_while_stale_parts_are_discarded_does_not_revive_them(tmp_path):
    make(tmp_path, Maker())
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, Maker(dies_at=0), plan={"model": "b"})
    maker = Maker()
    make(tmp_path, maker, plan={"model": "b"})
    assert len(maker.calls) == 3


def test_progress_goes_to_stderr_and_tells_what_was_resumed(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, Maker(dies_at=5))
    capsys.readouterr()
    make(tmp_path, Maker())
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "[squares] resuming at 4/10" in captured.err
    assert "[squares] 10/10 (100%)" in captured.err


def flip(path, offset):
    """Change one byte of a file."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.999])
@pytest.mark.parametrize("number", [0, 2])
def test_a_part_with_one_byte_changed_is_made_again_and_told(tmp_path, capsys, share, number):
    whole = make(tmp_path, Maker()).to_list()
    expected = bytes_of(tmp_path)
    part = tmp_path / f"part-{number:05d}.arrow"
    flip(part, int(share * part.stat().st_size))
    with pytest.raises(StoreError, match=f"{part.name} is not as it was written; its stage makes it again"):
        read_kept(tmp_path)
    capsys.readouterr()
    assert make(tmp_path, maker := Maker()).to_list() == whole
    assert maker.calls == [[[0, 1, 2, 3], [8, 9]][number // 2]]
    told = [line for line in capsys.readouterr().err.splitlines() if "is made again" in line]
    assert told == [f"[squares] {part} is not as it was written and is made again"]
    assert bytes_of(tmp_path) == expected


def test_a_changed_plan_file_never_lets_a_wrong_part_survive(tmp_path):
    expected = make(tmp_path, Maker()).to_list()
    size = (tmp_path / "plan.json").stat().st_size
    for offset in range(0, size, 7):
        make(tmp_path, Maker())
        flip(tmp_path / "plan.json", offset)
        assert make(tmp_path, Maker()).to_list() == expected
        check_kept(tmp_path)


def test_a_missing_part_is_made_and_a_strange_one_refused(tmp_path):
    expected = make(tmp_path, Maker()).to_list()
    (tmp_path / "part-00001.arrow").unlink()
    with pytest.raises(StoreError, match=r"part-00001\.arrow is not as it was written"):
        read_kept(tmp_path)
    assert make(tmp_path, maker := Maker()).to_list() == expected
    assert maker.calls == [[4, 5, 6, 7]]
    write_rows(tmp_path / "part-00009.arrow", [{"job": 1}])
    with pytest.raises(StoreError, match=r"part-00009\.arrow is none of the files kept there"):
        read_kept(tmp_path)
    assert make(tmp_path, maker := Maker()).to_list() == expected
    assert maker.calls == []


def test_what_is_not_finished_is_not_read(tmp_path):
    """A stage downstream, run by hand after a kill, would take a part for the whole."""
    for dies_at, done in ((0, 0), (8, 2)):
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path, Maker(dies_at=dies_at))
        for read in (read_kept, digest_of):
            with pytest.raises(StoreError, match=f"has {done} of 3 parts"):
                read(tmp_path)
    assert len(make(tmp_path, Maker())) == 10


def test_what_has_changed_in_a_plan_is_told(tmp_path, capsys):
    make(tmp_path, Maker(), plan={"model": "a", "seed": 0})
    capsys.readouterr()
    make(tmp_path, Maker(), plan={"model": "b", "seed": 0})
    assert f"[squares] {tmp_path} is made anew, for other values of: model" in capsys.readouterr().err


class Writer:
    """Writes two files, and counts how often."""

    def __init__(self, text="x"):
        self.calls, self.text = 0, text

    def __call__(self, made):
        self.calls += 1
        write_text(made / "a.json", self.text)
        write_text(made / "below" / "b.json", self.text * 2)


def test_files_are_made_once_for_a_plan(tmp_path):
    folder, first = tmp_path / "fitted", Writer()
    keep(folder, "fit", {"seed": 0, "pair": (1, 2)}, first)
    assert (folder / "below" / "b.json").read_text() == "xx"
    keep(folder, "fit", {"seed": 0, "pair": (1, 2)}, again := Writer("y"))
    assert (first.calls, again.calls) == (1, 0)
    before = digest_of(folder)
    keep(folder, "fit", {"seed": 1}, again)
    assert again.calls == 1
    assert (folder / "a.json").read_text() == "y"
    assert digest_of(folder) != before


def test_a_damaged_file_makes_the_whole_folder_again(tmp_path, capsys):
    folder = tmp_path / "fitted"
    keep(folder, "fit", {}, Writer())
    digest = digest_of(folder)
    flip(folder / "below" / "b.json", 1)
    with pytest.raises(StoreError, match=r"b\.json is not as it was written"):
        digest_of(folder)
    keep(folder, "fit", {}, writer := Writer())
    assert writer.calls == 1
    assert "b.json is not as it was written and is made again" in capsys.readouterr().err
    assert digest_of(folder) == digest


def test_a_kill_while_files_are_made_leaves_what_was_there(tmp_path):
    folder = tmp_path / "fitted"

    def die(made):
        write_text(made / "a.json", "half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep(folder, "fit", {}, die)
    assert not folder.exists()
    keep(folder, "fit", {}, Writer())
    with pytest.raises(KeyboardInterrupt):
        keep(folder, "fit", {"seed": 1}, die)
    check_kept(folder)
    assert (folder / "a.json").read_text() == "x"


def test_digests_do_not_follow_the_plan(tmp_path):
    """What is made downstream is not stale because the code upstream was changed to the same effect."""
    keep(tmp_path / "one", "fit", {"code": "old"}, Writer())
    keep(tmp_path / "two", "fit", {"code": "new"}, Writer())
    assert digest_of(tmp_path / "one") == digest_of(tmp_path / "two")
    assert json.loads((tmp_path / "one" / "plan.json").read_text())["plan"] == {"code": "old"}


def test_missing_results_say_what_to_run(tmp_path):
    for path in (tmp_path, tmp_path / "absent", tmp_path / "absent.arrow"):
        with pytest.raises(StoreError, match=r"no table at .*; run the stage that makes it"):
            read_kept(path)
    with pytest.raises(StoreError, match="nothing is kept in"):
        digest_of(tmp_path)


def test_a_stray_file_beside_what_is_kept_goes_when_its_stage_runs(tmp_path):
    folder = tmp_path / "fitted"
    keep(folder, "fit", {}, Writer())
    write_text(folder / "stray", "")
    with pytest.raises(StoreError, match="stray is none of the files kept there"):
        check_kept(folder)
    keep(folder, "fit", {}, Writer())
    check_kept(folder)
    assert not (folder / "stray").exists()
