"""Which setting of a product has which purpose, and its value in force: pasted, default, or the kernel's.

Names are the catalogue's. Rules that no field of the catalogue covers are here, with their source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import ceil
from typing import Any, NamedTuple, Self

from tcplab.advice.environment import Environment
from tcplab.bench.script import SocketOptions
from tcplab.core.catalogue import TIMES, CatalogueError, Product, catalogue, find, products, setting


@dataclass(frozen=True)
class EndSettings:
    """The names of one end's settings; empty: it has no such setting, the kernel's sysctl applies."""

    #: Switches keepalive on; empty: it is always on.
    switch: str = ""
    idle: str = ""
    interval: str = ""
    probes: str = ""
    user_timeout: str = ""


#: The roles of an end's settings in the catalogue, in the order of `EndSettings`.
_END = ("keepalive", "idle", "interval", "probes", "user timeout")


def _of_role(role: str) -> dict[str, str]:
    """The setting of each product that has this role in the catalogue."""
    return {each.product.key: each.name for each in reversed(catalogue()) if role in each.roles}


def _ends(prefix: str, *kinds: str) -> dict[str, EndSettings]:
    of = [_of_role(prefix + role) for role in _END]
    keys = [each.key for each in products() if each.kind in kinds]
    return {key: EndSettings(*(names.get(key, "") for names in of)) for key in keys}


#: The end that opened the connection: drivers, proxies, and the database that is its own driver.
CLIENTS = _ends("", "driver", "proxy", "database")
#: The end that accepted it.
SERVERS = _ends("accepts ", "database", "proxy")
#: What applies to an end that has no setting of its own.
LINUX = EndSettings(
    "", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes"
)
PORT_RANGE, SOMAXCONN = "net.ipv4.ip_local_port_range", "net.core.somaxconn"
RETRIES2, SYN_RETRIES = "net.ipv4.tcp_retries2", "net.ipv4.tcp_syn_retries"
TW_REUSE = "net.ipv4.tcp_tw_reuse"

#: By product the name of its setting: how long a driver waits for an answer, and for a connection.
ANSWER, CONNECT = _of_role("answer"), _of_role("connect")
#: How long a checkout waits; the age at which a pool or a proxy replaces a connection.
ACQUIRE, AGE = _of_role("acquire"), _of_role("age")
#: How often a pool tests its idle connections.
PING = _of_role("ping")
#: The setting by which a server ends an idle session, and one that is idle in a transaction.
IDLE_CLOSE, PAUSE = _of_role("idle close"), _of_role("pause")
#: How many connections a server accepts, and how many may wait to be accepted.
LIMIT, BACKLOG = _of_role("limit"), _of_role("backlog")
#: A server's limit for a statement; how often it looks whether a running query's client is there.
STATEMENT, ALIVE_CHECK = _of_role("statement"), _of_role("alive check")
#: How long an address is cached.
NAMES = _of_role("names")
#: How many connections a pool has.
SIZE, OVERFLOW = _of_role("size"), _of_role("overflow")

PING_SWITCH, _QUERY, _TUNNEL = _of_role("ping switch"), _of_role("query"), _of_role("tunnel")
#: The timers of a proxy that ends a connection without data.
_RELAY = {
    key: tuple(each.name for each in find(product=key) if "relay" in each.roles) for key in _of_role("relay")
}
#: Pools whose evictor tests some of the idle connections at each of its runs.
EVICTORS = ("jedis", "commons_pool2", "dbcp2")

#: HikariCP rejects a smaller number and uses this instead, ms (HikariConfig.java:validateNumerics).
_HIKARI_INSTEAD = {"maxLifetime": 1_800_000, "keepaliveTime": 0, "idleTimeout": 600_000}


@dataclass(frozen=True)
class KeepaliveDefaults:
    """The keepalive that one end uses: its settings, or the defaults of product and kernel."""

    idle_s: float
    interval_s: float
    probes: int
    #: 0: off.
    user_timeout_s: float = 0
    product: str = ""

    @property
    def options(self) -> SocketOptions:
        """The same as options of a socket."""
        return SocketOptions(
            keepalive_idle_s=self.idle_s, keepalive_interval_s=self.interval_s,
            keepalive_probes=self.probes, user_timeout_s=self.user_timeout_s,
        )  # fmt: skip

    def probe_after(self, lost: int) -> float:
        """Seconds of silence until the first probe that arrives, when `lost` probes are lost before it."""
        return self.idle_s + self.interval_s * lost

    def after_losing(self, lost: int) -> Self:
        """What remains of it on a path that loses the first `lost` probes of a silence."""
        if not lost:
            return self
        return replace(self, idle_s=self.longest_gap(lost), probes=max(self.probes - lost, 1))

    def longest_gap(self, lost: int = 0) -> float:
        """The longest time without a segment on a healthy connection, seconds.

        After a probe the kernel checks again only an interval later, even if the idle time is shorter
        (net/ipv4/tcp_timer.c:tcp_keepalive_timer).
        """
        return max(self.idle_s, self.interval_s) + self.interval_s * lost

    def beats(self, idle_timer_s: float, lost: int = 0) -> bool:
        """Whether its probes keep the entry of a middlebox alive, with `lost` of them lost in a row."""
        return not idle_timer_s or self.longest_gap(lost) < idle_timer_s


class Timer(NamedTuple):
    """A timer that is on: seconds, whose it is in words, and its setting or its middlebox."""

    seconds: float
    who: str
    key: str


class InForce:
    """The settings of an environment, each with the value that is in force."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment

    def own(self, product: str, name: str) -> Any:
        """The value in the setting's own unit, as the product uses it; None: unset."""
        each = setting(product, name)
        default = each.default
        if product == self.environment.database and (service := self.environment.managed):
            default = of_product(product).managed[service].get(name, default)
        value = self.environment.settings.get(f"{product}.{name}", default)
        if product == "hikaricp" and each.low is not None and value and value < each.low:
            return _HIKARI_INSTEAD.get(name, int(each.low))
        return value

    def seconds(self, product: str, name: str) -> float:
        """The value in seconds; 0: off, unset, never, or no such setting (an empty name)."""
        if not name:
            return 0
        value, time = self.own(product, name), TIMES.get(setting(product, name).unit)
        return value * time if time and value and value > 0 else 0

    def of(self, table: dict[str, str], product: str) -> float:
        """The seconds of the setting that a table names for a product; 0 where there is none."""
        return self.seconds(product, table.get(product, ""))

    @staticmethod
    def who(product: str, name: str) -> tuple[str, ...]:
        """Who may change a setting; empty: it can't be changed."""
        return setting(product, name).who

    def linux(self, name: str, host: str = "application") -> Any:
        """A sysctl of a host. Proxies are counted with the application."""
        if self.environment.linux_host in ("", host):
            return self.own("linux", name)
        return setting("linux", name).default

    def keepalive(self, product: str, end: EndSettings) -> KeepaliveDefaults | None:
        """The keepalive of an end; None: it is off."""
        if end.switch and not self.own(product, end.switch):
            return None
        idle = self._or_linux(product, end.idle, LINUX.idle)
        if not idle:
            return None
        user_timeout = self.seconds(product, end.user_timeout)
        probing = of_product(product).probing
        if probing == "thirds":
            # Redis: src/anet.c:anetKeepAlive, a third of it between probes, three probes.
            return KeepaliveDefaults(idle, max(1, idle // 3), 3, user_timeout, product)
        if probing == "node":
            # libuv: src/unix/tcp.c:uv__tcp_keepalive; without a delay the times are the kernel's.
            given = bool(self.seconds(product, end.idle))
            every, probes = (1, 10) if given else (self.linux(LINUX.interval), self.linux(LINUX.probes))
            return KeepaliveDefaults(idle, every, int(probes), user_timeout, product)
        if probing == "same" and self.seconds(product, end.idle) and not self.seconds(product, end.interval):
            # Npgsql: Internal/NpgsqlConnector.cs, the interval is the time unless it is set.
            return KeepaliveDefaults(idle, idle, int(self.linux(LINUX.probes)), user_timeout, product)
        if probing == "capped":
            # MongoDB: what the operating system has, unless that is more (DRIVERS-383).
            idle = min(idle, self.linux(LINUX.idle, "database"))
        interval = self._or_linux(product, end.interval, LINUX.interval)
        probes = int(self._or_linux(product, end.probes, LINUX.probes, is_time=False))
        return KeepaliveDefaults(idle, interval, probes, user_timeout, product)

    def _or_linux(self, product: str, name: str, linux: str, is_time: bool = True) -> float:
        if name:
            value = self.seconds(product, name) if is_time else self.own(product, name)
            if value or not setting(product, name).inherits:
                return value or 0
        is_database = product == self.environment.database
        return self.linux(linux, "database" if is_database else "application")

    def client(self, leg: int) -> KeepaliveDefaults | None:
        """The keepalive of the end that opened a leg."""
        product = self.environment.client_of(leg)
        return self.keepalive(product, CLIENTS[product])

    def server(self, leg: int) -> KeepaliveDefaults | None:
        """The keepalive of the end that accepted it."""
        product = self.environment.server_of(leg)
        return self.keepalive(product, SERVERS[product])

    def user_timeout(self, leg: int) -> float:
        """The user timeout of the end that opened a leg, seconds; it also counts without keepalive.

        Not with libpq, which sets neither then (src/interfaces/libpq/fe-connect.c: the branch of
        `usekeepalives` comes before setTCPUserTimeout; 15 and 18).
        """
        product = self.environment.client_of(leg)
        end = CLIENTS[product]
        if product in ("libpq", "psycopg") and not self.own(product, end.switch):
            return 0
        return self.seconds(product, end.user_timeout)

    def answer(self, leg: int) -> float:
        """How long the end that opened a leg waits for an answer, seconds; 0: indefinitely."""
        return self.of(ANSWER, self.environment.client_of(leg))

    def ping(self) -> float:
        """How often the pool sends something on an idle connection, seconds; 0: never."""
        pool = self.environment.pool
        every = self.of(PING, pool)
        switch = PING_SWITCH.get(pool)
        if switch and not self.own(pool, switch):
            return 0
        if pool in EVICTORS:
            tested = self.own(pool, "numTestsPerEvictionRun") if pool != "dbcp2" else 3
            every *= 1 if tested < 0 else ceil(self.environment.pool_size / max(tested, 1))
        is_off = pool == "hikaricp" and 0 < self.of(AGE, pool) <= every
        return 0 if is_off else every

    def reached_by_pool(self, leg: int) -> bool:
        """Whether the pool's pings and closes reach a leg: HAProxy relays them, PgBouncer does not."""
        return self.holder(leg) == self.environment.pool

    def holder(self, leg: int) -> str:
        """The product that decides how long a leg's connections live: the pool, or the last proxy before
        it with sessions of its own; empty: none."""
        own = [each for each in self.environment.proxies[:leg] if not of_product(each).relays]
        return own[-1] if own else self.environment.pool

    def rests(self, leg: int, with_ping: bool = True) -> tuple[float, str]:
        """How long a connection of a leg may carry no data, seconds, and what limits that."""
        ends = [(self.environment.longest_idle_s, "a session is idle at most")]
        if self.reached_by_pool(leg):
            pool = self.environment.pool
            if with_ping and (ping := self.ping()):
                own = self.in_own_unit(f"{pool}.{PING[pool]}")
                ends.append((ping, f"{title(pool)}'s {PING[pool]}{own}:"))
            holder = pool
        else:
            holder = self.holder(leg)
            name = "server_idle_timeout" if holder == "pgbouncer" else ""
            ends += [(t.seconds, f"{t.who}:") for t in self.timer(holder, name)]
        ages = self.timer(holder, AGE.get(holder, ""))
        ends += [(t.seconds, f"{t.who}{self.in_own_unit(t.key)}:") for t in ages]
        return min(ends)

    def in_own_unit(self, key: str) -> str:
        """The value in the product's unit where that is not seconds, `` = 350000 ms``; or nothing."""
        product, _, name = key.partition(".")
        try:
            unit = setting(product, name).unit
        except CatalogueError:
            return ""
        return "" if unit == "s" else f" = {self.own(product, name)} {unit}"

    def not_taken(self) -> list[str]:
        """Sentences about values that a product rejects, and what it uses instead."""
        notes = []
        for key, value in self.environment.settings.items():
            product, _, name = key.partition(".")
            if (used := self.own(product, name)) != value:
                does = f"uses {used} ms" if used else "switches it off"
                notes.append(
                    f"{title(product)} counts {name} in ms and does not accept {value}: it {does} instead."
                )
        return notes

    def timer(self, product: str, name: str) -> list[Timer]:
        """A product's timer; none where it is off, unset or unknown."""
        seconds = self.seconds(product, name)
        return [Timer(seconds, f"{title(product)}'s {name}", f"{product}.{name}")] if seconds else []

    def data_timers(self, server: str) -> list[Timer]:
        """The timer of a proxy that ends a query without data; of HAProxy's three the one that counts."""
        if query := self.timer(server, _QUERY.get(server, "")):
            return query
        relay = [timer for name in _RELAY.get(server, ()) for timer in self.timer(server, name)]
        return self.timer(server, _TUNNEL.get(server, "")) or sorted(relay, key=lambda each: each.seconds)[:1]

    def idle_closes(self, server: str) -> list[Timer]:
        """The timer with which a server ends an idle session."""
        if server in _RELAY:
            return self.data_timers(server)
        return self.timer(server, IDLE_CLOSE.get(server, ""))

    def ports(self) -> int:
        """Local ports of an application host, towards one destination."""
        first, last = (int(port) for port in str(self.linux(PORT_RANGE)).split())
        own = max(last - first + 1, 1)
        return min(own, self.environment.ports or own)

    def limit(self, product: str) -> int:
        """How many connections a server accepts; 0: not known."""
        name, env = LIMIT.get(product, ""), self.environment
        given = f"{product}.{name}" in env.settings
        wanted = env.max_connections if product == env.database and not given else 0
        return wanted or (max(int(self.own(product, name) or 0), 0) if name else 0)

    def reserved(self, product: str) -> int:
        """Connections of `limit` that an ordinary client does not get."""
        if product not in LIMIT:
            return 0
        return sum(
            int(self.own(product, s.name) or 0) for s in find(product=product) if "reserved" in s.roles
        )

    def pool_size(self) -> int:
        """The most connections of one instance's pool: as pasted, else as the environment says."""
        env, pool = self.environment, self.environment.pool
        size, more = (f"{pool}.{table.get(pool, '')}" for table in (SIZE, OVERFLOW))
        if size not in env.settings and more not in env.settings:
            return env.pool_size
        names = [table[pool] for table in (SIZE, OVERFLOW) if pool in table]
        return max(sum(int(self.own(pool, name) or 0) for name in names), 1)

    def backlog(self, product: str) -> int:
        """How many finished handshakes may wait for a server, capped by the kernel; 0: not known."""
        given = f"{product}.{BACKLOG.get(product, '')}" in self.environment.settings
        if product == self.environment.server_of(0) and self.environment.backlog and not given:
            asked = self.environment.backlog
        elif product == "postgresql":
            # src/backend/libpq/pqcomm.c:ListenServerPort asks for 2 * MaxConnections; ss shows 200 for 100
            # with 18.6. Up to 15 it is 44 more: 84 for 20.
            asked = 2 * self.limit(product)
        elif product == "mysql":
            asked = self.own(product, "back_log") or self.limit(product)
        elif product == "mariadb" and not given:
            asked = min(50 + self.limit(product) // 5, 900)
        else:
            asked = (self.own(product, BACKLOG[product]) if product in BACKLOG else 0) or 0
        host = "database" if product == self.environment.database else "application"
        return max(min(int(asked), int(self.linux(SOMAXCONN, host))), 0)


@lru_cache(maxsize=1)
def _products() -> Mapping[str, Product]:
    return {each.key: each for each in products()}


def of_product(key: str) -> Product:
    """A product of the catalogue. Raises `CatalogueError` where there is none."""
    return _products().get(key) or find(product=key)[0].product


def title(product: str) -> str:
    """A product's name, without what the catalogue adds in brackets."""
    return of_product(product).title.partition(" (")[0]


@dataclass(frozen=True)
class Shipped:
    """A product's pool with the defaults of the catalogue, as parameters of `Pool`."""

    title: str
    settings: Mapping[str, Any]
    #: One or two sentences: what `Pool` does not model of the product.
    beyond: str
    #: A second probe of the product; `Pool` runs one at a time.
    background: Mapping[str, Any] = field(default_factory=dict)


#: Parameters of `Pool` by switches that are off or on; other settings are the size or a time.
_SWITCHES = dict.fromkeys(("lifo", "pool_use_lifo"), ("fifo", "lifo"))
_SWITCHES |= dict.fromkeys(("testOnBorrow", "pool_pre_ping"), ("none", "test_on_borrow"))
_SWITCHES["testWhileIdle"] = ("none", "test_while_idle")


def _parameters(**given: str | int) -> dict[str, Any]:
    """Parameters of `Pool`: ``product.name`` becomes the setting's default, other values stay."""
    made: dict[str, Any] = dict(given)
    for parameter, value in given.items():
        product, _, name = str(value).partition(".")
        if name in _SWITCHES:
            made[parameter] = _SWITCHES[name][bool(setting(product, name).default)]
        elif name:
            each = setting(product, name)
            made[parameter] = each.default if parameter == "size" else each.seconds or 0
    return made


def shipped() -> tuple[Shipped, ...]:
    """Eight common pools.

    The order of checkouts is in the catalogue where it is a setting; otherwise it is from the source:
    HikariCP's ConcurrentBag.borrow, psycopg_pool's ConnectionPool._get_ready_connection. `after_error`
    is SQLAlchemy's Engine (engine/base.py:Connection._handle_dbapi_exception), not its pool alone.
    Lettuce and Redisson read all the time, and reconnect (the ConnectionWatchdog of each).
    """
    hikari = _parameters(
        size="hikaricp.maximumPoolSize", order="lifo", probe="test_on_borrow",
        bypass_window_s="hikaricp.com.zaxxer.hikari.aliveBypassWindowMs",
        max_lifetime_s="hikaricp.maxLifetime", acquire_timeout_s="hikaricp.connectionTimeout",
    )  # fmt: skip
    ping = _parameters(
        probe="background_ping", probe_interval_s="hikaricp.keepaliveTime",
        socket_timeout_s="hikaricp.validationTimeout",
    )  # fmt: skip
    commons = _parameters(
        size="commons_pool2.maxTotal", order="commons_pool2.lifo", probe="commons_pool2.testOnBorrow",
        max_lifetime_s=0, acquire_timeout_s="commons_pool2.maxWait",
    )  # fmt: skip
    dbcp2 = _parameters(
        size="dbcp2.maxTotal", probe="dbcp2.testOnBorrow", max_lifetime_s="dbcp2.maxConnLifetimeMillis",
        acquire_timeout_s="dbcp2.maxWaitMillis",
    )  # fmt: skip
    jedis = _parameters(
        probe="jedis.testWhileIdle", probe_interval_s="jedis.timeBetweenEvictionRuns",
        idle_timeout_s="jedis.minEvictableIdleTime", socket_timeout_s="jedis.socketTimeoutMillis",
    )  # fmt: skip
    psycopg = _parameters(
        size="psycopg_pool.min_size", order="fifo", max_lifetime_s="psycopg_pool.max_lifetime",
        acquire_timeout_s="psycopg_pool.timeout",
    )  # fmt: skip
    alchemy = _parameters(
        size="sqlalchemy.pool_size", order="sqlalchemy.pool_use_lifo", probe="sqlalchemy.pool_pre_ping",
        after_error="all", max_lifetime_s="sqlalchemy.pool_recycle",
        acquire_timeout_s="sqlalchemy.pool_timeout",
    )  # fmt: skip
    lettuce = _parameters(
        size=1, order="fifo", probe="tcp_keepalive", probe_interval_s="lettuce.keepAlive.idle",
        reads_idle=True, max_lifetime_s=0, acquire_timeout_s=0, socket_timeout_s="lettuce.timeout",
    )  # fmt: skip
    redisson = _parameters(
        size=24, order="fifo", probe="background_ping", probe_interval_s="redisson.pingConnectionInterval",
        reads_idle=True, max_lifetime_s=0, acquire_timeout_s=0, socket_timeout_s="redisson.timeout",
    )  # fmt: skip
    both = "It has both probes at once, and is last in, first out only within a thread."
    on_demand = "It opens connections when they are needed, not all at the start."
    rest = "It closes what was idle for a minute at its next round, not at that second."
    longer = "With a check it pauses after each one that fails, longer and longer."
    return (
        Shipped("HikariCP", hikari, both, ping),
        Shipped("Commons DBCP 2", commons | dbcp2, on_demand),
        Shipped("Commons Pool 2", commons, on_demand),
        Shipped("Jedis", commons | jedis, rest),
        Shipped("Lettuce", lettuce, "All threads share its one connection, one request behind the other."),
        Shipped("Redisson", redisson, "It opens up to 64 connections when they are needed."),
        Shipped("psycopg_pool", psycopg, longer),
        Shipped("SQLAlchemy", alchemy, "Under load it opens up to ten connections more than its size."),
    )
