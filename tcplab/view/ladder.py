"""The ladder: hosts as lifelines, time downwards, every segment an arrow from sent to arrived.

Beside it, on each host's outer side, what `ss` and the application saw: a bar for the TCP state
with its name, a thin one for the running timer, the calls where they returned. One time axis
serves all of it (`timeaxis.py`), and `time_axis(trace)` translates the y of a click into a moment.

Everything is a trace of kind `scatter`, one per kind of thing and always the same ones in the same
order, empty or not, so that a living figure can be updated in place:

- the traces named in `ARROWS` hold three points per segment (tail, middle, where it ended), a gap
  between segments; `customdata` is the segment's index in `trace.passages`;
- the last trace, `cursor`, is the line at `at`.
"""

from __future__ import annotations

from html import escape
from typing import Any

import plotly.graph_objects as go

from tcplab.trace import Passage, SocketSample, Trace
from tcplab.view import theme as look
from tcplab.view.arrows import ARROWS, arrow_kind, four_tuple, local_port, main_connections, speaking_kind
from tcplab.view.marks import Line, Picture, Text
from tcplab.view.states import Stretch, timers
from tcplab.view.timeaxis import ROW, STUMP, Placement, duration, hosts_of, place, tick_texts, time_axis
from tcplab.view.words import call_words, hover_texts, is_error, words

__all__ = ["ARROWS", "Picture", "draw", "ladder", "time_axis"]

#: Distances from the lifeline, in parts of the distance between two of them.
_STATE_BAR, _TIMER_BAR, _BRACKET, _ASIDE, _EDGE = 0.022, 0.042, 0.056, 0.068, 0.075
#: px above the first row: the hosts' names; and below the last.
_HEAD, _FOOT = 50, 26
#: A picture taller than this shows its first part; the rest is dragged into view.
MAX_HEIGHT = 6000


def ladder(
    trace: Trace,
    *,
    at: int | None = None,
    upto: int | None = None,
    title: str | None = None,
    dark: bool = False,
) -> go.Figure:
    """The ladder of a trace.

    `at` (nanoseconds) draws a cursor line at that moment; `upto` draws only what had happened until
    then, on the same time axis, so that a replay does not jump. `dark` is for a dark page outside
    JupyterLab; inside it, see `theme.JUPYTER_STYLE`.
    """
    return draw(trace, at=at, upto=upto, title=title, dark=dark).figure()


def draw(
    trace: Trace,
    *,
    at: int | None = None,
    upto: int | None = None,
    title: str | None = None,
    dark: bool = False,
) -> Picture:
    """What `ladder` shows, as plain data together with its time axis."""
    return _Ladder(trace, upto, look.theme(dark)).picture(at, title)


class _Ladder:
    """One ladder while it is drawn."""

    def __init__(self, trace: Trace, upto: int | None, colours: look.Theme) -> None:
        self.trace = trace
        self.colours = colours
        self.placed: Placement = place(trace)
        self.axis = self.placed.axis
        self.upto = upto
        self.hosts = hosts_of(trace)
        self.x = {host: i for i, host in enumerate(self.hosts)}
        #: x between the outermost lifelines, and so the scale of all distances from them.
        self.wide = max(len(self.hosts) - 1, 1)
        #: Which way is out; a host in the middle writes to its right.
        self.out = {host: 1 if i or not self.hosts[1:] else -1 for host, i in self.x.items()}
        self.inner = {host for host, i in self.x.items() if 0 < i < self.wide}
        self.asides = Text()
        self.labels = Text()
        self.captions = Text()
        #: y down to which text stands beside each host.
        self.column: dict[str, list[float]] = {host: [] for host in self.hosts}

    def shown(self, t: int) -> bool:
        return self.upto is None or t <= self.upto

    def bottom(self) -> float:
        """y of the last thing drawn."""
        return self.axis.height if self.upto is None else self.axis.bottom_of(self.upto)

    def picture(self, at: int | None, title: str | None) -> Picture:
        data = [self.lifelines(), self.notes()]
        data += self.state_bars()
        brackets = self.calls()
        data += self.timer_bars()
        data.append(brackets)
        data += self.arrows()
        self.headings()
        data += [
            self.captions.trace("captions", self.colours),
            self.labels.trace("labels", self.colours),
            self.asides.trace("states and calls", self.colours),
            self.cursor(at),
        ]
        return Picture(data, self.layout(title), self.axis)

    # -- what stands behind -----------------------------------------------------------------

    def lifelines(self) -> dict[str, Any]:
        """Vertical lines with a zigzag wherever a silence is left out, and how long it was."""
        line = Line()
        middle = (len(self.hosts) - 1) / 2
        shown = [s for s in self.axis.silences if self.shown(s.ended)]
        breaks = []
        for silence in shown:
            # The lower part of the band belongs to the label of the arrow below.
            y = (silence.top + silence.bottom - ROW / 2) / 2
            breaks.append(y)
            lasted = duration(silence.ended - silence.began)
            self.captions.add(middle, y, f"<i>{lasted}</i>", "middle center", self.colours.soft)
        for x in self.x.values():
            points = [(float(x), -_HEAD / 2 + 4)]
            for y in breaks:
                wide = 0.009 * self.wide
                points += [(x, y - 8), (x + wide, y - 4), (x - wide, y + 4), (x, y + 8)]
            line.add([*points, (float(x), self.axis.height + 10)])
        return line.trace("lifelines", line={"color": self.colours.soft, "width": 1.4})

    def notes(self) -> dict[str, Any]:
        """Hairlines across, with the script's or a box's own words."""
        line = Line()
        for note, y in zip(self.trace.notes, self.placed.noted, strict=True):
            if self.shown(note.t):
                line.add([(0, y), (self.wide, y)])
                where = f"{note.host}: " if note.host and not note.text.startswith(note.host) else ""
                middle = (len(self.hosts) - 1) / 2
                text = f"<b>{escape(where + note.text, False)}</b>"
                self.captions.add(middle, y, text, "middle center", self.colours.soft)
        return line.trace("notes", line={"color": self.colours.faint, "width": 1})

    def headings(self) -> None:
        """Names and addresses of the hosts."""
        for host, x in self.x.items():
            address = self.trace.hosts.get(host, "")
            small = f"  {escape(address, False)}" if address != host else ""
            text = f"<b>{escape(host, False)}</b>{small}"
            self.captions.add(x, -_HEAD / 2 - 9, text, "middle center", self.colours.ink)

    # -- beside the lifelines ---------------------------------------------------------------

    def beside(self, host: str, lane: int, distance: float) -> float:
        """x of something at `distance` from a host's lifeline; a middle host has a lane on each side."""
        if host in self.inner:
            return self.x[host] + self.wide * distance * (-1 if lane == 0 else 1)
        return self.x[host] + self.out[host] * self.wide * distance * (1 + lane)

    def aside(self, host: str, y: float, text: str, colour: str, hover: str = "") -> None:
        where = "middle left" if self.out[host] < 0 else "middle right"
        self.column[host].append(y)
        self.asides.add(self.x[host] + self.out[host] * self.wide * _ASIDE, y, text, where, colour, hover)

    def state_bars(self) -> list[dict[str, Any]]:
        """A thick line per state, coloured by the connection's phase, with its name."""
        lines = {phase: Line() for phase in look.PHASES}
        bottom = self.bottom()
        begins = {
            (stretch.host, stretch.lane, stretch.began): y
            for stretch, y in zip(self.placed.states, self.placed.changed, strict=True)
        }
        for stretch, y in zip(self.placed.states, self.placed.changed, strict=True):
            if not self.shown(stretch.began):
                continue
            name = stretch.name.replace("_", "-") if stretch.name != "CLOSED" else "closed"
            self.aside(stretch.host, y, name, self.colours.soft, self.span(stretch))
            if stretch.name == "CLOSED":
                continue
            phase = look.PHASE.get(stretch.name, "waiting")
            next_begins = begins.get((stretch.host, stretch.lane, stretch.ended))
            end = self.axis.bottom_of(stretch.ended) if next_begins is None else next_begins
            x = self.beside(stretch.host, stretch.lane, _STATE_BAR)
            lines[phase].add(_bar(x, y, max(min(end, bottom), y + 3)), self.span(stretch))
        return [
            line.trace(f"state: {phase}", line={"color": self.colours.states[phase], "width": 9})
            for phase, line in lines.items()
        ]

    def timer_bars(self) -> list[dict[str, Any]]:
        """A thin line while a timer runs, dashed by its kind; its name where there is room."""
        lines = {timer: Line() for timer in look.TIMERS}
        bottom = self.bottom()
        for stretch in timers(self.trace):
            if not self.shown(stretch.began) or stretch.name not in lines:
                continue
            top, end = self.axis.y_of(stretch.began), min(self.axis.y_of(stretch.ended), bottom)
            hover = f"{look.TIMERS[stretch.name][1]}<br>{self.span(stretch)}"
            lines[stretch.name].add(
                _bar(self.beside(stretch.host, stretch.lane, _TIMER_BAR), top, end), hover
            )
            if end - top > 2 * ROW and (y := self.room(stretch.host, top + ROW / 2, end)) is not None:
                self.aside(
                    stretch.host, y, f"timer: {stretch.name}", self.colours.timers[stretch.name], hover
                )
        return [
            lines[timer].trace(
                f"timer: {timer}", line={"color": self.colours.timers[timer], "width": 3, "dash": dash}
            )
            for timer, (dash, _) in look.TIMERS.items()
        ]

    def room(self, host: str, y: float, end: float) -> float | None:
        """The first free row of text beside a host from `y` to `end`; None where there is none."""
        if host in self.inner:
            return None
        for taken in sorted(self.column[host]):
            if y - ROW < taken < y + ROW:
                y = taken + ROW
        return y if y + ROW / 2 <= end else None

    def span(self, stretch: Stretch) -> str:
        """For hovering over a bar: which socket, which state, from when to when."""
        sample: SocketSample = stretch.sample
        start = self.trace.start
        began, ended = duration(stretch.began - start), duration(stretch.ended - start)
        when = f"{began} to {ended}" if stretch.ended > stretch.began else f"at {began}"
        return (
            f"<b>{sample.state}</b> on {escape(stretch.host, False)}, {when}<br>"
            f"{sample.local} ↔ {sample.remote}"
        )

    def calls(self) -> dict[str, Any]:
        """What the applications called, where it returned; a bracket while it blocked."""
        line = Line()
        for call, y in zip(self.trace.calls, self.placed.returned, strict=True):
            if call.host not in self.x or not self.shown(call.t):
                continue
            colour = self.colours.error if is_error(call.result) else self.colours.ink
            blocked = duration(call.t - call.began)
            hover = (
                f"<b>{escape(f'{call.host}: {call.call} → {call.result}', False)}</b><br>"
                f"returned {(call.t - self.trace.start) / 1e9:.6f} s"
                + (f", had blocked for {blocked}" if call.t > call.began else "")
            )
            self.aside(call.host, y, escape(call_words(call), False), colour, hover)
            began = self.axis.bottom_of(call.began)
            if call.began < call.t and y - began > 4:
                x = self.beside(call.host, 0, _BRACKET)
                foot = x - self.out[call.host] * self.wide * 0.006
                line.add([(foot, began + 1), (x, began + 1), (x, y), (foot, y)])
        return line.trace("blocked calls", line={"color": self.colours.soft, "width": 1})

    # -- the arrows -------------------------------------------------------------------------

    def arrows(self) -> list[dict[str, Any]]:
        """One trace per kind in `ARROWS`."""
        lines = {kind: Line() for kind in ARROWS}
        said = words(self.trace)
        hovers = hover_texts(self.trace, said)
        main = main_connections(self.trace)
        for i, passage in enumerate(self.trace.passages):
            if not self.shown(passage.t):
                continue
            connection = four_tuple(passage)
            kind = arrow_kind(passage, connection in main)
            tail = float(self.x[passage.sender]), self.placed.sent[i]
            head, ended = self.head(i, passage)
            middle = (tail[0] + head[0]) / 2, (tail[1] + head[1]) / 2
            lines[kind].add((tail, middle, head), hovers[i], i)
            lines[kind].size += [0, 0, 13 if ended else 0, 0]
            text = said[i].markup
            if connection not in main:
                text = f":{local_port(connection)}  {text}"
            if passage.arrives is None and passage.fate == "delivered":
                text += "  (on its way)"
            speaks = speaking_kind(passage)
            colour = self.colour(speaks if kind == "lost" and speaks != "segment" else kind)
            way = 1 if head[0] >= tail[0] else -1
            away = self.wide * (_TIMER_BAR if passage.sender in self.inner else 0.012)
            self.labels.add(
                tail[0] + way * away, tail[1] - 1, text, "top right" if way > 0 else "top left", colour
            )
        return [
            lines[kind].trace(
                kind,
                mode="lines+markers",
                customdata=lines[kind].index,
                line={"color": self.colour(kind), "width": arrow.width, "dash": arrow.dash},
                marker={
                    "symbol": arrow.head,
                    "size": lines[kind].size,
                    "angleref": "previous" if arrow.turns else "up",
                    "color": self.colour(kind),
                    "opacity": 1,
                    "line": {"width": 1 if arrow.turns else 2.5, "color": self.colour(kind)},
                },
            )
            for kind, arrow in ARROWS.items()
        ]

    def colour(self, kind: str) -> str:
        """The colour of a kind of arrow in this theme."""
        colour: str = getattr(self.colours, ARROWS[kind].colour)
        return colour

    def head(self, i: int, passage: Passage) -> tuple[tuple[float, float], bool]:
        """Where the arrow ends, and whether it ends there for good (else it is still on its way)."""
        x0, x1, y0 = self.x[passage.sender], self.x[passage.receiver], self.placed.sent[i]
        if passage.fate != "delivered":
            near = passage.receiver in passage.fate  # the receiver's own firewall stands close to it
            part = 0.9 if near else 0.5
            return (x0 + part * (x1 - x0), y0 + STUMP - 3), True
        y1 = self.placed.arrived[i]
        if y1 is None or passage.arrives is None:
            return (x0 + 0.5 * (x1 - x0), y0 + STUMP - 3), False
        if self.shown(passage.arrives) or self.upto is None:
            return (float(x1), y1), True
        part = (self.upto - passage.t) / (passage.arrives - passage.t)
        return (x0 + part * (x1 - x0), y0 + part * (y1 - y0)), False

    # -- the frame --------------------------------------------------------------------------

    def cursor(self, at: int | None) -> dict[str, Any]:
        """The line at a moment: all that had happened lies above it."""
        edge = self.wide * _EDGE
        x0, x1 = -edge, self.wide + edge
        y = None if at is None else self.axis.bottom_of(at) + 3
        text = "" if at is None else f"at {duration(at - self.trace.start)}"
        return {
            "type": "scatter",
            "name": "cursor",
            "x": [x0, x1],
            "y": [y, y],
            "mode": "lines+markers",
            "hovertext": [text, text],
            "hoverinfo": "text",
            "line": {"color": self.colours.cursor, "width": 2, "dash": "dash"},
            "marker": {
                "symbol": ["triangle-right", "triangle-left"],
                "size": 12,
                "color": self.colours.cursor,
            },
            "cliponaxis": False,
        }

    def layout(self, title: str | None) -> dict[str, Any]:
        longest = {-1: 0, 1: 0}
        for text, where in zip(self.asides.text, self.asides.where, strict=True):
            side = -1 if where == "middle left" else 1
            longest[side] = max(longest[side], len(text))
        # Steps of 40 px, so that the picture does not twitch while a slider moves.
        column = {side: _step(min(n, 30) * look.CHARACTER + 12) for side, n in longest.items()}
        ticks = tick_texts([t - self.trace.start for t, _ in self.axis.ticks])
        times = _step(max(map(len, ticks), default=3) * look.CHARACTER)
        head = _HEAD + (20 if title else 0)
        top, bottom = -float(_HEAD), max(self.axis.height, 60.0) + _FOOT
        natural = bottom - top
        shown = min(natural, MAX_HEIGHT)
        edge = self.wide * _EDGE
        margin = {"l": column[-1] + times, "r": column[1], "t": head - _HEAD + 12, "b": 8}
        return look.layout(
            self.colours, height=shown + margin["t"] + margin["b"], margin=margin, title=title
        ) | {
            "uirevision": "ladder",
            "xaxis": look.axis(range=[-edge, self.wide + edge], fixedrange=True),
            "yaxis": look.axis(
                range=[top + shown, top],
                showticklabels=True,
                tickmode="array",
                tickvals=[y for _, y in self.axis.ticks],
                ticktext=ticks,
                tickfont={"color": self.colours.soft},
                ticklabelstandoff=round(column[-1]),
                fixedrange=natural <= MAX_HEIGHT,
            ),
        }


def _bar(x: float, top: float, bottom: float) -> list[tuple[float, float]]:
    """A vertical line with points close enough to hover over it anywhere."""
    steps = max(int((bottom - top) / 24), 1)
    return [(x, top + (bottom - top) * i / steps) for i in range(steps + 1)]


def _step(px: float) -> int:
    return 40 * -(-round(px) // 40)
