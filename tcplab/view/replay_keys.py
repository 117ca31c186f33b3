"""The keys of a replay: they step it wherever in it the focus is, and don't reach JupyterLab."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

#: The class of the box whose keys they are.
BOX = "tcplab-replay"


class ReplayKeys(anywidget.AnyWidget):
    """Nothing to see. Put it into a box of class `BOX`; calls `pressed` with each key's name."""

    _esm = Path(__file__).with_name("replay_keys.js")

    #: How many messages were worked off: the page then sends what was pressed meanwhile.
    taken = traitlets.Int(0).tag(sync=True)

    def __init__(self, pressed: Callable[[str], None]) -> None:
        super().__init__()
        self._pressed = pressed
        self.on_msg(self._on_message)

    def _on_message(self, widget: Any, content: Any, buffers: Any) -> None:
        try:
            for key in content["keys"]:
                self._pressed(key)
        finally:
            self.taken += 1
