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
from tcplab.advice.checks import Inequalities
from tcplab.advice.environment import Environment, known_setting
from tcplab.advice.messages import Check, Unknown, words
from tcplab.advice.products import (
    CLIENTS,
    LINUX,
    SERVERS,
    EndSettings,
    InForce,
    KeepaliveDefaults,
    of_product,
    title,
)
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
#: How often a server looks whether a running query's client is still there, seconds.
_ALIVE_CHECK_S = 10


class Proposal(NamedTuple):
    """A setting's key (``product.name``), its value in its own unit, and why."""

    key: str
    value: Any
    why: str
    #: The remedy of which it is a part; empty: one of its own.
    remedy: str = ""


#: What a remedy costs, by the role of its setting.
_PRICES = {
    "idle": "a packet and its answer on each idle connection, at this interval",
    "user timeout": "it also ends a connection whose peer does not read for that long",
    "answer": "a query that returns no data for longer fails, although the server is up",
    "connect": "a slow network or a lost SYN fails sooner",
    "acquire": "callers get an error sooner when the pool is busy",
    "age": "connections are opened more often",
    "ping": "a query on each idle connection, at this interval",
    "limit": "each connection costs the server memory",
    "statement": "it applies to every client of the server",
    "alive check": "a running query checks its socket, at this interval",
    "backlog": "a burst waits in the queue instead of being refused",
}
_PRICES_ALSO = {"accepts idle": _PRICES["idle"], "accepts user timeout": _PRICES["user timeout"]}
_HOST_WIDE = "it applies to every connection of the host"
_LONGER = "what it was meant to end stays longer"
#: Roles of timers that are only ever raised.
_RAISED = ("idle close", "relay", "tunnel", "query", "pause")


@dataclass(frozen=True)
class Remedy:
    """Changes that only work together: a switch and its times, for example."""

    #: What it does, in a few words.
    name: str
    changes: tuple[Change, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The settings that it changes, ``product.name``."""
        return tuple(change.key for change in self.changes)

    @property
    def who(self) -> tuple[str, ...]:
        """Who has to act."""
        return tuple(dict.fromkeys(change.who for change in self.changes))

    @property
    def prices(self) -> tuple[str, ...]:
        """What it costs; empty: nothing that is known."""
        roles = [role for change in self.changes for role in change.setting.roles]
        said = [(_PRICES | _PRICES_ALSO | dict.fromkeys(_RAISED, _LONGER)).get(role, "") for role in roles]
        wide = [_HOST_WIDE] if any(key.startswith("linux.") for key in self.keys) else []
        return tuple(dict.fromkeys(each for each in (*said, *wide) if each))

    @property
    def is_last(self) -> bool:
        """A last resort: it counts for every connection of a host or a server, or only waits longer."""
        products_ = {change.setting.product.key for change in self.changes}
        roles = {role for change in self.changes for role in change.setting.roles}
        return products_ == {"linux"} or bool(roles & {"statement", *_RAISED})

    def on(self, environment: Environment) -> Environment:
        """The environment with it."""
        return replace(
            environment, settings={**environment.settings, **{c.key: c.value for c in self.changes}}
        )


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
            # What is left after a new connection, on the leg where that takes longest.
            limits += [env.outage_s - self._connecting(i) for i in range(len(env.legs))]
        return max(min(limits), 1)

    def _connecting(self, leg: int) -> float:
        """How long connecting may take on a leg, at best with a shorter connect timeout, seconds."""
        inequalities = self.inequalities
        each, tries = inequalities.connect(leg)[0], inequalities.tries(leg)
        if self.environment.client_of(leg) in products.CONNECT:
            each = min(each, self._connect_s(leg))
        return each * tries

    def _connect_s(self, leg: int) -> int:
        """A connect timeout that leaves the outage room for detection, seconds."""
        outage = self.environment.outage_s or self.environment.notice_within_s
        return max(1, min(_CONNECT_S, floor(outage / 4 / self.inequalities.tries(leg))))

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
            (4, "an outage ends in time"): self._outage,
            (4, "a failover ends in time"): self._outage,
            (4, "a dead client is noticed"): self._server,
            (4, "borrowers give up before the users do"): self._acquire,
            (4, "a statement ends before its client"): self._statement,
            (4, "an old address is left in time"): self._stale,
            (2, "a pause in a transaction"): self._pause,
            (5, "local ports of a host"): self._ports,
            (5, "all instances start at once"): self._burst,
        }
        remedy = by.get((check.inequality, check.name), self._places if "limit" in check.about else None)
        if remedy:
            # What is built in can't be proposed.
            yield from (each for each in remedy(check, leg) if known_setting(each.key).who)

    def _end(self, check: Check, leg: int) -> Iterator[Proposal]:
        yield from (self._client if "client" in check.about else self._server)(check, leg)

    def _client(self, check: Check, leg: int) -> Iterator[Proposal]:
        product = self.environment.client_of(leg)
        end = CLIENTS[product]
        yield from self._keepalive(product, end)
        why = f"4: unacknowledged data ends the connection within {self.total_s:g} s"
        if end.user_timeout:
            why += "; so does a peer that does not read for that long"
            yield self._seconds(product, end.user_timeout, self.target.user_timeout_s, why)
        elif (
            product in products.ANSWER
            and not of_product(product).is_shared
            and self.environment.longest_silent_query_s < floor(self.within)
        ):
            why = f"4: no read lasts longer than {floor(self.within)} s; the longest silent query is shorter"
            yield self._seconds(product, products.ANSWER[product], floor(self.within), why)
        elif self._in_flight(int(self.force.linux(products.RETRIES2))) > self.within:
            why = f"4: unacknowledged data ends a connection within {self.within:g} s, on the whole host"
            retries2 = max((n for n in range(1, 16) if self._in_flight(n) <= self.within), default=1)
            yield Proposal(f"linux.{products.RETRIES2}", retries2, why)

    def _server(self, check: Check, leg: int) -> Iterator[Proposal]:
        product = self.environment.server_of(leg)
        yield from self._keepalive(product, SERVERS[product])

    def _keepalive(self, product: str, end: EndSettings) -> Iterator[Proposal]:
        target, total = self.target, self.total_s
        whole = f"{title(product)} sends keepalive probes in time"
        why = f"1 and 4: first probe after {target.idle_s} s, a dead peer is detected after {total:g} s"
        if end.switch and not (off := self.force.own(product, end.switch)):
            key = f"{product}.{end.switch}"
            if not known_setting(key).who:
                return
            on = isinstance(off, bool) or int(known_setting(key).unit == "switch")
            yield Proposal(key, on, "1: keepalive must be on at all", whole)
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
        idle = target.idle_s
        if of_product(product).probing == "node" or _is_built_in(product, end.interval):
            # The probes are given; the idle time is what is left.
            now = self.force.keepalive(product, end)
            interval, probes = (1, 10) if now is None else (now.interval_s, now.probes)
            if of_product(product).probing == "node":
                interval, probes = 1, 10
            idle = max(1, floor(total - interval * probes))
        if end.idle and known_setting(f"{product}.{end.idle}").unit == "ms":
            idle *= 1000
        for name, linux, value in (
            (end.idle, LINUX.idle, idle), (end.interval, LINUX.interval, target.interval_s),
            (end.probes, LINUX.probes, target.probes),
        ):  # fmt: skip
            yield Proposal(f"{product}.{name}" if name else f"linux.{linux}", value, why, whole)

    def _rest(self, check: Check, leg: int) -> Iterator[Proposal]:
        """The pool pings twice as often as needed; if it can't, the timer is raised."""
        pool, limit = self.environment.pool, check.right
        every = limit / 2
        why = f"2: must be less than {limit:g} s, when {check.about[0]} ends an idle session"
        if self.force.reached_by_pool(leg) and self._takes(products.PING, pool, every):
            if pool in products.PING_SWITCH:
                yield Proposal(f"{pool}.{products.PING_SWITCH[pool]}", True, why)
            if pool in ("jedis", "commons_pool2"):
                yield Proposal(
                    f"{pool}.numTestsPerEvictionRun", -1, "2: all idle connections, not three of them"
                )
            if pool == "dbcp2":
                every /= ceil(self.force.pool_size() / 3)
            yield self._seconds(pool, products.PING[pool], every, why)
        else:
            rests, _ = self.force.rests(leg, False)
            yield from self._raise(check.about[0], rests, "2: nothing pings often enough")

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
            why = f"2: {above_s:g} s without data are normal; replaces timeout client and timeout server"
        try:
            known_setting(f"{product}.{name}")
        except ParameterError:
            return  # a middlebox that only its owner can change
        yield self._seconds(product, name, ceil(above_s * _ROOM) + 1, why)

    def _pause(self, check: Check, leg: int) -> Iterator[Proposal]:
        yield from self._raise(check.about[0], check.left, f"2: a program pauses for {check.left:g} s")

    def _age(self, check: Check, leg: int) -> Iterator[Proposal]:
        holder = check.about[1]
        own = floor((check.right - self.inequalities.longest_checkout()) * 0.9)
        if own > 0 and self._takes(products.AGE, holder, own):
            why = f"3: replaced before {check.about[0]} ends it at {check.right:g} s, in use or not"
            yield self._seconds(holder, products.AGE[holder], own, why)

    def _stale(self, check: Check, leg: int) -> Iterator[Proposal]:
        holder, inequalities = check.about[0], self.inequalities
        own = floor(check.right - inequalities.longest_checkout() - inequalities.names_s())
        if own > 0 and self._takes(products.AGE, holder, own):
            why = f"4: no connection to an old address after {check.right:g} s"
            yield self._seconds(holder, products.AGE[holder], own, why)

    def _outage(self, check: Check, leg: int) -> Iterator[Proposal]:
        """Detect sooner, then connect sooner."""
        product = self.environment.client_of(leg)
        if self.inequalities.detection(leg)[1][0] > self.within:
            yield from self._client(check, leg)
        if product in products.CONNECT and self.inequalities.connect(leg)[0] > self._connect_s(leg):
            why = f"4: connecting succeeds or fails within {self._connecting(leg):g} s"
            yield self._seconds(product, products.CONNECT[product], self._connect_s(leg), why)

    def _acquire(self, check: Check, leg: int) -> Iterator[Proposal]:
        pool = self.environment.pool
        if pool in products.ACQUIRE:
            why = "4: a checkout fails before its caller gives up"
            yield self._seconds(pool, products.ACQUIRE[pool], max(1, floor(check.right)), why)

    def _statement(self, check: Check, leg: int) -> Iterator[Proposal]:
        """The server looks whether its client is still there, or ends the statement first."""
        database, query = self.environment.database, self.environment.longest_silent_query_s
        if database in products.ALIVE_CHECK:
            why = "4: a running query ends when its client has closed"
            yield self._seconds(database, products.ALIVE_CHECK[database], _ALIVE_CHECK_S, why)
            return
        between = (query + check.right) / 2
        name = products.STATEMENT[database]
        if known_setting(f"{database}.{name}").own(between) < known_setting(f"{database}.{name}").own(
            check.right
        ):
            why = f"4: longer than the longest query, shorter than its client waits ({check.right:g} s)"
            yield self._seconds(database, name, between, why)

    def _ports(self, check: Check, leg: int) -> Iterator[Proposal]:
        env = self.environment
        first, last = (int(port) for port in _PORTS.split())
        if last - first + 1 > self.force.ports() and not env.ports:
            why = "5: more local ports; name those of your own servers in ip_local_reserved_ports"
            yield Proposal(f"linux.{products.PORT_RANGE}", _PORTS, why)
            more = runs.port_churn(env.connects_per_s, last - first + 1, env.hold_s, 60, 0, env.linux)
            if env.connects_per_s < (more["sustainable_per_s"] or inf):
                return
        yield Proposal(f"linux.{products.TW_REUSE}", 1, "5: connect() reuses a port after a second")
        yield Proposal("linux.net.ipv4.tcp_timestamps", 1, "5: without them tcp_tw_reuse has no effect")

    def _places(self, check: Check, leg: int) -> Iterator[Proposal]:
        server = check.about[0]
        if server in products.LIMIT:
            env = self.environment
            why = f"5: {env.most_instances} instances with {self.force.pool_size()} each, and some spare"
            wanted = int(check.left) + self.force.reserved(server) + _SPARE_PLACES
            yield Proposal(f"{server}.{products.LIMIT[server]}", wanted, why)

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
    #: The same changes in groups that only work together, last resorts at the end.
    remedies: tuple[Remedy, ...]
    #: What is still broken with these changes: no setting of these products fixes it.
    left: tuple[Check, ...]
    #: What can't be judged, because a number is not known.
    unknown: tuple[Unknown, ...]
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

    def mended_by(self, *remedies: Remedy) -> tuple[Check, ...]:
        """What is broken today and holds with these remedies alone."""
        changed = self.environment
        for remedy in remedies:
            changed = remedy.on(changed)
        holds = {(each.name, each.leg) for each in Inequalities(changed).checks() if each.holds}
        return tuple(each for each in self.broken if (each.name, each.leg) in holds)

    @property
    def sentence(self) -> str:
        """What breaks first, what to change, what is left."""
        unknown = []
        if self.unknown:
            unknown = [f"Not known: {'; '.join(dict.fromkeys(each.name for each in self.unknown))}."]
        if not self.broken:
            holds = f"All {len(self.checks)} inequalities with known numbers hold; nothing has to be changed."
            return " ".join([holds, *unknown, *self.notes])
        first, count = self.broken[0], len(self.broken)
        when = f"after {words(first.breaks_after_s)}" if first.breaks_after_s else "at once"
        said = [
            f"{count} of {len(self.checks)} inequalities {'is' if count == 1 else 'are'} broken; the first "
            f"breaks {when}: {first.says}"
        ]
        if self.changes:
            said.append(f"{plural(len(self.changes), 'setting')} to change: {', '.join(self.paste)}.")
        if self.left:
            names = "; ".join(dict.fromkeys(check.name for check in self.left))
            said.append(f"No setting here fixes: {names}.")
        return " ".join([*said, *unknown, *self.notes])

    def __repr__(self) -> str:
        return "\n".join([self.sentence, *(f"{each.inequality}. {each.sentence}" for each in self.checks)])

    def _repr_html_(self) -> str:
        items = "".join(f"<li>({each.inequality}) {escape(each.sentence)}</li>" for each in self.checks)
        return f"<p>{escape(self.sentence)}</p><ul>{items}</ul>"


def advise(environment: Environment) -> Advice:
    """What breaks first and which settings keep the five inequalities.

    Raises `ParameterError` where a setting of the environment can't be what it says.
    """
    inequalities, today = Inequalities(environment), InForce(environment)
    checks = inequalities.checks()
    changes: dict[str, Change] = {}
    parts: dict[str, list[str]] = {}
    changed, now = environment, checks
    for _ in range(_ROUNDS):
        remedies = Remedies(changed)
        proposals = [each for check in now if not check.holds for each in remedies.of(check)]
        in_force = remedies.force
        wanted = {each.key: each for each in proposals if each.value != in_force.own(*each.key.split(".", 1))}
        if not wanted:
            break
        for key, value, why, whole in wanted.values():
            known = parts.setdefault(whole or _alone(key), [])
            known += [key] if key not in known else []
            changes[key] = Change(known_setting(key), key, value, today.own(*key.split(".", 1)), why)
        changed = replace(changed, settings={**changed.settings, **{k: p.value for k, p in wanted.items()}})
        now = Inequalities(changed).checks()
    grouped = [Remedy(name, tuple(changes[key] for key in keys)) for name, keys in parts.items()]
    ordered = tuple(sorted(changes.values(), key=lambda change: (change.who, change.file)))
    return Advice(
        environment, checks, ordered, tuple(sorted(grouped, key=lambda each: each.is_last)),
        tuple(check for check in now if not check.holds),
        inequalities.unknown(), texts(ordered),
        _prove(changed), tuple(today.not_taken()),
    )  # fmt: skip


def _is_built_in(product: str, name: str) -> bool:
    """Whether a product has a setting that nobody can change."""
    return bool(name) and not known_setting(f"{product}.{name}").who


def _alone(key: str) -> str:
    """The name of a remedy of one setting."""
    each = known_setting(key)
    return f"{title(each.product.key)}: {each.name}"


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
