"""What each client believes of its connection, and what the server has: read from a trace.

A client is established with the SYN-ACK; the server only when the last step of the handshake has
found room. What lies between is a moment, or a ghost.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from tcplab.model.queues import accept_queue_holds, syn_queue_holds
from tcplab.model.sysctls import Sysctls
from tcplab.releases import NEWEST, UnknownRelease, release
from tcplab.segment import Endpoint
from tcplab.trace import MILLISECOND, SocketSample, Trace

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
    flight = next((p.arrives - p.t for p in trace.passages if p.arrives is not None), 0)
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
