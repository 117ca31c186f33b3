"""The two queues of a listener over time, and how many connections both ends have.

Above, how many clients are connected, as a line over the server's connections; what lies between the two is
crossed out: ghosts. Under them, how full accept queue and SYN queue were, with what they hold at most. Time
runs to the right and is shortened: a handshake and ten seconds are seen beside each other.

A client is established with the SYN-ACK, the server only when the last step of the handshake has found
room in the accept queue. Between the two lies the flight of an ACK, or a ghost.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from operator import attrgetter, itemgetter
from typing import NamedTuple

from tcplab.core.releases import known_release
from tcplab.core.segment import Endpoint
from tcplab.core.text import plural
from tcplab.core.trace import SocketSample, Trace
from tcplab.model.listener import accept_queue_holds, syn_queue_holds
from tcplab.model.rules import Sysctls
from tcplab.pictures.lanes import Span, Steps, counted, steps, together
from tcplab.pictures.panels import Fact, Limits, Panels, only_words, reach, side_by_side
from tcplab.pictures.tables import steps_table
from tcplab.pictures.theme import MarkStyle, Picture
from tcplab.pictures.timeline import SYNCHRONISED, joined

ACCEPTED, IN_QUEUE = "accepted", "waits for accept()"
GHOSTS = GHOST, HALF_GHOST = "ghost: nothing here", "ghost: half open"
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
_HALF_OPEN = "SYN_RECV"
#: A handshake may take longer than its flights, seconds.
_TRAVEL_S = 0.01
#: px of the connections, and of each queue.
_CONNECTIONS, _QUEUE = 170, 56
NO_LISTENER = "No program listens in this trace."

#: (seconds, state from then on) of one socket.
States = Sequence[tuple[float, str]]


class Queue(NamedTuple):
    """How full a queue was, seconds since the first segment; and the counter of what it turned away."""

    length: Steps
    holds: int
    counter: str

    @property
    def most(self) -> float:
        """How full it was at most."""
        return max(n for _, n in self.length)


class Listening(NamedTuple):
    """A listener and its clients over time, seconds since the first segment."""

    #: Connections by stage.
    connections: dict[str, Steps]
    #: Clients whose connect() has succeeded, and connections that the server has.
    connected: Steps
    has: Steps
    queues: dict[str, Queue]
    #: How many clients there were, and how many of them were a ghost at some time.
    clients: int
    ever: int
    #: Counters of the server's kernel at the end.
    counters: Mapping[str, int]
    end_s: float

    @property
    def ghosts(self) -> float:
        """How many there were at the end."""
        return sum(self.connections[kind][-1][1] for kind in GHOSTS)

    @property
    def totals(self) -> list[float]:
        """How many connections there were in all stages, at each instant."""
        return [sum(counts) for _, counts in together(self.connections)]


def listening(trace: Trace) -> Listening | None:
    """What this picture shows of a run; None without a listener or a client."""
    socket = next((sample for sample in trace.sockets if sample.state == "LISTEN"), None)
    if socket is None or not (pairs := connections(trace, socket)):
        return None
    end, clients, servers = trace.seconds(trace.end), [c for c, _ in pairs], [s for _, s in pairs]
    flight = next((trace.seconds(p.arrives) - trace.seconds(p.t) for p in trace.packets if p.arrives), 0)
    least = 2 * flight + _TRAVEL_S
    rows = [stages(*pair, end, least) for pair in pairs]
    known = (s for s in trace.sockets if (s.host, s.local, s.state) == (socket.host, socket.local, "LISTEN"))
    waiting = steps((max(trace.seconds(s.t), 0), s.recv_q) for s in known if s is socket or s.t < trace.end)
    has = _how_many(servers, SYNCHRONISED, end)
    both = [(t, n, min(n, queue)) for t, (n, queue) in together({"has": has, "queue": waiting})]
    curves = {
        ACCEPTED: steps((t, n - queue) for t, n, queue in both),
        IN_QUEUE: steps((t, queue) for t, _, queue in both),
    }
    for stage in (GHOST, HALF_GHOST, HANDSHAKE):
        spans = [span for row in rows for span in row if span.kind == stage]
        curves[stage] = counted((change for s in spans for change in ((s.from_s, 1), (s.to_s, -1))), end)
    backlog = socket.send_q
    half_open = syn_queue_holds(backlog, known_release(trace.linux), Sysctls().tcp_max_syn_backlog)
    return Listening(
        connections=curves,
        connected=_how_many(clients, SYNCHRONISED, end),
        has=has,
        queues={
            "accept queue": Queue(waiting, accept_queue_holds(backlog), "ListenOverflows"),
            "SYN queue": Queue(_how_many(servers, {_HALF_OPEN}, end), half_open, "SyncookiesSent"),
        },
        clients=len(pairs),
        ever=sum(any(span.kind in GHOSTS for span in row) for row in rows),
        counters=trace.counters_at(trace.end).get(socket.host, {}),
        end_s=end,
    )


def connections(trace: Trace, listener: SocketSample) -> list[tuple[States, States]]:
    """What every client of a listener was, and what the server had of it, in the order of connect()."""
    clients: dict[Endpoint, States] = {}
    servers: dict[Endpoint, States] = {}
    for (host, local, remote), samples in trace.socket_history():
        states = [(trace.seconds(sample.t), sample.state) for sample in samples]
        if host == listener.host and local.port == listener.local.port and remote.port:
            servers[remote] = states
        elif host != listener.host and remote.port == listener.local.port:
            clients[local] = states
    first = sorted(clients.items(), key=lambda client: client[1][0][0])
    return [(states, servers.get(client, ())) for client, states in first]


def stages(client: States, server: States, end_s: float, least_s: float) -> tuple[Span, ...]:
    """How far a connection was, both ends together, as spans of a stage of `MARKS`.

    Until the last step of the handshake can have arrived, for `least_s`, it is no ghost.
    """
    instants = [*sorted({t for t, _ in (*client, *server)}), end_s]
    both = ((a, b, _state_at(client, a), _state_at(server, a)) for a, b in pairwise(instants))
    spans = joined(Span(a, b, _stage(here, there)) for a, b, here, there in both)
    return joined(
        replace(span, kind=HANDSHAKE) if span.kind in GHOSTS and span.to_s - span.from_s <= least_s else span
        for span in spans
    )


def _stage(here: str, there: str) -> str:
    """By the states of the client and of the server; empty for no connection any more."""
    if there in SYNCHRONISED:
        return ACCEPTED
    if here in SYNCHRONISED:
        return HALF_GHOST if there == _HALF_OPEN else GHOST
    return HANDSHAKE if here == "SYN_SENT" or there == _HALF_OPEN else ""


def _state_at(states: States, t: float) -> str:
    i = bisect_right(states, t, key=itemgetter(0))
    return states[i - 1][1] if i else ""


def _how_many(sockets: Iterable[States], which: Collection[str], end_s: float) -> Steps:
    """How many sockets were in one of these states."""
    changes: list[tuple[float, int]] = []
    for states in sockets:
        ends = [*(t for t, _ in states[1:]), end_s]
        for (t, state), until in zip(states, ends, strict=False):
            changes += [(t, 1), (until, -1)] if state in which else []
    return counted(changes, end_s)


def _facts(run: Listening) -> list[Fact]:
    return [
        Fact("ghosts at the end: {}", f"{run.ghosts:.0f}"),
        Fact("{} connected clients", f"{run.connected[-1][1]:,.0f}"),
        Fact("{} connections at the server", f"{run.has[-1][1]:,.0f}"),
        Fact("an accept queue for {}", str(run.queues["accept queue"].holds)),
        Fact("ListenOverflows {}", str(run.counters.get("TcpExtListenOverflows", 0))),
    ]


def _ends(run: Listening) -> dict[str, float]:
    places = {f"places in the {name}": reach(queue.most, queue.holds) for name, queue in run.queues.items()}
    return {"s": run.end_s, "_log": 1, "connections": max(run.totals), **places}


def draw_queues(
    trace: Trace, *, kept: Sequence[Trace] = (), limits: Limits | None = None, dark: bool = False
) -> Picture:
    """Connections as both ends have them, and the listener's queues; a sentence where there is no listener.

    `kept`: up to three runs drawn in grey beside it, the newest last. `limits`: the ends of the axes as the
    picture before had them.
    """
    runs = side_by_side(trace, kept, listening)
    if not runs:
        return only_words(NO_LISTENER, limits, dark=dark, revision="queues")
    now, panels = runs[0][1], Panels(runs, _ends, _facts, limits, dark=dark)
    drawn: dict[str, MarkStyle | None] = {stage: MARKS[stage] for stage in _shown(now)}
    panels.legend(drawn | {"━ connected, as the clients see it": None})
    axis = panels.amounts(_CONNECTIONS, "connections", "clients", head=1.04, above=6)
    panels.stack(axis, "connections", MARKS, now.connections)
    line = {"color": panels.colours.ink, "width": 2.4}
    panels.curve("connected clients", axis, attrgetter("connected"), "connected clients", line=line)
    panels.beside("the server's", axis, attrgetter("has"))
    for name in now.queues:
        _draw_queue(name, now, panels)
    count = plural(int(now.ghosts), "ghost") if now.ghosts else "no ghost"
    before = f" (there were {now.ever})" if now.ever > now.ghosts else ""
    sentence = (
        f"At the end {now.connected[-1][1]:,.0f} of {plural(now.clients, 'client')} have a connection, "
        f"the server has {now.has[-1][1]:,.0f}: {count}{before}."
    )
    about = "time since the first segment, shortened"
    table = steps_table("connections by stage, from each moment on", _shown(now))
    return panels.picture(revision="queues", about=about, sentence=sentence, table=table)


def _draw_queue(name: str, now: Listening, panels: Panels[Listening]) -> None:
    """How full a queue was, what it holds, and what it turned away."""
    queue, unit, error = now.queues[name], f"places in the {name}", panels.colours.error
    heading = f"<b>{name}</b>, at most {queue.most:.0f} of {queue.holds}"
    axis = panels.amounts(_QUEUE, unit, "places", heading, ceiling=lambda run: run.queues[name].holds)
    if count := now.counters.get(f"TcpExt{queue.counter}", 0):
        text = f"<b>{queue.counter}: {count:,}</b>"
        panels.text(axis, panels.end, 1.08 * panels.limits[unit], text, "top left", error)
    fill = panels.fill(MarkStyle("probe")) | {"fill": "tozeroy"}
    panels.curve(name, axis, lambda run: run.queues[name].length, "connections", **fill)


def _shown(run: Listening) -> dict[str, Steps]:
    """The stages in which a connection ever was."""
    return {stage: curve for stage, curve in run.connections.items() if any(n for _, n in curve)}
