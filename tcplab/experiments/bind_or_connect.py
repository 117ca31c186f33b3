"""Every local port is held; who gets one all the same: connect(), bind(0), or bind() to a held port?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tcplab.bench.agreement import Scope
from tcplab.bench.script import Bench, Bind, Host, SocketOptions
from tcplab.core.knobs import LOCAL_PORTS, TIMESTAMPS, TW_REUSE, YES_NO, choice, idle, knob
from tcplab.core.text import in_words
from tcplab.core.trace import Answer, Trace
from tcplab.experiments.experiment import Experiment, answered, first_error
from tcplab.experiments.port_range import no_port_ignored, odd_range
from tcplab.experiments.time_wait import (
    FIRST_PORT,
    SERVICE,
    WAIT,
    after_the_first_syn,
    all_is_quiet_after,
    close_in_turn,
    open_on_every_port,
)

HELD_BY = choice(
    "every port is held by", "connect", "connect_reuseaddr", "bind0", "bind0_reuseaddr",
    help="Sockets that called only connect(), or bind() to port 0 first; with or without SO_REUSEADDR.",
)  # fmt: skip
STATE = choice(
    "in state", "time_wait", "established", help="Closed by the client, or still open.",
)  # fmt: skip
THEN = choice(
    "then one more calls", "connect", "bind0", "bind0_reuseaddr", "bind_explicit",
    "bind_explicit_reuseaddr", "bind_no_port",
    help="Only connect(), or bind() first: to port 0, to a held port, or with IP_BIND_ADDRESS_NO_PORT.",
)  # fmt: skip
SAME_DESTINATION = replace(
    YES_NO,
    label="same destination",
    help="One more connection to the destination of the others, or to another port.",
)
BIND_ADDRESS = choice(
    "bind() names", "any", "same", "another",
    help="The address that one more bind() gives: none (0.0.0.0), the client's that the others use, or a "
    "second one of the client's.",
)  # fmt: skip
#: The server's other port.
ELSEWHERE = 5433
#: What one more program calls, in words.
CALLED = {
    "connect": "only connect()",
    "bind0": "bind() to port 0",
    "bind0_reuseaddr": "bind() to port 0 with SO_REUSEADDR",
    "bind_explicit": f"bind() to the held port {FIRST_PORT}",
    "bind_explicit_reuseaddr": f"bind() to the held port {FIRST_PORT} with SO_REUSEADDR",
    "bind_no_port": "bind() with IP_BIND_ADDRESS_NO_PORT",
}


@dataclass(frozen=True, kw_only=True)
class BindOrConnect(Experiment):
    """All local ports are taken by one kind of call; one more program tries another kind."""

    name = "bind_or_connect"
    title = "bind() is not connect(): “Address already in use” although tcp_tw_reuse is on"
    lesson = "bind_is_not_connect"
    controls = ("held_by", "state", "then", "bind_address", "same_destination", "tw_reuse")
    pictures = ("ports", "ladder")
    log_time = True
    presets = {
        "bind(0) meets TIME_WAIT": {},
        "connect() meets the same": {"then": "connect"},
        "the right fix: NO_PORT": {"then": "bind_no_port"},
        "a port by its number": {"then": "bind_explicit"},
        "by its number, SO_REUSEADDR on both": {
            "held_by": "connect_reuseaddr",
            "then": "bind_explicit_reuseaddr",
        },
        "connect() after others' bind(0)": {"held_by": "bind0", "then": "connect", "same_destination": False},
        "the client's second address": {"bind_address": "another"},
        "open connections, another destination": {
            "state": "established",
            "then": "connect",
            "same_destination": False,
        },
    }
    quick = {}
    sampled = {
        "held_by": ("connect", "connect_reuseaddr", "bind0", "bind0_reuseaddr"),
        "state": ("time_wait", "time_wait", "established"),
        "then": (
            "connect", "bind0", "bind0_reuseaddr", "bind_explicit", "bind_explicit_reuseaddr", "bind_no_port",
        ),
        "same_destination": (True, False), "bind_address": ("any", "any", "same", "another"),
        "ports": (1, 2, 6), "tw_reuse": (0, 1), "timestamps": (True, True, True, False), "wait_s": (0.2, 1.5),
        "latency_ms": (1, 5),
    }  # fmt: skip

    held_by: str = knob(HELD_BY, default="connect")
    state: str = knob(STATE, default="time_wait")
    then: str = knob(THEN, default="bind0")
    same_destination: bool = knob(SAME_DESTINATION, default=True)
    bind_address: str = knob(BIND_ADDRESS, default="any")
    ports: int = knob(LOCAL_PORTS, default=6)
    tw_reuse: int = knob(TW_REUSE, default=1)
    timestamps: bool = knob(TIMESTAMPS, default=True)
    wait_s: float = knob(WAIT, default=1.3)

    def idle_controls(self) -> dict[str, str]:
        binds = self.then not in ("connect", "bind_no_port")
        never = self.then in ("bind0", "bind_explicit")
        return idle(
            (self.then == "connect", "bind_address", "it does not call bind()."),
            (self.state == "established", "tw_reuse timestamps", "no port is in TIME_WAIT."),
            (binds, "tw_reuse", "bind() ignores it."),
            (never, "timestamps", "bind() ignores them."),
            (
                never and self.bind_address != "another",
                "same_destination",
                "bind() has failed before.",
            ),
        )

    async def run(self, bench: Bench) -> None:
        client_host, server_host = bench.hosts("client", "server")
        client_host.set(
            ip_local_port_range=(FIRST_PORT, FIRST_PORT + self.ports - 1),
            tcp_tw_reuse=self.tw_reuse,
            tcp_timestamps=int(self.timestamps),
            tcp_rfc1337=1,
        )
        listeners = {port: await server_host.listen(port) for port in (SERVICE, ELSEWHERE)}
        options = SocketOptions(reuse_address=self.held_by.endswith("reuseaddr"))
        bind = Bind() if self.held_by.startswith("bind0") else None
        pairs = await open_on_every_port(
            client_host, server_host, listeners[SERVICE], self.ports, options, bind
        )
        for client, server in pairs if self.state == "time_wait" else ():
            await close_in_turn(bench, client, server, self.latency_ms)
        await bench.sleep(all_is_quiet_after(self.latency_ms))
        bench.watch_from_now()
        bench.call_program(client_host, "client programs")
        bench.does(client_host, "idle", "no connect() yet")
        await bench.sleep(self.wait_s)
        port = SERVICE if self.same_destination else ELSEWHERE
        options = SocketOptions(reuse_address=self.then.endswith("reuseaddr"))
        opened, _ = await client_host.connect(server_host, port, options, bind=self._bind(client_host))
        if opened.ok:
            await listeners[port].accept()
            bench.does(client_host, "idle", "one more is connected", "connected")
        await bench.sleep(all_is_quiet_after(self.latency_ms))

    def _bind(self, client: Host) -> Bind | None:
        if self.then == "connect":
            return None
        address = client.add_address() if self.bind_address == "another" else client.address
        if self.then == "bind_no_port":
            return Bind(address=address, no_port=True)
        port = FIRST_PORT if self.then.startswith("bind_explicit") else 0
        return Bind(address="" if self.bind_address == "any" else address, port=port)

    def outcome(self, trace: Trace) -> dict[str, Any]:
        since = trace.watching_since
        return {"result": first_error(trace.calls_of("client", ("bind(", "connect("), since)) or "ok"}

    def scope(self, trace: Trace) -> Scope:
        """All but what is chance in an odd range."""
        return odd_range(trace, self.ports) or after_the_first_syn(trace)

    def ignored_by_release(self) -> list[str]:
        ignored = no_port_ignored("then", self.linux) if self.then == "bind_no_port" else []
        return super().ignored_by_release() + ignored

    def answer(self, trace: Trace) -> Answer:
        since = trace.watching_since
        calls = trace.calls_of("client", ("bind(", "connect("), since)
        last = next((call for call in calls if call.error), calls[-1])
        return answered(since, last.began, "client", last.error or "connect() takes a port")

    def sentence(self, trace: Trace) -> str:
        result = trace.outcome["result"]
        how = {"connect": "connect()", "bind0": "bind() to port 0"}[self.held_by.removesuffix("_reuseaddr")]
        reuse = " with SO_REUSEADDR" if self.held_by.endswith("reuseaddr") else ""
        state = "TIME_WAIT" if self.state == "time_wait" else "ESTABLISHED"
        held = f"All {self.ports} local ports were taken by {how}{reuse} and are in {state}"
        bound = {"any": "", "same": " on the same address", "another": " on another address of the client"}
        called = CALLED[self.then] + (bound[self.bind_address] if self.then != "connect" else "")
        one_more = f"{held}. After {in_words(self.wait_s)} one more program calls {called}"
        where = "the same destination" if self.same_destination else "another destination"
        if result == "ok":
            free = " Each local address has its own ports: on this one all are free."
            other = self.bind_address == "another" and self.then != "connect"
            return f"{one_more}, and connects to {where}.{free if other else ''}"
        if result == "EADDRINUSE":
            sees = "finds a socket on every port of the range"
            if self.then.startswith("bind_explicit"):
                sees = "finds another socket on this port"
            return (
                f"{one_more}: Address already in use (EADDRINUSE, 98). bind() does not know the "
                f"destination yet, {sees}, and ignores tcp_tw_reuse."
            )
        return (
            f"{one_more} to {where}: Cannot assign requested address (EADDRNOTAVAIL, 99). "
            f"{self._why_no_address()}"
        )

    def _why_no_address(self) -> str:
        if self.held_by.startswith("bind0") and not self.then.startswith("bind_explicit"):
            return "connect() skips every port that was taken by bind(), whatever its destination."
        if self.state == "established":
            return "Each port already has a connection to that destination, and a four-tuple must be unique."
        if not self.timestamps:
            return "Without timestamps no port in TIME_WAIT is reused."
        if self.tw_reuse != 1:
            return f"tcp_tw_reuse = {self.tw_reuse} does not reuse these ports in TIME_WAIT."
        return "tcp_tw_reuse takes a port only after it was in TIME_WAIT for more than a second."
