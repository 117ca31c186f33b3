"""Small stories that no lesson tells: each shows one behaviour that differs between versions of Linux.

`tcplab.claims` runs them; their outcome is one reading.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any

from tcplab.bench.script import Bench, Bind, Connection, SocketOptions
from tcplab.core import knobs
from tcplab.core.knobs import knob
from tcplab.core.segment import ACK, RST, SYN
from tcplab.core.trace import Trace
from tcplab.experiments.experiment import Experiment, first_error

PORT = 5432


@dataclass(frozen=True, kw_only=True)
class SmallStory(Experiment):
    """A story that only decides a claim: its outcome is one reading."""

    def sentence(self, trace: Trace) -> str:
        return ", ".join(f"{name} = {value}" for name, value in trace.outcome.items()) + "."


@dataclass(frozen=True, kw_only=True)
class ForgedToClient(SmallStory):
    """Something forged reaches the client of a connection that works and is quiet: how often it answers."""

    async def run(self, bench: Bench) -> None:
        client_host, server_host = bench.hosts("client", "server")
        client, server = await client_host.open(server_host)
        await client.exchange(server)
        await bench.sleep(1)
        bench.watch_from_now()
        await self.forge(bench, client)

    @abstractmethod
    async def forge(self, bench: Bench, client: Connection) -> None:
        """What is forged, and the time to answer it."""

    def outcome(self, trace: Trace) -> dict[str, Any]:
        return {"answers": len(trace.sent_by("client", trace.watching_since))}


@dataclass(frozen=True, kw_only=True)
class UnsentAck(ForgedToClient):
    """A segment acknowledges bytes that the client never sent."""

    name = "unsent_ack"

    async def forge(self, bench: Bench, client: Connection) -> None:
        bench.forge_ack(client, ahead=1000)
        await bench.sleep(0.3)


@dataclass(frozen=True, kw_only=True)
class OldAck(ForgedToClient):
    """An ACK comes late: of an old number, with an old timestamp."""

    name = "old_ack"

    async def forge(self, bench: Bench, client: Connection) -> None:
        bench.forge_old_ack(client, older_ms=10_000)
        await bench.sleep(0.3)


@dataclass(frozen=True, kw_only=True)
class TwoResets(ForgedToClient):
    """Two RSTs in the window, 50 ms apart."""

    name = "two_resets"

    async def forge(self, bench: Bench, client: Connection) -> None:
        for _ in range(2):
            bench.forge_reset(client, 1000)
            await bench.sleep(0.05)
        await bench.sleep(0.2)


@dataclass(frozen=True, kw_only=True)
class HalfOpenReset(SmallStory):
    """A RST in the window, but not exact, for a connection that is half open."""

    name = "half_open_reset"

    async def run(self, bench: Bench) -> None:
        client_host, server_host = bench.hosts("client", "server")
        await server_host.listen(PORT)
        # Nobody there: the client's own TCP must not see the SYN-ACK.
        client_host.drop(40000)
        bench.watch_from_now()
        bench.forge(client_host, 40000, server_host, PORT, SYN, seq=1000)
        await bench.sleep(0.2)
        bench.forge(client_host, 40000, server_host, PORT, RST, seq=1501)
        await bench.sleep(1.5)

    def outcome(self, trace: Trace) -> dict[str, Any]:
        syn_acks = [p for p in trace.sent_by("server") if p.segment.flags & (SYN | ACK) == SYN | ACK]
        return {"syn_acks": len(syn_acks)}


@dataclass(frozen=True, kw_only=True)
class PortLeft(SmallStory):
    """The only local port: a connection that connect() made stays, one with a bind() has left it."""

    name = "port_left"

    async def run(self, bench: Bench) -> None:
        client_host, server_host = bench.hosts("client", "server")
        for port in range(PORT, PORT + 3):
            await server_host.listen(port)
        client_host.set(ip_local_port_range=(60001, 60001))
        shares = SocketOptions(reuse_address=True)
        await client_host.connect(server_host, PORT, shares)
        _, bound = await client_host.connect(server_host, PORT + 1, shares, bind=Bind(port=60001))
        await bound.reset()
        await bench.sleep(0.1)
        bench.watch_from_now()
        await client_host.connect(server_host, PORT + 2, shares)

    def outcome(self, trace: Trace) -> dict[str, Any]:
        return {"result": first_error(trace.calls_of("client", "connect(", trace.watching_since)) or "ok"}


@dataclass(frozen=True, kw_only=True)
class OwnPorts(SmallStory):
    """Sockets with three local ports of their own, and one more."""

    name = "own_ports"

    async def run(self, bench: Bench) -> None:
        client_host, server_host = bench.hosts("client", "server")
        await server_host.listen(PORT)
        client_host.set(ip_local_port_range=(60001, 60020))
        for _ in range(4):
            await client_host.connect(server_host, PORT, SocketOptions(local_ports=(60004, 60006)))

    def outcome(self, trace: Trace) -> dict[str, Any]:
        return {"result": first_error(trace.calls_of("client", "connect(")) or "ok"}


@dataclass(frozen=True, kw_only=True)
class Overhang(SmallStory):
    """With bytes unread, a segment begins inside the client's window and ends beyond it."""

    name = "overhang"

    async def run(self, bench: Bench) -> None:
        client_host, server_host = bench.hosts("client", "server")
        client, server = await client_host.open(server_host, SocketOptions(receive_buffer=4608))
        await server.send(900)
        await bench.sleep(1)
        bench.watch_from_now()
        bench.forge_data(client, 1440)
        await bench.sleep(0.3)
        await client.receive()

    def outcome(self, trace: Trace) -> dict[str, Any]:
        return {"bytes": trace.calls_of("client", "recv(")[-1].result}


@dataclass(frozen=True, kw_only=True)
class FinInClosedWindow(SmallStory):
    """A FIN without data reaches a client whose window is closed."""

    name = "fin_in_closed_window"

    async def run(self, bench: Bench) -> None:
        client_host, server_host = bench.hosts("client", "server")
        client, server = await client_host.open(server_host, SocketOptions(receive_buffer=4608))
        await server.send(20_000)
        await bench.sleep(3)
        bench.watch_from_now()
        bench.forge_fin(client)
        await client.wait_until_hung_up(0.3)

    def outcome(self, trace: Trace) -> dict[str, Any]:
        since = trace.watching_since
        states = [s.state for s in trace.sockets if s.host == "client" and s.t >= since]
        return {"fin_taken": "CLOSE_WAIT" in states}


@dataclass(frozen=True, kw_only=True)
class Exchanges(SmallStory):
    """Questions and answers: how many of the questions have an ACK of their own."""

    name = "exchanges"
    threshold: int = knob(replace(knobs.CONNECTS, label="pingpong threshold"), default=1)

    async def run(self, bench: Bench) -> None:
        client_host, server_host = bench.hosts("client", "server")
        if self.threshold > 1:
            server_host.set(tcp_pingpong_thresh=self.threshold)
        client, server = await client_host.open(server_host)
        bench.watch_from_now()
        for _ in range(8):
            await client.send(40)
            await server.receive_exactly(40)
            await bench.sleep(0.01)
            await server.send(40)
            await client.receive_exactly(40)

    def outcome(self, trace: Trace) -> dict[str, Any]:
        sent = trace.sent_by("server", trace.watching_since)
        return {"own_acks": sum(p.segment.flags & ~ACK == 0 and not p.segment.length for p in sent)}
