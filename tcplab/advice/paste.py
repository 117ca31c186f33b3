"""What pasted files say together: settings, products, hosts and counts, and where they contradict each other.

`read` takes texts and gives a `PasteReading`: every line with what became of it, the environment that they
describe, and the conflicts, each with its choices. The what-if form, the command line and the tests use it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from tcplab.advice.environment import (
    DATABASES,
    DRIVERS_OF,
    POOLS,
    PROXIES,
    Environment,
    Leg,
    known_middleboxes,
)
from tcplab.advice.products import AGE, CLIENTS, PING, InForce, of_product, title
from tcplab.advice.reading import LONGEST, NOT_USED, ReadFile, ReadLine, read_file, split
from tcplab.core.catalogue import products
from tcplab.core.knobs import ParameterError
from tcplab.core.text import listed, plural

#: Kinds of conflicts: the same setting twice; a setting that does nothing as long as another has its value;
#: the host of a sysctl file is not known; product and port, or products, do not fit.
TWICE, IDLE, WHOSE, PORT = "twice", "no effect", "whose", "port"


@dataclass(frozen=True)
class ConflictChoice:
    """One way to settle a conflict."""

    label: str
    #: Settings to set; None removes one. And other fields of the environment.
    settings: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)

    def on(self, environment: Environment) -> Environment:
        """The environment with it. Raises `ParameterError` where it can't be."""
        settings = {**environment.settings, **self.settings}
        kept = {key: value for key, value in settings.items() if value is not None}
        return replace(environment, settings=kept, **self.fields)


@dataclass(frozen=True)
class Conflict:
    """Two things in a paste that can't both be meant."""

    #: `TWICE`, `IDLE`, `WHOSE` or `PORT`.
    kind: str
    #: What contradicts what, one sentence.
    sentence: str
    choices: tuple[ConflictChoice, ...]
    #: The choice that the environment has: what the product itself would do. And why.
    taken: int = 0
    why: str = ""


@dataclass(frozen=True)
class PasteReading:
    """What a paste says."""

    files: tuple[ReadFile, ...]
    #: With everything that was read; where nothing was said it is as before.
    environment: Environment
    #: The environment's fields that the paste sets; a setting is ``settings``.
    found: tuple[str, ...]
    conflicts: tuple[Conflict, ...]

    @property
    def lines(self) -> tuple[ReadLine, ...]:
        """The lines of all files."""
        return tuple(line for file in self.files for line in file.lines)

    @property
    def settings(self) -> Mapping[str, Any]:
        """What was read, ``product.name`` to a value in the setting's own unit; the taken one of two."""
        return {line.key: self.environment.settings[line.key] for line in _valued(self.files)}

    @property
    def sentence(self) -> str:
        """Everything in a few sentences."""
        if not self.files:
            return "There is no setting in this text."
        said = " ".join(file.sentence for file in self.files)
        count = len(self.conflicts)
        return f"{said} {plural(count, 'conflict')} to settle." if count else said


def _valued(files: Iterable[ReadFile]) -> Iterator[ReadLine]:
    return (line for file in files for line in file.lines if line.key and line.value is not None)


#: What a host's name says: a middlebox or a managed service, by its key in the catalogue.
_HOSTS = tuple(
    (re.compile(pattern, re.IGNORECASE), kind, key)
    for pattern, kind, key in (
        (r"\.elb\.[a-z0-9-]+\.amazonaws\.com(\.cn)?$", "middlebox", "aws_nlb"),
        (r"\.proxy-[a-z0-9]+\.[a-z0-9-]+\.rds\.amazonaws\.com(\.cn)?$", "middlebox", "rds_proxy"),
        (r"\.rds\.amazonaws\.com(\.cn)?$", "managed", "rds"),
        (r"\.database\.azure\.com$", "managed", "azure"),
        (r"\.aivencloud\.com$", "managed", "aiven"),
        (r"\.vpce\.amazonaws\.com$", "middlebox", "aws_privatelink"),
        (r"\.svc(\.cluster\.local)?$", "middlebox", "kube_proxy"),
    )
)


def read(texts: str | Mapping[str, str], start: Environment | None = None) -> PasteReading:
    """What one paste or several files, by name, say.

    What they don't say is as in `start`. Raises `ParameterError` where something is no text, or too long.
    """
    named = {"pasted text": texts} if isinstance(texts, str) else texts
    if not isinstance(named, Mapping):
        raise ParameterError("texts must be a text, or an object with names and texts.")
    if any(not isinstance(text, str) for text in named.values()):
        raise ParameterError("settings must be a text.")
    if (length := sum(map(len, named.values()))) > LONGEST:
        raise ParameterError(f"The pasted text has {length:,} characters: at most {LONGEST:,}.")
    files = tuple(read_file(*part) for name, text in named.items() for part in split(text, name))
    twice = tuple(_twice(files))
    settings = {line.key: line.value for line in _valued(files)}
    for conflict in twice:
        settings |= conflict.choices[conflict.taken].settings
    builder = _Builder(start or Environment(), files, settings)
    environment = builder.environment()
    conflicts = (*twice, *_idle(environment), *_whose(environment, files), *builder.conflicts)
    return PasteReading(files, environment, tuple(builder.found), conflicts)


class _Builder:
    """The environment of a paste, field by field."""

    def __init__(self, start: Environment, files: tuple[ReadFile, ...], settings: Mapping[str, Any]) -> None:
        self.start, self.files, self.settings = start, files, dict(settings)
        self.facts = [fact for file in files for fact in file.facts]
        self.found: list[str] = []
        self.conflicts: list[Conflict] = []
        self._of = {key.partition(".")[0] for key in settings}

    def _said(self, kind: str) -> list[Any]:
        return list(dict.fromkeys(fact.value for fact in self.facts if fact.kind == kind))

    def environment(self) -> Environment:
        """Everything that was read, in one environment."""
        start, database = self.start, self._database()
        values: dict[str, Any] = {"database": database, "pool": self._pool(database)}
        values["driver"] = self._driver(database, values["pool"])
        values["proxies"] = self._proxies(database)
        if not values["pool"] and values["driver"] in POOLS and values["driver"] != start.driver:
            values["pool"] = values["driver"]
        if values["driver"] == "psycopg":  # it hands libpq's keywords on
            own = {key.replace("libpq.", "psycopg.", 1): value for key, value in self.settings.items()}
            self.settings |= {key: own[key] for key in own if key.startswith("psycopg.")}
        values["legs"] = self._legs(database, values["proxies"])
        values["settings"] = {**start.settings, **self.settings}
        if instances := self._said("instances"):
            values["instances"] = max(1, *instances)
        if database != start.database:
            values["managed"] = ""
            values["longest_silent_query_s"] = None
        for key in (key for kind, key in self._hosts() if kind == "managed"):
            if key in of_product(database).managed:
                values["managed"] = key
        whose = {_host_of(file.name) for file in self.files if _sysctls(file)}
        if len(whose) == 1 and (host := whose.pop()):
            values["linux_host"] = host
        self.found += [name for name, value in values.items() if value != getattr(start, name)]
        made = replace(start, **values)
        size = InForce(made).pool_size()
        if size != made.pool_size:
            self.found.append("pool_size")
            made = replace(made, pool_size=size)
        self._ports(made)
        return made

    def _database(self) -> str:
        said = [each for each in self._said("database") if each in DATABASES]
        both = {"mysql", "mariadb"}  # a my.cnf is of both
        said += [key for key in DATABASES if key in self._of - (both if both <= self._of else set())]
        if both <= self._of:
            said.append("mariadb" if self.start.database == "mariadb" else "mysql")
        drivers = [*self._said("driver"), *(key for key in self._of if of_product(key).kind == "driver")]
        said += [base for key in drivers for base in of_product(key).databases[:1]]
        proxies = [key for key in sorted(self._of) if of_product(key).kind == "proxy"]
        said += [base for key in proxies for base in of_product(key).databases[:1]]
        return said[0] if said else self.start.database

    def _pool(self, database: str) -> str:
        said = [key for key in (*self._said("pool"), *sorted(self._of)) if of_product(key).kind == "pool"]
        fits = [key for key in said if key in POOLS]
        return fits[0] if fits else self.start.pool if database == self.start.database else ""

    def _driver(self, database: str, pool: str) -> str:
        of = DRIVERS_OF[database]
        said = [key for key in (*self._said("driver"), *sorted(self._of)) if key in of]
        said = [key for key in said if key != database or key not in self._said("driver")] or said
        if said:
            return said[0]
        if self.start.driver in of and (not pool or self.start.driver in of_product(pool).drivers):
            return self.start.driver
        fits = [key for key in of_product(pool).drivers if key in of] if pool else []
        return fits[0] if fits else self.start.driver if self.start.driver in of else of[0]

    def _proxies(self, database: str) -> tuple[str, ...]:
        said = [key for key in (*self._said("proxy"), *PROXIES) if key in PROXIES]
        known = {*self._said("proxy"), *self._of}
        fits = [
            key
            for key in dict.fromkeys(said)
            if key in known and (not of_product(key).databases or database in of_product(key).databases)
        ]
        if not fits and database == self.start.database:
            return self.start.proxies
        # HAProxy is in front of PgBouncer more often than behind it.
        return tuple(sorted(fits, key=lambda key: not of_product(key).relays))

    def _hosts(self) -> list[tuple[str, str]]:
        hosts = [*self._said("host"), *self._said("backend")]
        found = []
        for host in hosts:
            says = next(((kind, key) for pattern, kind, key in _HOSTS if pattern.search(host)), None)
            if says and says not in found:
                found.append(says)
        return found

    def _legs(self, database: str, proxies: tuple[str, ...]) -> tuple[Leg, ...]:
        old = self.start.legs
        if proxies == self.start.proxies and database == self.start.database:
            legs = list(old)
        else:
            ends = ["application", *(title(each) for each in (*proxies, database))]
            legs = [Leg(f"{a} to {b}") for a, b in pairwise(ends)]
            legs[0] = replace(legs[0], middleboxes=old[0].middleboxes)
        behind = {fact.value for fact in self.facts if fact.kind == "backend"}
        for host in (*self._said("host"), *behind):
            for pattern, kind, key in _HOSTS:
                if pattern.search(host):
                    self._place(legs, kind, key, len(legs) - 1 if host in behind else 0)
                    break
        return tuple(legs)

    @staticmethod
    def _place(legs: list[Leg], kind: str, key: str, i: int) -> None:
        if kind != "middlebox" or key not in {each.key for each in products()}:
            return
        product = of_product(key)
        middlebox = known_middleboxes().get(product.short or product.title)
        if middlebox and middlebox.name not in {each.name for each in legs[i].middleboxes}:
            legs[i] = replace(legs[i], middleboxes=(*legs[i].middleboxes, middlebox))

    def _ports(self, environment: Environment) -> None:
        """A port that is another product's."""
        usual = {of_product(key).port: key for key in (*DATABASES, *PROXIES) if of_product(key).port}
        usual[3306] = "mysql"
        path = {*environment.proxies, environment.database}
        for fact in (fact for fact in self.facts if fact.kind == "port" and fact.value in usual):
            key = usual[fact.value]
            if key in path or {key, environment.database} == {"mysql", "mariadb"}:
                continue
            server = title(environment.server_of(0))
            fields: dict[str, Any]
            choices = [ConflictChoice(f"{server} listens on port {fact.value}")]
            if key in PROXIES:
                ends = [*environment.proxies, key]
                legs = (*environment.legs, Leg(f"{title(key)} to {title(environment.database)}"))
                choices.append(
                    ConflictChoice(
                        f"{title(key)} is on the path", fields={"proxies": tuple(ends), "legs": legs}
                    )
                )
            else:
                fields = {
                    "database": key,
                    "driver": "",
                    "pool": "",
                    "proxies": (),
                    "legs": environment.legs[:1],
                }
                choices.append(ConflictChoice(f"the database is {title(key)}", fields=fields))
            self.conflicts.append(
                Conflict(
                    PORT,
                    f"{fact.file}, line {fact.number}: port {fact.value} is usually {title(key)}'s, and the "
                    f"path leads to {server}.", tuple(choices), why="what the URL says counts",
                )
            )  # fmt: skip


#: Who wins where a setting is there twice: an environment variable, then a URL, then the last line.
_FORMS = {"variable": "an environment variable wins over a file", "url": "the URL wins over a property"}


def _twice(files: Sequence[ReadFile]) -> Iterator[Conflict]:
    """The same setting twice, with different values."""
    of: dict[str, list[tuple[ReadFile, ReadLine]]] = {}
    for file in files:
        for line in file.lines:
            if line.key and line.value is not None:
                of.setdefault(line.key, []).append((file, line))
    for key, lines in of.items():
        if len({line.value for _, line in lines}) < 2:
            continue
        forms = [line.form for _, line in lines]
        form = next((each for each in _FORMS if each in forms), "")
        taken = max(i for i, each in enumerate(forms) if not form or each == form)
        choices = tuple(
            ConflictChoice(f"{line.name} = {line.value} ({file.name}, line {line.number})", {key: line.value})
            for file, line in lines
        )
        yield Conflict(
            TWICE, f"{key} is there {len(lines)} times: {listed([c.label for c in choices])}.",
            choices, taken, _FORMS.get(form, "the last one counts"),
        )  # fmt: skip


def _idle(environment: Environment) -> Iterator[Conflict]:
    """Settings without effect as long as another has its value."""
    force, settings = InForce(environment), environment.settings
    for product, end in CLIENTS.items():
        switch = f"{product}.{end.switch}"
        names = [end.idle, end.interval, end.probes]
        if product in ("libpq", "psycopg"):
            names.append(end.user_timeout)
        said = [f"{product}.{name}" for name in names if name and settings.get(f"{product}.{name}")]
        if not end.switch or force.own(product, end.switch) or not said:
            continue
        each = of_product(product)
        can = bool(force.who(product, end.switch))
        default = InForce(Environment()).own(product, end.switch)
        on = True if isinstance(default, bool) else 1
        choices = [ConflictChoice(f"leave {end.switch} off", dict.fromkeys(said))]
        if can:
            choices.append(ConflictChoice(f"switch {end.switch} on", {switch: on}))
        names_said = listed([key.partition(".")[2] for key in said])
        yield Conflict(
            IDLE, f"{each.title}: {names_said} does nothing while {end.switch} is off.", tuple(choices),
            why="the product ignores it",
        )  # fmt: skip
    linux = [key for key in settings if key.startswith("linux.net.ipv4.tcp_keepalive_")]
    driver = environment.driver
    if linux and force.client(0) is None and (switch_name := CLIENTS[driver].switch):
        value = True if isinstance(force.own(driver, switch_name), bool) else 1
        choices = [ConflictChoice(f"leave {switch_name} off")]
        if force.who(driver, switch_name):
            choices.append(ConflictChoice(f"switch {switch_name} on", {f"{driver}.{switch_name}": value}))
        yield Conflict(
            IDLE, f"Linux's tcp_keepalive_* does nothing for {title(driver)}, which has keepalive off.",
            tuple(choices), why="Linux sends probes only for sockets with SO_KEEPALIVE",
        )  # fmt: skip
    pool = environment.pool
    ping, age = (table.get(pool, "") for table in (PING, AGE))
    every, life = force.seconds(pool, ping) if ping else 0, force.seconds(pool, age) if age else 0
    if ping and f"{pool}.{ping}" in settings and 0 < life <= every:
        half = {f"{pool}.{ping}": int(settings[f"{pool}.{ping}"] * life / every / 2)}
        yield Conflict(
            IDLE, f"{title(pool)}: {ping} ({every:g} s) does nothing, for {age} ({life:g} s) replaces a "
            "connection before.",
            (ConflictChoice(f"leave {ping}"), ConflictChoice(f"{ping} at half of {age}", half)),
            why="the product ignores it",
        )  # fmt: skip


#: Words in a file's name that say whose it is.
_WHOSE = {"application": r"app|pod|web|client|deploy", "database": r"db|database|postgres|mysql|oracle|redis"}


def _host_of(name: str) -> str:
    """Whose host a file's name speaks of; empty: it does not say."""
    return next((host for host, words in _WHOSE.items() if re.search(words, name, re.IGNORECASE)), "")


def _sysctls(file: ReadFile) -> tuple[str, ...]:
    keys = (line.key for line in file.lines if line.key.startswith("linux.") and line.value is not None)
    return tuple(dict.fromkeys(keys))


def _whose(environment: Environment, files: Sequence[ReadFile]) -> Iterator[Conflict]:
    """A sysctl file counts for one host only."""
    for file in files:
        if environment.linux_host or _host_of(file.name) or not _sysctls(file):
            continue
        both = [ConflictChoice("the hosts of the application and of the database")]
        both += [ConflictChoice(f"the {each}'s host only", fields={"linux_host": each}) for each in _WHOSE]
        count = plural(len(_sysctls(file)), "sysctl")
        yield Conflict(
            WHOSE, f"{file.name} sets {count}, and does not say on which host.", tuple(both),
            why="counts for both",
        )  # fmt: skip
        return


class Pasted(dict[str, Any]):
    """What was read: ``{"hikaricp.maxLifetime": 1800000}``, values in the settings' own units."""

    def __init__(self, files: Iterable[ReadFile]) -> None:
        #: The files, line by line.
        self.files = tuple(files)
        super().__init__(
            {line.key: line.value for line in self._lines() if line.value is not None and line.key}
        )
        unused = [line for line in self._lines() if line.verdict == NOT_USED]
        #: Names that the catalogue does not have.
        self.unknown = tuple(dict.fromkeys(line.name for line in unused if not line.key))
        #: Lines whose value its product would not take.
        self.refused = tuple(line for line in unused if line.key)

    def _lines(self) -> Iterator[ReadLine]:
        return (line for file in self.files for line in file.lines)

    @property
    def sentence(self) -> str:
        """What was read and what was not."""
        if not any(True for _ in self._lines()):
            return "There is no setting in this text."
        names = ", ".join(dict.fromkeys(key.partition(".")[2] for key in self))
        said = f"Read: {names}." if names else "No setting of the catalogue is in this text."
        for line in self.refused[:5]:
            said += f" Line {line.number} is not used: {line.why}"
            said += f" Write {line.correction}." if line.correction else ""
        if self.unknown:
            some = ", ".join(self.unknown[:8]) + (" and others" if len(self.unknown) > 8 else "")
            said += f" Not known here, and left out: {some}."
        return said


def read_settings(text: str) -> Pasted:
    """The settings of the catalogue in a pasted text, of one file or of several.

    The last value of a setting counts; a my.cnf counts for MySQL and MariaDB. A line that can't be read
    loses only itself. Raises `ParameterError` where the text is none or too long.
    """
    if not isinstance(text, str):
        raise ParameterError("settings must be a text.")
    if len(text) > LONGEST:
        raise ParameterError(f"The pasted text has {len(text):,} characters: at most {LONGEST:,}.")
    return Pasted(read_file(*part) for part in split(text))
