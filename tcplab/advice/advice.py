"""From an environment to what breaks, in order, and to the settings that fix it.

One keepalive serves every end of every leg; each limit has its own rule. What fixes one inequality may
break another, so the checks run again on the changed settings until nothing more is proposed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from html import escape
from itertools import groupby
from math import ceil, floor, inf
from typing import Any, NamedTuple

from tcplab.advice import products, runs
from tcplab.advice.checks import Check, Inequalities, words
from tcplab.advice.environment import Environment, known_setting
from tcplab.advice.products import CLIENTS, LINUX, SERVERS, EndSettings, InForce, KeepaliveDefaults, title
from tcplab.advice.settings import Change, texts
from tcplab.core.catalogue import CatalogueError
from tcplab.core.knobs import ParameterError
from tcplab.core.text import plural

#: A connect timeout that is long enough for one or two lost SYNs, seconds.
_CONNECT_S = 10
#: A timer that is raised becomes so many times what it must exceed.
_ROOM = 1.5
#: A larger range of local ports; below it many servers listen.
_PORTS = "10240 65535"
_SPARE_PLACES = 10


class Proposal(NamedTuple):
    """A setting's key (``product.name``), its value in its own unit, and why."""

    key: str
    value: Any
    why: str


class Remedies:
    """The settings that fix an environment's broken inequalities."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.force = InForce(environment)
        self.inequalities = Inequalities(environment)
        #: Within this every timer must have noticed a death, seconds.
        self.within = self._within()
        #: One keepalive for every end, with its user timeout, and when it gives up, seconds.
        self.target = self._target()
        self.total_s = self.target.options.keepalive_gives_up_s

    def _within(self) -> float:
        env = self.environment
        limits = [env.notice_within_s]
        if env.outage_s:
            limits.append(env.outage_s - 1)
        acquire, who = self.inequalities.acquire()
        # A checkout may wait longer than the pool's connections hang; raising it is the alternative.
        if who and acquire and (acquire > _CONNECT_S or env.pool not in products.ACQUIRE):
            limits.append(acquire - 1)
        return min(limits)

    def _target(self) -> KeepaliveDefaults:
        env = self.environment
        forget = [
            ceil(box.idle_s) - 1
            for leg in env.legs
            for box in leg.middleboxes
            if box.kind == "layer4" and box.expired != "reopen" and box.idle_s
        ]
        # Noticed before the middlebox forgets: then the probe after the lost ones is in time, too.
        whole = floor(min(self.within, *forget, 32_767))
        while True:
            keepalive = self._shape(whole)
            waiting = runs.probes_unanswered(keepalive, env.linux)
            sending = runs.data_unacknowledged(keepalive.user_timeout_s, 15, env.linux)
            fits = waiting.probes > env.lost_probes and max(waiting.after_s, sending.after_s) <= self.within
            if fits or whole <= env.lost_probes + 2:
                return keepalive
            whole = floor(whole * 0.9)

    def _shape(self, whole: int) -> KeepaliveDefaults:
        """Idle, interval and probes that give up after `whole` seconds or a little earlier."""
        lost = self.environment.lost_probes
        probes = max(3, lost + 1) if whole > max(3, lost + 1) else lost + 1
        interval = max(1, min(30, whole // (2 * probes)))
        idle = max(1, whole - interval * probes)
        if idle > 20:
            idle -= idle % 5
        keepalive = KeepaliveDefaults(idle, interval, probes)
        # Between the last two probes: then probes and user timeout end a connection at the same probe.
        return replace(keepalive, user_timeout_s=keepalive.options.keepalive_gives_up_s - interval / 2)

    def _in_flight(self, retries2: int) -> float:
        return runs.data_unacknowledged(0, retries2, self.environment.linux).after_s

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
        end = CLIENTS[product]
        yield from self._keepalive(product, end)
        why = f"4: data in flight is given up within {self.total_s:g} s"
        if end.user_timeout:
            why += "; so is a peer that does not read for so long"
            yield self._seconds(product, end.user_timeout, self.target.user_timeout_s, why)
        elif product in products.ANSWER and self.environment.longest_silent_query_s < floor(self.within):
            why = f"4: no read lasts longer than {floor(self.within)} s; the longest silent query is shorter"
            yield self._seconds(product, products.ANSWER[product], floor(self.within), why)
        elif self._in_flight(int(self.force.linux(products.RETRIES2))) > self.within:
            why = f"4: data in flight is given up within {self.within:g} s; for every connection of the host"
            retries2 = max((n for n in range(1, 16) if self._in_flight(n) <= self.within), default=1)
            yield Proposal(f"linux.{products.RETRIES2}", retries2, why)

    def _server(self, check: Check, leg: int) -> Iterator[Proposal]:
        product = self.environment.server_of(leg)
        yield from self._keepalive(product, SERVERS[product])

    def _keepalive(self, product: str, end: EndSettings) -> Iterator[Proposal]:
        target, total = self.target, self.total_s
        why = f"1 and 4: silence is broken after {target.idle_s} s, a death is noticed after {total:g} s"
        if end.switch and not (off := self.force.own(product, end.switch)):
            key = f"{product}.{end.switch}"
            on = isinstance(off, bool) or int(known_setting(key).unit == "switch")
            yield Proposal(key, on, "1: keepalive must be on at all")
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
        for name, linux, value in (
            (end.idle, LINUX.idle, target.idle_s), (end.interval, LINUX.interval, target.interval_s),
            (end.probes, LINUX.probes, target.probes),
        ):  # fmt: skip
            yield Proposal(f"{product}.{name}" if name else f"linux.{linux}", value, why)

    def _rest(self, check: Check, leg: int) -> Iterator[Proposal]:
        """The pool pings twice as often as needed; if it can't, the timer is raised."""
        pool, limit = self.environment.pool, check.right
        every = limit / 2
        why = f"2: must be less than {limit:g} s, when {check.about[0]} ends a session that rests"
        if self.force.reached_by_pool(leg) and self._takes(products.PING, pool, every):
            if pool in ("jedis", "commons_pool2", "dbcp2"):
                yield Proposal(f"{pool}.testWhileIdle", True, why)
            if pool in ("jedis", "commons_pool2"):
                yield Proposal(f"{pool}.numTestsPerEvictionRun", -1, "2: all that rest, not three of them")
            if pool == "dbcp2":
                every /= ceil(self.environment.pool_size / 3)
            yield self._seconds(pool, products.PING[pool], every, why)
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
            name = "timeout tunnel"
            above_s = max(self.environment.longest_silent_query_s, self.environment.longest_idle_s)
            why = f"2: {above_s:g} s without data are usual; replaces timeout client and timeout server"
        try:
            known_setting(f"{product}.{name}")
        except ParameterError:
            return  # a middlebox that only its owner can change
        yield self._seconds(product, name, ceil(above_s * _ROOM) + 1, why)

    def _age(self, check: Check, leg: int) -> Iterator[Proposal]:
        holder, own = check.about[1], floor(check.right * 0.9)
        if own and self._takes(products.AGE, holder, own):
            why = f"3: replaced before {check.about[0]} ends it at {check.right:g} s"
            yield self._seconds(holder, products.AGE[holder], own, why)

    def _acquire(self, check: Check, leg: int) -> Iterator[Proposal]:
        env = self.environment
        acquire, connect = self.inequalities.acquire()[0], self.inequalities.connect()[0]
        if max(after for after, *_ in self.inequalities.deaths(0).values()) > self.within:
            yield from self._client(check, 0)
        if connect >= (acquire or inf) or connect > self.within:
            own = max(2, min(_CONNECT_S, floor(self.within / 2)))
            name = products.CONNECT[env.driver]
            yield self._seconds(env.driver, name, own, "4: shorter than a borrower waits")
        if env.pool in products.ACQUIRE and not self.within < (acquire or inf) <= (env.outage_s or inf):
            wanted = min(env.outage_s or inf, ceil(self.within) + _CONNECT_S)
            why = "4: longer than a death stays unnoticed, no longer than users bear"
            yield self._seconds(env.pool, products.ACQUIRE[env.pool], wanted, why)

    def _ports(self, check: Check, leg: int) -> Iterator[Proposal]:
        env = self.environment
        first, last = (int(port) for port in _PORTS.split())
        if last - first + 1 > self.force.ports() and not env.ports:
            why = "5: more local ports; name those of your own servers in ip_local_reserved_ports"
            yield Proposal(f"linux.{products.PORT_RANGE}", _PORTS, why)
            more = runs.port_churn(env.connects_per_s, last - first + 1, env.hold_s, 60, 0, env.linux)
            if env.connects_per_s < (more["sustainable_per_s"] or inf):
                return
        yield Proposal(f"linux.{products.TW_REUSE}", 1, "5: connect() takes a port back after a second")
        yield Proposal("linux.net.ipv4.tcp_timestamps", 1, "5: without them tcp_tw_reuse does nothing")

    def _places(self, check: Check, leg: int) -> Iterator[Proposal]:
        server = check.about[0]
        if server in products.LIMIT:
            env = self.environment
            why = f"5: {env.instances} instances with {env.pool_size} each, and some spare"
            yield Proposal(f"{server}.{products.LIMIT[server]}", int(check.left) + _SPARE_PLACES, why)

    def _burst(self, check: Check, leg: int) -> Iterator[Proposal]:
        server, wanted = check.about[0], int(check.left)
        why = "5: all instances may connect at once"
        if wanted > int(self.force.linux(products.SOMAXCONN)):
            yield Proposal(f"linux.{products.SOMAXCONN}", wanted, why)
        if server in products.BACKLOG:
            yield Proposal(f"{server}.{products.BACKLOG[server]}", wanted, why)
        elif server == "postgresql":
            wanted = max(ceil(wanted / 2), self.force.limit(server))
            yield Proposal("postgresql.max_connections", wanted, "5: PostgreSQL's queue grows with it")

    @staticmethod
    def _takes(table: Mapping[str, str], product: str, seconds: float) -> bool:
        """Whether a product has a table's setting and accepts so short a time; lower limits are in ms."""
        return product in table and seconds * 1000 >= (known_setting(f"{product}.{table[product]}").low or 0)

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
        # They are in this order.
        return {who: tuple(changes) for who, changes in groupby(self.changes, lambda each: each.who)}

    @property
    def sentence(self) -> str:
        """What breaks first, what to change, what is left."""
        if not self.broken:
            holds = f"All {len(self.checks)} inequalities hold; nothing has to be changed."
            return " ".join([holds, *self.notes])
        first, count = self.broken[0], len(self.broken)
        when = f"after {words(first.breaks_after_s)}" if first.breaks_after_s else "at once"
        said = [
            f"{count} of {len(self.checks)} inequalities {'is' if count == 1 else 'are'} broken; the first "
            f"that hurts, {when}: {first.says}"
        ]
        if self.changes:
            said.append(f"{plural(len(self.changes), 'setting')} to change: {', '.join(self.paste)}.")
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
    checks, today = Inequalities(environment).checks(), InForce(environment)
    changes: dict[str, Change] = {}
    changed, now = environment, checks
    for _ in range(_ROUNDS):
        remedies = Remedies(changed)
        proposals = [each for check in now if not check.holds for each in remedies.of(check)]
        in_force = remedies.force
        wanted = {each.key: each for each in proposals if each.value != in_force.own(*each.key.split(".", 1))}
        if not wanted:
            break
        for key, value, why in wanted.values():
            changes[key] = Change(known_setting(key), key, value, today.own(*key.split(".", 1)), why)
        changed = replace(changed, settings={**changed.settings, **{k: p.value for k, p in wanted.items()}})
        now = Inequalities(changed).checks()
    ordered = tuple(sorted(changes.values(), key=lambda change: (change.who, change.file)))
    return Advice(
        environment, checks, ordered, tuple(check for check in now if not check.holds), texts(ordered),
        _prove(changed), tuple(today.not_taken()),
    )  # fmt: skip


def _prove(environment: Environment) -> str:
    """The line that shows the keepalive timer counting down, on each host that opens a leg."""
    force, lines = InForce(environment), []
    for i, leg in enumerate(environment.legs):
        client, server = environment.client_of(i), environment.server_of(i)
        keepalive = force.keepalive(client, CLIENTS[client])
        port = _PROXY_PORTS.get(server, environment.port)
        command = f"ss -tno state established '( dport = :{port} )'"
        proof = f"{title(client)} has no timer at all: keepalive is off"
        if keepalive:
            at_most = _clock(keepalive.idle_s)
            proof = f"on {title(client)}'s host: every line has timer:(keepalive,…), at most {at_most}"
        lines.append(f"{leg.name}: {command}   # {proof}")
    return "\n".join(lines)


#: Where the proxies usually listen.
_PROXY_PORTS = {"pgbouncer": 6432}


def _clock(seconds: float) -> str:
    """As ss writes it (iproute2: misc/ss.c:print_ms_timer): ``15sec``, ``4min59sec``, ``119min``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 10:
        return f"{minutes}min"
    return (f"{minutes}min" if minutes else "") + (f"{rest}sec" if rest or not minutes else "")
