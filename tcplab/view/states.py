"""Which sockets stand beside which lifeline, and the stretches of time for which a state or timer holds.

Shared by the time axis, which gives every change of state a row, and by the ladder, which draws
the bars. Listening sockets are left out: their state never changes while a story runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tcplab.segment import Endpoint
from tcplab.trace import MILLISECOND, SocketSample, Trace

#: What a state bar says of an end that is established while the other end is gone (RFC 9293 3.5.1).
HALF_OPEN = "HALF_OPEN"
#: How many sockets of one host are drawn side by side; a relaying proxy has two.
LANES = 2


class Stretch(NamedTuple):
    """From `began` to `ended` (nanoseconds) one state, or one timer, of one socket."""

    host: str
    #: 0 is the bar closest to the lifeline.
    lane: int
    #: A state by its RFC 9293 name, `HALF_OPEN`, or a timer in ss's words.
    name: str
    began: int
    ended: int
    sample: SocketSample
    #: Of a half-open end: the host whose end is gone.
    gone: str = ""


def boxes_of(trace: Trace) -> set[str]:
    """Boxes that stand on the way between hosts: they have a lifeline and no address."""
    return {name for name, address in trace.hosts.items() if not address}


def _lanes(histories: Iterable[list[SocketSample]], end: int) -> list[tuple[int, list[SocketSample]]]:
    """Sockets of one host in lanes: one that begins when another has gone takes its lane."""
    free_from: list[int] = []
    placed = []
    for samples in histories:
        gone = samples[-1].t if samples[-1].state == "CLOSED" else end + 1
        for lane, free in enumerate(free_from):
            if free <= samples[0].t:
                free_from[lane] = gone
                break
        else:
            lane = len(free_from)
            free_from.append(gone)
        if lane < LANES:
            placed.append((lane, samples))
    return placed


def drawn_sockets(trace: Trace) -> list[tuple[int, list[SocketSample]]]:
    """The sockets that get a bar, each with its lane and its samples from the first real state on."""
    by_host: dict[str, list[list[SocketSample]]] = {}
    for (host, _, remote), samples in trace.socket_history():
        first = next((i for i, s in enumerate(samples) if s.state not in ("CLOSED", "LISTEN")), None)
        if first is not None and remote.port:
            by_host.setdefault(host, []).append(samples[first:])
    end = last_moment(trace)
    return [placed for histories in by_host.values() for placed in _lanes(histories, end)]


def states(trace: Trace) -> list[Stretch]:
    """Every stretch of one state; `CLOSED` after a socket's life comes as an empty stretch."""
    found = []
    end = last_moment(trace)
    for lane, samples in drawn_sockets(trace):
        current = samples[0]
        for sample in samples[1:]:
            if sample.state != current.state:
                if current.state != "CLOSED":
                    found.append(Stretch(current.host, lane, current.state, current.t, sample.t, current))
                current = sample
                if sample.state == "CLOSED":
                    found.append(Stretch(sample.host, lane, "CLOSED", sample.t, sample.t, sample))
        if current.state != "CLOSED":
            found.append(Stretch(current.host, lane, current.state, current.t, end, current))
    # Two ends that disagree are the story where something stands between them.
    return list(_half_open(trace, found, end)) if len(trace.hosts) > 2 else found


def _half_open(trace: Trace, found: list[Stretch], end: int) -> Iterator[Stretch]:
    """The same with `ESTABLISHED` cut in two where the other end has gone, and nothing tells this one."""
    latest: dict[tuple[Endpoint, Endpoint], SocketSample] = {}
    boxes = boxes_of(trace)
    for sample in trace.sockets:
        if sample.host not in boxes:
            latest[sample.local, sample.remote] = sample
    # While a RST or a FIN is on its way the two ends differ too.
    flight = max((p.arrives - p.t for p in trace.passages if p.arrives is not None), default=0)
    a_moment = 2 * flight + 10 * MILLISECOND
    for stretch in found:
        local, remote = stretch.sample.local, stretch.sample.remote
        other = latest.get((remote, local))
        if stretch.name != "ESTABLISHED" or stretch.host in boxes or other is None:
            yield stretch
            continue
        stays = latest[local, remote].state == "ESTABLISHED"
        if (
            other.state == "CLOSED"
            and stretch.began < other.t
            and (stays or stretch.ended - other.t > a_moment)
        ):
            yield stretch._replace(ended=min(other.t, stretch.ended))
            yield stretch._replace(
                name=HALF_OPEN, began=other.t, ended=end if stays else stretch.ended, gone=other.host
            )
        else:
            yield stretch


def timers(trace: Trace) -> list[Stretch]:
    """Every stretch of one running timer; being set anew does not end it."""
    found = []
    end = last_moment(trace)
    for lane, samples in drawn_sockets(trace):
        current: SocketSample | None = None
        for sample in samples:
            if current and sample.timer != current.timer:
                found.append(Stretch(current.host, lane, current.timer, current.t, sample.t, current))
                current = None
            if sample.timer and current is None:
                current = sample
        if current:
            found.append(Stretch(current.host, lane, current.timer, current.t, end, current))
    return found


def last_moment(trace: Trace) -> int:
    """When the picture ends: the end of the run, or the last thing that happened, nanoseconds."""
    last = max(trace.end, trace.start)
    for passage in trace.passages:
        last = max(last, passage.t, passage.arrives or 0)
    if trace.calls:
        last = max(last, trace.calls[-1].t)
    if trace.sockets:
        last = max(last, trace.sockets[-1].t)
    if trace.notes:
        last = max(last, trace.notes[-1].t)
    return last
