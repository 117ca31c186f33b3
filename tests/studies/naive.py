"""Port churn played naively: every moment on its own, every port an object. Slow and plain."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import inf

from tcplab.studies.ports_in_turn import AT_ONCE, WHOLE_SECONDS


@dataclass
class Port:
    """One port towards one destination."""

    closes: float = -1
    time_wait_ends: float = -1
    #: From when connect() may take it.
    free: float = -1


@dataclass
class Seen:
    """What a naive run saw; curves as (moment, value) after everything of that moment has happened."""

    opened: int = 0
    refused: int = 0
    first_refusal: int | None = None
    outages: list = field(default_factory=list)
    in_use: list = field(default_factory=list)
    time_wait: list = field(default_factory=list)
    opened_at: list = field(default_factory=list)

    @property
    def longest_outage(self) -> int:
        return max((until - began for began, until in self.outages), default=0)


def play(load) -> Seen:
    """Every tick at which anything can happen, one after the other."""
    came = Seen()
    towards = [[Port() for _ in range(load.ports)] for _ in range(load.destinations)]
    every = [port for ports in towards for port in ports]
    attempts = list(load.arrivals)
    moments = {0} | set(attempts)
    seen: set[int] = set()
    outage = None
    made = 0
    while moments - seen:
        t = min(moments - seen)
        if t >= load.end:
            break
        seen.add(t)
        while made < len(attempts) and attempts[made] == t:
            ports = towards[made % load.destinations]
            made += 1
            usable = [port for port in ports if port.free <= t]
            if not usable:
                came.refused += 1
                came.first_refusal = t if came.first_refusal is None else came.first_refusal
                outage = t if outage is None else outage
                continue
            if outage is not None:
                came.outages.append((outage, t))
                outage = None
            came.opened += 1
            came.opened_at.append(t)
            port = min(usable, key=lambda port: (port.free, port.closes))
            port.closes = t + load.hold
            port.time_wait_ends = port.free = port.closes + load.time_wait
            if load.reuse == "delay":
                port.free = min(port.free, port.closes + load.second)
            elif load.reuse == AT_ONCE:
                port.free = port.closes
            elif load.reuse:
                clock = port.closes // load.second + WHOLE_SECONDS[load.reuse]
                port.free = min(port.free, clock * load.second)
            moments |= {port.closes, port.time_wait_ends, port.free}
        came.in_use.append((t, sum(port.free > t for port in every)))
        came.time_wait.append((t, sum(port.closes <= t < port.time_wait_ends for port in every)))
    if outage is not None:
        came.outages.append((outage, load.end))
    return came


def low_high(curve, edges) -> tuple[list[int], list[int]]:
    """The least and greatest value of a step curve in each step."""
    low, high = [], []
    for begin, end in pairwise(edges):
        before = [value for t, value in curve if t <= begin][-1:]
        inside = [value for t, value in curve if begin < t < end]
        values = before + inside
        low.append(min(values, default=inf))
        high.append(max(values, default=-inf))
    return low, high
