"""failover: a standby becomes the primary, and how long the client goes on asking the old one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any, ClassVar

from tcplab.core import knobs
from tcplab.core.knobs import Knob, ParameterError, choice, knob
from tcplab.core.text import MILLISECOND, SECOND, in_words, plural
from tcplab.core.trace import Answer, Trace
from tcplab.experiments import DeadPeer, Keepalive, UnansweredConnect
from tcplab.experiments.experiment import answered
from tcplab.studies.checkout import PooledConnection, PoolPlan, PoolRun
from tcplab.studies.study import (
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
STEPS = 300
#: Requests, rounds of probes, or connects, that are played one by one: more would keep a learner waiting.
MOST_EVENTS = 500_000
#: The parts of an outage in their order, and what each of them is.
PARTS = {
    "promotion": "until the standby is the primary",
    "DNS": "the old address in the resolver's cache",
    "client cache": "the old address in the client's own cache",
    "detection": "until the client gives up the old connection",
    "probe": "until a probe checks the role on the old connection",
    "lifetime": "until the pool replaces the old connection because of its age",
    "read-only error": "until the first write is refused",
    "connecting": "attempts that fail, then the handshake and the write",
}
#: What a refused write says, by product.
READ_ONLY = "“cannot execute INSERT in a read-only transaction”; MySQL: error 1290; Redis: READONLY"
#: What became of a request, by its answer and whether it writes: names of the series.
ANSWERS = {
    ("ok", True): "writes_accepted",
    ("old", True): "writes_refused",
    ("ok", False): "reads",
    ("old", False): "reads_from_old_primary",
    ("", True): "errors",
    ("", False): "errors",
}


@dataclass(frozen=True, kw_only=True)
class FailoverPlan(PoolPlan):
    """A pool, and what happens to the primary that its connections lead to."""

    #: Of each arrival, whether it writes.
    writes: list[bool]
    fails_at: int
    promoted_at: int
    #: From when on a resolver, and from when on the client, knows the new address at the latest.
    resolved_at: int
    seen_at: int
    is_dual: bool
    #: `dead`, `refuses` or `readable_replica`.
    old: str
    asks_role: bool
    #: From sending into the silence of a dead host to the error.
    answer_timeout: int
    connect_timeout: int
    #: Keepalive of a silent connection: between two answered probes, and from the last answer to the end.
    keepalive_idle: int
    keepalive_end: int
    drops_read_only: bool


class FailoverRun(PoolRun):
    """A pool of connections to a primary that fails; those opened later may lead to the new one."""

    plan: FailoverPlan
    sweep_rank = 1

    def __init__(self, plan: FailoverPlan) -> None:
        #: When and why each place in the pool last lost a connection to the old primary, after the failure.
        self.losses: dict[int, tuple[int, str]] = {}
        self.detected = NEVER
        self.stale = 0
        #: The first write that the new primary took, and the place in the pool that it went through.
        self.first_write, self.through = NEVER, -1
        super().__init__(plan, calm_until=plan.fails_at - plan.latency, horizon=plan.end)
        self._at(plan.fails_at, self._ask_idle_by_keepalive)
        self._at(plan.promoted_at, self._count_stale)

    def exchange(self, connection: PooledConnection, start: int, takes: int) -> tuple[int, str]:
        """An answer is `ok`, or `old`: from the old primary after the failure."""
        plan = self.plan
        if connection.leads_to == "new" or start + plan.latency < plan.fails_at:
            return start + takes, "ok"
        if plan.old == "dead":
            return start + plan.answer_timeout, ""
        if plan.old == "refuses":
            return max(start, plan.fails_at + plan.latency), ""  # its RST has long arrived, or is coming
        return start + takes, "old"

    def connect(self, now: int) -> tuple[int, str]:
        """With two addresses, the question for the role included."""
        plan = self.plan
        asks = plan.round_trip if plan.is_dual else 0
        if now + plan.latency < plan.fails_at:
            return now + plan.round_trip + asks, "old"
        if not plan.is_dual and now >= plan.seen_at:
            return now + plan.round_trip, "new"
        takes, leads_to = {
            "dead": (plan.connect_timeout, ""),
            "refuses": (plan.round_trip, ""),
            "readable_replica": (plan.round_trip + asks, "old"),
        }[plan.old]
        if not plan.is_dual:
            return now + takes, leads_to
        # The next address: by its answer it is still a standby, or the primary.
        now += takes
        is_primary = now + plan.round_trip + plan.latency >= plan.promoted_at
        return now + plan.round_trip + asks, "new" if is_primary else ""

    def gives_up(self, answer: str, number: int | None = None) -> str:
        if answer != "old":
            return super().gives_up(answer)
        if number is None:
            return "probe" if self.plan.asks_role else ""
        return "read-only error" if self.plan.writes[number] and self.plan.drops_read_only else ""

    def record(self, connection: PooledConnection, until: int) -> None:
        fails, born = self.plan.fails_at, connection.born
        states = [(born, until, "new")]
        if connection.leads_to == "old":
            states = [(born, min(until, fails), "primary"), (max(born, fails), until, "old")]
        self.connections += [
            (connection.place, since, to, state) for since, to, state in states if since < to
        ]

    def rests(self, now: int, connection: PooledConnection) -> None:
        """Plan keepalive's end of an idle connection, if no request uses it before."""
        plan = self.plan
        is_lost = plan.old == "dead" and connection.leads_to == "old" and now >= plan.fails_at
        if not is_lost or plan.keepalive_end >= NEVER:
            return
        period = plan.keepalive_idle + plan.round_trip
        silent = plan.fails_at - plan.latency - connection.quiet - plan.keepalive_idle
        last_answer = connection.quiet + max(0, -(-silent // period)) * period
        self._at(last_answer + plan.keepalive_end, self._given_up, connection, connection.quiet)

    def _given_up(self, now: int, connection: PooledConnection, quiet: int) -> None:
        if connection in self.idle and connection.quiet == quiet:
            self.idle.remove(connection)
            self._lose(now, connection, "detection")

    def _ask_idle_by_keepalive(self, now: int) -> None:
        for connection in self.idle:
            self.rests(now, connection)

    def _count_stale(self, now: int) -> None:
        self.stale += sum(each.leads_to == "old" and not each.is_gone for each in self.opened)

    def _check_out(
        self, now: int, connection: PooledConnection, number: int, *, is_fresh: bool = False
    ) -> None:
        super()._check_out(now, connection, number, is_fresh=is_fresh)
        answered = now + self.plan.query
        is_write = connection.leads_to == "new" and self.plan.writes[number]
        if is_write and self.through < 0 and answered <= self.plan.end:
            self.first_write, self.through = answered, connection.place

    def _lose(self, now: int, connection: PooledConnection, why: str) -> None:
        self._learn(now)
        super()._lose(now, connection, why)

    def _close(self, now: int, connection: PooledConnection, why: str) -> None:
        super()._close(now, connection, why)
        if connection.leads_to == "old" and now >= self.plan.fails_at:
            self.losses[connection.place] = (now, why)

    def _connected(self, now: int, place: int, leads_to: str) -> None:
        if not leads_to:
            self._learn(now)
        self.stale += leads_to == "old" and now >= self.plan.promoted_at
        super()._connected(now, place, leads_to)

    def _learn(self, now: int) -> None:
        if now >= self.plan.fails_at:
            self.detected = min(self.detected, now)

    def after(self, moment: int) -> float | None:
        """Seconds from the failure; None when it never came."""
        return (moment - self.plan.fails_at) / SECOND if moment <= self.plan.end else None

    def answers(self) -> dict[str, list[int]]:
        """When requests were over, in order, by what became of them."""
        plan = self.plan
        times: dict[str, list[int]] = {name: [] for name in ANSWERS.values()}
        unusual = {number: (took, answer) for number, took, answer in self.unusual}
        for number, (arrived, is_write) in enumerate(zip(plan.arrivals, plan.writes, strict=True)):
            took, answer = unusual.get(number, (plan.usual, "ok"))
            if arrived + took <= plan.end:
                times[ANSWERS[answer, is_write]].append(arrived + took)
        return {name: sorted(each) for name, each in times.items()}

    def budget(self) -> list[tuple[str, int, int]]:
        """The outage cut into parts: (part, since, until), without gaps, those of no length left out.

        What keeps every client waiting comes first, what keeps only this client waiting last: so a part
        is what it adds, and the last ones are what this client would save.
        """
        plan = self.plan
        if not any(plan.writes):
            return []
        end = min(self.first_write, plan.end)
        if self.through >= 0:
            # Without a loss its place was being opened when the primary failed.
            held_until, held_by = self.losses.get(self.through, (plan.fails_at, ""))
        else:
            first = min(self.losses, key=lambda place: (self.losses[place][0], place), default=None)
            held_until, held_by = (NEVER, self._held_by()) if first is None else self.losses[first]
        ends = [("promotion", plan.promoted_at)]
        if not plan.is_dual:
            ends += [("DNS", plan.resolved_at), ("client cache", plan.seen_at)]
        ends += [(held_by, held_until), ("connecting", NEVER)]
        budget, since = [], plan.fails_at
        for part, until in ends:
            until = min(max(until, since), end)
            if until > since:
                budget.append((part, since, until))
            since = until
        return budget

    def _held_by(self) -> str:
        """What would have to end a connection to the old primary, where nothing has."""
        if self.plan.old != "readable_replica":
            return "detection"
        if self.plan.drops_read_only:
            return "read-only error"
        return "probe" if self.plan.asks_role else "lifetime"


@dataclass(frozen=True, kw_only=True)
class Failover(Study):
    """A pool of connections, one primary, one standby; then the primary fails.

    Every connection is open at 0. A request borrows one, the one used last, for one round trip; whether it
    writes is drawn from the seed. A connection leads to one machine for all its life. A new one goes where
    the name points (`single`; the caches are as late as they can be: both were asked at the worst moment), or
    asks both addresses for their role, the old one first (`dual`; libpq's target_session_attrs). A failed
    connect() is tried again after `retry_s`. `dead`: nothing is answered, and Linux gives up as in
    `dead_peer`, `keepalive` and `unanswered_connect`. `refuses`: RST. `readable_replica`: the connections
    live on, reads are answered from old data, writes are refused.

    errors: requests without an answer, those included for which no connection came free in time.
    detected_after_s: until the client first loses a connection, or fails to open one, by the failure.
    stale_connections: to the old primary when the standby was promoted, and those opened to it since.

    Series: `writes_accepted`, `writes_refused`, `reads`, `reads_from_old_primary`, `errors`: a count for each
    of at most 300 steps that begin at `t_s`. `budget`: [part, from, to], which add up to the outage, in
    seconds from the failure on. `connections`: [place in pool, from, to, primary, old or new], in seconds.
    """

    name = "failover"
    title = "Failover: names, caches and roles"
    lesson = "failover"
    controls = (
        "old_primary", "domains", "probe", "client_dns_ttl_s", "user_timeout_s", "max_lifetime_s",
        "dns_ttl_s", "probe_interval_s",
    )  # fmt: skip
    pictures = ("failover",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "refused, a short cache": {"old_primary": "refuses", "client_dns_ttl_s": 0},
        "refused, Java's 30 s": {"old_primary": "refuses"},
        "refused, cached without limit": {"old_primary": "refuses", "client_dns_ttl_s": -1},
        "readable, SELECT 1": {"old_primary": "readable_replica", "probe": "select_1", "duration_s": 2100},
        "readable, role-aware probe": {"old_primary": "readable_replica", "probe": "role_aware"},
        "readable, two addresses": {
            "old_primary": "readable_replica", "domains": "dual", "probe": "role_aware",
        },
        "dead, Linux's defaults": {"duration_s": 1200},
        "dead, user timeout": {"user_timeout_s": 20},
        "dead, all of it": {"user_timeout_s": 8, "connect_timeout_s": 2, "domains": "dual"},
    }  # fmt: skip
    quick: ClassVar[dict[str, Any]] = {"old_primary": "refuses", "duration_s": 120}

    domains: str = knob(
        choice("addresses", "single", "dual",
               help="One name that moves, or both addresses, of which the driver checks the role."),
        default="single",
    )  # fmt: skip
    dns_ttl_s: float = knob(
        timer("DNS TTL", "How long a resolver caches the old address.", "not cached", 300), default=5
    )
    client_dns_ttl_s: float = knob(
        timer("client's DNS cache", "How long the client itself caches it; -1: no limit.", "none", 60, -1),
        default=30,
    )
    fails_at_s: float = knob(timer("fails at", "When the primary fails."), default=60)
    promotion_s: float = knob(
        timer("promotion", "From the failure until the standby is the primary.", "at once", 120), default=10
    )
    old_primary: str = knob(
        choice("old primary", "dead", "refuses", "readable_replica",
               help="Its host is down; only its process is down; or it runs on as a read-only replica."),
        default="dead",
    )  # fmt: skip
    probe: str = knob(
        choice("probe", "none", "select_1", "role_aware",
               help="The pool's test of idle connections: none, whether they work, or the server's role."),
        default="none",
    )  # fmt: skip
    probe_interval_s: float = knob(
        timer("probe every", "All idle connections are tested together.", slider_high=60, low=0.01),
        default=10,
    )
    max_lifetime_s: float = knob(
        timer("maximum lifetime", "An older connection is replaced when it is idle.", "never", 3600),
        default=1800,
    )
    connect_timeout_s: float = knob(
        timer("connect timeout", "How long the driver waits for one connect().", "the kernel's limit", 60),
        default=10,
    )
    keepalive_idle_s: float = knob(knobs.KEEPALIVE_IDLE, default=0)
    keepalive_interval_s: float = knob(knobs.KEEPALIVE_INTERVAL, default=75)
    keepalive_probes: int = knob(knobs.KEEPALIVE_PROBES, default=9)
    user_timeout_s: float = knob(knobs.USER_TIMEOUT, default=0)
    socket_timeout_s: float = knob(
        timer("socket timeout", "How long the program waits for an answer.", "off", 60), default=0
    )
    retries2: int = knob(knobs.RETRIES2, default=15)
    drops_read_only: bool = knob(
        Knob("drops on a read-only error", bool, test_only=True,
             help="The pool discards a connection whose write was refused as read-only."),
        default=False,
    )  # fmt: skip
    size: int = knob(replace(SIZE, high=200), default=10)
    acquire_timeout_s: float = knob(
        timer("acquire timeout", "How long a request waits for a connection.", "no limit", 60), default=30
    )
    retry_s: float = knob(
        timer("tries again after", "Pause after a failed connect().", slider_high=15, low=0.01),
        default=0.1,
    )
    rate_per_s: float = knob(
        replace(RATE, label="requests per second", help="At regular intervals.", slider_high=200), default=20
    )
    write_share: float = knob(
        Knob("share of writes", float, low=0, high=1, step=0.1, test_only=True,
             help="The other requests only read."),
        default=0.5,
    )  # fmt: skip
    duration_s: float = knob(replace(DURATION, slider_high=2400), default=600)
    latency_ms: float = knob(knobs.LATENCY, default=1)
    seed: int = knob(replace(knobs.SEED, help="Chooses which requests write."), default=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if -1 < self.client_dns_ttl_s < 0:
            raise ParameterError(
                f"client_dns_ttl_s = {self.client_dns_ttl_s:g} is not allowed: use -1 (no limit), or 0 or "
                "more."
            )
        if self.fails_at_s >= self.duration_s:
            raise ParameterError(
                f"fails_at_s = {self.fails_at_s:g} is after the end of the run: it must be less than "
                f"duration_s = {self.duration_s:g}."
            )
        if 0 < self.max_lifetime_s < 1:
            raise ParameterError(
                f"max_lifetime_s = {self.max_lifetime_s:g} is too short: 0 (never), or at least 1."
            )
        round_trip = 2 * self.latency_ms / 1000
        for name in ("socket_timeout_s", "connect_timeout_s"):
            if 0 < getattr(self, name) <= round_trip:
                raise ParameterError(
                    f"{name} = {getattr(self, name):g} ends every request: an answer takes {round_trip:g} s, "
                    "so it must be longer."
                )
        for name, each_s, what in (
            ("rate_per_s", 1 / self.rate_per_s, "requests"),
            (
                "probe_interval_s",
                self.probe_interval_s / self.size if self.probe != "none" else NEVER,
                "probes",
            ),
            ("retry_s", (self.retry_s + 2 * self.latency_ms / 1000) / self.size, "connects"),
            ("max_lifetime_s", (self.max_lifetime_s or NEVER) / self.size, "connects"),
        ):
            if (count := self.duration_s / each_s) > MOST_EVENTS:
                raise ParameterError(
                    f"{name} = {getattr(self, name):g} for duration_s = {self.duration_s:g} makes up to "
                    f"{count:,.0f} {what}: at most {MOST_EVENTS:,}."
                )

    def idle_controls(self) -> dict[str, str]:
        is_dead, asked = self.old_primary == "dead", self.probe != "none"
        patience = "user_timeout_s socket_timeout_s connect_timeout_s retries2"
        keepalive = "keepalive_idle_s keepalive_interval_s keepalive_probes"
        return knobs.idle(
            (not asked, "probe_interval_s", "the pool tests nothing."),
            (self.domains == "dual", "dns_ttl_s client_dns_ttl_s", "both addresses are known."),
            (not is_dead, f"{patience} {keepalive}", "the old primary answers at once."),
            (not self.keepalive_idle_s, "keepalive_interval_s keepalive_probes", knobs.KEEPALIVE_OFF),
            (self.old_primary != "readable_replica", "drops_read_only", "no write is refused as read-only."),
        )

    @property
    def length_s(self) -> float:
        return self.duration_s

    @property
    def broke_s(self) -> float:
        return self.fails_at_s

    def settled_s(self, trace: Trace) -> float:
        outage = trace.outcome["write_outage_s"]
        return min(1.02 * (outage or 0), self.duration_s - self.fails_at_s)

    def plan(self) -> FailoverPlan:
        """This run in whole nanoseconds."""
        latency = round(self.latency_ms * MILLISECOND)
        arrivals = at_even_steps(self.rate_per_s, self.duration_s)
        draw = Random(self.seed).random
        promoted_at = round((self.fails_at_s + self.promotion_s) * SECOND)
        resolved_at = promoted_at + round(self.dns_ttl_s * SECOND)
        seen_at = resolved_at + round(self.client_dns_ttl_s * SECOND)
        common: dict[str, Any] = {
            "user_timeout_s": self.user_timeout_s,
            "latency_ms": self.latency_ms,
            "linux": self.linux,
        }
        dead_peer = DeadPeer(retries2=self.retries2, **common)
        keepalive = Keepalive(
            idle_s=self.keepalive_idle_s,
            interval_s=self.keepalive_interval_s,
            probes=self.keepalive_probes,
            **common,
        )
        return FailoverPlan(
            arrivals=arrivals,
            writes=[draw() < self.write_share for _ in arrivals],
            end=round(self.duration_s * SECOND),
            size=self.size,
            latency=latency,
            query=2 * latency,
            fails_at=round(self.fails_at_s * SECOND),
            promoted_at=promoted_at,
            resolved_at=resolved_at,
            seen_at=NEVER if self.client_dns_ttl_s == -1 else seen_at,
            is_dual=self.domains == "dual",
            old=self.old_primary,
            probe="none" if self.probe == "none" else "test_while_idle",
            asks_role=self.probe == "role_aware",
            probe_interval=round(self.probe_interval_s * SECOND),
            lifetime=or_never(self.max_lifetime_s),
            acquire_timeout=or_never(self.acquire_timeout_s),
            answer_timeout=min(waits(dead_peer, "detected_after_s"), or_never(self.socket_timeout_s)),
            connect_timeout=min(
                waits(UnansweredConnect(**common), "gave_up_after_s"), or_never(self.connect_timeout_s)
            ),
            keepalive_idle=round(self.keepalive_idle_s * SECOND),
            keepalive_end=waits(keepalive, "detected_after_s") if self.keepalive_idle_s else NEVER,
            retry=round(self.retry_s * SECOND),
            drops_read_only=self.drops_read_only,
        )

    def simulate(self) -> tuple[dict[str, Any], dict[str, Any]]:
        plan = self.plan()
        run = FailoverRun(plan)
        run.play()
        answers, budget = run.answers(), run.budget()
        lengths = {part: until - since for part, since, until in budget}
        counts = {name: len(times) for name, times in answers.items()}
        outcome = {
            "write_outage_s": run.after(run.first_write),
            "errors": counts["errors"],
            "writes_refused": counts["writes_refused"],
            "reads_from_old_primary": counts["reads_from_old_primary"],
            "stale_connections": run.stale,
            "detected_after_s": run.after(run.detected),
            "longest_part": max(lengths, key=lambda part: lengths[part]) if lengths else None,
            "requests": len(plan.arrivals),
            "writes_accepted": counts["writes_accepted"],
            "still_waiting": len(plan.arrivals) - sum(counts.values()),
        }
        edges, fails = [plan.end * i // STEPS for i in range(STEPS + 1)], plan.fails_at
        upto = [*edges[:-1], plan.end + 1]
        series = {
            "t_s": [edge / SECOND for edge in edges[:-1]],
            **{name: counted(times, upto) for name, times in answers.items()},
            "budget": [[part, (a - fails) / SECOND, (b - fails) / SECOND] for part, a, b in budget],
            "connections": [
                [place, a / SECOND, b / SECOND, state] for place, a, b, state in sorted(run.connections)
            ],
        }
        return outcome, series

    def answer(self, trace: Trace) -> Answer:
        """From the failure to the first write that the new primary takes."""
        start, outage = round(self.fails_at_s * SECOND), trace.outcome["write_outage_s"]
        if outage is None:
            return Answer(start, None, "client", "no write accepted when the run ends")
        return answered(start, start + round(outage * SECOND), "client", "first write accepted")

    def sentence(self, trace: Trace) -> str:
        outcome, budget = trace.outcome, trace.series["budget"]
        lengths = {part: until - since for part, since, until in budget}
        outage = outcome["write_outage_s"]
        if not budget:
            parts = ["No request writes." if outage is None else "Writes continue without interruption."]
        else:
            watched = in_words(self.duration_s - self.fails_at_s)
            parts = [
                f"The new primary accepts its first write {in_words(outage)} after the failure."
                if outage is not None
                else f"The run ends {watched} after the failure, and no write has been accepted yet."
            ]
            longest = outcome["longest_part"]
            parts.append(f"The longest part is “{longest}”, {in_words(lengths[longest])}: {PARTS[longest]}.")
            if len(lengths) > 1:
                added = ", ".join(f"{part} {in_words(length)}" for part, length in lengths.items())
                parts.append(f"In order, each with the time it adds: {added}.")
        parts += self._answers(outcome)
        return " ".join(parts)

    def _answers(self, outcome: Mapping[str, Any]) -> list[str]:
        """What the application got meanwhile."""
        parts = []
        if refused := outcome["writes_refused"]:
            parts.append(f"{_count(refused, 'write')} refused ({READ_ONLY}).")
        if stale := outcome["reads_from_old_primary"]:
            parts.append(f"{_count(stale, 'read')} answered by the old primary with stale data.")
        if errors := outcome["errors"]:
            parts.append(f"{errors:,} {'request fails' if errors == 1 else 'requests fail'}{self._why()}.")
        if outcome["still_waiting"]:
            parts.append(f"At the end {_count(outcome['still_waiting'], 'request')} still waiting.")
        return parts

    def _why(self) -> str:
        if self.old_primary == "dead":
            return (
                " (libpq: “could not receive data from server: Connection timed out”, or the pool's "
                "own error)"
            )
        if self.old_primary == "refuses":
            return " (libpq: “server closed the connection unexpectedly”, then “Connection refused”)"
        return ""


def _count(count: int, what: str) -> str:
    return f"{plural(count, what)} {'is' if count == 1 else 'are'}"
