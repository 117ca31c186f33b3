"""A RST that a firewall forges too late: the server ignores it, a balancer does not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

from tcplab.bench.script import Bench, Connection
from tcplab.core.knobs import PERIOD, WATCH, YES_NO, Knob, idle, knob
from tcplab.core.segment import ACK, RST, seq_diff
from tcplab.core.text import MILLISECOND, SECOND, duration, in_words, plural, seconds
from tcplab.core.trace import Answer, Packet, SocketSample, Trace
from tcplab.experiments.experiment import Experiment, first_error, says
from tcplab.experiments.rst_in_window import GOES_ON
from tcplab.route.firewall import Balancer

IN_FLIGHT = Knob(
    "newer requests", int, "", 0, 20, zero="one at a time", slider_high=9, test_only=True,
    help="Requests that are in flight when the response to the first one is rejected.",
)  # fmt: skip
BALANCER_CLOSE = replace(
    PERIOD, label="balancer's close timer", zero="no balancer", high=600, slider_high=30,
    help="A load balancer on the path accepts the RST and removes the session after this time.",
)  # fmt: skip
REFRESH = replace(
    YES_NO, label="each packet restarts the timer",
    help="As IPVS does: a client that keeps sending keeps its session.",
)  # fmt: skip

REQUEST_BYTES, RESPONSE_BYTES = 40, 200
#: Between the requests in flight, and between the questions afterwards.
APART_S, ASKS_EVERY_S = 0.005, 0.25
#: How long the server works on a request that is alone: longer than an ACK is delayed.
ALONE_S = 0.1
#: What is asked so shortly before the end would not be answered within the run.
ANSWERED_WITHIN_S = 0.2
#: A challenge ACK is sent in the moment in which the RST arrives.
AT_ONCE = MILLISECOND


@dataclass(frozen=True, kw_only=True)
class StaleReject(Experiment):
    """Requests one after the other; the client's own firewall rejects the response to the first.

    closed_after_s counts from the RST to the first end that is gone.
    """

    name = "stale_reject"
    title = "The stale RST: sent by a firewall, ignored by the server, accepted by a load balancer"
    lesson = "the_rst_that_did_not_close"
    controls = ("in_flight", "balancer_close_s", "balancer_refresh", "latency_ms")
    presets = {
        "six newer requests in flight": {},
        "one at a time": {"in_flight": 0},
        "a balancer with a 10 s timer": {"balancer_close_s": 10},
        "IPVS: each packet restarts the 10 s": {"balancer_close_s": 10, "balancer_refresh": True},
        "20 ms away": {"latency_ms": 20, "balancer_close_s": 10},
    }
    pictures = ("ladder", "window")
    quick = {"latency_ms": 20, "balancer_close_s": 2}
    sampled = {
        "in_flight": (0, 3, 4, 6), "balancer_close_s": (0, 2, 3), "balancer_refresh": (False, False, True),
        "latency_ms": (20, 30), "watch_s": (4,),
    }  # fmt: skip
    no_edges = ("latency_ms",)

    in_flight: int = knob(IN_FLIGHT, default=6)
    balancer_close_s: float = knob(BALANCER_CLOSE, default=0)
    balancer_refresh: bool = knob(REFRESH, default=False)
    watch_s: float = knob(WATCH, default=0)

    def idle_controls(self) -> dict[str, str]:
        return idle((not self.balancer_close_s, "balancer_refresh", "there is no balancer."))

    async def run(self, bench: Bench) -> None:
        client_host, server_host = bench.hosts("client", "server")
        if self.balancer_close_s:
            balancer = Balancer(round(self.balancer_close_s * SECOND), refresh=self.balancer_refresh)
            bench.route(client_host, server_host, balancer)
        client, server = await client_host.open(server_host)
        await client.exchange(server, REQUEST_BYTES, RESPONSE_BYTES)
        await bench.sleep(0.05 + self.latency_ms / 1000)  # nothing is on the wire while rules are changed
        bench.watch_from_now()
        client_host.reject(client.port, times=1)
        end = bench.now() + self.watch()
        await bench.together(
            self._ask(bench, client, end), self._listen(bench, client, end), self._answer(bench, server, end)
        )

    async def _ask(self, bench: Bench, client: Connection, end: float) -> None:
        bench.does(client.host, "reads", "sends requests, reads the answers", "asks")
        began = bench.now()
        times = [began + i * APART_S for i in range(self.in_flight + 1)]
        # Afterwards: the RST is back at the server by then.
        next_one = max(times[-1], began + self._works_on_the_first() + 3 * self.latency_ms / 1000)
        while (next_one := next_one + ASKS_EVERY_S) < end - ANSWERED_WITHIN_S:
            times.append(next_one)
        for t in times:
            await bench.sleep(max(t - bench.now(), 0))
            if not (await client.send(REQUEST_BYTES)).ok:
                return

    async def _listen(self, bench: Bench, client: Connection, end: float) -> None:
        while (left := end - bench.now()) > 0:
            got = await bench.within(left, client.receive())
            if got is None or not got.value:
                return

    async def _answer(self, bench: Bench, server: Connection, end: float) -> None:
        works = self._works_on_the_first()
        while (left := end - bench.now()) > 0:
            asked = await bench.within(left, server.receive_exactly(REQUEST_BYTES))
            if asked is None or asked.value < REQUEST_BYTES:
                return
            if works:
                bench.does(server.host, "works", "works on the first request", "works")
            await bench.sleep(works)
            works = 0
            bench.does(server.host, "waits", "answers at once", "answers")
            if not (await server.send(RESPONSE_BYTES)).ok:
                return

    def _works_on_the_first(self) -> float:
        """How long the server takes for the first request, seconds.

        Far away it answers at once: the newer requests have left before its response can arrive. Near by
        it takes its time, until the last of them is in flight between the two; it never answers at the
        moment when one of them arrives. A request that is alone is acknowledged before it is answered, and
        so not retransmitted.
        """
        if not self.in_flight:
            return ALONE_S
        latency, last = self.latency_ms / 1000, self.in_flight * APART_S
        return 0 if 2 * latency > last + APART_S / 2 else last - min(0.75 * latency, APART_S / 2)

    def watch(self) -> float:
        """How long the run lasts from the first request on, seconds."""
        if self.watch_s:
            return self.watch_s
        return self.balancer_close_s + 3 + self.in_flight * APART_S + 8 * self.latency_ms / 1000

    def outcome(self, trace: Trace) -> dict[str, Any]:
        reset = _reset(trace)
        if reset is None:  # watched too briefly to see it
            return {"verdict": None, "alive_after_rst": None, "closed_after_s": None}
        verdict = _verdict(trace, reset)
        closed = self._closed(trace, reset)
        return {
            "verdict": verdict,
            "alive_after_rst": verdict != "accepted",
            "closed_after_s": None if closed is None else seconds(closed.t - reset.t),
        }

    def _closed(self, trace: Trace, reset: Packet) -> SocketSample | None:
        """The first end of the connection that is gone after the RST."""
        ends = (s for s in trace.sockets if s.state == "CLOSED" and s.host in ("client", "server"))
        return min((s for s in ends if s.t >= reset.t), key=attrgetter("t"), default=None)

    def answer(self, trace: Trace) -> Answer | None:
        reset, verdict = _reset(trace), trace.outcome["verdict"]
        if reset is None or verdict is None:
            return None
        closed = self._closed(trace, reset)
        if closed is None:
            return Answer(reset.t, None, "server", GOES_ON.format(verdict))
        words = f"closed {duration(closed.t - reset.t)} after the RST"
        return Answer(reset.t, closed.t, closed.host, words)

    def sentence(self, trace: Trace) -> str:
        reset, verdict = _reset(trace), trace.outcome["verdict"]
        if reset is None:
            return f"In {in_words(self.watch())} no response arrived that the client's firewall could reject."
        event = (
            "The client's own firewall answers the response to the first request with a RST at the number "
            "that this response acknowledged."
        )
        if verdict is None:
            return f"{event} The run ends before the RST arrives."
        return " ".join([event, self._what_the_server_made_of_it(trace, reset), self._what_ended_it(trace)])

    def _what_the_server_made_of_it(self, trace: Trace, reset: Packet) -> str:
        verdict = trace.outcome["verdict"]
        if verdict == "accepted":
            return (
                "Nothing newer has reached the server: the number is exact, and the server accepts the RST."
            )
        if verdict == "challenged":
            return (
                "It is inside the server's window but not exact: a challenge ACK, and the connection "
                "stays open."
            )
        behind = seq_diff(_expected(trace, reset), reset.segment.seq)
        newer = plural(behind // REQUEST_BYTES, "newer request")
        return (
            f"By then the server has {newer} and expects a number {behind} higher: the RST is stale "
            "and discarded without an answer, and the client gets its answers as before."
        )

    def _what_ended_it(self, trace: Trace) -> str:
        closed = trace.outcome["closed_after_s"]
        calls = trace.calls_of("client", "", trace.watching_since)
        error = first_error(calls)
        if trace.outcome["verdict"] == "accepted":
            hears = f"gets the error at its next request; {says(error)}." if error else "has no error yet."
            return f"The client, whose kernel saw no RST, {hears}"
        close = in_words(self.balancer_close_s)
        if closed is not None:
            ends = f"The connection ends {in_words(closed)} after the first RST"
            return (
                f"But the load balancer accepted it: {close} later it removes the session, and answers the "
                f"next packet with a RST. {ends}{f'; {says(error)}' if error else ''}."
            )
        if not self.balancer_close_s:
            return "Nothing else ends the connection."
        if self.balancer_refresh:
            return (
                f"The load balancer accepted it, too, but each packet restarts its timer of {close}: while "
                "the client keeps sending, nothing is closed."
            )
        return f"The load balancer accepted it; its timer of {close} has not expired yet."


def _reset(trace: Trace) -> Packet | None:
    """The RST that the client's firewall forged."""
    since = trace.watching_since
    return next(
        (p for p in trace.packets if p.sender == "client" and p.t >= since and p.segment.flags & RST), None
    )


def _expected(trace: Trace, reset: Packet) -> int:
    """RCV.NXT of the server when the RST arrives: the end of the newest request that came before it."""
    arrives = reset.arrives if reset.arrives is not None else trace.end
    came = [
        p.segment.end_seq
        for p in trace.packets
        if p.sender == "client" and p.segment.length and p.arrives is not None and p.arrives < arrives
    ]
    return max(came, key=lambda end: seq_diff(end, reset.segment.seq))


def _verdict(trace: Trace, reset: Packet) -> str | None:
    """What the server made of it; None where the RST has not arrived.

    The model says so itself; of Linux it is read from what the server does next.
    """
    arrives = reset.arrives
    if reset.verdict or arrives is None:
        return reset.verdict or None
    closed = [s.t for s in trace.sockets if s.host == "server" and s.state == "CLOSED" and s.t >= arrives]
    soon = arrives + AT_ONCE
    came = [p for p in trace.packets if p.receiver == "server" and p is not reset and p.arrives is not None]
    if closed and not any(p.segment.flags & RST and arrives <= (p.arrives or 0) <= closed[0] for p in came):
        return "accepted"
    if any(arrives <= (p.arrives or 0) <= soon for p in came):
        return "ignored"
    sent = [p.segment for p in trace.packets if p.sender == "server" and arrives <= p.t <= soon]
    return "challenged" if any(each.flags == ACK and not each.length for each in sent) else "ignored"
