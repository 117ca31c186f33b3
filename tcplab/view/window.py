"""The receive window, seen two ways: as a number line on which a RST falls, and over time.

`window(trace)` shows the first where somebody's RST had to be judged (a forged one, or one that was
not obeyed), else the second. The zones of the number line come from the receiver's own rule,
`model/rst.py`; its edges from what the receiver last sent and what had reached it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from tcplab.model.rst import reset_verdict
from tcplab.releases import NEWEST, Release, UnknownRelease, release
from tcplab.segment import ACK, FIN, RST, after, seq_add, seq_diff
from tcplab.trace import Passage, Trace
from tcplab.view import theme as look
from tcplab.view.marks import Line, Picture, Text
from tcplab.view.overtime import draw_over_time, window_over_time
from tcplab.view.words import hover_texts, words

__all__ = ["Fallen", "draw_window", "fallen_reset", "window", "window_at_reset", "window_over_time"]

#: Fill pattern by verdict, beside the colour and the name.
PATTERNS = {"accepted": "", "challenged": "/", "ignored": "."}
#: y in px of the bar of zones.
_BAR_TOP, _BAR_BOTTOM = 92, 138
_LINE = 18
#: How wide the number line is taken to be when its words are kept apart, px.
_NARROW = 720


@dataclass(frozen=True, slots=True)
class Fallen:
    """A RST and the window that it met. Offsets are bytes from the receiver's RCV.NXT."""

    #: Which of the trace's passages.
    index: int
    offset: int
    #: RCV.NXT as of the last ACK sent, 0 or negative; and the end of the advertised window.
    left_edge: int
    right_edge: int
    #: Blocks held out of order as the receiver had said, (left, right) each.
    sack: tuple[tuple[int, int], ...]
    #: RCV.NXT in relative numbers, as Wireshark shows it.
    expected: int
    #: The peer has said that it has nothing more to send.
    after_fin: bool
    rules: Release
    #: What the receiver made of it, or would by the rule where the trace does not tell.
    verdict: str

    def verdict_at(self, offset: int) -> str:
        """What this receiver does with a RST at an offset, by the rule of its Linux version."""
        return reset_verdict(
            seq_add(0, offset),
            rcv_nxt=0,
            left_edge=seq_add(0, self.left_edge),
            right_edge=seq_add(0, self.right_edge),
            release=self.rules,
            state="CLOSE_WAIT" if self.after_fin else "ESTABLISHED",
            sack_edge=max((right for _, right in self.sack), default=None),
        )


def window(trace: Trace, *, title: str | None = None, dark: bool = False) -> go.Figure:
    """The window as it matters in this trace: where a RST falls, or how it opens and closes."""
    return draw_window(trace, title=title, dark=dark).figure()


def draw_window(trace: Trace, *, title: str | None = None, dark: bool = False) -> Picture:
    """What `window` shows, as plain data."""
    fallen = fallen_reset(trace)
    if fallen is not None and _was_judged(trace.passages[fallen.index]):
        return _draw_reset(trace, fallen, look.theme(dark), title)
    return draw_over_time(trace, title=title, dark=dark)


def window_at_reset(trace: Trace, *, title: str | None = None, dark: bool = False) -> go.Figure:
    """The number line with the RST that `fallen_reset` finds; empty with a word where there is none."""
    colours = look.theme(dark)
    fallen = fallen_reset(trace)
    if fallen is None:
        words_alone = Text()
        words_alone.add(0.5, 40, "No RST met a window in this trace.", "middle center", colours.soft)
        picture = Picture([words_alone.trace("captions", colours)], _layout(colours, 1, 80, title))
        return picture.figure()
    return _draw_reset(trace, fallen, colours, title).figure()


def _was_judged(passage: Passage) -> bool:
    return passage.kind == "forged" or passage.verdict in ("challenged", "ignored")


def fallen_reset(trace: Trace) -> Fallen | None:
    """The RST to look at: the first that was forged or not obeyed, else the first with a window to meet."""
    arrived = [i for i, p in enumerate(trace.passages) if p.segment.flags & RST and p.arrives is not None]
    for i in sorted(arrived, key=lambda i: not _was_judged(trace.passages[i])):
        if fallen := _fallen(trace, i):
            return fallen
    return None


def _fallen(trace: Trace, index: int) -> Fallen | None:
    """The window that RST number `index` met; None where its receiver had advertised none yet."""
    reset = trace.passages[index]
    when = reset.arrives or reset.t
    last: Passage | None = None
    number = 0
    numbers = trace.relative()
    for i, passage in enumerate(trace.passages):
        s = passage.segment
        is_from_victim = (s.source, s.destination) == (reset.segment.destination, reset.segment.source)
        # What it sends at the same moment is its answer, not what went before.
        if is_from_victim and s.flags & ACK and not s.flags & RST and passage.t < when and i != index:
            last, number = passage, numbers[i].ack
    if last is None:
        return None
    left = last.segment.ack
    received = [
        p
        for p in trace.passages
        if (p.segment.source, p.segment.destination) == (reset.segment.source, reset.segment.destination)
        and p.arrives is not None
        and p.arrives <= when
        and not p.segment.flags & RST
    ]
    expected = _contiguous(left, received)
    try:
        rules = release(trace.linux or NEWEST)
    except UnknownRelease:
        rules = release(NEWEST)
    fallen = Fallen(
        index=index,
        offset=seq_diff(reset.segment.seq, expected),
        left_edge=seq_diff(left, expected),
        right_edge=seq_diff(seq_add(left, last.segment.window), expected),
        sack=tuple((seq_diff(a, expected), seq_diff(b, expected)) for a, b in last.segment.sack),
        expected=number + seq_diff(expected, left),
        after_fin=any(p.segment.flags & FIN for p in received),
        rules=rules,
        verdict=reset.verdict,
    )
    if fallen.verdict:
        return fallen
    judged = {field: getattr(fallen, field) for field in fallen.__slots__}
    return Fallen(**judged | {"verdict": fallen.verdict_at(fallen.offset)})


def _contiguous(left: int, received: Iterable[Passage]) -> int:
    """RCV.NXT: how far from `left` on everything has come."""
    expected = left
    for passage in sorted(received, key=lambda p: seq_diff(p.segment.seq, left)):
        segment = passage.segment
        if not after(segment.seq, expected) and after(segment.end_seq, expected):
            expected = segment.end_seq
    return expected


class NumberLine:
    """Offsets to x: neighbours are one unit apart, far ones by the logarithm of their distance."""

    def __init__(self, offsets: Iterable[int]) -> None:
        self.offsets = sorted(set(offsets))
        #: x of every offset named, starting after some room for what lies further left.
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
    edges = {fallen.left_edge, fallen.right_edge, 0, *(edge for block in fallen.sack for edge in block)}
    line = NumberLine([n + d for n in edges for d in (-1, 0, 1)] + [fallen.offset])
    passage = trace.passages[fallen.index]
    names, captions, marks = Text(), Text(), Line()
    zones = {verdict: Line() for verdict in PATTERNS}
    narrow: list[tuple[float, str]] = []
    for verdict, x0, x1 in _zones(fallen, line):
        zones[verdict].add(
            [(x0, _BAR_TOP), (x1, _BAR_TOP), (x1, _BAR_BOTTOM), (x0, _BAR_BOTTOM), (x0, _BAR_TOP)]
        )
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
    held = Line()
    for a, b in fallen.sack:
        about = f"held out of order (SACK): {fallen.expected + a:,}–{fallen.expected + b:,}"
        held.add([(line.x(a), _BAR_BOTTOM + 3), (line.x(b), _BAR_BOTTOM + 3)], about)

    x = line.x(fallen.offset)
    seq = fallen.expected + fallen.offset
    text = f"<b>RST</b> seq {seq} = {_position(fallen.offset)} → <b>{fallen.verdict}</b>"
    hover = hover_texts(trace, words(trace))[fallen.index]
    away, where = (-0.12, "middle left") if x > line.end / 2 else (0.12, "middle right")
    captions.add(x + away, 20, text, where, colours.error)
    whose = f"the window of <b>{escape(passage.receiver, False)}</b>, <i>not to scale</i>"
    captions.add(line.end, bottom + 16, whose, "middle left", colours.soft)
    fall = Line()
    fall.add([(x, 12), (x, _BAR_TOP)], hover, fallen.index)
    dash = {"challenged": "dash", "ignored": "dot"}.get(fallen.verdict, "solid")
    data = [
        *(
            polygon.trace(
                f"zone: {verdict}",
                fill="toself",
                fillcolor=look.tint(colours.zones[verdict], 0.35),
                fillpattern={
                    "shape": PATTERNS[verdict],
                    "fgcolor": colours.zones[verdict],
                    "bgcolor": look.tint(colours.zones[verdict], 0.18),
                    "size": 9,
                    "solidity": 0.16,
                },
                line={"color": colours.ink, "width": 1},
            )
            for verdict, polygon in zones.items()
        ),
        held.trace("held out of order", line={"color": colours.states["open"], "width": 7}),
        marks.trace("landmarks", line={"color": colours.soft, "width": 1}),
        fall.trace(
            "RST",
            mode="lines+markers",
            line={"color": colours.error, "width": 3, "dash": dash},
            marker={
                "symbol": "arrow",
                "angleref": "previous",
                "size": [0, 18, 0],
                "color": colours.error,
                "opacity": 1,
            },
            customdata=fall.index,
        ),
        names.trace("zone names", colours),
        captions.trace("captions", colours),
    ]
    return Picture(data, _layout(colours, line.end, bottom + 28, title))


def _landmarks(fallen: Fallen, line: NumberLine) -> list[tuple[float, str]]:
    """(x, words) of every edge: its name over its number and offset."""
    said: dict[int, list[str]] = {fallen.left_edge: ["left edge"]}
    said.setdefault(0, []).insert(0, "RCV.NXT (next expected)")
    for a, b in fallen.sack:
        said.setdefault(a, []).append("held (SACK) from")
        said.setdefault(b, []).append("held (SACK) to")
    said.setdefault(fallen.right_edge, []).append("right edge")
    found = []
    for offset in sorted(said):
        number = f"{fallen.expected + offset:,}"
        if offset:
            number = f"{number} ({offset:+,})".replace("-", "−")
        found.append((line.x(offset), f"{', '.join(said[offset])}<br>{number}"))
    return found


def _rows(line: NumberLine, words_at: list[tuple[float, str]]) -> list[int]:
    """A row for each of these words, given from left to right with their x, so that no two touch."""
    ends: list[float] = []  # px at which the words of each row end
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
    margin = {"l": 16, "r": 16, "t": 36 if title else 12, "b": 8}
    return look.layout(colours, height=bottom + margin["t"] + margin["b"], margin=margin, title=title) | {
        "uirevision": "window",
        "dragmode": False,
        "xaxis": look.axis(range=[0, end], fixedrange=True),
        "yaxis": look.axis(range=[bottom, 0], fixedrange=True),
    }
