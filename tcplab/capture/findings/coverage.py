"""What a capture holds of its connections: both sides, one side only, or a selection of their packets.

A capture filter, a mirror port of one direction, or an asymmetric route leaves packets out systematically.
The absence of a packet proves nothing there, so no finding that rests on an absence is kept. A packet that
the capturing host dropped by chance leaves only a small hole. The evidence is in the numbers: an ACK number
or the next sequence number counts bytes that no packet in the file carries.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tcplab.capture import FileWarning
from tcplab.capture.findings.story import ConnectionStory
from tcplab.core.connections import acks, answers, opens
from tcplab.core.segment import ACK, FIN, RST, SYN, seq_add, seq_diff
from tcplab.core.text import MILLISECOND, plural
from tcplab.follow import CLIENT, KEEPALIVE, OTHER, SERVER, WINDOW_PROBE

#: Findings that rest on absent packets, or on which side was first.
ABSENCES = frozenset({
    "unanswered_syn", "dead_peer", "idle_then_dead", "one_way", "keepalive_death", "handshake_incomplete",
    "half_closed", "ghost_suspected", "cookie_ghost_suspected",
})  # fmt: skip
#: These also depend on what the other side sent: left out of a connection with one side only.
OTHER_SIDE = frozenset({"closed_by_client", "closed_by_server", "probe_only", "reset_ignored"})
#: Bytes are missing systematically: in at least this many places, and at least this share of all bytes.
HOLES, SHARE = 3, 0.1
#: A receiver of data that sends nothing else for this long sends a bare ACK (the longest delayed ACK of
#: Linux is 200 ms, of others 500 ms); of so many segments of data, one in `SLOW` waited longer.
DELAYED, ENOUGH, SLOW = 500 * MILLISECOND, 8, 4
MASK = 0xFFFFFFFF
#: The file is taken for one-sided or filtered when this share of its connections is.
RULE = 0.5


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of one connection is in the file."""

    #: The only side in the file, though the other one answered; empty when both are there.
    only: str = ""
    #: What is missing systematically, in words; empty when nothing is.
    filtered: str = ""
    #: Packets of both sides are there.
    both: bool = True

    @property
    def is_whole(self) -> bool:
        """True when absence proves something."""
        return not (self.only or self.filtered)

    @property
    def hidden(self) -> frozenset[str]:
        """Codes that are left out of this connection."""
        none: frozenset[str] = frozenset()
        return none if self.is_whole else ABSENCES | OTHER_SIDE if self.only else ABSENCES

    def warning(self) -> FileWarning | None:
        """The warning for this connection; None when all of it is in the file."""
        if self.only:
            return FileWarning(
                "one_sided",
                f"This capture holds only what the {self.only} sent, and its ACK numbers show that the "
                f"{OTHER[self.only]} answered: the absence of answers proves nothing.",
            )
        if self.filtered:
            return FileWarning(
                "filtered",
                f"The capture holds only some of this connection's packets: {self.filtered}. The absence of "
                "packets proves nothing.",
            )
        return None


@dataclass(slots=True)
class _Bytes:
    """The bytes of one direction: how many were captured, and the holes between them."""

    nxt: int | None = None
    seen: int = 0
    #: Open holes, in numbers without the wrap at 32 bits: beginnings and ends, both in order.
    low: list[int] = field(default_factory=list)
    high: list[int] = field(default_factory=list)

    def carry(self, seq: int, end: int) -> None:
        """A segment in the file."""
        if self.nxt is None:
            self.nxt = seq
        if self.nxt & MASK == seq:  # the usual case
            size = (end - seq) & MASK
            self.seen += size
            self.nxt += size
            return
        begin, stop = (self.nxt + seq_diff(each, self.nxt & MASK) for each in (seq, end))
        self.reach(seq)
        assert self.nxt is not None
        self.seen += max(stop - max(begin, self.nxt), 0)
        if begin < self.nxt and self.low:
            self._fill(begin, min(stop, self.nxt))
        self.nxt = max(self.nxt, stop)

    def reach(self, number: int) -> None:
        """Note that all before `number` was sent: an ACK number or a later segment shows it."""
        if self.nxt is None:
            self.nxt = number
        if self.nxt & MASK == number:
            return
        at = self.nxt + seq_diff(number, self.nxt & MASK)
        if self.nxt < at < self.nxt + (1 << 30):
            self.low.append(self.nxt)
            self.high.append(at)
            self.nxt = at

    def _fill(self, begin: int, stop: int) -> None:
        first = bisect_right(self.high, begin)
        last = bisect_right(self.low, stop - 1)
        if first >= last:
            return
        low, high = self.low[first:last], self.high[first:last]
        rest = [(low[0], begin), (stop, high[-1])]
        kept = [(a, b) for a, b in rest if a < b]
        self.seen += min(high[-1], stop) - max(low[0], begin)
        self.low[first:last], self.high[first:last] = [a for a, _ in kept], [b for _, b in kept]

    def forgive_fin(self) -> None:
        """Take back the one number that acknowledges a FIN outside the file: it is no data."""
        if self.low and self.high[-1] == self.nxt and self.high[-1] - self.low[-1] == 1:
            self.low.pop()
            self.high.pop()

    @property
    def holes(self) -> int:
        """The number of places where bytes are missing."""
        return len(self.low)

    @property
    def missing(self) -> int:
        """The number of bytes that are not in the file."""
        return sum(self.high) - sum(self.low)


def coverage(story: ConnectionStory) -> Coverage:
    """How much of a connection is in the file, as its sequence and ACK numbers show."""
    sides = [side for side in OTHER if story.places(side)]
    if len(sides) == 1:
        return Coverage(only=sides[0] if _is_answered(story, sides[0]) else "", both=False)
    parts = [*_missing_bytes(story), *_missing_acks(story)]
    return Coverage(filtered=", and ".join(parts))


def _is_answered(story: ConnectionStory, side: str) -> bool:
    """Whether the only side in the file acknowledges anything from the other one."""
    segments = [story.packets[i].segment for i in story.places(side)]
    if side == SERVER and any(answers(s) for s in segments):
        return True  # a SYN that is not in the file
    if side == CLIENT and any(opens(s) for s in segments):
        return any(acks(s) for s in segments)
    numbers = [s.ack for s in segments if acks(s)]
    return any(seq_diff(later, one) > 1 for one, later in pairwise(numbers))


def _missing_bytes(story: ConnectionStory) -> Iterator[str]:
    of = {side: _Bytes() for side in OTHER}
    isn: dict[str, int] = {}
    last, has_data = len(story.packets) - 1, False
    stale = story.stale_half
    for i, p in enumerate(story.packets):
        s, mine, theirs = p.segment, of[p.sender], of[OTHER[p.sender]]
        if not p.kind and not s.flags & (RST | SYN | FIN) and not stale:  # the usual case
            length = s.length
            has_data = has_data or length > 0
            if mine.nxt is not None and mine.nxt & MASK == s.seq:
                mine.seen += length
                mine.nxt += length
            else:
                mine.carry(s.seq, s.end_seq)
            if s.flags & ACK and (theirs.nxt is None or theirs.nxt & MASK != s.ack):
                theirs.reach(s.ack)
            continue
        if i in stale and not s.flags & SYN:
            continue  # its numbers belong to an older connection
        if s.flags & RST:
            if i == last and not has_data and mine.nxt is not None:
                mine.reach(s.seq)
            continue
        if s.flags & SYN:
            if s.seq != isn.get(p.sender):
                isn[p.sender], of[p.sender] = s.seq, _Bytes(s.end_seq)
        elif p.kind == KEEPALIVE:
            mine.reach(seq_add(s.seq, 1))
        elif p.kind != WINDOW_PROBE:
            has_data = has_data or bool(s.length)
            mine.carry(s.seq, s.end_seq)
        if acks(s):
            theirs.reach(s.ack)
    for each in of.values():
        each.forgive_fin()
    both = of.values()
    holes, missing = sum(each.holes for each in both), sum(each.missing for each in both)
    seen = sum(each.seen for each in both)
    if missing > 0 and (not has_data or (holes >= HOLES and missing >= SHARE * (missing + seen))):
        yield f"{plural(missing, 'byte')} of data that the sequence and ACK numbers count are missing"


def _missing_acks(story: ConnectionStory) -> Iterator[str]:
    """Bare ACKs are missing: the file has none, though data waited so long that some must have been sent."""
    data, waited = 0, 0
    asked: dict[str, int] = {}
    for p in story.packets:
        s = p.segment
        if s.flags & (RST | SYN):
            continue
        if not s.length and not s.flags & FIN:
            return
        since = asked.pop(OTHER[p.sender], None)
        waited += since is not None and p.t - since > DELAYED
        if s.length:
            data += 1
            asked.setdefault(p.sender, p.t)
    if data >= ENOUGH and waited * SLOW >= data:
        yield "every bare ACK is missing"


def file_warnings(name: str, parts: Sequence[Coverage]) -> list[FileWarning]:
    """Warnings about the whole file, from all of its connections."""
    warnings = []
    one, some = (sum(bool(getattr(each, what)) for each in parts) for what in ("only", "filtered"))
    among = f"{plural(len(parts), 'connection')}"
    if one:
        sides = {each.only for each in parts if each.only}
        seen = f"the {sides.pop()}" if len(sides) == 1 else "one side"
        warnings.append(FileWarning(
            "one_sided",
            f"{name} holds only what {seen} sent of {one:,} of {among}, although the other side answered: a "
            "mirror port of one direction, an asymmetric route, or a capture filter. The absence of packets "
            "proves nothing there.",
        ))  # fmt: skip
    if some:
        what = next(each.filtered for each in parts if each.filtered)
        warnings.append(FileWarning(
            "filtered",
            f"{name} holds only some of the packets of {some:,} of {among} ({what}), most likely because "
            "of a capture filter. The absence of packets proves nothing there.",
        ))  # fmt: skip
    return warnings


def by_rule(parts: Sequence[Coverage]) -> frozenset[str]:
    """Codes that are left out of every connection, since most of them lack packets.

    A one-sided connection without a sign of an answer is not counted: its peer may really be silent.
    """
    part = sum(not each.is_whole for each in parts)
    whole = sum(each.both and each.is_whole for each in parts)
    return ABSENCES if part and part >= RULE * (part + whole) else frozenset()
