"""The map of `idle_map.py` with its settings to turn: one call in a notebook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ipywidgets as widgets

from tcplab.knobs import ParameterError
from tcplab.view.controls import Control
from tcplab.view.figure_widget import LivingFigure
from tcplab.view.idle_fate import Silence
from tcplab.view.idle_map import draw_idle_map
from tcplab.view.names import SliderNames
from tcplab.view.panels import paragraph

_STYLE = Path(__file__).with_name("explorer.css")


class IdleMap(widgets.VBox):
    """Keepalive against a box's idle timer, to turn and to watch. See `idle_map`."""

    def __init__(self, **initial: Any) -> None:
        self._values = Silence.defaults()
        knobs = Silence.knobs()
        self._shown = [name for name in knobs if name not in ("latency_ms", "linux", "seed")]
        self._controls = {
            name: Control(knobs[name], self._values[name], [initial.get(name)], self._turned(name))
            for name in self._shown
        }
        #: What becomes of the silence, or why that can't be said.
        self.sentence = ""
        #: The settings that are shown; None when they can't be used.
        self.silence: Silence | None = None
        self._figure = LivingFigure("idle_map")
        self._said = widgets.HTML()
        grid = widgets.Box([control.widget for control in self._controls.values()])
        style = widgets.HTML(f"<style>{_STYLE.read_text()}</style>").add_class("tcplab-style")
        super().__init__([style, grid.add_class("tcplab-controls"), self._said, self._figure, SliderNames()])
        self.add_class("tcplab-explorer")
        self.set(**initial)

    @property
    def values(self) -> dict[str, Any]:
        """Every setting with the value that is set."""
        return {name: self._values[name] for name in self._shown}

    @property
    def figure(self) -> Any:
        """The map as a plotly figure; None when there is none."""
        return self._figure.figure

    def set(self, **values: Any) -> None:
        """Turn settings by name. What is wrong with one stands in `sentence` afterwards."""
        try:
            self.silence = Silence.from_values({**self._values, **values})
        except ParameterError as error:
            self.silence, self.sentence = None, str(error)
            self._figure.clear()
        else:
            self._values = self.silence.values()
            self.sentence = self.silence.sentence
            self._figure.show(draw_idle_map(self.silence), self.sentence)
        for name, control in self._controls.items():
            value = values.get(name, self._values[name])
            control.show(value if control.can_show(value) else self._values[name])
        wrong = "" if self.silence else " wrong"
        said = paragraph(self.sentence if self.silence else f"✗ {self.sentence}")
        self._said.value = (
            f'<div class="tcplab-sentence{wrong}" role="status" aria-live="polite">{said}</div>'
        )

    def _turned(self, name: str) -> Any:
        return lambda value: self.set(**{name: value})

    def __repr__(self) -> str:
        return self.sentence

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = dict(super()._repr_mimebundle_(**options) or {})
        return bundle | {"text/plain": repr(self), "text/html": self._said.value}


def idle_map(**settings: Any) -> IdleMap:
    """The map keepalive × idle timer, for the last line of a cell: ``idle_map(keepalive_idle_s=300)``.

    Settings are those of `Silence`: keepalive_idle_s (7200; 0 = off), keepalive_interval_s (75),
    keepalive_probes (9), box_idle_s (350; 0 = never forgets), expired (drop), quiet_s (600), waiting_for
    (long_query). What is wrong with one of them is said in place of the picture.
    """
    return IdleMap(**settings)
