"""Settings as people paste them: JDBC URLs, libpq strings, properties, ini and conf files.

The text is untrusted: nothing of it is run, and what is not known is named but its value never shown,
for it may be a password.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl

from tcplab.advice.environment import checked_value
from tcplab.advice.units import value_of
from tcplab.catalogue import Setting, catalogue, find
from tcplab.knobs import ParameterError

_LONGEST = 1_000_000
_JDBC = {
    "postgresql": "pgjdbc", "mysql": "connector_j", "mysql+srv": "connector_j",
    "mariadb": "mariadb_connector_j",
}  # fmt: skip
_SECTIONS = {
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
            self._file = _SECTIONS.get(section[1].lower().rstrip("0123456789.-"), "")
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
