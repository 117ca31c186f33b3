"""Small stories for the Linux bench's tests: a module of its own, since the sandbox imports them too."""

import asyncio
import os
import time
from dataclasses import dataclass, field
from typing import Any

from tcplab.bench.script import Result, SocketOptions

#: What a story has learnt goes into the trace as notes, one `name = value` each.


@dataclass(frozen=True)
class Story:
    """What every bench asks of a story."""

    latency_ms: float = 1
    linux: str = "6.18"
    seed: int = 1
    name: str = field(default="story", init=False)

    def values(self):
        return {"latency_ms": self.latency_ms}

    def ignored_by_release(self):
        return []

    def outcome(self, trace) -> dict[str, Any]:
        return dict(note.text.split(" = ", 1) for note in trace.notes if " = " in note.text)

    async def pair(self, bench, options=SocketOptions()):
        client_host, server_host = bench.hosts("client", "server")
        listener = await server_host.listen(5432)
        _, client = await client_host.connect(server_host, 5432, options)
        return client_host, server_host, client, await listener.accept()


class Errors(Story):
    """A RST that the client learns of by looking: the next call still gives the error, the one after too."""

    async def run(self, bench):
        *_, client, server = await self.pair(bench)
        await client.exchange(server)
        await server.reset()
        first = await client.wait_until_broken(2)
        again = await client.wait_until_broken(2)
        calls = [await client.send(40), await client.receive(), await client.send(40)]
        errors = " ".join(str(result.error) for result in (first, again, *calls))
        bench.note(None, f"errors = {errors}")


class WhichProc(Story):
    """Whether /proc is of the sandbox's own pid namespace; a setting is made, a segment crosses."""

    async def run(self, bench):
        client_host, *_, client, server = await self.pair(bench)
        client_host.set(tcp_retries2=7)
        await client.exchange(server)
        bench.note(None, f"own = {os.readlink('/proc/self') == str(os.getpid())}")


class Unread(Story):
    """Bytes that came before the RST are still there; the error comes after them."""

    async def run(self, bench):
        *_, client, server = await self.pair(bench)
        await server.send(100)
        await bench.sleep(0.05)
        await server.reset()
        await client.wait_until_broken(1)
        bench.note(None, f"received = {[str(await client.receive()) for _ in range(2)]}")


class Fin(Story):
    """End of file is no error: the wait lasts to its limit."""

    async def run(self, bench):
        *_, client, server = await self.pair(bench)
        await server.close()
        began = bench.now()
        broken = await client.wait_until_broken(0.3)
        bench.note(None, f"error = {broken.error}")
        bench.note(None, f"waited = {bench.now() - began:.1f}")


class GivenUp(Story):
    """within() ends a call, also one within another; what it began goes on."""

    async def run(self, bench):
        client_host, server_host = bench.hosts("client", "server")
        server_host.drop(5432)
        began = bench.now()
        outer = await bench.within(5, bench.within(0.1, client_host.connect(server_host, 5432)))
        inner = await bench.within(0.1, bench.within(5, client_host.connect(server_host, 5432)))
        kept = await bench.within(5, self.quickly(bench))
        bench.note(None, f"results = {outer} {inner} {kept}")
        bench.note(None, f"waited = {bench.now() - began:.1f}")
        await bench.sleep(1)

    async def quickly(self, bench):
        await bench.sleep(0.05)
        return 7


class Together(Story):
    """Calls side by side, results in their order."""

    async def run(self, bench):
        *_, client, server = await self.pair(bench)
        read, _, sent = await bench.together(client.receive(), bench.sleep(0.1), server.send(30))
        bench.note(None, f"results = {read.value} {sent.value}")


class ClosedUnderneath(Story):
    """A call that waits for a socket that another closes, kills, or loses in a reboot, returns."""

    async def run(self, bench):
        _, server_host, client, server = await self.pair(bench)

        async def later(what):
            await bench.sleep(0.05)
            return await what()

        async def reboot():
            server_host.reboot()
            return Result()

        for connection, what in (server, reboot), (client, client.kill):
            waiting, _ = await bench.together(connection.receive(), later(what))
            bench.note(None, f"{connection.host.name} = {waiting.error}")


class Lost(Story):
    """Named losses: one SYN, then one segment with payload."""

    async def run(self, bench):
        client_host, server_host = bench.hosts("client", "server")
        listener = await server_host.listen(5432)
        bench.lose(client_host, syn=1)
        _, client = await client_host.connect(server_host, 5432)
        server = await listener.accept()
        bench.lose(server_host, data=1)
        await client.exchange(server)


class Unplugged(Story):
    """What is on the wire when the cable is pulled is lost in both directions; then all is well again."""

    async def run(self, bench):
        _, server_host, client, server = await self.pair(bench)
        await client.exchange(server)
        await client.send(10)
        await server.send(20)
        await bench.sleep(0.004)
        server_host.unplug()
        await bench.sleep(0.1)
        server_host.plug()
        await client.settled()
        await server.settled()


class Settings(Story):
    """A setting that this Linux lacks is ignored, in a sentence; a buffer over the limit is cut."""

    async def run(self, bench):
        client_host, server_host = bench.hosts("client", "server")
        client_host.set(tcp_no_such_thing=1, tcp_retries2=7, somaxconn=77)
        listener = await server_host.listen(5432)
        huge = SocketOptions(receive_buffer=1 << 30)
        await client_host.connect(server_host, 5432, huge)
        await listener.accept()


class Refused(Story):
    """A value that Linux refuses."""

    async def run(self, bench):
        (host,) = bench.hosts("host")
        host.set(tcp_fin_timeout=0.5)


class HalfASecond(Story):
    """Keepalive counts whole seconds."""

    async def run(self, bench):
        await self.pair(bench, SocketOptions(keepalive_idle_s=0.5))


class Wrong(Story):
    """A mistake in a story."""

    async def run(self, bench):
        raise ZeroDivisionError("by nothing")


class Greedy(Story):
    """Keeps the wire waiting: whatever this run shows is not Linux's doing."""

    async def run(self, bench):
        *_, client, _ = await self.pair(bench)
        await client.send(10)
        time.sleep(0.05)
        await bench.sleep(10)


class Patient(Story):
    """Lasts until somebody ends it, with a connection open and nothing on the wire."""

    async def run(self, bench):
        *_, client, server = await self.pair(bench)
        await client.exchange(server)
        bench.note(None, "waits")
        await bench.sleep(1000)


@dataclass(frozen=True)
class Watches(Story):
    """A connection on which nothing happens for a while; how often the bench looked and woke up meanwhile."""

    watched_s: float = 1

    async def run(self, bench):
        *_, client, server = await self.pair(bench)
        await client.exchange(server)
        looks, wakes = bench.looks, bench.selector.wakes
        began = bench.now()
        await bench.sleep(self.watched_s)
        bench.note(None, f"late = {bench.now() - began - self.watched_s:.4f}")
        bench.note(None, f"looks = {bench.looks - looks}")
        bench.note(None, f"wakes = {bench.selector.wakes - wakes}")


class HalfClosed(Story):
    """A closed socket in FIN_WAIT_2: it ends after three seconds, and nothing tells that."""

    async def run(self, bench):
        client_host, *_, client, server = await self.pair(bench)
        client_host.set(tcp_fin_timeout=3)
        await client.exchange(server)
        await client.close()
        await bench.sleep(4)


class EndsWithItsLastSegment(Story):
    """Three connections that keepalive gives up; the script ends in the moment in which the last one has."""

    async def run(self, bench):
        client_host, server_host = bench.hosts("client", "server")
        options = SocketOptions(keepalive_idle_s=1, keepalive_interval_s=1, keepalive_probes=1)
        listener = await server_host.listen(5432)
        clients = []
        for _ in range(3):
            _, client = await client_host.connect(server_host, 5432, options)
            await client.exchange(await listener.accept())
            clients.append(client)
        server_host.unplug()
        await bench.together(*(client.wait_until_broken(10) for client in clients))


class HandsOverLate:
    """A packet socket that hands over what has come only a millisecond after the run's end."""

    def __init__(self, packets, bench):
        self.packets, self.bench = packets, bench

    def __getattr__(self, name):
        return getattr(self.packets, name)

    def recvmsg(self, *arguments):
        if not self.bench.trace.end or self.bench.nanoseconds() < self.bench.trace.end + 1_000_000:
            raise BlockingIOError
        return self.packets.recvmsg(*arguments)


class EndsInTransit(Story):
    """The script ends as soon as it has sent, and then more is sent; the kernel is late with both."""

    async def run(self, bench):
        client_host, *_, client, server = await self.pair(bench)
        await client.exchange(server)
        client_host.end.socket = HandsOverLate(client_host.end.socket, bench)

        async def later():
            while not bench.trace.end:
                await asyncio.sleep(0.0002)
            client._socket.send(bytes(55))
            bench.note(None, "later = sent")

        bench.task = asyncio.create_task(later())  # kept, so that it lives
        await client.send(77)


class RunsALot(Story):
    """Big responses at a small latency: no segment may be lost on the way."""

    async def run(self, bench):
        *_, client, server = await self.pair(bench)
        sent, read = await bench.together(server.send(1_000_000), client.receive_exactly(1_000_000))
        bench.note(None, f"bytes = {sent.value} {read.value}")


class ListensTwice(Story):
    """A port that is taken."""

    async def run(self, bench):
        (host,) = bench.hosts("host")
        await host.listen(5432)
        await host.listen(5432)


class Touches(Story):
    """Whatever changes something: settings, addresses, rules, a reboot."""

    async def run(self, bench):
        client, server, other = bench.hosts("client", "server", "other")
        for host in (client, server, other):
            host.set(tcp_retries2=3, tcp_fin_timeout=7, somaxconn=3)
        server.reject(1)
        server.drop(2)
        bench.move_address(server, other)
        client.reboot()
        await bench.sleep(1)
