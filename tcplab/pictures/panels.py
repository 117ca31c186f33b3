"""What pictures of amounts over time share: panels above each other on one clock, and runs side by side.

The ends of a picture's axes are its `limits`. Pass them to the next drawing after a parameter has changed: an
axis then grows where it has to and never shrinks, which makes the change visible. Kept runs are grey and
dashed; a line above the panels gives their settings, and in words what differs.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from math import ceil
from typing import Any, Generic, NamedTuple, TypeVar

from tcplab.core.text import in_words
from tcplab.core.trace import Trace
from tcplab.pictures import theme as look
from tcplab.pictures.lanes import differences, steps, together
from tcplab.pictures.theme import Line, MarkStyle, Picture, Text, filled, rectangle
from tcplab.pictures.timeline_look import Axis, axis_end, tick_text

#: A run as one kind of picture reads it.
Run = TypeVar("Run")
#: The end of each axis by its unit (`s`, `bytes`, `ports` …); one that begins with `_` no sentence names.
Limits = Mapping[str, float]

#: How the line of a kept run is drawn, the newest first, and the sign for it in a text.
KEPT = (("dash", "╌╌"), ("dot", "····"), ("dashdot", "─·─"))
#: (seconds, value from then on); None: a gap.
Curve = Iterable[tuple[float, float | None]]
Points = Sequence[tuple[float, float]]
#: px: room for a panel's heading, a line above all panels, and the characters in such a line.
_ABOVE, _LINE, _CHARACTERS = 26, 20, 92
#: px of the clock in the narrowest picture.
_NARROW = 620
#: Of fewer than this part of all there are, the ceiling is out of the picture.
_FAR_BELOW = 0.2


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


def reach(most: float, ceiling: float) -> float:
    """How far an axis reaches: to what there is at most, unless what is used of it would be a thin line."""
    return max(most, ceiling) if most > _FAR_BELOW * ceiling else ceil(1.2 * most) or 1


def _amount(value: float, unit: str) -> str:
    if unit == "s":
        return in_words(value)
    return f"{value:,.10g} {unit.removesuffix('s') if value == 1 and unit != 'ms' else unit}"


class Fact(NamedTuple):
    """One thing that a picture shows of a run: ``{} ports`` and ``6``."""

    words: str
    value: str


def compared(now: Sequence[Fact], kept: Sequence[Fact]) -> str:
    """``6 ports instead of 12, EADDRNOTAVAIL at the 7th connect() instead of never``."""
    pairs = [(a, b) for a, b in zip(now, kept, strict=True) if a.value != b.value]
    said = ", ".join(f"{a.words.format(a.value)} instead of {_unlike(a.value, b.value)}" for a, b in pairs)
    said = said or "as before: nothing in this picture differs"
    return said[0].upper() + said[1:]


def _unlike(now: str, kept: str) -> str:
    """A kept value without the word that the present one begins with too: ``56.5 s`` of ``after 56.5 s``."""
    word, _, rest = kept.partition(" ")
    return rest if rest and word.isalpha() and now.startswith(f"{word} ") else kept


def _wrapped(text: str, characters: int) -> list[str]:
    """Lines of at most so many characters as HTML; a number and its unit stay together."""
    unbroken = re.sub(r"(\d) (?=\w)", "\\1\u00a0", text)
    return [escape(line, False) for line in textwrap.wrap(unbroken, characters)]


def kept_words(now: Trace, kept: Trace) -> str:
    """What a kept run had set otherwise: ``kept: receive buffer 32768 bytes``."""
    differ = differences(kept.experiment, kept.parameters, now.experiment, now.parameters)
    return f"kept: {', '.join(differ)}"


def side_by_side(
    trace: Trace, kept: Sequence[Trace], read: Callable[[Trace], Run | None]
) -> list[tuple[Trace, Run]]:
    """A run and the kept ones, the newest first, where there is something to read; none without the run."""
    runs = [(each, run) for each in (trace, *reversed(kept)) if (run := read(each)) is not None]
    return runs if runs and runs[0][0] is trace else []


def only_words(words: str, limits: Limits | None, *, dark: bool, revision: str) -> Picture:
    """The picture of a trace that has nothing to draw."""
    text, colours = Text(), look.theme(dark)
    text.add(0, 0.5, words, "middle right", colours.ink)
    layout = look.layout(colours, 2 * _LINE, None) | {"uirevision": revision, "dragmode": False}
    layout |= {f"{n}axis": look.axis(range=[0, 1], fixedrange=True) for n in "xy"}
    return Picture([text.trace("captions", colours)], layout, limits=limits or {}, sentence=words)


class Panels(Generic[Run]):
    """Panels from the top down on one clock, in seconds, or shortened: by the logarithm of the time.

    `runs`: the present one and the kept ones, the newest first, each as `read` for this picture. `ends` says
    how far a run reaches by unit: its curves to the end of its ``s``; where one has ``_log`` the clock is
    shortened. `facts`: what is compared with the newest kept run.
    """

    def __init__(
        self, runs: Sequence[tuple[Trace, Run]], ends: Callable[[Run], Mapping[str, float]],
        facts: Callable[[Run], Sequence[Fact]], limits: Limits | None, *, dark: bool,
    ) -> None:  # fmt: skip
        self.colours = look.theme(dark)
        self._runs = [run for _, run in runs]
        self._until = []
        for run in self._runs:
            reaches = ends(run)
            self._until.append(reaches["s"])
            limits = grown(limits, **{**reaches, "s": axis_end(reaches["s"])})
        self.limits = limits or {}
        #: The traces of plotly.
        self.data: list[dict[str, Any]] = []
        #: Drawn on top of these.
        self._ceilings: list[dict[str, Any]] = []
        #: What differs from the newest kept run.
        self.compared = ""
        last = self.limits["s"]
        self._until = [min(until, last) for until in self._until]
        self._clock = Axis(last, 0, _NARROW, bool(self.limits.get("_log")), last / 1000)
        self.end = self.x(last)
        self._axes: dict[str, Any] = {}
        self._heights: list[tuple[float, float]] = []
        self._texts: dict[str, Text] = {}
        if len(runs) > 1:
            self.compared = compared(*map(facts, self._runs[:2]))
            said = [f"<b>{line}</b>" for line in _wrapped(self.compared, _CHARACTERS)]
            for (_, sign), (trace, _) in zip(KEPT, runs[1:], strict=False):
                first, *more = _wrapped(kept_words(runs[0][0], trace), _CHARACTERS - 4)
                said += [f"{sign} {first}", *more]
            self.lines(said, self.colours.soft)

    def x(self, seconds: float) -> float:
        """Where this many seconds are on the clock."""
        return self._clock.x(seconds) if self._clock.log else seconds

    # -- panels ----------------------------------------------------------------------------------

    def panel(self, px: float, heading: str = "", *, above: float = _ABOVE, **properties: Any) -> str:
        """One more panel of this height, below room for its heading; returns the name of its axis."""
        name = self._next()
        self._heights.append((px, above))
        self._axes[f"yaxis{name[1:]}"] = look.grid_axis(self.colours, fixedrange=True, **properties)
        if heading:
            self.text(name, 0, max(properties["range"]), heading, "top right", self.colours.soft)
        return name

    def amounts(
        self, px: float, unit: str, what: str, heading: str = "", *, head: float = 1.08,
        above: float = _ABOVE, ceiling: Callable[[Run], float] | None = None,
    ) -> str:  # fmt: skip
        """A panel from 0 to the limit of this unit, `head` times as high, with `what` at its tick.

        `ceiling`: how much there is at most, as a dashed line, or in words where it is far above.
        """
        top, most = self.limits[unit], ceiling(self._runs[0]) if ceiling else 0
        tick = most if 0 < most <= head * top else top
        axis = self.panel(
            px, heading, above=above, range=[0, head * top or 1], tickvals=[0, tick],
            ticktext=["0", _amount(tick, what)],
        )  # fmt: skip
        if not ceiling:
            return axis
        line, dashed = Line(), {"color": self.colours.ink, "width": 2, "dash": "dash"}
        if tick == most:
            line.add([(0, most), (self.end, most)], f"{_amount(most, what)}: there are no more")
        else:
            far = f"the ceiling, {_amount(most, what)}, is far above"
            self.text(axis, 0, head * top, far, "bottom right", self.colours.soft)
        self._ceilings.append(line.trace(f"ceiling: {unit}", line=dashed, yaxis=axis))

        def another(run: Run) -> Curve:
            return [(0, limit)] if most != (limit := ceiling(run)) <= head * top else []

        self.beside(f"ceiling: {unit}", axis, another)
        return axis

    def _next(self) -> str:
        """The name of the next panel's axis."""
        return f"y{len(self._heights) + 1}" if self._heights else "y"

    def text(self, axis: str, x: float, y: float, text: str, position: str, colour: str = "") -> None:
        """Words in a panel; `position` is plotly's."""
        self._texts.setdefault(axis, Text()).add(x, y, text, position, colour or self.colours.ink)

    def lines(self, lines: Sequence[str], colour: str = "") -> None:
        """A panel of texts below each other."""
        axis = self.panel(_LINE * len(lines), above=0, range=[len(lines), 0], showgrid=False, tickvals=[])
        for row, line in enumerate(lines):
            self.text(axis, 0, row + 0.5, line, "middle right", colour)

    def legend(self, marks: Mapping[str, MarkStyle | None]) -> None:
        """A panel with a swatch and a word for each mark, or the word alone."""
        axis, x, row = self._next(), 0.0, 0
        for word, mark in marks.items():
            wide = (len(word) * look.CHARACTER + 46) * self.end / _NARROW
            if x and x + wide > self.end:
                x, row = 0.0, row + 1
            x1 = x + 20 * self.end / _NARROW if mark else x
            if mark:
                swatch = Line()
                swatch.add(rectangle(x, row + 0.2, x1, row + 0.8))
                self.area(f"swatch: {word}", swatch, mark, axis)
            self.text(axis, x1, row + 0.5, f" {word}", "middle right", self.colours.soft)
            x += wide
        self.panel(_LINE * (row + 1), above=8, range=[row + 1, 0], showgrid=False, tickvals=[])

    # -- what is in them -------------------------------------------------------------------------

    def fill(self, mark: MarkStyle) -> dict[str, Any]:
        """How an area looks: plain ones are darker."""
        return filled(self.colours.of(mark), 0.3 if mark.pattern else 0.5, mark.pattern, ground=0.1)

    def area(self, name: str, outlines: Line, mark: MarkStyle, axis: str, **properties: Any) -> None:
        """Closed lines, filled."""
        line = {"width": 1, "color": self.colours.of(mark)}
        self.data.append(outlines.trace(name, line=line, yaxis=axis) | self.fill(mark) | properties)

    def stretches(
        self, word: str, axis: str, spans: Iterable[Sequence[float]], top: float, mark: MarkStyle,
        **properties: Any,
    ) -> None:  # fmt: skip
        """Hatched from when to when, up to `top`, with a word and how long where there is room."""
        hatch = Line()
        for began, ended in spans:
            x0, x1, lasts = self.x(began), self.x(ended), in_words(ended - began)
            hatch.add(rectangle(x0, 0, x1, top))
            if (x1 - x0) * _NARROW / self.end > 0.8 * max(len(word), len(lasts)) * look.CHARACTER:
                self.text(axis, (x0 + x1) / 2, top / 2, f"<b>{word}<br>{lasts}</b>", "middle center")
        self.area(word, hatch, mark, axis, line={"width": 0}, **properties)

    def moments(self, axis: str, instants: Iterable[tuple[float, str]]) -> None:
        """Dotted lines through a panel at these seconds, and what each says."""
        lines, ends = Line(), self._axes[f"yaxis{axis[1:]}"]["range"]
        for t, says in instants:
            lines.add([(self.x(t), end) for end in ends], says)
        dots = {"color": self.colours.cursor, "width": 1.6, "dash": "dot"}
        self.data.append(lines.trace(f"moments {axis}", line=dots, yaxis=axis))

    def stack(
        self, axis: str, unit: str, marks: Mapping[str, MarkStyle], curves: Mapping[str, Points]
    ) -> None:
        """Areas of the run on each other by name, the first at the bottom, without those that are 0."""
        curves = {name: points for name, points in curves.items() if any(n for _, n in points)}
        until, moments = self._until[0], together(curves)
        below = [0.0] * len(moments)
        for i, name in enumerate(curves):
            points = [(t, values[i]) for t, values in moments]
            top = [base + value for base, (_, value) in zip(below, points, strict=True)]
            hover = [f"{name}: {_amount(value, unit)}, from {in_words(t)}" for t, value in points]
            area = self.fill(marks[name]) | {"fill": "tonexty" if i else "tozeroy"}
            area["line"] = {"width": 1.4, "color": self.colours.of(marks[name])}
            edge = [(t, value) for (t, _), value in zip(points, top, strict=True)]
            self._add_steps(name, edge, until, axis, hover, **area)
            self._name(name, points, top, until, axis)
            below = top

    def _name(self, name: str, points: Points, top: Sequence[float], until: float, axis: str) -> None:
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

    def curve(
        self, name: str, axis: str, of: Callable[[Run], Curve], unit: str = "", *, alone: bool = False,
        **properties: Any,
    ) -> None:  # fmt: skip
        """A step curve of the run, and unless it is `alone` those of kept runs; None is a gap.

        With a `unit` hovering says its values: ``3 bytes, from 5 s to 8 s``.
        """
        points, until = steps(of(self._runs[0])), self._until[0]
        ends = [t for t, _ in (*points[1:], (until, 0))]
        hover = [
            f"{_amount(value or 0, unit)}, from {in_words(t)} to {in_words(end)}"
            for (t, value), end in zip(points, ends, strict=False)
        ]
        self._add_steps(name, points, until, axis, hover if unit else (), **properties)
        if not alone:
            self.beside(name, axis, of)

    def beside(self, name: str, axis: str, of: Callable[[Run], Curve]) -> None:
        """The step curves of kept runs, dashed in grey."""
        kept = zip(KEPT, self._runs[1:], self._until[1:], strict=False)
        for n, ((dash, _), run, until) in enumerate(kept, 1):
            line = {"dash": dash, "width": 1.8, "color": self.colours.soft}
            self._add_steps(f"kept {n}: {name}", steps(of(run)), until, axis, line=line, hoverinfo="skip")

    def _add_steps(
        self, name: str, points: Sequence[tuple[float, float | None]], until: float, axis: str,
        hover: Sequence[str] = (), **properties: Any,
    ) -> None:  # fmt: skip
        """Steps to the right until so many seconds."""
        some: list[tuple[float, float | None, str]] = []
        for (t, value), says in zip(points, hover or [""] * len(points), strict=True):
            # What ends in a gap is drawn to there.
            some += [(t, *last[1:]) for last in some[-1:] if value is None]
            some.append((t, value, says))
        some += [(until, *last[1:]) for last in some[-1:]]
        line = {"shape": "hv", "width": 2, "color": self.colours.probe} | properties.pop("line", {})
        said = {"hoverinfo": "text", "hovertext": [says for *_, says in some]} if hover else {}
        self.data.append(
            {
                "type": "scatter", "mode": "lines", "name": name, "yaxis": axis, "line": line,
                "x": [self.x(t) for t, *_ in some], "y": [value for _, value, _ in some],
            } | said | properties
        )  # fmt: skip

    def picture(
        self, *, revision: str, about: str, left: float = 110, sentence: str = "", table: str = ""
    ) -> Picture:
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
        texts = [
            text.trace("captions" if axis == "y" else f"captions {axis}", self.colours) | {"yaxis": axis}
            for axis, text in self._texts.items()
        ]
        layout = look.layout(self.colours, whole, None, left=left, right=28, bottom=56)
        layout |= {"uirevision": revision, "xaxis": clock, **self._axes}
        return Picture(
            [*self.data, *self._ceilings, *texts], layout, limits=self.limits, compared=self.compared,
            sentence=sentence, table=table,
        )  # fmt: skip
