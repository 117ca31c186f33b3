"""port_churn: a program that connects afresh for every query uses up its local ports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm
from typing import TYPE_CHECKING, Any, ClassVar

from tcplab.bench.script import Bind, SocketOptions
from tcplab.core import knobs
from tcplab.core.knobs import Knob, ParameterError, choice, knob
from tcplab.core.releases import release
from tcplab.core.text import SECOND, in_words
from tcplab.core.trace import Answer, Call, Trace
from tcplab.experiments.experiment import answered
from tcplab.studies.ports_in_turn import AT_ONCE, WHOLE_SECONDS, Load, fill, poisson
from tcplab.studies.study import ARRIVALS, DURATION, RATE, Study, counted

if TYPE_CHECKING:
    from tcplab.bench.script import Bench, Connection, Result


#: Steps of the curves: about as many as a picture has pixels.
STEPS = 600
#: Attempts that can be played one by one: more would keep a learner waiting.
MOST_ATTEMPTS = 5_000_000
#: What a run comes to, in this order.
OUTCOME = (
    "opened", "refused", "first_refusal_s", "sustainable_per_s", "peak_time_wait", "longest_outage_s",
    "ceiling",
)  # fmt: skip

#: What a run on Linux can bear: ports, seconds, attempts.
MOST_PORTS, LONGEST_S, MOST_LINUX_ATTEMPTS = 60, 20, 800
FIRST_PORT, SERVER_PORT = 60_000, 5432
#: On a busy machine a close takes a round trip and this much longer; and an attempt may be so late: seconds.
_CLOSE_S, _LATE_S = 0.025, 0.01
#: Moments of a second at which the run may begin.
_MOMENTS = 20

#: Linux's own range since 4.2; no connect() should take a port below the first one or above the last.
USUAL_PORTS, FIRST_FREE_PORT, LAST_PORT = 28_232, 1024, 65_535
PORTS = Knob(
    "local ports", int, low=1, high=LAST_PORT, slider_high=64512, test_only=True,
    help="How many ports connect() can choose from: 28232 in the default range, 32768 to 60999.",
)  # fmt: skip
HOLD = Knob(
    "connection lasts", float, "s", 0, 86_400, slider_high=60, test_only=True,
    help="From connect() to the end of the close.",
)  # fmt: skip
TIME_WAIT = Knob(
    "TIME_WAIT", float, "s", 0, 600, slider_high=240, test_only=True,
    help="How long a closed connection keeps its port: 60 s, a constant in the Linux kernel.",
)  # fmt: skip
CHOSEN_BY = choice(
    "port chosen by",
    "kernel",
    "program",
    help="By connect(), or by the program in turn: bind() with SO_REUSEADDR on every socket.",
)
HOSTS = Knob(
    "application hosts", int, low=1, high=1000, slider_high=12, test_only=True,
    help="Machines that share the attempts evenly, each with ports of its own.",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PortChurn(Study):
    """Connections that come and go, and how many ports are left for the next one.

    An attempt succeeds while one of the client's ports is free towards its destination. The port is
    kept for `hold_s`, then for TIME_WAIT if the client closed first (RFC 9293 section 3.6.1;
    include/net/tcp.h:TCP_TIMEWAIT_LEN), unless `tw_reuse` lets connect() take it before
    (net/ipv4/tcp_ipv4.c:tcp_twsk_unique; both sides use timestamps); a program that names the port itself
    may have it at once. A port freed at a moment is
    free at that moment. Of the ports that are free the one that has been so longest is taken. `hosts`
    share the attempts evenly, so that they are as good as one with all their ports.

    Series: `in_use_low` and `in_use_high`, `time_wait_low` and `time_wait_high`: the fewest and the most
    ports that are not free, or in TIME_WAIT, in each of at most 600 steps that begin at `t_s`; `opened` and
    `refused`: how many attempts in it. `outages_s`: [from, to] of each time without a free port, in seconds.
    """

    name = "port_churn"
    title = "Port churn: a new connection for every query"
    lesson = "out_of_ports"
    controls = ("rate_per_s", "ports", "destinations", "hosts", "tw_reuse", "closer")
    pictures = ("churn",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "500 a second": {},
        "600 a second": {"rate_per_s": 600},
        "just sustainable": {"rate_per_s": 470},
        "at random": {"rate_per_s": 450, "arrivals": "poisson"},
        "1,000 a second": {"rate_per_s": 1000},
        "a wider range": {"rate_per_s": 1000, "ports": 64512},
        "two server ports": {"rate_per_s": 900, "destinations": 2},
        "three client addresses": {"rate_per_s": 1000, "sources": 3},
        "three application hosts": {"rate_per_s": 1000, "hosts": 3},
        "tcp_tw_reuse = 1": {"rate_per_s": 1000, "tw_reuse": 1},
        "the server closes first": {"rate_per_s": 1000, "closer": "server"},
        "the program's own ports": {"rate_per_s": 1000, "chosen_by": "program"},
        "a pool: 20 connections, ten minutes each": {"rate_per_s": 1 / 30, "hold_s": 600},
    }
    quick: ClassVar[dict[str, Any]] = {"rate_per_s": 20, "ports": 20, "hold_s": 0.1, "duration_s": 2}
    sampled: ClassVar[dict[str, tuple[Any, ...]]] = {
        "rate_per_s": (5, 10, 20, 30), "arrivals": ("constant", "constant", "poisson"),
        "ports": (6, 10, 16, 60), "hold_s": (0.05, 0.17, 0.33), "duration_s": (2, 3),
        "destinations": (1, 1, 2), "tw_reuse": (0, 1, 1, 2), "closer": ("client", "client", "server"),
        "latency_ms": (1, 5), "chosen_by": ("kernel", "kernel", "program"),
    }  # fmt: skip

    rate_per_s: float = knob(RATE, default=500)
    arrivals: str = knob(ARRIVALS, default="constant")
    ports: int = knob(PORTS, default=USUAL_PORTS)
    hold_s: float = knob(HOLD, default=0.01)
    time_wait_s: float = knob(TIME_WAIT, default=60)
    duration_s: float = knob(DURATION, default=180)
    destinations: int = knob(replace(knobs.DESTINATIONS, high=1000), default=1)
    sources: int = knob(replace(knobs.SOURCES, high=1000, help="The client's addresses."), default=1)
    hosts: int = knob(HOSTS, default=1)
    chosen_by: str = knob(CHOSEN_BY, default="kernel")
    tw_reuse: int = knob(knobs.TW_REUSE, default=0)
    closer: str = knob(
        choice(
            "closes first", "client", "server", help="The side that does keeps the connection in TIME_WAIT."
        ),
        default="client",
    )
    latency_ms: float = knob(
        replace(knobs.LATENCY, help="On real Linux only: here the connection's time includes its segments'."),
        default=1,
    )
    seed: int = knob(replace(knobs.SEED, help="Chooses the times of arrivals = poisson."), default=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        attempts = self.rate_per_s * self.duration_s
        if attempts > MOST_ATTEMPTS:
            raise ParameterError(
                f"rate_per_s = {self.rate_per_s:g} for duration_s = {self.duration_s:g} makes about "
                f"{attempts:,.0f} attempts: at most {MOST_ATTEMPTS:,}."
            )

    def idle_controls(self) -> dict[str, str]:
        return knobs.idle(
            (True, "latency_ms", "a connection's time includes its segments'."),
            (self.arrivals == "constant", "seed", "attempts come at regular intervals."),
            (self.closer == "server", "time_wait_s", "the client keeps no TIME_WAIT."),
            (self.chosen_by == "program", "tw_reuse", "the program names the port."),
        )

    @property
    def length_s(self) -> float:
        return self.duration_s

    @property
    def _reuse(self) -> str:
        """The clock by which TIME_WAIT may be reused; empty where it may not.

        The destinations are other machines, so 2, which means loopback only since 4.19, is off.
        """
        if self.chosen_by == "program":
            return AT_ONCE
        rules = release(self.linux)
        only_loopback = self.tw_reuse == 2 and not rules.older_than("4.19")
        return rules.tw_reuse_clock if self.tw_reuse and not only_loopback else ""

    def load(self) -> Load:
        """This run in ticks, each as long as all times of the run allow; random times fall on nanoseconds."""
        hold, wait, length = (Fraction(str(s)) for s in (self.hold_s, self.time_wait_s, self.duration_s))
        wait = wait if self.closer == "client" else Fraction(0)
        arrivals: Sequence[int]
        if self.arrivals == "constant":
            rate = Fraction(str(self.rate_per_s))
            second = lcm(rate.numerator, hold.denominator, wait.denominator, length.denominator)
            arrivals = range(0, int(length * second), int(second / rate))
        else:
            second = SECOND
            arrivals = poisson(self.rate_per_s, self.duration_s, self.seed)
        return Load(
            arrivals=arrivals,
            second=second,
            end=round(length * second),
            ports=self.ports * self.sources * self.hosts,
            destinations=self.destinations,
            hold=round(hold * second),
            time_wait=round(wait * second),
            reuse=self._reuse,
        )

    def simulate(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return self._played(self.load())

    def _played(self, load: Load) -> tuple[dict[str, Any], dict[str, Any]]:
        edges = load.edges(STEPS)
        filling = fill(load, edges)

        def seconds(ticks: int) -> float:
            return float(Fraction(ticks, load.second))

        refused_first = filling.first_refusal
        outcome = (
            filling.opened,
            filling.refused,
            None if refused_first is None else seconds(refused_first),
            _sustainable(load),
            max(filling.time_wait.high),
            seconds(filling.longest_outage),
            load.ceiling,
        )
        made = counted(load.arrivals, edges)
        series = {
            "t_s": [seconds(edge) for edge in edges[:-1]],
            "in_use_low": filling.in_use.low,
            "in_use_high": filling.in_use.high,
            "time_wait_low": filling.time_wait.low,
            "time_wait_high": filling.time_wait.high,
            "opened": filling.opened_in,
            "refused": [all_ - good for all_, good in zip(made, filling.opened_in, strict=True)],
            "outages_s": [[seconds(began), seconds(until)] for began, until in filling.outages],
        }
        return dict(zip(OUTCOME, outcome, strict=True)), series

    def lines_to_paste(self) -> dict[str, list[str]]:
        name, first = "net.ipv4.ip_local_port_range", LAST_PORT + 1 - self.ports
        if self.ports == USUAL_PORTS:
            line = f"# {name} = 32768 60999   (Linux's default)"
        elif first < FIRST_FREE_PORT:
            line = f"# {name}: this would begin below {FIRST_FREE_PORT}, where servers listen"
        else:
            line = f"{name} = {first} {LAST_PORT}"
        return {"sysctl": [line]}

    # -- a small run on Linux ----------------------------------------------------------------
    #
    # TIME_WAIT is always 60 s in Linux, so a run of seconds can't see its end. It sees that the ports
    # run out when they should, that nothing but the passing of time frees them, and what tcp_tw_reuse
    # and a server that closes first change about it.

    def check_for_linux(self) -> None:
        attempts = self.rate_per_s * self.duration_s
        refused = {
            f"ports = {self.ports}: at most {MOST_PORTS}": self.ports > MOST_PORTS,
            f"ports = {self.ports}: an even number, since Linux leaves one port of an odd range unused": (
                self.ports % 2 and self.ports > 1
            ),
            f"duration_s = {self.duration_s:g}: at most {LONGEST_S}": self.duration_s > LONGEST_S,
            f"time_wait_s = {self.time_wait_s:g}: 60, which is built into Linux": self.time_wait_s != 60,
            f"sources = {self.sources}: 1, since its client has one address": self.sources > 1,
            f"hosts = {self.hosts}: 1, since one machine is tried": self.hosts > 1,
            (
                f"rate_per_s = {self.rate_per_s:g} makes {attempts:,.0f} attempts: "
                f"at most {MOST_LINUX_ATTEMPTS}"
            ): attempts > MOST_LINUX_ATTEMPTS,
        }
        for says, is_wrong in refused.items():
            if is_wrong:
                raise ParameterError(f"{says}, on the Linux bench.")

    async def run(self, bench: Bench) -> None:
        """Every attempt at its time, each as a program of its own."""
        client, server = bench.hosts("client", "server")
        client.set(ip_local_port_range=(FIRST_PORT, FIRST_PORT + self.ports - 1), tcp_tw_reuse=self.tw_reuse)
        listeners = [
            await server.listen(SERVER_PORT + i, backlog=MOST_LINUX_ATTEMPTS)
            for i in range(self.destinations)
        ]
        began = bench.now()
        turns = [0] * self.destinations
        options = SocketOptions(reuse_address=self.chosen_by == "program")

        async def connect(destination: int) -> tuple[Result, Connection]:
            """To this destination; a program with ports of its own names the next one, if it succeeds."""
            if self.chosen_by == "kernel":
                return await client.connect(server, SERVER_PORT + destination)
            port = FIRST_PORT + turns[destination] % self.ports
            turns[destination] += 1
            opened, connection = await client.connect(
                server, SERVER_PORT + destination, options, bind=Bind(port=port)
            )
            turns[destination] -= not opened.ok
            return opened, connection

        async def attempt(at: float, destination: int) -> None:
            await bench.sleep(max(0.0, began + at - bench.now()))
            opened, connection = await connect(destination)
            if not opened.ok:
                return
            accepted = await listeners[destination].accept()
            await bench.sleep(max(0.0, began + at + self.hold_s - bench.now()))
            first, second = (connection, accepted) if self.closer == "client" else (accepted, connection)
            await first.close()
            await second.receive()
            await second.close()

        load = self.load()
        await bench.together(
            *(attempt(t / load.second, i % self.destinations) for i, t in enumerate(load.arrivals))
        )
        await bench.sleep(max(0.0, began + self.duration_s - bench.now()))

    def outcome(self, trace: Trace) -> dict[str, Any]:
        """Read from the calls, and from what `ss` showed."""
        attempts = sorted(
            (call for call in trace.calls if call.host == "client" and call.call.startswith("connect(")),
            key=lambda call: call.began,
        )
        start = attempts[0].began if attempts else 0
        end = start + round(self.duration_s * SECOND)
        outages: list[tuple[int, int]] = []
        first: Call | None = None
        for call in attempts:
            if call.result != "ok":
                first = first or call
            elif first is not None:
                outages.append((first.began, call.began))
                first = None
        if first is not None:
            outages.append((first.began, end))
        opened = sum(call.result == "ok" for call in attempts)
        load = self.load()
        outcome = (
            opened,
            len(attempts) - opened,
            (outages[0][0] - start) / SECOND if outages else None,
            _sustainable(load),
            _most_in_time_wait(trace, end),
            max((until - since for since, until in outages), default=0) / SECOND,
            load.ceiling,
        )
        return dict(zip(OUTCOME, outcome, strict=True))

    def compared(self) -> tuple[str, ...]:
        """With reuse, chance says which port Linux takes, and so how many are left in TIME_WAIT."""
        counts = ("opened", "refused", "first_refusal_s", "longest_outage_s")
        return counts if self._reuse else (*counts, "peak_time_wait")

    def nearby(self) -> Iterator[Trace]:
        """The same with closes that take as long as on Linux, or attempts that come a little late.

        And, where a later second of Linux's clock frees a port, at other moments of that second.
        """
        later = self.hold_s + 2 * self.latency_ms / 1000 + _CLOSE_S
        for hold in (later, max(0.0, self.hold_s - _LATE_S)):
            other = self.with_values(hold_s=hold)
            yield other.simulated()
            load = other.load()
            for part in range(1, _MOMENTS) if load.reuse in WHOLE_SECONDS else ():
                shifted = replace(load, into_second=load.second * part // _MOMENTS)
                yield replace(self.simulated(), outcome=self._played(shifted)[0])

    def answer(self, trace: Trace) -> Answer:
        first, start = trace.outcome["first_refusal_s"], trace.start
        if first is None:
            return Answer(start, None, "client", f"no refusal in {in_words(self.duration_s)}")
        return answered(start, start + round(first * SECOND), "client", "first refusal")

    def sentence(self, trace: Trace) -> str:
        outcome = trace.outcome
        parts = [self._refusals(outcome) if outcome["refused"] else self._all_opened(trace)]
        if self.tw_reuse == 2 and not self._reuse:
            parts.append("tcp_tw_reuse = 2 is for loopback only: to another host it is off.")
        return " ".join(parts)

    def _refusals(self, outcome: Mapping[str, Any]) -> str:
        first, longest = (in_words(outcome[name]) for name in ("first_refusal_s", "longest_outage_s"))
        attempts = outcome["opened"] + outcome["refused"]
        return (
            f"After {first} all {outcome['ceiling']:,} ports are in use, and connect() fails with "
            "EADDRNOTAVAIL (“Cannot assign requested address”; MySQL: “Can't connect to MySQL server … "
            "(99)”). "
            f"{outcome['refused']:,} of {attempts:,} attempts are refused; the longest outage, without one "
            f"connection, lasts {longest}. Sustainable rate: {outcome['sustainable_per_s']:,.1f} "
            "connections per second."
        )

    def _all_opened(self, trace: Trace) -> str:
        outcome = trace.outcome
        limit, kept = outcome["sustainable_per_s"], ""
        if trace.series:
            most = max(trace.series["in_use_high"])
            kept = f"at most {most:,} of {outcome['ceiling']:,} ports are in use at once, and "
        said = (
            f"All {outcome['opened']:,} connections are opened; {kept}"
            f"{outcome['peak_time_wait']:,} sockets are in TIME_WAIT at the peak."
        )
        if limit is None:
            return said + " Ports that are free again at once never run out."
        if self.rate_per_s <= limit:
            return said + f" Sustainable rate: {limit:,.1f} connections per second."
        until = in_words(outcome["ceiling"] / self.rate_per_s)
        return said + f" But only {limit:,.1f} per second are sustainable: the ports last for {until}."


def _sustainable(load: Load) -> float | None:
    """Connections a second that never run out of ports; None when a port is kept for no time at all."""
    [kept] = load.free_from([0])
    return float(Fraction(load.ceiling * load.second, kept)) if kept else None


def _most_in_time_wait(trace: Trace, end: int) -> int:
    waiting: set[tuple[Any, Any]] = set()
    most = 0
    for sample in trace.sockets:
        if sample.host == "client" and sample.t < end:
            socket = (sample.local, sample.remote)
            (waiting.add if sample.state == "TIME_WAIT" else waiting.discard)(socket)
            most = max(most, len(waiting))
    return most
