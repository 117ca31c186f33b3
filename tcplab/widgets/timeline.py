"""The living timeline: the picture of a run, its cursor and its bar, in the page.

Python lays the picture out and hands it over as a finished SVG; the page owns the cursor, tells the width and
the theme it has, and shows a picture that was sent ahead without asking the notebook kernel.
"""

from __future__ import annotations

import json
from asyncio import TimerHandle, get_running_loop
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import anywidget
import traitlets

from tcplab.core.text import in_words, paragraph
from tcplab.lesson.displayed import Displayed
from tcplab.pictures.lanes import Lane, Timeline
from tcplab.pictures.timeline_layout import TimelinePicture
from tcplab.widgets.base import HERE, Quiet, page_side

#: An answer shorter than this share of a linear axis is offered a logarithmic one.
_TOO_SHORT = 0.03
#: So many things that happen at one moment are said.
_MOST_SAID = 3


@dataclass(frozen=True)
class Bar:
    """What a bar offers: how many runs are kept, and why one would want a logarithmic axis."""

    #: None: no run can be kept here.
    kept: int | None = 0
    offer: str = ""


@dataclass(frozen=True)
class ShownFrame:
    """A picture and how it is drawn; of an explorer with the values of all its controls."""

    picture: TimelinePicture
    end_s: float
    log: bool
    values: Mapping[str, Any] = field(default_factory=dict)
    bar: Bar | None = None

    def to_json(self, width: int, dark: bool, *, table: bool = True) -> dict[str, Any]:
        """What the page gets: the SVG, its axis, its moments in words, and the table beside it."""
        drawing = self.picture.drawing(width, log=self.log, end_s=self.end_s, dark=dark)
        axis, now = drawing.axis, self.picture.now
        shown = {
            "svg": drawing.svg, "width": drawing.width, "top": drawing.top, "bottom": drawing.bottom,
            "axis": {"end": axis.end, "x0": axis.x0, "x1": axis.x1, "log": axis.log, "c": axis.c},
            "colours": {"paper": drawing.theme.paper, "cursor": drawing.theme.cursor},
            "stop": now.to_s, "events": moments(now), "values": dict(self.values),
            "bar": self.bar and {"kept": self.bar.kept, "offer": self.bar.offer},
        }  # fmt: skip
        return {**shown, "table": self.picture.table()} if table else shown


class LivingTimeline(Displayed, Quiet, anywidget.AnyWidget):
    """A timeline that plays, in every front end and after a reload.

    `frame` is the whole picture as JSON, one message a change, as of `LivingFigure`. `group` is the explorer
    in whose page it stands.
    """

    _esm = page_side("timeline.js")
    _css = (HERE / "timeline.css").read_text("utf-8")

    frame = traitlets.Unicode("").tag(sync=True)
    group = traitlets.Unicode("").tag(sync=True)
    #: The page's: the width of its place in px, and whether it is dark.
    width = traitlets.Int(950).tag(sync=True)
    dark = traitlets.Bool(False).tag(sync=True)
    #: Where the cursor is, seconds on the picture's axis; -1: nowhere.
    cursor = traitlets.Float(-1.0).tag(sync=True)

    def __init__(self, group: str = "", pressed: Callable[[str], Any] = lambda what: None) -> None:
        # The page needs it from the start: what belongs together there is found by it.
        super().__init__(group=group or uuid4().hex)
        self._shown: ShownFrame | None = None
        #: Why it is greyed, and the values that have no picture; empty: it is not.
        self._grey: dict[str, Any] = {}
        self._said = ""
        self._pressed = pressed
        self.observe(lambda change: self._draw(), ["width", "dark"])
        self.on_msg(self._on_message)

    @property
    def picture(self) -> TimelinePicture | None:
        """What is drawn; None when nothing is."""
        return self._shown.picture if self._shown else None

    def show(self, frame: ShownFrame) -> None:
        """Draw this instead of what was there."""
        self._shown, self._grey = frame, {}
        self._draw()

    def grey(self, why: str, values: Mapping[str, Any]) -> None:
        """Leave what is drawn, greyed: `why` there is no picture for these values."""
        self._grey = {"grey": why, "values": dict(values)}
        self._draw()

    def clear(self) -> None:
        """Draw nothing."""
        self._shown, self._grey, self.frame = None, {}, ""

    def play(self) -> None:
        """Move the cursor through the run, in every page that shows it."""
        self.send({"play": True})

    def _draw(self) -> None:
        if self._shown:
            self.frame = _compact({**self._shown.to_json(self.width, self.dark), **self._grey})

    def _on_message(self, widget: Any, content: Any, buffers: Any) -> None:
        if isinstance(content, dict) and "press" in content:
            self._pressed(str(content["press"]))

    def __repr__(self) -> str:
        return self.picture.sentence if self.picture else ""

    def _repr_html_(self) -> str:
        if not self._shown:
            return paragraph("")
        drawing = self._shown.picture.drawing(log=self._shown.log, end_s=self._shown.end_s)
        return f'<div class="tcplab-scroll">{drawing.svg}</div>'


def _compact(shown: Mapping[str, Any]) -> str:
    return json.dumps(shown, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


# -- what happens, in words ----------------------------------------------------------------------------


def moments(now: Timeline) -> list[tuple[float, str]]:
    """Each moment at which something happens, seconds, and what, in words."""
    said: dict[float, list[str]] = {t: [] for t in now.instants()}
    for t, words in _events(now):
        if t in said and words not in said[t]:
            said[t].append(words)
    return [(t, _few(words)) for t, words in said.items() if words]


def _few(words: list[str]) -> str:
    more = len(words) - _MOST_SAID
    return "; ".join(words[:_MOST_SAID]) + (f"; and {more} more" if more > 0 else "")


def _events(now: Timeline) -> Iterator[tuple[float, str]]:
    yield from ((each.t_s, each.text) for each in now.breaks)
    if now.answer and now.answer.to_s is not None:
        yield now.answer.to_s, now.answer.text
    for lane in now.lanes:
        yield from _events_of(lane)


def _events_of(lane: Lane) -> Iterator[tuple[float, str]]:
    marks = [*lane.marks, *(mark for row in lane.rows for mark in row.marks)]
    yield from ((mark.t_s, f"{lane.name}: {mark.text}") for mark in marks if mark.text)
    for span in (*lane.spans, *lane.locks):
        if span.words:
            yield span.from_s, f"{lane.name}: {span.words[0]}"
    for row in lane.rows:
        yield from ((s.from_s, f"{row.name}: {s.words[0]}") for s in row.spans if s.words)


def offer(picture: TimelinePicture, end_s: float, width: int) -> str:
    """Why a logarithmic axis would show more; empty where the answers are wide enough."""
    answers = [run.answer for run in (picture.now, *picture.kept) if run.answer]
    took = [each.to_s - each.from_s for each in answers if each.to_s is not None]
    shortest = min((each for each in took if each > 0), default=end_s)
    if shortest >= _TOO_SHORT * end_s:
        return ""
    axis = picture.drawing(width, log=False, end_s=end_s).axis
    wide = axis.x(shortest) - axis.x(0)
    return f"log: {in_words(shortest)} is {wide:.0f} px wide here"


# -- frames ahead --------------------------------------------------------------------------------------


class Ahead:
    """Makes finished pictures of a control's neighbouring steps while nothing else is to do.

    `make` gets a parameter and a value and returns a frame, or None where there is none. One picture is made
    in each idle slice of the running event loop; without one, nothing is. What belongs to other settings
    is forgotten at once, in the page too.
    """

    STEPS = 4
    #: Seconds before the first picture and between two: keys come first.
    PAUSE_S, BETWEEN_S = 0.04, 0.005

    def __init__(self, timeline: LivingTimeline, make: Callable[[str, Any], ShownFrame | None]) -> None:
        self._timeline, self._make = timeline, make
        self._generation = 0
        self._key: Any = None
        self._sent: set[Any] = set()
        self._handle: TimerHandle | None = None

    def stop(self) -> None:
        """Make no more of them."""
        if self._handle:
            self._handle.cancel()
            self._handle = None

    def plan(self, name: str, around: Iterable[Any], key: Any, values: Mapping[str, Any]) -> None:
        """Send pictures for these values of one control; `key` is everything else that they depend on."""
        self.stop()
        try:
            loop = get_running_loop()
        except RuntimeError:
            return
        key = (name, key)
        if key != self._key:
            self._key, self._sent, self._generation = key, set(), self._generation + 1
            self._timeline.send({"ahead": {"generation": self._generation}})
        self._values = {each: value for each, value in values.items() if each != name}
        waiting = [value for value in around if value not in self._sent]

        def slice_of() -> None:
            if self._timeline.comm is None:
                return  # closed: it is no longer on screen
            value = waiting.pop(0)
            if frame := self._make(name, value):
                drawn = frame.to_json(self._timeline.width, self._timeline.dark, table=False)
                ahead = {"generation": self._generation, "name": name, "values": self._values}
                self._timeline.send({"ahead": {**ahead, "value": value, "frame": drawn}})
            self._sent.add(value)
            self._handle = loop.call_later(self.BETWEEN_S, slice_of) if waiting else None

        if waiting:
            self._handle = loop.call_later(self.PAUSE_S, slice_of)
