"""A healthy connection from the first SYN to the last TIME_WAIT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tcplab.bench.script import Bench
from tcplab.core.knobs import REQUEST, RESPONSE, choice, knob
from tcplab.core.segment import FIN
from tcplab.core.text import SECOND, duration, plural
from tcplab.core.trace import Answer, Packet, Trace
from tcplab.experiments.experiment import CLOSED, Experiment

CLOSER = choice(
    "who closes first", "client", "server", "both", help="The first to close keeps TIME_WAIT for 60 s."
)


@dataclass(frozen=True, kw_only=True)
class HandshakeAndClose(Experiment):
    """Connect, ask, answer, close: three steps to open, four to close."""

    name = "handshake_and_close"
    title = "The life of a connection: handshake, a query and its answer, and the close"
    lesson = "life_of_a_connection"
    controls = ("closer", "request", "response", "latency_ms")
    presets = {
        "client closes first": {},
        "server closes first": {"closer": "server"},
        "both at once": {"closer": "both"},
        "a far-away server": {"latency_ms": 80},
    }
    log_time = True
    quick = {}
    sampled = {
        "closer": ("client", "server", "both"), "request": (1, 40, 1448, 5000),
        "response": (1, 200, 2896, 14000), "latency_ms": (1, 5, 20, 60),
    }  # fmt: skip

    closer: str = knob(CLOSER, default="client")
    request: int = knob(REQUEST, default=40)
    response: int = knob(RESPONSE, default=200)

    async def run(self, bench: Bench) -> None:
        client_host, server_host = bench.hosts("client", "server")
        client, server = await client_host.open(server_host)
        await client.exchange(server, self.request, self.response)
        if self.closer == "both":
            await bench.together(client.close(), server.close())
        else:
            first, second = (client, server) if self.closer == "client" else (server, client)
            await first.close()
            bench.does(first.host, "idle", *CLOSED)
            await second.receive()
            await second.close()
        for end in (client, server):
            bench.does(end.host, "idle", *CLOSED)
        # Until the last ACK is in, wherever the server is.
        await bench.sleep(1 + 4 * self.latency_ms / 1000)

    def outcome(self, trace: Trace) -> dict[str, Any]:
        return {
            "first_fin": first_to_finish(trace),
            "time_wait_on": one_or_both({s.host for s in trace.sockets if s.state == "TIME_WAIT"}),
            "segments": len(trace.packets),
        }

    def answer(self, trace: Trace) -> Answer | None:
        """How long TIME_WAIT keeps the port, on either side; it outlasts the run."""
        waits = [s for s in trace.sockets if s.state == "TIME_WAIT" and s.due is not None]
        if not waits:
            return None
        start, end = waits[0].t, max(s.due or 0 for s in waits)
        # ss shows whole seconds of it.
        kept, where = round((end - start) / SECOND) * SECOND, trace.outcome["time_wait_on"]
        words = f"the port stays in TIME-WAIT for {duration(kept)} on "
        words += "both sides" if where == "both" else f"the {where}"
        return Answer(start, end, waits[0].host, words, kept)

    def sentence(self, trace: Trace) -> str:
        outcome = trace.outcome
        first, waits = outcome["first_fin"], outcome["time_wait_on"]
        both = "Both sides sent their FIN before they saw the other's"
        how = both if first == "both" else f"The {first} closed first"
        where = "both sides keep" if waits == "both" else f"the {waits} keeps"
        return (
            f"{plural(outcome['segments'], 'segment')}: a handshake, a query of "
            f"{plural(self.request, 'byte')}, "
            f"an answer of {plural(self.response, 'byte')}, and the close. {how}, so {where} the connection "
            "in TIME_WAIT for 60 s. No call failed."
        )


def first_to_finish(trace: Trace) -> str | None:
    """`client`, `server`, or `both` when each sent its FIN before it saw the other's."""
    fins: dict[str, Packet] = {}
    for packet in trace.packets:
        if packet.segment.flags & FIN:
            fins.setdefault(packet.sender, packet)
    if not fins:
        return None
    first, *later = sorted(fins.values(), key=lambda packet: packet.t)
    if later and (first.arrives is None or later[0].t < first.arrives):
        return "both"
    return first.sender


def one_or_both(hosts: set[str]) -> str | None:
    """`client`, `server` or `both`; None for neither."""
    return "both" if len(hosts) > 1 else next(iter(hosts), None)
