"""The what-if form: your own topology, and at once what breaks first, when, and what to paste.

Everything stays in the notebook kernel. Values live in Python, so a cell or a test can set them too:

    form = topology("On-prem: firewall, Oracle")
    form.set(longest_idle_s=28_800)
    print(form.sentence)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from html import escape
from math import inf
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from tcplab.advice import Advice, Check, Environment, MiddleboxSettings, advise, read_settings
from tcplab.advice.checks import words
from tcplab.advice.environment import (
    DATABASES,
    DRIVERS_OF,
    PRESETS,
    PROXIES,
    Leg,
    known_middleboxes,
    proxies_of,
)
from tcplab.advice.products import title as product_title
from tcplab.advice.race import race
from tcplab.advice.race_lanes import Race
from tcplab.core.catalogue import EXPIRIES
from tcplab.core.knobs import Knob, ParameterError
from tcplab.core.releases import LISTED
from tcplab.core.table import Markup, html_table
from tcplab.core.text import bullets, download, number, paragraph, terminal, to_copy, to_paste
from tcplab.lesson.form import live
from tcplab.pictures.race import draw_race, race_table
from tcplab.widgets.base import (
    Action,
    Fold,
    Quiet,
    Shell,
    Tabs,
    button,
    explanation,
    in_row,
    labelled,
    meaning,
    title,
    titled,
    visible,
)  # fmt: skip

#: Bytes of a file that can't be one of ours.
LARGEST = 1_000_000
FILENAME = "topology.json"


def from_bytes(content: bytes, name: str) -> Environment:
    """The environment in a file. Raises `ParameterError` with one sentence that names it."""
    if len(content) > LARGEST:
        raise ParameterError(f"{name} has {len(content):,} bytes: a saved topology has at most {LARGEST:,}.")
    try:
        return Environment.from_json(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ParameterError(f"{name} is no text: use a file that this form has saved.") from None
    except ParameterError as mistake:
        raise ParameterError(f"{name}: {mistake}") from None


def load(path: str | Path) -> Environment:
    """The environment in a file. Raises `ParameterError` with one sentence that names it."""
    path = Path(path).expanduser()
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        raise ParameterError(f"{path} can't be read: {_why(error)}.") from None
    return from_bytes(content, path.name)


def save(environment: Environment, path: str | Path) -> Path:
    """Write it; returns where. Raises `ParameterError` with one sentence, also for a file of another kind."""
    path = Path(path).expanduser()
    if path.is_file():
        try:
            load(path)
        except ParameterError:
            raise ParameterError(f"{path} is there already, and no saved topology: another name.") from None
    try:
        path.write_text(environment.to_json() + "\n", "utf-8")
    except (OSError, ValueError) as error:
        raise ParameterError(f"{path} can't be written: {_why(error)}.") from None
    return path


def _why(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).rstrip(".")


def link(environment: Environment) -> str:
    """A link that hands the file to the browser."""
    content = (environment.to_json() + "\n").encode()
    return download(FILENAME, content, "application/json") + to_copy(FILENAME, content)


def as_lines(settings: Mapping[str, Any]) -> str:
    """``product.name = value``, a line each, in the product's own unit: `read_settings` reads them."""
    return "\n".join(
        f"{key} = {str(value).lower() if isinstance(value, bool) else value}"
        for key, value in settings.items()
    )


#: Who may change a setting, in words.
WHO = {
    "dba": "The DBA", "application": "The application's team", "network": "The network team",
    "cloud": "The cloud team", "": "Only the vendor",
}  # fmt: skip
_BROKEN = (
    "check", "what must hold", "margin", "when, and who hears", "what it prints", "left behind", "decides",
)  # fmt: skip
_HOLDS = ("check", "what holds", "margin")


def first(advice: Advice) -> str:
    """What breaks first, when, with which message, and which timer decides."""
    broken, count = advice.broken, len(advice.checks)
    notes = "".join(f" {note}" for note in advice.notes)
    if not broken:
        return f"Nothing breaks: all {count} checks hold.{notes}"
    check = broken[0]
    where = f" ({check.leg})" if check.leg else ""
    sentences = [
        f"{len(broken)} of {count} checks {'is' if len(broken) == 1 else 'are'} broken.",
        f"What breaks first, {when(check.breaks_after_s)}: {check.name}{where}.",
        f"What must hold and does not: {_numbers(check)}. {check.says}",
        f"{capital(heard(check))}.",
    ]
    if check.message:
        sentences.append(f"Printed: “{check.message}”.")
    if check.winner:
        sentences.append(f"What decides: {check.winner}.")
    if check.left_behind:
        sentences.append(check.left_behind)
    return " ".join(sentences) + notes


def capital(text: str) -> str:
    """With a capital letter at the beginning."""
    return text[:1].upper() + text[1:]


def when(seconds: float | None) -> str:
    """`at once`, `after 350 s (5 min 50 s)`."""
    if not seconds:
        return "at once"
    if seconds == inf:
        return "never"
    said = words(seconds)
    return f"after {said}" if seconds < 100 else f"after {round(seconds):,} s ({words(round(seconds))})"


def heard(check: Check) -> str:
    """Which program gets an error, and when."""
    if check.heard_after_s == inf:
        return f"{check.heard_by} never hears of it"
    return f"{check.heard_by} hears {when(check.heard_after_s)}"


def checks_table(advice: Advice) -> str:
    """Every check in a row: first the broken ones, by when they break, then those that hold."""
    holds = [check for check in advice.checks if check.holds]
    made = ""
    if advice.broken:
        caption = f"✗ {len(advice.broken)} broken, the first to break first"
        made += _table(caption, _BROKEN, map(_broken, advice.broken))
    if holds:
        made += _table(f"✓ {len(holds)} hold", _HOLDS, map(_held, holds))
    return made


def _table(caption: str, headings: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    caption += "; the number in brackets is that of the inequality"
    classes = "tcplab-table tcplab-checks"
    return html_table(headings, rows, caption=caption, row_headings=True, classes=classes)


def _held(check: Check) -> list[str]:
    sign = "✓" if check.holds else "✗"
    where = f"<br><i>{escape(check.leg)}</i>" if check.leg else ""
    name = Markup(f"{sign} ({check.inequality}) {escape(check.name)}{where}")
    return [name, Markup(f"{escape(_numbers(check))}<br>{escape(check.says)}"), _margin(check)]


def _broken(check: Check) -> list[str]:
    error = f"{capital(when(check.breaks_after_s))}; {heard(check)}."
    decides = f"▶ {check.winner}" if check.winner else "–"
    return [*_held(check), error, check.message or "–", check.left_behind or "–", decides]


def _numbers(check: Check) -> str:
    """The inequality in mathematics' signs."""
    return check.numbers.replace(" x ", " × ").replace(" <= ", " ≤ ")


def _margin(check: Check) -> str:
    """How much is left; a whole timer of it is missing where one side never ends."""
    if abs(check.margin) == inf:
        return "unlimited" if check.margin > 0 else "no limit at all"
    sign = "−" if check.margin < 0 else "+"
    return f"{sign}{number(abs(check.margin), check.unit)}"


def changes_html(advice: Advice) -> str:
    """What to change: by who may, then as text to paste, then what no setting mends."""
    return "".join(_changes(advice))


def _changes(advice: Advice) -> Iterator[str]:
    if not advice.changes:
        yield paragraph(
            "Nothing has to be changed." if not advice.broken else "No setting of these products mends it."
        )
    for who, changes in advice.by_who().items():
        yield f"<h4>{escape(WHO[who])}</h4>{bullets(change.sentence for change in changes)}"
    for kind, text in advice.paste.items():
        yield f"<h4>To paste: {escape(kind)}</h4>{to_paste(kind, text)}"
    if advice.left:
        yield f"<h4>Still broken with all of that</h4>{bullets(check.sentence for check in advice.left)}"


def prove_html(advice: Advice) -> str:
    """The command that shows it on each leg, and what it shows."""
    made = paragraph("When it is set, open a new connection, leave it idle, and look: the time counts down.")
    for leg, line in zip(advice.environment.legs, advice.prove.splitlines(), strict=True):
        command, _, note = line.removeprefix(f"{leg.name}: ").partition("   # ")
        made += f"<h4>{escape(leg.name)}</h4>{terminal(f'command for {leg.name}', escape(command))}"
        made += paragraph(f"{capital(note)}.")
    return made


# -- the form: what is typed ----------------------------------------------------------------------

#: What the list of known boxes says while the numbers are those of none.
OWN_BOX = "another one: your own numbers"
_EXPIRED = {words: expired for expired, words in EXPIRIES.items()}
_KINDS = {"any segment, probes too": "layer4", "only data": "layer7", "only a new request": "requests"}


class BoxRow(Quiet, widgets.VBox):
    """One box, chosen by name or typed. Calls `changed`, and `removed` with itself."""

    def __init__(
        self, box: MiddleboxSettings | None, changed: Callable[[], None], removed: Callable[[BoxRow], None]
    ) -> None:
        box = box or known_middleboxes()["AWS NLB"]
        self._changed = changed
        self.known = titled(widgets.Dropdown(options=[OWN_BOX, *known_middleboxes()], description="box"))
        self.fields: dict[str, Any] = {
            "name": widgets.Text(description="its name"),
            "idle_s": widgets.FloatText(description="forgets after (s); 0: never"),
            "expired": widgets.Dropdown(options=list(_EXPIRED.items()), description="and then"),
            "kind": widgets.Dropdown(options=list(_KINDS.items()), description="what is a sign of life"),
            "age_s": widgets.FloatText(description="ends any older than (s); 0: none"),
            "ports": widgets.IntText(description="NAT: ports to one server; 0: no NAT"),
            "time_wait_s": widgets.FloatText(description="NAT: keeps a closed port (s)"),
        }
        for field in self.fields.values():
            field.continuous_update = False
            self.react(titled(field), lambda value: self._on_field())
        self.react(self.known, self._on_known)
        remove = button("Remove this box", "trash", lambda: removed(self))
        rest = list(self.fields.values())
        more = Fold("name, age, NAT, remove", grid([rest[0], *rest[3:], remove]))
        super().__init__([grid([self.known, *rest[1:3]]), more])
        self.add_class("tcplab-box")
        self.show(box)

    def box(self) -> MiddleboxSettings:
        """What is typed. Raises `ParameterError` with one sentence."""
        return MiddleboxSettings(**{name: field.value for name, field in self.fields.items()})

    def show(self, box: MiddleboxSettings) -> None:
        """Show another box; `changed` is not called."""
        with self.quietly():
            for name, field in self.fields.items():
                field.value = getattr(box, name)
            self.known.value = box.name if known_middleboxes().get(box.name) == box else OWN_BOX

    def _on_known(self, name: str) -> None:
        if chosen := known_middleboxes().get(name):
            self.show(chosen)
            self._changed()

    def _on_field(self) -> None:
        name = self.fields["name"].value
        known = known_middleboxes().get(name)
        same = known and all(getattr(known, each) == field.value for each, field in self.fields.items())
        with self.quietly():
            self.known.value = name if same else OWN_BOX
        self._changed()


def grid(children: Sequence[Any]) -> widgets.Box:
    """Fields in columns, as many as there is room for."""
    return widgets.Box(list(children)).add_class("tcplab-fields")


#: What is asked first; the rest is folded away.
ASKED_FIRST = (
    "longest_silent_query_s", "longest_idle_s", "notice_within_s", "outage_s", "lost_probes", "instances",
    "pool_size", "connects_per_s", "backlog", "max_connections",
)  # fmt: skip
MORE = ("hold_s", "ports", "acquire_timeout_s")
_HELP = {
    "longest_silent_query_s": "How long the slowest query or report works before its first row.",
    "longest_idle_s": "How long a session may rest between two queries: overnight in a client, in a pool.",
    "notice_within_s": "How soon either end must know that the other is gone.",
    "outage_s": "How long your users bear it.",
    "lost_probes": "Keepalive probes in a row that may get lost without harm.",
    "instances": "Processes, pods or hosts of the application, each with a pool of its own.",
    "pool_size": "Connections of one of them.",
    "connects_per_s": "New connections of one instance; 0: hardly any.",
    "backlog": "How many may wait for the first server to take them; 0: as it comes.",
    "max_connections": "Of the database; 0: as it comes.",
    "hold_s": "How long a new connection lasts, where there are many.",
    "ports": "Of one host of the application; 0: Linux's range.",
    "acquire_timeout_s": "How long a thread waits for a connection of its pool; 0: the pool's own setting.",
}
_TWO = ("pgbouncer", "haproxy")
_CHAINS = ((), *((each,) for each in PROXIES), _TWO, _TWO[::-1])
_KNOBS: dict[str, Knob] = {
    each.name: each.metadata["knob"] for each in fields(Environment) if "knob" in each.metadata
}


class EnvironmentForm(Quiet, widgets.Tab):
    """An environment to type: `environment` builds it. `changed` is called when the learner changes it.

    `more_pages` come after its own, by title.
    """

    def __init__(self, changed: Callable[[], None], more_pages: Mapping[str, widgets.Widget]) -> None:
        self._changed = changed
        #: What is set today: the form has no row for each of a hundred settings.
        self.settings: dict[str, Any] = {}
        databases = [(_people(each), each) for each in DATABASES]
        pools = [(product_title(each) if each else "none", each) for each in _KNOBS["pool"].choices]
        self.database = self._choice("database", databases, self._on_products)
        self.driver = self._choice("driver", [], self._on_change)
        self.pool = self._choice("pool", pools, self._on_change)
        self.proxies = self._choice("proxies on the way", [], self._on_products)
        self.linux = self._choice("Linux on the hosts", LISTED, self._on_change)
        self.numbers = {name: self._number(name) for name in (*ASKED_FIRST, *MORE)}
        self._meanings = {name: widgets.HTML().add_class("tcplab-meaning") for name in self.numbers}
        self.legs: list[LegForm] = []
        self._path = widgets.VBox()
        more = grid([*(self._row(name) for name in MORE), self.linux])
        fold = Fold(f"{len(MORE) + 1} more that seldom matter", more)
        pages = {
            "1 · Who talks to whom": grid([self.database, self.driver, self.pool, self.proxies]),
            "2 · Boxes on the way": self._path,
            "3 · How long, how many": widgets.VBox([grid([self._row(name) for name in ASKED_FIRST]), fold]),
        } | dict(more_pages)
        super().__init__(list(pages.values()), titles=list(pages))
        self.selected_index = 0

    def environment(self) -> Environment:
        """What is typed. Raises `ParameterError` with one sentence where it can't be."""
        numbers = {name: box.value for name, box in self.numbers.items()}
        return Environment(
            database=self.database.value, driver=self.driver.value, pool=self.pool.value,
            proxies=self.proxies.value, legs=tuple(leg.leg() for leg in self.legs), linux=self.linux.value,
            settings=self.settings, **numbers,
        )  # fmt: skip

    def show(self, environment: Environment) -> None:
        """Show another environment; `changed` is not called."""
        with self.quietly():
            self.settings = dict(environment.settings)
            self.database.value = environment.database
            self._offer(environment.driver, environment.proxies)
            self.pool.value = environment.pool
            if environment.linux not in self.linux.options:
                self.linux.options = [*self.linux.options, environment.linux]
            self.linux.value = environment.linux
            for name, box in self.numbers.items():
                box.value = getattr(environment, name)
            self._set_legs([LegForm(leg, self._on_change) for leg in environment.legs])
            self._show_meanings()

    def _on_change(self, value: Any = None) -> None:
        if not self._quiet:  # a leg is renamed quietly, too
            self._show_meanings()
            self._changed()

    def _on_products(self, value: Any) -> None:
        """Another database has other drivers; another chain of proxies has other legs."""
        with self.quietly():
            self._offer(self.driver.value, self.proxies.value)
            servers = [_people(each) for each in (*self.proxies.value, self.database.value)]
            clients = ["application", *servers]
            for i, server in enumerate(servers):
                if i < len(self.legs):
                    self.legs[i].name.value = f"{clients[i]} to {server}"
                else:
                    self.legs.append(LegForm(Leg(f"{clients[i]} to {server}"), self._on_change))
            self._set_legs(self.legs[: len(servers)])
        self._on_change()

    def _offer(self, driver: str, proxies: Sequence[str]) -> None:
        """The drivers and proxies that this database has, and of them those wanted if they are there."""
        database = self.database.value
        drivers = DRIVERS_OF[database]
        self.driver.options = [(product_title(each), each) for each in drivers]
        self.driver.value = driver if driver in drivers else drivers[0]
        chains = [each for each in _CHAINS if set(each) <= set(proxies_of(database))]
        self.proxies.options = [(", then ".join(map(_people, each)) or "none", each) for each in chains]
        self.proxies.value = tuple(proxies) if tuple(proxies) in chains else ()

    def _set_legs(self, legs: list[LegForm]) -> None:
        self.legs = legs
        self._path.children = legs

    def _choice(self, label: str, options: Sequence[Any], changed: Callable[[Any], None]) -> Any:
        return self.react(titled(widgets.Dropdown(options=list(options), description=label)), changed)

    def _number(self, name: str) -> Any:
        knob = _KNOBS[name]
        label = title(knob) if knob.unit == "s" else knob.label
        kind = widgets.IntText if knob.kind is int else widgets.FloatText
        field = titled(kind(description=label, continuous_update=False))
        field.tooltip = f"{_HELP[name]} {explanation(knob)}"
        return self.react(field, self._on_change)

    def _row(self, name: str) -> widgets.VBox:
        row = in_row(self.numbers[name], self._meanings[name], css="tcplab-row")
        return widgets.VBox([row, widgets.HTML(f'<div class="tcplab-help">{escape(_HELP[name])}</div>')])

    def _show_meanings(self) -> None:
        for name, box in self.numbers.items():
            self._meanings[name].value = f"<span>{escape(meaning(_KNOBS[name], box.value))}</span>"


class LegForm(widgets.VBox):
    """One leg: its name, and a row for each box on it."""

    def __init__(self, leg: Leg, changed: Callable[[], None]) -> None:
        self._changed = changed
        self.name = titled(widgets.Text(leg.name, description="leg", continuous_update=False))
        self.name.observe(lambda change: changed(), "value")
        self.rows = [BoxRow(box, changed, self.remove) for box in leg.middleboxes]
        self._boxes = widgets.VBox(self.rows)
        add = button("Add a box to this leg", "plus", self.add)
        super().__init__([self.name, self._boxes, add])
        self.add_class("tcplab-leg")

    def leg(self) -> Leg:
        """What is typed. Raises `ParameterError` with one sentence."""
        return Leg(self.name.value, tuple(row.box() for row in self.rows))

    def add(self) -> None:
        """One more box, at first the most common one."""
        self._set([*self.rows, BoxRow(None, self._changed, self.remove)])

    def remove(self, row: BoxRow) -> None:
        """Without this box."""
        self._set([each for each in self.rows if each is not row])

    def _set(self, rows: list[BoxRow]) -> None:
        self.rows = rows
        self._boxes.children = rows
        self._changed()


def _people(product: str) -> str:
    """A product in speech: PostgreSQL, not PostgreSQL server."""
    names = {"oracle": "Oracle", "redis": "Redis"}
    return names.get(product) or product_title(product).removesuffix(" server")


# -- the whole ---------------------------------------------------------------------------------------

#: What the list of presets says while the values are none of them.
OWN = "your own"
#: The title of the tab with the picture.
_TIMERS = "All timers"
ABOUT = (
    "Type what you know; what you don't know may stay as it comes. Round trips and windows are not asked "
    "for. Nothing leaves this machine, as long as your Jupyter runs on it."
)
_PASTE = (
    "Paste what is set today, of one file or of several: a JDBC URL, libpq's string, HikariCP's or Spring's "
    "properties, sysctl.d, postgresql.conf, pgbouncer.ini, my.cnf, redis.conf, sqlnet.ora, haproxy.cfg. What "
    "is read is listed below. Passwords are not kept."
)


class TopologyForm(Shell):
    """A topology to type, and what breaks in it. See `topology`."""

    styles = ("topology.css",)

    def __init__(self, start: Environment) -> None:
        super().__init__("tcplab-topology")
        self._start = self._last = start
        #: The race of timers; None when nothing can be said.
        self.race: Race | None = None
        #: What is typed; None when it can't be.
        self.environment: Environment | None = None
        #: What breaks and what mends it; None when nothing can be said.
        self.advice: Advice | None = None
        #: What was read, pasted, saved or loaded last; empty: nothing was.
        self.message = ""
        #: The same where it is shown; the settings of today; the file to download.
        self.messages = [live(), live()]
        self.set_today, self.link = widgets.HTML(), widgets.HTML()
        pages = {"4 · What is set today": self._paste_area(), "5 · Save and load": self._file_area()}
        self.form = EnvironmentForm(self._update, pages)
        #: What each tab shows.
        self.checks, self.changes, self.proof = (widgets.HTML() for _ in range(3))
        self._picture = widgets.HTML()
        take = button("What if these were set?", "magic", self.take)
        tabs = {
            "What breaks": self.checks,
            _TIMERS: self._picture,
            "Settings to paste": widgets.VBox([take, self.changes]),
            "Prove it": self.proof,
        }
        self.tabs = Tabs(tabs, self._draw)
        self.build(self._head(), widgets.HTML(paragraph(ABOUT)), self.form, self.status, self.tabs)
        self.show(start)

    def show(self, environment: Environment) -> None:
        """Show another environment as a whole."""
        self.form.show(environment)
        self._update()

    def set(self, **values: Any) -> None:
        """Change fields of the environment; `sentence` then says what is wrong with one."""
        names = [each.name for each in fields(Environment)]
        if wrong := [name for name in values if name not in names]:
            self.refuse(f"A topology has no {wrong[0]!r}; it has {', '.join(names)}.")
        else:
            self.guard(lambda: self.show(replace(self._last, **values)))

    def use(self, preset: str) -> None:
        """Show a worked topology, by its name in the list."""
        if preset in PRESETS:
            self.show(PRESETS[preset])
        else:
            self.refuse(f"There is no topology {preset!r}; there are {', '.join(PRESETS)}.")

    def reset(self) -> None:
        """Back to the topology that the form began with."""
        self._report("")
        self.show(self._start)

    def paste(self, text: str) -> None:
        """Read pasted settings; they join those that are there. `message` says what was read."""

        def read() -> None:
            pasted = read_settings(text)
            self.pasted.value = ""  # it may have held a password
            self.form.settings = {**self.form.settings, **pasted}
            self._report(pasted.sentence)
            self._update()

        self._attempt(read)

    def forget_settings(self) -> None:
        """Use every product with its defaults."""
        self.form.settings = {}
        self._report("All settings are forgotten: every product is taken as it comes.")
        self._update()

    def take(self) -> None:
        """Put the settings that mend it into the form, as if they were set."""
        if self.advice is not None:
            new = {change.key: change.value for change in self.advice.changes}
            self.form.settings = {**self.form.settings, **new}
            self._report("This is what comes of the proposed settings.")
            self._update()

    def save(self, path: str | Path) -> None:
        """Write the topology to a file. `message` says where it is, or why that failed."""
        self._attempt(lambda: self._report(f"Saved as {save(self.form.environment(), path).name}."))

    def load(self, path: str | Path) -> None:
        """Show the topology in a file. `message` says what is wrong with one that can't be read."""
        self._attempt(lambda: self._loaded(load(path), Path(path).name))

    def upload(self, content: bytes, name: str) -> None:
        """Show the topology in a file that the browser hands over."""
        self._attempt(lambda: self._loaded(from_bytes(content, name[:60]), name[:60]))

    def _loaded(self, environment: Environment, name: str) -> None:
        self.show(environment)
        self._report(f"Loaded {name}.")

    # -- building ----------------------------------------------------------------------------

    def _head(self) -> widgets.Widget:
        #: The list of worked topologies.
        self.preset = labelled(widgets.Dropdown(options=[OWN, *PRESETS], description="begin with"))
        self.react(self.preset, self._on_preset)
        title = widgets.HTML("<h3>What if: your own topology</h3>")
        return in_row(title, self.preset, button("Reset", "undo", self.reset))

    def _on_preset(self, name: str) -> None:
        if name in PRESETS:
            self._report("")
            self.use(name)

    def _paste_area(self) -> widgets.Widget:
        self.pasted = titled(widgets.Textarea(description="paste your settings", rows=5))
        self.pasted.placeholder = "jdbc:postgresql://db/shop?tcpKeepAlive=true"
        read = button("Read them", "check", lambda: self.paste(self.pasted.value))
        buttons = in_row(read, button("Forget all settings", "eraser", self.forget_settings))
        about = widgets.HTML(paragraph(_PASTE))
        self.pasted.add_class("tcplab-wide")
        return widgets.VBox([about, self.pasted, buttons, self.messages[0], self.set_today])

    def _file_area(self) -> widgets.Widget:
        chosen = widgets.FileUpload(accept=".json", multiple=False, description="Load a saved file")
        self.react(chosen, lambda files: self._on_upload(chosen))
        path = labelled(widgets.Text(FILENAME, description="or a path", continuous_update=False))
        write = button("Save there", "save", lambda: self.save(path.value))
        read = button("Load from there", "folder-open", lambda: self.load(path.value))
        about = "A small file of text: products, boxes, numbers, settings; no passwords."
        rows = [in_row(*parts) for parts in ((self.link, chosen), (path, write, read))]
        for row in rows:
            row.add_class("tcplab-file")
        return widgets.VBox([widgets.HTML(paragraph(about)), *rows, self.messages[1]])

    def _on_upload(self, chosen: Any) -> None:
        for file in chosen.value:
            with self.quietly():
                chosen.value = ()
            self.upload(bytes(file["content"]), str(file["name"]))

    # -- showing -----------------------------------------------------------------------------

    def _attempt(self, action: Action) -> None:
        """Run an action; what is wrong is said as the message, and the answer stays."""
        self.guard(action, lambda why: self._report(f"✗ {why}"))

    def _report(self, message: str) -> None:
        self.message = message
        html = paragraph(message) if message else ""
        for place in self.messages:
            place.value = html

    def _update(self) -> None:
        """Work out what breaks with what is typed, and show all of it, or why not."""
        self.guard(self._advise)

    def _advise(self) -> None:
        environment = self.form.environment()
        advice = advise(environment)
        raced = race(environment)
        self.environment = self._last = environment
        self.advice, self.race = advice, raced
        self.checks.value = checks_table(advice)
        self.changes.value = changes_html(advice)
        self.proof.value = prove_html(advice)
        self.link.value = link(environment)
        lines = as_lines(self.form.settings)
        label = "settings that differ from what comes, in the products' own units"
        nothing = paragraph("Nothing: every product is taken as it comes.")
        self.set_today.value = f"<h4>Set today</h4>{terminal(label, escape(lines)) if lines else nothing}"
        self.say(first(advice))
        self.tabs.renew()

    def _draw(self, title: str) -> None:
        """Draw the timers when they are seen: what is drawn in a hidden place has no width."""
        if title == _TIMERS and self.race:
            self._picture.value = draw_race(self.race).svg + race_table(self.race)

    def refuse(self, why: str) -> None:
        self.environment = self.advice = self.race = None
        self.tabs.forget()
        for each in (self._picture, self.checks, self.changes, self.proof, self.link):
            each.value = ""
        super().refuse(why)

    def say(self, sentence: str, **how: Any) -> None:
        super().say(sentence, **how)
        visible(self.tabs, self.error is None)
        with self.quietly():
            same = (name for name, preset in PRESETS.items() if preset == self.environment)
            self.preset.value = next(same, OWN)

    def _repr_html_(self) -> str:
        said = f"<p><b>What if: your own topology</b></p>{self.status.value}{self.checks.value}"
        return said + (race_table(self.race) if self.race else "")


def topology(start: str | Environment = "", **values: Any) -> TopologyForm:
    """The what-if form, for the last line of a cell: ``topology("AWS: NLB, PgBouncer, RDS", instances=20)``.

    `start`: the name of a worked topology, the path of a saved file, or an `Environment`; without one the
    form begins with libpq and PostgreSQL and no box between. `values` are fields of the environment. What
    is wrong with one of them is said in place of the answer.
    """
    given, why = start or Environment(), ""
    if isinstance(given, str):
        try:
            given = PRESETS.get(given) or load(given)
        except ParameterError as error:
            why = f"{start!r} is no worked topology ({', '.join(PRESETS)}), and as a file: {error}"
            given = Environment()
    form = TopologyForm(given)
    if why:
        form.refuse(why)
    if values:
        form.set(**values)
    return form
