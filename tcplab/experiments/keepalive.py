"""An idle connection, and the probes that test whether the peer is still there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tcplab.bench.script import Bench, Connection, SocketOptions
from tcplab.core import knobs
from tcplab.core.knobs import choice, knob
from tcplab.core.segment import RST
from tcplab.core.text import in_words, plural, seconds
from tcplab.core.trace import Answer, Trace
from tcplab.experiments.experiment import (
    ERRORS,
    IN_POOL,
    ITS_ANSWER,
    NEXT_QUERY,
    QUERY_RUNS,
    Experiment,
    KeepaliveParameters,
    answered,
    broke_at,
    unanswered,
)

PEER = choice(
    "the server", "alive", "offline", "rebooted", "moved",
    help="What happens to it: nothing, its cable is out, it has rebooted, or its address has moved.",
)  # fmt: skip
DATA_EVERY = replace(knobs.PERIOD, label="data every", help="A query and its answer at this interval.")
UNACKED = replace(
    knobs.YES_NO, label="data in flight", help="The client sends right after the server is gone."
)
WAITING = replace(
    knobs.YES_NO,
    label="query running",
    help="The client's last query was acknowledged, and it waits for the rows; off: it is idle.",
)
QUERY_BYTES = 40
#: How many questions are asked at most while a living server is watched.
EXCHANGES = 20
#: And how many before anything happens to the server.
EXCHANGES_BEFORE = 3


@dataclass(frozen=True, kw_only=True)
class Keepalive(KeepaliveParameters, Experiment):
    """A healthy exchange, then silence: when does the client detect that the server is gone?

    Times count from the last segment that the client received from the living server.
    """

    name = "keepalive"
    title = "Keepalive: when does an idle connection detect a dead peer?"
    lesson = "keepalive"
    controls = ("idle_s", "interval_s", "probes", "peer")
    presets = {
        "Linux default 7200/75/9": {},
        "redis-cli 15/5/3": {"idle_s": 15, "interval_s": 5, "probes": 3},
        "redis-server 300/100/3": {"idle_s": 300, "interval_s": 100, "probes": 3},
        "behind a 350 s firewall": {"idle_s": 120, "interval_s": 30, "probes": 4},
        "user timeout 30 s": {"idle_s": 60, "interval_s": 10, "probes": 6, "user_timeout_s": 30},
    }
    quick = {"idle_s": 4, "interval_s": 2, "probes": 3}
    sampled = {
        "idle_s": (0, 2, 3, 4), "interval_s": (1, 2), "probes": (1, 2, 3), "user_timeout_s": (0, 0, 6),
        "peer": ("alive", "offline", "offline", "rebooted", "moved"), "data_every_s": (0, 0, 1),
        "unacked": (False, False, True), "waiting": (False, False, True),
        "latency_ms": (1, 10), "watch_s": (9,),
    }  # fmt: skip

    idle_s: float = knob(knobs.KEEPALIVE_IDLE, default=7200)
    interval_s: float = knob(knobs.KEEPALIVE_INTERVAL, default=75)
    probes: int = knob(knobs.KEEPALIVE_PROBES, default=9)
    user_timeout_s: float = knob(knobs.USER_TIMEOUT, default=0)
    peer: str = knob(PEER, default="offline")
    data_every_s: float = knob(DATA_EVERY, default=0)
    unacked: bool = knob(UNACKED, default=False)
    waiting: bool = knob(WAITING, default=False)
    watch_s: float = knob(knobs.WATCH, default=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.probes_as_linux_does("idle_s")
        self.connects_in_time()

    def idle_controls(self) -> dict[str, str]:
        return knobs.idle(
            (not self.idle_s, "interval_s probes", knobs.KEEPALIVE_OFF),
            (self.user_timeout_s, "probes", knobs.USER_TIMEOUT_DECIDES),
            (self.unacked or self.data_every_s, "waiting", "the client sends instead."),
        )

    async def run(self, bench: Bench) -> None:
        third = ["new owner"] if self.peer == "moved" else []
        client_host, server_host, *others = bench.hosts("client", "server", *third)
        client, server = await client_host.open(server_host, self.options())
        await client.exchange(server)
        every = f"asks every {in_words(self.data_every_s)}, idle between"
        bench.does(client_host, "idle", *((every, "asks") if self.data_every_s else IN_POOL))
        bench.does(server_host, "waits", *NEXT_QUERY)
        if not await self._talks(client, server, EXCHANGES_BEFORE):
            bench.watch_from_now()
            await client.receive()
            return
        if self._waits:
            await self._asks(bench, client, server)
        bench.watch_from_now()
        if self.peer == "offline":
            server_host.unplug()
        elif self.peer == "rebooted":
            server_host.reboot()
        elif self.peer == "moved":
            bench.move_address(server_host, others[0])
        if self.unacked:
            bench.does(client_host, "waits", *ITS_ANSWER)
            await client.send(QUERY_BYTES)
        elif self.peer != "alive" and not self._waits:
            bench.does(client_host, "idle", *IN_POOL)  # no question any more, if there were some
        await self._watch(bench, client, server)

    @property
    def _waits(self) -> bool:
        """Whether a query is running."""
        return self.waiting and not self.unacked and not self.data_every_s

    @staticmethod
    async def _asks(bench: Bench, client: Connection, server: Connection) -> None:
        """A query that arrives, is acknowledged, and gets no rows while anyone watches."""
        await client.send(QUERY_BYTES)
        await server.receive_exactly(QUERY_BYTES)
        await client.settled()
        bench.does(client.host, "waits", *ITS_ANSWER)
        bench.does(server.host, "works", *QUERY_RUNS)

    async def _watch(self, bench: Bench, client: Connection, server: Connection) -> None:
        if self.peer == "alive" and self.data_every_s:
            if await self._talks(client, server, min(int(self.watch() // self.data_every_s), EXCHANGES)):
                return
        elif (await client.wait_until_broken(self.watch())).ok:
            return
        await client.receive()

    async def _talks(self, client: Connection, server: Connection, often: int) -> bool:
        """Questions and answers; False when keepalive has ended a connection that was well.

        It does when the answer to a probe takes longer than interval times probes.
        """
        for _ in range(often if self.data_every_s else 0):
            if not (await client.wait_until_broken(self.data_every_s)).ok:
                return False
            await client.exchange(server)
        return True

    def options(self, idle_s: float | None = None) -> SocketOptions:
        return SocketOptions(
            keepalive_idle_s=self.idle_s if idle_s is None else idle_s,
            keepalive_interval_s=self.interval_s,
            keepalive_probes=self.probes,
            user_timeout_s=self.user_timeout_s,
        )

    def watch(self) -> float:
        """How long the client is watched, seconds: until the answer can't be far."""
        if self.watch_s:
            return self.watch_s
        if not self.idle_s:
            return 1100 if self.unacked else 3600
        if self.peer == "alive":
            watched = 3.5 * max(self.idle_s, self.data_every_s)
            return min(watched, EXCHANGES * self.data_every_s) if self.data_every_s else watched
        total = self.options().keepalive_watch_s
        return max(total, 1100) if self.unacked else total + 5

    def outcome(self, trace: Trace) -> dict[str, Any]:
        origin = trace.last_received("client", trace.watching_since)
        probes = [p for p in trace.sent_by("client", kind="keepalive") if p.t > origin]
        sent, broken = trace.sent_by("client", origin), trace.end_of_socket("client")
        return {
            "probe_times_s": [seconds(p.t - origin) for p in probes],
            "detected_after_s": seconds(broken.t - origin) if broken else None,
            "error": trace.calls_of("client", "recv(")[-1].error if broken else None,
            "last_segment": "RST" if broken and sent and sent[-1].segment.flags & RST else "none",
        }

    def answer(self, trace: Trace) -> Answer:
        """From the break to the end of the client's socket, by the outcome's number."""
        outcome, broken = trace.outcome, trace.end_of_socket("client")
        if broken:
            origin = trace.last_received("client", trace.watching_since)
            start = origin if broken.t < trace.watching_since or self.peer == "alive" else broke_at(trace)
            return answered(start, broken.t, "client", outcome["error"], broken.t - origin)
        if self.peer != "alive":
            return unanswered(broke_at(trace), trace, "client")
        probes = plural(len(outcome["probe_times_s"]), "probe")
        return Answer(trace.watching_since, None, "client", f"nothing to detect: {probes}")

    def sentence(self, trace: Trace) -> str:
        outcome = trace.outcome
        probes, after = len(outcome["probe_times_s"]), outcome["detected_after_s"]
        if after is not None:
            how = (
                f"{plural(probes, 'probe')} {'was' if probes == 1 else 'were'} not answered"
                if probes
                else "it sent no probe"
            )
            if outcome["error"] == "ECONNRESET":
                how = f"a RST answered its {'' if probes == 1 else 'last '}probe"
            event = f"The client detects the failure after {in_words(after)}: {how}"
            return f"{event}. Its next call fails with {ERRORS[outcome['error']]}.{self._why()}"
        watched = in_words(self.watch())
        if not self.idle_s:
            return (
                f"Keepalive is off: in {watched} not one segment is sent, and the client waits "
                "indefinitely. No call returns, no error appears."
            )
        if self.peer == "alive":
            what, why = f"{plural(probes, 'probe')}, each answered at once", ""
            if not probes and (earlier := len(trace.sent_by("client", kind="keepalive"))):
                what = "no further probe"
                why = (
                    f" It sent {plural(earlier, 'probe')} before, and after a probe the kernel checks again "
                    f"only when the interval has elapsed: {in_words(self.interval_s)}."
                )
            elif not probes:
                what = "no probe at all"
                why = (
                    " Data arrived more often than the idle time, and all that arrives restarts the "
                    "idle timer."
                )
            event = f"The server is alive. In {watched} the client sends {what}"
            return f"{event}; no call fails.{why}"
        sent = plural(probes, "probe") if probes else "no probe"
        sent = plural(probes, "probe") if probes else "no probe"
        return f"In {watched} the client sent {sent} and has not detected the failure."

    def _why(self) -> str:
        if self.unacked:
            decides = "retransmission decides when it ends"
            return f" While data is unacknowledged no keepalive probe is sent: {decides}."
        is_late = " The server was alive: its answer took longer than interval times probes."
        return is_late if self.peer == "alive" else ""
