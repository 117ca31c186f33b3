"""The server's side: a client that is gone, and how long the server keeps its session and its locks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from tcplab.bench.script import Bench, Connection, Doing, Host
from tcplab.core import knobs
from tcplab.core.knobs import choice, knob
from tcplab.core.segment import FIN, RST
from tcplab.core.text import duration, in_words, seconds
from tcplab.core.trace import Answer, Trace
from tcplab.experiments.experiment import (
    IN_POOL,
    ITS_ANSWER,
    NEXT_QUERY,
    QUERY_RUNS,
    Experiment,
    KeepaliveParameters,
)

HOW = choice(
    "the client", "close", "reset", "kill", "vanish",
    help="Closes its socket, closes it with a RST, is killed, or loses its network.",
)  # fmt: skip
SESSION = choice(
    "the session is", "idle", "idle_in_transaction", "running", "sending",
    help="What the session is doing. In every state but idle it holds locks.",
)  # fmt: skip
CHECK_INTERVAL = replace(
    knobs.PERIOD, label="connection check", zero="off", slider_high=10,
    help="client_connection_check_interval: how often a running query asks the kernel about its client.",
)  # fmt: skip
QUERY = replace(
    knobs.PERIOD, label="the query takes", zero="no time", slider_high=600,
    help="Counted from the client's end; until then the server does not read or write its socket.",
)  # fmt: skip

REQUEST_BYTES, ROWS_BYTES = 40, 1000
#: No picture shows more looks of a check; adding up floats leaves less than this share of an interval.
MOST_CHECKS, TIE = 1000, 1e-6

_WHO = {
    "close": "The client closes its socket",
    "reset": "The client closes its socket with a RST",
    "kill": "The client's process is killed (SIGKILL)",
    "vanish": "The client loses its network",
}
_WHEN = {
    "idle": "while its session is idle",
    "idle_in_transaction": "while its session is idle in a transaction",
    "running": "while its query runs",
    "sending": "while the server sends rows to it",
}
_UNACKNOWLEDGED = ("waits: its rows are not acknowledged", "rows not acknowledged", "waits")
#: What client and server do meanwhile, and the server in words.
_DOES: dict[str, tuple[Doing, Doing, tuple[str, ...]]] = {
    "idle": ("idle", "waits", NEXT_QUERY),
    "idle_in_transaction": (
        "idle", "waits", ("idle in transaction: waits in recv()", "idle in transaction"),
    ),
    "running": ("waits", "works", QUERY_RUNS),
    "sending": ("waits", "waits", _UNACKNOWLEDGED),
}  # fmt: skip
_BY = {
    "fin": "because a FIN arrived",
    "rst": "because a RST arrived",
    "keepalive": "because its keepalive probes were not answered",
    "retransmission": "because what it sent was never acknowledged",
}
#: PostgreSQL's own words (src/backend/tcop/postgres.c:SocketBackend, ProcessInterrupts;
#: src/backend/libpq/pqcomm.c:pq_recvbuf, internal_flush_buffer), by the call that failed.
_LOG = {
    "end of file": "unexpected EOF on client connection with an open transaction",
    "recv() ECONNRESET": "could not receive data from client: Connection reset by peer",
    "recv() ETIMEDOUT": "could not receive data from client: Connection timed out",
    "send() ECONNRESET": "could not send data to client: Connection reset by peer",
    "send() EPIPE": "could not send data to client: Broken pipe",
    "send() ETIMEDOUT": "could not send data to client: Connection timed out",
    "check": "connection to client lost",
}
_CHECKED = "client_connection_check_interval: the client has closed"


@dataclass(frozen=True, kw_only=True)
class ClientGone(KeepaliveParameters, Experiment):
    """A session whose client is gone: when does the server detect it, and how?

    Times count from the client's end. Keepalive and user timeout are the server's. The session ends
    when its process notices, and with it the transaction and its locks.
    """

    name = "client_gone"
    title = "The client is gone: when does the server detect it and release its locks?"
    lesson = "dead_client"
    controls = ("how", "session", "check_interval_s", "keepalive_idle_s", "user_timeout_s", "query_s")
    held_up = ("another session", "waits for the lock", "has the lock")
    presets = {
        "vanishes during a query, nothing set": {},
        "client_connection_check_interval = 1 s alone": {"check_interval_s": 1},
        "keepalive 5/1/3 alone": {"keepalive_idle_s": 5},
        "both": {"check_interval_s": 1, "keepalive_idle_s": 5},
        "kill -9 during a query": {"how": "kill"},
        "kill -9, and a check every second": {"how": "kill", "check_interval_s": 1},
        "idle in transaction, PostgreSQL's defaults": {
            "session": "idle_in_transaction", "keepalive_idle_s": 7200, "keepalive_interval_s": 75,
            "keepalive_probes": 9,
        },
        "while rows are sent": {"session": "sending", "keepalive_idle_s": 5},
        "while rows are sent, user timeout 30 s": {"session": "sending", "user_timeout_s": 30},
    }  # fmt: skip
    pictures = ("ladder",)
    quick = {"check_interval_s": 1.5, "keepalive_idle_s": 2, "keepalive_probes": 2, "query_s": 8}
    sampled = {
        "how": ("close", "reset", "kill", "vanish", "vanish"),
        "session": ("idle", "idle_in_transaction", "running", "running", "sending"),
        "check_interval_s": (0, 0.7, 1.5), "keepalive_idle_s": (0, 1, 2), "keepalive_probes": (1, 2),
        "user_timeout_s": (0, 0, 2), "query_s": (2, 5.6), "latency_ms": (1, 10, 20), "watch_s": (7,),
    }  # fmt: skip

    how: str = knob(HOW, default="vanish")
    session: str = knob(SESSION, default="running")
    check_interval_s: float = knob(CHECK_INTERVAL, default=0)
    keepalive_idle_s: float = knob(knobs.KEEPALIVE_IDLE, default=0)
    keepalive_interval_s: float = knob(knobs.KEEPALIVE_INTERVAL, default=1)
    keepalive_probes: int = knob(knobs.KEEPALIVE_PROBES, default=3)
    user_timeout_s: float = knob(knobs.USER_TIMEOUT, default=0)
    query_s: float = knob(QUERY, default=60)
    watch_s: float = knob(knobs.WATCH, default=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.connects_in_time()
        self.probes_as_linux_does("keepalive_idle_s")

    def idle_controls(self) -> dict[str, str]:
        is_idle = self.session in ("idle", "idle_in_transaction")
        in_flight = "rows are in flight: retransmission decides."
        return knobs.idle(
            (is_idle, "check_interval_s query_s", "no query runs."),
            (self.session == "sending", "check_interval_s query_s", "the query already sends its rows."),
            (self.session == "sending", "keepalive_interval_s keepalive_probes", in_flight),
            (not self.keepalive_idle_s, "keepalive_interval_s keepalive_probes", knobs.KEEPALIVE_OFF),
        )

    async def run(self, bench: Bench) -> None:
        client_host, server_host = bench.hosts("client", "server")
        client, server = await client_host.open(server_host, server_options=self.options())
        await client.exchange(server)
        if self.session in ("running", "sending"):
            await client.send(REQUEST_BYTES)
            await server.receive_exactly(REQUEST_BYTES)
        if self.session == "sending":
            await server.send(ROWS_BYTES)
            await client.receive_exactly(ROWS_BYTES)
            await server.settled()
        await client.settled()
        bench.watch_from_now()
        limit = bench.now() + self.watch()
        bench.call_program(server_host, "PostgreSQL's process")
        client_does, server_does, words = _DOES[self.session]
        bench.does(client_host, client_does, *(ITS_ANSWER if client_does == "waits" else IN_POOL))
        bench.does(server_host, server_does, *words, locks=self.session != "idle")
        await self._end(client_host, client)
        if await self._serves(bench, server_host, server, limit):
            await server.close()
            bench.does(server_host, "idle", "the session is over", "over")
            await bench.sleep(0.5)

    async def _end(self, host: Host, client: Connection) -> None:
        if self.how == "vanish":
            host.unplug()
        else:
            await {"close": client.close, "reset": client.reset, "kill": client.kill}[self.how]()

    async def _serves(self, bench: Bench, host: Host, server: Connection, limit: float) -> bool:
        """What the server's process does; True once it has noticed."""
        if self.session == "sending":
            return await self._sends(bench, server, limit)
        if self.session == "running":
            if await self._computes(bench, host, server, limit):
                return True
            if bench.now() >= limit:
                return False
            bench.does(host, "waits", *_UNACKNOWLEDGED, locks=True)
            if not (await server.send(ROWS_BYTES)).ok:
                return True
        return await bench.within(limit - bench.now(), server.receive()) is not None

    async def _sends(self, bench: Bench, server: Connection, limit: float) -> bool:
        """Rows are written until the buffer is full; then the process waits for room, or for an error."""
        if (await server.send(ROWS_BYTES)).ok:
            if (await server.wait_until_broken(limit - bench.now())).ok:
                return False
            await server.send(ROWS_BYTES)
        return True

    async def _computes(self, bench: Bench, host: Host, server: Connection, limit: float) -> bool:
        """The query runs; True when a check has seen that the client closed."""
        began = bench.now()
        until = min(began + self.query_s, limit)
        if not self.check_interval_s:
            await bench.sleep(until - began)
            return False
        has_hung_up = await server.wait_until_hung_up(until - began)
        checks = max(ceil((bench.now() - began) / self.check_interval_s), 1)
        checked = began + checks * self.check_interval_s
        sees_it = has_hung_up and checked < until
        await bench.sleep(max((checked if sees_it else until) - bench.now(), 0))
        self._write_checks(bench, host, began, bench.now())
        if sees_it:
            bench.note(host, _CHECKED)
        return sees_it

    def _write_checks(self, bench: Bench, host: Host, began: float, until: float) -> None:
        """Each look at the socket: the deadline of one is set at the one before. Of many, only some."""
        checks = ceil((until - began) / self.check_interval_s - TIE)
        apart = ceil(checks / MOST_CHECKS) * self.check_interval_s
        for i in range(ceil((until - began) / apart - TIE) if checks else 0):
            bench.limit(host, "connection check", apart, began + i * apart)
        bench.limit(host, "connection check", 0)

    def watch(self) -> float:
        """How long the server is watched from the client's end on, seconds."""
        if self.watch_s:
            return self.watch_s
        keepalive = self.options().keepalive_watch_s + 5 if self.keepalive_idle_s else 0
        if self.session in ("running", "sending"):
            query = self.query_s if self.session == "running" else 0
            return query + max(1100, keepalive, self.user_timeout_s + 130)
        return keepalive or 3600

    def outcome(self, trace: Trace) -> dict[str, Any]:
        since = trace.watching_since
        closes = trace.calls_of("server", "close()", since)
        after = seconds(closes[0].t - since) if closes else None
        return {
            "noticed_after_s": after,
            "how_noticed": self._how(trace, closes[0].t) if closes else "never",
            "lock_held_s": 0.0 if self.session == "idle" else after,
        }

    def _how(self, trace: Trace, noticed: int) -> str:
        """By what has come, or by what the server itself has sent in vain."""
        since = trace.watching_since
        received = [p for p in trace.packets if p.receiver == "server" and p.arrives is not None]
        came = [p.segment.flags for p in received if since <= (p.arrives or 0) <= noticed]
        for flag, by in ((RST, "rst"), (FIN, "fin")):
            if any(flags & flag for flags in came):
                return by
        has_sent = any(p.segment.length for p in trace.sent_by("server", since))
        return "retransmission" if has_sent else "keepalive"

    def answer(self, trace: Trace) -> Answer:
        since, what = trace.watching_since, "session kept" if self.session == "idle" else "locks held"
        closes = trace.calls_of("server", "close()", since)
        if not closes:
            return Answer(since, None, "server", f"{what}: never detected")
        return Answer(since, closes[0].t, "server", f"{what} for {duration(closes[0].t - since)}")

    def sentence(self, trace: Trace) -> str:
        after, by = trace.outcome["noticed_after_s"], trace.outcome["how_noticed"]
        sentences = [f"{_WHO[self.how]} {_WHEN[self.session]}."]
        locks = "" if self.session == "idle" else ", and its locks are released"
        if after is None:
            keeps = "its session" if self.session == "idle" else "its session and all its locks"
            sentences.append(f"In {in_words(self.watch())} the server does not detect it: it keeps {keeps}.")
        else:
            sentences.append(f"The backend detects it after {in_words(after)}, {_BY[by]}.")
            sentences.append(f"PostgreSQL's log says{self._log(trace)}. The session ends{locks}.")
        return " ".join(sentences + self._but(trace))

    def _log(self, trace: Trace) -> str:
        """What PostgreSQL would write, by the last call before the session's end."""
        since = trace.watching_since
        if any(note.text == _CHECKED for note in trace.notes):
            return f": {_LOG['check']}"
        calls = [call for call in trace.calls_of("server", "", since) if call.call != "close()"]
        call, result = calls[-1].call.partition("(")[0], calls[-1].result
        if result != "end of file":
            return f": {_LOG[f'{call}() {result}']}"
        # Without a transaction that is no more than a debug message.
        return " nothing" if self.session == "idle" else f": {_LOG[result]}"

    def _but(self, trace: Trace) -> list[str]:
        """Why what was set did not help."""
        by = trace.outcome["how_noticed"]
        is_blind = self.how == "vanish" and by in ("never", "retransmission")
        if is_blind and self.session == "running" and self.check_interval_s:
            if self.keepalive_idle_s:
                return [
                    "The query ended before keepalive detected the failure; then its answer was in flight."
                ]
            return ["The check only asks the kernel, and without keepalive the kernel does not know."]
        if is_blind and self.session == "sending" and self.keepalive_idle_s:
            return ["Keepalive was on and sent no probe: none is sent while data is unacknowledged."]
        if by == "keepalive" and self.session == "running" and not self.check_interval_s:
            return ["The kernel knew earlier: without a check the process looks only when the query is over."]
        return []
