"""The ladder: hosts as lifelines, time downwards, every segment an arrow from sent to arrived.

Beside it, on each host's outer side, what `ss` and the application saw: a bar for the TCP state
with its name, a thin one for the running timer, the calls where they returned. A host in the middle,
such as a proxy, has both its sides. A middlebox has its entry for the connection instead: a bar as long
as it remembers the connection, filled with what is left of the timer, full after each segment that
restarts it and empty when the middlebox forgets. With more than two lifelines an end whose other end is
gone is striped: half-open. One time axis serves all of it (`timeaxis.py`), and `time_axis(trace)`
translates the y of a click into an instant.

An uneventful beginning is one row, and what belongs together is one arrow (`timeaxis.py`). A label is above
the middle of its arrow, on a ground that no arrow shines through, in the longest wording that fits
between the lifelines of a picture of `width` px.

Everything is a trace of kind `scatter`, one per kind of thing and always the same ones in the same
order, empty or not, which lets a widget update a figure in place:

- the traces named in `ARROWS` hold three points per arrow (tail, middle, where it ended), a gap
  between arrows; `customdata` is its first segment's index in `trace.packets`;
- `hover` holds points all along each arrow with what to say of it;
- the last trace, `cursor`, is the line at `at`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape, unescape
from re import sub
from typing import TYPE_CHECKING, Any

from tcplab.core.segment import RST
from tcplab.core.text import duration, short_duration
from tcplab.core.trace import Packet, Trace
from tcplab.follow import RETRANSMISSION
from tcplab.pictures import theme as look
from tcplab.pictures import timeaxis
from tcplab.pictures.beside import EDGE, NARROWEST, WIDTH, Geometry, Sides, entries, step, timer_words
from tcplab.pictures.svg import text_width
from tcplab.pictures.text import (
    PROBES,
    FourTuple,
    Words,
    four_tuple,
    hover_texts,
    probe_totals,
    wordings,
    words,
)  # fmt: skip
from tcplab.pictures.theme import Line, MarkStyle, Picture, Text, rectangle
from tcplab.pictures.timeaxis import LABEL, ROW, STUMP, TICK, Arrow, arrows, fold, time_axis

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["ARROWS", "MAX_HEIGHT", "Picture", "draw", "ladder", "time_axis"]

#: px above the first row, for the hosts' names; where a middlebox has two lines; below the last row.
_HEAD, _HEAD_TWO_LINES, _FOOT = 40, 52, 18
#: px of the legend.
_LEGEND = 26
#: A picture higher than this (px) shows its first part; the rest is dragged into view.
MAX_HEIGHT = 4000

#: How a segment is drawn by its kind, in the order of drawing: the line, and the symbol where it ends.
ARROWS: dict[str, MarkStyle] = {
    "segment": MarkStyle("ink", symbol="arrow"),
    "reset": MarkStyle("error", width=2.6, symbol="arrow"),
    "reset challenged": MarkStyle("error", dash="dash", width=2.2, symbol="arrow-open"),
    "reset ignored": MarkStyle("error", dash="dot", width=2.2, symbol="arrow-open"),
    "probe": MarkStyle("probe", symbol="arrow"),
    "retransmission": MarkStyle("repeat", symbol="arrow"),
    "lost": MarkStyle("soft", dash="dash", symbol="x-thin"),
    "dropped": MarkStyle("soft", dash="dashdot", symbol="square-x-open"),
    "other connection": MarkStyle("soft", width=1.2, symbol="arrow-open"),
}

_REPEATS = {RETRANSMISSION, "tail_loss_probe"}


def main_connections(trace: Trace) -> set[FourTuple]:
    """The connection with the most segments between every two hosts: the one that is drawn in full."""
    counts: dict[frozenset[str], dict[FourTuple, int]] = {}
    for packet in trace.packets:
        between = counts.setdefault(frozenset((packet.sender, packet.receiver)), {})
        connection = four_tuple(packet)
        between[connection] = between.get(connection, 0) + 1
    return {max(between, key=between.__getitem__) for between in counts.values()}


def local_port(connection: FourTuple) -> int:
    """The ephemeral port, which differs between connections to one server."""
    return max(endpoint.port for endpoint in connection)


def arrow_kind(packet: Packet, is_main: bool) -> str:
    """Under which name of `ARROWS` a segment is drawn."""
    if packet.fate == "lost":
        return "lost"
    if packet.fate != "delivered":
        return "dropped"
    if packet.segment.flags & RST:
        return f"reset {packet.verdict}" if packet.verdict in ("challenged", "ignored") else "reset"
    return sending_kind(packet) if is_main else "other connection"


def sending_kind(packet: Packet) -> str:
    """The same from the sender's point of view, whether the segment arrived or not."""
    if packet.kind in PROBES:
        return "probe"
    return "retransmission" if packet.kind in _REPEATS else "segment"


def ladder(
    trace: Trace, *, at: int | None = None, upto: int | None = None, title: str | None = None,
    dark: bool = False, folded: bool = True,
) -> go.Figure:  # fmt: skip
    """The ladder of a trace.

    `at` (nanoseconds) draws a cursor line at that instant; `upto` draws only what had happened until
    then, on the same time axis, which keeps a replay from jumping. `dark` is for a dark page outside
    JupyterLab; inside it, see `theme.JUPYTER_STYLE`. `folded` shows the beginning, where everything went
    well, as one row.
    """
    return draw(trace, at=at, upto=upto, title=title, dark=dark, folded=folded).figure()


def draw(
    trace: Trace, *, at: int | None = None, upto: int | None = None, title: str | None = None,
    dark: bool = False, folded: bool = True, legend: bool = True, width: int = WIDTH,
) -> Picture:  # fmt: skip
    """What `ladder` shows, as plain data together with its time axis.

    With `upto` each segment has an arrow of its own: they are stepped through. `legend` names the kinds of
    arrows that appear, where there is more than the usual one. `width`: px, at least `NARROWEST`, for which
    texts are chosen; a wider page only has more room.
    """
    is_joined = upto is None
    first = fold(trace) if folded and is_joined else None
    shown = arrows(trace, first.size if first else 0, joined=is_joined)
    width = max(width, NARROWEST)
    geometry = Geometry(trace, look.theme(dark), upto, first, shown, width)
    captions, labels, sides = Labels(), Labels(), Sides(geometry)
    states, calls, timers = sides.states(), sides.calls(), sides.timers()
    said = words(trace)
    made, hover = _arrows(geometry, said, labels)
    data = [
        _lifelines(geometry, captions), *entries(geometry), _notes(geometry, captions),
        _beginning(geometry, said, captions, hover), *states, *timers, calls, *made,
    ]  # fmt: skip
    kinds = [each["name"] for each in made if each["name"] in ARROWS and each["x"]]
    has_legend = legend and any(kind != "segment" for kind in kinds)
    layout = _layout(geometry, title, has_legend)
    data += [
        captions.ground("grounds of captions", geometry.colours.paper),
        captions.words.trace("captions", geometry.colours),
        labels.ground("grounds of labels", geometry.colours.paper),
        labels.words.trace("labels", geometry.colours),
        sides.text.trace("states and calls", geometry.colours),
        hover.trace("hover", mode="none"),
        _cursor(geometry, at),
    ]
    for each in data:
        each["showlegend"] = has_legend and each["name"] in kinds
    return Picture(data, layout, geometry.axis, least_width=width)


@dataclass(slots=True)
class Labels:
    """Texts centred at points, and how wide they are: each has a ground as long as itself."""

    words: Text = field(default_factory=Text)
    widths: list[float] = field(default_factory=list)

    def add(self, x: float, y: float, text: str, colour: str, width: float) -> None:
        """A text of `width` px with its middle at a point, in plotly's subset of HTML."""
        self.words.add(x, y, text, "middle center", colour)
        self.widths.append(width + 6 if width else 0)

    def ground(self, name: str, paper: str) -> dict[str, Any]:
        """What lies below the texts: horizontal marks, whose size is in px at every width of the picture.

        plotly draws this mark 1.4 times as long as its size says.
        """
        mark = {
            "symbol": "line-ew", "size": [width / 1.4 for width in self.widths], "color": paper, "opacity": 1,
            "line": {"width": LABEL - 2, "color": paper},
        }  # fmt: skip
        at = {"x": [each[0] for each in self.words.words], "y": [each[1] for each in self.words.words]}
        return {
            "type": "scatter", "name": name, "mode": "markers", **at, "marker": mark,
            "hoverinfo": "skip", "cliponaxis": False,
        }  # fmt: skip


def width_of(text: str) -> float:
    """px of a label in plotly's subset of HTML: parts between `<b>` and `</b>` are bold."""
    px = 0.0
    for n, part in enumerate(text.replace("</b>", "<b>").split("<b>")):
        plain = sub("<[^>]*>", "", part) if "<" in part else part
        px += text_width(unescape(plain) if "&" in plain else plain, n % 2 == 1)
    return px


def fitting(wordings: Iterable[str], room: float) -> tuple[str, float]:
    """The first wording that is at most `room` px wide, and its width; the last if none is."""
    text, width = "", 0.0
    for text in wordings:
        width = width_of(text)
        if width <= room:
            break
    return text, width


def _lifelines(geometry: Geometry, captions: Labels) -> dict[str, Any]:
    """Vertical lines with a zigzag in every gap; names on top."""
    line, top = Line(), -_head(geometry) / 2
    breaks = [gap.middle for gap in geometry.axis.gaps if geometry.is_drawn(gap.ended)]
    zigzag = 0.009 * geometry.wide
    for host, x in geometry.x.items():
        points = [(float(x), top + (14 if host in geometry.middleboxes else 4))]
        for y in breaks:
            points += [(x, y - 6), (x + zigzag, y - 3), (x - zigzag, y + 3), (x, y + 6)]
        line.add([*points, (float(x), geometry.axis.height + 10)])
        name = f"<b>{escape(host, False)}</b>"
        address = geometry.trace.hosts.get(host, host)
        if host in geometry.middleboxes:
            name += f"<br>{escape(timer_words(geometry.trace, host), False)}"
        elif address != host:
            name += f"  {escape(address, False)}"
        captions.add(x, top - 7, name, geometry.colours.ink, 0)
    return line.trace("lifelines", line={"color": geometry.colours.soft, "width": 1.4})


def _notes(geometry: Geometry, captions: Labels) -> dict[str, Any]:
    """Hairlines across, with the notes of the script or of a middlebox."""
    line = Line()
    for note, y in zip(geometry.trace.notes, geometry.placed.noted, strict=True):
        if not geometry.is_drawn(note.t):
            continue
        lines = geometry.notes[note]
        line.add([(0, y), (geometry.wide, y)])
        x, _ = geometry.between(*geometry.beside(note.host))
        for n, text in enumerate(lines):
            bold = f"<b>{escape(text, False)}</b>"
            captions.add(x, y + n * ROW, bold, geometry.colours.soft, text_width(text, bold=True))
    return line.trace("notes", line={"color": geometry.colours.faint, "width": 1})


def _beginning(geometry: Geometry, said: Sequence[Words], captions: Labels, hover: Line) -> dict[str, Any]:
    """A band across for the folded beginning; it lists its segments on hover."""
    band, first, trace = Line(), geometry.fold, geometry.trace
    colour = geometry.colours.faint
    if first:
        half = ROW / 2
        band.add(rectangle(0, -half, geometry.wide, half))
        x, room = geometry.between(*geometry.beside(""))
        short = first.words.rpartition(": ")[2]
        shorter = first.words.replace("3-way ", "").replace("one ", "")
        text, width = fitting([f"▸ {first.words}", f"▸ {shorter}", f"▸ {short}", short], room)
        captions.add(x, 0, text, geometry.colours.ink, width)
        lines = [
            f"{trace.packets[i].sender} → {trace.packets[i].receiver}: {said[i].plain}"
            for i in range(first.size)
        ]
        about = "<br>".join([f"<b>{first.words}</b>", *_first_of(lines)])
        hover.add(_along((0, 0), (geometry.wide, 0), _POINTS), about)
    return band.trace("beginning", fill="toself", fillcolor=look.tint(colour, 0.35), line={"width": 0})


#: Points along an arrow at which it is found, and px around each.
_POINTS, _REACH = 16, 28
#: Members of an arrow that a hover lists.
_LISTED = 8


def _first_of(lines: Sequence[str]) -> list[str]:
    more = len(lines) - _LISTED
    listed = [escape(line, False) for line in lines[: _LISTED if more > 1 else _LISTED + 1]]
    return [*listed, f"… and {more} more"] if more > 1 else listed


def _arrows(geometry: Geometry, said: Sequence[Words], labels: Labels) -> tuple[list[dict[str, Any]], Line]:
    """One trace per kind in `ARROWS`; texts go to `labels`.

    The second result has what to say all along each arrow.
    """
    trace, hover = geometry.trace, Line()
    lines = {kind: Line() for kind in ARROWS}
    hovers = hover_texts(trace, said, [arrow.members[0] for arrow in geometry.placed.arrows])
    totals = probe_totals(trace)
    main = main_connections(trace)
    colours = {kind: geometry.colours.of(mark) for kind, mark in ARROWS.items()}
    placed = geometry.placed
    # Close enough to find the arrow anywhere, and few enough for a long ladder.
    points = max(3, min(_POINTS, 1200 // max(len(placed.arrows), 1)))
    for n, arrow in enumerate(placed.arrows):
        if not geometry.is_drawn(arrow.t):
            continue
        sent = arrow.members
        # Of several connections the main one says what it is.
        i = next((i for i in sent if len(sent) > 1 and four_tuple(trace.packets[i]) in main), sent[0])
        packet = trace.packets[i]
        connection = four_tuple(packet)
        kind = arrow_kind(packet, connection in main)
        tail = float(geometry.x[arrow.sender]), placed.sent[n]
        head, ended = _head_of(geometry, arrow, packet, placed.sent[n], placed.arrived[n])
        middle = (tail[0] + head[0]) / 2, (tail[1] + head[1]) / 2
        lines[kind].add((tail, middle, head), index=sent[0])
        lines[kind].size += [0, 0, 13 if ended else 0, 0]
        about = hovers[n]
        if len(sent) > 1:
            summary = next(wordings(trace, said, sent, arrow.pace))
            when = f"from {short_duration(arrow.t - trace.start)}"
            when += f" to {short_duration(max(trace.packets[i].t for i in sent) - trace.start)}"
            each = [f"{short_duration(trace.packets[i].t - trace.start)}  {said[i].plain}" for i in sent]
            about = "<br>".join([summary, f"sent {when}", *_first_of(each)])
        across = abs(head[0] - tail[0]) / geometry.wide
        hover.add(_along(tail, head, max(3, round(points * across))), about)

        x, room = geometry.between(arrow.sender, arrow.receiver)
        ending = ""
        if connection not in main and len(sent) == 1:
            ending += f"  <i>port {local_port(connection)}</i>"
        if arrow.arrives is None and packet.fate == "delivered":
            ending += "  (in flight)"
        tries = wordings(trace, said, sent, arrow.pace, totals.get(sent[0], 0))
        text, width = fitting((each + ending for each in tries), room)
        as_sent = sending_kind(packet)
        colour = colours[as_sent if kind == "lost" and as_sent != "segment" else kind]
        labels.add(x, tail[1] - LABEL / 2, text, colour, width)
    made = []
    for kind, mark in ARROWS.items():
        turns = mark.symbol.startswith("arrow")
        marker = {
            "symbol": mark.symbol, "size": lines[kind].size, "angleref": "previous" if turns else "up",
            "color": colours[kind], "opacity": 1,
            "line": {"width": 1 if turns else 2.5, "color": colours[kind]},
        }  # fmt: skip
        line = {"color": colours[kind], "width": mark.width, "dash": mark.dash}
        index = lines[kind].index
        made.append(lines[kind].trace(kind, mode="lines+markers", customdata=index, line=line, marker=marker))
    return made, hover


def _along(start: tuple[float, float], end: tuple[float, float], points: int) -> list[tuple[float, float]]:
    x, y = start
    right, down = (end[0] - x) / (points - 1), (end[1] - y) / (points - 1)
    return [(x + n * right, y + n * down) for n in range(points)]


def _head_of(
    geometry: Geometry, arrow: Arrow, packet: Packet, y0: float, y1: float | None
) -> tuple[tuple[float, float], bool]:
    """Where an arrow ends, and whether that is its end (else the segment is still in flight)."""
    x0, x1 = geometry.x[arrow.sender], geometry.x[arrow.receiver]
    if packet.fate != "delivered":
        return (_where_lost(geometry, packet), y0 + STUMP - 3), True
    if y1 is None or arrow.arrives is None:
        return (x0 + 0.5 * (x1 - x0), y0 + STUMP - 3), False
    if geometry.upto is None or arrow.arrives <= geometry.upto:
        return (float(x1), y1), True
    part = (geometry.upto - arrow.t) / (arrow.arrives - arrow.t)
    return (x0 + part * (x1 - x0), y0 + part * (y1 - y0)), False


def _where_lost(geometry: Geometry, packet: Packet) -> float:
    """x at which a segment was lost: at the middlebox that dropped it, half way, or close to its receiver."""
    x0, x1 = geometry.x[packet.sender], geometry.x[packet.receiver]
    dropped_by = packet.fate.removeprefix("dropped_by:")
    if dropped_by in geometry.middleboxes:
        return float(geometry.x[dropped_by])
    if packet.receiver in packet.fate:  # the receiver's own firewall is close to it
        return x0 + 0.9 * (x1 - x0)
    # Half way to the next lifeline, which may be a middlebox that has no part in the loss.
    return x0 + 0.5 * (x1 - x0) / abs(x1 - x0 or 1)


def _cursor(geometry: Geometry, at: int | None) -> dict[str, Any]:
    """The line at an instant: everything that had happened lies above it."""
    edge = geometry.wide * EDGE
    y = None if at is None else geometry.axis.bottom_of(at) + 3
    text = "" if at is None else f"at {duration(at - geometry.trace.start)}"
    colour = geometry.colours.cursor
    return {
        "type": "scatter", "name": "cursor", "mode": "lines+markers", "cliponaxis": False,
        "x": [-edge, geometry.wide + edge], "y": [y, y], "hovertext": [text, text], "hoverinfo": "text",
        "line": {"color": colour, "width": 2, "dash": "dash"},
        "marker": {"symbol": ["triangle-right", "triangle-left"], "size": 12, "color": colour},
    }  # fmt: skip


def _head(geometry: Geometry) -> int:
    return _HEAD_TWO_LINES if geometry.middleboxes else _HEAD


def _ticks(geometry: Geometry) -> list[tuple[float, str]]:
    """y and text of every instant on the axis, and of every gap's length between two of them."""
    axis, start = geometry.axis, geometry.trace.start
    texts = timeaxis.tick_texts([t - start for t, _ in axis.ticks])
    marks = [(y, text) for (_, y), text in zip(axis.ticks, texts, strict=True)]
    rows = [y for y, _ in marks]
    for gap in axis.gaps:
        above = max((y for y in rows if y <= gap.top), default=gap.top - TICK)
        below = min((y for y in rows if y >= gap.bottom - 1e-6), default=gap.bottom + TICK)
        if below - above >= 2 * TICK - 2:
            length = short_duration(_three_digits(gap.ended - gap.began))
            marks.append(((above + below) / 2, f"<i>↓ {length}</i>"))
    return sorted(marks)


def _three_digits(length: int) -> int:
    return round(length, 3 - len(str(length)))


def _layout(geometry: Geometry, title: str | None, legend: bool) -> dict[str, Any]:
    ticks = _ticks(geometry)
    top, bottom = -float(_head(geometry)), max(geometry.axis.height, 60.0) + _FOOT
    shown = min(bottom - top, MAX_HEIGHT)
    more_below: dict[str, Any] = {}
    if shown < bottom - top:
        below = sum(y > top + shown for y in geometry.placed.sent)
        what = f"{below:,} more arrows" if below > 1 else "more"
        more = f"<b>↓ {what} below: drag the picture up</b>"
        note = {
            "x": geometry.middle, "y": top + shown - 14, "showarrow": False, "text": more,
            "font": {"color": geometry.colours.cursor}, "bgcolor": geometry.colours.paper,
        }  # fmt: skip
        more_below = {"annotations": [note]}
    edge = geometry.wide * EDGE
    foot = 8 + (_LEGEND if legend else 0)
    times = step(max((width_of(text) for _, text in ticks), default=0) + 10)
    left = geometry.left + times
    made = look.layout(geometry.colours, shown, title, left=left, right=geometry.right, bottom=foot)
    return made | {
        "uirevision": "ladder",
        **more_below,
        "dragmode": "pan" if shown < bottom - top else False,
        "showlegend": legend, "hoverdistance": _REACH,
        "legend": {
            "orientation": "h", "x": 0.5, "xanchor": "center",
            "y": 0, "yref": "container", "yanchor": "bottom",
            "itemclick": False, "itemdoubleclick": False, "bgcolor": geometry.colours.paper,
        },
        "xaxis": look.axis(range=[-edge, geometry.wide + edge], fixedrange=True),
        "yaxis": look.axis(
            range=[top + shown, top], fixedrange=shown == bottom - top, showticklabels=True,
            tickmode="array", tickvals=[y for y, _ in ticks], ticktext=[text for _, text in ticks],
            tickfont={"color": geometry.colours.soft}, ticklabelstandoff=geometry.left,
        ),
    }  # fmt: skip
