"""Who gets a port, attempt by attempt, in whole ticks: nothing is rounded on the way.

Ports are taken in turn, the one that has been free longest first. So the ports of one destination
are a ring: the k-th attempt that succeeds takes the port of number k − ports, and it succeeds as soon
as that one is free again. No event queue is needed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, chain, compress, count, pairwise
from math import log
from operator import ge, gt
from random import Random

from tcplab.core.text import SECOND
from tcplab.studies.study import counted


@lru_cache(maxsize=1)  # turning another parameter of a study asks for the same times
def poisson(rate_per_s: float, duration_s: float, seed: int) -> tuple[int, ...]:
    """Times at random with a mean rate, independent of each other, until `duration_s`: nanoseconds.

    The same seed gives the same times.
    """
    draw, mean, end = Random(seed).random, SECOND / rate_per_s, round(duration_s * SECOND)
    times: list[int] = []
    now = 0.0
    while now < end:
        few = int((end - now) / mean) + 16
        steps = accumulate((log(1 - draw()) * -mean for _ in range(few)), initial=now)
        next(steps)
        times += map(int, steps)
        now = times[-1]
    while times and times[-1] >= end:
        times.pop()
    return tuple(times)


#: When the clock lets connect() take a port in TIME_WAIT, as `tcplab.core.releases.Release.tw_reuse_clock`
#: calls it, and how many whole seconds of the clock that is (net/ipv4/tcp_ipv4.c:tcp_twsk_unique).
WHOLE_SECONDS = {"next_second": 1, "second_after_next": 2}
#: A program that names the port, with SO_REUSEADDR on every socket and timestamps, needs no delay at all:
#: tcp_twsk_unique allows it whatever tcp_tw_reuse says.
AT_ONCE = "at_once"


@dataclass(frozen=True)
class Load:
    """Attempts to connect, and how long each keeps its port. All times in ticks.

    How long a tick is, the caller decides, so that every moment of the run falls on one.
    """

    #: When each attempt is made, in order.
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
    #: How TIME_WAIT may be reused: `delay` (a second after it began), a key of `WHOLE_SECONDS`, `AT_ONCE`,
    #: or not at all (empty).
    reuse: str = ""
    #: Where in its second the clock stands at the beginning, in ticks.
    into_second: int = 0

    @property
    def ceiling(self) -> int:
        """Connections, those in TIME_WAIT included, that can exist at once."""
        return self.ports * self.destinations

    def free_from(self, taken: Iterable[int]) -> list[int]:
        """From when on connect() may take the ports that were taken at these times."""
        hold, wait, second = self.hold, self.time_wait, self.second
        if self.reuse in WHOLE_SECONDS and wait:
            into, more = self.into_second, WHOLE_SECONDS[self.reuse]
            return [min(t + hold + wait, ((t + hold + into) // second + more) * second - into) for t in taken]
        delay = 0 if self.reuse == AT_ONCE else second if self.reuse else wait
        busy = hold + min(wait, delay)
        return [t + busy for t in taken]

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
    #: Such intervals, first tick and end, as far as they are as long as a step of the curves.
    outages: list[tuple[int, int]]
    #: Ports that no connect() to their destination may take; and sockets in TIME_WAIT, which with
    #: reuse may be taken while they are there.
    in_use: Curve
    time_wait: Curve
    #: Attempts that succeeded in each step.
    opened_in: list[int]


def fill(load: Load, edges: Sequence[int]) -> Filling:
    """Play a load; `edges` are the first ticks of the curves' steps, and the end."""
    arrivals, step = list(load.arrivals), load.destinations
    free = load.free_from(arrivals)
    places: Sequence[int] = range(len(arrivals))
    if all(map(ge, arrivals[load.ceiling :], free)):
        # A shortcut: no attempt is refused, so the ports of all destinations are one ring.
        starts, gone = arrivals, _ends_of_time_wait(arrivals, load, load.ceiling)
    else:
        rings = [_successes(arrivals, free, first, load) for first in range(step)]
        places = _merged(rings)
        starts, free = [arrivals[i] for i in places], [free[i] for i in places]
        each = [[arrivals[i] for i in ring] for ring in rings] if load.reuse and step > 1 else [starts]
        gone = _merged([_ends_of_time_wait(taken, load, load.ports) for taken in each])
    outages = _outages(arrivals, places, load.end)
    # The curve of TIME_WAIT is looked at `hold` earlier: so it begins where a connection does.
    earlier = [edge - load.hold for edge in edges]
    return Filling(
        opened=len(starts),
        refused=len(arrivals) - len(starts),
        first_refusal=outages[0][0] if outages else None,
        longest_outage=max((until - began for began, until in outages), default=0),
        outages=[(began, until) for began, until in outages if until - began >= edges[1]],
        in_use=_curve(starts, free, edges, load.ceiling),
        time_wait=_curve(starts, gone, earlier, load.ceiling),
        opened_in=counted(starts, edges),
    )


def _successes(arrivals: list[int], free: list[int], first: int, load: Load) -> list[int]:
    """Which attempts to one destination succeed, by number; `free` is when the port of each is free again."""
    step, own = load.destinations, arrivals[first :: load.destinations]
    at, total = min(load.ports, len(own)), len(own)
    numbers = list(range(first, first + at * step, step))
    for earlier in numbers:  # the list grows: each success passes its port on to a later attempt
        if at >= total:
            break
        if own[at] < free[earlier] and (at := bisect_left(own, free[earlier], at + 1)) == total:
            break
        numbers.append(first + at * step)
        at += 1
    return numbers


def _merged(sequences: list[list[int]]) -> list[int]:
    return sequences[0] if len(sequences) == 1 else sorted(chain.from_iterable(sequences))


def _ends_of_time_wait(taken: list[int], load: Load, ports: int) -> list[int]:
    """When TIME_WAIT ends, `hold` before that moment: it is over, or connect() takes the port."""
    wait, hold, longest = load.time_wait, load.hold, load.hold + load.time_wait
    if not load.reuse:
        return [t + wait for t in taken]
    ends = [
        other - hold if other - t < longest else t + wait
        for t, other in zip(taken, taken[ports:], strict=False)
    ]
    return ends + [t + wait for t in taken[len(ends) :]]


def _outages(arrivals: list[int], places: Sequence[int], end: int) -> list[tuple[int, int]]:
    """When every attempt was refused: from the first of these to the next that succeeds."""
    if len(places) == len(arrivals):
        return []
    times = [*arrivals, end]
    return [
        (times[before + 1], times[after])
        for before, after in pairwise([*places, len(arrivals)])
        if after - before > 1
    ]


def _curve(starts: list[int], ends: list[int], edges: Sequence[int], ceiling: int) -> Curve:
    """How many have started and not ended: exactly the least and the greatest number in each step.

    Both lists are in order and equally long; there are never more than `ceiling`. What ends at a
    moment makes room for what starts at it.
    """
    low, high = [], []
    start = end = 0
    for begin, edge in pairwise(edges):
        start, end = bisect_right(starts, begin, start), bisect_right(ends, begin, end)
        last_start, last_end = bisect_left(starts, edge, start), bisect_left(ends, edge, end)
        at_first, at_last = start - end, last_start - last_end
        least, most = min(at_first, at_last), max(at_first, at_last)
        if last_start > start and last_end > end:
            most = _most(starts, ends, start, last_start, most, ceiling)
            least = _least(starts, ends, end, last_end, least)
        low.append(least)
        high.append(most)
        start, end = last_start, last_end
    return Curve(low, high)


def _most(starts: list[int], ends: list[int], at: int, until: int, most: int, ceiling: int) -> int:
    """The most there are after one of the starts from `at` on, if that is more than `most`."""
    while most < ceiling:
        # After start k there are more than `most` when end k − most has not come yet.
        at = max(at, most)
        pairs = ends[at - most : until - most], starts[at:until]
        if not any(map(gt, *pairs)):
            break
        at, most = next(compress(count(at), map(gt, *pairs))), most + 1
    return most


def _least(starts: list[int], ends: list[int], at: int, until: int, least: int) -> int:
    """The fewest there are after one of the ends from `at` on, if that is fewer than `least`."""
    while least:
        # After end j there are fewer than `least` when start j + least has not come yet.
        pairs = starts[at + least : until + least], ends[at:until]
        if not any(map(gt, *pairs)):
            break
        at, least = next(compress(count(at), map(gt, *pairs))), least - 1
    return least
