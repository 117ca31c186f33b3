"""Changes as text to paste, one kind of file at a time. Every value is a number or a word of our own."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from tcplab.advice.environment import checked_value, value_of
from tcplab.core.catalogue import TIMES, Setting, catalogue, find
from tcplab.core.knobs import Knob, ParameterError, Parameters
from tcplab.core.releases import release

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


# ----------------------------------------------------------------------
# Settings as people paste them: JDBC URLs, libpq strings, properties, ini and conf files.
#
# The text is untrusted: nothing of it is run, and what is not known is named but its value never shown,
# for it may be a password.

_LONGEST = 1_000_000
_JDBC = {
    "postgresql": "pgjdbc", "mysql": "connector_j", "mysql+srv": "connector_j",
    "mariadb": "mariadb_connector_j",
}  # fmt: skip
_READ_SECTIONS = {
    "pgbouncer": "pgbouncer", "databases": "", "users": "", "peers": "",
    "mysqld": "mysql", "server": "mysql", "mariadb": "mysql", "mariadbd": "mysql",
}  # fmt: skip
#: Files of plain assignments: the product, and what a comment in the head calls the file.
_FILES = {
    "postgresql": "postgresql.conf", "mysql": "my.cnf", "pgbouncer": "pgbouncer.ini",
    "hikaricp": "HikariCP", "libpq": "libpq", "redis": "redis.conf", "oracle": "sqlnet.ora",
}  # fmt: skip
#: Settings in the same file that nobody needs to hear of.
_SILENT = {
    "user", "username", "password", "jdbcurl", "url", "driverclassname", "driver-class-name", "poolname",
    "pool-name", "host", "port", "dbname", "hostaddr", "application_name",
}  # fmt: skip
_SPRING = re.compile(r"^(spring\.datasource\.hikari\.|hikari\.|dataSource\.hikari\.)", re.IGNORECASE)
_HAPROXY_WORDS = (
    "clitcpka-idle", "clitcpka-intvl", "clitcpka-cnt", "srvtcpka-idle", "srvtcpka-intvl", "srvtcpka-cnt",
    "retries", "backlog",
)  # fmt: skip
_IN_SERVER_LINES = ("tcp-ut", "inter", "fall", "rise", "backlog")


@dataclass(frozen=True)
class Pasted(Mapping[str, Any]):
    """What was read: ``{"hikaricp.maxLifetime": 1800000}``, values in the settings' own units."""

    found: Mapping[str, Any] = field(default_factory=dict)
    #: Names that the catalogue does not have.
    unknown: tuple[str, ...] = ()

    def __getitem__(self, key: str) -> Any:
        return self.found[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    @property
    def sentence(self) -> str:
        """What was understood and what was not."""
        if not self.found and not self.unknown:
            return "There is no setting in this text."
        names = ", ".join(dict.fromkeys(key.partition(".")[2] for key in self.found))
        told = f"Read: {names}." if names else "No setting of the catalogue is in this text."
        if self.unknown:
            some = ", ".join(self.unknown[:8]) + (" and others" if len(self.unknown) > 8 else "")
            told += f" Not known here, and left out: {some}."
        return told


def read_settings(text: str) -> Pasted:
    """The settings of the catalogue in a pasted text, of one file or of several below each other.

    Knows JDBC URLs (PostgreSQL, MySQL, MariaDB), libpq's URIs and keywords, HikariCP's properties
    (Spring's, too), sysctl.d, pgbouncer.ini, my.cnf, postgresql.conf, redis.conf, sqlnet.ora and
    HAProxy's timeouts. What stands in my.cnf is told of both MySQL and MariaDB. The last one counts.
    Raises `ParameterError` with one sentence for a value that its product would not take.
    """
    if not isinstance(text, str):
        raise ParameterError("settings must be a text.")
    if len(text) > _LONGEST:
        raise ParameterError(f"The pasted text has {len(text):,} characters: at most {_LONGEST:,}.")
    reader = _Reader()
    for line in text.splitlines():
        reader.read(line.strip())
    reader.flush()
    return Pasted(reader.values, tuple(dict.fromkeys(reader.unknown)))


def _names(product: str) -> dict[str, Setting]:
    """A product's settings by name as its own files may write it."""
    return {_folded(product, each.name): each for each in find(product=product)}


def _folded(product: str, name: str) -> str:
    """Names that a product takes for the same."""
    if product == "hikaricp":
        return name.replace("-", "").replace("_", "").lower()
    if product in ("mysql", "mariadb"):
        return name.replace("-", "_").lower()
    return name if product in ("pgjdbc", "connector_j", "mariadb_connector_j") else name.lower()


class _Reader:
    """Line by line; plain assignments wait until it is clear whose they are."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.unknown: list[str] = []
        self._waiting: list[tuple[str, str]] = []
        #: Whose file it is, when a section or a head has said so; None: nobody has.
        self._file: str | None = None

    def read(self, line: str) -> None:
        """One line."""
        if url := re.search(r"jdbc:([a-z+]+):\S*", line):
            self._url(_JDBC.get(url[1], ""), url[0])
        elif url := re.search(r"postgres(?:ql)?://\S*", line):
            self._url("libpq", url[0])
        elif not line:
            return
        elif line[0] in "#;!":
            self._comment(line)
        elif section := re.fullmatch(r"\[([\w.-]+)\]", line):
            self.flush()
            self._file = _READ_SECTIONS.get(section[1].lower().rstrip("0123456789.-"), "")
        elif not any(rule(line) for rule in (self._sysctl, self._own_key, self._haproxy)):
            self._plain(line)

    def flush(self) -> None:
        """The assignments that wait belong to one file: to whom most of them are known."""
        waiting, self._waiting = self._waiting, []
        product, self._file = self._file, None
        if not waiting:
            return
        if product is None:
            known = {each: sum(_folded(each, name) in _names(each) for name, _ in waiting) for each in _FILES}
            product = max(known, key=lambda each: known[each])
            product = product if known[product] else ""
        for name, value in waiting:
            self._take(product, name, value)

    # -- what a line can be ------------------------------------------------------------------

    def _comment(self, line: str) -> None:
        """The head of a file says whose it is: as ours do, and many people's."""
        for product, file in _FILES.items():
            if re.match(rf"[#;!]\s*(/\S*/)?{re.escape(file)}", line):
                self.flush()
                self._file = product

    def _url(self, product: str, url: str) -> None:
        query = url.strip("\"',;").partition("?")[2]
        if not product:
            self.unknown.append(url.partition("//")[0][:20])
            return
        for name, value in parse_qsl(query, keep_blank_values=True, max_num_fields=500):
            self._take(product, name, value)

    def _sysctl(self, line: str) -> bool:
        found = re.fullmatch(r"-?((?:net|vm|kernel|fs)[./]\S+?)\s*=\s*(.*)", line)
        if not found:
            return False
        name = found[1].replace("/", ".")
        product = "conntrack" if name.startswith("net.netfilter.") else "linux"
        self._take(product, name, found[2].split("#")[0].strip())
        return True

    def _own_key(self, line: str) -> bool:
        """``hikaricp.maxLifetime = 1800000``: the catalogue's own way."""
        key, _, value = line.rpartition("=")
        product, _, name = key.strip().partition(".")
        if not any(each.product.key == product and each.name == name for each in catalogue()):
            key, _, value = line.partition("#")[0].rpartition("=")
            product, _, name = key.strip().partition(".")
            if not any(each.product.key == product and each.name == name for each in catalogue()):
                return False
        self._take(product, name, value.partition("#")[0].strip())
        return True

    def _haproxy(self, line: str) -> bool:
        words = line.split()
        if words[0] in ("server", "bind", "default-server"):
            for name, value in pairwise(words):
                if name in _IN_SERVER_LINES:
                    self._take("haproxy", name, value)
            return True
        if words[0] in ("defaults", "listen", "frontend", "backend", "global") and "=" not in line:
            return True
        if words[0] == "timeout" and len(words) >= 3 and not words[1].isdigit():
            self._take("haproxy", f"timeout {words[1]}", words[2])
            return True
        if words[:1] == ["option"] or words[:2] == ["no", "option"]:
            name = f"option {words[-1] if words[0] == 'no' else words[1]}" if len(words) > 1 else ""
            if name in ("option clitcpka", "option srvtcpka"):
                self.values[f"haproxy.{name}"] = words[0] == "option"
            elif name == "option tcpka":  # both at once
                for each in ("clitcpka", "srvtcpka"):
                    self.values[f"haproxy.option {each}"] = words[0] == "option"
            return True
        if len(words) == 2 and words[0] in _HAPROXY_WORDS:
            self._take("haproxy", words[0], words[1])
            return True
        return False

    def _plain(self, line: str) -> None:
        pairs = re.findall(r"([\w.-]+)\s*=\s*('(?:[^'\\]|\\.)*'|\S+)", line)
        if len(pairs) > 1 and re.fullmatch(r"(?:[\w.-]+\s*=\s*(?:'(?:[^'\\]|\\.)*'|\S+)\s*)+", line):
            for name, value in pairs:  # libpq's keywords
                self._take("libpq", name, value.strip("'"))
            return
        found = re.match(r"([\w.-]+)(?:\s*[=:]\s*|\s+)(.*)", line)
        if not found:
            self.unknown.append(re.split(r"[\s=:]", line)[0][:40])
            return
        name, value = found[1], re.split(r"\s[#;]", f" {found[2]}")[0].strip()
        if _SPRING.match(name) or name.startswith("spring."):
            self._take("hikaricp", _SPRING.sub("", name), value)
        else:
            self._waiting.append((name, value))

    # -- one setting -------------------------------------------------------------------------

    def _take(self, product: str, name: str, text: str) -> None:
        products: Iterable[str] = ("mysql", "mariadb") if product in ("mysql", "mariadb") else (product,)
        for each in filter(None, products):
            if found := _names(each).get(_folded(each, name)):
                key = f"{each}.{found.name}"
                self.values[key] = checked_value(key, value_of(found, text.strip("\"'")))
        is_known = any(_folded(each, name) in _names(each) for each in filter(None, products))
        is_silent = name.lower() in _SILENT or name.lower().endswith("password")
        if not is_known and not is_silent:
            self.unknown.append(name[:40] if name.isprintable() else "?")


# ----------------------------------------------------------------------
# An experiment's parameters as settings to paste: sysctl, socket options, libpq.
#
# Names, units and factors come from the knobs. Parameters that exist only for an experiment never
# get here. What already is Linux's own default stands as a comment: nothing has to be set for it.

#: Options that only count on a socket with SO_KEEPALIVE.
_KEEPALIVE = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")

#: What the catalogue calls the product of each layer.
_PRODUCTS = {"sysctl": "linux", "socket_option": "socket", "libpq": "libpq"}

_FILE_HEADS = {
    "sysctl": "# /etc/sysctl.d/90-tcp.conf, then: sysctl --system",
    "socket options": "# Python; other languages name the options the same",
    "libpq": "# pg_service.conf; or all in one line, with blanks between, as a connection string",
}


class _Setting(NamedTuple):
    """One line of one layer."""

    name: str
    value: int
    #: What the value alone does not say.
    remark: str = ""
    #: The chosen Linux has no such setting.
    is_missing: bool = False
    #: What an untouched Linux has, in the setting's own units; None: it differs, or is not known.
    default: float | None = None


def settings(parameters: Parameters) -> dict[str, str]:
    """Text to paste by layer: ``{"sysctl": …, "socket options": …, "libpq": …}``.

    A layer in which these parameters have no name is left out.
    """
    layers: dict[str, list[str]] = {
        "sysctl": list(_sysctl(parameters)),
        "socket options": list(_socket_options(parameters)),
        "libpq": list(_libpq(parameters)),
    }
    for layer, lines in parameters.lines_to_paste().items():
        layers[layer] += lines
    return {layer: "\n".join([_FILE_HEADS[layer], *lines]) + "\n" for layer, lines in layers.items() if lines}


def _sysctl(parameters: Parameters) -> Iterator[str]:
    for setting in _settings(parameters, "sysctl"):
        yield from _line(setting, f"{setting.name} = {setting.value}")
    if _keepalive_switch(parameters):
        yield "# tcp_keepalive_* count only for sockets on which the program has set SO_KEEPALIVE"


def _socket_options(parameters: Parameters) -> Iterator[str]:
    switch = _keepalive_switch(parameters)
    if switch is not None:
        text = f"sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, {switch})"
        default = _defaults("socket_option", parameters.linux)["SO_KEEPALIVE"]
        yield from _line(_Setting("SO_KEEPALIVE", switch, default=default), text)
    for setting in _settings(parameters, "socket_option"):
        level = "SOL_SOCKET" if setting.name.startswith("SO_") else "IPPROTO_TCP"
        yield from _line(setting, f"sock.setsockopt(socket.{level}, socket.{setting.name}, {setting.value})")


def _libpq(parameters: Parameters) -> Iterator[str]:
    switch = _keepalive_switch(parameters)
    if switch is not None:
        yield f"keepalives={switch}"
    for setting in _settings(parameters, "libpq"):
        yield from _line(setting, f"{setting.name}={setting.value}")


def _line(setting: _Setting, text: str) -> Iterator[str]:
    is_default = setting.default == setting.value
    remark = setting.remark or ("Linux's default" if is_default else "")
    if is_default or setting.is_missing:
        yield f"# {text}   ({remark})"
    else:
        yield from [f"# {remark}", text] if remark else [text]


def _settings(parameters: Parameters, layer: str) -> Iterator[_Setting]:
    """The settings of one layer: `sysctl`, `socket_option` or `libpq`, as the knob's field is called."""
    factors = {"sysctl": "sysctl_factor", "socket_option": "socket_factor", "libpq": "libpq_factor"}
    off = _keepalive_switch(parameters) == 0
    rules = release(parameters.linux)
    defaults = _defaults(layer, parameters.linux)
    for parameter, knob in _to_paste(parameters):
        name, value = getattr(knob, layer), getattr(parameters, parameter)
        if not name or (off and knob.socket_option in _KEEPALIVE):
            continue
        exact = value * getattr(knob, factors[layer])
        whole = math.ceil(exact)
        if knob.since and rules.older_than(knob.since):
            yield _Setting(name, whole, f"not in Linux {parameters.linux}: came with {knob.since}", True)
        else:
            remark = "" if exact == whole else f"{exact:g} rounded up: whole numbers only"
            yield _Setting(name, whole, remark, default=defaults.get(name))


def _defaults(layer: str, linux: str) -> dict[str, float]:
    """What an untouched Linux of a version has, by the names of a layer."""
    rules = release(linux)
    found: dict[str, float] = {"net.ipv4.tcp_tw_reuse": rules.tw_reuse, "net.core.somaxconn": rules.somaxconn}
    for each in find(product=_PRODUCTS[layer]):
        match each.effective.default:
            case int() | float() as number:
                found.setdefault(each.name, number)
            case None if each.purpose == "user timeout":
                found[each.name] = 0  # unset is off
    return found


def _to_paste(parameters: Parameters) -> list[tuple[str, Knob]]:
    return [(name, knob) for name, knob in parameters.knobs().items() if not knob.test_only]


def _keepalive_switch(parameters: Parameters) -> int | None:
    """1 or 0 for SO_KEEPALIVE; None where the parameters say nothing about it."""
    values: list[Any] = [
        getattr(parameters, name)
        for name, knob in parameters.knobs().items()
        if knob.socket_option == "TCP_KEEPIDLE"
    ]
    return int(any(values)) if values else None
