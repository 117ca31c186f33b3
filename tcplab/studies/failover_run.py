"""A pool of connections to a primary that fails, moment by moment, in whole nanoseconds.

The pool has rows. A row has a connection, or is opening one. A connection leads to the old primary
or to the new one for ever: only a connection opened later can lead elsewhere. What an exchange or a
connect() meets is known when it begins, so each costs one event.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

#: Later than everything.
NEVER = 1 << 62
#: What else happens at one moment comes in this order.
_FIRST, _PROBES, _LAST = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What happens to the primary, and how the client looks after its pool. All times in nanoseconds."""

    arrivals: Sequence[int]
    #: Of each arrival, whether it writes.
    writes: Sequence[bool]
    end: int
    size: int
    latency: int
    fails_at: int
    promoted_at: int
    #: From when on a resolver, and from when on the client, knows the new address at the latest.
    resolved_at: int
    seen_at: int
    is_dual: bool
    #: `dead`, `refuses` or `readable_replica`.
    old: str
    #: `none`, `select_1` or `role_aware`.
    probe: str
    probe_interval: int
    lifetime: int
    acquire_timeout: int
    #: From sending into the silence of a dead host to the error.
    answer_timeout: int
    connect_timeout: int
    #: Keepalive of a silent connection: between two answered probes, and from the last answer to the end.
    keepalive_idle: int
    keepalive_end: int
    retry: int
    drops_read_only: bool

    @property
    def round_trip(self) -> int:
        return 2 * self.latency


@dataclass(slots=True, eq=False)
class Row:
    """One place in the pool, and the connection in it."""

    number: int
    born: int = 0
    #: `old`, `new`, or empty while it is being opened.
    leads_to: str = "old"
    #: The last answer.
    quiet: int = 0
    is_old: bool = False
    #: When and why it last lost a connection to the old primary, after the failure.
    lost_at: int = NEVER
    lost_by: str = ""


@dataclass(slots=True)
class Told:
    """What came of it: moments of answers, and what the pool was like."""

    accepted: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)
    reads_from_old: list[int] = field(default_factory=list)
    errors: list[int] = field(default_factory=list)
    waiting: int = 0
    stale: int = 0
    detected: int = NEVER
    #: The first write that the new primary took, and the row that it went through.
    first_write: int = NEVER
    through: Row | None = None
    rows: list[Row] = field(default_factory=list)
    #: (row, since, until, `primary`, `old` or `new`).
    lives: list[tuple[int, int, int, str]] = field(default_factory=list)


class Play:
    """One run of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.told = plan, Told()
        self.rows = [Row(number) for number in range(plan.size)]
        self.idle = self.rows[:]
        self.queue: deque[tuple[int, bool]] = deque()
        self._events: list[tuple[int, int, int, Callable[..., None], tuple[object, ...]]] = []
        self._count = 0

    def play(self) -> Told:
        """From 0 to the end of the run."""
        plan, events = self.plan, self._events
        for row in self.rows:
            self._at(plan.lifetime, self._too_old, row, 0)
        self._at(plan.fails_at, self._fails)
        self._at(plan.promoted_at, self._count_stale)
        if plan.probe != "none":
            self._at(plan.probe_interval, self._probe_all, 1, order=_PROBES)
        arrivals = zip(plan.arrivals, plan.writes, strict=True)
        arrived = next(arrivals, None)
        while True:
            if arrived is not None and (not events or (arrived[0], _LAST) < events[0][:2]):
                self._take(*arrived)
                arrived = next(arrivals, None)
                continue
            if not events or events[0][0] > plan.end:
                break
            now, _, _, action, arguments = heappop(events)
            action(now, *arguments)
        self.told.waiting = len(plan.arrivals) - sum(
            len(each)
            for each in (
                self.told.accepted, self.told.refused, self.told.reads,
                self.told.reads_from_old, self.told.errors,
            )
        )  # fmt: skip
        for row in self.rows:
            self._remember(row, plan.end)
        self.told.rows = self.rows
        return self.told

    def _at(self, moment: int, action: Callable[..., None], *arguments: object, order: int = _FIRST) -> None:
        if moment <= self.plan.end:
            self._count += 1
            heappush(self._events, (moment, order, self._count, action, arguments))

    # -- requests ----------------------------------------------------------------------------

    def _take(self, now: int, is_write: bool) -> None:
        if self.idle:
            self._send(now, self.idle.pop(), is_write)
        else:
            self.queue.append((now, is_write))
            self._at(now + self.plan.acquire_timeout, self._lose_patience)

    def _send(self, now: int, row: Row, is_write: bool) -> None:
        moment, meets = self._exchange(now, row)
        self._at(moment, self._answered, row, meets, is_write)

    def _lose_patience(self, now: int) -> None:
        while self.queue and self.queue[0][0] + self.plan.acquire_timeout <= now:
            self.queue.popleft()
            self.told.errors.append(now)

    def _exchange(self, now: int, row: Row) -> tuple[int, str]:
        """When a question to the database is over, and what it met: `ok`, `old` or `lost`."""
        plan = self.plan
        if row.leads_to == "new" or now + plan.latency < plan.fails_at:
            return now + plan.round_trip, "ok"
        if plan.old == "dead":
            return now + plan.answer_timeout, "lost"
        if plan.old == "refuses":
            return max(now, plan.fails_at + plan.latency), "lost"  # its RST has long arrived, or is coming
        return now + plan.round_trip, "old"

    def _answered(self, now: int, row: Row, meets: str, is_write: bool) -> None:
        told = self.told
        if meets == "lost":
            told.errors.append(now)
            self._lose(now, row, "detection")
            return
        answers = {
            ("ok", True): told.accepted, ("ok", False): told.reads,
            ("old", True): told.refused, ("old", False): told.reads_from_old,
        }[meets, is_write]  # fmt: skip
        answers.append(now)
        if is_write and row.leads_to == "new" and told.through is None:
            told.first_write, told.through = now, row
        row.quiet = now
        if is_write and meets == "old" and self.plan.drops_read_only:
            self._lose(now, row, "read-only error")
        else:
            self._rest(now, row)

    # -- connections -------------------------------------------------------------------------

    def _rest(self, now: int, row: Row) -> None:
        """A healthy connection, or one that is thought to be: to whoever waits, or back to the pool."""
        if row.is_old:
            self._retire(now, row)
            return
        self._lose_patience(now)
        if self.queue:
            self._send(now, row, self.queue.popleft()[1])
            return
        self.idle.append(row)
        if now >= self.plan.fails_at:
            self._ask_by_keepalive(row)

    def _lose(self, now: int, row: Row, by: str) -> None:
        """The client gives this connection up: a new one."""
        self._learns(now)
        self._leave(now, row, by)
        self._open(now, row)

    def _retire(self, now: int, row: Row) -> None:
        self._leave(now, row, "lifetime")
        self._open(now, row)

    def _leave(self, now: int, row: Row, by: str) -> None:
        self._remember(row, now)
        if row.leads_to == "old" and now >= self.plan.fails_at:
            row.lost_at, row.lost_by = now, by
        row.leads_to, row.is_old = "", False

    def _open(self, now: int, row: Row) -> None:
        moment, leads_to = self._connect(now)
        self._at(moment, self._opened, row, leads_to)

    def _connect(self, now: int) -> tuple[int, str]:
        """When a connect(), and the question for the role, is over; where it leads, if anywhere."""
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

    def _opened(self, now: int, row: Row, leads_to: str) -> None:
        if not leads_to:
            self._learns(now)
            self._at(now + self.plan.retry, self._open, row)
            return
        row.leads_to, row.born, row.quiet = leads_to, now, now
        if leads_to == "old" and now >= self.plan.promoted_at:
            self.told.stale += 1
        self._at(now + self.plan.lifetime, self._too_old, row, now)
        self._rest(now, row)

    def _too_old(self, now: int, row: Row, born: int) -> None:
        if row.born != born or not row.leads_to:
            return
        if row in self.idle:
            self.idle.remove(row)
            self._retire(now, row)
        else:
            row.is_old = True

    def _remember(self, row: Row, until: int) -> None:
        fails = self.plan.fails_at
        parts = [(row.born, until, "new")]
        if row.leads_to == "old":
            parts = [(row.born, min(until, fails), "primary"), (max(row.born, fails), until, "old")]
        if row.leads_to:
            self.told.lives += [(row.number, since, to, state) for since, to, state in parts if since < to]

    # -- what finds out ----------------------------------------------------------------------

    def _learns(self, now: int) -> None:
        if now >= self.plan.fails_at:
            self.told.detected = min(self.told.detected, now)

    def _probe_all(self, now: int, round_: int) -> None:
        """Test all that is idle."""
        idle, self.idle = self.idle, []
        for row in idle:
            moment, meets = self._exchange(now, row)
            self._at(moment, self._probed, row, meets)
        self._at((round_ + 1) * self.plan.probe_interval, self._probe_all, round_ + 1, order=_PROBES)

    def _probed(self, now: int, row: Row, meets: str) -> None:
        if meets == "lost":
            self._lose(now, row, "detection")
        elif meets == "old" and self.plan.probe == "role_aware":
            self._lose(now, row, "probe")
        else:
            row.quiet = now
            self._rest(now, row)

    def _fails(self, now: int) -> None:
        for row in self.idle:
            self._ask_by_keepalive(row)

    def _ask_by_keepalive(self, row: Row) -> None:
        """Keepalive's end of a connection that lies idle, if nobody uses it before."""
        plan = self.plan
        if plan.old != "dead" or row.leads_to != "old" or plan.keepalive_end >= NEVER:
            return
        period = plan.keepalive_idle + plan.round_trip
        answered = max(0, -(-(plan.fails_at - plan.latency - row.quiet - plan.keepalive_idle) // period))
        heard = row.quiet + answered * period
        self._at(heard + plan.keepalive_end, self._given_up, row, row.born, row.quiet)

    def _given_up(self, now: int, row: Row, born: int, quiet: int) -> None:
        if row in self.idle and (row.born, row.quiet) == (born, quiet):
            self.idle.remove(row)
            self._lose(now, row, "detection")

    def _count_stale(self, now: int) -> None:
        self.told.stale += sum(row.leads_to == "old" for row in self.rows)
