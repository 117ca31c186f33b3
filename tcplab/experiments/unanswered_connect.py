"""connect() to a host that drops, rejects or has closed the port."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tcplab.bench.script import TIMER_LATE, Bench, SocketOptions
from tcplab.core.knobs import SYN_LINEAR_TIMEOUTS, SYN_RETRIES, USER_TIMEOUT, WATCH, choice, idle, knob
from tcplab.core.releases import release
from tcplab.core.segment import SYN
from tcplab.core.text import in_words, plural, seconds
from tcplab.core.trace import Answer, Trace
from tcplab.experiments.experiment import Experiment, answered, unanswered

FATE = choice(
    "the SYN is", "drop", "reject", "closed",
    help="Dropped by a firewall, rejected by one, or sent to a closed port.",
    names=("dropped", "rejected", "sent to a closed port"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class UnansweredConnect(Experiment):
    """How long connect() waits, and what it returns. Times count from the first SYN."""

    name = "unanswered_connect"
    title = "connect() without an answer: refused at once, or a timeout after 131 seconds"
    lesson = "fin_or_rst"
    controls = ("fate", "syn_retries", "linear_timeouts", "user_timeout_s")
    presets = {
        "Linux default, dropped": {},
        "Linux before 6.5, dropped": {"linux": "6.1"},
        "closed port": {"fate": "closed"},
        "two retries": {"syn_retries": 2},
    }
    quick = {"syn_retries": 1, "linear_timeouts": 2}
    sampled = {
        "fate": ("drop", "drop", "drop", "reject", "closed"), "syn_retries": (1, 2),
        "linear_timeouts": (0, 1, 2, 3), "user_timeout_s": (0, 0, 4), "latency_ms": (1, 20),
    }  # fmt: skip

    fate: str = knob(FATE, default="drop")
    syn_retries: int = knob(SYN_RETRIES, default=6)
    linear_timeouts: int = knob(SYN_LINEAR_TIMEOUTS, default=4)
    user_timeout_s: float = knob(USER_TIMEOUT, default=0)
    watch_s: float = knob(WATCH, default=0)

    def idle_controls(self) -> dict[str, str]:
        lacks = release(self.linux).older_than("6.5")
        return idle(
            (self.fate != "drop", "syn_retries linear_timeouts", "a RST comes back at once."),
            (lacks, "linear_timeouts", f"Linux {self.linux} does not have it."),
        )

    async def run(self, bench: Bench) -> None:
        client_host, server_host = bench.hosts("client", "server")
        client_host.set(tcp_syn_retries=self.syn_retries, tcp_syn_linear_timeouts=self.linear_timeouts)
        bench.watch_from_now()
        if self.fate == "drop":
            server_host.drop(5432)
        elif self.fate == "reject":
            server_host.reject(5432)
        connecting = client_host.connect(server_host, 5432, SocketOptions(user_timeout_s=self.user_timeout_s))
        await bench.within(self.watch(), connecting)

    def watch(self) -> float:
        """How long connect() is watched, seconds."""
        if self.watch_s:
            return self.watch_s
        doublings = min(self.syn_retries, 7)
        total = self.linear_timeouts + 2 ** (doublings + 1) + 120 * (self.syn_retries - doublings)
        return total * (1 + TIMER_LATE) + 10

    def outcome(self, trace: Trace) -> dict[str, Any]:
        syns = [p for p in trace.packets if p.sender == "client" and p.segment.flags & SYN]
        connects = trace.calls_of("client", "connect(")
        return {
            "syn_times_s": [seconds(p.t - syns[0].t) for p in syns],
            "gave_up_after_s": seconds(connects[0].t - syns[0].t) if connects else None,
            "error": connects[0].error if connects else None,
        }

    def answer(self, trace: Trace) -> Answer:
        start = trace.packets[0].t
        connects = trace.calls_of("client", "connect(")
        if not connects:
            return unanswered(start, trace, "client")
        return answered(start, connects[0].t, "client", connects[0].result)

    def sentence(self, trace: Trace) -> str:
        outcome = trace.outcome
        repeats = len(outcome["syn_times_s"]) - 1
        if outcome["error"] is None:
            waited = f"After {in_words(self.watch())} and {plural(repeats, 'retransmission')} of its SYN"
            return f"{waited} the client still waits in connect()."
        if outcome["error"] == "ECONNREFUSED":
            closed = "the server, where no program listens on the port,"
            who = "the firewall's REJECT" if self.fate == "reject" else closed
            return (
                f"A RST comes back from {who} after {in_words(outcome['gave_up_after_s'])}: "
                "Connection refused (ECONNREFUSED). On the wire a closed port and REJECT with tcp-reset "
                "look the same."
            )
        return (
            f"The client sends its SYN, retransmits it {plural(repeats, 'time')}, and gives up after "
            f"{in_words(outcome['gave_up_after_s'])}: Connection timed out (ETIMEDOUT)."
        )
