"""failover: a standby becomes the primary, and how long the client goes on asking the old one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import ceil
from random import Random
from typing import Any, ClassVar

from tcplab.core.knobs import (
    DAY,
    KEEPALIVE_IDLE,
    KEEPALIVE_INTERVAL,
    KEEPALIVE_PROBES,
    LATENCY,
    RETRIES2,
    SEED,
    USER_TIMEOUT,
    Knob,
    ParameterError,
    choice,
    knob,
)
from tcplab.core.text import SECOND, duration
from tcplab.core.trace import Trace
from tcplab.model.rules import TcpOptions
from tcplab.studies.failover_run import NEVER, Plan, Play, Told
from tcplab.studies.study import DURATION, RATE, Study, connecting, detection, idle_detection

#: Steps of the curves: about as many as a picture has pixels.
STEPS = 300
#: Requests, rounds of probes, or connects, that are played one by one: more would keep a learner waiting.
MOST_EVENTS = 500_000
_MILLISECOND = SECOND // 1000
#: The parts of an outage in their order, and what each of them is.
PARTS = {
    "promotion": "until the standby is the primary",
    "DNS": "the old address in the resolver's cache",
    "client cache": "the old address in the client's own cache",
    "detection": "until the client gives the old connection up",
    "probe": "until a probe asks the old connection for its role",
    "lifetime": "until the pool replaces the old connection for its age",
    "read-only error": "until the first write is refused",
    "connecting": "attempts that lead nowhere, then the handshake and the write",
}
#: What a refused write says, by product.
READ_ONLY = (
    "PostgreSQL: “cannot execute INSERT in a read-only transaction”; MySQL: “ERROR 1290 … The MySQL server "
    "is running with the --read-only option …”; Redis: “READONLY You can't write against a read only "
    "replica.”"
)


def _timer(label: str, help: str, zero: str = "", slider_high: float = 600, low: float = 0) -> Knob:
    """A timer of the client or of what stands behind it, in seconds."""
    return Knob(
        label, float, "s", low, 30 * DAY, zero=zero, help=help, slider_high=slider_high, test_only=True
    )


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
    controls = ("old_primary", "domains", "probe", "client_dns_ttl_s", "user_timeout_s", "max_lifetime_s")
    pictures = ("failover",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "refused, a short cache": {"old_primary": "refuses", "client_dns_ttl_s": 0},
        "refused, Java's 30 s": {"old_primary": "refuses"},
        "refused, cached for ever": {"old_primary": "refuses", "client_dns_ttl_s": -1},
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
               help="One name that moves, or both addresses, and the driver asks each for its role."),
        default="single",
    )  # fmt: skip
    dns_ttl_s: float = knob(
        _timer("DNS TTL", "How long a resolver keeps the name's old address.", "not kept", 300), default=5
    )
    client_dns_ttl_s: float = knob(
        _timer("client's DNS cache", "How long the client itself keeps it; -1: for ever.", "none", 60, -1),
        default=30,
    )
    fails_at_s: float = knob(_timer("fails at", "When the primary fails."), default=60)
    promotion_s: float = knob(
        _timer("promotion", "From the failure until the standby is the primary.", "at once", 120), default=10
    )
    old_primary: str = knob(
        choice("old primary", "dead", "refuses", "readable_replica",
               help="Its machine is gone; its process is gone; or it lives on as a replica."),
        default="dead",
    )  # fmt: skip
    probe: str = knob(
        choice("probe", "none", "select_1", "role_aware",
               help="What the pool asks its idle connections: nothing, whether they live, or who they are."),
        default="none",
    )  # fmt: skip
    probe_interval_s: float = knob(
        _timer("probe every", "All that is idle is asked together.", slider_high=60, low=0.01), default=10
    )
    max_lifetime_s: float = knob(
        _timer("maximum lifetime", "An older connection is replaced, once idle.", "never", 3600), default=1800
    )
    connect_timeout_s: float = knob(
        _timer("connect timeout", "How long the driver waits for one connect().", "as long as Linux", 60),
        default=10,
    )
    keepalive_idle_s: float = knob(KEEPALIVE_IDLE, default=0)
    keepalive_interval_s: float = knob(KEEPALIVE_INTERVAL, default=75)
    keepalive_probes: int = knob(KEEPALIVE_PROBES, default=9)
    user_timeout_s: float = knob(USER_TIMEOUT, default=0)
    socket_timeout_s: float = knob(
        _timer("socket timeout", "How long the program waits for an answer.", "off", 60), default=0
    )
    retries2: int = knob(RETRIES2, default=15)
    drops_read_only: bool = knob(
        Knob("drops on a read-only error", bool, test_only=True,
             help="The pool discards a connection whose write was refused as read-only."),
        default=False,
    )  # fmt: skip
    size: int = knob(
        Knob("pool size", int, low=1, high=200, slider_high=50, test_only=True,
             help="Connections, all open at the beginning."),
        default=10,
    )  # fmt: skip
    acquire_timeout_s: float = knob(
        _timer("acquire timeout", "How long a request waits for a connection.", "for ever", 60), default=30
    )
    retry_s: float = knob(
        _timer("tries again after", "Pause after a connect() that failed.", slider_high=15, low=0.01),
        default=0.1,
    )
    rate_per_s: float = knob(
        replace(RATE, label="requests a second", help="At even steps.", slider_high=200), default=20
    )
    write_share: float = knob(
        Knob("share of writes", float, low=0, high=1, step=0.1, test_only=True,
             help="The rest only reads."),
        default=0.5,
    )  # fmt: skip
    duration_s: float = knob(replace(DURATION, slider_high=2400), default=600)
    latency_ms: float = knob(LATENCY, default=1)
    seed: int = knob(replace(SEED, help="Chooses which requests write."), default=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if -1 < self.client_dns_ttl_s < 0:
            raise ParameterError(
                f"client_dns_ttl_s = {self.client_dns_ttl_s:g} is no time: -1 (for ever), or 0 and more."
            )
        if self.fails_at_s >= self.duration_s:
            raise ParameterError(
                f"fails_at_s = {self.fails_at_s:g} lies behind the end of the run: it must be less than "
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
                    f"{name} = {getattr(self, name):g} ends everything: an answer takes {round_trip:g} s, "
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

    @property
    def length_s(self) -> float:
        return self.duration_s

    def plan(self) -> Plan:
        """This run in whole nanoseconds."""
        latency, rate = round(self.latency_ms * _MILLISECOND), Fraction(str(self.rate_per_s))
        step, ticks = rate.denominator * SECOND, rate.numerator
        arrivals = [k * step // ticks for k in range(ceil(Fraction(str(self.duration_s)) * rate))]
        draw = Random(self.seed).random
        promoted_at = round((self.fails_at_s + self.promotion_s) * SECOND)
        resolved_at = promoted_at + round(self.dns_ttl_s * SECOND)
        user_timeout = round(self.user_timeout_s * SECOND)
        keepalive = TcpOptions(
            keepalive_idle=round(self.keepalive_idle_s * SECOND),
            keepalive_interval=round(self.keepalive_interval_s * SECOND),
            keepalive_probes=self.keepalive_probes,
            user_timeout=user_timeout,
        )
        return Plan(
            arrivals=arrivals,
            writes=[draw() < self.write_share for _ in arrivals],
            end=round(self.duration_s * SECOND),
            size=self.size,
            latency=latency,
            fails_at=round(self.fails_at_s * SECOND),
            promoted_at=promoted_at,
            resolved_at=resolved_at,
            seen_at=NEVER
            if self.client_dns_ttl_s == -1
            else resolved_at + round(self.client_dns_ttl_s * SECOND),
            is_dual=self.domains == "dual",
            old=self.old_primary,
            probe=self.probe,
            probe_interval=round(self.probe_interval_s * SECOND),
            lifetime=_or_never(self.max_lifetime_s),
            acquire_timeout=_or_never(self.acquire_timeout_s),
            answer_timeout=min(
                detection(self.retries2, latency, self.linux, user_timeout), _or_never(self.socket_timeout_s)
            ),
            connect_timeout=min(
                connecting(latency, self.linux, user_timeout), _or_never(self.connect_timeout_s)
            ),
            keepalive_idle=keepalive.keepalive_idle,
            keepalive_end=idle_detection(keepalive, latency, self.linux) if self.keepalive_idle_s else NEVER,
            retry=round(self.retry_s * SECOND),
            drops_read_only=self.drops_read_only,
        )

    def simulate(self) -> tuple[dict[str, Any], dict[str, Any]]:
        plan = self.plan()
        told = Play(plan).play()
        budget = _budget(plan, told) if any(plan.writes) else []
        lengths = {part: until - since for part, since, until in budget}
        outcome = {
            "write_outage_s": _after(told.first_write, plan),
            "errors": len(told.errors),
            "writes_refused": len(told.refused),
            "reads_from_old_primary": len(told.reads_from_old),
            "stale_connections": told.stale,
            "detected_after_s": _after(told.detected, plan),
            "longest_part": max(lengths, key=lambda part: lengths[part]) if lengths else None,
            "requests": len(plan.arrivals),
            "writes_accepted": len(told.accepted),
            "still_waiting": told.waiting,
        }
        return outcome, _series(plan, told, budget)

    def sentence(self, trace: Trace) -> str:
        told, budget = trace.outcome, trace.series["budget"]
        lengths = {part: round((until - since) * SECOND) for part, since, until in budget}
        outage = told["write_outage_s"]
        if not budget:
            parts = ["No request writes." if outage is None else "Writes go on without a break."]
        else:
            watched = duration(round((self.duration_s - self.fails_at_s) * SECOND))
            parts = [
                f"The new primary takes its first write {duration(round(outage * SECOND))} after the failure."
                if outage is not None
                else f"The run ends {watched} after the failure, and no write has been accepted yet."
            ]
            longest = told["longest_part"]
            parts.append(
                f"The longest part of that is “{longest}”, {duration(lengths[longest])}: {PARTS[longest]}."
            )
            if len(lengths) > 1:
                added = ", ".join(f"{part} {duration(length)}" for part, length in lengths.items())
                parts.append(f"Each part is what it adds to those before it: {added}.")
        parts += self._answers(told)
        return " ".join(parts)

    def _answers(self, told: Mapping[str, Any]) -> list[str]:
        """What the application was told meanwhile."""
        parts = []
        if refused := told["writes_refused"]:
            parts.append(f"{_count(refused, 'write')} refused ({READ_ONLY}).")
        if stale := told["reads_from_old_primary"]:
            parts.append(
                f"{_count(stale, 'read')} answered by the old primary, from data that nobody writes any more."
            )
        if errors := told["errors"]:
            parts.append(f"{errors:,} {'request fails' if errors == 1 else 'requests fail'}{self._why()}.")
        if told["still_waiting"]:
            parts.append(f"At the end {_count(told['still_waiting'], 'request')} still waiting.")
        return parts

    def _why(self) -> str:
        if self.old_primary == "dead":
            return " (libpq: “could not receive data from server: Connection timed out”, or the pool's own)"
        if self.old_primary == "refuses":
            return " (libpq: “server closed the connection unexpectedly”, then “Connection refused”)"
        return ""


def _count(count: int, what: str) -> str:
    return f"{count:,} {what} is" if count == 1 else f"{count:,} {what}s are"


def _or_never(seconds: float) -> int:
    return round(seconds * SECOND) if seconds else NEVER


def _after(moment: int, plan: Plan) -> float | None:
    """Seconds from the failure; None when it never came."""
    return (moment - plan.fails_at) / SECOND if moment <= plan.end else None


def _budget(plan: Plan, told: Told) -> list[tuple[str, int, int]]:
    """The outage cut into parts: (part, since, until), without gaps, those of no length left out.

    What keeps everybody waiting comes first, what keeps only this client waiting last: so a part is
    what it adds, and the last ones are what this client would save.
    """
    row = told.through
    end = min(told.first_write, plan.end)
    if row is None:
        lost = [each for each in told.rows if each.lost_at < NEVER]
        row = min(lost, key=lambda each: each.lost_at, default=None)
    held_until, held_by = (row.lost_at, row.lost_by) if row else (NEVER, _held_by(plan))
    if held_until == NEVER and told.through is not None:
        held_until = plan.fails_at  # it was being opened when the primary failed
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


def _held_by(plan: Plan) -> str:
    """What would have to end a connection to the old primary, where nothing has."""
    if plan.old != "readable_replica":
        return "detection"
    if plan.drops_read_only:
        return "read-only error"
    return "probe" if plan.probe == "role_aware" else "lifetime"


def _series(plan: Plan, told: Told, budget: Sequence[tuple[str, int, int]]) -> dict[str, Any]:
    """Answers by the moment at which they came, the parts of the outage, and the pool's connections."""
    edges = [plan.end * i // STEPS for i in range(STEPS + 1)]
    fails = plan.fails_at

    def counted(moments: Sequence[int]) -> list[int]:
        seen = [bisect_left(moments, edge) for edge in (*edges[:-1], plan.end + 1)]
        return [after - before for before, after in pairwise(seen)]

    return {
        "t_s": [edge / SECOND for edge in edges[:-1]],
        "writes_accepted": counted(told.accepted),
        "writes_refused": counted(told.refused),
        "reads": counted(told.reads),
        "reads_from_old_primary": counted(told.reads_from_old),
        "errors": counted(told.errors),
        "budget": [[part, (a - fails) / SECOND, (b - fails) / SECOND] for part, a, b in budget],
        "connections": [[row, a / SECOND, b / SECOND, to] for row, a, b, to in sorted(told.lives)],
    }
