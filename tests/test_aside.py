import multiprocessing
import os
import signal
import sys
import time

import pytest

from lrs.core.aside import meanwhile

copied = pytest.mark.skipif(sys.platform != "linux", reason="processes are copied on Linux only")


def wait_for(path):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def copies() -> list[multiprocessing.Process]:
    """Copies of this process that are left. The judge's pool, which other tests may have begun, is spawned anew."""
    kind = multiprocessing.get_context("fork").Process
    return [child for child in multiprocessing.active_children() if isinstance(child, kind)]


@copied
def test_work_is_done_beside_the_body_and_before_the_end(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"

    def work():
        wait_for(here)
        time.sleep(0.2)
        there.write_text(str(os.getpid()))

    with meanwhile(work):
        here.touch()
    assert int(there.read_text()) != os.getpid()
    assert copies() == []


@copied
def test_what_work_raises_is_told_here():
    with pytest.raises(RuntimeError, match="ValueError: no such color"), meanwhile(lambda: fail("no such color")):
        pass


def fail(text):
    raise ValueError(text)


@copied
def test_a_copy_that_is_killed_is_noticed():
    with pytest.raises(RuntimeError, match="died"), meanwhile(lambda: os.kill(os.getpid(), signal.SIGKILL)):
        pass


@copied
def test_an_error_of_the_body_is_its_own_and_waits_for_the_work(tmp_path):
    done = tmp_path / "done"

    def work():
        time.sleep(0.2)
        done.touch()

    with pytest.raises(KeyError, match="of the body"), meanwhile(work):
        raise KeyError("of the body")
    assert done.exists()
    assert copies() == []


def test_elsewhere_work_is_done_first_and_in_this_process(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    order = []
    with meanwhile(lambda: order.append("work")):
        order.append("body")
    assert order == ["work", "body"]
