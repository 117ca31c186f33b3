"""The compressed time axis: which row every event gets, and which moment every row is.

A picture of TCP has one millisecond beside two hours in it, and both matter. So time runs down
in order, but not to scale:

- every event that needs a line of text gets a row of its own, also where several happen at the
  same nanosecond: a moment may therefore be several rows high;
- a flight gets a minimum drop, so that an arrow is seen to slant, and a longer one a larger drop;
- a silence (nothing on its way, nothing called, no state changed) shrinks to a band, in which the
  picture shows a break and says how long it was. A longer silence is never a lower band.

One unit of y is one pixel of the figure at its natural size, and y grows downwards.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from tcplab.core.segment import Endpoint
from tcplab.core.text import MILLISECOND, SECOND, duration
from tcplab.core.trace import SocketSample, Trace
from tcplab.pictures.text import call_lines

# ----------------------------------------------------------------------
# Moments in words, as a time axis names them.


def tick_texts(moments: list[int]) -> list[str]:
    """What the axis says at these moments, given in nanoseconds since the first segment.

    A moment that its full name would not tell from the one above is written as the distance from
    the last one that has a full name: ``2 h``, then ``+ 0.002 s``; ``0.002 s``, then ``+ 11 µs``.
    """
    texts = []
    named: tuple[int, str] | None = None
    for moment in moments:
        name = duration(moment)
        if named is not None:
            since, above = named
            if name == above or (moment >= 10 * SECOND and moment - since < SECOND):
                texts.append(f"+ {duration(moment - since)}")
                continue
        texts.append(name)
        named = moment, name
    return texts


# ----------------------------------------------------------------------
# Which sockets stand beside which lifeline, and the stretches of time for which a state or timer holds.
#
# Shared by the time axis, which gives every change of state a row, and by the ladder, which draws
# the bars. Listening sockets are left out: their state never changes while a story runs.

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
    flight = max((p.arrives - p.t for p in trace.packets if p.arrives is not None), default=0)
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
    for packet in trace.packets:
        last = max(last, packet.t, packet.arrives or 0)
    if trace.calls:
        last = max(last, trace.calls[-1].t)
    if trace.sockets:
        last = max(last, trace.sockets[-1].t)
    if trace.notes:
        last = max(last, trace.notes[-1].t)
    return last


__all__ = [
    "Placement",
    "Silence",
    "TimeAxis",
    "drop",
    "duration",
    "hosts_of",
    "place",
    "tick_texts",
    "time_axis",
]

#: px between the middles of two lines of text in one column.
ROW = 19
#: px between times at the left: digits are lower than text.
TICK = 16
#: px that a label takes above the tail of its arrow.
LABEL = 18
#: px between tails of arrows that leave the same host: room for the slope of the one above.
TAILS = 24
#: px that half an arrow head takes: a label keeps away from those that end on its side.
HEAD = 4
#: Least px by which an arrow falls on its way.
DROP = 17
#: px that an arrow falls which nobody receives.
STUMP = 13
#: From here on nothing happening is a silence, nanoseconds. Shorter than any retransmission timer.
SILENCE = 150 * MILLISECOND
#: px of the lowest band of silence: its own text and the label of the arrow below.
BAND = 44


class Silence(NamedTuple):
    """A stretch of time in which nothing happened, shrunk to a band."""

    began: int
    ended: int
    top: float
    bottom: float


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """A monotone map between nanoseconds and y. A moment covers top..bottom, several rows at times."""

    #: The moments at which something happened, strictly increasing, nanoseconds.
    times: tuple[int, ...] = ()
    #: First and last row of each of these moments, px; never overlapping, increasing.
    tops: tuple[float, ...] = ()
    bottoms: tuple[float, ...] = ()
    silences: tuple[Silence, ...] = ()
    #: Where the time stands written: (moment, y), at least `TICK` apart.
    ticks: tuple[tuple[int, float], ...] = ()

    @property
    def height(self) -> float:
        """px from the first row to the last."""
        return self.bottoms[-1] if self.bottoms else 0.0

    def y_of(self, t: int) -> float:
        """The y of moment `t`: its first row; between two moments in proportion."""
        return self._y(t, self.tops)

    def bottom_of(self, t: int) -> float:
        """The last row of moment `t`: all that happened until then, and at it, lies above."""
        return self._y(t, self.bottoms)

    def _y(self, t: int, own: tuple[float, ...]) -> float:
        if not self.times:
            return 0.0
        i = bisect_right(self.times, t) - 1
        if i < 0:
            return self.tops[0]
        if self.times[i] == t:
            return own[i]
        if i + 1 == len(self.times):
            return self.bottoms[i]
        part = (t - self.times[i]) / (self.times[i + 1] - self.times[i])
        return self.bottoms[i] + part * (self.tops[i + 1] - self.bottoms[i])

    def t_of(self, y: float) -> int:
        """The moment at `y`, nanoseconds: what a click on the picture means."""
        if not self.times:
            return 0
        i = bisect_right(self.tops, y) - 1
        if i < 0:
            return self.times[0]
        if y <= self.bottoms[i] or i + 1 == len(self.times):
            return self.times[i]
        part = (y - self.bottoms[i]) / (self.tops[i + 1] - self.bottoms[i])
        return self.times[i] + round(part * (self.times[i + 1] - self.times[i]))


@dataclass(slots=True)
class Placement:
    """The row of everything that a ladder shows, in the order in which the trace holds it."""

    axis: TimeAxis
    #: y of the tail and the head of every packet's arrow; None where it never arrived.
    sent: list[float]
    arrived: list[float | None]
    #: y of every call's return.
    returned: list[float]
    #: y of every note.
    noted: list[float]
    #: What the state bars show, and y of every stretch's name.
    states: list[Stretch] = field(default_factory=list)
    changed: list[float] = field(default_factory=list)


# In which order things are told that happen at the same nanosecond: what arrives is the cause of
# the state's change, that of a call's return, and that of what is sent in answer.
_ARRIVE, _NOTE, _CHANGE, _BEGIN, _RETURN, _SEND, _ARRIVE_AT_ONCE, _END = range(8)
_TICKED = {_NOTE, _CHANGE, _RETURN, _SEND}


def time_axis(trace: Trace) -> TimeAxis:
    """The map between the trace's nanoseconds and the y of its ladder."""
    return place(trace).axis


def hosts_of(trace: Trace) -> list[str]:
    """Names of the lifelines from left to right: the trace's hosts, then any other that speaks."""
    names = dict.fromkeys(trace.hosts)
    for packet in trace.packets:
        names[packet.sender] = names[packet.receiver] = None
    return list(names)


def drop(flight: int) -> float:
    """px by which an arrow falls at least that was `flight` nanoseconds on its way."""
    return DROP + 6 * math.log10(1 + max(flight, 0) / MILLISECOND)


def place(trace: Trace) -> Placement:
    """Give every event its row."""
    stretches = states(trace)
    events = _events(trace, stretches)
    spoken = trace.packets
    outer = set(hosts_of(trace)[:1] + hosts_of(trace)[-1:])
    sent = [0.0] * len(spoken)
    arrived: list[float | None] = [None] * len(spoken)
    rows: dict[int, list[float]] = {
        _NOTE: [0.0] * len(trace.notes),
        _CHANGE: [0.0] * len(stretches),
        _BEGIN: [0.0] * len(trace.calls),
        _RETURN: [0.0] * len(trace.calls),
        _END: [0.0],
    }

    columns: dict[str, float] = {}  # y down to which text stands, by host; "" is between the lifelines
    last_tail: dict[str, float] = {}
    last_head: dict[str, float] = {}
    last_stump = far_up = -1e9
    times: list[int] = []
    tops: list[float] = []
    bottoms: list[float] = []
    silences: list[Silence] = []
    ticked: list[tuple[bool, float, int]] = []
    on_their_way = 0

    for t, group in groupby(events, key=itemgetter(0)):
        base, is_silence = 0.0, False
        if times:
            pause = t - times[-1]
            is_silence = pause >= SILENCE and not on_their_way
            step = _band(pause) if is_silence else 2 + 6 * math.log10(1 + pause / MILLISECOND)
            base = bottoms[-1] + step
        low, high, tick, is_ticked = math.inf, base, base, False
        for _, what, i, host in group:
            y = base
            if what == _SEND:
                y = max(
                    y,
                    columns.get("", far_up) + LABEL,
                    last_tail.get(host, far_up) + TAILS,
                    last_head.get(host, far_up) + LABEL + HEAD,
                )
                sent[i] = last_tail[host] = y
                columns[""] = y + 2
                on_their_way += spoken[i].arrives is not None
            elif what in (_ARRIVE, _ARRIVE_AT_ONCE):
                flight = t - spoken[i].t
                y = max(
                    y,
                    sent[i] + drop(flight),
                    last_head.get(host, far_up) + TAILS,
                    last_tail.get(host, far_up) + 8,
                )
                arrived[i] = last_head[host] = y
                on_their_way -= 1
            elif what in (_NOTE, _CHANGE, _RETURN):
                half = ROW / 2 * (len(call_lines(trace.calls[i])) if what == _RETURN else 1)
                if what == _NOTE or host not in outer:
                    arrows = max(last_head.values(), default=far_up)
                    if host and host not in outer:
                        arrows = max(arrows, last_stump)
                    y = max(y, columns.get("", far_up) + half + 1, arrows + half + HEAD)
                    columns[""] = y + half + 1
                else:
                    y = max(y, columns.get(host, -ROW / 2) + half, last_head.get(host, far_up))
                    columns[host] = y + half
            if what in rows:
                rows[what][i] = y
            if what in _TICKED and not is_ticked:
                tick, is_ticked = y, True
            # What has no end in time takes its room all the same: an arrow that nobody receives,
            # words in several lines.
            below = 0.0
            if what == _SEND and spoken[i].arrives is None:
                below = STUMP
                last_stump = y + STUMP
            elif what == _RETURN:
                below = ROW / 2 * (len(call_lines(trace.calls[i])) - 1)
            low, high = min(low, y), max(high, y + below)
        if is_silence:
            silences.append(Silence(times[-1], t, bottoms[-1], low))
        times.append(t)
        tops.append(low)
        bottoms.append(high)
        ticked.append((is_ticked, tick if is_ticked else low, t))

    axis = TimeAxis(tuple(times), tuple(tops), tuple(bottoms), tuple(silences), _ticks(ticked))
    return Placement(axis, sent, arrived, rows[_RETURN], rows[_NOTE], stretches, rows[_CHANGE])


def _events(trace: Trace, stretches: list[Stretch]) -> list[tuple[int, int, int, str]]:
    """(moment, what, index, host) of everything that gets a row, in the order of the telling."""
    events: list[tuple[int, int, int, str]] = []
    for i, packet in enumerate(trace.packets):
        events.append((packet.t, _SEND, i, packet.sender))
        if packet.arrives is not None:
            what = _ARRIVE if packet.arrives > packet.t else _ARRIVE_AT_ONCE
            events.append((max(packet.arrives, packet.t), what, i, packet.receiver))
    boxes = boxes_of(trace)
    told = {(note.t, note.host) for note in trace.notes}
    for i, stretch in enumerate(stretches):
        # A box has no state of its own: its bar says it, and its own words at the end.
        if stretch.host not in boxes or (
            stretch.name == "CLOSED" and (stretch.began, stretch.host) not in told
        ):
            events.append((stretch.began, _CHANGE, i, stretch.host))
    for i, call in enumerate(trace.calls):
        events.append((call.t, _RETURN, i, call.host))
        if call.began < call.t:
            events.append((call.began, _BEGIN, i, call.host))
    for i, note in enumerate(trace.notes):
        events.append((note.t, _NOTE, i, note.host))
    if events:
        events.append((last_moment(trace), _END, 0, ""))
    events.sort()
    return events


def _band(pause: int) -> float:
    """px of a silence: a little more for each doubling, up to a limit."""
    return min(BAND + 3 * math.log2(pause / SILENCE), 2 * BAND)


def _ticks(moments: list[tuple[bool, float, int]]) -> tuple[tuple[int, float], ...]:
    """Where the time is written: first at rows with text, then wherever there is room left."""
    rows: list[float] = []
    ticks: dict[float, int] = {}
    for wanted in (True, False):
        for is_ticked, y, t in moments:
            if is_ticked is not wanted:
                continue
            i = bisect_left(rows, y)
            if (i == 0 or y - rows[i - 1] >= TICK) and (i == len(rows) or rows[i] - y >= TICK):
                rows.insert(i, y)
                ticks[y] = t
    return tuple((ticks[y], y) for y in rows)
