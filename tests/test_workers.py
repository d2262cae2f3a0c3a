import os
import signal
import subprocess
import sys
import time

import pytest

from lrs.engine.policy import CAN_COPY
from lrs.engine.workers import in_processes

pytestmark = pytest.mark.skipif(not CAN_COPY, reason="processes are copied on Linux only")


def test_results_come_in_the_order_of_the_shares_and_progress_adds_up():
    seen = []

    def work(share, report):
        time.sleep(0.2 if share[0] == 1 else 0.0)  # the first share is the last to be done
        for _ in share:
            report(1)
        return [number * 2 for number in share], os.getpid()

    results = in_processes(work, [[1, 2, 3], [4], [5, 6]], seen.append)
    assert [numbers for numbers, _ in results] == [[2, 4, 6], [8], [10, 12]]
    assert sum(seen) == 6
    assert len({os.getpid(), *(process for _, process in results)}) == 4


def test_an_error_of_a_worker_is_raised_here_and_the_others_are_stopped():
    def work(share, report):
        if share == "bad":
            raise ValueError("a bad share")
        time.sleep(60)

    started = time.monotonic()
    with pytest.raises(ValueError, match="a bad share"):
        in_processes(work, ["good", "bad"])
    assert time.monotonic() - started < 30


def test_an_error_that_cannot_be_sent_is_told_all_the_same():
    class Local(Exception):
        pass

    def work(share, report):
        raise Local("a local fault")

    with pytest.raises(RuntimeError, match="a local fault"):
        in_processes(work, ["share"])


def test_a_worker_that_is_killed_is_noticed():
    with pytest.raises(RuntimeError, match="worker 0 died before it had finished"):
        in_processes(lambda *_: os.kill(os.getpid(), signal.SIGKILL), ["share"])


def test_workers_end_when_whoever_waited_for_them_was_killed():
    code = """
import os, time
from lrs.engine.workers import in_processes

def work(share, report):
    print(os.getpid(), flush=True)
    while True:
        time.sleep(0.05)
        report(1)

in_processes(work, [1, 2])
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        workers = [int(process.stdout.readline()) for _ in range(2)]
        process.kill()
    deadline = time.monotonic() + 20
    while any(_runs(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _runs(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"  # a zombie has ended
    except FileNotFoundError:
        return False
