"""Which setting of a product has which purpose, and its value in force: pasted, default, or the kernel's.

Names are the catalogue's. Rules that no field of the catalogue covers are here, with their source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any, NamedTuple, Self

from tcplab.advice.environment import Environment
from tcplab.bench.script import SocketOptions
from tcplab.core.catalogue import TIMES, CatalogueError, find, setting


@dataclass(frozen=True)
class EndSettings:
    """The names of one end's settings; empty: it has no such setting, the kernel's sysctl applies."""

    #: Switches keepalive on; empty: it is always on.
    switch: str = ""
    idle: str = ""
    interval: str = ""
    probes: str = ""
    user_timeout: str = ""


_PGBOUNCER = EndSettings("tcp_keepalive", "tcp_keepidle", "tcp_keepintvl", "tcp_keepcnt", "tcp_user_timeout")
#: The end that opened the connection.
CLIENTS = {
    "libpq": EndSettings(
        "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"
    ),
    "pgjdbc": EndSettings("tcpKeepAlive"),
    "connector_j": EndSettings("tcpKeepAlive"),
    "mariadb_connector_j": EndSettings("tcpKeepAlive", "tcpKeepIdle", "tcpKeepInterval", "tcpKeepCount"),
    "oracle": EndSettings("ENABLE=BROKEN"),
    "jedis": EndSettings(),
    "lettuce": EndSettings("keepAlive", "keepAlive.idle", "keepAlive.interval", "keepAlive.count"),
    "redisson": EndSettings("keepAlive"),
    "pgbouncer": _PGBOUNCER,
    "haproxy": EndSettings("option srvtcpka", "srvtcpka-idle", "srvtcpka-intvl", "srvtcpka-cnt", "tcp-ut"),
}
#: The end that accepted it.
SERVERS = {
    "postgresql": EndSettings(
        "", "tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout"
    ),
    # MySQL's server switches keepalive on and sets no times (vio/viosocket.cc:vio_keepalive).
    "mysql": EndSettings(),
    "mariadb": EndSettings("", "tcp_keepalive_time", "tcp_keepalive_interval", "tcp_keepalive_probes"),
    "oracle": EndSettings("", "SQLNET.EXPIRE_TIME", "TCP_KEEPINTVL", "TCP_KEEPCNT"),
    "redis": EndSettings("", "tcp-keepalive"),
    "pgbouncer": _PGBOUNCER,
    "haproxy": EndSettings("option clitcpka", "clitcpka-idle", "clitcpka-intvl", "clitcpka-cnt"),
}
#: What applies to an end that has no setting of its own.
LINUX = EndSettings(
    "", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes"
)
PORT_RANGE, SOMAXCONN = "net.ipv4.ip_local_port_range", "net.core.somaxconn"
RETRIES2, SYN_RETRIES = "net.ipv4.tcp_retries2", "net.ipv4.tcp_syn_retries"
TW_REUSE = "net.ipv4.tcp_tw_reuse"

#: How long a driver waits for an answer, and for a connection.
ANSWER = {
    "pgjdbc": "socketTimeout", "connector_j": "socketTimeout", "mariadb_connector_j": "socketTimeout",
    "jedis": "socketTimeoutMillis", "lettuce": "timeout", "redisson": "timeout",
}  # fmt: skip
CONNECT = {
    "libpq": "connect_timeout", "pgjdbc": "connectTimeout", "connector_j": "connectTimeout",
    "mariadb_connector_j": "connectTimeout", "oracle": "TCP.CONNECT_TIMEOUT",
    "jedis": "connectionTimeoutMillis", "lettuce": "connectTimeout", "redisson": "connectTimeout",
}  # fmt: skip
ACQUIRE = {
    "hikaricp": "connectionTimeout", "psycopg_pool": "timeout", "sqlalchemy": "pool_timeout",
    "commons_pool2": "maxWait", "dbcp2": "maxWaitMillis",
}  # fmt: skip
AGE = {
    "hikaricp": "maxLifetime", "psycopg_pool": "max_lifetime", "sqlalchemy": "pool_recycle",
    "dbcp2": "maxConnLifetimeMillis", "pgbouncer": "server_lifetime",
}  # fmt: skip
#: How often a pool tests its idle connections.
PING = {
    "hikaricp": "keepaliveTime", "redisson": "pingConnectionInterval", "jedis": "timeBetweenEvictionRuns",
    "commons_pool2": "timeBetweenEvictionRuns", "dbcp2": "timeBetweenEvictionRunsMillis",
}  # fmt: skip
#: The setting by which a server ends an idle session.
IDLE_CLOSE = {
    "postgresql": "idle_session_timeout", "mysql": "wait_timeout", "mariadb": "wait_timeout",
    "oracle": "SQLNET.RECV_TIMEOUT", "redis": "timeout", "pgbouncer": "client_idle_timeout",
}  # fmt: skip
LIMIT = {
    "postgresql": "max_connections", "mysql": "max_connections", "mariadb": "max_connections",
    "redis": "maxclients", "pgbouncer": "max_client_conn",
}  # fmt: skip
BACKLOG = {
    "mysql": "back_log", "mariadb": "back_log", "redis": "tcp-backlog", "pgbouncer": "listen_backlog",
    "haproxy": "backlog",
}  # fmt: skip

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
        value = self.environment.settings.get(f"{product}.{name}", each.default)
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

    def linux(self, name: str) -> Any:
        """A sysctl: the hosts of the application and of the database are assumed to have the same."""
        return self.own("linux", name)

    def keepalive(self, product: str, end: EndSettings) -> KeepaliveDefaults | None:
        """The keepalive of an end; None: it is off."""
        if end.switch and not self.own(product, end.switch):
            return None
        idle = self._or_linux(product, end.idle, LINUX.idle)
        if not idle:
            return None
        user_timeout = self.seconds(product, end.user_timeout)
        if product == "redis":
            # Redis: src/anet.c:anetKeepAlive, a third of it between probes, three probes.
            return KeepaliveDefaults(idle, max(1, idle // 3), 3, user_timeout, product)
        interval = self._or_linux(product, end.interval, LINUX.interval)
        probes = int(self._or_linux(product, end.probes, LINUX.probes, is_time=False))
        return KeepaliveDefaults(idle, interval, probes, user_timeout, product)

    def _or_linux(self, product: str, name: str, linux: str, is_time: bool = True) -> float:
        if name:
            value = self.seconds(product, name) if is_time else self.own(product, name)
            if value or not setting(product, name).inherits:
                return value or 0
        return self.linux(linux)

    def client(self, leg: int) -> KeepaliveDefaults | None:
        """The keepalive of the end that opened a leg."""
        product = self.environment.client_of(leg)
        return self.keepalive(product, CLIENTS[product])

    def server(self, leg: int) -> KeepaliveDefaults | None:
        """The keepalive of the end that accepted it."""
        product = self.environment.server_of(leg)
        return self.keepalive(product, SERVERS[product])

    def user_timeout(self, leg: int) -> float:
        """The user timeout of the end that opened a leg, seconds; it also counts without keepalive."""
        product = self.environment.client_of(leg)
        return self.seconds(product, CLIENTS[product].user_timeout)

    def answer(self, leg: int) -> float:
        """How long the end that opened a leg waits for an answer, seconds; 0: indefinitely."""
        return self.of(ANSWER, self.environment.client_of(leg))

    def ping(self) -> float:
        """How often the pool sends something on an idle connection, seconds; 0: never."""
        pool = self.environment.pool
        every = self.of(PING, pool)
        if pool in ("jedis", "commons_pool2", "dbcp2"):
            if not self.own(pool, "testWhileIdle"):
                return 0
            tested = self.own(pool, "numTestsPerEvictionRun") if pool != "dbcp2" else 3
            every *= 1 if tested < 0 else ceil(self.environment.pool_size / max(tested, 1))
        is_off = pool == "hikaricp" and 0 < self.of(AGE, pool) <= every
        return 0 if is_off else every

    def reached_by_pool(self, leg: int) -> bool:
        """Whether the pool's pings and closes reach a leg: HAProxy relays them, PgBouncer does not."""
        return "pgbouncer" not in self.environment.proxies[:leg]

    def rests(self, leg: int, with_ping: bool = True) -> tuple[float, str]:
        """How long a connection of a leg may carry no data, seconds, and what limits that."""
        ends = [(self.environment.longest_idle_s, "a session rests at most")]
        if self.reached_by_pool(leg):
            pool = self.environment.pool
            if with_ping and (ping := self.ping()):
                own = self.in_own_unit(f"{pool}.{PING[pool]}")
                ends.append((ping, f"{title(pool)}'s {PING[pool]}{own}:"))
            holder = pool
        else:
            holder = "pgbouncer"
            ends += [(t.seconds, f"{t.who}:") for t in self.timer(holder, "server_idle_timeout")]
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
                notes.append(f"{title(product)} counts {name} in ms and takes no {value}: it {does} instead.")
        return notes

    def timer(self, product: str, name: str) -> list[Timer]:
        """A product's timer; none where it is off, unset or unknown."""
        seconds = self.seconds(product, name)
        return [Timer(seconds, f"{title(product)}'s {name}", f"{product}.{name}")] if seconds else []

    def data_timers(self, server: str) -> list[Timer]:
        """The timer of a proxy that ends a query without data; of HAProxy's three the one that counts."""
        if server == "pgbouncer":
            return self.timer(server, "query_timeout")
        if server != "haproxy":
            return []
        both = [*self.timer(server, "timeout server"), *self.timer(server, "timeout client")]
        return self.timer(server, "timeout tunnel") or sorted(both, key=lambda each: each.seconds)[:1]

    def idle_closes(self, server: str) -> list[Timer]:
        """The timer with which a server ends an idle session."""
        if server == "haproxy":
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
        return wanted or (max(int(self.own(product, name)), 0) if name else 0)

    def backlog(self, product: str) -> int:
        """How many finished handshakes may wait for a server, capped by the kernel; 0: not known."""
        given = f"{product}.{BACKLOG.get(product, '')}" in self.environment.settings
        if product == self.environment.server_of(0) and self.environment.backlog and not given:
            asked = self.environment.backlog
        elif product == "postgresql":
            # src/backend/libpq/pqcomm.c:StreamServerPort asks for twice its processes, at most 10000;
            # by default 22 of them are not for clients. PostgreSQL 15: 84 for max_connections = 20.
            asked = min(2 * (self.limit(product) + 22), 10_000)
        elif product == "mysql":
            asked = self.own(product, "back_log") or self.limit(product)
        elif product == "mariadb" and not given:
            asked = min(50 + self.limit(product) // 5, 900)
        else:
            asked = (self.own(product, BACKLOG[product]) if product in BACKLOG else 0) or 0
        return max(min(int(asked), int(self.linux(SOMAXCONN))), 0)


def title(product: str) -> str:
    """A product's name, without what the catalogue adds in brackets."""
    return find(product=product)[0].product.title.partition(" (")[0]


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
    """Six common pools.

    The order of checkouts is in the catalogue where it is a setting; otherwise it is from the source:
    HikariCP's ConcurrentBag.borrow, psycopg_pool's ConnectionPool._get_ready_connection. `after_error`
    is SQLAlchemy's Engine (engine/base.py:Connection._handle_dbapi_exception), not its pool alone.
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
    both = "It has both probes at once, and lends last in first out for each thread only."
    on_demand = "It opens connections when they are needed, not all at the beginning."
    rest = "It throws out what has rested for a minute at its next round, not at that second."
    longer = "With a check it rests after each one that fails, longer and longer."
    return (
        Shipped("HikariCP", hikari, both, ping),
        Shipped("Commons DBCP 2", commons | dbcp2, on_demand),
        Shipped("Commons Pool 2", commons, on_demand),
        Shipped("Jedis", commons | jedis, rest),
        Shipped("psycopg_pool", psycopg, longer),
        Shipped("SQLAlchemy", alchemy, "Under load it opens up to ten connections more than its size."),
    )
