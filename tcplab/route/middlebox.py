"""What stands on a route, and how a bench talks to it: segments in, decisions out.

A box keeps no clock and moves nothing. Whoever runs it says what time it is (integer
nanoseconds), asks `pass_on` about each segment, calls `timer` at `next_timer`, and writes down
`changed`: what the box knows of each connection, as one would see it in its own table.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

from tcplab.core.segment import ACK, RST, SYN, Endpoint, Segment

#: What a box may know of a connection.
OPEN, GONE = "ESTABLISHED", "CLOSED"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a box does at a moment."""

    #: The segment it was asked about goes on; False: it is thrown away.
    passes: bool = False
    #: RSTs that it sends in the name of others.
    resets: tuple[Segment, ...] = ()
    #: What it would say about that; empty where there is nothing new to say.
    says: str = ""


PASSES = Decision(passes=True)


class Entry(NamedTuple):
    """One line of a box's table."""

    initiator: Endpoint
    responder: Endpoint
    #: `ESTABLISHED`, or `CLOSED` once the box has forgotten it.
    state: str
    #: The running timer's name and when it is due; empty and None when none runs.
    timer: str = ""
    due: int | None = None


class Middlebox(ABC):
    """A firewall, a balancer: decides about segments on their way."""

    #: As pictures and fates call it: `dropped_by:firewall`.
    name: str

    def __init__(self) -> None:
        self._changed: list[Entry] = []

    @abstractmethod
    def pass_on(self, now: int, segment: Segment) -> Decision:
        """A segment has come; whatever was due before `now` has been fired."""

    @abstractmethod
    def timer(self, now: int) -> Decision:
        """Forget what is due."""

    @abstractmethod
    def next_timer(self) -> int | None:
        """When `timer` wants to be called, or None."""

    def changed(self) -> list[Entry]:
        """Entries that have changed, in order; they are handed out once."""
        out, self._changed = self._changed, []
        return out


def opens(segment: Segment) -> bool:
    """The first segment of a connection: SYN without ACK."""
    return segment.flags & (SYN | ACK) == SYN


def is_reset(segment: Segment) -> bool:
    """True for a RST, with or without ACK."""
    return bool(segment.flags & RST)


def conversation(segment: Segment) -> frozenset[Endpoint]:
    """The four-tuple, the same for both directions."""
    return frozenset((segment.source, segment.destination))
