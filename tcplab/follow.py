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

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from heapq import heappop, heappush
from operator import attrgetter
from typing import NamedTuple

from tcplab.core.segment import ACK, FIN, RST, SYN, Endpoint, Segment, after, seq_diff
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.core.trace import Packet, SocketSample, Trace
from tcplab.model import rules as machine
from tcplab.model.rules import CHALLENGED, IGNORED

# ----------------------------------------------------------------------
# Telling apart the connections that one four-tuple carries one after the other.
#
# A new SYN with another sequence number, after a close, a reset or an attempt that nobody
# answered, begins the next connection. A SYN inside a live connection does not: it draws a
# challenge ACK (RFC 5961 section 4.2), and only a SYN-ACK for it shows that the old connection
# was dead after all.


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
        self._undecided: list[tuple[Packet, str]] | None = [] if isn is None else None

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

    def send(self, packet: Packet) -> str:
        """The kind of what this side sends now."""
        segment, now = packet.segment, packet.t
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


def classify(packets: Iterable[Packet]) -> None:
    """Set the `kind` of every packet that has none: see the module's text.

    Kinds that are set already stay. A forged segment was not sent by the host that it names,
    and changes nothing for the others.
    """
    pairs: dict[tuple[Endpoint, Endpoint], tuple[_Pair, int]] = {}
    for order, packet in enumerate(sorted(packets, key=attrgetter("t"))):
        segment = packet.segment
        way = (segment.source, segment.destination)
        found = pairs.get(way)
        if found is None:
            found = pairs[way] = _Pair(), 0
            pairs.setdefault((segment.destination, segment.source), (found[0], 1))
        pair, side = found
        step = pair.follower.take(side, segment)
        if step is not Step.CONTINUES and step is not Step.STRAY:
            pair.renew(step, side)
        if packet.kind == "forged":
            continue
        sender, peer = pair.senders[side], pair.senders[1 - side]
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
            peer.hear(packet.arrives, order, segment)
        if segment.flags & ACK and (sender.synchronized or pair.follower.midstream):
            peer.acknowledged(segment.ack, packet.t)


# ----------------------------------------------------------------------
# Both ends of a connection at every moment, as far as its segments tell: for a replay.
#
# A model and a Linux bench know their sockets. A capture knows segments only, so that what an end was
# in is inferred, by the model's own table of states. Nothing is claimed that the capture can't show:
#
# - a FIN has arrived when a segment of the other end acknowledges it: at once where that is its next;
# - the RST of an end that nobody answers any more is not taken to have arrived;
# - a timer is named where the segment follows that it sent: the capture shows when it ran out;
# - what waits unread at a receiver, and what a sender could not send yet, no segment tells.

#: Which timer sends a segment of this kind, in ss's words.
TIMERS = {RETRANSMISSION: "on", KEEPALIVE: "keepalive", WINDOW_PROBE: "persist"}
#: Linux waits at least so long before it sends anything again for want of an ACK
#: (include/net/tcp.h: TCP_RTO_MIN); what is sent again sooner was asked for by duplicate ACKs.
RTO_MIN = 200 * MILLISECOND
#: net/ipv4/tcp_minisocks.c: tcp_time_wait, include/net/tcp.h: TCP_TIMEWAIT_LEN
TIME_WAIT = 60 * SECOND

#: After so many segments that nobody answered, a RST tells nobody either.
IN_VAIN = 2

Key = tuple[str, Endpoint, Endpoint]


class End(NamedTuple):
    """One end of a connection from `t` on, nanoseconds."""

    t: int
    host: str
    local: Endpoint
    remote: Endpoint
    #: As `SocketSample.state`; empty where nothing tells it.
    state: str
    #: Bytes that it sent and that the other end has not acknowledged, as far as they were seen.
    unacknowledged: int
    #: Bytes that it last said it would take; None before it said so.
    window: int | None


@dataclass(slots=True)
class _Side:
    """What is known of one end while its segments are walked through."""

    state: str = machine.CLOSED
    #: Behind the last byte that it sent; what was acknowledged of it; behind its FIN.
    nxt: int | None = None
    una: int | None = None
    fin_end: int | None = None
    window: int | None = None
    #: Segments sent again, and probes, since the other end was last heard.
    in_vain: int = 0

    def step(self, step: str) -> None:
        """The table's step, where it has one."""
        self.state = machine.TRANSITIONS.get((self.state, step), self.state)

    @property
    def unacknowledged(self) -> int:
        if self.nxt is None or self.una is None:
            return 0
        return max(seq_diff(self.nxt, self.una), 0)


@dataclass
class Ends:
    """What `trace` tells of every end, at any moment."""

    trace: Trace
    #: True when states and timers are inferred, for want of anybody who saw them.
    inferred: bool = field(init=False)
    _by_key: dict[Key, list[End]] = field(init=False, default_factory=dict)
    _timers: dict[Key, list[SocketSample]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.inferred = self.trace.bench == "capture"
        self._walk()
        if self.inferred:
            self._find_timers()

    def at(self, t: int) -> list[End]:
        """Every end that had shown itself by `t` (nanoseconds), in order of appearance."""
        found = []
        for samples in self._by_key.values():
            i = bisect_right(samples, t, key=lambda end: end.t)
            if i:
                found.append(samples[i - 1])
        return found

    def sample(self, end: End, t: int) -> SocketSample | None:
        """The socket behind an end at `t`, with its timer; None where there is none (any more)."""
        if not self.inferred:
            there = (s for s in self.trace.sockets_at(t) if (s.host, s.local, s.remote) == end[1:4])
            return next(there, None)
        if end.state in ("", machine.CLOSED):
            return None
        sample = SocketSample(end.t, end.host, end.local, end.remote, end.state, 0, end.unacknowledged)
        if end.state == machine.TIME_WAIT:
            due = end.t + TIME_WAIT
            return sample._replace(timer="timewait", due=due) if t < due else None
        running = self._timers.get((end.host, end.local, end.remote), [])
        i = bisect_right(running, t, key=lambda each: each.t)
        if i and t < (running[i - 1].due or 0):
            last = running[i - 1]
            return sample._replace(timer=last.timer, due=last.due, unanswered=last.unanswered)
        return sample

    def sockets(self) -> list[SocketSample]:
        """The inferred states as a trace has them, in order of time: what a ladder's bars are drawn from."""
        made = []
        for ends in self._by_key.values():
            for i, end in enumerate(ends):
                if i and ends[i - 1].state == end.state:
                    continue
                made.append(SocketSample(end.t, end.host, end.local, end.remote, end.state or "CLOSED"))
                over = end.t + TIME_WAIT
                if end.state == machine.TIME_WAIT and over < self.trace.end:
                    made.append(made[-1]._replace(t=over, state="CLOSED"))
        return sorted(made, key=lambda sample: sample.t)

    # -- walking ---------------------------------------------------------------------------

    def _walk(self) -> None:
        sides: dict[Key, _Side] = {}
        packets = self.trace.packets
        asks = {  # the last SYN-ACK of each end: before it, no ACK has brought it up
            (p.sender, p.segment.source, p.segment.destination): i
            for i, p in enumerate(packets)
            if p.segment.flags & (SYN | ACK) == SYN | ACK
        }
        answered = _answered_fins(packets)
        for is_arrival, i in _in_order(packets):
            p = packets[i]
            mine = (p.sender, p.segment.source, p.segment.destination)
            theirs = (p.receiver, p.segment.destination, p.segment.source)
            sender = sides.setdefault(mine, _Side())
            if not is_arrival:
                self._sent(sender, sides.setdefault(theirs, _Side()), p)
                self._keep(mine, sender, p.t)
                if self.inferred:  # its ACK may say that the other end's FIN is in
                    self._keep(theirs, sides[theirs], p.t)
            elif p.arrives is not None:
                up = i > asks.get(theirs, -1)
                receiver = sides.setdefault(theirs, _Side())
                self._arrived(receiver, p, up, sender.in_vain)
                if i in answered:
                    receiver.step(machine.GETS_FIN)
                self._keep(theirs, sides[theirs], p.arrives)

    def _sent(self, mine: _Side, theirs: _Side, p: Packet) -> None:
        s = p.segment
        theirs.in_vain = 0
        if s.flags & RST:
            if p.verdict not in (CHALLENGED, IGNORED):
                mine.step(machine.ABORTS)
            return
        mine.in_vain += p.kind in TIMERS
        if s.flags & SYN:
            mine.state = machine.SYN_RECV if s.flags & ACK else machine.SYN_SENT
        elif mine.nxt is None and mine.state == machine.CLOSED:  # the capture begins in the middle
            mine.state = machine.ESTABLISHED
            theirs.state = machine.ESTABLISHED if theirs.nxt is None else theirs.state
        is_probe = p.kind in (KEEPALIVE, WINDOW_PROBE)
        if not is_probe and (mine.nxt is None or after(s.end_seq, mine.nxt)):
            mine.una = s.seq if mine.una is None else mine.una
            mine.nxt = s.end_seq
        mine.window = s.window
        if s.flags & ACK and theirs.fin_end is not None and seq_diff(s.ack, theirs.fin_end) >= 0:
            mine.step(machine.GETS_FIN)
        if s.flags & FIN and mine.fin_end is None:
            if mine.state == machine.SYN_RECV:
                mine.state = machine.ESTABLISHED
            mine.step(machine.CLOSES)
            mine.fin_end = s.end_seq

    def _arrived(self, mine: _Side, p: Packet, up: bool, in_vain: int) -> None:
        s = p.segment
        if s.flags & RST:
            if p.verdict not in (CHALLENGED, IGNORED) and in_vain < IN_VAIN:
                mine.step(machine.GETS_RESET)
            return
        if not s.flags & ACK:
            return
        if s.flags & SYN:
            mine.step(machine.GETS_SYN_ACK)
        if mine.una is None or after(s.ack, mine.una):
            mine.una = s.ack
        if up:
            mine.step(machine.GETS_HANDSHAKE_ACK)
        if mine.fin_end is not None and seq_diff(s.ack, mine.fin_end) >= 0:
            mine.step(machine.GETS_FIN_ACK)

    def _keep(self, key: Key, side: _Side, t: int) -> None:
        state = side.state if self.inferred else ""
        end = End(t, *key, state, side.unacknowledged, side.window)
        kept = self._by_key.setdefault(key, [])
        if self.inferred and not kept and state == machine.CLOSED:
            return
        if not kept or kept[-1][4:] != end[4:]:
            kept.append(end)

    # -- timers ----------------------------------------------------------------------------

    def _find_timers(self) -> None:
        """What ran until each segment that a timer sent."""
        touched: dict[Key, int] = {}
        sent_before: dict[Key, int] = {}
        for p in self.trace.packets:
            mine = (p.sender, p.segment.source, p.segment.destination)
            theirs = (p.receiver, p.segment.destination, p.segment.source)
            began = touched.get(mine)
            count = sent_before.get(mine, 0)
            if p.kind in TIMERS and began is not None and p.t - began >= RTO_MIN:
                name = TIMERS[p.kind]
                self._timers.setdefault(mine, []).append(
                    SocketSample(began, *mine, "", timer=name, due=p.t, unanswered=count)
                )
            sent_before[mine] = count + 1 if p.kind in TIMERS else 0
            sent_before[theirs] = 0  # an answer
            touched[mine] = touched[theirs] = p.t


def _in_order(packets: list[Packet]) -> Iterator[tuple[bool, int]]:
    """Departures and arrivals by time; what arrives at once arrives before anything else is sent."""
    events: list[tuple[int, int, int, bool]] = []
    for i, p in enumerate(packets):
        events.append((p.t, 1, i, False))
        if p.arrives is not None:
            events.append((max(p.arrives, p.t), 1 if p.arrives <= p.t else 0, i, True))
    for _, _, i, is_arrival in sorted(events):
        yield is_arrival, i


def _answered_fins(packets: list[Packet]) -> set[int]:
    """Places of the FINs that the very next segment of their receiver acknowledges."""
    found = set()
    following: dict[Key, Packet] = {}
    for i in range(len(packets) - 1, -1, -1):
        p = packets[i]
        mine = (p.sender, p.segment.source, p.segment.destination)
        answer = following.get((p.receiver, p.segment.destination, p.segment.source))
        following[mine] = p
        if answer is None or not p.segment.flags & FIN or answer.segment.flags & (ACK | RST) != ACK:
            continue
        if seq_diff(answer.segment.ack, p.segment.end_seq) >= 0:
            found.add(i)
    return found


def judged(trace: Trace, verdicts: dict[int, str]) -> Trace:
    """The trace with the verdicts on its RSTs, by their place among the packets."""
    if not verdicts:
        return trace
    packets = [replace(p, verdict=verdicts[i]) if i in verdicts else p for i, p in enumerate(trace.packets)]
    return replace(trace, packets=packets)


# ----------------------------------------------------------------------
# How long a receiver had no room: its window was closed, and its peer had to wait.


def standstill(packets: Sequence[Packet], side: str, end: int) -> tuple[int, list[int]]:
    """How long the window of `side` was closed, nanoseconds up to `end`, and which packets said so.

    A RST ends it. Its own window counts for nothing, as in `classify`, nor does that of a SYN.
    """
    since: int | None = None
    total = 0
    shut: list[int] = []
    for i, p in enumerate(packets):
        if p.segment.flags & RST:
            if since is not None:
                total, since = total + p.t - since, None
        elif p.sender == side and not p.segment.flags & SYN and p.segment.flags & ACK:
            if p.segment.window == 0:
                shut.append(i)
                since = p.t if since is None else since
            elif since is not None:
                total, since = total + p.t - since, None
    return total + (end - since if since is not None else 0), shut
