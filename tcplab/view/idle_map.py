"""The map keepalive against a box's idle timer: where a silent connection lives, and who is told where not.

Both axes are logarithmic. Left of the diagonal a probe comes before the box forgets. Common boxes are
lines, each with what it does to the connection at one's own keepalive; common clients stand on the
diagonal: they live behind every box above them. A strip at the right is for keepalive that is off.
"""

from __future__ import annotations

from itertools import groupby
from math import log10
from textwrap import wrap
from typing import Any

from tcplab.trace import SECOND, duration
from tcplab.view import theme as look
from tcplab.view.idle_fate import FATES, LIVES, SILENT, TOLD, Silence, known_boxes, known_clients
from tcplab.view.marks import Line, Picture, Text

__all__ = ["PATTERNS", "SIGNS", "draw_idle_map"]

#: Ends of the axes, seconds: keepalive up to the most that Linux takes, boxes up to ten days.
LEFT, RIGHT, LOW, HIGH = 1.0, 32767.0, 10.0, 864_000.0
#: The strip for keepalive that is off, and its middle.
OFF_FROM, OFF, OFF_TO = 40_000.0, 66_000.0, 110_000.0
#: px of the plotting area.
_HEIGHT = 640
#: How finely an area is cut that is not one piece, parts of a decade.
_FINE = 25
#: Fill pattern of each area; symbol of a marker and sign in words of each fate.
PATTERNS = {LIVES: "", TOLD: "/", SILENT: "x"}
SIGNS = {LIVES: ("circle", "✓"), TOLD: ("diamond", "◆"), SILENT: ("x", "✗")}
_TICKS = (1, 5, 15, 60, 300, 1800, 7200, 28_800, 86_400, 432_000)


def draw_idle_map(silence: Silence, *, title: str | None = None, dark: bool = False) -> Picture:
    """The map under these settings, which are marked in it."""
    drawing = _Map(silence, look.theme(dark))
    return Picture(drawing.data(), drawing.layout(title))


class _Map:
    """One picture on its way; x and y are decimal logarithms of seconds."""

    def __init__(self, silence: Silence, colours: look.Theme) -> None:
        self.silence, self.colours = silence, colours
        self.areas = {fate: Line() for fate in FATES}
        self.boxes, self.diagonal, self.quiet, self.mine = Line(), Line(), Line(), Line()
        self.marks: dict[str, Line] = {fate: Line() for fate in FATES}
        self.clients, self.ring = Line(), Line()
        self.text = Text()
        self.here = log10(
            OFF if not silence.keepalive_idle_s else _within(silence.keepalive_idle_s, LEFT, RIGHT)
        )
        self._draw_areas()
        self._draw_boxes()
        self._draw_clients()
        self._draw_mine()

    # -- areas -------------------------------------------------------------------------------

    def _draw_areas(self) -> None:
        left, right, low, high = map(log10, (LEFT, RIGHT, LOW, HIGH))
        off = log10(OFF_FROM), log10(OFF_TO)
        quiet = log10(_within(self.silence.quiet_s, LOW, HIGH))
        corner = min(right, quiet)
        lives = [(left, low), (low, low), (corner, corner), (right, corner), (right, high), (left, high)]
        self._area(LIVES, lives)
        self._area(LIVES, [(off[0], quiet), (off[1], quiet), (off[1], high), (off[0], high)])
        if quiet > low:
            if self.silence.expired == "drop_inbound" and self.silence.waiting_for == "long_query":
                self._cut_finely(low, corner, right)
            else:
                fate = self._fate(RIGHT, LOW)
                self._area(fate, [(low, low), (right, low), (right, corner), (corner, corner)])
            x, y = (right + log10(200)) / 2, low + 0.25 * (corner - low)
            self._name(self._fate(10**x, 10**y), x, y)
            off_area = [(off[0], low), (off[1], low), (off[1], quiet), (off[0], quiet)]
            self._area(self._fate(0, LOW), off_area)
        self._name(LIVES, log10(8), log10(60_000))
        self.diagonal.add([(low, low), (right, right)])
        if low < quiet < high:
            self.quiet.add([(left, quiet), (off[1], quiet)])
            said = f"the silence lasts {_words(self.silence.quiet_s)}: no box above forgets  "
            self.text.add(right, quiet, said, "top left", self.colours.ink)

    def _cut_finely(self, low: float, corner: float, right: float) -> None:
        """The area below the diagonal where probes that come late decide: in columns of one fate each."""
        wide = 1 / _FINE
        for i in range(int((right - low) * _FINE) + 1):
            x0 = low + i * wide
            x1, top = min(x0 + wide, right), min(x0 + wide / 2, corner)
            rows = [low + j * wide for j in range(int((top - low) * _FINE) + 1)]
            at = (x0 + x1) / 2
            for fate, run in groupby(rows, key=lambda y: self._fate(10**at, 10 ** (y + wide / 2))):
                ys = list(run)
                y1 = min(ys[-1] + wide, top)
                if y1 > ys[0]:
                    self._area(fate, [(x0, ys[0]), (x1, ys[0]), (x1, y1), (x0, y1)])

    def _fate(self, keepalive: float, box: float) -> str:
        return self.silence.fate_at(keepalive, box, self.silence.expired)

    def _area(self, fate: str, corners: list[tuple[float, float]]) -> None:
        self.areas[fate].add([*corners, corners[0]])

    def _name(self, fate: str, x: float, y: float) -> None:
        colour = {LIVES: self.colours.ink, TOLD: self.colours.again, SILENT: self.colours.error}[fate]
        self.text.add(x, y, f"<b>{SIGNS[fate][1]} {fate}</b>", "middle center", colour)

    # -- what others use, and oneself --------------------------------------------------------

    def _draw_boxes(self) -> None:
        """A line for each idle time, its boxes with what becomes of the connection behind each."""
        left, right = log10(LEFT), log10(OFF_TO)
        keepalive = self.silence.keepalive_idle_s
        for seconds, same in groupby(known_boxes(), key=lambda box: box.seconds):
            y, said = log10(seconds), []
            ends: dict[str, list[str]] = {}
            for box in same:
                fate = self.silence.fate_at(keepalive, box.seconds, box.expired)
                said.append(f"{SIGNS[fate][1]} {box.name}")
                about = self.silence.with_values(box_idle_s=box.seconds, expired=box.expired).sentence
                ends.setdefault(fate, []).append(f"<b>{box.name}</b><br>{_folded(about)}")
            for i, (fate, about_each) in enumerate(ends.items()):
                self.marks[fate].add([(self.here + 0.09 * i, y)], "<br>".join(about_each))
            self.boxes.add([(left, y), (right, y)])
            self.text.add(left, y, f" {_words(seconds)}: {', '.join(said)}", "top right", self.colours.ink)

    def _draw_clients(self) -> None:
        for seconds, names in known_clients():
            who = ", ".join(names)
            if seconds:
                x = log10(_within(seconds, LOW, RIGHT))
                about = f"<b>{who}</b><br>first probe after {_words(seconds)}: lives behind every box above"
                self.clients.add([(x, x)], about)
                where, said = ("middle right", f"   {who}") if x < 3 else ("middle left", f"{who}   ")
                self.text.add(x, x, said, where, self.colours.probe)
            else:
                self.clients.add([(log10(OFF), log10(LOW) + 0.12)], f"<b>{who}</b><br>keepalive is off")
                at = log10(LOW) + 0.2
                self.text.add(log10(OFF), at, "<br>".join(names), "top center", self.colours.probe)

    def _draw_mine(self) -> None:
        silence = self.silence
        low, high = log10(LOW), log10(HIGH)
        self.mine.add([(self.here, low), (self.here, high)])
        if silence.box_idle_s:
            y = log10(_within(silence.box_idle_s, LOW, HIGH))
            self.mine.add([(log10(LEFT), y), (log10(OFF_TO), y)])
            about = f"<b>my setting</b><br>{_folded(silence.sentence)}"
            self.ring.add([(self.here, y)], about)
            self.marks[silence.fate].add([(self.here, y)], about)
            said = f"<b>my box: {_words(silence.box_idle_s)}</b>"
            x = log10(RIGHT) if self.here < 3.2 else self.here - 0.1
            self.text.add(x, y, said, "bottom left", self.colours.cursor)
        idle = _words(silence.keepalive_idle_s) if silence.keepalive_idle_s else "off"
        where = "top right" if self.here < 1 else "top left" if self.here > 4 else "top center"
        self.text.add(self.here, high, f"<b>my keepalive: {idle}</b>", where, self.colours.cursor)

    # -- for plotly --------------------------------------------------------------------------

    def data(self) -> list[dict[str, Any]]:
        """Always the same traces in the same order."""
        colours = self.colours
        fills = {LIVES: colours.states["open"], TOLD: colours.again, SILENT: colours.error}
        made = [
            area.trace(
                f"area: {fate}",
                fill="toself",
                fillcolor=look.tint(fills[fate], 0.16),
                fillpattern={
                    "shape": PATTERNS[fate], "fgcolor": look.tint(fills[fate], 0.5),
                    "bgcolor": look.tint(fills[fate], 0.1), "size": 10, "solidity": 0.12,
                },
                line={"width": 0},
            )
            for fate, area in self.areas.items()
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
                f"fate: {fate}", mode="markers",
                marker={"symbol": SIGNS[fate][0], "size": 13, "color": fills[fate],
                    "line": {"width": 1.5, "color": colours.paper}},
            )
            for fate, marks in self.marks.items()
        ]  # fmt: skip
        ring = {"symbol": "circle-open", "size": 26, "color": colours.cursor, "line": {"width": 3}}
        made.append(self.ring.trace("my setting", mode="markers", marker=ring))
        return [*made, self.text.trace("words", colours)]

    def layout(self, title: str | None) -> dict[str, Any]:
        """Both axes with lengths of time as one says them."""
        margin = {"l": 92, "r": 20, "t": 60 if title else 32, "b": 78}
        height = _HEIGHT + margin["t"] + margin["b"]
        legend = "   ".join(f"{SIGNS[fate][1]} {fate}" for fate in FATES)
        size = {"size": look.FONT_SIZE}
        return look.layout(self.colours, height=height, margin=margin, title=title) | {
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
                title={"text": "idle timer of the box on the way", "font": size}, **_ticks(LOW, HIGH),
            ),
        }  # fmt: skip


def _ticks(low: float, high: float) -> dict[str, Any]:
    shown = [seconds for seconds in _TICKS if low <= seconds <= high]
    at, said = [log10(seconds) for seconds in shown], [_words(seconds) for seconds in shown]
    if low == LEFT:
        at, said = [*at, log10(OFF)], [*said, "<b>off</b>"]
    return {"tickmode": "array", "tickvals": at, "ticktext": said}


def _within(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _words(seconds: float) -> str:
    if seconds >= 86_400 and seconds % 86_400 == 0:
        return "1 day" if seconds == 86_400 else f"{seconds / 86_400:g} days"
    return duration(round(seconds * SECOND))


def _folded(text: str) -> str:
    """A long sentence in lines, for hovering."""
    return "<br>".join(wrap(text, 70))
