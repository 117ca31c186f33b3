"""The race of an environment's timers: what happens in each of ten situations, and which timer decides.

    >>> from tcplab.advice import Environment
    >>> lane = race(Environment(outage_s=60))["server_dies_waiting"]
    >>> lane.winner, lane.heard_s, lane.verdict
    ('TCP keepalive', 7875.0, 'too late')

Seconds come from runs of the experiments on the model and from the catalogue. A lane is drawn for the leg
on which it is worst. Where a number is missing, the verdict is `UNKNOWN`, never a guess.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from math import inf
from typing import Any

from tcplab.advice import products, runs
from tcplab.advice.checks import Inequalities
from tcplab.advice.counts import Counts
from tcplab.advice.environment import Environment, MiddleboxSettings, known_middleboxes
from tcplab.advice.messages import (
    PAUSED,
    QUERY_TIMEOUT,
    READ_TIMEOUT,
    Check,
    not_connected,
    printed,
    waited_for_pool,
)
from tcplab.advice.products import CLIENTS, LINUX, SERVERS, EndSettings, KeepaliveDefaults, of_product, title
from tcplab.advice.race_lanes import (
    ASSUMED,
    DECIDED,
    FIRES,
    FORGETS,
    IN_TIME,
    LIVES,
    NEVER,
    PART,
    READ,
    READY,
    RESTARTS,
    TOO_LATE,
    UNKNOWN,
    USELESS,
    WOULD,
    Hang,
    Race,
    RaceEvent,
    RaceLane,
    time_text,
)
from tcplab.advice.timers import CONNECT as CONNECT_TIMEOUT
from tcplab.experiments.experiment import END_OF_FILE

#: The test that HikariCP makes at a checkout has a time of its own; the tests of other pools are queries.
_CHECKOUT_TEST = {"hikaricp": "validationTimeout"}
#: Pools that close every session that nobody uses; HikariCP and psycopg_pool keep the smallest number.
_POOL_CLOSES = {
    "pg_pool": "idleTimeoutMillis", "pgxpool": "pool_max_conn_idle_time",
    "database_sql": "SetConnMaxIdleTime",
}  # fmt: skip
#: Switches of pools that test at each checkout.
_TESTS_AT_CHECKOUT = ("pool_pre_ping", "testOnBorrow", "pingBeforeActivateConnection")


class _Runner:
    """Makes the lanes of one environment."""

    def __init__(self, environment: Environment, decided: frozenset[str]) -> None:
        self.environment, self.decided = environment, decided
        self.inequalities = Inequalities(environment)
        self.force = self.inequalities.force
        self.many = len(environment.legs) > 1

    def lanes(self) -> Iterator[RaceLane]:
        """Every lane."""
        legs = range(len(self.environment.legs))
        for i in legs:
            yield self._idle(i)
            if self.environment.longest_silent_query_s:
                yield self._silent(i)
        # On one host nothing gets lost: what is left of a dead program is closed by its kernel.
        remote = [i for i in legs if not self.environment.legs[i].is_local]
        for i in remote:
            yield from (self._dies_idle(i), self._waiting(i), self._sending(i), self._nowhere(i))
        if remote:
            yield self._failover(len(legs) - 1)
            if self.environment.pool:
                yield self._exhausted(remote)
        yield from (self._client_dies(i) for i in remote)
        yield from self._ports()

    # -- events ------------------------------------------------------------------------------

    def _source(self, key: str) -> str:
        if key in self.decided:
            return DECIDED
        return READ if key in self.environment.settings else ASSUMED

    def _event(
        self, t_s: float, timer: str, host: str, key: str = "", kind: str = WOULD, error: str = ""
    ) -> RaceEvent:
        return RaceEvent(round(t_s, 3), timer, host, kind, self._source(key), key, error)

    def _said(self, t_s: float, timer: str, field: str, kind: str = PART) -> RaceEvent:
        """A number that no file has."""
        return RaceEvent(round(t_s, 3), timer, "you", kind, DECIDED, field)

    def _host(self, product: str) -> str:
        env = self.environment
        if product in env.proxies:
            return _name(product)
        return (
            "database" if product == env.database and product not in (env.driver, env.pool) else "application"
        )

    def _setting(self, product: str, end: EndSettings, what: str, linux: str = "") -> str:
        """The key of an end's setting, or of the sysctl that stands in for it."""
        name = getattr(end, what)
        if name and (f"{product}.{name}" in self.environment.settings or not linux):
            return f"{product}.{name}"
        if name and not products.setting(product, name).inherits:
            return f"{product}.{name}"
        return f"linux.{linux}" if linux else ""

    def _of_end(self, i: int, is_client: bool) -> tuple[str, EndSettings, KeepaliveDefaults | None, str]:
        env = self.environment
        if is_client:
            product = env.client_of(i)
            host = _name(product) if i else "application"
            return product, CLIENTS[product], self.force.client(i), host
        product = env.server_of(i)
        host = _name(product) if i < len(env.proxies) else "database"
        return product, SERVERS[product], self.force.server(i), host

    def _keepalive_key(self, product: str, end: EndSettings, keepalive: KeepaliveDefaults | None) -> str:
        if keepalive is None and end.switch:
            return f"{product}.{end.switch}"
        return self._setting(product, end, "idle", LINUX.idle)

    def _first_probe(self, i: int, is_client: bool, box: MiddleboxSettings | None = None) -> RaceEvent | None:
        """The first probe of an end, with those that get lost before it; None: it sends none."""
        product, end, keepalive, host = self._of_end(i, is_client)
        if keepalive is None:
            return None
        lost = self.environment.lost_probes
        kind = WOULD
        if box and (is_client or box.expired != "drop_inbound") and keepalive.beats(box.idle_s, lost):
            kind = RESTARTS
        name = f"{self._short(i, is_client)} keepalive"
        return self._event(keepalive.idle_s, name, host, self._keepalive_key(product, end, keepalive), kind)

    def _short(self, i: int, is_client: bool) -> str:
        if is_client:
            return _name(self.environment.client_of(i)) if i else "TCP"
        return _name(self.environment.server_of(i))

    def _gives_up(self, i: int, is_sending: bool) -> list[RaceEvent]:
        """The kernel of the end that opened leg `i` whose other end is gone."""
        env, force = self.environment, self.force
        product, end, keepalive, host = self._of_end(i, True)
        user = force.user_timeout(i)
        prefix = f"{_name(product)} " if i else ""
        user_key = f"{product}.{end.user_timeout}" if end.user_timeout else ""
        if is_sending:
            ending = runs.data_unacknowledged(user, force.linux(products.RETRIES2), env.linux)
            name, key = ("user timeout", user_key) if user else ("tcp_retries2", f"linux.{products.RETRIES2}")
            return [self._event(ending.after_s, prefix + name, host, key, error="ETIMEDOUT")]
        ending = runs.probes_unanswered(keepalive, env.linux)
        name = "user timeout" if user and keepalive else "keepalive"
        key = user_key if user and keepalive else self._keepalive_key(product, end, keepalive)
        timer = prefix + name if i or name != "keepalive" else "TCP keepalive"
        return [self._event(ending.after_s, timer, host, key, error="ETIMEDOUT")]

    def _answers(self, i: int) -> Iterator[RaceEvent]:
        """The timers of programs that wait for an answer on leg `i`: all in front of it."""
        env, force = self.environment, self.force
        if not of_product(env.driver).is_shared:
            for t in force.timer(env.driver, products.ANSWER.get(env.driver, "")):
                yield self._event(t.seconds, _tail(t.key), "application", t.key, error=READ_TIMEOUT)
        for proxy in env.proxies[:i]:
            for t in force.data_timers(proxy):
                error = "query timeout" if t.key == "pgbouncer.query_timeout" else END_OF_FILE
                name = f"{_name(proxy)} {_tail(t.key)}"
                yield self._event(t.seconds, name, _name(proxy), t.key, error=error)
        if env.deadline_s and self._has_deadline():
            whose, field = f"{of_product(env.driver).language or 'caller'} deadline", "deadline_s"
            kind = WOULD if self._deadline_counts() else USELESS
            yield RaceEvent(env.deadline_s, whose, "application", kind, DECIDED, field, READ_TIMEOUT)

    def _has_deadline(self) -> bool:
        """Whether a caller's deadline closes the connection: Go's contexts do."""
        return of_product(self.environment.driver).language == "Go"

    def _deadline_counts(self) -> bool:
        """A query that may be silent for longer than the deadline has none."""
        return self.environment.longest_silent_query_s <= self.environment.deadline_s

    def _useless(self, i: int) -> Iterator[RaceEvent]:
        """The application's probes, which the first proxy answers."""
        if i and (event := self._first_probe(0, True)):
            yield replace(event, kind=USELESS)

    # -- lanes -------------------------------------------------------------------------------

    def _judged(self, seconds: float) -> str:
        if seconds == inf:
            return NEVER
        if not self.environment.outage_s:
            return UNKNOWN
        # A run is a few milliseconds longer than its timers.
        return IN_TIME if round(seconds, 1) <= self.environment.outage_s else TOO_LATE

    def _on_leg(self, i: int | None, text: str) -> str:
        return f"{text}, leg {i + 1}" if self.many and i is not None else text

    def _lane(
        self, key: str, i: int | None, detail: str, events: Iterable[RaceEvent], **rest: Any
    ) -> RaceLane:
        """A lane, its events in order; without a tolerated outage it is not known whether it is in time."""
        needs = "outage_s" if rest["verdict"] == UNKNOWN and "needs" not in rest else rest.pop("needs", "")
        unique = tuple(dict.fromkeys(sorted(events, key=lambda each: each.t_s)))
        return RaceLane(key=key, leg=i, detail=self._on_leg(i, detail), events=unique, needs=needs, **rest)

    def _ended(
        self,
        key: str,
        i: int,
        detail: str,
        candidates: Iterable[RaceEvent],
        others: Iterable[RaceEvent],
        what: str,
    ) -> RaceLane:
        """A wait that the first of its timers ends."""
        env = self.environment
        timers = sorted(candidates, key=lambda each: each.t_s)
        able = [each for each in timers if each.kind != USELESS and each.t_s < inf]
        client = _name(env.client_of(i)) if i else "the application"
        if not able:
            says = f"No timer runs that could end {what}: {client} waits indefinitely."
            off = [replace(each, kind=USELESS) for each in timers]
            left = (Hang("thread + connection", inf),)
            return self._lane(
                key, i, detail, [*off, *others], heard_s=inf, hangs=left, verdict=NEVER, says=says
            )
        first = able[0]
        fired = [replace(each, kind=FIRES) if each is first else each for each in timers if each.t_s < inf]
        own = min((each.t_s for each in able if each.host == (client if i else "application")), default=inf)
        hangs: list[Hang] = []
        if env.outage_s and first.t_s > env.outage_s:
            hangs.append(Hang("thread + connection", first.t_s))
        elif i and own > first.t_s:
            hangs.append(Hang(f"{client}'s connection", own))
        if of_product(env.driver).is_shared and i == 0:
            return self._shared(key, i, detail, first, [*fired, *others])
        says = f"{first.timer} ends {what} after {time_text(first.t_s)}."
        heard = {"heard_s": first.t_s, "winner": first.timer, "message": self._printed(i, first)}
        verdict = self._judged(max([first.t_s, *(each.until_s for each in hangs)]))
        return self._lane(
            key, i, detail, [*fired, *others], verdict=verdict, says=says, hangs=tuple(hangs), **heard
        )

    def _shared(self, key: str, i: int, detail: str, first: RaceEvent, events: list[RaceEvent]) -> RaceLane:
        """One connection for all threads: a command that times out leaves it as it is."""
        env = self.environment
        heard, message = first.t_s, self._printed(i, first)
        for command in self.force.timer(env.driver, products.ANSWER.get(env.driver, "")):
            if command.seconds < first.t_s:
                heard, message = command.seconds, printed(env.driver, READ_TIMEOUT)
                name = f"{_tail(command.key)} (each command)"
                events.append(self._event(heard, name, "application", command.key, PART, READ_TIMEOUT))
        says = (
            f"Each command fails after {time_text(heard)}; the one connection stays until {first.timer} "
            f"ends it after {time_text(first.t_s)}."
        )
        hangs = (Hang("the one connection", first.t_s),) if first.t_s > heard else ()
        return self._lane(
            key, i, detail, events, heard_s=heard, winner=first.timer, message=message, hangs=hangs,
            verdict=self._judged(first.t_s), says=says,
        )  # fmt: skip

    def _printed(self, i: int, event: RaceEvent) -> str:
        if event.error == "query timeout":
            return QUERY_TIMEOUT
        by_application = event.host in ("application", "database") or event.error == END_OF_FILE
        return printed(
            self.environment.driver if by_application else self.environment.client_of(i), event.error
        )

    def _boxes(self, i: int) -> list[MiddleboxSettings]:
        return [box for box in self.environment.legs[i].middleboxes if box.idle_s]

    def _box_event(self, box: MiddleboxSettings, kind: str = WOULD) -> RaceEvent:
        return RaceEvent(
            box.idle_s, f"{box.name} idle timer", box.name, kind, self._box_source(box), box.name
        )

    @staticmethod
    def _box_source(box: MiddleboxSettings) -> str:
        known = known_middleboxes().get(box.name)
        return ASSUMED if known and known.idle_s == box.idle_s else READ

    def _kept(self, i: int, box: MiddleboxSettings) -> RaceEvent | None:
        """The probe that restarts the timer of a layer-4 middlebox in time; None: none does."""
        if box.kind != "layer4":
            return None
        probes = [self._first_probe(i, side, box) for side in (True, False)]
        return min((p for p in probes if p and p.kind == RESTARTS), key=lambda p: p.t_s, default=None)

    def _probes(self, i: int) -> list[RaceEvent]:
        """The first probes of both ends, as they are on a path without a middlebox."""
        return [each for side in (True, False) if (each := self._first_probe(i, side))]

    def _ending(self, i: int, box: MiddleboxSettings, wait: str, quiet: float) -> runs.Ending | None:
        """The run behind a middlebox that forgets, with as many lost probes as make keepalive too late."""
        keepalive, lost = self.force.client(i), self.environment.lost_probes
        if keepalive:
            gone = next((n for n in range(lost) if not keepalive.beats(box.idle_s, n)), lost)
            keepalive = keepalive.after_losing(gone)
        return runs.behind_middlebox(
            box.idle_s, box.expired, wait, quiet, keepalive, self.force.user_timeout(i),
            self.force.linux(products.RETRIES2), self.environment.linux,
        )  # fmt: skip

    def _forgetting(self, i: int, wait: str, quiet: float) -> tuple[MiddleboxSettings, runs.Ending] | None:
        """The first layer-4 middlebox that forgets a silence, and how that ends; None: none does harm."""
        for box in sorted(self._boxes(i), key=lambda each: each.idle_s):
            is_silent = box.kind == "layer4" and quiet >= box.idle_s and not self._kept(i, box)
            if is_silent and (ending := self._ending(i, box, wait, quiet)):
                return box, ending
        return None

    def _idle(self, i: int) -> RaceLane:
        """A session of a pool, or of a person, that rests."""
        env, force = self.environment, self.force
        rests, _ = force.rests(i)
        closes = self._pool_closes(i)
        rests = min(rests, closes.t_s if closes else inf)
        events, closers = self._idle_events(i)
        detail = f"{time_text(env.longest_idle_s)} without a query"
        first = min((each for each in closers if each.t_s <= rests), key=lambda e: e.t_s, default=None)
        forgotten = self._forgetting(i, "next_query", rests)
        probes = [self._kept(i, box) for box in self._boxes(i)]
        events += [each for each in probes or self._probes(i) if each]
        if forgotten and (first is None or forgotten[0].idle_s <= first.t_s):
            return self._forgotten_idle(i, rests, events, *forgotten)
        events += [self._box_event(box) for box in self._boxes(i) if box.kind == "layer4"]
        if first:
            fired = [replace(each, kind=FIRES) if each is first else each for each in [*events, *closers]]
            says = (
                f"{first.timer} ends a session that is idle for {time_text(first.t_s)}; {self._at_checkout()}"
            )
            return self._lane(
                "idle_session", i, detail, fired, heard_s=rests, winner=first.timer, breaks_s=first.t_s,
                message=printed(env.driver, END_OF_FILE), verdict=self._judged(0), says=says, waits_s=0,
            )  # fmt: skip
        keeps = next((each for each in events if each.kind == RESTARTS), None)
        says = f"No timer ends a session that is idle for {time_text(rests)}."
        if keeps:
            says = f"{keeps.timer}, every {time_text(keeps.t_s)}: no timer ends the session before that."
        winner = keeps.timer if keeps else ""
        return self._lane(
            "idle_session", i, detail, [*events, *closers], winner=winner, verdict=LIVES, says=says
        )

    def _idle_events(self, i: int) -> tuple[list[RaceEvent], list[RaceEvent]]:
        """What keeps an idle session and what ends it properly."""
        env, force = self.environment, self.force
        server, keeps, ends = env.server_of(i), [], []
        if force.reached_by_pool(i) and (ping := force.ping()):
            name = products.PING[env.pool]
            keeps.append(self._event(ping, name, "application", f"{env.pool}.{name}", RESTARTS))
        if closes := self._pool_closes(i):
            keeps.append(closes)
        for t in force.timer(force.holder(i), products.AGE.get(force.holder(i), "")):
            keeps.append(
                self._event(t.seconds, f"{_tail(t.key)} (replaced)", self._host(force.holder(i)), t.key)
            )
        host = _name(server) if i < len(env.proxies) else "database"
        for t in force.idle_closes(server):
            ends.append(self._event(t.seconds, f"{_name(server)} {_tail(t.key)}", host, t.key))
        ends += [self._box_event(box) for box in self._boxes(i) if box.kind != "layer4"]
        return keeps, ends

    def _pool_closes(self, i: int) -> RaceEvent | None:
        """The pool's own end of a session that nobody uses, where it spares none of them."""
        pool = self.environment.pool
        if self.force.reached_by_pool(i):
            for t in self.force.timer(pool, _POOL_CLOSES.get(pool, "")):
                return self._event(t.seconds, f"{_tail(t.key)} (closed)", "application", t.key)
        return None

    def _forgotten_idle(
        self, i: int, rests: float, events: list[RaceEvent], box: MiddleboxSettings, ending: runs.Ending
    ) -> RaceLane:
        env = self.environment
        later = max(ending.after_s - rests, 0)
        test = self._checkout_test()
        message = printed(env.client_of(i), ending.error)
        if i == 0 and test and test.t_s < later:
            later, message = test.t_s, ""
        answer = self.force.answer(i)
        if answer and not of_product(env.client_of(i)).is_shared:
            later = min(later, answer)
        heard = min(later, inf) + rests
        events += [self._box_event(each, FORGETS if each is box else WOULD) for each in self._boxes(i)]
        says = f"{box.name} removes the connection after {time_text(box.idle_s)}; "
        says += f"the next query fails {_after(later)}."
        return self._lane(
            "idle_session", i, f"{time_text(env.longest_idle_s)} without a query", events, heard_s=heard,
            winner=f"{box.name} idle timer", message=message, verdict=self._judged(later), says=says,
            waits_s=later, breaks_s=box.idle_s,
        )  # fmt: skip

    def _silent(self, i: int) -> RaceLane:
        """A query that works for long before its first byte."""
        env = self.environment
        query, server = env.longest_silent_query_s, env.server_of(i)
        detail = f"{time_text(query)} without a byte"
        cuts = [each for each in self._answers(i) if each.kind != USELESS]
        if i + 1 == len(env.legs):
            for t in self.force.timer(server, products.STATEMENT.get(server, "")):
                cuts.append(self._event(t.seconds, _tail(t.key), "database", t.key, error="statement"))
        if i < len(env.proxies):
            for t in self.force.data_timers(server):
                error = "query timeout" if t.key == "pgbouncer.query_timeout" else END_OF_FILE
                name = f"{_name(server)} {_tail(t.key)}"
                cuts.append(self._event(t.seconds, name, _name(server), t.key, error=error))
        cuts += [
            replace(self._box_event(box), error=END_OF_FILE) for box in self._boxes(i) if box.kind == "layer7"
        ]
        ready = self._said(query, "answer ready", "longest_silent_query_s", READY)
        kept = [self._kept(i, box) for box in self._boxes(i) if box.kind == "layer4" and box.idle_s <= query]
        probes = [each for each in kept if each] or self._probes(i)
        boxes = [self._box_event(box) for box in self._boxes(i) if box.kind == "layer4"]
        cut = min((each for each in cuts if each.t_s <= query), key=lambda each: each.t_s, default=None)
        forgotten = self._forgetting(i, "long_query", query)
        if forgotten and (cut is None or forgotten[0].idle_s < cut.t_s):
            return self._forgotten_query(i, detail, forgotten, [*cuts, *probes, ready])
        if cut:
            fired = [
                replace(each, kind=FIRES) if each is cut else each for each in [*cuts, *probes, *boxes, ready]
            ]
            says = f"{cut.timer} ends a healthy query after {time_text(cut.t_s)}: its answer never arrives."
            goes_on = query if cut.error != "statement" else cut.t_s
            hangs = (Hang("the query, on the database", goes_on),) if goes_on > cut.t_s else ()
            return self._lane(
                "silent_query", i, detail, fired, heard_s=cut.t_s, winner=cut.timer, says=says, hangs=hangs,
                message="canceling statement due to statement timeout" if cut.error == "statement"
                else self._printed(i, cut), verdict=TOO_LATE, breaks_s=cut.t_s,
            )  # fmt: skip
        keeps = next((each for each in kept if each), None)
        says = "Nothing on the path limits it; the answer arrives."
        if keeps:
            every = time_text(keeps.t_s)
            says = f"{keeps.timer} restarts the timers on the path, every {every}; the answer arrives."
        return self._lane(
            "silent_query", i, detail, [*cuts, *probes, *boxes, ready], verdict=LIVES, says=says,
            winner=keeps.timer if keeps else "",
        )  # fmt: skip

    def _forgotten_query(
        self, i: int, detail: str, forgotten: tuple[MiddleboxSettings, runs.Ending], events: list[RaceEvent]
    ) -> RaceLane:
        box, ending = forgotten
        query = self.environment.longest_silent_query_s
        heard, winner = ending.after_s, f"{box.name} idle timer"
        message = printed(self.environment.client_of(i), ending.error) if heard < inf else ""
        reads = [each for each in self._answers(i) if each.kind != USELESS and each.t_s < heard]
        if reads:
            first = min(reads, key=lambda each: each.t_s)
            heard, message = first.t_s, self._printed(i, first)
        says = f"{box.name} removes the connection after {time_text(box.idle_s)}, without notice; "
        says += (
            f"the caller gets an error {_after(heard)}." if heard < inf else "no timer runs, no call returns."
        )
        hangs = [Hang("thread + connection", heard)]
        if ending.left_behind:
            until = runs.probes_unanswered(self.force.server(i), self.environment.linux).after_s
            hangs.append(Hang(f"session on {_name(self.environment.server_of(i))}", max(until, query)))
        boxes = [self._box_event(each, FORGETS if each is box else WOULD) for each in self._boxes(i)]
        return self._lane(
            "silent_query", i, detail, [*events, *boxes], heard_s=heard, winner=winner, message=message,
            hangs=tuple(hangs), verdict=NEVER if heard == inf else TOO_LATE, says=says, breaks_s=box.idle_s,
        )  # fmt: skip

    def _checkout_test(self) -> RaceEvent | None:
        """The test that a pool makes at a checkout, where it has a time of its own."""
        pool = self.environment.pool
        name = _CHECKOUT_TEST.get(pool, "")
        for t in self.force.timer(pool, name):
            return self._event(t.seconds, name, "application", t.key)
        return None

    def _at_checkout(self) -> str:
        """What a caller notices of a connection that is closed already."""
        pool = self.environment.pool
        tests = [name for name in _TESTS_AT_CHECKOUT if f"{pool}.{name}" in self.environment.settings]
        if self._checkout_test() or any(self.force.own(pool, name) for name in tests):
            return f"{_name(pool)} tests at the checkout and replaces it."
        return "the next query fails at once."

    def _dies_idle(self, i: int) -> RaceLane:
        """The server is gone while nothing is under way; then somebody wants a connection."""
        env = self.environment
        ends = [*self._gives_up(i, True), *self._answers(i)]
        others = [each for each in [self._first_probe(i, True)] if each]
        test = self._checkout_test() if i == 0 else None
        if test:
            ends.append(test)
        if self.force.reached_by_pool(i) and (ping := self.force.ping()):
            name = products.PING[env.pool]
            others.append(self._event(ping, name, "application", f"{env.pool}.{name}"))
        detail = "pool idle, next checkout" if env.pool and i == 0 else "idle, next request"
        lane = self._ended("server_dies_idle", i, detail, ends, others, "the next request")
        if test and lane.winner == test.timer:
            acquire, _ = self.inequalities.acquire()
            message = waited_for_pool(env.pool, acquire) if acquire and acquire <= test.t_s else ""
            after = time_text(test.t_s)
            says = f"{_name(env.pool)} tests the connection at the checkout and replaces it after {after}."
            return replace(lane, message=message, says=says)
        return lane

    def _waiting(self, i: int) -> RaceLane:
        """A request was acknowledged; then its server is gone."""
        if of_product(self.environment.client_of(i)).is_shared:
            # The next command goes over the same connection: data is in flight.
            return self._ended(
                "server_dies_waiting", i, "command running", self._gives_up(i, True), [], "the connection"
            )
        ends = [*self._gives_up(i, False), *self._answers(i)]
        return self._ended(
            "server_dies_waiting", i, "query running", ends, self._useless(i), "the wait for an answer"
        )

    def _sending(self, i: int) -> RaceLane:
        """A request is under way and its server is gone."""
        ends = [*self._gives_up(i, True), *self._answers(i)]
        probe = None if i else self._first_probe(i, True)
        others = [replace(probe, kind=USELESS)] if probe else []
        return self._ended("server_dies_sending", i, "request in flight", ends, others, "the retransmissions")

    def _failover(self, i: int) -> RaceLane:
        """The primary is lost, a replica takes its place and its name."""
        env = self.environment
        database = _name(env.database)
        if not env.promotion_s:
            return self._lane(
                "failover", i, f"{database} lost", [], verdict=UNKNOWN, needs="promotion_s",
                says="Give the time that a promotion takes.",
            )  # fmt: skip
        timer = min(
            (each for is_sending in (False, True) for each in [self._slowest(i, is_sending)]),
            key=lambda each: -each.t_s,
        )
        promoted = env.promotion_s + self.inequalities.names_s()
        connecting, _ = self.inequalities.connecting(i)
        base = max(promoted, timer.t_s)
        total = base + connecting
        events = [
            self._said(env.promotion_s, "promotion", "promotion_s"),
            RaceEvent(promoted, "promotion + name", "you", PART, DECIDED, "dns_ttl_s"),
            replace(timer, timer=f"{timer.timer}: old sessions", kind=PART),
        ]
        if total < inf:
            events.append(self._event(total, "then connect", timer.host, self._connect_key(i), FIRES))
        winner = events[2].timer if timer.t_s > promoted else events[1].timer
        says = (
            f"The new primary can be reached after {time_text(promoted)}; {_name(env.client_of(i))} gives "
            f"its old sessions up after {time_text(timer.t_s)}, then connects: {time_text(connecting)}."
        )
        hangs = (Hang("old sessions", timer.t_s),) if timer.t_s > promoted else ()
        message = printed(env.client_of(i), timer.error) if timer.t_s < inf else ""
        return self._lane(
            "failover", i, f"{database} lost", events, heard_s=total, winner=winner, message=message,
            hangs=hangs, verdict=self._judged(total), says=says,
        )  # fmt: skip

    def _slowest(self, i: int, is_sending: bool) -> RaceEvent:
        """What ends a wait on leg `i`, as one event."""
        shared = of_product(self.environment.client_of(i)).is_shared
        ends = [*self._gives_up(i, is_sending or shared), *self._answers(i)]
        return min((each for each in ends if each.kind != USELESS), key=lambda each: each.t_s)

    def _connect_key(self, i: int) -> str:
        client = self.environment.client_of(i)
        name = products.CONNECT.get(client, "")
        return f"{client}.{name}" if self.force.seconds(client, name) else f"linux.{products.SYN_RETRIES}"

    def _nowhere(self, i: int) -> RaceLane:
        """A SYN that nothing answers."""
        env = self.environment
        client, tries = env.client_of(i), self.inequalities.tries(i)
        host = _name(client) if i else "application"
        times = f" × {tries}" if tries > 1 else ""
        user = self.force.user_timeout(i)
        kernel = runs.connect_unanswered(user, self.force.linux(products.SYN_RETRIES), env.linux).after_s
        name = "user timeout" if user else "tcp_syn_retries"
        ends = [self._event(kernel * tries, name + times, host, f"linux.{products.SYN_RETRIES}")]
        for t in self.force.timer(client, products.CONNECT.get(client, "")):
            ends.append(self._event(t.seconds * tries, f"{_tail(t.key)}{times}", host, t.key))
        acquire, who = self.inequalities.acquire() if i == 0 else (0, "")
        if acquire:
            key = f"{env.pool}.{products.ACQUIRE.get(env.pool, '')}"
            ends.append(self._event(acquire, _tail(key), "application", key))
        first = min(ends, key=lambda each: each.t_s)
        message = not_connected(client, CONNECT_TIMEOUT if first.key.startswith(client) else "")
        if who and first.t_s == acquire:
            message = waited_for_pool(env.pool, acquire)
        fired = [replace(each, kind=FIRES) if each is first else each for each in ends]
        says = f"{first.timer} ends connecting after {time_text(first.t_s)}."
        return self._lane(
            "connect_nowhere", i, "no answer to the SYN", fired, heard_s=first.t_s, winner=first.timer,
            message=message, verdict=self._judged(first.t_s), says=says,
        )  # fmt: skip

    def _exhausted(self, legs: list[int]) -> RaceLane:
        """All connections of the pool hang as in D or E; others want one."""
        env = self.environment
        slow = [self._slowest(i, is_sending) for i in legs for is_sending in (False, True)]
        back = max(slow, key=lambda each: each.t_s)
        acquire, who = self.inequalities.acquire()
        acquire = acquire or inf
        key = f"{env.pool}.{products.ACQUIRE.get(env.pool, '')}"
        heard = min(acquire, back.t_s)
        events = [replace(back, timer="connections come back", kind=WOULD)] if back.t_s < inf else []
        winner = back.timer if back.t_s < inf else ""
        if acquire <= back.t_s and who and acquire < inf:
            winner = _tail(key)
            events.append(self._event(acquire, winner, "application", key, FIRES))
        says = (
            f"Callers get an error after {time_text(heard)}" if heard < inf else "Callers wait indefinitely"
        )
        says += f"; the pool's connections come back after {time_text(back.t_s)}." if back.t_s < inf else (
            "; the pool's connections never come back."
        )  # fmt: skip
        size = self.force.pool_size()
        hangs = (Hang(f"all {size} connections", back.t_s),) if back.t_s > heard or back.t_s == inf else ()
        message = waited_for_pool(env.pool, acquire) if heard == acquire and acquire < inf else ""
        return self._lane(
            "pool_exhausted", None, f"{size} connections hang (D, E)", events, heard_s=heard, winner=winner,
            message=message, hangs=hangs, verdict=self._judged(back.t_s), says=says,
        )  # fmt: skip

    def _client_dies(self, i: int) -> RaceLane:
        """The client of a leg is gone, with a transaction open: the end that it faced must notice."""
        env, force = self.environment, self.force
        product, end, keepalive, host = self._of_end(i, False)
        name = f"{_name(product)} keepalive"
        after = runs.vanished_client_noticed(keepalive, env.linux)
        ends = [self._event(after, name, host, self._keepalive_key(product, end, keepalive))]
        for server in env.proxies[i:]:
            if of_product(server).relays or server == product:
                ends += [self._event(t.seconds, f"{_name(server)} {_tail(t.key)}", _name(server), t.key)
                         for t in force.idle_closes(server)]  # fmt: skip
        for server in (*env.proxies[i:], env.database):
            for t in force.timer(server, products.PAUSE.get(server, "")):
                where = "database" if server == env.database else _name(server)
                ends.append(self._event(t.seconds, _tail(t.key), where, t.key, error="pause"))
        if i < len(env.proxies) and (own := force.server(len(env.legs) - 1)):
            _, last, _, _ = self._of_end(len(env.legs) - 1, False)
            key = self._keepalive_key(env.database, last, own)
            ends.append(self._event(own.idle_s, f"{_name(env.database)} keepalive", "database", key, USELESS))
        first = min((each for each in ends if each.kind != USELESS), key=lambda each: each.t_s)
        kept = "its place" if env.database == "redis" else "locks + transaction"
        who = _name(env.client_of(i)) if i else "application"
        if first.t_s == inf:
            return self._lane(
                "client_dies", i, f"{who} lost", [], heard_s=inf, hangs=(Hang(kept, inf),), verdict=NEVER,
                says=f"{_name(product)} keeps the session indefinitely: no timer runs.",
            )  # fmt: skip
        fired = [replace(each, kind=FIRES) if each is first else each for each in ends if each.t_s < inf]
        hangs = (Hang(kept, first.t_s),) if env.outage_s and first.t_s > env.outage_s else ()
        message = PAUSED.get(env.database, "") if first.error == "pause" else ""
        says = f"{first.timer} ends the session after {time_text(first.t_s)}; its transaction is rolled back."
        if env.database == "redis":
            says = f"{first.timer} ends the session after {time_text(first.t_s)}."
        return self._lane(
            "client_dies", i, f"{who} lost", fired, heard_s=first.t_s, winner=first.timer, message=message,
            hangs=hangs, verdict=self._judged(first.t_s), says=says,
        )  # fmt: skip

    def _ports(self) -> Iterator[RaceLane]:
        """Only where connections need more ports than there are."""
        for check in Counts(self.environment).all():
            about_ports = isinstance(check, Check) and check.unit in ("ports", "per s")
            if not isinstance(check, Check) or check.holds or not about_ports:
                continue
            at = check.breaks_after_s or 0
            host = check.about[0] if check.unit == "ports" else "application"
            event = RaceEvent(at, check.winner, host, FIRES, ASSUMED)
            yield RaceLane(
                key="ports", detail=check.name, events=(event,), winner=check.winner, message=check.message,
                heard_s=check.heard_after_s, verdict=TOO_LATE, breaks_s=at,
                says=f"{check.says} {check.numbers.replace(' <= ', ' ≤ ').replace(' x ', ' × ')}.",
            )  # fmt: skip


def _after(seconds: float) -> str:
    return "at once" if seconds < 1 else "never" if seconds == inf else f"after {time_text(seconds)}"


def _name(product: str) -> str:
    """A product in speech: PostgreSQL, not PostgreSQL server."""
    return of_product(product).short or title(product).removesuffix(" server")


def _tail(key: str) -> str:
    """The setting's own name."""
    return key.partition(".")[2]


def race(environment: Environment, decided: Collection[str] = ()) -> Race:
    """The race in an environment; `decided`: the settings (``product.name``) of remedies that are tried."""
    runner = _Runner(environment, frozenset(decided))
    counts = tuple(each for each in Counts(environment).all() if isinstance(each, Check))
    return Race(tuple(runner.lanes()), environment.outage_s, counts)
