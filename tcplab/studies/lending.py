"""Requests that borrow connections from a pool, moment by moment, in whole nanoseconds.

What a connection will do is known when it is borrowed: so a healthy request costs one entry in a
queue that is in order by itself, and only what goes wrong, or is looked after in the background,
takes a heap of events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

# ----------------------------------------------------------------------
# What a pool is asked to do, what it lends, and what came of it. All times in whole nanoseconds.

#: Later than everything.
NEVER = 1 << 62
#: How long Linux may keep back the ACK of a request, hoping to send it with the answer: nanoseconds
#: (include/net/tcp.h:TCP_DELACK_MIN).
ACK_DELAY = 40_000_000


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a pool is asked to do. All times in nanoseconds; `NEVER` for a timer that is off."""

    arrivals: Sequence[int]
    end: int
    size: int
    is_lifo: bool
    latency: int
    #: From sending a request to its answer, and the same for a probe or a handshake.
    query: int
    round_trip: int
    #: `none`, `test_on_borrow`, `test_on_return`, `test_while_idle` or `background_ping`.
    probe: str
    probe_interval: int
    bypass: int
    lifetime: int
    idle_timeout: int
    acquire_timeout: int
    #: The moment at which every connection dies; whether by FIN or RST; until when none can be opened.
    break_at: int
    is_told: bool
    up_at: int
    #: Silence after which a connection is dead.
    silence_limit: int
    #: From sending into a dead connection to the error: of the application's own, and of Linux.
    socket_timeout: int
    detection: int
    #: Who finds one dead gives up all that are as old; each is opened anew when it is next borrowed.
    all_at_once: bool

    @property
    def usual(self) -> int:
        """How long a healthy request takes that need not wait."""
        return self.query + (self.round_trip if self.probe == "test_on_borrow" and not self.bypass else 0)


@dataclass(slots=True, eq=False)
class Link:
    """One connection of the pool."""

    row: int
    born: int
    #: An exchange that ends by then is safe; the last segment; the last request's end.
    safe: int = NEVER
    quiet: int = 0
    used: int = 0
    is_busy: bool = False
    is_old: bool = False
    is_gone: bool = False


@dataclass(slots=True)
class Told:
    """What came of it."""

    errors: int = 0
    timeouts: int = 0
    zombies: int = 0
    probes: int = 0
    zombies_left: int = 0
    first_death: int = NEVER
    last_error: int = -1
    #: (arrival, how long it took, did it fail) of every request that was not answered in `Plan.usual`.
    unusual: list[tuple[int, int, bool]] = field(default_factory=list)
    #: (row, from, until, `alive` or `zombie`).
    lives: list[tuple[int, int, int, str]] = field(default_factory=list)


class Lending:
    """One run. Of what happens at one moment, what was begun first comes first; arrivals come last."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.told = plan, Told()
        self.idle: deque[Link] = deque()
        #: (moment, number, connection): comes back to the pool, without and with a probe on borrow.
        self.back: deque[tuple[int, int, Link]] = deque()
        self.back_probed: deque[tuple[int, int, Link]] = deque()
        self.later: list[tuple[int, int, str, Link | None, int]] = []
        self.waiting: deque[int] = deque()
        self.rows: set[int] = set(range(plan.size))
        self.count = 0
        self.loose: list[Link] = []
        #: When the pool last gave up all that were open: what was born by then is not lent again.
        self.given_up = -1
        for _ in range(plan.size):
            self._add(0)
        if plan.probe == "test_while_idle":
            self._at(plan.probe_interval, "sweep")

    def play(self) -> Told:
        """Every request to its end, also those that are not answered within the run."""
        plan, idle, later, waiting = self.plan, self.idle, self.later, self.waiting
        limit, told = plan.silence_limit, self.told
        on_return = plan.round_trip if plan.probe == "test_on_return" else 0
        # Where all healthy requests take the same time, they need nothing but these few lines.
        is_plain = plan.probe != "test_on_borrow" or not (plan.bypass or plan.all_at_once)
        is_probed = plan.probe in ("test_on_borrow", "test_on_return")
        back = self.back_probed if plan.probe == "test_on_borrow" else self.back
        has_limit, has_used = limit < NEVER, plan.idle_timeout < NEVER
        take = idle.pop if plan.is_lifo else idle.popleft
        put, push, pop = idle.append, back.append, back.popleft
        held = plan.usual + on_return
        number = self.count
        for now in plan.arrivals:
            if is_plain and not waiting:
                due = later[0][0] if later else NEVER
                while back and back[0][0] <= now and back[0][0] < due:
                    moment, _, link = back[0]
                    if link.is_old:
                        break
                    pop()
                    link.is_busy = False
                    link.quiet = moment
                    if has_limit:
                        link.safe = moment + limit
                    if has_used:
                        link.used = moment - on_return
                    put(link)
                if (due > now or not later) and (not back or back[0][0] > now) and idle:
                    link = take()
                    if now + held <= link.safe:
                        link.is_busy = True
                        number += 1
                        push((now + held, number, link))
                        told.probes += is_probed
                        continue
                    (idle.append if plan.is_lifo else idle.appendleft)(link)
            self.count = number
            self._until(now)
            waiting.append(now)
            self._serve(now)
            number = self.count
        self.count = number
        self._until(NEVER - 1)
        self._finish()
        return told

    # -- what comes back ---------------------------------------------------------------------

    def _until(self, now: int) -> None:
        """Everything that is due by now."""
        lanes = self.back, self.back_probed
        while True:
            heads = [lane[0][:2] for lane in lanes if lane]
            heads += [self.later[0][:2]] if self.later else []
            if not heads or min(heads)[0] > now:
                return
            first = min(heads)
            if self.later and self.later[0][:2] == first:
                moment, _, what, link, arrived = heappop(self.later)
                getattr(self, f"_{what}")(moment, link, arrived)
            else:
                lane = next(lane for lane in lanes if lane and lane[0][:2] == first)
                moment, _, returned = lane.popleft()
                returned.used = moment - (self.plan.round_trip if self.plan.probe == "test_on_return" else 0)
                self._release(moment, returned)

    def _release(self, now: int, link: Link) -> None:
        """A healthy connection is free again."""
        link.is_busy = False
        link.quiet = now
        if self.plan.silence_limit < NEVER:
            link.safe = now + self.plan.silence_limit
        if link.born <= self.given_up:
            self._empty(now, link)
            self.idle.append(link)
        elif link.is_old:
            self._replace(now, link)
        else:
            self.idle.append(link)
        self._serve(now)

    # -- borrowing ---------------------------------------------------------------------------

    def _serve(self, now: int) -> None:
        """Those who wait, in the order in which they came, get what is there."""
        plan = self.plan
        while self.waiting:
            arrived = self.waiting[0]
            if now - arrived >= plan.acquire_timeout and now > arrived:
                self.waiting.popleft()
                self.told.timeouts += 1
                self._fail(arrived, arrived + plan.acquire_timeout)
                continue
            if not self.idle:
                # Only a pool that let idle connections go has room for a new one.
                wanted = len(self.waiting) - sum(event[2] == "opened" for event in self.later)
                while self.rows and wanted > 0:
                    self._open(now)
                    wanted -= 1
                return
            self.waiting.popleft()
            self._borrow(now, arrived, self.idle.pop() if plan.is_lifo else self.idle.popleft())

    def _borrow(self, now: int, arrived: int, link: Link) -> None:
        if not link.is_gone:
            self._lend(now, arrived, link)
            return
        ready, limit = self._ready(now), arrived + self.plan.acquire_timeout
        if ready >= limit:
            self.told.timeouts += 1
            self._fail(arrived, limit)
        link = Link(link.row, ready, quiet=ready, used=ready, is_busy=True)
        link.safe = self._died(link)
        self.loose.append(link)
        self._at(ready, "renewed", link, arrived)

    def _lend(self, now: int, arrived: int, link: Link, *, is_fresh: bool = False) -> None:
        plan, told = self.plan, self.told
        link.is_busy = True
        is_probed = plan.probe == "test_on_borrow" and not (
            is_fresh or (plan.bypass and now - link.quiet < plan.bypass)
        )
        was_dead = self._died(link) <= now
        start = now
        if is_probed:
            told.probes += 1
            is_good, start = self._exchange(link, now, plan.round_trip)
            if not is_good:
                told.zombies += 1
                self._at(start, "again", link, arrived)
                return
            link.quiet = start
        elif was_dead:
            told.zombies += 1
        is_good, end = self._exchange(link, start, plan.query)
        if not is_good:
            self._at(end, "failed", link, arrived)
            return
        link.quiet = end
        if end - arrived != plan.usual:
            told.unusual.append((arrived, end - arrived, False))
        if plan.probe == "test_on_return":
            told.probes += 1
            is_good, end = self._exchange(link, end, plan.round_trip)
            if not is_good:
                self._at(end, "found_dead", link)
                return
        self.count += 1
        (self.back_probed if is_probed else self.back).append((end, self.count, link))

    def _exchange(self, link: Link, start: int, takes: int) -> tuple[bool, int]:
        """Is there an answer, and when does it, or the error, come."""
        plan, died = self.plan, self._died(link)
        if start + takes <= died or (plan.break_at == NEVER and start < died):
            return True, start + takes
        if plan.is_told:
            return False, max(start, died)
        # What is acknowledged is not sent again: nobody in this host waits for anything then.
        is_acknowledged = start + 2 * plan.latency + ACK_DELAY <= died
        return False, start + min(NEVER if is_acknowledged else plan.detection, plan.socket_timeout)

    def _died(self, link: Link) -> int:
        plan = self.plan
        if plan.silence_limit < NEVER:
            return link.quiet + plan.silence_limit
        return plan.break_at if link.born <= plan.break_at else NEVER

    # -- what goes wrong ---------------------------------------------------------------------

    def _fail(self, arrived: int, now: int) -> None:
        self.told.errors += 1
        self.told.last_error = max(self.told.last_error, now)
        self.told.unusual.append((arrived, now - arrived, True))

    def _failed(self, now: int, link: Link, arrived: int) -> None:
        self._fail(arrived, now)
        self._found_dead(now, link, 0)

    def _again(self, now: int, link: Link, arrived: int) -> None:
        """The probe found it dead: the request comes before all that came later."""
        if now - arrived >= self.plan.acquire_timeout:
            self.told.timeouts += 1
            self._fail(arrived, now)
        else:
            others = sorted([*self.waiting, arrived])
            self.waiting.clear()
            self.waiting.extend(others)
        self._found_dead(now, link, 0)

    def _found_dead(self, now: int, link: Link, _: int) -> None:
        if self.plan.all_at_once:
            self._give_up(now, link)
        else:
            self._replace(now, link)
        self._serve(now)

    def _give_up(self, now: int, link: Link) -> None:
        """All that are as old keep their place, and are opened anew when they are next borrowed."""
        if link.born > self.given_up:
            self.given_up = now
            for each in self.idle:
                if not each.is_gone:
                    self._empty(now, each)
            for each in self.loose:
                each.is_old |= each.is_busy and each.born <= now  # emptied when it comes back
        self._empty(now, link)
        self.idle.append(link)

    def _empty(self, now: int, link: Link) -> None:
        """Nothing but its place in the pool is left."""
        link.is_busy, link.is_gone, link.safe = False, True, -1
        self._record(link, now)

    def _renewed(self, now: int, link: Link, arrived: int) -> None:
        self._watch(now, link)
        if now - arrived >= self.plan.acquire_timeout:
            self._release(now, link)
        else:
            self._lend(now, arrived, link, is_fresh=True)

    # -- opening and closing -----------------------------------------------------------------

    def _replace(self, now: int, link: Link) -> None:
        self._close(now, link)
        self._open(now)

    def _close(self, now: int, link: Link) -> None:
        link.is_gone = True
        self._record(link, now)
        self.rows.add(link.row)

    def _record(self, link: Link, until: int) -> None:
        died, lives, end = self._died(link), self.told.lives, self.plan.end
        if died < until:
            self.told.first_death = min(self.told.first_death, died)
        self.told.zombies_left += died < end <= until
        for since, to, state in ((link.born, min(died, until), "alive"), (died, until, "zombie")):
            if since < min(to, end):
                lives.append((link.row, since, min(to, end), state))

    def _open(self, now: int) -> None:
        """A handshake takes a round trip; while the server is down the pool goes on trying."""
        row = min(self.rows)
        self.rows.remove(row)
        self._at(self._ready(now), "opened", None, row)

    def _ready(self, now: int) -> int:
        """When a connection is open that somebody begins to open now."""
        plan = self.plan
        meets_break = now + plan.round_trip > plan.break_at and now < plan.up_at
        return (plan.up_at if meets_break else now) + plan.round_trip

    def _opened(self, now: int, _: None, row: int) -> None:
        self.rows.add(row)
        self._add(now, row)
        self._serve(now)

    def _add(self, now: int, row: int | None = None) -> None:
        row = min(self.rows) if row is None else row
        self.rows.remove(row)
        link = Link(row, now, quiet=now, used=now)
        link.safe = self._died(link)
        self.loose.append(link)
        self.idle.append(link)
        self._watch(now, link)

    def _watch(self, now: int, link: Link) -> None:
        """Begin its timers."""
        plan = self.plan
        for wait, what in ((plan.lifetime, "aged"), (plan.idle_timeout, "unused")):
            if wait < NEVER:
                self._at(now + wait, what, link)
        if plan.probe == "background_ping":
            self._at(now + plan.probe_interval, "ping", link)

    # -- background --------------------------------------------------------------------------

    def _aged(self, now: int, link: Link, _: int) -> None:
        if link.is_gone or now >= self.plan.end:
            return
        if link.is_busy:
            link.is_old = True
        else:
            self.idle.remove(link)
            self._replace(now, link)

    def _unused(self, now: int, link: Link, _: int) -> None:
        due = link.used + self.plan.idle_timeout
        if link.is_gone or now >= self.plan.end:
            return
        if link.is_busy or due > now:
            self._at(due if due > now else now + self.plan.idle_timeout, "unused", link)
        else:
            self.idle.remove(link)
            self._close(now, link)

    def _ping(self, now: int, link: Link, _: int) -> None:
        due = link.quiet + self.plan.probe_interval
        if link.is_gone or now >= self.plan.end:
            return
        if link.is_busy or due > now:
            self._at(due if due > now else now + self.plan.probe_interval, "ping", link)
            return
        self.idle.remove(link)
        self._test(now, link)

    def _sweep(self, now: int, _: None, __: int) -> None:
        if now >= self.plan.end:
            return
        self._at(now + self.plan.probe_interval, "sweep")
        tested = [link for link in self.idle if not link.is_gone]
        empty = [link for link in self.idle if link.is_gone]
        self.idle.clear()
        self.idle.extend(empty)
        for link in tested:
            self._test(now, link)

    def _test(self, now: int, link: Link) -> None:
        link.is_busy = True
        self.told.probes += 1
        is_good, end = self._exchange(link, now, self.plan.round_trip)
        self._at(end, "tested" if is_good else "found_dead", link)

    def _tested(self, now: int, link: Link, _: int) -> None:
        self._release(now, link)
        if self.plan.probe == "background_ping":
            self._at(now + self.plan.probe_interval, "ping", link)

    def _at(self, moment: int, what: str, link: Link | None = None, arrived: int = 0) -> None:
        self.count += 1
        heappush(self.later, (moment, self.count, what, link, arrived))

    def _finish(self) -> None:
        """Requests for which nothing will ever come, and the connections that are left."""
        for moment, _, what, _, arrived in self.later:
            if moment >= NEVER - 1 and what in ("failed", "again"):
                self._fail(arrived, NEVER)
        for arrived in self.waiting:
            self.told.timeouts += self.plan.acquire_timeout < NEVER
            self._fail(arrived, min(arrived + self.plan.acquire_timeout, NEVER))
        for link in self.loose:
            if not link.is_gone:
                self._record(link, self.plan.end)
