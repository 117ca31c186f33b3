"""Widgets that set parameters: built from the knob alone, one row per parameter.

A number gets a slider over round values (logarithmic where its range is wide, with 0 as a step of its
own where that means "off") and a box for exact ones. Defaults, presets and the values that an explorer
begins with are steps too. For any other value the slider shows the nearest step and the box has the
value: steps never change afterwards, because a front end answers a slider that grows with a value that
the learner did not choose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from html import escape
from typing import Any

import ipywidgets as widgets

from tcplab.core.knobs import Knob
from tcplab.core.releases import LISTED
from tcplab.core.text import SECOND, duration
from tcplab.widgets.base import Quiet, in_row, titled

#: Up to this many steps a slider simply counts.
_COUNTED = 64
#: Whole numbers beyond this are no range to slide over (a seed).
_ENDLESS = 1 << 26
#: Steps of a decade, and round lengths of time.
_DECADE = (1, 1.5, 2, 3, 5, 7)
_SPOKEN = (
    *(1, 2, 3, 5, 10, 15, 20, 30, 45),
    *(60 * minutes for minutes in (1, 1.5, 2, 3, 4, 5, 7.5, 10, 15, 20, 30, 45)),
    *(3600 * hours for hours in (1, 1.5, 2, 3, 4, 6, 9, 12, 24, 48, 96, 168, 336, 720)),
)
#: Up to this many words stand side by side as buttons, if they are short enough for one line.
_BUTTONS, _BUTTON_TEXT = 4, 36


def steps(knob: Knob, *also: Any) -> list[float]:
    """The steps of a slider of this knob; `also` are among them. Empty: no slider."""
    if knob.slider_high is None and knob.low >= 0 and knob.high > _ENDLESS:
        return []
    high = knob.slider_high if knob.slider_high is not None else knob.high
    extra = [value for value in also if _is_number(value) and knob.low <= value <= knob.high]
    if (high - knob.low) / knob.step <= _COUNTED:
        made = [knob.low + i * knob.step for i in range(int((high - knob.low) / knob.step) + 1)]
    elif knob.low < 0:
        upwards = _decades(1, min(high, -knob.low), (1, 2, 5))
        made = [0, *upwards, *(-value for value in upwards)]
    else:
        smallest = knob.low or min(knob.step, 1)
        spoken = [value for value in _SPOKEN if value >= smallest]
        rounds = spoken if knob.unit == "s" else _decades(smallest, high)
        made = [knob.low, *rounds, high]
    kept = {value for value in made if knob.low <= value <= high} | set(extra)
    # Whole numbers without their ".0": that is how they are read.
    return sorted({int(value) if value == int(value) else value for value in kept if _fits(knob, value)})


def _decades(low: float, high: float, leading: tuple[float, ...] = _DECADE) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [step * 10**power for power in powers for step in leading]
    return [value for value in values if low <= value <= high]


def _fits(knob: Knob, value: float) -> bool:
    return knob.kind is float or value == int(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def meaning(knob: Knob, value: Any) -> str:
    """What a number says beside its box: ``off``, ``= 2 h``; mostly nothing."""
    if not _is_number(value):
        return ""
    if value == 0 and knob.zero:
        return knob.zero
    if knob.unit == "s" and value >= 100:
        return f"= {duration(round(value * SECOND))}"
    return ""


def title(knob: Knob) -> str:
    """`keepalive: idle (s)`."""
    return f"{knob.label} ({knob.unit})" if knob.unit else knob.label


def explanation(knob: Knob) -> str:
    """The help of a knob, with its range where one can leave it."""
    limits = "" if knob.choices or knob.kind in (bool, str) else f"{knob.range_text()}."
    return " ".join(part for part in (knob.help, limits) if part)


class Control(Quiet):
    """The row of one parameter: `widget`. `changed` gets the value that the learner chose."""

    def __init__(self, knob: Knob, value: Any, also: Iterable[Any], changed: Callable[[Any], None]) -> None:
        self.knob = knob
        self._steps = steps(knob, value, *also) if knob.kind in (int, float) else []
        #: The slider, box, buttons or list that show and set the value.
        self.parts = self._make(value)
        self._meaning = widgets.HTML().add_class("tcplab-meaning")
        help_text = escape(explanation(knob))
        has_meaning = knob.kind in (int, float) and (knob.zero or knob.unit == "s")
        whole = in_row(*self.parts, *([self._meaning] if has_meaning else []), css="tcplab-row")
        self.widget = widgets.VBox([whole, widgets.HTML(f'<div class="tcplab-help">{help_text}</div>')])
        self.widget.add_class("tcplab-control")
        self.show(value)
        for part in self.parts:
            self.react(part, changed)

    def can_show(self, value: Any) -> bool:
        """Whether this row can show a value, even one that the knob refuses."""
        knob = self.knob
        if knob.choices:
            return value in knob.choices
        if knob.kind in (int, float):
            return _is_number(value) and _fits(knob, value)
        return isinstance(value, knob.kind)

    def show(self, value: Any) -> None:
        """Set all parts to a value, also one that the knob refuses; `changed` is not called."""
        with self.quietly():
            for part in self.parts:
                if isinstance(part, widgets.SelectionSlider):
                    part.value = min(self._steps, key=lambda step: abs(step - value))
                elif isinstance(part, widgets.ToggleButtons | widgets.Dropdown):
                    self._show_choice(part, value)
                else:
                    part.value = value
        self._meaning.value = f"<span>{escape(meaning(self.knob, value))}</span>"

    def _show_choice(self, part: Any, value: Any) -> None:
        if value not in part._options_values:  # a Linux version that is not in the list
            part.options = [*part.options, (str(value), value)]
        part.value = value

    def _make(self, value: Any) -> list[Any]:
        knob = self.knob
        if knob.kind is bool:
            box = widgets.Checkbox(description=title(knob), indent=False, tooltip=explanation(knob))
            return [titled(box)]
        if knob.choices:
            texts = list(map(str, knob.choices))
            is_short = len(texts) <= _BUTTONS and sum(map(len, texts)) <= _BUTTON_TEXT
            kind = widgets.ToggleButtons if is_short else widgets.Dropdown
            options = list(zip(texts, knob.choices, strict=True))
            return [titled(kind(options=options, description=title(knob), tooltip=explanation(knob)))]
        if knob.kind is str:
            options = [(version, version) for version in (*LISTED, value)]
            versions = widgets.Dropdown(options=list(dict.fromkeys(options)), description=title(knob))
            versions.tooltip = explanation(knob)
            return [titled(versions)]
        return self._number()

    def _number(self) -> list[Any]:
        knob = self.knob
        kind = widgets.IntText if knob.kind is int else widgets.FloatText
        # Its label is for screen readers only: the slider's stands above both.
        exact = kind(continuous_update=False, description=f"{title(knob)}: the exact value")
        exact.add_class("tcplab-exact")
        if not self._steps:
            exact.description, exact.tooltip = title(knob), explanation(knob)
            return [titled(exact)]
        slider = widgets.SelectionSlider(
            options=[(f"{step:g}", step) for step in self._steps],
            description=title(knob),
            tooltip=explanation(knob),
            readout=False,
            continuous_update=True,
        )
        return [titled(slider), exact]
