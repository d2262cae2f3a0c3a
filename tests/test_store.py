import json

import pandas as pd
import pyarrow
import pytest

from lrs.core import store
from lrs.core.digests import file_digest, fingerprint
from lrs.core.store import StoreError, make_parts, read_table, write_frame, write_table, write_text

ROWS = [{"number": i, "text": "ab" * i, "values": [0.5] * i} for i in range(1, 8)]


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
    return make_parts(folder, "squares", list(jobs), 4, plan or {"model": "a"}, maker)


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


@pytest.mark.parametrize("kept", [0, 3, 100, 0.5, -120, -60, -12])
def test_truncated_file_is_one_clear_line(tmp_path, kept):
    path = tmp_path / "part-00001.arrow"
    write_table(tmp_path / "part-00000.arrow", ROWS)
    write_table(path, ROWS)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    for where in (tmp_path, path):
        with pytest.raises(StoreError, match=r"part-00001\.arrow is truncated .*; delete it and rerun") as error:
            read_table(where)
        assert "\n" not in str(error.value)


def test_file_cut_after_its_schema_or_before_its_end_is_truncated(tmp_path):
    path = tmp_path / "table.arrow"
    write_table(path, ROWS)
    content = path.read_bytes()
    with pyarrow.ipc.open_stream(content) as reader:
        schema = len(reader.schema.serialize())
    for kept in (schema, len(content) - 8):  # both are streams that pyarrow reads without a fault
        pyarrow.ipc.open_stream(content[:kept]).read_all()
        path.write_bytes(content[:kept])
        with pytest.raises(StoreError, match=r"table\.arrow is truncated"):
            read_table(path)


def test_missing_table_says_what_to_run(tmp_path):
    for path in (tmp_path, tmp_path / "absent", tmp_path / "absent.arrow"):
        with pytest.raises(StoreError, match=r"no table at .*; run the stage that makes it"):
            read_table(path)


def test_a_file_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(store.pyarrow.ipc, "new_stream", fail)
        with pytest.raises(OSError, match="disk full"):
            write_table(tmp_path / "table.arrow", ROWS)
        patch.setattr(store.os, "replace", fail)
        with pytest.raises(OSError, match="disk full"):
            write_text(tmp_path / "new.json", "{}")
    assert not (tmp_path / "table.arrow").exists()
    assert not (tmp_path / "new.json").exists()
    with pytest.raises(StoreError, match="no table"):  # what was left behind is not taken for a part
        read_table(tmp_path)

    write_table(tmp_path / "table.arrow", ROWS)
    before = (tmp_path / "table.arrow").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(pyarrow.ipc, "new_stream", fail)
        with pytest.raises(OSError, match="disk full"):
            write_table(tmp_path / "table.arrow", ROWS[:2])
    assert (tmp_path / "table.arrow").read_bytes() == before


def test_two_writes_are_the_same_bytes(tmp_path):
    frame = pd.DataFrame(ROWS)
    for name in ("first", "second"):
        write_table(tmp_path / name / "table.arrow", ROWS)
        write_frame(tmp_path / name / "frame.arrow", frame)
        frame = frame.set_index(frame.index + 5)  # the index is no data
    assert bytes_of(tmp_path / "first") == bytes_of(tmp_path / "second")
    for content in bytes_of(tmp_path / "first").values():
        assert pyarrow.ipc.open_stream(content).schema.metadata is None  # it would hold the libraries' versions
    assert read_table(tmp_path / "first" / "table.arrow").to_list() == ROWS
    assert read_table(tmp_path / "first" / "frame.arrow").to_list() == ROWS


def test_digests_follow_the_content(tmp_path):
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint(json.loads('{"b": [2], "a": 1}'))
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    write_text(tmp_path / "folder" / "a", "x")
    write_text(tmp_path / "b", "x")
    assert file_digest(tmp_path / "folder" / "a") == file_digest(tmp_path / "b")
    write_text(tmp_path / "b", "y")
    assert (tmp_path / "b").read_text() == "y"
    assert file_digest(tmp_path / "folder" / "a") != file_digest(tmp_path / "b")
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "b"}
