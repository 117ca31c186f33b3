"""Two captures of the same connections in one picture: each file's lane, and what passed between them.

The client's file is above, the server's below, both on the client's clock. A line is a packet that is in both
files; a cross is where one ends that only its sender's file has. The connections that lost packets are drawn,
those that broke first; more than `MOST_PAIRS` are too many to be looked at, and are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from tcplab.capture.both_ends import BothEnds, LostPacket, SamePair
from tcplab.core.segment import FIN, RST, SYN
from tcplab.core.text import SECOND, plural
from tcplab.pictures.incident import QUIET, CaptureTimeline, ConnectionLane
from tcplab.pictures.incident_layout import (
    RIGHT,
    WIDE,
    Choice,
    IncidentDrawing,
    IncidentLayout,
    gutter,
)
from tcplab.pictures.svg import Polyline, Stroke, Symbol
from tcplab.pictures.theme import theme
from tcplab.pictures.wallclock import SILENT, WallAxis

#: Connections that are drawn, and the room between their lanes, px: of one, of several.
MOST_PAIRS, ROOM, ROOM_OF_MANY = 6, 84.0, 48.0
#: How far a packet that was lost is drawn, as a share of that room; the least distance of lines, px.
REACH, APART = 0.42, 1.5
#: Beside what is drawn, as a share of its length.
MARGIN = 0.02


class _BothLayout(IncidentLayout):
    """Pairs of lanes being laid out; times are seconds since the client's file began."""

    def __init__(
        self, both: BothEnds[CaptureTimeline], timeline: CaptureTimeline, pairs: Sequence[SamePair],
        choice: Choice, drawing: IncidentDrawing,
    ) -> None:  # fmt: skip
        super().__init__(timeline, choice, drawing)
        self.both, self.pairs = both, pairs
        self.room = ROOM if len(pairs) == 1 else ROOM_OF_MANY
        self.arrived = False

    def draw(self) -> IncidentDrawing:
        """Everything, from top to bottom."""
        numbers = {pair.near for pair in self.pairs}
        incidents = [each for each in self.timeline.incidents if numbers & {*each.connections}]
        self._labels(incidents)
        self.lane_top = self.y
        for pair in self.pairs:
            self._pair(pair)
        self._axis(incidents)
        self._legend(bool(incidents))
        self._between_legend()
        drawing = self.drawing
        drawing.height = self.y
        drawing.add(*self.back, *self.areas, *self.guides, *self.marks, *self.texts)
        return drawing

    def _pair(self, pair: SamePair) -> None:
        brief = self.timeline.connections[pair.near]
        top = self.y
        name = f"{brief.client} → {brief.server}"
        self._say(0, self.y + 15, name, bold=True, halo=self.colours.paper)
        self.y += 22
        self._one_end("the client’s file", self.timeline.lane(pair.near))
        upper = self.y - (WIDE.pitch - WIDE.bar) / 2
        self._say_lost(pair, self.y)
        self.y += self.room
        lower = self.y + (WIDE.pitch - WIDE.bar) / 2
        self._flights(pair, upper, lower)
        self._one_end("the server’s file", _moved(self.both, pair))
        self._row(top, self.y, pair.near)
        self.y += 8

    def _one_end(self, name: str, lane: ConnectionLane) -> None:
        top = self.y + (WIDE.pitch - WIDE.bar) / 2
        self._name(12, name, height=WIDE.pitch)
        self._spans(lane.spans, top, WIDE.bar)
        self._data(lane, top, WIDE.bar)
        taken = self._marks(lane.marks, top + WIDE.bar / 2, WIDE)
        self._words(lane.spans, top, WIDE.bar, taken)
        self.y += WIDE.pitch

    def _say_lost(self, pair: SamePair, top: float) -> None:
        """In the gutter, how many packets of each direction are in one file only."""
        lines = []
        for by_client, words in ((True, "to the server"), (False, "to the client")):
            if count := len([each for each in self._lost(pair) if each.by_client == by_client]):
                lines.append(f"{count:,} lost {words}")
        begin = top + (self.room - 20 * len(lines)) / 2
        for i, text in enumerate(lines):
            self._say(12, begin + 20 * i + 15, text, "error")

    def _lost(self, pair: SamePair) -> list[LostPacket]:
        return [each for each in self.both.lost if each.pair == pair]

    def _seconds(self, t: int) -> float:
        return (t - self.both.near.capture.began) / SECOND

    def _flights(self, pair: SamePair, upper: float, lower: float) -> None:
        """A line for each packet that arrived, a cross for each that did not."""
        last: dict[bool, float] = {}
        for flight in self.both.flights(pair):
            near, far = self.x(self._seconds(flight.near)), self.x(self._seconds(flight.far))
            if near - last.get(flight.by_client, -APART) < APART:
                continue
            last[flight.by_client] = near
            self.guides.append(Stroke(near, upper, far, lower, self.colours.soft, 0.8))
            self.arrived = True
        reach = REACH * (lower - upper)
        for each in self._lost(pair):
            x = self.x(self._seconds(each.t))
            begin, end = (upper, upper + reach) if each.by_client else (lower, lower - reach)
            ink = self.colours.error
            self.guides.append(Stroke(x, begin, x, end, ink, 1.2, "" if each.length else "4 2"))
            at, of = self._clock(self._seconds(each.t)), "client" if each.by_client else "server"
            title = f"frame {each.frame} of the {of}’s file: {_kind(each)}, never arrived, {at}"
            self.marks.append(Symbol(x, end, "cross", ink, 4, title))

    def _between_legend(self) -> None:
        """What the lines and the crosses mean."""
        x, y, entries = 0.0, self.y + 9, [("arrived", self.arrived), ("lost", bool(self.both.lost))]
        for what, there in entries:
            if not there:
                continue
            if what == "arrived":
                self.guides.append(Stroke(x + 6, y - 6, x + 14, y + 6, self.colours.soft))
                words = "packet in both files"
            else:
                ink = self.colours.error
                self.guides.append(Polyline(((x + 10, y - 7), (x + 10, y + 2)), ink, 1.2))
                self.marks.append(Symbol(x + 10, y + 2, "cross", ink, 4))
                words = "sent, never arrived"
            self._say(x + 26, y + 5, words, "soft")
            x += 200
        self.y += 22


def _kind(packet: LostPacket) -> str:
    """What a packet is, in a word or two."""
    for flag, name in ((RST, "RST"), (SYN, "SYN"), (FIN, "FIN")):
        if packet.flags & flag:
            return name
    return plural(packet.length, "byte") if packet.length else "ACK without data"


def _moved(both: BothEnds[CaptureTimeline], pair: SamePair) -> ConnectionLane:
    """The far file's lane of a connection, by the near file's clock."""
    lane, began = both.far.lane(pair.far), both.far.capture.began

    def near(t_s: float) -> float:
        return (both.clocks.to_near(began + round(t_s * SECOND)) - both.near.capture.began) / SECOND

    return replace(
        lane, goes_on=False,
        spans=tuple(replace(s, from_s=near(s.from_s), to_s=near(s.to_s)) for s in lane.spans),
        marks=tuple(replace(mark, t_s=near(mark.t_s)) for mark in lane.marks),
        client_data=tuple(map(near, lane.client_data)), server_data=tuple(map(near, lane.server_data)),
    )  # fmt: skip


def drawn_pairs(both: BothEnds[CaptureTimeline], most: int = MOST_PAIRS) -> list[SamePair]:
    """The connections that are worth a picture of both files; none where that are too many.

    Those that lost packets between the files; where none did, those that broke.
    """
    final = [each.pair for each in both.lost if each.final]
    lost = list(dict.fromkeys([*final, *(each.pair for each in both.lost)]))
    if not lost:
        broke = both.merged().broke
        lost = [pair for pair in both.pairs if pair.near in broke]
    return lost if len(lost) <= most else []


def both_drawing(
    both: BothEnds[CaptureTimeline], timeline: CaptureTimeline | None = None, width: float = 950, *,
    dark: bool = False, most: int = MOST_PAIRS,
) -> IncidentDrawing | None:  # fmt: skip
    """What both files have of the connections of `drawn_pairs`, at most so many; None where there are none.

    `timeline`: what the two show together, under the names that it has; else `both.merged()`.
    """
    pairs = drawn_pairs(both, most)
    if not pairs:
        return None
    timeline = timeline or both.merged()
    lanes = [lane for pair in pairs for lane in (timeline.lane(pair.near), _moved(both, pair))]
    edges = [t for lane in lanes for span in lane.spans for t in (span.from_s, span.to_s)]
    began = both.near.capture.began
    times = [(each.t - began) / SECOND for each in both.lost if each.pair in pairs]
    times += [
        (t - began) / SECOND for pair in pairs for flight in both.flights(pair)
        for t in (flight.near, flight.far)
    ]  # fmt: skip
    times = sorted([*times, *(mark.t_s for lane in lanes for mark in lane.marks)])
    low, high = min([*edges, *times]), max([*edges, *times])
    quiet = [(a, b) for a, b in pairwise(times) if b - a >= QUIET * (high - low)]
    folded = sum(b - a for a, b in quiet if b - a > SILENT * (high - low))
    room = MARGIN * max(high - low - folded, 1e-6)
    window = low - room, high + room
    axis = WallAxis.of(timeline.began, window, (gutter(timeline), width - RIGHT), quiet)
    label = f"{plural(len(pairs), 'connection')} in both files, and what was lost between them"
    drawing = IncidentDrawing(width, 100, theme(dark), label, axis=axis)
    return _BothLayout(both, timeline, pairs, Choice(*window), drawing).draw()
