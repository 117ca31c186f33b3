"""How a timeline looks: its axis, its kinds of spans, marks and timers, and its heights.

Tables, so that the layout, the legend and the tests read the same thing. A colour is named as in
`theme.Theme`; every kind has a pattern, an outline or a symbol of its own too.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import expm1, log1p
from typing import NamedTuple

from tcplab.core.text import in_words
from tcplab.pictures.lanes import Level, Row, Span
from tcplab.pictures.svg import text_width
from tcplab.pictures.theme import PHASE, PHASES

#: Ends of the time axis and distances of its ticks: 1-2-5 below 1 s, then what a clock has.
STEPS = (
    *(digit * 10.0**power for power in range(-4, 0) for digit in (1, 2, 5)),
    1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 300, 600, 1200, 1800,
    3600, 7200, 10_800, 21_600, 43_200, 86_400,
    *(86_400 * digit * 10**power for power in range(4) for digit in (2, 5, 10)),
)  # fmt: skip
#: On a logarithmic axis these ticks come first, the others where there is room.
_DECADES = (1e-3, 0.01, 0.1, 1, 10, 60, 600, 3600, 36_000, 86_400, 864_000)


def axis_end(span_s: float, before_s: float = 0.0) -> float:
    """The end of an axis that shows `span_s` seconds, never less than it was `before_s`."""
    # What lies in the last hundredth is at the edge anyway.
    at = bisect_left(STEPS, span_s * 0.99)
    return max(STEPS[at] if at < len(STEPS) else span_s, before_s)


@dataclass(frozen=True, slots=True)
class Axis:
    """True time as x: linear, or x ∝ ln(1 + t/c), so that 0 stays on the axis."""

    end: float
    x0: float
    x1: float
    log: bool = False
    c: float = 1.0

    def x(self, t_s: float) -> float:
        """Where an instant is, px; what lies outside is at the edge."""
        t = min(max(t_s, 0.0), self.end)
        share = log1p(t / self.c) / log1p(self.end / self.c) if self.log else t / self.end
        return self.x0 + share * (self.x1 - self.x0)

    def t(self, x: float) -> float:
        """The instant at `x`, seconds."""
        share = (x - self.x0) / (self.x1 - self.x0)
        return self.c * expm1(share * log1p(self.end / self.c)) if self.log else share * self.end

    def ticks(self) -> list[float]:
        """Round instants whose texts have room beside each other, 0 first."""
        if not self.log:
            width = max(text_width(tick_text(self.end * share)) for share in (0.5, 0.75, 1)) + 16
            most = max(1, (self.x1 - self.x0) // width)
            wanted = (step for step in STEPS if self.end / step <= most and _whole(self.end / step))
            step = next(wanted, self.end)
            return [i * step for i in range(round(self.end / step) + 1)]
        chosen: list[float] = []
        within = [step for step in STEPS if self.c / 2 <= step < self.end]
        decades = [step for step in _DECADES if self.c / 2 <= step < self.end]
        for t in (0.0, self.end, *decades, *within):
            if all(self._apart(t, other) for other in chosen):
                chosen.append(t)
        return sorted(chosen)

    def _apart(self, one: float, other: float) -> bool:
        room = (text_width(tick_text(one)) + text_width(tick_text(other))) / 2 + 16
        return abs(self.x(one) - self.x(other)) > room


def _whole(ratio: float) -> bool:
    return abs(ratio - round(ratio)) < 1e-6


def tick_text(t_s: float) -> str:
    """A round instant: ``0``, ``0.05 s``, ``1 min``, ``1 h 30 min``."""
    if t_s < 60:
        return f"{t_s:.4f}".rstrip("0").rstrip(".") + " s" if t_s else "0"
    if t_s < 120:
        return "1 min" + (f" {t_s - 60:g} s" if t_s > 60 else "")
    return in_words(t_s)


@lru_cache(64)
def columns(level: Level, full: float, axis: Axis) -> list[tuple[float, float, float]]:
    """A level px by px: x, the most that it is there, and what it is at the end of that px, as shares."""
    by_px: dict[int, list[float]] = {}
    for t, value in level.points:
        by_px.setdefault(round(axis.x(t)), []).append(min(value / full, 1))
    return [(x, max(values), values[-1]) for x, values in by_px.items()]


class Look(NamedTuple):
    """How a kind of span looks: names of colours of the theme, a pattern, an outline."""

    colour: str = "soft"
    #: How strongly the colour covers the paper; 0: empty.
    alpha: float = 0.0
    pattern: str = ""
    ink: str = "soft"
    outline: str = ""
    dash: str = ""
    #: What the legend says.
    words: str = ""
    #: Whether the legend always has it; else only where its own words have no room.
    explained: bool = False


LOOKS = {
    "one_side": Look("open", 0.30, "\\", words="one side only", explained=True),
    "window_closed": Look("open", 0.22, "/", words="window closed"),
    "gone": Look("soft", 0.10, "x", outline="soft", words="gone", explained=True),
    "closed": Look(outline="soft", dash="1 3", words="closed"),
    "predicted": Look(outline="soft", dash="2 3", words="after the run"),
    "waits": Look("probe", 0.16, "/", "probe", "soft", words="waits in a call", explained=True),
    "works": Look("probe", 0.50, outline="soft", words="works"),
    "reads": Look("probe", 0.22, outline="soft", words="reads"),
    "idle": Look("soft", 0.12, outline="soft", words="idle"),
    "unaware": Look(outline="soft", dash="4 3", words="has not noticed"),
    "error": Look("error", 0.14, outline="error", words="has the error"),
    "known": Look("open", 0.75, words="has an entry"),
    "forgotten": Look(outline="soft", dash="4 3", words="entry removed"),
    "locks": Look("error", 1.0, words="locks held", explained=True),
}
#: Of sockets: the colour is that of the connection's phase.
STATES = {phase: Look(phase, 0.85) for phase in PHASES}
#: So much of a state's colour is left where the state is inferred.
INFERRED = 0.55

#: Marks by kind: symbol, colour, size, and what the legend says.
MARKS = {
    "probe": ("up", "probe", 5, "probe"),
    "window_probe": ("up", "probe", 5, "window probe"),
    "retransmission": ("again", "repeat", 4.5, "sent again"),
    "data": ("dot", "ink", 3, "data"),
    "syn": ("diamond", "ink", 4, "SYN"),
    "ack": ("dot", "soft", 2.2, "ACK"),
    "fin": ("square", "closing first", 5, "FIN"),
    "rst": ("bolt", "error", 5, "RST"),
    "error": ("cross", "error", 5.5, "error"),
    "end_of_file": ("bar", "error", 6, "end of file"),
    "call": ("tick", "ink", 5, "call"),
    "check": ("diamond", "soft", 3.5, "looks at its socket"),
    "lost": ("cross", "error", 5, "lost"),
}
#: Timers by name: colour, whether it is a limit beside the socket's own timer, and the legend's words.
TIMERS = {
    "on": ("on", False, "retransmission timer"),
    "keepalive": ("keepalive", False, "keepalive timer"),
    "persist": ("persist", False, "window probe timer"),
    "timewait": ("timewait", False, "TIME-WAIT timer"),
    "idle": ("soft", False, "idle timer"),
    "close": ("soft", False, "closing timer"),
}
#: Kept runs, the oldest first: dash of the answer's line, pattern of the bands.
KEPT = (("", ""), ("6 3", "/"), ("2 3", "."))
KEPT_ALPHA = {
    "waits": 0.45, "works": 0.6, "reads": 0.3, "idle": 0.15, "unaware": 0.1, "error": 0.08, "state": 0.35,
    "one_side": 0.2, "window_closed": 0.2, "gone": 0.08, "closed": 0.0, "known": 0.4, "forgotten": 0.0,
}  # fmt: skip


class Sizes(NamedTuple):
    """Heights, px."""

    lane: float = 20
    timer: float = 15
    locks: float = 8
    area: float = 30
    row: float = 9
    segments: float = 24
    gap: float = 3
    between_hosts: float = 5
    answer: float = 21
    #: A kept run's band by how many are kept.
    kept: tuple[float, ...] = (0, 8, 6, 5)


#: The first that is low enough: most pictures, then those with many lanes.
SIZES = (
    Sizes(),
    Sizes(18, 13, 6, 25, 8, 20, 2, 5, 21, (0, 7, 5, 4.5)),
    Sizes(18, 11, 6, 20, 6, 18, 1.5, 4, 20, (0, 6, 4.5, 4)),
    Sizes(16.5, 8, 5, 18, 6, 18, 1, 4, 17.5, (0, 5, 4, 3)),
)
#: Two hosts; and more, or a middlebox between.
MOST_HEIGHT, MOST_HEIGHT_THREE = 330.0, 420.0
#: The lanes' names, at least and at most; the folded beginning; right of the axis.
GUTTER, WIDEST_GUTTER, FOLD, RIGHT = 168.0, 230.0, 34.0, 26.0
#: Timers under this width that follow each other become one block, px.
NARROW, BLOCK = 9.0, 7


def look_of(kind: str) -> Look:
    """A phase of a connection, or another kind of span."""
    return STATES.get(kind) or LOOKS[kind]


def timer_look(name: str) -> tuple[str, bool, str]:
    """As in `TIMERS`; what has another name is a limit beside the socket's timer."""
    return TIMERS.get(name, ("ink", True, name))


def kind_of(span: Span) -> str:
    """The name of a span's look: of a state its connection's phase."""
    if span.predicted:
        return "predicted"
    return PHASE.get(span.state, "waiting") if span.kind == "state" else span.kind


def alike(rows: Sequence[Row]) -> Iterator[tuple[int, list[Span]]]:
    """Neighbouring rows with something alike: the first one's place, and that span of each."""
    table = [{(s.kind, s.state, s.words, s.predicted): s for s in row.spans} for row in rows]
    for same in dict.fromkeys(each for row in table for each in row):
        has = [i for i, row in enumerate(table) if same in row]
        starts = [i for i in has if i - 1 not in has]
        for first in starts:
            after = next(i for i in range(first, len(rows) + 1) if i not in has)
            yield first, [row[same] for row in table[first:after]]


_OTHERS = {"kept": "kept run", "fold": "before 0", "inferred": "inferred from the packets"}


@dataclass
class Legend:
    """What one picture has that its own words do not explain."""

    #: (`timer`, `mark`, `span`, or a key of `_OTHERS`; its name).
    seen: dict[tuple[str, str], None] = field(default_factory=dict)
    #: (kind, state) of spans that have their words beside or in them; and of those without room for them.
    named: set[tuple[str, str]] = field(default_factory=set)
    unnamed: dict[tuple[str, str], None] = field(default_factory=dict)

    def see(self, group: str, name: str = "") -> None:
        """This is in the picture."""
        self.seen[group, name] = None

    def see_span(self, span: Span, *, named: bool, wide: bool = True) -> None:
        """Note a span, with its words or without them; `wide`: it can be seen, so it needs an explanation."""
        kind = kind_of(span)
        if kind in LOOKS and LOOKS[kind].explained:
            self.see("span", kind)
        elif named:
            self.named.add((kind, span.state))
        elif wide and any(span.words):
            self.unnamed[kind, span.state] = None

    def entries(self, *, brief: bool = False) -> Iterator[tuple[str, str, str]]:
        """What to explain and in which words: ``("timer", "on", "retransmission timer")``.

        `brief`: without calls, data, and what only had no room for its words; hovering says them too.
        """
        timers = [name for group, name in self.seen if group == "timer"]
        unsaid = ("error", "call", "data") if brief else ("error",)
        marks = [name for group, name in self.seen if group == "mark" and name not in unsaid]
        yield from (("timer", name, timer_look(name)[2]) for name in timers)
        yield from (("mark", name, MARKS[name][3]) for name in marks)
        missing = [each for each in self.unnamed if each not in self.named and not brief]
        for kind in dict.fromkeys(kind for kind, _ in missing):
            states = [state.replace("_", "-") for other, state in missing if other == kind]
            yield "span", kind, ", ".join(states) if kind in STATES else LOOKS[kind].words
        yield from (
            ("span", kind, style.words) for kind, style in LOOKS.items() if ("span", kind) in self.seen
        )
        yield from ((name, "", words) for name, words in _OTHERS.items() if (name, "") in self.seen)
