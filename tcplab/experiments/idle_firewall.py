"""A firewall that forgets idle connections, and a session that is idle for longer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tcplab.bench.script import Bench, Connection
from tcplab.core import knobs
from tcplab.core.catalogue import EXPIRIES
from tcplab.core.knobs import ParameterError, choice, knob
from tcplab.core.segment import RST
from tcplab.core.text import SECOND, in_words, seconds
from tcplab.core.trace import Answer, Trace
from tcplab.experiments.experiment import (
    IN_POOL,
    ITS_ANSWER,
    NEXT_QUERY,
    QUERY_RUNS,
    Experiment,
    KeepaliveParameters,
    answered,
    first_error,
    says,
)
from tcplab.route.firewall import EXPIRED as ACTIONS
from tcplab.route.firewall import REMOVES, Firewall

EXPIRED = choice(
    "after the entry expired", *ACTIONS,
    help="What the firewall does with later packets of a connection whose entry has expired.",
)  # fmt: skip
QUIET = replace(
    knobs.PERIOD, label="quiet for", zero="not at all", slider_high=1200,
    help="How long no data is sent: by an idle session, or while the server works on a long query.",
)  # fmt: skip
WAITING_FOR = choice(
    "the client", "next_query", "long_query",
    help="Idle until its next query, or waiting in recv() for a result.",
)  # fmt: skip

REQUEST_BYTES, RESPONSE_BYTES = 40, 200
#: A segment and its acknowledgement, which may be delayed (TCP_DELACK_MAX).
DELAYED_ACK_S = 0.25
#: Within this a question that gets through has arrived.
ARRIVES_S = 1


@dataclass(frozen=True, kw_only=True)
class IdleFirewall(KeepaliveParameters, Experiment):
    """A healthy exchange through a firewall, silence, and then a query or the answer to one.

    detected_after_s counts from the first transmission of the question that stays unanswered; where
    the end came before any question, of the first probe. Keepalive and user timeout are the client's.
    """

    name = "idle_firewall"
    title = "A firewall's entry expires: the idle session, the long report, and your keepalive"
    lesson = "keepalive"
    controls = ("firewall_idle_s", "keepalive_idle_s", "quiet_s", "expired", "waiting_for")
    presets = {
        "AWS Network Firewall 350 s": {},
        "the same, a ten-minute report and libpq's defaults": {
            "waiting_for": "long_query", "quiet_s": 600, "keepalive_idle_s": 7200,
        },
        "keepalive 60/10/6 saves the report": {
            "waiting_for": "long_query", "quiet_s": 600, "keepalive_idle_s": 60,
            "keepalive_interval_s": 10, "keepalive_probes": 6,
        },
        "AWS NLB or NAT gateway 350 s: RST": {"expired": "reject"},
        "Azure load balancer 4 min": {"firewall_idle_s": 240, "quiet_s": 300},
        "Azure load balancer with TCP reset": {
            "firewall_idle_s": 240, "quiet_s": 300, "expired": "reset_both",
        },
        "Google Cloud firewall 600 s: next query": {
            "firewall_idle_s": 600, "quiet_s": 900, "expired": "drop_inbound",
        },
        "Google Cloud firewall 600 s: long report": {
            "firewall_idle_s": 600, "quiet_s": 900, "expired": "drop_inbound", "waiting_for": "long_query",
        },
        "Linux conntrack, tcp_loose": {"expired": "reopen"},
    }  # fmt: skip
    pictures = ("ladder",)
    quick = {"firewall_idle_s": 2, "quiet_s": 3, "retries2": 2}
    sampled = {
        "firewall_idle_s": (2, 3), "expired": tuple(ACTIONS), "keepalive_idle_s": (0, 0, 1, 3),
        "keepalive_interval_s": (1,), "keepalive_probes": (2,), "user_timeout_s": (0, 0, 2),
        "quiet_s": (1, 4, 4), "waiting_for": ("next_query", "long_query"), "retries2": (1, 2),
        "latency_ms": (1, 10, 20), "watch_s": (4,),
    }  # fmt: skip

    firewall_idle_s: float = knob(knobs.FIREWALL_IDLE, default=350)
    expired: str = knob(EXPIRED, default="drop")
    keepalive_idle_s: float = knob(knobs.KEEPALIVE_IDLE, default=0)
    keepalive_interval_s: float = knob(knobs.KEEPALIVE_INTERVAL, default=75)
    keepalive_probes: int = knob(knobs.KEEPALIVE_PROBES, default=9)
    user_timeout_s: float = knob(knobs.USER_TIMEOUT, default=0)
    quiet_s: float = knob(QUIET, default=400)
    waiting_for: str = knob(WAITING_FOR, default="next_query")
    retries2: int = knob(knobs.RETRIES2, default=15)
    watch_s: float = knob(knobs.WATCH, default=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.connects_in_time()
        self.probes_as_linux_does("keepalive_idle_s")
        if self.retries2 == 1 and self.latency_ms >= 1000:
            raise ParameterError(
                "retries2 = 1 gives up before the first answer can arrive at "
                f"latency_ms = {self.latency_ms:g}: 2 or more, or a latency below 1000 ms."
            )
        least = 4 * self.latency_ms / 1000 + DELAYED_ACK_S
        if 0 < self.firewall_idle_s <= least:
            raise ParameterError(
                f"firewall_idle_s = {self.firewall_idle_s:g} is over before the server has answered at all: "
                f"more than {least:g} s at latency_ms = {self.latency_ms:g}, or 0 (never)."
            )

    def idle_controls(self) -> dict[str, str]:
        longest = max(self.keepalive_idle_s, self.keepalive_interval_s)
        probed = self.keepalive_idle_s and longest < self.firewall_idle_s
        is_kept = not self.firewall_idle_s or probed or self.quiet_s < self.firewall_idle_s
        return knobs.idle(
            (not self.keepalive_idle_s, "keepalive_interval_s keepalive_probes", knobs.KEEPALIVE_OFF),
            (is_kept, "expired", "the connection is never idle that long."),
        )

    async def run(self, bench: Bench) -> None:
        client_host, server_host = bench.hosts("client", "server")
        bench.route(client_host, server_host, Firewall(round(self.firewall_idle_s * SECOND), self.expired))
        for host in (client_host, server_host):
            host.set(tcp_retries2=self.retries2)
        client, server = await client_host.open(server_host, self.options())
        await client.exchange(server, REQUEST_BYTES, RESPONSE_BYTES)
        bench.watch_from_now()
        await bench.together(self._ask(bench, client), self._answer(bench, server))

    async def _ask(self, bench: Bench, client: Connection) -> None:
        """An idle client notices nothing until it asks again."""
        limit = self.watch()
        if self.waiting_for == "next_query":
            bench.does(client.host, "idle", *IN_POOL)
            await bench.sleep(self.quiet_s)
        else:
            limit += self.quiet_s
        bench.does(client.host, "waits", *ITS_ANSWER)
        if (await client.send(REQUEST_BYTES)).ok:
            got = await bench.within(limit, client.receive_exactly(RESPONSE_BYTES))
            if got is not None and got.value == RESPONSE_BYTES:
                bench.does(client.host, "idle", "has its answer")

    async def _answer(self, bench: Bench, server: Connection) -> None:
        is_long = self.waiting_for == "long_query"
        bench.does(server.host, "waits", *NEXT_QUERY)
        arrives = ARRIVES_S + 2 * self.latency_ms / 1000 + (0 if is_long else self.quiet_s)
        asked = await bench.within(arrives, server.receive_exactly(REQUEST_BYTES))
        if asked is None or asked.value < REQUEST_BYTES:
            return
        if is_long:
            bench.does(server.host, "works", *QUERY_RUNS)
            await bench.sleep(self.quiet_s)
        bench.does(server.host, "waits", "has sent its rows, waits for the next query", *NEXT_QUERY)
        if (await server.send(RESPONSE_BYTES)).ok:
            await bench.within(self.watch(), server.settled())

    def watch(self) -> float:
        """How long the client is watched after the silence, seconds: until the answer can't be far."""
        if self.watch_s:
            return self.watch_s
        in_flight = max(1100, self.user_timeout_s + 130, (self.retries2 - 6) * 125)
        if not self.keepalive_idle_s or self.waiting_for == "next_query":
            return in_flight
        return max(in_flight, self.options().keepalive_watch_s)

    def outcome(self, trace: Trace) -> dict[str, Any]:
        since = trace.watching_since
        calls = trace.calls_of("client", ("send(", "recv("), since)
        read = sum(int(call.result) for call in calls if call.call == "recv()" and call.result.isdigit())
        survived = read == RESPONSE_BYTES
        broken = None if survived else trace.end_of_socket("client")
        return {
            "survived": survived,
            "error": first_error(calls),
            "detected_after_s": seconds(max(broken.t - self._origin(trace, broken.t), 0)) if broken else None,
            "server_left_behind": not survived
            and any(s.host == "server" and s.state != "LISTEN" for s in trace.sockets_at(trace.end)),
        }

    def _origin(self, trace: Trace, end: int) -> int:
        """When the client first sent what stays unanswered; its end where it sent nothing."""
        since = trace.watching_since
        asked = [p.t for p in trace.sent_by("client", since) if p.segment.length and p.t <= end]
        heard = trace.last_received("client", end)
        probes = [p.t for p in trace.sent_by("client", since, kind="keepalive") if heard < p.t <= end]
        return next(iter(asked or probes), end)

    def answer(self, trace: Trace) -> Answer:
        """From the question that stays unanswered to the end of its wait, by the outcome's number."""
        since, outcome = trace.watching_since, trace.outcome
        calls = trace.calls_of("client", ("send(", "recv("), since)
        if outcome["survived"]:
            what = "rows arrive" if self.waiting_for == "long_query" else "the answer arrives"
            return answered(calls[0].began, calls[-1].t, "client", what)
        broken, failed = trace.end_of_socket("client"), next((c for c in calls if c.error), None)
        if broken is None or failed is None:
            missing = "rows" if self.waiting_for == "long_query" else "answer"
            sends = [*trace.calls_of("server", "send(", since), *trace.calls_of("client", "send(", since)]
            return Answer(sends[0].began, None, "client", f"never: no {missing} and no error")
        start = self._origin(trace, broken.t)
        if start < broken.t:
            return answered(start, broken.t, "client", failed.result)
        # It was over before anything was asked.
        return Answer(broken.t, failed.t, "client", f"{failed.result} at the next query", 0)

    def sentence(self, trace: Trace) -> str:
        return " ".join([self._what_the_firewall_did(trace), *self._what_the_client_saw(trace)])

    def _what_the_firewall_did(self, trace: Trace) -> str:
        idle = in_words(self.firewall_idle_s)
        if any(note.host == "firewall" and note.text.startswith(REMOVES) for note in trace.notes):
            it = "It" if self.expired in ("reset_both", "reopen") else "From then on it"
            removes = "the firewall removes the connection from its table"
            return f"After {idle} without a packet {removes}. {it} {EXPIRIES[self.expired]}."
        if not self.firewall_idle_s:
            return "The firewall keeps every entry."
        return f"The connection is never idle for {idle}, so the firewall keeps its entry."

    def _what_the_client_saw(self, trace: Trace) -> list[str]:
        outcome = trace.outcome
        is_long = self.waiting_for == "long_query"
        what = "The long query" if is_long else "The next query"
        if outcome["survived"]:
            return [f"{what} gets its answer; no call fails."]
        if outcome["error"] is not None:
            event = f"{what} fails {self._when(trace)}; {says(outcome['error'])}."
        elif is_long and not self.keepalive_idle_s:
            event = f"{what} gets no answer, and the client waits indefinitely: keepalive is off."
        else:
            watched = in_words(self.watch())
            event = f"{what} gets no answer, and in {watched} after the silence no call returns."
        return [event, self._what_is_left(trace)]

    def _when(self, trace: Trace) -> str:
        after = trace.outcome["detected_after_s"] or 0
        if any(p.segment.length for p in trace.sent_by("client", trace.watching_since)):
            return "at once" if after < 0.1 else f"after {in_words(after)}"
        return "at once: the connection had already ended"

    def _what_is_left(self, trace: Trace) -> str:
        if trace.outcome["server_left_behind"]:
            return "The server received nothing: its session stays open and keeps its locks."
        got = [p for p in trace.packets if p.receiver == "server" and p.fate == "delivered" and p.arrives]
        how = "got a RST" if any(p.segment.flags & RST for p in got) else "gave up retransmitting its answer"
        return f"The server {how}, and its session is gone."
