"""A proxy between client and database: two connections, and keepalive sees only one of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tcplab.bench.script import Bench, Connection, Host
from tcplab.core import knobs
from tcplab.core.knobs import choice, knob
from tcplab.core.text import duration, in_words, plural, seconds
from tcplab.core.trace import Answer, Call, Trace
from tcplab.experiments.experiment import (
    END_OF_FILE,
    ITS_ANSWER,
    NEXT_QUERY,
    QUERY_RUNS,
    Experiment,
    KeepaliveParameters,
    answered,
    says,
)

BROKEN = choice(
    "what breaks", "database", "client", "nothing",
    help="Which host loses its network. The proxy itself stays up.",
)  # fmt: skip
CLIENT_IDLE = replace(
    knobs.KEEPALIVE_IDLE, label="keepalive client → proxy", help="Idle time of the client's socket."
)
BACKEND_IDLE = replace(
    knobs.KEEPALIVE_IDLE,
    label="keepalive proxy → database",
    help="Idle time of the proxy's socket towards the database.",
)
FRONT_IDLE = replace(
    knobs.KEEPALIVE_IDLE, label="keepalive proxy → client",
    help="Idle time of the proxy's socket towards the client.",
)  # fmt: skip
PROXY_IDLE = replace(
    knobs.PERIOD, label="proxy's data timer", zero="off", slider_high=600,
    help="The proxy closes both legs when it has relayed no data for this long (HAProxy: timeout server).",
)  # fmt: skip
QUERY = replace(
    knobs.PERIOD, label="the query takes", zero="no query runs", slider_high=600,
    help="How long a query runs, during which the database sends nothing; 0: the session is idle.",
)  # fmt: skip

REQUEST_BYTES, RESPONSE_BYTES = 40, 200
#: A healthy leg is watched for no more probes than these.
MOST_PROBES = 10_000
#: The first exchange has come to nothing if it takes longer; a proxy's process outlasts any run.
READY_WITHIN_S, FOR_EVER_S = 60, 10**8
#: Less than this is no time, seconds: far above what adding up floats leaves, far below a timer tick.
CLOCK_S = 1e-6


@dataclass(frozen=True, kw_only=True)
class ProxyLegs(KeepaliveParameters, Experiment):
    """A session through a proxy; one end vanishes. Which end detects it, and by which timer?

    Times count from the break. The client waits in recv() all the time.
    """

    name = "proxy_legs"
    title = "A proxy has two legs: keepalive reaches only the proxy"
    lesson = "proxies"
    controls = ("broken", "client_keepalive_idle_s", "backend_keepalive_idle_s", "proxy_idle_s", "query_s")
    presets = {
        "the database vanishes, nothing set": {},
        "keepalive on the client": {"client_keepalive_idle_s": 2},
        "keepalive on the proxy": {"backend_keepalive_idle_s": 2},
        "HAProxy, timeout server 1m, a report of five minutes": {
            "broken": "nothing", "query_s": 300, "proxy_idle_s": 60, "client_keepalive_idle_s": 10,
            "proxy_keepalive_idle_s": 10, "backend_keepalive_idle_s": 10,
        },
        "the client vanishes during a query": {"broken": "client", "query_s": 10},
        "the same, keepalive on the proxy's side of it": {
            "broken": "client", "query_s": 10, "proxy_keepalive_idle_s": 2,
        },
    }  # fmt: skip
    pictures = ("ladder",)
    quick = {"client_keepalive_idle_s": 2, "backend_keepalive_idle_s": 2}
    sampled = {
        "broken": ("database", "database", "client", "nothing"), "client_keepalive_idle_s": (0, 1, 2),
        "backend_keepalive_idle_s": (0, 2), "proxy_keepalive_idle_s": (0, 0, 1), "keepalive_interval_s": (1,),
        "keepalive_probes": (1, 2), "proxy_idle_s": (0, 0, 3), "query_s": (0, 2, 5),
        # Near by, a machine that is busy for 10 ms would show as a tail loss probe.
        "latency_ms": (10, 20, 30), "watch_s": (6,),
    }  # fmt: skip

    broken: str = knob(BROKEN, default="database")
    client_keepalive_idle_s: float = knob(CLIENT_IDLE, default=0)
    backend_keepalive_idle_s: float = knob(BACKEND_IDLE, default=0)
    proxy_keepalive_idle_s: float = knob(FRONT_IDLE, default=0)
    keepalive_interval_s: float = knob(knobs.KEEPALIVE_INTERVAL, default=1)
    keepalive_probes: int = knob(knobs.KEEPALIVE_PROBES, default=3)
    proxy_idle_s: float = knob(PROXY_IDLE, default=0)
    query_s: float = knob(QUERY, default=0)
    watch_s: float = knob(knobs.WATCH, default=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.probes_as_linux_does(
            "client_keepalive_idle_s", "backend_keepalive_idle_s", "proxy_keepalive_idle_s"
        )

    def idle_controls(self) -> dict[str, str]:
        on = self.client_keepalive_idle_s or self.backend_keepalive_idle_s or self.proxy_keepalive_idle_s
        near = 2 * self.latency_ms / 1000 < self.keepalive_interval_s
        return knobs.idle(
            (not on, "keepalive_interval_s keepalive_probes", knobs.KEEPALIVE_OFF),
            (near and self.broken == "nothing", "keepalive_probes", "every probe is answered."),
        )

    async def run(self, bench: Bench) -> None:
        client_host, proxy_host, database_host = bench.hosts("client", "proxy", "database")
        front_listener = await proxy_host.listen(6432, options=self.options(self.proxy_keepalive_idle_s))
        back_listener = await database_host.listen(5432)
        _, client = await client_host.connect(proxy_host, 6432, self.options(self.client_keepalive_idle_s))
        front = await front_listener.accept()
        _, back = await proxy_host.connect(database_host, 5432, self.options(self.backend_keepalive_idle_s))
        session = await back_listener.accept()
        relay = _Relay(bench, front, back, self.proxy_idle_s)
        broken_host = {"client": client_host, "database": database_host}.get(self.broken)
        await bench.first(self._story(bench, client, session, relay, broken_host), relay.run())

    async def _story(
        self, bench: Bench, client: Connection, session: Connection, relay: _Relay, broken: Host | None
    ) -> None:
        if not await bench.within(READY_WITHIN_S, self._begins(client, session, relay)):
            return
        bench.watch_from_now()
        bench.does(client.host, "waits", *ITS_ANSWER)
        bench.does(relay.front.host, "waits", "relays: waits in recv() on both legs", "relays")
        if self.query_s:
            bench.does(session.host, "works", *QUERY_RUNS, locks=True)
        else:
            bench.does(session.host, "waits", *NEXT_QUERY)
        if broken is not None:
            broken.unplug()
        limit = bench.now() + self.watch()
        watched = [self._waits(bench, client, limit)]
        if self.broken != "database":
            watched.append(self._works(bench, session, limit))
        await bench.together(*watched)
        # What the proxy sends to either side is in flight.
        await bench.sleep(0.1)

    async def _begins(self, client: Connection, session: Connection, relay: _Relay) -> bool:
        """A question and its answer, and perhaps a query that goes on; False when it came to nothing."""
        await client.send(REQUEST_BYTES)
        if (await session.receive_exactly(REQUEST_BYTES)).value < REQUEST_BYTES:
            return False
        await session.send(RESPONSE_BYTES)
        if (await client.receive_exactly(RESPONSE_BYTES)).value < RESPONSE_BYTES:
            return False
        if self.query_s:
            await client.send(REQUEST_BYTES)
            if (await session.receive_exactly(REQUEST_BYTES)).value < REQUEST_BYTES:
                return False
        for each in (client, relay.front, relay.back, session):
            await each.settled()
        return True

    async def _waits(self, bench: Bench, client: Connection, limit: float) -> None:
        """The client, in recv() until it has its answer, or its end."""
        got = await bench.within(limit - bench.now(), client.receive_exactly(RESPONSE_BYTES))
        if got is not None and got.value < RESPONSE_BYTES:
            await client.close()
        elif got is not None:
            bench.does(client.host, "idle", "has its answer")

    async def _works(self, bench: Bench, session: Connection, limit: float) -> None:
        """The database's process: it answers when the query is done, and then waits for the next one."""
        if self.query_s:
            await bench.sleep(min(self.query_s, limit - bench.now()))
            if bench.now() >= limit or not (await session.send(RESPONSE_BYTES)).ok:
                return
            bench.does(session.host, "waits", *NEXT_QUERY)
            if self.broken == "nothing":
                return
        if await bench.within(max(limit - bench.now(), 0), session.receive()) is not None:
            await session.close()
            bench.does(session.host, "idle", "the session is over", "over")

    def watch(self) -> float:
        """How long it is watched from the break on, seconds: until the last timer must have fired."""
        if self.watch_s:
            return self.watch_s
        front, back = self.client_keepalive_idle_s, self.backend_keepalive_idle_s
        towards = {"database": (back,), "client": (front, self.proxy_keepalive_idle_s), "nothing": ()}
        ends = [self.options(idle).keepalive_watch_s for idle in towards[self.broken] if idle]
        ends += [self.proxy_idle_s] if self.proxy_idle_s else []
        if self.query_s and self.broken != "database":
            # An answer in flight to a client that is gone: retransmission ends it.
            ends.append(self.query_s + (1100 if self.broken == "client" else 0))
        probed = [idle for idle in (front, back, self.proxy_keepalive_idle_s) if idle]
        if not ends:
            # Nothing will ever end it: long enough to see a few probes.
            return 4.5 * max(probed, default=800)
        return min([max(ends) + 5, *(MOST_PROBES * idle for idle in probed)])

    def outcome(self, trace: Trace) -> dict[str, Any]:
        since = trace.watching_since
        end, over = self._end_for_client(trace), trace.calls_of("database", "close()", since)
        return {
            "noticed_by_client_after_s": seconds(end.t - since) if end else None,
            "error": end.error if end else None,
            "session_over_after_s": seconds(over[0].t - since) if over else None,
            "probes_seen_by_database": sum(
                p.kind == "keepalive" and p.receiver == "database" and p.arrives is not None and p.t >= since
                for p in trace.packets
            ),
        }

    def _end_for_client(self, trace: Trace) -> Call | None:
        """The client's recv() that returned the end; None while it waits, or has its answer."""
        ends = trace.calls_of("client", "recv(", trace.watching_since)
        return next((call for call in ends if call.error or call.result == END_OF_FILE), None)

    def answer(self, trace: Trace) -> Answer | None:
        """What becomes of the client's recv(); where the client is gone, of the database's session."""
        since = trace.watching_since
        if trace.watched_from is None:
            return None
        if self.broken == "client":
            closes = trace.calls_of("database", "close()", since)
            if closes:
                return answered(since, closes[0].t, "database", "session over")
            return Answer(since, None, "database", "nothing reaches the database: its session stays")
        end = self._end_for_client(trace)
        if end is not None:
            return answered(since, end.t, "client", end.result)
        rows = [call for call in trace.calls_of("client", "recv(", since) if call.result.isdigit()]
        if rows:
            return answered(since, rows[-1].t, "client", "rows arrive")
        waited = duration(trace.end - since)
        return Answer(since, None, "client", f"client: no answer and no error for {waited}")

    def sentence(self, trace: Trace) -> str:
        if trace.watched_from is None:
            return "The session ends before anything breaks: a timer is shorter than an answer takes."
        return " ".join(
            [
                {
                    "database": "The database's host loses its network.",
                    "client": "The client's host loses its network.",
                    "nothing": "Nothing breaks.",
                }[self.broken],
                *self._probes(trace),
                self._what_the_client_sees(trace),
                *self._what_the_database_sees(trace),
            ]
        )

    def _probes(self, trace: Trace) -> list[str]:
        """How far the client's keepalive reaches."""
        since = trace.watching_since
        sent = [p for p in trace.packets if p.kind == "keepalive" and p.sender == "client" and p.t >= since]
        if not sent or self.broken == "client":
            return []
        seen = trace.outcome["probes_seen_by_database"]
        reach = "none of them reaches the database" if not seen else "the database sees only the proxy's own"
        return [
            f"The client sends {plural(len(sent), 'keepalive probe')}; the proxy answers each, and {reach}."
        ]

    def _what_the_client_sees(self, trace: Trace) -> str:
        end = self._end_for_client(trace)
        if end is None:
            if any(c.result.isdigit() for c in trace.calls_of("client", "recv(", trace.watching_since)):
                return f"After {in_words(self.query_s)} without data the client gets its answer."
            return f"In {in_words(self.watch())} the client detects nothing: its recv() does not return."
        after = in_words(trace.outcome["noticed_by_client_after_s"])
        return f"The client's recv() ends after {after}{self._why(trace, end)}; {says(end.result)}."

    def _why(self, trace: Trace, end: Call) -> str:
        if end.result != END_OF_FILE:
            return ", because its own keepalive probes were not answered"
        backend = [c for c in trace.calls_of("proxy", "recv(", trace.watching_since) if c.error]
        if backend:
            return ", when the proxy's keepalive has given up the database and the proxy closes"
        return f": the proxy's data timer of {in_words(self.proxy_idle_s)} is over; probes don't restart it"

    def _what_the_database_sees(self, trace: Trace) -> list[str]:
        since = trace.watching_since
        if self.broken != "client":
            return []
        proxy, database = (trace.calls_of(host, "close()", since) for host in ("proxy", "database"))
        if not proxy:
            return [
                "Nothing reaches the database: the proxy is up. The session stays open and keeps its locks."
            ]
        closes = f"The proxy closes its leg to the database after {in_words(seconds(proxy[-1].t - since))}"
        if not database:
            return [f"{closes}; the backend there has not read its socket yet."]
        after = seconds(database[0].t - since)
        return [f"{closes}; the process there finds out after {in_words(after)}, and its locks are free."]


class _Relay:
    """What a proxy's process does: bytes in on one side, out on the other, and an end for both."""

    def __init__(self, bench: Bench, front: Connection, back: Connection, idle_s: float) -> None:
        self.bench = bench
        self.front, self.back = front, back
        self.idle_s = idle_s
        self.last_data = 0.0

    async def run(self) -> None:
        """Relay until either side ends or the data timer is over; then close both. Never returns."""
        self._limit()
        ends = [self._pump(self.front, self.back), self._pump(self.back, self.front)]
        if self.idle_s:
            ends.append(self._data_timer())
        await self.bench.first(*ends)
        if self.idle_s:
            self.bench.limit(self.front.host, "data timer", 0)
        await self.front.close()
        await self.back.close()
        self.bench.does(self.front.host, "idle", "has closed both legs", "closed")
        await self.bench.sleep(FOR_EVER_S)

    def _limit(self) -> None:
        """Data begins the data timer again."""
        self.last_data = self.bench.now()
        if self.idle_s:
            self.bench.limit(self.front.host, "data timer", self.idle_s)

    async def _pump(self, source: Connection, sink: Connection) -> None:
        while (got := await source.receive()).value:
            self._limit()
            if not (await sink.send(got.value)).ok:
                return

    async def _data_timer(self) -> None:
        # Seconds are floats: a rest too small for the clock would never pass.
        while (left := self.last_data + self.idle_s - self.bench.now()) > CLOCK_S:
            await self.bench.sleep(left)
