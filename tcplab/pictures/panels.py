"""What pictures of amounts over time share: panels above each other on one clock, and runs side by side.

The ends of a picture's axes are its `limits`. Whoever draws again after a parameter was changed hands them
back: an axis then grows where it has to and never shrinks, so that a change is seen as a change. Kept runs
are grey and dashed; above the panels stands what they had set, and in words what differs.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any, NamedTuple

from tcplab.core.text import SECOND, duration, in_words
from tcplab.core.trace import Trace
from tcplab.pictures import theme as look
from tcplab.pictures.lanes import differing
from tcplab.pictures.theme import Line, MarkStyle, Picture, Text, Theme, filled, rectangle
from tcplab.pictures.timeline_look import Axis, tick_text

#: The end of each axis by its unit (`s`, `bytes`, `ports` …); one that begins with `_` no sentence names.
Limits = Mapping[str, float]
#: Steps of a curve: (seconds, value from then on).
Steps = Sequence[tuple[float, float]]

#: How the line of a kept run is drawn, the newest first, and the sign for it in a text.
KEPT = (("dash", "╌╌"), ("dot", "····"), ("dashdot", "─·─"))
#: px: room for a panel's heading, a line above all panels, and the characters in such a line.
_ABOVE, _LINE, _CHARACTERS = 26, 20, 92
#: px of the clock in the narrowest picture.
_NARROW = 620


def grown(before: Limits | None, **ends: float) -> dict[str, float]:
    """The ends of axes, none below what it was before."""
    known = before or {}
    return {**known, **{unit: max(end, known.get(unit, end)) for unit, end in ends.items()}}


def growth(now: Limits, before: Limits | None) -> str:
    """``axis: 3 h, was 20 min``; empty where no axis has grown."""
    if not before:
        return ""
    pairs = [(unit, end, before.get(unit, end)) for unit, end in now.items() if unit[0] != "_"]
    said = [f"{_amount(end, unit)}, was {_amount(was, unit)}" for unit, end, was in pairs if end > was]
    return f"axis: {'; '.join(said)}" if said else ""


def _amount(value: float, unit: str) -> str:
    return in_words(value) if unit == "s" else f"{value:,.10g} {unit}"


class Fact(NamedTuple):
    """One thing that a picture shows of a run: ``{} ports`` and ``6``."""

    words: str
    value: str


def compared(now: Sequence[Fact], kept: Sequence[Fact]) -> str:
    """``6 ports instead of 12, EADDRNOTAVAIL at the 7th connect() instead of never``."""
    pairs = [(a, b) for a, b in zip(now, kept, strict=True) if a.value != b.value]
    said = ", ".join(f"{a.words.format(a.value)} instead of {_unlike(a.value, b.value)}" for a, b in pairs)
    said = said or "the same as before: nothing in this picture differs"
    return said[0].upper() + said[1:]


def _unlike(now: str, kept: str) -> str:
    """A kept value without the word that the present one begins with too: ``56.5 s`` of ``after 56.5 s``."""
    word, _, rest = kept.partition(" ")
    return rest if rest and word.isalpha() and now.startswith(f"{word} ") else kept


def _wrapped(text: str, characters: int) -> list[str]:
    """Lines of at most so many characters as HTML; a number and its unit stay together."""
    together = re.sub(r"(\d) (?=\w)", "\\1\u00a0", text)
    return [escape(line, False) for line in textwrap.wrap(together, characters)]


def kept_words(now: Trace, kept: Trace) -> str:
    """What a kept run had set otherwise: ``kept: receive buffer 32768 bytes``."""
    return f"kept: {differing(kept.experiment, kept.parameters, now.experiment, now.parameters)}"


class Panels:
    """Panels from the top down on one clock, in seconds, or shortened: by the logarithm of the time."""

    def __init__(self, colours: Theme, limits: Limits, *, log: bool = False) -> None:
        self.colours, self.limits = colours, limits
        #: What differs from the newest kept run.
        self.compared = ""
        self._clock = Axis(limits["s"], 0, _NARROW, log, limits["s"] / 1000)
        self.end = self.x(limits["s"])
        self._axes: dict[str, Any] = {}
        self._heights: list[tuple[float, float]] = []
        self._texts: dict[str, Text] = {}

    def x(self, seconds: float) -> float:
        """Where this many seconds are on the clock."""
        return self._clock.x(seconds) if self._clock.log else seconds

    def panel(self, px: float, heading: str = "", *, above: float = _ABOVE, **properties: Any) -> str:
        """One more panel of this height, below room for its heading; returns the name of its axis."""
        name = self._next()
        self._heights.append((px, above))
        self._axes[f"yaxis{name[1:]}"] = look.grid_axis(self.colours, fixedrange=True, **properties)
        if heading:
            self.text(name, 0, max(properties["range"]), heading, "top right", self.colours.soft)
        return name

    def _next(self) -> str:
        """The name of the next panel's axis."""
        return f"y{len(self._heights) + 1}" if self._heights else "y"

    def text(self, axis: str, x: float, y: float, text: str, position: str, colour: str = "") -> None:
        """Words in a panel; `position` is plotly's."""
        self._texts.setdefault(axis, Text()).add(x, y, text, position, colour or self.colours.ink)

    def keep(self, now: Trace, kept: Sequence[Trace], facts: Callable[[Trace], Sequence[Fact]]) -> None:
        """Say above all else what kept runs had set, and what differs from the newest, the last of them."""
        if not kept:
            return
        self.compared = compared(facts(now), facts(kept[-1]))
        lines = [f"<b>{line}</b>" for line in _wrapped(self.compared, _CHARACTERS)]
        for (_, sign), trace in zip(KEPT, reversed(kept), strict=False):
            first, *more = _wrapped(kept_words(now, trace), _CHARACTERS - 4)
            lines += [f"{sign} {first}", *more]
        self.lines(lines, self.colours.soft)

    def lines(self, lines: Sequence[str], colour: str = "") -> None:
        """A panel of texts below each other."""
        axis = self.panel(_LINE * len(lines), above=0, range=[len(lines), 0], showgrid=False, tickvals=[])
        for row, line in enumerate(lines):
            self.text(axis, 0, row + 0.5, line, "middle right", colour)

    def legend(self, marks: Mapping[str, MarkStyle | None]) -> list[dict[str, Any]]:
        """A panel with a swatch and a word for each mark, or the word alone; gives the swatches."""
        axis, x, row = self._next(), 0.0, 0
        swatches: list[dict[str, Any]] = []
        for word, mark in marks.items():
            wide = (len(word) * look.CHARACTER + 46) * self.end / _NARROW
            if x and x + wide > self.end:
                x, row = 0.0, row + 1
            x1 = x + 20 * self.end / _NARROW if mark else x
            if mark:
                swatch, line = Line(), {"width": 1, "color": self.colours.of(mark)}
                swatch.add(rectangle(x, row + 0.2, x1, row + 0.8))
                swatches.append(swatch.trace(f"swatch: {word}", yaxis=axis, line=line) | self.fill(mark))
            self.text(axis, x1, row + 0.5, f" {word}", "middle right", self.colours.soft)
            x += wide
        self.panel(_LINE * (row + 1), above=8, range=[row + 1, 0], showgrid=False, tickvals=[])
        return swatches

    def fill(self, mark: MarkStyle) -> dict[str, Any]:
        """How an area looks: plain ones are darker."""
        return filled(self.colours.of(mark), 0.3 if mark.pattern else 0.5, mark.pattern, ground=0.1)

    def stack(
        self, curves: Mapping[str, Steps], marks: Mapping[str, MarkStyle], until: float, axis: str, unit: str
    ) -> list[dict[str, Any]]:
        """Areas on top of each other, the first at the bottom; all curves have the same instants."""
        curves = {name: points for name, points in curves.items() if any(value for _, value in points)}
        made: list[dict[str, Any]] = []
        below = [0.0] * max(map(len, curves.values()), default=0)
        for name, points in curves.items():
            top = [base + value for base, (_, value) in zip(below, points, strict=True)]
            fill = self.fill(marks[name]) | {"fill": "tonexty" if made else "tozeroy"}
            hover = [f"{name}: {_amount(value, unit)}, from {_time(t)}" for t, value in points]
            made.append(
                {
                    "type": "scatter", "mode": "lines", "name": name, "yaxis": axis, "hoverinfo": "text",
                    "x": [self.x(t) for t, _ in (*points, (until, 0))], "y": [*top, *top[-1:]],
                    "line": {"shape": "hv", "width": 1.4, "color": self.colours.of(marks[name])},
                    "hovertext": [*hover, *hover[-1:]],
                } | fill
            )  # fmt: skip
            self._name(name, [(t, value) for t, value in points], top, until, axis)
            below = top
        return made

    def _name(self, name: str, points: Steps, top: Sequence[float], until: float, axis: str) -> None:
        """Write on an area how much it is, where it is widest and has the room."""
        low, high = sorted(self._axes[f"yaxis{axis[1:]}"]["range"])
        px = self._heights[int(axis[1:] or 1) - 1][0] / (high - low)
        ends = [*(t for t, _ in points[1:]), until]
        spans = [
            (self.x(end) - self.x(t), (self.x(t) + self.x(end)) / 2, value, above)
            for (t, value), end, above in zip(points, ends, top, strict=True)
            if value * px >= _LINE
        ]
        wide, x, value, above = max(spans, default=(0, 0, 0, 0))
        text = f"{value:,.10g} × {name}"
        if wide * _NARROW / self.end >= (len(text) + 2) * look.CHARACTER:
            self.text(axis, x, above - value / 2, text, "middle center")

    def steps(
        self, name: str, points: Steps, until: float, axis: str, unit: str = "", **properties: Any
    ) -> dict[str, Any]:
        """A step curve until so many seconds, without the points between two equal ones.

        With a `unit` hovering says its values: ``3 bytes, from 5 s to 8 s``.
        """
        some = [point for i, point in enumerate(points) if not i or point[1] != points[i - 1][1]]
        if some:
            some.append((until, some[-1][1]))
        line = {"shape": "hv", "width": 2, "color": self.colours.probe}
        made: dict[str, Any] = {
            "type": "scatter", "mode": "lines", "name": name, "yaxis": axis,
            "x": [self.x(t) for t, _ in some], "y": [value for _, value in some],
        }  # fmt: skip
        if unit:
            spans = [*pairwise(some), *((point, point) for point in some[-1:])]
            made["hoverinfo"], made["hovertext"] = "text", [
                f"{_amount(value, unit)}, from {_time(t)} to {_time(end)}" for (t, value), (end, _) in spans
            ]  # fmt: skip
        return made | properties | {"line": line | properties.get("line", {})}

    def kept(self, number_: int, name: str, points: Steps, until: float, axis: str) -> dict[str, Any]:
        """The same of a kept run, the newest being number 0."""
        line = {"dash": KEPT[number_][0], "width": 1.8, "color": self.colours.soft}
        return self.steps(f"kept {number_ + 1}: {name}", points, until, axis, line=line, hoverinfo="skip")

    def picture(
        self, data: list[dict[str, Any]], *, revision: str, about: str, left: float = 110, right: float = 28,
        sentence: str = "", table: str = "",
    ) -> Picture:  # fmt: skip
        """All panels above the clock."""
        whole = sum(px + above for px, above in self._heights)
        y = whole
        for axis, (px, above) in zip(self._axes.values(), self._heights, strict=True):
            axis["domain"] = [(y - above - px) / whole, (y - above) / whole]
            y -= px + above
        times = self._clock.ticks()
        clock = look.grid_axis(
            self.colours, about, range=[0, self.end], anchor=f"y{len(self._heights)}", ticklabelstandoff=6,
            tickvals=[self.x(t) for t in times], ticktext=[tick_text(t) for t in times],
        )  # fmt: skip
        layout = look.layout(self.colours, whole, None, left=left, right=right, bottom=56)
        texts = [
            text.trace("captions" if axis == "y" else f"captions {axis}", self.colours) | {"yaxis": axis}
            for axis, text in self._texts.items()
        ]
        layout |= {"uirevision": revision, "xaxis": clock, **self._axes}
        return Picture(
            [*data, *texts],
            layout,
            limits=self.limits,
            compared=self.compared,
            sentence=sentence,
            table=table,
        )


def _time(seconds: float) -> str:
    return duration(round(seconds * SECOND))
