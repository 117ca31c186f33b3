"""The kernel's timer wheel: when a timer that counts in jiffies really fires.

Since 4.8 (500462a9de65, kernel/time/timer.c:calc_wheel_index) a timer lies in one of eight or nine levels
of 64 buckets. Each level is eight times as coarse as the one below, and no timer moves down to a finer one
later: it fires with its bucket, up to an eighth of its wait late, never early. At 250 Hz a wait of 200 ms
comes up to two ticks late, one of 7200 s up to 131 s. Before 4.8 timers moved down and fired at their jiffy.

RTO, keepalive, delayed ACK and TIME_WAIT are such timers; pacing and compressed ACKs are hrtimers and not.
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
    """The level of a timer that is due in so many ticks (calc_wheel_index; LVL_START)."""
    top = (DEPTH_ABOVE_100_HZ if hz > 100 else DEPTH) - 1
    return next((n for n in range(top) if ticks < (BUCKETS - 1) << SHIFT * n), top)


@dataclass(frozen=True)
class TimerWheel:
    """One kernel's wheel on a run's clock: its tick, and where jiffies are at an instant of that clock."""

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

        `since`: from when the wait counts, if not from now. One that is over fires with the next tick.
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
    """How late a timer fires on average that is set for `wait` nanoseconds when a tick comes."""
    tick = SECOND // hz
    return ((tick << SHIFT * level(-(-wait // tick), hz)) + tick) // 2


#: Parts of a turn of the wheel, and of a tick, in which `phases` begins: no simple fractions of anything.
_TURN, _TICK = 1_000_003, 0.618


def phases(release: Release, count: int = 4) -> Iterator[Ticks]:
    """A kernel's timer wheel as a run may find it: different jiffies, and different parts of a tick."""
    for n in range(count):
        yield Ticks(SECOND // release.tick, -round(release.tick * (n * _TICK % 1)), n * _TURN)


def read_timer_list(text: str, hz: int) -> Ticks | None:
    """Ticks on CLOCK_MONOTONIC from /proc/timer_list; None where it does not tell them.

    The file says when the next tick is due (of whichever processor: they tick together) and what jiffies are.
    A tick between its first line and that one makes the answer wrong by one: two readings tell.
    """
    now = re.search(r"^now at (\d+) nsecs", text, re.MULTILINE)
    due = re.search(r"tick_(?:sched_timer|nohz_handler)\b.*\n.* expires at (\d+)", text)
    jiffies = re.search(r"^jiffies: (\d+)", text, re.MULTILINE)
    if now is None or due is None or jiffies is None:
        return None
    tick = SECOND // hz
    phase = int(due[1]) % tick
    return Ticks(hz, (int(now[1]) - phase) // tick * tick + phase, int(jiffies[1]))
