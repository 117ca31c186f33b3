"""A box's lifeline in a ladder: its entry for the connection as a bar, and in it the timer as it runs out.

The bar is as long as the box remembers the connection. Its filling is what is left of the timer: full
after each segment that restarts it, empty when the box forgets.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from tcplab.trace import SocketSample, Trace, duration
from tcplab.view.frame import Frame
from tcplab.view.marks import Line, Text
from tcplab.view.states import drawn_sockets, last_moment
from tcplab.view.theme import tint
from tcplab.view.timeaxis import ROW

#: Half the width of an entry's bar, in parts of the distance between the outermost lifelines.
HALF = 0.014
#: The timers of a box, and the pattern of their filling.
PATTERNS = {"idle": "", "close": "/"}


def entries(frame: Frame, captions: Text) -> list[dict[str, Any]]:
    """Outlines of all entries, and what is left of their timers; empty where there is no box."""
    outlines, left = Line(), {timer: Line() for timer in PATTERNS}
    for lane, samples in drawn_sockets(frame.trace) if frame.boxes else ():
        if samples[0].host in frame.boxes:
            x = frame.x[samples[0].host] + 4 * lane * HALF * frame.wide
            for life in _lives(samples):
                _entry(frame, x, life, outlines, left)
    colours = frame.colours
    green, late = colours.states["open"], colours.again
    outline = {"color": colours.soft, "width": 1.4}
    return [
        outlines.trace("entries", fill="toself", fillcolor=colours.paper, line=outline),
        left["idle"].trace("timer: idle", fill="toself", fillcolor=tint(green, 0.75), line={"width": 0}),
        left["close"].trace(
            "timer: close",
            fill="toself",
            fillcolor=tint(late, 0.35),
            fillpattern={"shape": PATTERNS["close"], "fgcolor": late, "size": 6, "solidity": 0.4},
            line={"width": 0},
        ),
    ]


def _lives(samples: list[SocketSample]) -> Iterator[list[SocketSample]]:
    """An entry's samples from the first to the one that says it is forgotten; then the next entry's."""
    life: list[SocketSample] = []
    for sample in samples:
        life.append(sample)
        if sample.state == "CLOSED":
            yield life
            life = []
    if life:
        yield life


def _entry(frame: Frame, x: float, life: list[SocketSample], outlines: Line, left: dict[str, Line]) -> None:
    """One entry from the segment that made it to its end, or to the end of the picture."""
    first, last = life[0], life[-1]
    if not frame.shown(first.t) or first.state == "CLOSED":
        return
    half = HALF * frame.wide
    top, bottom = frame.axis.y_of(first.t), frame.bottom()
    is_over = last.state == "CLOSED" and frame.shown(last.t)
    if is_over:
        # What the box says at the end stands in the row below.
        bottom = max(frame.axis.y_of(last.t) - ROW / 2, top + 3)
    start = frame.trace.start
    until = f"to {duration(last.t - start)}" if is_over else "on"
    host, ends = escape(first.host, False), escape(f"{first.local} ↔ {first.remote}", False)
    about = f"<b>entry</b> of {host}, {duration(first.t - start)} {until}<br>{ends}"
    outlines.add(_box(x, half, top, bottom), about)
    full = _lengths(life)
    moments = [sample.t for sample in life[1:]] + [last_moment(frame.trace)]
    for sample, following in zip(life, moments, strict=True):
        if sample.due is None or sample.timer not in left or not frame.shown(sample.t):
            continue
        whole, ended = full[sample.timer], following if frame.upto is None else min(following, frame.upto)
        y0, y1 = frame.axis.y_of(sample.t), min(frame.axis.y_of(ended), bottom)
        w0, w1 = (0.8 * half * max(sample.due - t, 0) / whole for t in (sample.t, ended))
        runs, since = duration(sample.due - sample.t), duration(sample.t - start)
        said = f"{about}<br>{sample.timer} timer: {runs} from {since}"
        left[sample.timer].add([(x - w0, y0), (x + w0, y0), (x + w1, y1), (x - w1, y1), (x - w0, y0)], said)


def _box(x: float, half: float, top: float, bottom: float) -> list[tuple[float, float]]:
    return [(x - half, top), (x + half, top), (x + half, bottom), (x - half, bottom), (x - half, top)]


def _lengths(samples: list[SocketSample]) -> dict[str, int]:
    """How long each timer runs when nothing restarts it, nanoseconds."""
    full: dict[str, int] = {}
    for sample in samples:
        if sample.due is not None:
            full[sample.timer] = max(full.get(sample.timer, 1), sample.due - sample.t)
    return full


def timer_words(trace: Trace, box: str) -> str:
    """What stands below a box's name: ``▼ idle timer 5 min 50 s``; ``entry`` where no timer ever runs."""
    full = _lengths([sample for sample in trace.sockets if sample.host == box])
    said = (f"▼ {timer} timer {duration(full[timer])}" for timer in PATTERNS if timer in full)
    return ", ".join(said) or "entry"
