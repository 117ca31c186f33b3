"""Stories with boxes on the route: a module of its own, since the sandbox imports them too."""

from dataclasses import dataclass

from bench.linux_stories import Story
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.route.firewall import Balancer, Firewall


@dataclass(frozen=True)
class Boxed(Story):
    """A healthy exchange, and then boxes on its way."""

    latency_ms: float = 10

    async def pair_behind(self, bench, *boxes):
        client_host, server_host = bench.hosts("client", "server")
        bench.route(client_host, server_host, *boxes)
        listener = await server_host.listen(5432)
        _, client = await client_host.connect(server_host, 5432)
        server = await listener.accept()
        await client.exchange(server)
        return client, server


@dataclass(frozen=True)
class Idle(Boxed):
    """Idle for longer than the firewall remembers; then one side sends."""

    expired: str = "drop"
    who: str = "client"

    async def run(self, bench):
        client, server = await self.pair_behind(bench, Firewall(SECOND, self.expired))
        await bench.sleep(1.5)
        here, there = (client, server) if self.who == "client" else (server, client)
        await here.send(40)
        await bench.within(0.3, bench.together(here.receive(), there.receive()))


class Alive(Boxed):
    """Never idle for longer than the firewall remembers."""

    async def run(self, bench):
        client, server = await self.pair_behind(bench, Firewall(SECOND // 2))
        for _ in range(3):
            await bench.sleep(0.3)
            await client.exchange(server)


class Two(Boxed):
    """Two boxes; a segment that is forged on the way, and one that the first box answers."""

    async def run(self, bench):
        boxes = Firewall(300 * MILLISECOND, "reject"), Balancer(200 * MILLISECOND)
        client, server = await self.pair_behind(bench, *boxes)
        bench.forge_reset(server, -500)
        await bench.sleep(0.25)
        await server.send(40)
        await bench.sleep(0.5)
        await client.send(40)
        await bench.sleep(0.1)


class RejectedOnce(Boxed):
    """The client's own firewall answers one segment with a RST; the next ones are let in."""

    async def run(self, bench):
        client, server = await self.pair_behind(bench)
        client.host.reject(client.port, times=1)
        await server.send(200)
        await server.wait_until_broken(0.1)
        await server.receive()


class Unplugged(Boxed):
    """The cable is pulled while a segment is at the box."""

    async def run(self, bench):
        client, server = await self.pair_behind(bench, Firewall(0))
        await client.send(40)
        await bench.sleep(0.007)
        server.host.unplug()
        await bench.sleep(0.1)
        server.host.plug()
        await client.settled()


class Waits(Story):
    """Which of several calls is first; and when somebody hung up."""

    async def run(self, bench):
        *_, client, server = await self.pair(bench)
        began = bench.now()
        first = await bench.first(self.after(bench, 0.3, "slow"), self.after(bench, 0.1, "fast"))
        nested = await bench.first(
            bench.first(client.receive(), bench.sleep(5)), self.after(bench, 0.1, "outer")
        )
        still = await server.wait_until_hung_up(0.1)
        await client.close()
        gone = await server.wait_until_hung_up(5)
        again = await server.wait_until_hung_up(5)
        end = await server.receive()
        results = (first, nested, still, gone, again, end.end_of_file, f"{bench.now() - began:.1f}")
        bench.note(None, f"results {results}")
        await bench.sleep(0.1)  # the ACK of the FIN is part of the run

    async def after(self, bench, seconds, word):
        await bench.sleep(seconds)
        return word


class HungUp(Story):
    """A RST is found as well, and the next call still gives the error."""

    async def run(self, bench):
        *_, client, server = await self.pair(bench)
        await client.reset()
        gone = await server.wait_until_hung_up(5)
        bench.note(None, f"results {gone} {(await server.receive()).error}")
