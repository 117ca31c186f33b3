"""An environment to type: products, the boxes between them, numbers. What breaks in it is said elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from html import escape
from typing import Any

import ipywidgets as widgets

from tcplab.advice import MiddleboxSettings
from tcplab.advice.environment import DATABASES, DRIVERS_OF, PROXIES, Environment, Leg, known_middleboxes
from tcplab.advice.products import title
from tcplab.core.catalogue import EXPIRIES
from tcplab.core.knobs import Knob
from tcplab.core.releases import LISTED
from tcplab.widgets.base import Fold, Quiet, button, explanation, in_row, meaning, titled
from tcplab.widgets.base import title as knob_title

#: What the list of known boxes says while the numbers are those of none.
OWN = "another one: your own numbers"
_EXPIRED = {words: expired for expired, words in EXPIRIES.items()}
_KINDS = {"any segment, probes too": "layer4", "only data": "layer7", "only a new request": "requests"}


class BoxRow(Quiet, widgets.VBox):
    """One box, chosen by name or typed. Calls `changed`, and `removed` with itself."""

    def __init__(
        self, box: MiddleboxSettings | None, changed: Callable[[], None], removed: Callable[[BoxRow], None]
    ) -> None:
        box = box or known_middleboxes()["AWS NLB"]
        self._changed = changed
        self.known = titled(widgets.Dropdown(options=[OWN, *known_middleboxes()], description="box"))
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
            self.known.value = box.name if known_middleboxes().get(box.name) == box else OWN

    def _on_known(self, name: str) -> None:
        if chosen := known_middleboxes().get(name):
            self.show(chosen)
            self._changed()

    def _on_field(self) -> None:
        name = self.fields["name"].value
        known = known_middleboxes().get(name)
        same = known and all(getattr(known, each) == field.value for each, field in self.fields.items())
        with self.quietly():
            self.known.value = name if same else OWN
        self._changed()


def grid(children: Sequence[Any]) -> widgets.Box:
    """Fields in columns, as many as there is room for."""
    return widgets.Box(list(children)).add_class("tcplab-fields")


#: What is asked first; the rest is folded away.
FIRST = (
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
_CHAINS = ((), *((each,) for each in PROXIES), PROXIES, tuple(reversed(PROXIES)))
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
        pools = [(title(each) if each else "none", each) for each in _KNOBS["pool"].choices]
        self.database = self._choice("database", databases, self._on_products)
        self.driver = self._choice("driver", [], self._on_change)
        self.pool = self._choice("pool", pools, self._on_change)
        self.proxies = self._choice("proxies on the way", [], self._on_products)
        self.linux = self._choice("Linux on the hosts", LISTED, self._on_change)
        self.numbers = {name: self._number(name) for name in (*FIRST, *MORE)}
        self._meanings = {name: widgets.HTML().add_class("tcplab-meaning") for name in self.numbers}
        self.legs: list[LegForm] = []
        self._path = widgets.VBox()
        more = grid([*(self._row(name) for name in MORE), self.linux])
        fold = Fold(f"{len(MORE) + 1} more that seldom matter", more)
        pages = {
            "1 · Who talks to whom": grid([self.database, self.driver, self.pool, self.proxies]),
            "2 · Boxes on the way": self._path,
            "3 · How long, how many": widgets.VBox([grid([self._row(name) for name in FIRST]), fold]),
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
        self.driver.options = [(title(each), each) for each in drivers]
        self.driver.value = driver if driver in drivers else drivers[0]
        chains = [each for each in _CHAINS if database == "postgresql" or "pgbouncer" not in each]
        self.proxies.options = [(", then ".join(map(_people, each)) or "none", each) for each in chains]
        self.proxies.value = tuple(proxies) if tuple(proxies) in chains else ()

    def _set_legs(self, legs: list[LegForm]) -> None:
        self.legs = legs
        self._path.children = legs

    def _choice(self, label: str, options: Sequence[Any], changed: Callable[[Any], None]) -> Any:
        return self.react(titled(widgets.Dropdown(options=list(options), description=label)), changed)

    def _number(self, name: str) -> Any:
        knob = _KNOBS[name]
        label = knob_title(knob) if knob.unit == "s" else knob.label
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
    return names.get(product) or title(product).removesuffix(" server")
