"""One connection as the findings look at it: its segments, their frames, and what is known around it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tcplab.segment import ACK, FIN, RST, SYN, Endpoint, Segment, seq_diff
from tcplab.trace import SECOND, Passage

if TYPE_CHECKING:  # it needs NumPy, a story does not
    from tcplab.capture.icmp import Quote

OTHER = {"client": "server", "server": "client"}


@dataclass(frozen=True)
class Finding:
    """One thing that a capture shows, with its frames as evidence."""

    code: str
    #: Numbers in the file, from 1, as in Wireshark.
    frames: tuple[int, ...]
    #: Nanoseconds since the capture's first packet.
    t: int
    #: One sentence for a DBA.
    says: str
    facts: dict[str, Any] = field(default_factory=dict)
    #: The notebook that explains it.
    lesson: str = ""

    def to_json(self) -> dict[str, Any]:
        """As `tcplab diagnose --json` prints it: `t` in seconds since the capture's first packet."""
        return {
            "code": self.code, "frames": list(self.frames), "t": seconds(self.t), "says": self.says,
            "facts": self.facts, "lesson": self.lesson,
        }  # fmt: skip


@dataclass(frozen=True)
class Earlier:
    """The connection before, on the same four-tuple, when the capture saw its end."""

    ended: int
    frame: int
    #: True when both sides closed, so that one of them stays in TIME_WAIT.
    by_fin: bool


@dataclass(frozen=True)
class Story:
    """One connection. A place is an index of `passages` and of `frames`."""

    client: Endpoint
    server: Endpoint
    passages: list[Passage]
    frames: list[int]
    #: When the capture ends, nanoseconds since its first packet.
    end: int
    #: True when a byte of data passed.
    carried: bool
    earlier: Earlier | None = None
    #: ICMP errors that quote its segments, in order of time.
    errors: tuple[Quote, ...] = ()
    #: What was worked out once and is asked for by several findings.
    known: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def places(self, side: str = "", flags: int = 0) -> list[int]:
        """Where `side` (or either) sent a segment with all of these flags."""
        return [
            i
            for i, p in enumerate(self.passages)
            if (not side or p.sender == side) and p.segment.flags & flags == flags
        ]

    def acknowledged(self, place: int) -> int | None:
        """Where the other side first acknowledged all of the segment at this place; None: it never did."""
        mine = self.passages[place]
        end = mine.segment.end_seq
        for i in range(place + 1, len(self.passages)):
            p = self.passages[i]
            if p.sender != mine.sender and acks(p.segment) and seq_diff(p.segment.ack, end) >= 0:
                return i
        return None

    def finding(self, code: str, places: list[int], says: str, **facts: Any) -> Finding:
        """A finding that these places prove, the first of them telling when."""
        frames = tuple(self.frames[i] for i in places)
        return Finding(code, frames, self.passages[places[0]].t, says, facts)


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
    """True for a FIN that is no RST."""
    return segment.flags & (FIN | RST) == FIN


def seconds(nanoseconds: int) -> float:
    """To the millisecond, as people read them."""
    return round(nanoseconds / SECOND, 3)


def times(count: int) -> str:
    """`once`, `twice`, `5 times`."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
