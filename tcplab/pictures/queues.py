"""The two queues of a listener over time, and how many connections both ends have.

Above, how many clients are connected, as a line over the server's connections; what lies between the two is
crossed out: ghosts. Under them, how full accept queue and SYN queue were, with what they hold at most. Time
runs to the right and is shortened: a handshake and ten seconds are seen beside each other.

A client is established with the SYN-ACK, the server only when the last step of the handshake has found
room in the accept queue. Between the two lies the flight of an ACK, or a ghost.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from tcplab.core.releases import known_release
from tcplab.core.segment import Endpoint
from tcplab.core.table import html_table
from tcplab.core.text import MILLISECOND, SECOND, duration, plural
from tcplab.core.trace import SocketSample, Trace
from tcplab.model.listener import accept_queue_holds, syn_queue_holds
from tcplab.model.rules import Sysctls
from tcplab.pictures import theme as look
from tcplab.pictures.panels import Fact, Limits, Panels, grown
from tcplab.pictures.theme import Line, MarkStyle, Picture
from tcplab.pictures.timeline_look import axis_end

#: A client's views of its connection …
CONNECTING, CONNECTED = "connect() waits", "connected"
#: … and the server's; a ghost is no connection, or half of one.
HALF_OPEN, IN_QUEUE, ACCEPTED = "half open", "waits for accept()", "accepted"
GHOST, HALF_GHOST = "ghost: nothing here", "ghost: half open"
GHOSTS = (GHOST, HALF_GHOST)
#: Between the first SYN and the moment at which the server should have the connection.
HANDSHAKE = "handshake under way"
#: The stages of a connection from the bottom up, and how they are drawn; ghosts have the colour of errors.
MARKS: dict[str, MarkStyle] = {
    ACCEPTED: MarkStyle("open"),
    IN_QUEUE: MarkStyle("closing first", "."),
    GHOST: MarkStyle("error", "x"),
    HALF_GHOST: MarkStyle("error", "\\"),
    HANDSHAKE: MarkStyle("opening", "/"),
}
#: px of the connections, of each queue, and of a line of text.
_CONNECTIONS, _QUEUE, _LINE = 170, 56, 20
#: The table has at most so many rows.
_MOST_ROWS = 40
NO_LISTENER = "No program listens in this trace."

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


def stages(row: Views) -> Iterator[View]:
    """How far one client's connection was, both ends together: a stage of `MARKS` from when to when."""
    instants = sorted({t for view in (*row.at_client, *row.at_server) for t in (view.began, view.ended)})
    for began, ended in pairwise(instants):
        here, there = (_at(views, began) for views in (row.at_client, row.at_server))
        if there in MARKS or here:
            yield View(there if there in MARKS else HANDSHAKE, began, ended)


def _at(views: Iterable[View], t: int) -> str:
    return next((view.what for view in views if view.began <= t < view.ended), "")


#: (nanosecond, how many from then on).
Counts = list[tuple[int, int]]


def counted(views: Iterable[View], kinds: Iterable[str]) -> dict[str, Counts]:
    """How many there were of each kind over time: all curves have the same instants."""
    changes: dict[int, Counter[str]] = defaultdict(Counter)
    for view in views:
        changes[view.began][view.what] += 1
        changes[view.ended][view.what] -= 1
    curves: dict[str, Counts] = {kind: [] for kind in kinds}
    for t in sorted(changes):
        for kind, curve in curves.items():
            curve.append((t, (curve[-1][1] if curve else 0) + changes[t][kind]))
    return curves


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


class Listening(NamedTuple):
    """A run as this picture shows it; times are nanoseconds since its first segment."""

    #: Connections by stage, and clients whose connect() has succeeded.
    connections: dict[str, Counts]
    connected: Counts
    queues: Queues
    #: How many were a ghost at some time.
    ever: int
    #: Counters of the server's kernel at the end.
    counters: dict[str, int]
    #: When the clients began to send, and the server to accept.
    events: list[tuple[str, int]]
    end: int

    def at_end(self, *stages: str) -> int:
        """How many connections were in these stages when the run ended."""
        return sum(self.connections[stage][-1][1] for stage in stages)


def listening(trace: Trace) -> Listening | None:
    """What this picture shows of a run; None without a listener."""
    lengths, rows, start = queue_lengths(trace), views(trace), trace.start
    if lengths is None or not rows:
        return None

    def since(curve: Counts) -> Counts:
        """Since the first segment, without the end of the run, at which all is over."""
        return [*{max(t - start, 0): n for t, n in curve if t < max(trace.end, start + 1)}.items()]

    server = next(sample.host for sample in trace.sockets if sample.state == "LISTEN")
    stages_ = counted((view for row in rows for view in stages(row)), MARKS)
    clients = counted((view for row in rows for view in row.at_client), [CONNECTED])
    return Listening(
        connections={stage: since(curve) for stage, curve in stages_.items()},
        connected=since(clients[CONNECTED]),
        queues=lengths._replace(accept=since(lengths.accept), half_open=since(lengths.half_open)),
        ever=sum(row.was_ghost for row in rows),
        counters=trace.counters_at(trace.end).get(server, {}),
        events=_events(trace, server),
        end=trace.end - start,
    )


def _events(trace: Trace, server: str) -> list[tuple[str, int]]:
    begins: dict[str, int] = {}
    for call in trace.calls:
        at_server = call.host == server
        if call.call.startswith("accept" if at_server else "send"):
            begins.setdefault("accept() begins" if at_server else "the clients speak", call.t - trace.start)
    return sorted(begins.items(), key=lambda event: event[1])


def _facts(run: Listening | None) -> list[Fact]:
    if run is None:
        return []
    return [
        Fact("ghosts at the end: {}", str(run.at_end(*GHOSTS))),
        Fact("{} connected clients", f"{run.connected[-1][1]:,}"),
        Fact("{} connections at the server", f"{run.at_end(ACCEPTED, IN_QUEUE):,}"),
        Fact("an accept queue for {}", str(run.queues.accept_holds)),
        Fact("ListenOverflows {}", str(run.counters.get("TcpExtListenOverflows", 0))),
    ]


def draw_queues(
    trace: Trace, *, kept: Sequence[Trace] = (), limits: Limits | None = None, dark: bool = False
) -> Picture:
    """Connections as both ends have them, and the listener's queues; a sentence where there is no listener.

    `kept`: up to three runs drawn in grey beside it, the newest last. `limits`: the ends of the axes as the
    picture before had them.
    """
    colours, now = look.theme(dark), listening(trace)
    pairs = [(each, other) for each in kept if (other := listening(each))] if now else []
    beside = [other for _, other in reversed(pairs)]
    every = [now, *beside] if now else []
    limits = grown(
        limits,
        s=axis_end(max((run.end for run in every), default=SECOND) / SECOND),
        connections=max((n for run in every for n in _totals(run)), default=1),
        **{
            f"places in the {name}": max((_reach(run, name) for run in every), default=1) for name in _QUEUES
        },
    )  # fmt: skip
    panels = Panels(colours, limits, log=True)
    if now is None:
        panels.panel(_LINE * 2, NO_LISTENER, range=[0, 1], tickvals=[])
        return panels.picture([], revision="queues", about="", left=132, sentence=NO_LISTENER)
    panels.keep(trace, [each for each, _ in pairs], lambda each: _facts(listening(each)))
    data: list[dict[str, Any]] = []
    stages_, end = now.connections, now.end / SECOND
    drawn: dict[str, MarkStyle | None] = {
        stage: MARKS[stage] for stage, curve in stages_.items() if any(n for _, n in curve)
    }
    data += panels.legend(drawn | {"━ connected, as the clients see it": None})
    moments = panels.panel(
        _LINE * len(now.events) or 1, above=0, range=[len(now.events) or 1, 0], showgrid=False, tickvals=[]
    )
    top = limits["connections"]
    axis = panels.panel(
        _CONNECTIONS, "", above=4, range=[0, 1.04 * top], tickvals=[0, top],
        ticktext=["0", plural(round(top), "client")],
    )  # fmt: skip
    seconds = {stage: _seconds(curve) for stage, curve in stages_.items()}
    data += panels.stack(seconds, MARKS, end, axis, "connections")
    line = {"color": colours.ink, "width": 2.4}
    connected = _seconds(now.connected)
    data.append(panels.steps("connected clients", connected, end, axis, "connected clients", line=line))
    for n, run in enumerate(beside):
        both = zip(run.connections[ACCEPTED], run.connections[IN_QUEUE], strict=True)
        has = [(t, some + others) for (t, some), (_, others) in both]
        for name, curve in (("connected clients", run.connected), ("the server's", has)):
            data.append(panels.kept(n, name, _seconds(curve), run.end / SECOND, axis))
    hairlines = Line()
    for row, (says, t) in enumerate(now.events):
        x = panels.x(t / SECOND)
        hairlines.add([(x, 0), (x, 1.04 * top)], says)
        where, text = "middle right", f"▾ {says}"
        if x > 0.6 * panels.end:
            where, text = "middle left", f"{says} ▾"
        panels.text(moments, x, row + 0.5, f"<i>{text}</i>", where, colours.cursor)
    dots = {"color": colours.cursor, "width": 1.4, "dash": "dot"}
    data.append(hairlines.trace("instants", line=dots, yaxis=axis))
    for name in _QUEUES:
        data += _queue(name, now, beside, panels)
    ghosts, clients, every_one = now.at_end(*GHOSTS), now.connected[-1][1], max(_totals(now))
    count = plural(ghosts, "ghost") if ghosts else "no ghost"
    before = f" (there were {now.ever})" if now.ever > ghosts else ""
    sentence = (
        f"At the end {clients:,} of {plural(every_one, 'client')} have a connection, the server has "
        f"{now.at_end(ACCEPTED, IN_QUEUE):,}: {count}{before}."
    )
    return panels.picture(
        data, revision="queues", about="time since the first segment, shortened", left=132,
        sentence=sentence, table=_table(now),
    )  # fmt: skip


#: The queues by name: their fields in `Queues`, and the counter of what they turned away.
_QUEUES = {
    "accept queue": ("accept", "accept_holds", "ListenOverflows"),
    "SYN queue": ("half_open", "half_open_holds", "SyncookiesSent"),
}


def _queue(name: str, now: Listening, beside: list[Listening], panels: Panels) -> list[dict[str, Any]]:
    """One queue: how full it was, and what it holds."""
    lengths, holds, counter = _QUEUES[name]
    curve, most, colours = getattr(now.queues, lengths), getattr(now.queues, holds), panels.colours
    top = 1.08 * panels.limits[f"places in the {name}"]
    heading = f"<b>{name}</b>, at most {max(n for _, n in curve)} of {most}"
    axis = panels.panel(_QUEUE, heading, range=[0, top], tickvals=[most], ticktext=[f"holds {most}"])
    if count := now.counters.get(f"TcpExt{counter}", 0):
        panels.text(axis, panels.end, top, f"<b>{counter}: {count:,}</b>", "top left", colours.error)
    ceiling = Line()
    ceiling.add([(0, most), (panels.end, most)], f"{name}: holds {most}")
    dashed, end = {"color": colours.error, "width": 1.6, "dash": "dash"}, now.end / SECOND
    fill = panels.fill(MarkStyle("probe")) | {"fill": "tozeroy"}
    made = [
        panels.steps(name, _seconds(curve), end, axis, "connections", **fill),
        ceiling.trace(f"limit: {name}", line=dashed, yaxis=axis),
    ]
    for n, run in enumerate(beside):
        kept = _seconds(getattr(run.queues, lengths))
        made.append(panels.kept(n, name, kept, run.end / SECOND, axis))
    return made


def _reach(run: Listening, name: str) -> int:
    lengths, holds, _ = _QUEUES[name]
    return max(getattr(run.queues, holds), *(n for _, n in getattr(run.queues, lengths)))


def _totals(run: Listening) -> list[int]:
    """How many connections there were in all stages, at each instant."""
    return [sum(n for _, n in at) for at in zip(*run.connections.values(), strict=True)]


def _seconds(curve: Counts) -> list[tuple[float, float]]:
    return [(t / SECOND, n) for t, n in curve]


def _table(run: Listening) -> str:
    """How many connections were in which stage, row by row."""
    stages_ = [stage for stage, curve in run.connections.items() if any(n for _, n in curve)]
    steps = list(zip(*(run.connections[stage] for stage in stages_), strict=True))
    size = -(-len(steps) // _MOST_ROWS) or 1
    rows = [(duration(step[0][0]), *(f"{n:,}" for _, n in step)) for step in steps[::size]]
    caption = "connections by stage, from each moment on"
    return html_table(("from", *stages_), rows, caption=caption, row_headings=True, numeric=range(1, 9))
