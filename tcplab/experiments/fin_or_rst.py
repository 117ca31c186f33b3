"""How a server's end reaches its client: FIN, RST, or nothing at all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tcplab.bench.script import Bench, Connection, Host, Listener, Result, SocketOptions
from tcplab.core.knobs import FIN_TIMEOUT, KEEPALIVE_IDLE, WATCH, choice, idle, knob
from tcplab.core.segment import FIN, RST
from tcplab.core.text import in_words
from tcplab.core.trace import Answer, Trace
from tcplab.experiments.experiment import (
    CLOSED,
    ERRORS,
    IN_POOL,
    ITS_ANSWER,
    NEXT_QUERY,
    QUERY_RUNS,
    Experiment,
    broke_at,
    unanswered,
)

ENDING = choice(
    "what ends it", "close", "kill", "kill_unread", "kill_running", "linger0", "shutdown_write",
    "listener_killed", "port_closed", "reject", "drop",
    help="How the server ends the connection, or why there never is one.",
    names=("the server closes", "kill -9", "kill -9, bytes unread", "kill -9, query running",
        "close with SO_LINGER 0", "half close: shutdown(SHUT_WR)", "kill -9 before accept()", "closed port",
        "firewall rejects", "firewall drops"),
)  # fmt: skip
CLIENT = choice(
    "the client is", "reading", "idle", help="Blocked in recv(), or doing something else and sending later."
)
NO_CONNECTION = ("port_closed", "reject", "drop")

#: What each ending is, in a sentence.
_STORY = {
    "close": "The server closes the connection",
    "kill": "The server's process is killed (SIGKILL)",
    "kill_unread": "The server's process is killed while bytes from the client are unread",
    "kill_running": "The server's process is killed (SIGKILL) between a query and its answer",
    "linger0": "The server closes with SO_LINGER 0",
    "shutdown_write": "The server shuts down its sending side and goes on reading",
    "listener_killed": "The listening process is killed while the connection waits for accept()",
    "port_closed": "No program listens on the port",
    "reject": "A firewall rejects the SYN",
    "drop": "A firewall drops the SYN",
}


@dataclass(frozen=True, kw_only=True)
class FinOrRst(Experiment):
    """One ending of many: what goes over the wire, and what the client's calls say."""

    name = "fin_or_rst"
    title = "FIN or RST: how the end of a connection reaches the client"
    lesson = "fin_or_rst"
    controls = ("ending", "client", "fin_timeout_s", "keepalive_idle_s")
    presets = {
        "pg_terminate_backend, client waiting": {},
        "kill -9, client idle": {"ending": "kill", "client": "idle"},
        "kill -9 with unread bytes": {"ending": "kill_unread"},
        "redis-cli waiting at its prompt": {"ending": "kill", "client": "idle", "keepalive_idle_s": 15},
        "closed port": {"ending": "port_closed"},
        "firewall drops": {"ending": "drop"},
    }
    quick = {"client": "idle"}
    sampled = {
        "ending": tuple(ENDING.choices), "client": ("reading", "idle"), "fin_timeout_s": (3,),
        "keepalive_idle_s": (0, 0, 2), "latency_ms": (1, 5, 20), "watch_s": (8,),
    }  # fmt: skip

    ending: str = knob(ENDING, default="close")
    client: str = knob(CLIENT, default="reading")
    fin_timeout_s: float = knob(FIN_TIMEOUT, default=60)
    keepalive_idle_s: float = knob(
        replace(KEEPALIVE_IDLE, help="The client's keepalive; it goes on probing after the server's FIN."),
        default=0,
    )
    watch_s: float = knob(WATCH, default=0)

    def idle_controls(self) -> dict[str, str]:
        none = self.ending in NO_CONNECTION
        return idle(
            (none, "client fin_timeout_s keepalive_idle_s", "there is no connection."),
            (self.client == "reading", "fin_timeout_s", "the client closes at once, too."),
        )

    async def run(self, bench: Bench) -> None:
        client_host, server_host = bench.hosts("client", "server")
        server_host.set(tcp_fin_timeout=self.fin_timeout_s)  # type: ignore[arg-type]
        if self.ending in NO_CONNECTION:
            await self._never_connects(bench, client_host, server_host)
            return
        listener = await server_host.listen(5432)
        # The interval is a third of the idle time, as redis-cli sets it (redis: src/anet.c:anetKeepAlive).
        interval = max(1, self.keepalive_idle_s // 3)
        options = SocketOptions(keepalive_idle_s=self.keepalive_idle_s, keepalive_interval_s=interval)
        _, client = await client_host.connect(server_host, 5432, options)
        server = None
        if self.ending != "listener_killed":
            server = await listener.accept()
            await client.exchange(server)
            if self.ending in ("kill_unread", "kill_running"):
                await client.send(40)
            if self.ending == "kill_running":
                await server.receive_exactly(40)
                await client.settled()
        await bench.sleep(0.5)
        bench.watch_from_now()
        if self.ending == "kill_running":
            bench.does(server_host, "works", *QUERY_RUNS)
        else:
            bench.does(server_host, "waits", *(NEXT_QUERY if server else ("does not call accept()",)))
        if self.client == "reading":
            await bench.together(self._reading(bench, client), self._end(bench, listener, server))
        else:
            bench.does(client_host, "idle", *IN_POOL)
            await self._end(bench, listener, server)
            await self._idle(bench, client)
        await bench.sleep(0.5)

    async def _never_connects(self, bench: Bench, client_host: Host, server_host: Host) -> None:
        bench.watch_from_now()
        if self.ending == "reject":
            server_host.reject(5432)
        elif self.ending == "drop":
            server_host.drop(5432)
        await bench.within(self.watch_s or 150, client_host.connect(server_host, 5432))

    async def _end(self, bench: Bench, listener: Listener, server: Connection | None) -> None:
        await bench.sleep(0.1)
        if server is None:
            await listener.kill()
            return
        endings = {
            "close": server.close,
            "kill": server.kill,
            "kill_unread": server.kill,
            "kill_running": server.kill,
            "linger0": server.reset,
            "shutdown_write": server.shutdown_write,
        }
        await endings[self.ending]()
        if self.ending == "shutdown_write":
            bench.does(server.host, "reads", "goes on reading", "reads")
        elif self.ending in ("close", "linger0"):
            bench.does(server.host, "idle", *CLOSED)

    async def _reading(self, bench: Bench, client: Connection) -> None:
        """A client blocked in recv(): it sees the end at once, and closes after end of file."""
        bench.does(client.host, "waits", *ITS_ANSWER)
        result: Result | None = await bench.within(self.watch_s or 60, client.receive())
        if result is not None and result.ok:
            await client.close()
        elif result is not None:
            await client.send(40)

    async def _idle(self, bench: Bench, client: Connection) -> None:
        """A client that does something else, and writes later: twice."""
        # What is left at the server lasts for fin_timeout_s, or for twice what that has above a minute.
        remains = max(self.fin_timeout_s, 2 * (self.fin_timeout_s - 60))
        await bench.sleep(remains + 2 * self.keepalive_idle_s if self.keepalive_idle_s else 1)
        for _ in range(2):
            await client.send(40)
            await bench.sleep(1)

    def outcome(self, trace: Trace) -> dict[str, Any]:
        since = trace.watching_since
        ends = [p for p in trace.sent_by("server", since) if p.segment.flags & (FIN | RST)]
        calls = [*trace.calls_of("client", "connect("), *trace.calls_of("client", "recv(", since)]
        writes = trace.calls_of("client", "send(", since)
        if self.ending in NO_CONNECTION:
            first, second = calls[:1], []
        elif self.client == "reading":
            first, second = calls[-1:], writes[:1]
        else:
            first, second = writes[:1], writes[1:2]
        return {
            "server_sends": ("RST" if ends[0].segment.flags & RST else "FIN") if ends else "nothing",
            "client_error": first[0].error if first else None,
            "second_write_error": second[0].error if second else None,
        }

    def answer(self, trace: Trace) -> Answer | None:
        if found := super().answer(trace):
            return found
        if self.ending in NO_CONNECTION:
            return unanswered(trace.watching_since, trace, "client")
        return Answer(broke_at(trace), None, "client", "no error: the server still reads")

    def sentence(self, trace: Trace) -> str:
        outcome = trace.outcome
        sends = {"FIN": "its kernel sends a FIN", "RST": "a RST is sent", "nothing": "no packet comes back"}
        event = f"{_STORY[self.ending]}: {sends[outcome['server_sends']]}."
        error = outcome["client_error"]
        said = ERRORS.get(error or "", "")
        if self.ending in NO_CONNECTION:
            connects = trace.calls_of("client", "connect(")
            if not connects:
                return f"{event} The client still waits in connect()."
            waited = in_words(trace.seconds(connects[0].t))
            return f"{event} After {waited} connect() fails with {said}."
        if self.client == "reading":
            if error is None:
                return (
                    f"{event} The waiting client's recv() returns end of file at once, without an error; "
                    "it closes too."
                )
            return f"{event} The waiting client's recv() fails with {said}."
        if error is None and outcome["second_write_error"] is None:
            return f"{event} The client's sends succeed: the server still reads."
        if error is None:
            second = ERRORS[outcome["second_write_error"]]
            event += " The idle client's next send() still succeeds, and the server answers with a RST"
            return f"{event}; only the send() after that fails, with {second}."
        return f"{event} The idle client's next send() fails with {said}."
