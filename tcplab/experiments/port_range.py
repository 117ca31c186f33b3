"""One connect() after the other, until the local ports are used up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tcplab.bench.agreement import WHOLE, Scope
from tcplab.bench.script import Bench, Bind
from tcplab.core.knobs import CONNECTS, DESTINATIONS, FIRST_PORT, LAST_PORT, SOURCES, ParameterError, knob
from tcplab.core.releases import release
from tcplab.core.text import plural
from tcplab.core.trace import Answer, Trace
from tcplab.experiments.experiment import Experiment, first_error

#: What clients print for EADDRNOTAVAIL.
IN_CLIENTS_WORDS = (
    "mysql prints ERROR 2003 (HY000): Can't connect to MySQL server on '…' (99), psql and redis-cli: "
    "Cannot assign requested address"
)


def odd_range(trace: Trace, size: int, destinations: int = 1) -> Scope | None:
    """Where the comparison ends in an odd range of five ports or more; None where it doesn't.

    A connect() tries one port less than there are and leaves out the last or the first, as chance has
    it (`tcplab.model.ports`). So it is chance whether connect() finds the last free port.
    """
    certain = (size - 1) * destinations
    calls = trace.calls_of("client", "connect(")
    if size % 2 == 0 or size < 5 or len(calls) <= certain:
        return None
    return Scope(until=calls[certain - 1].t + 1, outcomes=())


def no_port_ignored(name: str, linux: str) -> list[str]:
    """The sentence about a parameter that needs IP_BIND_ADDRESS_NO_PORT, where a Linux lacks it."""
    lacks = f"{name}: Linux {linux} has no IP_BIND_ADDRESS_NO_PORT, which came with 4.2; bind() "
    return [] if release(linux).bind_address_no_port else [f"{lacks}takes a port for itself there."]


@dataclass(frozen=True, kw_only=True)
class PortRange(Experiment):
    """A client opens connections and keeps them: how many fit into its range of local ports?

    Destinations are used in turn, and for each round of them the next of its own addresses.
    """

    name = "port_range"
    title = "Out of ports: the connect() that sends nothing and says “Cannot assign requested address”"
    lesson = "out_of_ports"
    controls = ("first_port", "last_port", "connects", "destinations", "sources")
    pictures = ("ports", "ladder")
    presets = {
        "six ports, seven connects": {},
        "two destinations": {"destinations": 2, "connects": 13},
        "two addresses of the client": {"sources": 2, "connects": 13},
        "a wider range": {"last_port": 60012},
        "an odd range": {"last_port": 60003, "connects": 3},
    }
    quick = {}
    sampled = {
        "last_port": (60001, 60002, 60003, 60004, 60006, 60008, 60010), "connects": (1, 3, 7, 9, 13),
        "destinations": (1, 1, 2, 3), "sources": (1, 1, 2), "latency_ms": (1, 5),
    }  # fmt: skip

    first_port: int = knob(FIRST_PORT, default=60001)
    last_port: int = knob(LAST_PORT, default=60006)
    connects: int = knob(CONNECTS, default=7)
    destinations: int = knob(DESTINATIONS, default=1)
    sources: int = knob(SOURCES, default=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first_port > self.last_port:
            raise ParameterError(
                f"first_port = {self.first_port} is above last_port = {self.last_port}: "
                f"use 1024 to {self.last_port}."
            )

    async def run(self, bench: Bench) -> None:
        client, server = bench.hosts("client", "server")
        client.set(ip_local_port_range=(self.first_port, self.last_port))
        addresses = [client.address] + [client.add_address() for _ in range(self.sources - 1)]
        listeners = [await server.listen(5432 + i, self.connects) for i in range(self.destinations)]
        bench.call_program(client, "client programs")
        bench.does(client, "works", "connect one after another", "connect")
        for i in range(self.connects):
            round_, destination = divmod(i, self.destinations)
            bind = None
            if self.sources > 1:
                bind = Bind(address=addresses[round_ % self.sources], no_port=True)
            opened, _ = await client.connect(server, 5432 + destination, bind=bind)
            if not opened.ok:
                break
            await listeners[destination].accept()
        else:
            bench.does(client, "idle", "all are connected", "connected")
        await bench.sleep(0.1 + 2 * self.latency_ms / 1000)

    def outcome(self, trace: Trace) -> dict[str, Any]:
        calls = trace.calls_of("client", ("bind(", "connect("))
        opened = [call for call in calls if call.call.startswith("connect(") and call.result == "ok"]
        return {
            "opened": len(opened),
            "error": first_error(calls),
            "ports_used": len({call.port for call in opened}),
        }

    def scope(self, trace: Trace) -> Scope:
        """Without chance: which ports two destinations share, and what an odd range has left at the end."""
        size, ends = self.last_port - self.first_port + 1, self.destinations * self.sources
        if until := odd_range(trace, size, ends):
            return until
        if ends == 1 or (size % 2 == 0 and self.connects >= size * ends):
            return WHOLE
        return Scope(outcomes=("opened", "error"))

    def ignored_by_release(self) -> list[str]:
        return super().ignored_by_release() + (
            no_port_ignored("sources", self.linux) if self.sources > 1 else []
        )

    def answer(self, trace: Trace) -> Answer:
        calls = trace.calls_of("client", ("bind(", "connect("))
        opened, end = trace.outcome["opened"], next((call for call in calls if call.error), calls[-1])
        words = f"{end.error}: connection {opened + 1} gets no port" if end.error else f"all {opened} open"
        return Answer(trace.watching_since, end.t, "client", words)

    def sentence(self, trace: Trace) -> str:
        outcome = trace.outcome
        opened, used = outcome["opened"], outcome["ports_used"]
        event = f"{plural(opened, 'connection')} on {plural(used, 'local port')}"
        if outcome["error"] is None:
            event += ": every connect() succeeded."
            why = "A port can be used once for each pair of local address and destination"
            return f"{event} {why}: there can be more connections than ports." if opened > used else event
        size = self.last_port - self.first_port + 1
        odd = f" The range has an odd number of ports ({size}). Each connect() tries {size - 1} of them"
        # From five ports on it is chance whether some connect() began where the last free port is tried.
        odd += f", so whether all {size} are used is chance." if size > 3 else "."
        left_one = size % 2 and size > 1 and used < size
        if outcome["error"] == "EADDRINUSE":
            return (
                f"{event}; then bind() fails: Address already in use (EADDRINUSE, 98). This kernel chooses "
                "the port in bind(), before it knows the destination, so each port can be used only once."
            )
        return (
            f"{event}; then connect() fails at once: Cannot assign requested address (EADDRNOTAVAIL, 99). "
            f"No segment is sent: the server sees nothing. {IN_CLIENTS_WORDS}.{odd if left_one else ''}"
        )
