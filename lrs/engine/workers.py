"""Work shared out among processes: each a copy of this one, with what it needs in memory already.

The executor of the standard library cannot do this: it pickles work and shares, cannot stop the others when one fails,
and when whoever waits for them is killed, its processes wait for ever.
"""

import os
import pickle
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

import torch

Share = TypeVar("Share")
Result = TypeVar("Result")
Report = Callable[[int], None]


def in_processes(
    work: Callable[[Share, Report], Result], shares: Sequence[Share], on_progress: Report = lambda amount: None
) -> list[Result]:
    """Do every share in a process of its own, all at once, each on one thread.

    Args:
        work: turns a share into a result, reporting progress to its second argument; neither work nor share is
            copied anywhere, the result is.
        on_progress: told what is reported, here in this process.

    Returns:
        A result a share, in the order of the shares.

    Raises:
        Exception: whatever the first share that failed raised; the others are stopped.
        RuntimeError: a process died.
    """
    context = get_context("fork")
    processes = []
    places: dict[Connection, int] = {}
    results: dict[int, Result] = {}
    try:
        for place, share in enumerate(shares):
            ours, theirs = context.Pipe(duplex=False)
            places[ours] = place
            process = context.Process(target=_run, args=(work, share, theirs, list(places)), daemon=True)
            process.start()
            processes.append(process)
            theirs.close()
        while places:
            ready: list[Any] = wait(list(places))  # connections all, though it could wait for other things too
            for connection in ready:
                kind, content = _receive(connection, places[connection])
                if kind == "progress":
                    on_progress(content)
                elif kind == "error":
                    raise content
                else:
                    results[places.pop(connection)] = content
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
    return [results[place] for place in range(len(shares))]


def _receive(connection: Connection, place: int) -> tuple[str, Any]:
    try:
        return connection.recv()
    except (EOFError, OSError):  # OSError: in the middle of a message
        raise RuntimeError(f"worker {place} died before it had finished; was there too little memory?") from None


def _run(
    work: Callable[[Share, Report], Result], share: Share, connection: Connection, readers: list[Connection]
) -> None:
    """The life of a worker: results, progress and errors go through the connection, which breaks when nobody reads."""
    torch.set_num_threads(1)  # the threads of a copied process are not there any more
    for reader in readers:  # copies, which would keep connections open whose reader is gone
        reader.close()
    message: tuple[str, Any]
    try:
        message = "result", work(share, lambda amount: connection.send(("progress", amount)))
    except BrokenPipeError:
        os._exit(1)
    except Exception as error:
        message = "error", _portable(error)
    connection.send(message)


def _portable(error: Exception) -> Exception:
    """The error, or one that says the same, with where it came from, as it can be sent to another process."""
    where = traceback.format_exc()
    try:
        error.add_note(where)
        return pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(where)
