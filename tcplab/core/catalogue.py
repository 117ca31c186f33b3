"""The settings of products: name, default, unit, who may change it, and how it was checked.

The settings are in `products/*.toml`, one table a product; this module reads and checks them.
``find(knob="KEEPALIVE_IDLE")`` lists the keepalive idle time of every product, ``find(product="hikaricp")``
the settings of one.

A table of a product has the fields of `Product`, and a table of settings with the fields of `Setting`; what
stands in the product's table (who, applies, checked, version, source, url) holds for all of its settings
that don't say otherwise. A setting whose default could not be checked is left out.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from tcplab.core import knobs

#: Units of time, and how many seconds one of them is. Products write the bare number.
TIMES = {"ms": 0.001, "s": 1.0, "min": 60.0}
#: What else a number or a word can be.
UNITS = (
    *TIMES, "probes", "retries", "connections", "requests", "checks", "errors", "ports",
    "switch", "mode", "query", "function",
)  # fmt: skip
#: What a setting is for. A table groups by these, in this order.
PURPOSES = {
    "keepalive": "TCP keepalive: the operating system asks whether the other side is there",
    "ping": "probes and tests of the product's own, up to the other program",
    "user timeout": "how long data may stay unacknowledged",
    "retransmission": "sending again",
    "connect": "how long connecting and logging in may take",
    "answer": "how long an answer may take",
    "idle": "closes or removes connections that are idle for too long",
    "age": "ends what is too old, silent or not",
    "borrow": "how long to wait for a pooled connection",
    "pool": "size and order of a pool",
    "queue": "how many may wait to be let in, how many are let in",
    "ports": "local ports and TIME_WAIT",
    "close": "what is left after a close",
    "names": "how long an address is cached",
    "role": "primary or replica",
    "retry": "trying again",
}
KINDS = ("system", "database", "driver", "client", "pool", "proxy", "box")
WHO = ("dba", "application", "network", "cloud")
#: When a change takes effect. "no restart": whether also for open connections is not documented.
APPLIES = {
    "at once": "counts at once", "new connections": "counts for new connections",
    "no restart": "needs no restart", "reload": "needs a reload", "restart": "needs a restart",
    "never": "can't be changed",
}  # fmt: skip
#: How a default was checked: in the running product, its source, or only its documentation.
CHECKED = ("product", "source", "documentation")
#: What a middlebox does with a connection that it has forgotten, by the experiment's word `expired`.
EXPIRIES = {
    "drop": "drops every packet",
    "reject": "answers every packet with a RST",
    "reset_both": "sends a RST to both ends",
    "reopen": "creates the entry again with the next packet",
    "drop_inbound": "drops inbound packets until the client sends one",
}

#: What a program that reckons with a product's settings takes from them. "accepts" is about the
#: connections that the product accepts, the others about those that it opens.
ROLES = {
    "keepalive": "switches keepalive on",
    "idle": "silence before the first probe",
    "interval": "wait between probes",
    "probes": "probes that may stay unanswered",
    "user timeout": "how long data may stay unacknowledged",
    "accepts keepalive": "switches keepalive on",
    "accepts idle": "silence before the first probe",
    "accepts interval": "wait between probes",
    "accepts probes": "probes that may stay unanswered",
    "accepts user timeout": "how long data may stay unacknowledged",
    "connect": "how long opening a connection may take",
    "answer": "how long an answer may take",
    "acquire": "how long a checkout waits",
    "age": "replaces an old connection",
    "ping": "how often an idle connection is tested",
    "ping switch": "whether it is tested at all",
    "size": "connections of a pool",
    "overflow": "connections beyond that",
    "idle close": "ends an idle session",
    "relay": "ends a connection without data",
    "tunnel": "does so instead of every relay timer",
    "pause": "ends a session idle in a transaction",
    "statement": "ends a long statement",
    "query": "a proxy's limit for a query",
    "alive check": "whether a running query's client is still there",
    "limit": "connections that are accepted",
    "reserved": "of those, not for everybody",
    "backlog": "handshakes that may wait",
    "names": "how long an address is cached",
}
#: What restarts the idle timer of a middlebox: any segment, only data, only a request.
RESTARTS = ("layer4", "layer7", "requests")
#: The times of probes that follow from the idle time alone: a third of it, three times (Redis);
#: 1 s, ten times (libuv); the same again (Npgsql); never more than the default (MongoDB).
PROBING = ("", "thirds", "node", "same", "capped")
#: ``30s`` or ``5min`` (PostgreSQL); ``1m`` for a minute; Go's ``4 * time.Minute`` and ``"30m"``; ``PT5S``.
TIME_WORDS = ("", "postgresql", "letters", "go", "iso")

_FOLDER = Path(__file__).with_name("products")


class CatalogueError(ValueError):
    """A mistake in the catalogue, or a name that is not in it: one sentence."""


@dataclass(frozen=True)
class Product:
    """A program, a library or a middlebox that has settings."""

    #: Its name in the catalogue, for example ``hikaricp``.
    key: str
    #: Its name in texts.
    title: str
    #: One of `KINDS`.
    kind: str
    #: A shorter name; empty: the title.
    short: str = ""
    #: Where it usually listens; 0: anywhere.
    port: int = 0
    #: The programming language of its users; empty: any.
    language: str = ""
    #: The databases to which it speaks; empty: to any.
    databases: tuple[str, ...] = ()
    #: The drivers that it fits, by key: for a pool.
    drivers: tuple[str, ...] = ()
    #: One connection serves all threads, so a command that times out does not close it.
    is_shared: bool = False
    #: How many connections one pool opens at the same time; 0: as many as are asked for.
    opens: int = 0
    #: A proxy that hands on bytes, with the same session at both ends.
    relays: bool = False
    #: One of `PROBING`.
    probing: str = ""
    #: Of a middlebox: one of `RESTARTS`.
    restarted_by: str = "layer4"
    #: Of a NAT: ports for one destination, and whether each host has so many; 0: no NAT.
    ports: int = 0
    is_per_host: bool = False
    #: Defaults of services that run it, by the service's key: ``{"rds": {"tcp_keepalives_idle": 300}}``.
    managed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, compare=False)
    #: How its files and programs write a time besides a bare number: one of `TIME_WORDS`.
    times: str = ""
    #: What a text that is pasted has in it where it is this product's: names, functions, addresses.
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting of one product."""

    product: Product
    #: As the product spells it.
    name: str
    #: In the product's own unit; None when it is unset or differs from machine to machine.
    default: int | float | bool | str | None = None
    #: One of `UNITS`.
    unit: str
    #: What the default comes to, where that is not its own figure: "Off.", "What Linux has."
    means: str = ""
    #: One sentence: what the setting does.
    says: str
    #: One of `PURPOSES`.
    purpose: str
    #: What a program that reckons with the setting takes from it, of `ROLES`.
    roles: tuple[str, ...] = ()
    #: The constant in `tcplab.core.knobs` that this is; empty: no experiment has such a knob.
    knob: str = ""
    #: The setting of Linux that applies while this one has its default.
    inherits: str = ""
    #: Inclusive range in the setting's unit, where it matters.
    low: float | None = None
    high: float | None = None
    #: Of a middlebox: what happens when the time is over, one of `EXPIRIES`; empty: not documented.
    expiry: str = ""
    #: Who may change it, of `WHO`; empty: it can't be changed.
    who: tuple[str, ...]
    #: When a change takes effect: one of `APPLIES`.
    applies: str
    #: The product's version that first had it; empty: all in use, or not known.
    since: str = ""
    #: One sentence about another default or name in other versions.
    changed: str = ""
    #: How the default was checked, one of `CHECKED`, and in which version or of which year.
    checked: str
    version: str
    #: Title and section of a document, or a file of the product's source; its address if it is public.
    source: str
    url: str = ""

    @property
    def seconds(self) -> float | None:
        """The default in seconds; None where it is no time, unset, or a number with a special meaning."""
        number = self.default if isinstance(self.default, int | float) else 0
        return number * TIMES[self.unit] if number > 0 and self.unit in TIMES else None

    @property
    def is_text(self) -> bool:
        """Whether its value is a word or a text."""
        return self.unit in ("mode", "query", "function") or isinstance(self.default, str)

    @property
    def effective(self) -> Setting:
        """The setting that applies by default: this one, or the one of Linux that it inherits."""
        return setting("linux", self.inherits) if self.inherits else self

    @property
    def default_text(self) -> str:
        """The default in words: ``30000 ms``, ``0 ms (off)``, ``Unset: what Linux has``."""
        words = {"None": "", "True": "true", "False": "false", "": "empty"}
        value = words.get(str(self.default), str(self.default))
        if self.unit in TIMES and value:
            value += f" {self.unit}"
        meaning = self.means.removesuffix(".")
        return f"{value} ({meaning[0].lower()}{meaning[1:]})" if value and meaning else value or meaning

    def own(self, seconds: float) -> int:
        """Seconds in the setting's unit, rounded up to a whole number as products want it.

        Raises `CatalogueError` where the setting is no time.
        """
        if self.unit not in TIMES:
            raise CatalogueError(f"{self.name} of {self.product.title} is no time: it counts in {self.unit}.")
        return math.ceil(round(seconds / TIMES[self.unit], 6))


@lru_cache(maxsize=1)
def catalogue() -> tuple[Setting, ...]:
    """Every setting, in the order of the files: first those of the operating system."""
    files = sorted(
        _FOLDER.glob("*.toml"), key=lambda file: (file.stem == "other", file.stem != "systems", file.stem)
    )
    settings = tuple(each for file in files for each in read(file.read_text("utf-8"), file.name))
    linux = {each.name for each in settings if each.product.key == "linux"}
    for each in settings:
        if each.inherits and each.inherits not in linux:
            where = f"{each.product.key}, {each.name}"
            raise CatalogueError(f"{where}: inherits = {each.inherits!r} is not in linux.")
    return settings


@lru_cache(maxsize=1)
def _by_product() -> Mapping[str, Mapping[str, Setting]]:
    by: dict[str, dict[str, Setting]] = {}
    for each in catalogue():
        by.setdefault(each.product.key, {})[each.name] = each
    return by


@lru_cache(maxsize=1)
def products() -> tuple[Product, ...]:
    """Every product, in the order of the files."""
    return tuple(dict.fromkeys(each.product for each in catalogue()))


def find(
    *, product: str = "", knob: str | knobs.Knob = "", purpose: str = "", who: str = "", kind: str = ""
) -> tuple[Setting, ...]:
    """The settings that match all arguments.

    A knob is a `Knob` or the name of its constant. Raises `CatalogueError` for an unknown word.
    """
    if isinstance(knob, knobs.Knob):
        knob = next((name for name, each in vars(knobs).items() if each is knob), repr(knob))
    known = sorted(name for name, each in vars(knobs).items() if isinstance(each, knobs.Knob))
    for what, word, words in (
        ("product", product, [each.key for each in products()]), ("knob", knob, known),
        ("purpose", purpose, PURPOSES), ("who", who, WHO), ("kind", kind, KINDS),
    ):  # fmt: skip
        if word and word not in words:
            raise CatalogueError(f"{what} = {word!r} is not in the catalogue: use one of {', '.join(words)}.")
    return tuple(
        each
        for each in catalogue()
        if product in ("", each.product.key)
        and knob in ("", each.knob)
        and purpose in ("", each.purpose)
        and who in ("", *each.who)
        and kind in ("", each.product.kind)
    )


@lru_cache(maxsize=1024)
def setting(product: str, name: str) -> Setting:
    """One setting by its product's key and its name; `CatalogueError` where there is none."""
    of = _by_product().get(product) or {each.name: each for each in find(product=product)}
    if name not in of:
        raise CatalogueError(f"{product} has no setting {name!r} in the catalogue: it has {', '.join(of)}.")
    return of[name]


def read(text: str, file: str) -> tuple[Setting, ...]:
    """The settings in the text of a file; `CatalogueError` names the first that is wrong."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as mistake:
        raise CatalogueError(f"{file} is no TOML: {mistake}.") from None
    return tuple(
        _setting(f"{file}, {key}, {name}", product, name, table, own)
        for key, table in tables.items()
        for product, settings in [_product(f"{file}, {key}", key, table)]
        for name, own in settings.items()
    )


def _product(where: str, key: str, table: Any) -> tuple[Product, Mapping[str, Any]]:
    """A product and its settings, if it is valid."""
    if not isinstance(table, dict) or not isinstance(table.get("settings"), dict):
        raise CatalogueError(f"{where}: there are no settings; give it tables like [product.settings.name].")
    for name in ("title", "kind"):
        if not isinstance(table.get(name), str):
            raise CatalogueError(f"{where}: {name} is missing; a product has a title and a kind.")
    known = {each.name for each in fields(Product)} - {"key"}
    if unknown := sorted(set(table) - known - {*_SHARED, "settings"}):
        use = ", ".join(sorted(known))
        raise CatalogueError(f"{where}: {unknown[0]!r} is no field of a product; use {use}.")
    own = {name: _plain(value) for name, value in table.items() if name in known}
    for name, words in (
        ("kind", KINDS),
        ("probing", PROBING),
        ("restarted_by", RESTARTS),
        ("times", TIME_WORDS),
    ):
        _one_of(where, name, own.get(name, words[0]), words)
    return Product(key, **own), table["settings"]


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


#: What a product's table may set for all of its settings.
_SHARED = ("who", "applies", "checked", "version", "source", "url")
_REQUIRED = ("unit", "says", "purpose", "who", "applies", "checked", "version", "source")


def _setting(
    where: str, product: Product, name: str, table: Mapping[str, Any], own: Mapping[str, Any]
) -> Setting:
    values = {each: table[each] for each in _SHARED if each in table} | dict(own)
    known = {each.name for each in fields(Setting)} - {"product", "name"}
    if unknown := sorted(set(values) - known):
        use = ", ".join(sorted(known))
        raise CatalogueError(f"{where}: {unknown[0]!r} is no field of a setting; use {use}.")
    if missing := [each for each in _REQUIRED if each not in values]:
        raise CatalogueError(f"{where}: {missing[0]} is missing.")
    if "default" not in values and not values.get("means"):
        raise CatalogueError(f"{where}: without a default, means must say what that comes to.")
    for field_name, words in (
        ("unit", UNITS), ("purpose", PURPOSES), ("applies", APPLIES), ("checked", CHECKED),
        ("expiry", ("", *EXPIRIES)),
    ):  # fmt: skip
        _one_of(where, field_name, values.get(field_name, ""), words)
    for word in values["who"]:
        _one_of(where, "who", word, WHO)
    for word in values.get("roles", ()):
        _one_of(where, "roles", word, ROLES)
    if bool(values["who"]) == (values["applies"] == "never"):
        raise CatalogueError(f"{where}: who must be empty where a change never applies, and only there.")
    if values.get("knob") and not isinstance(getattr(knobs, values["knob"], None), knobs.Knob):
        raise CatalogueError(f"{where}: knob = {values['knob']!r} is no knob in tcplab.core.knobs.")
    return Setting(product=product, name=name, **{name: _plain(value) for name, value in values.items()})


def _one_of(where: str, field: str, word: Any, words: Any) -> None:
    if word not in words:
        raise CatalogueError(f"{where}: {field} = {word!r} is not one of {', '.join(filter(None, words))}.")
