"""The ladder: hosts as lifelines, time downwards, every segment an arrow from sent to arrived.

Beside it, on each host's outer side, what `ss` and the application saw: a bar for the TCP state
with its name, a thin one for the running timer, the calls where they returned. A host in the middle,
as a proxy is, has both its sides; a box on the way has its entry instead (`boxes.py`). With more than
two lifelines an end whose other end is gone is striped: half-open. One time axis serves all of it
(`timeaxis.py`), and `time_axis(trace)` translates the y of a click into a moment.

Everything is a trace of kind `scatter`, one per kind of thing and always the same ones in the same
order, empty or not, so that a living figure can be updated in place:

- the traces named in `ARROWS` hold three points per segment (tail, middle, where it ended), a gap
  between segments; `customdata` is the segment's index in `trace.packets`;
- the last trace, `cursor`, is the line at `at`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, NamedTuple

import plotly.graph_objects as go

from tcplab.core.segment import RST, Endpoint
from tcplab.core.text import duration
from tcplab.core.trace import Call, Packet, SocketSample, Trace
from tcplab.pictures import theme as look
from tcplab.pictures.overlay import BOTH, LINUX, Beside
from tcplab.pictures.text import call_lines, hover_texts, is_error, words
from tcplab.pictures.theme import Line, Picture, Text, Theme, tint
from tcplab.pictures.timeaxis import (
    HALF_OPEN,
    ROW,
    SILENCE,
    STUMP,
    Placement,
    Stretch,
    TimeAxis,
    boxes_of,
    drawn_sockets,
    hosts_of,
    last_moment,
    place,
    tick_texts,
    time_axis,
    timers,
)

# ----------------------------------------------------------------------
# Which arrow a segment gets: its kind, and how that kind is drawn.


class Arrow(NamedTuple):
    """How one kind of arrow looks. No two kinds differ by colour alone: words say it too."""

    #: The theme's colour by its name, plotly's dash, px.
    colour: str
    dash: str
    width: float
    #: What stands at its end, and whether that turns with the line.
    head: str = "arrow"
    turns: bool = True


#: Every kind, in the order in which a ladder draws them.
ARROWS: dict[str, Arrow] = {
    "segment": Arrow("ink", "solid", 1.6),
    "reset": Arrow("error", "solid", 2.6),
    "reset challenged": Arrow("error", "dash", 2.2, "arrow-open"),
    "reset ignored": Arrow("error", "dot", 2.2, "arrow-open"),
    "probe": Arrow("probe", "solid", 1.6),
    "again": Arrow("again", "solid", 1.6),
    "lost": Arrow("soft", "dash", 1.6, "x-thin", turns=False),
    "dropped": Arrow("soft", "dashdot", 1.6, "square-x-open", turns=False),
    "other connection": Arrow("soft", "solid", 1.2, "arrow-open"),
    "only Linux": Arrow("cursor", "dash", 2.0, "arrow-open"),
}

_PROBES = {"keepalive", "window_probe"}
_REPEATS = {"retransmission", "tail_loss_probe"}

FourTuple = frozenset[Endpoint]


def four_tuple(packet: Packet) -> FourTuple:
    """The connection that a segment belongs to, whichever way it goes."""
    return frozenset((packet.segment.source, packet.segment.destination))


def main_connections(trace: Trace) -> set[FourTuple]:
    """The connection with the most segments between every two hosts: the one that is drawn in full."""
    counts: dict[frozenset[str], dict[FourTuple, int]] = {}
    for packet in trace.packets:
        between = counts.setdefault(frozenset((packet.sender, packet.receiver)), {})
        connection = four_tuple(packet)
        between[connection] = between.get(connection, 0) + 1
    return {max(between, key=between.__getitem__) for between in counts.values()}


def local_port(connection: FourTuple) -> int:
    """The port that tells this connection from others to the same server: the ephemeral one."""
    return max(endpoint.port for endpoint in connection)


def arrow_kind(packet: Packet, is_main: bool) -> str:
    """Under which name of `ARROWS` a segment is drawn."""
    if packet.fate == "lost":
        return "lost"
    if packet.fate != "delivered":
        return "dropped"
    if packet.segment.flags & RST:
        return f"reset {packet.verdict}" if packet.verdict in ("challenged", "ignored") else "reset"
    return speaking_kind(packet) if is_main else "other connection"


def speaking_kind(packet: Packet) -> str:
    """What kind of segment it is, whatever became of it."""
    if packet.kind in _PROBES:
        return "probe"
    return "again" if packet.kind in _REPEATS else "segment"


# ----------------------------------------------------------------------
# Where things stand in a ladder: lifelines, distances from them, and what is shown so far.

#: Distances from the lifeline, in parts of the distance between the outermost two.
STATE_BAR, TIMER_BAR, BRACKET, ASIDE, EDGE = 0.022, 0.042, 0.056, 0.068, 0.075


@dataclass(slots=True)
class Frame:
    """The geometry that all parts of one ladder share."""

    trace: Trace
    colours: Theme
    #: Draw only what had happened until then, nanoseconds; None: everything.
    upto: int | None
    placed: Placement = field(init=False)
    hosts: list[str] = field(init=False)
    #: x of every lifeline.
    x: dict[str, int] = field(init=False)
    #: Hosts that have neighbours on both sides, as a proxy has.
    inner: set[str] = field(init=False)
    #: Boxes on the way: lifelines without an address, which keep an entry and not a socket.
    boxes: set[str] = field(init=False)
    #: x between the outermost lifelines.
    wide: int = field(init=False)

    def __post_init__(self) -> None:
        self.placed = place(self.trace)
        self.hosts = hosts_of(self.trace)
        self.x = {host: i for i, host in enumerate(self.hosts)}
        self.inner = set(self.hosts[1:-1])
        self.boxes = boxes_of(self.trace)
        self.wide = max(len(self.hosts) - 1, 1)

    @property
    def axis(self) -> TimeAxis:
        """Time to y and back."""
        return self.placed.axis

    @property
    def middle(self) -> float:
        """x half way between the outermost lifelines."""
        return self.wide / 2

    def aside(self, host: str) -> float:
        """x for words about a host that stand on a line of their own: in the middle, but on no lifeline."""
        if self.inner - self.boxes and host in self.x:
            return max(self.x[host] - 0.5, 0.5)
        return self.middle

    @property
    def gap(self) -> float:
        """x between two lifelines where nobody else writes: for how long a silence was."""
        if self.inner - self.boxes:  # who writes to both of its sides
            return 0.33
        return self.wide / 2 if self.wide % 2 else self.wide / 2 + 0.5

    def shown(self, t: int) -> bool:
        """True when what happened at `t` is drawn."""
        return self.upto is None or t <= self.upto

    def bottom(self) -> float:
        """y of the last thing drawn."""
        return self.axis.height if self.upto is None else self.axis.bottom_of(self.upto)

    def out(self, host: str, peer: str = "") -> int:
        """Which way the words of a host go: -1 to the left.

        The outer hosts write outwards, one in the middle to the side of its peer (an address).
        """
        if host in self.inner:
            peers = [x for name, x in self.x.items() if self.trace.hosts.get(name) == peer]
            return -1 if peers and peers[0] < self.x[host] else 1
        return -1 if self.x[host] == 0 else 1

    def beside(self, host: str, distance: float, lane: int = 0, peer: str = "") -> float:
        """x at `distance` from a host's lifeline; the lanes of a host in the middle stand on both sides."""
        if host in self.inner:
            lane = 0
        return self.x[host] + self.out(host, peer) * self.wide * distance * (1 + lane)

    def room(self, host: str) -> float:
        """How far from a lifeline the label of an arrow begins, in parts of `wide`."""
        if host in self.boxes:
            return STATE_BAR
        return BRACKET if host in self.inner else 0.012


# ----------------------------------------------------------------------
# A box's lifeline in a ladder: its entry for the connection as a bar, and in it the timer as it runs out.
#
# The bar is as long as the box remembers the connection. Its filling is what is left of the timer: full
# after each segment that restarts it, empty when the box forgets.

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


# ----------------------------------------------------------------------
# What stands beside the lifelines of a ladder: states, running timers, and the applications' calls.


class Sides:
    """Both outer sides of one ladder; draw states, then calls, then timers, which take what room is left."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.colours = frame.colours
        #: All words beside the lifelines.
        self.text = Text()
        self._taken: dict[str, list[float]] = {host: [] for host in frame.hosts}
        self._peers = {
            (sample.host, sample.local.port): sample.remote.address
            for sample in frame.trace.sockets
            if sample.host in frame.inner and sample.remote.port
        }

    def columns(self) -> tuple[int, int]:
        """Characters of the longest line on the left and on the right, of what is not shown yet too."""
        frame = self.frame
        outer = {host: frame.out(host) for host in frame.x if host not in frame.inner}
        calls = [call for call in frame.trace.calls if call.host in outer]
        said = [(call.host, max(map(len, call_lines(call)))) for call in calls]
        said += [
            (stretch.host, max(len("timer: keepalive"), len(_state_words(stretch))))
            for stretch in frame.placed.states
            if stretch.host in outer
        ]
        left = max((n for host, n in said if outer[host] < 0), default=0)
        return left, max((n for host, n in said if outer[host] > 0), default=0)

    def states(self) -> list[dict[str, Any]]:
        """A thick line per state, coloured by the connection's phase, with its name."""
        frame, placed = self.frame, self.frame.placed
        lines = {phase: Line() for phase in look.PHASES}
        half_open = Line()
        bottom = frame.bottom()
        begins = {
            (stretch.host, stretch.lane, stretch.began): y
            for stretch, y in zip(placed.states, placed.changed, strict=True)
        }
        for stretch, y in zip(placed.states, placed.changed, strict=True):
            if not frame.shown(stretch.began) or stretch.host in frame.boxes:
                continue
            about = self._about(stretch)
            is_half = stretch.name == HALF_OPEN
            colour = self.colours.error if is_half else self.colours.soft
            peer = stretch.sample.remote.address
            self._say(stretch.host, y, escape(_state_words(stretch), False), colour, about, peer)
            if stretch.name == "CLOSED":
                continue
            next_begins = begins.get((stretch.host, stretch.lane, stretch.ended))
            end = frame.axis.bottom_of(stretch.ended) if next_begins is None else next_begins
            x = frame.beside(stretch.host, STATE_BAR, stretch.lane, peer)
            line = half_open if is_half else lines[look.PHASE.get(stretch.name, "waiting")]
            line.add(_bar(x, y, max(min(end, bottom), y + (ROW if is_half else 3))), about)
        striped = {"color": self.colours.error, "width": 9, "dash": "4px,4px"}
        return [
            *(
                line.trace(f"state: {phase}", line={"color": self.colours.states[phase], "width": 9})
                for phase, line in lines.items()
            ),
            half_open.trace("state: half open", line=striped),
        ]

    def calls(self) -> dict[str, Any]:
        """What the applications called, where it returned; a bracket while it blocked."""
        frame = self.frame
        brackets = Line()
        for call, y in zip(frame.trace.calls, frame.placed.returned, strict=True):
            if call.host not in frame.x or not frame.shown(call.t):
                continue
            colour = self.colours.error if is_error(call.result) else self.colours.ink
            lines = [escape(text, False) for text in call_lines(call)]
            peer = self._peer(call)
            self._say(call.host, y, "<br>".join(lines), colour, self._about_call(call), peer)
            began = frame.axis.bottom_of(call.began)
            if call.began < call.t and y - began > 4:
                x = frame.beside(call.host, BRACKET, peer=peer)
                foot = x - frame.out(call.host, peer) * frame.wide * 0.006
                brackets.add([(foot, began + 1), (x, began + 1), (x, y), (foot, y)])
        return brackets.trace("blocked calls", line={"color": self.colours.soft, "width": 1})

    def timers(self) -> list[dict[str, Any]]:
        """A thin line while a timer runs, dashed by its kind; its name where there is room."""
        frame = self.frame
        lines = {timer: Line() for timer in look.TIMERS}
        named = set()
        bottom = frame.bottom()
        for stretch in timers(frame.trace):
            is_box = stretch.host in frame.boxes
            if is_box or not frame.shown(stretch.began) or stretch.name not in lines:
                continue
            top, end = frame.axis.y_of(stretch.began), min(frame.axis.y_of(stretch.ended), bottom)
            about = f"{look.TIMERS[stretch.name][1]}<br>{self._about(stretch)}"
            peer = stretch.sample.remote.address
            x = frame.beside(stretch.host, TIMER_BAR, stretch.lane, peer)
            lines[stretch.name].add(_bar(x, top, end), about)
            # Named where it runs first, and wherever it runs for long.
            this = (stretch.host, stretch.name, frame.out(stretch.host, peer))
            if this in named and stretch.ended - stretch.began < SILENCE:
                continue
            y = self._room(stretch, top + ROW / 2, end)
            if y is not None:
                named.add(this)
                colour = self.colours.timers[stretch.name]
                self._say(stretch.host, y, f"timer: {stretch.name}", colour, about, peer)
        return [
            lines[timer].trace(
                f"timer: {timer}", line={"color": self.colours.timers[timer], "width": 3, "dash": dash}
            )
            for timer, (dash, _) in look.TIMERS.items()
        ]

    def _say(self, host: str, y: float, text: str, colour: str, hover: str, peer: str = "") -> None:
        frame = self.frame
        out = frame.out(host, peer)
        above = ROW / 2 * text.count("<br>")
        self._taken[host] += [y - above, y, y + above] if above else [y]
        x = frame.x[host] + out * frame.wide * ASIDE
        self.text.add(x, y, text, "middle left" if out < 0 else "middle right", colour, hover)

    def _peer(self, call: Call) -> str:
        """With whom the socket of a call speaks, by address; empty where that is not known."""
        if call.host not in self.frame.inner:
            return ""
        return self._peers.get((call.host, call.port), "")

    def _room(self, stretch: Stretch, y: float, end: float) -> float | None:
        """The first free row of text beside a host from `y` to `end`; None where there is none.

        Between the lifelines only a silence is free of labels.
        """
        frame, host = self.frame, stretch.host
        if host in frame.inner:
            silences = (
                s for s in frame.axis.silences if stretch.began <= s.began and s.ended <= stretch.ended
            )
            return next(((s.top + s.bottom - ROW / 2) / 2 for s in silences if frame.shown(s.ended)), None)
        if end - y < ROW:
            return None
        for taken in sorted(self._taken[host]):
            if y - ROW < taken < y + ROW:
                y = taken + ROW
        return y if y + ROW / 2 <= end else None

    def _about(self, stretch: Stretch) -> str:
        """For hovering over a bar: which socket, which state, from when to when."""
        sample, start = stretch.sample, self.frame.trace.start
        began, ended = duration(stretch.began - start), duration(stretch.ended - start)
        when = f"{began} to {ended}" if stretch.ended > stretch.began else f"at {began}"
        socket = escape(f"{sample.local} ↔ {sample.remote}", False)
        if stretch.gone:
            socket += f"<br>{escape(stretch.gone, False)} has no such connection any more"
        return f"<b>{escape(sample.state, False)}</b> on {escape(stretch.host, False)}, {when}<br>{socket}"

    def _about_call(self, call: Call) -> str:
        said = escape(f"{call.host}: {call.call} → {call.result}", False).replace("\n", "<br>")
        returned = f"returned {(call.t - self.frame.trace.start) / 1e9:.6f} s"
        blocked = f", had blocked for {duration(call.t - call.began)}" if call.t > call.began else ""
        return f"<b>{said}</b><br>{returned}{blocked}"


def _state_words(stretch: Stretch) -> str:
    """A state as it stands beside its bar."""
    if stretch.name == HALF_OPEN:
        return f"⚠ half-open: {stretch.gone} has gone"
    return "closed" if stretch.name == "CLOSED" else stretch.name.replace("_", "-")


def _bar(x: float, top: float, bottom: float) -> list[tuple[float, float]]:
    """A vertical line with points close enough to hover over it anywhere."""
    steps = max(int((bottom - top) / 24), 1)
    return [(x, top + (bottom - top) * i / steps) for i in range(steps + 1)]


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

    `beside`: for every packet what the other witness says of it (see `overlay.py`).
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
    for i, packet in enumerate(trace.packets):
        if not frame.shown(packet.t):
            continue
        connection = four_tuple(packet)
        kind = arrow_kind(packet, connection in main)
        tail = float(frame.x[packet.sender]), frame.placed.sent[i]
        head, ended = _head(frame, i, packet)
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
        if packet.arrives is None and packet.fate == "delivered":
            text += "  (on its way)"
        if beside:
            text += f'  <span style="color:{frame.colours.soft}">{beside[i].says}</span>'
        speaks = speaking_kind(packet)
        colour = colours[speaks if kind == "lost" and speaks != "segment" else kind]
        way, where = (1, "top right") if head[0] >= tail[0] else (-1, "top left")
        away = frame.wide * frame.room(packet.sender)
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


def _head(frame: Frame, i: int, packet: Packet) -> tuple[tuple[float, float], bool]:
    """Where an arrow ends, and whether it ends there for good (else it is still on its way)."""
    x0, x1, y0 = frame.x[packet.sender], frame.x[packet.receiver], frame.placed.sent[i]
    if packet.fate != "delivered":
        return (_where_lost(frame, packet), y0 + STUMP - 3), True
    y1 = frame.placed.arrived[i]
    if y1 is None or packet.arrives is None:
        return (x0 + 0.5 * (x1 - x0), y0 + STUMP - 3), False
    if frame.upto is None or packet.arrives <= frame.upto:
        return (float(x1), y1), True
    part = (frame.upto - packet.t) / (packet.arrives - packet.t)
    return (x0 + part * (x1 - x0), y0 + part * (y1 - y0)), False


def _where_lost(frame: Frame, packet: Packet) -> float:
    """x at which a segment got lost: at the box that dropped it, else half way or close to its receiver."""
    x0, x1 = frame.x[packet.sender], frame.x[packet.receiver]
    box = packet.fate.removeprefix("dropped_by:")
    if box in frame.boxes:
        return float(frame.x[box])
    if packet.receiver in packet.fate:  # the receiver's own firewall stands close to it
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
