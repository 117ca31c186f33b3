"""Projector mode: larger type and larger pictures for a whole page, and fewer controls.

It is a style sheet and a class on the page's body; the notebook's cells stay as they are. The widget
that switches it needs anywidget, so it is made when it is wanted first.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import anywidget

# ----------------------------------------------------------------------
# Keys that belong to a question and not to JupyterLab around it.
#
# In command mode JupyterLab takes arrow keys and Enter for itself wherever the focus is not in a
# text field: radio buttons could not be moved, nor buttons pressed with Enter. This invisible widget
# keeps those keys inside the box that it stands in. Others, such as Ctrl+S, go through.

_KEEP = """
const KEYS = new Set(["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Enter", " "]);

function keep(event) {
  if (KEYS.has(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey && !event.shiftKey) {
    event.stopPropagation();
  }
}

function render({ el }) {
  el.style.display = "none";
  let box = null;
  let waiting = requestAnimationFrame(function find() {
    box = el.closest(".tcplab-keys");
    if (!box) {
      waiting = requestAnimationFrame(find);
      return;
    }
    box.addEventListener("keydown", keep);
    box.dataset.keys = "kept";
  });
  return () => {
    cancelAnimationFrame(waiting);
    box?.removeEventListener("keydown", keep);
  };
}

export default { render };
"""

#: The class of the box whose keys are kept.
BOX = "tcplab-keys"


class Keys(anywidget.AnyWidget):
    """Put it into a box that has the class `BOX`."""

    _esm = _KEEP


@cache
def _switch() -> Any:
    """The one switch of this kernel, off at first."""
    import anywidget
    import traitlets

    class Switch(anywidget.AnyWidget):
        """Whether the page is set for a projector."""

        _esm = Path(__file__).with_name("projector.js")

        #: The style sheet, which the page keeps as long as this switch lives.
        sheet = traitlets.Unicode().tag(sync=True)
        on = traitlets.Bool(False).tag(sync=True)

        def __repr__(self) -> str:
            if self.on:
                return "Projector mode: larger type and fewer controls, on this whole page."
            return "Projector mode is off."

        def _repr_mimebundle_(self, **options: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
            data, metadata = super()._repr_mimebundle_(**options) or ({}, {})
            return {**data, "text/plain": repr(self)}, metadata

    return Switch(sheet=Path(__file__).with_name("projector.css").read_text(encoding="utf-8"))


def projector(on: bool = True) -> Any:
    """Set the whole page for a projector, or back (`False`); for the last line of a cell.

    Text of at least 18 px, pictures a third larger. Of each explorer stay its first controls, its
    presets, the sentence and the picture: help, *more settings* and the other tabs are hidden.
    What is returned is a switch to click; it holds until it is turned back or its kernel ends.
    """
    switch = _switch()
    switch.on = on
    return switch
