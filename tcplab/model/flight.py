"""What is in flight: the pieces of the stream that were sent and not yet acknowledged, in their order.

Sources: net/ipv4/tcp_input.c (tcp_clean_rtx_queue, tcp_sacktag_write_queue), net/ipv4/tcp_output.c
(__tcp_retransmit_skb, tcp_retrans_try_collapse), net/ipv4/tcp_recovery.c (tcp_rack_detect_loss).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from tcplab.core.segment import FIN, PSH, SYN, after, before, seq_add, seq_diff


class Chunk:
    """A piece of the stream in flight, as it was last sent."""

    __slots__ = ("end", "flags", "length", "lost", "repeats", "sacked", "sent_at", "seq")

    def __init__(self, seq: int, length: int, flags: int, now: int) -> None:
        self.seq = seq
        self.length = length
        self.flags = flags
        self.end = seq_add(seq, length + (1 if flags & (SYN | FIN) else 0))
        self.sent_at = now
        self.repeats = 0
        self.lost = False
        self.sacked = False


class Acknowledged(NamedTuple):
    """What an acknowledgement took out of the flight."""

    #: Whole pieces; those of them that are news, which SACK had not announced; was one of them repeated?
    pieces: int
    delivered: int
    repeated: bool
    #: The first of those that were sent once and are news: when it was sent; None without one.
    sent_at: int | None


class InFlight(deque[Chunk]):
    """The pieces in flight, oldest first."""

    def acknowledge(self, ack: int) -> Acknowledged:
        """Take out what `ack` covers; of a piece that it covers in part the rest stays."""
        count, delivered, repeated, sent_at = 0, 0, False, None
        while self and not after(self[0].end, ack):
            chunk = self.popleft()
            count += 1
            delivered += not chunk.sacked
            if chunk.repeats:
                repeated = True
            elif sent_at is None and not chunk.sacked:
                sent_at = chunk.sent_at
        if self and before(self[0].seq, ack):
            self[0].length -= seq_diff(ack, self[0].seq)
            self[0].seq = ack
        return Acknowledged(count, delivered, repeated, sent_at)

    def mark_sacked(self, blocks: Sequence[tuple[int, int]]) -> list[Chunk]:
        """Note what has arrived out of order; the pieces for which that is news."""
        newly = []
        for left, right in blocks:
            for chunk in self:
                if not chunk.sacked and not before(chunk.seq, left) and not after(chunk.end, right):
                    chunk.sacked = True
                    chunk.lost = False
                    newly.append(chunk)
        return newly

    def mark_lost(self, *, everything: bool) -> None:
        """Take pieces for lost: all, or those overtaken by something that arrived."""
        latest = self._latest_arrival()
        for i, chunk in enumerate(self):
            chunk.lost = not chunk.sacked and (everything or (chunk.sent_at, i) < latest)

    @property
    def outstanding(self) -> int:
        """How many pieces may still be on their way (tcp_packets_in_flight)."""
        return sum(not (chunk.lost or chunk.sacked) for chunk in self)

    @property
    def disordered(self) -> bool:
        """Something has arrived out of order, or the first piece was repeated (tcp_try_keep_open)."""
        return bool(self) and (bool(self[0].repeats) or any(chunk.sacked for chunk in self))

    @property
    def overtaken(self) -> bool:
        """Has something arrived that was sent after a piece still missing (RACK)?"""
        latest = self._latest_arrival()
        return any(
            not chunk.sacked and not chunk.repeats and (chunk.sent_at, i) < latest
            for i, chunk in enumerate(self)
        )

    def _latest_arrival(self) -> tuple[int, int]:
        """What was sent last of all that has arrived behind a hole: when, and its place in the flight.

        Of two that were sent at the same moment it is the later one (tcp_rack_sent_after).
        """
        arrived = ((chunk.sent_at, i) for i, chunk in enumerate(self) if chunk.sacked)
        return max(arrived, default=(-1, -1))

    # -- sending again -----------------------------------------------------------------------

    def fit(self, index: int, una: int, window_end: int) -> bool:
        """Cut a piece to what the window has room for; False when that is nothing.

        The first one, at `una`, may go even into a closed window.
        """
        chunk = self[index]
        room = seq_diff(window_end, chunk.seq)
        if room <= 0:
            return chunk.seq == una
        if chunk.length > room:
            rest = Chunk(seq_add(chunk.seq, room), chunk.length - room, chunk.flags, chunk.sent_at)
            rest.lost, rest.repeats = chunk.lost, chunk.repeats
            chunk.length, chunk.end, chunk.flags = room, rest.seq, chunk.flags & ~(FIN | PSH)
            self.insert(index + 1, rest)
        return True

    def collapse(self, index: int, mss: int, window_end: int) -> None:
        """Make one segment of a short piece and those after it, a FIN included.

        Up to a full segment, the window's end or a piece that has arrived.
        """
        chunk = self[index]
        room = seq_diff(window_end, chunk.seq)
        room = min(room, mss) if room > 0 else mss
        if chunk.length >= room or chunk.sacked or chunk.flags & SYN:
            return
        while index + 1 < len(self):
            following = self[index + 1]
            together = chunk.length + following.length
            if following.sacked or together > room or after(following.end, window_end):
                return
            chunk.length, chunk.end = together, following.end
            chunk.flags |= following.flags
            chunk.repeats = max(chunk.repeats, following.repeats)
            del self[index + 1]
