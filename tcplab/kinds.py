"""What kind of segment it is where the flags don't tell: retransmission, keepalive, window probe.

Read from the segments alone, with the same rule for the model, Linux and a capture. Per
connection and direction one number is followed, SND.NXT: the highest sequence number sent
(RFC 9293 section 3.3.1).

- A **retransmission** carries SYN, FIN or payload that lies before SND.NXT. TCP sends in order,
  so that all of it was sent before, even where a capture missed it.
- A **keepalive** probe is at SND.NXT-1 with 0 or 1 byte (RFC 9293 section 3.8.4; Linux sends 0,
  net/ipv4/tcp_output.c:tcp_xmit_probe_skb). A single byte that is still unacknowledged is data
  sent again, since nobody probes a connection with data in flight.
- A **window probe** looks the same, but answers a closed window. Other systems than Linux probe
  with one new byte instead (RFC 9293 section 3.8.6.1).

What a host knows of its peer is what has arrived there: a window that is still on its way, or
was lost, or stood in a RST or in a probe (which a receiver throws away), counts for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush
from operator import attrgetter

from tcplab.incarnations import FourTuple, Step
from tcplab.segment import ACK, FIN, RST, SYN, Endpoint, Segment, seq_diff
from tcplab.trace import MILLISECOND, Passage

RETRANSMISSION, KEEPALIVE, WINDOW_PROBE = "retransmission", "keepalive", "window_probe"

#: A segment that a capture sees this much late was overtaken on its way; later it was sent again.
#: Wireshark's threshold (epan/dissectors/packet-tcp.c) where it knows no round-trip time.
OVERTAKEN = 3 * MILLISECOND


class _Sender:
    """One direction: what this side has sent, and what of the other side has arrived here."""

    __slots__ = ("_arriving", "_gaps", "_isn", "_undecided", "acked", "nxt", "stray", "window")

    def __init__(self, isn: int | None = None) -> None:
        #: SND.NXT; None before anything is known.
        self.nxt = None if isn is None else (isn + 1) & 0xFFFFFFFF
        self._isn = isn
        #: A SYN of this side that ran into a live connection.
        self.stray: int | None = None
        #: The peer's window and ACK as far as they have arrived; None before the first.
        self.window: int | None = None
        self.acked: int | None = None
        self._arriving: list[tuple[int, int, int, int | None]] = []
        #: Bytes that were skipped, with the moment: a capture's loss, or packets out of order.
        self._gaps: list[tuple[int, int, int]] = []
        #: Bare ACKs of a connection first seen midstream, until it is known whether their
        #: sequence number was SND.NXT or one less, with the kind they would then have.
        self._undecided: list[tuple[Passage, str]] | None = [] if isn is None else None

    @property
    def synchronized(self) -> bool:
        """True when this side's SYN was seen."""
        return self._isn is not None

    def hear(self, arrives: int, order: int, segment: Segment) -> None:
        """A segment of the peer is going to arrive here."""
        ack = segment.ack if segment.flags & ACK else None
        heappush(self._arriving, (arrives, order, segment.window, ack))

    def catch_up(self, now: int) -> None:
        """Take what has arrived by `now`."""
        arriving = self._arriving
        while arriving and arriving[0][0] <= now:
            _, _, self.window, ack = heappop(arriving)
            if ack is not None and (self.acked is None or seq_diff(ack, self.acked) > 0):
                self.acked = ack

    def acknowledged(self, ack: int, now: int) -> None:
        """The peer has seen all before `ack`: so much was sent, whether or not it was captured."""
        if self.nxt is None:
            self.nxt = ack
        elif 0 < seq_diff(ack, self.nxt) < 1 << 30:
            self._decide(ack)
            self._skip(ack, now)

    def send(self, passage: Passage) -> str:
        """The kind of what this side sends now."""
        segment, now = passage.segment, passage.t
        flags, seq, length = segment.flags, segment.seq, segment.length
        if flags & RST:
            self._decide(seq)
            return ""
        if flags & SYN:
            if seq == self._isn:
                return RETRANSMISSION
            self._isn, self.nxt, self._undecided = seq, segment.end_seq, None
            return ""
        if self.nxt is None:
            self.nxt = seq
        ahead = seq_diff(seq, self.nxt)
        probe = WINDOW_PROBE if self.window == 0 else KEEPALIVE
        if not flags & FIN and length <= 1:
            if ahead == -1 and (length == 0 or probe is WINDOW_PROBE or self.acked == self.nxt):
                return probe
            if ahead == 0 and length == 1 and probe is WINDOW_PROBE:
                self.nxt = segment.end_seq
                return probe
        if ahead > 0:
            self._decide(seq)
            self._skip(seq, now)
        if not length and not flags & FIN:
            if self._undecided is not None and ahead >= 0:
                self._undecided.append((passage, probe))
            return ""
        self._undecided = None
        if seq_diff(segment.end_seq, self.nxt) > 0:
            self.nxt = segment.end_seq
            return ""
        return "" if self._overtaken(seq, segment.end_seq, now) else RETRANSMISSION

    def _decide(self, number: int) -> None:
        """`number` is at least SND.NXT: bare ACKs just one before it were probes."""
        if not self._undecided or self.nxt is None or number == self.nxt:
            return
        if seq_diff(number, self.nxt) == 1:
            for passage, kind in self._undecided:
                passage.kind = passage.kind or kind
        self._undecided = []

    def _skip(self, to: int, now: int) -> None:
        assert self.nxt is not None
        self._gaps.append((self.nxt, to, now))
        self.nxt = to

    def _overtaken(self, seq: int, end: int, now: int) -> bool:
        """True once for bytes that were skipped a moment ago."""
        self._gaps = [gap for gap in self._gaps if now - gap[2] < OVERTAKEN]
        for index, (low, high, since) in enumerate(self._gaps):
            if seq_diff(seq, low) >= 0 and seq_diff(end, high) <= 0:
                rest = [(low, seq, since), (end, high, since)]
                self._gaps[index : index + 1] = [gap for gap in rest if gap[0] != gap[1]]
                return True
        return False


class _Pair:
    """Both directions of a four-tuple."""

    __slots__ = ("follower", "senders")

    def __init__(self) -> None:
        self.follower = FourTuple()
        self.senders = (_Sender(), _Sender())

    def renew(self, step: Step, side: int) -> None:
        """The next connection begins; a SYN that ran into the old one may be its first."""
        asked, again = self.senders[1 - side].stray, self.senders[side].stray
        peer = _Sender(asked) if step is Step.REVIVES else _Sender()
        mine = _Sender()
        mine.stray = again
        self.senders = (mine, peer) if side == 0 else (peer, mine)


def classify(passages: Iterable[Passage]) -> None:
    """Set the `kind` of every passage that has none: see the module's text.

    Kinds that are set already stay. A forged segment was not sent by the host that it names,
    and changes nothing for the others.
    """
    pairs: dict[tuple[Endpoint, Endpoint], tuple[_Pair, int]] = {}
    for order, passage in enumerate(sorted(passages, key=attrgetter("t"))):
        segment = passage.segment
        way = (segment.source, segment.destination)
        found = pairs.get(way)
        if found is None:
            found = pairs[way] = _Pair(), 0
            pairs.setdefault((segment.destination, segment.source), (found[0], 1))
        pair, side = found
        step = pair.follower.take(side, segment)
        if step is not Step.CONTINUES and step is not Step.STRAY:
            pair.renew(step, side)
        if passage.kind == "forged":
            continue
        sender, peer = pair.senders[side], pair.senders[1 - side]
        sender.catch_up(passage.t)
        if segment.flags & (SYN | RST) == SYN and segment.seq == sender.stray:
            kind = RETRANSMISSION
            if step is not Step.STRAY:
                sender.send(passage)
        elif step is Step.STRAY:
            sender.stray, kind = segment.seq, ""
        else:
            kind = sender.send(passage)
        passage.kind = passage.kind or kind
        if step is Step.STRAY or segment.flags & RST or kind in (KEEPALIVE, WINDOW_PROBE):
            continue
        if passage.arrives is not None:
            peer.hear(passage.arrives, order, segment)
        if segment.flags & ACK and (sender.synchronized or pair.follower.midstream):
            peer.acknowledged(segment.ack, passage.t)
