"""Data in flight, and the cable out: how long a sender goes on trying."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tcplab.bench import run
from tcplab.bench.script import Bench
from tcplab.core import knobs
from tcplab.core.knobs import knob
from tcplab.core.releases import release
from tcplab.core.text import SECOND, in_words, seconds, times
from tcplab.core.trace import Answer, Packet, Trace
from tcplab.experiments.experiment import (
    ITS_ANSWER,
    NEXT_QUERY,
    Experiment,
    KeepaliveParameters,
    answered,
    unanswered,
)
from tcplab.model.sender import retries_as_time
from tcplab.model.wheel import phases

REQUEST_BYTES = 40
#: The default of tcp_rto_max_ms, and the constant before Linux had it.
LONGEST_TIMEOUT_S = 120
#: How many phases of the kernel's timer wheel are tried.
PHASES = 16


@dataclass(frozen=True, kw_only=True)
class DeadPeer(KeepaliveParameters, Experiment):
    """The server vanishes just before the client sends: retransmission, and nothing else, decides.

    Times count from the first transmission of what stays unanswered.
    """

    name = "dead_peer"
    title = "Dead peer: data in flight, and no acknowledgement"
    lesson = "dead_peer"
    controls = ("retries2", "user_timeout_s", "sack", "latency_ms")
    presets = {
        "Linux default": {},
        "small keepalive 5/1/3": {
            "keepalive_idle_s": 5, "keepalive_interval_s": 1, "keepalive_probes": 3,
        },
        "user timeout 30 s": {"user_timeout_s": 30},
        "retries2 = 5": {"retries2": 5},
        "longest timeout 10 s": {"rto_max_s": 10},
    }  # fmt: skip
    # At 1 ms the fifth timeout would lie so near to 3.0 s that a late timer saves a transmission.
    quick = {"retries2": 3, "latency_ms": 20}
    sampled = {
        "retries2": (1, 2, 3), "user_timeout_s": (0, 0, 2, 4), "keepalive_idle_s": (0, 2),
        "keepalive_interval_s": (1,), "keepalive_probes": (2,), "sack": (True, False),
        "latency_ms": (1, 10, 40), "rto_max_s": (120, 120, 1), "watch_s": (12,),
    }  # fmt: skip

    retries2: int = knob(knobs.RETRIES2, default=15)
    user_timeout_s: float = knob(knobs.USER_TIMEOUT, default=0)
    keepalive_idle_s: float = knob(knobs.KEEPALIVE_IDLE, default=0)
    keepalive_interval_s: float = knob(knobs.KEEPALIVE_INTERVAL, default=75)
    keepalive_probes: int = knob(knobs.KEEPALIVE_PROBES, default=9)
    sack: bool = knob(knobs.SACK, default=True)
    rto_max_s: float = knob(knobs.RTO_MAX, default=LONGEST_TIMEOUT_S)
    watch_s: float = knob(knobs.WATCH, default=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.connects_in_time()

    def idle_controls(self) -> dict[str, str]:
        quiet = "no probe is sent while data is unacknowledged."
        return knobs.idle(
            (True, "keepalive_idle_s keepalive_interval_s keepalive_probes", quiet),
            (self.user_timeout_s, "retries2", knobs.USER_TIMEOUT_DECIDES),
            (not release(self.linux).has_rto_max, "rto_max_s", f"Linux {self.linux} does not have it."),
        )

    async def run(self, bench: Bench) -> None:
        client_host, server_host = bench.hosts("client", "server")
        for host in (client_host, server_host):
            host.set(tcp_sack=int(self.sack))
        client_host.set(tcp_retries2=self.retries2)
        if self.rto_max_s != LONGEST_TIMEOUT_S:
            client_host.set(tcp_rto_max_ms=round(self.rto_max_s * 1000))
        client, server = await client_host.open(server_host, self.options())
        await client.exchange(server, REQUEST_BYTES)
        bench.watch_from_now()
        bench.does(server_host, "waits", *NEXT_QUERY)
        server_host.unplug()
        bench.does(client_host, "waits", *ITS_ANSWER)
        await client.send(REQUEST_BYTES)
        if not (await client.wait_until_broken(self.watch())).ok:
            await client.receive()

    def watch(self) -> float:
        """How long the client is watched, seconds."""
        return self.watch_s or max(1100, self.user_timeout_s + 130, (self.retries2 - 6) * 125)

    def _unanswered(self, trace: Trace) -> list[Packet]:
        return [p for p in trace.sent_by("client", trace.watching_since) if p.segment.length == REQUEST_BYTES]

    def outcome(self, trace: Trace) -> dict[str, Any]:
        data = self._unanswered(trace)
        broken = trace.end_of_socket("client")
        return {
            "transmissions": len(data),
            "detected_after_s": seconds(broken.t - data[0].t) if broken else None,
            "error": trace.calls_of("client", "recv(")[-1].error if broken else None,
        }

    def answer(self, trace: Trace) -> Answer:
        start, broken = self._unanswered(trace)[0].t, trace.end_of_socket("client")
        if broken is None:
            return unanswered(start, trace, "client")
        return answered(start, broken.t, "client", trace.outcome["error"])

    def sentence(self, trace: Trace) -> str:
        outcome = trace.outcome
        sent = times(outcome["transmissions"])
        if outcome["detected_after_s"] is None:
            watched = in_words(self.watch())
            return f"In {watched} the client sent the same {REQUEST_BYTES} bytes {sent}, and it still waits."
        keepalive = " Keepalive was on and sent no probe: none is sent while data is unacknowledged."
        return (
            f"The client sends the same {REQUEST_BYTES} bytes {sent}, with growing gaps, and gives up after "
            f"{in_words(outcome['detected_after_s'])}: Connection timed out (ETIMEDOUT). "
            f"No RST is sent; the server is not informed.{self._by_chance(trace)}"
            f"{keepalive if self.keepalive_idle_s else ''}"
        )

    def _by_chance(self, trace: Trace) -> str:
        """A sentence where Linux gives up at one of two timers, depending on the phase of its timer wheel.

        This happens where the limit ends close to a timer: the wheel makes each up to an eighth late.
        """
        sent, broken = [packet.t for packet in self._unanswered(trace)], trace.end_of_socket("client")
        if trace.bench != "model" or self.user_timeout_s or broken is None:
            return ""
        # The clock of tcp_retries2 starts with the first repeat, or the second one after a tail loss probe.
        longest = self.rto_max_s if release(self.linux).has_rto_max else LONGEST_TIMEOUT_S
        limit = retries_as_time(self.retries2, rto_max=round(longest * SECOND))
        timers = [*sent[2:], broken.t]
        if not any(each - t <= 1.01 * limit <= 1.15 * (each - t) for t in sent[1:3] for each in timers):
            return ""
        found = _gives_up(self)
        if len(found) < 2:
            return ""
        shares = (f"after {in_words(round(after, 1))} ({times(often)})" for after, often in found)
        return (
            " On Linux this varies from run to run, because the kernel's timer wheel makes timers slightly "
            f"late: in {PHASES} runs at different phases of the wheel, the client gives up "
            f"{' and '.join(shares)}."
        )


@lru_cache(maxsize=256)
def _gives_up(experiment: DeadPeer) -> list[tuple[float, int]]:
    """When Linux gives up, seconds, and in how many of the phases: one entry for each number of segments."""
    runs = [run(experiment, ticks=each).outcome for each in phases(release(experiment.linux), PHASES)]
    counts = Counter(outcome["transmissions"] for outcome in runs)
    first = {outcome["transmissions"]: outcome["detected_after_s"] for outcome in reversed(runs)}
    return [(first[sent], counts[sent]) for sent in sorted(counts)]
