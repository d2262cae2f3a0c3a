import json

import pandas as pd
import pyarrow
import pytest

from lrs.core import store
from lrs.core.digests import file_digest, fingerprint
from lrs.core.store import StoreError, parts_of, read_parts, read_rows, write_frame, write_rows, write_text

ROWS = [{"number": i, "text": "ab" * i, "values": [0.5] * i} for i in range(1, 8)]


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("kept", [0, 3, 100, 0.5, -120, -60, -12])
def test_truncated_file_is_one_clear_line(tmp_path, kept):
    path = tmp_path / "part-00001.arrow"
    write_rows(path, ROWS)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(StoreError, match=r"part-00001\.arrow is truncated .*; delete it and rerun") as error:
        read_rows(path)
    assert "\n" not in str(error.value)


def test_file_cut_after_its_schema_or_before_its_end_is_truncated(tmp_path):
    path = tmp_path / "table.arrow"
    write_rows(path, ROWS)
    content = path.read_bytes()
    with pyarrow.ipc.open_stream(content) as reader:
        schema = len(reader.schema.serialize())
    for kept in (schema, len(content) - 8):  # both are streams that pyarrow reads without a fault
        pyarrow.ipc.open_stream(content[:kept]).read_all()
        path.write_bytes(content[:kept])
        with pytest.raises(StoreError, match=r"table\.arrow is truncated"):
            read_rows(path)


def test_missing_table_says_what_to_run(tmp_path):
    with pytest.raises(StoreError, match=r"no table at .*; run the stage that makes it"):
        read_rows(tmp_path / "absent.arrow")


def test_a_file_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(store.pyarrow.ipc, "new_stream", fail)
        with pytest.raises(OSError, match="disk full"):
            write_rows(tmp_path / "table.arrow", ROWS)
        patch.setattr(store.os, "replace", fail)
        with pytest.raises(OSError, match="disk full"):
            write_text(tmp_path / "new.json", "{}")
    assert not (tmp_path / "table.arrow").exists()
    assert not (tmp_path / "new.json").exists()
    assert list(tmp_path.glob("*.arrow")) == []  # what was left behind is not taken for a part

    write_rows(tmp_path / "table.arrow", ROWS)
    before = (tmp_path / "table.arrow").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(pyarrow.ipc, "new_stream", fail)
        with pytest.raises(OSError, match="disk full"):
            write_rows(tmp_path / "table.arrow", ROWS[:2])
    assert (tmp_path / "table.arrow").read_bytes() == before


def test_two_writes_are_the_same_bytes(tmp_path):
    frame = pd.DataFrame(ROWS)
    for name in ("first", "second"):
        write_rows(tmp_path / name / "table.arrow", ROWS)
        write_frame(tmp_path / name / "frame.arrow", frame)
        frame = frame.set_index(frame.index + 5)  # the index is no data
    assert bytes_of(tmp_path / "first") == bytes_of(tmp_path / "second")
    for content in bytes_of(tmp_path / "first").values():
        assert pyarrow.ipc.open_stream(content).schema.metadata is None  # it would hold the libraries' versions
    assert read_rows(tmp_path / "first" / "table.arrow").to_list() == ROWS
    assert read_rows(tmp_path / "first" / "frame.arrow").to_list() == ROWS


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


@pytest.mark.parametrize("size", [1, 4, 10, 99])
def test_parts_hold_every_job_once_and_are_read_in_order(tmp_path, size):
    parts = parts_of(range(10), size)
    assert [job for jobs in parts.values() for job in jobs] == list(range(10))
    assert max(map(len, parts.values())) <= size
    for name, jobs in reversed(parts.items()):
        write_rows(tmp_path / name, [{"job": job} for job in jobs])
    assert read_parts(tmp_path)["job"] == list(range(10))
    assert read_parts(tmp_path / "part-00000.arrow")["job"] == list(parts["part-00000.arrow"])
