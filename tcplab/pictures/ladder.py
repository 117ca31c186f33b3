"""The ladder: hosts as lifelines, time downwards, every segment an arrow from sent to arrived.

Beside it, on each host's outer side, what `ss` and the application saw: a bar for the TCP state
with its name, a thin one for the running timer, the calls where they returned. A host in the middle,
such as a proxy, has both its sides. A middlebox has its entry for the connection instead: a bar as long
as it remembers the connection, filled with what is left of the timer, full after each segment that
restarts it and empty when the middlebox forgets. With more than two lifelines an end whose other end is
gone is striped: half-open. One time axis serves all of it (`timeaxis.py`), and `time_axis(trace)`
translates the y of a click into an instant.

Everything is a trace of kind `scatter`, one per kind of thing and always the same ones in the same
order, empty or not, which lets a widget update a figure in place:

- the traces named in `ARROWS` hold three points per segment (tail, middle, where it ended), a gap
  between segments; `customdata` is the segment's index in `trace.packets`;
- the last trace, `cursor`, is the line at `at`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from tcplab.core.segment import RST, Endpoint
from tcplab.core.text import duration
from tcplab.core.trace import Call, Packet, SocketSample, Trace
from tcplab.follow import KEEPALIVE, RETRANSMISSION, WINDOW_PROBE
from tcplab.pictures import theme as look
from tcplab.pictures import timeaxis
from tcplab.pictures.overlay import BOTH, LINUX, Overlay
from tcplab.pictures.text import call_lines, hover_texts, is_error, words
from tcplab.pictures.theme import Line, MarkStyle, Picture, Text, Theme, filled, rectangle
from tcplab.pictures.timeaxis import ROW, STUMP, Interval, hosts_of, middleboxes_of, place, time_axis

__all__ = ["ARROWS", "MAX_HEIGHT", "Picture", "draw", "ladder", "time_axis"]

#: px above the first row, for the hosts' names, and below the last.
_HEAD, _FOOT = 50, 26
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
    "only Linux": MarkStyle("cursor", dash="dash", width=2.0, symbol="arrow-open"),
}

#: The hover title of a running timer, by its name in ss.
TIMER_TITLES = {
    "on": "timer: retransmission (on)", "keepalive": "timer: keepalive",
    "persist": "timer: window probe (persist)", "timewait": "timer: timewait",
}  # fmt: skip
_PROBES = {KEEPALIVE, WINDOW_PROBE}
_REPEATS = {RETRANSMISSION, "tail_loss_probe"}

FourTuple = frozenset[Endpoint]


def four_tuple(packet: Packet) -> FourTuple:
    """The connection of a segment of either direction."""
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
    if packet.kind in _PROBES:
        return "probe"
    return "retransmission" if packet.kind in _REPEATS else "segment"


def ladder(
    trace: Trace, *, at: int | None = None, upto: int | None = None, title: str | None = None,
    dark: bool = False,
) -> go.Figure:  # fmt: skip
    """The ladder of a trace.

    `at` (nanoseconds) draws a cursor line at that instant; `upto` draws only what had happened until
    then, on the same time axis, which keeps a replay from jumping. `dark` is for a dark page outside
    JupyterLab; inside it, see `theme.JUPYTER_STYLE`.
    """
    return draw(trace, at=at, upto=upto, title=title, dark=dark).figure()


def draw(
    trace: Trace, *, at: int | None = None, upto: int | None = None, title: str | None = None,
    dark: bool = False, overlay: Sequence[Overlay] = (),
) -> Picture:  # fmt: skip
    """What `ladder` shows, as plain data together with its time axis.

    `overlay`: for every packet who sent it, where a run on Linux is drawn over the model's (`overlay.py`).
    """
    geometry = Geometry(trace, look.theme(dark), upto)
    captions, labels, sides = Text(), Text(), Sides(geometry)
    states, calls, timers = sides.states(), sides.calls(), sides.timers()
    data = [
        _lifelines(geometry, captions), *entries(geometry), _notes(geometry, captions),
        *states, *timers, calls, *_arrows(geometry, labels, overlay),
    ]  # fmt: skip
    layout = _layout(geometry, sides, title)
    data += [
        captions.trace("captions", geometry.colours),
        labels.trace("labels", geometry.colours),
        sides.text.trace("states and calls", geometry.colours),
        _cursor(geometry, at),
    ]
    return Picture(data, layout, geometry.axis)


def _lifelines(geometry: Geometry, captions: Text) -> dict[str, Any]:
    """Vertical lines with a zigzag in every gap and the gap's length; names on top."""
    line = Line()
    breaks = []
    for gap in geometry.axis.gaps:
        if geometry.is_drawn(gap.ended):
            breaks.append(gap.middle)
            y, lasted = gap.middle, duration(gap.ended - gap.began)
            captions.add(geometry.gap, y, f"<i>{lasted}</i>", "middle center", geometry.colours.soft)
    zigzag = 0.009 * geometry.wide
    for host, x in geometry.x.items():
        points = [(float(x), -_HEAD / 2 + (14 if host in geometry.middleboxes else 4))]
        for y in breaks:
            points += [(x, y - 8), (x + zigzag, y - 4), (x - zigzag, y + 4), (x, y + 8)]
        line.add([*points, (float(x), geometry.axis.height + 10)])
        name = f"<b>{escape(host, False)}</b>"
        address = geometry.trace.hosts.get(host, host)
        if host in geometry.middleboxes:
            name += f"<br>{escape(timer_words(geometry.trace, host), False)}"
        elif address != host:
            name += f"  {escape(address, False)}"
        captions.add(x, -_HEAD / 2 - 9, name, "middle center", geometry.colours.ink)
    return line.trace("lifelines", line={"color": geometry.colours.soft, "width": 1.4})


def _notes(geometry: Geometry, captions: Text) -> dict[str, Any]:
    """Hairlines across, with the notes of the script or of a middlebox."""
    line = Line()
    for note, y in zip(geometry.trace.notes, geometry.placed.noted, strict=True):
        if geometry.is_drawn(note.t):
            line.add([(0, y), (geometry.wide, y)])
            at_middlebox = note.host in geometry.middleboxes
            is_clear = at_middlebox or not note.host or note.text.startswith(note.host)
            where = "" if is_clear else f"{note.host}: "
            text = f"<b>{escape(where + note.text, False)}</b>"
            x = geometry.x[note.host] if at_middlebox else geometry.aside(note.host)
            captions.add(x, y, text, "middle center", geometry.colours.soft)
    return line.trace("notes", line={"color": geometry.colours.faint, "width": 1})


def _arrows(geometry: Geometry, labels: Text, overlay: Sequence[Overlay]) -> list[dict[str, Any]]:
    """A band below what both runs sent, then one trace per kind in `ARROWS`; texts go to `labels`."""
    trace, band = geometry.trace, Line()
    lines = {kind: Line() for kind in ARROWS}
    said = words(trace)
    hovers = hover_texts(trace, said)
    main = main_connections(trace)
    colours = {kind: geometry.colours.of(mark) for kind, mark in ARROWS.items()}
    for i, packet in enumerate(trace.packets):
        if not geometry.is_drawn(packet.t):
            continue
        connection = four_tuple(packet)
        kind = arrow_kind(packet, connection in main)
        tail = float(geometry.x[packet.sender]), geometry.placed.sent[i]
        head, ended = _head(geometry, i, packet)
        if overlay and overlay[i].who == BOTH:
            band.add((tail, head))
        elif overlay and overlay[i].who == LINUX:
            kind = "only Linux"
        middle = (tail[0] + head[0]) / 2, (tail[1] + head[1]) / 2
        lines[kind].add((tail, middle, head), hovers[i], i)
        lines[kind].size += [0, 0, 13 if ended else 0, 0]

        text = said[i].markup
        if connection not in main:
            text = f":{local_port(connection)}  {text}"
        if packet.arrives is None and packet.fate == "delivered":
            text += "  (in flight)"
        if overlay:
            text += f'  <span style="color:{geometry.colours.soft}">{overlay[i].says}</span>'
        sent = sending_kind(packet)
        colour = colours[sent if kind == "lost" and sent != "segment" else kind]
        side, position = (1, "top right") if head[0] >= tail[0] else (-1, "top left")
        away = geometry.wide * geometry.room(packet.sender)
        labels.add(tail[0] + side * away, tail[1] - 1, text, position, colour)
    width = {"color": geometry.colours.states["open"], "width": 9}
    made = [band.trace("both runs", line=width, opacity=0.35)]
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
    return made


def _head(geometry: Geometry, i: int, packet: Packet) -> tuple[tuple[float, float], bool]:
    """Where an arrow ends, and whether that is its end (else the segment is still in flight)."""
    x0, x1, y0 = geometry.x[packet.sender], geometry.x[packet.receiver], geometry.placed.sent[i]
    if packet.fate != "delivered":
        return (_where_lost(geometry, packet), y0 + STUMP - 3), True
    y1 = geometry.placed.arrived[i]
    if y1 is None or packet.arrives is None:
        return (x0 + 0.5 * (x1 - x0), y0 + STUMP - 3), False
    if geometry.upto is None or packet.arrives <= geometry.upto:
        return (float(x1), y1), True
    part = (geometry.upto - packet.t) / (packet.arrives - packet.t)
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


def _layout(geometry: Geometry, sides: Sides, title: str | None) -> dict[str, Any]:
    # Margins in steps of 40 px: the picture keeps still while a slider moves.
    left, right = (_step(n * look.CHARACTER + 24) for n in sides.columns())
    ticks = timeaxis.tick_texts([t - geometry.trace.start for t, _ in geometry.axis.ticks])
    times = _step(max(map(len, ticks), default=3) * look.CHARACTER + 8)
    top, bottom = -float(_HEAD), max(geometry.axis.height, 60.0) + _FOOT
    shown = min(bottom - top, MAX_HEIGHT)
    more_below: dict[str, Any] = {}
    if shown < bottom - top:
        below = sum(y > top + shown for y in geometry.placed.sent)
        what = f"{below:,} more segments" if below > 1 else "more"
        more = f"<b>↓ {what} below: drag the picture up</b>"
        note = {
            "x": geometry.middle, "y": top + shown - 14, "showarrow": False, "text": more,
            "font": {"color": geometry.colours.cursor}, "bgcolor": geometry.colours.paper,
        }  # fmt: skip
        more_below = {"annotations": [note]}
    edge = geometry.wide * EDGE
    return look.layout(geometry.colours, shown, title, left=left + times, right=right) | {
        "uirevision": "ladder",
        **more_below,
        "dragmode": "pan" if shown < bottom - top else False,
        "xaxis": look.axis(range=[-edge, geometry.wide + edge], fixedrange=True),
        "yaxis": look.axis(
            range=[top + shown, top], fixedrange=shown == bottom - top, showticklabels=True,
            tickmode="array", tickvals=[y for _, y in geometry.axis.ticks], ticktext=ticks,
            tickfont={"color": geometry.colours.soft}, ticklabelstandoff=left,
        ),
    }  # fmt: skip


def _step(px: float) -> int:
    return 40 * -(-round(px) // 40)


#: Distances from the lifeline, in parts of the distance between the outermost lifelines.
STATE_BAR, TIMER_BAR, BRACKET, ASIDE, EDGE = 0.022, 0.042, 0.056, 0.068, 0.075


class Geometry:
    """Where things are in one ladder: lifelines, distances from them, and what is drawn at all."""

    def __init__(self, trace: Trace, colours: Theme, upto: int | None) -> None:
        self.trace, self.colours = trace, colours
        #: Draw only what had happened until then, nanoseconds; None: everything.
        self.upto = upto
        self.placed = place(trace)
        self.axis = self.placed.axis
        hosts = hosts_of(trace)
        #: x of every lifeline.
        self.x = {host: i for i, host in enumerate(hosts)}
        #: Hosts with neighbours on both sides, such as a proxy.
        self.inner = set(hosts[1:-1])
        #: Lifelines without an address: they have entries and no sockets.
        self.middleboxes = middleboxes_of(trace)
        #: x between the outermost lifelines, and half way between them.
        self.wide = max(len(hosts) - 1, 1)
        self.middle = self.wide / 2

    def aside(self, host: str) -> float:
        """x for a line of text about a host: in the middle, but on no lifeline."""
        if self.inner - self.middleboxes and host in self.x:
            return max(self.x[host] - 0.5, 0.5)
        return self.middle

    @property
    def gap(self) -> float:
        """x between two lifelines where there is no other text: for the length of a gap."""
        if self.inner - self.middleboxes:  # these have text on both sides
            return 0.33
        return self.wide / 2 if self.wide % 2 else self.wide / 2 + 0.5

    def is_drawn(self, t: int) -> bool:
        """True when what happened at `t` is drawn."""
        return self.upto is None or t <= self.upto

    def bottom(self) -> float:
        """y of the last thing drawn."""
        return self.axis.height if self.upto is None else self.axis.bottom_of(self.upto)

    def out(self, host: str, peer: str = "") -> int:
        """The side of a host's text: -1 is left.

        The outer hosts have theirs outside, one in the middle on the side of its peer (an address).
        """
        if host in self.inner:
            peers = [x for name, x in self.x.items() if self.trace.hosts.get(name) == peer]
            return -1 if peers and peers[0] < self.x[host] else 1
        return -1 if self.x[host] == 0 else 1

    def x_at(self, host: str, distance: float, lane: int = 0, peer: str = "") -> float:
        """x at `distance` from a host's lifeline; the lanes of a host in the middle are on both sides."""
        if host in self.inner:
            lane = 0
        return self.x[host] + self.out(host, peer) * self.wide * distance * (1 + lane)

    def room(self, host: str) -> float:
        """The distance from a lifeline to the label of an arrow, in parts of `wide`."""
        if host in self.middleboxes:
            return STATE_BAR
        return BRACKET if host in self.inner else 0.012


class Sides:
    """What is beside the lifelines. Draw states, then calls, then timers, which take the room left."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.colours = geometry.colours
        #: All words beside the lifelines.
        self.text = Text()
        self._taken: dict[str, list[float]] = {host: [] for host in geometry.x}
        self._peers = {
            (sample.host, sample.local.port): sample.remote.address
            for sample in geometry.trace.sockets
            if sample.host in geometry.inner and sample.remote.port
        }

    def columns(self) -> tuple[int, int]:
        """Characters of the longest line on the left and on the right, also of what is not drawn yet."""
        geometry = self.geometry
        outer = {host: geometry.out(host) for host in geometry.x if host not in geometry.inner}
        longest = {-1: 0, 1: 0}
        for call in geometry.trace.calls:
            if side := outer.get(call.host):
                longest[side] = max(longest[side], *map(len, call_lines(call)))
        for interval in geometry.placed.states:
            if side := outer.get(interval.host):
                longest[side] = max(longest[side], len("timer: keepalive"), len(_state_words(interval)))
        return longest[-1], longest[1]

    def states(self) -> list[dict[str, Any]]:
        """A thick line per state, coloured by the connection's phase, with its name."""
        geometry, placed = self.geometry, self.geometry.placed
        lines = {phase: Line() for phase in look.PHASES}
        half_open = Line()
        bottom = geometry.bottom()
        begins = {
            (interval.host, interval.lane, interval.began): y
            for interval, y in zip(placed.states, placed.changed, strict=True)
        }
        for interval, y in zip(placed.states, placed.changed, strict=True):
            if not geometry.is_drawn(interval.began) or interval.host in geometry.middleboxes:
                continue
            about = self._about(interval)
            is_half = interval.name == timeaxis.HALF_OPEN
            colour = self.colours.error if is_half else self.colours.soft
            peer = interval.sample.remote.address
            self._say(interval.host, y, escape(_state_words(interval), False), colour, about, peer)
            if interval.name == "CLOSED":
                continue
            next_begins = begins.get((interval.host, interval.lane, interval.ended))
            end = geometry.axis.bottom_of(interval.ended) if next_begins is None else next_begins
            x = geometry.x_at(interval.host, STATE_BAR, interval.lane, peer)
            line = half_open if is_half else lines[look.PHASE.get(interval.name, "waiting")]
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
        """The applications' calls where they returned, with a bracket while they blocked."""
        geometry = self.geometry
        brackets = Line()
        for call, y in zip(geometry.trace.calls, geometry.placed.returned, strict=True):
            if call.host not in geometry.x or not geometry.is_drawn(call.t):
                continue
            colour = self.colours.error if is_error(call.result) else self.colours.ink
            lines = [escape(text, False) for text in call_lines(call)]
            peer = self._peer(call)
            self._say(call.host, y, "<br>".join(lines), colour, self._about_call(call), peer)
            began = geometry.axis.bottom_of(call.began)
            if call.began < call.t and y - began > 4:
                x = geometry.x_at(call.host, BRACKET, peer=peer)
                foot = x - geometry.out(call.host, peer) * geometry.wide * 0.006
                brackets.add([(foot, began + 1), (x, began + 1), (x, y), (foot, y)])
        return brackets.trace("blocked calls", line={"color": self.colours.soft, "width": 1})

    def timers(self) -> list[dict[str, Any]]:
        """A thin line while a timer runs, dashed by its kind; its name where there is room."""
        geometry = self.geometry
        lines = {timer: Line() for timer in look.TIMERS}
        named = set()
        bottom = geometry.bottom()
        for interval in timeaxis.timers(geometry.trace):
            is_here = interval.host not in geometry.middleboxes and geometry.is_drawn(interval.began)
            if not is_here or interval.name not in lines:
                continue
            top, end = geometry.axis.y_of(interval.began), min(geometry.axis.y_of(interval.ended), bottom)
            about = f"{TIMER_TITLES[interval.name]}<br>{self._about(interval)}"
            peer = interval.sample.remote.address
            x = geometry.x_at(interval.host, TIMER_BAR, interval.lane, peer)
            lines[interval.name].add(_bar(x, top, end), about)
            # Named where it runs first, and wherever it runs for long.
            this = (interval.host, interval.name, geometry.out(interval.host, peer))
            if this in named and interval.ended - interval.began < timeaxis.SHORTEST_GAP:
                continue
            y = self._free_row(interval, top + ROW / 2, end)
            if y is not None:
                named.add(this)
                colour = self.colours.timers[interval.name]
                self._say(interval.host, y, f"timer: {interval.name}", colour, about, peer)
        return [
            lines[timer].trace(
                f"timer: {timer}",
                line={"color": self.colours.of(mark), "width": mark.width, "dash": mark.dash},
            )
            for timer, mark in look.TIMERS.items()
        ]

    def _say(self, host: str, y: float, text: str, colour: str, hover: str, peer: str = "") -> None:
        geometry = self.geometry
        out = geometry.out(host, peer)
        above = ROW / 2 * text.count("<br>")
        self._taken[host] += [y - above, y, y + above] if above else [y]
        x = geometry.x[host] + out * geometry.wide * ASIDE
        self.text.add(x, y, text, "middle left" if out < 0 else "middle right", colour, hover)

    def _peer(self, call: Call) -> str:
        """The address of the peer of a call's socket; empty where it is not known."""
        if call.host not in self.geometry.inner:
            return ""
        return self._peers.get((call.host, call.port), "")

    def _free_row(self, interval: Interval, y: float, end: float) -> float | None:
        """The first free row of text beside a host from `y` to `end`; None where there is none.

        Between the lifelines only a gap is free of labels.
        """
        geometry, host = self.geometry, interval.host
        if host in geometry.inner:
            inside = (
                gap
                for gap in geometry.axis.gaps
                if interval.began <= gap.began and gap.ended <= interval.ended
            )
            return next((gap.middle for gap in inside if geometry.is_drawn(gap.ended)), None)
        if end - y < ROW:
            return None
        for taken in sorted(self._taken[host]):
            if y - ROW < taken < y + ROW:
                y = taken + ROW
        return y if y + ROW / 2 <= end else None

    def _about(self, interval: Interval) -> str:
        """The hover text of a bar: socket, state and times."""
        sample, start = interval.sample, self.geometry.trace.start
        began, ended = duration(interval.began - start), duration(interval.ended - start)
        when = f"{began} to {ended}" if interval.ended > interval.began else f"at {began}"
        socket = escape(f"{sample.local} ↔ {sample.remote}", False)
        if interval.gone:
            socket += f"<br>{escape(interval.gone, False)} has no such connection any more"
        return f"<b>{escape(sample.state, False)}</b> on {escape(interval.host, False)}, {when}<br>{socket}"

    def _about_call(self, call: Call) -> str:
        said = escape(f"{call.host}: {call.call} → {call.result}", False).replace("\n", "<br>")
        returned = f"returned {(call.t - self.geometry.trace.start) / 1e9:.6f} s"
        blocked = f", had blocked for {duration(call.t - call.began)}" if call.t > call.began else ""
        return f"<b>{said}</b><br>{returned}{blocked}"


def _state_words(interval: Interval) -> str:
    """The text beside a state's bar."""
    if interval.name == timeaxis.HALF_OPEN:
        return f"⚠ half-open: {interval.gone} has gone"
    return "closed" if interval.name == "CLOSED" else interval.name.replace("_", "-")


def _bar(x: float, top: float, bottom: float) -> list[tuple[float, float]]:
    """A vertical line with points close enough to hover over it anywhere."""
    steps = max(int((bottom - top) / 24), 1)
    return [(x, top + (bottom - top) * i / steps) for i in range(steps + 1)]


#: Half the width of an entry's bar, in parts of the distance between the outermost lifelines.
HALF = 0.014
#: The timers of a middlebox's entry.
ENTRY_TIMERS = {"idle": MarkStyle("open"), "close": MarkStyle("repeat", "/")}


def entries(geometry: Geometry) -> list[dict[str, Any]]:
    """Outlines of all entries, and what is left of their timers; empty where there is no middlebox."""
    outlines, left = Line(), {timer: Line() for timer in ENTRY_TIMERS}
    for lane, samples in timeaxis.drawn_sockets(geometry.trace) if geometry.middleboxes else ():
        if samples[0].host in geometry.middleboxes:
            x = geometry.x[samples[0].host] + 4 * lane * HALF * geometry.wide
            for entry in _split(samples):
                _entry(geometry, x, entry, outlines, left)
    colours = geometry.colours
    outline = {"color": colours.soft, "width": 1.4}
    made = [outlines.trace("entries", fill="toself", fillcolor=colours.paper, line=outline)]
    for timer, mark in ENTRY_TIMERS.items():
        alpha = 0.35 if mark.pattern else 0.75
        area = filled(colours.of(mark), alpha, mark.pattern, size=6, solidity=0.4)
        made.append(left[timer].trace(f"timer: {timer}", line={"width": 0}, **area))
    return made


def _split(samples: list[SocketSample]) -> Iterator[list[SocketSample]]:
    """The samples of each entry, up to the one that says it is forgotten."""
    entry: list[SocketSample] = []
    for sample in samples:
        entry.append(sample)
        if sample.state == "CLOSED":
            yield entry
            entry = []
    if entry:
        yield entry


def _entry(
    geometry: Geometry, x: float, entry: list[SocketSample], outlines: Line, left: dict[str, Line]
) -> None:
    """One entry from the segment that made it to its end, or to the end of the picture."""
    first, last, axis = entry[0], entry[-1], geometry.axis
    if not geometry.is_drawn(first.t) or first.state == "CLOSED":
        return
    half = HALF * geometry.wide
    top, bottom = axis.y_of(first.t), geometry.bottom()
    is_over = last.state == "CLOSED" and geometry.is_drawn(last.t)
    if is_over:
        # The middlebox's note is in the row below.
        bottom = max(axis.y_of(last.t) - ROW / 2, top + 3)
    start = geometry.trace.start
    until = f"to {duration(last.t - start)}" if is_over else "on"
    host, ends = escape(first.host, False), escape(f"{first.local} ↔ {first.remote}", False)
    about = f"<b>entry</b> of {host}, {duration(first.t - start)} {until}<br>{ends}"
    outlines.add(rectangle(x - half, top, x + half, bottom), about)
    full = _lengths(entry)
    ends_at = [sample.t for sample in entry[1:]] + [timeaxis.last_instant(geometry.trace)]
    for sample, ended in zip(entry, ends_at, strict=True):
        if sample.due is None or sample.timer not in left or not geometry.is_drawn(sample.t):
            continue
        if geometry.upto is not None:
            ended = min(ended, geometry.upto)
        y0, y1 = axis.y_of(sample.t), min(axis.y_of(ended), bottom)
        w0, w1 = (0.8 * half * max(sample.due - t, 0) / full[sample.timer] for t in (sample.t, ended))
        runs, since = duration(sample.due - sample.t), duration(sample.t - start)
        text = f"{about}<br>{sample.timer} timer: {runs} from {since}"
        left[sample.timer].add([(x - w0, y0), (x + w0, y0), (x + w1, y1), (x - w1, y1), (x - w0, y0)], text)


def _lengths(samples: list[SocketSample]) -> dict[str, int]:
    """How long each timer runs when nothing restarts it, nanoseconds."""
    full: dict[str, int] = {}
    for sample in samples:
        if sample.due is not None:
            full[sample.timer] = max(full.get(sample.timer, 1), sample.due - sample.t)
    return full


def timer_words(trace: Trace, middlebox: str) -> str:
    """The text below a middlebox's name: ``▼ idle timer 5 min 50 s``; ``entry`` where no timer ever runs."""
    full = _lengths([sample for sample in trace.sockets if sample.host == middlebox])
    texts = (f"▼ {timer} timer {duration(full[timer])}" for timer in ENTRY_TIMERS if timer in full)
    return ", ".join(texts) or "entry"
