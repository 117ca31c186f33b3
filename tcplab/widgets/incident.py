"""The living incident timeline, a whole capture on the wall clock with a brush; and one connection's graphs.

Python lays out one window of the file and hands it over as a finished SVG; the page owns the brush, and asks
for the next window when a drag ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any

import anywidget
import ipywidgets as widgets
import traitlets

from tcplab.capture.incidents import Incident
from tcplab.core.table import html_table
from tcplab.core.text import SECOND, clock, in_words, paragraph, plural
from tcplab.lesson.displayed import Displayed
from tcplab.pictures.incident import CaptureTimeline
from tcplab.pictures.incident_graphs import ConnectionGraphs, GraphPicture
from tcplab.pictures.incident_layout import (
    MOST_PLAIN,
    Choice,
    incident_drawing,
    overview,
    rows_of,
    whole,
)
from tcplab.widgets import base
from tcplab.widgets.base import page_side
from tcplab.widgets.replay import Replay
from tcplab.widgets.timeline import LivingTimeline, ShownFrame

#: The shortest window, seconds: the clock of a capture shows no less.
SHORTEST_S = 1e-5
#: An incident of one moment is shown with so much around it, seconds.
LEAST_S = 1.0
#: An incident alone in its file is shown closer from the start where it fills less of it than this.
SMALL = 0.15
#: Servers that get a chip of their own, and windows that Esc goes back to.
SERVERS, BACK = 4, 50
HEADINGS = ("connection", "from (UTC)", "to (UTC)", "what happened")


def around(timeline: CaptureTimeline, incident: Incident) -> Choice:
    """The window in which an incident and what followed from it are seen."""
    ends = [
        span.to_s for number in incident.connections[:200] for span in timeline.lane(number).spans
        if span.kind != "open"
    ]  # fmt: skip
    until = max([incident.high_s, *ends])
    span = max(until - incident.low_s, 20 * (incident.high_s - incident.low_s), LEAST_S)
    low = max(0.0, incident.low_s - 0.2 * span)
    return Choice(low, min(timeline.length_s, incident.low_s + 1.1 * span))


class LivingIncident(Displayed, anywidget.AnyWidget):
    """A capture's timeline with a brush, in every front end and after a reload.

    `frame` is the whole picture as JSON, one message a change. `opened` gets the number of a connection that
    was clicked.
    """

    _esm = page_side("incident.js")

    frame = traitlets.Unicode("").tag(sync=True)
    #: The page's: the width of its place in px, and whether it is dark.
    width = traitlets.Int(950).tag(sync=True)
    dark = traitlets.Bool(False).tag(sync=True)
    #: The browser's time zone.
    zone = traitlets.Unicode("").tag(sync=True)

    def __init__(self, opened: Callable[[int], Any] = lambda number: None) -> None:
        super().__init__()
        self.timeline: CaptureTimeline | None = None
        #: The window that is shown, and those before it.
        self.choice = Choice(0.0, 1.0)
        self._before: list[Choice] = []
        self._opened = opened
        self.observe(lambda change: self._draw(), ["width", "dark"])
        self.on_msg(self._on_message)

    def show(self, timeline: CaptureTimeline) -> None:
        """Draw this capture; the whole file, or its only incident where that is short."""
        self.timeline, self._before = timeline, []
        self.choice = whole(timeline)
        if len(timeline.incidents) == 1:
            near = around(timeline, timeline.incidents[0])
            if near.high_s - near.low_s < SMALL * timeline.length_s:
                self._before, self.choice = [self.choice], near
        self._draw()

    def clear(self) -> None:
        """Draw nothing."""
        self.timeline, self._before, self.frame = None, [], ""

    def look(self, choice: Choice) -> None:
        """Show this window; what was shown before is a step back."""
        if self.timeline is None:
            return
        length = self.timeline.length_s
        low, high = sorted((min(max(choice.low_s, 0.0), length), min(max(choice.high_s, 0.0), length)))
        if high - low < SHORTEST_S:
            low = max(0.0, min(low, length - SHORTEST_S))
            high = min(length, low + SHORTEST_S)
        choice = choice._replace(low_s=low, high_s=high)
        if choice != self.choice:
            self._before = [*self._before[1 - BACK :], self.choice]
            self.choice = choice
        self._draw()

    def back(self) -> None:
        """Show what was shown before."""
        if self._before:
            self.choice = self._before.pop()
        self._draw()

    def to_incident(self, number: int) -> None:
        """Show this incident, by its number."""
        if self.timeline is not None:
            for each in self.timeline.incidents:
                if each.number == number:
                    self.look(around(self.timeline, each)._replace(server=self.choice.server))

    def step(self, by: int) -> None:
        """Show the incident after or before the one that the window shows; the first or last beyond them."""
        if self.timeline is None or not self.timeline.incidents:
            return
        bands = self.timeline.incidents
        windows = [around(self.timeline, each) for each in bands]
        here = next((i for i, w in enumerate(windows) if w[:2] == self.choice[:2]), None)
        if here is None:
            middle = (self.choice.low_s + self.choice.high_s) / 2
            shows_all = self.choice[:2] == whole(self.timeline)[:2]
            after = [i for i, each in enumerate(bands) if each.low_s > middle and not shows_all]
            at = (
                (0 if by > 0 else len(bands) - 1)
                if shows_all
                else (after[0] if after else len(bands)) - (by < 0)
            )
        else:
            at = here + by
        self.to_incident(bands[min(max(at, 0), len(bands) - 1)].number)

    @property
    def said(self) -> str:
        """What the window shows, in words."""
        if self.timeline is None:
            return ""
        low, high = self.choice.low_s, self.choice.high_s
        began = self.timeline.began
        hit = [
            each for each in self.timeline.hit
            if each.broke and low <= each.broke.high_s and each.broke.low_s <= high
            and self.choice.server in ("", str(each.server))
        ]  # fmt: skip
        where = f" of {self.choice.server}" if self.choice.server else ""
        when = f"{clock(began + round(low * SECOND))} to {clock(began + round(high * SECOND))} UTC"
        broke = f"{plural(len(hit), 'connection')}{where} broke in it"
        return f"Shown: {when}, {in_words(round(high - low, 6))}; {broke}."

    # -- the page ----------------------------------------------------------------------------

    def _on_message(self, widget: Any, content: Any, buffers: Any) -> None:
        if not isinstance(content, dict) or self.timeline is None:
            return
        match content:
            case {"window": [float() | int() as low, float() | int() as high]} if isfinite(low + high):
                self.look(self.choice._replace(low_s=float(low), high_s=float(high)))
            case {"whole": True}:
                self.look(whole(self.timeline))
            case {"back": True}:
                self.back()
            case {"incident": int(number)}:
                self.to_incident(number)
            case {"step": int(by)}:
                self.step(by)
            case {"show": str(what)}:
                self._filter(what)
            case {"open": int(number)} if 0 <= number < len(self.timeline.connections):
                self._opened(number)

    def _filter(self, what: str) -> None:
        """`hit`, `healthy`, or `server ADDRESS:PORT`; a server that is chosen already: all of them."""
        server = what.removeprefix("server ")
        if server == what:
            self.look(self.choice._replace(healthy=what == "healthy"))
        elif self.timeline and server in {str(each.server) for each in self.timeline.connections}:
            self.look(self.choice._replace(server="" if server == self.choice.server else server))

    def _chips(self) -> list[dict[str, Any]]:
        assert self.timeline is not None
        hit, every = len(self.timeline.hit), len(self.timeline.connections)
        chips: list[dict[str, Any]] = []
        if hit and every > hit:
            chips += [
                {"text": f"{hit:,} hit", "what": {"show": "hit"}, "pressed": not self.choice.healthy},
                {"text": f"with {every - hit:,} without trouble", "what": {"show": "healthy"},
                 "pressed": self.choice.healthy},
            ]  # fmt: skip
        servers: dict[str, int] = {}
        for each in self.timeline.connections:
            servers[str(each.server)] = servers.get(str(each.server), 0) + 1 + 10**9 * each.hit
        if len(servers) > 1:
            for name in sorted(servers, key=lambda each: -servers[each])[:SERVERS]:
                what = {"show": f"server {name}"}
                chips.append({"text": name, "what": what, "pressed": name == self.choice.server})
        for band in self.timeline.incidents[:1] if len(self.timeline.incidents) == 1 else ():
            chips.append({"text": "Zoom to the incident", "what": {"incident": band.number}, "pressed": None})
        if self.choice[:2] != whole(self.timeline)[:2]:
            chips.append({"text": "Whole file", "what": {"whole": True}, "pressed": None})
        return chips

    def _label(self, what: int | str) -> str:
        assert self.timeline is not None
        if isinstance(what, str):
            return "the connections without trouble" if what == "healthy" else what
        brief = self.timeline.connections[what]
        said = [words for span in self.timeline.lane(what).spans for words in span.words[:1]]
        return f"{brief.client} → {brief.server}" + (f": {'; '.join(said)}" if said else "")

    def _draw(self) -> None:
        if self.timeline is None:
            return
        drawing = incident_drawing(self.timeline, self.choice, self.width, dark=self.dark)
        strip = bool(self.timeline.hit) or len(self.timeline.connections) > MOST_PLAIN
        shown = {
            "svg": drawing.svg, "width": drawing.width, "top": drawing.top, "bottom": drawing.bottom,
            "strip": overview(self.timeline, None, self.width, dark=self.dark).svg if strip else "",
            "x0": drawing.axis.x0, "x1": drawing.axis.x1, "pieces": drawing.axis.pieces(),
            "length": self.timeline.length_s, "window": self.choice[:2],
            "rows": [(*place, what, self._label(what)) for *place, what in drawing.rows],
            "discs": drawing.discs, "chips": self._chips(), "said": self.said, "table": self._table(),
            "colours": {name: getattr(drawing.theme, name) for name in ("paper", "ink", "soft", "cursor")},
        }  # fmt: skip
        self.frame = json.dumps(shown, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    def _table(self) -> str:
        assert self.timeline is not None
        rows = list(rows_of(self.timeline))
        caption = f"the {plural(len(rows), 'connection')} that broke, in order"
        return html_table(HEADINGS, rows, caption=caption) if rows else paragraph("No connection broke.")

    def __repr__(self) -> str:
        return self.said

    def _repr_html_(self) -> str:
        if self.timeline is None:
            return paragraph("")
        drawing = incident_drawing(self.timeline, self.choice)
        strip = overview(self.timeline, self.choice).svg if self.timeline.hit else ""
        return f'<div class="tcplab-scroll">{strip}{drawing.svg}</div>'


# -- one connection -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GraphFrame(ShownFrame):
    """The graphs of one connection as a frame of a living timeline: its cursor moves through them."""

    picture: Any

    def to_json(self, width: int, dark: bool, *, table: bool = True) -> dict[str, Any]:
        """What the page gets; 0 and the end of its axis may lie outside of the picture."""
        drawing = self.picture.drawing(width, dark=dark)
        axis, graphs = drawing.axis, self.picture.graphs
        return {
            "svg": drawing.svg, "width": drawing.width, "top": drawing.top, "bottom": drawing.bottom,
            "axis": {"end": axis.end, "x0": axis.x0, "x1": axis.x1, "log": False, "c": 1.0},
            "colours": {"paper": drawing.theme.paper, "cursor": drawing.theme.cursor},
            "stop": graphs.length_s, "events": graphs.moments(), "values": {}, "bar": None,
            **({"table": self.picture.table()} if table else {}),
        }  # fmt: skip


class GraphPanel(base.Quiet, widgets.VBox):
    """The graphs of one connection, the sentence about who limited it, and the part that is shown.

    Their cursor is that of `replay`: a step there is a moment here, and a click here a step there.
    """

    def __init__(self, replay: Replay) -> None:
        self.graphs: ConnectionGraphs | None = None
        self._said = widgets.HTML()
        self.picture = LivingTimeline()
        #: The part that is shown, seconds since the connection's first packet.
        self.part = base.labelled(
            widgets.FloatRangeSlider(
                description="shown, seconds", min=0.0, max=1.0, value=(0.0, 1.0), step=0.001,
                continuous_update=False, readout_format=".3f", layout=widgets.Layout(width="36rem"),
            )
        )  # fmt: skip
        self.react(self.part, lambda value: self._draw())
        whole = base.button("All of it", "arrows-h", self._whole)
        super().__init__([self._said, base.in_row(self.part, whole), self.picture])
        traitlets.link((replay.timeline, "cursor"), (self.picture, "cursor"))

    @property
    def sentence(self) -> str:
        """Who limited the connection."""
        return self.graphs.limit if self.graphs else ""

    def show(self, graphs: ConnectionGraphs) -> None:
        """Draw this connection, all of it."""
        self.graphs = graphs
        end = graphs.length_s
        with self.quietly():
            self.part.value = (0.0, 0.0)  # never beyond the ends, while they move
            self.part.max = end
            self.part.step = end / 1000
            self.part.value = (0.0, end)
        self._said.value = paragraph(graphs.limit, "tcplab-limit") + paragraph(graphs.remarks, "tcplab-help")
        self._draw()

    def _whole(self) -> None:
        self.part.value = (0.0, self.part.max)

    def _draw(self) -> None:
        if self.graphs is None:
            return
        picture = GraphPicture(self.graphs, tuple(self.part.value))
        self.picture.show(GraphFrame(picture, self.graphs.length_s, False))
