"""What pictures and tables say about a segment or a call: short beside an arrow, in full on hover.

Flags are in Wireshark's words and order, sequence numbers relative as Wireshark and tcpdump show
them. A label holds only what is news: the acknowledgement number where it moved, the window where
it is zero or changes by itself.
"""

from __future__ import annotations

import heapq
import re
import textwrap
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any, NamedTuple

from tcplab.core.knobs import Parameters
from tcplab.core.segment import ACK, FIN, PSH, RST, SYN, URG, Endpoint, Segment, seq_diff
from tcplab.core.text import SECOND, duration
from tcplab.core.trace import Call, Note, Packet, Relative, Trace
from tcplab.pictures.overlay import Beside

# ----------------------------------------------------------------------
# The beginning of a trace that is too long to be looked at whole.

#: Segments that a picture or a table shows at most.
MOST = 600


def excerpt(trace: Trace, most: int = MOST) -> Trace:
    """The trace up to its first `most` segments, with a note that says so; itself when it has no more.

    What the run came to (outcome, warnings) stays that of the whole.
    """
    left_out = len(trace.packets) - most
    if left_out <= 0:
        return trace
    cut = trace.packets[most].t
    last = trace.packets[most - 1].t
    told = Note(last, "", f"{left_out:,} more segments follow")
    return replace(
        trace,
        packets=trace.packets[:most],
        calls=[call for call in trace.calls if call.t < cut],
        sockets=[sample for sample in trace.sockets if sample.t < cut],
        counters=[sample for sample in trace.counters if sample.t < cut],
        notes=[*(note for note in trace.notes if note.t < cut), told],
        end=last,
    )


def excerpt_words(trace: Trace, most: int = MOST, whole: int = 0) -> str:
    """What to say beside an excerpt; empty when the trace is shown whole.

    `whole` is how many segments there are where the trace itself is only their beginning.
    """
    count = max(len(trace.packets), whole)
    if count <= most:
        return ""
    return f"Ladder, table and console show the first {most} of {count:,} segments; the capture has all."


_FLAG_WORDS = ((FIN, "FIN"), (SYN, "SYN"), (RST, "RST"), (PSH, "PSH"), (ACK, "ACK"), (URG, "URG"))
_FLAGS = tuple(", ".join(word for bit, word in _FLAG_WORDS if n & bit) or "no flags" for n in range(64))

#: Kinds whose repetitions are counted, with what the count is put behind.
_COUNTED = {
    "keepalive": "keepalive probe",
    "window_probe": "window probe",
    "retransmission": "retransmission",
}
_NAMED = {"tail_loss_probe": "tail loss probe", "challenge_ack": "challenge ACK", "forged": "forged"}

#: An errno name, or what libpq and psql say when a connection is gone or never came to be.
_ERROR = re.compile(
    r"^E(?!STAB)[A-Z0-9]{2,}\b|\b(FATAL|PANIC|ERROR|error):|connection (refused|timed out|reset)|"
    r"closed the connection|connection to the server was lost",
)
#: A call as C writes it.
_FUNCTION = re.compile(r"(\w+)\((.*)\)", re.DOTALL)
#: Characters in a line beside a lifeline.
LINE = 34


class Words(NamedTuple):
    """What to say about one segment."""

    #: Flags as Wireshark names them: ``PSH, ACK``.
    flags: str
    #: What flags don't tell: ``keepalive probe 3``, ``zero window``; may be empty.
    name: str
    #: Relative numbers that are news: ``seq 1 ack 201 len 40``; may be empty.
    numbers: str
    #: What became of it, where that is news: ``✗ lost``, ``ignored``; may be empty.
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
    """A call and what came back in one line: ``connect() → ok``, ``recv() → ✗ ETIMEDOUT``."""
    name, result = _said(call)
    return f"{name} → {result}"


def call_lines(call: Call) -> list[str]:
    """The same in as many short lines as it needs, four at most; what is cut ends in …."""
    name, result = _said(call)
    if len(name) + len(result) + 3 <= LINE:
        return [f"{name} → {result}"]
    lines = textwrap.wrap(f"→ {result}", LINE, max_lines=3, placeholder=" …")
    return [name if len(name) <= LINE else name[: LINE - 1] + "…", *lines]


def _said(call: Call) -> tuple[str, str]:
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
    """What to say beside every packet's arrow, in the trace's order."""
    numbers = trace.relative()
    counts = _counts(trace)
    heard: dict[tuple[Endpoint, Endpoint], tuple[int, int]] = {}
    out = []
    for i, packet in enumerate(trace.packets):
        segment = packet.segment
        direction = (segment.source, segment.destination)
        before = heard.get(direction)
        heard[direction] = (numbers[i].ack, segment.window)
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
    """A bare ACK that only says that the window changed (it acknowledges nothing new)."""
    return (
        segment.flags & 0x3F == ACK
        and not segment.length
        and not segment.sack
        and before is not None
        and before[0] == now.ack
        and before[1] != segment.window
        and before[0] > 1  # the first window after the handshake is scaled for the first time: no news
    )


def _numbers(segment: Segment, now: Relative, before: tuple[int, int] | None, kind: str) -> str:
    said = []
    flags = segment.flags
    takes_space = segment.length or flags & (FIN | RST) or kind in ("keepalive", "window_probe", "forged")
    if takes_space or (flags & SYN and now.seq):
        said.append(f"seq {now.seq}")
    moved = before is None or before[0] != now.ack
    is_bare = not segment.length and not flags & (SYN | FIN | RST)
    is_news = (moved and kind != "retransmission") or (is_bare and not takes_space)
    if flags & ACK and not flags & SYN and is_news:
        said.append(f"ack {now.ack}")
    if segment.length:
        said.append(f"len {segment.length}")
    if before is not None and before[1] != segment.window and is_bare and segment.window and not moved:
        said.append(f"win {segment.window}")
    said += [f"SACK {left}–{right}" for left, right in sack_blocks(segment, now)]
    return " ".join(said)


def fate_words(packet: Packet) -> str:
    """What became of a segment where it is worth a word."""
    if packet.fate == "lost":
        return "✗ lost"
    if packet.fate.startswith("dropped_by:"):
        return f"✗ dropped by {packet.fate.removeprefix('dropped_by:')}"
    if packet.verdict in ("ignored", "challenged") or (packet.verdict and packet.kind == "forged"):
        return f"→ {packet.verdict}"
    return ""


def sack_blocks(segment: Segment, now: Relative) -> list[tuple[int, int]]:
    """SACK blocks in relative numbers of the direction that they speak of."""
    return [
        (now.ack + seq_diff(left, segment.ack), now.ack + seq_diff(right, segment.ack))
        for left, right in segment.sack
    ]


def _counts(trace: Trace) -> list[int]:
    """The how many-th of its kind a segment is: 1 for the first.

    Probes count from the last segment that the prober received (window probes: from the last that
    opened the window); retransmissions per sequence number.
    """
    counts = [0] * len(trace.packets)
    probes: dict[tuple[Endpoint, Endpoint], int] = {}
    repeats: dict[tuple[Endpoint, Endpoint, int], int] = {}
    for is_arrival, i in _in_time(trace):
        packet = trace.packets[i]
        segment = packet.segment
        if is_arrival:
            # A window probe that is answered by another zero window has found nothing out.
            if segment.window or segment.flags & (SYN | RST):
                probes.pop((segment.destination, segment.source), None)
        elif packet.kind in ("keepalive", "window_probe"):
            direction = (segment.source, segment.destination)
            counts[i] = probes[direction] = probes.get(direction, 0) + 1
        elif packet.kind == "retransmission":
            key = (segment.source, segment.destination, segment.seq)
            counts[i] = repeats[key] = repeats.get(key, 0) + 1
    return counts


def _in_time(trace: Trace) -> Iterator[tuple[bool, int]]:
    """Departures and arrivals of packets, by time; an arrival comes before what it causes."""
    departures = ((p.t, 1, i) for i, p in enumerate(trace.packets))
    arrivals = sorted(
        (max(p.arrives, p.t + 1), 0, i) for i, p in enumerate(trace.packets) if p.arrives is not None
    )
    for _, what, i in heapq.merge(sorted(departures), arrivals):
        yield what == 0, i


def hover_texts(trace: Trace, said: list[Words]) -> list[str]:
    """Everything about every packet, in plotly's subset of HTML, lines joined by ``<br>``.

    `said` is what `words()` gave for the same trace.
    """
    out = []
    start = trace.start
    rows = zip(trace.packets, trace.relative(), said, strict=True)
    for number, (packet, now, title) in enumerate(rows, 1):
        s = packet.segment
        flight = ""
        if packet.arrives is not None and packet.arrives > packet.t:
            flight = f", arrived {duration(packet.arrives - packet.t)} later"
        lines = [
            f"<b>{title.flags}</b>" + (f" ({title.name})" if title.name else ""),
            f"segment {number}: sent {(packet.t - start) / 1e9:.6f} s{flight}",
            escape(f"{packet.sender} {s.source} → {packet.receiver} {s.destination}", False),
            f"seq {now.seq} (absolute {s.seq}), {s.length} bytes of payload",
            f"ack {now.ack} (absolute {s.ack})" if s.flags & ACK else "no ACK flag",
            f"window {s.window} bytes",
        ]
        if options := _options(s, now):
            lines.append(f"options: {options}")
        lines.append(_fate_in_full(packet))
        out.append("<br>".join(lines))
    return out


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
        return "✗ lost on the way"
    if packet.fate.startswith("dropped_by:"):
        return f"✗ dropped by {escape(packet.fate.removeprefix('dropped_by:'), False)}"
    if packet.arrives is None:
        return "still on its way when the run ended"
    verdict = {
        "accepted": f"{receiver} obeyed it: this end of the connection is gone",
        "challenged": f"{receiver} did not obey it, and asked back with a challenge ACK",
        "ignored": f"{receiver} ignored it without a word",
    }
    return verdict.get(packet.verdict, "delivered")


# ----------------------------------------------------------------------
# The moments of a trace: when anything happened, and what, in words.


def moments(trace: Trace) -> list[int]:
    """Every nanosecond at which something happened, strictly increasing; at least the run's start."""
    found = {trace.start, max(trace.end, trace.start)}
    for packet in trace.packets:
        found.add(packet.t)
        if packet.arrives is not None:
            found.add(packet.arrives)
    found |= {call.t for call in trace.calls} | {call.began for call in trace.calls}
    found |= {sample.t for sample in trace.sockets} | {note.t for note in trace.notes}
    return sorted(t for t in found if t >= trace.start)


def position(found: list[int], t: int) -> int:
    """Which of these moments is the last one not after `t`; 0 when all are."""
    return max(bisect_right(found, t) - 1, 0)


def telling(trace: Trace, found: list[int]) -> int:
    """The moment to look at first: the last one at which a timer runs, else the last of all."""
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
        return found[-1]
    return found[max(bisect_left(found, stopped) - 1, 0)]


def happenings(trace: Trace, t: int) -> list[str]:
    """What happened at exactly `t`: ``client sends SYN``, ``server: recv() → 40 bytes``."""
    told = []
    said = None
    for i, packet in enumerate(trace.packets):
        if t not in (packet.t, packet.arrives):
            continue
        said = said or words(trace)
        name = " ".join(part for part in (said[i].name, said[i].flags) if part)
        if packet.arrives == t:
            verb = "gets" if packet.fate == "delivered" else "never sees"
            told.append(f"{packet.receiver} {verb} {name}")
        if packet.t == t:
            fate = f" ({said[i].fate})" if packet.arrives is None and said[i].fate else ""
            told.append(f"{packet.sender} sends {name}{fate}")
    for call in trace.calls:
        if call.t == t:
            told.append(f"{call.host}: {call_words(call)}")
        elif call.began == t:
            told.append(f"{call.host}: {call_words(call).partition(' → ')[0]} waits")
    told += [f"{note.host}: {note.text}" if note.host else note.text for note in trace.notes if note.t == t]
    return told


def moment_words(trace: Trace, t: int) -> str:
    """``2 h 1 min 15 s: client sends keepalive probe 2``."""
    told = "; ".join(happenings(trace, t))
    return f"{duration(t - trace.start)}" + (f": {told}" if told else "")


# ----------------------------------------------------------------------
# A study's outcome and curves as tables of text: for a screen reader, for copying.

#: More rows would not be read: steps are put together.
MOST_ROWS = 40
#: How the steps of one row become a number; what isn't named here counts things, and is added up.
_TOGETHER: Mapping[str, Callable[[Sequence[float]], float]] = {
    "in_use_low": min, "in_use_high": max, "time_wait_low": min, "time_wait_high": max, "slowest_ms": max,
}  # fmt: skip


def curves(trace: Trace) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: from when to when, seconds, and every curve in between.

    Numbers that count are added up over the steps of a row, lowest and highest values stay what they are.
    """
    at = trace.series.get("t_s", [])
    names = [name for name, curve in trace.series.items() if name != "t_s" and _is_curve(curve, len(at))]
    size = -(-len(at) // MOST_ROWS) or 1
    rows = []
    for first in range(0, len(at), size):
        until = at[first + size] if first + size < len(at) else trace.end / 1e9
        cells = [_TOGETHER.get(name, sum)(trace.series[name][first : first + size]) for name in names]
        rows.append([f"{at[first]:g}", f"{until:g}", *map(_number, cells)])
    return ["from s", "to s", *names], rows


def tables(trace: Trace) -> str:
    """The outcome, the curves, and whatever else the study tells, as HTML; every text is escaped."""
    steps = len(trace.series.get("t_s", []))
    parts = [
        _table("outcome", ["result", "value"], ([name, _number_said(v)] for name, v in trace.outcome.items()))
    ]
    if steps:
        parts.append(_table("curves; what counts is added up within a row", *curves(trace)))
    for name, rows in trace.series.items():
        if name != "t_s" and rows and not _is_curve(rows, steps):
            cells = (row if isinstance(row, (list, tuple)) else [row] for row in rows)
            parts.append(_table(name, [], (map(_number_said, row) for row in cells)))
    return "".join(parts)


def _is_curve(values: Any, steps: int) -> bool:
    return bool(steps) and len(values) == steps and not isinstance(values[0], (list, tuple, str))


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _number_said(value: Any) -> str:
    if value is None:
        return "none"
    return _number(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def _table(caption: str, head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    top = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    body = "".join(
        f"<tr>{''.join(f'<td class=n>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )  # fmt: skip
    return (
        f'<table class="tcplab-table"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    )


# ----------------------------------------------------------------------
# Runs and parameters as lines of plain text, for a terminal.

#: Longer tables lose their middle: `--json` has everything.
HEAD, TAIL = 40, 20


def value_text(value: Any) -> str:
    """A parameter or a result as one types or reads it: `none`, `true`, `0.2`, `1, 3, 7`."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, list | tuple):
        shown = [value_text(each) for each in value]
        return ", ".join(shown if len(shown) <= 15 else [*shown[:10], "…", *shown[-3:]]) or "none"
    return str(value)


def parameter_lines(kind: type[Parameters]) -> Iterator[str]:
    """Every parameter with its default, its range and its help."""
    defaults, knobs = kind.defaults(), kind.knobs()
    settings = {name: f"{name} = {value_text(defaults[name])}" for name in knobs}
    width = max(map(len, settings.values()))
    for name, knob in knobs.items():
        # Of words and yes or no the help is not repeated in the range.
        yield f"    {settings[name]:{width}}  {knob.range_text()}. {knob.help}".rstrip(". ") + "."


def run_lines(trace: Trace) -> Iterator[str]:
    """The outcome of a run, then its segments or what its curves are."""
    width = max(map(len, trace.outcome), default=0)
    for name, value in trace.outcome.items():
        yield f"  {name:{width}}  {value_text(value)}"
    if trace.packets:
        yield ""
        yield from _shortened(list(_ladder(trace)))
    if trace.series:
        yield ""
        yield f"  curves: {', '.join(trace.series)}; --json shows them."


def _ladder(trace: Trace) -> Iterator[str]:
    """Segments, calls and notes by time, one line each; hosts stand in the trace's order."""
    hosts = list(trace.hosts)
    wide = max(map(len, hosts))
    digits = 3 if all(packet.t % 1_000_000 == 0 for packet in trace.packets) else 6

    def who(left: str, arrow: str, right: str) -> str:
        return f"{left:>{wide}} {arrow:3} {right:{wide}}"

    def alone(host: str) -> str:
        return who(host, "", "") if hosts.index(host) == 0 else who("", "", host)

    rows: list[tuple[int, str]] = []
    rows += [(note.t, f"{alone(note.host or hosts[0])}  – {note.text}") for note in trace.notes]
    rows += [(call.t, f"{alone(call.host)}  {call_words(call)}") for call in trace.calls]
    for packet, said in zip(trace.packets, words(trace), strict=True):
        gone = packet.arrives is None
        if hosts.index(packet.sender) <= hosts.index(packet.receiver):
            ends = who(packet.sender, "──✗" if gone else "──→", packet.receiver)
        else:
            ends = who(packet.receiver, "✗──" if gone else "←──", packet.sender)
        rows.append((packet.t, f"{ends}  {said.plain}"))
    rows.sort(key=lambda row: row[0])
    times = [f"{trace.seconds(t):.{digits}f}" for t, _ in rows]
    column = max(len("seconds"), *map(len, times))
    yield f"  {'seconds':>{column}}"
    for time, (_, text) in zip(times, rows, strict=True):
        yield f"  {time:>{column}}  {text}".rstrip()


def _shortened(lines: list[str]) -> list[str]:
    left_out = len(lines) - HEAD - TAIL
    if left_out < 2:
        return lines
    return [*lines[:HEAD], f"  … {left_out} lines left out; --json shows everything …", *lines[-TAIL:]]


# ----------------------------------------------------------------------
# When things happened in a trace, in seconds: also in a capture, which has no outcome.


def keepalive_times_s(trace: Trace) -> list[float]:
    """When keepalive probes went out, seconds from the last data before the first of them."""
    probes = [packet.t for packet in trace.packets if packet.kind == "keepalive"]
    data = [packet.t for packet in trace.packets if packet.segment.length]
    since = max((t for t in data if t < probes[0]), default=trace.start) if probes else 0
    return [(t - since) / SECOND for t in probes]


def sending_times_s(trace: Trace) -> list[float]:
    """When the client sent its last data, again and again, seconds from the first time."""
    data = [packet for packet in trace.packets if packet.sender == "client" and packet.segment.length]
    sent = [packet.t for packet in data if packet.segment.seq == data[-1].segment.seq]
    return [(t - sent[0]) / SECOND for t in sent]


def window_closed_s(trace: Trace) -> float | None:
    """When the client first said that its window is zero, seconds from the first segment; or never."""
    closed = (p.t for p in trace.packets if p.sender == "client" and not p.segment.window)
    return next(map(trace.seconds, closed), None)


def window_probe_times_s(trace: Trace) -> list[float]:
    """When window probes went out, seconds from the first closing of the client's window."""
    closed = window_closed_s(trace)
    if closed is None:
        return []
    return [trace.seconds(packet.t) - closed for packet in trace.packets if packet.kind == "window_probe"]


# ----------------------------------------------------------------------
# A trace's segments as a table of text: for reading line by line, for a screen reader, for copying.

_HEADINGS = ("no.", "sent", "arrives", "from → to", "flags", "seq", "ack", "len", "window", "what")
#: Columns of numbers stand right.
_NUMBERS = {"no.", "sent", "arrives", "seq", "ack", "len", "window"}


def rows(trace: Trace) -> list[tuple[str, ...]]:
    """One row of texts per segment, in the order of the headings: seconds from the first segment,
    sequence numbers relative as Wireshark counts them."""
    made: list[tuple[str, ...]] = []
    numbered = zip(trace.packets, trace.relative(), words(trace), strict=True)
    for number, (packet, now, said) in enumerate(numbered, 1):
        segment = packet.segment
        verdict = f"RST {packet.verdict}" if packet.verdict and packet.verdict not in said.fate else ""
        made.append(
            (
                str(number),
                f"{trace.seconds(packet.t):.6f}",
                "" if packet.arrives is None else f"+{duration(packet.arrives - packet.t)}",
                f"{packet.sender} → {packet.receiver}",
                said.flags,
                str(now.seq),
                str(now.ack) if segment.flags & ACK else "",
                str(segment.length),
                str(segment.window),
                ", ".join(part for part in (said.name, said.fate, verdict) if part),
            )
        )
    return made


def table(trace: Trace, beside: Sequence[Beside] = ()) -> str:
    """The same as an HTML table with headings for columns and rows; every text is escaped.

    `beside`: for every packet what the other witness says of it (see `overlay.py`), as one more column.
    """
    if not trace.packets:
        return "<p>Not one segment was sent.</p>"
    headings = (*_HEADINGS, *(["Linux"] if beside else []))
    css = ['class="n"' if heading in _NUMBERS else "" for heading in headings]
    head = "".join(f'<th scope="col" {css[i]}>{escape(text)}</th>' for i, text in enumerate(headings))
    body = []
    says = [[each.says] for each in beside] or [[]] * len(trace.packets)
    for (number, *own), more in zip(rows(trace), says, strict=True):
        texts = [*own, *more]
        cells = "".join(f"<td {css[i]}>{escape(text)}</td>" for i, text in enumerate(texts, 1))
        body.append(f'<tr><th scope="row" class="n">{number}</th>{cells}</tr>')
    caption = f"{len(body)} segments; times in seconds from the first, numbers relative as in Wireshark"
    return (
        f'<table class="tcplab-table"><caption>{caption}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    )
