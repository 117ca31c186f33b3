"""Reading and diagnosing a capture so that it can be watched and cancelled."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tcplab.capture.findings import Diagnosis
    from tcplab.capture.reading import Capture

#: What share of the work is the reading; the rest is the look at each connection.
READING = 0.4
NEEDS_NUMPY = "Captures can't be read here: that needs NumPy, which Python in the browser does not have."


class Cancelled(Exception):
    """Somebody has seen enough."""


class Reading:
    """One file on its way to a diagnosis, in a thread of its own where there are threads.

    Tells `progress` a share, 0 .. 1, and what is being done; then either `done` the result or `failed` one
    sentence; nothing more once it is cancelled.
    """

    def __init__(
        self,
        path: Path,
        progress: Callable[[float, str], None],
        done: Callable[[Capture, Diagnosis], None],
        failed: Callable[[str], None],
    ) -> None:
        self._path, self._progress, self._done, self._failed = path, progress, done, failed
        self._cancelled = False
        self._told = -1.0

    def start(self) -> None:
        """Begin; returns at once where there are threads."""
        if sys.platform == "emscripten":
            self._run()
            return
        from threading import Thread

        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Until it is over: for tests and scripts."""
        if thread := getattr(self, "_thread", None):
            thread.join()

    def cancel(self) -> None:
        """Stop soon, and say nothing more."""
        self._cancelled = True

    def _run(self) -> None:
        try:
            result = self._read()
            if not self._cancelled:
                self._done(*result)
        except Cancelled:
            return
        except Exception as error:
            if not self._cancelled:
                self._failed(_sentence(self._path.name, error))

    def _read(self) -> tuple[Capture, Diagnosis]:
        try:
            from tcplab.capture.findings import diagnose
            from tcplab.capture.reading import read_capture
        except ImportError as error:
            raise _NotHere(NEEDS_NUMPY) from error
        size = self._path.stat().st_size / 1e6 if self._path.is_file() else 0
        capture = read_capture(
            self._path, progress=lambda share: self._tell(READING * share, f"reading {size:,.0f} MB")
        )
        count = len(capture.connections)
        what = f"looking at {count:,} connection{'s' * (count != 1)}"
        diagnosis = diagnose(
            capture, progress=lambda share: self._tell(READING + (1 - READING) * share, what)
        )
        return capture, diagnosis

    def _tell(self, share: float, what: str) -> None:
        if self._cancelled:
            raise Cancelled
        if share - self._told >= 0.01:
            self._told = share
            self._progress(share, what)


class _NotHere(Exception):
    """This Python lacks something: one sentence."""


def _sentence(name: str, error: Exception) -> str:
    """What went wrong, for a learner."""
    from tcplab.capture import CaptureError

    if isinstance(error, CaptureError | _NotHere):
        return str(error)
    if isinstance(error, MemoryError):
        return (
            f"{name} is too large for the memory of this machine: take a part of it with tcpdump or editcap."
        )
    return f"With {name} tcplab itself makes a mistake ({type(error).__name__}: {error})."
