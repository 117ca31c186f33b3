"""A topology as a file in a repository: TOML, read into an `Environment` and what is accepted until when.

`tcplab topology FILE.toml` plays it in CI. The hops are in path order; the first key of each is its kind.
Settings have the products' own names and units, or words (``"30 min"``). `read` names the repository's own
files, so that the topology can't go stale: a value in `set` that differs from them is a mistake unless
``override = true``.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache
from math import inf
from pathlib import Path
from typing import Any

from tcplab.advice.environment import (
    DATABASES,
    DRIVERS,
    POOLS,
    PROXIES,
    Environment,
    Leg,
    MiddleboxSettings,
    checked_value,
    known_middleboxes,
)
from tcplab.advice.products import of_product, title
from tcplab.advice.race_lanes import SITUATIONS, Race
from tcplab.advice.reading import NOT_USED, ReadFile, read_file
from tcplab.core.catalogue import TIMES, CatalogueError, Setting, find, products, setting
from tcplab.core.knobs import ParameterError
from tcplab.core.text import nearest, read_number

#: Bytes of a file that can't be a topology, and of one that it reads.
LARGEST = 1_000_000
SCHEMA = 1

#: `[want]`: the field of `Environment`, and the unit; "%" is a share.
_WANT = {
    "outage": ("outage_s", "s"), "lost_probes": ("lost_probes", ""),
    "silent_query": ("longest_silent_query_s", "s"), "idle": ("longest_idle_s", "s"),
    "promotion": ("promotion_s", "s"), "name_ttl": ("dns_ttl_s", "s"), "stale": ("stale_s", "s"),
    "checkout": ("longest_checkout_s", "s"), "pause": ("longest_pause_s", "s"),
    "notice": ("notice_within_s", "s"),
}  # fmt: skip
#: Numbers of the application.
_APPLICATION = {
    "instances": ("instances", ""), "connections": ("pool_size", ""), "surge": ("surge", "%"),
    "connects": ("connects_per_s", "/s"),
    "hold": ("hold_s", "s"), "requests": ("requests_per_s", "/s"), "busy": ("busy_s", "s"),
    "addresses": ("addresses", ""), "ports": ("ports", ""), "deadline": ("deadline_s", "s"),
}  # fmt: skip
_DATABASE = {"limit": ("max_connections", ""), "backlog": ("backlog", "")}
_BOX = {"idle": ("idle_s", "s"), "age": ("age_s", "s"), "ports": ("ports", ""), "keeps": ("time_wait_s", "s")}
_THEN = {
    "drop": "drop", "reset": "reject", "reset both ends": "reset_both", "reopen": "reopen",
    "drop inbound": "drop_inbound",
}  # fmt: skip
_SEES = {"any segment": "layer4", "data": "layer7", "requests": "requests"}
_KINDS = ("application", "box", "proxy", "database")
#: What else a hop may have.
_OF_KIND = {
    "application": {*_APPLICATION, "pool", "driver", "shared", "set", "linux", "read", "override", "where"},
    "box": {*_BOX, "then", "sees", "each_host"},
    "proxy": {"set", "linux", "read", "override", "where"},
    "database": {*_DATABASE, "managed", "set", "linux", "read", "override", "where"},
}


@dataclass(frozen=True)
class Acceptance:
    """A situation that may be broken for a while: CI stays green until then."""

    #: A key of `SITUATIONS`, or "counts".
    situation: str
    why: str
    until: date


@dataclass(frozen=True)
class Topology:
    """What a file says."""

    name: str
    environment: Environment
    accepted: tuple[Acceptance, ...] = ()
    #: The repository's files that it reads: their text by their path as it is there, and what they say.
    texts: Mapping[str, str] = field(default_factory=dict)
    files: tuple[ReadFile, ...] = ()

    @property
    def not_used(self) -> tuple[str, ...]:
        """The lines of those files that are not used, and why."""
        return tuple(
            f"{file.name}:{line.number}: {line.name}: {line.why}"
            for file in self.files
            for line in file.of(NOT_USED)
        )

    def accepts(self, situation: str, today: date) -> Acceptance | None:
        """What accepts a situation today; None: nothing, or not any more."""
        return next((a for a in self.accepted if a.situation == situation and today <= a.until), None)


@dataclass(frozen=True)
class Judgement:
    """A topology's race, judged for an exit code."""

    race: Race
    #: One line each: what is broken and not accepted, what is accepted, what is not known.
    broken: tuple[str, ...]
    accepted: tuple[str, ...]
    unknown: tuple[str, ...]

    def exit_code(self, is_strict: bool) -> int:
        """0: it holds; 1: something is broken, or not known where that is not enough."""
        return 1 if self.broken or (is_strict and self.unknown) else 0

    def to_json(self) -> dict[str, Any]:
        """The race, and what was judged."""
        own = {"broken": self.broken, "accepted": self.accepted, "not_known": self.unknown}
        return {**self.race.to_json(), **{name: list(lines) for name, lines in own.items()}}


def judge(topology: Topology, race: Race, today: date) -> Judgement:
    """Which lanes and counts are broken, and which of them are accepted today."""
    broken, accepted, unknown = [], [], []
    found = [(lane.key, lane.line(race.outage_s)) for lane in race.broken]
    found += [("counts", f"{each.title}: {each.numbers}") for each in race.full]
    for key, line in found:
        late = next((a for a in topology.accepted if a.situation == key), None)
        if agreed := topology.accepts(key, today):
            accepted.append(f"· {line}, accepted until {agreed.until}: {agreed.why}")
        else:
            broken.append(f"✗ {line}" + (f" (was accepted until {late.until}: {late.why})" if late else ""))
    for lane in race.lanes:
        if lane.needs:
            unknown.append(f"? {lane.key} not known: give {_word_of(lane.needs)}")
    return Judgement(race, tuple(broken), tuple(accepted), tuple(unknown))


def _word_of(name: str) -> str:
    """The word of `[want]` for a field."""
    return next((f"[want] {word}" for word, (own, _) in _WANT.items() if own == name), name)


def load_topology(path: str | Path) -> Topology:
    """The topology in a file, or - for standard input. Raises `ParameterError`, which names the file."""
    path = Path(path)
    try:
        return read_topology(_text(path), lambda name: _text(path.parent / name))
    except ParameterError as mistake:
        raise ParameterError(f"{path.name}: {mistake}") from None


def _text(path: Path) -> str:
    try:
        with nullcontext(sys.stdin.buffer) if str(path) == "-" else path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        why = (getattr(error, "strerror", None) or str(error)).rstrip(".")
        raise ParameterError(f"{path.name} can't be read: {why}.") from None
    if len(content) > LARGEST:
        raise ParameterError(f"{path.name} has more than {LARGEST:,} bytes.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ParameterError(f"{path.name} is not a text file.") from None


def read_topology(text: str, open_file: Callable[[str], str]) -> Topology:
    """The topology in a text; `open_file` gives the text of a file that it names.

    Raises `ParameterError` with one sentence.
    """
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as mistake:
        raise ParameterError(f"this is not TOML: {mistake}.") from None
    _known("a topology", values, {"schema", "name", "want", "hop", "accept"})
    if values.get("schema", SCHEMA) != SCHEMA:
        raise ParameterError(f"schema = {values['schema']!r} is not {SCHEMA}: a newer tcplab may read it.")
    hops = values.get("hop")
    if not isinstance(hops, list) or not all(isinstance(hop, dict) for hop in hops):
        raise ParameterError(
            "there is no [[hop]]: name application, boxes, proxies and database in path order."
        )
    reader = _Hops(open_file)
    for hop in hops:
        reader.take(hop)
    numbers = _numbers("[want]", _table("[want]", values.get("want", {})), _WANT)
    accepted = tuple(map(_acceptance, _tables("[[accept]]", values.get("accept", []))))
    name = values.get("name", "topology")
    if not isinstance(name, str):
        raise ParameterError("name is no text.")
    return Topology(name, reader.environment(numbers), accepted, reader.texts, tuple(reader.files))


class _Hops:
    """Takes one hop after the other."""

    def __init__(self, open_file: Callable[[str], str]) -> None:
        self._open = open_file
        self.texts: dict[str, str] = {}
        self.files: list[ReadFile] = []
        self._linux: set[str] = set()
        self._values: dict[str, Any] = {}
        self._settings: dict[str, Any] = {}
        self._proxies: list[str] = []
        self._boxes: list[list[MiddleboxSettings]] = [[]]
        self._is_local: list[bool] = []
        self._ends: list[str] = []

    def take(self, hop: Mapping[str, Any]) -> None:
        """One hop."""
        kind = next(iter(hop), "")
        if kind not in _KINDS:
            raise ParameterError(f"a hop begins with {kind!r}: use {', '.join(_KINDS)}.")
        if "database" in self._values:
            raise ParameterError(f"{kind} = {hop[kind]!r} comes after the database, which is the last hop.")
        if (kind == "application") != (not self._ends):
            raise ParameterError("the application is the first hop, and there is one.")
        where = f"{kind} {hop[kind]!r}"
        if not isinstance(hop[kind], str):
            raise ParameterError(f"{where} is no name.")
        _known(where, hop, {kind, *_OF_KIND[kind]})
        {
            "application": self._application,
            "box": self._box,
            "proxy": self._proxy,
            "database": self._database,
        }[kind](where, hop)

    def environment(self, numbers: Mapping[str, Any]) -> Environment:
        """Everything that was taken, with the numbers of `[want]`."""
        if "database" not in self._values:
            raise ParameterError("there is no hop with a database.")
        ends = ["application", *map(_speech, self._ends[1:])]
        legs = tuple(
            Leg(f"{ends[i]} to {ends[i + 1]}", tuple(boxes), self._is_local[i])
            for i, boxes in enumerate(self._boxes)
        )
        return Environment(
            **{**self._values, **numbers}, proxies=tuple(self._proxies), legs=legs, settings=self._settings,
            linux_host=next(iter(self._linux)) if len(self._linux) == 1 else "",
        )  # fmt: skip

    def _application(self, where: str, hop: Mapping[str, Any]) -> None:
        self._ends.append(hop["application"])
        self._values |= _numbers(where, hop, _APPLICATION)
        owners = {}
        for role, known in (("driver", DRIVERS), ("pool", POOLS)):
            if role in hop:
                owners[role] = self._values[role] = _product(f"{where}: {role}", hop[role], known)
        if "driver" in owners and hop.get("shared", of_product(owners["driver"]).is_shared) is not (
            of_product(owners["driver"]).is_shared
        ):
            one = (
                "one connection for all threads"
                if of_product(owners["driver"]).is_shared
                else "no shared one"
            )
            raise ParameterError(
                f"{where}: shared = {hop['shared']}, but {title(owners['driver'])} has {one}."
            )
        self._set(where, hop, owners)

    def _box(self, where: str, hop: Mapping[str, Any]) -> None:
        known = _boxes().get(hop["box"])
        values: dict[str, Any] = _numbers(where, hop, _BOX)
        for word, (field_, words) in {"then": ("expired", _THEN), "sees": ("kind", _SEES)}.items():
            if word in hop:
                values[field_] = words.get(hop[word]) or _wrong(f"{where}: {word}", hop[word], words)
        if "each_host" in hop:
            values["is_per_host"] = hop["each_host"]
        if known is None and "idle_s" not in values:
            raise ParameterError(
                f"{where} is not in the catalogue: give its idle time, or {nearest(hop['box'], _boxes())}"
            )
        box = replace(known, **values) if known else MiddleboxSettings(hop["box"], **values)
        self._boxes[-1].append(box)

    def _proxy(self, where: str, hop: Mapping[str, Any]) -> None:
        key = _product(where, hop["proxy"], PROXIES)
        self._proxies.append(key)
        self._next(hop, key)
        self._boxes.append([])
        self._set(where, hop, {"": key})

    def _database(self, where: str, hop: Mapping[str, Any]) -> None:
        key = _product(where, hop["database"], DATABASES)
        self._values |= {"database": key, **_numbers(where, hop, _DATABASE)}
        if "managed" in hop:
            self._values["managed"] = hop["managed"]
        self._next(hop, key)
        self._set(where, hop, {"": key})

    def _next(self, hop: Mapping[str, Any], key: str) -> None:
        self._ends.append(key)
        if hop.get("where", "same host") != "same host":
            raise ParameterError(f'where = {hop["where"]!r} is not "same host".')
        self._is_local.append("where" in hop)

    def _set(self, where: str, hop: Mapping[str, Any], owners: Mapping[str, str]) -> None:
        """The settings of a hop: those of its files, then its own."""
        from_files = self._from_files(where, hop)
        own = dict(_own_settings(where, hop, owners))
        for key, value in own.items():
            if from_files.get(key, value) != value and not hop.get("override", False):
                raise ParameterError(
                    f"{where}: {key} = {value} here and {from_files[key]} in {', '.join(hop['read'])}; "
                    "write override = true to use this one."
                )
        self._settings |= {**from_files, **own}
        if any(key.startswith("linux.") for key in {**from_files, **own}):
            self._linux.add("database" if "database" in hop else "application")

    def _from_files(self, where: str, hop: Mapping[str, Any]) -> dict[str, Any]:
        names = hop.get("read", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ParameterError(f"{where}: read must be a list of file names.")
        found: dict[str, Any] = {}
        for name in names:
            self.texts[name] = self._open(name)
            self.files.append(read_file(name, self.texts[name]))
            found |= {
                line.key: line.value for line in self.files[-1].lines if line.key and line.value is not None
            }
        return found


def _own_settings(where: str, hop: Mapping[str, Any], owners: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """``product.name`` and value of a hop's `set` and `linux`."""
    values = _table(f"{where}: set", hop.get("set", {}))
    if "" in owners:
        values = {"": values}
    for role, own in values.items():
        if role not in owners:
            there = ", ".join(f"set.{each}" for each in owners) or "no pool and no driver"
            raise ParameterError(f"{where}: set.{role} is of no product; there is {there}.")
        for name, value in _table(f"{where}: set.{role}", own).items():
            yield _own(where, owners[role], name, value)
    for name, value in _table(f"{where}: linux", hop.get("linux", {})).items():
        full = name if name in _sysctls() else f"net.ipv4.{name}"
        yield _own(where, "linux", full, value)


#: Situations that no topology has.
_OF_ONE_LEG = ("ghost", "slow_reader")


@lru_cache(maxsize=1)
def _sysctls() -> frozenset[str]:
    return frozenset(each.name for each in find(product="linux"))


def _own(where: str, product: str, name: str, value: Any) -> tuple[str, Any]:
    try:
        each = setting(product, name)
    except CatalogueError:
        names = [each.name for each in find(product=product)]
        raise ParameterError(f"{where}: {title(product)} has no {name!r}; {nearest(name, names)}") from None
    return f"{product}.{name}", checked_value(f"{product}.{name}", in_unit(each, value))


def in_unit(each: Setting, value: Any) -> Any:
    """A number is in the setting's own unit; a time in words becomes one."""
    if not isinstance(value, str) or each.is_text:
        return value
    seconds = read_number(value, "s")
    if each.unit not in TIMES or seconds is None:
        return value
    return -1 if seconds == inf else each.own(seconds)


@lru_cache(maxsize=1)
def _boxes() -> Mapping[str, MiddleboxSettings]:
    """The middleboxes of the catalogue by key and by name."""
    by_name = known_middleboxes()
    keys = {each.key: each.short or each.title for each in products() if each.kind == "box"}
    return {key: by_name[name] for key, name in keys.items() if name in by_name} | by_name


def _product(where: str, text: Any, known: Any) -> str:
    """The key of ``pgx 5``: a product of the catalogue with an optional version."""
    word = str(text).strip()
    key = word if word in known else word.rpartition(" ")[0]
    if key not in known:
        raise ParameterError(
            f"{where}: {word!r} is not in the catalogue; {nearest(word, filter(None, known))}"
        )
    return key


def _speech(product: str) -> str:
    return of_product(product).short or title(product).removesuffix(" server")


def _numbers(where: str, values: Mapping[str, Any], known: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """The numbers of a table by the fields that have them."""
    if where == "[want]":
        _known(where, values, set(known))
    made = {}
    for name, (field_, unit) in known.items():
        if name in values:
            made[field_] = _number(f"{where}: {name}", values[name], unit)
    return made


def _number(where: str, value: Any, unit: str) -> float | int:
    text = value
    if isinstance(value, str) and unit in ("%", "/s"):
        text = value.strip().removesuffix(unit).removesuffix(" per s")
    number = read_number(text, "s" if unit == "s" else "")
    if number is None or number == inf:
        example = {"s": '"30 min"', "%": '"25 %"', "/s": '"2 /s"'}.get(unit, "8")
        raise ParameterError(f"{where} = {str(value)[:20]!r} can't be read: write it as {example}.")
    if unit == "%" and isinstance(value, str):
        number /= 100
    return int(number) if number == int(number) else number


def _acceptance(values: Mapping[str, Any]) -> Acceptance:
    _known("[[accept]]", values, {"situation", "why", "until"})
    situation = values.get("situation")
    keys = (*(key for key in SITUATIONS if key not in _OF_ONE_LEG), "counts")
    if situation not in keys:
        _wrong("[[accept]]: situation", situation, keys)
    until, why = values.get("until"), values.get("why")
    if type(until) is not date:
        raise ParameterError(f"[[accept]] {situation}: until must be a date, as in 2027-03-31.")
    if not isinstance(why, str) or not why.strip():
        raise ParameterError(f"[[accept]] {situation}: why is missing.")
    return Acceptance(str(situation), why.strip(), until)


def _wrong(where: str, value: Any, words: Any) -> Any:
    raise ParameterError(f"{where} = {str(value)[:40]!r} is not one of {', '.join(words)}.")


def _known(what: str, values: Mapping[str, Any], names: set[str]) -> None:
    for name in values:
        if name not in names:
            raise ParameterError(f"{what} has no {name!r}; {nearest(name, sorted(names))}")


def _table(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ParameterError(f"{where} must be a table.")
    return value


def _tables(where: str, value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise ParameterError(f"{where} must be tables in double brackets.")
    return [_table(where, each) for each in value]


# -- writing -------------------------------------------------------------------------------------


def topology_toml(
    environment: Environment, name: str = "topology", comments: Mapping[str, str] | None = None
) -> str:
    """The file of an environment, as `read_topology` reads it; `comments`: words behind a setting, by key."""
    env, comments = environment, comments or {}
    defaults = Environment(database=env.database)
    lines = ["# tcplab topology FILE.toml   exit 0: it holds; 1: it breaks; 2: it can't be read"]
    lines += [f"schema = {SCHEMA}", f"name   = {_quoted(name)}", "", "[want]"]
    lines += _written(_WANT, env, defaults)
    lines += ["", "[[hop]]", f"application = {_quoted(of_product(env.driver).language or 'program')}"]
    lines += [f"driver = {_quoted(env.driver)}"] * (env.driver not in DATABASES)
    lines += [f"pool = {_quoted(env.pool)}"] * bool(env.pool)
    lines += _written(_APPLICATION, env, defaults)
    lines += _settings_of(env, "set.driver.", env.driver, comments) if env.driver != env.database else []
    lines += _settings_of(env, "set.pool.", env.pool, comments) if env.pool not in ("", env.driver) else []
    lines += _settings_of(env, "linux.", "linux", comments) if env.linux_host != "database" else []
    for i, leg in enumerate(env.legs):
        for box in leg.middleboxes:
            lines += ["", "[[hop]]", *_box_lines(box)]
        server = env.server_of(i)
        kind = "database" if server == env.database else "proxy"
        lines += ["", "[[hop]]", f"{kind} = {_quoted(server)}"]
        if leg.is_local:
            lines.append('where = "same host"')
        if kind == "database":
            lines += [f"managed = {_quoted(env.managed)}"] * bool(env.managed)
            lines += _written(_DATABASE, env, defaults)
            lines += _settings_of(env, "linux.", "linux", comments) if env.linux_host != "application" else []
        lines += _settings_of(env, "set.", server, comments)
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _written(known: Mapping[str, tuple[str, str]], env: Environment, defaults: Environment) -> list[str]:
    """The numbers that are not the defaults."""
    made = []
    for word, (own, unit) in known.items():
        value = getattr(env, own)
        if value != getattr(defaults, own):
            made.append(f'{word} = "{value:.15g} {unit}"' if unit == "s" else f"{word} = {value:.15g}")
    return made


def _settings_of(env: Environment, head: str, product: str, comments: Mapping[str, str]) -> list[str]:
    made = []
    for key, value in env.settings.items():
        owner, _, name = key.partition(".")
        if owner == product:
            short = name.removeprefix("net.ipv4.") if product == "linux" else name
            word = short if short.replace("_", "").replace("-", "").isalnum() else _quoted(short)
            text = _quoted(value) if isinstance(value, str) else str(value).lower()
            made.append(f"{head}{word} = {text}" + (f"  # {comments[key]}" if key in comments else ""))
    return made


def _box_lines(box: MiddleboxSettings) -> Iterator[str]:
    known = known_middleboxes().get(box.name)
    key = next((key for key, each in _boxes().items() if each is known), box.name) if known else box.name
    yield f"box = {_quoted(key)}"
    same = known or MiddleboxSettings(box.name, 0)
    for word, (own, unit) in _BOX.items():
        value = getattr(box, own)
        if value != getattr(same, own) or (not known and own == "idle_s"):
            yield f'{word} = "{value:.15g} s"' if unit == "s" else f"{word} = {value}"
    for word, own, words in (("then", "expired", _THEN), ("sees", "kind", _SEES)):
        if getattr(box, own) != getattr(same, own):
            text = next(text for text, value in words.items() if value == getattr(box, own))
            yield f"{word} = {_quoted(text)}"
    if box.is_per_host != same.is_per_host:
        yield f"each_host = {str(box.is_per_host).lower()}"


def examples() -> Mapping[str, Path]:
    """The examples by name, in the order of `STACKS`."""
    return {key: _EXAMPLES / f"{key}.toml" for key in STACKS}


_EXAMPLES = Path(__file__).with_name("examples")
#: The examples, and what they are called.
STACKS = {
    "java_aws": "Java, AWS", "python_kubernetes": "Python, Kubernetes", "oracle_onprem": "Oracle, on-prem",
    "redis_azure": "Redis, Azure", "go_google_cloud": "Go, Google Cloud", "node_haproxy": "Node, HAProxy",
}  # fmt: skip
