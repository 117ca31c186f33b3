"""The explorer: an experiment's parameters to turn, and at once its picture, sentence and console.

Everything is built from the experiment's own declaration. Values live in Python, so that a cell or
a test can turn them too:

    explorer = explore(Keepalive)
    explorer.set(idle_s=60)
    print(explorer.sentence)

Every change runs the model anew and shows the new run as a whole; what can't be run leaves no
picture, only the sentence that says why. What Linux itself does has a tab of its own (`on_linux.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from tcplab.bench import run
from tcplab.core.html import paragraph
from tcplab.core.knobs import ParameterError
from tcplab.core.text import SECOND
from tcplab.core.trace import Trace
from tcplab.lesson.question import remember
from tcplab.pictures import console
from tcplab.pictures.text import excerpt, excerpt_words
from tcplab.widgets.base import (
    CapturePanel,
    ConsolePanel,
    Moment,
    NumbersPanel,
    Panel,
    PicturePanel,
    SegmentsPanel,
    SettingsPanel,
)
from tcplab.widgets.controls import Control
from tcplab.widgets.figure import SliderNames
from tcplab.widgets.linux import LinuxPanel

_STYLE = Path(__file__).with_name("explorer.css")
#: What the list of presets says while the values are none of them.
OWN = "your own values"


class Explorer(widgets.VBox):
    """One experiment to turn and to watch. See `explore`."""

    def __init__(self, experiment_class: Any, **initial: Any) -> None:
        from threading import RLock  # a front end and a cell may turn knobs at the same time

        self._lock: AbstractContextManager[Any] = RLock()
        self.experiment_class = experiment_class
        self._knobs = experiment_class.knobs()
        self._defaults: dict[str, Any] = {name: experiment_class.defaults()[name] for name in self._knobs}
        presets: Mapping[str, Mapping[str, Any]] = experiment_class.presets
        self._presets = {name: {**self._defaults, **preset} for name, preset in presets.items()}
        self._values = dict(self._defaults)
        self._quiet = False
        #: The run that is shown: its trace, and the parameters behind it. None when there is none.
        self.trace: Trace | None = None
        self.experiment: Any = None
        #: What happened, or why nothing could.
        self.sentence = ""
        #: Why there is no picture: the same sentence; None when there is one.
        self.error: str | None = None

        self._controls = {name: self._control(name, initial.get(name)) for name in self._knobs}
        self._moment = Moment(self._carefully)
        name = str(experiment_class.name)
        pictures = tuple(experiment_class.pictures)
        self._picture = PicturePanel(pictures, name, self._moment, self._carefully)
        self._panels: list[Panel] = [self._picture, NumbersPanel(), SettingsPanel()]
        if "ladder" in pictures:
            self._panels[1:] = [
                SegmentsPanel(),
                ConsolePanel(self._moment),
                SettingsPanel(),
                LinuxPanel(name, lambda values: self.set(**values), self._carefully),
                CapturePanel(name),
            ]
        self._stale = set(self._panels)
        self._sentence = widgets.HTML()
        self._tabs = widgets.Tab(
            [panel.widget for panel in self._panels], titles=[panel.title for panel in self._panels]
        )
        self._tabs.selected_index = 0
        self._tabs.observe(lambda change: self._carefully(self._refresh), "selected_index")
        super().__init__(
            [
                widgets.HTML(f"<style>{_STYLE.read_text()}</style>").add_class("tcplab-style"),
                self._head(),
                *self._turnable(),
                self._sentence,
                self._tabs,
                SliderNames(),
            ]
        )
        self.add_class("tcplab-explorer")
        self.set(**initial)
        #: What `reset` goes back to.
        self._initial = dict(self._values)
        remember(self)

    # -- for cells and tests -----------------------------------------------------------------

    @property
    def values(self) -> dict[str, Any]:
        """Every parameter with the value that is set."""
        return dict(self._values)

    @property
    def outcome(self) -> Mapping[str, Any]:
        """The named results of the run that is shown; empty when there is none."""
        return self.trace.outcome if self.trace else {}

    @property
    def warnings(self) -> list[str]:
        """What one must know before believing the run that is shown; mostly nothing."""
        if self.trace is None:
            return []
        return [*self.trace.warnings, *filter(None, [excerpt_words(self.trace)])]

    @property
    def figure(self) -> Any:
        """The picture that is shown, as a plotly figure; None when there is none."""
        return self._picture.figure.figure

    def set(self, **values: Any) -> None:
        """Turn knobs by name. What is wrong with a name or a value stands in `sentence` afterwards."""
        with self._lock:
            wrong = [said for name, value in values.items() if (said := self._take(name, value))]
            self._update(wrong[0] if wrong else None)

    def _take(self, name: str, value: Any) -> str:
        """Keep a value; what is wrong with it, if not even its control could show it."""
        owner = self.experiment_class.name
        if name not in self._knobs:
            return f"{owner} has no parameter {name!r}; it has {', '.join(self._knobs)}."
        try:
            value = self._knobs[name].check(name, value)
        except ParameterError as error:
            if not self._controls[name].can_show(value):
                return str(error)
        self._values[name] = value
        return ""

    def use(self, preset: str) -> None:
        """Set all parameters as a preset has them; the list above the controls has their names."""
        if preset in self._presets:
            self.set(**self._presets[preset])
        else:
            names = ", ".join(self._presets)
            self._update(f"{self.experiment_class.name} has no preset {preset!r}; it has {names}.")

    def reset(self) -> None:
        """Back to the values that the explorer began with."""
        self.set(**self._initial)

    def start_again(self) -> None:
        """The same, and its first tab in front. See `tcplab.lesson.start_again`."""
        self.reset()
        self._tabs.selected_index = 0

    def look_at(self, seconds: float) -> str:
        """Pick a moment, in seconds since the first segment; returns what the consoles show then."""
        with self._lock:
            if self.trace is None:
                return ""
            self._moment.pick(self.trace.start + round(seconds * SECOND))
            return console.console(self.trace, self._moment.t)

    # -- building ----------------------------------------------------------------------------

    def _control(self, name: str, initial: Any) -> Control:
        knob, default = self._knobs[name], self._defaults[name]
        presets = [preset[name] for preset in self._presets.values()]
        return Control(knob, default, [initial, *presets], lambda value: self.set(**{name: value}))

    def _head(self) -> widgets.Widget:
        """Title, presets and reset."""
        self._preset = widgets.Dropdown(options=[OWN, *self._presets], description="preset")
        self._preset.style.description_width = "initial"
        self._preset.observe(self._on_preset, "value")
        reset = widgets.Button(description="Reset", icon="undo", tooltip="Back to the values it began with.")
        reset.on_click(lambda button: self.reset())
        title = widgets.HTML(f"<h3>{escape(self.experiment_class.title)}</h3>")
        parts = [title, *([self._preset] if self._presets else []), reset]
        return widgets.HBox(parts).add_class("tcplab-head")

    def _turnable(self) -> list[widgets.Widget]:
        first = [name for name in self.experiment_class.controls if name in self._controls]
        rest = [name for name in self._controls if name not in first]
        rows = [[self._controls[name].widget for name in names] for names in (first, rest)]
        grids = [widgets.Box(row).add_class("tcplab-controls") for row in rows]
        folded = widgets.Accordion([grids[1]], titles=[f"{len(rest)} more settings"])
        folded.selected_index = None
        return [grids[0], folded.add_class("tcplab-more")]

    def _on_preset(self, change: Any) -> None:
        if not self._quiet and change["new"] in self._presets:
            self.use(change["new"])
        elif not self._quiet:
            self._show_values()

    # -- showing -----------------------------------------------------------------------------

    def _update(self, wrong: str | None = None) -> None:
        """Run the model with the values that are set, and show all of it, or why not."""
        with self._lock:
            self.trace, self.experiment, self.error = None, None, wrong
            if wrong is None:
                self._carefully(self._run)
            self._show_values()
            self._stale = set(self._panels)
            self._carefully(self._refresh)
            self._say()

    def _carefully(self, action: Callable[[], None]) -> None:
        """Do something for the learner, who gets one sentence when it can't be done."""
        with self._lock:
            try:
                action()
                return
            except ParameterError as error:
                self.error = str(error)
            except Exception as error:
                # A mistake of ours: the learner can't mend it, whoever reads the log can.
                self.log.error("%s with %s", self.experiment_class.name, self._values, exc_info=error)
                what = f"{type(error).__name__}: {error}"
                self.error = f"With these values tcplab itself makes a mistake ({what}); try others."
            self.trace, self.experiment = None, None
            for panel in self._panels:
                panel.empty()
            self._say()

    def _run(self) -> None:
        experiment = self.experiment_class.from_values(self._values)
        self._values.update(experiment.values())
        trace = run(experiment)
        self.sentence = experiment.sentence(trace)
        self._excerpt = excerpt(trace)
        self._moment.restart(self._excerpt)
        self.experiment, self.trace = experiment, trace

    def _show_values(self) -> None:
        self._quiet = True
        try:
            for name, control in self._controls.items():
                control.show(self._values[name])
            same = (preset for preset, values in self._presets.items() if values == self._values)
            self._preset.value = next(same, OWN)
        finally:
            self._quiet = False

    def _refresh(self) -> None:
        """Fill the tab that is seen, and empty all of them when there is nothing to show."""
        if self.trace is None:
            for panel in self._panels:
                panel.empty()
            return
        seen = self._panels[self._tabs.selected_index or 0]
        if seen in self._stale:
            seen.refresh(self.experiment, self.trace if seen.needs_all else self._excerpt)
            self._stale.discard(seen)

    def _say(self) -> None:
        if self.error is not None:
            self.sentence = self.error
        self._tabs.layout.display = "none" if self.error else ""
        self._sentence.value = self._sentence_html()

    def _sentence_html(self) -> str:
        marks = "tcplab-sentence wrong" if self.error else "tcplab-sentence"
        said = f"✗ {self.error}" if self.error else self.sentence
        lines = [paragraph(said), *(paragraph(f"⚠ {warning}", "warning") for warning in self.warnings)]
        return f'<div class="{marks}" role="status" aria-live="polite">{"".join(lines)}</div>'

    # -- where no widget can live ------------------------------------------------------------

    def __repr__(self) -> str:
        return "\n".join([self.sentence, *self.warnings])

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = dict(super()._repr_mimebundle_(**options) or {})
        title = escape(self.experiment_class.title)
        text = f"<p><b>{title}</b></p>{self._sentence_html()}"
        return bundle | {"text/plain": repr(self), "text/html": text}


def explore(experiment_class: Any, **initial: Any) -> Explorer:
    """An explorer of an experiment, for the last line of a cell: ``explore(Keepalive, idle_s=60)``.

    `initial` are parameters of the experiment; what is wrong with one of them is said in place of
    the picture.
    """
    return Explorer(experiment_class, **initial)


# ----------------------------------------------------------------------
# All combinations of two parameters as a table of buttons: press one, and the explorer below runs it.
#
# Cells begin as a question mark, so that one can guess first. A cell that was tried says what came back,
# and whether a recording on Linux says the same.

UNTRIED = "?"


class Matrix(widgets.VBox):
    """A table over an explorer. See `matrix`."""

    def __init__(
        self,
        explorer: Explorer,
        rows: tuple[str, Mapping[Any, str]],
        columns: tuple[str, Mapping[Any, str]],
        result: str,
        recorded: Sequence[Mapping[str, Any]],
        labels: Mapping[Any, str],
    ) -> None:
        self.explorer = explorer
        self._labels = labels
        self._row, self._rows = rows
        self._column, self._columns = columns
        self._result, self._recorded = result, recorded
        self._buttons = {
            (row, column): self._button(row, column) for row in self._rows for column in self._columns
        }
        heads = [widgets.HTML(f"<b>{escape(name)}</b>") for name in self._columns.values()]
        lines: list[widgets.Widget] = [widgets.HTML(), *heads]
        for row, name in self._rows.items():
            lines += [
                widgets.HTML(f"<b>{escape(name)}</b>"),
                *(self._buttons[row, column] for column in self._columns),
            ]
        grid = widgets.GridBox(lines)
        grid.layout.grid_template_columns = (
            f"minmax(9em, 1.4fr) repeat({len(self._columns)}, minmax(6em, 1fr))"
        )
        grid.layout.grid_gap = "4px"
        everything = widgets.Button(description="Try all", tooltip="Run every cell of the table.")
        everything.on_click(lambda button: self.try_all())
        self._said = widgets.HTML()
        super().__init__([grid, widgets.HBox([everything, self._said]), explorer])
        self._settings = self._others()

    def try_cell(self, row: Any, column: Any) -> Any:
        """Run one cell in the explorer; returns what came back."""
        self.explorer.set(**{self._row: row, self._column: column})
        self._forget_if_others_changed()
        came_back = self.explorer.outcome.get(self._result)
        self._show(row, column, came_back)
        linux = self._on_linux(row, column)
        self._said.value = "" if linux is None else escape(f"Linux, recorded: {linux}")
        return came_back

    def try_all(self) -> None:
        """Run every cell on the model, without moving the explorer."""
        self._forget_if_others_changed()
        pairs = []
        for (row, column), came_back in self.results().items():
            self._show(row, column, came_back)
            pairs.append((self._on_linux(row, column), came_back))
        recorded = [linux == model for linux, model in pairs if linux is not None]
        says = f"{sum(recorded)} of {len(recorded)} cells gave the same on Linux." if recorded else ""
        self._said.value = escape(says)

    def results(self) -> dict[tuple[Any, Any], Any]:
        """What the model gives in every cell, with the explorer's other parameters as they are."""
        kind = self.explorer.experiment_class
        found = {}
        for row, column in self._buttons:
            values = {**self.explorer.values, self._row: row, self._column: column}
            found[row, column] = run(kind.from_values(values)).outcome[self._result]
        return found

    def _button(self, row: Any, column: Any) -> widgets.Button:
        button = widgets.Button(
            description=UNTRIED, tooltip=f"{self._rows[row]}; then {self._columns[column]}"
        )
        button.layout.width = "auto"
        button.on_click(lambda button: self.try_cell(row, column))
        return button

    def _show(self, row: Any, column: Any, came_back: Any) -> None:
        button = self._buttons[row, column]
        button.description = self._labels.get(came_back, str(came_back))
        button.button_style = "success" if came_back == "ok" else "warning"

    def _others(self) -> dict[str, Any]:
        return {
            name: value
            for name, value in self.explorer.values.items()
            if name not in (self._row, self._column)
        }

    def _forget_if_others_changed(self) -> None:
        """What was tried with other settings says nothing about these."""
        if (now := self._others()) != self._settings:
            self._settings = now
            for button in self._buttons.values():
                button.description, button.button_style = UNTRIED, ""

    def _on_linux(self, row: Any, column: Any) -> Any:
        """What the recording says of a cell with the explorer's other settings; None where it doesn't."""
        values = {**self.explorer.values, self._row: row, self._column: column}
        defaults = self.explorer.experiment_class.defaults()
        for cell in self._recorded:
            if all(values[name] == cell.get(name, defaults[name]) for name in values):
                return cell[self._result]
        return None

    def __repr__(self) -> str:
        lines = [f"{self._row}, then {self._column}:"]
        for (row, column), came_back in self.results().items():
            lines.append(f"{self._rows[row]}; {self._columns[column]}: {came_back}")
        return "\n".join(lines)


def matrix(
    explorer: Explorer,
    rows: tuple[str, Mapping[Any, str]],
    columns: tuple[str, Mapping[Any, str]],
    *,
    result: str = "result",
    recorded: Sequence[Mapping[str, Any]] = (),
    labels: Mapping[Any, str] | None = None,
) -> Matrix:
    """A table of buttons over an explorer, a row and a column for each value of two parameters.

    `rows` and `columns`: the parameter, and its values with what stands at their head. `recorded`: cells
    that ran on Linux, each with the parameters that are not at their defaults and the result. `labels`:
    short words for results that are too long for a button.
    """
    return Matrix(explorer, rows, columns, result, recorded, labels or {})
