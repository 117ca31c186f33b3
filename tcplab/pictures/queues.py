"""The two queues of a listener over time, and every connection as its two ends see it.

Above, a row for each client with its view of the connection; below it, the same rows with the server's.
A ghost is a row that is connected above and crossed out below. Under them, how full accept queue and
SYN queue were, with what they hold at most. Time runs to the right, long waits are shortened.

A client is established with the SYN-ACK, the server only when the last step of the handshake has found
room in the accept queue. Between the two lies the flight of an ACK, or a ghost.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from tcplab.core.releases import known_release
from tcplab.core.segment import Endpoint
from tcplab.core.text import MILLISECOND, duration, plural
from tcplab.core.trace import SocketSample, Trace
from tcplab.model.listener import accept_queue_holds, syn_queue_holds
from tcplab.model.rules import Sysctls
from tcplab.pictures import theme as look
from tcplab.pictures.theme import Line, MarkStyle, Picture, Text, filled, rectangle

#: A client's views of its connection …
CONNECTING, CONNECTED = "connect() waits", "connected"
#: … and the server's; a ghost is no connection, or half of one.
HALF_OPEN, IN_QUEUE, ACCEPTED = "half open", "waits for accept()", "accepted"
GHOST, HALF_GHOST = "ghost: nothing here", "ghost: half open"
GHOSTS = (GHOST, HALF_GHOST)

#: States in which an end has a connection.
_ALIVE = ("ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2", "CLOSE_WAIT", "CLOSING", "LAST_ACK")


class View(NamedTuple):
    """An end's view of a connection from one instant to another, nanoseconds."""

    what: str
    began: int
    ended: int


class Views(NamedTuple):
    """One client's connection as both ends see it."""

    client: Endpoint
    at_client: tuple[View, ...]
    at_server: tuple[View, ...]

    @property
    def was_ghost(self) -> bool:
        """True when it was one for a while, or to the end."""
        return any(view.what in GHOSTS for view in self.at_server)


class Queues(NamedTuple):
    """The listener's two queues over time, (instant, length) each, and what they hold at most."""

    accept: list[tuple[int, int]]
    accept_holds: int
    half_open: list[tuple[int, int]]
    half_open_holds: int


def listener_of(trace: Trace) -> SocketSample | None:
    """The first sample of the listening socket; None where the trace has none."""
    return next((sample for sample in trace.sockets if sample.state == "LISTEN"), None)


def views(trace: Trace) -> list[Views]:
    """The connection of every client of the listener, in the order of connect()."""
    listening = listener_of(trace)
    if listening is None:
        return []
    begins: dict[Endpoint, list[tuple[int, str]]] = {}
    has: dict[Endpoint, list[tuple[int, str]]] = {}
    for (host, local, remote), samples in trace.socket_history():
        if host == listening.host:
            if local.port == listening.local.port and remote.port:
                has[remote] = [(sample.t, sample.state) for sample in samples]
        elif remote.port == listening.local.port:
            begins[local] = [(sample.t, sample.state) for sample in samples]
    accepted = _accepted(trace, listening.host, has)
    return [
        _views(trace, client, steps, has.get(client, []), accepted.get(client))
        for client, steps in sorted(begins.items(), key=lambda each: each[1][0][0])
    ]


def _accepted(trace: Trace, server: str, has: dict[Endpoint, list[tuple[int, str]]]) -> dict[Endpoint, int]:
    """When each connection was accepted: accept() takes the one that has waited longest."""
    calls = [call.t for call in trace.calls if call.host == server and call.call.startswith("accept")]
    waiting = sorted(
        (next(t for t, state in steps if state in _ALIVE), client)
        for client, steps in has.items()
        if any(state in _ALIVE for _, state in steps)
    )
    return {client: max(t, since) for (since, client), t in zip(waiting, calls, strict=False)}


def _views(
    trace: Trace, client: Endpoint, mine: list[tuple[int, str]], theirs: list[tuple[int, str]],
    accepted: int | None,
) -> Views:  # fmt: skip
    instants = sorted({t for t, _ in mine} | {t for t, _ in theirs} | ({accepted} if accepted else set()))
    at_client, at_server = [], []
    for began, ended in zip(instants, [*instants[1:], trace.end], strict=True):
        here, there = _state_at(mine, began), _state_at(theirs, began)
        is_accepted = accepted is not None and began >= accepted
        at_client.append(View(_client_view(here), began, ended))
        at_server.append(View(_server_view(here, there, is_accepted), began, ended))
    # Until the last step of the handshake has arrived, a connection is not a ghost.
    flight = next((p.arrives - p.t for p in trace.packets if p.arrives is not None), 0)
    settled = _without_short_ghosts(_joined(at_server), 2 * flight + 10 * MILLISECOND)
    return Views(client, _joined(at_client), _joined(settled))


def _client_view(state: str) -> str:
    return CONNECTING if state == "SYN_SENT" else CONNECTED if state in _ALIVE else ""


def _server_view(here: str, there: str, is_accepted: bool) -> str:
    if there in _ALIVE:
        return ACCEPTED if is_accepted else IN_QUEUE
    if here in _ALIVE:
        return HALF_GHOST if there == "SYN_RECV" else GHOST
    return HALF_OPEN if there == "SYN_RECV" else ""


def _without_short_ghosts(views: Iterable[View], shortest: int) -> Iterator[View]:
    for view in views:
        if view.what in GHOSTS and view.ended - view.began <= shortest:
            yield view._replace(what=HALF_OPEN if view.what == HALF_GHOST else "")
        else:
            yield view


def _joined(views: Iterable[View]) -> tuple[View, ...]:
    """Neighbours of one kind as one; empty views and those that took no time are left out."""
    joined: list[View] = []
    for view in views:
        if view.ended <= view.began:
            continue
        if joined and joined[-1].what == view.what and joined[-1].ended == view.began:
            joined[-1] = joined[-1]._replace(ended=view.ended)
        else:
            joined.append(view)
    return tuple(view for view in joined if view.what)


def _state_at(steps: list[tuple[int, str]], t: int) -> str:
    i = bisect_right(steps, t, key=lambda step: step[0])
    return steps[i - 1][1] if i else ""


def counted(rows: Iterable[Views], t: int) -> tuple[int, int, int]:
    """At an instant: connections of the clients, connections of the server, and ghosts."""

    def now(views: tuple[View, ...]) -> str:
        return next((view.what for view in views if view.began <= t < view.ended), "")

    pairs = [(now(row.at_client), now(row.at_server)) for row in rows]
    return (
        sum(here == CONNECTED for here, _ in pairs),
        sum(there in (IN_QUEUE, ACCEPTED) for _, there in pairs),
        sum(there in GHOSTS for _, there in pairs),
    )


def queue_lengths(trace: Trace) -> Queues | None:
    """How full the two queues were; None without a listener."""
    listening = listener_of(trace)
    if listening is None:
        return None
    backlog = listening.send_q
    here = [sample for sample in trace.sockets if sample.host == listening.host]
    accept = [(sample.t, sample.recv_q) for sample in here if sample.state == "LISTEN"]
    requests: set[Endpoint] = set()
    half_open = [(listening.t, 0)]
    for sample in here:
        if sample.local.port == listening.local.port:
            before = len(requests)
            (requests.add if sample.state == "SYN_RECV" else requests.discard)(sample.remote)
            if len(requests) != before:
                half_open.append((sample.t, len(requests)))
    holds = syn_queue_holds(backlog, known_release(trace.linux), Sysctls().tcp_max_syn_backlog)
    return Queues(accept, accept_queue_holds(backlog), half_open, holds)


#: How a view is drawn; ghosts have the colour of errors.
MARKS: dict[str, MarkStyle] = {
    CONNECTING: MarkStyle("opening", "/"),
    CONNECTED: MarkStyle("open"),
    HALF_OPEN: MarkStyle("opening", "/"),
    IN_QUEUE: MarkStyle("closing first", "."),
    ACCEPTED: MarkStyle("open"),
    GHOST: MarkStyle("error", "x", "dash"),
    HALF_GHOST: MarkStyle("error", "\\", "dash"),
}
#: px: a row, all rows of a block together, the curve of a queue, and the gaps between them.
_ROW, _BLOCK, _CURVE, _GAP, _HEADING = 20, 240, 64, 22, 20
#: Instants no further apart than this are drawn as one; the length of one step of the shortened time.
_SAME, _STEP = 15 * MILLISECOND, 10 * MILLISECOND
#: The width of the plot for which its texts are kept apart, px; and the margin for names.
_NARROW, _NAMES = 560, 132
#: Words need so much room, px.
_WORD_HEIGHT, _TICK, _SWATCH = 15, 66, 24


def draw_queues(trace: Trace, *, title: str | None = None, dark: bool = False) -> Picture:
    """Both views of every connection, and the listener's queues; a sentence where there is no listener."""
    drawing = _Drawing(trace, look.theme(dark))
    drawing.draw()
    return Picture(drawing.data(), drawing.layout(title))


class Shortened:
    """Instants to x: the logarithm of how long nothing changed, which keeps a burst visible."""

    def __init__(self, instants: Iterable[int]) -> None:
        self.instants = sorted(set(instants)) or [0]
        self.at = [0.0]
        for a, b in pairwise(self.instants):
            self.at.append(self.at[-1] + math.log2(1 + (b - a) / _STEP))
        self.end = max(self.at[-1], 1.0)

    def x(self, t: int) -> float:
        """x of an instant between the first and the last one named."""
        i = max(bisect_right(self.instants, t) - 1, 0)
        if i + 1 == len(self.instants):
            return self.at[i]
        return self.at[i] + math.log2(1 + (t - self.instants[i]) / _STEP) * (
            self.at[i + 1] - self.at[i]
        ) / math.log2(1 + (self.instants[i + 1] - self.instants[i]) / _STEP)


@dataclass(slots=True)
class _Block:
    """Neighbouring rows that show the same over the same time: one rectangle."""

    first: int
    rows: int
    view: View


def blocks(rows: list[tuple[View, ...]]) -> Iterator[_Block]:
    """Rectangles instead of rows; instants that a reader cannot tell apart count as one."""
    open_: list[_Block] = []
    for i, row in enumerate(rows):
        going_on = []
        for view in row:
            for block in open_:
                if _alike(block.view, view):
                    open_.remove(block)
                    block.rows += 1
                    going_on.append(block)
                    break
            else:
                going_on.append(_Block(i, 1, view))
        yield from open_
        open_ = going_on
    yield from open_


def _alike(a: View, b: View) -> bool:
    return a.what == b.what and abs(a.began - b.began) <= _SAME and abs(a.ended - b.ended) <= _SAME


class _Drawing:
    """One picture while it is being drawn: y counts px downwards."""

    def __init__(self, trace: Trace, colours: look.Theme) -> None:
        self.trace, self.colours = trace, colours
        self.rows = views(trace)
        self.lengths = queue_lengths(trace)
        self.server = next((s.host for s in trace.sockets if s.state == "LISTEN"), "")
        self.axis = Shortened(self._instants())
        self.kinds = {what: Line() for what in MARKS}
        self.accept, self.half_open = Line(), Line()
        self.limits, self.edges, self.hairlines, self.ticks = Line(), Line(), Line(), Line()
        #: Answers the mouse, which the fill of a rectangle does not.
        self.hover = Line()
        self.text = Text()
        self.y = 0.0

    def _instants(self) -> Iterator[int]:
        yield self.trace.start
        yield self.trace.end
        for row in self.rows:
            for view in (*row.at_client, *row.at_server):
                yield from (view.began, view.ended)
        yield from (t for _, t in self._events())

    def _events(self) -> list[tuple[str, int]]:
        """When the programs began to send and to accept, for the hairlines: the clients, then the server."""
        begins: dict[bool, int] = {}
        for call in self.trace.calls:
            at_server = call.host == self.server
            if call.call.startswith("accept" if at_server else "send"):
                begins.setdefault(at_server, call.t)
        says = {False: "the clients speak", True: "accept() begins"}
        return [(says[at_server], begins[at_server]) for at_server in sorted(begins)]

    def _width(self, x0: float, x1: float) -> float:
        """px between two x in a narrow notebook."""
        return (x1 - x0) * _NARROW / self.axis.end

    # -- from top to bottom ------------------------------------------------------------------

    def draw(self) -> None:
        if not self.rows or self.lengths is None:
            self.text.add(0.5, 20, "Nobody listened in this trace.", "middle center", self.colours.soft)
            self.y = 40
            return
        self._summary()
        headings = {"the clients speak": self.y}
        height = max(min(_BLOCK / len(self.rows), _ROW), 0.75)
        self._block("what the clients believe", [row.at_client for row in self.rows], height)
        headings["accept() begins"] = self.y
        self._block("what the server has", [row.at_server for row in self.rows], height)
        counters = self.trace.counters_at(self.trace.end).get(self.server, {})
        dropped = counters.get("TcpExtListenOverflows", 0)
        cookies = counters.get("TcpExtSyncookiesSent", 0)
        accept, accept_holds, half_open, half_open_holds = self.lengths
        remark = f"ListenOverflows: {dropped}" if dropped else ""
        self._curve("accept queue", self.accept, accept, accept_holds, remark)
        remark = f"SyncookiesSent: {cookies}" if cookies else ""
        self._curve("SYN queue", self.half_open, half_open, half_open_holds, remark)
        self._hairlines(headings)
        self._time()
        self._legend()

    def _summary(self) -> None:
        connected, real, ghosts = counted(self.rows, self.trace.end - 1)
        ever = sum(row.was_ghost for row in self.rows)
        count = plural(ghosts, "ghost") if ghosts else "no ghost"
        before = f" (there were {ever})" if ever > ghosts else ""
        clients = f"<b>{connected}</b> clients believe to be connected"
        said = f"At the end {clients}, the server has <b>{real}</b>: "
        self.text.add(0, 10, f"{said}<b>{count}</b>{before}", "middle right", self.colours.ink)
        self.y = 26

    def _block(self, name: str, rows: list[tuple[View, ...]], height: float) -> None:
        top = self.y + _HEADING
        self.text.add(0, self.y + _HEADING / 2, f"<b>{name}</b>", "middle right", self.colours.soft)
        for block in blocks(rows):
            view = block.view
            x0, x1 = self.axis.x(view.began), self.axis.x(view.ended)
            y0 = top + block.first * height
            y1 = y0 + block.rows * height
            who = self.rows[block.first].client.port
            clients = f"client :{who}" if block.rows == 1 else f"{block.rows} clients, :{who} first"
            when = f"{duration(self._since(view.began))} to {duration(self._since(view.ended))}"
            about = f"<b>{view.what}</b><br>{clients}<br>from {when}"
            middle = [(x0 + (x1 - x0) * i / 12, (y0 + y1) / 2) for i in range(13)]
            self.kinds[view.what].add(rectangle(x0, y0, x1, y1), about)
            self.hover.add(middle, about)
            if height >= 5:
                for row in range(1, block.rows):
                    self.edges.add([(x0, y0 + row * height), (x1, y0 + row * height)])
            count = f" × {block.rows}" if block.rows > 1 else ""
            word = view.what + count
            if y1 - y0 >= _WORD_HEIGHT and self._width(x0, x1) >= len(word) * look.CHARACTER + 8:
                said = f"<b>✗ {word}</b>" if view.what in GHOSTS else word
                self.text.add((x0 + x1) / 2, (y0 + y1) / 2, said, "middle center", self.colours.ink)
        bottom = top + len(rows) * height
        if height >= _WORD_HEIGHT:
            for i, views_ in enumerate(self.rows):
                y = top + (i + 0.5) * height
                self.text.add(0, y, f":{views_.client.port} ", "middle left", self.colours.soft)
        else:
            self.text.add(0, (top + bottom) / 2, f"{len(rows)} clients ", "middle left", self.colours.soft)
        self.y = bottom + _GAP / 2

    def _since(self, t: int) -> int:
        return max(t - self.trace.start, 0)

    def _curve(self, name: str, line: Line, steps: list[tuple[int, int]], holds: int, remark: str) -> None:
        top = self.y + _HEADING
        bottom = top + _CURVE
        most = max(holds, *(n for _, n in steps), 1)

        def y(n: float) -> float:
            return bottom - n / most * (_CURVE - 6)

        end = max(self.trace.end, steps[-1][0])
        points = []
        for (t, n), (until, _) in pairwise([*steps, (end, 0)]):
            if until > t:
                points += [(self.axis.x(t), y(n)), (self.axis.x(until), y(n))]
        line.add([(points[0][0], bottom), *points, (points[-1][0], bottom)] if points else [])
        self.limits.add([(0, y(holds)), (self.axis.end, y(holds))], f"{name}: holds {holds}")
        said = f"<b>{name}</b>, at most {max(n for _, n in steps)} of {holds}"
        self.text.add(0, self.y + _HEADING / 2, said, "middle right", self.colours.soft)
        if remark:
            says, y_of_it = f"<b>{remark}</b>", self.y + _HEADING / 2
            self.text.add(self.axis.end, y_of_it, says, "middle left", self.colours.error)
        self.text.add(0, y(holds), f"holds {holds} ", "middle left", self.colours.ink)
        if y(holds) < bottom - _WORD_HEIGHT:
            self.text.add(0, bottom, "0 ", "middle left", self.colours.soft)
        self.y = bottom + _GAP / 2

    def _hairlines(self, headings: dict[str, float]) -> None:
        for says, t in self._events():
            x, top = self.axis.x(t), headings[says]
            self.hairlines.add([(x, top + _HEADING / 2), (x, self.y)], says)
            where = "middle left" if x > 0.6 * self.axis.end else "middle right"
            self.text.add(x, top + _HEADING / 2, f"<i>▾ {says}</i>", where, self.colours.cursor)

    def _time(self) -> None:
        """Ticks where something happened, as many as there is room for."""
        last = -float(_TICK)
        self.y += 6
        self.ticks.add([(0, self.y), (self.axis.end, self.y)])
        self.text.add(0, self.y, "<i>time, shortened</i> ", "middle left", self.colours.soft)
        for t in self.axis.instants:
            px = self._width(0, self.axis.x(t))
            if px - last < _TICK or (px > _NARROW - _TICK and t != self.trace.end):
                continue
            last = px
            x = self.axis.x(t)
            self.ticks.add([(x, self.y), (x, self.y + 5)])
            self.text.add(x, self.y + 16, duration(self._since(t)), "middle center", self.colours.soft)
        self.y += 26

    def _legend(self) -> None:
        """Every view in the picture, since some rectangles are too small for a text."""
        self.y += 6
        left, px = 0.0, self.axis.end / _NARROW
        for what, line in self.kinds.items():
            if not line.x:
                continue
            wide = _SWATCH + len(what) * look.CHARACTER + 22
            if left and left + wide > _NARROW:
                left, self.y = 0.0, self.y + 20
            x0, x1 = left * px, (left + _SWATCH) * px
            line.add(rectangle(x0, self.y, x1, self.y + 14))
            self.text.add(x1, self.y + 7, f" {what}", "middle right", self.colours.soft)
            left += wide
        self.y += 24

    # -- for plotly --------------------------------------------------------------------------

    def data(self) -> list[dict[str, Any]]:
        """Always the same traces in the same order."""
        colours = self.colours
        made = []
        for what, mark in MARKS.items():
            colour = colours.of(mark)
            area = filled(colour, 0.3 if mark.pattern else 0.75, mark.pattern, solidity=0.25, ground=0.12)
            line = {"color": colour, "width": 1.2, "dash": mark.dash}
            made.append(self.kinds[what].trace(what, line=line, **area))
        queue = filled(colours.probe, 0.2) | {"line": {"color": colours.probe, "width": 2}}
        made += [
            self.edges.trace("rows", line={"color": colours.paper, "width": 1}),
            self.accept.trace("accept queue", **queue),
            self.half_open.trace("SYN queue", **queue),
            self.limits.trace("limits", line={"color": colours.error, "width": 1.6, "dash": "dash"}),
            self.hairlines.trace("instants", line={"color": colours.cursor, "width": 1.4, "dash": "dot"}),
            self.ticks.trace("time", line={"color": colours.soft, "width": 1}),
            self.hover.trace("hover", line={"color": "rgba(0,0,0,0)", "width": 8}),
            self.text.trace("captions", colours),
        ]
        return made

    def layout(self, title: str | None) -> dict[str, Any]:
        """The height follows the number of rows, up to a block's limit."""
        return look.layout(self.colours, self.y, title, left=_NAMES, right=28) | {
            "uirevision": "queues",
            "dragmode": False,
            "xaxis": look.axis(range=[0, self.axis.end], fixedrange=True),
            "yaxis": look.axis(range=[self.y, 0], fixedrange=True),
        }
