"""Gives the sliders of an explorer the name and the value that a screen reader says."""

from __future__ import annotations

from pathlib import Path

import anywidget


class SliderNames(anywidget.AnyWidget):
    """Nothing to see: works on the sliders of the `.tcplab-explorer` that it stands in.

    ipywidgets leaves a slider's handle without a name, and of one over a list it says the position
    in the list.
    """

    _esm = Path(__file__).with_name("names.js")
