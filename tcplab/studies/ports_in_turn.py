"""Who gets a port, attempt by attempt, for arrivals of any kind.

Ports are taken in turn, the one that has been free longest first. So the ports of one destination
are a ring: attempt number k that succeeds takes the port of number k − ports, and it succeeds as
soon as that one is free again. No event queue is needed, and where connections come and go
without a refusal whole blocks of them are compared at once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, chain, compress, count, islice, pairwise
from math import log
from operator import ge, gt, sub
from random import Random

from tcplab.core.text import SECOND

# ----------------------------------------------------------------------
# When attempts come.


@lru_cache(maxsize=1)  # whoever turns another parameter of a study asks for the same moments again
def poisson(rate_per_s: float, duration_s: float, seed: int) -> tuple[int, ...]:
    """Moments at random with a mean rate, independent of each other, until `duration_s`: nanoseconds.

    The same seed gives the same moments.
    """
    draw, mean, end = Random(seed).random, SECOND / rate_per_s, round(duration_s * SECOND)
    moments: list[int] = []
    now = 0.0
    while now < end:
        few = int((end - now) / mean) + 16
        steps = accumulate((log(1 - draw()) * -mean for _ in range(few)), initial=now)
        next(steps)
        moments += map(int, steps)
        now = moments[-1]
    while moments and moments[-1] >= end:
        moments.pop()
    return tuple(moments)


# ----------------------------------------------------------------------
# What a port-churn run is asked to do, and what came of it, in whole ticks: nothing is rounded on the way.
#
# How long a tick is, the caller decides: so that every moment of the run falls on one.

#: When the clock lets connect() take a port in TIME_WAIT, as `tcplab.core.releases.Release.tw_reuse_clock`
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


#: Attempts compared at once.
_BLOCK = 4096


def fill(load: Load, edges: Sequence[int]) -> Filling:
    """Play a load; `edges` are the first ticks of the curves' steps, and the end."""
    places: list[list[int]] = []
    taken: list[list[int]] = []
    free: list[list[int]] = []
    gone: list[list[int]] = []
    for first in range(load.destinations):
        own = load.arrivals[first :: load.destinations]
        found, moments = _accepted(own, load)
        places.append([first + i * load.destinations for i in found] if load.destinations > 1 else found)
        taken.append(moments)
        free.append(load.free_again(moments))
        gone.append(_end_of_time_wait(moments, load))
    starts = _merged(taken)
    outages = _outages(_merged(places), load)
    seen = [bisect_left(starts, edge) for edge in edges]
    # The curve of TIME_WAIT is looked at `hold` earlier: so it begins where a connection does.
    earlier = [edge - load.hold for edge in edges]
    return Filling(
        opened=len(starts),
        refused=len(load.arrivals) - len(starts),
        first_refusal=outages[0][0] if outages else None,
        longest_outage=max((until - began for began, until in outages), default=0),
        outages=[(began, until) for began, until in outages if until - began >= edges[1]],
        in_use=_curve(starts, _merged(free), edges, load.ceiling),
        time_wait=_curve(starts, _merged(gone), earlier, load.ceiling),
        opened_in=[after - before for before, after in pairwise(seen)],
    )


def _accepted(arrivals: Sequence[int], load: Load) -> tuple[list[int], list[int]]:
    """Which attempts to one destination succeed: their numbers, and when they are made."""
    total, size = len(arrivals), min(load.ports, _BLOCK)
    at = min(load.ports, total)
    found, moments = list(range(at)), list(arrivals[:at])
    given = 0  # ports that were given again
    while at < total:
        free = load.free_again(moments[given : given + size])
        block = arrivals[at : at + len(free)]
        if len(block) == len(free) and all(map(ge, block, free)):
            found.extend(range(at, at + len(free)))
            moments.extend(block)
            at += len(free)
            given += len(free)
            continue
        for moment in free:
            if arrivals[at] < moment:
                at = bisect_left(arrivals, moment, at + 1)
                if at == total:
                    break
            found.append(at)
            moments.append(arrivals[at])
            given += 1
            at += 1
            if at == total:
                break
    return found, moments


def _end_of_time_wait(taken: list[int], load: Load) -> list[int]:
    """When TIME_WAIT ends, since it is over or connect() takes its port; `hold` before that moment."""
    if not load.reuse:
        return [t + load.time_wait for t in taken]
    again = [t - load.hold for t in taken[load.ports :]]
    ended = [min(t + load.time_wait, other) for t, other in zip(taken, again, strict=False)]
    return ended + [t + load.time_wait for t in taken[len(ended) :]]


def _merged(sequences: list[list[int]]) -> list[int]:
    return sequences[0] if len(sequences) == 1 else sorted(chain.from_iterable(sequences))


def _outages(places: list[int], load: Load) -> list[tuple[int, int]]:
    """The stretches in which every attempt was refused: from the first of these to the next that succeeds."""
    arrivals = load.arrivals
    if len(places) == len(arrivals):
        return []
    steps = map(sub, islice(places, 1, None), places)
    last_before = compress(count(), map((1).__lt__, steps))
    found = [(arrivals[places[i] + 1], arrivals[places[i + 1]]) for i in last_before]
    if places[-1] + 1 < len(arrivals):
        found.append((arrivals[places[-1] + 1], load.end))
    return found


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
        later = map(gt, ends[at - most : until - most], starts[at:until])
        found = next(compress(count(at), later), None)
        if found is None:
            break
        at, most = found, most + 1
    return most


def _least(starts: list[int], ends: list[int], at: int, until: int, least: int) -> int:
    """The fewest there are after one of the ends from `at` on, if that is fewer than `least`."""
    while least:
        # After end j there are fewer than `least` when start j + least has not come yet.
        later = map(gt, starts[at + least : until + least], ends[at:until])
        found = next(compress(count(at), later), None)
        if found is None:
            break
        at, least = found, least - 1
    return least


# ----------------------------------------------------------------------
# Who gets a port when attempts come at even steps: by arithmetic, however many there are.
#
# The first attempts take all ports, then all are refused until the first port is free again; from
# there on everything repeats. How many attempts have succeeded by a moment is therefore a division,
# and every curve is a difference of such numbers at shifted moments. Between the few moments at
# which one of them begins or stops to grow it changes by the same amount from attempt to attempt,
# so its least and greatest values are found at the ends of such a stretch.


@dataclass(frozen=True)
class _Pattern:
    """Attempts come every `step` ticks; of each `period` in a row the first `granted` succeed."""

    step: int
    granted: int
    period: int

    def accepted(self, t: int) -> int:
        """Attempts that have succeeded at tick `t`, one at `t` itself included."""
        if t < 0:
            return 0
        whole, rest = divmod(t // self.step + 1, self.period)
        return whole * self.granted + min(rest, self.granted)


def fill_steadily(load: Load, edges: Sequence[int]) -> Filling:
    """Play a load whose arrivals are a `range` from 0; `edges` as for the ring."""
    assert isinstance(load.arrivals, range) and load.busy is not None
    step, total, ceiling = load.arrivals.step, len(load.arrivals), load.ceiling
    # Each destination gets every n-th attempt: so many of them until its first port is free again.
    turns = -(-load.busy // (step * load.destinations)) * load.destinations
    pattern = _Pattern(step, min(ceiling, turns) or 1, turns or 1)
    accepted = pattern.accepted
    opened = accepted((total - 1) * step) if total else 0
    closed, gone = load.hold, load.hold + load.time_wait
    busy = load.busy

    def in_use(t: int) -> int:
        return accepted(t) - accepted(t - busy)

    def time_wait(t: int) -> int:
        over = accepted(t - gone)
        return accepted(t - closed) - (max(over, accepted(t) - ceiling) if load.reuse else over)

    seen = [accepted(edge - 1) for edge in edges]
    first = pattern.granted * step if opened < total else None
    outages = _steady_outages(load, pattern, edges[1])
    return Filling(
        opened=opened,
        refused=total - opened,
        first_refusal=first,
        longest_outage=_longest_outage(load, pattern),
        outages=outages,
        in_use=_steady_curve(in_use, (0, busy), pattern, edges),
        time_wait=_steady_curve(time_wait, (0, closed, gone), pattern, edges),
        opened_in=[after - before for before, after in pairwise(seen)],
    )


def _longest_outage(load: Load, pattern: _Pattern) -> int:
    """All are equally long, but the end of the run may cut the only one short."""
    granted, period, total = pattern.granted, pattern.period, len(load.arrivals)
    if granted == period or total <= granted:
        return 0
    return (period - granted) * pattern.step if total > period else load.end - granted * pattern.step


def _steady_outages(load: Load, pattern: _Pattern, shortest: int) -> list[tuple[int, int]]:
    """The stretches in which every attempt was refused, as far as they are at least so long."""
    step, total = pattern.step, len(load.arrivals)
    if (pattern.period - pattern.granted) * step < shortest:
        return []
    found = []
    for first in range(pattern.granted, total, pattern.period):
        next_granted = first + pattern.period - pattern.granted
        until = next_granted * step if next_granted < total else load.end
        if until - first * step >= shortest:
            found.append((first * step, until))
    return found


def _steady_curve(
    value: Callable[[int], int], shifts: tuple[int, ...], pattern: _Pattern, edges: Sequence[int]
) -> Curve:
    low, high = [], []
    for begin, end in pairwise(edges):
        values = [value(t) for t in _telling(begin, end, shifts, pattern)]
        low.append(min(values))
        high.append(max(values))
    return Curve(low, high)


def _telling(begin: int, end: int, shifts: tuple[int, ...], pattern: _Pattern) -> Iterator[int]:
    """Moments from `begin` to before `end` among which a curve takes its least and greatest value."""
    step, long = pattern.step, pattern.period * pattern.step
    # Once all shifts are past, the curve repeats itself: two periods tell everything.
    end = min(end, max(begin, max(shifts) + step) + 2 * long)
    turns = {begin, end}
    for shift in shifts:
        for at in (shift, shift + pattern.granted * step):
            # The first attempt granted, or refused, of each period.
            earliest = at + max(0, -(-(begin - at) // long)) * long
            turns.update(range(earliest, end, long))
    for one, other in pairwise(sorted(turns)):
        for start in {one, max(one, other - step)}:
            stop = min(other, start + step)
            yield start
            for shift in shifts:
                at = start + (shift - start) % step
                if at < stop:
                    yield at
