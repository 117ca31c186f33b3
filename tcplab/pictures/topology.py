"""The what-if form as HTML: the path with its settings, what you say, the verdict, remedies and conflicts.

Plain HTML, made of texts that are escaped here. An element with ``data-do`` does something: its page side
sends that JSON, with the element's value, to Python.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from html import escape
from math import inf
from typing import Any

from tcplab.advice.advice import Remedy
from tcplab.advice.environment import (
    DATABASES,
    DRIVERS_OF,
    Environment,
    MiddleboxSettings,
    known_middleboxes,
    pools_of,
    proxies_of,
)
from tcplab.advice.paste import Conflict, PasteReading
from tcplab.advice.products import CLIENTS, SERVERS, InForce, of_product, title
from tcplab.advice.race_lanes import NEVER, Race, compared
from tcplab.advice.reading import NO_EFFECT, NOT_USED, SECRET
from tcplab.advice.reading import READ as LINE_READ
from tcplab.core.catalogue import APPLIES, EXPIRIES, TIMES, Setting, find
from tcplab.core.knobs import Knob
from tcplab.core.text import in_words, plural
from tcplab.pictures.race import TOP, WIDTH, draw_race, race_table, row_height

#: What is asked, because no file has it: the field of `Environment`, and the words before its box.
ASKED = {
    "longest_silent_query_s": "silent query", "longest_idle_s": "idle up to", "outage_s": "outage tolerated",
    "lost_probes": "lost probes", "connects_per_s": "connects/s, each", "promotion_s": "promotion takes",
}  # fmt: skip
#: Numbers that seldom matter, folded away.
MORE = (
    "instances", "pool_size", "surge", "notice_within_s", "deadline_s", "longest_checkout_s",
    "longest_pause_s", "requests_per_s", "busy_s", "hold_s", "ports", "addresses", "dns_ttl_s", "stale_s",
    "max_connections", "backlog", "acquire_timeout_s",
)  # fmt: skip
KNOBS: Mapping[str, Knob] = {
    each.name: each.metadata["knob"] for each in fields(Environment) if "knob" in each.metadata
}
#: Who may change a setting, in words.
WHO = {
    "application": "Application", "dba": "DBA", "network": "Network", "cloud": "Cloud", "": "Vendor",
}  # fmt: skip
LAST = "Last resort"
EMPTY = (
    "Nothing pasted yet, so nothing is checked. Every value that you don't give is drawn dashed, with the "
    "default we assume, its version and its source. A check that would need a number we don't have says "
    "“not known”, not ✓."
)
_HINT = """postgresql://app:…@db.c1x.eu-west-1.rds.amazonaws.com/shop?keepalives_idle=60
spring.datasource.hikari.maximum-pool-size=30
create_engine(url, pool_recycle=280, pool_pre_ping=True)
(DESCRIPTION=(ENABLE=BROKEN)(ADDRESS=(HOST=ora1)(PORT=1521))…)
net.ipv4.tcp_keepalive_time = 600      tcp_keepidle = 60      timeout server 1m
env: [{name: PGCONNECT_TIMEOUT, value: "5"}]"""


@dataclass(frozen=True)
class OfferedRemedy:
    """A remedy with what it mends."""

    remedy: Remedy
    #: Keys of the lanes that are broken without it and not with it.
    mends: tuple[str, ...]
    is_on: bool = False


@dataclass(frozen=True)
class TopologyView:
    """All that the form shows."""

    environment: Environment
    race: Race | None
    before: Race | None = None
    reading: PasteReading | None = None
    #: Fields and settings that somebody said: the others are assumed.
    said: frozenset[str] = frozenset()
    ticked: frozenset[str] = frozenset()
    remedies: Sequence[OfferedRemedy] = ()
    #: Conflicts, and the choice of each.
    conflicts: Sequence[tuple[Conflict, int]] = ()
    notes: Sequence[str] = ()
    error: str = ""
    message: str = ""
    #: "race", "table", "lines" or "export".
    page: str = "race"
    #: On the page "export": title, HTML.
    exports: Sequence[tuple[str, str]] = ()
    examples: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    dark: bool = False


def form_html(view: TopologyView) -> str:
    """The whole form."""
    if view.race is None and not view.error:
        return f'<div class="tt-form tt-empty">{_head(view)}{_empty(view)}</div>'
    body = _export(view) if view.page == "export" else _body(view)
    return f'<div class="tt-form">{_head(view)}{_chips(view)}{body}</div>'


def verdict(view: TopologyView) -> str:
    """The two lines above the race, as text."""
    if view.error:
        return f"✗ {view.error}"
    if view.race is None:
        return EMPTY
    said = compared(view.before, view.race) if view.before else view.race.sentence
    if view.conflicts:
        count = plural(len(view.conflicts), "conflict")
        said = f"{count}. We take what the product would use; choose another value to change it. {said}"
    return " ".join([said, *view.notes])


# -- small parts ---------------------------------------------------------------------------------


def _do(**what: Any) -> str:
    """The attribute of an element that does something; its identity keeps the focus after a change."""
    text = escape(json.dumps(what, sort_keys=True), quote=True)
    return f'data-do="{text}"'


def _button(text: str, css: str = "", pressed: bool | None = None, **what: Any) -> str:
    state = "" if pressed is None else f' aria-pressed="{str(pressed).lower()}"'
    return f'<button type="button" class="tt-button {css}"{state} {_do(**what)}>{escape(text)}</button>'


def _select(label: str, options: Iterable[tuple[str, str]], chosen: str, css: str = "", **what: Any) -> str:
    items = "".join(
        f'<option value="{escape(value)}"{" selected" if value == chosen else ""}>{escape(text)}</option>'
        for value, text in options
    )
    return f'<select class="tt-select {css}" aria-label="{escape(label)}" {_do(**what)}>{items}</select>'


def _input(label: str, value: str, css: str = "", help: str = "", **what: Any) -> str:
    return (
        f'<input class="{css}" type="text" spellcheck="false" aria-label="{escape(label)}" '
        f'title="{escape(help)}" value="{escape(value)}" style="width:{max(len(value), 3) + 1}ch" '
        f"{_do(**what)}>"
    )


def name_of(product: str) -> str:
    """A product in speech: PostgreSQL, not PostgreSQL server."""
    return of_product(product).short or title(product).removesuffix(" server")


def value_text(each: Setting, value: Any) -> str:
    """A value as the path shows it: times in words."""
    if isinstance(value, bool) or each.unit == "switch":
        return "on" if value else "off"
    if each.unit in TIMES and isinstance(value, int | float):
        return in_words(round(value * TIMES[each.unit], 6)) if value > 0 else "never" if value < 0 else "0"
    return "none" if value is None else str(value)


# -- the head and the files ----------------------------------------------------------------------


def _head(view: TopologyView) -> str:
    names = [("", "Examples"), *((key, name) for key, (name, _) in view.examples.items())]
    words = {"read": "read", "assumed": "assumed", "decides": "decides a failure", "ticked": "ticked"}
    legend = "".join(f'<span class="tt-set {css}">{text}</span>' for css, text in words.items())
    calm = '<span class="tt-calm">Nothing leaves this machine. Passwords are dropped when you paste.</span>'
    return (
        '<div class="tt-head"><h3>What if: your path to the database</h3>'
        f"{legend if view.race else calm}{_select('Examples', names, '', do='example')}"
        f'<label class="tt-button">Open topology.toml<input type="file" multiple class="tt-file" '
        f"{_do(do='files')}></label>{_button('Start again', do='reset')}</div>"
    )


def _chips(view: TopologyView) -> str:
    chips = []
    unused = 0
    for file in view.reading.files if view.reading else ():
        used = len(file.of(LINE_READ)) + len(file.of(NO_EFFECT))
        unused += len(file.of(NOT_USED))
        sign = "✓" if used else "–"
        chips.append(
            f'<span class="tt-chip">{escape(file.name)} <b>{used} of {len(file.lines)} {sign}</b></span>'
        )
    if unused:
        text = f"{plural(unused, 'line')} not used ▾"
        chips.append(_button(text, "tt-chip warn", view.page == "lines", do="page", page="lines"))
    if view.conflicts:
        chips.append(f'<span class="tt-chip bad">{plural(len(view.conflicts), "conflict")}</span>')
    chips.append(
        '<details class="tt-more tt-paste" data-keep="paste"><summary>+ paste more</summary>'
        f'<div class="tt-pop">{_paste_box(4)}</div></details>'
    )
    if view.message:
        chips.append(f'<span class="tt-message" role="status">{escape(view.message)}</span>')
    return f'<div class="tt-chips">{"".join(chips)}</div>'


def _paste_box(rows: int) -> str:
    return (
        f'<textarea class="tt-text" rows="{rows}" spellcheck="false" aria-label="Paste or drop files here" '
        f'placeholder="{escape(_HINT)}" data-drop="1"></textarea>'
        f"{_button('Read it', 'main', do='read')}"
        '<span class="tt-calm"> <code>## name</code> or <code>---</code> starts the next file; unknown lines '
        "are listed, not fatal</span>"
    )


def _empty(view: TopologyView) -> str:
    stacks = "".join(
        f'<button type="button" class="tt-stack" {_do(do="example", value=key)}><b>{escape(name)}</b>'
        f"<span>{escape(path)}</span></button>"
        for key, (name, path) in view.examples.items()
    )
    databases = [("", "database"), *((key, name_of(key)) for key in DATABASES)]
    wrong = f'<p class="tt-message">{escape(view.message)}</p>' if view.message else ""
    return (
        "<p>Paste what you have. You see which timer acts first when a connection breaks, which message "
        f'appears, and what is left behind.</p>{wrong}<div class="tt-start">'
        '<div class="tt-dropzone" data-drop="1">'
        "<p><b>Paste or drop files here</b>, one after another: connection URLs, properties, YAML, ini, "
        f"sysctl, TNS, code, Compose, Kubernetes</p>{_paste_box(11)}</div>"
        '<div class="tt-dropzone plain"><p><b>What you get: the race of timers</b><br>Which timer acts '
        f"first, what the caller gets, what is left behind.</p>{_sample(view)}"
        "<p>● ends it · ◆ a firewall's entry expires · ○ would come later · hatched: left behind. "
        "Then tick remedies: the race is run again.</p></div></div>"
        f'<p><b>…or start from a stack</b> and change what differs</p><div class="tt-stacks">{stacks}</div>'
        f"<p><b>…or build your path</b>: the application connects to "
        f"{_select('database', databases, '', do='database')}</p>"
        f'<p class="tt-verdict quiet" role="status">{escape(EMPTY)}</p>'
    )


def _sample(view: TopologyView) -> str:
    race = view.before
    return f'<div class="tt-sample">{draw_race(race, dark=view.dark).svg}</div>' if race else ""


# -- the path ------------------------------------------------------------------------------------


def _body(view: TopologyView) -> str:
    css = "bad" if view.error or (view.race and (view.race.broken or view.race.full)) else "good"
    if view.before and view.race and len(view.race.broken) < len(view.before.broken) and view.race.broken:
        css = "warn"
    if view.race and not view.race.broken and any(lane.needs for lane in view.race.lanes):
        css = "quiet"
    line = f'<p class="tt-verdict {css}" role="status">{_strong(verdict(view))}</p>'
    return f'{_path(view)}{_say(view)}{line}<div class="tt-main">{_race(view)}{_aside(view)}</div>'


def _strong(text: str) -> str:
    head, dot, rest = text.partition(". ")
    return f"<b>{escape(head + dot)}</b>{escape(rest)}"


def _marks(view: TopologyView) -> dict[str, set[str]]:
    """Classes of each setting and middlebox: the lanes it is in, and whether it decides a broken one."""
    marks: dict[str, set[str]] = {}
    for lane in view.race.lanes if view.race else ():
        decider = lane.decided_by
        for event in lane.events:
            own = marks.setdefault(event.key, set())
            own.add(f"in-{lane.situation.letter}")
            is_off = lane.verdict == NEVER and event.t_s == inf
            if lane.is_broken and (event == decider or is_off):
                own.add("decides")
    for conflict, _ in view.conflicts:
        for choice in conflict.choices:
            for key in choice.settings:
                marks.setdefault(key, set()).add("conflict")
    return marks


def _path(view: TopologyView) -> str:
    env, marks = view.environment, _marks(view)
    fits = (*pools_of(env.driver), env.pool)
    pools = [("", "no pool"), *((key, name_of(key)) for key in dict.fromkeys(fits) if key)]
    drivers = [(key, name_of(key)) for key in DRIVERS_OF[env.database]]
    pool = _product(view, env.pool, marks, _select("pool", pools, env.pool, do="pool"), "pool")
    driver = _product(view, env.driver, marks, _select("driver", drivers, env.driver, do="driver"), "driver")
    language = of_product(env.driver).language
    head = f"application · {plural(env.instances, 'instance')}" + (f" · {language}" if language else "")
    parts = [_host(head, [pool, driver], _linux(view, marks, "application"), "wide")]
    for i, leg in enumerate(env.legs):
        parts.append(_leg(view, i, marks))
        if i < len(env.proxies):
            key = env.proxies[i]
            choose = _select("proxy", _proxies(env, key), key, do="proxy", at=i)
            own = _product(view, key, marks, choose, "proxy")
            parts.append(
                _host("same host" if leg.is_local else "proxy host", [own], _linux(view, marks, key))
            )
    databases = [(key, name_of(key)) for key in DATABASES]
    choose = _select("database", databases, env.database, do="database")
    footer = f"managed: {env.managed}, no sysctl" if env.managed else _linux(view, marks, "database")
    parts.append(_host("database host", [_product(view, env.database, marks, choose, "database")], footer))
    return f'<div class="tt-path" role="group" aria-label="The path">{"".join(parts)}</div>'


def _proxies(env: Environment, key: str) -> list[tuple[str, str]]:
    fits = [each for each in proxies_of(env.database) if each == key or each not in env.proxies]
    return [("", "(remove)"), *((each, name_of(each)) for each in fits)]


def _host(head: str, boxes: Sequence[str], footer: str, css: str = "") -> str:
    return (
        f'<section class="tt-host {css}"><header>{escape(head)}</header>'
        f'<div class="tt-boxes">{"".join(boxes)}</div><footer>{footer}</footer></section>'
    )


def _linux(view: TopologyView, marks: Mapping[str, set[str]], host: str) -> str:
    """The kernel's strip: what applies where a product has no setting of its own."""
    force = InForce(view.environment)
    owner = "database" if host == "database" else "application"
    names = {
        "keepalive": ("tcp_keepalive_time", "tcp_keepalive_intvl", "tcp_keepalive_probes"),
        "retries2": ("tcp_retries2",), "syn_retries": ("tcp_syn_retries",),
    }  # fmt: skip
    parts = []
    for word, sysctls in names.items():
        if host != "application" and word == "syn_retries":
            continue
        keys = [f"linux.net.ipv4.{name}" for name in sysctls]
        values = "/".join(str(force.linux(key.partition(".")[2], owner)) for key in keys)
        css = _classes(view, keys, marks)
        parts.append(f'<span class="tt-set {css}">{word} {values}</span>')
    return f"Linux {''.join(parts)}"


def _classes(view: TopologyView, keys: Iterable[str], marks: Mapping[str, set[str]]) -> str:
    keys = list(keys)
    css = set().union(*(marks.get(key, set()) for key in keys))
    if any(key in view.ticked for key in keys):
        css = (css - {"decides"}) | {"ticked"}
    css.add("read" if any(key in view.environment.settings for key in keys) else "assumed")
    return " ".join(sorted(css))


def _product(view: TopologyView, key: str, marks: Mapping[str, set[str]], choose: str, role: str) -> str:
    if not key:
        return f'<div class="tt-box"><h4>{choose}</h4></div>'
    rows = "".join(_setting(view, each, marks) for each in _shown(view, key, marks))
    head = f"<h4>{choose}<small>{role}</small></h4>"
    return f'<div class="tt-box">{head}<div class="tt-rows" tabindex="-1">{rows}</div></div>'


def _shown(view: TopologyView, product: str, marks: Mapping[str, set[str]]) -> list[Setting]:
    """The settings of a product that are in force on the path: those that matter most first."""
    env = view.environment
    wanted = _roles(env, product)

    def rank(each: Setting) -> tuple[int, int]:
        key = f"{each.product.key}.{each.name}"
        css = marks.get(key, set())
        order = 0 if key in view.ticked or css & {"decides", "conflict"} else 1 if key in env.settings else 2
        return order if css or order < 2 else 3, 0

    known = find(product=product)
    kept = [e for e in known if f"{product}.{e.name}" in env.settings or wanted & set(e.roles)]
    return sorted(kept, key=rank)


def _roles(env: Environment, product: str) -> set[str]:
    """Roles of settings that count where the product is: as a client, as a server, or both."""
    roles = {each for row in find(product=product) for each in row.roles}
    accepts = {each for each in roles if each.startswith("accepts")}
    ends = {"keepalive", "idle", "interval", "probes", "user timeout", "connect", "answer"}
    if product in SERVERS and product not in env.proxies and product != env.driver:
        return roles - ends
    return roles - accepts if product in CLIENTS and product not in env.proxies else roles


def _setting(view: TopologyView, each: Setting, marks: Mapping[str, set[str]]) -> str:
    key = f"{each.product.key}.{each.name}"
    value = InForce(view.environment).own(each.product.key, each.name)
    css = _classes(view, [key], marks)
    shown = value_text(each, value)
    if each.inherits and not value:
        shown = "Linux"
    label = f"{name_of(each.product.key)}: {each.name}"
    box = _input(label, shown, help=_source(view, each), do="setting", key=key)
    return f'<label class="tt-set {css}"><span>{escape(each.name)}</span>{box}</label>'


def _source(view: TopologyView, each: Setting) -> str:
    """Where a value comes from, and what the setting does."""
    key = f"{each.product.key}.{each.name}"
    for file in view.reading.files if view.reading else ():
        for line in file.lines:
            if line.key == key and line.value is not None:
                return f"{file.name}:{line.number}. {each.says}"
    if key in view.environment.settings:
        return f"set here. {each.says}"
    return f"default of {each.product.title} {each.version} ({each.source}). {each.says}"


@lru_cache(maxsize=1)
def _box_names() -> list[tuple[str, str]]:
    return [(name, name) for name in known_middleboxes()]


def _leg(view: TopologyView, i: int, marks: Mapping[str, set[str]]) -> str:
    env = view.environment
    boxes = "".join(_middlebox(box, i, j, marks) for j, box in enumerate(env.legs[i].middleboxes))
    proxies = [(f"proxy {key}", name) for key, name in _proxies(env, "")[1:]]
    more = [("", "+ add"), *_box_names(), *proxies]
    number = f" {chr(0x2460 + i)}" if len(env.legs) > 1 else ""
    return (
        f'<div class="tt-leg"><small>leg{number}</small>{boxes}'
        f"{_select(f'add to leg {i + 1}', more, '', 'quiet', do='add', leg=i)}</div>"
    )


def _middlebox(box: MiddleboxSettings, i: int, j: int, marks: Mapping[str, set[str]]) -> str:
    css = " ".join(sorted(marks.get(box.name, set())))
    names = [("", "(remove)"), *_box_names()]
    if box.name not in known_middleboxes():
        names.append((box.name, box.name))
    then = [(key, key.replace("_", " ")) for key in EXPIRIES]
    known = known_middleboxes().get(box.name)
    source = "assumed" if known and known.idle_s == box.idle_s else "read"
    choose = _select("box", names, box.name, do="box", leg=i, at=j, field="name")
    idle = _input(
        f"{box.name}: idle timer",
        in_words(box.idle_s),
        "",
        "idle timer",
        do="box",
        leg=i,
        at=j,
        field="idle_s",
    )
    return (
        f'<div class="tt-box tt-middlebox"><h4>{choose}</h4>'
        f'<label class="tt-set {source} {css}"><span>idle timer</span>{idle}</label>'
        f'<label class="tt-set {source}"><span>then</span>'
        f"{_select('then', then, box.expired, do='box', leg=i, at=j, field='expired')}</label></div>"
    )


# -- what you say --------------------------------------------------------------------------------


def number_text(name: str, value: Any) -> str:
    """A number of the environment as its box shows it."""
    knob = KNOBS[name]
    if knob.unit == "s" and value:
        return in_words(value)
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _say(view: TopologyView) -> str:
    boxes = [
        _number(view, name, words, "" if getattr(view.environment, name) or name in view.said else "?")
        for name, words in ASKED.items()
    ]
    more = "".join(_number(view, name, KNOBS[name].label) for name in MORE)
    fold = f'<summary>more</summary><div class="tt-pop">{more}</div>'
    return (
        f'<div class="tt-say"><span>You say:</span>{"".join(boxes)}<details class="tt-more" data-keep="more">'
        f'{fold}</details><span class="tt-calm">dashed: our guess</span></div>'
    )


def _number(view: TopologyView, name: str, words: str, unknown: str = "") -> str:
    knob, value = KNOBS[name], getattr(view.environment, name)
    css = "read" if name in view.said else "assumed"
    text = unknown or number_text(name, value)
    help = f"{knob.range_text()}{f'; 0: {knob.zero}' if knob.zero else ''}"
    return f"<label>{escape(words)} {_input(words, text, css, help, do='number', field=name)}</label>"


# -- the race and what is beside it --------------------------------------------------------------


def _race(view: TopologyView) -> str:
    if view.race is None:
        return '<div class="tt-race"></div>'
    if view.page == "table":
        shown = f'<div class="tt-table" tabindex="0">{race_table(view.race, view.before)}</div>'
    else:
        row = row_height(view.race)
        lanes = "".join(
            f'<li tabindex="0" data-lane="{lane.situation.letter}" aria-label="{escape(lane.sentence)}" '
            f'title="{escape(lane.sentence)}" style="top:{TOP - 4 + row * i}px;height:{row}px"></li>'
            for i, lane in enumerate(view.race.lanes)
        )
        svg = draw_race(view.race, view.before, dark=view.dark).svg
        listed = f'<ol aria-label="The race">{lanes}</ol>'
        shown = f'<div class="tt-picture" style="width:{WIDTH}px">{svg}{listed}</div>'
    is_table = view.page == "table"
    toggle = _button("as a table" if not is_table else "as a picture", "small", is_table, do="page",
                     page="race" if is_table else "table")  # fmt: skip
    return f'<div class="tt-race">{shown}<div class="tt-counts">{_counts(view.race)}{toggle}</div></div>'


def _counts(race: Race) -> str:
    """Bars for counts, not seconds: the fullest first."""
    known = [each for each in race.counts if 0 < each.right < inf]
    fullest = sorted(known, key=lambda each: -each.left / each.right)[:3]
    return "".join(
        f'<div class="tt-count {"" if each.holds else "bad"}" title="{escape(each.numbers)}">'
        f"{escape(each.name)} <b>{each.left:,.0f} of {each.right:,.0f}{'' if each.holds else ' ✗'}</b>"
        f'<i style="--share:{min(each.left / each.right, 1):.3f}"></i></div>'
        for each in fullest
    )


def _aside(view: TopologyView) -> str:
    if view.page == "lines":
        inner = _lines(view)
    elif view.conflicts:
        inner = _conflicts(view) + _remedies(view)
    else:
        inner = _remedies(view)
    count = len({change.file for each in view.remedies if each.is_on for change in each.remedy.changes})
    export = f"Export {plural(count, 'file')} ▾" if count else "Export ▾"
    return (
        f'<aside class="tt-aside"><div class="tt-scroll" data-keep="aside">{inner}</div>'
        f"<footer>{_button(export, 'main', do='page', page='export')} diff · report · topology.toml for CI"
        "</footer></aside>"
    )


def _conflicts(view: TopologyView) -> str:
    made = [f'<h4 class="bad">{plural(len(view.conflicts), "conflict")}</h4>']
    for i, (conflict, chosen) in enumerate(view.conflicts):
        choices = "".join(
            f'<label class="tt-choice"><input type="radio" name="tt-conflict-{i}" '
            f"{'checked ' * (j == chosen)}{_do(do='choose', conflict=i, choice=j)}>"
            f"{escape(choice.label)}</label>"
            for j, choice in enumerate(conflict.choices)
        )
        why = f"<small>{escape(conflict.why)}</small>" if conflict.why else ""
        made.append(f"<fieldset><legend>{escape(conflict.sentence)}</legend>{choices}{why}</fieldset>")
    return "".join(made)


def _lines(view: TopologyView) -> str:
    """What the lines of the files became, those that are not used first."""
    files = view.reading.files if view.reading else ()
    made = [f"<h4>Lines not used {_button('back', 'small', do='page', page='race')}</h4>"]
    for file in files:
        for line in file.of(NOT_USED):
            use = ""
            if line.correction:
                use = _button(f"use {line.correction}", "small", do="correct", file=file.name,
                              line=line.number, name=line.name)  # fmt: skip
            where = f"{escape(file.name)}:{line.number} <code>{escape(line.name)}</code>"
            made.append(f"<p>{where}<br>{escape(line.why)} {use}</p>")
    calm = [line.name for file in files for line in file.of(NO_EFFECT)]
    dropped = [line.name for file in files for line in file.of(SECRET)]
    for words, names in (
        ("Known, without effect on how long a connection lasts", calm),
        ("Secret, dropped", dropped),
    ):
        if names:
            made.append(f"<p>{words}: {escape(', '.join(dict.fromkeys(names)))}</p>")
    return "".join(made)


def owner_of(remedy: Remedy) -> str:
    """Under which heading a remedy is."""
    return LAST if remedy.is_last else WHO[remedy.who[0] if remedy.who else ""]


def _remedies(view: TopologyView) -> str:
    made = [f"<h4>Fix it: tick to replay {_button('suggest a set', 'small', do='suggest')}</h4>"]
    if not view.remedies:
        broken = view.race and (view.race.broken or view.race.full)
        made.append(
            f"<p>{'No setting of these products mends it.' if broken else 'Nothing has to be changed.'}</p>"
        )
    letters = {lane.key: lane.situation.letter for lane in view.race.lanes} if view.race else {}
    for owner in (*WHO.values(), LAST):
        own = [each for each in view.remedies if owner_of(each.remedy) == owner]
        if own:
            items = "".join(_remedy(each, letters) for each in own)
            made.append(f'<h5>{owner}</h5><ul class="tt-remedies" aria-label="{owner}">{items}</ul>')
    return "".join(made)


def _remedy(offered: OfferedRemedy, letters: Mapping[str, str]) -> str:
    remedy = offered.remedy
    values = ", ".join(
        f"{change.setting.name.removeprefix('net.ipv4.')} = {_plainly(change.value)}{change.unit}"
        for change in remedy.changes
    )
    badges = "".join(
        f'<i class="tt-badge {"good" if offered.is_on else "bad"}">{letters[key]}</i>'
        for key in offered.mends
        if key in letters
    )
    mends = (
        f"fixes {', '.join(letters[k] for k in offered.mends if k in letters)}" if offered.mends else "a part"
    )
    how = "; ".join(
        [*dict.fromkeys(APPLIES[change.setting.applies] for change in remedy.changes), *remedy.prices]
    )
    on = " checked" if offered.is_on else ""
    box = f'<input type="checkbox"{on} {_do(do="tick", name=remedy.name)}>'
    return (
        f'<li><label title="{escape(f"{values}. {how}")}">{box} '
        f'<span><b>{escape(remedy.name)}</b> {badges}<span class="tt-hidden">{mends}</span>'
        f"<code>{escape(values)}</code><small>{escape(how)}</small></span></label></li>"
    )


def _export(view: TopologyView) -> str:
    columns = "".join(f"<section><h4>{escape(name)}</h4>{html}</section>" for name, html in view.exports)
    return (
        f'<div class="tt-export"><h4>Export {_button("Close", "small", do="page", page="race")}'
        f'<span class="tt-calm">no passwords</span></h4><div class="tt-columns">{columns}</div></div>'
    )


def still_html(view: TopologyView) -> str:
    """The form where no script runs: the verdict, the picture and the table."""
    said = f"<p><b>What if: your path to the database</b></p><p>{escape(verdict(view))}</p>"
    if view.race is None:
        return said
    return said + draw_race(view.race, view.before).svg + race_table(view.race, view.before)


def _plainly(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def changes_of(remedies: Iterable[Remedy]) -> dict[str, Any]:
    """The settings of some remedies."""
    return {change.key: change.value for remedy in remedies for change in remedy.changes}
