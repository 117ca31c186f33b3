"""The lanes of a study: amounts over time from its series, and the intervals that its answer is made of.

Seconds count from what breaks, as everywhere in a timeline; what a study has before that is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from tcplab.core.text import SECOND, in_words, plural
from tcplab.core.trace import Trace
from tcplab.pictures.lanes import BreakMark, Lane, Level, Mark, Span, counted, steps
from tcplab.studies.failover import PARTS


class _Amount(NamedTuple):
    """A series, and how its lane shows it."""

    name: str
    unit: str
    #: A colour of the theme.
    colour: str
    #: The outcome that is its limit; empty: none.
    limit: str = ""


#: Rates are a second; the other units are counts at a moment.
_RATE = "a second"
_AMOUNTS = {
    "in_use_high": _Amount("ports in use", "ports", "probe", "ceiling"),
    "time_wait_high": _Amount("in TIME-WAIT", "sockets", "timewait", "ceiling"),
    "refused": _Amount("refused", _RATE, "error"),
    "requests": _Amount("requests", _RATE, "open"),
    "probed": _Amount("probes", _RATE, "probe"),
    "writes_accepted": _Amount("writes accepted", _RATE, "open"),
    "writes_refused": _Amount("writes refused", _RATE, "closing second"),
    "reads_from_old_primary": _Amount("reads of old data", _RATE, "opening"),
    "errors": _Amount("errors", _RATE, "error"),
}
#: What a pool's connections are, by their states in the series; what is not here needs no lane.
_CONNECTIONS = {
    "alive": _Amount("alive", "connections", "open"),
    "zombie": _Amount("dead, in the pool", "connections", "error"),
    "old": _Amount("to the old primary", "connections", "closing second"),
}
#: What is done in a part of an outage; all others are `unaware`.
_PARTS = {"promotion": "works", "connecting": "waits"}
_OLD_PRIMARY = {"dead": "no answer", "refuses": "it refuses", "readable_replica": "it is a replica now"}
_HOST = "client"


def study_lanes(trace: Trace) -> Iterator[Lane]:
    """What a study's series show, from the top down; a series that is 0 all the time has no lane."""
    series, zero = trace.series, zero_s(trace)
    end = trace.end / SECOND - zero
    if "outages_s" in series:
        yield Lane("client/connect", _HOST, "connect()", "program", tuple(_outages(series["outages_s"], end)))
    if "budget" in series:
        yield from _parts(series["budget"], trace.outcome["longest_part"])
    if "connections" in series:
        yield from _connections(since_zero(trace), end)
    for key, amount in _AMOUNTS.items():
        if key == "errors" and (failed := series.get("failed")):
            marks = tuple(Mark(max(t - zero, 0.0), "error", "a request fails") for _, t in failed)
            yield Lane(f"client/{key}", _HOST, plural(len(marks), "error"), "area", marks=marks)
        elif any(values := series.get(key, ())):
            points = a_second(trace, key) if amount.unit == _RATE else zip(series["t_s"], values, strict=True)
            limit = trace.outcome[amount.limit] if amount.limit else 0
            level = Level(steps(points), limit, amount.unit, amount.colour)
            yield Lane(f"client/{key}", _HOST, amount.name, "area", level=level)


def zero_s(trace: Trace) -> float:
    """The moment from which its pictures count, seconds from the beginning of the run."""
    return trace.watching_since / SECOND


def curve(trace: Trace, name: str) -> list[tuple[float, Any]]:
    """The values of a series from the moment on from which its pictures count: (seconds, from then on)."""
    zero, known = zero_s(trace), zip(trace.series["t_s"], trace.series[name], strict=True)
    points = [(t - zero, value) for t, value in known]
    before = [(0.0, value) for t, value in points if t < 0][-1:]
    after = [point for point in points if point[0] >= 0]
    return after if after and not after[0][0] else before + after


def a_second(trace: Trace, name: str) -> list[tuple[float, float]]:
    """How many a second of what this series counts: (seconds, from then on)."""
    zero, edges = zero_s(trace), pairwise([*trace.series["t_s"], trace.end / SECOND])
    counts = zip(edges, trace.series[name], strict=True)
    return [
        (max(since - zero, 0.0), round(n / (until - since), 3))
        for (since, until), n in counts
        if until > max(since, zero)
    ]


def since_zero(trace: Trace) -> list[tuple[int, float, float, str]]:
    """The connections of a pool, or what is left of them: place, from, to, state."""
    zero = zero_s(trace)
    return [
        (place, max(since - zero, 0.0), until - zero, state)
        for place, since, until, state in trace.series["connections"]
        if until > zero
    ]


def study_breaks(trace: Trace) -> Iterator[BreakMark]:
    """What broke in a study, and when."""
    for since, _ in trace.series.get("broken", ()):
        kind = trace.parameters["breaks"]
        yield BreakMark(since - zero_s(trace), _HOST, kind, kind.replace("_", " "))
    if "budget" in trace.series:
        kind = trace.parameters["old_primary"]
        words = f"the primary fails: {_OLD_PRIMARY[kind]}"
        yield BreakMark(0.0, _HOST, kind, words)


def _outages(outages: Sequence[Sequence[float]], end_s: float) -> Iterator[Span]:
    at = 0.0
    for began, until in (*outages, (end_s, end_s)):
        if at < began:
            yield Span(at, began, "works", ("each connect() gets a port", "succeeds"))
        if began < until:
            yield Span(began, until, "error", ("no free port: EADDRNOTAVAIL", "no port"))
        at = until


def _parts(budget: Sequence[tuple[str, float, float]], longest: str | None) -> Iterator[Lane]:
    """A lane for each part of an outage, which begins where the one before it ends."""
    for part, since, until in budget:
        kind, length = _PARTS.get(part, "unaware"), in_words(until - since)
        words = f"{length}, the longest part" if part == longest else length
        span = Span(since, until, kind, (f"{words}: {PARTS[part]}", words, length))
        yield Lane(f"client/{part}", _HOST, part, "program", (span,))


def _connections(bars: Sequence[tuple[int, float, float, str]], end_s: float) -> Iterator[Lane]:
    """How many connections of the pool are in which state."""
    for state, amount in _CONNECTIONS.items():
        stays = [(since, until) for _, since, until, each in bars if each == state]
        if not stays:
            continue
        changes = [change for since, until in stays for change in ((since, 1), (until, -1))]
        level = Level(counted(changes, end_s), 0, amount.unit, amount.colour)
        yield Lane(f"client/{state}", _HOST, amount.name, "area", level=level)
