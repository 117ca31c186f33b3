"""The receive window, drawn in two ways: as a number line on which a RST falls, and over time.

`draw_window` draws the first where a receiver had to judge a RST (a forged one, or one that was not
obeyed), else the second: how a slow reader closes the window, and how the sender keeps probing. The
zones of the number line come from the receiver's rule, `model.rules.reset_verdict`; its edges from what
the receiver last sent and what had reached it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from html import escape
from itertools import pairwise
from typing import Any, NamedTuple

from tcplab.core.releases import Release, known_release
from tcplab.core.segment import ACK, FIN, RST, SYN, after, seq_add, seq_diff
from tcplab.core.text import SECOND, duration
from tcplab.core.trace import Packet, Trace
from tcplab.follow import WINDOW_PROBE
from tcplab.model.rules import reset_verdict
from tcplab.pictures import theme as look
from tcplab.pictures.text import hover_texts, words
from tcplab.pictures.theme import Line, MarkStyle, Picture, Text, filled, rectangle

#: A zone of the number line and the line of a RST, by verdict.
VERDICTS = {
    "accepted": MarkStyle("accepted"),
    "challenged": MarkStyle("challenged", "/", "dash"),
    "ignored": MarkStyle("ignored", ".", "dot"),
}
#: y in px of the bar of zones.
_BAR_TOP, _BAR_BOTTOM = 92, 138
_LINE = 18
#: The width of the number line for which its texts are kept apart, px.
_NARROW = 720
#: px of the plotting area of the window over time.
_HEIGHT = 300
#: A closed window narrower than this part of the picture has no text.
_WORTH_A_WORD = 0.09


def draw_window(trace: Trace, *, title: str | None = None, dark: bool = False) -> Picture:
    """The window of this trace: where a RST falls, or how it opens and closes."""
    fallen = fallen_reset(trace)
    if fallen is not None and _was_judged(trace.packets[fallen.index]):
        return _draw_reset(trace, fallen, look.theme(dark), title)
    return draw_over_time(trace, title=title, dark=dark)


@dataclass(frozen=True, slots=True)
class Fallen:
    """A RST and the window that it met. Offsets are bytes from the receiver's RCV.NXT."""

    #: Which of the trace's packets.
    index: int
    offset: int
    #: RCV.NXT as of the last ACK sent, 0 or negative; and the end of the advertised window.
    left_edge: int
    right_edge: int
    #: Blocks held out of order by the receiver's last SACK, (left, right) each.
    sack: tuple[tuple[int, int], ...]
    #: RCV.NXT in relative numbers, as Wireshark shows it.
    expected: int
    #: The peer has sent its FIN.
    after_fin: bool
    rules: Release
    #: The receiver's verdict, or that of the rule where the trace has none.
    verdict: str

    def verdict_at(self, offset: int) -> str:
        """The verdict on a RST at an offset, by the rule of the receiver's Linux version."""
        return reset_verdict(
            seq_add(0, offset),
            rcv_nxt=0,
            left_edge=seq_add(0, self.left_edge),
            right_edge=seq_add(0, self.right_edge),
            release=self.rules,
            state="CLOSE_WAIT" if self.after_fin else "ESTABLISHED",
            sack_edge=max((right for _, right in self.sack), default=None),
        )


def _was_judged(packet: Packet) -> bool:
    return packet.kind == "forged" or packet.verdict in ("challenged", "ignored")


def fallen_reset(trace: Trace) -> Fallen | None:
    """The RST to draw: the first that was forged or not obeyed, else the first that met a window."""
    arrived = [i for i, p in enumerate(trace.packets) if p.segment.flags & RST and p.arrives is not None]
    for i in sorted(arrived, key=lambda i: not _was_judged(trace.packets[i])):
        if fallen := _fallen(trace, i):
            return fallen
    return None


def _fallen(trace: Trace, index: int) -> Fallen | None:
    """The window that RST number `index` met; None where its receiver had advertised none yet."""
    reset = trace.packets[index]
    when = reset.arrives or reset.t
    last: Packet | None = None
    number = 0
    numbers = trace.relative()
    for i, packet in enumerate(trace.packets):
        s = packet.segment
        is_from_victim = (s.source, s.destination) == (reset.segment.destination, reset.segment.source)
        # What it sends at the same instant is its answer.
        if is_from_victim and s.flags & ACK and not s.flags & RST and packet.t < when and i != index:
            last, number = packet, numbers[i].ack
    if last is None:
        return None
    left = last.segment.ack
    received = [
        p
        for p in trace.packets
        if (p.segment.source, p.segment.destination) == (reset.segment.source, reset.segment.destination)
        and p.arrives is not None
        and p.arrives <= when
        and not p.segment.flags & RST
    ]
    expected = _contiguous(left, received)
    fallen = Fallen(
        index=index,
        offset=seq_diff(reset.segment.seq, expected),
        left_edge=seq_diff(left, expected),
        right_edge=seq_diff(seq_add(left, last.segment.window), expected),
        sack=tuple((seq_diff(a, expected), seq_diff(b, expected)) for a, b in last.segment.sack),
        expected=number + seq_diff(expected, left),
        after_fin=any(p.segment.flags & FIN for p in received),
        rules=known_release(trace.linux),
        verdict=reset.verdict,
    )
    return replace(fallen, verdict=fallen.verdict or fallen.verdict_at(fallen.offset))


def _contiguous(left: int, received: Iterable[Packet]) -> int:
    """RCV.NXT: the end of the data received in order from `left` on."""
    expected = left
    for packet in sorted(received, key=lambda p: seq_diff(p.segment.seq, left)):
        segment = packet.segment
        if not after(segment.seq, expected) and after(segment.end_seq, expected):
            expected = segment.end_seq
    return expected


class NumberLine:
    """Offsets to x: neighbours are one unit apart, far ones by the logarithm of their distance."""

    def __init__(self, offsets: Iterable[int]) -> None:
        self.offsets = sorted(set(offsets))
        #: x of every offset named; there is some room on the left of the first.
        self.at = [2.5]
        for a, b in pairwise(self.offsets):
            self.at.append(self.at[-1] + (1 if b - a == 1 else 1.4 + 0.4 * math.log2(b - a)))
        self.end = self.at[-1] + 2.5

    def x(self, offset: int) -> float:
        """x of an offset between the first and the last one named."""
        i = bisect_right(self.offsets, offset) - 1
        if i + 1 == len(self.offsets):
            return self.at[i]
        part = (offset - self.offsets[i]) / (self.offsets[i + 1] - self.offsets[i])
        return self.at[i] + part * (self.at[i + 1] - self.at[i])


def _zones(fallen: Fallen, line: NumberLine) -> list[tuple[str, float, float]]:
    """(verdict, x from, x to) from left to right; neighbours of one verdict are one zone."""
    zones: list[tuple[str, float, float]] = []
    begin = 0.0
    for i, offset in enumerate(line.offsets):
        # Half way to the next offset named: where two verdicts meet, both neighbours are named.
        end = line.end if i + 1 == len(line.offsets) else (line.at[i] + line.at[i + 1]) / 2
        verdict = fallen.verdict_at(offset)
        if zones and zones[-1][0] == verdict:
            zones[-1] = (verdict, zones[-1][1], end)
        else:
            zones.append((verdict, begin, end))
        begin = end
    return zones


def _draw_reset(trace: Trace, fallen: Fallen, colours: look.Theme, title: str | None) -> Picture:
    held, fall = Line(), Line()
    edges = {fallen.left_edge, fallen.right_edge, 0, *(edge for block in fallen.sack for edge in block)}
    line = NumberLine([n + d for n in edges for d in (-1, 0, 1)] + [fallen.offset])
    packet = trace.packets[fallen.index]
    names, captions, marks = Text(), Text(), Line()
    zones = {verdict: Line() for verdict in VERDICTS}
    narrow: list[tuple[float, str]] = []
    for verdict, x0, x1 in _zones(fallen, line):
        zones[verdict].add(rectangle(x0, _BAR_TOP, x1, _BAR_BOTTOM))
        middle = (x0 + x1) / 2
        if x1 - x0 >= 2.4:
            name, y = f"<b>{verdict}</b>", (_BAR_TOP + _BAR_BOTTOM) / 2
            names.add(middle, y, name, "middle center", colours.ink)
        else:
            narrow.append((middle, f"exact: {verdict}" if x0 < line.x(0) < x1 else verdict))

    bottom: float = _BAR_BOTTOM
    rows = _rows(line, narrow)
    for (x, name), row in zip(narrow, rows, strict=True):
        y = _BAR_BOTTOM + 16 + row * _LINE
        names.add(x, y, f"<b>{name}</b>", "middle center", colours.ink)
        bottom = max(bottom, y + 10)
    landmarks = _landmarks(fallen, line)
    first = bottom + 14
    for (x, text), row in zip(landmarks, _rows(line, landmarks), strict=True):
        y = first + row * (2 * _LINE + 8)
        marks.add([(x, _BAR_BOTTOM), (x, y - 2)])
        captions.add(x, y + _LINE, text, "middle center", colours.ink)
        bottom = max(bottom, y + 2 * _LINE)
    for a, b in fallen.sack:
        about = f"held out of order (SACK): {fallen.expected + a:,}–{fallen.expected + b:,}"
        held.add([(line.x(a), _BAR_BOTTOM + 3), (line.x(b), _BAR_BOTTOM + 3)], about)

    x = line.x(fallen.offset)
    seq = fallen.expected + fallen.offset
    text = f"<b>RST</b> seq {seq} = {_position(fallen.offset)} → <b>{fallen.verdict}</b>"
    hover = hover_texts(trace, words(trace))[fallen.index]
    away, position = (-0.12, "middle left") if x > line.end / 2 else (0.12, "middle right")
    captions.add(x + away, 20, text, position, colours.error)
    whose = f"the window of <b>{escape(packet.receiver, False)}</b>, <i>not to scale</i>"
    captions.add(line.end, bottom + 16, whose, "middle left", colours.soft)
    fall.add([(x, 12), (x, _BAR_TOP)], hover, fallen.index)
    data = [
        *(
            polygon.trace(
                f"zone: {verdict}",
                line={"color": colours.ink, "width": 1},
                **filled(colours.zones[verdict], 0.35, VERDICTS[verdict].pattern, size=9, ground=0.18),
            )
            for verdict, polygon in zones.items()
        ),
        held.trace("held out of order", line={"color": colours.states["open"], "width": 7}),
        marks.trace("landmarks", line={"color": colours.soft, "width": 1}),
        fall.trace(
            "RST",
            mode="lines+markers",
            line={"color": colours.error, "width": 3, "dash": VERDICTS[fallen.verdict].dash},
            marker={
                "symbol": "arrow", "angleref": "previous", "size": [0, 18, 0], "color": colours.error,
                "opacity": 1,
            },
            customdata=fall.index,
        ),
        names.trace("zone names", colours),
        captions.trace("captions", colours),
    ]  # fmt: skip
    return Picture(data, _layout(colours, line.end, bottom + 28, title))


def _landmarks(fallen: Fallen, line: NumberLine) -> list[tuple[float, str]]:
    """(x, text) of every edge: its name over its number and offset."""
    names: dict[int, list[str]] = {fallen.left_edge: ["left edge"]}
    names.setdefault(0, []).insert(0, "RCV.NXT (next expected)")
    for a, b in fallen.sack:
        names.setdefault(a, []).append("held (SACK) from")
        names.setdefault(b, []).append("held (SACK) to")
    names.setdefault(fallen.right_edge, []).append("right edge")
    landmarks = []
    for offset in sorted(names):
        number = f"{fallen.expected + offset:,}"
        if offset:
            number = f"{number} ({offset:+,})".replace("-", "−")
        landmarks.append((line.x(offset), f"{', '.join(names[offset])}<br>{number}"))
    return landmarks


def _rows(line: NumberLine, words_at: list[tuple[float, str]]) -> list[int]:
    """A row for each of these texts, given from left to right with their x: no two overlap."""
    ends: list[float] = []  # px at which the texts of each row end
    rows = []
    for x, text in words_at:
        half = max(map(len, text.split("<br>"))) * look.CHARACTER / 2 + 6
        centre = x * _NARROW / line.end
        row = next((i for i, end in enumerate(ends) if end <= centre - half), len(ends))
        if row == len(ends):
            ends.append(0)
        ends[row] = centre + half
        rows.append(row)
    return rows


def _position(offset: int) -> str:
    if offset == 0:
        return "RCV.NXT"
    return f"RCV.NXT {'+' if offset > 0 else '−'} {abs(offset):,}"


def _layout(colours: look.Theme, end: float, bottom: float, title: str | None) -> dict[str, Any]:
    return look.layout(colours, bottom, title) | {
        "uirevision": "window",
        "dragmode": False,
        "xaxis": look.axis(range=[0, end], fixedrange=True),
        "yaxis": look.axis(range=[bottom, 0], fixedrange=True),
    }


class Closed(NamedTuple):
    """From when to when the sender's view of the window was zero, nanoseconds."""

    began: int
    ended: int


def receiver_of(trace: Trace) -> str:
    """The host that was sent the most payload, whose window is drawn; empty without payload."""
    got: Counter[str] = Counter()
    for packet in trace.packets:
        if packet.segment.length:
            got[packet.receiver] += packet.segment.length
    return max(got, key=got.__getitem__, default="")


def advertised(trace: Trace, receiver: str) -> list[tuple[int, int]]:
    """(instant, bytes): the changes of the window of `receiver` as they reached its peer."""
    steps: list[tuple[int, int]] = []
    arrived = (p for p in trace.packets if p.sender == receiver and p.arrives is not None)
    for packet in sorted(arrived, key=lambda p: p.arrives or 0):
        segment = packet.segment
        is_window = segment.flags & (ACK | SYN | RST) == ACK
        if is_window and (not steps or steps[-1][1] != segment.window):
            steps.append((packet.arrives or packet.t, segment.window))
    return steps


def closed_intervals(steps: list[tuple[int, int]], end: int) -> list[Closed]:
    """Where the window was zero, until it opened or the trace ended."""
    following = pairwise([*steps, (end, 0)])
    return [Closed(t, ended) for (t, size), (ended, _) in following if size == 0 and ended > t]


def draw_over_time(trace: Trace, *, title: str | None = None, dark: bool = False) -> Picture:
    """The window that the receiver of most of the data advertised, as its peer knew it.

    A closed window is hatched, with its length; window probes are markers below (a cross where lost),
    the receiver's recv() calls markers above.
    """
    colours = look.theme(dark)
    receiver = receiver_of(trace)
    steps = advertised(trace, receiver)
    end = _end(trace, receiver, steps)
    span = max(end - trace.start, 1)
    unit, name = look.clock(span / SECOND)
    top = max((size for _, size in steps), default=0)

    def x(t: int) -> float:
        return (t - trace.start) / (unit * SECOND)

    curve = Line()
    for (t, size), (until, _) in pairwise([*steps, (end, 0)]):
        when = f"{duration(t - trace.start)} to {duration(until - trace.start)}"
        about = f"window {size:,} bytes<br>from {when}"
        curve.x += [x(t), x(until)]
        curve.y += [size, size]
        curve.hover += [about, about]
    hatch, captions = Line(), Text()
    intervals = closed_intervals(steps, end)
    for closed in intervals:
        x0, x1 = x(closed.began), x(closed.ended)
        hatch.add(rectangle(x0, 0, x1, top))
        if closed.ended - closed.began >= _WORTH_A_WORD * span:
            text = f"<b>closed</b><br>{duration(closed.ended - closed.began)}"
            captions.add((x0 + x1) / 2, top / 2, text, "middle center", colours.ink)
    if intervals:
        whole = duration(sum(closed.ended - closed.began for closed in intervals))
        probes = sum(p.kind == WINDOW_PROBE and p.receiver == receiver for p in trace.packets)
        text = f"zero window for <b>{whole}</b> in all, window probes: <b>{probes}</b>"
        captions.add(x(end), 0.92 * top, text, "middle left", colours.ink)
    if not steps:
        text = "No window was advertised in this trace."
        captions.add(0.5, 0.5, text, "middle center", colours.soft)

    data = [
        hatch.trace(
            "window closed",
            line={"width": 0, "color": colours.soft},
            **filled(colours.zones["ignored"], 0, "/", size=9, solidity=0.18) | {"fillcolor": colours.paper},
        ),
        curve.trace("advertised window", line={"color": colours.probe, "width": 2.4, "shape": "linear"}),
        _probes(trace, receiver, colours, x, -0.1 * (top or 1)),
        _reads(trace, receiver, colours, x, 1.1 * (top or 1)),
        captions.trace("captions", colours),
    ]
    return Picture(data, _time_layout(colours, receiver, x(end) if steps else 1, top, name, title))


def _end(trace: Trace, receiver: str, steps: list[tuple[int, int]]) -> int:
    """Where the picture ends: with the run, or with the sender's socket if that is gone earlier."""
    last = max((p.t for p in trace.packets if p.sender != receiver), default=trace.start)
    last = max(last, steps[-1][0] if steps else last)
    gone = [s.t for s in trace.sockets if s.host != receiver and s.state == "CLOSED" and s.t >= last]
    return max(min(gone, default=trace.end), last)


def _probes(trace: Trace, receiver: str, colours: look.Theme, x: Any, y: float) -> dict[str, Any]:
    hovers = hover_texts(trace, words(trace))
    marks = [
        (x(p.t), "x-thin" if p.arrives is None else "triangle-up", hovers[i], i)
        for i, p in enumerate(trace.packets)
        if p.kind == WINDOW_PROBE and p.receiver == receiver
    ]
    return _markers("window probes", marks, y, colours.probe)


def _reads(trace: Trace, receiver: str, colours: look.Theme, x: Any, y: float) -> dict[str, Any]:
    text = "<b>recv() → {} bytes</b><br>at {}"
    marks = [
        (x(call.t), "line-ns", text.format(call.result, duration(call.t - trace.start)), i)
        for i, call in enumerate(trace.calls)
        if call.host == receiver and call.call.startswith("recv") and call.result.isdigit()
    ]
    return _markers("reads", marks, y, colours.ink)


def _markers(name: str, marks: list[tuple[float, str, str, int]], y: float, colour: str) -> dict[str, Any]:
    symbols = [symbol for _, symbol, *_ in marks]
    return {
        "type": "scatter", "name": name, "mode": "markers", "cliponaxis": False,
        "x": [x for x, *_ in marks], "y": [y] * len(marks),
        "hovertext": [hover for _, _, hover, _ in marks], "hoverinfo": "text",
        "customdata": [i for *_, i in marks],
        "marker": {"symbol": symbols, "size": 10, "color": colour, "line": {"width": 1.6, "color": colour}},
    }  # fmt: skip


def _time_layout(
    colours: look.Theme, receiver: str, end: float, top: int, unit: str, title: str | None
) -> dict[str, Any]:
    heights = sorted({0, top // 2, top})
    room, reads = top or 1, f"{escape(receiver, False)} reads".lstrip()
    return look.layout(colours, _HEIGHT, title, left=130, right=30, bottom=56) | {
        "uirevision": "window",
        "xaxis": look.grid_axis(
            colours, "time since the first segment", range=[-0.01 * end, 1.01 * end], ticksuffix=f" {unit}"
        ),
        "yaxis": look.grid_axis(
            colours,
            range=[-0.18 * room, 1.18 * room],
            tickvals=[-0.1 * room, *heights, 1.1 * room],
            ticktext=["probes", "0", *(f"{size:,.0f} bytes" for size in heights[1:]), reads],
            fixedrange=True,
        ),
    }
