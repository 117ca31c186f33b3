"""All combinations of two parameters as a table of buttons: press one, and the explorer below runs it.

Cells begin as a question mark, so that one can guess first. A cell that was tried says what came back,
and whether a recording on Linux says the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import ipywidgets as widgets

from tcplab.bench import run
from tcplab.view.explorer import Explorer

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
