"""What a ladder draws as one: the uneventful beginning as a row, segments that belong together as an arrow.

- **The beginning** is everything before the script watches, where all of it arrived: one row, which opens.
- **A burst**: segments of one direction that say the same thing and leave within one flight, either of one
  connection (its data, its ACKs) or one of each of several connections (eight SYNs).
- **Answered probes** of one connection, with nothing else between them: one arrow for the probes, one for
  the answers. Unanswered probes are what a reader counts, and stay apart.
- **Retransmissions at a steady interval**: those that wait for as long as Linux ever waits.

An arrow's members keep their places in `trace.packets`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import NamedTuple

from tcplab.core.segment import ACK, FIN, PSH, RST, SYN, Endpoint
from tcplab.core.text import MILLISECOND, SECOND, plural, short_duration
from tcplab.core.trace import Packet, Trace
from tcplab.follow import KEEPALIVE, RETRANSMISSION, WINDOW_PROBE
from tcplab.pictures.text import Words, is_error

PROBES = {KEEPALIVE, WINDOW_PROBE}
#: So many retransmissions at a steady interval are one arrow.
STEADY = 3
#: Intervals that differ by no more than this part of themselves are the same.
ALIKE = 0.02

FourTuple = frozenset[Endpoint]


def four_tuple(packet: Packet) -> FourTuple:
    """The connection of a segment of either direction."""
    return frozenset((packet.segment.source, packet.segment.destination))


class Fold(NamedTuple):
    """The beginning of a run as one row."""

    #: How many packets of the trace it holds: the first ones.
    size: int
    #: From the start of the trace until then, nanoseconds.
    until: int
    #: ``3-way handshake and one exchange: 7 segments in 8 ms``.
    words: str


def fold(trace: Trace) -> Fold | None:
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
    return Fold(len(first), until, f"{_contents(first)}: {segments} in {short_duration(lasted)}")


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
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]])) or "the beginning"


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


def probe_totals(trace: Trace) -> dict[int, int]:
    """By the place of an unanswered keepalive probe, after how many its sender gave up, where it did."""
    series: dict[tuple[Endpoint, Endpoint], list[int]] = {}
    totals: dict[int, int] = {}
    gone = {(s.local, s.remote): s.t for s in trace.sockets if s.state == "CLOSED"}
    for i, packet in enumerate(trace.packets):
        forward = (packet.segment.source, packet.segment.destination)
        if packet.arrives is not None and not packet.segment.flags & RST:
            series.pop(forward[::-1], None)
        if packet.kind == KEEPALIVE:
            series.setdefault(forward, []).append(i)
    for socket, probes in series.items():
        if gone.get(socket, -1) >= trace.packets[probes[-1]].t:
            totals |= dict.fromkeys(probes, len(probes))
    return totals


def wordings(arrow: Arrow, trace: Trace, said: Sequence[Words], total: int = 0) -> Iterator[str]:
    """The label of an arrow in plotly's subset of HTML, the longest wording first.

    `said` is what `words()` returns; `total` as `probe_totals` has it.
    """
    first, last = arrow.members[0], arrow.members[-1]
    if first != last:
        yield from _joined_wordings(arrow, [trace.packets[i] for i in arrow.members], said[first], said[last])
        return
    its, length = said[first], trace.packets[first].segment.length
    name = f"{its.name} of {total}" if total and its.name else its.name
    yield its._replace(name=name).markup
    head, fate = name or f"<b>{its.flags}</b>", its.fate.split(" by ")[0]
    size = f"len {length}" if length else ""
    for parts in ((head, size, fate), (head, fate), (head, fate[:1])):
        yield "  ".join(filter(None, parts))


def _joined_wordings(arrow: Arrow, packets: Sequence[Packet], its: Words, last: Words) -> Iterator[str]:
    count, flags, fate = len(packets), f"<b>{its.flags}</b>", escape(its.fate, False)
    total = sum(packet.segment.length for packet in packets)
    connections = len({four_tuple(packet) for packet in packets})
    tries: list[tuple[str, ...]]
    if arrow.pace and packets[0].kind == RETRANSMISSION:
        numbers = f"{its.name.split()[-1]}–{last.name.split()[-1]}, {arrow.pace}"
        name = f"retransmission {numbers}"
        short = fate.split(" by ")[0]
        tries = [(name, flags, its.numbers, fate), (name, fate), (name, short), (name,), (numbers, "✗")]
    elif arrow.pace and packets[0].kind:
        name = " ".join(word for word in its.name.split() if not word.isdigit())
        tries = [(f"{name} × {count}, {arrow.pace}",), (f"{name} × {count}",)]
    elif connections > 1:
        what = f"{count} × {its.name}" if its.name else f"<b>{count} × {its.flags}</b>"
        size = f", {total:,} bytes" if total else ""
        tries = [(what, f"of {connections} connections{size}", fate), (what, fate), (what,)]
    elif total:
        what = f"<b>{count} segments</b>"
        tries = [(f"{what}, {total:,} bytes", fate), (f"{what}, {total:,} bytes",), (what,)]
    else:
        what = f"<b>{count} × {its.flags}</b>"
        tries = [(what, last.name, last.numbers, fate), (what, fate), (what,)]
    yield from ("  ".join(filter(None, parts)) for parts in tries)
