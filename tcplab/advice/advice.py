"""From an environment to what breaks, in order, and to the settings that fix it.

One keepalive serves every end of every leg; each limit has its own rule. What fixes one inequality may
break another, so the checks run again on the changed settings until nothing more is proposed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from html import escape
from math import ceil, floor, inf
from typing import Any

from tcplab.advice import runs
from tcplab.advice.checks import Check, LimitChecks, SilenceChecks, words
from tcplab.advice.environment import Environment, known_setting
from tcplab.advice.products import (
    AGE,
    ANSWER,
    BACKLOG,
    BORROW,
    CLIENTS,
    CONNECT,
    LIMIT,
    LINUX_IDLE,
    LINUX_INTERVAL,
    LINUX_PROBES,
    PING,
    PORT_RANGE,
    RETRIES2,
    SERVERS,
    SOMAXCONN,
    TW_REUSE,
    InForce,
    KeepaliveDefaults,
    title,
)
from tcplab.advice.settings import Change, texts
from tcplab.core.catalogue import CatalogueError, Setting
from tcplab.core.knobs import ParameterError
from tcplab.core.text import plural

#: A connect timeout that is long enough for one or two lost SYNs, seconds.
_CONNECT_S = 10
#: A timer that is raised becomes so many times what it must exceed.
_ROOM = 1.5
#: A larger range of local ports; below it many servers listen.
_PORTS = "10240 65535"
_SPARE_PLACES = 10


@dataclass(frozen=True)
class Proposal:
    """A setting's key (``product.name``), its value in its own unit, and why."""

    key: str
    value: Any
    why: str

    @property
    def setting(self) -> Setting:
        """The setting in the catalogue."""
        return known_setting(self.key)


@dataclass(frozen=True)
class Target:
    """One keepalive for every end, with its user timeout, and the tcp_retries2 that goes with it."""

    keepalive: KeepaliveDefaults
    retries2: int

    @property
    def total_s(self) -> float:
        """A death is noticed within this, seconds."""
        return self.keepalive.options.keepalive_gives_up_s


class Remedies:
    """The settings that fix an environment's broken inequalities."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.force = InForce(environment)
        self.limits = LimitChecks(environment)
        self.within = self._within()
        self.target = self._target()

    def _within(self) -> float:
        """Within this every timer must have noticed a death, seconds."""
        env = self.environment
        limits = [env.notice_within_s]
        if env.outage_s:
            limits.append(env.outage_s - 1)
        acquire, who = self.limits.acquire()
        # A checkout may wait longer than the pool's connections hang; raising it is the alternative.
        if who and acquire and (acquire > _CONNECT_S or env.pool not in BORROW):
            limits.append(acquire - 1)
        return min(limits)

    def _target(self) -> Target:
        env = self.environment
        boxes = [
            box.idle_s
            for leg in env.legs
            for box in leg.middleboxes
            if box.kind == "layer4" and box.expired != "reopen" and box.idle_s
        ]
        # Noticed before the middlebox forgets: then the probe after the lost ones is in time, too.
        whole = floor(min(self.within, *(ceil(box) - 1 for box in boxes), 32_767))
        while True:
            made = self._shape(whole)
            waiting = runs.probes_unanswered(made.keepalive, env.linux)
            sending = runs.data_unacknowledged(made.keepalive.user_timeout_s, 15, env.linux)
            fits = waiting.probes > env.lost_probes and max(waiting.after_s, sending.after_s) <= self.within
            if fits or whole <= env.lost_probes + 2:
                return made
            whole = floor(whole * 0.9)

    def _shape(self, whole: int) -> Target:
        """Idle, interval and probes that give up after `whole` seconds or a little earlier."""
        lost = self.environment.lost_probes
        probes = max(3, lost + 1) if whole > max(3, lost + 1) else lost + 1
        interval = max(1, min(30, whole // (2 * probes)))
        idle = max(1, whole - interval * probes)
        if idle > 20:
            idle -= idle % 5
        retries2 = max((n for n in range(1, 16) if self._in_flight(n) <= self.within), default=1)
        keepalive = KeepaliveDefaults(idle, interval, probes)
        # Between the last two probes: then probes and user timeout end a connection at the same probe.
        user_timeout = keepalive.options.keepalive_gives_up_s - interval / 2
        return Target(replace(keepalive, user_timeout_s=user_timeout), retries2)

    def _in_flight(self, retries2: int) -> float:
        return runs.data_unacknowledged(0, retries2, self.environment.linux).after_s

    # -- one by one --------------------------------------------------------------------------

    def of(self, check: Check) -> Iterator[Proposal]:
        """What fixes a broken check; nothing where no setting does."""
        leg = next((i for i, each in enumerate(self.environment.legs) if each.name == check.leg), 0)
        by: dict[tuple[int, str], Callable[[Check, int], Iterator[Proposal]]] = {
            (1, "keepalive before the box"): self._client,
            (1, "probes that may get lost"): self._end,
            (2, "what the pool sends before the idle close"): self._rest,
            (2, "the longest silent query before the data timer"): self._query,
            (3, "replaced before the age limit"): self._age,
            (4, "a dead server is noticed"): self._client,
            (4, "a dead client is noticed"): self._server,
            (4, "deaths are noticed before borrowers give up"): self._acquire,
            (4, "borrowers give up before the users do"): self._acquire,
            (5, "local ports of a host"): self._ports,
            (5, "all instances start at once"): self._burst,
        }
        remedy = by.get((check.inequality, check.name), self._places if "limit" in check.about else None)
        if remedy:
            yield from remedy(check, leg)

    def _end(self, check: Check, leg: int) -> Iterator[Proposal]:
        yield from (self._client if "client" in check.about else self._server)(check, leg)

    def _client(self, check: Check, leg: int) -> Iterator[Proposal]:
        product = self.environment.client_of(leg)
        end, target = CLIENTS[product], self.target
        yield from self._keepalive(product, CLIENTS[product])
        why = f"4: data in flight is given up within {target.total_s:g} s"
        if end.user_timeout:
            why += "; so is a peer that does not read for so long"
            yield self._seconds(product, end.user_timeout, target.keepalive.user_timeout_s, why)
        elif product in ANSWER and self.environment.longest_silent_query_s < floor(self.within):
            why = f"4: no read lasts longer than {floor(self.within)} s; the longest silent query is shorter"
            yield self._seconds(product, ANSWER[product], floor(self.within), why)
        elif self._in_flight(int(self.force.linux(RETRIES2))) > self.within:
            why = f"4: data in flight is given up within {self.within:g} s; for every connection of the host"
            yield Proposal(f"linux.{RETRIES2}", target.retries2, why)

    def _server(self, check: Check, leg: int) -> Iterator[Proposal]:
        product = self.environment.server_of(leg)
        yield from self._keepalive(product, SERVERS[product])

    def _keepalive(self, product: str, end: Any) -> Iterator[Proposal]:
        target, total = self.target.keepalive, self.target.total_s
        why = f"1 and 4: silence is broken after {target.idle_s} s, a death is noticed after {total:g} s"
        if end.switch and not self.force.own(product, end.switch):
            on = known_setting(f"{product}.{end.switch}").unit == "switch"
            value: Any = True if isinstance(self.force.own(product, end.switch), bool) else int(on)
            yield Proposal(f"{product}.{end.switch}", value, "1: keepalive must be on at all")
        if product == "redis" and end is SERVERS["redis"]:
            half = max(1, floor(total / 2))
            yield self._seconds(product, end.idle, half, f"1 and 4: with three probes {2 * half} s in all")
            return
        if product == "oracle" and end is SERVERS["oracle"]:
            own = self.force.keepalive(product, end)
            minutes = max(1, floor((total - 60) / 60))
            if own is None or own.idle_s > 60 * minutes:
                yield Proposal("oracle.SQLNET.EXPIRE_TIME", minutes, "1 and 4: whole minutes; then 10 probes")
            return
        names = (end.idle, LINUX_IDLE), (end.interval, LINUX_INTERVAL), (end.probes, LINUX_PROBES)
        values = (target.idle_s, target.interval_s, target.probes)
        for (name, linux), value in zip(names, values, strict=True):
            yield Proposal(f"{product}.{name}" if name else f"linux.{linux}", value, why)

    def _rest(self, check: Check, leg: int) -> Iterator[Proposal]:
        """The pool pings twice as often as needed; if it can't, the timer is raised."""
        pool, limit = self.environment.pool, check.right
        every = limit / 2
        least = known_setting(f"{pool}.{PING[pool]}").low or 0 if pool in PING else 0
        why = f"2: must be less than {limit:g} s, when {check.about[0]} ends a session that rests"
        if pool in PING and self.force.reached_by_pool(leg) and every * 1000 >= least:
            if pool in ("jedis", "commons_pool2", "dbcp2"):
                yield Proposal(f"{pool}.testWhileIdle", True, why)
            if pool in ("jedis", "commons_pool2"):
                yield Proposal(f"{pool}.numTestsPerEvictionRun", -1, "2: all that rest, not three of them")
            if pool == "dbcp2":
                every /= ceil(self.environment.pool_size / 3)
            yield self._seconds(pool, PING[pool], every, why)
        else:
            rests, _ = self.force.rests(leg, False)
            yield from self._raise(check.about[0], rests, "2: nobody pings often enough")

    def _query(self, check: Check, leg: int) -> Iterator[Proposal]:
        query = self.environment.longest_silent_query_s
        yield from self._raise(check.about[0], query, f"2: the longest silent query lasts {query:g} s")

    def _raise(self, key: str, above_s: float, why: str) -> Iterator[Proposal]:
        """Raise a timer above what it must exceed."""
        product, _, name = key.partition(".")
        if product == "haproxy":
            # One timer for both directions; it replaces timeout client and timeout server.
            env = self.environment
            name = "timeout tunnel"
            above_s = max(env.longest_silent_query_s, env.longest_idle_s)
            why = f"2: {above_s:g} s without data are usual; replaces timeout client and timeout server"
        try:
            known_setting(f"{product}.{name}")
        except ParameterError:
            return  # a middlebox that only its owner can change
        yield self._seconds(product, name, ceil(above_s * _ROOM) + 1, why)

    def _age(self, check: Check, leg: int) -> Iterator[Proposal]:
        holder = check.about[1]
        if holder not in AGE:
            return
        least = known_setting(f"{holder}.{AGE[holder]}").low or 0
        own = floor(check.right * 0.9)
        if own and own * 1000 >= least:
            why = f"3: replaced before {check.about[0]} ends it at {check.right:g} s"
            yield self._seconds(holder, AGE[holder], own, why)

    def _acquire(self, check: Check, leg: int) -> Iterator[Proposal]:
        env = self.environment
        deaths = self.limits.deaths(0)
        acquire, _ = self.limits.acquire()
        if max(each[0] for each in deaths.values()) > self.within:
            yield from self._client(check, 0)
        if self.limits.connect()[0] >= (acquire or inf) or self.limits.connect()[0] > self.within:
            own = max(2, min(_CONNECT_S, floor(self.within / 2)))
            yield self._seconds(env.driver, CONNECT[env.driver], own, "4: shorter than a borrower waits")
        if env.pool in BORROW and not self.within < (acquire or inf) <= (env.outage_s or inf):
            wanted = min(env.outage_s or inf, ceil(self.within) + _CONNECT_S)
            why = "4: longer than a death stays unnoticed, no longer than users bear"
            yield self._seconds(env.pool, BORROW[env.pool], wanted, why)

    def _ports(self, check: Check, leg: int) -> Iterator[Proposal]:
        env = self.environment
        first, last = (int(port) for port in _PORTS.split())
        if last - first + 1 > self.force.ports() and not env.ports:
            why = "5: more local ports; name those of your own servers in ip_local_reserved_ports"
            yield Proposal(f"linux.{PORT_RANGE}", _PORTS, why)
            more = runs.port_churn(env.connects_per_s, last - first + 1, env.hold_s, 60, 0, env.linux)
            if env.connects_per_s < (more["sustainable_per_s"] or inf):
                return
        yield Proposal(f"linux.{TW_REUSE}", 1, "5: connect() takes a port back after a second")
        yield Proposal("linux.net.ipv4.tcp_timestamps", 1, "5: without them tcp_tw_reuse does nothing")

    def _places(self, check: Check, leg: int) -> Iterator[Proposal]:
        server = check.about[0]
        if server in LIMIT:
            env = self.environment
            why = f"5: {env.instances} instances with {env.pool_size} each, and some spare"
            yield Proposal(f"{server}.{LIMIT[server]}", int(check.left) + _SPARE_PLACES, why)

    def _burst(self, check: Check, leg: int) -> Iterator[Proposal]:
        server, wanted = check.about[0], int(check.left)
        why = "5: all instances may connect at once"
        if wanted > int(self.force.linux(SOMAXCONN)):
            yield Proposal(f"linux.{SOMAXCONN}", wanted, why)
        if server in BACKLOG:
            yield Proposal(f"{server}.{BACKLOG[server]}", wanted, why)
        elif server == "postgresql":
            yield Proposal(
                "postgresql.max_connections",
                max(ceil(wanted / 2), self.force.limit(server)),
                "5: PostgreSQL's queue grows with it",
            )

    @staticmethod
    def _seconds(product: str, name: str, seconds: float, why: str) -> Proposal:
        key = f"{product}.{name}"
        try:
            return Proposal(key, known_setting(key).own(seconds), why)
        except CatalogueError as mistake:
            raise ParameterError(str(mistake)) from None


#: One remedy may uncover the next inequality; more rounds than this were never needed.
_ROUNDS = 4


@dataclass(frozen=True)
class Advice:
    """What is broken today, what to change, and what no setting fixes."""

    environment: Environment
    #: Every inequality on every leg: the broken ones first, by when they break.
    checks: tuple[Check, ...]
    #: What to set, grouped by who may set it.
    changes: tuple[Change, ...]
    #: What is still broken with these changes: no setting of these products fixes it.
    left: tuple[Check, ...]
    #: Text to paste by kind of file; kinds without a change are missing.
    paste: Mapping[str, str]
    #: What shows that it works.
    prove: str
    #: Values of today that a product rejects, and what it uses instead.
    notes: tuple[str, ...] = ()

    @property
    def broken(self) -> tuple[Check, ...]:
        """What is broken today, by when it breaks."""
        return tuple(check for check in self.checks if not check.holds)

    def by_who(self) -> dict[str, tuple[Change, ...]]:
        """The changes by who may make them."""
        groups: dict[str, list[Change]] = {}
        for change in self.changes:
            groups.setdefault(change.who, []).append(change)
        return {who: tuple(changes) for who, changes in groups.items()}

    @property
    def sentence(self) -> str:
        """What breaks first, what to change, what is left."""
        if not self.broken:
            held = f"All {len(self.checks)} inequalities hold; nothing has to be changed."
            return " ".join([held, *self.notes])
        first, count = self.broken[0], len(self.broken)
        when = f"after {words(first.breaks_after_s)}" if first.breaks_after_s else "at once"
        said = [
            f"{count} of {len(self.checks)} inequalities {'is' if count == 1 else 'are'} broken; the first "
            f"that hurts, {when}: {first.says}"
        ]
        if self.changes:
            files = ", ".join(self.paste)
            said.append(f"{plural(len(self.changes), 'setting')} to change: {files}.")
        if self.left:
            names = "; ".join(dict.fromkeys(check.name for check in self.left))
            said.append(f"No setting here mends: {names}.")
        return " ".join([*said, *self.notes])

    def __repr__(self) -> str:
        return "\n".join([self.sentence, *(f"{each.inequality}. {each.sentence}" for each in self.checks)])

    def _repr_html_(self) -> str:
        items = "".join(f"<li>({each.inequality}) {escape(each.sentence)}</li>" for each in self.checks)
        return f"<p>{escape(self.sentence)}</p><ul>{items}</ul>"


def advise(environment: Environment) -> Advice:
    """What breaks first and which settings keep the five inequalities.

    Raises `ParameterError` where a setting of the environment can't be what it says.
    """
    checks = _checks(environment)
    changes: dict[str, Change] = {}
    changed, now = environment, checks
    for _ in range(_ROUNDS):
        remedies = Remedies(changed)
        wanted = {
            proposal.key: proposal
            for check in now
            if not check.holds
            for proposal in remedies.of(check)
            if proposal.value != InForce(changed).own(*proposal.key.split(".", 1))
        }
        if not wanted:
            break
        was = InForce(environment)
        for key, proposal in wanted.items():
            own = was.own(*key.split(".", 1))
            changes[key] = Change(known_setting(key), key, proposal.value, own, proposal.why)
        changed = replace(changed, settings={**changed.settings, **{k: p.value for k, p in wanted.items()}})
        now = _checks(changed)
    ordered = tuple(sorted(changes.values(), key=lambda change: (change.who, change.file)))
    return Advice(
        environment, checks, ordered, tuple(check for check in now if not check.holds), texts(ordered),
        _prove(changed), tuple(InForce(environment).not_taken()),
    )  # fmt: skip


def _checks(environment: Environment) -> tuple[Check, ...]:
    checks = [*SilenceChecks(environment).checks(), *LimitChecks(environment).checks()]
    return tuple(sorted(checks, key=lambda check: (check.holds, check.breaks_after_s or 0, check.inequality)))


def _prove(environment: Environment) -> str:
    """The line that shows the keepalive timer counting down, on each host that opens a leg."""
    force, lines = InForce(environment), []
    for i, leg in enumerate(environment.legs):
        client, server = environment.client_of(i), environment.server_of(i)
        keepalive = force.keepalive(client, CLIENTS[client])
        port = _PROXY_PORTS.get(server, environment.port)
        command = f"ss -tno state established '( dport = :{port} )'"
        if keepalive is None:
            lines.append(f"{leg.name}: {command}   # {title(client)} has no timer at all: keepalive is off")
        else:
            lines.append(
                f"{leg.name}: {command}   # on {title(client)}'s host: every line has "
                f"timer:(keepalive,…), at most {_clock(keepalive.idle_s)}"
            )
    return "\n".join(lines)


#: Where the proxies usually listen.
_PROXY_PORTS = {"pgbouncer": 6432}


def _clock(seconds: float) -> str:
    """As ss writes it (iproute2: misc/ss.c:print_ms_timer): ``15sec``, ``4min59sec``, ``119min``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 10:
        return f"{minutes}min"
    return (f"{minutes}min" if minutes else "") + (f"{rest}sec" if rest or not minutes else "")
