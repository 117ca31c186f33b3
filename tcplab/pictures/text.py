"""What pictures say about a segment, a call or an instant: short beside an arrow, in full on hover.

Flags are in Wireshark's words and order, sequence numbers relative as Wireshark and tcpdump show them. A
label holds only what is new: the acknowledgement number where it moved, the window where it is zero or
changes by itself.
"""

from __future__ import annotations

import re
import textwrap
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from html import escape
from typing import NamedTuple

from tcplab.core.segment import ACK, FIN, PSH, RST, SYN, URG, Endpoint, Segment, seq_diff
from tcplab.core.text import SECOND, duration, plural, short_duration
from tcplab.core.trace import Call, Note, Packet, Relative, Trace
from tcplab.follow import KEEPALIVE, RETRANSMISSION, WINDOW_PROBE, in_order

_FLAG_WORDS = ((FIN, "FIN"), (SYN, "SYN"), (RST, "RST"), (PSH, "PSH"), (ACK, "ACK"), (URG, "URG"))
_FLAGS = tuple(", ".join(word for bit, word in _FLAG_WORDS if n & bit) or "no flags" for n in range(64))

#: Kinds of packets that ask whether the other end is there, or has room.
PROBES = {KEEPALIVE, WINDOW_PROBE}
#: Kinds whose repetitions are counted.
_COUNTED = {KEEPALIVE: "keepalive probe", WINDOW_PROBE: "window probe", RETRANSMISSION: "retransmission"}
_NAMED = {"tail_loss_probe": "tail loss probe", "challenge_ack": "challenge ACK", "forged": "forged"}

#: An errno name, or a message of libpq and psql about a connection that is gone or was never made.
_ERROR = re.compile(
    r"^E(?!STAB)[A-Z0-9]{2,}\b|\b(FATAL|PANIC|ERROR|error):|connection (refused|timed out|reset)|"
    r"closed the connection|connection to the server was lost",
)
#: A call in C's notation.
_FUNCTION = re.compile(r"(\w+)\((.*)\)", re.DOTALL)
#: Characters in a line beside a lifeline.
LINE = 34
#: Segments that a picture or a table shows at most.
MOST = 600


FourTuple = frozenset[Endpoint]


def four_tuple(packet: Packet) -> FourTuple:
    """The connection of a segment of either direction."""
    return frozenset((packet.segment.source, packet.segment.destination))


class Words(NamedTuple):
    """The text about one segment."""

    #: Flags as Wireshark names them: ``PSH, ACK``.
    flags: str
    #: What flags don't say: ``keepalive probe 3``, ``zero window``; may be empty.
    name: str
    #: Relative numbers that are new: ``seq 1 ack 201 len 40``; may be empty.
    numbers: str
    #: What became of it, unless it was simply delivered: ``✗ lost``, ``ignored``; may be empty.
    fate: str

    @property
    def plain(self) -> str:
        """One line of plain text."""
        return "  ".join(part for part in (self.name, self.flags, self.numbers, self.fate) if part)

    @property
    def markup(self) -> str:
        """One line in plotly's subset of HTML: flags bold."""
        flags = f"<b>{self.flags}</b>"
        return "  ".join(part for part in (self.name, flags, self.numbers, escape(self.fate, False)) if part)


def flag_words(flags: int) -> str:
    """``SYN | ACK`` -> ``"SYN, ACK"``."""
    return _FLAGS[flags & 0x3F]


def is_error(result: str) -> bool:
    """True when a call's result is an errno name, or a client program's message that it failed."""
    return _ERROR.search(result) is not None


def call_words(call: Call) -> str:
    """A call and its result in one line: ``connect() → ok``, ``recv() → ✗ ETIMEDOUT``."""
    name, result = _name_and_result(call)
    return f"{name} → {result}"


def call_lines(call: Call) -> list[str]:
    """The same in up to four short lines; a text that is cut ends in …."""
    name, result = _name_and_result(call)
    if len(name) + len(result) + 3 <= LINE:
        return [f"{name} → {result}"]
    lines = textwrap.wrap(f"→ {result}", LINE, max_lines=3, placeholder=" …")
    return [name if len(name) <= LINE else name[: LINE - 1] + "…", *lines]


@lru_cache(2048)
def _name_and_result(call: Call) -> tuple[str, str]:
    name, result = call.call, " ".join(call.result.split())
    function = _FUNCTION.fullmatch(name)
    if function:
        arguments = function[2] if len(function[2]) <= 8 else ""
        name = f"{function[1]}({arguments})"
    if is_error(result):
        result = f"✗ {result}"
    elif function and result.isdigit() and function[1] in ("recv", "read"):
        result = f"{result} bytes"
    return name, result


def words(trace: Trace) -> list[Words]:
    """The text beside every packet's arrow, in the trace's order."""
    numbers = trace.relative()
    counts = _counts(trace)
    latest: dict[tuple[Endpoint, Endpoint], tuple[int, int]] = {}
    out = []
    for i, packet in enumerate(trace.packets):
        segment = packet.segment
        direction = (segment.source, segment.destination)
        before = latest.get(direction)
        latest[direction] = (numbers[i].ack, segment.window)
        name = _NAMED.get(packet.kind, "")
        if packet.kind in _COUNTED:
            name = f"{_COUNTED[packet.kind]} {counts[i]}"
        if not segment.flags & (SYN | RST) and segment.window == 0:
            name = f"{name}, zero window".removeprefix(", ")
        elif not name and _is_window_update(segment, numbers[i], before):
            name = "window update"
        flags = flag_words(segment.flags)
        news = _numbers(segment, numbers[i], before, packet.kind)
        out.append(Words(flags, name, news, fate_words(packet)))
    return out


def _is_window_update(segment: Segment, now: Relative, before: tuple[int, int] | None) -> bool:
    """True for a bare ACK that acknowledges nothing new and changes the window."""
    return (
        segment.flags & 0x3F == ACK
        and not segment.length
        and not segment.sack
        and before is not None
        and before[0] == now.ack
        and before[1] != segment.window
        and before[0] > 1  # the first window after the handshake differs because it is scaled
    )


def _numbers(segment: Segment, now: Relative, before: tuple[int, int] | None, kind: str) -> str:
    parts = []
    flags = segment.flags
    takes_space = segment.length or flags & (FIN | RST) or kind in (KEEPALIVE, WINDOW_PROBE, "forged")
    if takes_space or (flags & SYN and now.seq):
        parts.append(f"seq {now.seq}")
    moved = before is None or before[0] != now.ack
    is_bare = not segment.length and not flags & (SYN | FIN | RST)
    is_news = (moved and kind != RETRANSMISSION) or (is_bare and not takes_space)
    if flags & ACK and not flags & SYN and is_news:
        parts.append(f"ack {now.ack}")
    if segment.length:
        parts.append(f"len {segment.length}")
    if before is not None and before[1] != segment.window and is_bare and segment.window and not moved:
        parts.append(f"win {segment.window}")
    parts += [f"SACK {left}–{right}" for left, right in sack_blocks(segment, now)]
    return " ".join(parts)


def fate_words(packet: Packet) -> str:
    """What became of a segment; empty where it was simply delivered."""
    if packet.fate == "lost":
        return "✗ lost"
    if packet.fate.startswith("dropped_by:"):
        return f"✗ dropped by {packet.fate.removeprefix('dropped_by:')}"
    if packet.verdict in ("ignored", "challenged") or (packet.verdict and packet.kind == "forged"):
        return f"→ {packet.verdict}"
    return ""


def sack_blocks(segment: Segment, now: Relative) -> list[tuple[int, int]]:
    """SACK blocks in relative numbers of the direction that they acknowledge."""
    return [
        (now.ack + seq_diff(left, segment.ack), now.ack + seq_diff(right, segment.ack))
        for left, right in segment.sack
    ]


def _counts(trace: Trace) -> list[int]:
    """The ordinal of a probe or a retransmission, from 1.

    Probes count from the last segment that the prober received (window probes: from the last that
    opened the window); retransmissions per sequence number.
    """
    counts = [0] * len(trace.packets)
    probes: dict[tuple[Endpoint, Endpoint], int] = {}
    repeats: dict[tuple[Endpoint, Endpoint, int], int] = {}
    for is_arrival, i in in_order(trace.packets):
        packet = trace.packets[i]
        segment = packet.segment
        if is_arrival:
            # An answer with another zero window does not end a series of window probes.
            if segment.window or segment.flags & (SYN | RST):
                probes.pop((segment.destination, segment.source), None)
        elif packet.kind in PROBES:
            direction = (segment.source, segment.destination)
            counts[i] = probes[direction] = probes.get(direction, 0) + 1
        elif packet.kind == RETRANSMISSION:
            key = (segment.source, segment.destination, segment.seq)
            counts[i] = repeats[key] = repeats.get(key, 0) + 1
    return counts


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


def wordings(
    trace: Trace, said: Sequence[Words], members: Sequence[int], pace: str = "", total: int = 0
) -> Iterator[str]:
    """The label of an arrow in plotly's subset of HTML, the longest wording first.

    `said` is what `words()` returns; `members` are the places of the arrow's segments and `pace` how often
    they came (`timeaxis.Arrow`); `total` is as `probe_totals` has it.
    """
    first, last = members[0], members[-1]
    if first != last:
        yield from _joined_wordings(pace, [trace.packets[i] for i in members], said[first], said[last])
        return
    its, length = said[first], trace.packets[first].segment.length
    name = f"{its.name} of {total}" if total and its.name else its.name
    yield its._replace(name=name).markup if total else its.markup
    head, fate = name or f"<b>{its.flags}</b>", its.fate.split(" by ")[0]
    size = f"len {length}" if length else ""
    brief = head.replace("retransmission", "retrans").replace("keepalive probe", "keepalive")
    for parts in ((head, size, fate), (head, fate), (head, fate[:1]), (brief, fate[:1])):
        yield "  ".join(filter(None, parts))


def _joined_wordings(pace: str, packets: Sequence[Packet], its: Words, last: Words) -> Iterator[str]:
    count, flags, fate = len(packets), f"<b>{its.flags}</b>", escape(its.fate, False)
    total = sum(packet.segment.length for packet in packets)
    connections = len({four_tuple(packet) for packet in packets})
    tries: list[tuple[str, ...]]
    if pace and packets[0].kind == RETRANSMISSION:
        numbers = f"{its.name.split()[-1]}–{last.name.split()[-1]}, {pace}"
        name = f"retransmission {numbers}"
        short = fate.split(" by ")[0]
        tries = [(name, flags, its.numbers, fate), (name, fate), (name, short), (name,), (numbers, "✗")]
    elif pace and packets[0].kind:
        name = " ".join(word for word in its.name.split() if not word.isdigit())
        tries = [(f"{name} × {count}, {pace}",), (f"{name} × {count}",)]
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


def hover_texts(trace: Trace, said: Sequence[Words], places: Iterable[int] | None = None) -> list[str]:
    """Three lines about every packet, joined by ``<br>``: what it is, when, and what it means.

    `said` is what `words()` returned for the same trace; `places` choose packets, else all. The text is
    in plotly's subset of HTML.
    """
    start = trace.start
    returned: dict[tuple[str, int], list[str]] = {}
    for call in trace.calls:
        returned.setdefault((call.host, call.t), []).append(call_words(call))
    out = []
    numbered = trace.relative()
    for i in range(len(trace.packets)) if places is None else places:
        packet, now, its, s = trace.packets[i], numbered[i], said[i], trace.packets[i].segment
        numbers = [f"seq {now.seq}", f"ack {now.ack}" if s.flags & ACK else "", f"{s.length} bytes"]
        numbers += [f"window {s.window}", _options(s, now)]
        what = f"<b>{its.flags}</b>" + (f" ({its.name})" if its.name else "")
        when = f"segment {i + 1}: sent at {short_duration(packet.t - start)}"
        if packet.arrives is not None and packet.arrives > packet.t:
            when += f", arrived {short_duration(packet.arrives - packet.t)} later"
        means = escape(f"{packet.sender} {meaning(packet, its)}", False)
        ends = escape(f"{packet.sender} → {packet.receiver}", False)
        lines = [
            f"{what} {ends}: {', '.join(filter(None, numbers))}",
            when,
            "; ".join([means, *_at_the_receiver(packet, returned)]),
        ]
        out.append("<br>".join(lines))
    return out


def _at_the_receiver(packet: Packet, returned: dict[tuple[str, int], list[str]]) -> Iterator[str]:
    """What became of a segment, and what its arrival let a program know."""
    if fate := _fate_in_full(packet):
        yield fate
    if packet.arrives is not None and packet.fate == "delivered":
        calls = returned.get((packet.receiver, packet.arrives), [])
        yield from (escape(f"{packet.receiver}: {text}", False) for text in calls[:2])


#: What a segment is for, the first that fits: its kind or its flags, and the words.
_KINDS = {
    KEEPALIVE: "asks whether the other end is still there",
    WINDOW_PROBE: "asks whether there is room again",
    RETRANSMISSION: "sends again what was not acknowledged",
    "tail_loss_probe": "sends the last data again, in case it was lost",
    "challenge_ack": "did not obey, and asks back",
}
_PURPOSES = (
    (RST, RST, "ends the connection at once"),
    (SYN | ACK, SYN | ACK, "takes the connection"),
    (SYN, SYN, "asks for a connection"),
)


def meaning(packet: Packet, its: Words) -> str:
    """What a segment is for, in a few words: ``sends 40 bytes``, ``has nothing more to send``."""
    s = packet.segment
    if packet.kind in _KINDS:
        name = its.name.removesuffix(", zero window")
        return f"{_KINDS[packet.kind]}" + (f": {name}" if name else "")
    for mask, wanted, text in _PURPOSES:
        if s.flags & mask == wanted:
            return text
    parts = []
    if s.length:
        parts.append(f"sends {plural(s.length, 'byte')}")
    if s.flags & FIN:
        parts.append("has nothing more to send")
    if not parts:
        parts.append("tells its window" if its.name == "window update" else "acknowledges what came")
    if not s.window:
        parts.append("has no room for more")
    return " and ".join(parts)


def _options(segment: Segment, now: Relative) -> str:
    parts = []
    if segment.mss is not None:
        parts.append(f"MSS {segment.mss}")
    if segment.window_scale is not None:
        parts.append(f"window scale {segment.window_scale} (× {1 << segment.window_scale})")
    if segment.sack_permitted:
        parts.append("SACK permitted")
    parts += [f"SACK {left}–{right}" for left, right in sack_blocks(segment, now)]
    if segment.timestamps is not None:
        parts.append("timestamps {} / {}".format(*segment.timestamps))
    return ", ".join(parts)


def _fate_in_full(packet: Packet) -> str:
    receiver = escape(packet.receiver, False)
    if packet.fate == "lost":
        return "✗ lost on the path"
    if packet.fate.startswith("dropped_by:"):
        return f"✗ dropped by {escape(packet.fate.removeprefix('dropped_by:'), False)}"
    if packet.arrives is None:
        return "still in flight when the run ended"
    verdict = {
        "accepted": f"{receiver} obeyed it: this end of the connection is gone",
        "challenged": f"{receiver} did not obey it, and asked back with a challenge ACK",
        "ignored": f"{receiver} ignored it, no answer",
    }
    return verdict.get(packet.verdict, "")


def instants(trace: Trace) -> list[int]:
    """Every nanosecond at which something happened, strictly increasing; at least the run's start."""
    times = {trace.start, max(trace.end, trace.start)}
    for packet in trace.packets:
        times.add(packet.t)
        if packet.arrives is not None:
            times.add(packet.arrives)
    times |= {call.t for call in trace.calls} | {call.began for call in trace.calls}
    times |= {sample.t for sample in trace.sockets} | {note.t for note in trace.notes}
    return sorted(t for t in times if t >= trace.start)


def position(times: list[int], t: int) -> int:
    """The index of the last of these instants that is not after `t`; 0 when all are."""
    return max(bisect_right(times, t) - 1, 0)


def instant_to_show(trace: Trace, times: list[int]) -> int:
    """The instant to show first: the last one at which a timer runs, else the last of all."""
    running: set[tuple[str, object, object]] = set()
    stopped = None
    for sample in trace.sockets:
        socket = (sample.host, sample.local, sample.remote)
        if sample.timer:
            running.add(socket)
            stopped = None
        elif socket in running:
            running.remove(socket)
            stopped = None if running else sample.t
    if stopped is None:
        return times[-1]
    return times[max(bisect_left(times, stopped) - 1, 0)]


def events_at(trace: Trace, t: int) -> list[str]:
    """What happened at exactly `t`: ``client sends SYN``, ``server: recv() → 40 bytes``."""
    events = []
    said = None
    for i, packet in enumerate(trace.packets):
        if t not in (packet.t, packet.arrives):
            continue
        said = said or words(trace)
        name = " ".join(part for part in (said[i].name, said[i].flags) if part)
        if packet.arrives == t:
            verb = "gets" if packet.fate == "delivered" else "never sees"
            events.append(f"{packet.receiver} {verb} {name}")
        if packet.t == t:
            fate = f" ({said[i].fate})" if packet.arrives is None and said[i].fate else ""
            events.append(f"{packet.sender} sends {name}{fate}")
    for call in trace.calls:
        if call.t == t:
            events.append(f"{call.host}: {call_words(call)}")
        elif call.began == t:
            events.append(f"{call.host}: {call_words(call).partition(' → ')[0]} waits")
    events += [f"{note.host}: {note.text}" if note.host else note.text for note in trace.notes if note.t == t]
    return events


def instant_words(trace: Trace, t: int) -> str:
    """``2 h 1 min 15 s: client sends keepalive probe 2``."""
    events = "; ".join(events_at(trace, t))
    return duration(t - trace.start) + (f": {events}" if events else "")


def excerpt(trace: Trace, most: int = MOST) -> Trace:
    """The trace up to its first `most` segments, with a note that says so; the same trace if it has no more.

    Outcome and warnings stay those of the whole run.
    """
    left_out = len(trace.packets) - most
    if left_out <= 0:
        return trace
    cut = trace.packets[most].t
    last = trace.packets[most - 1].t
    more = Note(last, "", f"{left_out:,} more segments follow")
    return replace(
        trace,
        packets=trace.packets[:most],
        calls=[call for call in trace.calls if call.t < cut],
        sockets=[sample for sample in trace.sockets if sample.t < cut],
        counters=[sample for sample in trace.counters if sample.t < cut],
        notes=[*(note for note in trace.notes if note.t < cut), more],
        end=last,
    )


def excerpt_words(trace: Trace, most: int = MOST, whole: int = 0) -> str:
    """The sentence beside an excerpt; empty when the whole trace is shown.

    `whole` is the number of segments where the trace itself is only their beginning.
    """
    count = max(len(trace.packets), whole)
    if count <= most:
        return ""
    return f"Ladder, table and console show the first {most} of {count:,} segments; the capture has all."


def keepalive_times_s(trace: Trace) -> list[float]:
    """When keepalive probes were sent, in seconds from the last data before the first of them."""
    probes = [packet.t for packet in trace.packets if packet.kind == KEEPALIVE]
    data = [packet.t for packet in trace.packets if packet.segment.length]
    since = max((t for t in data if t < probes[0]), default=trace.start) if probes else 0
    return [(t - since) / SECOND for t in probes]


def sending_times_s(trace: Trace) -> list[float]:
    """When the client sent and retransmitted its last data, in seconds from the first time."""
    data = [packet for packet in trace.packets if packet.sender == "client" and packet.segment.length]
    sent = [packet.t for packet in data if packet.segment.seq == data[-1].segment.seq]
    return [(t - sent[0]) / SECOND for t in sent]


def window_closed_s(trace: Trace) -> float | None:
    """When the client first advertised a zero window, in seconds from the first segment; None for never."""
    closed = (p.t for p in trace.packets if p.sender == "client" and not p.segment.window)
    return next(map(trace.seconds, closed), None)


def window_probe_times_s(trace: Trace) -> list[float]:
    """When window probes were sent, in seconds from the first zero window of the client."""
    closed = window_closed_s(trace)
    if closed is None:
        return []
    return [trace.seconds(packet.t) - closed for packet in trace.packets if packet.kind == WINDOW_PROBE]
