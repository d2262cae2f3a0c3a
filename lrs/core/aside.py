"""Work done in a copy of this process while this one goes on."""

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection


@contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Do `work` while the body runs, in a copy of this process: of what it does, only files remain. At the end it is
    done. Where processes cannot be copied safely (elsewhere than on Linux), it is done first, and here.

    Raises:
        RuntimeError: work failed, with where and why; or its process died.
    """
    if sys.platform != "linux":
        work()
        yield
        return
    context = get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(work, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield
    finally:
        fault = _hear(ours)
        process.join()
    if fault:
        raise RuntimeError(fault)


def _hear(ours: Connection) -> str:
    """What the copy tells when it is done."""
    with ours:
        try:
            return str(ours.recv())
        except EOFError:
            return "a process died before its work was done; was there too little memory?"


def _run(work: Callable[[], None], told: Connection) -> None:
    """The life of the copy: why it failed goes through the connection, or nothing."""
    fault = ""
    try:
        work()
    except Exception:
        fault = traceback.format_exc()
    told.send(fault)
