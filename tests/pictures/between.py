"""Stories with somebody between client and database, run on the model for the ladder's tests."""

from functools import partial

from bench.linux_stories import Story
from bench.route_stories import Boxed, Idle, Two
from tcplab.bench.model import run_on_model
from tcplab.bench.script import SocketOptions
from tcplab.core.text import SECOND
from tcplab.follow import classify
from tcplab.route.firewall import EXPIRED, Firewall


class Relayed(Story):
    """A proxy relays a query; then the database's cable is out, and only the proxy's keepalive sees it."""

    async def run(self, bench):
        client_host, proxy, database = bench.hosts("client", "proxy", "database")
        front, back = await proxy.listen(6432), await database.listen(5432)
        probing = SocketOptions(keepalive_idle_s=2, keepalive_interval_s=1, keepalive_probes=3)
        _, client = await client_host.connect(proxy, 6432, probing)
        near = await front.accept()
        _, far = await proxy.connect(database, 5432, probing)
        server = await back.accept()
        await client.send(40)
        await near.receive()
        await far.exchange(server)
        await near.send(200)
        await client.receive()
        database.unplug()
        await far.wait_until_broken(60)
        await far.receive()
        await near.reset()
        await client.wait_until_broken(60)
        await client.receive()


class HalfOpen(Boxed):
    """The firewall has forgotten; the client gives up on an answer, and the server never hears of it."""

    async def run(self, bench):
        client, server = await self.pair_behind(bench, Firewall(SECOND))
        client.host.set(tcp_retries2=2)
        await bench.sleep(2)
        await client.send(40)
        await client.wait_until_broken(30)
        await client.receive()
        await bench.within(3, server.receive())


class Refreshed(Boxed):
    """Exchanges that restart the firewall's timer; then the server's cable is out."""

    async def run(self, bench):
        client, server = await self.pair_behind(bench, Firewall(10 * SECOND))
        await bench.sleep(6)
        await client.exchange(server)
        server.host.unplug()
        await client.send(40)
        await bench.sleep(1)


def told(story):
    """A story's trace as `tcplab.run` would leave it."""
    trace = run_on_model(story)
    classify(trace.packets)
    return trace


BETWEEN = {
    "relayed": Relayed,
    "half_open": HalfOpen,
    "two_boxes": Two,
    "refreshed": Refreshed,
    **{
        f"{way}_{who}": partial(Idle, expired=way, who=who) for way in EXPIRED for who in ("client", "server")
    },
}
