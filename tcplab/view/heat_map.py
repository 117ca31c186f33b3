"""Two parameters of a sweep against each other: a cell for each pair, its result as colour and as text."""

from __future__ import annotations

from html import escape
from math import ceil, isfinite, log10
from numbers import Real
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from tcplab.knobs import ParameterError
from tcplab.trace import SECOND, duration
from tcplab.view import theme as look
from tcplab.view.figure_widget import LivingFigure
from tcplab.view.marks import Picture
from tcplab.view.panels import paragraph

if TYPE_CHECKING:
    import pandas

#: What stands in a cell whose result never came (`null` in the contracts).
NEVER = "never"
#: px of one row, and the least that the plotting area has.
_ROW, _LEAST = 34, 160
#: Cells with text: more would not be readable.
_MOST_COLUMNS, _MOST_ROWS = 16, 24
#: Results that differ more than so many times are coloured by their logarithm.
_WIDE = 50
#: Plotly's scale of Nuñez, Anderton and Renslow (2018), made for every kind of colour vision.
_SCALE = "Cividis"


class HeatMap(widgets.VBox):
    """A picture of a sweep with its sentence. See `heat_map`."""

    def __init__(self, cells: Cells) -> None:
        self.sentence = cells.sentence
        figure = LivingFigure("heat_map")
        figure.show(draw_heat_map(cells), self.sentence)
        self.figure = figure.figure
        self._table = cells.html()
        said = f'<div class="tcplab-sentence" role="status">{paragraph(self.sentence)}</div>'
        numbers = widgets.Accordion([widgets.HTML(self._table)], selected_index=None)
        numbers.set_title(0, "The same as a table")
        super().__init__([widgets.HTML(said), figure, numbers])

    def __repr__(self) -> str:
        return self.sentence

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = dict(super()._repr_mimebundle_(**options) or {})
        return bundle | {"text/plain": repr(self), "text/html": f"{paragraph(self.sentence)}{self._table}"}


class Cells:
    """One result of a sweep by two of its parameters, in the table's order."""

    def __init__(self, table: pandas.DataFrame, value: str, x: str, y: str) -> None:
        self.value, self.x, self.y = value, x, y
        self.columns = list(dict.fromkeys(table[x].tolist()))
        self.rows = list(dict.fromkeys(table[y].tolist()))
        found = zip(table[y].tolist(), table[x].tolist(), table[value].tolist(), strict=True)
        self.results = {(row, column): _plain(result) for row, column, result in found}
        if len(self.results) != len(table):
            raise ParameterError(
                f"the table has several rows for one pair of {x} and {y}: choose one of them first, "
                'for example table[table.latency_ms == 1] or table.query("latency_ms == 1").'
            )

    @property
    def numbers(self) -> list[float]:
        """All results that are numbers."""
        return [float(result) for result in self.results.values() if _is_number(result)]

    @property
    def words(self) -> list[str]:
        """What else there is, in order of appearance; empty where all are numbers or never came."""
        results = self.results.values()
        return list(dict.fromkeys(self.text(r) for r in results if r is not None and not _is_number(r)))

    def text(self, result: Any) -> str:
        """A result as it stands in its cell: `15 min 28 s`, `17`, `ETIMEDOUT`, `never`, `yes`."""
        if result is None:
            return NEVER if self.value.endswith("_s") or self.numbers else "none"
        if isinstance(result, bool):
            return "yes" if result else "no"
        if not _is_number(result):
            return str(result)
        if self.value.endswith("_s") and not self.value.endswith("_per_s"):
            return duration(round(result * SECOND))
        return f"{result:,}" if isinstance(result, int) else f"{result:,.4g}"

    @property
    def sentence(self) -> str:
        """Smallest, largest, and what never came."""
        said = [f"{self.value} for {len(self.columns)} values of {self.x} and {len(self.rows)} of {self.y}."]
        if self.words:
            shares = ", ".join(
                f"{word} {[self.text(result) for result in self.results.values()].count(word)} times"
                for word in self.words
            )
            said.append(f"{shares[:1].upper()}{shares[1:]}.")
        elif self.numbers:
            for name, choose in (("Least", min), ("Most", max)):
                known = {pair: result for pair, result in self.results.items() if _is_number(result)}
                row, column = choose(known, key=known.__getitem__)
                said.append(
                    f"{name}: {self.text(known[row, column])}, "
                    f"at {self.x} = {_value(column)} and {self.y} = {_value(row)}."
                )
        if never := sum(result is None for result in self.results.values()):
            said.append(f"{self.text(None).capitalize()}: {never} of {len(self.results)} cells.")
        return " ".join(said)

    def html(self) -> str:
        """Every cell as text."""
        head = "".join(f'<th scope="col">{escape(_value(column))}</th>' for column in self.columns)
        body = "".join(
            f'<tr><th scope="row">{escape(_value(row))}</th>'
            + "".join(f"<td>{escape(self.text(self.results.get((row, column))))}</td>"
                      for column in self.columns)
            + "</tr>"
            for row in self.rows
        )  # fmt: skip
        corner = f"<th>{escape(self.y)} ↓ {escape(self.x)} →</th>"
        return f"<table><thead><tr>{corner}{head}</tr></thead><tbody>{body}</tbody></table>"


def draw_heat_map(cells: Cells, *, title: str | None = None, dark: bool = False) -> Picture:
    """The picture: x to the right, y upwards, the result as colour and, where there is room, as text."""
    colours = look.theme(dark)
    heights = _heights(cells)
    text = [
        [escape(cells.text(cells.results.get((row, column)))) for column in cells.columns]
        for row in cells.rows
    ]
    readable = len(cells.columns) <= _MOST_COLUMNS and len(cells.rows) <= _MOST_ROWS
    data = {
        "type": "heatmap",
        # Positions, not names: plotly takes a name that looks like a number for one.
        "x": list(range(len(cells.columns))),
        "y": list(range(len(cells.rows))),
        "customdata": [
            [escape(f"{cells.x} = {_value(column)}, {cells.y} = {_value(row)}") for column in cells.columns]
            for row in cells.rows
        ],
        "z": [[heights.get((row, column)) for column in cells.columns] for row in cells.rows],
        "text": text,
        # A result that never came has no colour: its text says so on the paper.
        "texttemplate": "%{text}" if readable else "",
        "hovertemplate": f"%{{customdata}}<br>{escape(cells.value)}: %{{text}}<extra></extra>",
        "colorscale": _SCALE,
        "showscale": False,
        "hoverongaps": True,
        "xgap": 1,
        "ygap": 1,
    }
    rows = _ROW if readable else max(6, 600 // len(cells.rows))
    left = 40 + look.CHARACTER * max(len(_value(row)) for row in cells.rows)
    layout = look.layout(
        colours,
        height=max(_LEAST, rows * len(cells.rows)) + 110,
        margin={"l": left, "r": 20, "t": 50 if title else 20, "b": 70},
        title=title,
    )
    for name, what, values in (("xaxis", cells.x, cells.columns), ("yaxis", cells.y, cells.rows)):
        step = ceil(len(values) / _MOST_COLUMNS)
        layout[name] = look.axis(
            showticklabels=True, fixedrange=True, range=[-0.5, len(values) - 0.5],
            tickvals=list(range(0, len(values), step)),
            ticktext=[escape(_value(value)) for value in values[::step]],
            title={"text": escape(what), "standoff": 8},
        )  # fmt: skip
    return Picture([data], layout)


def _heights(cells: Cells) -> dict[tuple[Any, Any], float]:
    """What colour each cell has, as a number."""
    if words := cells.words:
        said = {pair: cells.text(result) for pair, result in cells.results.items()}
        return {pair: float(words.index(word)) for pair, word in said.items() if word in words}
    known_numbers = {pair: float(r) for pair, r in cells.results.items() if _is_number(r)}
    numbers = known_numbers.values()
    if numbers and min(numbers) > 0 and max(numbers) > _WIDE * min(numbers):
        return {pair: log10(number) for pair, number in known_numbers.items()}
    return known_numbers


def _plain(result: Any) -> Any:
    """A cell without NumPy's and pandas' dress: NaN and NaT are what `null` became in a column."""
    if hasattr(result, "item"):
        result = result.item()
    if isinstance(result, float) and not isfinite(result):
        return None
    return result


def _value(value: Any) -> str:
    """A parameter's value at its axis: `300` also where the column made 300.0 of it."""
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _is_number(result: Any) -> bool:
    return isinstance(result, Real) and not isinstance(result, bool)


def heat_map(table: pandas.DataFrame, value: str, x: str = "", y: str = "") -> HeatMap:
    """Two parameters of a `sweep` against each other, each cell coloured by the result `value`.

    `x` and `y` are columns of the table; without them, the grid's last parameter goes to the right and
    the one before it upwards. What never came (`null`) stays without colour and says so. Raises
    `ParameterError` for a column that isn't there, or for several rows in one cell.
    """
    grid = [name for name in table.attrs.get("grid", ()) if name in table.columns]
    wanted = {"value": value, "x": x or (grid[-1] if grid else ""), "y": y or (grid[-2] if grid[1:] else "")}
    for name, column in wanted.items():
        if not column:
            raise ParameterError(f"{name} is not given, and the table is no sweep of two parameters.")
        if column not in table.columns:
            raise ParameterError(f"{name} = {column!r} is not in the table: {', '.join(table.columns)}.")
    return HeatMap(Cells(table, value, wanted["x"], wanted["y"]))
