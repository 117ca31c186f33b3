"""pool: a connection pool hides dead connections until a request checks one out."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import Any, ClassVar

from tcplab.core.knobs import (
    DAY,
    FIREWALL_IDLE,
    LATENCY,
    RETRIES2,
    SEED,
    Knob,
    ParameterError,
    choice,
    idle,
    knob,
)
from tcplab.core.text import MILLISECOND, SECOND, duration, plural
from tcplab.core.trace import Answer, Trace
from tcplab.experiments import DeadPeer
from tcplab.experiments.experiment import answered
from tcplab.studies.checkout import PooledConnection, PoolPlan, PoolRun
from tcplab.studies.ports_in_turn import poisson
from tcplab.studies.study import (
    ARRIVALS,
    DURATION,
    NEVER,
    RATE,
    SIZE,
    Study,
    at_even_steps,
    counted,
    or_never,
    timer,
    waits,
)

#: Steps of the curves: about as many as a picture has pixels.
STEPS = 600
#: So many requests that failed are listed one by one.
MOST_MARKED = 200
#: Requests that are played one by one: more would keep a learner waiting.
MOST_REQUESTS = 5_000_000
#: How long Linux may delay the ACK of a request, to send it with the answer: nanoseconds
#: (include/net/tcp.h:TCP_DELACK_MIN).
ACK_DELAY = 40 * MILLISECOND
#: Lost keepalive probes after which the kernel gives up, as `keepalives_count = 3` has it.
PROBES = 3
#: What a FIN or a RST says to the client.
_ANNOUNCED = ("server_restart", "server_idle_close")
#: Of a pool without these two.
_NO_LIMITS: dict[str, Any] = {"max_lifetime_s": 0, "acquire_timeout_s": 0}
#: A pool of ten in which each connection is checked out every 1000 s.
_RARE: dict[str, Any] = {"order": "fifo", "rate_per_s": 0.01, "duration_s": 7200}


@dataclass(frozen=True, kw_only=True)
class BreakPlan(PoolPlan):
    """A pool, and what makes its connections die."""

    #: When every connection dies; whether the client gets a FIN or a RST; until when none can be opened.
    break_at: int
    is_announced: bool
    up_at: int
    #: From sending into a dead connection to the error: the application's limit, and Linux's.
    socket_timeout: int
    detection: int
    #: Between two keepalive probes of an idle connection.
    keepalive: int
    #: A proxy acknowledges whatever is sent, though the database behind it is gone.
    is_behind_proxy: bool
    #: The client reads while a connection is idle, and replaces one that ends.
    reads_idle: bool


class BreakRun(PoolRun):
    """Connections that die at a break, or of silence."""

    plan: BreakPlan

    def __init__(self, plan: BreakPlan) -> None:
        self.zombies_left, self.first_death = 0, NEVER
        super().__init__(plan, calm_until=0 if plan.reads_idle else NEVER)
        if plan.reads_idle and plan.is_announced and plan.break_at < NEVER:
            self._at(plan.break_at + plan.latency, self._read_ends)

    def _read_ends(self, now: int) -> None:
        """Replace every idle connection whose end has arrived."""
        if now >= self.plan.end:
            return
        for connection in [each for each in self.idle if self.dies_at(each) + self.plan.latency <= now]:
            self.idle.remove(connection)
            self._lose(now, connection, "detection")

    def rests(self, now: int, connection: PooledConnection) -> None:
        plan, end = self.plan, self.dies_at(connection)
        if plan.reads_idle and plan.is_announced and end < NEVER:
            self._at(max(end, now) + plan.latency, self._read_ends)

    def _gave_up(self, connection: PooledConnection) -> int:
        """When keepalive ended a silent connection that nothing else used: after `PROBES` lost probes."""
        plan = self.plan
        if plan.keepalive >= NEVER or plan.is_behind_proxy:
            return NEVER
        answered = max(0, -(-(self.dies_at(connection) - connection.quiet) // plan.keepalive) - 1)
        return connection.quiet + (answered + 1 + PROBES) * plan.keepalive

    def dies_at(self, connection: PooledConnection) -> int:
        plan = self.plan
        if plan.silence_limit < NEVER:
            return connection.quiet + plan.silence_limit
        return plan.break_at if connection.born <= plan.break_at else NEVER

    def exchange(self, connection: PooledConnection, start: int, takes: int) -> tuple[int, str]:
        plan, died = self.plan, self.dies_at(connection)
        if start + takes <= died or (plan.break_at == NEVER and start < died):
            return start + takes, "ok"
        if plan.is_announced:
            return max(start, died), ""
        if start >= self._gave_up(connection):
            return start, ""
        # An acknowledged request is not retransmitted: nothing in this host times out then.
        is_acknowledged = plan.is_behind_proxy or start + plan.round_trip + ACK_DELAY <= died
        return start + min(NEVER if is_acknowledged else plan.detection, plan.socket_timeout), ""

    def connect(self, now: int) -> tuple[int, str]:
        """A handshake takes a round trip; while the server is down the pool keeps trying."""
        plan = self.plan
        meets_break = now + plan.round_trip > plan.break_at and now < plan.up_at
        return (plan.up_at if meets_break else now) + plan.round_trip, "new"

    def record(self, connection: PooledConnection, until: int) -> None:
        died, end = self.dies_at(connection), self.plan.end
        if died < until:
            self.first_death = min(self.first_death, died)
        self.zombies_left += died < end <= until
        for since, to, state in ((connection.born, min(died, until), "alive"), (died, until, "zombie")):
            if since < min(to, end):
                self.connections.append((connection.place, since, min(to, end), state))

    @property
    def broke(self) -> int:
        """The break, or the first death; beyond the end where there is neither."""
        return min(self.plan.break_at, self.first_death)

    def recovered_after(self) -> float | None:
        """Seconds from the break, or the first death, to the last error; None without either."""
        plan, began = self.plan, self.broke
        last_error = max(
            (plan.arrivals[n] + took for n, took, answer in self.unusual if not answer), default=-1
        )
        if began >= plan.end or last_error >= plan.end:
            return None
        return max(0, last_error - began) / SECOND


@dataclass(frozen=True, kw_only=True)
class Pool(Study):
    """Requests that check out a connection each, and connections that die unknown to the pool.

    A request waits for a connection, in the order of arrival, and keeps it for one round trip plus
    `query_ms`. A probe and a handshake take one round trip; what is freed at a moment is free at
    that moment. After a restart of the server, or its close of an idle connection, whoever uses the
    connection reads the error at once (its FIN or RST has long arrived). Where no answer comes, the
    user waits for `socket_timeout_s`, or else for Linux to give up, as long as `dead_peer` says
    (net/ipv4/tcp_timer.c:tcp_write_timeout); a request that was already acknowledged (TCP delays
    an ACK up to 40 ms) waits for `socket_timeout_s` alone. test_while_idle tests all that is idle
    together, every `probe_interval_s`; background_ping each connection that has been silent for
    so long. With `after_error` = all, the pool gives up every connection that is as old as one on which a
    request or a probe failed, and opens each again at its next checkout, as SQLAlchemy's Engine does
    (sqlalchemy/pool/base.py:Pool._invalidate, _ConnectionRecord.get_connection); the request waits for that
    handshake. With `reads_idle` the client reads its idle connections, as Lettuce and Redisson do, and
    replaces one when its FIN or RST arrives. Behind a proxy that stays up, all that is sent is acknowledged
    and nothing is answered. tcp_keepalive is the kernel's: it restarts a firewall's timer, and after three
    lost probes the next use of the connection fails at once; the pool does not know. Requests are followed to
    their end, also beyond the run.

    Series, by the moment at which a request came, for each of at most 600 steps that begin at `t_s`: how many
    `requests` and `errors`, and how long the longest took, `slowest_ms` (None: no request came, or one never
    got an answer). `failed`: [from, to] of each request that failed, where there are at most 200. `probed`:
    how many idle connections were probed in each step. `connections`: [place in the pool, from, to, alive or
    zombie], and `broken`: [from, to] of what follows the break, or the first death, in seconds.
    """

    name = "pool"
    title = "Pools and probes: dead connections stay in the pool until they are borrowed"
    lesson = "pools_and_probes"
    controls = ("order", "probe", "breaks", "rate_per_s", "probe_interval_s", "socket_timeout_s")
    pictures = ("pool",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "healthy": {},
        "restart, first in first out": {"breaks": "server_restart", "order": "fifo"},
        "restart, last in first out": {"breaks": "server_restart"},
        "restart, test on borrow": {"breaks": "server_restart", "probe": "test_on_borrow"},
        "restart, all discarded after one error": {
            "breaks": "server_restart", "order": "fifo", "after_error": "all",
        },
        "restart, test while idle": {"breaks": "server_restart", "probe": "test_while_idle"},
        "restart, Commons Pool 2": {"breaks": "server_restart", "size": 8, **_NO_LIMITS},
        "restart, Jedis": {
            "breaks": "server_restart", "size": 8, **_NO_LIMITS, "probe": "test_while_idle",
            "probe_interval_s": 30, "idle_timeout_s": 60, "socket_timeout_s": 2,
        },
        "restart, Lettuce": {
            "breaks": "server_restart", "size": 1, "order": "fifo", **_NO_LIMITS,
            "probe": "tcp_keepalive", "probe_interval_s": 13, "socket_timeout_s": 60, "reads_idle": True,
        },
        "restart, Redisson": {
            "breaks": "server_restart", "size": 24, "order": "fifo", **_NO_LIMITS,
            "probe": "background_ping", "probe_interval_s": 30, "socket_timeout_s": 3, "reads_idle": True,
        },
        "restart, HikariCP": {
            "breaks": "server_restart", "probe": "test_on_borrow", "bypass_window_s": 0.5,
        },
        "silent drop": {"breaks": "silent_drop"},
        "silent drop, socket timeout": {"breaks": "silent_drop", "socket_timeout_s": 5},
        "firewall, maxLifetime only": {"breaks": "idle_firewall", **_RARE},
        "firewall, background ping": {
            "breaks": "idle_firewall", "probe": "background_ping", "probe_interval_s": 300, **_RARE,
        },
    }  # fmt: skip
    quick: ClassVar[dict[str, Any]] = {"duration_s": 10, "break_at_s": 5, "breaks": "server_restart"}

    size: int = knob(SIZE, default=10)
    order: str = knob(
        choice(
            "next is",
            "lifo",
            "fifo",
            help="The most recently used connection, or the least recently used one.",
        ),
        default="lifo",
    )
    rate_per_s: float = knob(
        replace(RATE, label="requests per second", help="How often a connection is borrowed."), default=200
    )
    arrivals: str = knob(ARRIVALS, default="constant")
    query_ms: float = knob(
        Knob("query", float, "ms", 0, 86_400_000, slider_high=500, test_only=True,
             help="How long the server works on a request, without the round trip."),
        default=5,
    )  # fmt: skip
    probe: str = knob(
        choice(
            "probe", "none", "test_on_borrow", "test_on_return", "test_while_idle", "background_ping",
            "tcp_keepalive",
            help="When the pool tests a connection; or nothing but TCP keepalive, which the kernel sends.",
        ),
        default="none",
    )  # fmt: skip
    probe_interval_s: float = knob(
        Knob("probe every", float, "s", 0.001, DAY, slider_high=600, test_only=True,
             help="For test_while_idle, background_ping and tcp_keepalive."),
        default=30,
    )  # fmt: skip
    bypass_window_s: float = knob(
        timer(
            "no probe after",
            "A connection used more recently than this is handed out without a test.",
            "off",
            10,
        ),
        default=0,
    )
    after_error: str = knob(
        choice(
            "after an error", "this_one", "all",
            help="What is replaced: the connection that failed, or all that were opened no later.",
        ),
        default="this_one",
    )  # fmt: skip
    reads_idle: bool = knob(
        Knob("reads while idle", bool, test_only=True,
             help="The client reads its idle connections, and replaces one that ends. Most pools don't."),
        default=False,
    )  # fmt: skip
    max_lifetime_s: float = knob(
        timer("maximum lifetime", "An older connection is replaced when it is idle.", "never", 3600),
        default=1800,
    )
    idle_timeout_s: float = knob(
        timer(
            "idle timeout",
            "A connection unused for this long is closed; a new one is opened when needed.",
            "off",
        ),
        default=0,
    )
    acquire_timeout_s: float = knob(
        timer("acquire timeout", "How long a request waits for a connection.", "no limit", 60), default=30
    )
    socket_timeout_s: float = knob(
        timer("socket timeout", "How long the program waits for an answer.", "off", 60), default=0
    )
    retries2: int = knob(RETRIES2, default=15)
    breaks: str = knob(
        choice(
            "breaks", "nothing", "server_restart", "silent_drop", "idle_firewall", "server_idle_close",
            "database_behind_proxy",
            help="What breaks the connections. Behind a proxy: the database is gone, the proxy is not.",
        ),
        default="nothing",
    )  # fmt: skip
    break_at_s: float = knob(timer("at", "Time of the restart or the silent drop.", ""), default=60)
    down_s: float = knob(timer("down for", "How long no connection can be opened after that.", ""), default=0)
    firewall_idle_s: float = knob(FIREWALL_IDLE, default=350)
    server_idle_s: float = knob(
        timer(
            "server's idle close", "A server's idle timeout, such as MySQL's wait_timeout.", "never", 28_800
        ),
        default=28_800,
    )
    duration_s: float = knob(DURATION, default=300)
    latency_ms: float = knob(LATENCY, default=1)
    seed: int = knob(replace(SEED, help="Chooses the times of arrivals = poisson."), default=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        requests = self.rate_per_s * self.duration_s
        if requests > MOST_REQUESTS:
            raise ParameterError(
                f"rate_per_s = {self.rate_per_s:g} for duration_s = {self.duration_s:g} makes about "
                f"{requests:,.0f} requests: at most {MOST_REQUESTS:,}."
            )
        answer_s = (self.query_ms + 2 * self.latency_ms) / 1000
        limits = {"socket_timeout_s": self.socket_timeout_s}
        if self.breaks == "idle_firewall":
            limits["firewall_idle_s"] = self.firewall_idle_s
        for name, limit in limits.items():
            if 0 < limit <= answer_s:
                raise ParameterError(
                    f"{name} = {limit:g} ends every request: an answer takes {answer_s:g} s, "
                    "so it must be longer."
                )
        for name in ("max_lifetime_s", "idle_timeout_s"):
            if 0 < getattr(self, name) < 1:
                raise ParameterError(
                    f"{name} = {getattr(self, name):g} is too short: 0 (off), or at least 1."
                )
        rounds = self.duration_s / self.probe_interval_s * self.size
        if self.probe in ("test_while_idle", "background_ping") and rounds > MOST_REQUESTS:
            raise ParameterError(
                f"probe_interval_s = {self.probe_interval_s:g} makes about {rounds:,.0f} probes: "
                f"at most {MOST_REQUESTS:,}."
            )

    def idle_controls(self) -> dict[str, str]:
        timed = self.probe in ("test_while_idle", "background_ping", "tcp_keepalive")
        return idle(
            (not timed, "probe_interval_s", "no connection is tested at an interval."),
            (not self._is_sudden, "break_at_s down_s", "nothing breaks at one moment."),
            (self.breaks != "idle_firewall", "firewall_idle_s", "there is no firewall."),
            (self.breaks != "server_idle_close", "server_idle_s", "the server closes nothing."),
            (self.breaks == "nothing", "order after_error", "no connection breaks."),
            (self.breaks == "nothing", "socket_timeout_s retries2", "every answer arrives."),
            (self.arrivals == "constant", "seed", "requests come at regular intervals."),
            (self.breaks not in _ANNOUNCED, "reads_idle", "nothing arrives at an idle connection."),
        )

    @property
    def length_s(self) -> float:
        return self.duration_s

    @property
    def broke_s(self) -> float:
        is_there = self._is_sudden and self.break_at_s < self.duration_s
        return self.break_at_s if is_there else 0.0

    @property
    def _is_sudden(self) -> bool:
        return self.breaks in ("server_restart", "silent_drop", "database_behind_proxy")

    def settled_s(self, trace: Trace) -> float:
        left, recovered = trace.outcome["zombies_left"], trace.outcome["recovered_after_s"]
        if not self.broke_s or left or recovered is None:
            return 0.0
        dead = [until for *_, until, state in trace.series["connections"] if state == "zombie"]
        last = max([recovered, *(until - self.broke_s for until in dead)])
        return min(4 * last, self.duration_s - self.broke_s)

    def plan(self) -> BreakPlan:
        """This run in whole nanoseconds."""
        latency = round(self.latency_ms * MILLISECOND)
        arrivals = (
            at_even_steps(self.rate_per_s, self.duration_s)
            if self.arrivals == "constant"
            else poisson(self.rate_per_s, self.duration_s, self.seed)
        )
        break_at = round(self.break_at_s * SECOND) if self._is_sudden else NEVER
        keepalive = round(self.probe_interval_s * SECOND) if self.probe == "tcp_keepalive" else NEVER
        silence = {"idle_firewall": self.firewall_idle_s, "server_idle_close": self.server_idle_s}
        limit = or_never(silence.get(self.breaks, 0))
        if self.breaks == "idle_firewall" and keepalive < limit:
            limit = NEVER  # each probe restarts the entry's timer; the server's own timer counts statements
        dead_peer = DeadPeer(retries2=self.retries2, latency_ms=self.latency_ms, linux=self.linux)
        return BreakPlan(
            arrivals=arrivals,
            end=round(self.duration_s * SECOND),
            size=self.size,
            is_lifo=self.order == "lifo",
            latency=latency,
            query=round(self.query_ms * MILLISECOND) + 2 * latency,
            probe="none" if self.probe == "tcp_keepalive" else self.probe,
            probe_interval=round(self.probe_interval_s * SECOND),
            bypass=round(self.bypass_window_s * SECOND),
            lifetime=or_never(self.max_lifetime_s),
            idle_timeout=or_never(self.idle_timeout_s),
            acquire_timeout=or_never(self.acquire_timeout_s),
            break_at=break_at,
            is_announced=self.breaks in _ANNOUNCED,
            up_at=break_at + round(self.down_s * SECOND),
            silence_limit=limit,
            socket_timeout=or_never(self.socket_timeout_s),
            detection=waits(dead_peer, "detected_after_s"),
            all_at_once=self.after_error == "all",
            keepalive=keepalive,
            is_behind_proxy=self.breaks == "database_behind_proxy",
            reads_idle=self.reads_idle,
        )

    def simulate(self) -> tuple[dict[str, Any], dict[str, Any]]:
        plan = self.plan()
        run = BreakRun(plan)
        run.play()
        requests = len(plan.arrivals)
        took = sorted([(plan.usual, requests - len(run.unusual)), *((each[1], 1) for each in run.unusual)])
        outcome = {
            "requests": requests,
            "errors": sum(not answer for _, _, answer in run.unusual),
            "zombie_borrows": run.zombies,
            "probes": run.probes,
            "extra_round_trips_per_s": run.probes / self.duration_s,
            "p50_ms": _quantile(took, requests, Fraction(1, 2)),
            "p99_ms": _quantile(took, requests, Fraction(99, 100)),
            "recovered_after_s": run.recovered_after(),
            "acquire_timeouts": run.timeouts,
            "zombies_left": run.zombies_left,
        }
        return outcome, _series(plan, run)

    def answer(self, trace: Trace) -> Answer | None:
        """From the break, or the first connection that died, to the last error."""
        broken, after = trace.series["broken"], trace.outcome["recovered_after_s"]
        if not broken:
            return None
        start = round(broken[0][0] * SECOND)
        if not trace.outcome["errors"]:
            return Answer(start, start, "client", "no request fails", 0)
        if after is None:
            return Answer(start, None, "client", "not recovered when the run ends")
        if not after:
            return Answer(start, start, "client", "recovered at once", 0)
        return answered(start, start + round(after * SECOND), "client", "recovered")

    def sentence(self, trace: Trace) -> str:
        outcome = trace.outcome
        verb = "fails" if outcome["errors"] == 1 else "fail"
        parts = [
            f"{outcome['errors']:,} of {outcome['requests']:,} requests {verb}"
            if outcome["errors"]
            else f"All {outcome['requests']:,} requests are answered"
        ]
        if outcome["acquire_timeouts"]:
            parts[0] += (
                f", {outcome['acquire_timeouts']:,} of them because no connection became free in time "
                f"(HikariCP: “Connection is not available, request timed out after "
                f"{self.acquire_timeout_s * 1000:.0f}ms”)"
            )
        parts[0] += "."
        in_use = outcome["errors"] - outcome["acquire_timeouts"] - outcome["zombie_borrows"]
        if self._is_sudden and self.probe != "test_on_borrow" and in_use > 0 < outcome["zombie_borrows"]:
            parts.append(
                f"{in_use:,} {'was' if in_use == 1 else 'were'} in flight at the break; "
                f"{outcome['zombie_borrows']:,} got a connection that was already dead."
            )
        elif outcome["zombie_borrows"]:
            whose = "found by the test" if self.probe == "test_on_borrow" else "handed to a request"
            if self.probe == "test_on_borrow" and self.bypass_window_s:
                whose = "found by the test, or handed out without one because of the bypass window"
            borrowed = outcome["zombie_borrows"]
            often = "once" if borrowed == 1 else plural(borrowed, "time")
            parts.append(f"A dead connection was checked out {often} ({whose}).")
        if (
            self.after_error == "all"
            and outcome["errors"] + outcome["zombie_borrows"] > outcome["acquire_timeouts"]
        ):
            parts.append("When the first one fails, the pool discards all that were opened no later.")
        if outcome["zombies_left"]:
            still = "connection is" if outcome["zombies_left"] == 1 else "connections are"
            parts.append(
                f"When the run ends, {outcome['zombies_left']} {still} dead without the pool having detected "
                "it."
            )
        if outcome["errors"]:
            after = outcome["recovered_after_s"]
            if after is not None:
                when = f"{_span(after * 1000)} after the break" if after else "at the time of the break"
                parts.append(f"The last error comes {when}.")
            elif self.breaks != "nothing":
                parts.append("The errors continue to the end of the run.")
        if outcome["probes"]:
            parts.append(
                f"The probes cost {outcome['extra_round_trips_per_s']:,.4g} round trips per second "
                f"({outcome['probes']:,} in all)."
            )
        slow = outcome["p99_ms"]
        parts.append(
            f"99 % of the requests take at most {_span(slow)}."
            if slow is not None
            else "More than one request in 100 never gets an answer."
        )
        return " ".join(parts)


def _span(milliseconds: float) -> str:
    """Milliseconds below a second, else seconds or more."""
    if milliseconds < 1000:
        return f"{milliseconds:.4g} ms"
    return duration(round(milliseconds * MILLISECOND))


def _quantile(took: Sequence[tuple[int, int]], count: int, share: Fraction) -> float | None:
    """The nearest rank in milliseconds, of (how long, how many) in order; None when it never ends."""
    left = ceil(share * count)
    for value, many in took:
        left -= many
        if left <= 0:
            return None if value >= NEVER // 2 else value / MILLISECOND
    return None


def _series(plan: BreakPlan, run: BreakRun) -> dict[str, Any]:
    """Curves by the moment at which a request came, and the pool's connections."""
    edges = [plan.end * i // STEPS for i in range(STEPS + 1)]
    requests = counted(plan.arrivals, edges)
    errors, unusual, slowest = [0] * STEPS, [0] * STEPS, [0] * STEPS
    for number, took, answer in run.unusual:
        step = min(bisect_left(edges, plan.arrivals[number] + 1) - 1, STEPS - 1)
        unusual[step] += 1
        errors[step] += not answer
        slowest[step] = max(slowest[step], took)
    failed = [
        [plan.arrivals[n] / SECOND, (plan.arrivals[n] + took) / SECOND]
        for n, took, answer in sorted(run.unusual)
        if not answer and plan.arrivals[n] + took <= plan.end
    ]
    slowest = [
        max(most, plan.usual) if many > few else most
        for most, many, few in zip(slowest, requests, unusual, strict=True)
    ]
    return {
        "t_s": [edge / SECOND for edge in edges[:-1]],
        "requests": requests,
        "errors": errors,
        "failed": failed if len(failed) <= MOST_MARKED else [],
        "probed": counted(run.probed, edges),
        #: None: no request came, or one was never answered.
        "slowest_ms": [
            most / MILLISECOND if many and most < NEVER // 2 else None
            for most, many in zip(slowest, requests, strict=True)
        ],
        "broken": [[run.broke / SECOND, plan.end / SECOND]] if run.broke < plan.end else [],
        "connections": [
            [place, since / SECOND, until / SECOND, state]
            for place, since, until, state in sorted(run.connections)
        ],
    }
