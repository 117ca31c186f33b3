"""A box to type a message into, and below it what it means."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from tcplab.lesson.keys import BOX, Keys
from tcplab.lesson.symptoms import PHASES, look_up
from tcplab.lesson.text import to_html


class SearchBox(widgets.VBox):
    """Type a message, an error number or a time; the answer follows every key."""

    def __init__(self, query: str = "") -> None:
        self.query = widgets.Text(
            value=query,
            description="Message, error number or seconds:",
            placeholder="Connection reset by peer · 2003 (99) · my connect took 127 s",
            style={"description_width": "initial"},
            layout=widgets.Layout(width="auto", max_width="60em"),
        )
        self.phase = widgets.Dropdown(
            options=[("any time", ""), *((text, phase) for phase, text in PHASES.items())],
            description="When it happened:",
            style={"description_width": "initial"},
            layout=widgets.Layout(width="24em"),
        )
        self.found = widgets.HTML()
        for entry in (self.query, self.phase):
            entry.observe(self._search, "value")
        super().__init__([self.query, self.phase, self.found, Keys()])
        self.add_class(BOX)
        self._search()

    def _search(self, _: Any = None) -> None:
        self.found.value = look_up(self.query.value, self.phase.value)._repr_html_()

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = dict(super()._repr_mimebundle_(**options) or {})
        text = "Run this cell to get a box to type into; the whole table stands below."
        return bundle | {"text/plain": text, "text/html": to_html(text)}
