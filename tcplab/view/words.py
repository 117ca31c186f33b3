"""What pictures and tables say about a segment or a call: short beside an arrow, in full on hover.

Flags are in Wireshark's words and order, sequence numbers relative as Wireshark and tcpdump show
them. A label holds only what is news: the acknowledgement number where it moved, the window where
it is zero or changes by itself.
"""

from __future__ import annotations

import heapq
import re
import textwrap
from collections.abc import Iterator
from html import escape
from typing import NamedTuple

from tcplab.segment import ACK, FIN, PSH, RST, SYN, URG, Endpoint, Segment, seq_diff
from tcplab.trace import Call, Passage, Relative, Trace, duration

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
    """What to say beside every passage's arrow, in the trace's order."""
    numbers = trace.relative()
    counts = _counts(trace)
    heard: dict[tuple[Endpoint, Endpoint], tuple[int, int]] = {}
    out = []
    for i, passage in enumerate(trace.passages):
        segment = passage.segment
        direction = (segment.source, segment.destination)
        before = heard.get(direction)
        heard[direction] = (numbers[i].ack, segment.window)
        name = _NAMED.get(passage.kind, "")
        if passage.kind in _COUNTED:
            name = f"{_COUNTED[passage.kind]} {counts[i]}"
        if not segment.flags & (SYN | RST) and segment.window == 0:
            name = f"{name}, zero window".removeprefix(", ")
        elif not name and _is_window_update(segment, numbers[i], before):
            name = "window update"
        flags = flag_words(segment.flags)
        news = _numbers(segment, numbers[i], before, passage.kind)
        out.append(Words(flags, name, news, fate_words(passage)))
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


def fate_words(passage: Passage) -> str:
    """What became of a segment where it is worth a word."""
    if passage.fate == "lost":
        return "✗ lost"
    if passage.fate.startswith("dropped_by:"):
        return f"✗ dropped by {passage.fate.removeprefix('dropped_by:')}"
    if passage.verdict in ("ignored", "challenged") or (passage.verdict and passage.kind == "forged"):
        return f"→ {passage.verdict}"
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
    counts = [0] * len(trace.passages)
    probes: dict[tuple[Endpoint, Endpoint], int] = {}
    repeats: dict[tuple[Endpoint, Endpoint, int], int] = {}
    for is_arrival, i in _in_time(trace):
        passage = trace.passages[i]
        segment = passage.segment
        if is_arrival:
            # A window probe that is answered by another zero window has found nothing out.
            if segment.window or segment.flags & (SYN | RST):
                probes.pop((segment.destination, segment.source), None)
        elif passage.kind in ("keepalive", "window_probe"):
            direction = (segment.source, segment.destination)
            counts[i] = probes[direction] = probes.get(direction, 0) + 1
        elif passage.kind == "retransmission":
            key = (segment.source, segment.destination, segment.seq)
            counts[i] = repeats[key] = repeats.get(key, 0) + 1
    return counts


def _in_time(trace: Trace) -> Iterator[tuple[bool, int]]:
    """Departures and arrivals of passages, by time; an arrival comes before what it causes."""
    departures = ((p.t, 1, i) for i, p in enumerate(trace.passages))
    arrivals = sorted(
        (max(p.arrives, p.t + 1), 0, i) for i, p in enumerate(trace.passages) if p.arrives is not None
    )
    for _, what, i in heapq.merge(sorted(departures), arrivals):
        yield what == 0, i


def hover_texts(trace: Trace, said: list[Words]) -> list[str]:
    """Everything about every passage, in plotly's subset of HTML, lines joined by ``<br>``.

    `said` is what `words()` gave for the same trace.
    """
    out = []
    start = trace.start
    rows = zip(trace.passages, trace.relative(), said, strict=True)
    for number, (passage, now, title) in enumerate(rows, 1):
        s = passage.segment
        flight = ""
        if passage.arrives is not None and passage.arrives > passage.t:
            flight = f", arrived {duration(passage.arrives - passage.t)} later"
        lines = [
            f"<b>{title.flags}</b>" + (f" ({title.name})" if title.name else ""),
            f"segment {number}: sent {(passage.t - start) / 1e9:.6f} s{flight}",
            escape(f"{passage.sender} {s.source} → {passage.receiver} {s.destination}", False),
            f"seq {now.seq} (absolute {s.seq}), {s.length} bytes of payload",
            f"ack {now.ack} (absolute {s.ack})" if s.flags & ACK else "no ACK flag",
            f"window {s.window} bytes",
        ]
        if options := _options(s, now):
            lines.append(f"options: {options}")
        lines.append(_fate_in_full(passage))
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


def _fate_in_full(passage: Passage) -> str:
    receiver = escape(passage.receiver, False)
    if passage.fate == "lost":
        return "✗ lost on the way"
    if passage.fate.startswith("dropped_by:"):
        return f"✗ dropped by {escape(passage.fate.removeprefix('dropped_by:'), False)}"
    if passage.arrives is None:
        return "still on its way when the run ended"
    verdict = {
        "accepted": f"{receiver} obeyed it: this end of the connection is gone",
        "challenged": f"{receiver} did not obey it, and asked back with a challenge ACK",
        "ignored": f"{receiver} ignored it without a word",
    }
    return verdict.get(passage.verdict, "delivered")
