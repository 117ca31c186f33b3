"""Settings as text: written to paste, by kind of file, and read as people paste them.

Changes of an advice and the parameters of an experiment go through one writer; every value in it is a
number or a word of the catalogue. What is read is untrusted: nothing of it is run, and an unknown name is
reported without its value, which may be a password.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from tcplab.advice.environment import checked_value, port_range
from tcplab.advice.products import SOMAXCONN, TW_REUSE
from tcplab.core.catalogue import APPLIES, TIMES, Setting, catalogue, find
from tcplab.core.knobs import ParameterError, Parameters
from tcplab.core.releases import release


class Entry(NamedTuple):
    """One line of a text to paste."""

    name: str
    value: Any
    #: What the value alone does not say: a comment above the line.
    remark: str = ""
    #: The line needs no pasting: a comment itself, with the remark in brackets.
    is_comment: bool = False


def _word(value: Any) -> str:
    """As files write it: true, not True."""
    return str(value).lower() if isinstance(value, bool) else f"{value}"


def _setsockopt(name: str, value: Any) -> str:
    level = "SOL_SOCKET" if name.startswith("SO_") else "IPPROTO_TCP"
    return f"sock.setsockopt(socket.{level}, socket.{name}, {value})"


def _haproxy(name: str, value: Any) -> str:
    if name.startswith("option "):
        return f"    {name}" if value else f"    no {name}"
    if name.startswith("tcp-ut"):
        return f"    # and on a bind line, for clients\n    default-server {name} {value}"
    return f"    {name} {value}"


class Kind(NamedTuple):
    """A kind of text: its first line, and how it writes a setting."""

    head: str
    line: str | Callable[[str, Any], str] = "{} = {}"
    comment: str = "#"


_SYSCTL = "# /etc/sysctl.d/90-tcp.conf"
KINDS = {
    "sysctl.d": Kind(f"{_SYSCTL} on the hosts of the application and the database, then: sysctl --system"),
    "postgresql.conf": Kind("# postgresql.conf"),
    "libpq url": Kind("# connection string of psql, psycopg and others; or each as a keyword of its own"),
    "jdbc": Kind("# JDBC URL"),
    "my.cnf": Kind("# my.cnf\n[mysqld]"),
    "redis.conf": Kind("# redis.conf", "{} {}"),
    "hikari": Kind("# HikariCP's properties; in Spring: spring.datasource.hikari.NAME", "{}={}"),
    # Seen with HAProxy 2.6 and PgBouncer 1.18: a second section of that name forgets all of the first.
    "haproxy": Kind(
        "# haproxy.cfg: into the defaults that are there; a second section would forget the first", _haproxy
    ),
    "pgbouncer": Kind(
        "; pgbouncer.ini: into the section that is there; a second section would forget the first",
        comment=";",
    ),
    "sqlnet.ora": Kind("# sqlnet.ora on the database's host"),
    "program": Kind("# in the program itself, by these names"),
    "sysctl": Kind(f"{_SYSCTL}, then: sysctl --system"),
    "socket options": Kind("# Python; other languages name the options the same", _setsockopt),
    "libpq": Kind(
        "# pg_service.conf; or all in one line, with blanks between, as a connection string", "{}={}"
    ),
}


def write(kind: str, entries: Iterable[Entry | str]) -> str:
    """The text of one kind; a `str` is a line as it is. A remark is written once for all that share it."""
    head, line, comment = KINDS[kind]
    lines, last = [head], ""
    for entry in entries:
        if isinstance(entry, str):
            lines.append(entry)
            continue
        name, value, remark, is_comment = entry
        text = line.format(name, _word(value)) if isinstance(line, str) else line(name, value)
        if is_comment:
            lines.append(f"{comment} {text}   ({remark})")
            continue
        if remark and remark != last:
            lines.append(f"{comment} {remark}")
        lines.append(text)
        last = remark
    return "\n".join(lines) + "\n"


#: Which file has a product's settings. A product that is missing here is set in the program itself.
FILES = {
    "linux": "sysctl.d", "postgresql": "postgresql.conf", "libpq": "libpq", "pgjdbc": "jdbc",
    "connector_j": "jdbc", "mariadb_connector_j": "jdbc", "mysql": "my.cnf", "mariadb": "my.cnf",
    "redis": "redis.conf", "hikaricp": "hikari", "haproxy": "haproxy", "pgbouncer": "pgbouncer",
    "oracle": "sqlnet.ora",
}  # fmt: skip
PROGRAM = "program"
#: A setting of Oracle's that is part of a connect descriptor.
_IN_PROGRAM = {"oracle.ENABLE=BROKEN"}
_URLS = {
    "libpq": "postgresql:", "pgjdbc": "jdbc:postgresql:", "connector_j": "jdbc:mysql:",
    "mariadb_connector_j": "jdbc:mariadb:",
}  # fmt: skip


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
        """Who may change it: the first that the catalogue names."""
        return self.setting.who[0] if self.setting.who else ""

    @property
    def file(self) -> str:
        """The kind of file that has it."""
        return PROGRAM if self.key in _IN_PROGRAM else FILES.get(self.setting.product.key, PROGRAM)

    @property
    def unit(self) -> str:
        """The unit of a time as it follows the number; empty: no time."""
        return f" {self.setting.unit}" if self.setting.unit in TIMES else ""

    @property
    def sentence(self) -> str:
        """The change in one line."""
        was = "unset" if self.was is None else f"{self.was}{self.unit}"
        seconds = f" ({self.seconds:g} s)" if self.seconds is not None and self.setting.unit != "s" else ""
        change = f"{self.setting.name} = {self.value}{self.unit}{seconds}, was {was}"
        applies = APPLIES[self.setting.applies]
        return f"{self.setting.product.title}: {change}; {applies}. Inequality {self.reason}."


def texts(changes: Sequence[Change]) -> dict[str, str]:
    """Text to paste by kind of file, for the kinds that have a change."""
    kinds = dict.fromkeys((*FILES.values(), PROGRAM))
    files = {kind: [each for each in changes if each.file == kind] for kind in kinds}
    return {
        kind: _url(kind, own) if kind in ("libpq", "jdbc") else write(kind, map(_entry, own))
        for kind, own in files.items()
        if own
    }


def _entry(change: Change) -> Entry:
    name, value, unit = change.setting.name, change.value, change.unit.strip()
    if change.file == PROGRAM:
        name, value = change.key, f"{_word(value)}   # {unit}" if unit else value
    elif change.file == "haproxy" and unit:
        value = f"{value}{unit}"
    return Entry(name, value, f"{change.reason}; {APPLIES[change.setting.applies]}")


def _url(kind: str, changes: Sequence[Change]) -> str:
    """The reasons, and a URL for each product with its settings as parameters."""
    lines = [f"# {c.setting.name} = {_word(c.value)}{c.unit}: {c.reason}" for c in changes]
    for product in dict.fromkeys(change.setting.product.key for change in changes):
        own = (change for change in changes if change.setting.product.key == product)
        query = "&".join(f"{change.setting.name}={_word(change.value)}" for change in own)
        lines.append(f"{_URLS[product]}//HOST/DATABASE?{query}")
    return write("libpq url" if kind == "libpq" else kind, lines)


#: Options that only count on a socket with SO_KEEPALIVE.
_KEEPALIVE = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
#: By the knob's field with the setting's name: the kind of text, the catalogue's product, the factor's field.
_LAYERS = {
    "sysctl": ("sysctl", "linux", "sysctl_factor"),
    "socket_option": ("socket options", "socket", "socket_factor"),
    "libpq": ("libpq", "libpq", "libpq_factor"),
}


def settings(parameters: Parameters) -> dict[str, str]:
    """An experiment's parameters to paste, by layer: ``{"sysctl": …, "socket options": …, "libpq": …}``.

    A layer in which these parameters have no name is left out. Parameters that exist only for an
    experiment are never written; what is Linux's default anyway becomes a comment.
    """
    entries = {kind: _layer(parameters, layer) for layer, (kind, _, _) in _LAYERS.items()}
    for kind, lines in parameters.lines_to_paste().items():
        entries[kind] += lines
    return {kind: write(kind, lines) for kind, lines in entries.items() if lines}


def _layer(parameters: Parameters, layer: str) -> list[Entry | str]:
    """The settings of one layer, by the knob's field that has their names."""
    _, product, factor = _LAYERS[layer]
    rules, defaults = release(parameters.linux), _defaults(product, parameters.linux)
    knobs = {name: knob for name, knob in parameters.knobs().items() if not knob.test_only}
    idle = [getattr(parameters, name) for name, knob in knobs.items() if knob.socket_option in _KEEPALIVE[:1]]
    made: list[Entry | str] = []
    if idle and layer == "libpq":
        made.append(f"keepalives={int(any(idle))}")
    elif idle and layer == "socket_option":
        made.append(_or_default(Entry("SO_KEEPALIVE", int(any(idle))), defaults))
    for parameter, knob in knobs.items():
        name = getattr(knob, layer)
        if not name or (idle and not any(idle) and knob.socket_option in _KEEPALIVE):
            continue
        exact = getattr(parameters, parameter) * getattr(knob, factor)
        whole = math.ceil(exact)
        if knob.since and rules.older_than(knob.since):
            remark = f"not in Linux {parameters.linux}: came with {knob.since}"
            made.append(Entry(name, whole, remark, is_comment=True))
        else:
            remark = "" if exact == whole else f"{exact:g} rounded up: whole numbers only"
            made.append(_or_default(Entry(name, whole, remark), defaults))
    if any(idle) and layer == "sysctl":
        made.append("# tcp_keepalive_* count only for sockets on which the program has set SO_KEEPALIVE")
    return made


def _or_default(entry: Entry, defaults: Mapping[str, float]) -> Entry:
    """A comment where it is the default anyway."""
    if defaults.get(entry.name) != entry.value:
        return entry
    return entry._replace(remark=entry.remark or "Linux's default", is_comment=True)


def _defaults(product: str, linux: str) -> dict[str, float]:
    """The defaults of a Linux version, by the names of a layer's product."""
    rules = release(linux)
    defaults: dict[str, float] = {TW_REUSE: rules.tw_reuse, SOMAXCONN: rules.somaxconn}
    for each in find(product=product):
        match each.effective.default:
            case int() | float() as number:
                defaults.setdefault(each.name, number)
            case None if each.purpose == "user timeout":
                defaults[each.name] = 0  # unset is off
    return defaults


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
#: Names in the same files that are never reported as unknown.
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


class Pasted(dict[str, Any]):
    """What was read: ``{"hikaricp.maxLifetime": 1800000}``, values in the settings' own units."""

    def __init__(self, values: Mapping[str, Any], unknown: Iterable[str]) -> None:
        super().__init__(values)
        #: Names that the catalogue does not have.
        self.unknown = tuple(unknown)

    @property
    def sentence(self) -> str:
        """What was read and what was not."""
        if not self and not self.unknown:
            return "There is no setting in this text."
        names = ", ".join(dict.fromkeys(key.partition(".")[2] for key in self))
        said = f"Read: {names}." if names else "No setting of the catalogue is in this text."
        if self.unknown:
            some = ", ".join(self.unknown[:8]) + (" and others" if len(self.unknown) > 8 else "")
            said += f" Not known here, and left out: {some}."
        return said


#: What products write after a number, in seconds.
_POSTGRESQL = {"us": 1e-6, "ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_HAPROXY = {"us": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
#: By product; the others take bare numbers only.
_UNITS = {"postgresql": _POSTGRESQL, "haproxy": _HAPROXY}
#: PgBouncer's times may be fractions of a second (doc/config.md).
_FRACTIONS = ("pgbouncer", "psycopg_pool", "sqlalchemy")
_YES = dict.fromkeys(("true", "on", "yes", "1"), True)
_YES |= dict.fromkeys(("false", "off", "no", "0"), False)


def _value_of(setting: Setting, text: str) -> Any:
    """A text as the product reads it, in the setting's own unit. Raises `ParameterError`."""
    name = f"{setting.product.title}: {setting.name}"
    if isinstance(setting.default, bool) or setting.unit == "switch":
        if text.lower() not in _YES:
            raise ParameterError(f"{name} = {text[:20]!r} is neither on nor off.")
        is_on = _YES[text.lower()]
        return is_on if isinstance(setting.default, bool) else int(is_on)
    if setting.is_text:
        if setting.name.endswith("ip_local_port_range"):
            return port_range(name, text)
        return int(text) if re.fullmatch(r"\d{1,6}", text) else text[:200]
    units = _UNITS.get(setting.product.key, {}) if setting.unit in TIMES else {}
    match = re.fullmatch(r"(-?\d+(?:\.\d+)?)\s*([a-zA-Z]*)", text)
    right = f"a number of {setting.unit}" + (f", or with {', '.join(units)}" if units else "")
    if not match or len(text) > 40 or (match[2] and match[2] not in units):
        raise ParameterError(f"{name} = {text[:20]!r} can't be read: it takes {right}.")
    number = float(match[1])
    if match[2]:
        number = round(number * units[match[2]] / TIMES[setting.unit], 6)
        # PostgreSQL rounds to the setting's own unit (guc.c:parse_int); HAProxy rounds up.
        number = round(number) if setting.product.key == "postgresql" else math.ceil(number)
    if number != int(number) and setting.product.key not in _FRACTIONS:
        raise ParameterError(f"{name} = {text[:20]!r} can't be read: it takes {right}, a whole one.")
    return int(number) if number == int(number) else number


def read_settings(text: str) -> Pasted:
    """The settings of the catalogue in a pasted text, of one file or of several below each other.

    Knows JDBC URLs (PostgreSQL, MySQL, MariaDB), libpq's URIs and keywords, HikariCP's properties
    (Spring's, too), sysctl.d, pgbouncer.ini, my.cnf, postgresql.conf, redis.conf, sqlnet.ora and
    HAProxy's timeouts. A my.cnf counts for MySQL and MariaDB. The last value of a setting counts.
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
    return Pasted(reader.values, dict.fromkeys(reader.unknown))


@lru_cache(maxsize=1)
def _keys() -> frozenset[str]:
    return frozenset(f"{each.product.key}.{each.name}" for each in catalogue())


def _names(product: str) -> dict[str, Setting]:
    """A product's settings by the names that its files may use."""
    return {_folded(product, each.name): each for each in find(product=product)}


def _folded(product: str, name: str) -> str:
    """One form for names that a product treats as the same."""
    if product == "hikaricp":
        return name.replace("-", "").replace("_", "").lower()
    if product in ("mysql", "mariadb"):
        return name.replace("-", "_").lower()
    return name if product in ("pgjdbc", "connector_j", "mariadb_connector_j") else name.lower()


class _Reader:
    """Reads line by line; plain assignments wait until it is clear which product's they are."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.unknown: list[str] = []
        self._waiting: list[tuple[str, str]] = []
        #: The product of the file, by its section or head; None: not known yet.
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
        """The waiting assignments belong to one file: that of the product which knows most of them."""
        waiting, self._waiting = self._waiting, []
        product, self._file = self._file, None
        if not waiting:
            return
        if product is None:
            known = {each: sum(_folded(each, name) in _names(each) for name, _ in waiting) for each in _FILES}
            product = max(known, key=lambda each: known[each]) if any(known.values()) else ""
        for name, value in waiting:
            self._take(product, name, value)

    def _comment(self, line: str) -> None:
        """The head of a file may name the product, as in the texts written here."""
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
        match = re.fullmatch(r"-?((?:net|vm|kernel|fs)[./]\S+?)\s*=\s*(.*)", line)
        if match:
            name = match[1].replace("/", ".")
            product = "conntrack" if name.startswith("net.netfilter.") else "linux"
            self._take(product, name, match[2].split("#")[0].strip())
        return bool(match)

    def _own_key(self, line: str) -> bool:
        """``hikaricp.maxLifetime = 1800000``: product and name as in the catalogue."""
        key, _, value = line.partition("#")[0].rpartition("=")
        is_key = key.strip() in _keys()
        if is_key:
            product, _, name = key.strip().partition(".")
            self._take(product, name, value.strip())
        return is_key

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
        if words[0] == "option" or words[:2] == ["no", "option"]:
            for option in ("clitcpka", "srvtcpka"):
                if {option, "tcpka"} & set(words):  # tcpka is both at once
                    self.values[f"haproxy.option {option}"] = words[0] == "option"
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
        match = re.match(r"([\w.-]+)(?:\s*[=:]\s*|\s+)(.*)", line)
        if not match:
            self.unknown.append(re.split(r"[\s=:]", line)[0][:40])
            return
        name, value = match[1], re.split(r"\s[#;]", f" {match[2]}")[0].strip()
        if _SPRING.match(name) or name.startswith("spring."):
            self._take("hikaricp", _SPRING.sub("", name), value)
        else:
            self._waiting.append((name, value))

    def _take(self, product: str, name: str, text: str) -> None:
        products = ("mysql", "mariadb") if product in ("mysql", "mariadb") else (product,) if product else ()
        known = [each for p in products if (each := _names(p).get(_folded(p, name)))]
        for each in known:
            key = f"{each.product.key}.{each.name}"
            self.values[key] = checked_value(key, _value_of(each, text.strip("\"'")))
        is_silent = name.lower() in _SILENT or name.lower().endswith("password")
        if not known and not is_silent:
            self.unknown.append(name[:40] if name.isprintable() else "?")
