"""What a timeline shows, as plain data: the state of each program and socket over time.

Seconds count from `Trace.watching_since`: 0 is the break, or the beginning of what is watched; what lies
before is folded. A lane is one line of the picture: a program, a socket, a middlebox's entry, many sockets
as rows, or an amount that changes. Read from a trace in `timeline.py`, drawn in `timeline_layout.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from operator import attrgetter, itemgetter
from typing import Any, TypeVar

from tcplab.core.knobs import Knob
from tcplab.core.text import in_words, number, plural
from tcplab.registry import STORIES

#: Kinds of marks in words.
MARKS = {
    "probe": "keepalive probe", "data": "segment with data", "fin": "FIN", "rst": "RST", "syn": "SYN",
    "ack": "ACK", "retransmission": "retransmission", "window_probe": "window probe", "error": "error",
    "end_of_file": "end of file", "call": "call", "check": "connection check",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Span:
    """Something that lasts."""

    from_s: float
    to_s: float
    #: `state`, `one_side`, `window_closed`, `gone`, `closed` of sockets; `waits`, `works`, `idle`, `unaware`,
    #: `error` of programs; `locks`; `known`, `forgotten` of middleboxes.
    kind: str
    #: One to three wordings, the longest first.
    words: tuple[str, ...] = ()
    #: The RFC 9293 name with underscores where `kind` is about a socket.
    state: str = ""
    #: It lies after the run: TIME-WAIT runs on.
    predicted: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happens at one moment."""

    t_s: float
    #: A key of `MARKS`.
    kind: str
    text: str
    #: It was lost on its way; on a middlebox's lane: dropped there.
    lost: bool = False


@dataclass(frozen=True, slots=True)
class TimerSpan:
    """A running timer: full when it was armed, empty when it is due; it may be stopped before."""

    from_s: float
    to_s: float
    armed_s: float
    due_s: float
    #: `on`, `keepalive`, `persist`, `timewait` as in ss; `idle`, `close` of a middlebox; the name of a
    #: `Deadline`.
    name: str
    predicted: bool = False


@dataclass(frozen=True, slots=True)
class Level:
    """An amount that changes in steps: bytes in a queue, places taken, connections in a state."""

    #: (seconds, value from then on).
    points: tuple[tuple[float, float], ...]
    #: The value at which it is full, 0 where there is none.
    capacity: float
    #: `bytes`, `waiting`, `connections` …
    unit: str
    #: The phase, timer or mark colour of the theme by name; empty: by the lane.
    colour: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One of many sockets of a host."""

    name: str
    spans: tuple[Span, ...]
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class Lane:
    """One line of the picture."""

    #: The same lane of another run has the same key: `client/program`, `client/server`, `firewall/entry`.
    key: str
    host: str
    name: str
    #: `program`, `socket`, `entry`, `rows` or `area`.
    kind: str
    spans: tuple[Span, ...] = ()
    marks: tuple[Mark, ...] = ()
    timers: tuple[TimerSpan, ...] = ()
    #: When locks are held.
    locks: tuple[Span, ...] = ()
    level: Level | None = None
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class BreakMark:
    """Where something broke."""

    t_s: float
    host: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class AnswerLine:
    """From the break to the moment of truth."""

    from_s: float
    #: None: still so when the run ends.
    to_s: float | None
    host: str
    text: str


@dataclass(frozen=True, slots=True)
class Flight:
    """A segment between two neighbouring hosts, drawn where latency is wide enough to be seen."""

    sent_s: float
    #: None: lost.
    arrives_s: float | None
    sender: str
    receiver: str
    text: str
    #: As of `Mark`.
    kind: str


@dataclass(frozen=True)
class Timeline:
    """One run, ready to be laid out."""

    #: Experiment, study or capture; `model`, `linux` or `capture`.
    name: str
    bench: str
    parameters: Mapping[str, Any]
    lanes: tuple[Lane, ...]
    breaks: tuple[BreakMark, ...]
    answer: AnswerLine | None
    flights: tuple[Flight, ...]
    #: When the run ended, and the end of what is predicted (the same where nothing is).
    to_s: float
    horizon_s: float
    #: Whether the story has milliseconds and minutes: the axis begins logarithmic.
    log: bool
    #: The median flight, 0 without one: the log axis begins with it.
    flight_s: float
    #: What lies before 0, in words; empty: nothing.
    folded: str
    #: What happened, as the experiment says it.
    sentence: str
    #: How far the axis reaches at first, where all that happens is over long before the end; 0: to the end.
    settled_s: float = 0.0

    def until(self, end_s: float) -> Timeline:
        """What there is of it before this moment."""
        if end_s >= self.horizon_s:
            return self
        answer = self.answer
        if answer and answer.to_s is not None and answer.to_s > end_s:
            answer = replace(answer, to_s=None)
        return replace(
            self,
            lanes=tuple(_cut(lane, end_s) for lane in self.lanes),
            breaks=tuple(b for b in self.breaks if b.t_s <= end_s),
            answer=answer,
            flights=tuple(flight for flight in self.flights if flight.sent_s <= end_s),
            to_s=min(self.to_s, end_s),
            horizon_s=end_s,
        )

    def to_json(self) -> dict[str, Any]:
        """What `run --json` prints as `timeline`; seconds from the beginning of what is watched."""
        answer = self.answer and {
            "from_s": self.answer.from_s, "to_s": self.answer.to_s,
            "host": self.answer.host, "text": self.answer.text,
        }  # fmt: skip
        breaks = [{"t_s": b.t_s, "host": b.host, "kind": b.kind, "text": b.text} for b in self.breaks]
        lanes = [
            {
                "key": lane.key, "name": lane.name, "host": lane.host,
                "spans": [
                    {"from_s": a, "to_s": b, "kind": kind, "text": text}
                    for kind, a, b, text in _everything(lane, self.horizon_s)
                ],
                "marks": [
                    {"t_s": m.t_s, "kind": _JSON_MARKS.get(m.kind, m.kind) + " lost" * m.lost, "text": m.text}
                    for m in _marks(lane)
                ],
            }
            for lane in self.lanes
        ]  # fmt: skip
        return {
            "from_s": 0.0, "to_s": self.horizon_s, "log": self.log,
            "breaks": breaks, "answer": answer, "lanes": lanes,
        }  # fmt: skip

    def rows(self) -> list[tuple[str, str, str, str]]:
        """The picture as a table: lane, from, to, what."""
        rows = [(f"{b.host} breaks", in_words(b.t_s), "", b.text) for b in self.breaks]
        if self.answer:
            until = "" if self.answer.to_s is None else in_words(self.answer.to_s)
            rows.append(("answer", in_words(self.answer.from_s), until, self.answer.text))
        for lane in self.lanes:
            rows += [
                (lane.name, in_words(a), in_words(b), text)
                for kind, a, b, text in _everything(lane, self.horizon_s)
                if text and kind not in ("timer", "level")
            ]
            if level := lane.level:
                values = [value for _, value in level.points]
                text = f"at most {number(max(values), level.unit)}, at the end {number(values[-1])}"
                rows.append((lane.name, in_words(level.points[0][0]), in_words(self.to_s), text))
            marks = _marks(lane)
            for kind in dict.fromkeys((mark.kind, mark.lost) for mark in marks):
                rows.append(
                    (lane.name, *_marks_in_words([m.t_s for m in marks if (m.kind, m.lost) == kind], *kind))
                )
        return rows

    def instants(self) -> list[float]:
        """When something happens, seconds in order: what the arrow keys step through."""
        times = {0.0, self.to_s, *(b.t_s for b in self.breaks)}
        if self.answer:
            times |= {self.answer.from_s, self.to_s if self.answer.to_s is None else self.answer.to_s}
        for lane in self.lanes:
            spans = (*lane.spans, *lane.locks, *(span for row in lane.rows for span in row.spans))
            times |= {t for span in spans for t in (span.from_s, span.to_s)}
            times |= {mark.t_s for mark in _marks(lane)}
        return sorted(t for t in times if 0 <= t <= self.to_s)


# -- in words --------------------------------------------------------------------------------

#: Kinds of marks that the contract of `to_json` does not name.
_JSON_MARKS = {"check": "call"}
#: A table names the moments of so many marks.
_MOST_TIMES = 6


def _marks(lane: Lane) -> list[Mark]:
    """The marks of a lane and of its rows, in order of time."""
    return sorted((*lane.marks, *(mark for row in lane.rows for mark in row.marks)), key=attrgetter("t_s"))


def _cut(lane: Lane, end_s: float) -> Lane:
    """What there is of a lane before this moment."""

    def cut(spans: tuple[Span, ...]) -> tuple[Span, ...]:
        return tuple(replace(s, to_s=min(s.to_s, end_s)) for s in spans if s.from_s < end_s)

    def seen(marks: tuple[Mark, ...]) -> tuple[Mark, ...]:
        return tuple(mark for mark in marks if mark.t_s <= end_s)

    level = lane.level
    return replace(
        lane,
        spans=cut(lane.spans),
        marks=seen(lane.marks),
        timers=tuple(replace(t, to_s=min(t.to_s, end_s)) for t in lane.timers if t.from_s < end_s),
        locks=cut(lane.locks),
        level=level and replace(level, points=tuple(p for p in level.points if p[0] < end_s)),
        rows=tuple(Row(row.name, cut(row.spans), seen(row.marks)) for row in lane.rows),
    )


def _everything(lane: Lane, end_s: float) -> Iterator[tuple[str, float, float, str]]:
    """All that lasts in a lane: kind, from, to, text."""
    for span in lane.spans:
        yield span.kind, span.from_s, span.to_s, next(iter(span.words), "")
    for row in lane.rows:
        for span in row.spans:
            yield span.kind, span.from_s, span.to_s, f"{row.name} {next(iter(span.words), '')}".rstrip()
    for span in lane.locks:
        yield "locks", span.from_s, span.to_s, next(iter(span.words), "")
    for timer in lane.timers:
        length = in_words(timer.due_s - timer.armed_s)
        yield "timer", timer.from_s, timer.to_s, f"{timer.name}: {length}, due at {in_words(timer.due_s)}"
    if lane.level:
        points = lane.level.points
        ends = [*(t for t, _ in points[1:]), end_s]
        for (t, value), until in zip(points, ends, strict=True):
            yield "level", t, until, number(value, lane.level.unit)


def _marks_in_words(times: Sequence[float], kind: str, lost: bool) -> tuple[str, str, str]:
    """From, to, and what: ``9 keepalive probes, lost: 60 s, 70 s …``."""
    said = ", ".join(in_words(t) for t in times[:_MOST_TIMES]) + " …" * (len(times) > _MOST_TIMES)
    name = plural(len(times), MARKS[kind]) + ", lost" * lost
    return in_words(min(times)), in_words(max(times)), f"{name}: {said}"


# -- comparing -------------------------------------------------------------------------------

#: The head of an answer before the time that it took.
_AFTER = re.compile(r"(.*?\b(?:after|for) )(.*)")


def same_lane(a: Lane, b: Lane, end_a: float, end_b: float) -> bool:
    """Whether two runs differ in this lane in no more than how long each was watched, seconds."""
    first = min(end_a, end_b)
    return _until(a, first) == _until(b, first)


def _until(lane: Lane, end_s: float) -> tuple[Any, ...]:
    """What a lane shows before a moment, times to a tenth of a per cent of it: a picture shows no more."""
    step = (end_s or 1) / 1000

    def at(t: float) -> int:
        return round(t / step)

    def band(spans: Iterable[Span]) -> list[tuple[Any, ...]]:
        seen = [(s.kind, s.state, at(s.from_s)) for s in spans if at(s.from_s) < min(at(s.to_s), shown)]
        return [each for before, each in pairwise([("",), *seen]) if each[:2] != before[:2]]

    shown = at(end_s) - 1
    marks = [lane.marks, *(row.marks for row in lane.rows)]
    points = lane.level.points if lane.level else ()
    return (
        [band(spans) for spans in (lane.spans, lane.locks, *(row.spans for row in lane.rows))],
        [[(m.kind, m.lost, at(m.t_s)) for m in m_ if at(m.t_s) < shown and m.kind != "call"] for m_ in marks],
        [(at(t), value) for t, value in points if at(t) < shown],
    )


def compared(now: Timeline, kept: Timeline) -> str:
    """The difference in one sentence: ``ETIMEDOUT after 2 min instead of 2 h 11 min 15 s``."""
    before = kept.answer.text if kept.answer else "nothing to detect"
    after = now.answer.text if now.answer else "nothing to detect"
    if after != before:
        ours, theirs = _AFTER.fullmatch(after), _AFTER.fullmatch(before)
        same = ours and theirs and ours[1] == theirs[1]
        return f"{after} instead of {theirs[2] if same and theirs else before}"
    known = {lane.key: lane for lane in kept.lanes}
    differ = [
        lane.name
        for lane in now.lanes
        if lane.key not in known or not same_lane(lane, known[lane.key], now.to_s, kept.to_s)
    ]
    differ += [lane.name for key, lane in known.items() if key not in {lane.key for lane in now.lanes}]
    if differ:
        names = list(dict.fromkeys(differ))
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return f"{after}, as before; what differs: {', '.join(names[:3])}{more}"
    turned = (now.name, dict(now.parameters)) != (kept.name, dict(kept.parameters))
    return "the same as before" + ": this knob does nothing here" * turned


def differences(name: str, kept: Mapping[str, Any], name_now: str, now: Mapping[str, Any]) -> list[str]:
    """The settings in which a kept run differs from what is set now: ``idle 7200 s``, ``probes 9``."""
    if name != name_now:
        return [name.replace("_", " ")]
    story = STORIES.get(name)
    knobs = story.knobs() if story else {}
    differ = {n: v for n, v in kept.items() if n in knobs and v != now.get(n)}
    return [setting(knobs[name], value) for name, value in differ.items()] or ["the same settings"]


def setting(knob: Knob, value: Any) -> str:
    """A knob and its value in words: ``idle 7200 s``, ``user timeout off``, ``the server: rebooted``."""
    label = knob.label.removeprefix("keepalive: ")
    if isinstance(value, bool):
        return f"{label} {'on' if value else 'off'}"
    if value == 0 and knob.zero:
        return f"{label} {knob.zero}" if knob.zero in ("off", "never") else f"{label}: {knob.zero}"
    if isinstance(value, str):
        word = knob.word(value) if knob.names else value.replace("_", " ")
        return f"{label}{'' if label.endswith(' is') else ':'} {word}"
    # A label such as "attempts a second" has said the unit.
    return f"{label} {value:.10g} {knob.unit.removeprefix('per s')}".rstrip()


# -- amounts ---------------------------------------------------------------------------------

Steps = tuple[tuple[float, float], ...]
Value = TypeVar("Value")


def steps(points: Iterable[tuple[float, Value]]) -> tuple[tuple[float, Value], ...]:
    """A step curve without repetitions: of several values at one moment the last one."""
    kept: list[tuple[float, Value]] = []
    for t, value in points:
        if kept and kept[-1][0] == t:
            kept.pop()
        if not kept or kept[-1][1] != value:
            kept.append((t, value))
    return tuple(kept)


def counted(changes: Iterable[tuple[float, int]], end_s: float) -> Steps:
    """How many there are, from 0 on, by moments (seconds) at which it becomes more or less before the end."""
    ordered = sorted(change for change in changes if change[0] < end_s)
    totals = accumulate(change for _, change in ordered)
    return steps([(0.0, 0.0), *((t, float(total)) for (t, _), total in zip(ordered, totals, strict=True))])


def together(curves: Mapping[str, Sequence[tuple[float, float]]]) -> list[tuple[float, tuple[float, ...]]]:
    """(moment, values of all curves from then on) wherever one of them changes; 0 before a curve begins."""
    now, out = dict.fromkeys(curves, 0.0), {}
    changes = [(t, name, value) for name, points in curves.items() for t, value in points]
    for t, name, value in sorted(changes, key=itemgetter(0)):
        now[name] = value
        out[t] = tuple(now.values())
    return [*out.items()]
