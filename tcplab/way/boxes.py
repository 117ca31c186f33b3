"""A row of the form for one box: chosen by name, or with one's own numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets

from tcplab.advice import Box
from tcplab.way.presets import known_boxes

#: What the list of known boxes says when the numbers are one's own.
OWN = "another one: your own numbers"
_EXPIRED = {
    "drops what comes": "drop",
    "answers what comes with a RST": "reject",
    "sends a RST to both ends": "reset_both",
    "takes it up again": "reopen",
    "lets nothing in until the client sends": "drop_inbound",
}
_KINDS = {"any segment, probes too": "layer4", "only data": "layer7", "only a new request": "requests"}


class BoxRow(widgets.VBox):
    """One box to choose and to change. `box` builds it; `changed` and `removed` are told."""

    def __init__(
        self, box: Box | None, changed: Callable[[], None], removed: Callable[[BoxRow], None]
    ) -> None:
        box = box or known_boxes()["AWS NLB"]
        self._changed = changed
        self._quiet = False
        self.known = labelled(widgets.Dropdown(options=[OWN, *known_boxes()], description="box"))
        self.fields: dict[str, Any] = {
            "name": widgets.Text(description="its name", continuous_update=False),
            "idle_s": widgets.FloatText(description="forgets after (s); 0: never", continuous_update=False),
            "expired": widgets.Dropdown(options=list(_EXPIRED.items()), description="and then"),
            "kind": widgets.Dropdown(options=list(_KINDS.items()), description="what is a sign of life"),
            "age_s": widgets.FloatText(
                description="ends any older than (s); 0: none", continuous_update=False
            ),
            "ports": widgets.IntText(
                description="NAT: ports to one server; 0: no NAT", continuous_update=False
            ),
            "time_wait_s": widgets.FloatText(
                description="NAT: keeps a closed port (s)", continuous_update=False
            ),
        }
        for field in self.fields.values():
            labelled(field).observe(lambda change: self._on_field(), "value")
        remove = widgets.Button(description="Remove this box", icon="trash", layout={"width": "auto"})
        remove.on_click(lambda button: removed(self))
        self.known.observe(lambda change: self._on_known(), "value")
        rest = list(self.fields.values())
        folded = widgets.Accordion([grid([rest[0], *rest[3:], remove])], titles=["name, age, NAT, remove"])
        folded.selected_index = None
        super().__init__([grid([self.known, *rest[1:3]]), folded])
        self.add_class("tcplab-box")
        self.show(box)

    def box(self) -> Box:
        """What is typed. Raises `ParameterError` with one sentence."""
        return Box(**{name: field.value for name, field in self.fields.items()})

    def show(self, box: Box) -> None:
        """Show another box, without telling anybody."""
        self._quiet = True
        try:
            for name, field in self.fields.items():
                field.value = getattr(box, name)
            self.known.value = box.name if known_boxes().get(box.name) == box else OWN
        finally:
            self._quiet = False

    def _on_known(self) -> None:
        if self._quiet:
            return
        if chosen := known_boxes().get(self.known.value):
            self.show(chosen)
            self._changed()

    def _on_field(self) -> None:
        if self._quiet:
            return
        self._quiet = True
        known = known_boxes().get(self.fields["name"].value)
        same = known and all(getattr(known, name) == field.value for name, field in self.fields.items())
        self.known.value = self.fields["name"].value if same else OWN
        self._quiet = False
        self._changed()


def labelled(widget: Any) -> Any:
    """Its description in full, above it."""
    widget.style.description_width = "100%"
    return widget.add_class("tcplab-turn")


def grid(children: Sequence[Any]) -> widgets.Box:
    """Fields beside each other, as many as there is room for."""
    return widgets.Box(list(children)).add_class("tcplab-fields")
