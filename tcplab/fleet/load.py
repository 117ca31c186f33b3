"""What a port-churn run is asked to do, and what came of it, in whole ticks: nothing is rounded on the way.

How long a tick is, the caller decides: so that every moment of the run falls on one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: When the clock lets connect() take a port in TIME_WAIT, as `tcplab.releases.Release.tw_reuse_clock`
#: calls it, and how many whole seconds of the clock that is (net/ipv4/tcp_ipv4.c:tcp_twsk_unique).
WHOLE_SECONDS = {"next_second": 1, "second_after_next": 2}


@dataclass(frozen=True)
class Load:
    """Attempts to connect, and how long each keeps its port. All times in ticks."""

    #: When each attempt is made, in order; a `range` when they come at even steps.
    arrivals: Sequence[int]
    #: Ticks a second; and the end of the run: what happens from then on is not seen.
    second: int
    end: int
    #: Ports that may be taken towards each destination; attempts go to the destinations in turn.
    ports: int
    destinations: int
    #: From connect() to the end of the connection, and how long the port stays in TIME_WAIT.
    hold: int
    time_wait: int
    #: How TIME_WAIT may be reused: `delay` (a second after it began), a key of `WHOLE_SECONDS`, or
    #: not at all (empty).
    reuse: str = ""

    @property
    def ceiling(self) -> int:
        """Connections, those in TIME_WAIT included, that can exist at once."""
        return self.ports * self.destinations

    @property
    def busy(self) -> int | None:
        """How long a port is kept from the next connect(); None when that depends on the moment."""
        if self.reuse in WHOLE_SECONDS and self.time_wait:
            return None
        return self.hold + (min(self.time_wait, self.second) if self.reuse else self.time_wait)

    def free_again(self, taken: Iterable[int]) -> list[int]:
        """When connect() may take the ports again that were taken at these moments."""
        if (busy := self.busy) is not None:
            return [t + busy for t in taken]
        hold, wait, second, more = self.hold, self.time_wait, self.second, WHOLE_SECONDS[self.reuse]
        return [min(t + hold + wait, ((t + hold) // second + more) * second) for t in taken]

    def edges(self, steps: int) -> list[int]:
        """The run cut into equal steps, at most one a tick: the first tick of each, and the end."""
        steps = min(steps, self.end)
        return [-(-self.end * i // steps) for i in range(steps + 1)]


@dataclass(frozen=True)
class Curve:
    """A number over time: its least and its greatest value in each step of the run."""

    low: list[int]
    high: list[int]


@dataclass(frozen=True)
class Filling:
    """What came of a load. Times in ticks."""

    opened: int
    refused: int
    first_refusal: int | None
    #: From the first attempt refused to the next one that succeeds, or to the end of the run.
    longest_outage: int
    #: Such stretches, first tick and end, as far as they are as long as a step of the curves.
    outages: list[tuple[int, int]]
    #: Ports that no connect() to their destination may take; and sockets in TIME_WAIT, which with
    #: reuse may be taken while they are there.
    in_use: Curve
    time_wait: Curve
    #: Attempts that succeeded in each step.
    opened_in: list[int]
