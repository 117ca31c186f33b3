"""The timeline as a picture: x is true time, y is who, and each lane shows the state of its owner.

From top to bottom: what broke; the answer of this run and of the kept ones; the lanes, a line between
hosts; the axis; the legend. Everything is laid out here in px, so that no word overlaps another one whatever
fonts the page has (`Drawing.overlaps`), and is drawn with the primitives of `svg.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf
from operator import attrgetter
from statistics import median
from typing import Any

from tcplab.core.table import html_table
from tcplab.core.text import in_words, paragraph
from tcplab.core.trace import Trace
from tcplab.pictures import timeline_look as look
from tcplab.pictures.lanes import (
    AnswerLine,
    Lane,
    Mark,
    Span,
    Timeline,
    TimerSpan,
    compared,
    differences,
    same_lane,
)
from tcplab.pictures.still import folded, to_scroll
from tcplab.pictures.svg import (
    Caption,
    Drawing,
    Fill,
    Item,
    Polygon,
    Rect,
    Stroke,
    Symbol,
    blend,
    hits,
    place,
    readable,
    shortened,
    text_width,
)
from tcplab.pictures.theme import MarkStyle, theme, tint
from tcplab.pictures.timeline import read_timeline


@dataclass
class TimelineDrawing(Drawing):
    """A timeline in px."""

    axis: look.Axis = field(kw_only=True)
    #: Where a line at an instant begins and ends.
    top: float = 0.0
    bottom: float = 0.0


#: Parts of a line, px.
Gaps = list[tuple[float, float]]
#: Marks of a program that say how a call failed: in its lane, not below it.
_SAYS_ERROR = ("error", "end_of_file")


class _Layout:
    """One picture being laid out. `y` is where the next thing begins."""

    def __init__(self, picture: TimelinePicture, drawing: TimelineDrawing, sizes: look.Sizes) -> None:
        self.now, self.kept, self.changed = picture.now, picture.kept, picture.changed
        self.guess_s = picture.guess_s
        self.drawing, self.sizes = drawing, sizes
        self.colours, self.x = drawing.theme, drawing.axis.x
        self.paper, self.soft = drawing.theme.paper, drawing.theme.soft
        self.left, self.right = drawing.axis.x0, drawing.axis.x1
        self.gutter = self.left - (look.FOLD if self.now.folded else 10)
        self.y = 6.0
        # Drawn in this order: areas, lines at instants, marks, texts.
        self.areas: list[Item] = []
        self.guides: list[Item] = []
        self.marks: list[Item] = []
        self.texts: list[Item] = []
        self.legend = look.Legend()
        #: Where the lanes of a host end; x of vertical lines, which texts avoid.
        self.foot: dict[str, float] = {}
        self.lines: Gaps = []

    def _colour(self, name: str) -> str:
        return self.colours.of(MarkStyle(name))

    def _say(self, x: float, y: float, text: str, colour: str = "ink", **more: Any) -> None:
        self.texts.append(Caption(x, y, text, self._colour(colour), **more))

    def _mark(self, x: float, y: float, symbol: str, colour: str, size: float, title: str = "") -> None:
        self.marks.append(Symbol(x, y, symbol, self._colour(colour), size, title))

    # -- what broke, and the answers -----------------------------------------------------------------------

    def breaks(self) -> None:
        """▼ and what broke, beside each other while there is room."""
        taken: Gaps = []
        for each in self.now.breaks:
            x = self.x(each.t_s)
            self.lines.append((x - 2, x + 2))
            self._mark(x, self.y + 9, "down", "error", 4.5, f"{each.text}: {in_words(each.t_s)}")
            taken.append((x - 7, x + 7))
        for each in self.now.breaks:
            x, width = self.x(each.t_s), text_width(each.text, True)
            for left in (x + 10, x - 10 - width, min(x + 10, self.drawing.width - 4 - width)):
                box = (left, left + width)
                if box[0] > 4 and box[1] < self.drawing.width - 3 and not hits(box, taken):
                    self._say(left, self.y + 14, each.text, "error", bold=True)
                    taken.append((left - 6, left + width + 6))
                    break
        self.y += 20 * bool(self.now.breaks)

    def answers(self) -> None:
        """From the break to the moment of truth, one line a run."""
        for which, run in enumerate((self.now, *self.kept)):
            if run.answer:
                self._answer(run, run.answer, which)
        self.y += 5

    def _answer(self, run: Timeline, answer: AnswerLine, which: int) -> None:
        middle, name, width = self.y + self.sizes.answer / 2, "soft" if which else "cursor", 2 if which else 3
        colour = self._colour(name)
        dash = look.KEPT[which - 1][0] if which else ""
        xa, xb = self.x(answer.from_s), self.x(run.to_s if answer.to_s is None else answer.to_s)
        wordings = self._kept_wordings(run, answer) if which else self._wordings(answer)
        if answer.to_s is None:
            self._mark(xb + 4, middle, "right", name, 6, "still so when the run ends")
        else:
            self._mark(xb, middle, *(("diamond", name, 5) if which else ("star", name, 8)), wordings[0])
            if not which:
                self.lines.append((xb - 3, xb + 3))
        self.marks.append(Stroke(xa, middle - 5, xa, middle + 5, colour, width))
        placed = self._beside_line(wordings, xa, xb, bold=not which)
        gap = (xb, xb)
        if placed:
            left, text, inside = placed
            right = left + text_width(text, not which)
            self._say(left, middle + 5, text, name, bold=not which, title=wordings[0], halo=self.paper)
            gap = (left - 6, right + 6) if inside else gap
        for start, stop in ((xa, gap[0]), (gap[1], xb)):
            if stop > start:
                self.marks.append(Stroke(start, middle, stop, middle, colour, width, dash))
        self.y += self.sizes.answer

    def _wordings(self, answer: AnswerLine) -> list[str]:
        """The answer, first with what it was before where one run of the same bench is kept."""
        before = [run for run in self.kept if run.answer and run.bench == self.now.bench]
        said = compared(self.now, before[0]) if len(self.kept) == len(before) == 1 else ""
        return [said, answer.text] if said.startswith(f"{answer.text} instead of") else [answer.text]

    def _kept_wordings(self, run: Timeline, answer: AnswerLine) -> list[str]:
        """The answer of a kept run and its settings, as many of them as there is room for.

        The answer of another bench says itself whose it is.
        """
        if run.bench != self.now.bench:
            return [answer.text]
        parts = differences(run.name, run.parameters, self.now.name, self.now.parameters)
        heads = [", ".join(parts[:n]) + ", …" * (n < len(parts)) for n in range(len(parts), 0, -1)]
        return [*(f"kept: {head}: {answer.text}" for head in heads), f"kept: {answer.text}"]

    def _beside_line(
        self, wordings: Sequence[str], xa: float, xb: float, bold: bool
    ) -> tuple[float, str, bool] | None:
        """Where an answer's text begins, the wording, and whether it is in a gap of its line."""
        most = self.drawing.width - 4
        for text in wordings:
            width = text_width(text, bold)
            if xb - xa > width + 44:
                return (xa + xb - width) / 2, text, True
            if xb + 14 + width < most:
                return xb + 14, text, False
            if xa - 10 - width > 8:
                return xa - 10 - width, text, False
        rooms = ((xb - xa - 44, xa + 22, True), (most - xb - 15, xb + 14, False), (xa - 19, 8.0, False))
        room, left, inside = max(rooms)
        text = shortened(wordings[-1], room, bold)
        return (left, text, inside) if text else None

    # -- lanes ---------------------------------------------------------------------------------------------

    def lanes(self) -> None:
        """Every lane, a line between hosts, flights between two of them."""
        for host, lane in zip(("", *(lane.host for lane in self.now.lanes)), self.now.lanes, strict=False):
            if host and lane.host != host:
                self._segments(host, lane.host)
                middle = self.y + self.sizes.between_hosts / 2 - 1
                self.areas.append(Stroke(8, middle, self.drawing.width - 8, middle, self.colours.faint))
                self.y += self.sizes.between_hosts
            top = self.y
            {"rows": self._rows, "area": self._area}.get(lane.kind, self._line)(lane)
            self._name(lane, top)
            self._kept_bands(lane)
            self.foot[lane.host] = self.y
            self.y += self.sizes.gap

    def _name(self, lane: Lane, top: float) -> None:
        height = {"rows": self.y - top, "area": self.sizes.area}.get(lane.kind, self.sizes.lane)
        bold = lane.kind == "program"
        name = shortened(lane.name, self.gutter - 12, bold)
        self._say(10, top + height / 2 + 5, name, bold=bold, title=lane.name * (name != lane.name))
        if self.now.folded and lane.kind in ("socket", "entry", "rows"):
            if lane.kind != "rows":
                fill = Fill(blend(self._colour("open"), 0.30, self.paper))
                self.areas.append(Rect(self.gutter + 2, top, look.FOLD - 8, height, fill, self.now.folded))
            self.legend.see("fold")
            middle = self.gutter + look.FOLD / 2 - 2
            self._mark(middle, top + height / 2, "exchange", "ink", 6, self.now.folded)

    def _line(self, lane: Lane) -> None:
        """A program, a socket or an entry: what it is in, its locks, its timers and marks."""
        sizes, top, marks = self.sizes, self.y, lane.marks
        program = lane.kind == "program"
        ends = [mark for mark in marks if mark.kind in _SAYS_ERROR] if program else []
        known = {span.from_s for span in lane.spans if span.kind == "error"}
        words = [(m.t_s, m.text.split("→ ")[-1].removeprefix("✗ ")) for m in ends if m.t_s not in known]
        late = [Span(t, t, "error", (text,)) for t, text in words]
        taken = [(self.x(mark.t_s) - 7, self.x(mark.t_s) + 7) for mark in ends]
        self._spans(lane, [*lane.spans, *late], top, sizes.lane, taken)
        self.y += sizes.lane
        if program:
            self._marks([mark for mark in marks if mark.kind not in _SAYS_ERROR], self.y, 3)
            self._marks(ends, top + sizes.lane / 2, 5)
            marks = ()
        if lane.locks:
            for held in lane.locks:
                self.areas.append(self._box(lane.name, held, self.y, sizes.locks - 3))
                self.legend.see_span(held, named=False)
            self.y += sizes.locks
        timers = [each for each in lane.timers if self.x(each.to_s) - self.x(each.from_s) > 1.2]
        if timers or any(mark.kind != "ack" or mark.lost for mark in marks):
            self._timers(timers, self.y + 1)
            self._marks(marks, self.y + sizes.timer - 4, 7)
            self.y += sizes.timer + 2

    def _box(self, lane: str, span: Span, y: float, height: float) -> Rect:
        xa, xb = self.x(span.from_s), self.x(span.to_s)
        words = span.words[0] if span.words else span.kind
        title = f"{lane}: {words}: {_when(span.from_s, span.to_s)}"
        return Rect(xa, y, xb - xa, height, self._fill(look.kind_of(span)), title)

    def _fill(self, kind: str) -> Fill:
        style, is_inferred = look.look_of(kind), kind in look.STATES and self.now.bench == "capture"
        alpha = style.alpha * (look.INFERRED if is_inferred else 1)
        ground = blend(self._colour(style.colour), alpha, self.paper) if alpha else "none"
        outline = self._colour(style.outline) if style.outline else "none"
        return Fill(ground, style.pattern, self._colour(style.ink), outline, style.dash)

    def _spans(self, lane: Lane, spans: Sequence[Span], y: float, height: float, taken: Gaps) -> None:
        """Spans with their words, longest wording first, where no mark and preferably no line is."""
        late = []
        for span in spans:
            xa, xb = self.x(span.from_s), self.x(span.to_s)
            if xb - xa < 0.4 and span.kind != "error" and len(spans) > 1:
                continue
            box = self._box(lane.name, span, y, height)
            self.areas.append(box)
            empty = box.fill.ground == "none"
            halo = self.paper if box.fill.pattern or empty else ""
            colour = readable(halo or box.fill.ground, self.colours.ink)
            words = [each for each in span.words if each]
            # Best before the first line at an instant, for there the span begins; then between; then across.
            line = min((left for left, _ in self.lines if left > xa + 5), default=xb)
            spot = place(words[:2], xa + 5, min(line, xb - 3), taken)
            for avoided in (taken + self.lines, taken):
                spot = spot or place(words, xa + 5, xb - 3, avoided)
            if spot:
                left, text = spot
                self.texts.append(Caption(left, y + height / 2 + 5, text, colour, halo=halo))
                taken.append((left, left + text_width(text)))
                self.legend.see_span(span, named=True)
            else:
                late.append((span, xa, xb, words))
        boxes = [(self.x(span.from_s), self.x(span.to_s)) for span in spans]
        for span, xa, xb, words in sorted(late, key=lambda each: each[0].kind != "error"):
            # An error may be said on top of what was before; anything else only where nothing is.
            others = [] if span.kind == "error" else [box for box in boxes if box != (xa, xb)] + self.lines
            beside = self._beside(span, words, y + height / 2 + 5, taken, others)
            self.legend.see_span(span, named=beside, wide=xb - xa >= 3)

    def _beside(self, span: Span, words: Sequence[str], y: float, taken: Gaps, others: Gaps) -> bool:
        """The words of a span that is too narrow for them, right or left of it."""
        bold = span.kind == "error"
        for text in words:
            width = text_width(text, bold)
            for left in (self.x(span.to_s) + 7 + 3 * bold, self.x(span.from_s) - 8 - 3 * bold - width):
                box = (left, left + width)
                inside = self.left - 2 < box[0] and box[1] < self.drawing.width - 2
                if inside and not hits(box, [*taken, *others]):
                    self._say(left, y, text, "error" if bold else "soft", bold=bold, halo=self.paper)
                    taken.append(box)
                    return True
        return False

    def _marks(self, marks: Sequence[Mark], y: float, apart: float, size: float = 1.0) -> None:
        """Marks on a line; what is nearer than `apart` px to one of its kind is said in that one's title."""
        groups: dict[str, list[list[Mark]]] = {}
        for mark in sorted(marks, key=attrgetter("t_s")):
            if mark.kind == "ack" and not mark.lost:  # a point too many: the flights have it
                continue
            kind = "lost" if mark.lost and mark.kind != "error" else mark.kind
            of_kind = groups.setdefault(kind, [])
            near = 3 if look.MARKS[kind][0] == "dot" else apart
            if of_kind and self.x(mark.t_s) - self.x(of_kind[-1][0].t_s) < near:
                of_kind[-1].append(mark)
            else:
                of_kind.append([mark])
        for kind, together in groups.items():
            symbol, colour, of_size, _ = look.MARKS[kind]
            self.legend.see("mark", kind)
            for group in together:
                first, last = group[0], group[-1]
                what = first.text + (", lost" if kind == "lost" and "✗" not in first.text else "")
                title = f"{what}: {in_words(first.t_s)}"
                if len(group) > 1:
                    title += f", and {len(group) - 1} more until {in_words(last.t_s)}"
                self._mark(self.x(first.t_s), y, symbol, colour, of_size * size, title)

    def _timers(self, timers: Sequence[TimerSpan], y: float) -> None:
        """Wedges: full when a timer was armed, empty when it is due."""
        height = self.sizes.timer
        for block in self._blocks(timers):
            name, from_s, to_s = block[0].name, block[0].from_s, block[-1].to_s
            colour, limit, words = look.timer_look(name)
            ink, xa, xb = self._colour(colour), self.x(from_s), self.x(to_s)
            if xb - xa < 2.5:
                continue
            self.legend.see("timer", name)
            if len(block) > look.BLOCK:
                title = f"{words}, set {len(block)} times: {_when(from_s, to_s)}"
                dots = Fill(tint(ink, 0.2), ".", ink, ink, width=0.6)
                self.areas.append(Rect(xa, y + 2, xb - xa, height - 2, dots, title))
                continue
            for timer in block:
                open_ = Fill(outline=ink, dash="4 2" if limit else "2 3")
                fill = open_ if limit or timer.predicted else Fill(tint(ink, 0.38), outline=ink)
                title = f"{words}: set {in_words(timer.armed_s)}, due {in_words(timer.due_s)}"
                self.areas.append(Polygon(self._wedge(timer, y, height), fill, title))

    def _blocks(self, timers: Sequence[TimerSpan]) -> Iterator[list[TimerSpan]]:
        """Timers one by one, and narrow ones of a name that follow each other together."""
        block: list[TimerSpan] = []
        for timer in timers:
            narrow = self.x(timer.to_s) - self.x(timer.from_s) < look.NARROW
            near = block and self.x(timer.from_s) - self.x(block[-1].to_s) < 4
            if block and not (narrow and near and timer.name == block[-1].name):
                yield block
                block = []
            block.append(timer)
            if not narrow:
                yield block
                block = []
        if block:
            yield block

    def _wedge(self, timer: TimerSpan, y: float, height: float) -> tuple[tuple[float, float], ...]:
        axis, xa, xb = self.drawing.axis, self.x(timer.from_s), self.x(timer.to_s)
        full = max(timer.due_s - timer.armed_s, 1e-9)
        pieces = max(1, min(8, int(xb - xa) // 12)) if axis.log else 1
        points = []
        for piece in range(pieces + 1):
            x = xa + (xb - xa) * piece / pieces
            t = (timer.from_s, timer.to_s)[piece // pieces] if piece in (0, pieces) else axis.t(x)
            points.append((x, y + height * (1 - min(max((timer.due_s - t) / full, 0), 1))))
        return (*points, (xb, y + height), (xa, y + height))

    def _rows(self, lane: Lane) -> None:
        """One line a socket; equal neighbours are named once."""
        # Few rows get the height of a text.
        high = len(lane.rows) <= 3 and self.sizes.row >= 8
        height, top = 17.0 if high else self.sizes.row, self.y
        for row in lane.rows:
            name = f"{lane.host} {row.name}"
            self.areas += [self._box(name, span, self.y + 1, height - 2) for span in row.spans]
            # Each row begins with a SYN.
            marks = [mark for mark in row.marks if mark.kind != "syn" or mark.lost]
            self._marks(marks, self.y + height / 2, 5, 0.65)
            self.y += height
        said: list[tuple[float, float, float]] = []
        for first, spans in look.alike(lane.rows):
            n, span = len(spans), spans[0]
            words = [f"{each} × {n}" if n > 1 else each for each in span.words if each]
            begin, end = max(self.x(s.from_s) for s in spans) + 6, min(self.x(s.to_s) for s in spans) - 3
            y = top + height * (first + n / 2) + 5
            marks = [mark for row in lane.rows[first : first + n] for mark in row.marks]
            texts = [(left, right) for left, right, at in said if abs(at - y) < 17]
            avoided = [(self.x(mark.t_s) - 5, self.x(mark.t_s) + 5) for mark in marks]
            spot = None
            for taken in (avoided + self.lines, avoided, []) if height * n >= 15 else ():
                spot = spot or place(words, begin, end, taken + texts)
            if spot:
                self._say(spot[0], y, spot[1], halo=self.paper)
                said.append((spot[0] - 4, spot[0] + text_width(spot[1]) + 4, y))
                self.legend.see_span(span, named=True)
        for row in lane.rows:
            for span in row.spans:
                self.legend.see_span(span, named=False, wide=self.x(span.to_s) - self.x(span.from_s) >= 3)

    def _area(self, lane: Lane) -> None:
        """An amount over time; kept runs as dashed steps; at the right what is full."""
        height, top = self.sizes.area, self.y
        frame = Fill(outline=self.colours.faint)
        self.areas.append(Rect(self.left, top, self.right - self.left, height, frame))
        self.y += height
        self._marks(lane.marks, top + height / 2, 5)
        if not (level := lane.level):
            return
        ink = self._colour(level.colour or "probe")
        levels = [(level, self.now.to_s, lane.name, Fill(tint(ink, 0.45), outline=ink))]
        for run, (dash, _) in zip(self.kept, look.KEPT, strict=False):
            if (other := _same_key(run, lane)) and other.level:
                grey = Fill(outline=self.colours.ink, dash=dash or "5 2")
                levels.append((other.level, run.to_s, f"kept: {lane.name}", grey))
                self.legend.see("kept")
        peaks = [max(value for _, value in each.points) for each, *_ in levels]
        full = level.capacity or max(peaks) or 1
        curves = [look.columns(each, full, self.drawing.axis) for each, *_ in levels]
        bottom = top + height
        for (each, to_s, name, fill), peak, columns in zip(levels, peaks, curves, strict=True):
            points = [(columns[0][0], bottom)]
            for x, most, last in columns:
                points += [(x, points[-1][1]), (x, bottom - height * most), (x, bottom - height * last)]
            end = max(self.x(to_s), columns[-1][0])
            points += [(end, points[-1][1]), (end, bottom)]
            self.areas.append(Polygon(tuple(points), fill, f"{name}: up to {_amount(peak)} {each.unit}"))
        words = f"{'full' if level.capacity else 'most'}: {_amount(full)} {level.unit}"
        width = text_width(words) + 8

        def behind(left: float) -> tuple[bool, float]:
            """Whether a line at an instant is, and how much of the levels."""
            inside = [most for columns in curves for x, most, _ in columns if left <= x <= left + width]
            before = [last for columns in curves for _, _, last in [c for c in columns if c[0] < left][-1:]]
            return hits((left, left + width), self.lines), max([*inside, *before], default=0)

        places = ((self.right - width, self.right - 4, "end"), (self.left, self.left + 4, "start"))
        _, x, anchor = min(places, key=lambda each: behind(each[0]))
        self._say(x, top + 15, words, anchor=anchor, halo=self.paper)

    # -- kept runs -----------------------------------------------------------------------------------------

    def _kept_bands(self, lane: Lane) -> None:
        """The lane in kept runs, in grey, only where it differs in more than how long was watched."""
        height = self.sizes.kept[len(self.kept)]
        for which, (run, (dash, pattern)) in enumerate(zip(self.kept, look.KEPT, strict=False)):
            other = _same_key(run, lane)
            if not other or other.level or (which, lane.key) not in self.changed:
                continue
            self.legend.see("kept")
            strips = [row.spans for row in other.rows] or [other.spans]
            each = max(height - 2, 2) / len(strips)
            for i, span in ((i, span) for i, spans in enumerate(strips) for span in spans):
                xa, xb = self.x(span.from_s), self.x(span.to_s)
                alpha = look.KEPT_ALPHA.get(span.kind, 0.3) * (not span.predicted)
                ground = blend(self.soft, alpha, self.paper) if alpha else "none"
                empty = dash or ("" if alpha > 0.1 else "3 2")
                fill = Fill(ground, pattern, self.soft, self.soft, empty, 0.7 if len(strips) == 1 else 0.4)
                words = span.words[0] if span.words else span.kind
                title = f"kept: {words}: {_when(span.from_s, span.to_s)}"
                if xb - xa >= (0.4 if len(strips) == 1 else 3):
                    self.areas.append(Rect(xa, self.y + 1 + i * each, xb - xa, each, fill, title))
                if span.kind == "error":
                    self._mark(xa, self.y + height / 2 - 0.5, "cross", "soft", 3, title)
            last = -inf
            for mark in other.marks:
                x = self.x(mark.t_s)
                if mark.kind not in ("call", "data", "ack") and x - last > 2.5:
                    self.areas.append(Stroke(x, self.y, x, self.y + height - 1, self.colours.ink, 1.2))
                    last = x
            self.y += height

    # -- between, below and above ----------------------------------------------------------------------------

    def _segments(self, above: str, below: str) -> None:
        """Segments between two neighbouring hosts, slanted, where they travel far enough to be seen."""
        pairs = ((above, below), (below, above))
        flights = [each for each in self.now.flights if (each.sender, each.receiver) in pairs]
        if len(flights) > 80:
            return
        wide = [self.x(f.arrives_s) - self.x(f.sent_s) for f in flights if f.arrives_s is not None]
        if not wide or median(wide) < 4:
            return
        top, bottom = self.y + 1, self.y + self.sizes.segments + 1
        self._say(10, (top + bottom) / 2 + 5, "segments", "soft")
        for each in flights:
            colour = self.colours.error if each.kind == "rst" or each.arrives_s is None else self.soft
            xa, (y0, y1) = self.x(each.sent_s), (top, bottom) if each.sender == above else (bottom, top)
            title = f"{each.text}: {in_words(each.sent_s)}"
            if each.arrives_s is None:
                xb, y1 = xa + median(wide) / 2, (y0 + y1) / 2
                self._mark(xb, y1, "cross", "error", 4, f"{title}, lost")
                self.legend.see("mark", "lost")
            else:
                xb, back = self.x(each.arrives_s), -5 if y1 > y0 else 5
                head = ((xb, y1), (xb - 5, y1 + back), (xb + 1.5, y1 + back * 1.1))
                self.areas.append(Polygon(head, Fill(colour), f"{title} to {in_words(each.arrives_s)}"))
            self.areas.append(Stroke(xa, y0, xb, y1, colour, 1.3))
        self.y += self.sizes.segments

    def vertical(self, top: float, lanes: float) -> None:
        """Lines at the breaks and at the moment of truth."""
        for each in self.now.breaks:
            x, foot = self.x(each.t_s), self.foot.get(each.host, self.y)
            self.guides.append(Stroke(x, top + 14, x, foot, self.colours.error, 1.4, "5 4"))
        if self.now.answer and self.now.answer.to_s is not None:
            x = self.x(self.now.answer.to_s)
            self.guides.append(Stroke(x, lanes - 6, x, self.y, self.colours.cursor, 1.4))

    def time_axis(self, lanes: float, hidden: tuple[float, float]) -> list[Item]:
        """Ticks and their texts, except where the cursor's text is; returns the lines behind the lanes."""
        axis, grid = self.drawing.axis, list[Item]()
        self.marks.append(Stroke(axis.x0, self.y, axis.x1, self.y, self.soft))
        last = -inf
        for t in axis.ticks():
            x, text = self.x(t), look.tick_text(t)
            width = text_width(text)
            left = min(x - width / 2, self.drawing.width - 2 - width)
            grid.append(Stroke(x, lanes - 2, x, self.y, self.colours.faint, 0.6))
            self.marks.append(Stroke(x, self.y, x, self.y + 5, self.soft))
            if left > last + 6 and not hits((left, left + width), [hidden]):
                self._say(left, self.y + 19, text, "soft")
                last = left + width
        self._say(10, self.y + 19, "log time axis" if axis.log else "time", "soft")
        return grid

    def guess(self, t_s: float) -> None:
        """The learner's prediction: a flag below the axis, at its end where the axis does not reach."""
        axis, colour = self.drawing.axis, self.colours.cursor
        beyond = t_s > axis.end
        x = axis.x1 if beyond else self.x(t_s)
        text = f"your guess: {'never' if t_s == inf else in_words(t_s)}{' →' if beyond else ''}"
        side = 1 if x + text_width(text, True) + 14 < self.drawing.width else -1
        self.marks.append(
            Polygon(((x, self.y), (x - 5, self.y + 9), (x + 5, self.y + 9)), Fill(colour), text)
        )
        anchor = "start" if side > 0 else "end"
        self.texts.append(Caption(x + side * 9, self.y + 11, text, colour, anchor, bold=True))
        self.y += 18

    def cursor(self, t_s: float, lanes: float) -> list[Item]:
        """A veil over the future, the line and its moment."""
        x, text = self.x(t_s), f"now: {in_words(t_s)}"
        future = (self.drawing.width - x, self.y - lanes + 8)
        veil = Rect(x, lanes - 8, *future, Fill(tint(self.paper, 0.9)))
        left, right = self._cursor_box(t_s)
        box = Rect(left, self.y + 4, right - left, 20, Fill(self.colours.cursor))
        ink = readable(self.colours.cursor, self.paper)
        words = Caption(left + 5, self.y + 19, text, ink, bold=True)
        return [veil, Stroke(x, lanes - 8, x, self.y + 4, self.colours.cursor, 2), box, words]

    def _cursor_box(self, t_s: float) -> tuple[float, float]:
        x, width = self.x(t_s), text_width(f"now: {in_words(t_s)}", True) + 10
        left = max(min(x - width / 2, self.drawing.width - width - 2), 100)
        return left, left + width

    def explain(self) -> None:
        """The legend, in as many lines as it needs."""
        x, entries = 10.0, list(self.legend.entries(brief=self.sizes is look.SIZES[-1]))
        for group, name, words in entries:
            width = 24 + text_width(words)
            if x + width > self.drawing.width - 4:
                x, self.y = 10.0, self.y + 18
            self._sample(group, name, x, self.y + 10)
            self._say(x + 24, self.y + 15, words, "soft")
            x += width + 14
        self.y += 22 * bool(entries)

    def _sample(self, group: str, name: str, x: float, y: float) -> None:
        """A piece of what the legend explains, 18 px wide, around this height."""
        if group == "timer":
            colour, limit, _ = look.timer_look(name)
            ink = self._colour(colour)
            fill = Fill("none" if limit else tint(ink, 0.38), outline=ink, dash="4 2" if limit else "")
            self.areas.append(Polygon(((x, y - 7), (x + 18, y + 6), (x, y + 6)), fill))
        elif group == "mark":
            symbol, colour, size, _ = look.MARKS[name]
            self._mark(x + 9, y, symbol, colour, max(size, 9) if symbol == "tick" else size)
        elif group == "fold":
            self._mark(x + 9, y, "exchange", "ink", 6)
        elif group == "kept":
            fill = Fill(blend(self.soft, 0.35, self.paper), outline=self.soft, width=0.7)
            self.areas.append(Rect(x, y - 3, 18, 7, fill))
        elif group == "inferred":
            self.areas.append(Rect(x, y - 7, 18, 14, self._fill("open")))
        else:
            height = 5 if name == "locks" else 14
            self.areas.append(Rect(x, y - height / 2, 18, height, self._fill(name)))

    def draw(self, *, legend: bool, cursor_s: float | None) -> TimelineDrawing:
        """Everything, from top to bottom."""
        drawing, top = self.drawing, self.y
        self.breaks()
        self.answers()
        lanes = self.y
        self.lanes()
        drawing.top, drawing.bottom = lanes - 8, self.y
        self.vertical(top, lanes)
        hidden = (-inf, -inf) if cursor_s is None else self._cursor_box(cursor_s)
        grid = self.time_axis(lanes, hidden)
        above = [] if cursor_s is None else self.cursor(cursor_s, lanes)
        self.y += 28
        if self.guess_s is not None:
            self.guess(self.guess_s)
        if self.now.bench == "capture":
            self.legend.see("inferred")
        if legend:
            self.explain()
        drawing.height = self.y
        drawing.add(*grid, *self.areas, *self.guides, *self.marks, *self.texts, *above)
        return drawing


def _when(from_s: float, to_s: float) -> str:
    return f"{in_words(from_s)} to {in_words(to_s)}"


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _same_key(run: Timeline, lane: Lane) -> Lane | None:
    return next((other for other in run.lanes if other.key == lane.key), None)


@dataclass(frozen=True)
class TimelinePicture:
    """The timeline of a run, alone or with up to three kept ones, the newest last; a notebook shows it."""

    now: Timeline
    kept: tuple[Timeline, ...] = ()
    #: What the learner has predicted, seconds on the axis, `inf` for never: a flag below it. None: no flag.
    guess_s: float | None = None

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The lanes of this run."""
        return self.now.lanes

    @property
    def answer(self) -> AnswerLine | None:
        """The answer of this run."""
        return self.now.answer

    @property
    def sentence(self) -> str:
        """What happened: the picture's label."""
        return self.now.sentence

    @property
    def compared(self) -> str:
        """What differs from the newest kept run, in one sentence; empty where none is kept."""
        return compared(self.now, self.kept[-1]) if self.kept else ""

    def table(self) -> str:
        """The picture as an HTML table: lane, from, to, what."""
        return html_table(("lane", "from", "to", "what"), self.now.rows())

    @cached_property
    def changed(self) -> frozenset[tuple[int, str]]:
        """Kept run and key of the lanes that differ in more than how long was watched."""
        return frozenset(
            (i, lane.key)
            for i, run in enumerate(self.kept)
            for lane in self.lanes
            if (other := _same_key(run, lane)) and not same_lane(lane, other, self.now.to_s, run.to_s)
        )

    def end_s(self, before_s: float = 0.0) -> float:
        """The end of the axis that shows every run, never less than it was before."""
        return look.axis_end(max(run.settled_s or run.horizon_s for run in (self.now, *self.kept)), before_s)

    def until(self, end_s: float) -> TimelinePicture:
        """The same without what comes after this moment."""
        return replace(self, now=self.now.until(end_s), kept=tuple(run.until(end_s) for run in self.kept))

    def drawing(
        self, width: float = 950, *, log: bool | None = None, end_s: float | None = None, dark: bool = False,
        legend: bool = True, cursor_s: float | None = None,
    ) -> TimelineDrawing:  # fmt: skip
        """Lay the picture out.

        `width` in px, 700 or more. `log`: a logarithmic axis, by default where the story has milliseconds and
        minutes. `end_s`: the axis' end, by default `end_s()`. `cursor_s`: a line at this moment, and what
        comes later under a veil.
        """
        end, log = end_s or self.end_s(), self.now.log if log is None else log
        names = (text_width(lane.name, lane.kind == "program") for lane in self.lanes)
        gutter = min(max(look.GUTTER, max(names, default=0) + 16), look.WIDEST_GUTTER)
        x0 = gutter + (look.FOLD if self.now.folded else 10)
        c = min(3 * self.now.flight_s, end / 1000) if self.now.log and self.now.flight_s else end / 1000
        axis = look.Axis(end, x0, width - look.RIGHT, log, c)
        most = look.MOST_HEIGHT if len({lane.host for lane in self.lanes}) <= 2 else look.MOST_HEIGHT_THREE
        for sizes in look.SIZES:
            empty = TimelineDrawing(width, 0, theme(dark), self.sentence, axis=axis)
            drawn = _Layout(self.until(end), empty, sizes).draw(legend=legend, cursor_s=cursor_s)
            if drawn.height <= most:
                break
        return drawn

    def svg(self, width: float = 950, **options: Any) -> str:
        """The same as an SVG element; `options` are those of `drawing`."""
        return self.drawing(width, **options).svg

    def __repr__(self) -> str:
        return self.sentence

    def _repr_html_(self) -> str:
        said = paragraph(self.sentence) + (paragraph(self.compared) if self.kept else "")
        return said + to_scroll(self.svg()) + folded(self.table())

    def _repr_svg_(self) -> str:
        return self.svg()


def timeline(trace: Trace, kept: Sequence[Trace] = ()) -> TimelinePicture:
    """The state of each program and socket over time, to scale.

    `kept`: runs to compare with, of which the last three are shown, the newest last.
    """
    return TimelinePicture(read_timeline(trace), tuple(map(read_timeline, kept[-3:])))
