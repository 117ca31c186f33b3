"""The race of timers on one logarithmic axis of seconds: a lane for each timer, a wall for each middlebox.

A timer that decides has a star and the words "▶ decides". A timer that never ends reaches into a strip for
"never" on the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import inf, log10

from tcplab.advice.race import MIDDLEBOX, PROBES, SILENCE, TIMER, LegLanes
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
    """The picture of all legs, the first at the top: x is the decimal logarithm of seconds, y a lane."""
    colours, text = look.theme(dark), Text()
    lines, points = {kind: Line() for kind in _MARKS}, {kind: Line() for kind in _MARKS}
    walls, stars, rules = Line(), Line(), Line()
    y = 0
    for leg in legs:
        top, y = y, y + 1
        text.add(log10(LEFT), top, f"<b>{_short(leg.name)}</b>", "middle right", colours.ink)
        rules.add([(log10(LEFT), top + 0.35), (log10(NEVER_TO), top + 0.35)])
        for lane in leg.lanes:
            events = [f"{what} {in_words(s)}" if s < inf else what for s, what in lane.instants]
            hover = f"<b>{_short(lane.name)}</b><br>" + "<br>".join(events)
            places = [_x(seconds) for seconds, _ in lane.instants]
            first, last = places[0] if lane.kind == PROBES else log10(LEFT), places[-1]
            lines[lane.kind].add([(first, y), (last, y)], hover)
            for x in places:
                points[lane.kind].add([(x, y)], hover)
            said, colour = f"{_short(lane.name)}: {', '.join(events)}", colours.ink
            if lane.decides:
                hover = f"{hover}<br>decides: {escape(lane.decides)}"
                stars.add([(last, y)], hover)
                said, colour = f"<b>▶ decides</b> · {said}", colours.cursor
            text.add(log10(LEFT), y - 0.38, said, "middle right", colour, hover)
            y += 1
        for lane in leg.lanes:
            for seconds, what in lane.instants if lane.kind == MIDDLEBOX else ():
                ends = [(_x(seconds), top + 0.4), (_x(seconds), y - 0.55)]
                walls.add(ends, f"{_short(lane.name)}: {what} {in_words(seconds)}")
    wall = {"color": look.tint(colours.error, 0.5), "width": 2, "dash": "dash"}
    data = [
        rules.trace("legs", line={"color": colours.faint, "width": 1}),
        walls.trace("middleboxes", line=wall),
    ]
    for kind, mark in _MARKS.items():
        colour = colours.of(mark)
        data.append(lines[kind].trace(f"lane: {kind}", line={"color": colour, "width": 2, "dash": mark.dash}))
        marker = {"symbol": mark.symbol, "size": 11, "color": colour, "line": {"width": 2}}
        data.append(points[kind].trace(f"instant: {kind}", mode="markers", marker=marker))
    star = {"symbol": "star", "size": 17, "color": colours.cursor, "line": {"width": 1}}
    data += [stars.trace("decides", mode="markers", marker=star), text.trace("words", colours)]
    signs = "○ probes   ◆ timer   ■ middlebox   ❘ silence   ★ decides"
    layout = look.layout(colours, _LANE * max(y, 1), None, right=24, bottom=76) | {
        "uirevision": "timers",
        "dragmode": False,
        "xaxis": look.grid_axis(
            colours, f"after so long<br>{signs}", range=[log10(LEFT), log10(NEVER_TO)], fixedrange=True,
            tickvals=[*map(_x, _TICKS), _x(inf)], ticktext=[*map(in_words, _TICKS), "<b>never</b>"],
            tickangle=0,
        ),
        "yaxis": look.axis(range=[y - 0.4, -0.6], fixedrange=True),
    }  # fmt: skip
    return Picture(data, layout)


def _x(seconds: float) -> float:
    return log10(NEVER) if seconds == inf else log10(min(max(seconds, LEFT), RIGHT))


def _short(name: str) -> str:
    """Names are people's own: as text, and no longer than a line has room for."""
    return escape(name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…")
