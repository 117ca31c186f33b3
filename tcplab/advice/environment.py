"""What a DBA knows of a connection's path: products, legs and middleboxes, rates, sizes, tolerated times.

>>> from tcplab.advice import MiddleboxSettings, Environment, Leg
>>> Environment(legs=(Leg("application to database", (MiddleboxSettings("AWS NLB", 350),)),)).client_of(0)
'libpq'
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import lru_cache
from math import ceil
from typing import Any, Self

from tcplab.core.catalogue import EXPIRIES, RESTARTS, CatalogueError, Setting, find, products, setting
from tcplab.core.knobs import DAY, Knob, ParameterError
from tcplab.core.releases import NEWEST, UnknownRelease, release


def port_range(name: str, text: str) -> str:
    """A range of ports as Linux writes it. Raises `ParameterError` with one sentence."""
    match = re.fullmatch(r"(\d{1,5})\s+(\d{1,5})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]) <= 65_535:
        raise ParameterError(f"{name} = {text[:20]!r} is no range: two ports, the lower one first.")
    return f"{int(match[1])} {int(match[2])}"


def _keys(kind: str, order: tuple[str, ...]) -> tuple[str, ...]:
    """The products of a kind: first those of `order`, then as the catalogue has them."""
    keys = [each.key for each in products() if each.kind == kind]
    return tuple(sorted(keys, key=lambda key: order.index(key) if key in order else len(order)))


_PRODUCTS = {each.key: each for each in products()}
#: Each database and its usual port.
DATABASES = {
    key: _PRODUCTS[key].port
    for key in _keys("database", ("postgresql", "mysql", "mariadb", "oracle", "redis"))
}
#: The usual drivers, the most common one of a database first.
_USUAL = ("libpq", "pgjdbc", "connector_j", "mariadb_connector_j", "jedis", "lettuce", "redisson")


def _drivers_of(database: str) -> tuple[str, ...]:
    """What speaks to a database; a driver for which it was made comes before one that also speaks to it."""
    keys = (*DATABASES, *_keys("driver", _USUAL))  # Oracle Net is its own driver
    spoken = {key: _PRODUCTS[key].databases for key in keys}
    fits = [key for key in keys if database in spoken[key]]
    anything = [key for key in keys if not spoken[key] and _PRODUCTS[key].kind == "driver"]
    return (*sorted(fits, key=lambda key: spoken[key].index(database)), *anything)


DRIVERS_OF = {database: _drivers_of(database) for database in DATABASES}
DRIVERS = tuple(dict.fromkeys(driver for drivers in DRIVERS_OF.values() for driver in drivers))
#: Pools; some drivers have a pool of their own.
POOLS = (
    "", *_keys("pool", ("hikaricp", "psycopg_pool", "sqlalchemy", "commons_pool2", "dbcp2")),
    *(
        key
        for key in _keys("driver", ("jedis", "redisson"))
        if any({"acquire", "ping"} & set(each.roles) for each in find(product=key))
        and not key.startswith("other")
    ),
)  # fmt: skip
PROXIES = _keys("proxy", ("pgbouncer", "haproxy"))


def pools_of(driver: str) -> tuple[str, ...]:
    """The pools that fit a driver: its own, those made for it, and one described by its numbers."""
    fits = [key for key in POOLS if key and (driver in _PRODUCTS[key].drivers or key == driver)]
    return ("", *fits, *(key for key in POOLS if key.startswith("other")))


def proxies_of(database: str) -> tuple[str, ...]:
    """The proxies that can be before a database."""
    return tuple(key for key in PROXIES if database in (_PRODUCTS[key].databases or (database,)))


#: What restarts the idle timer of a middlebox: any segment, only data, only a request.
KINDS = RESTARTS

_SECONDS = Knob("seconds", float, "s", 0, 30 * DAY)
_LONGEST_NAME = 80


def _knob(knob: Knob, default: Any = MISSING) -> Any:
    return field(default=default, metadata={"knob": knob})


def _check(where: str, values: Any) -> None:
    """Check each field that has a knob, and give it the knob's type."""
    for each in fields(values):
        if "knob" in each.metadata:
            checked = each.metadata["knob"].check(where + each.name, getattr(values, each.name))
            object.__setattr__(values, each.name, checked)


def _line(where: str, text: Any) -> None:
    """A name that fits on one line of any file."""
    if not isinstance(text, str) or not 0 < len(text) <= _LONGEST_NAME or not text.isprintable():
        raise ParameterError(
            f"{where} = {str(text)[:20]!r} is no name: use 1 to {_LONGEST_NAME} printable characters."
        )


@dataclass(frozen=True)
class MiddleboxSettings:
    """A middlebox on a leg, which forgets or ends silent connections, or old ones."""

    name: str
    #: Its idle timer, seconds; 0: it has none.
    idle_s: float = _knob(_SECONDS)
    #: What restarts it: `layer4` any segment, keepalive too; `layer7` only data; `requests` only a new
    #: request (AWS RDS Proxy), and a running query is not idle.
    kind: str = _knob(Knob("kind", str, choices=KINDS), "layer4")
    #: What a layer-4 middlebox does with a forgotten connection, see `catalogue.EXPIRIES`.
    expired: str = _knob(Knob("expired", str, choices=tuple(EXPIRIES)), "drop")
    #: The age at which it ends any connection, seconds; 0: it has no such limit.
    age_s: float = _knob(_SECONDS, 0)
    #: A NAT: ports for one destination, and how long it keeps a closed one, seconds; 0: no NAT.
    ports: int = _knob(Knob("ports", int, high=65535), 0)
    time_wait_s: float = _knob(Knob("TIME_WAIT", float, "s", 0, 600), 120)
    #: Each host behind the NAT has so many ports for itself.
    is_per_host: bool = False

    def __post_init__(self) -> None:
        _line("box", self.name)
        _check(f"box {self.name}: ", self)
        if not isinstance(self.is_per_host, bool):
            raise ParameterError(f"box {self.name}: is_per_host must be true or false.")
        if 0 < self.idle_s < 1:
            raise ParameterError(f"box {self.name}: idle_s = {self.idle_s:g} is less than a second.")


@dataclass(frozen=True)
class Leg:
    """One TCP connection of the path, from the application or a proxy to the next proxy or the database."""

    name: str
    middleboxes: tuple[MiddleboxSettings, ...] = ()
    #: Both ends are on one host, as with a sidecar: nothing gets lost between them.
    is_local: bool = False

    def __post_init__(self) -> None:
        _line("leg", self.name)
        if not isinstance(self.is_local, bool):
            raise ParameterError(f"leg {self.name}: is_local must be true or false.")
        object.__setattr__(self, "middleboxes", tuple(self.middleboxes))
        are_boxes = all(isinstance(each, MiddleboxSettings) for each in self.middleboxes)
        if len(self.middleboxes) > 20 or not are_boxes:
            raise ParameterError(f"leg {self.name}: boxes must be at most 20 boxes.")


def _seconds(label: str, default: float | None, zero: str = "") -> Any:
    return _knob(Knob(label, float, "s", 0, DAY, zero=zero), default)


def _count(label: str, default: int, zero: str = "", low: int = 0, high: int = 1_000_000) -> Any:
    return _knob(Knob(label, int, "", low, high, zero=zero), default)


@dataclass(frozen=True, kw_only=True)
class Environment:
    """An application, its database, and what is between them.

    Raises `ParameterError` with one sentence for the first value that is wrong.
    """

    database: str = _knob(Knob("database", str, choices=tuple(DATABASES)), "postgresql")
    #: How the application talks to it; empty: the usual driver of this database.
    driver: str = _knob(Knob("driver", str, choices=("", *DRIVERS)), "")
    pool: str = _knob(Knob("pool", str, choices=POOLS), "")
    #: In order from the application; each has a leg before and a leg behind it.
    proxies: tuple[str, ...] = ()
    legs: tuple[Leg, ...] = (Leg("application to database"),)

    #: How fast a death must be noticed, at either end.
    notice_within_s: float = _seconds("notice within", 60)
    #: Probes in a row that may be lost without harm.
    lost_probes: int = _count("lost probes", 2, high=20)
    #: None: 600, and none with Redis. 0: there is none.
    longest_silent_query_s: float = _seconds("longest silent query", None)
    longest_idle_s: float = _seconds("longest idle time", 3600)
    #: How long a program keeps a connection at most before it goes back to the pool; 0: no longer than
    #: the longest silent query.
    longest_checkout_s: float = _seconds("longest checkout", 0, "the longest query")
    #: The longest pause of a program inside a transaction; 0: not known.
    longest_pause_s: float = _seconds("longest pause in a transaction", 0, "not known")
    #: New connections per second of one application host, and how long one lasts.
    connects_per_s: float = _knob(Knob("connects a second", float, "per s", 0, 1_000_000), 0)
    hold_s: float = _knob(Knob("connection lasts", float, "s", 0, DAY), 0.01)
    #: Local ports of one application host; 0: what its port range has.
    ports: int = _count("local ports", 0, "the port range's", high=64_512)
    #: Instances of the application, each with a pool of `pool_size`.
    instances: int = _count("instances", 1, low=1, high=100_000)
    pool_size: int = _count("pool size", 10, low=1, high=100_000)
    #: Further instances while an update runs, as a part of `instances`: 0.25 for a quarter more.
    surge: float = _knob(Knob("more in an update", float, "", 0, 10), 0)
    #: Requests a second of one instance, and how long each keeps its connection; 0: not known.
    requests_per_s: float = _knob(Knob("requests a second", float, "per s", 0, 1_000_000), 0)
    busy_s: float = _seconds("a request keeps its connection", 0, "not known")
    #: Of the server; 0: its setting or default.
    backlog: int = _count("backlog", 0, "the server's own", high=65_535)
    max_connections: int = _count("max_connections", 0, "the server's own")
    #: How long the application waits for a connection of its pool; 0: the pool's setting.
    acquire_timeout_s: float = _seconds("acquire timeout", 0, "the pool's own")
    #: The longest outage that users tolerate; 0: not known.
    outage_s: float = _seconds("outage tolerated", 0, "not known")
    #: How long a caller of the application waits; 0: not known, then the tolerated outage.
    deadline_s: float = _seconds("caller's deadline", 0, "not known")
    #: Addresses that a driver tries in turn when it connects.
    addresses: int = _count("addresses", 1, low=1, high=100)
    #: A failover: until a replica is the primary, and how long its name's old address is cached on the
    #: way; 0: not known. And how long a connection may go to the old address; 0: not known.
    promotion_s: float = _seconds("promotion", 0, "not known")
    dns_ttl_s: float = _seconds("name's TTL", 0)
    stale_s: float = _seconds("old address tolerated", 0, "not known")
    linux: str = _knob(Knob("linux", str), NEWEST)
    #: Whose the pasted sysctls are; empty: all hosts have the same.
    linux_host: str = _knob(Knob("linux_host", str, choices=("", "application", "database")), "")
    #: The service that runs the database, with defaults of its own: a key of the catalogue's `managed`.
    managed: str = _knob(Knob("managed", str), "")
    #: What is set today, ``{"hikaricp.maxLifetime": 1800000}``: the catalogue's names and units.
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.driver:
            object.__setattr__(self, "driver", DRIVERS_OF.get(self.database, ("",))[0])
        silent: Any = self.longest_silent_query_s
        if silent is None:
            # A command of Redis blocks for longer only if it is made to, as BLPOP is.
            object.__setattr__(self, "longest_silent_query_s", 0 if self.database == "redis" else 600)
        _check("", self)
        try:
            release(self.linux)
        except UnknownRelease as unknown:
            raise ParameterError(f"linux = {self.linux!r}: {unknown}") from None
        object.__setattr__(self, "proxies", tuple(self.proxies))
        object.__setattr__(self, "legs", tuple(self.legs))
        self._check_path()
        object.__setattr__(self, "settings", {k: checked_value(k, v) for k, v in self.settings.items()})

    def _check_path(self) -> None:
        for proxy in self.proxies:
            if proxy not in PROXIES or self.proxies.count(proxy) > 1:
                raise ParameterError(f"proxies: {proxy!r} is not one of {', '.join(PROXIES)}, each once.")
            serves = _PRODUCTS[proxy].databases
            if serves and self.database not in serves:
                name, own = _PRODUCTS[proxy].title, " and ".join(serves)
                raise ParameterError(f"proxies: {name} serves {own}, and database = {self.database!r}.")
        if self.driver not in DRIVERS_OF[self.database]:
            right = ", ".join(DRIVERS_OF[self.database])
            raise ParameterError(f"driver = {self.driver!r} does not speak to {self.database}: use {right}.")
        if self.managed and self.managed not in _PRODUCTS[self.database].managed:
            services = ", ".join(_PRODUCTS[self.database].managed) or "none"
            raise ParameterError(f"managed = {self.managed!r} is no service of {self.database}: {services}.")
        if len(self.legs) != len(self.proxies) + 1 or not all(isinstance(leg, Leg) for leg in self.legs):
            count = len(self.proxies)
            raise ParameterError(
                f"legs: there are {len(self.legs)}, and {count} {'proxy' if count == 1 else 'proxies'} make "
                f"{count + 1}: one before each proxy and one before the database."
            )
        names = [leg.name for leg in self.legs]
        if len(set(names)) < len(names):
            raise ParameterError("legs: two have the same name; give each its own.")

    @property
    def port(self) -> int:
        """The database's usual port."""
        return DATABASES[self.database]

    @property
    def most_instances(self) -> int:
        """Instances while an update runs."""
        return ceil(round(self.instances * (1 + self.surge), 6))

    def client_of(self, leg: int) -> str:
        """The product that opens the connection of this leg."""
        return (self.driver, *self.proxies)[leg]

    def server_of(self, leg: int) -> str:
        """The product that accepts it."""
        return (*self.proxies, self.database)[leg]

    def to_json(self) -> str:
        """Everything, as `from_json` reads it."""
        values = asdict(self)
        for leg in values["legs"]:
            leg["boxes"] = leg.pop("middleboxes")  # as saved files have it
        return json.dumps(values, indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The environment in a text that `to_json` wrote. Raises `ParameterError` with one sentence."""
        try:
            read = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as mistake:
            raise ParameterError(f"The environment is no JSON: {mistake}.") from None
        values = _known("The environment", read, _names(cls))
        if "legs" in values:
            values["legs"] = tuple(map(_leg, _list("legs", values["legs"])))
        values["proxies"] = tuple(_list("proxies", values.get("proxies", ())))
        if not isinstance(values.get("settings", {}), dict):
            raise ParameterError("settings must be an object with names and values.")
        return cls(**values)


def checked_value(key: str, value: Any) -> Any:
    """A value that its setting can have, in the setting's unit. Raises `ParameterError`."""
    each = known_setting(key)
    is_switch = isinstance(each.default, bool)
    if isinstance(value, bool) and (is_switch or each.unit == "switch"):
        return value if is_switch else int(value)
    if each.is_text:
        if not isinstance(value, str | int) or (isinstance(value, str) and not value.isprintable()):
            raise ParameterError(f"{key}: the value is no text of one line.")
        return port_range(key, str(value)) if each.name.endswith("ip_local_port_range") else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1 <= value <= 2**53:
        number = f"{key} = {str(value)[:20]!r} is no number in {each.unit}"
        raise ParameterError(f"{number}: use 0 or more, -1 for never.")
    return bool(value) if is_switch else value


def known_setting(key: str) -> Setting:
    """The catalogue's setting of ``product.name``. Raises `ParameterError` where there is none."""
    product, _, name = str(key).partition(".")
    try:
        return setting(product, name)
    except CatalogueError:
        unknown = f"settings: {str(key)[:60]!r} is not in the catalogue"
        raise ParameterError(f"{unknown}: use product.name, as in hikaricp.maxLifetime.") from None


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise ParameterError(f"{name} must be a list.")
    return list(value)


def _names(kind: type) -> list[str]:
    return [each.name for each in fields(kind)]


def _known(what: str, values: Any, names: list[str]) -> dict[str, Any]:
    """A JSON object with no other names than these."""
    if not isinstance(values, dict):
        raise ParameterError(f"{what} must be an object with {', '.join(names)}.")
    for name in values:
        if name not in names:
            raise ParameterError(f"{what} has no {str(name)[:40]!r}; it has {', '.join(names)}.")
    return dict(values)


def _leg(values: Any) -> Leg:
    known = _known("A leg", values, ["name", "boxes", "is_local"])
    boxes = tuple(map(_middlebox, _list("boxes", known.get("boxes", ()))))
    return Leg(known.get("name", ""), boxes, known.get("is_local", False))


def _middlebox(values: Any) -> MiddleboxSettings:
    known = _known("A box", values, _names(MiddleboxSettings))
    if not {"name", "idle_s"} <= known.keys():
        raise ParameterError("A box needs a name and idle_s.")
    return MiddleboxSettings(**known)


#: What is assumed of a middlebox whose documentation does not say.
_MOSTLY = "drop"


@lru_cache(maxsize=1)
def known_middleboxes() -> dict[str, MiddleboxSettings]:
    """Middleboxes with their defaults, by name: idle time and what follows, from the catalogue."""
    known = {}
    for each in dict.fromkeys(row.product for row in find(kind="box")):
        # conntrack has a shorter one for data that nobody acknowledges.
        idle = max(find(product=each.key, purpose="idle"), key=lambda setting: setting.seconds or 0)
        name = each.short or each.title
        known[name] = MiddleboxSettings(
            name, idle.seconds or 0, each.restarted_by, idle.expiry or _MOSTLY, ports=each.ports,
            time_wait_s=max([s.seconds or 0 for s in find(product=each.key, purpose="ports")] or [120]),
            is_per_host=each.is_per_host,
        )  # fmt: skip
    return dict(sorted(known.items(), key=lambda item: item[0].lower()))


_BOX = known_middleboxes()
#: Complete environments, by name.
PRESETS: dict[str, Environment] = {
    "keepalive 300 before a box of 350": Environment(
        database="postgresql", driver="libpq",
        legs=(Leg("application to PostgreSQL", (_BOX["AWS Network Firewall"],)),),
        longest_silent_query_s=1800, longest_idle_s=3600, lost_probes=1, notice_within_s=1200,
        settings={"linux.net.ipv4.tcp_keepalive_time": 300},
    ),
    "AWS: NLB, PgBouncer, RDS": Environment(
        database="postgresql", driver="pgjdbc", pool="hikaricp", proxies=("pgbouncer",),
        legs=(
            Leg("application to PgBouncer", (_BOX["AWS NLB"],)),
            Leg("PgBouncer to PostgreSQL", (_BOX["EC2 connection tracking"],)),
        ),
        longest_silent_query_s=900, longest_idle_s=3600, instances=8, pool_size=10, connects_per_s=2,
        outage_s=60,
        settings={"pgbouncer.max_client_conn": 500, "postgresql.max_connections": 400},
    ),
    "On-prem: firewall, Oracle": Environment(
        database="oracle", driver="oracle",
        legs=(Leg("application to Oracle", (_BOX["Cisco ASA firewall"],)),),
        longest_silent_query_s=7200, longest_idle_s=14_400, instances=12, pool_size=20, max_connections=600,
        notice_within_s=900, outage_s=300,
        settings={"oracle.SQLNET.EXPIRE_TIME": 10},
    ),
    "Kubernetes: NAT gateway, MySQL": Environment(
        database="mysql", driver="connector_j", pool="hikaricp",
        legs=(Leg("application to MySQL", (_BOX["AWS NAT gateway"],)),),
        longest_silent_query_s=600, longest_idle_s=1800, instances=40, pool_size=10, connects_per_s=5,
        outage_s=60,
        settings={"mysql.max_connections": 1000, "mysql.back_log": 500},
    ),
}  # fmt: skip
