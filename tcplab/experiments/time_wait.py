"""Every local port in TIME_WAIT, and one more connect(): what the remedies do, and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tcplab.bench.agreement import Scope
from tcplab.bench.script import Bench, Bind, Connection, Host, Listener, SocketOptions
from tcplab.core.knobs import (
    FIN_TIMEOUT,
    LOCAL_PORTS,
    MAX_TW_BUCKETS,
    PERIOD,
    TIMESTAMPS,
    TW_REUSE,
    YES_NO,
    Knob,
    choice,
    idle,
    knob,
)
from tcplab.core.text import in_words, plural
from tcplab.core.trace import Answer, Call, Trace
from tcplab.experiments.experiment import Experiment, answered
from tcplab.experiments.port_range import IN_CLIENTS_WORDS, odd_range
from tcplab.model.rules import Sysctls

WAIT = replace(
    PERIOD, label="wait", zero="at once", high=600, slider_high=3, step=0.1,
    help="Time between the last close() and the next connect().",
)  # fmt: skip
CLOSER = choice("who closes first", "client", "server", help="The first to close keeps TIME_WAIT for 60 s.")
FURTHER = Knob(
    "further connects", int, "", 1, 12, test_only=True,
    help="How many connect() calls follow, one after the other, until one fails.",
)  # fmt: skip
RFC1337 = replace(
    YES_NO, label="rfc1337", help="net.ipv4.tcp_rfc1337: a stray RST does not end TIME_WAIT early."
)
#: The client's range begins here; the server listens here.
FIRST_PORT, SERVICE = 60001, 5432
#: The value that Linux derives from the memory of an ordinary machine.
BUCKETS = Sysctls().tcp_max_tw_buckets
#: tcp_fin_timeout that Linux starts with, seconds.
USUAL_FIN_TIMEOUT = 60
NOT_TIME_WAIT = "it limits FIN_WAIT_2, and TIME_WAIT lasts 60 s in any case"
#: Bytes of the first question and its answer; each further one is longer, so that no two connections
#: look alike to the comparison.
QUESTION, ANSWER = 40, 200


@dataclass(frozen=True, kw_only=True)
class TimeWait(Experiment):
    """A client opens a connection on every local port, all are closed, and then it wants one more."""

    name = "time_wait"
    title = "TIME_WAIT: the ports of closed connections, and when they can be reused"
    lesson = "out_of_ports"
    controls = ("fin_timeout_s", "tw_reuse", "wait_s", "timestamps", "max_tw_buckets", "closer")
    pictures = ("ports", "ladder")
    log_time = True
    presets = {
        "every port in TIME_WAIT": {},
        "tw_reuse = 1, too early": {"tw_reuse": 1},
        "tw_reuse = 1, after 1.3 s": {"tw_reuse": 1, "wait_s": 1.3},
        "tw_reuse = 1 without timestamps": {"tw_reuse": 1, "wait_s": 1.3, "timestamps": False},
        "tw_reuse = 2, Linux's default": {"tw_reuse": 2, "wait_s": 1.3},
        "max_tw_buckets = 5": {"max_tw_buckets": 5},
        "max_tw_buckets = 5, two more connects": {"max_tw_buckets": 5, "connects": 2},
        "tcp_fin_timeout = 5": {"fin_timeout_s": 5},
        "the server closes first": {"closer": "server"},
        "after a minute": {"wait_s": 61},
    }
    quick = {}
    sampled = {
        "ports": (1, 2, 4, 6), "tw_reuse": (0, 1, 1, 2), "timestamps": (True, True, False),
        "max_tw_buckets": (BUCKETS, BUCKETS, 0, 1, 3), "wait_s": (0.2, 1.5),
        "closer": ("client", "client", "server"), "latency_ms": (1, 5), "connects": (1, 1, 2),
        "fin_timeout_s": (60, 60, 5),
    }  # fmt: skip

    ports: int = knob(LOCAL_PORTS, default=6)
    tw_reuse: int = knob(TW_REUSE, default=0)
    timestamps: bool = knob(TIMESTAMPS, default=True)
    max_tw_buckets: int = knob(MAX_TW_BUCKETS, default=BUCKETS)
    wait_s: float = knob(WAIT, default=0.2)
    closer: str = knob(CLOSER, default="client")
    rfc1337: bool = knob(RFC1337, default=True)
    connects: int = knob(FURTHER, default=1)
    #: Changes nothing here, which is what many have to see.
    fin_timeout_s: float = knob(FIN_TIMEOUT, default=USUAL_FIN_TIMEOUT)

    def idle_controls(self) -> dict[str, str]:
        reuse = "tw_reuse timestamps"
        return idle(
            (True, "rfc1337", "no RST arrives in TIME_WAIT here."),
            (self.fin_timeout_s != USUAL_FIN_TIMEOUT, "fin_timeout_s", f"{NOT_TIME_WAIT}."),
            (self.closer == "server", f"{reuse} max_tw_buckets", "the client keeps no TIME_WAIT."),
            (self.wait_s >= 61, reuse, "TIME_WAIT is over by then."),
            (self.wait_s < 0.9, reuse, "no TIME_WAIT is a second old by then."),
            (not self.tw_reuse, "timestamps", "no port in TIME_WAIT is reused."),
        )

    async def run(self, bench: Bench) -> None:
        client_host, server_host = bench.hosts("client", "server")
        client_host.set(
            ip_local_port_range=(FIRST_PORT, FIRST_PORT + self.ports - 1),
            tcp_tw_reuse=self.tw_reuse,
            tcp_timestamps=int(self.timestamps),
            tcp_max_tw_buckets=self.max_tw_buckets,
        )
        for host in (client_host, server_host):
            host.set(tcp_rfc1337=int(self.rfc1337), tcp_fin_timeout=self.fin_timeout_s)  # type: ignore[arg-type]
        listener = await server_host.listen(SERVICE)
        pairs = await open_on_every_port(client_host, server_host, listener, self.ports)
        for client, server in pairs:
            first, second = (client, server) if self.closer == "client" else (server, client)
            await close_in_turn(bench, first, second, self.latency_ms)
        await bench.sleep(all_is_quiet_after(self.latency_ms))
        bench.watch_from_now()
        bench.call_program(client_host, "client programs")
        bench.does(client_host, "idle", "no connect() yet")
        await bench.sleep(self.wait_s)
        for _ in range(self.connects):
            reopened, _connection = await client_host.connect(server_host, SERVICE)
            if not reopened.ok:
                break
            await listener.accept()
            bench.does(client_host, "idle", "one more is connected", "connected")
        await bench.sleep(all_is_quiet_after(self.latency_ms))

    def outcome(self, trace: Trace) -> dict[str, Any]:
        waiting = trace.sockets_at(trace.watching_since)
        last = self._further(trace)[-1]
        return {
            "held": sum(s.host == "client" and s.state == "TIME_WAIT" for s in waiting),
            "reopened": last.error is None,
            "error": last.error,
        }

    def scope(self, trace: Trace) -> Scope:
        """All but what is chance in an odd range."""
        return odd_range(trace, self.ports) or after_the_first_syn(trace)

    def answer(self, trace: Trace) -> Answer:
        """From the last close() to one more connect(): refused at once, or it takes a port."""
        since, further = trace.watching_since, self._further(trace)
        last = further[-1]
        takes = "connect() takes a port" if self.connects == 1 else f"{self.connects} connects take ports"
        return answered(since, last.began, "client", last.error or f"{takes} again")

    def _further(self, trace: Trace) -> list[Call]:
        """The connect() calls after the closes."""
        return trace.calls_of("client", "connect(")[self.ports :]

    def sentence(self, trace: Trace) -> str:
        outcome = trace.outcome
        held = outcome["held"]
        who = f"The {self.closer} closed first"
        then = self._then(outcome, len(self._further(trace)))
        if self.fin_timeout_s != USUAL_FIN_TIMEOUT:
            then += f" tcp_fin_timeout = {self.fin_timeout_s:g} changes nothing: {NOT_TIME_WAIT}."
        if not held and self.closer == "client" and not self.max_tw_buckets:
            kept = f"{who}, but tcp_max_tw_buckets = 0 allows no TIME_WAIT: all its ports are free at once"
            return f"{kept} (TCPTimeWaitOverflow). {then}"
        if not held:
            kept = f"{who}, so the client has no TIME_WAIT and all its ports are free"
            more = "" if self.closer == "client" else "; the server has it, and accepts a new SYN in it"
            return f"{kept}{more}. {then}"
        keeps = "keeps its port" if held == 1 else "keep their ports"
        kept = f"{who}: {plural(held, 'socket')} in TIME_WAIT {keeps} for 60 s."
        denied = trace.counters_at(trace.watching_since).get("client", {}).get("TcpExtTCPTimeWaitOverflow", 0)
        if denied:
            others, their = (
                ("other socket", "its port was") if denied == 1 else ("others", "their ports were")
            )
            kept += (
                f" With tcp_max_tw_buckets = {self.max_tw_buckets} the {others} got no TIME_WAIT "
                f"(TCPTimeWaitOverflow), and {their} free at once."
            )
        return f"{kept} {then}"

    def _then(self, outcome: Mapping[str, Any], tried: int) -> str:
        after = f"After {in_words(self.wait_s)}"
        if outcome["error"]:
            which = "one more connect()" if self.connects == 1 else f"connect() number {tried}"
            return (
                f"{after} {which} fails: Cannot assign requested address (EADDRNOTAVAIL, 99): "
                f"{self._why_not()}. {IN_CLIENTS_WORDS}."
            )
        after += " one more connect() succeeds" if tried == 1 else f" {tried} more connects succeed"
        if outcome["held"] < self.ports:
            return f"{after}."
        if self.wait_s > 60:
            return f"{after}: TIME_WAIT is over."
        return (
            f"{after}: tcp_tw_reuse = {self.tw_reuse} lets connect() take a port in TIME_WAIT: both "
            "ends use timestamps, and more than a second has passed."
        )

    def _why_not(self) -> str:
        if not self.tw_reuse:
            return "tcp_tw_reuse = 0 reuses no port in TIME_WAIT"
        if not self.timestamps:
            return "without timestamps tcp_tw_reuse does nothing"
        if self.tw_reuse == 2:
            return "tcp_tw_reuse = 2 is for connections on loopback only"
        return "tcp_tw_reuse takes a port only after it was in TIME_WAIT for more than a second"


def after_the_first_syn(trace: Trace) -> Scope:
    """All but the preparations: a busy machine may take its time between listen() and connect()."""
    return Scope(since=trace.packets[0].arrives)


def all_is_quiet_after(latency_ms: float) -> float:
    """When the last segment of a close has arrived and every state has been seen, seconds."""
    return 0.05 + 2 * latency_ms / 1000


async def open_on_every_port(
    client: Host,
    server: Host,
    listener: Listener,
    ports: int,
    options: SocketOptions = SocketOptions(),
    bind: Bind | None = None,
) -> list[tuple[Connection, Connection]]:
    """As many connections as there are ports, each with an exchange of its own; those that came about."""
    pairs = []
    for i in range(ports):
        opened, connection = await client.connect(server, SERVICE, options, bind=bind)
        if opened.ok:
            accepted = await listener.accept()
            await connection.exchange(accepted, QUESTION + 10 * i, ANSWER + 10 * i)
            pairs.append((connection, accepted))
    return pairs


async def close_in_turn(bench: Bench, first: Connection, second: Connection, latency_ms: float) -> None:
    """One side closes, the other reads the end of file and closes too: TIME_WAIT stays with the first."""
    await first.close()
    await second.receive()
    await second.close()
    await bench.sleep(0.001 + 2 * latency_ms / 1000)
