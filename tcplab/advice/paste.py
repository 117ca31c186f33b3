"""Changes as text to paste, one kind of file at a time. Every value is a number or a word of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tcplab.catalogue import TIMES, Setting

#: Which file a product's settings stand in. Who is not here is set in the program itself.
FILES = {
    "linux": "sysctl.d", "postgresql": "postgresql.conf", "libpq": "libpq", "pgjdbc": "jdbc",
    "connector_j": "jdbc", "mariadb_connector_j": "jdbc", "mysql": "my.cnf", "mariadb": "my.cnf",
    "redis": "redis.conf", "hikaricp": "hikari", "haproxy": "haproxy", "pgbouncer": "pgbouncer",
    "oracle": "sqlnet.ora",
}  # fmt: skip
PROGRAM = "program"
#: What a setting of Oracle's that stands in a connect descriptor is called in a file.
_IN_PROGRAM = {"oracle.ENABLE=BROKEN"}
_URLS = {
    "libpq": "postgresql://HOST/DATABASE",
    "pgjdbc": "jdbc:postgresql://HOST/DATABASE",
    "connector_j": "jdbc:mysql://HOST/DATABASE",
    "mariadb_connector_j": "jdbc:mariadb://HOST/DATABASE",
}
_HEADS = {
    "sysctl.d": "# /etc/sysctl.d/90-tcp.conf on the hosts of the application and the database, "
    "then: sysctl --system",
    "postgresql.conf": "# postgresql.conf",
    "libpq": "# connection string of psql, psycopg and others; or each as a keyword of its own",
    "jdbc": "# JDBC URL",
    "my.cnf": "# my.cnf",
    "redis.conf": "# redis.conf",
    "hikari": "# HikariCP's properties; in Spring: spring.datasource.hikari.NAME",
    # Seen with HAProxy 2.6 and PgBouncer 1.18: a second section of that name forgets all of the first.
    "haproxy": "# haproxy.cfg: into the defaults that are there; a second section would forget the first",
    "pgbouncer": "; pgbouncer.ini: into the section that is there; a second section would forget the first",
    "sqlnet.ora": "# sqlnet.ora on the database's host",
    PROGRAM: "# in the program itself, by these names",
}
_SECTIONS = {"my.cnf": "[mysqld]"}
_AFTER = {
    "at once": "counts at once",
    "new connections": "counts for new connections",
    "no restart": "needs no restart",
    "reload": "needs a reload",
    "restart": "needs a restart",
    "never": "can't be changed",
}


@dataclass(frozen=True)
class Change:
    """One setting to change."""

    setting: Setting
    #: ``product.name``, as in an environment's settings.
    key: str
    #: In the setting's own unit.
    value: Any
    #: What it is today, in its own unit; None: unset.
    was: Any
    #: Which inequality it keeps, and how.
    reason: str

    @property
    def seconds(self) -> float | None:
        """The value in seconds; None where it is no time."""
        time = TIMES.get(self.setting.unit)
        return None if time is None or self.value < 0 else round(self.value * time, 6)

    @property
    def who(self) -> str:
        """Who may change it: the first of those whom the catalogue names."""
        return self.setting.who[0] if self.setting.who else ""

    @property
    def applies(self) -> str:
        """When the change is felt."""
        return self.setting.applies

    @property
    def file(self) -> str:
        """The kind of file that it stands in."""
        return PROGRAM if self.key in _IN_PROGRAM else FILES.get(self.setting.product.key, PROGRAM)

    @property
    def sentence(self) -> str:
        """The change in a line for people."""
        unit = f" {self.setting.unit}" if self.setting.unit in TIMES else ""
        was = "unset" if self.was is None else f"{self.was}{unit}"
        seconds = f" ({self.seconds:g} s)" if self.seconds is not None and self.setting.unit != "s" else ""
        return (
            f"{self.setting.product.title}: {self.setting.name} = {self.value}{unit}{seconds}, was {was}; "
            f"{_AFTER[self.applies]}. Inequality {self.reason}."
        )


def texts(changes: Sequence[Change]) -> dict[str, str]:
    """Text to paste by kind of file, for the kinds that have a change."""
    found: dict[str, list[Change]] = {}
    for change in changes:
        found.setdefault(change.file, []).append(change)
    return {kind: "\n".join(_lines(kind, found[kind])) + "\n" for kind in _HEADS if kind in found}


def _lines(kind: str, changes: Sequence[Change]) -> Iterator[str]:
    yield _HEADS[kind]
    if kind in ("libpq", "jdbc"):
        yield from _url(changes)
        return
    if kind in _SECTIONS:
        yield _SECTIONS[kind]
    mark = ";" if kind == "pgbouncer" else "#"
    write = _WRITERS.get(kind, _assignment)
    reason = ""
    for change in changes:
        told = f"{change.reason}; {_AFTER[change.applies]}"
        if told != reason:
            yield f"{mark} {told}"
        reason = told
        yield from write(change)


def _url(changes: Sequence[Change]) -> Iterator[str]:
    for change in changes:
        unit = f" {change.setting.unit}" if change.setting.unit in TIMES else ""
        yield f"# {change.setting.name} = {_word(change.value)}{unit}: {change.reason}"
    products = dict.fromkeys(change.setting.product.key for change in changes)
    for product in products:
        pairs = [
            f"{change.setting.name}={_word(change.value)}"
            for change in changes
            if change.setting.product.key == product
        ]
        yield f"{_URLS[product]}?{'&'.join(pairs)}"


def _assignment(change: Change) -> Iterable[str]:
    return [f"{change.setting.name} = {_word(change.value)}"]


def _program(change: Change) -> Iterable[str]:
    unit = f"   # {change.setting.unit}" if change.setting.unit in TIMES else ""
    return [f"{change.key} = {_word(change.value)}{unit}"]


def _property(change: Change) -> Iterable[str]:
    return [f"{change.setting.name}={_word(change.value)}"]


def _directive(change: Change) -> Iterable[str]:
    return [f"{change.setting.name} {_word(change.value)}"]


def _haproxy(change: Change) -> Iterable[str]:
    name, value = change.setting.name, change.value
    if name.startswith("option "):
        return [f"    {name}" if value else f"    no {name}"]
    if name == "tcp-ut":
        return ["    # and on a bind line, for clients", f"    default-server tcp-ut {value}ms"]
    unit = change.setting.unit if change.setting.unit in ("ms", "s") else ""
    return [f"    {name} {value}{unit}"]


_WRITERS: dict[str, Callable[[Change], Iterable[str]]] = {
    "hikari": _property, "redis.conf": _directive, "haproxy": _haproxy, PROGRAM: _program,
}  # fmt: skip


def _word(value: Any) -> str:
    """As files write it: true, not True."""
    return str(value).lower() if isinstance(value, bool) else f"{value}"
