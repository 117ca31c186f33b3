"""Who gets a port when attempts come at even steps: by arithmetic, however many there are.

The first attempts take all ports, then all are refused until the first port is free again; from
there on everything repeats. How many attempts have succeeded by a moment is therefore a division,
and every curve is a difference of such numbers at shifted moments. Between the few moments at
which one of them begins or stops to grow it changes by the same amount from attempt to attempt,
so its least and greatest values are found at the ends of such a stretch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tcplab.fleet.load import Curve, Filling, Load


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


def fill(load: Load, edges: Sequence[int]) -> Filling:
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
    outages = _outages(load, pattern, edges[1])
    return Filling(
        opened=opened,
        refused=total - opened,
        first_refusal=first,
        longest_outage=_longest_outage(load, pattern),
        outages=outages,
        in_use=_curve(in_use, (0, busy), pattern, edges),
        time_wait=_curve(time_wait, (0, closed, gone), pattern, edges),
        opened_in=[after - before for before, after in pairwise(seen)],
    )


def _longest_outage(load: Load, pattern: _Pattern) -> int:
    """All are equally long, but the end of the run may cut the only one short."""
    granted, period, total = pattern.granted, pattern.period, len(load.arrivals)
    if granted == period or total <= granted:
        return 0
    return (period - granted) * pattern.step if total > period else load.end - granted * pattern.step


def _outages(load: Load, pattern: _Pattern, shortest: int) -> list[tuple[int, int]]:
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


def _curve(
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
