"""Timers of a whole way on one logarithmic axis of seconds: a lane for each timer, a line for each box.

Which timer decides has a star and the words "▶ decides". What never ends reaches into a strip of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import inf, log10
from typing import Any

from tcplab.trace import SECOND, duration
from tcplab.view import theme as look
from tcplab.view.marks import Line, Picture, Text

#: What a lane can be: symbol at its ends, dash of its line.
SILENCE, PROBES, TIMER, BOX = "silence", "probes", "timer", "box"
_LOOKS = {
    SILENCE: ("line-ns-open", "solid"), PROBES: ("circle-open", "dot"), TIMER: ("diamond", "solid"),
    BOX: ("square", "dash"),
}  # fmt: skip
#: Ends of the axis, seconds, and the strip for what never comes.
LEFT, RIGHT, NEVER, NEVER_TO = 1.0, 864_000.0, 5_000_000.0, 12_000_000.0
_TICKS = (1, 10, 60, 300, 1800, 7200, 28_800, 86_400, 864_000)
#: px of a lane: its words, and its line below them.
_LANE = 46
_LONGEST = 44


@dataclass(frozen=True)
class Lane:
    """One timer, or one length of silence."""

    name: str
    #: `SILENCE`, `PROBES`, `TIMER` or `BOX`.
    kind: str
    #: Moments (seconds from when the silence or the call began; `inf`: never) and what happens at each.
    moments: tuple[tuple[float, str], ...]
    #: What breaks when this timer decides; empty: nothing does.
    decides: str = ""


@dataclass(frozen=True)
class LegLanes:
    """The lanes of one leg."""

    name: str
    lanes: tuple[Lane, ...]


def draw_desk_timeline(legs: Sequence[LegLanes], *, title: str | None = None, dark: bool = False) -> Picture:
    """The picture of all legs, the first at the top."""
    drawing = _Timeline(legs, look.theme(dark))
    return Picture(drawing.data(), drawing.layout(title))


class _Timeline:
    """One picture on its way; x is the decimal logarithm of seconds, y counts lanes downwards."""

    def __init__(self, legs: Sequence[LegLanes], colours: look.Theme) -> None:
        self.colours = colours
        self.count = 0
        self.lines = {kind: Line() for kind in _LOOKS}
        self.points = {kind: Line() for kind in _LOOKS}
        self.walls, self.stars, self.rules = Line(), Line(), Line()
        self.text = Text()
        for leg in legs:
            self._draw_leg(leg)

    def _draw_leg(self, leg: LegLanes) -> None:
        top = self.count
        self.count += 1
        self.text.add(log10(LEFT), top, f"<b>{_short(leg.name)}</b>", "middle right", self.colours.ink)
        self.rules.add([(log10(LEFT), top + 0.35), (log10(NEVER_TO), top + 0.35)])
        for lane in leg.lanes:
            self._draw_lane(lane, self.count)
            self.count += 1
        for lane in leg.lanes:
            if lane.kind == BOX:
                for seconds, what in lane.moments:
                    ends = [(_x(seconds), top + 0.4), (_x(seconds), self.count - 0.55)]
                    self.walls.add(ends, f"{_short(lane.name)}: {what} {_words(seconds)}")

    def _draw_lane(self, lane: Lane, y: int) -> None:
        places = [(_x(seconds), seconds, what) for seconds, what in lane.moments]
        first, last = places[0][0], places[-1][0]
        told = [f"{what} {_words(s)}" if s < inf else what for _, s, what in places]
        hover = f"<b>{_short(lane.name)}</b><br>" + "<br>".join(told)
        start = first if lane.kind == PROBES else log10(LEFT)
        self.lines[lane.kind].add([(start, y), (last, y)], hover)
        for x, _, _ in places:
            self.points[lane.kind].add([(x, y)], hover)
        said, colour = f"{_short(lane.name)}: {', '.join(told)}", self.colours.ink
        if lane.decides:
            hover = f"{hover}<br>decides: {escape(lane.decides)}"
            self.stars.add([(last, y)], hover)
            said, colour = f"<b>▶ decides</b> · {said}", self.colours.cursor
        self.text.add(log10(LEFT), y - 0.38, said, "middle right", colour, hover)

    # -- for plotly --------------------------------------------------------------------------

    def data(self) -> list[dict[str, Any]]:
        """Always the same traces in the same order."""
        colours = self.colours
        inks = {
            SILENCE: colours.soft, PROBES: colours.probe, TIMER: colours.states["open"], BOX: colours.error,
        }  # fmt: skip
        made = [
            self.rules.trace("legs", line={"color": colours.faint, "width": 1}),
            self.walls.trace(
                "boxes", line={"color": look.tint(colours.error, 0.5), "width": 2, "dash": "dash"}
            ),
        ]
        for kind, (symbol, dash) in _LOOKS.items():
            ink = {"color": inks[kind], "width": 2, "dash": dash}
            made.append(self.lines[kind].trace(f"lane: {kind}", line=ink))
            marker = {"symbol": symbol, "size": 11, "color": inks[kind], "line": {"width": 2}}
            made.append(self.points[kind].trace(f"moment: {kind}", mode="markers", marker=marker))
        star = {"symbol": "star", "size": 17, "color": colours.cursor, "line": {"width": 1}}
        made.append(self.stars.trace("decides", mode="markers", marker=star))
        return [*made, self.text.trace("words", colours)]

    def layout(self, title: str | None) -> dict[str, Any]:
        """A place for every lane."""
        margin = {"l": 16, "r": 24, "t": 60 if title else 12, "b": 76}
        height = _LANE * max(self.count, 1) + margin["t"] + margin["b"]
        ticks = [*map(_x, _TICKS), _x(inf)]
        size = {"size": look.FONT_SIZE}
        signs = "○ probes   ◆ timer   ■ box   ❘ silence   ★ decides"
        return look.layout(self.colours, height=height, margin=margin, title=title) | {
            "uirevision": "desk timeline",
            "dragmode": False,
            "xaxis": look.axis(
                range=[log10(LEFT), log10(NEVER_TO)], fixedrange=True, showticklabels=True, showgrid=True,
                gridcolor=self.colours.faint, tickmode="array", tickvals=ticks, tickangle=0,
                ticktext=[*map(_words, _TICKS), "<b>never</b>"],
                title={"text": f"after so long<br>{signs}", "font": size},
            ),
            "yaxis": look.axis(range=[self.count - 0.4, -0.6], fixedrange=True),
        }  # fmt: skip


def _x(seconds: float) -> float:
    return log10(NEVER) if seconds == inf else log10(min(max(seconds, LEFT), RIGHT))


def _short(name: str) -> str:
    """Names are people's own: as text, and no longer than a line has room for."""
    return escape(name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…")


def _words(seconds: float) -> str:
    if seconds == inf:
        return "never"
    if seconds >= 86_400 and seconds % 86_400 == 0:
        return "1 day" if seconds == 86_400 else f"{seconds / 86_400:g} days"
    return duration(round(seconds * SECOND))
