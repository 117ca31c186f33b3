"""A receiver that did not read, replayed: the sender waits behind a closed window, and probes it.

Of the session only its longest stall is played: a sender with more data than fits, a receiver that reads
nothing for as long as the window was closed. Whether that is what the capture shows is judged by the window
probes, since their times are the sender's timer (net/ipv4/tcp_timer.c:tcp_probe_timer).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tcplab.bench.script import Bench, Connection
from tcplab.core.segment import ACK, RST, SYN
from tcplab.core.text import SECOND
from tcplab.core.trace import Trace
from tcplab.follow import CLIENT, OTHER, PATIENCE, SERVER, WINDOW_PROBE
from tcplab.what_if.inference import ROUND, rounded
from tcplab.what_if.script import PORT, SessionReplay, SocketSettings
from tcplab.what_if.workload import Workload

#: The receiver's buffer, and what the sender has for it: more than fits there and in its own buffer at first.
RECEIVE_BUFFER, BYTES = 65536, 400_000
#: Round trips until the window is closed, and what may pass after the last probe, seconds.
FILLED_AFTER, REST_S = 4, 30


@dataclass(frozen=True)
class Stall:
    """The longest time in which one side's window was closed."""

    #: Who did not read, and who waited.
    reader: str
    sender: str
    #: When the window closed, nanoseconds of the trace's clock, and for how long.
    closed: int
    lasted: int
    #: The window opened again, and the sender still had its socket.
    reopened: bool
    #: When the sender gave up, or its RST showed that it had; None: it did not.
    gave_up: int | None
    #: When it probed, nanoseconds after the window closed.
    probes: tuple[int, ...]
    #: Where it gave up without a word: when it had not yet. `gave_up` is the latest moment then.
    alive: int | None = None
    #: The reader read again in the end, whether the sender was still there or not.
    read_again: bool = False


def stall_of(work: Workload) -> Stall | None:
    """What stood still because its receiver did not read; None where something else decided."""
    for side in OTHER:
        if work.unanswered is None and work.followed.stalled(side)[0] >= PATIENCE:
            return longest(work.followed.trace, side)
    return None


def longest(trace: Trace, reader: str) -> Stall | None:
    """The longest stall by one side that does not read; None where its window was always open."""
    stalls: list[Stall] = []
    sender, since = OTHER[reader], None
    probes: list[int] = []
    for i, p in enumerate(trace.packets):
        segment = p.segment
        says = p.sender == reader and segment.flags & (SYN | RST | ACK) == ACK
        if says and not segment.window and since is None:
            since, probes = p.t, []
        elif since is not None and ((says and segment.window) or segment.flags & RST):
            stalls.append(_ended(trace, i, reader, since, tuple(probes)))
            since = None
        elif since is not None and p.sender == sender and p.kind == WINDOW_PROBE:
            probes.append(p.t - since)
    if since is not None:
        end = max(trace.end, trace.packets[-1].t)
        gave_up = _closed(trace, sender, since, end)
        lasted = (end if gave_up is None else gave_up) - since
        stalls.append(Stall(reader, sender, since, lasted, False, gave_up, tuple(probes)))
    return max(stalls, key=lambda each: each.lasted, default=None)


def _ended(trace: Trace, i: int, reader: str, since: int, probes: tuple[int, ...]) -> Stall:
    """A stall that this packet ended: a window that opened, or a RST."""
    sender, p = OTHER[reader], trace.packets[i]
    gave_up = _closed(trace, sender, since, p.t)
    # Where the window opens for a socket that is gone, a RST answers.
    answer = next((q for q in trace.packets[i:] if q.sender == sender), None)
    alive = None
    if gave_up is None and answer is not None and answer.segment.flags & RST:
        gave_up = answer.t
        if answer is not p and len(probes) > 1:  # it was gone before its next probe was due
            alive = since + probes[-1]
            gave_up = min(gave_up, alive + 2 * (probes[-1] - probes[-2]))
    opened = not p.segment.flags & RST and gave_up is None
    read_again = not p.segment.flags & RST
    return Stall(reader, sender, since, p.t - since, opened, gave_up, probes, alive, read_again)


def _closed(trace: Trace, host: str, since: int, until: int) -> int | None:
    """When a run's socket was closed in this time; a capture does not show that."""
    if trace.bench == "capture":
        return None
    gone = (s.t for s in trace.sockets if s.host == host and s.state == "CLOSED")
    return next((t for t in gone if since < t <= until), None)


def settings_seen(stall: Stall, socket: SocketSettings) -> SocketSettings:
    """The sender's socket: one that gave up behind a closed window had a TCP_USER_TIMEOUT."""
    if stall.gave_up is None:
        return socket
    if stall.alive is None:
        return socket.with_values(user_timeout_s=rounded(stall.gave_up - stall.closed))
    low, high = ((t - stall.closed) / SECOND for t in (stall.alive, stall.gave_up))
    fitting = (step * (high // step) for step in ROUND if step * (high // step) >= low)
    return socket.with_values(user_timeout_s=next(fitting, round(high, 3)))


@dataclass(frozen=True)
class StalledReplay(SessionReplay):
    """One run of a stall: the story that a bench runs."""

    stall: Stall

    def values(self) -> dict[str, Any]:
        """The settings and how long the receiver does not read, for the trace."""
        return super().values() | {"stalled_s": self.stall.lasted / SECOND}

    async def run(self, bench: Bench) -> None:
        """The sender writes, and the receiver reads nothing for as long as it did then."""
        hosts = dict(zip((CLIENT, SERVER), bench.hosts(CLIENT, SERVER), strict=True))
        options = {CLIENT: self.client.options(), SERVER: self.server.options()}
        reader = self.stall.reader
        options[reader] = replace(options[reader], receive_buffer=RECEIVE_BUFFER)
        for side, settings in ((CLIENT, self.client), (SERVER, self.server)):
            hosts[side].set(tcp_retries2=settings.retries2)
        listener = await hosts[SERVER].listen(PORT, options=options[SERVER])
        result, client = await hosts[CLIENT].connect(hosts[SERVER], PORT, options[CLIENT])
        if not result.ok:
            return
        ends = {CLIENT: client, SERVER: await listener.accept()}
        stalled = FILLED_AFTER * self.latency_ms / 500 + self.stall.lasted / SECOND
        sender = {CLIENT: self.client, SERVER: self.server}[self.stall.sender]
        limit = stalled + REST_S + sender.user_timeout_s
        await bench.within(
            limit,
            bench.together(self._write(ends[self.stall.sender]), self._read(bench, ends[reader], stalled)),
        )

    async def _write(self, end: Connection) -> None:
        if (await end.send(BYTES)).ok:
            await end.settled()

    async def _read(self, bench: Bench, end: Connection, stalled: float) -> None:
        await bench.sleep(stalled)
        if self.stall.read_again:
            await end.receive_exactly(BYTES)
