"""Who gets a port, attempt by attempt, for arrivals of any kind.

Ports are taken in turn, the one that has been free longest first. So the ports of one destination
are a ring: attempt number k that succeeds takes the port of number k − ports, and it succeeds as
soon as that one is free again. No event queue is needed, and where connections come and go
without a refusal whole blocks of them are compared at once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import chain, compress, count, islice, pairwise
from operator import ge, gt, sub

from tcplab.fleet.load import Curve, Filling, Load

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
