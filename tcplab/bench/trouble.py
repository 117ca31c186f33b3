"""Why the Linux bench could not do what it was asked, in sentences."""

from __future__ import annotations

from collections.abc import Callable
from time import sleep
from typing import TypeVar

T = TypeVar("T")

#: How often a run is tried again on a machine that had no time for its wire, and the first pause, seconds.
TRIES, PAUSE_S = 6, 0.25


class BenchError(RuntimeError):
    """One sentence: what could not be done on the Linux bench, and why."""


class TooBusy(BenchError):
    """The machine had no time for the wire: the run says nothing about Linux. Try again."""


def patiently(run: Callable[[], T]) -> T:
    """What a run gives, tried again with growing pauses while the machine is too busy for it."""
    for attempt in range(TRIES - 1):
        try:
            return run()
        except TooBusy:
            sleep(PAUSE_S * 2**attempt)
    return run()


class Cancelled(BenchError):
    """Somebody has ended the run before it was over."""


class Refused(OSError):
    """A step of the sandbox's making that this machine doesn't allow; `errno` says how."""

    def __init__(self, step: str, errno: int) -> None:
        super().__init__(errno, step)
        #: `unshare`, `map`, `network`, `settings` or `packets`: see `sandbox.why_not`.
        self.step = step

    def __reduce__(self) -> tuple[type[Refused], tuple[str, int]]:
        return Refused, (self.step, self.errno or 0)
