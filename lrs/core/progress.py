"""Progress of long work: plain lines on stderr, which survive papermill, DVC and log files."""

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import ClassVar

_SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Prints `[stage] done/total (percent) | rate | ETA` every few seconds and once at the end.

    Use as a context manager, and call `advance` as work gets done. Work that was found done already (resumed)
    is given as `done` and does not count towards the rate.

    Attributes:
        listener: told at the beginning and beside every line, for whoever gathers progress from many processes.
    """

    listener: ClassVar[Callable[["Progress"], None] | None] = None

    def __init__(self, stage: str, total: int, unit: str = "", done: int = 0):
        self.stage, self.total, self.unit = stage, total, unit
        self.done = self.resumed = done
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> "Progress":
        if self.resumed:
            print(f"[{self.stage}] resuming at {self.done:,}/{self.total:,} {self.unit}", file=sys.stderr, flush=True)
        self._tell()
        return self

    def __exit__(self, *error: object) -> None:
        self._print_line()

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Count `amount` more as done; print a line if the last one is some seconds old."""
        self.done += amount
        if self.done < self.total and time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._print_line(note)

    def _print_line(self, note: str = "") -> None:
        self._last_line = time.monotonic()
        seconds = max(self._last_line - self._started, 1e-9)
        rate = (self.done - self.resumed) / seconds
        remaining = timedelta(seconds=round((self.total - self.done) / rate)) if rate else "?"
        finish = f"took {timedelta(seconds=round(seconds))}" if self.done >= self.total else f"ETA {remaining}"
        parts = [
            f"{self.done:,}/{self.total:,} {self.unit} ({self.done / max(self.total, 1):.0%})".replace("  ", " "),
            f"{rate:,.1f}/s",
            finish,
            note,
        ]
        print(f"[{self.stage}] " + " | ".join(part for part in parts if part), file=sys.stderr, flush=True)
        self._tell()

    def _tell(self) -> None:
        if Progress.listener:
            Progress.listener(self)
