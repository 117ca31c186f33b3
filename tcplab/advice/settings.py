"""Settings as text to paste, by kind of file.

Changes of an advice and the parameters of an experiment go through one writer; every value in it is a
number or a word of the catalogue. `value_of` reads a value as its
product does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tcplab.advice.environment import port_range
from tcplab.advice.products import SOMAXCONN, TW_REUSE
from tcplab.core.catalogue import APPLIES, TIMES, Setting, find
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
        "# haproxy.cfg: into the defaults that are there; a second section would replace the first", _haproxy
    ),
    "pgbouncer": Kind(
        "; pgbouncer.ini: into the section that is there; a second section would replace the first",
        comment=";",
    ),
    "sqlnet.ora": Kind("# sqlnet.ora on the database's host"),
    "program": Kind("# by product: in the program or in its file, by these names"),
    "sysctl": Kind(f"{_SYSCTL}, then: sysctl --system"),
    "socket options": Kind("# Python; other languages use the same names", _setsockopt),
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
        made.append("# tcp_keepalive_* apply only to sockets on which the program has set SO_KEEPALIVE")
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


#: What products write after a number, in seconds.
_POSTGRESQL = {"us": 1e-6, "ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_HAPROXY = {"us": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_GO = {"ns": 1e-9, "us": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
#: By the word that the catalogue has for how a product writes a time; the others take bare numbers only.
_UNITS = {"postgresql": _POSTGRESQL, "letters": _HAPROXY, "go": _GO, "iso": {}}
#: PgBouncer's times may be fractions of a second (doc/config.md); so may those of Python.
_FRACTIONS = ("pgbouncer",)
_YES = dict.fromkeys(("true", "on", "yes", "1"), True)
_YES |= dict.fromkeys(("false", "off", "no", "0"), False)
_GO_TIME = re.compile(r"(?:([\d.]+)\s*\*\s*)?time\.(Millisecond|Second|Minute|Hour)(?:\s*\*\s*([\d.]+))?")
_GO_WORDS = {"Millisecond": 0.001, "Second": 1.0, "Minute": 60.0, "Hour": 3600.0}
_JAVA_TIME = re.compile(r"Duration\.of(Millis|Seconds|Minutes|Hours)\((\d{1,9})\)")
_JAVA_WORDS = {"Millis": 0.001, "Seconds": 1.0, "Minutes": 60.0, "Hours": 3600.0}
_ISO = re.compile(r"P(?:(\d+)D)?T?(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?")


def value_of(setting: Setting, text: str) -> Any:
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
    style = setting.product.times
    units = _UNITS.get(style, {}) if setting.unit in TIMES else {}
    right = f"a number of {setting.unit}" + (f", or with {', '.join(units)}" if units else "")
    number = _number(setting, style, text, units)
    if number is None:
        raise ParameterError(f"{name} = {text[:20]!r} can't be read: it takes {right}.")
    fractions = setting.product.key in _FRACTIONS or setting.product.language == "Python"
    if number != int(number) and not fractions:
        raise ParameterError(f"{name} = {text[:20]!r} can't be read: it takes {right}, a whole one.")
    return int(number) if number == int(number) else number


def _number(setting: Setting, style: str, text: str, units: Mapping[str, float]) -> float | None:
    """A number in the setting's unit; None: it is none."""
    if len(text) > 40:
        return None
    one = TIMES.get(setting.unit, 1)
    if style == "go" and (words := _GO_TIME.fullmatch(text)):
        return round(float(words[1] or words[3] or 1) * _GO_WORDS[words[2]] / one, 6)
    if setting.product.language == "Java" and (words := _JAVA_TIME.fullmatch(text)):
        return round(float(words[2]) * _JAVA_WORDS[words[1]] / one, 6)
    if style == "iso" and len(text) > 2 and (parts := _ISO.fullmatch(text)):
        seconds = sum(
            float(part or 0) * each for part, each in zip(parts.groups(), (86_400, 3600, 60, 1), strict=True)
        )
        return round(seconds / one, 6)
    text = text.removesuffix("L").removesuffix("l").replace("_", "") if text[:1].isdigit() else text
    if product := re.fullmatch(r"(\d{1,9})\s*\*\s*(\d{1,9})(?:\s*\*\s*(\d{1,9}))?", text):
        return math.prod(int(part) for part in product.groups() if part)
    match = re.fullmatch(r"(-?\d+(?:\.\d+)?)\s*([a-zA-Z]*)", text)
    if not match or (match[2] and match[2] not in units):
        return None
    number = float(match[1])
    if match[2]:
        number = round(number * units[match[2]] / one, 6)
        # PostgreSQL rounds to the setting's own unit (guc.c:parse_int); HAProxy rounds up.
        number = round(number) if style == "postgresql" else math.ceil(number)
    return number
