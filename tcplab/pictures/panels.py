"""What pictures of amounts over time share: panels above each other on one clock, and runs side by side.

The ends of a picture's axes are its `limits`. Whoever draws again after a parameter was changed hands them
back: an axis then grows where it has to and never shrinks, so that a change is seen as a change. Kept runs
are grey and dashed; above the panels stands what they had set, and in words what differs.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import pairwise
from math import floor, log1p, log10
from typing import Any, NamedTuple

from tcplab.core.text import DAY_S, SECOND, duration, in_words
from tcplab.core.trace import Trace
from tcplab.pictures import theme as look
from tcplab.pictures.theme import Line, Picture, Text, Theme
from tcplab.registry import STORIES

#: The end of each axis by its unit (`s`, `bytes`, `ports` …); one that begins with `_` no sentence names.
Limits = Mapping[str, float]
#: Steps of a curve: (seconds, value from then on).
Steps = Sequence[tuple[float, float]]

#: How the line of a kept run is drawn, the newest first, and the sign for it in a text.
KEPT = (("dash", "╌╌"), ("dot", "····"), ("dashdot", "─·─"))
#: Where clocks end, seconds; below a second and above a day at 1, 2 or 5 of a power of ten.
_ENDS_S = (
    1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 300, 600, 1200, 1800, 3600, 7200, 10_800, 21_600, 43_200, DAY_S,
)  # fmt: skip
#: px: room for a panel's heading, a line above all panels, and the characters in such a line.
_ABOVE, _LINE, _CHARACTERS = 26, 20, 92
#: px between two times that are written on a shortened clock of the narrowest picture.
_TICK, _NARROW = 64, 620


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


def clock_end(seconds: float) -> float:
    """Where a clock ends that has to reach so far: 0.05 s, 15 s, 3 min."""
    if 1 <= seconds <= DAY_S:
        return next(end for end in _ENDS_S if end >= seconds)
    unit = 10.0 ** floor(log10(max(seconds, 1e-6)))
    return next(step * unit for step in (1, 2, 5, 10) if step * unit >= seconds * 0.999_999)


class Fact(NamedTuple):
    """One thing that a picture shows of a run: ``{} ports`` and ``6``."""

    words: str
    value: str


def compared(now: Sequence[Fact], kept: Sequence[Fact]) -> str:
    """``6 ports instead of 12, EADDRNOTAVAIL at the 7th connect() instead of never``."""
    pairs = [(a, b) for a, b in zip(now, kept, strict=True) if a.value != b.value]
    said = ", ".join(f"{a.words.format(a.value)} instead of {b.value}" for a, b in pairs)
    if not said:
        return "The same as the kept run: what was changed makes no difference in this picture."
    return said[0].upper() + said[1:]


def kept_words(now: Trace, kept: Trace) -> str:
    """What a kept run had set otherwise: ``kept: receive buffer 32768 bytes``."""
    if now.experiment != kept.experiment:
        return f"kept: {kept.experiment}"
    knobs = STORIES[now.experiment].knobs() if now.experiment in STORIES else {}
    settings = []
    for name, value in kept.parameters.items():
        if value != now.parameters.get(name):
            knob = knobs.get(name)
            settings.append(f"{knob.label if knob else name} {_setting(value, knob.unit if knob else '')}")
    return f"kept: {', '.join(settings) or 'the same settings'}"


def _setting(value: Any, unit: str) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:,.10g} {unit}".strip() if isinstance(value, int | float) else str(value)


class Panels:
    """Panels from the top down on one clock, in seconds, or shortened: by the logarithm of the time."""

    def __init__(self, colours: Theme, limits: Limits, *, log: bool = False) -> None:
        self.colours, self.limits = colours, limits
        #: What differs from the newest kept run.
        self.compared = ""
        #: Seconds of the clock's unit, and its name.
        self.unit, self.name = look.clock(limits["s"])
        self._begin = limits["s"] / 1000 if log else 0.0
        self.end = self.x(limits["s"])
        self._axes: dict[str, Any] = {}
        self._heights: list[tuple[float, float]] = []
        self._texts: dict[str, Text] = {}

    def x(self, seconds: float) -> float:
        """Where this many seconds are on the clock."""
        return log1p(max(seconds, 0) / self._begin) if self._begin else round(seconds / self.unit, 6)

    def panel(self, px: float, heading: str = "", *, above: float = _ABOVE, **properties: Any) -> str:
        """One more panel of this height, below room for its heading; returns the name of its axis."""
        number_ = len(self._heights) + 1
        name = f"y{number_ if number_ > 1 else ''}"
        self._heights.append((px, above))
        self._axes[f"yaxis{name[1:]}"] = look.grid_axis(self.colours, fixedrange=True, **properties)
        if heading:
            self.text(name, 0, max(properties["range"]), heading, "top right", self.colours.soft)
        return name

    def text(self, axis: str, x: float, y: float, text: str, position: str, colour: str = "") -> None:
        """Words in a panel; `position` is plotly's."""
        self._texts.setdefault(axis, Text()).add(x, y, text, position, colour or self.colours.ink)

    def keep(self, now: Trace, kept: Sequence[Trace], facts: Callable[[Trace], Sequence[Fact]]) -> None:
        """Say above all else what kept runs had set, and what differs from the newest, the last of them."""
        if not kept:
            return
        self.compared = compared(facts(now), facts(kept[-1]))
        lines = [f"<b>{escape(line, False)}</b>" for line in textwrap.wrap(self.compared, _CHARACTERS)]
        for (_, sign), trace in zip(KEPT, reversed(kept), strict=False):
            first, *more = textwrap.wrap(kept_words(now, trace), _CHARACTERS - 4)
            lines += [f"{sign} {escape(first, False)}", *(escape(line, False) for line in more)]
        axis = self.panel(_LINE * len(lines), above=0, range=[len(lines), 0], showgrid=False, tickvals=[])
        for row, line in enumerate(lines):
            self.text(axis, 0, row + 0.5, line, "middle right", self.colours.soft)

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
        axes = dict(self._axes)
        clock = look.grid_axis(
            self.colours, about, range=[0, self.end], anchor=f"y{len(self._heights)}", ticklabelstandoff=6
        )
        if self._begin:
            times = self._times()
            ticks = {"tickvals": [self.x(t) for t in times], "ticktext": [_time(t) for t in times]}
        else:
            ticks = {"ticksuffix": f" {self.name}"}
        layout = look.layout(self.colours, whole, None, left=left, right=right, bottom=56)
        texts = [
            text.trace("captions" if axis == "y" else f"captions {axis}", self.colours) | {"yaxis": axis}
            for axis, text in self._texts.items()
        ]
        layout |= {"uirevision": revision, "xaxis": clock | ticks, **axes}
        return Picture(
            [*data, *texts],
            layout,
            limits=self.limits,
            compared=self.compared,
            sentence=sentence,
            table=table,
        )

    def _times(self) -> list[float]:
        """Which times a shortened clock names: powers of ten and its end, as far apart as texts need."""
        end = self.limits["s"]
        powers = [10.0**n for n in range(-6, 9) if self._begin <= 10.0**n < end]
        room = _TICK * self.end / _NARROW
        times = [0.0]
        for t in powers:
            if self.x(t) - self.x(times[-1]) >= room and self.end - self.x(t) >= room:
                times.append(t)
        return [*times, end]


def _time(seconds: float) -> str:
    return duration(round(seconds * SECOND))


def vertical(x: float, low: float, high: float, hover: str = "") -> Line:
    """A line through a panel at one moment."""
    line = Line()
    line.add([(x, low), (x, high)], hover)
    return line
