"""Telling apart the connections that one four-tuple carries one after the other.

A new SYN with another sequence number, after a close, a reset or an attempt that nobody
answered, begins the next connection. A SYN inside a live connection does not: it draws a
challenge ACK (RFC 5961 section 4.2), and only a SYN-ACK for it shows that the old connection
was dead after all.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from tcplab.segment import ACK, FIN, RST, SYN, Endpoint, Segment


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


class FourTuple:
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

    def take(self, side: int, segment: Segment) -> Step:
        """The next segment that `side` sent, in order of sending."""
        flags = segment.flags
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
            # A RST that was ignored or challenged: both sides talk on.
            self._went_on |= 1 << side
            self._reset = self._went_on != 3


def incarnations(segments: Iterable[Segment]) -> list[int]:
    """For each segment, in order of sending, the number of its connection, from 0.

    Connections are numbered by their first segment.
    """
    tuples: dict[tuple[Endpoint, Endpoint], tuple[FourTuple, int]] = {}
    numbers: dict[tuple[int, int], int] = {}
    strays: dict[int, list[int]] = {}
    keys: list[tuple[int, int]] = []
    for index, segment in enumerate(segments):
        way = (segment.source, segment.destination)
        if way not in tuples:
            fresh = FourTuple()
            tuples[way] = fresh, 0
            tuples.setdefault((segment.destination, segment.source), (fresh, 1))
        follower, side = tuples[way]
        step = follower.take(side, segment)
        key = id(follower), follower.number
        keys.append(key)
        if step is Step.STRAY:
            strays.setdefault(id(follower), []).append(index)
        elif step is not Step.CONTINUES:
            waiting = strays.pop(id(follower), [])
            if step is Step.REVIVES:
                for stray in waiting:
                    keys[stray] = key
    for key in keys:
        numbers.setdefault(key, len(numbers))
    return [numbers[key] for key in keys]
