"""RSTs of several connections on one axis: where each fell in its receiver's window, and what it did.

Each RST keeps its distance from the next byte that its receiver expected (RCV.NXT), so that connections with
other numbers can be compared. What became of it is what the receiver did, not what the rule says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tcplab.core.segment import RST
from tcplab.core.table import html_table
from tcplab.core.text import listed
from tcplab.core.trace import Trace
from tcplab.pictures.still import folded, to_scroll, turned_over
from tcplab.pictures.svg import Caption, Drawing, Fill, Rect, Stroke, Symbol, text_width
from tcplab.pictures.theme import theme, tint
from tcplab.pictures.window import VERDICTS, Fallen, fallen_reset, number_line, position, zones

#: px.
WIDTH, _ROW, _BAR, _MARGIN = 760, 26, 44, 10
#: Bytes beyond the window that are shown at least.
_BEYOND = 100_000


@dataclass(frozen=True)
class FallenReset:
    """One RST: what it is, the window that it met, and what its receiver did."""

    name: str
    fallen: Fallen
    verdict: str

    @property
    def text(self) -> str:
        """`one byte past: RCV.NXT + 1, challenged`."""
        return f"{self.name}: {position(self.fallen.offset)}, {self.verdict}"


def read_reset(name: str, trace: Trace) -> FallenReset:
    """The first RST that reached its receiver in what is watched of a run.

    Raises `LookupError` in one sentence where there is none.
    """
    for i, packet in enumerate(trace.packets):
        came = packet.arrives is not None and packet.t >= trace.watching_since
        if packet.segment.flags & RST and came and (fallen := fallen_reset(trace, i)):
            return FallenReset(name, fallen, trace.outcome.get("verdict") or fallen.verdict)
    raise LookupError(f"{name}: no RST reached its receiver.")


class ResetsPicture:
    """Where RSTs fell, one above the other over the zones of a window."""

    def __init__(self, resets: Sequence[FallenReset]) -> None:
        #: From left to right.
        self.resets = sorted(resets, key=lambda each: each.fallen.offset)
        self.sentence = f"RSTs by their sequence number: {listed([each.text for each in self.resets])}."

    def __repr__(self) -> str:
        return self.sentence

    def _repr_html_(self) -> str:
        return turned_over(to_scroll(self.drawing().svg)) + folded(self.table())

    def table(self) -> str:
        """The same as an HTML table."""
        rows = [
            (each.name, position(each.fallen.offset), f"{each.fallen.right_edge:,}", each.verdict)
            for each in self.resets
        ]
        return html_table(("RST", "its number", "bytes of window", "what its receiver did"), rows)

    def drawing(self, dark: bool = False) -> Drawing:
        """Lay the picture out."""
        colours = theme(dark)
        window = self.resets[-1].fallen
        line = number_line(window.edges)
        lowest = min(-_BEYOND, *(each.fallen.offset for each in self.resets))
        left, right = line(lowest), line(max(window.right_edge + _BEYOND, self.resets[-1].fallen.offset))

        def x(offset: float) -> float:
            inside = min(max((line(offset) - left) / (right - left), 0), 1)
            return _MARGIN + inside * (WIDTH - 2 * _MARGIN)

        bar = _ROW * len(self.resets) + 14
        drawn = Drawing(WIDTH, bar + _BAR + 66, colours, self.sentence)
        for verdict, begin, end in zones(window):
            mark = VERDICTS[verdict]
            x0 = _MARGIN if begin == -math.inf else x(begin)
            x1 = WIDTH - _MARGIN if end == math.inf else x(end)
            zone = colours.zones[verdict]
            fill = Fill(tint(zone, 0.25), mark.pattern, zone, colours.ink)
            drawn.add(Rect(x0, bar, x1 - x0, _BAR, fill))
            word = "exact" if begin < 0 < end else verdict
            below = bar + _BAR / 2 + 5
            drawn.add(Caption((x0 + x1) / 2, below, word, colours.ink, "middle", True, colours.paper))
        # Those at the right end first: their texts lie over the arrows to their left, which begin below them.
        at_the_right = [each for each in self.resets if x(each.fallen.offset) > 0.6 * WIDTH]
        others = [each for each in self.resets if each not in at_the_right]
        for row, each in enumerate([*at_the_right, *others]):
            self._arrow(drawn, each, x(each.fallen.offset), 18 + row * _ROW, bar, each in at_the_right)
        edge, end = bar + _BAR, x(window.right_edge)
        for at, first, second in (
            (x(0), "RCV.NXT", "the next byte expected"),
            (end, "right edge", f"RCV.NXT + {window.right_edge:,}"),
        ):
            drawn.add(Stroke(at, edge, at, edge + 8, colours.soft))
            drawn.add(Caption(at, edge + 22, first, colours.ink, "middle", True))
            drawn.add(Caption(at, edge + 39, second, colours.ink, "middle"))
        note = "sequence number →  not to scale: the distance from an edge is logarithmic"
        drawn.add(Caption(_MARGIN, edge + 58, note, colours.soft))
        return drawn

    def _arrow(
        self, drawn: Drawing, each: FallenReset, x: float, y: float, bar: float, to_left: bool
    ) -> None:
        colours = drawn.theme
        dash = {"solid": "", "dash": "7 4", "dot": "2 3"}[VERDICTS[each.verdict].dash]
        drawn.add(Stroke(x, y - 12, x, bar - 6, colours.error, 2, dash))
        drawn.add(Symbol(x, bar - 5, "down", colours.error, 6))
        start, anchor = (x - 8, "end") if to_left else (x + 8, "start")
        head = f"{each.name}:  "
        tail = f"{position(each.fallen.offset)} → {each.verdict}"
        if to_left:
            drawn.add(Caption(start, y, tail, colours.error, anchor, True))
            start -= text_width(tail, True)
            drawn.add(Caption(start - 6, y, head.rstrip(), colours.ink, anchor))
        else:
            drawn.add(Caption(start, y, head.rstrip(), colours.ink, anchor))
            drawn.add(Caption(start + text_width(head), y, tail, colours.error, anchor, True))
