"""Keys that belong to a question and not to JupyterLab around it.

In command mode JupyterLab takes arrow keys and Enter for itself wherever the focus is not in a
text field: radio buttons could not be moved, nor buttons pressed with Enter. This invisible widget
keeps those keys inside the box that it stands in. Others, such as Ctrl+S, go through.
"""

from __future__ import annotations

import anywidget

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
