"""Maps of two settings: keepalive against a middlebox's idle timer, any two parameters of a sweep or a story.

The idle map shows where a silent connection survives, and which end gets an error where not. Both axes
are logarithmic. Left of the diagonal a probe comes before the box forgets. Common boxes are lines, each
with what it does to the connection at the keepalive that is set; common clients are on the diagonal:
their connections survive behind every box above them. A strip at the right is for keepalive that is off.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from html import escape
from itertools import groupby, pairwise, product
from json import loads
from math import ceil, isfinite, log10
from numbers import Real
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from tcplab.advice import runs
from tcplab.advice.environment import MiddleboxSettings, known_middleboxes
from tcplab.advice.products import KeepaliveDefaults
from tcplab.advice.runs import OUTCOMES, RESET, SILENT, SURVIVES, SilentConnection, known_clients
from tcplab.bench import run
from tcplab.capture.recordings import LIBRARY
from tcplab.core import knobs
from tcplab.core.knobs import ParameterError
from tcplab.core.table import html_table
from tcplab.core.text import in_words
from tcplab.experiments import BindOrConnect
from tcplab.pictures import theme as look
from tcplab.pictures.theme import Line, Picture, Text
from tcplab.widgets.base import Control, Fold, LivingFigure, Shell, button
from tcplab.widgets.explorer import Explorer

if TYPE_CHECKING:
    import pandas

#: Ends of the axes, seconds: keepalive up to the most that Linux takes, idle timers up to ten days.
LEFT, RIGHT, LOW, HIGH = 1.0, 32767.0, 10.0, 864_000.0
#: The strip for keepalive that is off, and its middle.
OFF_FROM, OFF, OFF_TO = 40_000.0, 66_000.0, 110_000.0
#: px of the plotting area, and of the narrowest picture in which no two names meet.
_HEIGHT, _LEAST_WIDTH = 640, 1100
#: How finely a border is drawn, parts of a decade; and one that runs have to find.
_FINE, _COARSE = 24, 6
#: Fill pattern of each area; symbol of a marker and sign in words of each outcome.
PATTERNS = {SURVIVES: "", RESET: "/", SILENT: "x"}
SIGNS = {SURVIVES: ("circle", "✓"), RESET: ("diamond", "◆"), SILENT: ("x", "✗")}
#: The middleboxes that the map names: others would only repeat the line of one of these.
_NAMED = (
    "AWS NAT gateway", "AWS Network Firewall", "AWS NLB", "Azure Load Balancer", "Google Cloud NAT",
    "Google Cloud VPC firewall", "Linux conntrack", "Linux IPVS",
)  # fmt: skip
_TICKS = (1, 5, 15, 60, 300, 1800, 7200, 28_800, 86_400, 432_000)


@lru_cache(maxsize=1)
def map_middleboxes() -> tuple[MiddleboxSettings, ...]:
    """The middleboxes that the map names, the shortest idle timer first."""
    return tuple(sorted((known_middleboxes()[name] for name in _NAMED), key=lambda box: box.idle_s))


def draw_idle_map(silence: SilentConnection, *, title: str | None = None, dark: bool = False) -> Picture:
    """The map under these settings, which are marked in it."""
    drawing = _Map(silence, look.theme(dark))
    return Picture(drawing.data(), drawing.layout(title), least_width=_LEAST_WIDTH)


class _Map:
    """The picture under construction; x and y are decimal logarithms of seconds."""

    def __init__(self, silence: SilentConnection, colours: look.Theme) -> None:
        self.silence, self.colours = silence, colours
        self.areas = {outcome: Line() for outcome in OUTCOMES}
        self.boxes, self.diagonal, self.quiet, self.mine = Line(), Line(), Line(), Line()
        self.marks: dict[str, Line] = {outcome: Line() for outcome in OUTCOMES}
        self.clients, self.ring = Line(), Line()
        self.text = Text()
        self.here = log10(
            OFF if not silence.keepalive_idle_s else _within(silence.keepalive_idle_s, LEFT, RIGHT)
        )
        self._draw_areas()
        self._draw_boxes()
        self._draw_clients()
        self._draw_mine()

    def _draw_areas(self) -> None:
        """Above the border a probe always comes in time; what happens below it is asked of a run."""
        silence = self.silence
        left, right, low, high = map(log10, (LEFT, RIGHT, LOW, HIGH))
        off = log10(OFF_FROM), log10(OFF_TO)
        quiet = log10(_within(silence.quiet_s, LOW, HIGH))
        border = self._border(left, right)
        self._area(SURVIVES, [*border, (right, high), (left, high)])
        self._area(SURVIVES, [(off[0], quiet), (off[1], quiet), (off[1], high), (off[0], high)])
        if quiet > low:
            if silence.expired == "drop_inbound" and silence.waiting_for == "long_query":
                self._cut(border, low)
            else:
                self._area(self._outcome(RIGHT, LOW), [*border, (right, low), (left, low)])
            x, y = (right + log10(200)) / 2, low + 0.25 * (min(right, quiet) - low)
            self._name(self._outcome(10**x, 10**y), x, y)
            off_area = [(off[0], low), (off[1], low), (off[1], quiet), (off[0], quiet)]
            self._area(self._outcome(0, LOW), off_area)
        self._name(SURVIVES, log10(8), log10(60_000))
        self.diagonal.add([(low, low), (right, right)])
        if low < quiet < high:
            self.quiet.add([(left, quiet), (off[1], quiet)])
            label = f"the silence lasts {in_words(silence.quiet_s)}: no idle timer above expires  "
            self.text.add(right, quiet, label, "top left", self.colours.ink)

    def _border(self, left: float, right: float) -> list[tuple[float, float]]:
        """The longest time without a segment at each keepalive, from the left to the right."""
        count = round((right - left) * _FINE)
        xs = {left + (right - left) * i / count for i in range(count + 1)}
        xs |= {x for x in (log10(LOW), log10(max(self.silence.quiet_s, LEFT))) if left <= x <= right}
        gaps = ((x, self.silence.longest_gap(10**x)) for x in sorted(xs))
        return [(x, log10(_within(gap, LOW, HIGH))) for x, gap in gaps]

    def _cut(self, border: list[tuple[float, float]], low: float) -> None:
        """Cut the area below the border where late probes may still let the answer in.

        The longer the middlebox's timer, the sooner they do: in each column runs find the shortest one.
        """
        for (x0, y0), (x1, y1) in pairwise(border[:: _FINE // _COARSE] + border[-1:]):
            top = (y0 + y1) / 2
            steps = ceil(max(0, top - low) * _COARSE)
            at = [low + (top - low) * (i + 0.5) / steps for i in range(steps)]
            column = partial(self._outcome, 10 ** ((x0 + x1) / 2))
            first = _first([10**y for y in at], partial(_survives, column))
            y = low + (top - low) * first / max(steps, 1)
            if first:
                self._area(column(10 ** at[0]), [(x0, low), (x1, low), (x1, y), (x0, y)])
            if first < steps:
                self._area(SURVIVES, [(x0, y), (x1, y), (x1, y1), (x0, y0)])

    def _outcome(self, keepalive: float, box: float) -> str:
        return self.silence.outcome_at(keepalive, box, self.silence.expired)

    def _area(self, outcome: str, corners: list[tuple[float, float]]) -> None:
        self.areas[outcome].add([*corners, corners[0]])

    def _name(self, outcome: str, x: float, y: float) -> None:
        colour = {SURVIVES: self.colours.ink, RESET: self.colours.repeat, SILENT: self.colours.error}[outcome]
        self.text.add(x, y, f"<b>{SIGNS[outcome][1]} {outcome}</b>", "middle center", colour)

    def _draw_boxes(self) -> None:
        """A line for each idle time, with its boxes and what becomes of the connection behind each."""
        left, right = log10(LEFT), log10(OFF_TO)
        keepalive = self.silence.keepalive_idle_s
        for seconds, same in groupby(map_middleboxes(), key=lambda box: box.idle_s):
            y, names = log10(seconds), []
            ends: dict[str, list[str]] = {}
            for box in same:
                outcome = self.silence.outcome_at(keepalive, box.idle_s, box.expired)
                names.append(f"{SIGNS[outcome][1]} {box.name}")
                about = self.silence.with_values(box_idle_s=box.idle_s, expired=box.expired).sentence
                ends.setdefault(outcome, []).append(f"<b>{box.name}</b><br>{_folded(about)}")
            for i, (outcome, about_each) in enumerate(ends.items()):
                self.marks[outcome].add([(self.here + 0.09 * i, y)], "<br>".join(about_each))
            self.boxes.add([(left, y), (right, y)])
            self.text.add(left, y, f" {in_words(seconds)}: {', '.join(names)}", "top right", self.colours.ink)

    def _draw_clients(self) -> None:
        for seconds, clients in known_clients():
            who = ", ".join(clients)
            if seconds:
                x = log10(_within(seconds, LOW, RIGHT))
                about = f"<b>{who}</b><br>first probe after {in_words(seconds)}: survives every box above"
                self.clients.add([(x, x)], about)
                where, label = ("middle right", f"   {who}") if x < 3 else ("middle left", f"{who}   ")
                self.text.add(x, x, label, where, self.colours.probe)
            else:
                self.clients.add([(log10(OFF), log10(LOW) + 0.12)], f"<b>{who}</b><br>keepalive is off")
                at = log10(LOW) + 0.2
                self.text.add(log10(OFF), at, "<br>".join(clients), "top center", self.colours.probe)

    def _draw_mine(self) -> None:
        silence = self.silence
        low, high = log10(LOW), log10(HIGH)
        self.mine.add([(self.here, low), (self.here, high)])
        if silence.box_idle_s:
            y = log10(_within(silence.box_idle_s, LOW, HIGH))
            self.mine.add([(log10(LEFT), y), (log10(OFF_TO), y)])
            about = f"<b>my setting</b><br>{_folded(silence.sentence)}"
            self.ring.add([(self.here, y)], about)
            self.marks[silence.outcome].add([(self.here, y)], about)
            label = f"<b>my box: {in_words(silence.box_idle_s)}</b>"
            x = log10(RIGHT) if self.here < 3.2 else self.here - 0.1
            self.text.add(x, y, label, "bottom left", self.colours.cursor)
        idle = in_words(silence.keepalive_idle_s) if silence.keepalive_idle_s else "off"
        where = "top right" if self.here < 1 else "top left" if self.here > 4 else "top center"
        self.text.add(self.here, high, f"<b>my keepalive: {idle}</b>", where, self.colours.cursor)

    def data(self) -> list[dict[str, Any]]:
        """Always the same traces in the same order."""
        colours = self.colours
        fills = {SURVIVES: colours.states["open"], RESET: colours.repeat, SILENT: colours.error}
        made = [
            area.trace(
                f"area: {outcome}", fill="toself", fillcolor=look.tint(fills[outcome], 0.16),
                fillpattern={
                    "shape": PATTERNS[outcome], "fgcolor": look.tint(fills[outcome], 0.5),
                    "bgcolor": look.tint(fills[outcome], 0.1), "size": 10, "solidity": 0.12,
                },
                line={"width": 0},
            )
            for outcome, area in self.areas.items()
        ]  # fmt: skip
        made += [
            self.boxes.trace("boxes", line={"color": colours.soft, "width": 1}),
            self.diagonal.trace("as often as the box", line={"color": colours.ink, "width": 1.6}),
            self.quiet.trace("silence", line={"color": colours.ink, "width": 1.4, "dash": "dash"}),
            self.mine.trace("my settings", line={"color": colours.cursor, "width": 2.2, "dash": "dot"}),
            self.clients.trace(
                "clients", mode="markers",
                marker={"symbol": "square", "size": 10, "color": colours.probe,
                    "line": {"width": 1.5, "color": colours.paper}},
            ),
        ]  # fmt: skip
        made += [
            marks.trace(
                f"outcome: {outcome}", mode="markers",
                marker={"symbol": SIGNS[outcome][0], "size": 13, "color": fills[outcome],
                    "line": {"width": 1.5, "color": colours.paper}},
            )
            for outcome, marks in self.marks.items()
        ]  # fmt: skip
        ring = {"symbol": "circle-open", "size": 26, "color": colours.cursor, "line": {"width": 3}}
        made.append(self.ring.trace("my setting", mode="markers", marker=ring))
        return [*made, self.text.trace("words", colours)]

    def layout(self, title: str | None) -> dict[str, Any]:
        """Both axes, with lengths of time in words."""
        margins = {"left": 92, "right": 20, "bottom": 78}
        legend = "   ".join(f"{SIGNS[outcome][1]} {outcome}" for outcome in OUTCOMES)
        size = {"size": look.FONT_SIZE}
        return look.layout(self.colours, _HEIGHT, title, top=(32, 60), **margins) | {
            "uirevision": "idle map",
            "dragmode": False,
            "xaxis": look.axis(
                range=[log10(LEFT), log10(OFF_TO)], fixedrange=True, showticklabels=True,
                title={"text": f"keepalive: silence before the first probe<br>{legend}   ■ common clients",
                    "font": size},
                **_ticks(LEFT, RIGHT),
            ),
            "yaxis": look.axis(
                range=[log10(LOW), log10(HIGH)], fixedrange=True, showticklabels=True,
                title={"text": "idle timer of the middlebox on the path", "font": size}, **_ticks(LOW, HIGH),
            ),
        }  # fmt: skip


def _survives(outcome: Callable[[float], str], box: float) -> bool:
    return outcome(box) == SURVIVES


def _first(values: Sequence[float], holds: Callable[[float], bool]) -> int:
    """Where a condition begins to hold that holds to the end; mostly it holds everywhere or nowhere."""
    if not values or holds(values[0]):
        return 0
    return bisect_left(values, True, key=holds) if holds(values[-1]) else len(values)


def _ticks(low: float, high: float) -> dict[str, Any]:
    ticks = [(log10(seconds), in_words(seconds)) for seconds in _TICKS if low <= seconds <= high]
    if low == LEFT:
        ticks.append((log10(OFF), "<b>off</b>"))
    at, texts = map(list, zip(*ticks, strict=True))
    return {"tickmode": "array", "tickvals": at, "ticktext": texts}


def _within(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _folded(text: str) -> str:
    """A long sentence in lines, for hovering."""
    return "<br>".join(wrap(text, 70))


class IdleMap(Shell):
    """The map keepalive × idle timer, for the last line of a cell: ``idle_map(keepalive_idle_s=300)``.

    Settings are those of `SilentConnection`: keepalive_idle_s (7200; 0 = off), keepalive_interval_s (75),
    keepalive_probes (9), box_idle_s (350; 0 = never forgets), expired (drop), quiet_s (600), waiting_for
    (long_query). What is wrong with one of them is said in place of the picture.
    """

    def __init__(self, **initial: Any) -> None:
        super().__init__()
        self._values = SilentConnection.defaults()
        #: The row of each setting.
        self.controls = {
            name: Control(knob, self._values[name], [initial.get(name)], self._setter(name))
            for name, knob in SilentConnection.knobs().items()
            if name not in ("latency_ms", "linux", "seed")
        }
        #: The settings that are shown; None when they can't be used.
        self.silence: SilentConnection | None = None
        self._figure = LivingFigure("idle_map")
        grid = widgets.Box(list(self.controls.values()))
        self.build(grid.add_class("tcplab-controls"), self.status, self._figure)
        self.set(**initial)

    @property
    def values(self) -> dict[str, Any]:
        """Every setting with the value that is set."""
        return {name: self._values[name] for name in self.controls}

    @property
    def figure(self) -> Any:
        """The map as a plotly figure; None when there is none."""
        return self._figure.figure

    def set(self, **values: Any) -> None:
        """Change settings by name. `sentence` then says what is wrong with one."""
        self.guard(lambda: self._show(SilentConnection.from_values({**self._values, **values})))
        for name, control in self.controls.items():
            value = values.get(name, self._values[name])
            control.show(value if control.can_show(value) else self._values[name])

    def _setter(self, name: str) -> Any:
        return lambda value: self.set(**{name: value})

    def _show(self, silence: SilentConnection) -> None:
        self.silence, self._values = silence, silence.values()
        self._figure.show(draw_idle_map(silence), silence.sentence)
        self.say(silence.sentence)

    def refuse(self, why: str) -> None:
        self.silence = None
        self._figure.clear()
        super().refuse(why)


def idle_map(**settings: Any) -> IdleMap:
    """The map keepalive × idle timer under the settings that `IdleMap` lists."""
    return IdleMap(**settings)


#: The text of a cell whose result never came (`null` in the contracts).
NEVER = "never"
#: px of one line, and the least that the plotting area has.
_ROW, _LEAST = 26, 160
#: Cells with text: more would not be readable.
_MOST_COLUMNS, _MOST_ROWS = 16, 24
#: px that all columns have in the narrowest picture.
_ROOM = 670
#: Results whose largest is more than this many times the smallest are coloured by their logarithm.
_WIDE = 50
#: From blue over grey to yellow, as Cividis (Nuñez, Anderton and Renslow 2018), which was made for every kind
#: of colour vision; lighter, so that ink is readable on each of them.
_SCALE = [[0, "#7fa3d6"], [0.5, "#c2c4c0"], [1, "#ffee99"]]


class Cells:
    """A result by two parameters: `results` are (value of y, value of x, result), in the order drawn."""

    def __init__(self, results: Iterable[tuple[Any, Any, Any]], value: str, x: str, y: str) -> None:
        self.value, self.x, self.y = value, x, y
        rows = list(results)
        self.columns = list(dict.fromkeys(column for _, column, _ in rows))
        self.rows = list(dict.fromkeys(row for row, _, _ in rows))
        self.results = {(row, column): _plain(result) for row, column, result in rows}
        if len(self.results) != len(rows):
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
        """The text of a cell: `15 min 28 s`, `17`, `ETIMEDOUT`, `never`, `yes`."""
        if result is None:
            return NEVER if self.value.endswith("_s") or self.numbers else "none"
        if isinstance(result, bool):
            return "yes" if result else "no"
        if not _is_number(result):
            return str(result)
        if self.value.endswith("_s") and not self.value.endswith("_per_s"):
            return in_words(result)
        return f"{result:,}" if isinstance(result, int) else f"{result:,.4g}"

    @property
    def sentence(self) -> str:
        """Smallest, largest, and what never came."""
        sentences = [
            f"{self.value} for {len(self.columns)} values of {self.x} and {len(self.rows)} of {self.y}."
        ]
        if self.words:
            texts = list(map(self.text, self.results.values()))
            shares = ", ".join(f"{word} {texts.count(word)} times" for word in self.words)
            sentences.append(f"{shares[:1].upper()}{shares[1:]}.")
        elif self.numbers:
            for name, choose in (("Least", min), ("Most", max)):
                known = {pair: result for pair, result in self.results.items() if _is_number(result)}
                row, column = choose(known, key=known.__getitem__)
                sentences.append(
                    f"{name}: {self.text(known[row, column])}, "
                    f"at {self.x} = {_value(column)} and {self.y} = {_value(row)}."
                )
        if never := sum(result is None for result in self.results.values()):
            sentences.append(f"{self.text(None).capitalize()}: {never} of {len(self.results)} cells.")
        return " ".join(sentences)

    def texts(self) -> list[list[str]]:
        """Every cell as text, by row."""
        return [[self.text(self.results.get((row, x))) for x in self.columns] for row in self.rows]

    def html(self) -> str:
        """The same as a table."""
        rows = ([_value(row), *texts] for row, texts in zip(self.rows, self.texts(), strict=True))
        headings = [f"{self.y} ↓ {self.x} →", *map(_value, self.columns)]
        return html_table(headings, rows, row_headings=True, classes="")


def draw_heat_map(cells: Cells, *, title: str | None = None, dark: bool = False) -> Picture:
    """The picture: x to the right, y upwards, the result as colour and, where there is room, as text."""
    colours = look.theme(dark)
    heights = _heights(cells)
    fits = int(_ROOM / len(cells.columns) / look.CHARACTER) - 1
    lines = [[wrap(text, max(fits, 1), break_long_words=False) for text in row] for row in cells.texts()]
    text = [["<br>".join(map(escape, cell)) for cell in row] for row in lines]
    widest = max(len(line) for row in lines for cell in row for line in cell)
    readable = len(cells.rows) <= _MOST_ROWS and widest <= fits
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
        "textfont": {"size": look.FONT_SIZE, "color": colours.ink},
        "hovertemplate": f"%{{customdata}}<br>{escape(cells.value)}: %{{text}}<extra></extra>",
        "colorscale": _SCALE, "showscale": False, "hoverongaps": True, "xgap": 1, "ygap": 1,
    }  # fmt: skip
    rows = (
        _ROW * max(len(cell) for row in lines for cell in row) if readable else max(6, 600 // len(cells.rows))
    )
    left = 40 + look.CHARACTER * max(len(_value(row)) for row in cells.rows)
    height = max(_LEAST, rows * len(cells.rows)) + 20
    layout = look.layout(colours, height, title, left=left, right=20, bottom=70, top=(20, 50))
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
        texts = {pair: cells.text(result) for pair, result in cells.results.items()}
        return {pair: float(words.index(text)) for pair, text in texts.items() if text in words}
    numbers = {pair: float(r) for pair, r in cells.results.items() if _is_number(r)}
    least, most = min(numbers.values(), default=0), max(numbers.values(), default=0)
    if least > 0 and most > _WIDE * least:
        return {pair: log10(number) for pair, number in numbers.items()}
    return numbers


def _plain(result: Any) -> Any:
    """A result as plain Python has it; NaN and NaT are what `null` became in a column of pandas."""
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


class HeatMap(Shell):
    """A picture of a sweep with its sentence. See `heat_map`."""

    def __init__(self, cells: Cells) -> None:
        super().__init__()
        self.say(cells.sentence)
        self._picture = LivingFigure("heat_map")
        self._picture.show(draw_heat_map(cells), self.sentence)
        self._table = cells.html()
        self.build(self.status, self._picture, Fold("The same as a table", widgets.HTML(self._table)))

    @property
    def figure(self) -> Any:
        """The picture as a plotly figure."""
        return self._picture.figure

    def _repr_html_(self) -> str:
        return super()._repr_html_() + self._table


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
    x, y = wanted["x"], wanted["y"]
    results = zip(table[y].tolist(), table[x].tolist(), table[value].tolist(), strict=True)
    return HeatMap(Cells(results, value, x, y))


LUCK, DIES = "until one is lost", "dies"
_LOST = knobs.Knob("lost probes", int, "probes", 1, 20)


def lost_probe_map(
    keepalives_s: Sequence[float] = (60, 120, 200, 270, 300, 600, 1800, 7200),
    boxes_s: Sequence[float] = (240, 350, 600, 900, 1200),
    *,
    interval_s: float = 75,
    probes: int = 9,
    silent_s: float = 1800,
    lost: int = 1,
) -> HeatMap:
    """A silent query behind a box that drops what it has forgotten: every pair of times run on the model.

    A pair survives, survives until `lost` probes in a row are lost, or dies. All times in seconds; raises
    `ParameterError` for one that Linux or the model does not take.
    """
    interval_s = knobs.KEEPALIVE_INTERVAL.check("interval_s", interval_s)
    probes = knobs.KEEPALIVE_PROBES.check("probes", probes)
    silent_s, lost = knobs.PERIOD.check("silent_s", silent_s), _LOST.check("lost", lost)
    pairs = product(boxes_s, keepalives_s)
    results = [(box, idle, _outcome(idle, interval_s, probes, box, silent_s, lost)) for box, idle in pairs]
    return HeatMap(Cells(results, "a silent query", "keepalive (s)", "box (s)"))


def _outcome(idle: float, interval: float, probes: int, box: float, silent: float, lost: int) -> str:
    keepalive = KeepaliveDefaults(knobs.KEEPALIVE_IDLE.check("keepalives_s", idle), interval, probes)
    for gone, outcome in ((0, DIES), (lost, LUCK)):
        if runs.behind_middlebox(box, "drop", "long_query", silent, keepalive.after_losing(gone)):
            return outcome
    return SURVIVES


# -- a matrix of two parameters to guess -----------------------------------------------------------------

#: What a cell of a `Matrix` says before it was tried.
UNTRIED = "?"


class Matrix(Shell):
    """All combinations of two parameters as a table of buttons above an explorer.

    Cells begin as a question mark, so a learner can guess first. One that was tried says what came back;
    the sentence says what recordings on Linux say of the cells that were tried last.

    `rows` and `columns`: the parameter, and its values with what stands at their head. `recorded`: cells
    that ran on Linux, each with the parameters that are not at their defaults and the result. `labels`:
    short words for results that are too long for a button.
    """

    def __init__(
        self,
        explorer: Explorer,
        rows: tuple[str, Mapping[Any, str]],
        columns: tuple[str, Mapping[Any, str]],
        *,
        result: str = "result",
        recorded: Sequence[Mapping[str, Any]] = (),
        labels: Mapping[Any, str] | None = None,
    ) -> None:
        super().__init__()
        self.explorer = explorer
        self._labels = labels or {}
        self._row, self._rows = rows
        self._column, self._columns = columns
        self._result, self._recorded = result, recorded
        #: The button of each combination, by its two values.
        self.cells = {
            (row, column): self._cell(row, column) for row in self._rows for column in self._columns
        }
        lines = [widgets.HTML(), *map(_bold, self._columns.values())]
        for row_value, name in self._rows.items():
            lines += [_bold(name), *(self.cells[row_value, column] for column in self._columns)]
        grid = widgets.GridBox(lines)
        columns_css = f"minmax(9em, 1.4fr) repeat({len(self._columns)}, minmax(6em, 1fr))"
        grid.layout.grid_template_columns, grid.layout.grid_gap = columns_css, "4px"
        everything = button("Try all", "", self.try_all, "Run every cell of the table.")
        self.build(grid, widgets.HBox([everything, self.status]), explorer)
        self._settings = self._others()

    def try_cell(self, row: Any, column: Any) -> Any:
        """Run one cell in the explorer; returns what came back."""
        self.explorer.set(**{self._row: row, self._column: column})
        self._forget_if_others_changed()
        came_back = self.explorer.outcome.get(self._result)
        self._show(row, column, came_back)
        linux = self._on_linux(row, column)
        self.say("" if linux is None else f"Linux, recorded: {linux}")
        return came_back

    def try_all(self) -> None:
        """Run every cell on the model, without moving the explorer."""
        self._forget_if_others_changed()
        recorded = []
        for cell, came_back in self.results().items():
            self._show(*cell, came_back)
            if (linux := self._on_linux(*cell)) is not None:
                recorded.append(linux == came_back)
        self.say(f"{sum(recorded)} of {len(recorded)} cells gave the same on Linux." if recorded else "")

    def results(self) -> dict[tuple[Any, Any], Any]:
        """What the model gives in every cell, with the explorer's other parameters as they are."""
        kind = self.explorer.experiment_class
        return {cell: run(kind.from_values(self._values(*cell))).outcome[self._result] for cell in self.cells}

    def _values(self, row: Any, column: Any) -> dict[str, Any]:
        return {**self.explorer.values, self._row: row, self._column: column}

    def _cell(self, row: Any, column: Any) -> widgets.Button:
        tooltip = f"{self._rows[row]}; then {self._columns[column]}"
        made = button(UNTRIED, "", lambda: self.try_cell(row, column), tooltip)
        made.layout.width = "auto"
        return made

    def _show(self, row: Any, column: Any, came_back: Any) -> None:
        cell = self.cells[row, column]
        cell.description = self._labels.get(came_back, str(came_back))
        cell.button_style = "success" if came_back == "ok" else "warning"

    def _others(self) -> dict[str, Any]:
        values = self.explorer.values
        return {name: values[name] for name in values if name not in (self._row, self._column)}

    def _forget_if_others_changed(self) -> None:
        """What was tried with other settings says nothing about these."""
        if (now := self._others()) != self._settings:
            self._settings = now
            for cell in self.cells.values():
                cell.description, cell.button_style = UNTRIED, ""

    def _on_linux(self, row: Any, column: Any) -> Any:
        """What the recording says of a cell with the explorer's other settings; None where it doesn't."""
        values = self._values(row, column)
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


def _bold(text: str) -> widgets.HTML:
    return widgets.HTML(f"<b>{escape(text)}</b>")


#: What notebooks call it.
matrix = Matrix

_CALLS = {
    "connect": "connect()",
    "connect_reuseaddr": "SO_REUSEADDR, connect()",
    "bind0": "bind(0), connect()",
    "bind0_reuseaddr": "SO_REUSEADDR, bind(0), connect()",
}
_ONE_MORE = {
    "connect": "connect() alone",
    "bind0": "bind(0.0.0.0:0)",
    "bind0_reuseaddr": "the same with SO_REUSEADDR",
    "bind_explicit": "bind(0.0.0.0:60001)",
    "bind_explicit_reuseaddr": "the same with SO_REUSEADDR",
    "bind_no_port": "bind() with NO_PORT",
}


def bind_matrix() -> Matrix:
    """Who gets a port when all are held: how they were taken (rows), what one more calls (columns)."""
    cells = loads((LIBRARY / "bind_or_connect.matrix.json").read_text("utf-8"))["cells"]
    labels = {"EADDRINUSE": "98 in use", "EADDRNOTAVAIL": "99 no port"}
    rows, columns = ("held_by", _CALLS), ("then", _ONE_MORE)
    return Matrix(Explorer(BindOrConnect), rows, columns, recorded=cells, labels=labels)
