"""The clinic's question "would other settings have saved it?": settings to type, and the answer below."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets as widgets

from tcplab.knobs import (
    FIREWALL_IDLE,
    KEEPALIVE_IDLE,
    KEEPALIVE_INTERVAL,
    KEEPALIVE_PROBES,
    RETRIES2,
    USER_TIMEOUT,
    ParameterError,
)
from tcplab.trace import Trace
from tcplab.view.controls import explanation, title
from tcplab.view.counterfactual import Answer, beside
from tcplab.view.panels import paragraph

#: What can be asked for, by the parameter's name.
KNOBS = {
    "keepalive_idle_s": KEEPALIVE_IDLE,
    "keepalive_interval_s": KEEPALIVE_INTERVAL,
    "keepalive_probes": KEEPALIVE_PROBES,
    "user_timeout_s": USER_TIMEOUT,
    "retries2": RETRIES2,
    "firewall_idle_s": FIREWALL_IDLE,
}
SIDES = {"the side that asked in vain": "", "the client": "client", "the server": "server"}
HELP = (
    "An empty box stays as the segments show it. The model of Linux TCP then plays the same conversation "
    "under the settings that you give."
)


class Asking(widgets.VBox):
    """Settings to type for one connection. `ask` takes its trace and them, as `tcplab.what_if` does."""

    def __init__(self, ask: Callable[..., Answer]) -> None:
        self._ask = ask
        self.trace: Trace | None = None
        #: The answer, or why there is none; empty before.
        self.sentence = ""
        self.boxes = {name: _box(name) for name in KNOBS}
        self.side = widgets.Dropdown(options=list(SIDES.items()), description="set on")
        self.side.style.description_width = "initial"
        self._go = widgets.Button(description="Would that have saved it?", icon="question")
        self._go.layout.width = "auto"
        self._go.on_click(lambda button: self.answer())
        self._below = widgets.VBox()
        grid = widgets.Box(list(self.boxes.values())).add_class("tcplab-asking")
        super().__init__(
            [
                widgets.HTML(f"<h4>Would other settings have saved it?</h4>{paragraph(HELP)}"),
                grid,
                widgets.HBox([self.side, self._go]).add_class("tcplab-head"),
                self._below,
            ]
        )

    def show(self, trace: Trace) -> None:
        """Ask about this connection from now on."""
        self.trace = trace
        self._put("")

    def answer(self) -> None:
        """Ask, and show the answer or in one sentence why there is none."""
        if self.trace is None:
            return
        self._put("")
        try:
            wanted = self._wanted()
            self._go.disabled = True
            shown = beside(self._ask(self.trace, side=self.side.value, **wanted))
        except ParameterError as error:
            self._put(str(error))
            return
        except Exception as error:
            self.log.error("what if %s", wanted, exc_info=error)
            self._put(
                f"With this connection tcplab itself makes a mistake ({type(error).__name__}: {error})."
            )
            return
        finally:
            self._go.disabled = False
        self.sentence = shown.sentence
        self._below.children = [shown]

    def _wanted(self) -> dict[str, Any]:
        texts = {name: box.value.strip() for name, box in self.boxes.items()}
        wanted = {name: KNOBS[name].check(name, text) for name, text in texts.items() if text}
        if not wanted:
            raise ParameterError("Type a value into one of the boxes first: 60 for keepalive: idle, say.")
        return wanted

    def _put(self, wrong: str) -> None:
        """Leave nothing but a sentence."""
        for old in self._below.children:
            old.close()
        self.sentence = wrong
        said = f'<div class="tcplab-sentence wrong" role="status"><p>✗ {escape(wrong)}</p></div>'
        self._below.children = [widgets.HTML(said)] if wrong else []


def _box(name: str) -> widgets.Text:
    knob = KNOBS[name]
    label = "a box on the way: forgets after (s)" if knob is FIREWALL_IDLE else title(knob)
    box = widgets.Text(description=label, placeholder="as captured", tooltip=explanation(knob))
    box.style.description_width = "initial"
    return box
