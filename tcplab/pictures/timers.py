"""The race of timers on one logarithmic axis of seconds: a lane for each timer, a wall for each middlebox.

A timer that decides has a star and the words "▶ decides". A timer that never ends reaches into a strip for
"never" on the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import inf, log10
from typing import Any

from tcplab.advice.race import MIDDLEBOX, PROBES, SILENCE, TIMER, LegLanes, RaceLane
from tcplab.core.text import in_words
from tcplab.pictures import theme as look
from tcplab.pictures.theme import Line, MarkStyle, Picture, Text

#: The line of a lane by its kind, and the symbol at its ends.
_MARKS = {
    SILENCE: MarkStyle("soft", symbol="line-ns-open"),
    PROBES: MarkStyle("probe", dash="dot", symbol="circle-open"),
    TIMER: MarkStyle("open", symbol="diamond"),
    MIDDLEBOX: MarkStyle("error", dash="dash", symbol="square"),
}
#: Ends of the axis, seconds, and the strip for "never".
LEFT, RIGHT, NEVER, NEVER_TO = 1.0, 864_000.0, 5_000_000.0, 12_000_000.0
_TICKS = (1, 10, 60, 300, 1800, 7200, 28_800, 86_400, 864_000)
#: px of a lane: its words, and its line below them.
_LANE = 46
_LONGEST = 44


def draw_timers(legs: Sequence[LegLanes], *, dark: bool = False) -> Picture:
    """The picture of all legs, the first at the top."""
    drawing = _Drawing(legs, look.theme(dark))
    return Picture(drawing.data(), drawing.layout())


class _Drawing:
    """One picture being drawn; x is the decimal logarithm of seconds, y counts lanes downwards."""

    def __init__(self, legs: Sequence[LegLanes], colours: look.Theme) -> None:
        self.colours = colours
        self.count = 0
        self.lines = {kind: Line() for kind in _MARKS}
        self.points = {kind: Line() for kind in _MARKS}
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
            if lane.kind == MIDDLEBOX:
                for seconds, what in lane.instants:
                    ends = [(_x(seconds), top + 0.4), (_x(seconds), self.count - 0.55)]
                    self.walls.add(ends, f"{_short(lane.name)}: {what} {in_words(seconds)}")

    def _draw_lane(self, lane: RaceLane, y: int) -> None:
        places = [(_x(seconds), seconds, what) for seconds, what in lane.instants]
        first, last = places[0][0], places[-1][0]
        events = [f"{what} {in_words(s)}" if s < inf else what for _, s, what in places]
        hover = f"<b>{_short(lane.name)}</b><br>" + "<br>".join(events)
        start = first if lane.kind == PROBES else log10(LEFT)
        self.lines[lane.kind].add([(start, y), (last, y)], hover)
        for x, _, _ in places:
            self.points[lane.kind].add([(x, y)], hover)
        said, colour = f"{_short(lane.name)}: {', '.join(events)}", self.colours.ink
        if lane.decides:
            hover = f"{hover}<br>decides: {escape(lane.decides)}"
            self.stars.add([(last, y)], hover)
            said, colour = f"<b>▶ decides</b> · {said}", self.colours.cursor
        self.text.add(log10(LEFT), y - 0.38, said, "middle right", colour, hover)

    # -- for plotly --------------------------------------------------------------------------

    def data(self) -> list[dict[str, Any]]:
        """Always the same traces in the same order."""
        colours = self.colours
        wall = {"color": look.tint(colours.error, 0.5), "width": 2, "dash": "dash"}
        made = [
            self.rules.trace("legs", line={"color": colours.faint, "width": 1}),
            self.walls.trace("middleboxes", line=wall),
        ]
        for kind, mark in _MARKS.items():
            colour = colours.of(mark)
            line = {"color": colour, "width": 2, "dash": mark.dash}
            made.append(self.lines[kind].trace(f"lane: {kind}", line=line))
            marker = {"symbol": mark.symbol, "size": 11, "color": colour, "line": {"width": 2}}
            made.append(self.points[kind].trace(f"instant: {kind}", mode="markers", marker=marker))
        star = {"symbol": "star", "size": 17, "color": colours.cursor, "line": {"width": 1}}
        made.append(self.stars.trace("decides", mode="markers", marker=star))
        return [*made, self.text.trace("words", colours)]

    def layout(self) -> dict[str, Any]:
        """A place for every lane."""
        height = _LANE * max(self.count, 1)
        ticks = [*map(_x, _TICKS), _x(inf)]
        signs = "○ probes   ◆ timer   ■ middlebox   ❘ silence   ★ decides"
        return look.layout(self.colours, height, None, right=24, bottom=76) | {
            "uirevision": "timers",
            "dragmode": False,
            "xaxis": look.grid_axis(
                self.colours, f"after so long<br>{signs}", range=[log10(LEFT), log10(NEVER_TO)],
                fixedrange=True, tickvals=ticks, tickangle=0,
                ticktext=[*map(in_words, _TICKS), "<b>never</b>"],
            ),
            "yaxis": look.axis(range=[self.count - 0.4, -0.6], fixedrange=True),
        }  # fmt: skip


def _x(seconds: float) -> float:
    return log10(NEVER) if seconds == inf else log10(min(max(seconds, LEFT), RIGHT))


def _short(name: str) -> str:
    """Names are people's own: as text, and no longer than a line has room for."""
    return escape(name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…")
