"""A story for a bench, made of one coroutine: what a test needs of an experiment."""

from tcplab.bench.model import run_on_model
from tcplab.core.releases import NEWEST


class Scripted:
    """Runs `script(bench)`; keeps what it returned."""

    name = "scripted"

    def __init__(self, script, *, linux=NEWEST, seed=1, latency_ms=1, ignored=()):
        self.script = script
        self.linux, self.seed, self.latency_ms = linux, seed, latency_ms
        self.ignored = list(ignored)
        self.result = None

    def values(self):
        return {"latency_ms": self.latency_ms, "linux": self.linux, "seed": self.seed}

    def ignored_by_release(self):
        return self.ignored

    async def run(self, bench):
        self.result = await self.script(bench)

    def outcome(self, trace):
        return {"packets": len(trace.packets)}


def play(script, **more):
    """What a script returned, and its trace."""
    story = Scripted(script, **more)
    trace = run_on_model(story)
    return story.result, trace


async def connected(bench, options=None, **server):
    """A client and a server that have exchanged a question and an answer."""
    client_host, server_host = bench.hosts("client", "server")
    listener = await server_host.listen(5432, **server)
    more = [options] if options else []
    result, client = await client_host.connect(server_host, 5432, *more)
    assert result.ok
    accepted = await listener.accept()
    await client.exchange(accepted)
    return client, accepted, listener


def wire(trace, since=0):
    """Flags and lengths of what went over the wire from a moment on, `x` where it never arrived."""
    return [
        f"{p.sender[0]}:{p.segment.letters}{p.segment.length or ''}{'' if p.arrives is not None else ' x'}"
        for p in trace.packets
        if p.t >= since
    ]
