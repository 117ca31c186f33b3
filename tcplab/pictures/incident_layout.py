"""The incident timeline in px: lanes of connections on the wall clock, or areas where they are too many.

Server, client, connection; what broke has a number and a band as wide as the file leaves it open. How many
connections broke in the window decides how a lane looks: see `Lanes`. Every kind has a pattern or a shape of
its own, so that a print in grey says the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any, NamedTuple

from tcplab.capture.incidents import Incident
from tcplab.core.segment import Endpoint
from tcplab.core.text import SECOND, clock, date, in_words, plural
from tcplab.pictures.incident import CaptureTimeline, ConnectionBrief, ConnectionLane
from tcplab.pictures.lanes import Mark, Span
from tcplab.pictures.svg import (
    Caption,
    Drawing,
    Fill,
    Item,
    Polygon,
    Rect,
    Stroke,
    Symbol,
    blend,
    hits,
    place,
    readable,
    text_width,
)
from tcplab.pictures.theme import MarkStyle, theme, tint
from tcplab.pictures.wallclock import WallAxis


class Lanes(NamedTuple):
    """How connections are drawn."""

    #: Pitch of a lane and height of its bar, px.
    pitch: float
    bar: float
    words: bool


#: Up to 14 lanes, and up to 24; then a few px each: up to 40, and of one incident up to 200.
WIDE, PLAIN = Lanes(22, 18, True), Lanes(17, 13, False)
MOST_WIDE, MOST_PLAIN, MOST_FEW, MOST_THIN = 14, 24, 40, 200
#: The lanes of a few px each: at least and at most, and all of them together, px.
THINNEST, THICK, ALL_THIN = 2.0, 4.0, 400.0
#: Without a hit one, so many connections have a lane each, others fold into one.
MOST_HEALTHY = 8
#: The gutter of names, at least and at most; right of the axis; px.
GUTTER, WIDEST_GUTTER, RIGHT = 168.0, 300.0, 8.0
#: Columns of an area, px, and heights of an area and of the bars of events below it.
COLUMN, AREA, BARS = 3.0, 33.0, 15.0
#: Clients that are named below the areas.
CLIENTS = 5
#: A band wider than this share of the axis is drawn as a bracket only.
WIDE_BAND = 0.2

#: Spans: colour, opacity, pattern, outline's colour, and what the legend says.
SPANS = {
    "opening": ("soft", 0.10, ".", "", "connecting"),
    "open": ("open", 1.0, "", "", "open"),
    "one_side": ("open", 0.25, "\\", "open", "open on one side only"),
    "unanswered": ("error", 0.18, "/", "error", "sends, no answer"),
    "unheard": ("error", 0.12, "-", "error", "sends, not received"),
    "window_closed": ("open", 0.25, "|", "", "window closed"),
}
#: Marks: symbol, colour, size, whether it is hollow, and what the legend says.
MARKS = {
    "close": ("square", "closing first", 5.5, False, "server closed"),
    "goodbye": ("square", "soft", 4.5, True, "closed normally"),
    "rst": ("bolt", "error", 5.5, False, "RST ended it"),
    "late_rst": ("bolt", "soft", 5.5, True, "RST without effect"),
    "refused": ("refused", "error", 6, True, "refused"),
    "again": ("up", "repeat", 3.5, False, "sent again"),
    "probe": ("diamond", "probe", 4.5, False, "keepalive probe"),
}
#: Families of what broke: colour, whether the bar is hollow, and the words.
FAMILIES = {
    "server_end": ("closing first", False, "server closed"),
    "refused": ("error", True, "refused"),
    "silence": ("repeat", False, "no answer"),
    "ghost": ("cursor", True, "ghost"),
    "client_end": ("ink", False, "client’s RST"),
}
#: Marks that may not be left out where they lie close together, and the least distance of the others, px.
_ALWAYS, _APART = ("close", "rst", "late_rst", "refused", "goodbye"), 8


class Choice(NamedTuple):
    """Which connections are drawn, and when."""

    low_s: float
    high_s: float
    #: Only those of this server, ``10.0.0.2:5432``; empty: of all.
    server: str = ""
    #: Show also those without trouble one by one.
    healthy: bool = False


@dataclass
class IncidentDrawing(Drawing):
    """A window of a capture in px."""

    axis: WallAxis = field(kw_only=True)
    #: Where the lanes begin and end, px.
    top: float = 0.0
    bottom: float = 0.0
    #: What a click means: from and to (y, then x, px), and a connection's number or a word (`healthy`).
    rows: list[tuple[float, float, float, float, int | str]] = field(default_factory=list)
    #: Incidents in the window: number, and the middle of its disc.
    discs: list[tuple[int, float, float]] = field(default_factory=list)


class IncidentLayout:
    """One window being laid out. `y` is where the next thing begins."""

    def __init__(self, timeline: CaptureTimeline, choice: Choice, drawing: IncidentDrawing) -> None:
        self.timeline, self.choice, self.drawing = timeline, choice, drawing
        self.axis, self.colours = drawing.axis, drawing.theme
        self.x, self.left, self.right = drawing.axis.x, drawing.axis.x0, drawing.axis.x1
        self.y = 0.0
        self.back: list[Item] = []
        self.areas: list[Item] = []
        self.guides: list[Item] = []
        self.marks: list[Item] = []
        self.texts: list[Item] = []
        self.seen: dict[tuple[str, str], None] = {}
        self.lane_top = 0.0

    def _colour(self, name: str) -> str:
        return self.colours.of(MarkStyle(name))

    def _say(self, x: float, y: float, text: str, colour: str = "ink", **more: Any) -> None:
        self.texts.append(Caption(x, y, text, self._colour(colour), **more))

    def _fill(self, kind: str) -> Fill:
        colour, alpha, pattern, outline, _ = SPANS[kind]
        ink = self._colour(colour)
        ground = blend(ink, alpha, self.colours.paper)
        return Fill(ground, pattern, ink, self._colour(outline) if outline else "none", width=0.8)

    def _clock(self, t_s: float) -> str:
        return clock(self.timeline.began + round(t_s * SECOND), 3)

    def _in_window(self, low_s: float, high_s: float) -> bool:
        return high_s >= self.choice.low_s and low_s <= self.choice.high_s

    # -- which lanes -------------------------------------------------------------------------

    def draw(self) -> IncidentDrawing:
        """Everything, from top to bottom."""
        here = [
            each for each in self.timeline.connections
            if self._in_window(each.from_s, each.to_s)
            and self.choice.server in ("", str(each.server))
        ]  # fmt: skip
        unaware = self.timeline.unaware
        hit = [each for each in here if each.hit or each.number in unaware]
        incidents = [each for each in self.timeline.incidents if self._in_window(each.low_s, each.high_s)]
        self._labels(incidents)
        self.lane_top = self.y
        shown = here if self.choice.healthy or len(here) <= MOST_HEALTHY else hit
        if not hit and len(here) <= MOST_PLAIN:
            shown = here
        lanes = len(shown) if len(shown) <= MOST_WIDE else len(_grouped(shown))
        if lanes <= MOST_PLAIN and (shown or not here):
            self._lanes(shown, here, WIDE if lanes <= MOST_WIDE else PLAIN, grouped=len(shown) > MOST_WIDE)
        elif hit and not self.choice.healthy and len(hit) <= (MOST_THIN if len(incidents) == 1 else MOST_FEW):
            self._thin(hit)
        else:
            self._density(here, hit)
        self._axis(incidents)
        self._legend(bool(incidents))
        drawing = self.drawing
        drawing.height = self.y
        drawing.add(*self.back, *self.areas, *self.guides, *self.marks, *self.texts)
        return drawing

    def _labels(self, incidents: Sequence[Incident]) -> None:
        """A numbered disc and a few words at the beginning of each incident."""
        rows: list[list[tuple[float, float]]] = []
        for each in incidents:
            x = self.x(each.low_s)
            width = text_width(each.text, bold=True) + 18
            right = x + width <= self.drawing.width - 2
            text = each.text if right or x - width >= 2 else ""
            box = (x - 9, x + width) if right or not text else (x - width, x + 9)
            row = next((i for i, taken in enumerate(rows) if not hits((box[0] - 6, box[1] + 6), taken)), None)
            if row is None:
                row = len(rows)
                rows.append([])
            rows[row].append(box)
            self._disc(each, x, 22 * row + 11)
            if text:
                self._say(
                    x + 14 if right else x - 14, 22 * row + 16, text, "cursor",
                    bold=True, anchor="start" if right else "end", halo=self.colours.paper,
                )  # fmt: skip
        self.y = 22 * len(rows) + 4

    def _disc(self, incident: Incident, x: float, y: float) -> None:
        x = min(max(x, self.left), self.drawing.width - 10)
        self.drawing.discs.append((incident.number, x, y))
        colour = self.colours.cursor
        title = f"incident {incident.number}: {incident.text}, {self._clock(incident.low_s)} UTC"
        self.marks.append(Symbol(x, y, "dot", colour, 9.5, title))
        ink = readable(colour, self.colours.paper)
        self.texts.append(Caption(x, y + 5, str(incident.number), ink, "middle", bold=True))

    # -- one lane a connection ---------------------------------------------------------------

    def _row(self, y0: float, y1: float, what: int | str, x: float | None = None) -> None:
        """A click in this row, or near `x` in it, means this."""
        low, high = (0.0, self.drawing.width) if x is None else (x - 8, x + 8)
        self.drawing.rows.append((y0, y1, low, high, what))

    def _lanes(
        self, shown: Sequence[ConnectionBrief], here: Sequence[ConnectionBrief], size: Lanes, *, grouped: bool
    ) -> None:
        numbers = {each.number for each in shown}
        servers = Counter({str(each.server): 0 for each in here})
        servers.update(str(each.server) for each in shown if each.hit)
        for server in sorted(servers, key=lambda name: -servers[name]):
            own = [each for each in here if str(each.server) == server]
            lanes = sorted((each for each in own if each.number in numbers), key=_order)
            self._server(own[0].server, own, servers[server])
            for group in _grouped(lanes) if grouped else [[each] for each in lanes]:
                if len(group) == 1:
                    self._lane(group[0], size)
                else:
                    self._refusals(group, size)
            if rest := [each for each in own if each.number not in numbers]:
                self._others(rest)
            self.y += 3

    def _server(self, server: Endpoint, own: Sequence[ConnectionBrief], hit: int) -> None:
        self._name(0, str(server), bold=True)
        text = f"{own[0].service}: {plural(len(own), 'connection')}" + (f", {hit} hit" if hit else "")
        self._say(self.left + 2, self.y + 15, text, "soft", halo=self.colours.paper)
        self.y += 20

    def _name(self, x: float, text: str, *, bold: bool = False, height: float = 20, colour: str = "ink",
              title: str = "") -> None:  # fmt: skip
        """A name in the gutter; of a long address the beginning is left out."""
        room, cut = self.left - x - 8, text
        while text_width(cut, bold) > room and len(cut) > 4:
            cut = "…" + cut.removeprefix("…")[1:]
        self._say(
            x, self.y + height / 2 + 5, cut, colour, bold=bold, title=title or (text if cut != text else "")
        )

    def _lane(self, brief: ConnectionBrief, size: Lanes) -> None:
        lane, top = self.timeline.lane(brief.number), self.y
        self._name(12, str(brief.client), height=size.pitch)
        y = top + (size.pitch - size.bar) / 2
        self._spans(lane.spans, y, size.bar, goes_on=lane.goes_on)
        self._data(lane, y, size.bar)
        taken = self._marks(lane.marks, y + size.bar / 2, size)
        if size.words:
            self._words(lane.spans, y, size.bar, taken)
        self._row(top, top + size.pitch, brief.number)
        self.y += size.pitch

    def _refusals(self, group: Sequence[ConnectionBrief], size: Lanes) -> None:
        """The connections of one client that were refused, in one lane."""
        self._name(12, f"{group[0].client.address}: {len(group)} refused", height=size.pitch)
        for each in group:
            if each.broke and self._in_window(each.broke.high_s, each.broke.high_s):
                x = self.x(each.broke.high_s)
                said = f"{each.client} refused, {self._clock(each.broke.high_s)}"
                self._mark("refused", x, self.y + size.pitch / 2, 1.0, said)
                self._row(self.y, self.y + size.pitch, each.number, x)
        self.y += size.pitch

    def _spans(self, spans: Iterable[Span], y: float, height: float, *, goes_on: bool = False) -> None:
        for span in spans:
            if not self._in_window(span.from_s, span.to_s):
                continue
            x0, x1 = self.x(span.from_s), self.x(span.to_s)
            self.seen["span", span.kind] = None
            said = (
                span.words[0] if span.words else f"{SPANS[span.kind][4]}: {in_words(span.to_s - span.from_s)}"
            )
            title = f"{said}, {self._clock(span.from_s)} to {self._clock(span.to_s)}"
            fill = self._fill(span.kind)
            if height <= THICK:  # an outline and a pattern would be all that is seen
                fill = Fill(blend(fill.ink, 0.4, self.colours.paper) if fill.pattern else fill.ground)
            self.areas.append(Rect(x0, y, max(x1 - x0, 1.5), height, fill, title))
        if goes_on and self.choice.high_s >= self.timeline.length_s - 1e-9:
            x, middle = self.x(self.timeline.length_s), y + height / 2
            head = ((x, middle - 5), (x + 6, middle), (x, middle + 5))
            self.areas.append(Polygon(head, Fill(self.colours.soft), "still open when the file ended"))

    def _data(self, lane: ConnectionLane, y: float, height: float) -> None:
        """Ticks of data: the client's at the top of the bar, the server's at its foot."""
        for times, top in ((lane.client_data, y), (lane.server_data, y + height - 4)):
            places = sorted({round(self.x(t)) for t in times if self._in_window(t, t)})
            for x in places:
                self.guides.append(Stroke(x, top, x, top + 4, self.colours.ink))
            if places:
                self.seen["data", ""] = None

    def _marks(self, marks: Iterable[Mark], y: float, size: Lanes) -> list[tuple[float, float]]:
        """The marks of a lane; returns where they are."""
        at: list[float] = []
        scale = 1.0 if size.words else 0.8
        for mark in marks:
            if not self._in_window(mark.t_s, mark.t_s):
                continue
            x = min(max(self.x(mark.t_s), self.left + 4), self.drawing.width - 7)
            if mark.kind not in _ALWAYS and any(abs(x - other) < _APART for other in at):
                continue
            low = y + (size.bar / 2 - 4) * (mark.kind == "again")
            self._mark(mark.kind, x, low, scale, f"{mark.text}, {self._clock(mark.t_s)}")
            at.append(x)
        return [(x - 8, x + 8) for x in at]

    def _mark(self, kind: str, x: float, y: float, scale: float = 1.0, title: str = "") -> None:
        symbol, colour, size, hollow, _ = MARKS[kind]
        ink, paper = self._colour(colour), self.colours.paper
        self.seen["mark", kind] = None
        if symbol == "refused":
            self.marks.append(Symbol(x, y, "dot", ink, size * scale, title, paper))
            self.marks.append(Symbol(x, y, "cross", ink, size * scale * 0.45, title))
            return
        if not hollow:
            self.marks.append(Symbol(x, y, symbol, paper, (size + 2) * scale))
        self.marks.append(Symbol(x, y, symbol, ink, size * scale, title, paper if hollow else ""))

    def _words(
        self, spans: Iterable[Span], y: float, height: float, taken: Sequence[tuple[float, float]]
    ) -> None:
        for span in spans:
            if not span.words or not self._in_window(span.from_s, span.to_s):
                continue
            low, high = self.x(span.from_s) + 6, self.x(span.to_s) - 4
            if found := place(span.words, low, high, taken):
                self._say(found[0], y + height / 2 + 5, found[1], halo=self.colours.paper)

    def _others(self, rest: Sequence[ConnectionBrief]) -> None:
        """Connections without trouble, in one lane."""
        self._name(12, f"▸ {len(rest):,} without trouble", colour="soft", height=20)
        self._row(self.y, self.y + 20, "healthy")
        self.seen["span", "open"] = None
        fill = Fill(blend(self._colour("open"), 0.55, self.colours.paper))
        if len(rest) <= 60:
            step = 18 / max(len(rest), 3)
            for i, each in enumerate(rest):
                x0, x1 = self.x(each.from_s), self.x(each.to_s)
                bar = Rect(x0, self.y + 1 + i * step, max(x1 - x0, 1.5), max(step - 1, 0.6), fill)
                self.areas.append(bar)
        else:
            counts = self._counts((each.from_s, each.to_s) for each in rest)
            self._area(counts, max(counts), self.y + 19, 18, fill)
        self.y += 22

    # -- a few px a connection ---------------------------------------------------------------

    def _thin(self, hit: Sequence[ConnectionBrief]) -> None:
        """Connections by client, in the order in which they broke."""
        groups = len({(each.server, each.client.address) for each in hit})
        pitch = min(max((ALL_THIN - 16 * groups) / len(hit), THINNEST), THICK)
        servers = dict.fromkeys(each.server for each in sorted(hit, key=_order))
        for server in servers:
            own = [each for each in hit if each.server == server]
            self._name(0, str(server), bold=True)
            text = (
                f"{own[0].service}: {plural(len(own), 'connection')} hit, by client, "
                "in the order in which they broke"
            )
            self._say(self.left + 2, self.y + 15, text, "soft", halo=self.colours.paper)
            self.y += 20
            clients = Counter(each.client.address for each in own)
            for client, _ in clients.most_common():
                self._thin_client(client, pitch, [each for each in own if each.client.address == client])

    def _thin_client(self, client: str, pitch: float, own: Sequence[ConnectionBrief]) -> None:
        refused = [each for each in own if each.broke and each.broke.family == "refused"]
        lanes = sorted((each for each in own if each not in refused), key=_order)
        top, height = self.y, max(len(lanes) * pitch + 12 * bool(refused), 17)
        number = str(len(own))
        self._say(self.left - 8, top + 13, number, "soft", anchor="end")
        room = self.left - 20 - text_width(number)
        cut = client
        while text_width(cut) + 12 > room and len(cut) > 4:
            cut = "…" + cut.removeprefix("…")[1:]
        self._say(12, top + 13, cut, title=client if cut != client else "")
        for i, each in enumerate(lanes):
            lane, y = self.timeline.lane(each.number), top + i * pitch
            self._spans(lane.spans, y, pitch - 1)
            for mark in lane.marks:
                if mark.kind in ("close", "rst", "late_rst") and self._in_window(mark.t_s, mark.t_s):
                    x, ink = self.x(mark.t_s), self._colour(MARKS[mark.kind][1])
                    self.seen["mark", mark.kind] = None
                    self.marks.append(Rect(x - 1.5, y - 0.5, 3, pitch, Fill(ink), mark.text))
            self._row(y, y + pitch, each.number)
        y = top + len(lanes) * pitch + 6
        for each in refused:
            if each.broke and self._in_window(each.broke.high_s, each.broke.high_s):
                x = self.x(each.broke.high_s)
                self._mark("refused", x, y, 0.7, f"{each.client} refused")
                self._row(y - 6, y + 6, each.number, x)
        self.y += height + 4

    # -- areas -------------------------------------------------------------------------------

    def _counts(self, intervals: Iterable[tuple[float, float]]) -> list[int]:
        """How many intervals (seconds) there are in each column."""
        columns = int((self.right - self.left) / COLUMN)
        change = [0] * (columns + 1)
        for low, high in intervals:
            if self._in_window(low, high):
                change[min(int((self.x(low) - self.left) / COLUMN), columns - 1)] += 1
                change[min(int((self.x(high) - self.left) / COLUMN) + 1, columns)] -= 1
        total, counts = 0, []
        for each in change[:-1]:
            total += each
            counts.append(total)
        return counts

    def _area(
        self, counts: Sequence[int], most: int, foot: float, height: float, fill: Fill, title: str = ""
    ) -> None:
        scale = (height - 1) / max(most, 1)
        points = [(self.left, foot)]
        for i, count in enumerate(counts):
            if i == 0 or count != counts[i - 1]:
                points.append((self.left + i * COLUMN, points[-1][1]))
                points.append((self.left + i * COLUMN, foot - count * scale))
        points += [
            (self.left + len(counts) * COLUMN, points[-1][1]),
            (self.left + len(counts) * COLUMN, foot),
        ]
        self.areas.append(Polygon(tuple(points), fill, title))

    def _density(self, here: Sequence[ConnectionBrief], hit: Sequence[ConnectionBrief]) -> None:
        """Per server how many connections are open, and what broke; below, the clients that were hit most."""
        broke = [each for each in hit if each.broke and self._in_window(each.broke.low_s, each.broke.high_s)]
        per_server: dict[Endpoint, list[ConnectionBrief]] = {}
        for each in here:
            per_server.setdefault(each.server, []).append(each)
        worst = Counter(dict.fromkeys(per_server, 0))
        worst.update(each.server for each in broke)
        for server, _ in worst.most_common(6):
            own = per_server[server]
            self._open(server, own)
            self._events(own, [each for each in broke if each.server == server])
        if len(worst) > 6:
            rest = sum(len(per_server[server]) for server, _ in worst.most_common()[6:])
            self._name(12, f"{len(worst) - 6} more servers", colour="soft")
            self._say(self.left + 2, self.y + 15, f"{plural(rest, 'connection')}: choose one above", "soft")
            self.y += 22
        if broke:
            self._clients(broke)

    def _open(self, server: Endpoint, own: Sequence[ConnectionBrief]) -> None:
        layers: dict[str, list[tuple[float, float]]] = {"open": [], "one_side": [], "unanswered": []}
        for each in own:
            if not each.hit:
                layers["open"].append((each.from_s, each.to_s))
                continue
            for span in self.timeline.lane(each.number).spans:
                kind = {"unheard": "unanswered", "window_closed": "", "opening": ""}.get(span.kind, span.kind)
                if kind:
                    layers[kind].append((span.from_s, span.to_s))
        counts = {kind: self._counts(intervals) for kind, intervals in layers.items()}
        stacked = [list(counts["open"])]
        for kind in ("one_side", "unanswered"):
            stacked.append([a + b for a, b in zip(stacked[-1], counts[kind], strict=True)])
        most = max(stacked[-1], default=0)
        self._name(0, str(server), bold=True)
        room = self.left - 6
        service = own[0].service
        said = (f"{service}: up to {most:,} open", f"{service}: ≤ {most:,} open", f"up to {most:,} open")
        self._say(0, self.y + 31, next((each for each in said if text_width(each) <= room), ""), "soft")
        self._row(self.y, self.y + AREA, f"server {server}")
        for kind, level in zip(("unanswered", "one_side", "open"), stacked[::-1], strict=True):
            if any(counts[kind]):
                self.seen["span", kind] = None
                self._area(level, most, self.y + AREA + 2, AREA, self._fill(kind)._replace(outline="none"))
        self.y += AREA + 5

    def _binned(self, broke: Iterable[ConnectionBrief]) -> dict[int, Counter[str]]:
        """By column, how many of each family broke there."""
        bins: dict[int, Counter[str]] = {}
        for each in broke:
            assert each.broke is not None
            column = int((self.x(each.broke.high_s) - self.left) / COLUMN)
            bins.setdefault(column, Counter())[each.broke.family] += 1
        return bins

    def _events(self, own: Sequence[ConnectionBrief], broke: Sequence[ConnectionBrief]) -> None:
        if not broke:
            self.y += 4
            return
        self._name(12, f"{len(broke):,} of {len(own):,} hit", colour="error", height=BARS + 3)
        bins = self._binned(broke)
        most = max(sum(each.values()) for each in bins.values())
        for column, families in bins.items():
            foot = self.y + BARS
            for family, count in families.items():
                colour, hollow, words = FAMILIES[family]
                ink = self._colour(colour)
                height = max(2.5, BARS * sqrt(count / most) / len(families))
                fill = Fill(self.colours.paper if hollow else ink, outline=ink if hollow else "none")
                box = Rect(
                    self.left + column * COLUMN, foot - height, COLUMN, height, fill, f"{words}: {count:,}"
                )
                self.areas.append(box)
                self.seen["family", family] = None
                foot -= height
        self.y += BARS + 7

    def _clients(self, broke: Sequence[ConnectionBrief]) -> None:
        clients = Counter(each.client.address for each in broke)
        self._name(0, "hit, by client", bold=True)
        self.y += 20
        many = 2 * len(broke) / len(clients)
        for client, count in clients.most_common(CLIENTS):
            number = f"{count:,}"
            hot = count > many
            self._say(self.left - 8, self.y + 13, number, "error" if hot else "soft", anchor="end", bold=hot)
            cut = client
            while text_width(cut) > self.left - 36 - text_width(number, bold=True) and len(cut) > 4:
                cut = "…" + cut.removeprefix("…")[1:]
            self._say(12, self.y + 13, cut, title=client if cut != client else "")
            self.back.append(Stroke(self.left, self.y + 16, self.right, self.y + 16, self.colours.faint, 0.5))
            bins = self._binned(each for each in broke if each.client.address == client)
            for column, families in bins.items():
                here = sum(families.values())
                ink = blend(self.colours.error, min(1.0, 0.35 + 0.2 * sqrt(here)), self.colours.paper)
                box = Rect(
                    self.left + column * COLUMN, self.y + 2, COLUMN, 12, Fill(ink), plural(here, "connection")
                )
                self.areas.append(box)
            self.y += 17
        if len(clients) > CLIENTS:
            rest = clients.most_common()[CLIENTS:]
            count = sum(count for _, count in rest)
            self._name(12, f"{len(rest):,} more: {count:,} hit", colour="soft", height=17)
            self.y += 18

    # -- axis, bands, legend -----------------------------------------------------------------

    def _axis(self, incidents: Sequence[Incident]) -> None:
        drawing, foot = self.drawing, self.y + 2
        drawing.top, drawing.bottom = self.lane_top, foot
        self.back.append(Stroke(self.left, foot, drawing.width, foot, self.colours.soft))
        first = self.timeline.began + round(self.choice.low_s * SECOND)
        self._say(0, foot + 17, f"UTC, {date(first)}", "soft")
        for a, b in self.axis.folds:
            self._fold(a, b, foot)
        for x, text in self.axis.ticks():
            self.back.append(Stroke(x, self.lane_top, x, foot, self.colours.faint, 0.7))
            half = text_width(text) / 2
            at = min(max(x, self.left + half), drawing.width - half)
            self._tick(at, foot + 17, text)
        for each in incidents:
            self._band(each, foot)
        self.y = foot + 24

    def _tick(self, x: float, y: float, text: str) -> None:
        half = text_width(text) / 2
        others = [item.box() for item in self.texts if isinstance(item, Caption) and item.y == y]
        if not hits((x - half - 4, x + half + 4), [(box[0], box[2]) for box in others]):
            self._say(x, y, text, "soft", anchor="middle")

    def _fold(self, from_s: float, to_s: float, foot: float) -> None:
        """A silence that is not drawn to scale, and how long it lasts."""
        x0, x1 = self.x(from_s), self.x(to_s)
        length = in_words(to_s - from_s)
        veil = Fill(tint(self.colours.paper, 0.72))
        title = f"no packet passed for {length}"
        self.marks.insert(0, Rect(x0, self.lane_top, x1 - x0, foot - self.lane_top, veil, title))
        for x in (x0, x1):
            self.guides.append(Stroke(x, self.lane_top, x, foot, self.colours.soft, 1, "2 3"))
        for text in (f"{length} silent", length):
            if text_width(text) <= x1 - x0 - 4:
                self._say((x0 + x1) / 2, foot + 17, text, anchor="middle")
                break

    def _band(self, incident: Incident, foot: float) -> None:
        x0, x1 = self.x(incident.low_s), max(self.x(incident.high_s), self.x(incident.low_s) + 1)
        ink, top = self.colours.cursor, self.lane_top
        disc_y = next(y for number, _, y in self.drawing.discs if number == incident.number)
        if x1 - x0 > WIDE_BAND * (self.right - self.left):
            self.guides.append(Rect(x0, top - 4, x1 - x0, 3, Fill(ink)))
        elif x1 - x0 > 2:
            pale = Fill(blend(ink, 0.18, self.colours.paper), ".", ink)
            self.back.append(Rect(x0, top, x1 - x0, foot - top, pale))
        self.guides.append(Stroke(x0, disc_y + 9, x0, foot, ink, 1.3, "4 3"))

    def _legend(self, incidents: bool) -> None:
        entries = [("span", kind, look[4]) for kind, look in SPANS.items() if ("span", kind) in self.seen]
        if ("data", "") in self.seen:
            entries.append(("data", "", "data: client’s above, server’s below"))
        entries += [("mark", kind, look[4]) for kind, look in MARKS.items() if ("mark", kind) in self.seen]
        entries += [
            ("family", kind, look[2]) for kind, look in FAMILIES.items() if ("family", kind) in self.seen
        ]
        if incidents:
            entries.append(("band", "", "what broke, as close as the file shows"))
        x = 0.0
        for group, name, words in entries:
            width = 26 + text_width(words)
            if x and x + width > self.drawing.width:
                x, self.y = 0.0, self.y + 18
            self._sample(group, name, x, self.y + 9)
            self._say(x + 26, self.y + 14, words, "soft")
            x += width + 14
        self.y += 22 * bool(entries)

    def _sample(self, group: str, name: str, x: float, y: float) -> None:
        if group == "span":
            self.areas.append(Rect(x, y - 6, 20, 12, self._fill(name)))
        elif group == "data":
            self.areas.append(Rect(x, y - 6, 20, 12, self._fill("open")))
            for dx, top in ((4, -6), (8, -6), (8, 2), (14, 2)):
                self.guides.append(Stroke(x + dx, y + top, x + dx, y + top + 4, self.colours.ink))
        elif group == "mark":
            self._mark(name, x + 10, y)
        elif group == "family":
            colour, hollow, _ = FAMILIES[name]
            ink = self._colour(colour)
            fill = Fill(self.colours.paper if hollow else ink, outline=ink)
            self.areas.append(Rect(x + 7, y - 6, 5, 12, fill))
        else:
            ink = self.colours.cursor
            self.areas.append(Rect(x, y - 6, 20, 12, Fill(blend(ink, 0.18, self.colours.paper), ".", ink)))


def _order(each: ConnectionBrief) -> tuple[float, float, int]:
    """Those that broke first, by when; then the others by their beginning."""
    return (each.broke.high_s if each.broke else float("inf"), each.from_s, each.number)


def _grouped(briefs: Sequence[ConnectionBrief]) -> list[list[ConnectionBrief]]:
    """One group a lane: those of one client that one server refused share a lane."""
    groups: dict[tuple[Any, ...], list[ConnectionBrief]] = {}
    for each in briefs:
        refused = each.broke is not None and each.broke.family == "refused"
        key = (each.server, each.client.address) if refused else (each.number,)
        groups.setdefault(key, []).append(each)
    return list(groups.values())


def whole(timeline: CaptureTimeline) -> Choice:
    """The whole file."""
    return Choice(0.0, timeline.length_s)


def gutter(timeline: CaptureTimeline) -> float:
    """How wide the names are, px: the same for every window of a file."""
    ends = {str(each.server) for each in timeline.connections}
    wide = max((text_width(end, bold=True) for end in ends), default=0.0)
    clients = {str(each.client) for each in timeline.connections[:500]}
    names = [*clients, f"▸ {len(timeline.connections) - len(timeline.hit):,} without trouble"]
    wide = max(wide, *(text_width(name) + 12 for name in names))
    return min(max(wide + 10, GUTTER), WIDEST_GUTTER)


def incident_drawing(
    timeline: CaptureTimeline, choice: Choice | None = None, width: float = 950, *, dark: bool = False
) -> IncidentDrawing:
    """A window of a capture, `width` px wide; without a choice the whole file."""
    choice = choice or whole(timeline)
    low, high = choice.low_s, max(choice.high_s, choice.low_s + 1e-6)
    margin = 0.008 * (high - low) if low <= 0 and high >= timeline.length_s else 0.0
    window = (low - margin, high + margin)
    left = gutter(timeline)
    axis = WallAxis.of(timeline.began, window, (left, width - RIGHT), timeline.quiet)
    label = f"{timeline.diagnosis.name}: {plural(len(timeline.connections), 'connection')} on the wall clock"
    drawing = IncidentDrawing(width, 100, theme(dark), label, axis=axis)
    return IncidentLayout(timeline, choice._replace(high_s=high), drawing).draw()


def overview(
    timeline: CaptureTimeline, choice: Choice | None = None, width: float = 950, *, dark: bool = False
) -> Drawing:
    """The whole file in a strip: when connections broke, and which part is shown."""
    left, right, colours = gutter(timeline), width - RIGHT, theme(dark)
    drawing = Drawing(width, 30, colours, "The whole file: when connections broke")
    length = timeline.length_s

    def x(t_s: float) -> float:
        return left + min(max(t_s / length, 0), 1) * (right - left)

    ground = Fill(blend(colours.soft, 0.06, colours.paper), outline=colours.faint)
    drawing.add(Rect(left, 1, right - left, 27, ground))
    drawing.add(Caption(0, 19, f"whole file, {in_words(round(length, 1) or length)}", colours.soft))
    bins = Counter(int((x(each.broke.high_s) - left) / 4) for each in timeline.hit if each.broke)
    most = max(bins.values(), default=1)
    for column, count in bins.items():
        height = 5 + 20 * sqrt(count / most)
        title = f"{plural(count, 'connection')} broke"
        drawing.add(Rect(left + 4 * column, 28 - height, 3.4, height, Fill(colours.error), title))
    for each in timeline.incidents:
        drawing.add(Stroke(x(each.low_s), 1, x(each.low_s), 28, colours.cursor, 1, "3 2"))
    if choice and (choice.low_s > 0 or choice.high_s < length):
        a, b = x(choice.low_s), max(x(choice.high_s), x(choice.low_s) + 3)
        drawing.add(Rect(a, 1, b - a, 27, Fill(outline=colours.ink, width=1.6)))
    return drawing


def rows_of(timeline: CaptureTimeline) -> Iterator[tuple[str, ...]]:
    """The picture as a table: connection, from, to, and what happened; those that broke."""
    for each in sorted(timeline.hit, key=_order)[:MOST_THIN]:
        lane = timeline.lane(each.number)
        said = [words for span in lane.spans for words in span.words[:1]]
        marks = Counter(mark.text for mark in lane.marks)
        said += [text + (f" × {count}" if count > 1 else "") for text, count in marks.items()]
        began = timeline.began
        yield (
            f"{each.client} → {each.server}", clock(began + round(each.from_s * SECOND)),
            clock(began + round(each.to_s * SECOND)), "; ".join(said),
        )  # fmt: skip
