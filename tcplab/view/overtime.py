"""The advertised window over time: how a slow reader closes it, and how the sender keeps asking."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import plotly.graph_objects as go

from tcplab.segment import ACK, RST, SYN
from tcplab.trace import SECOND, Trace, duration
from tcplab.view import theme as look
from tcplab.view.marks import Line, Picture, Text
from tcplab.view.words import hover_texts, words

#: px of the plotting area, and of the rows for reads above and probes below.
_HEIGHT = 300
#: A closed stretch narrower than this part of the picture carries no words of its own.
_WORTH_A_WORD = 0.09
#: From this length on the axis counts minutes, seconds.
_MINUTES = 600


@dataclass(frozen=True, slots=True)
class Closed:
    """A stretch in which the sender knew the window to be zero, nanoseconds."""

    began: int
    ended: int


def receiver_of(trace: Trace) -> str:
    """The host that was sent the most payload: whose window the picture is about. Empty without payload."""
    got: dict[str, int] = {}
    for passage in trace.passages:
        if passage.segment.length:
            got[passage.receiver] = got.get(passage.receiver, 0) + passage.segment.length
    return max(got, key=got.__getitem__) if got else ""


def advertised(trace: Trace, receiver: str) -> list[tuple[int, int]]:
    """(moment, bytes): every window of `receiver` when its peer came to know it, changes only."""
    steps: list[tuple[int, int]] = []
    for passage in sorted(
        (p for p in trace.passages if p.sender == receiver and p.arrives is not None),
        key=lambda p: p.arrives or 0,
    ):
        segment = passage.segment
        if not segment.flags & ACK or segment.flags & (SYN | RST):
            continue
        if not steps or steps[-1][1] != segment.window:
            steps.append((passage.arrives or passage.t, segment.window))
    return steps


def closed_stretches(steps: list[tuple[int, int]], end: int) -> list[Closed]:
    """Where the window stood at zero, until it opened or the trace ended."""
    found = []
    for i, (t, size) in enumerate(steps):
        ended = steps[i + 1][0] if i + 1 < len(steps) else end
        if size == 0 and ended > t:
            found.append(Closed(t, ended))
    return found


def window_over_time(trace: Trace, *, title: str | None = None, dark: bool = False) -> go.Figure:
    """The window that the receiver of most of the data advertised, as its peer knew it.

    Stretches at zero are hatched, with their length; window probes stand below as markers (a cross
    where lost), the receiver's recv() calls above.
    """
    return draw_over_time(trace, title=title, dark=dark).figure()


def draw_over_time(trace: Trace, *, title: str | None = None, dark: bool = False) -> Picture:
    """What `window_over_time` shows, as plain data."""
    colours = look.theme(dark)
    receiver = receiver_of(trace)
    steps = advertised(trace, receiver)
    end = _end(trace, receiver, steps)
    span = max(end - trace.start, 1)
    unit, name = (60 * SECOND, "min") if span > _MINUTES * SECOND else (SECOND, "s")
    top = max((size for _, size in steps), default=0)

    def x(t: int) -> float:
        return (t - trace.start) / unit

    curve = Line()
    for i, (t, size) in enumerate(steps):
        until = steps[i + 1][0] if i + 1 < len(steps) else end
        when = f"{duration(t - trace.start)} to {duration(until - trace.start)}"
        about = f"window {size:,} bytes<br>from {when}"
        curve.x += [x(t), x(until)]
        curve.y += [size, size]
        curve.hover += [about, about]
    hatch, captions = Line(), Text()
    stretches = closed_stretches(steps, end)
    for closed in stretches:
        x0, x1 = x(closed.began), x(closed.ended)
        hatch.add([(x0, 0), (x1, 0), (x1, top), (x0, top), (x0, 0)])
        if closed.ended - closed.began >= _WORTH_A_WORD * span:
            text = f"<b>closed</b><br>{duration(closed.ended - closed.began)}"
            captions.add((x0 + x1) / 2, top / 2, text, "middle center", colours.ink)
    if stretches:
        whole = duration(sum(closed.ended - closed.began for closed in stretches))
        probes = sum(p.kind == "window_probe" and p.receiver == receiver for p in trace.passages)
        text = f"zero window for <b>{whole}</b> in all, window probes: <b>{probes}</b>"
        captions.add(x(end), 0.92 * top, text, "middle left", colours.ink)
    if not steps:
        text = "No window was advertised in this trace."
        captions.add(0.5, 0.5, text, "middle center", colours.soft)

    data = [
        hatch.trace(
            "window closed",
            fill="toself",
            fillpattern={"shape": "/", "fgcolor": colours.zones["ignored"], "size": 9, "solidity": 0.18},
            fillcolor=colours.paper,
            line={"width": 0, "color": colours.soft},
        ),
        curve.trace("advertised window", line={"color": colours.probe, "width": 2.4, "shape": "linear"}),
        _probes(trace, receiver, colours, x, -0.1 * (top or 1)),
        _reads(trace, receiver, colours, x, 1.1 * (top or 1)),
        captions.trace("captions", colours),
    ]
    return Picture(data, _layout(colours, receiver, x(end) if steps else 1, top, name, title))


def _end(trace: Trace, receiver: str, steps: list[tuple[int, int]]) -> int:
    """Where the picture ends: with the run, or with the sender's socket when that is gone earlier."""
    last = max((p.t for p in trace.passages if p.sender != receiver), default=trace.start)
    last = max(last, steps[-1][0] if steps else last)
    gone = [s.t for s in trace.sockets if s.host != receiver and s.state == "CLOSED" and s.t >= last]
    return max(min(gone, default=trace.end), last)


def _probes(trace: Trace, receiver: str, colours: look.Theme, x: Any, y: float) -> dict[str, Any]:
    hovers = hover_texts(trace, words(trace))
    found = [
        (x(p.t), "x-thin" if p.arrives is None else "triangle-up", hovers[i], i)
        for i, p in enumerate(trace.passages)
        if p.kind == "window_probe" and p.receiver == receiver
    ]
    return _markers("window probes", found, y, colours.probe)


def _reads(trace: Trace, receiver: str, colours: look.Theme, x: Any, y: float) -> dict[str, Any]:
    found = [
        (
            x(call.t),
            "line-ns",
            f"<b>recv() → {call.result} bytes</b><br>at {duration(call.t - trace.start)}",
            i,
        )
        for i, call in enumerate(trace.calls)
        if call.host == receiver and call.call.startswith("recv") and call.result.isdigit()
    ]
    return _markers("reads", found, y, colours.ink)


def _markers(name: str, found: list[tuple[float, str, str, int]], y: float, colour: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "name": name,
        "mode": "markers",
        "x": [x for x, *_ in found],
        "y": [y] * len(found),
        "hovertext": [hover for _, _, hover, _ in found],
        "hoverinfo": "text",
        "customdata": [i for *_, i in found],
        "marker": {
            "symbol": [symbol for _, symbol, *_ in found],
            "size": 10,
            "color": colour,
            "line": {"width": 1.6, "color": colour},
        },
        "cliponaxis": False,
    }


def _layout(
    colours: look.Theme, receiver: str, end: float, top: int, unit: str, title: str | None
) -> dict[str, Any]:
    margin = {"l": 130, "r": 30, "t": 36 if title else 12, "b": 56}
    grid = {"gridcolor": colours.faint, "griddash": "dot", "showgrid": True}
    heights = sorted({0, top // 2, top})
    room = top or 1
    return look.layout(colours, height=_HEIGHT + margin["t"] + margin["b"], margin=margin, title=title) | {
        "uirevision": "window",
        "xaxis": look.axis(
            range=[-0.01 * end, 1.01 * end],
            showticklabels=True,
            ticksuffix=f" {unit}",
            title={"text": "time since the first segment", "font": {"size": look.FONT_SIZE}},
            **grid,
        ),
        "yaxis": look.axis(
            range=[-0.18 * room, 1.18 * room],
            showticklabels=True,
            tickvals=[-0.1 * room, *heights, 1.1 * room],
            ticktext=[
                "probes",
                "0",
                *(f"{size:,.0f} bytes" for size in heights[1:]),
                f"{escape(receiver, False)} reads".lstrip(),
            ],
            fixedrange=True,
            **grid,
        ),
    }
