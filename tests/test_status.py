"""Status: made, stale and missing, with a reason, and the minutes of the longest run."""

from pathlib import Path

import pytest

from lrs.pipeline import status
from lrs.pipeline.status import Stage, note_minutes, stages, state_of

ROOT = Path(__file__).parents[1]


def test_states(tmp_path):
    (tmp_path / "out").write_text("x")
    assert state_of([], tmp_path) == ("made", "")
    changed = [{"changed deps": {"lrs": "modified", "a.ipynb": "modified"}}, {"changed outs": {"out": "not in cache"}}]
    assert state_of(changed, tmp_path) == ("stale", "lrs changed and 1 more")
    assert state_of([{"changed outs": {"out": "modified"}}], tmp_path) == ("stale", "out changed")
    assert state_of([{"changed outs": {"gone": "deleted"}}], tmp_path) == ("missing", "gone is not there")
    assert state_of(["changed command"], tmp_path) == ("stale", "the stage itself changed")


def test_the_longest_run_is_remembered(tmp_path, monkeypatch):
    for minutes in (1.5, 3.25, 0.1):
        note_minutes(tmp_path, "cpu", "traces@a", minutes)
    note_minutes(tmp_path, "smoke", "traces@a", 0.5)
    told = {"stage": "traces@a\npaper\n", "status": '{"paper": [{"changed outs": {"gone": "deleted"}}]}'}
    monkeypatch.setattr(status, "_dvc", lambda root, command, *_: told[command])
    assert stages(tmp_path, "cpu") == [
        Stage("traces@a", "made", "", 3.25),
        Stage("paper", "missing", "gone is not there", None),
    ]


def test_a_line_a_stage():
    assert str(Stage("paper", "made", "", None)) == "paper                    made"
    assert str(Stage("sae@a", "stale", "x changed", 2.0)).endswith("2.0 min  x changed")


def test_dvc_is_asked_about_every_stage():
    names = [stage.name for stage in stages(ROOT, "cpu")]
    assert {"traces@pocket-3m", "assay", "paper"} <= set(names)


def test_where_dvc_cannot_answer_one_line_says_so(tmp_path):
    with pytest.raises(ValueError, match="dvc stage failed: "):
        stages(tmp_path, "cpu")
