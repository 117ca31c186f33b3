"""The kernel's timer wheel: when a timer that counts in jiffies actually fires.

Since 4.8 (500462a9de65, kernel/time/timer.c:calc_wheel_index) a timer is in one of eight or nine levels of
64 buckets. Each level is eight times as coarse as the one below, and no timer moves down to a finer one
later: it fires with its bucket, up to an eighth of its wait late, never early. At 250 Hz a wait of 200 ms
is up to two ticks late, one of 7200 s up to 131 s. Before 4.8 timers moved down and fired at their jiffy.

RTO, keepalive, delayed ACK and TIME_WAIT are such timers; pacing and compressed ACKs use hrtimers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tcplab.core.releases import Release
from tcplab.core.text import SECOND
from tcplab.core.trace import Ticks

#: Buckets in a level, and how many bits coarser the next level is (LVL_SIZE, LVL_CLK_SHIFT).
BUCKETS, SHIFT = 64, 3
#: Levels (LVL_DEPTH): one more above 100 Hz.
DEPTH, DEPTH_ABOVE_100_HZ = 8, 9


def level(ticks: int, hz: int) -> int:
    """The level of a timer that is due in this many ticks (calc_wheel_index; LVL_START)."""
    top = (DEPTH_ABOVE_100_HZ if hz > 100 else DEPTH) - 1
    return next((n for n in range(top) if ticks < (BUCKETS - 1) << SHIFT * n), top)


@dataclass(frozen=True)
class TimerWheel:
    """One kernel's wheel on a run's clock: its tick, and the jiffies at an instant of that clock."""

    ticks: Ticks
    #: Before 4.8: a timer fires at its jiffy.
    is_exact: bool = False

    @property
    def tick(self) -> int:
        """Length of a tick, nanoseconds."""
        return SECOND // self.ticks.hz

    def jiffies(self, now: int) -> int:
        """The counter at an instant."""
        return self.ticks.jiffies + (now - self.ticks.t) // self.tick

    def instant(self, jiffies: int) -> int:
        """When the counter takes this value, nanoseconds."""
        return self.ticks.t + (jiffies - self.ticks.jiffies) * self.tick

    def fires(self, now: int, wait: int, since: int | None = None) -> int:
        """When a timer fires that is set now for `wait` nanoseconds, rounded up to whole ticks.

        `since`: from when the wait counts, if not from now. A wait that has elapsed fires with the next tick.
        """
        clock = self.jiffies(now)
        begun = clock if since is None else self.jiffies(since)
        expires = max(clock, begun + -(-wait // self.tick))
        if self.is_exact:
            return self.instant(max(expires, clock + 1))
        # "Round up with level granularity": also when it is due at the very edge of a bucket (calc_index).
        coarse = SHIFT * level(expires - clock, self.ticks.hz)
        return self.instant(((expires >> coarse) + 1) << coarse)


def mean_delay(wait: int, hz: int) -> int:
    """How late, on average, a timer fires that is set at a tick for `wait` nanoseconds."""
    tick = SECOND // hz
    return ((tick << SHIFT * level(-(-wait // tick), hz)) + tick) // 2


#: Fractions of a turn of the wheel, and of a tick, at which `phases` begins: not simple fractions.
_TURN, _TICK = 1_000_003, 0.618


def phases(release: Release, count: int = 4) -> Iterator[Ticks]:
    """A kernel's timer wheel at different starts of a run: different jiffies, and parts of a tick."""
    for n in range(count):
        yield Ticks(SECOND // release.tick, -round(release.tick * (n * _TICK % 1)), n * _TURN)


def read_timer_list(text: str, hz: int) -> Ticks | None:
    """Ticks on CLOCK_MONOTONIC from /proc/timer_list; None where it does not show them.

    The file shows when the next tick is due (on any processor: they tick together) and the current jiffies.
    A tick between its first line and that one makes the result wrong by one: compare two readings.
    """
    now = re.search(r"^now at (\d+) nsecs", text, re.MULTILINE)
    due = re.search(r"tick_(?:sched_timer|nohz_handler)\b.*\n.* expires at (\d+)", text)
    jiffies = re.search(r"^jiffies: (\d+)", text, re.MULTILINE)
    if now is None or due is None or jiffies is None:
        return None
    tick = SECOND // hz
    phase = int(due[1]) % tick
    return Ticks(hz, (int(now[1]) - phase) // tick * tick + phase, int(jiffies[1]))
