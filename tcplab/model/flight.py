"""Data in flight: the pieces of the stream that were sent and not yet acknowledged, in order.

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
    """What an acknowledgement removed from the data in flight."""

    #: Whole pieces; those that SACK had not acknowledged before; whether one of them was retransmitted.
    pieces: int
    delivered: int
    repeated: bool
    #: When the first newly acknowledged piece that was sent once was sent; None without one.
    sent_at: int | None


class InFlight(deque[Chunk]):
    """The pieces in flight, oldest first."""

    def acknowledge(self, ack: int) -> Acknowledged:
        """Remove what `ack` covers; the rest of a partly covered piece stays."""
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
        """Mark pieces that arrived out of order; returns those that were not marked before."""
        newly = []
        for left, right in blocks:
            for chunk in self:
                if not chunk.sacked and not before(chunk.seq, left) and not after(chunk.end, right):
                    chunk.sacked = True
                    chunk.lost = False
                    newly.append(chunk)
        return newly

    def mark_lost(self, sent_until: int | None = None) -> None:
        """Mark pieces as lost: all, or those sent until then that a later one has overtaken."""
        latest = self._latest_arrival()
        for i, chunk in enumerate(self):
            overtaken = sent_until is None or (chunk.sent_at <= sent_until and (chunk.sent_at, i) < latest)
            chunk.lost = not chunk.sacked and overtaken

    @property
    def outstanding(self) -> int:
        """How many pieces may still be in flight (tcp_packets_in_flight)."""
        return sum(not (chunk.lost or chunk.sacked) for chunk in self)

    @property
    def disordered(self) -> bool:
        """Data has arrived out of order, or the first piece was retransmitted (tcp_try_keep_open)."""
        return bool(self) and (bool(self[0].repeats) or any(chunk.sacked for chunk in self))

    @property
    def overtaken(self) -> list[Chunk]:
        """Pieces still missing although data sent after them has arrived (RACK)."""
        latest = self._latest_arrival()
        return [
            chunk
            for i, chunk in enumerate(self)
            if not chunk.sacked and not chunk.repeats and (chunk.sent_at, i) < latest
        ]

    def _latest_arrival(self) -> tuple[int, int]:
        """The most recently sent piece that has arrived beyond a hole: when it was sent, and its index.

        Of two that were sent at the same moment, the later one counts (tcp_rack_sent_after).
        """
        arrived = ((chunk.sent_at, i) for i, chunk in enumerate(self) if chunk.sacked)
        return max(arrived, default=(-1, -1))

    # -- retransmitting ----------------------------------------------------------------------

    def fit(self, index: int, una: int, window_end: int) -> bool:
        """Cut a piece to the room in the window; False when there is none.

        The first one, at `una`, may be sent even into a closed window.
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
        """Combine a short piece and those after it, including a FIN, into one segment.

        Stops at a full segment, the window's end or a piece that has arrived.
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
