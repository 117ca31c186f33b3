"""Settings as people paste them, read line by line: what each line means, or why it is not used.

What is read is untrusted: nothing of it is run, the value of an unknown name is not kept, for it may be a
password, and one line that can't be read never loses the others.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl, unquote

from tcplab.advice.environment import DATABASES, checked_value
from tcplab.advice.products import of_product
from tcplab.advice.settings import value_of
from tcplab.core.catalogue import TIMES, Setting, catalogue, find, products
from tcplab.core.knobs import ParameterError
from tcplab.core.text import read_number

_NO_SIGNS = str.maketrans("", "", "-_ ")

#: What became of a line.
READ, NO_EFFECT, NOT_USED, SECRET = "read", "known, no effect", "not used", "secret, dropped"


@dataclass(frozen=True)
class ReadLine:
    """One setting of a pasted line."""

    #: The line in its file, from 1.
    number: int
    #: `READ`; `NO_EFFECT`: known, and nothing that ends or keeps a connection; `NOT_USED`; `SECRET`.
    verdict: str
    #: The setting's name as pasted.
    name: str
    #: ``product.name`` of the catalogue; empty: it has no such setting. And the value in the setting's own
    #: unit; None: none that the product would take.
    key: str = ""
    value: Any = None
    #: Why it is not used, one sentence.
    why: str = ""
    #: What can stand there instead, and would be read; empty: not known.
    correction: str = ""
    #: "url" in a URL, "variable" as an environment variable; empty: in a file or a program.
    form: str = ""


@dataclass(frozen=True)
class PastedFact:
    """Something that a pasted text says besides settings: a product, a host, a count."""

    #: "database", "driver", "pool", "proxy", "host", "port", "instances" or "backend" (a proxy's server).
    kind: str
    value: Any
    file: str
    number: int


@dataclass(frozen=True)
class ReadFile:
    """One file of a paste."""

    name: str
    lines: tuple[ReadLine, ...]
    facts: tuple[PastedFact, ...]

    def of(self, verdict: str) -> tuple[ReadLine, ...]:
        """The lines with this verdict."""
        return tuple(each for each in self.lines if each.verdict == verdict)

    @property
    def sentence(self) -> str:
        """``application.properties: 5 of 6 read; not used: idle-timeout (line 4: …).``"""
        read = len(self.of(READ)) + len(self.of(NO_EFFECT))
        said = f"{self.name}: {read} of {len(self.lines)} read"
        if unused := self.of(NOT_USED):
            some = "; ".join(f"{each.name}, line {each.number}: {each.why}" for each in unused[:5])
            said += f". Not used: {some.rstrip('.')}" + (" and others" if len(unused) > 5 else "")
        return said + "."


#: The longest paste, characters.
LONGEST = 1_000_000
#: A URL's scheme: the database, and the driver where the scheme says which.
_SCHEMES = {
    "jdbc:postgresql": ("postgresql", "pgjdbc"), "jdbc:mysql": ("mysql", "connector_j"),
    "jdbc:mysql+srv": ("mysql", "connector_j"), "jdbc:mariadb": ("mariadb", "mariadb_connector_j"),
    "jdbc:sqlserver": ("sqlserver", "mssql_jdbc"), "jdbc:oracle": ("oracle", "oracle_jdbc_thin"),
    "postgres": ("postgresql", ""), "postgresql": ("postgresql", ""),
    "postgresql+psycopg": ("postgresql", "psycopg"), "postgresql+psycopg2": ("postgresql", "libpq"),
    "postgresql+asyncpg": ("postgresql", "asyncpg"), "r2dbc:postgresql": ("postgresql", "r2dbc_postgresql"),
    "r2dbc:pool:postgresql": ("postgresql", "r2dbc_postgresql"),
    "mysql": ("mysql", ""), "mysql+pymysql": ("mysql", "pymysql"), "mysql+mysqldb": ("mysql", "mysqlclient"),
    "mysql+mysqlconnector": ("mysql", "mysql_connector_python"), "mariadb": ("mariadb", ""),
    "mariadb+pymysql": ("mariadb", "pymysql"), "redis": ("redis", ""), "rediss": ("redis", ""),
    "mongodb": ("mongodb", ""), "mongodb+srv": ("mongodb", ""), "sqlserver": ("sqlserver", ""),
    "mssql+pymssql": ("sqlserver", "pymssql"), "oracle+oracledb": ("oracle", "oracledb"),
}  # fmt: skip
_URL = re.compile(
    r"\b((?:jdbc:|r2dbc:(?:pool:)?)?[a-z][a-z0-9]*(?:\+[a-z0-9]+)?):(?:[a-z]+:)?(?:thin:)?(?://|@)[^\s\"'<>]*"
)
#: Go's data source names of MySQL: ``user:password@tcp(host:3306)/db?timeout=5s``.
_GO_DSN = re.compile(r"[^\s\"'`@]*@tcp\(([^)]*)\)/[^\s\"'`?]*(?:\?([^\s\"'`]*))?")
_SECRET = re.compile(r"passwo?r?d|^pwd$|secret|token|credential|api_?key|private_?key", re.IGNORECASE)
#: Names that say who and where: known, without effect on a connection's life.
_WHO = frozenset((
    "user", "username", "uid", "jdbcurl", "url", "driverclassname", "driver", "poolname", "host",
    "hostname", "hostaddr", "server", "port", "dbname", "database", "db", "datasource", "addr",
    "address", "applicationname", "name", "socket", "sslmode", "ssl", "encrypt", "charset", "timezone",
    "servertimezone", "usessl", "trustservercertificate", "initialcatalog", "encoding", "datadir",
    "listenaddr", "listenport", "listenaddresses", "authtype", "authfile", "adminusers", "poolmode",
    "bind", "logfile", "pidfile", "requirepass", "image", "kind", "apiversion", "userid",
    "databaseurl", "adapter",
))  # fmt: skip
_HOSTS = frozenset(("host", "hostname", "server", "hostaddr", "datasource", "addr", "address"))
#: What a file's name or a comment at its head says of its product.
_FILES = {
    "postgresql": "postgresql.conf", "mysql": "my.cnf", "pgbouncer": "pgbouncer.ini", "hikaricp": "HikariCP",
    "libpq": "libpq", "redis": "redis.conf", "oracle": "sqlnet.ora", "haproxy": "haproxy.cfg",
    "odyssey": "odyssey.conf", "pgpool": "pgpool.conf",
}  # fmt: skip
_SECTIONS = {
    "pgbouncer": "pgbouncer", "databases": "", "users": "", "peers": "", "maxscale": "maxscale",
    "mysqld": "mysql", "server": "mysql", "mariadb": "mysql", "mariadbd": "mysql",
}  # fmt: skip
_PREFIXES = re.compile(
    r"^(?:spring\.datasource\.|spring_datasource_|datasource\.)?(hikari|tomcat|dbcp2|druid|c3p0)[._]",
    re.IGNORECASE,
)
_OF_PREFIX = {
    "hikari": "hikaricp", "tomcat": "tomcat_jdbc", "dbcp2": "dbcp2", "druid": "druid", "c3p0": "c3p0",
}  # fmt: skip
_COMMENTS = ("#", ";", "!", "//", "--", "*", "/*", "<!--")
_SET = re.compile(r"^(?:alter\s+system\s+set|set\s+global|set\s+persist|config\s+set|set)\s+", re.IGNORECASE)
_DESCRIPTOR = re.compile(r"\(\s*(DESCRIPTION|ADDRESS|ENABLE|EXPIRE_TIME|\w*CONNECT_TIMEOUT)\b", re.IGNORECASE)
_SYSCTL = re.compile(r"-?((?:net|vm|kernel|fs)[./][\w./-]+)\s*=\s*(.*)")
_SYSCTL_ROOT = re.compile(r"(?:net|vm|kernel|fs)[./]")
_SYSCTL_HEAD = re.compile(r"^(?:sysctl\s+(?:-w\s+)?|--sysctl[ =]|-\s+)")
_HAPROXY_WORDS = (
    "clitcpka-idle", "clitcpka-intvl", "clitcpka-cnt", "srvtcpka-idle", "srvtcpka-intvl", "srvtcpka-cnt",
    "retries", "backlog",
)  # fmt: skip
_IN_SERVER_LINES = ("tcp-ut", "inter", "fall", "rise", "backlog")
_KEYWORDS = re.compile(r"(?:[\w.-]+\s*=\s*(?:'(?:[^'\\]|\\.)*'|[^\s,;(){}\"]+)\s*)+")
_KEYWORD = re.compile(r"([\w.-]+)\s*=\s*('(?:[^'\\]|\\.)*'|[^\s,;(){}\"]+)")
_PAIR = re.compile(
    r"""["']?([A-Za-z][\w.-]*(?:\ [A-Z][\w]*)*)["']?\s*(?::=|=>|[:=])"""
    r"""\s*("[^"]*"|'[^']*'|[^\s,;(){}]+(?:\s*\*\s*[\w.]+)?)"""
)
_CALL = re.compile(r"\.(\w+)\(\s*((?:[\w.*\s\"'-]|Duration\.of\w+\(\d+\))+?)\s*\)")
#: nginx's directives, of which a line may have several.
_DIRECTIVE = re.compile(r"\b([a-z]+(?:_[a-z]+)+)\s+([\w.]+)\s*;")
#: Lines of a program or a file that set nothing.
_HEADING = re.compile(
    r"(?:package|import|from|using|def|class|return|func|public|private|stream|upstream|update|select)\b"
    r"|[\w .\"'-]+:\s*$|\w+\s*=?\s*[\[{(]\s*$|(?:const|let|var)\b[^=]*=\s*\w+\(",
    re.IGNORECASE,
)
_PROGRAM_SIGNS = frozenset('({,`"')
_PROPERTY = re.compile(r"name\s*=\s*\"([\w.-]+)\"\s+value\s*=\s*\"([^\"]*)\"")
_PLAIN = re.compile(r"([\w.-]+)(?:\s*[=:|]\s*|\s+)(.*)")


def split(text: str, name: str = "pasted text") -> list[tuple[str, str]]:
    """The files of one paste: `## name`, `==> name <==` or `---` begin another; empty ones are left out."""
    files: list[tuple[str, list[str]]] = [(name, [])]
    for line in text.splitlines():
        if head := re.fullmatch(r"\s*(?:##\s+(\S*[./]\S*)|==>\s*(\S.*?)\s*<==|-{3,})\s*", line):
            files.append(((head[1] or head[2] or f"{name}, part {len(files) + 1}")[:80], []))
        else:
            files[-1][1].append(line)
    return [(name, "\n".join(lines)) for name, lines in files if any(line.strip() for line in lines)]


def read_file(name: str, text: str) -> ReadFile:
    """What one file says. Raises `ParameterError` where it is no text or too long."""
    if not isinstance(text, str):
        raise ParameterError("settings must be a text.")
    if len(text) > LONGEST:
        raise ParameterError(f"The pasted text has {len(text):,} characters: at most {LONGEST:,}.")
    reader = _Reader(name)
    for number, line in enumerate(text.splitlines(), 1):
        reader.line(number, line.strip())
    reader.flush()
    lines = sorted(reader.lines, key=lambda each: each.number)
    return ReadFile(name, tuple(lines), tuple(dict.fromkeys(reader.facts)))


@lru_cache(maxsize=1)
def _keys() -> frozenset[str]:
    return frozenset(f"{each.product.key}.{each.name}" for each in catalogue())


@lru_cache(maxsize=256)
def _names(product: str) -> Mapping[str, Setting]:
    """A product's settings by the names that its files may use."""
    return {_folded(product, each.name): each for each in find(product=product)}


#: Products whose URLs know a name in one spelling only.
_EXACT = ("pgjdbc", "connector_j", "mariadb_connector_j")


def _folded(product: str, name: str) -> str:
    """One form for names that a product treats as the same."""
    if product in _EXACT:
        return name
    return _plain(name)


@lru_cache(maxsize=256)
def _spelt(product: str) -> Mapping[str, str]:
    """The right spelling of a product's names, by their plain form."""
    return {_plain(each.name): each.name for each in _names(product).values()}


@lru_cache(maxsize=1)
def _marks() -> tuple[re.Pattern[str], Mapping[str, tuple[str, ...]]]:
    """A pattern of all products' marks, and the products of each."""
    of: dict[str, list[str]] = {}
    for product in products():
        for mark in product.marks:
            of.setdefault(mark, []).append(product.key)
    longest_first = sorted(of, key=len, reverse=True)
    pattern = "|".join(map(re.escape, longest_first)) or r"(?!)"
    return re.compile(pattern), {mark: tuple(keys) for mark, keys in of.items()}


@lru_cache(maxsize=1)
def _plain_names() -> Mapping[str, tuple[str, ...]]:
    """Products by the plain form of their settings' names: those with a file, or set in a program."""
    of: dict[str, list[str]] = {}
    for each in catalogue():
        if each.product.kind not in ("system", "box"):
            of.setdefault(_plain(each.name), []).append(each.product.key)
    return {name: tuple(dict.fromkeys(keys)) for name, keys in of.items()}


@lru_cache(maxsize=8192)
def _plain(name: str) -> str:
    """One form for a name in all of its spellings."""
    return name.translate(_NO_SIGNS).lower()


@lru_cache(maxsize=4096)
def _knows(name: str) -> tuple[str, ...]:
    """The products with a setting of this name."""
    return tuple(key for key in _plain_names().get(_plain(name), ()) if _folded(key, name) in _names(key))


#: A my.cnf counts for MySQL and MariaDB.
_ALSO = dict.fromkeys(("mysql", "mariadb"), ("mysql", "mariadb"))
#: So many unknown names of a file are compared with those that there are.
_MOST_COMPARED = 20
#: Where two products know as many of the names, the first of these is taken.
_FIRST = ("postgresql", "mysql", "pgbouncer", "hikaricp", "libpq", "redis", "oracle")


class _Reader:
    """Reads a file line by line; plain assignments wait until it is clear which product's they are."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: list[ReadLine] = []
        self.facts: list[PastedFact] = []
        self._waiting: list[tuple[int, str, str, bool]] = []
        #: The lines in which a product is marked, in order.
        self._marked: dict[str, list[int]] = {}
        #: The product of the file, by its name, section or head; None: not known yet.
        self._file: str | None = None
        self._entry = ""
        self._misspelt_count = 0
        self._form = ""
        for product, file in _FILES.items():
            if name.lower().rpartition("/")[2] == file.lower():
                self._file = product
        if name.lower().rpartition("/")[2] in ("mariadb.cnf", "mysqld.cnf", "50-server.cnf"):
            self._file = "mysql"
        self._named = self._file

    # -- one line ----------------------------------------------------------------------------

    def line(self, number: int, line: str) -> None:
        """One line, without the blanks around it."""
        if not line:
            return
        if line.startswith(_COMMENTS) and not line.startswith("--net"):
            self._comment(line)
            return
        for mark in set(_marks()[0].findall(line)):
            for product in _marks()[1][mark]:
                self._mark(number, product)
        line = self._urls(number, line)
        if line[:1] == "[" and (section := re.fullmatch(r"\[([\w.-]+)\]", line)):
            self.flush()
            self._file = _SECTIONS.get(section[1].lower().rstrip("0123456789.-"), "")
            return
        rules = (self._descriptor, self._sysctl, self._own_key, self._count, self._haproxy, self._properties)
        if not any(rule(number, line) for rule in rules):
            self._plain(number, line)

    def _mark(self, number: int, product: str) -> None:
        self._marked.setdefault(product, []).append(number)
        kind = of_product(product).kind
        if kind in ("database", "driver", "pool", "proxy"):
            self._fact(kind, product, number)

    def _fact(self, kind: str, value: Any, number: int) -> None:
        self.facts.append(PastedFact(kind, value, self.name, number))

    def _comment(self, line: str) -> None:
        """The head of a file may name the product, as in the texts written here."""
        for product, file in _FILES.items():
            if re.match(rf"(?:#|;|!|//)\s*(/\S*/)?{re.escape(file)}", line):
                self.flush()
                self._file = product

    def _urls(self, number: int, line: str) -> str:
        """Reads the URLs of a line, and returns the line without them."""
        if "@tcp(" in line:
            for dsn in _GO_DSN.finditer(line):
                self._fact("database", "mysql", number)
                self._mark(number, "go_sql_driver")
                self._host(number, dsn[1])
                self._query("go_sql_driver", dsn[2] or "", number)
            line = _GO_DSN.sub('""', line)
        if "://" in line or "jdbc:" in line:
            for url in _URL.finditer(line):
                self._url(number, url[1], url[0])
            line = _URL.sub('""', line)
        return line

    def _url(self, number: int, scheme: str, url: str) -> None:
        if scheme not in _SCHEMES:
            if scheme.startswith(("jdbc:", "r2dbc:")):
                self._unknown(number, scheme, "a URL of a database that is not known here")
            return
        database, driver = _SCHEMES[scheme]
        if database in DATABASES:
            self._fact("database", database, number)
        if driver and driver not in self._all():
            driver = ""
        if driver:
            self._fact("driver", driver, number)
        head, _, query = url.strip("\"',;").partition("?")
        if database == "sqlserver" and ";" in head:
            head, _, query = head.partition(";")
            query = query.replace(";", "&")
        rest = head.partition("//")[2].partition("/")[0]
        who, at, host = rest.rpartition("@")
        if at and ":" in who:
            self.lines.append(ReadLine(number, SECRET, "password in the URL"))
        for each in (host or head.rpartition("@")[2]).split(","):
            self._host(number, each)
        products_ = [driver] if driver else self._speakers(number, database)
        for product in products_[:1]:
            self._query(product, query, number)

    @staticmethod
    @lru_cache(maxsize=1)
    def _all() -> frozenset[str]:
        return frozenset(each.key for each in products())

    def _speakers(self, number: int, database: str) -> list[str]:
        """The drivers that a URL of this database may belong to: those marked, else the usual one."""
        marked = [key for key in self._marked if database in of_product(key).databases]
        pools = [
            driver
            for key in self._marked
            if of_product(key).kind == "pool"
            for driver in of_product(key).drivers
            if database in of_product(driver).databases and of_product(driver).language != "Java"
        ]
        usual = {"postgresql": "libpq", "mongodb": "pymongo"}.get(database, "")
        return [*marked, *pools, *([usual] if usual in self._all() else [])]

    def _host(self, number: int, text: str) -> None:
        host, _, port = text.strip("[]()").partition(":")
        if host and re.fullmatch(r"[\w.-]+", host):
            self._fact("host", host, number)
        if port.isdigit() and len(port) < 6:
            self._fact("port", int(port), number)

    def _query(self, product: str, query: str, number: int) -> None:
        for name, value in parse_qsl(query, keep_blank_values=True, max_num_fields=500):
            marked = [key for key in self._marked if _folded(key, name) in _names(key)]
            known = _folded(product, name) in _names(product)
            self._form = "url"
            self._take(product if known or not marked else marked[0], name, unquote(value), number)
            self._form = ""

    def _descriptor(self, number: int, line: str) -> bool:
        """A connect descriptor of Oracle Net, whole or a line of it."""
        if "(" not in line or not _DESCRIPTOR.search(line):
            return False
        self._fact("database", "oracle", number)
        for name, value in re.findall(r"\(\s*([\w.]+)\s*=\s*([^()\s]+)\s*\)", line):
            match name.upper(), value.upper():
                case "HOST", _:
                    self._host(number, value)
                case "PORT", _:
                    self._host(number, f":{value}")
                case "ENABLE", "BROKEN":
                    self._take("oracle", "ENABLE=BROKEN", "true", number)
                case "TRANSPORT_CONNECT_TIMEOUT", _:
                    self._take("oracle", "TCP.CONNECT_TIMEOUT", value, number)
                case "CONNECT_TIMEOUT", _:
                    self._take("oracle", "SQLNET.OUTBOUND_CONNECT_TIMEOUT", value, number)
                case "EXPIRE_TIME", _ if "oracledb" in self._all():
                    self._take("oracledb", "expire_time", value, number)
        return True

    def _sysctl(self, number: int, line: str) -> bool:
        match = None
        if _SYSCTL_ROOT.search(line):
            match = _SYSCTL.fullmatch(_SYSCTL_HEAD.sub("", line))
        if match:
            self._kernel(number, match[1], match[2].split("#")[0].strip().strip("\"'"))
        return bool(match)

    def _kernel(self, number: int, name: str, value: str) -> None:
        name = name.replace("/", ".")
        self._take("conntrack" if name.startswith("net.netfilter.") else "linux", name, value, number)

    def _own_key(self, number: int, line: str) -> bool:
        """``hikaricp.maxLifetime = 1800000``: product and name as in the catalogue."""
        key, _, value = line.partition("#")[0].rpartition("=")
        is_key = key.strip() in _keys()
        if is_key:
            product, _, name = key.strip().partition(".")
            self._setting(_names(product)[_folded(product, name)], name, value.strip(), number)
        return is_key

    def _count(self, number: int, line: str) -> bool:
        """How many instances there are, and the two lines of an environment variable of Kubernetes."""
        if not line.startswith(("-", "r", "i", "v")):
            return False
        if replicas := re.fullmatch(r"(?:-\s*)?(?:replicas|instances)\s*[:=]\s*(\d{1,6})\b.*", line):
            self._fact("instances", int(replicas[1]), number)
            self.lines.append(ReadLine(number, READ, "replicas", value=int(replicas[1])))
            return True
        if entry := re.fullmatch(r"-\s*name\s*:\s*[\"']?([\w./-]+)[\"']?", line):
            self._entry = entry[1]
            return True
        if self._entry and (value := re.fullmatch(r"value\s*:\s*(.*)", line)):
            name, self._entry = self._entry, ""
            self._named_value(number, name, _clean(value[1]))
            return True
        return False

    def _haproxy(self, number: int, line: str) -> bool:
        words = line.split()
        if (
            words[0] in ("server", "bind", "default-server")
            and len(words) > 1
            and not set("={") & set(words[1])
        ):
            if words[0] == "server" and len(words) > 2:
                self._fact("backend", words[2].partition(":")[0], number)
            for name, value in pairwise(words):
                if name in _IN_SERVER_LINES:
                    self._take("haproxy", name, value, number)
            return True
        if (
            words[0] in ("defaults", "listen", "frontend", "backend", "global")
            and "=" not in line
            and ":" not in line
        ):
            return True
        if words[0] == "timeout" and len(words) >= 3 and re.fullmatch(r"[a-z][a-z-]+", words[1]):
            self._take("haproxy", f"timeout {words[1]}", words[2], number)
            return True
        if words[0] == "option" or words[:2] == ["no", "option"]:
            for option in ("clitcpka", "srvtcpka"):
                if {option, "tcpka"} & set(words):  # tcpka is both at once
                    name = f"option {option}"
                    self._setting(
                        _names("haproxy")[_folded("haproxy", name)], name, str(words[0] == "option"), number
                    )
            return True
        if len(words) == 2 and words[0] in _HAPROXY_WORDS:
            self._take("haproxy", words[0], words[1], number)
            return True
        return False

    def _properties(self, number: int, line: str) -> bool:
        """XML: ``<property name="maxLifetime" value="540000"/>``."""
        found = _PROPERTY.findall(line) if "name" in line and '"' in line else []
        for name, value in found:
            self._named_value(number, name, value)
        return bool(found)

    def _plain(self, number: int, line: str) -> None:
        line = _SET.sub("", line.removeprefix("- "))
        if line.count("=") > 1 and len(_KEYWORD.findall(line)) > 1 and _KEYWORDS.fullmatch(line):
            if self._file == "":  # a database of PgBouncer
                for name, value in _KEYWORD.findall(line.partition("=")[2]):
                    if name == "host":
                        self._fact("backend", value.strip("'"), number)
                return
            for name, value in _KEYWORD.findall(line):  # libpq's keywords
                self._take(self._marked_for(number, name) or "libpq", name, value.strip("'"), number)
            return
        is_string = ";" in line and re.search(r"(?:^|[\"'])[\w ]+=[^;=]*;\s*[\w ]+=", line)
        if is_string and self._connection_string(number, line):
            return
        if directives := [each for each in _DIRECTIVE.findall(line) if _knows(each[0])]:
            for name, value in directives:
                self._named_value(number, name, value)
            return
        if _HEADING.match(line):
            return
        calls = [(name, value) for name, value in _CALL.findall(line) if self._is_setter(name)]
        for name, value in calls:
            name = name if _knows(name) else name[3:4].lower() + name[4:]
            self._named_value(number, name, _clean(value), is_program=True)
        pairs = _PAIR.findall(line) if _PROGRAM_SIGNS & set(line) else []
        if pairs and (len(pairs) > 1 or "(" in line or "{" in line):
            for name, value in pairs:
                self._named_value(number, name, _clean(value), is_program=True)
            return
        if calls:
            return
        match = _PLAIN.match(line)
        if not match:
            return  # punctuation of a program
        name, value = match[1], re.split(r"\s[#;]|\s//", f" {match[2]}")[0]
        if value.strip():  # else a heading
            self._named_value(number, name, _clean(value))

    @staticmethod
    def _is_setter(name: str) -> bool:
        """Whether a method sets something that is known: ``SetConnMaxLifetime``, ``setMaximumPoolSize``."""
        return bool(_knows(name) or (name[:3].lower() == "set" and _knows(name[3:])))

    def _connection_string(self, number: int, line: str) -> bool:
        """ADO.NET: ``Host=db;Keepalive=30;…``; the product that knows most of the names has it."""
        quoted = re.findall(r"[\"']([^\"']*=[^\"']*;[^\"']*=[^\"']*)[\"']", line)
        pairs = [part.partition("=") for part in (quoted or [line])[0].split(";") if "=" in part]
        names = [name.strip() for name, _, _ in pairs]
        marked = [key for key in self._marked if of_product(key).kind == "driver"]
        dotnet = [each.key for each in products() if each.language == ".NET" and each.kind == "driver"]
        known = {key: sum(_folded(key, name) in _names(key) for name in names) for key in (*marked, *dotnet)}
        if {_folded("", name) for name in names} & {"initialcatalog", "datasource"} and "sqlclient" in known:
            known["sqlclient"] += 1
        product = max(known, key=lambda key: known[key], default="")
        if not product or not known[product]:
            return False
        self._mark(number, product)
        for name, _, value in pairs:
            self._take(product, name.strip(), value.strip(), number)
        return True

    def _named_value(self, number: int, name: str, value: str, *, is_program: bool = False) -> None:
        """A name and its value, of a product that may not be known yet."""
        if _SYSCTL_ROOT.match(name) and _SYSCTL.fullmatch(f"{name} = {value}"):
            self._kernel(number, name, value)
        elif prefix := _PREFIXES.match(name):
            self._form = "variable" if name.isupper() else ""
            self._take(_OF_PREFIX[prefix[1].lower()], name[prefix.end() :], value, number)
            self._form = ""
        else:
            self._waiting.append((number, name, value, is_program))

    # -- which product -----------------------------------------------------------------------

    def _marked_for(self, number: int, name: str) -> str:
        """The product marked last before a line that knows a name, else the next one that does."""
        found: dict[str, tuple[bool, int]] = {}
        for product, lines in self._marked.items():
            if _folded(product, name) in _names(product):
                at = bisect_right(lines, number)
                found[product] = (at > 0, lines[at - 1] - number if at else number - lines[0])
        return max(found, key=lambda product: found[product], default="")

    def flush(self) -> None:
        """The waiting assignments belong to marked products, or to the one that knows most of them."""
        waiting, self._waiting = self._waiting, []
        product, self._file = self._file, self._named
        rest = []
        for number, name, value, is_program in waiting:
            found = "" if product else self._marked_for(number, name)
            if found:
                self._take(found, name, value, number)
            else:
                rest.append((number, name, value, is_program))
        if product is None:
            product = self._most([name for _, name, _, _ in rest])
        for number, name, value, is_program in rest:
            self._take(product, name, value, number, is_program=is_program)

    @staticmethod
    def _most(names: list[str]) -> str:
        """The product that knows most of the names; empty: none knows any."""
        known = Counter(product for name in names for product in _knows(name))
        order = {key: i for i, key in enumerate(reversed(_FIRST))}
        return max(known, key=lambda key: (known[key], order.get(key, -1)), default="")

    # -- one setting -------------------------------------------------------------------------

    def _take(self, product: str, name: str, text: str, number: int, *, is_program: bool = False) -> None:
        """A setting of a product, or why it is not used; a program's own variables are no settings."""
        folded = _plain(name)
        also = [key for key in _ALSO.get(product, (product,)) if key]
        known = [each for key in also if (each := _names(key).get(_folded(key, name)))]
        for each in known:
            self._setting(each, name, text, number)
        if known:
            return
        if _SECRET.search(name):
            self.lines.append(ReadLine(number, SECRET, name[:40]))
            return
        folded = folded.rpartition(".")[2]
        if folded in _WHO:
            self.lines.append(ReadLine(number, NO_EFFECT, name[:40]))
            if folded in _HOSTS:
                self._host(number, text.strip("\"'"))
            return
        self._misspelt(number, product, name, is_program)

    def _misspelt(self, number: int, product: str, name: str, is_program: bool) -> None:
        if not product and is_program:
            return
        if not product:
            self._unknown(number, name, "no product in the catalogue has a setting of this name")
            return
        of = _spelt(product)
        self._misspelt_count += 1
        near = [of[_plain(name)]] if _plain(name) in of else []
        if not near and self._misspelt_count <= _MOST_COMPARED:
            near = get_close_matches(name, of.values(), 1, 0.8)
        if is_program and not near:
            return
        title = of_product(product).title
        why = f"{title} has no such setting in the catalogue"
        self._unknown(number, name, f"{why}; did you mean {near[0]}?" if near else why, *near)

    def _unknown(self, number: int, name: str, why: str, correction: str = "") -> None:
        name = name[:40] if name.isprintable() else "?"
        self.lines.append(ReadLine(number, NOT_USED, name, why=f"{why.rstrip('.?')}.", correction=correction))

    def _setting(self, each: Setting, name: str, text: str, number: int) -> None:
        key = f"{each.product.key}.{each.name}"
        text = text.strip().strip("\"'")
        if text.lower() in ("none", "null", "undefined", "unset") and each.default is None:
            self.lines.append(ReadLine(number, NO_EFFECT, name, why="It is unset by default, too."))
            return
        try:
            value = checked_value(key, value_of(each, text))
        except ParameterError as refused:
            seconds = read_number(text, "s") if each.unit in TIMES else None
            whole = seconds is not None and 0 <= seconds < math.inf
            right = f"{name} = {each.own(seconds)}" if whole and seconds is not None else ""
            self.lines.append(ReadLine(number, NOT_USED, name, key, why=str(refused), correction=right))
            return
        effect = bool(each.roles) or each.product.key in ("linux", "conntrack") or each.purpose in _COUNTS
        verdict = READ if effect else NO_EFFECT
        self.lines.append(ReadLine(number, verdict, name, key, value, form=self._form))


#: Settings with these purposes have an effect on a connection's life, with a role or without.
_COUNTS = (
    "keepalive", "ping", "user timeout", "connect", "answer", "idle", "age", "borrow", "pool", "queue",
    "retry",
)  # fmt: skip


def _clean(text: str) -> str:
    """A value without what a program or a file has around it."""
    return text.strip().rstrip(",;").strip()
