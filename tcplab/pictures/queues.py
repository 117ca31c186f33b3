"""The two queues of a listener over time, and every connection on both sides: whose belief is true?

Above, a row for each client with what it believes; below it, the same rows with what the server has.
A ghost is a row that is connected above and crossed out below. Under them, how full accept queue and
SYN queue were, with what they hold at most. Time runs to the right, long waits are shortened.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from tcplab.core.releases import NEWEST, UnknownRelease, release
from tcplab.core.segment import Endpoint
from tcplab.core.text import MILLISECOND, duration
from tcplab.core.trace import SocketSample, Trace
from tcplab.model.listener import accept_queue_holds, syn_queue_holds
from tcplab.model.rules import Sysctls
from tcplab.pictures import theme as look
from tcplab.pictures.theme import Line, Picture, Text

# ----------------------------------------------------------------------
# What each client believes of its connection, and what the server has: read from a trace.
#
# A client is established with the SYN-ACK; the server only when the last step of the handshake has
# found room. What lies between is a moment, or a ghost.

#: What a client believes …
CONNECTING, CONNECTED = "connect() waits", "connected"
#: … and what the server has; a ghost is nothing, or half a connection.
HALF_OPEN, IN_QUEUE, ACCEPTED = "half open", "waits for accept()", "accepted"
GHOST, HALF_GHOST = "ghost: nothing here", "ghost: half open"
GHOSTS = (GHOST, HALF_GHOST)

#: States in which a connection exists for whoever holds it.
_ALIVE = ("ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2", "CLOSE_WAIT", "CLOSING", "LAST_ACK")


@dataclass(frozen=True, slots=True)
class Stretch:
    """What was so from one moment to another, nanoseconds."""

    what: str
    began: int
    ended: int


@dataclass(frozen=True, slots=True)
class Life:
    """One client's connection on both sides."""

    client: Endpoint
    believes: tuple[Stretch, ...]
    has: tuple[Stretch, ...]

    @property
    def ghost_at_last(self) -> bool:
        """True when it ends as a ghost."""
        return bool(self.has) and self.has[-1].what in GHOSTS

    @property
    def was_ghost(self) -> bool:
        """True when it was one for a while, or to the end."""
        return any(stretch.what in GHOSTS for stretch in self.has)


@dataclass(frozen=True, slots=True)
class Queues:
    """The listener's two queues over time, (moment, how many) each, and what they hold at most."""

    accept: list[tuple[int, int]]
    accept_holds: int
    half_open: list[tuple[int, int]]
    half_open_holds: int


def listener_of(trace: Trace) -> SocketSample | None:
    """The first sample of the listening socket; None where nobody listened, or nobody looked."""
    return next((sample for sample in trace.sockets if sample.state == "LISTEN"), None)


def lives(trace: Trace) -> list[Life]:
    """Every client of the listener, in the order in which they began."""
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
        _life(trace, client, steps, has.get(client, []), accepted.get(client))
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


def _life(
    trace: Trace, client: Endpoint, mine: list[tuple[int, str]], theirs: list[tuple[int, str]],
    accepted: int | None,
) -> Life:  # fmt: skip
    moments = sorted({t for t, _ in mine} | {t for t, _ in theirs} | ({accepted} if accepted else set()))
    believes, has = [], []
    for began, ended in zip(moments, [*moments[1:], trace.end], strict=True):
        here, there = _state_at(mine, began), _state_at(theirs, began)
        is_taken = accepted is not None and began >= accepted
        believes.append(Stretch(_belief(here), began, ended))
        has.append(Stretch(_truth(here, there, is_taken), began, ended))
    return Life(client, _joined(believes), _joined(_without_moments(has, _a_moment(trace))))


def _belief(state: str) -> str:
    return CONNECTING if state == "SYN_SENT" else CONNECTED if state in _ALIVE else ""


def _truth(here: str, there: str, is_taken: bool) -> str:
    if there in _ALIVE:
        return ACCEPTED if is_taken else IN_QUEUE
    if here in _ALIVE:
        return HALF_GHOST if there == "SYN_RECV" else GHOST
    return HALF_OPEN if there == "SYN_RECV" else ""


def _a_moment(trace: Trace) -> int:
    """The last step of a handshake is on its way for so long: until then nobody is a ghost."""
    flight = next((p.arrives - p.t for p in trace.packets if p.arrives is not None), 0)
    return 2 * flight + 10 * MILLISECOND


def _without_moments(stretches: Iterable[Stretch], a_moment: int) -> list[Stretch]:
    return [
        Stretch(HALF_OPEN if each.what == HALF_GHOST else "", each.began, each.ended)
        if each.what in GHOSTS and each.ended - each.began <= a_moment
        else each
        for each in _joined(stretches)
    ]


def _joined(stretches: Iterable[Stretch]) -> tuple[Stretch, ...]:
    """Neighbours of one kind as one; what is nothing, or took no time, is left out."""
    found: list[Stretch] = []
    for each in stretches:
        if each.ended <= each.began:
            continue
        if found and found[-1].what == each.what and found[-1].ended == each.began:
            found[-1] = Stretch(each.what, found[-1].began, each.ended)
        else:
            found.append(each)
    return tuple(each for each in found if each.what)


def _state_at(steps: list[tuple[int, str]], t: int) -> str:
    i = bisect_right(steps, t, key=lambda step: step[0])
    return steps[i - 1][1] if i else ""


def counted(rows: Iterable[Life], t: int) -> tuple[int, int, int]:
    """At a moment: who believes to be connected, whom the server has, and how many are ghosts."""

    def now(stretches: tuple[Stretch, ...]) -> str:
        return next((each.what for each in stretches if each.began <= t < each.ended), "")

    pairs = [(now(life.believes), now(life.has)) for life in rows]
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
    try:
        rules = release(trace.linux or NEWEST)
    except UnknownRelease:
        rules = release(NEWEST)
    backlog = listening.send_q
    accept = [
        (sample.t, sample.recv_q)
        for sample in trace.sockets
        if sample.host == listening.host and sample.state == "LISTEN"
    ]
    requests: set[Endpoint] = set()
    half_open = [(listening.t, 0)]
    for sample in trace.sockets:
        if sample.host == listening.host and sample.local.port == listening.local.port:
            before = len(requests)
            (requests.add if sample.state == "SYN_RECV" else requests.discard)(sample.remote)
            if len(requests) != before:
                half_open.append((sample.t, len(requests)))
    holds = syn_queue_holds(backlog, rules, Sysctls().tcp_max_syn_backlog)
    return Queues(accept, accept_queue_holds(backlog), half_open, holds)


__all__ = ["draw_queues", "queues"]

#: Phase in the theme (empty: the colour of errors) and fill pattern of everything that a row can show.
KINDS: dict[str, tuple[str, str]] = {
    CONNECTING: ("opening", "/"),
    CONNECTED: ("open", ""),
    HALF_OPEN: ("opening", "/"),
    IN_QUEUE: ("closing first", "."),
    ACCEPTED: ("open", ""),
    GHOST: ("", "x"),
    HALF_GHOST: ("", "\\"),
}
#: px: a row, all rows of a block together, the curve of a queue, and the gaps between them.
_ROW, _BLOCK, _CURVE, _GAP, _HEADING = 20, 240, 64, 22, 20
#: A time that is no more than this apart is drawn as one, and what is so long counts as one step.
_SAME, _STEP = 15 * MILLISECOND, 10 * MILLISECOND
#: How wide the plot is taken to be when its words are kept apart, px; and the margin for names.
_NARROW, _NAMES = 560, 132
#: Words need so much room, px.
_WORD_HEIGHT, _TICK, _SWATCH = 15, 66, 24


def queues(trace: Trace, *, title: str | None = None, dark: bool = False) -> go.Figure:
    """Both sides of every connection, and the listener's queues; a word where nobody listened."""
    return draw_queues(trace, title=title, dark=dark).figure()


def draw_queues(trace: Trace, *, title: str | None = None, dark: bool = False) -> Picture:
    """What `queues` shows, as plain data."""
    drawing = _Drawing(trace, look.theme(dark))
    drawing.draw()
    return Picture(drawing.data(), drawing.layout(title))


class Shortened:
    """Moments to x: the logarithm of how long nothing changed, so that a burst stays visible."""

    def __init__(self, moments: Iterable[int]) -> None:
        self.moments = sorted(set(moments)) or [0]
        self.at = [0.0]
        for a, b in pairwise(self.moments):
            self.at.append(self.at[-1] + math.log2(1 + (b - a) / _STEP))
        self.end = max(self.at[-1], 1.0)

    def x(self, t: int) -> float:
        """x of a moment between the first and the last one named."""
        i = min(max(bisect_right(self.moments, t) - 1, 0), len(self.moments) - 1)
        if i + 1 == len(self.moments):
            return self.at[i]
        return self.at[i] + math.log2(1 + (t - self.moments[i]) / _STEP) * (
            self.at[i + 1] - self.at[i]
        ) / math.log2(1 + (self.moments[i + 1] - self.moments[i]) / _STEP)


@dataclass(slots=True)
class _Block:
    """Neighbouring rows that show the same over the same time: one rectangle."""

    first: int
    rows: int
    stretch: Stretch


def blocks(rows: list[tuple[Stretch, ...]]) -> Iterator[_Block]:
    """Rectangles instead of rows; moments that nobody can tell apart count as one."""
    open_: list[_Block] = []
    for i, stretches in enumerate(rows):
        going_on = []
        for stretch in stretches:
            for block in open_:
                if _alike(block.stretch, stretch):
                    open_.remove(block)
                    block.rows += 1
                    going_on.append(block)
                    break
            else:
                going_on.append(_Block(i, 1, stretch))
        yield from open_
        open_ = going_on
    yield from open_


def _alike(a: Stretch, b: Stretch) -> bool:
    return a.what == b.what and abs(a.began - b.began) <= _SAME and abs(a.ended - b.ended) <= _SAME


class _Drawing:
    """One picture on its way: y counts px downwards."""

    def __init__(self, trace: Trace, colours: look.Theme) -> None:
        self.trace, self.colours = trace, colours
        self.rows = lives(trace)
        self.lengths = queue_lengths(trace)
        self.server = next((s.host for s in trace.sockets if s.state == "LISTEN"), "")
        self.axis = Shortened(self._moments())
        self.kinds = {what: Line() for what in KINDS}
        self.accept, self.half_open = Line(), Line()
        self.limits, self.edges, self.hairlines, self.ticks = Line(), Line(), Line(), Line()
        #: What answers the mouse: the fill of a rectangle doesn't.
        self.hover = Line()
        self.text = Text()
        self.y = 0.0

    def _moments(self) -> Iterator[int]:
        yield self.trace.start
        yield self.trace.end
        for life in self.rows:
            for stretch in (*life.believes, *life.has):
                yield from (stretch.began, stretch.ended)
        yield from (t for _, t in self._events())

    def _events(self) -> list[tuple[str, int]]:
        """What the programs began to do, for the hairlines: the clients, then the server."""
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
        self._block("what the clients believe", [life.believes for life in self.rows], height)
        headings["accept() begins"] = self.y
        self._block("what the server has", [life.has for life in self.rows], height)
        counters = self.trace.counters_at(self.trace.end).get(self.server, {})
        dropped = counters.get("TcpExtListenOverflows", 0)
        self._curve(
            "accept queue", self.accept, self.lengths.accept, self.lengths.accept_holds,
            f"ListenOverflows: {dropped}" if dropped else "",
        )  # fmt: skip
        cookies = counters.get("TcpExtSyncookiesSent", 0)
        self._curve(
            "SYN queue", self.half_open, self.lengths.half_open, self.lengths.half_open_holds,
            f"SyncookiesSent: {cookies}" if cookies else "",
        )  # fmt: skip
        self._hairlines(headings)
        self._time()
        self._legend()

    def _summary(self) -> None:
        believe, real, ghosts = counted(self.rows, self.trace.end - 1)
        ever = sum(life.was_ghost for life in self.rows)
        crossed = "no ghost" if not ghosts else "1 ghost" if ghosts == 1 else f"{ghosts} ghosts"
        before = f" (there were {ever})" if ever > ghosts else ""
        said = f"At the end <b>{believe}</b> clients believe to be connected, the server has <b>{real}</b>: "
        self.text.add(0, 10, f"{said}<b>{crossed}</b>{before}", "middle right", self.colours.ink)
        self.y = 26

    def _block(self, name: str, rows: list[tuple[Stretch, ...]], height: float) -> None:
        top = self.y + _HEADING
        self.text.add(0, self.y + _HEADING / 2, f"<b>{name}</b>", "middle right", self.colours.soft)
        for block in blocks(rows):
            stretch = block.stretch
            x0, x1 = self.axis.x(stretch.began), self.axis.x(stretch.ended)
            y0 = top + block.first * height
            y1 = y0 + block.rows * height
            who = self.rows[block.first].client.port
            clients = f"client :{who}" if block.rows == 1 else f"{block.rows} clients, :{who} first"
            when = f"{duration(self._since(stretch.began))} to {duration(self._since(stretch.ended))}"
            about = f"<b>{stretch.what}</b><br>{clients}<br>from {when}"
            middle = [(x0 + (x1 - x0) * i / 12, (y0 + y1) / 2) for i in range(13)]
            self.kinds[stretch.what].add([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], about)
            self.hover.add(middle, about)
            if height >= 5:
                for row in range(1, block.rows):
                    self.edges.add([(x0, y0 + row * height), (x1, y0 + row * height)])
            count = f" × {block.rows}" if block.rows > 1 else ""
            word = stretch.what + count
            if y1 - y0 >= _WORD_HEIGHT and self._width(x0, x1) >= len(word) * look.CHARACTER + 8:
                said = f"<b>✗ {word}</b>" if not KINDS[stretch.what][0] else word
                self.text.add((x0 + x1) / 2, (y0 + y1) / 2, said, "middle center", self.colours.ink)
        bottom = top + len(rows) * height
        if height >= _WORD_HEIGHT:
            for i, life in enumerate(self.rows):
                y = top + (i + 0.5) * height
                self.text.add(0, y, f":{life.client.port} ", "middle left", self.colours.soft)
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
            self.text.add(
                self.axis.end, self.y + _HEADING / 2, f"<b>{remark}</b>", "middle left", self.colours.error
            )
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
        """Ticks where something happened, as many as have room."""
        last = -float(_TICK)
        self.y += 6
        self.ticks.add([(0, self.y), (self.axis.end, self.y)])
        self.text.add(0, self.y, "<i>time, shortened</i> ", "middle left", self.colours.soft)
        for t in self.axis.moments:
            px = self._width(0, self.axis.x(t))
            if px - last < _TICK or (px > _NARROW - _TICK and t != self.trace.end):
                continue
            last = px
            x = self.axis.x(t)
            self.ticks.add([(x, self.y), (x, self.y + 5)])
            self.text.add(x, self.y + 16, duration(self._since(t)), "middle center", self.colours.soft)
        self.y += 26

    def _legend(self) -> None:
        """Every kind that stands in the picture, since some rectangles are too small to name."""
        self.y += 6
        left, px = 0.0, self.axis.end / _NARROW
        for what, line in self.kinds.items():
            if not line.x:
                continue
            wide = _SWATCH + len(what) * look.CHARACTER + 22
            if left and left + wide > _NARROW:
                left, self.y = 0.0, self.y + 20
            x0, x1, y1 = left * px, (left + _SWATCH) * px, self.y + 14
            line.add([(x0, self.y), (x1, self.y), (x1, y1), (x0, y1), (x0, self.y)])
            self.text.add(x1, self.y + 7, f" {what}", "middle right", self.colours.soft)
            left += wide
        self.y += 24

    # -- for plotly --------------------------------------------------------------------------

    def data(self) -> list[dict[str, Any]]:
        """Always the same traces in the same order."""
        colours = self.colours
        made = []
        for what, (phase, pattern) in KINDS.items():
            colour = colours.states[phase] if phase else colours.error
            made.append(
                self.kinds[what].trace(
                    what,
                    fill="toself",
                    fillcolor=_tint(colour, 0.3 if pattern else 0.75),
                    fillpattern={
                        "shape": pattern, "fgcolor": colour, "bgcolor": _tint(colour, 0.12), "size": 8,
                        "solidity": 0.25,
                    },
                    line={"color": colour, "width": 1.2, "dash": "solid" if phase else "dash"},
                )
            )  # fmt: skip
        filled = {"fill": "toself", "line": {"color": colours.probe, "width": 2}}
        made += [
            self.edges.trace("rows", line={"color": colours.paper, "width": 1}),
            self.accept.trace("accept queue", fillcolor=_tint(colours.probe, 0.2), **filled),
            self.half_open.trace("SYN queue", fillcolor=_tint(colours.probe, 0.2), **filled),
            self.limits.trace("limits", line={"color": colours.error, "width": 1.6, "dash": "dash"}),
            self.hairlines.trace("moments", line={"color": colours.cursor, "width": 1.4, "dash": "dot"}),
            self.ticks.trace("time", line={"color": colours.soft, "width": 1}),
            self.hover.trace("hover", line={"color": "rgba(0,0,0,0)", "width": 8}),
            self.text.trace("captions", colours),
        ]
        return made

    def layout(self, title: str | None) -> dict[str, Any]:
        """The height follows the number of rows, up to a block's limit."""
        margin = {"l": _NAMES, "r": 28, "t": 36 if title else 12, "b": 8}
        height = self.y + margin["t"] + margin["b"]
        return look.layout(self.colours, height=height, margin=margin, title=title) | {
            "uirevision": "queues",
            "dragmode": False,
            "xaxis": look.axis(range=[0, self.axis.end], fixedrange=True),
            "yaxis": look.axis(range=[self.y, 0], fixedrange=True),
        }


def _tint(colour: str, alpha: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"
