"""What is on a route between hosts, and how a bench talks to it: segments in, decisions out.

A middlebox keeps no clock and moves nothing. A bench passes the time (integer nanoseconds), asks
`pass_on` about each segment, calls `timer` at `next_timer`, and writes down `changed`: what the
middlebox knows of each connection, as its own table would show it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import NamedTuple

from tcplab.core.segment import ACK, RST, SYN, Endpoint, Segment

#: What a middlebox may know of a connection.
OPEN, GONE = "ESTABLISHED", "CLOSED"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a middlebox does at a moment."""

    #: The segment it was asked about goes on; False: it is dropped.
    passes: bool = False
    #: RSTs that it sends in the name of the hosts.
    resets: tuple[Segment, ...] = ()
    #: The note about it in the trace; empty where there is nothing new.
    says: str = ""


PASSES = Decision(passes=True)


class TableLine(NamedTuple):
    """One line of a middlebox's table, as a trace has it."""

    initiator: Endpoint
    responder: Endpoint
    #: `ESTABLISHED`, or `CLOSED` once it is forgotten.
    state: str
    #: The running timer's name and when it is due; empty and None when none runs.
    timer: str = ""
    due: int | None = None


@dataclass(slots=True)
class Tracked:
    """What a middlebox keeps of one connection."""

    initiator: Endpoint
    responder: Endpoint
    state: str = OPEN
    #: When it is forgotten; None = never.
    due: int | None = None
    #: A RST has ended it.
    is_reset: bool = False
    #: What each side last acknowledged.
    acked: dict[Endpoint, int] = field(default_factory=dict)
    #: What is done with its segments after it was forgotten has been noted.
    is_noted: bool = False


class Middlebox(ABC):
    """A firewall or a balancer: tracks connections and decides about their segments."""

    def __init__(self, name: str) -> None:
        #: As pictures and fates call it: `dropped_by:firewall`.
        self.name = name
        self._table: dict[frozenset[Endpoint], Tracked] = {}
        self._changed: list[TableLine] = []

    @abstractmethod
    def pass_on(self, now: int, segment: Segment) -> Decision:
        """A segment has come; whatever was due before `now` has been fired."""

    @abstractmethod
    def _forget(self, tracked: Tracked) -> Decision:
        """An entry's time is over."""

    def timer(self, now: int) -> Decision:
        """Forget what is due."""
        resets: list[Segment] = []
        says = ""
        for tracked in self._table.values():
            if tracked.due is not None and tracked.due <= now:
                tracked.state, tracked.due = GONE, None
                self._write(tracked)
                decision = self._forget(tracked)
                resets += decision.resets
                says = decision.says or says
        return Decision(resets=tuple(resets), says=says)

    def next_timer(self) -> int | None:
        """When `timer` wants to be called, or None."""
        return min((each.due for each in self._table.values() if each.due is not None), default=None)

    def changed(self) -> list[TableLine]:
        """Entries that have changed since the last call, in order."""
        out, self._changed = self._changed, []
        return out

    def _known(self, segment: Segment) -> Tracked | None:
        return self._table.get(conversation(segment))

    def _track(self, segment: Segment) -> Tracked:
        tracked = self._table[conversation(segment)] = Tracked(segment.source, segment.destination)
        return tracked

    def _write(self, tracked: Tracked) -> None:
        timer = "" if tracked.due is None else "close" if tracked.is_reset else "idle"
        self._changed.append(
            TableLine(tracked.initiator, tracked.responder, tracked.state, timer, tracked.due)
        )


def opens(segment: Segment) -> bool:
    """The first segment of a connection: SYN without ACK."""
    return segment.flags & (SYN | ACK) == SYN


def is_reset(segment: Segment) -> bool:
    """True for a RST, with or without ACK."""
    return bool(segment.flags & RST)


def conversation(segment: Segment) -> frozenset[Endpoint]:
    """The four-tuple, the same for both directions."""
    return frozenset((segment.source, segment.destination))
