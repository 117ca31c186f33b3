"""A living plotly figure: shows its last picture, in every front end and after a reload.

plotly's own FigureWidget hands a newly attached front end the figure of its constructor, and sends
5 MB per instance. This one has a single synchronised trait, the whole figure as JSON: one message
per change, drawn by `Plotly.react`, which touches only what differs. A reloaded page asks for the
widget's state and gets that same trait, so it cannot show an older picture. plotly's JavaScript
travels once per page, when the first picture is wanted, and comes from the installed package:
no network is needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import plotly.graph_objects as go
import traitlets

from tcplab.pictures.theme import JUPYTER_STYLE, PICTURE_CLASS, Picture

#: What is said of a picture that brings no words of its own.
_NO_WORDS = "Picture: the sentence beside it says what it shows."
_TABLE_STYLE = """
.tcplab-as-table { margin: 0.2em 0 0.6em; font-size: 14px; }
.tcplab-as-table > summary { cursor: pointer; }
.tcplab-as-table > div { max-height: 36rem; overflow: auto; }
.tcplab-as-table caption { text-align: left; padding: 0.3em 0; }
.tcplab-as-table th, .tcplab-as-table td { padding: 0.1em 0.8em; text-align: left; white-space: nowrap; }
.tcplab-as-table .n { text-align: right; }
"""


class LivingFigure(anywidget.AnyWidget):
    """One figure in a notebook. `show` replaces what it shows; `clear` leaves the place empty."""

    _esm = Path(__file__).with_name("figure.js")
    _css = JUPYTER_STYLE.removeprefix("<style>").removesuffix("</style>") + _TABLE_STYLE

    #: What is drawn, as JSON: data, layout, a file name for saving it, and how many changes it has
    #: seen. Empty: nothing. A text, because ipywidgets walks through lists item by item.
    drawn = traitlets.Unicode("").tag(sync=True)
    #: What a screen reader says in place of the picture.
    said = traitlets.Unicode("").tag(sync=True)
    #: The same as a table, HTML whose texts are escaped: folded away below the picture. Empty: none.
    table = traitlets.Unicode("").tag(sync=True)
    #: The last click: {"y": in units of the y axis, "change": of which drawing}.
    clicked = traitlets.Dict({}).tag(sync=True)

    def __init__(self, filename: str = "tcplab", **options: Any) -> None:
        super().__init__(**options)
        self.add_class(PICTURE_CLASS)
        self.on_msg(self._on_message)
        self._filename = filename
        #: How many pictures it has shown.
        self.changes = 0
        self._picture: Picture | None = None

    def show(self, picture: Picture, said: str = "", table: str = "") -> None:
        """Draw this instead of what was there.

        `said` is what it shows, in words; without it, it refers to the sentence that stands beside every
        picture. `table` is the same as HTML, where no other place has it.
        """
        self.said, self.table = said or _NO_WORDS, table
        self.changes += 1
        self._picture = picture
        drawn = {
            "data": picture.data,
            "layout": picture.layout,
            "filename": self._filename,
            "change": self.changes,
        }
        self.drawn = json.dumps(drawn, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    def clear(self) -> None:
        """Draw nothing."""
        self._picture = None
        self.drawn = self.said = self.table = ""

    @property
    def figure(self) -> go.Figure | None:
        """What is drawn, as a plotly figure of its own; None when nothing is."""
        return self._picture.figure() if self._picture else None

    def on_click(self, action: Callable[[float], None]) -> None:
        """Call `action` with the y of every click on the picture that is drawn."""

        def clicked(change: Any) -> None:
            click = change["new"]
            if click.get("change") == self.changes and self._picture:
                action(click["y"])

        self.observe(clicked, "clicked")

    def _on_message(self, widget: Any, content: Any, buffers: Any) -> None:
        """A page that has no plotly yet asks for it."""
        if content == "plotly?":
            from plotly.offline import get_plotlyjs

            self.send("plotly", [get_plotlyjs().encode()])
