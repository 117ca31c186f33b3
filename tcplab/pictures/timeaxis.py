"""The compressed time axis of a ladder: the row of every event, and the instant of every row.

A picture of TCP has one millisecond beside two hours in it, and both matter. Time runs down in order,
but not to scale:

- every event that needs a line of text has a row of its own, also where several happen at the same
  nanosecond: an instant may therefore be several rows high;
- an arrow falls by a minimum, which makes it visibly slant, and further for a longer flight;
- a gap (nothing in flight, nothing called, no state changed) shrinks to a band, in which the picture
  shows a break and its length. A longer gap never has a lower band.

Changes of state have rows too: `states` and `timers` are the intervals that the ladder draws as bars
beside the lifelines. Listening sockets are left out, since their state does not change. A state ends at the
latest when the socket failed, even where the next sample comes later.

What belongs together is one thing in the picture, and its row lasts until the last of its segments:

- **the beginning**, everything before the script watches, where all of it arrived: one row, which opens;
- **a burst**: segments of one direction that say the same thing and leave within one flight, either of one
  connection (its data, its ACKs) or one of each of several connections (eight SYNs);
- **answered probes** of one connection with nothing else between them, and their answers. Unanswered
  probes are what a reader counts, and stay apart;
- **retransmissions at a steady interval**: those that wait for as long as Linux ever waits.

One unit of y is one pixel of the figure at its natural size, and y grows downwards.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise, zip_longest
from operator import attrgetter, itemgetter
from typing import NamedTuple

from tcplab.core.segment import ACK, FIN, PSH, RST, SYN, Endpoint
from tcplab.core.text import MILLISECOND, SECOND, listed, plural, short_duration
from tcplab.core.trace import Note, Packet, SocketSample, Trace
from tcplab.follow import RETRANSMISSION
from tcplab.pictures.text import PROBES, FourTuple, call_lines, four_tuple, is_error

#: What a state bar says of an end that is established while the other end is gone (RFC 9293 section 3.5.1).
HALF_OPEN = "HALF_OPEN"
#: How many sockets of one host are drawn side by side; a relaying proxy has two.
LANES = 2
#: px between the middles of two lines of text in one column.
ROW = 19
#: px between times at the left: digits are lower than text.
TICK = 16
#: px that a label takes above the tail of its arrow.
LABEL = 18
#: px between tails of arrows that leave the same host: room for the slope of the one above.
TAILS = 31
#: px of half an arrow head: a label keeps away from the heads on its side.
HEAD = 4
#: px by which an arrow falls at least.
DROP = 14
#: px by which an arrow falls that is not received.
STUMP = 10
#: From this length (nanoseconds) a time without events is a gap: shorter than any retransmission timer.
SHORTEST_GAP = 150 * MILLISECOND
#: px of the lowest band of a gap: its zigzag and the label of the arrow below, its length beside them.
BAND = 20


class Interval(NamedTuple):
    """From `began` to `ended` (nanoseconds) one state, or one timer, of one socket."""

    host: str
    #: 0 is the bar closest to the lifeline.
    lane: int
    #: A state by its RFC 9293 name, `HALF_OPEN`, or a timer by its name in ss.
    name: str
    began: int
    ended: int
    sample: SocketSample
    #: Of a half-open end: the host whose end is gone.
    gone: str = ""


def hosts_of(trace: Trace) -> list[str]:
    """Names of the lifelines from left to right: the trace's hosts, then any other that sends or receives."""
    names = dict.fromkeys(trace.hosts)
    for packet in trace.packets:
        names[packet.sender] = names[packet.receiver] = None
    return list(names)


def middleboxes_of(trace: Trace) -> set[str]:
    """The middleboxes between the hosts: they have a lifeline and no address."""
    return {name for name, address in trace.hosts.items() if not address}


def last_instant(trace: Trace) -> int:
    """When the picture ends: the end of the run, or the last thing that happened, nanoseconds."""
    last = max(trace.end, trace.start)
    for packet in trace.packets:
        last = max(last, packet.t, packet.arrives or 0)
    for timed in (trace.calls, trace.sockets, trace.notes):
        if timed:
            last = max(last, timed[-1].t)
    return last


def drawn_sockets(trace: Trace) -> list[tuple[int, list[SocketSample]]]:
    """The sockets that get a bar, each with its lane and its samples from the first real state on."""
    by_host: dict[str, list[list[SocketSample]]] = {}
    for (host, _, remote), samples in trace.socket_history():
        first = next((i for i, s in enumerate(samples) if s.state not in ("CLOSED", "LISTEN")), None)
        if first is not None and remote.port:
            by_host.setdefault(host, []).append(samples[first:])
    end = last_instant(trace)
    return [placed for histories in by_host.values() for placed in _lanes(histories, end)]


def _lanes(histories: Iterable[list[SocketSample]], end: int) -> list[tuple[int, list[SocketSample]]]:
    """Sockets of one host in lanes: one that begins when another has gone takes its lane."""
    free_from: list[int] = []
    placed = []
    for samples in histories:
        gone = samples[-1].t if samples[-1].state == "CLOSED" else end + 1
        lane = next((i for i, free in enumerate(free_from) if free <= samples[0].t), len(free_from))
        free_from[lane : lane + 1] = [gone]
        if lane < LANES:
            placed.append((lane, samples))
    return placed


#: Errors after which a socket is gone, whatever its program does.
_FATAL = {"ETIMEDOUT", "ECONNRESET", "ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH"}


def _failures(trace: Trace) -> dict[tuple[str, Endpoint, Endpoint], list[int]]:
    """By socket, when it was gone: it took a RST, or a call of its program failed."""
    failed: dict[tuple[str, Endpoint, Endpoint], list[int]] = {}
    for p in trace.packets:
        if p.verdict == "accepted" and p.arrives is not None:
            socket = (p.receiver, p.segment.destination, p.segment.source)
            failed.setdefault(socket, []).append(p.arrives)
    fatal = [call for call in trace.calls if call.port and call.result in _FATAL]
    if fatal:
        by_port: dict[tuple[str, int], set[tuple[str, Endpoint, Endpoint]]] = {}
        for sample in trace.sockets:
            if sample.remote.port:
                socket = (sample.host, sample.local, sample.remote)
                by_port.setdefault((sample.host, sample.local.port), set()).add(socket)
        for call in fatal:
            sockets = by_port.get((call.host, call.port), set())
            if len(sockets) == 1:  # else the call does not say which of them it was
                failed.setdefault(next(iter(sockets)), []).append(call.t)
    return failed


def _until_it_failed(trace: Trace, intervals: Iterable[Interval]) -> Iterator[Interval]:
    """The same without what a sample taken before a socket failed says of the time after it."""
    failures = _failures(trace)
    if not failures:
        yield from intervals
        return
    cut = None
    for interval in intervals:
        sample = interval.sample
        socket = (interval.host, sample.local, sample.remote)
        if interval.name == "CLOSED" and socket == cut:
            cut = None
            continue
        times = failures.get(socket, ()) if interval.name != "CLOSED" else ()
        failed = next((t for t in sorted(times) if interval.began <= t < interval.ended), None)
        if failed is None:
            yield interval
            continue
        yield interval._replace(ended=failed)
        yield interval._replace(name="CLOSED", began=failed, ended=failed)
        cut = socket


def states(trace: Trace, first: Beginning | None = None) -> list[Interval]:
    """Every interval of one state; `CLOSED` comes as an empty interval when a socket is gone.

    What ended in the beginning `first` is left out.
    """
    intervals = list(_until_it_failed(trace, _intervals(trace, attrgetter("state"))))
    # Two ends that disagree matter where something is between them.
    whole = _half_open(trace, intervals) if len(trace.hosts) > 2 else intervals
    return [each for each in whole if not _is_folded(each, first)]


def timers(trace: Trace, first: Beginning | None = None) -> list[Interval]:
    """Every interval of one running timer, as `states` does it; a restart does not end it."""
    running = _until_it_failed(trace, _intervals(trace, attrgetter("timer")))
    return [each for each in running if each.name not in ("", "CLOSED") and not _is_folded(each, first)]


def _is_folded(interval: Interval, first: Beginning | None) -> bool:
    return first is not None and interval.ended <= first.until and interval.began < first.until


def _intervals(trace: Trace, name_of: Callable[[SocketSample], str]) -> Iterator[Interval]:
    """Neighbouring samples of a socket with one name are one interval."""
    end = last_instant(trace)
    for lane, samples in drawn_sockets(trace):
        firsts = [next(same) for _, same in groupby(samples, name_of)]
        for sample, following in zip_longest(firsts, firsts[1:]):
            name = name_of(sample)
            ended = sample.t if name == "CLOSED" else following.t if following else end
            yield Interval(sample.host, lane, name, sample.t, ended, sample)


def _half_open(trace: Trace, intervals: list[Interval]) -> Iterator[Interval]:
    """The same with `ESTABLISHED` cut in two where the other end has gone and this one does not know it."""
    latest: dict[tuple[Endpoint, Endpoint], SocketSample] = {}
    middleboxes = middleboxes_of(trace)
    for sample in trace.sockets:
        if sample.host not in middleboxes:
            latest[sample.local, sample.remote] = sample
    end = last_instant(trace)
    # The two ends also differ while a RST or a FIN is in flight.
    flight = max((p.arrives - p.t for p in trace.packets if p.arrives is not None), default=0)
    in_flight = 2 * flight + 10 * MILLISECOND
    for interval in intervals:
        local, remote = interval.sample.local, interval.sample.remote
        other = latest.get((remote, local))
        if interval.name != "ESTABLISHED" or interval.host in middleboxes or other is None:
            yield interval
            continue
        stays = latest[local, remote].state == "ESTABLISHED"
        is_late = stays or interval.ended - other.t > in_flight
        if other.state == "CLOSED" and interval.began < other.t and is_late:
            ended = end if stays else interval.ended
            yield interval._replace(ended=min(other.t, interval.ended))
            yield interval._replace(name=HALF_OPEN, began=other.t, ended=ended, gone=other.host)
        else:
            yield interval


# -- what is drawn as one ---------------------------------------------------------------------------


#: So many retransmissions at a steady interval are one arrow.
STEADY = 3
#: Intervals that differ by no more than this part of themselves are the same.
ALIKE = 0.02


class Beginning(NamedTuple):
    """The beginning of a run as one row."""

    #: How many packets of the trace it holds: the first ones.
    size: int
    #: From the start of the trace until then, nanoseconds.
    until: int
    #: ``3-way handshake and one exchange: 7 segments in 8 ms``.
    words: str


def fold(trace: Trace) -> Beginning | None:
    """The beginning of a run, where it is uneventful: no segment lost or repeated, no error, no note."""
    if trace.watched_from is None or not trace.packets:
        return None
    until = min([trace.watched_from, *(note.t for note in trace.notes)])
    first = [packet for packet in trace.packets if packet.t < until]
    is_quiet = all(
        p.fate == "delivered" and p.arrives is not None and p.arrives <= until
        and not p.kind and not p.segment.flags & RST
        for p in first
    )  # fmt: skip
    failed = any(call.t < until and is_error(call.result) for call in trace.calls)
    if not first or not is_quiet or failed or trace.end <= until:
        return None
    lasted = max(p.arrives or p.t for p in first) - trace.start
    segments = plural(len(first), "segment")
    return Beginning(len(first), until, f"{_contents(first)}: {segments} in {short_duration(lasted)}")


def _contents(packets: Sequence[Packet]) -> str:
    """``3-way handshake, one exchange and one request``, ``6 handshakes and 6 exchanges``."""
    counts: Counter[str] = Counter()
    opener: dict[FourTuple, str] = {}
    asking: set[FourTuple] = set()
    for packet in packets:
        connection, flags = four_tuple(packet), packet.segment.flags
        if flags & (SYN | ACK) == SYN:
            opener[connection] = packet.sender
            counts["handshake"] += 1
        counts["FIN"] += bool(flags & FIN)
        if packet.segment.length and packet.sender == opener.get(connection):
            asking.add(connection)
        elif packet.segment.length and connection in asking:
            asking.remove(connection)
            counts["exchange"] += 1
    counts["request"], counts["close"] = len(asking), counts["FIN"] // 2
    counts["FIN"] %= 2
    parts = [
        f"{'3-way' if thing == 'handshake' else 'one'} {thing}" if n == 1 else plural(n, thing)
        for thing in ("handshake", "exchange", "request", "close", "FIN")
        if (n := counts[thing])
    ]
    return listed(parts) or "the beginning"


@dataclass(frozen=True, slots=True)
class Arrow:
    """A segment, or several that are one thing together; times in nanoseconds."""

    #: Their places in the trace, in order.
    members: tuple[int, ...]
    sender: str
    receiver: str
    #: When the first was sent; when its head reaches the receiver, None where none arrives; when all is over.
    t: int
    arrives: int | None
    ends: int
    #: How often the same happened: ``every 10 s``, ``in 3 min``; empty for a burst or a single segment.
    pace: str = ""


def arrows(trace: Trace, skip: int = 0, *, joined: bool = True) -> list[Arrow]:
    """The arrows of all packets from place `skip` on, in the order of their first segments."""
    packets = trace.packets
    places = range(skip, len(packets))
    if not joined:
        return [_arrow(packets, (i,)) for i in places]
    repeated = {i: run for run in _repeated(packets, places) for i in run}
    made = [_arrow(packets, run, _pace(packets, run)) for i, run in repeated.items() if i == run[0]]
    made += [_arrow(packets, run) for run in _bursts(packets, [i for i in places if i not in repeated])]
    return sorted(made, key=lambda arrow: arrow.members[0])


def _arrow(packets: Sequence[Packet], members: tuple[int, ...], pace: str = "") -> Arrow:
    first = packets[members[0]]
    over = [max(packets[i].arrives or 0, packets[i].t) for i in members]
    # A firewall drops at its host what has arrived there.
    is_lost = first.arrives is None or first.fate != "delivered"
    arrives = None if is_lost else over[0] if pace else max(over)
    if is_lost:
        over = [packets[i].t for i in members]
    return Arrow(members, first.sender, first.receiver, first.t, arrives, max(over), pace)


def _pace(packets: Sequence[Packet], run: Sequence[int]) -> str:
    times = [packets[i].t for i in run]
    intervals = [b - a for a, b in pairwise(times)]
    if len(intervals) == 1:
        return f"{short_duration(intervals[0])} apart"
    if max(intervals) - min(intervals) <= ALIKE * max(intervals):
        interval = sum(intervals) // len(intervals)
        return f"every {short_duration(round(interval, -8 if interval > SECOND else -6))}"
    return f"in {short_duration(times[-1] - times[0])}"


def _repeated(packets: Sequence[Packet], places: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Runs of answered probes, of their answers, and of steady retransmissions, of one connection each."""
    connections: dict[FourTuple, list[int]] = {}
    for i in places:
        connections.setdefault(four_tuple(packets[i]), []).append(i)
    for own in connections.values():
        n = 0
        while n < len(own):
            pairs = 0
            while _is_answered(packets, pair := own[n + 2 * pairs : n + 2 * pairs + 2], packets[own[n]]):
                before, after = packets[own[n + 1]].segment.window, packets[pair[1]].segment.window
                if bool(before) != bool(after):
                    break  # this answer opened or closed the window
                pairs += 1
            if pairs > 1:
                yield tuple(own[n : n + 2 * pairs : 2])
                yield tuple(own[n + 1 : n + 2 * pairs : 2])
            steady = _steady(packets, own[n:])
            if steady:
                yield tuple(own[n : n + steady])
            n += 2 * pairs if pairs > 1 else steady or 1


def _is_answered(packets: Sequence[Packet], pair: Sequence[int], first: Packet) -> bool:
    """Whether this is a probe of the same kind as `first` and its answer."""
    if len(pair) < 2:
        return False
    probe, answer = packets[pair[0]], packets[pair[1]]
    asked = probe.kind in PROBES and (probe.kind, probe.sender) == (first.kind, first.sender)
    is_bare = answer.segment.flags == ACK and not answer.segment.length and not answer.kind
    arrived = probe.fate == answer.fate == "delivered" and None not in (probe.arrives, answer.arrives)
    return asked and is_bare and arrived and answer.sender == probe.receiver


def _steady(packets: Sequence[Packet], own: Sequence[int]) -> int:
    """How many retransmissions from the first on follow each other at one interval; 0 for too few."""
    first = packets[own[0]]
    if first.kind != RETRANSMISSION or first.fate == "delivered":
        return 0
    count, interval = 1, 0
    for before, after in pairwise(packets[i] for i in own):
        same = (after.kind, after.fate, after.segment.seq) == (first.kind, first.fate, first.segment.seq)
        interval = interval or after.t - before.t
        if not same or after.sender != first.sender or abs(after.t - before.t - interval) > ALIKE * interval:
            break
        count += 1
    return count if count >= STEADY else 0


def _bursts(packets: Sequence[Packet], places: Sequence[int]) -> list[tuple[int, ...]]:
    """Every other packet in a burst, often of one."""
    runs: list[list[int]] = []
    latest: dict[str, tuple[list[int], set[FourTuple]]] = {}
    for i in places:
        packet = packets[i]
        run, connections = latest.get(packet.sender, ([], set()))
        is_more = bool(run) and _belongs(packets[run[0]], packet)
        if is_more:
            connection = four_tuple(packet)
            # One connection, or one segment of each of several.
            if connection in connections:
                is_more = len(connections) == 1 and not packet.kind
            else:
                is_more = len(connections) == len(run)
        if is_more:
            run.append(i)
            connections.add(connection)
        else:
            runs.append([i])
            latest[packet.sender] = runs[-1], {four_tuple(packet)}
        answered = latest.get(packet.receiver, ([], set()))[0]
        if answered and (packets[answered[0]].arrives or packet.t) <= packet.t:
            del latest[packet.receiver]  # what comes now may follow from this answer
    return [tuple(run) for run in runs]


def _belongs(first: Packet, packet: Packet) -> bool:
    """Whether a packet says what the first of a burst says, within its flight."""
    flight = max((first.arrives or first.t) - first.t, MILLISECOND)
    return packet.t - first.t <= flight and _sort(packet) == _sort(first)


def _sort(packet: Packet) -> tuple[object, ...]:
    segment = packet.segment
    is_shut = not segment.window and not segment.flags & RST
    flags, has_data, has_sack = segment.flags & ~PSH, bool(segment.length), bool(segment.sack)
    return packet.receiver, flags, has_data, has_sack, is_shut, packet.kind, packet.fate, packet.verdict


# -- the axis ---------------------------------------------------------------------------------------


class Gap(NamedTuple):
    """A time in which nothing happened, shrunk to a band."""

    began: int
    ended: int
    top: float
    bottom: float

    @property
    def middle(self) -> float:
        """y of the break in the lifelines."""
        return (self.top + self.bottom) / 2


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """A monotone map between nanoseconds and y. An instant covers top..bottom, sometimes several rows."""

    #: The instants at which something happened, strictly increasing, nanoseconds.
    times: tuple[int, ...] = ()
    #: First and last row of each of these instants, px; never overlapping, increasing.
    tops: tuple[float, ...] = ()
    bottoms: tuple[float, ...] = ()
    gaps: tuple[Gap, ...] = ()
    #: Where the time is written: (instant, y), at least `TICK` apart.
    ticks: tuple[tuple[int, float], ...] = ()

    @property
    def height(self) -> float:
        """px from the first row to the last."""
        return self.bottoms[-1] if self.bottoms else 0.0

    def y_of(self, t: int) -> float:
        """The y of instant `t`: its first row; between two instants in proportion."""
        return self._y(t, self.tops)

    def bottom_of(self, t: int) -> float:
        """The last row of instant `t`: everything up to and including it lies above."""
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
        """The instant at `y`, nanoseconds: what a click on the picture means."""
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
    #: The beginning as one row, the first of the picture; None where every segment is drawn.
    fold: Beginning | None
    arrows: list[Arrow]
    #: y of the tail and the head of every arrow; None where it never arrived.
    sent: list[float]
    arrived: list[float | None]
    #: y of every call's return, and of every note's first line.
    returned: list[float]
    noted: list[float]
    #: What the state bars show, and y of every interval's name.
    states: list[Interval] = field(default_factory=list)
    changed: list[float] = field(default_factory=list)

    @property
    def until(self) -> int:
        """Where the folded beginning ends, nanoseconds; before everything where nothing is folded."""
        return -(1 << 62) if self.fold is None else self.fold.until


# The order of events at the same nanosecond: an arrival causes a change of state, which causes a call
# to return, which causes the answer to be sent.
_FOLD, _ARRIVE, _NOTE, _CHANGE, _BEGIN, _RETURN, _SEND, _ARRIVE_AT_ONCE, _LAST, _END = range(10)
_TICKED = {_FOLD, _NOTE, _CHANGE, _RETURN, _SEND, _LAST}


def time_axis(trace: Trace, *, folded: bool = True) -> TimeAxis:
    """The map between the trace's nanoseconds and the y of its ladder."""
    return place(trace, fold(trace) if folded else None).axis


def drop(flight: int) -> float:
    """px by which an arrow falls at least after a flight of so many nanoseconds."""
    return DROP + 6 * math.log10(1 + max(flight, 0) / MILLISECOND)


def place(
    trace: Trace, first: Beginning | None = None, shown: list[Arrow] | None = None,
    intervals: list[Interval] | None = None, lines_of: Callable[[Note], int] = lambda note: 1,
) -> Placement:  # fmt: skip
    """Give every event its row.

    `first` is drawn as one row; `shown` are the arrows after it, by default those of `arrows.arrows`;
    `intervals` what `states` returned; `lines_of` says in how many lines of text a note is written.
    """
    shown = arrows(trace, first.size if first else 0) if shown is None else shown
    intervals = states(trace, first) if intervals is None else intervals
    events = _events(trace, intervals, shown, first)
    outer = set(hosts_of(trace)[:1] + hosts_of(trace)[-1:])
    text_rows = {
        _NOTE: [lines_of(note) for note in trace.notes],
        _RETURN: [len(call_lines(call)) for call in trace.calls],
        _CHANGE: [1 + (interval.name == HALF_OPEN) for interval in intervals],
    }
    sent = [0.0] * len(shown)
    arrived: list[float | None] = [None] * len(shown)
    noted, changed, returned = [0.0] * len(trace.notes), [0.0] * len(intervals), [0.0] * len(trace.calls)
    rows = {_NOTE: noted, _CHANGE: changed, _RETURN: returned}

    columns: dict[str, float] = {}  # y down to which there is text, by host; "" is between the lifelines
    last_tail: dict[str, float] = {}
    last_head: dict[str, float] = {}
    last_stump = far_up = -1e9
    times: list[int] = []
    tops: list[float] = []
    bottoms: list[float] = []
    gaps: list[Gap] = []
    ticked: list[tuple[bool, float, int]] = []
    in_flight = 0

    for t, group in groupby(events, key=itemgetter(0)):
        base, is_gap = 0.0, False
        if times:
            pause = t - times[-1]
            is_gap = pause >= SHORTEST_GAP and not in_flight
            step = _band(pause) if is_gap else min(2 + 6 * math.log10(1 + pause / MILLISECOND), BAND)
            base = bottoms[-1] + step
            if is_gap:  # room for its length between two times
                base = max(base, ticked[-1][1] + 2 * TICK)
        low, high, tick, is_ticked = math.inf, base, base, False
        for _, what, i, host in group:
            y, below = base, 0.0
            if what == _FOLD:
                in_flight += 1 - 2 * i
                columns[""] = max(columns.get("", far_up), y + (0 if i else ROW / 2 + 1))
            elif what == _SEND:
                tail, head = last_tail.get(host, far_up), last_head.get(host, far_up)
                y = max(y, columns.get("", far_up) + LABEL, tail + TAILS, head + LABEL + HEAD)
                sent[i] = last_tail[host] = y
                columns[""] = y + 2
                in_flight += shown[i].arrives is not None
                in_flight += _lasts(shown[i])
                if shown[i].arrives is None:
                    # Room for what has no end in time: an arrow that is not received, several lines of text.
                    below = STUMP
                    last_stump = y + STUMP
            elif what in (_ARRIVE, _ARRIVE_AT_ONCE):
                tail, head = last_tail.get(host, far_up), last_head.get(host, far_up)
                y = max(y, sent[i] + drop(t - shown[i].t), head + TAILS / 2, tail + 8)
                arrived[i] = last_head[host] = y
                in_flight -= 1
            elif what == _LAST:
                in_flight -= 1
            elif what == _NOTE:
                # Its first line; calls and states have their middle here.
                heads = max(*last_head.values(), last_stump, far_up)
                y = max(y, columns.get("", far_up) + ROW / 2 + 1, heads + ROW / 2 + HEAD)
                below = ROW * (text_rows[what][i] - 1)
                columns[""] = y + below + ROW / 2 + 1
            elif what in (_CHANGE, _RETURN):
                lines = text_rows[what][i]
                half = ROW / 2 * lines
                below = ROW / 2 * (lines - 1)
                if host in outer:
                    y = max(y, columns.get(host, -ROW / 2) + half, last_head.get(host, far_up))
                    columns[host] = y + half
                else:
                    heads = max(*last_head.values(), last_stump, far_up)
                    y = max(y, columns.get("", far_up) + half + 1, heads + half + HEAD)
                    columns[""] = y + half + 1
            if what in rows:
                rows[what][i] = y
            if what in _TICKED and not is_ticked and (what != _FOLD or not i):
                tick, is_ticked = y, True
            low, high = min(low, y), max(high, y + below)
        if is_gap:
            gaps.append(Gap(times[-1], t, bottoms[-1], low))
        times.append(t)
        tops.append(low)
        bottoms.append(high)
        ticked.append((is_ticked, tick if is_ticked else low, t))

    axis = TimeAxis(tuple(times), tuple(tops), tuple(bottoms), tuple(gaps), _ticks(ticked))
    return Placement(axis, first, shown, sent, arrived, returned, noted, intervals, changed)


def _lasts(arrow: Arrow) -> bool:
    """Whether the last of an arrow's segments is over later than its head, or its stump, says."""
    return bool(arrow.pace) and arrow.ends > (arrow.t if arrow.arrives is None else arrow.arrives)


def _events(
    trace: Trace, intervals: list[Interval], shown: list[Arrow], first: Beginning | None
) -> list[tuple[int, int, int, str]]:
    """(instant, what, index, host) of everything that gets a row, in order."""
    start, until = trace.start, first.until if first else -(1 << 62)
    events: list[tuple[int, int, int, str]] = []
    for i, arrow in enumerate(shown):
        events.append((arrow.t, _SEND, i, arrow.sender))
        if arrow.arrives is not None:
            what = _ARRIVE if arrow.arrives > arrow.t else _ARRIVE_AT_ONCE
            events.append((max(arrow.arrives, arrow.t), what, i, arrow.receiver))
        if _lasts(arrow):
            events.append((arrow.ends, _LAST, i, ""))
    middleboxes = middleboxes_of(trace)
    noted = {(note.t, note.host) for note in trace.notes}
    for i, interval in enumerate(intervals):
        # A middlebox has no state, only a bar, and a note at the end.
        is_end = interval.name == "CLOSED" and (interval.began, interval.host) not in noted
        if interval.host not in middleboxes or is_end:
            began = start if interval.began < until else interval.began
            events.append((began, _CHANGE, i, interval.host))
    for i, call in enumerate(trace.calls):
        if call.t >= until:
            events.append((call.t, _RETURN, i, call.host))
            if until <= call.began < call.t:
                events.append((call.began, _BEGIN, i, call.host))
    for i, note in enumerate(trace.notes):
        events.append((note.t, _NOTE, i, note.host))
    if first:
        events += [(start, _FOLD, 0, ""), (until, _FOLD, 1, "")]
    if events:
        events.append((last_instant(trace), _END, 0, ""))
    events.sort()
    return events


def _band(pause: int) -> float:
    """px of a gap: a little more for each doubling, up to a limit."""
    return min(BAND + 0.5 * math.log2(pause / SHORTEST_GAP), 2 * BAND)


def _ticks(instants: list[tuple[bool, float, int]]) -> tuple[tuple[int, float], ...]:
    """Where the time is written: first at rows with text, then wherever there is room left."""
    rows: list[float] = []
    ticks: dict[float, int] = {}
    for wanted in (True, False):
        for is_ticked, y, t in instants:
            if is_ticked is not wanted:
                continue
            i = bisect_left(rows, y)
            if (i == 0 or y - rows[i - 1] >= TICK) and (i == len(rows) or rows[i] - y >= TICK):
                rows.insert(i, y)
                ticks[y] = t
    return tuple((ticks[y], y) for y in rows)


def tick_texts(instants: list[int]) -> list[str]:
    """What the axis says at these instants, given in nanoseconds since the first segment.

    Where the full name is that of the tick above, or hides the difference to it, the text is the distance
    from the last tick with a full name: ``2 h``, then ``+ 2 ms``; ``2 ms``, then ``+ 11 µs``.
    """
    texts = []
    since, above = 0, ""
    for t in instants:
        name = short_duration(t)
        if above and (name == above or (t >= 10 * SECOND and t - since < SECOND)):
            texts.append(f"+ {short_duration(t - since)}")
        else:
            texts.append(name)
            since, above = t, name
    return texts
