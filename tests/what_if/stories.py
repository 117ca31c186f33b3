"""Stories whose captures the what-if is asked about."""

from dataclasses import dataclass

from tcplab.bench.script import SocketOptions
from tcplab.core.knobs import USER_TIMEOUT, WATCH, Knob, knob
from tcplab.experiments.experiment import Experiment


@dataclass(frozen=True, kw_only=True)
class OneWayDrop(Experiment):
    """The server pushes a message a second; from 1 s on all that the client sends is lost."""

    name = "one_way_drop"
    title = "Only one direction is broken"
    lesson = "dead_peer"
    user_timeout_s: float = knob(USER_TIMEOUT, default=0)
    watch_s: float = knob(WATCH, default=30)

    async def run(self, bench):
        client_host, server_host = bench.hosts("client", "server")
        options = SocketOptions(user_timeout_s=self.user_timeout_s)
        client, server = await client_host.open(server_host, options)
        await client.exchange(server)
        await bench.sleep(1)
        server_host.drop(server.port)

        async def push():
            while (await server.send(30)).ok:
                await bench.sleep(1)

        async def ask():
            await bench.sleep(0.3)
            await client.send(40)
            while (await client.receive()).ok:
                pass

        await bench.within(self.watch_s, bench.together(push(), ask()))

    def outcome(self, trace):
        failed = next((call for call in trace.calls if call.result == "ETIMEDOUT"), None)
        queries = (p.t for p in trace.packets if p.sender == "client" and p.segment.length)
        asked = next((t for t in queries if t > 10**9), 0)  # the second one
        return {"failed_after_s": None if failed is None else (failed.t - asked) / 1e9}


@dataclass(frozen=True, kw_only=True)
class Lost(Experiment):
    """One segment of the client's is lost."""

    name = "lost"
    title = "One lost segment"
    lesson = "dead_peer"
    kind: str = knob(Knob("what is lost", str, choices=("data", "syn")), default="data")

    async def run(self, bench):
        client_host, server_host = bench.hosts("client", "server")
        if self.kind == "syn":
            bench.lose(client_host, syn=1)
        client, server = await client_host.open(server_host)
        await client.exchange(server)
        if self.kind == "data":
            bench.lose(client_host, data=1)
        await client.exchange(server)
        await bench.sleep(2)

    def outcome(self, trace):
        return {}
