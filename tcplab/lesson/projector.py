"""Projector mode: larger type and larger pictures for a whole page, and fewer controls.

It is a style sheet and a class on the page's body; the notebook's cells are not changed. The widget that
switches it needs anywidget, so it is made when first wanted.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any


@cache
def _switch() -> Any:
    """The one switch of this kernel, off at first."""
    import anywidget
    import traitlets

    class Switch(anywidget.AnyWidget):
        """A switch on the page: projector mode or not."""

        _esm = Path(__file__).with_name("projector.js")

        #: The style sheet, which the page keeps as long as this switch exists.
        sheet = traitlets.Unicode().tag(sync=True)
        on = traitlets.Bool(False).tag(sync=True)

        def __repr__(self) -> str:
            if self.on:
                return "Projector mode: larger type and fewer controls, on this whole page."
            return "Projector mode is off."

    return Switch(sheet=Path(__file__).with_name("projector.css").read_text(encoding="utf-8"))


def projector(on: bool = True) -> Any:
    """Set the whole page for a projector, or back (`False`); for the last line of a cell.

    Text of at least 18 px, pictures a third larger. Each explorer keeps its first controls, its presets,
    the sentence and the picture: help, *more settings* and the other tabs are hidden. Returns a switch to
    click; it holds until it is turned back or its kernel ends.
    """
    switch = _switch()
    switch.on = on
    return switch
