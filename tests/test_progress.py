from types import SimpleNamespace

import pytest

from lrs.core import progress
from lrs.core.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_line_has_stage_count_rate_and_time_left(clock, capsys):
    with Progress("traces", 1000, "rows") as bar:
        clock.now += 10
        bar.advance(200, "loss 1.5")
        clock.now += 1
        bar.advance(50)  # too soon for another line
        clock.now += 39
        bar.advance(750)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "[traces] 200/1,000 rows (20%) | 20.0/s | ETA 0:00:40 | loss 1.5",
        "[traces] 1,000/1,000 rows (100%) | 20.0/s | took 0:00:50",
    ]


def test_resumed_work_does_not_count_in_the_rate(clock, capsys):
    with Progress("traces", 100, done=40) as bar:
        clock.now += 10
        bar.advance(20)
    first, line, _ = capsys.readouterr().err.splitlines()
    assert first.strip() == "[traces] resuming at 40/100"
    assert line == "[traces] 60/100 (60%) | 2.0/s | ETA 0:00:20"


def test_nothing_done_yet_and_nothing_to_do(clock, capsys):
    with Progress("traces", 3):
        clock.now += 1
    with Progress("nothing", 0):
        pass
    assert capsys.readouterr().err.splitlines() == [
        "[traces] 0/3 (0%) | 0.0/s | ETA ?",
        "[nothing] 0/0 (0%) | 0.0/s | took 0:00:00",
    ]


def test_error_passes_through_and_says_how_far_it_came(clock, capsys):
    def work():
        with Progress("traces", 10) as bar:
            clock.now += 1
            bar.advance(5)
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert capsys.readouterr().err.startswith("[traces] 5/10 (50%)")
