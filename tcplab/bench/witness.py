"""A trace read for comparison: what of it counts, one thing after the other, in words.

The rule stands in `agreement.py`, which compares two of these; a picture of both uses it too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tcplab.segment import ACK, FIN, PSH, RST, SYN, flag_letters
from tcplab.trace import MILLISECOND, SECOND, Passage, Relative, Trace

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
        self.numbers = self._numbers()

    def _numbers(self) -> list[Relative]:
        """Relative numbers; in a scope that begins later, counted from what was sent before it."""
        relative = self.trace.relative()
        if not self.begins:
            return relative
        sent = dict.fromkeys(self.trace.hosts, 0)
        for passage, number in zip(self.trace.passages, relative, strict=True):
            if passage.t < self.since and passage.segment.length:
                sent[passage.sender] = max(sent[passage.sender], number.seq + passage.segment.length)
        return [
            Relative(number.seq - sent[passage.sender], number.ack - sent[passage.receiver])
            for passage, number in zip(self.trace.passages, relative, strict=True)
        ]

    def seconds(self, t: int) -> float:
        """A moment within the scope."""
        return max(0, t - self.since) / SECOND

    def within(self, t: int) -> bool:
        """What happened before the first segment (listen()) counts where all counts."""
        return t < self.until and (t >= self.since or not self.begins)

    def calls(self, host: str) -> Iterator[Event]:
        """What a host's programs called, in order of return."""
        for call in self.trace.calls:
            if call.host == host and self.within(call.t):
                yield Event(self.trace.seconds(call.t), f"{call.call} -> {call.result}")

    def segments(self, sender: str, receiver: str) -> Iterator[Event]:
        """What is compared of one direction; payload without a gap is one range of bytes."""
        last_ack: int | None = None
        payload: _Payload | None = None
        for i, (passage, relative) in enumerate(zip(self.trace.passages, self.numbers, strict=True)):
            if passage.sender != sender or passage.receiver != receiver:
                continue
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

    def last_ack(self, sender: str, receiver: str) -> int | None:
        """The highest thing acknowledged in one direction by the end."""
        said = None
        for passage, relative in zip(self.trace.passages, self.numbers, strict=True):
            sent = passage.sender == sender and passage.receiver == receiver
            if sent and passage.segment.flags & ACK and passage.t < self.until:
                said = relative.ack
        return said


@dataclass(frozen=True)
class _Payload:
    """A range of bytes, however it was cut into segments."""

    t: float
    begin: int
    end: int
    passages: tuple[int, ...]

    def event(self) -> Event:
        return Event(self.t, f"bytes {self.begin} to {self.end}", self.passages)
