"""A RST that doesn't come from the peer: where in the window it falls decides what it does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tcplab.bench.script import Bench, SocketOptions
from tcplab.core.knobs import OFFSET, WINDOW, YES_NO, ParameterError, idle, knob
from tcplab.core.trace import Answer, Trace
from tcplab.experiments.experiment import ITS_ANSWER, QUERY_RUNS, Experiment, broke_at

SACK_HOLE = replace(
    YES_NO, label="a hole", help="A segment was lost before; a later one is queued out of order."
)
AT_SACK_EDGE = replace(
    YES_NO, label="at the SACK edge", help="Put the RST at the right edge of the out-of-order block."
)
#: Two requests, the first of which is lost: the hole and the block behind it.
HOLE = 40
REQUEST_BYTES = 40
#: The answer where a RST changes nothing, by what was made of it.
GOES_ON = "the RST is {}: the connection stays open"


@dataclass(frozen=True, kw_only=True)
class RstInWindow(Experiment):
    """A forged RST meets the client: accepted, challenged, or ignored."""

    name = "rst_in_window"
    title = "The RST that did not close: exact, in the window, outside"
    lesson = "the_rst_that_did_not_close"
    controls = ("offset", "window", "sack_hole", "at_sack_edge")
    presets = {
        "exact": {},
        "one byte past": {"offset": 1},
        "in the middle of the window": {"offset": 30000},
        "one byte too old": {"offset": -1},
        "right of the window": {"offset": 70000},
        "at the SACK edge": {"sack_hole": True, "at_sack_edge": True},
    }
    pictures = ("window", "ladder")
    quick = {"offset": 1}
    sampled = {
        "offset": (-70000, -5000, -1, 0, 1, 500, 30000, 60000, 70000, 200000), "window": (20000, 65536),
        "sack_hole": (False, True), "at_sack_edge": (False, False, True), "latency_ms": (1, 10),
    }  # fmt: skip

    offset: int = knob(OFFSET, default=0)
    window: int = knob(WINDOW, default=65536)
    sack_hole: bool = knob(SACK_HOLE, default=False)
    at_sack_edge: bool = knob(AT_SACK_EDGE, default=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.at_sack_edge and not self.sack_hole:
            raise ParameterError(
                "at_sack_edge = True needs sack_hole = True: without a hole there is no edge."
            )

    def idle_controls(self) -> dict[str, str]:
        return idle(
            (not self.sack_hole, "at_sack_edge", "there is no hole."),
            (self.at_sack_edge, "offset sack_hole", "the RST is at the SACK edge."),
        )

    async def run(self, bench: Bench) -> None:
        client_host, server_host = bench.hosts("client", "server")
        options = SocketOptions(receive_buffer=2 * self.window, window_clamp=self.window)
        client, server = await client_host.open(server_host, options)
        await client.exchange(server)
        # One more question, so that the last window the client advertised is that of an empty buffer.
        await client.send(REQUEST_BYTES)
        await server.receive_exactly(REQUEST_BYTES)
        await client.settled()
        if self.sack_hole:
            bench.lose(server_host, data=1)
            await server.send(HOLE)
            await server.send(HOLE)
            bench.lose(server_host, data=1000)
            await bench.sleep(4 * self.latency_ms / 1000)
        bench.watch_from_now()
        bench.does(client_host, "idle", "does something else", "something else")
        bench.does(server_host, "works", *QUERY_RUNS)
        bench.forge_reset(client, 2 * HOLE if self.at_sack_edge else self.offset)
        await bench.sleep(0.1 + 4 * self.latency_ms / 1000)
        bench.lose(server_host, data=0)
        # Is anybody still there? The client asks, whatever the server sends reaches it or not.
        await client.send(REQUEST_BYTES)
        await bench.sleep(0.5 + 4 * self.latency_ms / 1000)
        bench.does(client_host, "waits", *ITS_ANSWER)
        await bench.within(1, client.receive())

    def outcome(self, trace: Trace) -> dict[str, Any]:
        since = trace.watching_since
        asked = trace.calls_of("client", "send(", since)[0]
        # By order, not by time: without latency all of it happens at one moment.
        forged = next(i for i, p in enumerate(trace.packets) if p.kind == "forged")
        sent_before = [p for p in trace.packets[:forged] if p.sender == "client"]
        answered = any(p.sender == "client" and p.t < asked.began for p in trace.packets[forged:])
        error = asked.error
        verdict = "accepted" if error == "ECONNRESET" else "challenged" if answered else "ignored"
        return {
            "verdict": verdict,
            "alive": error is None,
            "client_error": error,
            "window": sent_before[-1].segment.window,
        }

    def answer(self, trace: Trace) -> Answer:
        """Obeyed, and the next call says so; or nothing changes."""
        start = broke_at(trace)
        if error := trace.outcome["client_error"]:
            asked = trace.calls_of("client", "send(", trace.watching_since)[0]
            return Answer(start, asked.t, "client", f"the RST is accepted: {error} at the next call")
        return Answer(start, None, "client", GOES_ON.format(trace.outcome["verdict"]))

    def sentence(self, trace: Trace) -> str:
        outcome = trace.outcome
        window = f"{outcome['window']:,} bytes"
        where = "at the right edge of the out-of-order block" if self.at_sack_edge else _where(self.offset)
        return {
            "accepted": f"The RST is {where}: it is accepted, and the client's next call fails with "
            "Connection reset by peer (ECONNRESET).",
            "challenged": f"The RST is {where}, inside the window of {window} but not exact: the client "
            "answers with a challenge ACK and the connection stays open. A real peer without a socket would "
            "answer that ACK with an exact RST.",
            "ignored": f"The RST is {where}, outside the window of {window}: it is discarded without "
            "an answer, and the connection stays open.",
        }[outcome["verdict"]]


def _where(offset: int) -> str:
    if not offset:
        return "exactly at RCV.NXT, the next byte expected"
    side = "past" if offset > 0 else "before"
    return f"{abs(offset):,} {'byte' if abs(offset) == 1 else 'bytes'} {side} RCV.NXT"
