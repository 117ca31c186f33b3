"""What a timeline shows, as plain data: who believed what, and for how long.

Seconds count from `Trace.watching_since`: 0 is the break, or the beginning of what is watched; what lies
before is folded. A lane is one line of the picture: a program, a socket, a middlebox's entry, many sockets
as rows, or an amount that changes. Laid out and drawn in `timeline_layout.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
    #: `probe`, `data`, `fin`, `rst`, `syn`, `ack`, `retransmission`, `window_probe`, `error`, `end_of_file`,
    #: `call`, `check` (a look at the connection), `dropped` (by this middlebox).
    kind: str
    text: str
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
    #: Its own number where that is not `to_s - from_s`.
    measure_s: float | None = None


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
