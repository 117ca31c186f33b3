"""The race of timers on one logarithmic axis of seconds: a lane for each situation, "never" at the right.

The timer that decides has a filled sign and its name above its lane; the others are hollow, with their names
below where there is room. With a race `before`, what decided then is a dashed ring, and an arrow leads to
what decides now. Every lane is also a sentence and a row of a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from math import inf, log10

from tcplab.advice.race_lanes import (
    FIRES,
    FORGETS,
    IN_TIME,
    LIVES,
    NEVER,
    PART,
    READY,
    RESTARTS,
    TOO_LATE,
    UNKNOWN,
    USELESS,
    WOULD,
    Race,
    RaceEvent,
    RaceLane,
    time_text,
)
from tcplab.core.table import Markup, html_table
from tcplab.pictures import theme as look
from tcplab.pictures.svg import (
    Caption,
    Drawing,
    Fill,
    Polygon,
    Rect,
    Ring,
    Stroke,
    Symbol,
    blend,
    hits,
    readable,
    text_width,
)
from tcplab.pictures.theme import FONT_SIZE, Theme

#: px: the whole picture, and a lane at most. The lanes' rows begin at `TOP`, all of them fit into `_ROWS`.
WIDTH, _ROW, TOP, _ROWS = 792, 35, 22, 318
_BOTTOM = 16
#: Where the axis begins and ends, and where its "never" is.
_X0, _X1, _NEVER, _RIGHT = 156.0, 520.0, 546.0, 566.0
_DAY = 86_400.0
_TICKS = {1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min", 3600: "1 h", 86_400: "1 d"}
#: Sizes of texts, px.
_LARGE, _SMALL = 11.0, 9.5

#: Sign and colour of a verdict: a name of `Theme`, or of its states.
_SIGNS = {LIVES: "✓", IN_TIME: "✓", TOO_LATE: "✗", NEVER: "✗", UNKNOWN: "?"}
_COLOURS = {LIVES: "open", IN_TIME: "open", TOO_LATE: "repeat", NEVER: "error", UNKNOWN: "soft"}
#: Symbol of an event, its size, and whether it is hollow.
_MARKS = {
    FIRES: ("dot", 5.0, False), RESTARTS: ("dot", 5.0, False), FORGETS: ("diamond", 6.5, False),
    PART: ("bar", 4.0, False), READY: ("right", 4.5, False), WOULD: ("dot", 3.4, True),
    USELESS: ("cross", 3.0, False),
}  # fmt: skip
#: What the signs mean, for a legend.
LEGEND = (
    ("dot", "ends it"), ("diamond", "a firewall's entry expires"), ("ring", "would come later"),
    ("bar", "adds up"), ("cross", "can't help here"), ("right", "the answer is ready"),
)  # fmt: skip


def row_height(race: Race) -> int:
    """How high a lane is, px."""
    return min(_ROW, _ROWS // max(len(race.lanes), 1))


def draw_race(race: Race, before: Race | None = None, *, dark: bool = False) -> Drawing:
    """The picture of all lanes; `before`: the race before a remedy was tried."""
    return _Painter(race, before, look.theme(dark)).drawing


@dataclass
class _Row:
    """A lane and where it is."""

    lane: RaceLane
    y: float
    #: Intervals of x in which texts stand, above and below the line.
    above: list[tuple[float, float]]
    below: list[tuple[float, float]]


class _Painter:
    """Draws one race."""

    def __init__(self, race: Race, before: Race | None, theme: Theme) -> None:
        self.theme, self.race = theme, race
        self.before = {lane.key: lane for lane in before.lanes} if before else {}
        self.row = row_height(race)
        height = TOP + self.row * max(len(race.lanes), 1) + _BOTTOM
        self.drawing = Drawing(WIDTH, height, theme, race.sentence)
        self.bottom = TOP + self.row * len(race.lanes)
        self._grid()
        for i, lane in enumerate(race.lanes):
            self._lane(_Row(lane, TOP + self.row * i + 17, [], []))
        self._outage_words()

    def _colour(self, verdict: str) -> str:
        """The colour of a verdict, dark or light enough for a text."""
        name = _COLOURS[verdict]
        colour = self.theme.states.get(name) or str(getattr(self.theme, name))
        return readable(self.theme.paper, colour, blend(colour, 0.62, self.theme.ink))

    def _text(
        self, x: float, y: float, text: str, colour: str = "", size: float = _SMALL, bold: bool = False,
        anchor: str = "start", title: str = "",
    ) -> None:  # fmt: skip
        paint = colour or self.theme.soft
        self.drawing.add(Caption(x, y, text, paint, anchor, bold, self.theme.paper, title, size))

    def _grid(self) -> None:
        outage, top = self.race.outage_s, TOP - 4
        limit = _x(outage)
        if outage:
            ground = blend(self.theme.repeat, 0.07, self.theme.paper)
            self.drawing.add(Rect(limit, top, _RIGHT - limit - 4, self.bottom - top, Fill(ground)))
        for seconds, text in _TICKS.items():
            x = _x(seconds)
            self.drawing.add(Stroke(x, top, x, self.bottom, self.theme.faint, 0.6))
            self._text(x, 12, text, anchor="middle", size=10)
        self._text(_NEVER + 2, 12, "never", self._colour(NEVER), anchor="middle", size=10)
        self._text(2, 12, "situation", size=10)
        self._text(_RIGHT, 12, "what the caller gets · what is left hanging", size=10)
        for i in range(len(self.race.lanes) + 1):
            y = TOP - 4 + self.row * i
            self.drawing.add(Stroke(0, y, WIDTH, y, self.theme.faint, 0.6))
        if outage:
            self.drawing.add(Stroke(limit, top, limit, self.bottom, self.theme.repeat, 1.6, "3 2"))

    def _outage_words(self) -> None:
        if not self.race.outage_s:
            return
        text = f"outage tolerated {time_text(self.race.outage_s)} | too late →"
        x, width = _x(self.race.outage_s), _wide(text, _SMALL)
        anchor = "start" if x + width + 4 < WIDTH else "end"
        self._text(x + 3, self.bottom + 9, text, self._colour(TOO_LATE), anchor=anchor)

    def _lane(self, row: _Row) -> None:
        lane, y, colour = row.lane, row.y, self._colour(row.lane.verdict)
        ground = blend(colour, 0.14, self.theme.paper)
        self.drawing.add(Symbol(11, y - 3, "dot", ground, 8, lane.sentence))
        ink = readable(ground, colour, self.theme.ink)
        self.drawing.add(Caption(11, y + 0.5, lane.situation.letter, ink, "middle", True, size=10))
        name = _cut(lane.situation.name.partition(",")[0], _X0 - 30, _LARGE, True)
        self._text(24, y - 4, name, self.theme.ink, _LARGE, True, title=lane.sentence)
        self._text(24, y + 8, _cut(_circled(lane.detail), _X0 - 26, _SMALL))
        self.drawing.add(Stroke(_X0, y, _RIGHT - 4, y, self.theme.faint, 0.8))
        self._track(lane, y, colour)
        self._old(row, colour)
        for event in lane.events:
            if event.t_s < inf:
                self._mark(lane, event, y, colour)
        self._winner(row, colour)
        self._others(row)
        self._answer(lane, y, colour)

    def _track(self, lane: RaceLane, y: float, colour: str) -> None:
        """How the wait goes: a band while it is tolerated, hatched where it is too long."""
        if lane.verdict == UNKNOWN:
            return
        end = _X1 if lane.verdict == LIVES else _x(lane.heard_s if lane.heard_s is not None else inf)
        until = end if lane.verdict == LIVES else max(_x(lane.until_s), end)
        broke = _x(lane.breaks_s) if lane.breaks_s is not None and lane.is_broken else None
        late = broke or max(_x(self.race.outage_s or 1), _X0)
        band = min(end, late) if lane.is_broken else end
        if lane.is_broken and lane.heard_s is not None and lane.heard_s < (self.race.outage_s or inf):
            late = end
        ground = Fill(blend(colour, 0.35, self.theme.paper))
        if band > _X0 and not (lane.verdict == NEVER and broke is None and end > late):
            self.drawing.add(Rect(_X0, y - 3, band - _X0, 6, ground))
        if lane.is_broken and until > late:
            start = _X0 if lane.verdict == NEVER and broke is None and lane.heard_s == inf else late
            red = self.theme.error
            hatch = Fill(blend(red, 0.10, self.theme.paper), "/", red)
            self.drawing.add(Rect(start, y - 4, until - start, 8, hatch, lane.left))

    def _mark(self, lane: RaceLane, event: RaceEvent, y: float, colour: str) -> None:
        kind, size, is_hollow = _MARKS[event.kind]
        inks = {RESTARTS: self._colour(LIVES), FORGETS: self._colour(NEVER), FIRES: colour}
        inks |= {READY: self.theme.ink, PART: self.theme.ink}
        own = inks.get(event.kind, self.theme.soft)
        title = f"{event.timer}: {time_text(event.t_s)} ({event.host}; {event.kind}; {event.source})"
        paper = self.theme.paper if is_hollow else ""
        self.drawing.add(Symbol(_x(event.t_s), y, kind, own, size, title, paper))

    def _old(self, row: _Row, colour: str) -> None:
        """Where it was decided before."""
        old = self.before.get(row.lane.key)
        if old is None or (old.when, old.winner) == (row.lane.when, row.lane.winner):
            return
        was, now, y = _when_x(old), _when_x(row.lane), row.y
        if abs(was - now) < 8:
            return
        self.drawing.add(Ring(was, y, 5.5, self._colour(old.verdict), "2.5 2"))
        side = 1 if was > now else -1
        tail, tip = was - side * 8, now + side * 9
        if side * (tail - tip) > 6:
            self.drawing.add(Stroke(tail, y, tip, y, colour, 1.6))
            head = ((tip, y), (tip + side * 6, y - 3.5), (tip + side * 6, y + 3.5))
            self.drawing.add(Polygon(head, Fill(colour)))

    def _winner(self, row: _Row, colour: str) -> None:
        lane = row.lane
        event = lane.decided_by
        if event is None or event.t_s == inf:
            text = {NEVER: "no timer runs", UNKNOWN: ""}.get(lane.verdict, "")
            x = _NEVER
        else:
            when = time_text(event.t_s) if event.t_s else "at once"
            text, x = f"{event.timer} {when}", _x(event.t_s)
            if event.kind == FORGETS:
                text += " expires"
        if not text:
            return
        text = _cut(text, _RIGHT - _X0 - 4, 10, True)
        left = min(max(x - _wide(text, 10, True) / 2, _X0), _RIGHT - 4 - _wide(text, 10, True))
        row.above.append((left, left + _wide(text, 10, True)))
        paint = self._colour(NEVER) if event and event.kind == FORGETS else colour
        self._text(left, row.y - 8.5, text, paint, 10, True)

    def _others(self, row: _Row) -> None:
        """Names below the line, the first that fit."""
        winner = row.lane.decided_by
        order = {READY: 0, PART: 1, USELESS: 2, FORGETS: 2}
        rest = [each for each in row.lane.events if each is not winner and each.t_s < inf]
        for event in sorted(rest, key=lambda each: (order.get(each.kind, 3), each.t_s)):
            name = event.timer + (", useless" if event.kind == USELESS else "")
            width = _wide(name, _SMALL)
            left = min(max(_x(event.t_s) - width / 2, _X0), _RIGHT - 4 - width)
            if width < 180 and not hits((left - 4, left + width + 4), row.below):
                row.below.append((left, left + width))
                self._text(left, row.y + 12.5, name)

    def _answer(self, lane: RaceLane, y: float, colour: str) -> None:
        sign = _SIGNS[lane.verdict]
        when = lane.when if lane.verdict != IN_TIME or lane.heard_s else lane.verdict
        head = _cut(f"{sign} {when}", WIDTH - _RIGHT, _LARGE, True)
        self._text(_RIGHT, y - 6, head, colour, _LARGE, True)
        x = _RIGHT + _wide(head, _LARGE, True) + 6
        if lane.hangs:
            left = _cut(f"hangs: {lane.left}", WIDTH - x, _SMALL)
            if left:
                self._text(x, y - 6, left, self._colour(NEVER), title=lane.left)
        said = lane.message or ("nothing is printed" if lane.heard_s == inf else lane.says)
        for i, line in enumerate(_lines(said, WIDTH - _RIGHT, 2 if self.row == _ROW else 1)):
            self._text(_RIGHT, y + 4.5 + 9.5 * i, line, title=said if i == 0 else "")


def _x(seconds: float) -> float:
    """Where a time is, px."""
    if seconds == inf:
        return _NEVER
    return _X0 + (_X1 - _X0) * log10(min(max(seconds, 1), _DAY)) / log10(_DAY)


def _when_x(lane: RaceLane) -> float:
    """Where it is decided: at the winner, or at "never"."""
    if lane.heard_s == inf:
        return _NEVER
    event = lane.decided_by
    return _x(event.t_s if event else lane.heard_s or _DAY)


def _circled(detail: str) -> str:
    """``query running ①``: the leg takes less room."""
    head, leg, number = detail.rpartition(", leg ")
    return f"{head} {chr(0x245F + int(number))}" if leg and number in "123456789" else detail


def _wide(text: str, size: float, bold: bool = False) -> float:
    return text_width(text, bold) * size / FONT_SIZE


def _cut(text: str, room: float, size: float, bold: bool = False) -> str:
    """A text with "…" where it is too wide."""
    if _wide(text, size, bold) <= room:
        return text
    while text and _wide(text + "…", size, bold) > room:
        text = text[:-1]
    return f"{text.rstrip()}…" if text else ""


def _lines(text: str, room: float, most: int) -> Iterator[str]:
    """A text in at most so many lines."""
    words, line, made = text.split(), "", 0
    for i, word in enumerate(words):
        longer = f"{line} {word}".strip()
        if line and _wide(longer, _SMALL) > room:
            made += 1
            if made == most:
                yield _cut(" ".join([line, *words[i:]]), room, _SMALL)
                return
            yield line
            longer = word
        line = longer
    if line:
        yield _cut(line, room, _SMALL)


_HEADINGS = ("situation", "verdict", "what the caller gets, and when", "what decides", "left hanging")


def race_table(race: Race, before: Race | None = None) -> str:
    """The same as a table: each lane a row, with its sentence."""
    was = {lane.key: lane for lane in before.lanes} if before else {}
    rows = (_cells(lane, was.get(lane.key)) for lane in race.lanes)
    caption = "The race of timers" + (f"; {time_text(race.outage_s)} are tolerated" if race.outage_s else "")
    return html_table(
        _HEADINGS, rows, caption=caption, row_headings=True, classes="tcplab-table tcplab-lanes"
    )


def _cells(lane: RaceLane, was: RaceLane | None) -> Iterable[str]:
    situation = lane.situation
    name = f"<b>{situation.letter}</b> {escape(situation.name)}<br>{escape(lane.detail)}, {situation.clock}"
    verdict = f"{_SIGNS[lane.verdict]} {lane.verdict}"
    if was and was.when != lane.when:
        verdict += f" (was: {was.when})"
    event = lane.decided_by
    decides = f"{lane.winner} ({event.host}, {event.source})" if event else lane.winner or "–"
    said = f"{lane.when}: {lane.message}" if lane.message else lane.when
    hangs = "; ".join(f"{each.who} until {time_text(each.until_s)}" for each in lane.hangs) or "–"
    return Markup(name), verdict, f"{said}. {lane.says}", decides, hangs
