"""A trace read for comparison: what of it counts, one thing after the other, in words.

The rule stands in `agreement.py`, which compares two of these; a picture of both uses it too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tcplab.incarnations import incarnations
from tcplab.segment import ACK, FIN, PSH, RST, SYN, flag_letters
from tcplab.trace import MILLISECOND, SECOND, Call, Passage, Relative, Trace

#: An ACK sent this soon after something came in is its answer.
AT_ONCE = 5 * MILLISECOND

_PROBES = ("keepalive", "window_probe")


@dataclass(frozen=True)
class Scope:
    """What of a run is compared; all of it unless an experiment knows better."""

    #: Segments and calls from here on count, their times from here; None = from the first segment.
    since: int | None = None
    #: And before this, nanoseconds.
    until: int | None = None
    #: Names of the outcomes that are compared; None = all.
    outcomes: tuple[str, ...] | None = None


WHOLE = Scope()


@dataclass(frozen=True)
class Event:
    """One thing to be compared: what it is, when it was sent, in which passages of its trace."""

    t: float
    says: str
    passages: tuple[int, ...] = ()


class Witness:
    """One trace, read for comparison within its scope."""

    def __init__(self, trace: Trace, scope: Scope) -> None:
        self.trace, self.scope = trace, scope
        self.since = trace.start if scope.since is None else scope.since
        self.until = trace.end + 1 if scope.until is None else scope.until
        self.begins = scope.since is not None
        #: Every passage's connection, counted from 0 by their first segments.
        self.connection = incarnations(passage.segment for passage in trace.passages)
        self.numbers = self._numbers()

    def _numbers(self) -> list[Relative]:
        """Relative numbers; in a scope that begins later, counted from what was sent before it."""
        relative = self.trace.relative()
        if not self.begins:
            return relative
        sent: dict[tuple[int, str], int] = {}
        out = []
        for passage, number, n in zip(self.trace.passages, relative, self.connection, strict=True):
            ours, theirs = (n, passage.sender), (n, passage.receiver)
            if passage.t < self.since and passage.segment.length:
                sent[ours] = max(sent.get(ours, 0), number.seq + passage.segment.length)
            out.append((number, ours, theirs))
        return [
            Relative(number.seq - sent.get(ours, 0), number.ack - sent.get(theirs, 0))
            for number, ours, theirs in out
        ]

    def seconds(self, t: int) -> float:
        """A moment within the scope."""
        return max(0, t - self.since) / SECOND

    def within(self, t: int) -> bool:
        """What happened before the first segment (listen()) counts where all counts."""
        return t < self.until and (t >= self.since or not self.begins)

    def calls(self, host: str) -> dict[str, list[Event]]:
        """What a host's programs called, in order of return, by connection.

        A call on the side that was connected to doesn't tell its connection, only the listener's
        port. Where there are several, such calls are kept apart by what was called: which of two
        programs gets its turn first is chance, when each of them is served is not.
        """
        opened: dict[int, list[tuple[int, int]]] = {}
        accepted = set()
        for n, (t, opener, port) in enumerate(self._begun()):
            if opener == host:
                opened.setdefault(port, []).append((t, n))
            else:
                accepted.add(n)
        found: dict[str, list[Event]] = {}
        for call in self.trace.calls:
            if call.host != host or not self.within(call.t):
                continue
            verb = call.call.partition("(")[0]
            mine = _connection_of(verb, call, opened.get(call.port, []))
            where = f"{verb}()" if len(accepted) > 1 and mine is None else ""
            if mine is not None and max(self.connection) > 0:
                where = f"connection {mine + 1}"
            event = Event(self.trace.seconds(call.t), f"{call.call} -> {call.result}")
            found.setdefault(where, []).append(event)
        return found

    def bursts(self) -> list[list[int]]:
        """Connections that begin at once, together."""
        found: list[list[int]] = []
        last = 0
        for n, (t, _, _) in enumerate(self._begun()):
            if not found or t - last > AT_ONCE:
                found.append([])
            found[-1].append(n)
            last = t
        return found

    def _begun(self) -> list[tuple[int, str, int]]:
        """Every connection's first segment: when, from which host and port."""
        begun: dict[int, tuple[int, str, int]] = {}
        for passage, n in zip(self.trace.passages, self.connection, strict=True):
            begun.setdefault(n, (passage.t, passage.sender, passage.segment.source.port))
        return [begun[n] for n in sorted(begun)]

    def segments(self, sender: str, receiver: str) -> dict[int, list[Event]]:
        """What is compared of one direction, by connection; payload without a gap is one range of bytes."""
        ways: dict[int, list[int]] = {}
        for i, (passage, n) in enumerate(zip(self.trace.passages, self.connection, strict=True)):
            if passage.sender == sender and passage.receiver == receiver:
                ways.setdefault(n, []).append(i)
        found = {n: list(self._events(indices)) for n, indices in ways.items()}
        return {n: events for n, events in found.items() if events}

    def _events(self, indices: list[int]) -> Iterator[Event]:
        """One direction of one connection: the passages at these places of the trace."""
        last_ack: int | None = None
        payload: _Payload | None = None
        for i in indices:
            passage, relative = self.trace.passages[i], self.numbers[i]
            segment, flags = passage.segment, passage.segment.flags & ~PSH
            repeats = flags == ACK and last_ack == relative.ack
            last_ack = relative.ack if flags & ACK else last_ack
            if not self.within(passage.t):
                continue
            t = self.seconds(passage.t)
            is_new_data = bool(segment.length) and not passage.kind and not flags & (SYN | FIN | RST)
            if is_new_data:
                end = relative.seq + segment.length
                if payload is not None and payload.end == relative.seq:
                    payload = replace(payload, end=end, passages=(*payload.passages, i))
                    continue
                if payload is not None:
                    yield payload.event()
                payload = _Payload(t, relative.seq, end, (i,))
                continue
            said = self._in_words(passage, relative, flags, repeats)
            if said is not None:
                if payload is not None:
                    yield payload.event()
                    payload = None
                yield Event(t, said, (i,))
        if payload is not None:
            yield payload.event()

    def _in_words(self, passage: Passage, relative: Relative, flags: int, repeats: bool) -> str | None:
        """A segment other than new payload; None where only its effect counts."""
        segment = passage.segment
        if passage.kind in _PROBES:
            return f"{passage.kind.replace('_', ' ')} seq {relative.seq}"
        if segment.length or flags & (SYN | FIN | RST):
            ack = f" ack {relative.ack}" if flags & ACK else ""
            length = f" len {segment.length}" if segment.length else ""
            again = " again" if passage.kind == "retransmission" else ""
            return f"{flag_letters(flags)} seq {relative.seq}{ack}{length}{again}"
        if repeats and self._answers(passage):
            return f"ACK {relative.ack} again" + ("" if segment.window else ", window zero")
        return None

    def _answers(self, ack: Passage) -> bool:
        """Was this ACK, which acknowledges nothing new, sent because something had come in?

        A window update says nothing new either; it follows a call of the application instead.
        """
        return any(
            other.receiver == ack.sender
            and other.arrives is not None
            and 0 <= ack.t - other.arrives <= AT_ONCE
            for other in self.trace.passages
        )

    def last_acks(self, sender: str, receiver: str) -> dict[int, int]:
        """The last thing acknowledged in one direction, by connection."""
        said = {}
        for passage, relative, n in zip(self.trace.passages, self.numbers, self.connection, strict=True):
            sent = passage.sender == sender and passage.receiver == receiver
            if sent and passage.segment.flags & ACK and passage.t < self.until:
                said[n] = relative.ack
        return said


def _connection_of(verb: str, call: Call, begun: list[tuple[int, int]]) -> int | None:
    """Which of the connections from its port, (begun, number) in order, a call belongs to; None: to none.

    A connect() that failed before its SYN has none, nor has a bind() that no connection came of.
    """
    if verb == "bind":
        return next((n for t, n in begun if t >= call.began), None)
    since = call.began if verb == "connect" else 0
    return next((n for t, n in reversed(begun) if since <= t <= call.t), None)


@dataclass(frozen=True)
class _Payload:
    """A range of bytes, however it was cut into segments."""

    t: float
    begin: int
    end: int
    passages: tuple[int, ...]

    def event(self) -> Event:
        return Event(self.t, f"bytes {self.begin} to {self.end}", self.passages)
