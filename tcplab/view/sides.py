"""What stands beside the lifelines of a ladder: states, running timers, and the applications' calls."""

from __future__ import annotations

from html import escape
from typing import Any

from tcplab.trace import Call, duration
from tcplab.view import theme as look
from tcplab.view.frame import ASIDE, BRACKET, STATE_BAR, TIMER_BAR, Frame
from tcplab.view.marks import Line, Text
from tcplab.view.states import HALF_OPEN, Stretch, timers
from tcplab.view.timeaxis import ROW, SILENCE
from tcplab.view.words import call_lines, is_error


class Sides:
    """Both outer sides of one ladder; draw states, then calls, then timers, which take what room is left."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.colours = frame.colours
        #: All words beside the lifelines.
        self.text = Text()
        self._taken: dict[str, list[float]] = {host: [] for host in frame.hosts}
        self._peers = {
            (sample.host, sample.local.port): sample.remote.address
            for sample in frame.trace.sockets
            if sample.host in frame.inner and sample.remote.port
        }

    def columns(self) -> tuple[int, int]:
        """Characters of the longest line on the left and on the right, of what is not shown yet too."""
        frame = self.frame
        outer = {host: frame.out(host) for host in frame.x if host not in frame.inner}
        calls = [call for call in frame.trace.calls if call.host in outer]
        said = [(call.host, max(map(len, call_lines(call)))) for call in calls]
        said += [
            (stretch.host, max(len("timer: keepalive"), len(_state_words(stretch))))
            for stretch in frame.placed.states
            if stretch.host in outer
        ]
        left = max((n for host, n in said if outer[host] < 0), default=0)
        return left, max((n for host, n in said if outer[host] > 0), default=0)

    def states(self) -> list[dict[str, Any]]:
        """A thick line per state, coloured by the connection's phase, with its name."""
        frame, placed = self.frame, self.frame.placed
        lines = {phase: Line() for phase in look.PHASES}
        half_open = Line()
        bottom = frame.bottom()
        begins = {
            (stretch.host, stretch.lane, stretch.began): y
            for stretch, y in zip(placed.states, placed.changed, strict=True)
        }
        for stretch, y in zip(placed.states, placed.changed, strict=True):
            if not frame.shown(stretch.began) or stretch.host in frame.boxes:
                continue
            about = self._about(stretch)
            is_half = stretch.name == HALF_OPEN
            colour = self.colours.error if is_half else self.colours.soft
            peer = stretch.sample.remote.address
            self._say(stretch.host, y, escape(_state_words(stretch), False), colour, about, peer)
            if stretch.name == "CLOSED":
                continue
            next_begins = begins.get((stretch.host, stretch.lane, stretch.ended))
            end = frame.axis.bottom_of(stretch.ended) if next_begins is None else next_begins
            x = frame.beside(stretch.host, STATE_BAR, stretch.lane, peer)
            line = half_open if is_half else lines[look.PHASE.get(stretch.name, "waiting")]
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
        """What the applications called, where it returned; a bracket while it blocked."""
        frame = self.frame
        brackets = Line()
        for call, y in zip(frame.trace.calls, frame.placed.returned, strict=True):
            if call.host not in frame.x or not frame.shown(call.t):
                continue
            colour = self.colours.error if is_error(call.result) else self.colours.ink
            lines = [escape(text, False) for text in call_lines(call)]
            peer = self._peer(call)
            self._say(call.host, y, "<br>".join(lines), colour, self._about_call(call), peer)
            began = frame.axis.bottom_of(call.began)
            if call.began < call.t and y - began > 4:
                x = frame.beside(call.host, BRACKET, peer=peer)
                foot = x - frame.out(call.host, peer) * frame.wide * 0.006
                brackets.add([(foot, began + 1), (x, began + 1), (x, y), (foot, y)])
        return brackets.trace("blocked calls", line={"color": self.colours.soft, "width": 1})

    def timers(self) -> list[dict[str, Any]]:
        """A thin line while a timer runs, dashed by its kind; its name where there is room."""
        frame = self.frame
        lines = {timer: Line() for timer in look.TIMERS}
        named = set()
        bottom = frame.bottom()
        for stretch in timers(frame.trace):
            is_box = stretch.host in frame.boxes
            if is_box or not frame.shown(stretch.began) or stretch.name not in lines:
                continue
            top, end = frame.axis.y_of(stretch.began), min(frame.axis.y_of(stretch.ended), bottom)
            about = f"{look.TIMERS[stretch.name][1]}<br>{self._about(stretch)}"
            peer = stretch.sample.remote.address
            x = frame.beside(stretch.host, TIMER_BAR, stretch.lane, peer)
            lines[stretch.name].add(_bar(x, top, end), about)
            # Named where it runs first, and wherever it runs for long.
            this = (stretch.host, stretch.name, frame.out(stretch.host, peer))
            if this in named and stretch.ended - stretch.began < SILENCE:
                continue
            y = self._room(stretch, top + ROW / 2, end)
            if y is not None:
                named.add(this)
                colour = self.colours.timers[stretch.name]
                self._say(stretch.host, y, f"timer: {stretch.name}", colour, about, peer)
        return [
            lines[timer].trace(
                f"timer: {timer}", line={"color": self.colours.timers[timer], "width": 3, "dash": dash}
            )
            for timer, (dash, _) in look.TIMERS.items()
        ]

    def _say(self, host: str, y: float, text: str, colour: str, hover: str, peer: str = "") -> None:
        frame = self.frame
        out = frame.out(host, peer)
        above = ROW / 2 * text.count("<br>")
        self._taken[host] += [y - above, y, y + above] if above else [y]
        x = frame.x[host] + out * frame.wide * ASIDE
        self.text.add(x, y, text, "middle left" if out < 0 else "middle right", colour, hover)

    def _peer(self, call: Call) -> str:
        """With whom the socket of a call speaks, by address; empty where that is not known."""
        if call.host not in self.frame.inner:
            return ""
        return self._peers.get((call.host, call.port), "")

    def _room(self, stretch: Stretch, y: float, end: float) -> float | None:
        """The first free row of text beside a host from `y` to `end`; None where there is none.

        Between the lifelines only a silence is free of labels.
        """
        frame, host = self.frame, stretch.host
        if host in frame.inner:
            silences = (
                s for s in frame.axis.silences if stretch.began <= s.began and s.ended <= stretch.ended
            )
            return next(((s.top + s.bottom - ROW / 2) / 2 for s in silences if frame.shown(s.ended)), None)
        if end - y < ROW:
            return None
        for taken in sorted(self._taken[host]):
            if y - ROW < taken < y + ROW:
                y = taken + ROW
        return y if y + ROW / 2 <= end else None

    def _about(self, stretch: Stretch) -> str:
        """For hovering over a bar: which socket, which state, from when to when."""
        sample, start = stretch.sample, self.frame.trace.start
        began, ended = duration(stretch.began - start), duration(stretch.ended - start)
        when = f"{began} to {ended}" if stretch.ended > stretch.began else f"at {began}"
        socket = escape(f"{sample.local} ↔ {sample.remote}", False)
        if stretch.gone:
            socket += f"<br>{escape(stretch.gone, False)} has no such connection any more"
        return f"<b>{escape(sample.state, False)}</b> on {escape(stretch.host, False)}, {when}<br>{socket}"

    def _about_call(self, call: Call) -> str:
        said = escape(f"{call.host}: {call.call} → {call.result}", False).replace("\n", "<br>")
        returned = f"returned {(call.t - self.frame.trace.start) / 1e9:.6f} s"
        blocked = f", had blocked for {duration(call.t - call.began)}" if call.t > call.began else ""
        return f"<b>{said}</b><br>{returned}{blocked}"


def _state_words(stretch: Stretch) -> str:
    """A state as it stands beside its bar."""
    if stretch.name == HALF_OPEN:
        return f"⚠ half-open: {stretch.gone} has gone"
    return "closed" if stretch.name == "CLOSED" else stretch.name.replace("_", "-")


def _bar(x: float, top: float, bottom: float) -> list[tuple[float, float]]:
    """A vertical line with points close enough to hover over it anywhere."""
    steps = max(int((bottom - top) / 24), 1)
    return [(x, top + (bottom - top) * i / steps) for i in range(steps + 1)]
