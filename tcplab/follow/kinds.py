"""What kind of packet each one is: a retransmission, a keepalive probe, a window probe, or none of these."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from operator import attrgetter

from tcplab.core.connections import ConnectionTracking, Direction, Step, side_of
from tcplab.core.segment import ACK, FIN, RST, SYN, seq_diff
from tcplab.core.text import MILLISECOND
from tcplab.core.trace import Packet

CLIENT, SERVER = "client", "server"
OTHER = {CLIENT: SERVER, SERVER: CLIENT}

RETRANSMISSION, KEEPALIVE, WINDOW_PROBE = "retransmission", "keepalive", "window_probe"

#: A segment that is captured up to this much late was reordered; a later one was retransmitted.
#: Wireshark's threshold (epan/dissectors/packet-tcp.c) where it knows no round-trip time.
OVERTAKEN = 3 * MILLISECOND
#: A keepalive probe never comes sooner after the sender last received or sent anything else: the idle time is
#: at least a second (TCP_KEEPIDLE, net/ipv4/tcp.c:tcp_sock_set_keepidle_locked). Such an ACK was reordered.
RESTED = 900 * MILLISECOND
#: Packets between two calls of the progress callback.
OFTEN = 1 << 14


class _Sender:
    """One direction: what this side has sent, and what has arrived from the other side."""

    __slots__ = ("_gaps", "_undecided", "acked", "arriving", "isn", "nxt", "stray", "touched", "window")

    def __init__(self, isn: int | None = None) -> None:
        #: SND.NXT; None before anything is known.
        self.nxt = None if isn is None else (isn + 1) & 0xFFFFFFFF
        #: The number of its SYN, where that was seen.
        self.isn = isn
        #: A SYN of this side that ran into a live connection.
        self.stray: int | None = None
        #: The peer's window and ACK as far as they have arrived; None before the first.
        self.window: int | None = None
        self.acked: int | None = None
        #: When it last received a segment that was no probe, or sent data, SYN or FIN; None: never.
        self.touched: int | None = None
        #: In flight to this side: arrival, order, window and ACK.
        self.arriving: list[tuple[int, int, int, int | None]] = []
        #: Bytes that were skipped, with their time: a capture's loss, or packets out of order.
        self._gaps: list[tuple[int, int, int]] = []
        #: Bare ACKs of a connection first seen midstream, until it is known whether their
        #: sequence number was SND.NXT or one less, with the kind they would then have.
        self._undecided: list[tuple[Packet, str]] | None = [] if isn is None else None

    @property
    def has_undecided(self) -> bool:
        """True while the kind of its bare ACKs is not known, and before anything is."""
        return self._undecided is not None

    def catch_up(self, now: int) -> None:
        """Process what has arrived by `now`."""
        while self.arriving and self.arriving[0][0] <= now:
            arrives, _, window, ack = heappop(self.arriving)
            self.hear(arrives, window, ack)

    def hear(self, arrives: int, window: int, ack: int | None) -> None:
        """Process a segment that has arrived."""
        self.touched, self.window = arrives, window
        if ack is not None and ack != self.acked and (self.acked is None or seq_diff(ack, self.acked) > 0):
            self.acked = ack

    def acknowledged(self, ack: int, now: int) -> None:
        """The peer has received all before `ack`: it was sent, whether or not it was captured."""
        if ack == self.nxt:
            return
        if self.nxt is None:
            self.nxt = ack
        elif 0 < seq_diff(ack, self.nxt) < 1 << 30:
            self._decide(ack)
            self._gaps.append((self.nxt, ack, now))
            self.nxt = ack

    def send(self, packet: Packet) -> str:
        """The kind of the packet that this side sends now."""
        segment, now = packet.segment, packet.t
        flags, seq, length = segment.flags, segment.seq, segment.length
        if seq == self.nxt and not flags & (RST | SYN | FIN):  # the usual cases
            if length > 1:
                self.touched, self._undecided = now, None
                self.nxt = (seq + length) & 0xFFFFFFFF
                return ""
            if not length and self._undecided is None:
                return ""
        is_rested = self.touched is None or now - self.touched >= RESTED
        if flags & RST:
            self._decide(seq)
            return ""
        if length > 1 or flags & (SYN | FIN):
            self.touched = now
        if flags & SYN:
            if seq == self.isn:
                return RETRANSMISSION
            self.isn, self.nxt, self._undecided = seq, segment.end_seq, None
            return ""
        if self.nxt is None:
            self.nxt = seq
        ahead = seq_diff(seq, self.nxt)
        probe = WINDOW_PROBE if self.window == 0 else KEEPALIVE
        if not flags & FIN and length <= 1:
            is_before = length == 0 or probe is WINDOW_PROBE or self.acked == self.nxt
            if ahead == -1 and is_before and (is_rested or probe is WINDOW_PROBE):
                return probe
            if ahead == 0 and length == 1 and probe is WINDOW_PROBE:
                self.nxt = segment.end_seq
                return probe
        if ahead > 0:
            self._decide(seq)
            self._gaps.append((self.nxt, seq, now))
            self.nxt = seq
        if not length and not flags & FIN:
            if self._undecided is not None and ahead >= 0 and (is_rested or probe is WINDOW_PROBE):
                self._undecided.append((packet, probe))
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
            for packet, kind in self._undecided:
                packet.kind = packet.kind or kind
        self._undecided = []

    def _overtaken(self, seq: int, end: int, now: int) -> bool:
        """True once for bytes that were skipped within `OVERTAKEN`."""
        gaps = self._gaps  # in order of time and of number
        del gaps[: bisect_right(gaps, now - OVERTAKEN, key=lambda gap: gap[2])]
        index = bisect_right(gaps, 0, key=lambda gap: seq_diff(gap[0], seq)) - 1
        if index < 0 or seq_diff(end, gaps[index][1]) > 0:
            return False
        low, high, since = gaps[index]
        rest = [(low, seq, since), (end, high, since)]
        gaps[index : index + 1] = [gap for gap in rest if gap[0] != gap[1]]
        return True


class _Pair(ConnectionTracking):
    """A four-tuple with both its directions."""

    __slots__ = ("senders",)

    def __init__(self) -> None:
        super().__init__()
        self.senders = (_Sender(), _Sender())

    def renew(self, step: Step, side: int) -> None:
        """The next connection begins; an earlier SYN within the old one may be its first."""
        peer = _Sender(self.senders[1 - side].stray if step is Step.REVIVES else None)
        mine = _Sender()
        mine.stray = self.senders[side].stray
        self.senders = (mine, peer) if side == 0 else (peer, mine)

    def passes(self, side: int, packet: Packet) -> bool:
        """Take the usual segment in one step: bytes or an ACK in order, which arrive at once; False: another.

        It does what `take`, `send`, `hear` and `acknowledged` do with it.
        """
        segment, sender, peer = packet.segment, self.senders[side], self.senders[1 - side]
        length, now = segment.length, packet.t
        if (
            segment.flags & (ACK | SYN | FIN | RST) != ACK or segment.seq != sender.nxt or packet.kind
            or length == 1 or packet.arrives != now or sender.arriving or peer.arriving
            or not self.is_live or sender.has_undecided
        ):  # fmt: skip
            return False
        if length:
            sender.touched = now
            sender.nxt = (segment.seq + length) & 0xFFFFFFFF
        peer.hear(now, segment.window, segment.ack)
        if segment.ack != peer.nxt and (sender.isn is not None or self.midstream):
            peer.acknowledged(segment.ack, now)
        return True


def classify(packets: Iterable[Packet], going: Callable[[], None] = lambda: None) -> None:
    """Set the `kind` of every packet that has none; a forged one changes nothing for the others.

    `going` is called every `OFTEN` packets, and may end it by raising.
    """
    pairs: dict[Direction, tuple[_Pair, int]] = {}
    for order, packet in enumerate(sorted(packets, key=attrgetter("t"))):
        if not order % OFTEN:
            going()
        segment = packet.segment
        pair, side = side_of(pairs, segment, _Pair)
        if pair.passes(side, packet):
            continue
        step = pair.take(side, segment)
        if step is not Step.CONTINUES and step is not Step.STRAY:
            pair.renew(step, side)
        if packet.kind == "forged":
            continue
        sender, peer = pair.senders[side], pair.senders[1 - side]
        if sender.arriving:
            sender.catch_up(packet.t)
        if segment.flags & (SYN | RST) == SYN and segment.seq == sender.stray:
            kind = RETRANSMISSION
            if step is not Step.STRAY:
                sender.send(packet)
        elif step is Step.STRAY:
            sender.stray, kind = segment.seq, ""
        else:
            kind = sender.send(packet)
        packet.kind = packet.kind or kind
        if step is Step.STRAY or segment.flags & RST or kind in (KEEPALIVE, WINDOW_PROBE):
            continue
        if packet.arrives is not None:
            ack = segment.ack if segment.flags & ACK else None
            if packet.arrives <= packet.t and not peer.arriving:  # as in every capture
                peer.hear(packet.arrives, segment.window, ack)
            else:
                heappush(peer.arriving, (packet.arrives, order, segment.window, ack))
        if segment.flags & ACK and (sender.isn is not None or pair.midstream):
            peer.acknowledged(segment.ack, packet.t)
