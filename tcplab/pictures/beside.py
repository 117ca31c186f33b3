"""What is beside the lifelines of a ladder: states, timers and calls of each host, entries of middleboxes.

`Geometry` says where: everything in parts of the distance between the outermost lifelines, rows in px.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from tcplab.core.text import SECOND, duration
from tcplab.core.trace import Call, Note, SocketSample, Trace
from tcplab.pictures import theme as look
from tcplab.pictures import timeaxis
from tcplab.pictures.svg import text_width
from tcplab.pictures.text import call_lines, is_error
from tcplab.pictures.theme import Line, MarkStyle, Text, Theme, filled, rectangle
from tcplab.pictures.timeaxis import ROW, Arrow, Beginning, Interval, hosts_of, middleboxes_of, place

#: The hover title of a running timer, by its name in ss.
TIMER_TITLES = {
    "on": "timer: retransmission (on)", "keepalive": "timer: keepalive",
    "persist": "timer: window probe (persist)", "timewait": "timer: timewait",
}  # fmt: skip

#: Distances from the lifeline, in parts of the distance between the outermost lifelines.
STATE_BAR, TIMER_BAR, BRACKET, ASIDE, EDGE = 0.022, 0.042, 0.056, 0.068, 0.075


#: The width (px) of a picture for which the texts between two lifelines are chosen, and the least one.
WIDTH, NARROWEST = 940, 800
#: From this length (nanoseconds) a run has times as wide as ``2 h 11 min 15 s``; px of these and of others.
_LONG, _TIMES = 100 * SECOND, (80, 120)
#: px that a text keeps away from the lifelines on both of its sides.
_AIR = 10


class Geometry:
    """Where things are in one ladder: lifelines, distances from them, and what is drawn at all."""

    def __init__(
        self, trace: Trace, colours: Theme, upto: int | None, first: Beginning | None, shown: list[Arrow],
        width: int,
    ) -> None:  # fmt: skip
        self.trace, self.colours = trace, colours
        #: Draw only what had happened until then, nanoseconds; None: everything.
        self.upto = upto
        hosts = hosts_of(trace)
        #: x of every lifeline.
        self.x = {host: i for i, host in enumerate(hosts)}
        #: Hosts with neighbours on both sides, such as a proxy.
        self.inner = set(hosts[1:-1])
        #: Lifelines without an address: they have entries and no sockets.
        self.middleboxes = middleboxes_of(trace)
        #: x between the outermost lifelines, and half way between them.
        self.wide = max(len(hosts) - 1, 1)
        self.middle = self.wide / 2
        #: The folded beginning, and until when it lasts.
        self.fold = first
        self.until = first.until if first else -(1 << 62)
        states = timeaxis.states(trace, first)
        #: px beside the plot: for the words beside the first lifeline and the last.
        self.left, self.right = self._columns(states)
        #: px of one unit of x in a picture of `width`, beside the widest times.
        times = _TIMES[trace.end - trace.start >= _LONG]
        self.px = (width - self.left - self.right - times) / (self.wide * (1 + 2 * EDGE))
        self._between: dict[tuple[str, str], tuple[float, float]] = {}
        #: The lines of every note, as wide as there is room.
        self.notes = {note: self._note_lines(note) for note in trace.notes}
        self.placed = place(trace, first, shown, states, lambda note: len(self.notes[note]))
        self.axis = self.placed.axis

    def _columns(self, states: list[Interval]) -> tuple[int, int]:
        """px for the longest line on the left and on the right, also of what is not drawn yet."""
        outer = {host: self.out(host) for host in self.x if host not in self.inner}
        texts: dict[int, set[str]] = {-1: {""}, 1: {""}}
        for call in self.trace.calls:
            if call.t >= self.until and (side := outer.get(call.host)):
                texts[side].update(call_lines(call))
        for interval in states:
            if side := outer.get(interval.host):
                texts[side].update(state_words(interval).split("<br>"))
        for sample in self.trace.sockets:
            if sample.timer and sample.t >= self.until and (side := outer.get(sample.host)):
                texts[side].add(f"timer: {sample.timer}")
        # The name is centred at the lifeline, and `EDGE` is at least this wide.
        beyond = dict.fromkeys(texts, 0.0)
        for host, side in outer.items():
            name = text_width(host, bold=True) + text_width(f"  {self.trace.hosts.get(host, '')}")
            beyond[side] = max(beyond[side], name / 2 - 30)
        left, right = (step(max(beyond[side], *map(text_width, texts[side])) + 8) for side in (-1, 1))
        return left, right

    def _note_lines(self, note: Note) -> list[str]:
        is_clear = note.host in self.middleboxes or not note.host or note.text.startswith(note.host)
        text = note.text if is_clear else f"{note.host}: {note.text}"
        _, room = self.between(*self.beside(note.host))
        return wrapped(text, room)

    def beside(self, host: str) -> tuple[str, str]:
        """The two neighbouring hosts between which a line about a host is written."""
        hosts = list(self.x)
        at = self.x.get(host, 0)
        if host in self.inner and host not in self.middleboxes:
            at -= 1
        at = min(at, len(hosts) - 2)
        return (hosts[at], hosts[at + 1]) if at >= 0 else (hosts[0], hosts[0]) if hosts else ("", "")

    def between(self, one: str, other: str) -> tuple[float, float]:
        """x half way between the words of two hosts, and the px between these."""
        if (one, other) not in self._between:
            self._between[one, other] = self._measured(one, other)
        return self._between[one, other]

    def _measured(self, one: str, other: str) -> tuple[float, float]:
        x0, x1 = self.x.get(one, 0), self.x.get(other, 1)
        side = 1 if x1 >= x0 else -1
        near, far = (self.wide * self.room(host) for host in (one, other))
        # An arrow beyond the next lifeline has its label before that.
        x1 = x0 + side if x1 != x0 else x1
        if abs(self.x.get(other, 1) - x0) > 1:
            far = self.wide * self.room(list(self.x)[x1])
        start, end = x0 + side * near, x1 - side * far
        return (start + end) / 2, abs(end - start) * self.px - 2 * _AIR

    def is_drawn(self, t: int) -> bool:
        """True when what happened at `t` is drawn."""
        return self.upto is None or t <= self.upto

    def bottom(self) -> float:
        """y of the last thing drawn."""
        return self.axis.height if self.upto is None else self.axis.bottom_of(self.upto)

    def out(self, host: str, peer: str = "") -> int:
        """The side of a host's text: -1 is left.

        The outer hosts have theirs outside, one in the middle on the side of its peer (an address).
        """
        if host in self.inner:
            peers = [x for name, x in self.x.items() if self.trace.hosts.get(name) == peer]
            return -1 if peers and peers[0] < self.x[host] else 1
        return -1 if self.x[host] == 0 else 1

    def x_at(self, host: str, distance: float, lane: int = 0, peer: str = "") -> float:
        """x at `distance` from a host's lifeline; the lanes of a host in the middle are on both sides."""
        if host in self.inner:
            lane = 0
        return self.x[host] + self.out(host, peer) * self.wide * distance * (1 + lane)

    def room(self, host: str) -> float:
        """How far bars reach from a lifeline to the inside, in parts of `wide`."""
        if host in self.middleboxes:
            return STATE_BAR
        return BRACKET if host in self.inner else 0


class Sides:
    """What is beside the lifelines. Draw states, then calls, then timers, which take the room left."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.colours = geometry.colours
        #: All words beside the lifelines.
        self.text = Text()
        self._taken: dict[str, list[float]] = {host: [] for host in geometry.x}
        self._peers = {
            (sample.host, sample.local.port): sample.remote.address
            for sample in geometry.trace.sockets
            if sample.host in geometry.inner and sample.remote.port
        }

    def states(self) -> list[dict[str, Any]]:
        """A thick line per state, coloured by the connection's phase, with its name."""
        geometry, placed = self.geometry, self.geometry.placed
        lines = {phase: Line() for phase in look.PHASES}
        half_open = Line()
        bottom = geometry.bottom()
        begins = {
            (interval.host, interval.lane, interval.began): y
            for interval, y in zip(placed.states, placed.changed, strict=True)
        }
        for interval, y in zip(placed.states, placed.changed, strict=True):
            if not geometry.is_drawn(interval.began) or interval.host in geometry.middleboxes:
                continue
            about = self._about(interval)
            is_half = interval.name == timeaxis.HALF_OPEN
            colour = self.colours.error if is_half else self.colours.soft
            peer = interval.sample.remote.address
            self._say(interval.host, y, state_words(interval), colour, about, peer)
            if interval.name == "CLOSED":
                continue
            next_begins = begins.get((interval.host, interval.lane, interval.ended))
            end = geometry.axis.bottom_of(interval.ended) if next_begins is None else next_begins
            x = geometry.x_at(interval.host, STATE_BAR, interval.lane, peer)
            line = half_open if is_half else lines[look.PHASE.get(interval.name, "waiting")]
            line.add(_bar(x, y, max(min(end, bottom), y + (ROW if is_half else 3))), about)
        striped = {"color": self.colours.error, "width": 9, "dash": "4px,4px"}
        return [
            *(
                line.trace(f"state: {phase}", line={"color": self.colours.states[phase], "width": 9})
                for phase, line in lines.items()
            ),
            half_open.trace("state: half open", line=striped),
        ]

    def calls(self) -> dict[str, Any]:
        """The applications' calls where they returned, with a bracket while they blocked."""
        geometry = self.geometry
        brackets = Line()
        for call, y in zip(geometry.trace.calls, geometry.placed.returned, strict=True):
            if call.host not in geometry.x or call.t < geometry.until or not geometry.is_drawn(call.t):
                continue
            colour = self.colours.error if is_error(call.result) else self.colours.ink
            lines = [escape(text, False) for text in call_lines(call)]
            peer = self._peer(call)
            self._say(call.host, y, "<br>".join(lines), colour, self._about_call(call), peer)
            began = geometry.axis.bottom_of(call.began)
            if call.began < call.t and y - began > 4:
                x = geometry.x_at(call.host, BRACKET, peer=peer)
                foot = x - geometry.out(call.host, peer) * geometry.wide * 0.006
                brackets.add([(foot, began + 1), (x, began + 1), (x, y), (foot, y)])
        return brackets.trace("blocked calls", line={"color": self.colours.soft, "width": 1})

    def timers(self) -> list[dict[str, Any]]:
        """A thin line while a timer runs, dashed by its kind; its name where there is room."""
        geometry = self.geometry
        lines = {timer: Line() for timer in look.TIMERS}
        named = set()
        bottom = geometry.bottom()
        for interval in timeaxis.timers(geometry.trace, geometry.fold):
            is_here = interval.host not in geometry.middleboxes and geometry.is_drawn(interval.began)
            if not is_here or interval.name not in lines:
                continue
            top, end = geometry.axis.y_of(interval.began), min(geometry.axis.y_of(interval.ended), bottom)
            about = f"{TIMER_TITLES[interval.name]}<br>{self._about(interval)}"
            peer = interval.sample.remote.address
            x = geometry.x_at(interval.host, TIMER_BAR, interval.lane, peer)
            lines[interval.name].add(_bar(x, top, end), about)
            if interval.host in geometry.inner:  # between two lifelines only its hover has room
                continue
            # Named where it runs first, and wherever it runs for long.
            this = (interval.host, interval.name, geometry.out(interval.host, peer))
            if this in named and interval.ended - interval.began < timeaxis.SHORTEST_GAP:
                continue
            y = self._free_row(interval, top + ROW / 2, end)
            if y is not None:
                named.add(this)
                # The retransmission timer's own colour is too light for a text.
                is_on = interval.name == "on"
                colour = self.colours.repeat if is_on else self.colours.timers[interval.name]
                self._say(interval.host, y, f"timer: {interval.name}", colour, about, peer)
        return [
            lines[timer].trace(
                f"timer: {timer}",
                line={"color": self.colours.of(mark), "width": mark.width, "dash": mark.dash},
            )
            for timer, mark in look.TIMERS.items()
        ]

    def _say(self, host: str, y: float, text: str, colour: str, hover: str, peer: str = "") -> None:
        geometry = self.geometry
        out = geometry.out(host, peer)
        above = ROW / 2 * text.count("<br>")
        self._taken[host] += [y - above, y, y + above] if above else [y]
        x = geometry.x[host] + out * geometry.wide * ASIDE
        self.text.add(x, y, text, "middle left" if out < 0 else "middle right", colour, hover)

    def _peer(self, call: Call) -> str:
        """The address of the peer of a call's socket; empty where it is not known."""
        if call.host not in self.geometry.inner:
            return ""
        return self._peers.get((call.host, call.port), "")

    def _free_row(self, interval: Interval, y: float, end: float) -> float | None:
        """The first free row of text beside a host from `y` to `end`; None where there is none.

        Between the lifelines only a gap is free of labels.
        """
        geometry, host = self.geometry, interval.host
        if host in geometry.inner:
            inside = (
                gap
                for gap in geometry.axis.gaps
                if interval.began <= gap.began and gap.ended <= interval.ended
            )
            return next((gap.middle for gap in inside if geometry.is_drawn(gap.ended)), None)
        if end - y < ROW:
            return None
        for taken in sorted(self._taken[host]):
            if y - ROW < taken < y + ROW:
                y = taken + ROW
        return y if y + ROW / 2 <= end else None

    def _about(self, interval: Interval) -> str:
        """The hover text of a bar: socket, state and times."""
        sample, start = interval.sample, self.geometry.trace.start
        began, ended = duration(interval.began - start), duration(interval.ended - start)
        when = f"{began} to {ended}" if interval.ended > interval.began else f"at {began}"
        socket = escape(f"{sample.local} ↔ {sample.remote}", False)
        if interval.gone:
            socket += f"<br>{escape(interval.gone, False)} has no such connection any more"
        return f"<b>{escape(sample.state, False)}</b> on {escape(interval.host, False)}, {when}<br>{socket}"

    def _about_call(self, call: Call) -> str:
        said = escape(f"{call.host}: {call.call} → {call.result}", False).replace("\n", "<br>")
        returned = f"returned {(call.t - self.geometry.trace.start) / 1e9:.6f} s"
        blocked = f", had blocked for {duration(call.t - call.began)}" if call.t > call.began else ""
        return f"<b>{said}</b><br>{returned}{blocked}"


def wrapped(text: str, room: float) -> list[str]:
    """A text in lines of at most `room` px."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer, bold=True) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def step(px: float) -> int:
    """px of a margin in steps: the picture keeps still while a slider moves."""
    return 20 * -(-round(px) // 20)


def state_words(interval: Interval) -> str:
    """The text beside a state's bar, in plotly's subset of HTML: one line, or two."""
    if interval.name == timeaxis.HALF_OPEN:
        return f"⚠ half-open:<br>{escape(interval.gone, False)} has gone"
    return "closed" if interval.name == "CLOSED" else escape(interval.name.replace("_", "-"), False)


def _bar(x: float, top: float, bottom: float) -> list[tuple[float, float]]:
    """A vertical line with points close enough to hover over it anywhere."""
    steps = max(int((bottom - top) / 24), 1)
    return [(x, top + (bottom - top) * i / steps) for i in range(steps + 1)]


#: Half the width of an entry's bar, in parts of the distance between the outermost lifelines.
HALF = 0.014
#: The timers of a middlebox's entry.
ENTRY_TIMERS = {"idle": MarkStyle("open"), "close": MarkStyle("repeat", "/")}


def entries(geometry: Geometry) -> list[dict[str, Any]]:
    """Outlines of all entries, and what is left of their timers; empty where there is no middlebox."""
    outlines, left = Line(), {timer: Line() for timer in ENTRY_TIMERS}
    for lane, samples in timeaxis.drawn_sockets(geometry.trace) if geometry.middleboxes else ():
        if samples[0].host in geometry.middleboxes:
            x = geometry.x[samples[0].host] + 4 * lane * HALF * geometry.wide
            for entry in _split(samples):
                _entry(geometry, x, entry, outlines, left)
    colours = geometry.colours
    outline = {"color": colours.soft, "width": 1.4}
    made = [outlines.trace("entries", fill="toself", fillcolor=colours.paper, line=outline)]
    for timer, mark in ENTRY_TIMERS.items():
        alpha = 0.35 if mark.pattern else 0.75
        area = filled(colours.of(mark), alpha, mark.pattern, size=6, solidity=0.4)
        made.append(left[timer].trace(f"timer: {timer}", line={"width": 0}, **area))
    return made


def _split(samples: list[SocketSample]) -> Iterator[list[SocketSample]]:
    """The samples of each entry, up to the one that says it is forgotten."""
    entry: list[SocketSample] = []
    for sample in samples:
        entry.append(sample)
        if sample.state == "CLOSED":
            yield entry
            entry = []
    if entry:
        yield entry


def _entry(
    geometry: Geometry, x: float, entry: list[SocketSample], outlines: Line, left: dict[str, Line]
) -> None:
    """One entry from the segment that made it to its end, or to the end of the picture."""
    first, last, axis = entry[0], entry[-1], geometry.axis
    if not geometry.is_drawn(first.t) or first.state == "CLOSED":
        return
    half = HALF * geometry.wide
    top, bottom = axis.y_of(first.t), geometry.bottom()
    is_over = last.state == "CLOSED" and geometry.is_drawn(last.t)
    if is_over:
        # The middlebox's note is in the row below.
        bottom = max(axis.y_of(last.t) - ROW / 2, top + 3)
    start = geometry.trace.start
    until = f"to {duration(last.t - start)}" if is_over else "on"
    host, ends = escape(first.host, False), escape(f"{first.local} ↔ {first.remote}", False)
    about = f"<b>entry</b> of {host}, {duration(first.t - start)} {until}<br>{ends}"
    outlines.add(rectangle(x - half, top, x + half, bottom), about)
    full = _lengths(entry)
    ends_at = [sample.t for sample in entry[1:]] + [timeaxis.last_instant(geometry.trace)]
    for sample, ended in zip(entry, ends_at, strict=True):
        if sample.due is None or sample.timer not in left or not geometry.is_drawn(sample.t):
            continue
        if geometry.upto is not None:
            ended = min(ended, geometry.upto)
        y0, y1 = axis.y_of(sample.t), min(axis.y_of(ended), bottom)
        w0, w1 = (0.8 * half * max(sample.due - t, 0) / full[sample.timer] for t in (sample.t, ended))
        runs, since = duration(sample.due - sample.t), duration(sample.t - start)
        text = f"{about}<br>{sample.timer} timer: {runs} from {since}"
        left[sample.timer].add([(x - w0, y0), (x + w0, y0), (x + w1, y1), (x - w1, y1), (x - w0, y0)], text)


def _lengths(samples: list[SocketSample]) -> dict[str, int]:
    """How long each timer runs when nothing restarts it, nanoseconds."""
    full: dict[str, int] = {}
    for sample in samples:
        if sample.due is not None:
            full[sample.timer] = max(full.get(sample.timer, 1), sample.due - sample.t)
    return full


def timer_words(trace: Trace, middlebox: str) -> str:
    """The text below a middlebox's name: ``▼ idle timer 5 min 50 s``; ``entry`` where no timer ever runs."""
    full = _lengths([sample for sample in trace.sockets if sample.host == middlebox])
    texts = (f"▼ {timer} timer {duration(full[timer])}" for timer in ENTRY_TIMERS if timer in full)
    return ", ".join(texts) or "entry"
