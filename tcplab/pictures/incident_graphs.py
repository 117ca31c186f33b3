"""The graphs of one connection: bytes over time with acknowledgements, SACK and window, in flight, and times.

What tcptrace and Wireshark call time–sequence (Stevens, tcptrace), window scaling and round-trip time, on one
axis, for the side that sent more. A sentence says who limited it. Not drawn: a D-SACK block (RFC 2883) as if
data had arrived behind a hole, and a window's end far above the data, which would flatten them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from math import ceil, floor, log10
from typing import Any

from tcplab.core.connections import acks
from tcplab.core.segment import RST, SYN, seq_diff
from tcplab.core.table import html_table
from tcplab.core.text import SECOND, clock, plural, short_duration, size
from tcplab.core.trace import Packet, Trace
from tcplab.follow import CLIENT, OTHER, RETRANSMISSION, SERVER
from tcplab.pictures.svg import (
    Caption,
    Drawing,
    Fill,
    Item,
    Polygon,
    Polyline,
    Rect,
    Stroke,
    Symbol,
    blend,
    text_width,
)
from tcplab.pictures.theme import MarkStyle, theme
from tcplab.pictures.timeline_look import Axis
from tcplab.pictures.wallclock import WallAxis

#: So many packets of a connection are drawn.
MOST = 20_000
#: Heights of the three panels and the room above each, px; the gutter of numbers, and right of the axis.
PANELS, TITLE, LEFT, RIGHT = (180.0, 70.0, 84.0), 30.0, 92.0, 12.0
#: A window that ends this many times as far up as the data leaves the scale.
FAR = 2.5
#: The window counts as the limit where less than so much of it was free, and for this share of the time.
ALMOST, OFTEN = 0.1, 0.25
#: The capture was written near one end where the other's times are longer by this factor.
NEAR = 3.0
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class SentBytes:
    """A segment with data: when, its first byte and the one after it, and whether it was sent before."""

    t_s: float
    low: int
    high: int
    again: bool


@dataclass(frozen=True, slots=True)
class AckedBytes:
    """An acknowledgement: when, up to where, and how many bytes of window it leaves."""

    t_s: float
    upto: int
    window: int


@dataclass(frozen=True)
class ConnectionGraphs:
    """What the graphs of one connection show; seconds since its first packet, bytes since its first byte."""

    trace: Trace
    #: Who sent more: `client` or `server`.
    side: str
    sent: tuple[SentBytes, ...]
    acked: tuple[AckedBytes, ...]
    #: Blocks that arrived behind a hole: when it was said, and their bytes.
    sacked: tuple[tuple[float, int, int], ...]
    #: Nanoseconds since 1970 at the connection's first packet.
    began: int = 0

    @property
    def length_s(self) -> float:
        """From the first packet to the last, seconds; never 0."""
        packets = self.trace.packets
        return max((packets[-1].t - packets[0].t) / SECOND, 1e-6) if packets else 1e-6

    @property
    def peer(self) -> str:
        """Who received it."""
        return OTHER[self.side]

    @cached_property
    def reset_s(self) -> float | None:
        """When the first RST passed."""
        return next((self._s(p) for p in self.trace.packets if p.segment.flags & RST), None)

    def _s(self, packet: Packet) -> float:
        return (packet.t - self.trace.packets[0].t) / SECOND

    @cached_property
    def in_flight(self) -> tuple[Point, ...]:
        """Bytes that were sent and not acknowledged, from each moment on."""
        events = [(each.t_s, 0, each.high) for each in self.sent]
        events += [(each.t_s, 1, each.upto) for each in self.acked]
        top = low = self.sent[0].low if self.sent else 0
        points = []
        for t, is_ack, value in sorted(events):
            top, low = (top, max(low, value)) if is_ack else (max(top, value), low)
            points.append((t, float(max(top - low, 0))))
        return tuple(points)

    @cached_property
    def closed(self) -> tuple[Point, ...]:
        """When the receiver's window was 0, seconds."""
        found: list[Point] = []
        since: float | None = None
        end = self.length_s if self.reset_s is None else self.reset_s
        for each in self.acked:
            if not each.window and since is None:
                since = each.t_s
            elif each.window and since is not None:
                found.append((since, each.t_s))
                since = None
        if since is not None and end > since:
            found.append((since, end))
        return tuple(found)

    def round_trips(self, side: str) -> list[Point]:
        """(when, seconds until it was acknowledged) of each segment whose ACK measures the path.

        Not one that was sent again (Karn's rule), nor those behind it, whose ACK waited for it.
        """
        waiting: deque[Point] = deque()
        times: list[Point] = []
        base: int | None = None
        for p in self.trace.packets:
            s = p.segment
            if p.sender == side and s.length:
                base = s.seq if base is None else base
                high = seq_diff(s.end_seq, base)
                if p.kind != RETRANSMISSION:
                    waiting.append((high, self._s(p)))
                while p.kind == RETRANSMISSION and waiting and waiting[-1][0] >= high:
                    waiting.pop()
            elif p.sender != side and base is not None and acks(s) and not s.flags & RST:
                upto = seq_diff(s.ack, base)
                while waiting and waiting[0][0] <= upto:
                    _, t = waiting.popleft()
                    times.append((t, self._s(p) - t))
        return times

    @cached_property
    def answers(self) -> list[Point]:
        """(when, seconds until the server's first byte) of each question."""
        found: list[Point] = []
        asked: float | None = None
        for p in self.trace.packets:
            if not p.segment.length or p.kind == RETRANSMISSION:
                continue
            if p.sender == CLIENT:
                asked = self._s(p)
            elif asked is not None:
                found.append((asked, self._s(p) - asked))
                asked = None
        return found

    # -- in words ----------------------------------------------------------------------------

    def moments(self, most: int = 1000) -> list[tuple[float, str]]:
        """When something passed, seconds, and what, in words: the first `most` of them."""
        said = [
            (each.t_s, f"the {self.side} sends {size(each.high - each.low)}{', again' * each.again}")
            for each in self.sent
        ]
        said += [
            (each.t_s, f"the {self.peer} acknowledges {size(each.upto)}, window {size(each.window)}")
            for each in self.acked
        ]
        return sorted(said)[:most]

    @cached_property
    def limit(self) -> str:
        """Who limited it, in one sentence."""
        if not self.sent:
            return "No data passed here."
        shut = sum(b - a for a, b in self.closed)
        if self.closed and shut >= 0.02 * self.length_s:
            return (
                f"For {_words(shut)} of {_words(self.length_s)} the {self.peer}’s window was closed: its "
                f"program did not read, and the {self.side} could not send, whatever the network did."
            )
        if lost := self._never_acknowledged():
            return (
                f"The last {size(lost)} of the {self.side} were never acknowledged here: the {self.peer} or "
                "the path to it was the limit."
            )
        again = [each for each in self.sent if each.again]
        if again:
            waits = self._repeat_times()
            after = f", {_range(waits)} after the first time" if waits else ""
            return (
                f"{plural(len(again), 'segment')} of the {self.side} had to be sent again{after}; "
                "all data was acknowledged in the end."
            )
        busy, full = self._shares()
        if full >= OFTEN:
            return (
                f"The {self.peer}’s window was the limit: for {full:.0%} of the time that data was in flight "
                "it left no room for another segment."
            )
        return (
            f"Neither the window nor losses limited it: for {_percent(1 - busy)} of {_words(self.length_s)} "
            f"nothing was in flight, since the {self.side}’s program had nothing to send."
        )

    @cached_property
    def remarks(self) -> str:
        """What else a reader should know."""
        again = sum(each.again for each in self.sent)
        total = sum(each.high - each.low for each in self.sent)
        said = [
            f"{plural(len(self.sent), 'segment')}, {size(total)} sent by the {self.side}, "
            + (f"{again:,} of them sent again." if again else "none sent again.")
        ]
        if self.far(0.0, self.length_s):
            least = min((each.window for each in self.acked), default=0)
            said.append(f"The window’s end is above the scale (at least {size(least)}).")
        if near := self._written_near():
            shortest = min(value for _, value in self.round_trips(near))
            shape = "triangles" if near == CLIENT else "dots"
            said.append(
                f"The file was written near the {near}: only the {shape} measure the network "
                f"(shortest {_words(shortest)})."
            )
        return " ".join(said)

    def _never_acknowledged(self) -> int:
        """Bytes at the end that were sent more than once and never acknowledged."""
        top = max(each.high for each in self.sent)
        acked = max((each.upto for each in self.acked), default=self.sent[0].low)
        tail = [each for each in self.sent if each.high > acked]
        return max(top - acked, 0) if sum(each.again for each in tail) else 0

    def _repeat_times(self) -> list[float]:
        first: dict[int, float] = {}
        waits = []
        for each in self.sent:
            if each.again and each.low in first:
                waits.append(each.t_s - first[each.low])
            first.setdefault(each.low, each.t_s)
        return waits

    def _shares(self) -> tuple[float, float]:
        """The share of the time in which data was in flight, and in which it filled the window then."""
        windows = iter([*((each.t_s, each.window) for each in self.acked), (float("inf"), 0)])
        window, upcoming = float("inf"), next(windows)
        busy = full = 0.0
        for (t, flying), (later, _) in pairwise([*self.in_flight, (self.length_s, 0.0)]):
            while upcoming[0] <= t:
                window, upcoming = upcoming[1], next(windows)
            busy += (later - t) * (flying > 0)
            full += (later - t) * (0 < flying >= (1 - ALMOST) * window)
        return min(busy / self.length_s, 1.0), full / busy if busy else 0.0

    def far(self, low_s: float, high_s: float) -> bool:
        """The window's end in this part is so far above the data that it leaves the scale."""
        sent = [each for each in self.sent if low_s <= each.t_s <= high_s]
        edges = [each.upto + each.window for each in self.acked if low_s <= each.t_s <= high_s]
        if not sent or not edges:
            return False
        foot = min(each.low for each in sent)
        return max(edges) - foot > FAR * max(max(each.high for each in sent) - foot, 1)

    def _written_near(self) -> str:
        """`client` or `server` where handshake and shortest acknowledgement agree; empty where they don't.

        Named is the side whose data measures the network.
        """
        syn, accepted, last = self._handshake()
        client, server = ([v for _, v in self.round_trips(side)] for side in (CLIENT, SERVER))
        if not client or not server or None in (syn, accepted, last):
            return ""
        assert syn is not None and accepted is not None and last is not None
        far, here = accepted - syn, last - accepted
        if min(client) > NEAR * min(server) and far > NEAR * here:
            return CLIENT
        if min(server) > NEAR * min(client) and here > NEAR * far:
            return SERVER
        return ""

    def _handshake(self) -> tuple[float | None, float | None, float | None]:
        syns = [p for p in self.trace.packets[:6] if p.segment.flags & SYN]
        if [p.sender for p in syns] != [CLIENT, SERVER]:
            return None, None, None
        third = next((p for p in self.trace.packets[:8] if p.sender == CLIENT and acks(p.segment)
                      and not p.segment.flags & SYN), None)  # fmt: skip
        return self._s(syns[0]), self._s(syns[1]), None if third is None else self._s(third)

    def table(self) -> str:
        """The graphs as an HTML table: a row for each series."""
        rows = [("who limited it", self.limit), ("also", self.remarks)]
        for side in (CLIENT, SERVER):
            if times := sorted(value for _, value in self.round_trips(side)):
                middle = times[len(times) // 2]
                said = f"shortest {_words(times[0])}, median {_words(middle)}, longest {_words(times[-1])}"
                rows.append((f"the {side}’s data acknowledged after", said))
        if answers := sorted(value for _, value in self.answers):
            rows.append(("first byte of the answer after", f"{_words(answers[0])} to {_words(answers[-1])}"))
        if self.in_flight:
            rows.append(("most in flight", size(max(value for _, value in self.in_flight))))
        return html_table(("graph", "what it shows"), rows)


def _words(seconds: float) -> str:
    return short_duration(round(seconds * SECOND))


def _percent(share: float) -> str:
    return "more than 99%" if share > 0.99 else f"{share:.0%}"


def _range(values: Sequence[float]) -> str:
    texts = [_words(value) for value in (min(values), max(values))]
    return texts[0] if texts[0] == texts[1] else f"{texts[0]} to {texts[1]}"


def read_graphs(trace: Trace, began: int = 0) -> ConnectionGraphs:
    """The series of a connection of `client` and `server`; `began`: when it began, ns since 1970."""
    packets = trace.packets
    total = {side: sum(p.segment.length for p in packets if p.sender == side) for side in (CLIENT, SERVER)}
    side = max(total, key=lambda each: total[each])
    first = packets[0].t if packets else 0
    own = [p for p in packets if p.sender == side and p.segment.length]
    if not own:
        return ConnectionGraphs(trace, side, (), (), (), began)
    base = own[0].segment.seq
    near = 0  # numbers are unwrapped around the highest one so far
    sent: list[SentBytes] = []
    acked: list[AckedBytes] = []
    sacked: list[tuple[float, int, int]] = []

    def place(number: int) -> int:
        return near + seq_diff(number, (base + near) & 0xFFFFFFFF)

    for p in packets:
        t, s = (p.t - first) / SECOND, p.segment
        if p.sender == side and s.length:
            low = place(s.seq)
            sent.append(SentBytes(t, low, low + s.length, p.kind == RETRANSMISSION))
            near = max(near, low + s.length)
        elif p.sender != side and acks(s) and not s.flags & (SYN | RST):
            upto = place(s.ack)
            acked.append(AckedBytes(t, upto, s.window))
            blocks = [(place(left), place(right)) for left, right in s.sack]
            # RFC 2883: a first block below the ACK, or inside the second, was received twice.
            twice = blocks[:1] and (
                blocks[0][1] <= upto
                or any(left <= blocks[0][0] and blocks[0][1] <= right for left, right in blocks[1:])
            )
            sacked += [(t, *block) for block in (blocks[1:] if twice else blocks) if block[0] >= upto]
    return ConnectionGraphs(trace, side, tuple(sent), tuple(acked), tuple(sacked), began)


@dataclass
class GraphDrawing(Drawing):
    """The graphs in px, with the axis of a living timeline."""

    axis: Axis = field(kw_only=True)
    top: float = 0.0
    bottom: float = 0.0


class _GraphLayout:
    """The panels being laid out."""

    def __init__(self, graphs: ConnectionGraphs, window: Point, drawing: GraphDrawing) -> None:
        self.graphs, self.drawing, self.colours = graphs, drawing, drawing.theme
        self.low, self.high = window
        self.left, self.right = LEFT, drawing.width - RIGHT
        began = graphs.began
        self.axis = WallAxis(began, self.low, self.high, self.left, self.right)
        self.x = self.axis.x
        self.end = self.high if graphs.reset_s is None else min(self.high, graphs.reset_s)
        self.back: list[Item] = []
        self.items: list[Item] = []
        self.texts: list[Item] = []
        self.y = 0.0
        self.legend: dict[str, str] = {}

    def _colour(self, name: str) -> str:
        return self.colours.of(MarkStyle(name))

    def _inside(self, t_s: float) -> bool:
        return self.low <= t_s <= self.high

    def _title(self, text: str) -> None:
        self.texts.append(Caption(0, self.y + 20, text, self.colours.ink, bold=True))
        self.y += TITLE

    def _level(self, y: float, text: str) -> None:
        self.back.append(Stroke(self.left, y, self.right, y, self.colours.faint, 0.5))
        boxes = [item.y for item in self.texts if isinstance(item, Caption) and item.anchor == "end"]
        if all(abs(y + 5 - other) >= 15 for other in boxes):
            self.texts.append(Caption(self.left - 6, y + 5, text, self.colours.soft, "end"))

    def _stairs(self, points: Sequence[Point], place: Any) -> list[Point]:
        """A step curve in px: what it was before the window, and its changes in it, one a px."""
        before = [value for t, value in points if t < self.low][-1:]
        made: list[Point] = [(self.left, place(before[0]))] if before else []
        for t, value in points:
            if not self._inside(t):
                continue
            x, y = round(self.x(t), 1), place(value)
            if made:
                made.append((x, made[-1][1]))
            made.append((x, y))
        if made:
            made.append((self.x(self.end), made[-1][1]))
        return _thinned(made)

    def draw(self) -> GraphDrawing:
        """The panels, the axis and the legend."""
        self.drawing.top = TITLE
        self._bytes()
        self._flight()
        self._times()
        self._axis()
        self._explain()
        self.drawing.height = self.y
        self.drawing.add(*self.back, *self.items, *self.texts)
        return self.drawing

    def _bytes(self) -> None:
        graphs, height = self.graphs, PANELS[0]
        self._title(f"bytes of the {graphs.side}")
        top = self.y
        sent = [each for each in graphs.sent if self._inside(each.t_s)] or list(graphs.sent[-1:])
        acked = [each for each in graphs.acked if self._inside(each.t_s)]
        lows = [each.low for each in sent] + [each.upto for each in acked]
        highs = [each.high for each in sent] + [each.upto for each in acked]
        far = graphs.far(self.low, self.high)
        if not far:
            highs += [each.upto + each.window for each in acked]
        low, top_value = min(lows, default=0), max(highs, default=1)
        high = low + max(top_value - low, 1) * 1.06

        def place(value: float) -> float:
            return top + height - (min(max(value, low), high) - low) / (high - low) * height

        for value in _round_values(low, high):
            self._level(place(value), size(value))
        for a, b in graphs.closed:
            if b >= self.low and a <= self.high:
                self._closed_window(a, b, top, height)
        if not far and graphs.acked:
            edges = [(each.t_s, float(each.upto + each.window)) for each in graphs.acked]
            self._line(self._stairs(edges, place), "cursor", "window ends here", 1.4, "5 3")
        self._line(
            self._stairs([(e.t_s, float(e.upto)) for e in graphs.acked], place), "open", "acknowledged", 1.8
        )
        self._segments(place)
        self.y += height

    def _segments(self, place: Any) -> None:
        """Segments and SACK blocks, those of one px joined."""
        colours = self.colours
        columns: dict[tuple[int, bool], list[tuple[int, int]]] = {}
        for each in self.graphs.sent:
            if self._inside(each.t_s):
                columns.setdefault((round(self.x(each.t_s)), each.again), []).append((each.low, each.high))
        for (x, again), blocks in columns.items():
            for low, high in _joined(blocks):
                y0, y1 = place(low), min(place(high), place(low) - 1.5)
                self.items.append(
                    Stroke(x, y0, x, y1, colours.error if again else colours.ink, 3 if again else 2)
                )
                if again:
                    self.items.append(Symbol(x, min(y0 + 8, self.y + PANELS[0] + 4), "up", colours.repeat, 4))
            self.legend["sent again" if again else "sent"] = "again" if again else "sent"
        said: dict[int, list[tuple[int, int]]] = {}
        for t, low, high in self.graphs.sacked:
            if self._inside(t):
                said.setdefault(round(self.x(t)), []).append((low, high))
        for x, blocks in said.items():
            for low, high in _joined(blocks):
                self.items.append(Stroke(x + 3, place(low), x + 3, place(high), colours.probe, 4))
            self.legend["arrived behind a hole (SACK)"] = "sack"

    def _closed_window(self, from_s: float, to_s: float, top: float, height: float) -> None:
        x0, x1 = self.x(from_s), max(self.x(to_s), self.x(from_s) + 1)
        ink = self._colour("open")
        title = f"window closed for {_words(to_s - from_s)}"
        fill = Fill(blend(ink, 0.22, self.colours.paper), "|", ink)
        self.back.append(Rect(x0, top, x1 - x0, height, fill, title))
        text = f"window closed {_words(to_s - from_s)}"
        if text_width(text) + 12 < x1 - x0:
            at = Caption(
                (x0 + x1) / 2, top + height * 0.6, text, self.colours.ink, "middle", halo=self.colours.paper
            )
            self.texts.append(at)
        self.legend["window closed"] = "closed"

    def _line(self, points: Sequence[Point], colour: str, words: str, width: float, dash: str = "") -> None:
        if len(points) > 1:
            self.items.append(Polyline(tuple(points), self._colour(colour), width, dash))
            self.legend[words] = words

    def _flight(self) -> None:
        graphs, height = self.graphs, PANELS[1]
        self._title("in flight")
        top = self.y
        inside = [value for t, value in graphs.in_flight if self._inside(t)]
        most = max(inside, default=0.0) or 1.0
        windows = [(each.t_s, float(each.window)) for each in graphs.acked]
        far = graphs.far(self.low, self.high)
        widest = max((value for t, value in windows if self._inside(t)), default=0.0)
        scale = most * 1.15 if far else max(most, min(widest, most * 2.2)) * 1.08

        def place(value: float) -> float:
            return top + height - min(value, scale) / scale * height

        self._level(place(most), size(most))
        self._level(top + height, "0")
        points = self._stairs(graphs.in_flight, place)
        if len(points) > 1:
            foot = top + height
            blue = self._colour("keepalive")
            area = ((points[0][0], foot), *points, (points[-1][0], foot))
            self.items.append(Polygon(area, Fill(blend(blue, 0.3, self.colours.paper))))
            self.items.append(Polyline(tuple(points), blue, 1.2))
        if not far:
            self._line(self._stairs(windows, place), "cursor", "window ends here", 1.4, "5 3")
        self.y += height

    def _times(self) -> None:
        graphs, height = self.graphs, PANELS[2]
        self._title("times (log)")
        top = self.y
        series = [
            (graphs.round_trips(SERVER), "dot", "soft", 2.4, "", "server’s data acknowledged after"),
            (graphs.round_trips(CLIENT), "up", "open", 3.2, "", "client’s data acknowledged after"),
            (graphs.answers, "diamond", "ink", 4.0, self.colours.paper, "first byte of the answer after"),
        ]
        shown = [value for points, *_ in series for t, value in points if self._inside(t)]
        values = [max(value, 1e-6) for value in shown] or [1e-3, 1.0]
        first, last = floor(log10(min(values)) + 1e-9), ceil(log10(max(values)) - 1e-9)
        last = max(last, first + 1)

        def place(value: float) -> float:
            return top + height - (log10(max(value, 1e-6)) - first) / (last - first) * height

        for power in range(first, last + 1):
            self._level(place(10.0**power), _words(10.0**power) if power < 0 else f"{10**power:,} s")
        for points, symbol, colour, radius, paper, words in series:
            drawn = set()
            for t, value in points:
                at = round(self.x(t)), round(place(value))
                if self._inside(t) and at not in drawn:
                    drawn.add(at)
                    title = f"{words} {_words(value)}" if len(points) <= 400 else ""
                    self.items.append(Symbol(*at, symbol, self._colour(colour), radius, title, paper))
            if drawn:
                self.legend[words] = words
        self.y += height

    def _axis(self) -> None:
        foot = self.y + 6
        self.drawing.bottom = foot
        self.back.append(Stroke(self.left, foot, self.drawing.width, foot, self.colours.soft))
        last = -1.0
        for x, text in self.axis.ticks():
            self.back.append(Stroke(x, TITLE, x, foot, self.colours.faint, 0.7))
            half = text_width(text) / 2
            at = min(max(x, self.left + half), self.drawing.width - half)
            if at - half > last + 6:
                self.texts.append(Caption(at, foot + 17, text, self.colours.soft, "middle"))
                last = at + half
        self.texts.append(Caption(0, foot + 17, "UTC", self.colours.soft))
        reset = self.graphs.reset_s
        if reset is not None and self._inside(reset):
            x, error = self.x(reset), self.colours.error
            title = f"RST, {clock(self.graphs.began + round(reset * SECOND))}"
            self.items.append(Stroke(x, TITLE, x, foot, error, 1, "3 3"))
            self.items.append(Symbol(x, TITLE + 8, "bolt", error, 6, title))
            self.legend["RST"] = "rst"
        self.y = foot + 24

    def _explain(self) -> None:
        x = 0.0
        for words, name in self.legend.items():
            width = 26 + text_width(words)
            if x and x + width > self.drawing.width:
                x, self.y = 0.0, self.y + 18
            self._sample(name, x, self.y + 9)
            self.texts.append(Caption(x + 26, self.y + 14, words, self.colours.soft))
            x += width + 14
        self.y += 22 * bool(self.legend)

    def _sample(self, name: str, x: float, y: float) -> None:
        colours, green = self.colours, self._colour("open")
        middle = x + 10
        samples: dict[str, list[Item]] = {
            "sent": [Stroke(middle, y - 6, middle, y + 6, colours.ink, 2)],
            "again": [
                Stroke(middle, y - 6, middle, y + 1, colours.error, 3),
                Symbol(middle, y + 4, "up", colours.repeat, 4),
            ],
            "sack": [Stroke(middle, y - 6, middle, y + 6, colours.probe, 4)],
            "closed": [Rect(x, y - 6, 20, 12, Fill(blend(green, 0.22, colours.paper), "|", green))],
            "acknowledged": [Stroke(x, y, x + 20, y, green, 1.8)],
            "window ends here": [Stroke(x, y, x + 20, y, colours.cursor, 1.4, "5 3")],
            "server’s data acknowledged after": [Symbol(middle, y, "dot", colours.soft, 2.4)],
            "client’s data acknowledged after": [Symbol(middle, y, "up", green, 3.2)],
            "first byte of the answer after": [
                Symbol(middle, y, "diamond", colours.ink, 4, "", colours.paper)
            ],
            "rst": [Symbol(middle, y, "bolt", colours.error, 5)],
        }
        self.items += samples[name]


def _thinned(points: Sequence[Point]) -> list[Point]:
    """A curve with at most four points a px: the first, the lowest, the highest and the last."""
    columns: dict[int, list[Point]] = {}
    for point in points:
        columns.setdefault(int(point[0]), []).append(point)
    made: list[Point] = []
    for column in columns.values():
        if len(column) > 4:
            ends = sorted(column, key=lambda point: point[1])
            column = [column[0], ends[0], ends[-1], column[-1]]
        made += column
    return made


def _joined(blocks: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Ranges of bytes, those that touch as one."""
    low = high = None
    for a, b in sorted(blocks):
        if low is None or high is None or a > high:
            if low is not None and high is not None:
                yield low, high
            low, high = a, b
        else:
            high = max(high, b)
    if low is not None and high is not None:
        yield low, high


def _round_values(low: float, high: float) -> list[float]:
    """Three to six round amounts within a range."""
    span = max(high - low, 1.0)
    power = 10.0 ** floor(log10(max(span / 4, 1.0)))
    step = power * next(by for by in (1, 2, 5, 10) if span / (power * by) <= 5)
    return [k * step for k in range(ceil(low / step), floor(high / step) + 1)]


@dataclass(frozen=True)
class GraphPicture:
    """The graphs of one connection in a window of seconds since its first packet."""

    graphs: ConnectionGraphs
    window: Point

    @property
    def sentence(self) -> str:
        """Who limited it."""
        return self.graphs.limit

    def table(self) -> str:
        """The graphs as an HTML table."""
        return self.graphs.table()

    def drawing(self, width: float = 950, *, dark: bool = False, **axis: Any) -> GraphDrawing:
        """The graphs, `width` px wide; on their own axis, whatever a timeline's is."""
        low, high = self.window
        high = max(high, low + 1e-6)
        scale = (width - RIGHT - LEFT) / (high - low)
        end = self.graphs.length_s
        # Where 0 and the end would be, also outside of the window: a page's cursor needs both.
        whole = Axis(end, LEFT - low * scale, LEFT + (end - low) * scale)
        drawing = GraphDrawing(width, 100, theme(dark), self.sentence, axis=whole)
        return _GraphLayout(self.graphs, (low, high), drawing).draw()
