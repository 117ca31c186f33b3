"""A picture that stays: plotly's dicts, as our own pictures use them, laid out in Python as an SVG.

It is what a notebook shows where no kernel and no script runs: saved, printed, published. It knows no more of
plotly than `theme.Picture` needs: axes with given ranges and ticks, lines with their fills, markers, texts
and heat maps. Words that only a pointer brings up are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from html import unescape
from itertools import pairwise
from math import cos, hypot, log10, pi, sin
from typing import Any

from tcplab.pictures import theme as look
from tcplab.pictures.svg import (
    ASCENT,
    Caption,
    Drawing,
    Fill,
    Item,
    Polygon,
    Polyline,
    Rect,
    Stroke,
    Symbol,
    shortened,
    text_width,
)

#: px: what a notebook's page has room for, and the most that a picture may weigh in a file, bytes.
WIDTH, HEAVIEST = 950, 50_000
_LINE_HEIGHT = 18
_DASHES = {"dot": "2 3", "dash": "7 4", "dashdot": "7 3 2 3", "4px,4px": "4 4"}
#: Plotly's symbols by the beginning of their names; what is not here is a dot.
_SYMBOLS = {
    "x": "cross", "square-x": "cross", "diamond": "diamond", "square": "square", "star": "star",
    "triangle-right": "right", "triangle-down": "down", "triangle-up": "up", "line-ns": "bar",
}  # fmt: skip
_DARK = (
    '<style>body[data-jp-theme-light="false"] .tcplab-turned-over svg'
    "{filter:invert(.933) hue-rotate(180deg)}</style>"
)
_BREAK, _TAG = re.compile(r"<br\s*/?>"), re.compile(r"<[^>]+>")

Point = tuple[float, float]


def still(picture: look.Picture, said: str = "", width: int = WIDTH) -> str:
    """The picture as an `<svg>` element; empty where it would be heavier than `HEAVIEST`."""
    made = drawing(picture, said, width).svg
    return made if len(made.encode()) <= HEAVIEST else ""


def drawing(picture: look.Picture, said: str = "", width: int = WIDTH) -> Drawing:
    """The same, to be looked at piece by piece; `said` is what it shows, in words."""
    return _Still(picture, said or picture.sentence, width).done()


def turned_over(html: str) -> str:
    """Pictures in light colours that follow JupyterLab's dark theme: turned over, each hue kept."""
    grid = "display: grid; grid-template-columns: minmax(0, 1fr)"  # no wider than its place
    return f'{_DARK}<div class="tcplab-turned-over" style="{grid}">{html}</div>'


def to_scroll(svg: str) -> str:
    """A picture that scrolls where its place is narrower; nothing for no picture."""
    return svg and f'<div style="overflow-x: auto">{svg}</div>'


def folded(table: str) -> str:
    """A picture's table, below it."""
    return f"<details><summary>The picture as a table</summary>{table}</details>"


@dataclass
class _Axis:
    """Where the values of one axis stand, px."""

    layout: Mapping[str, Any]
    #: px of its beginning and its end.
    low: float
    high: float

    def px(self, value: float) -> float:
        first, last = self.layout["range"]
        if self.layout.get("type") == "log":  # whose range is in decades
            value = log10(value) if value > 0 else first
        return self.low + (value - first) / (last - first) * (self.high - self.low)

    def inside(self, px: float) -> float:
        """This place, or the nearest on the axis."""
        return min(max(px, min(self.low, self.high)), max(self.low, self.high))


@dataclass
class _Still:
    picture: look.Picture
    said: str
    width: int
    items: list[Item] = field(default_factory=list)

    def __post_init__(self) -> None:
        layout = self.layout = self.picture.layout
        dark = layout["paper_bgcolor"] == look.DARK.paper
        self.colours = look.theme(dark)
        margin = layout["margin"]
        self.left, self.right = margin["l"], self.width - margin["r"]
        self.top, self.bottom = margin["t"], layout["height"] - margin["b"]
        self.axes = {name: self._axis(name) for name in layout if re.fullmatch(r"[xy]axis\d*", name)}

    def _axis(self, name: str) -> _Axis:
        axis = self.layout[name]
        begin, end = axis.get("domain", (0, 1))
        low, high = (self.left, self.right) if name[0] == "x" else (self.bottom, self.top)
        return _Axis(axis, low + begin * (high - low), low + end * (high - low))

    def done(self) -> Drawing:
        for name in self.axes:
            self._grid(name)
        before: list[Point] = []
        for trace in self.picture.data:
            if trace["type"] == "heatmap":
                self._heat_map(trace)
            else:
                before = self._scatter(trace, before)
        for name in self.axes:
            self._ticks(name)
        for note in self.layout.get("annotations", ()):
            self._text(note["text"], self.left, self.bottom - 6, "top right", self.colours.soft)
        if title := self.layout["title"]["text"]:
            self._text(title, 12, 24, "middle right", self.colours.ink)
        height = self.layout["height"] + self._legend(self.layout["height"])
        return Drawing(self.width, height, self.colours, self.said, self.items)

    # -- axes --------------------------------------------------------------------------------

    def _other(self, name: str) -> _Axis:
        """The axis across, at whose beginning the ticks of this one stand."""
        across = "y" if name[0] == "x" else "x"
        anchor = str(self.axes[name].layout.get("anchor", across))
        return self._axis_of(anchor)

    def _axis_of(self, name: str) -> _Axis:
        """An axis by the name that plotly's traces and anchors have for it: ``x``, ``y2``."""
        return self.axes[f"{name[0]}axis{name[1:] if name[1:] != '1' else ''}"]

    def _grid(self, name: str) -> None:
        axis, across = self.axes[name], self._other(name)
        if not axis.layout.get("showgrid"):
            return
        for value in axis.layout.get("tickvals") or ():
            at = axis.px(value)
            # A time axis is shared by all panels above it.
            ends = (self.bottom, self.top) if name[0] == "x" else (across.low, across.high)
            x1, y1, x2, y2 = (at, ends[0], at, ends[1]) if name[0] == "x" else (ends[0], at, ends[1], at)
            self.items.append(Stroke(x1, y1, x2, y2, self.colours.faint, 1, "1 3"))

    def _ticks(self, name: str) -> None:
        axis, across = self.axes[name], self._other(name)
        ticks = axis.layout
        colour = ticks.get("tickfont", {}).get("color", self.colours.ink)
        off = 4 + ticks.get("ticklabelstandoff", 0)
        if ticks.get("showticklabels"):
            for value, text in zip(ticks.get("tickvals") or (), ticks.get("ticktext") or (), strict=True):
                at = axis.px(value)
                if at != axis.inside(at):
                    continue
                if name[0] == "x":
                    self._text(text, at, across.low + off, "bottom center", colour)
                else:
                    self._text(text, across.low - off, at, "middle left", colour)
        if title := ticks.get("title", {}).get("text"):
            if name[0] == "x":
                middle = (axis.low + axis.high) / 2
                self._text(title, middle, across.low + off + _LINE_HEIGHT, "bottom center", colour)
            else:
                self._text(title, 4, axis.high, "top right", colour)

    # -- traces ------------------------------------------------------------------------------

    def _scatter(self, trace: Mapping[str, Any], before: list[Point]) -> list[Point]:
        """Draw it; returns where its line went, for a next one that fills the area between."""
        x, y = (self._axis_of(trace.get(f"{c}axis", c)) for c in "xy")
        at = [
            None if a is None or b is None else (x.px(a), y.px(b))
            for a, b in zip(trace["x"], trace["y"], strict=True)
        ]
        mode, line = trace.get("mode", "lines"), trace.get("line", {})
        lines = list(_lines(at, line.get("shape") == "hv"))
        clipped = [[(x.inside(a), y.inside(b)) for a, b in points] for points in lines]
        if trace.get("fill"):
            self._fill(trace, clipped, y.inside(y.px(0)), before)
        if "lines" in mode and line.get("width", 2):
            for points in clipped:
                if len(set(points)) > 1:
                    dash = _DASHES.get(line.get("dash", ""), "")
                    self.items.append(Polyline(tuple(points), line["color"], line.get("width", 2), dash))
        if "markers" in mode:
            self._markers(trace["marker"], at, x, y)
        if "text" in mode:
            font = trace["textfont"]
            for i, place in enumerate(at):
                if place and trace["text"][i]:
                    where = _each(trace["textposition"], i)
                    self._text(trace["text"][i], *place, where, _each(font["color"], i))
        return [point for points in clipped for point in points]

    def _fill(
        self, trace: Mapping[str, Any], lines: list[list[Point]], zero: float, before: list[Point]
    ) -> None:
        pattern = trace.get("fillpattern", {})
        ground = pattern.get("bgcolor", "none") if pattern else trace.get("fillcolor", "none")
        fill = Fill(ground, pattern.get("shape", ""), pattern.get("fgcolor", ""))
        for points in lines:
            corners = points
            if trace["fill"] == "tozeroy":
                corners = [(points[0][0], zero), *points, (points[-1][0], zero)]
            elif trace["fill"] == "tonexty":
                corners = [*points, *reversed(before)]
            if len(set(corners)) > 2:
                self.items.append(Polygon(tuple(corners), fill))

    def _markers(self, marker: Mapping[str, Any], at: list[Point | None], x: _Axis, y: _Axis) -> None:
        for i, place in enumerate(at):
            kind, size = str(_each(marker.get("symbol", "circle"), i)), _each(marker.get("size", 6), i)
            seen = _each(marker.get("opacity", 1), i) and size
            if not place or not seen or place != (x.inside(place[0]), y.inside(place[1])):
                continue
            colour = _each(marker.get("color", self.colours.ink), i)
            if kind.startswith("arrow"):
                if i and (tail := at[i - 1]):
                    self.items.append(_head(tail, place, colour))
            elif kind != "line-ew":  # the ground of a label: here letters have a halo
                named = max((each for each in _SYMBOLS if kind.startswith(each)), key=len, default="")
                if kind == "circle-open":
                    self.items.append(_ring(place, size / 2, colour))
                else:
                    self.items.append(Symbol(*place, _SYMBOLS.get(named, "dot"), colour, size / 2))

    def _heat_map(self, trace: Mapping[str, Any]) -> None:
        x, y = self.axes["xaxis"], self.axes["yaxis"]
        known = [value for row in trace["z"] for value in row if value is not None]
        low, high = min(known, default=0), max(known, default=0)
        for row, values in enumerate(trace["z"]):
            for column, value in enumerate(values):
                left, right = x.px(column - 0.5), x.px(column + 0.5)
                top, bottom = y.px(row + 0.5), y.px(row - 0.5)
                if value is not None:
                    share = (value - low) / (high - low) if high > low else 0.5
                    fill = Fill(_on_scale(trace["colorscale"], share))
                    self.items.append(Rect(left, top, right - left - 1, bottom - top - 1, fill))
                if trace["texttemplate"]:
                    middle = (left + right) / 2, (top + bottom) / 2
                    ink = self.colours.ink
                    self._text(trace["text"][row][column], *middle, "middle center", ink, halo=False)

    # -- words -------------------------------------------------------------------------------

    def _text(self, html: str, x: float, y: float, where: str, colour: str, *, halo: bool = True) -> None:
        """A text of one or more lines at a point; `where` is plotly's, such as ``middle left``."""
        lines = [unescape(_TAG.sub("", line)).replace("\xa0", " ").rstrip() for line in _BREAK.split(html)]
        high, side = where.split()
        above = {"top": 4 + _LINE_HEIGHT * (len(lines) - 1), "bottom": -ASCENT}
        first = y - above.get(high, _LINE_HEIGHT * (len(lines) - 1) / 2 - 5)
        anchor = {"left": "end", "right": "start"}.get(side, "middle")
        bold = html.startswith("<b>")
        room = {"start": self.width - x, "end": x, "middle": 2 * min(x, self.width - x)}[anchor]
        for i, line in enumerate(lines):
            at = first + _LINE_HEIGHT * i
            paper, indent = self.colours.paper if halo else "", 0.0
            if anchor == "start":  # spaces in front keep a word away from its swatch
                indent = text_width(" ") * (len(line) - len(line.lstrip()))
            if line := shortened(line.strip(), room - indent, bold):
                self.items.append(Caption(x + indent, at, line, colour, anchor, bold, paper))

    def _legend(self, top: float) -> float:
        """What plotly's legend names, in lines below the picture; returns their height."""
        if not self.layout.get("showlegend"):
            return 0
        shown = [trace for trace in self.picture.data if trace.get("showlegend") and trace["x"]]
        x, y = 12.0, top + 14
        for trace in shown:
            name = unescape(_TAG.sub("", trace["name"]))
            if x + 34 + text_width(name) > self.width:
                x, y = 12.0, y + 22
            line = trace.get("line", {})
            colour = line.get("color") or trace.get("marker", {}).get("color", self.colours.ink)
            dash, wide = _DASHES.get(line.get("dash", ""), ""), min(line.get("width") or 6, 6)
            if isinstance(colour, str):
                self.items.append(Stroke(x, y, x + 24, y, colour, wide, dash))
            self.items.append(Caption(x + 30, y + 5, name, self.colours.ink))
            x += 52 + text_width(name)
        return y - top + 14 if shown else 0


def _each(values: Any, i: int) -> Any:
    """One value for all points, or the value of this one."""
    return values[i] if isinstance(values, list | tuple) else values


def _lines(at: Iterable[Point | None], steps: bool) -> Iterator[list[Point]]:
    """The lines between gaps; with `steps` each value lasts until the next."""
    points: list[Point] = []
    for place in (*at, None):
        if place is None:
            if points:
                yield points
            points = []
        else:
            if steps and points:
                points.append((place[0], points[-1][1]))
            points.append(place)


def _head(tail: Point, tip: Point, colour: str) -> Polygon:
    """The head of an arrow."""
    dx, dy = tip[0] - tail[0], tip[1] - tail[1]
    long = hypot(dx, dy) or 1
    dx, dy = dx / long, dy / long
    back = tip[0] - 10 * dx, tip[1] - 10 * dy
    corners = (tip, (back[0] - 4 * dy, back[1] + 4 * dx), (back[0] + 4 * dy, back[1] - 4 * dx))
    return Polygon(corners, Fill(colour))


def _ring(middle: Point, radius: float, colour: str) -> Polyline:
    """A circle with nothing in it."""
    turns = [pi * i / 12 for i in range(25)]
    points = ((middle[0] + radius * cos(turn), middle[1] + radius * sin(turn)) for turn in turns)
    return Polyline(tuple(points), colour, 2)


def _on_scale(scale: list[list[Any]], share: float) -> str:
    """The colour at a share from 0 to 1 of a colour scale."""
    for (low, below), (high, above) in pairwise(scale):
        if share <= high:
            part = (share - low) / (high - low)
            pairs = ((int(below[i : i + 2], 16), int(above[i : i + 2], 16)) for i in (1, 3, 5))
            return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in pairs)
    return str(scale[-1][1])
