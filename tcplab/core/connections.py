"""Which connection a segment belongs to, where one four-tuple carries several one after the other.

A new SYN with another sequence number, after a close, a reset or an attempt without an answer, begins the
next connection. A SYN inside a live connection does not: it draws a challenge ACK (RFC 5961 section 4.2),
and only a SYN-ACK for it shows that the old connection was dead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import TypeVar

from tcplab.core.segment import ACK, FIN, RST, SYN, Endpoint, Segment


def acks(segment: Segment) -> bool:
    """True when its ACK number says what was received: a RST's does not."""
    return segment.flags & (ACK | RST) == ACK


def opens(segment: Segment) -> bool:
    """True for a client's SYN."""
    return segment.flags & (SYN | ACK | RST) == SYN


def answers(segment: Segment) -> bool:
    """True for a SYN-ACK."""
    return segment.flags & (SYN | ACK | RST) == SYN | ACK


def closes(segment: Segment) -> bool:
    """True for a FIN without RST."""
    return segment.flags & (FIN | RST) == FIN


class Step(Enum):
    """What a segment means for the four-tuple that it belongs to."""

    #: One more segment of the connection.
    CONTINUES = 0
    #: The first segment of the next connection.
    BEGINS = 1
    #: A SYN that does not belong to the live connection it ran into.
    STRAY = 2
    #: The SYN-ACK for such a SYN: the next connection began with that SYN.
    REVIVES = 3


class ConnectionTracking:
    """Follows one four-tuple. A side is 0 or 1; which of them is the client does not matter."""

    __slots__ = ("_fins", "_isn", "_reset", "_seen", "_stray", "_went_on", "midstream", "number")

    def __init__(self) -> None:
        #: Connections so far; the current one is the last.
        self.number = 0
        #: True when the current connection was first seen without a SYN.
        self.midstream = False
        self._begin()

    def _begin(self) -> None:
        self.number += 1
        self._isn: list[int | None] = [None, None]
        self._stray: list[int | None] = [None, None]
        self._fins = self._seen = self._went_on = 0
        self._reset = False

    @property
    def ended(self) -> bool:
        """True when both sides have sent a FIN, or one a RST after which they did not go on."""
        return self._reset or self._fins == 3

    @property
    def is_live(self) -> bool:
        """True when both sides have sent, and no RST has ended it: `take` changes nothing without a flag."""
        return self._seen == 3 and not self._reset

    def take(self, side: int, segment: Segment) -> Step:
        """The next segment that `side` sent, in order of sending."""
        flags = segment.flags
        if not flags & (SYN | FIN | RST) and self._seen & (1 << side) and not self._reset:
            return Step.CONTINUES
        if not self._seen and not self._reset and self.number == 1:
            self.midstream = not flags & SYN
            self._note(side, segment)
            return Step.BEGINS
        step = Step.CONTINUES
        if flags & SYN and not flags & RST and segment.seq != self._isn[side]:
            step = self._new_syn(side, segment)
        if step is Step.BEGINS or step is Step.REVIVES:
            asked = self._stray[1 - side]
            self._begin()
            self.midstream = False
            if step is Step.REVIVES:
                self._isn[1 - side] = asked
                self._seen = 1 << (1 - side)
        if step is Step.STRAY:
            self._stray[side] = segment.seq
        else:
            self._note(side, segment)
        return step

    def _new_syn(self, side: int, segment: Segment) -> Step:
        other = 1 - side
        if segment.flags & ACK:
            asked = (segment.ack - 1) & 0xFFFFFFFF
            if asked == self._isn[other]:
                return Step.CONTINUES
            if asked == self._stray[other]:
                return Step.REVIVES
        unanswered = not self._seen & (1 << other)
        return Step.BEGINS if self.ended or unanswered else Step.STRAY

    def _note(self, side: int, segment: Segment) -> None:
        flags = segment.flags
        if flags & RST:
            self._reset = True
            self._went_on = 0
            return
        self._seen |= 1 << side
        if flags & SYN:
            self._isn[side] = segment.seq
        if flags & FIN:
            self._fins |= 1 << side
        if self._reset:
            # A RST that was ignored or challenged: both sides go on.
            self._went_on |= 1 << side
            self._reset = self._went_on != 3


#: Source and destination of a segment.
Direction = tuple[Endpoint, Endpoint]
Tracked = TypeVar("Tracked")


def side_of(
    known: dict[Direction, tuple[Tracked, int]], segment: Segment, make: Callable[[], Tracked]
) -> tuple[Tracked, int]:
    """What is known of the segment's four-tuple, made where it is new, and which of its sides sent it."""
    direction = segment.source, segment.destination
    entry = known.get(direction)
    if entry is None:
        entry = known[direction] = make(), 0
        known.setdefault((segment.destination, segment.source), (entry[0], 1))
    return entry


def number_connections(segments: Iterable[Segment]) -> list[int]:
    """For each segment, in order of sending, the number of its connection, from 0.

    Connections are numbered by their first segment.
    """
    known: dict[Direction, tuple[ConnectionTracking, int]] = {}
    strays: dict[int, list[int]] = {}
    keys: list[tuple[int, int]] = []
    for index, segment in enumerate(segments):
        tracking, side = side_of(known, segment, ConnectionTracking)
        step = tracking.take(side, segment)
        key = id(tracking), tracking.number
        keys.append(key)
        if step is Step.STRAY:
            strays.setdefault(id(tracking), []).append(index)
        elif step is not Step.CONTINUES:
            waiting = strays.pop(id(tracking), [])
            if step is Step.REVIVES:
                for stray in waiting:
                    keys[stray] = key
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return [numbers[key] for key in keys]
