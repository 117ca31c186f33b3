"""The time axis of a capture: the wall clock in UTC, with long silences folded.

Seconds count from the file's first packet; what a reader sees is the time of day.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor

from tcplab.core.text import SECOND, clock, date
from tcplab.pictures.svg import text_width

#: Distances of ticks, nanoseconds: 1-2-5 below 1 s, then what a clock has.
STEPS = (
    *(digit * 10**power for power in range(3, 9) for digit in (1, 2, 5)),
    *(SECOND * s for s in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200)),
    *(SECOND * 86_400 * digit * 10**power for power in range(4) for digit in (1, 2, 5)),
)  # fmt: skip
#: A silence of more than this share of the window is folded, to so many px: a shorter one would gain little,
#: and the growing gaps between retransmissions would no longer be seen.
SILENT, FOLDED = 0.5, 104.0
#: Beside a fold this much of the silence stays, as a share of the window that is left.
STAYS = 0.01
_DAY = 86_400 * SECOND


@dataclass(frozen=True)
class WallAxis:
    """Seconds since `began` (nanoseconds since 1970) as x, from `low_s` at `x0` to `high_s` at `x1`, px."""

    began: int
    low_s: float
    high_s: float
    x0: float
    x1: float
    #: Silences that are folded, in order, within the window.
    folds: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of(
        cls, began: int, window: tuple[float, float], ends: tuple[float, float],
        quiet: Sequence[tuple[float, float]] = (),
    ) -> WallAxis:  # fmt: skip
        """An axis of this window that folds what is quiet too long."""
        low, high = window
        span = high - low
        inside = [(max(a, low), min(b, high)) for a, b in quiet if b > low and a < high]
        long = [(a, b) for a, b in inside if b - a > SILENT * span]
        stays = STAYS * max(span - sum(b - a for a, b in long), span / 100)
        return cls(began, low, high, *ends, tuple((a + stays, b - stays) for a, b in long))

    @property
    def _scale(self) -> float:
        """px a second outside the folds."""
        folded = sum(b - a for a, b in self.folds)
        return (self.x1 - self.x0 - FOLDED * len(self.folds)) / max(self.high_s - self.low_s - folded, 1e-9)

    def x(self, t_s: float) -> float:
        """Where a moment is, px; what lies outside is at the edge."""
        t_s = min(max(t_s, self.low_s), self.high_s)
        x, at = self.x0, self.low_s
        for a, b in self.folds:
            if t_s <= a:
                break
            x += (a - at) * self._scale
            if t_s < b:
                return x + (t_s - a) / (b - a) * FOLDED
            x, at = x + FOLDED, b
        return x + (t_s - at) * self._scale

    def pieces(self) -> list[tuple[float, float]]:
        """(seconds, px) of each corner of the mapping, which is straight between them: what a page needs."""
        corners = [self.low_s, *(t for fold in self.folds for t in fold), self.high_s]
        return [(t, self.x(t)) for t in corners]

    @property
    def step(self) -> int:
        """The distance of ticks, nanoseconds: the smallest whose texts have room."""
        for step in STEPS:
            if step / SECOND * self._scale >= text_width(clock(0, _places(step))) + 18:
                return step
        return STEPS[-1]

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Round moments outside the folds, px, and what a clock showed then; at midnight the day."""
        step = self.step
        first = ceil((self.began + self.low_s * SECOND - 1) / step)
        last = floor((self.began + self.high_s * SECOND + 1) / step)
        for k in range(first, min(last, first + 200) + 1):
            t = (k * step - self.began) / SECOND
            if not any(a < t < b for a, b in self.folds):
                midnight = k * step % _DAY == 0
                yield self.x(t), date(k * step)[4:10] if midnight else clock(k * step, _places(step))

    def kept(self) -> list[tuple[float, float]]:
        """What is not folded, in px."""
        edges = [self.x0, *(self.x(t) for fold in self.folds for t in fold), self.x1]
        return [pair for i, pair in enumerate(pairwise(edges)) if i % 2 == 0]


def _places(step: int) -> int:
    """Digits after the second that a step of ticks needs: none, milliseconds' or microseconds'."""
    digits = 0
    while digits < 6 and step % 10 ** (9 - digits):
        digits += 1
    return digits
