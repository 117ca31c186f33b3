"""The ladder: hosts as lifelines, time downwards, every segment an arrow from sent to arrived.

Beside it, on each host's outer side, what `ss` and the application saw: a bar for the TCP state
with its name, a thin one for the running timer, the calls where they returned. A host in the middle,
as a proxy is, has both its sides; a box on the way has its entry instead (`boxes.py`). With more than
two lifelines an end whose other end is gone is striped: half-open. One time axis serves all of it
(`timeaxis.py`), and `time_axis(trace)` translates the y of a click into a moment.

Everything is a trace of kind `scatter`, one per kind of thing and always the same ones in the same
order, empty or not, so that a living figure can be updated in place:

- the traces named in `ARROWS` hold three points per segment (tail, middle, where it ended), a gap
  between segments; `customdata` is the segment's index in `trace.passages`;
- the last trace, `cursor`, is the line at `at`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from tcplab.trace import Passage, Trace, duration
from tcplab.view import theme as look
from tcplab.view.arrows import ARROWS, arrow_kind, four_tuple, local_port, main_connections, speaking_kind
from tcplab.view.boxes import entries, timer_words
from tcplab.view.clock import tick_texts
from tcplab.view.frame import EDGE, Frame
from tcplab.view.marks import Line, Picture, Text
from tcplab.view.overlay import BOTH, LINUX, Beside
from tcplab.view.sides import Sides
from tcplab.view.timeaxis import ROW, STUMP, time_axis
from tcplab.view.words import hover_texts, words

__all__ = ["ARROWS", "MAX_HEIGHT", "Picture", "draw", "ladder", "time_axis"]

#: px above the first row, for the hosts' names, and below the last.
_HEAD, _FOOT = 50, 26
#: A picture higher than this (px) shows its first part; the rest is dragged into view.
MAX_HEIGHT = 4000


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
    beside: Sequence[Beside] = (),
) -> Picture:
    """What `ladder` shows, as plain data together with its time axis.

    `beside`: for every passage what the other witness says of it (see `overlay.py`).
    """
    frame = Frame(trace, look.theme(dark), upto)
    captions, labels, sides = Text(), Text(), Sides(frame)
    states, calls, timers = sides.states(), sides.calls(), sides.timers()
    data = [
        _lifelines(frame, captions),
        *entries(frame, captions),
        _notes(frame, captions),
        *states,
        *timers,
        calls,
        *_arrows(frame, labels, beside),
    ]
    layout = _layout(frame, sides, captions, title)
    data += [
        captions.trace("captions", frame.colours),
        labels.trace("labels", frame.colours),
        sides.text.trace("states and calls", frame.colours),
        _cursor(frame, at),
    ]
    return Picture(data, layout, frame.axis)


def _lifelines(frame: Frame, captions: Text) -> dict[str, Any]:
    """Vertical lines with a zigzag wherever a silence is left out, and how long it was; names on top."""
    line = Line()
    breaks = []
    for silence in frame.axis.silences:
        if frame.shown(silence.ended):
            # The lower part of the band belongs to the label of the arrow below.
            y = (silence.top + silence.bottom - ROW / 2) / 2
            breaks.append(y)
            lasted = duration(silence.ended - silence.began)
            captions.add(frame.gap, y, f"<i>{lasted}</i>", "middle center", frame.colours.soft)
    zigzag = 0.009 * frame.wide
    for host, x in frame.x.items():
        points = [(float(x), -_HEAD / 2 + (14 if host in frame.boxes else 4))]
        for y in breaks:
            points += [(x, y - 8), (x + zigzag, y - 4), (x - zigzag, y + 4), (x, y + 8)]
        line.add([*points, (float(x), frame.axis.height + 10)])
        name = f"<b>{escape(host, False)}</b>"
        address = frame.trace.hosts.get(host, host)
        if host in frame.boxes:
            name += f"<br>{escape(timer_words(frame.trace, host), False)}"
        elif address != host:
            name += f"  {escape(address, False)}"
        captions.add(x, -_HEAD / 2 - 9, name, "middle center", frame.colours.ink)
    return line.trace("lifelines", line={"color": frame.colours.soft, "width": 1.4})


def _notes(frame: Frame, captions: Text) -> dict[str, Any]:
    """Hairlines across, with the script's or a box's own words."""
    line = Line()
    for note, y in zip(frame.trace.notes, frame.placed.noted, strict=True):
        if frame.shown(note.t):
            line.add([(0, y), (frame.wide, y)])
            at_box = note.host in frame.boxes
            told = at_box or not note.host or note.text.startswith(note.host)
            where = "" if told else f"{note.host}: "
            text = f"<b>{escape(where + note.text, False)}</b>"
            x = frame.x[note.host] if at_box else frame.aside(note.host)
            captions.add(x, y, text, "middle center", frame.colours.soft)
    return line.trace("notes", line={"color": frame.colours.faint, "width": 1})


def _arrows(frame: Frame, labels: Text, beside: Sequence[Beside]) -> list[dict[str, Any]]:
    """A band below what both witnesses sent, then one trace per kind in `ARROWS`; words go to `labels`."""
    trace, band = frame.trace, Line()
    lines = {kind: Line() for kind in ARROWS}
    said = words(trace)
    hovers = hover_texts(trace, said)
    main = main_connections(trace)
    colours: dict[str, str] = {kind: getattr(frame.colours, arrow.colour) for kind, arrow in ARROWS.items()}
    for i, passage in enumerate(trace.passages):
        if not frame.shown(passage.t):
            continue
        connection = four_tuple(passage)
        kind = arrow_kind(passage, connection in main)
        tail = float(frame.x[passage.sender]), frame.placed.sent[i]
        head, ended = _head(frame, i, passage)
        if beside and beside[i].who == BOTH:
            band.add((tail, head))
        elif beside and beside[i].who == LINUX:
            kind = "only Linux"
        middle = (tail[0] + head[0]) / 2, (tail[1] + head[1]) / 2
        lines[kind].add((tail, middle, head), hovers[i], i)
        lines[kind].size += [0, 0, 13 if ended else 0, 0]

        text = said[i].markup
        if connection not in main:
            text = f":{local_port(connection)}  {text}"
        if passage.arrives is None and passage.fate == "delivered":
            text += "  (on its way)"
        if beside:
            text += f'  <span style="color:{frame.colours.soft}">{beside[i].says}</span>'
        speaks = speaking_kind(passage)
        colour = colours[speaks if kind == "lost" and speaks != "segment" else kind]
        way, where = (1, "top right") if head[0] >= tail[0] else (-1, "top left")
        away = frame.wide * frame.room(passage.sender)
        labels.add(tail[0] + way * away, tail[1] - 1, text, where, colour)
    width = {"color": frame.colours.states["open"], "width": 9}
    return [band.trace("both witnesses", line=width, opacity=0.35)] + [
        lines[kind].trace(
            kind,
            mode="lines+markers",
            customdata=lines[kind].index,
            line={"color": colours[kind], "width": arrow.width, "dash": arrow.dash},
            marker={
                "symbol": arrow.head,
                "size": lines[kind].size,
                "angleref": "previous" if arrow.turns else "up",
                "color": colours[kind],
                "opacity": 1,
                "line": {"width": 1 if arrow.turns else 2.5, "color": colours[kind]},
            },
        )
        for kind, arrow in ARROWS.items()
    ]


def _head(frame: Frame, i: int, passage: Passage) -> tuple[tuple[float, float], bool]:
    """Where an arrow ends, and whether it ends there for good (else it is still on its way)."""
    x0, x1, y0 = frame.x[passage.sender], frame.x[passage.receiver], frame.placed.sent[i]
    if passage.fate != "delivered":
        return (_where_lost(frame, passage), y0 + STUMP - 3), True
    y1 = frame.placed.arrived[i]
    if y1 is None or passage.arrives is None:
        return (x0 + 0.5 * (x1 - x0), y0 + STUMP - 3), False
    if frame.upto is None or passage.arrives <= frame.upto:
        return (float(x1), y1), True
    part = (frame.upto - passage.t) / (passage.arrives - passage.t)
    return (x0 + part * (x1 - x0), y0 + part * (y1 - y0)), False


def _where_lost(frame: Frame, passage: Passage) -> float:
    """x at which a segment got lost: at the box that dropped it, else half way or close to its receiver."""
    x0, x1 = frame.x[passage.sender], frame.x[passage.receiver]
    box = passage.fate.removeprefix("dropped_by:")
    if box in frame.boxes:
        return float(frame.x[box])
    if passage.receiver in passage.fate:  # the receiver's own firewall stands close to it
        return x0 + 0.9 * (x1 - x0)
    # Before it comes to a box, which had no part in it.
    return x0 + 0.5 * (x1 - x0) / abs(x1 - x0 or 1)


def _cursor(frame: Frame, at: int | None) -> dict[str, Any]:
    """The line at a moment: all that had happened lies above it."""
    edge = frame.wide * EDGE
    y = None if at is None else frame.axis.bottom_of(at) + 3
    text = "" if at is None else f"at {duration(at - frame.trace.start)}"
    return {
        "type": "scatter",
        "name": "cursor",
        "x": [-edge, frame.wide + edge],
        "y": [y, y],
        "mode": "lines+markers",
        "hovertext": [text, text],
        "hoverinfo": "text",
        "line": {"color": frame.colours.cursor, "width": 2, "dash": "dash"},
        "marker": {
            "symbol": ["triangle-right", "triangle-left"],
            "size": 12,
            "color": frame.colours.cursor,
        },
        "cliponaxis": False,
    }


def _layout(frame: Frame, sides: Sides, captions: Text, title: str | None) -> dict[str, Any]:
    # Margins in steps of 40 px, so that the picture does not twitch while a slider moves.
    left, right = (_step(n * look.CHARACTER + 24) for n in sides.columns())
    ticks = tick_texts([t - frame.trace.start for t, _ in frame.axis.ticks])
    times = _step(max(map(len, ticks), default=3) * look.CHARACTER + 8)
    margin = {"l": left + times, "r": right, "t": 36 if title else 12, "b": 8}
    top, bottom = -float(_HEAD), max(frame.axis.height, 60.0) + _FOOT
    shown = min(bottom - top, MAX_HEIGHT)
    more_below: dict[str, Any] = {}
    if shown < bottom - top:
        below = sum(y > top + shown for y in frame.placed.sent)
        what = f"{below:,} more segments" if below > 1 else "more"
        more = f"<b>↓ {what} below: drag the picture up</b>"
        said = {
            "x": frame.middle, "y": top + shown - 14, "showarrow": False, "text": more,
            "font": {"color": frame.colours.cursor}, "bgcolor": frame.colours.paper,
        }  # fmt: skip
        more_below = {"annotations": [said]}
    edge = frame.wide * EDGE
    return look.layout(
        frame.colours, height=shown + margin["t"] + margin["b"], margin=margin, title=title
    ) | {
        "uirevision": "ladder",
        **more_below,
        "dragmode": "pan" if shown < bottom - top else False,
        "xaxis": look.axis(range=[-edge, frame.wide + edge], fixedrange=True),
        "yaxis": look.axis(
            range=[top + shown, top],
            showticklabels=True,
            tickmode="array",
            tickvals=[y for _, y in frame.axis.ticks],
            ticktext=ticks,
            tickfont={"color": frame.colours.soft},
            ticklabelstandoff=left,
            fixedrange=shown == bottom - top,
        ),
    }


def _step(px: float) -> int:
    return 40 * -(-round(px) // 40)
