"""A connection pool, event by event: requests check connections out and in. Whole nanoseconds.

What an exchange or a connect() meets is known when it begins, so each costs one event; what that is,
a subclass says. At one moment, events come in the order in which they were planned, arrivals last.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import Any, TypeAlias

from tcplab.core.knobs import ParameterError
from tcplab.studies.study import NEVER

#: A run with this many events between two requests, or after the last one, does not end.
MOST_EVENTS = 100_000


@dataclass(frozen=True, kw_only=True)
class PoolPlan:
    """What a pool is asked to do. All times in nanoseconds; `NEVER` for a timer that is off."""

    arrivals: Sequence[int]
    end: int
    size: int
    latency: int
    #: From sending a request to its answer; a probe and a handshake take `round_trip`.
    query: int
    #: `none`, `test_on_borrow`, `test_on_return`, `test_while_idle` or `background_ping`.
    probe: str
    probe_interval: int
    lifetime: int
    acquire_timeout: int
    is_lifo: bool = True
    bypass: int = 0
    idle_timeout: int = NEVER
    #: Silence after which a connection is dead.
    silence_limit: int = NEVER
    #: An error gives up all connections that are as old; each is opened again at its next checkout.
    all_at_once: bool = False
    #: Pause after a connect() that failed.
    retry: int = 0

    @property
    def round_trip(self) -> int:
        return 2 * self.latency

    @property
    def usual(self) -> int:
        """How long a healthy request takes that need not wait."""
        return self.query + (self.round_trip if self.probe == "test_on_borrow" and not self.bypass else 0)


@dataclass(slots=True, eq=False)
class PooledConnection:
    """One connection, and its place in the pool."""

    place: int
    born: int
    #: Which server it leads to, where there are two: `old` or `new`.
    leads_to: str
    #: The last segment; the end of the last request.
    quiet: int
    used: int
    #: An exchange that ends by then succeeds.
    safe: int = NEVER
    is_old: bool = False
    is_gone: bool = False


#: (moment, rank, number, what happens, to what): the heap orders events by the first three.
Event: TypeAlias = tuple[int, int, int, Callable[..., None], tuple[Any, ...]]


class PoolRun(ABC):
    """One run of a plan. Subclasses say what an exchange and a connect() meet, and when connections die."""

    #: Sweeps of test_while_idle come after other events of their moment where this is 1.
    sweep_rank = 0

    def __init__(self, plan: PoolPlan, *, calm_until: int = NEVER, horizon: int = NEVER - 1) -> None:
        """Until `calm_until` no hook cares about healthy requests; nothing happens after `horizon`."""
        self.plan, self.calm_until, self.horizon = plan, calm_until, horizon
        self.idle: deque[PooledConnection] = deque()
        #: Healthy connections that are checked out, in the order of their return: (moment, 0, number, it).
        self.lane: deque[tuple[int, int, int, PooledConnection]] = deque()
        self.events: list[Event] = []
        #: Requests that wait for a connection, by their number in the plan.
        self.waiting: deque[int] = deque()
        self.free_places, self.opening = set(range(plan.size)), 0
        self.opened: list[PooledConnection] = []
        #: When the pool last gave up all that were open: connections opened by then are not checked out.
        self.given_up = -1
        self.next_number = count().__next__
        # What came of it: of every request that was not answered in `PoolPlan.usual` its number, how long
        # it took, and the answer (empty: an error); of each connection (place, since, until, state).
        self.unusual: list[tuple[int, int, str]] = []
        self.connections: list[tuple[int, int, int, str]] = []
        self.timeouts = self.zombies = self.probes = 0
        #: When the pool probed connections that were idle, in order.
        self.probed: list[int] = []
        for place in range(plan.size):
            self.free_places.remove(place)
            self._add(0, place, "old")
        if plan.probe == "test_while_idle":
            self._at(plan.probe_interval, self._sweep, rank=self.sweep_rank)

    # -- hooks -------------------------------------------------------------------------------

    @abstractmethod
    def exchange(self, connection: PooledConnection, start: int, takes: int) -> tuple[int, str]:
        """When an exchange is over, and its answer: `ok`, another one, or empty for an error."""

    @abstractmethod
    def connect(self, now: int) -> tuple[int, str]:
        """When a connect() is over, and which server it leads to; empty when it failed."""

    @abstractmethod
    def record(self, connection: PooledConnection, until: int) -> None:
        """Add a connection that ends to `connections`."""

    def dies_at(self, connection: PooledConnection) -> int:
        """When a connection that stays unused is dead."""
        return NEVER

    def gives_up(self, answer: str, number: int | None = None) -> str:
        """Why a connection is closed after an answer to a request, or to a probe; empty: it is kept."""
        return "" if answer else "detection"

    def rests(self, now: int, connection: PooledConnection) -> None:  # noqa: B027
        """Called when a connection becomes idle."""

    # -- the run -----------------------------------------------------------------------------

    def play(self) -> None:
        """Follow every request to its end, or to the horizon."""
        plan, idle, lane, events, waiting = self.plan, self.idle, self.lane, self.events, self.waiting
        # Healthy requests, which all take the same time, need only this loop: a tenth of the work. With a
        # bypass window they don't take the same time.
        is_plain = plan.probe != "test_on_borrow" or not plan.bypass
        calm = bisect_left(plan.arrivals, self.calm_until) if is_plain else 0
        usual = plan.usual
        held = usual + (plan.round_trip if plan.probe == "test_on_return" else 0)
        limit = plan.silence_limit
        take = idle.pop if plan.is_lifo else idle.popleft
        untake = idle.append if plan.is_lifo else idle.appendleft
        next_number, healthy = self.next_number, 0
        for number, now in enumerate(plan.arrivals):
            if number < calm and not waiting and (not events or events[0][0] > now):
                while lane and lane[0][0] <= now and not lane[0][3].is_old:
                    idle.append(lane.popleft()[3])
                if idle and not (lane and lane[0][0] <= now):
                    connection = take()
                    end = now + held
                    if end <= connection.safe:
                        connection.quiet = end
                        connection.used = now + usual
                        if limit < NEVER:
                            connection.safe = end + limit
                        lane.append((end, 0, next_number(), connection))
                        healthy += 1
                        continue
                    untake(connection)
            self._play_until(now)
            waiting.append(number)
            self._serve(now)
        if plan.probe in ("test_on_borrow", "test_on_return"):
            self.probes += healthy
        self._play_until(self.horizon)
        for number in waiting:
            self.timeouts += plan.acquire_timeout < NEVER
            self._over(number, min(plan.arrivals[number] + plan.acquire_timeout, NEVER), "")
        for connection in self.opened:
            if not connection.is_gone:
                self.record(connection, plan.end)

    def _play_until(self, now: int) -> None:
        """Follow what happens until `now`. Raises `ParameterError` where requests never finish."""
        lane, events = self.lane, self.events
        for _ in range(MOST_EVENTS):
            if lane and (not events or lane[0][:3] < events[0][:3]):
                if lane[0][0] > now:
                    return
                moment, _, _, connection = lane.popleft()
                self._check_in(moment, connection)
            elif events and events[0][0] <= now:
                moment, _, _, action, arguments = heappop(events)
                action(moment, *arguments)
            else:
                return
        raise ParameterError(
            f"the pool was stopped after {MOST_EVENTS:,} events: with these settings its connections are "
            "closed before they can serve a request, and reopened indefinitely."
        )

    def _at(self, moment: int, action: Callable[..., None], *arguments: Any, rank: int = 0) -> None:
        if moment <= self.horizon:
            heappush(self.events, (moment, rank, self.next_number(), action, arguments))

    def _over(self, number: int, end: int, answer: str) -> None:
        """A request has its answer or its error."""
        took = end - self.plan.arrivals[number]
        if answer != "ok" or took != self.plan.usual:
            self.unusual.append((number, took, answer))

    # -- checkout and checkin ----------------------------------------------------------------

    def _serve(self, now: int) -> None:
        """Give the requests that wait, in the order of arrival, what is idle."""
        plan = self.plan
        while self.waiting:
            number = self.waiting[0]
            arrived = plan.arrivals[number]
            if now - arrived >= plan.acquire_timeout and now > arrived:
                self.waiting.popleft()
                self._time_out(number)
                continue
            if not self.idle:
                # Only a pool that closed idle connections has room for a new one.
                for _ in range(min(len(self.waiting) - self.opening, len(self.free_places))):
                    self._open(now)
                return
            self.waiting.popleft()
            connection = self.idle.pop() if plan.is_lifo else self.idle.popleft()
            if connection.is_gone:
                self._renew(now, connection, number)
            else:
                self._check_out(now, connection, number)

    def _time_out(self, number: int) -> None:
        self.timeouts += 1
        self._over(number, self.plan.arrivals[number] + self.plan.acquire_timeout, "")

    def _check_out(
        self, now: int, connection: PooledConnection, number: int, *, is_fresh: bool = False
    ) -> None:
        plan, start = self.plan, now
        is_bypassed = is_fresh or (plan.bypass and now - connection.quiet < plan.bypass)
        if plan.probe == "test_on_borrow" and not is_bypassed:
            self.probes += 1
            start, answer = self.exchange(connection, now, plan.round_trip)
            if not answer:
                self.zombies += 1
                if start >= NEVER:
                    self._over(number, NEVER, "")
                self._at(start, self._probe_failed, connection, number)
                return
            connection.quiet = start
        elif self.dies_at(connection) <= now:
            self.zombies += 1
        end, answer = self.exchange(connection, start, plan.query)
        self._over(number, min(end, NEVER), answer)
        why = self.gives_up(answer, number)
        if not why:
            connection.quiet = connection.used = end
            if plan.probe == "test_on_return":
                self.probes += 1
                end, answer = self.exchange(connection, end, plan.round_trip)
                why = self.gives_up(answer)
        if why:
            self._at(end, self._lose, connection, why)
        elif not self.lane or self.lane[-1][0] <= end:
            self.lane.append((end, 0, self.next_number(), connection))
        else:
            self._at(end, self._check_in, connection)

    def _probe_failed(self, now: int, connection: PooledConnection, number: int) -> None:
        """The request goes back to its place in the queue, before all that arrived later."""
        if now - self.plan.arrivals[number] >= self.plan.acquire_timeout:
            self.timeouts += 1
            self._over(number, now, "")
        else:
            insort(self.waiting, number)
        self._lose(now, connection, "detection")

    def _check_in(self, now: int, connection: PooledConnection) -> None:
        connection.quiet = now
        connection.safe = self.dies_at(connection)
        if connection.born <= self.given_up:
            self._empty(now, connection)
        if connection.is_old and not connection.is_gone:
            self._replace(now, connection, "lifetime")
        else:
            self.idle.append(connection)
            self.rests(now, connection)
        self._serve(now)

    # -- connections that are lost -----------------------------------------------------------

    def _lose(self, now: int, connection: PooledConnection, why: str) -> None:
        if self.plan.all_at_once:
            self._give_up(now, connection)
        else:
            self._replace(now, connection, why)
        self._serve(now)

    def _give_up(self, now: int, connection: PooledConnection) -> None:
        """All that are as old keep their place and are opened again at their next checkout."""
        if connection.born > self.given_up:
            self.given_up = now
            for each in self.idle:
                if not each.is_gone:
                    self._empty(now, each)
            for each in self.opened:
                each.is_old |= each.born <= now  # those in use are emptied when they come back
        self._empty(now, connection)
        self.idle.append(connection)

    def _empty(self, now: int, connection: PooledConnection) -> None:
        """Nothing but its place in the pool is left."""
        connection.is_gone, connection.safe = True, -1
        self.record(connection, now)

    def _renew(self, now: int, empty: PooledConnection, number: int) -> None:
        """Open a connection again for a request, which waits for the handshake."""
        ready, leads_to = self.connect(now)
        if ready >= self.plan.arrivals[number] + self.plan.acquire_timeout:
            self._time_out(number)
        connection = self._made(ready, empty.place, leads_to)
        self._at(ready, self._renewed, connection, number)

    def _renewed(self, now: int, connection: PooledConnection, number: int) -> None:
        self._start_timers(now, connection)
        if now - self.plan.arrivals[number] >= self.plan.acquire_timeout:
            self._check_in(now, connection)
        else:
            self._check_out(now, connection, number, is_fresh=True)

    # -- opening and closing -----------------------------------------------------------------

    def _replace(self, now: int, connection: PooledConnection, why: str) -> None:
        self._close(now, connection, why)
        self._open(now)

    def _close(self, now: int, connection: PooledConnection, why: str) -> None:
        connection.is_gone = True
        self.record(connection, now)
        self.free_places.add(connection.place)

    def _open(self, now: int) -> None:
        place = min(self.free_places)
        self.free_places.remove(place)
        self.opening += 1
        self._connect(now, place)

    def _connect(self, now: int, place: int) -> None:
        moment, leads_to = self.connect(now)
        self._at(moment, self._connected, place, leads_to)

    def _connected(self, now: int, place: int, leads_to: str) -> None:
        if not leads_to:
            self._at(now + self.plan.retry, self._connect, place)
            return
        self.opening -= 1
        self._add(now, place, leads_to)
        self._serve(now)

    def _add(self, now: int, place: int, leads_to: str) -> None:
        connection = self._made(now, place, leads_to)
        self._start_timers(now, connection)
        self.idle.append(connection)
        self.rests(now, connection)

    def _made(self, now: int, place: int, leads_to: str) -> PooledConnection:
        connection = PooledConnection(place, now, leads_to, quiet=now, used=now)
        connection.safe = self.dies_at(connection)
        self.opened.append(connection)
        return connection

    def _start_timers(self, now: int, connection: PooledConnection) -> None:
        plan = self.plan
        self._at(now + plan.lifetime, self._aged, connection)
        self._at(now + plan.idle_timeout, self._unused, connection)
        if plan.probe == "background_ping":
            self._at(now + plan.probe_interval, self._ping, connection)

    # -- in the background -------------------------------------------------------------------

    def _is_over(self, now: int, connection: PooledConnection) -> bool:
        """Nothing is looked after once the run ends, though requests are followed further."""
        return connection.is_gone or now >= self.plan.end

    def _aged(self, now: int, connection: PooledConnection) -> None:
        if self._is_over(now, connection):
            return
        if connection in self.idle:
            self.idle.remove(connection)
            self._replace(now, connection, "lifetime")
        else:
            connection.is_old = True

    def _unused(self, now: int, connection: PooledConnection) -> None:
        if self._is_over(now, connection):
            return
        due = connection.used + self.plan.idle_timeout
        if due > now:
            self._at(due, self._unused, connection)
        elif connection not in self.idle:
            self._at(now + self.plan.idle_timeout, self._unused, connection)
        else:
            self.idle.remove(connection)
            self._close(now, connection, "unused")

    def _ping(self, now: int, connection: PooledConnection) -> None:
        if self._is_over(now, connection):
            return
        due = connection.quiet + self.plan.probe_interval
        if due > now:
            self._at(due, self._ping, connection)
        elif connection not in self.idle:
            self._at(now + self.plan.probe_interval, self._ping, connection)
        else:
            self.idle.remove(connection)
            self._test(now, connection)

    def _sweep(self, now: int) -> None:
        if now >= self.plan.end:
            return
        self._at(now + self.plan.probe_interval, self._sweep, rank=self.sweep_rank)
        tested = [connection for connection in self.idle if not connection.is_gone]
        empty = [connection for connection in self.idle if connection.is_gone]
        self.idle.clear()
        self.idle.extend(empty)
        for connection in tested:
            self._test(now, connection)

    def _test(self, now: int, connection: PooledConnection) -> None:
        self.probes += 1
        self.probed.append(now)
        end, answer = self.exchange(connection, now, self.plan.round_trip)
        if why := self.gives_up(answer):
            self._at(end, self._lose, connection, why)
        else:
            self._at(end, self._tested, connection)

    def _tested(self, now: int, connection: PooledConnection) -> None:
        self._check_in(now, connection)
        if self.plan.probe == "background_ping":
            self._at(now + self.plan.probe_interval, self._ping, connection)
