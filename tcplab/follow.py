"""Follow a connection: what each packet is, both ends' states, and what stayed unanswered.

Every picture, finding and replay takes its answers from here, whether the packets come from the model,
from Linux or from a capture. The wire gives addresses, flags, numbers, lengths, windows and times; the rest
is inferred in this order, and each step uses only the steps before it.

1. **Which connection** a segment belongs to: see `tcplab.core.connections`.

2. **What kind of packet** it is. `classify` follows one number per direction, SND.NXT: the highest
   sequence number sent (RFC 9293 section 3.3.1).

   - A *retransmission* carries SYN, FIN or payload that lies before SND.NXT. TCP sends in order, hence
     all of it was sent before, even where a capture missed it.
   - A *keepalive* probe is at SND.NXT-1 with 0 or 1 byte (RFC 9293 section 3.8.4; Linux sends 0,
     net/ipv4/tcp_output.c:tcp_xmit_probe_skb). A single byte that is still unacknowledged is data sent
     again: TCP does not probe a connection with data in flight.
   - A *window probe* looks the same, but answers a closed window. Other systems than Linux probe with
     one new byte instead (RFC 9293 section 3.8.6.1).

   A window that is in flight, was lost, or was in a RST or a probe (which a receiver discards) is not
   known to the peer.

3. **What became of each RST.** `Followed.resets` follows what each receiver has and applies the model's
   own rule. What the receiver did afterwards counts for more, since a capture sees one point of the route.

4. **What stayed unanswered**, and until when: the other questions of `Followed`.

5. **Both ends' states.** `EndStates` takes both ends through the model's table. A model and a Linux bench
   know their sockets; a capture has packets only, and nothing is claimed that it can't show:

   - a FIN has arrived when a segment of the other end acknowledges it: at once where that is its next;
   - a RST is not taken to arrive at an end that has stopped answering;
   - a timer is named where the packet follows that it sent: the capture shows when it expired;
   - how much a receiver has not read, or a sender could not send yet, no packet shows.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from heapq import heappop, heappush
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple

from tcplab.core.connections import ConnectionTracking, Direction, Step, acks, answers, closes, side_of
from tcplab.core.releases import release
from tcplab.core.segment import ACK, FIN, RST, SYN, Endpoint, Segment, after, seq_add, seq_diff
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.core.trace import Packet, SocketSample, Trace
from tcplab.model import rules
from tcplab.model.rules import ACCEPTED, CHALLENGED, IGNORED

CLIENT, SERVER = "client", "server"
OTHER = {CLIENT: SERVER, SERVER: CLIENT}

RETRANSMISSION, KEEPALIVE, WINDOW_PROBE = "retransmission", "keepalive", "window_probe"
#: Which timer sends a packet of this kind, in ss's words.
TIMERS = {RETRANSMISSION: "on", KEEPALIVE: "keepalive", WINDOW_PROBE: "persist"}

#: A segment that a capture sees this much late was reordered; a later one was sent again.
#: Wireshark's threshold (epan/dissectors/packet-tcp.c) where it knows no round-trip time.
OVERTAKEN = 3 * MILLISECOND
#: The largest window that a header can mean when its scale is unknown (RFC 7323 section 2.3).
WIDEST_SHIFT = 14
#: So many packets after a RST show whether the connection went on.
HORIZON = 1000
#: An answer may take this long; after so long a silence a middlebox may have forgotten the connection.
PATIENCE, SILENCE = SECOND, 3 * SECOND
#: Segments in flight when a RST arrives are still seen for so long.
STRAGGLERS = 50 * MILLISECOND
#: Errors that report a lost connection to a program.
FATAL = ("ETIMEDOUT", "ECONNRESET", "EPIPE", "EHOSTUNREACH", "ENETUNREACH")
#: After so many packets in a row that went unanswered, a RST is not taken to arrive either.
IN_VAIN = 2


# -- 2. what kind of packet ----------------------------------------------------------------------


class _Sender:
    """One direction: what this side has sent, and what of the other side has arrived here."""

    __slots__ = ("_gaps", "_undecided", "acked", "arriving", "isn", "nxt", "stray", "window")

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
        #: In flight to this side: arrival, order, window and ACK.
        self.arriving: list[tuple[int, int, int, int | None]] = []
        #: Bytes that were skipped, with their time: a capture's loss, or packets out of order.
        self._gaps: list[tuple[int, int, int]] = []
        #: Bare ACKs of a connection first seen midstream, until it is known whether their
        #: sequence number was SND.NXT or one less, with the kind they would then have.
        self._undecided: list[tuple[Packet, str]] | None = [] if isn is None else None

    def catch_up(self, now: int) -> None:
        """Take what has arrived by `now`."""
        while self.arriving and self.arriving[0][0] <= now:
            _, _, self.window, ack = heappop(self.arriving)
            if ack is not None and (self.acked is None or seq_diff(ack, self.acked) > 0):
                self.acked = ack

    def acknowledged(self, ack: int, now: int) -> None:
        """The peer has received all before `ack`: so much was sent, whether or not it was captured."""
        if self.nxt is None:
            self.nxt = ack
        elif 0 < seq_diff(ack, self.nxt) < 1 << 30:
            self._decide(ack)
            self._gaps.append((self.nxt, ack, now))
            self.nxt = ack

    def send(self, packet: Packet) -> str:
        """The kind of what this side sends now."""
        segment, now = packet.segment, packet.t
        flags, seq, length = segment.flags, segment.seq, segment.length
        if flags & RST:
            self._decide(seq)
            return ""
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
            if ahead == -1 and (length == 0 or probe is WINDOW_PROBE or self.acked == self.nxt):
                return probe
            if ahead == 0 and length == 1 and probe is WINDOW_PROBE:
                self.nxt = segment.end_seq
                return probe
        if ahead > 0:
            self._decide(seq)
            self._gaps.append((self.nxt, seq, now))
            self.nxt = seq
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

    def _overtaken(self, seq: int, end: int, now: int) -> bool:
        """True once for bytes that were skipped within `OVERTAKEN`."""
        self._gaps = [gap for gap in self._gaps if now - gap[2] < OVERTAKEN]
        for index, (low, high, since) in enumerate(self._gaps):
            if seq_diff(seq, low) >= 0 and seq_diff(end, high) <= 0:
                rest = [(low, seq, since), (end, high, since)]
                self._gaps[index : index + 1] = [gap for gap in rest if gap[0] != gap[1]]
                return True
        return False


class _Pair(ConnectionTracking):
    """A four-tuple with both its directions."""

    __slots__ = ("senders",)

    def __init__(self) -> None:
        super().__init__()
        self.senders = (_Sender(), _Sender())

    def renew(self, step: Step, side: int) -> None:
        """The next connection begins; a SYN that ran into the old one may be its first."""
        peer = _Sender(self.senders[1 - side].stray if step is Step.REVIVES else None)
        mine = _Sender()
        mine.stray = self.senders[side].stray
        self.senders = (mine, peer) if side == 0 else (peer, mine)


def classify(packets: Iterable[Packet]) -> None:
    """Set the `kind` of every packet that has none; a forged one changes nothing for the others."""
    pairs: dict[Direction, tuple[_Pair, int]] = {}
    for order, packet in enumerate(sorted(packets, key=attrgetter("t"))):
        segment = packet.segment
        pair, side = side_of(pairs, segment, _Pair)
        step = pair.take(side, segment)
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
            ack = segment.ack if segment.flags & ACK else None
            heappush(peer.arriving, (packet.arrives, order, segment.window, ack))
        if segment.flags & ACK and (sender.isn is not None or pair.midstream):
            peer.acknowledged(segment.ack, packet.t)


# -- 3. and 4. what became of each RST, and what stayed unanswered ---------------------------------


@dataclass(slots=True)
class _Receiver:
    """What the receiver of one direction has and has advertised, as far as it passed the capture."""

    #: RCV.NXT; None before anything is known.
    nxt: int | None = None
    #: Its last ACK number, the furthest edge of its window, and of what it has behind a hole.
    acked: int | None = None
    right: int | None = None
    sacked: int | None = None

    def takes(self, segment: Segment) -> None:
        """A segment in flight to it; one behind a hole moves nothing."""
        if self.nxt is None or (seq_diff(segment.seq, self.nxt) <= 0 < seq_diff(segment.end_seq, self.nxt)):
            self.nxt = segment.end_seq

    def sends(self, segment: Segment, shift: int) -> None:
        """A segment with ACK of its own."""
        ack, right = segment.ack, seq_add(segment.ack, segment.window << shift)
        if self.acked is None or after(ack, self.acked):
            self.acked = ack
        if self.nxt is None or after(ack, self.nxt):
            self.nxt = ack
        if self.right is None or after(right, self.right):
            self.right = right
        edges = [edge for _, edge in segment.sack]
        self.sacked = max(edges, key=lambda edge: seq_diff(edge, ack), default=None)


@dataclass(frozen=True, slots=True)
class Reset:
    """A RST that met a live connection."""

    place: int
    sender: str
    #: `accepted`, `challenged`, `ignored`.
    verdict: str
    #: Bytes from the number that the receiver expected.
    offset: int
    #: What shows it: the challenge ACK, or the segment by which the connection went on.
    proof: int | None = None


@dataclass(frozen=True, slots=True)
class Unanswered:
    """What one side sent last, and got no answer or a RST."""

    #: Who sent it: `client` or `server`.
    side: str
    #: It was answered by a RST that no program sent; False: by nothing at all.
    reset: bool
    #: It was data or a FIN; False: a keepalive probe, or nothing at all before that RST.
    data: bool
    #: When it was first sent, and when its peer was last heard before; nanoseconds.
    asked: int
    heard: int
    #: How long nothing had passed before it was sent, nanoseconds; and how often it was sent.
    silence: int
    attempts: int
    #: When the side gave up, by a RST, a call or a socket, and what its program got; None: unknown.
    ended: int | None
    error: str | None


@dataclass(frozen=True)
class Followed:
    """One connection of `client` and `server`, in order of time; a place is an index of `packets`."""

    trace: Trace

    @property
    def packets(self) -> list[Packet]:
        """Its packets."""
        return self.trace.packets

    @property
    def end(self) -> int:
        """When it was last watched, nanoseconds."""
        return max(self.trace.end, self.packets[-1].t if self.packets else 0)

    def places(self, side: str = "", flags: int = 0) -> list[int]:
        """Where `side` (or either) sent a segment with all of these flags."""
        sent = ((i, p) for i, p in enumerate(self.packets) if side in ("", p.sender))
        return [i for i, p in sent if p.segment.flags & flags == flags]

    def acknowledged(self, place: int) -> int | None:
        """Where the other side first acknowledged all of the segment at this place; None: it never did."""
        sender, end = self.packets[place].sender, self.packets[place].segment.end_seq
        for i in range(place + 1, len(self.packets)):
            p = self.packets[i]
            if p.sender != sender and acks(p.segment) and seq_diff(p.segment.ack, end) >= 0:
                return i
        return None

    def heard_before(self, place: int) -> int | None:
        """The last segment that the sender of this one had received; Linux does not count a probe."""
        sender = self.packets[place].sender
        for i in range(place - 1, -1, -1):
            p = self.packets[i]
            if p.sender != sender and p.arrives is not None and p.kind != KEEPALIVE:
                return i
        return None

    def answered(self, probe: int) -> int | None:
        """The peer's next segment before anything else of the prober, unless it is a RST."""
        sender = self.packets[probe].sender
        for i in range(probe + 1, len(self.packets)):
            p = self.packets[i]
            if p.sender != sender:
                return None if p.segment.flags & RST else i
            if p.kind == KEEPALIVE or p.segment.flags & RST:
                return None
        return None

    @cached_property
    def acked(self) -> dict[str, int | None]:
        """By side, the highest of its numbers that the other side has acknowledged."""
        highest: dict[str, int | None] = dict.fromkeys(OTHER)
        for p in self.packets:
            if acks(p.segment) and p.arrives is not None:
                before = highest[OTHER[p.sender]]
                if before is None or after(p.segment.ack, before):
                    highest[OTHER[p.sender]] = p.segment.ack
        return highest

    def unacknowledged(self, side: str) -> list[int]:
        """Where a side sent data or a FIN that was never acknowledged; a keepalive probe is no data."""
        acked = self.acked[side]
        return [
            i for i, p in enumerate(self.packets)
            if p.sender == side and p.kind != KEEPALIVE and not p.segment.flags & (RST | SYN)
            and (p.segment.length or p.segment.flags & FIN)
            and (acked is None or after(p.segment.end_seq, acked))
        ]  # fmt: skip

    def unanswered_data(self, side: str) -> list[int]:
        """Every transmission of the oldest data of this side that was never acknowledged."""
        sent = [(i, self.packets[i].segment) for i in self.unacknowledged(side)]
        data = [(i, s) for i, s in sent if s.length and self.packets[i].kind != WINDOW_PROBE]
        if not data:
            return []
        base = data[0][1].seq
        oldest = min((s.seq for _, s in data), key=lambda seq: seq_diff(seq, base))
        return [i for i, s in data if seq_diff(s.seq, oldest) <= 0 < seq_diff(s.end_seq, oldest)]

    @cached_property
    def keepalive_death(self) -> list[int]:
        """Unanswered keepalive probes and the prober's RST+ACK; empty where there are none."""
        probes: dict[str, list[int]] = {side: [] for side in OTHER}
        for i, p in enumerate(self.packets):
            probes[OTHER[p.sender]].clear()
            mine = probes[p.sender]
            if p.kind == KEEPALIVE:
                mine.append(i)
            elif mine and p.segment.flags & (RST | ACK | SYN) == RST | ACK:
                return [*mine, i]
        return []

    def stalled(self, side: str) -> tuple[int, list[int]]:
        """How long the window of `side` was closed, nanoseconds, and which packets advertised that."""
        since: int | None = None
        total = 0
        shut: list[int] = []
        for i, p in enumerate(self.packets):
            flags, window = p.segment.flags, p.segment.window
            is_advertised = p.sender == side and flags & (SYN | RST | ACK) == ACK  # not in a SYN or RST
            if is_advertised and window == 0:
                shut.append(i)
                since = p.t if since is None else since
            elif since is not None and (is_advertised or flags & RST):
                total, since = total + p.t - since, None
        return total + (self.end - since if since is not None else 0), shut

    def unanswered(self, round_trip: int, first: str = CLIENT) -> Unanswered | None:
        """What ended it from outside, if anything did; where both sides waited, the view of `first`.

        A RST within `round_trip` (nanoseconds) after a segment answers it.
        """
        return self._refused(round_trip) or self._silent_to(first) or self._silent_to(OTHER[first])

    def _silent_to(self, side: str) -> Unanswered | None:
        """Nothing came back to this side."""
        came = [p for p in self.packets if p.sender != side and p.arrives is not None]
        if any(p.segment.flags & RST for p in came):
            return None
        heard = max((p.arrives or 0 for p in came), default=None)
        unacked = set(self.unacknowledged(side))
        asked = [
            p for i, p in enumerate(self.packets)
            if i in unacked or (p.sender == side and p.kind == KEEPALIVE and p.t >= (heard or 0))
        ]  # fmt: skip
        if heard is None or not asked or self.end - asked[0].t < PATIENCE:
            return None
        reset = None if self.ended_by is None else self.packets[self.ended_by]
        gave_up = reset.t if reset is not None and reset.sender == side else None
        ended, error = self._ended(side, asked[0].t, gave_up, "ETIMEDOUT")
        silence, is_data = self._silence_before(asked[0]), asked[0].kind != KEEPALIVE
        return Unanswered(side, False, is_data, asked[0].t, heard, silence, len(asked), ended, error)

    def _refused(self, round_trip: int) -> Unanswered | None:
        """A RST from an end that had not closed; it answers a segment or breaks a long silence."""
        if self.ended_by is None:
            return None
        p, earlier = self.packets[self.ended_by], self.packets[: self.ended_by]
        side, is_forged = p.receiver, p.kind == "forged"
        theirs = [q for q in earlier if q.sender == p.sender]
        # A program's close sets ACK, and so does keepalive that gave up (tcp_send_active_reset).
        if (p.segment.flags & ACK and not is_forged) or any(q.segment.flags & FIN for q in theirs):
            return None
        heard = max((q.arrives for q in theirs if q.arrives is not None), default=p.t)
        asked = [
            q for q in earlier
            if q.sender == side and q.t >= heard and (q.segment.length or q.segment.flags & FIN or q.kind)
        ]  # fmt: skip
        if asked and p.t - asked[-1].t > round_trip + STRAGGLERS:
            asked = []
        first = asked[0] if asked else p
        silence, is_data = self._silence_before(first), first.kind in ("", RETRANSMISSION) and bool(asked)
        if silence < SILENCE and not is_forged and not (asked and first.kind == KEEPALIVE):
            return None
        ended, error = self._ended(side, first.t, p.t, "ECONNRESET")
        return Unanswered(side, True, is_data, first.t, heard, silence, len(asked), ended, error)

    def _silence_before(self, packet: Packet) -> int:
        """How long nothing had passed before this packet."""
        passed = (p.t for p in self.packets if p.t < packet.t and p.arrives is not None)
        return packet.t - max(passed, default=packet.t)

    def _ended(self, side: str, since: int, seen: int | None, error: str) -> tuple[int | None, str | None]:
        """When a side gave up and what its program got: as the trace recorded it, else as it was seen."""
        trace = self.trace
        calls = (c for c in trace.calls if c.host == side and c.t >= since and c.result in FATAL)
        gone = (s.t for s in trace.sockets if s.host == side and s.state == rules.CLOSED and s.t >= since)
        call, closed = next(calls, None), next(gone, None)
        if call is not None:
            return call.t if closed is None else min(closed, call.t), call.result
        closed = None if trace.bench == "capture" else closed
        return seen if closed is None else closed, None if seen is None else error

    @cached_property
    def ended_by(self) -> int | None:
        """The place of the RST that ended it, or was its last word; None when there is none."""
        accepted = [reset.place for reset in self.resets if reset.verdict == ACCEPTED]
        lost = [i for i, p in enumerate(self.packets) if p.segment.flags & RST and p.arrives is None]
        return next((i for i in accepted + lost if self.packets[i].verdict in ("", ACCEPTED)), None)

    @cached_property
    def resets(self) -> tuple[Reset, ...]:
        """Every RST that met the connection after its handshake, with what its receiver did."""
        if not self.places(flags=RST):
            return ()
        # By the name of its peer: receivers[CLIENT] is what the server has.
        receivers = {side: _Receiver() for side in OTHER}
        fins: dict[str, list[int]] = {side: [] for side in OTHER}
        begun = not self.places(flags=SYN)
        shift = WIDEST_SHIFT if begun else 0
        judged: list[Reset] = []
        for i, p in enumerate(self.packets):
            segment, receiver = p.segment, receivers[p.sender]
            if segment.flags & RST:
                mine, theirs = fins[OTHER[p.sender]], fins[p.sender]
                # Of a receiver that has closed in both directions nothing is left to reset.
                is_repeated = bool(mine) and self.packets[mine[-1]].kind == RETRANSMISSION
                is_closed = mine and theirs and not is_repeated and (self.acknowledged(mine[0]) or i) < i
                if begun and not is_closed:
                    judged += self._judged(i, receiver, after_fin=bool(theirs))
                    if judged and judged[-1].verdict == ACCEPTED:
                        break
                continue
            begun = begun or (p.sender == CLIENT and bool(segment.flags & ACK)) or answers(segment)
            receiver.takes(segment)
            if segment.flags & ACK:
                receivers[OTHER[p.sender]].sends(segment, shift)
            if segment.flags & FIN:
                fins[p.sender].append(i)
        return tuple(judged)

    def _judged(self, place: int, receiver: _Receiver, *, after_fin: bool) -> Iterator[Reset]:
        """The RST at this place, if what became of it can be seen."""
        p, seq = self.packets[place], self.packets[place].segment.seq
        nxt = seq if receiver.nxt is None else receiver.nxt
        verdict = p.verdict or rules.reset_verdict(
            seq, rcv_nxt=nxt, release=release(),
            left_edge=nxt if receiver.acked is None else receiver.acked,
            right_edge=seq_add(nxt, 65535) if receiver.right is None else receiver.right,
            state=rules.CLOSE_WAIT if after_fin else rules.ESTABLISHED, sack_edge=receiver.sacked,
        )  # fmt: skip
        proof = None
        if not p.verdict:
            challenge, proof = self._reaction(place, receiver.acked, nxt)
            if verdict != IGNORED and challenge is not None and (verdict == CHALLENGED or proof is not None):
                verdict, proof = CHALLENGED, challenge
            elif verdict != IGNORED and proof is not None:
                verdict = IGNORED
            elif verdict == CHALLENGED:
                return  # neither an answer nor a sequel
        yield Reset(place, p.sender, verdict, seq_diff(seq, nxt), proof)

    def _reaction(self, place: int, acked: int | None, nxt: int) -> tuple[int | None, int | None]:
        """After a RST, the challenge ACK (a bare one that repeats the last), and the ACK of later bytes."""
        rst, challenge, is_alone, is_sent = self.packets[place], None, True, False
        for i, p in enumerate(self.packets[place + 1 : place + HORIZON], place + 1):
            s = p.segment
            if p.sender == rst.sender:
                is_alone = is_alone and not (s.length or p.kind == KEEPALIVE or closes(s))
                is_sent = is_sent or (not s.flags & RST and after(s.end_seq, nxt))
                continue
            is_bare = s.flags & (ACK | FIN | RST) == ACK and not s.length
            if challenge is None and is_alone and is_bare and s.ack == acked and p.t - rst.t <= SECOND:
                challenge = i
            if is_sent and acks(s) and after(s.ack, nxt):
                return challenge, i
        return challenge, None


# -- 5. both ends' states ------------------------------------------------------------------------

#: A host, its address and port, and its peer's.
Key = tuple[str, Endpoint, Endpoint]


class EndState(NamedTuple):
    """One end of a connection from `t` on, nanoseconds."""

    t: int
    host: str
    local: Endpoint
    remote: Endpoint
    #: As `SocketSample.state`; empty where nothing shows it.
    state: str
    #: Bytes that were seen of it without an acknowledgement; the window that it last advertised.
    unacknowledged: int
    window: int | None


@dataclass(slots=True)
class _End:
    """What is known of one end while the packets are walked through."""

    key: Key
    state: str = rules.CLOSED
    #: Behind the last byte that it sent; what was acknowledged of it; behind its FIN.
    nxt: int | None = None
    una: int | None = None
    fin_end: int | None = None
    window: int | None = None
    #: Retransmissions and probes since the other end last sent.
    in_vain: int = 0
    #: When either end last sent.
    touched: int | None = None
    #: The place of its last SYN-ACK: an ACK before it has not established this end.
    synack: int = -1
    states: list[EndState] = field(default_factory=list)
    #: What ran until each packet that a timer sent.
    timers: list[SocketSample] = field(default_factory=list)

    def sees(self, event: str) -> None:
        """An event, where the table has it for this state."""
        if (self.state, event) in rules.TRANSITIONS:
            rules.advance(self, event)


class EndStates:
    """Every end of a trace's connections at any moment; of a capture, state and timer are inferred."""

    def __init__(self, trace: Trace) -> None:
        self.inferred = trace.bench == "capture"
        packets = list(trace.packets)
        for each in Followed(trace).resets if self.inferred and {*trace.hosts} <= {*OTHER} else ():
            packets[each.place] = replace(packets[each.place], verdict=each.verdict)
        self._ends: dict[Key, _End] = {}
        self._walk(packets)
        #: The trace; of a capture with the verdicts on its RSTs and the sockets that are inferred.
        self.trace = trace
        if self.inferred:
            self.trace = replace(trace, packets=packets, sockets=self._sockets(trace.end), inferred=True)

    def at(self, t: int) -> list[EndState]:
        """Every end that had appeared by `t` (nanoseconds), in order of appearance."""
        last = ((end.states, bisect_right(end.states, t, key=attrgetter("t"))) for end in self._ends.values())
        return [states[i - 1] for states, i in last if i]

    def sample(self, end: EndState, t: int) -> SocketSample | None:
        """The socket behind an end at `t`, with its timer; None where there is none."""
        if not self.inferred:
            return next((s for s in self.trace.sockets_at(t) if s[1:4] == end[1:4]), None)
        if end.state in ("", rules.CLOSED):
            return None
        sample = SocketSample(*end[:5], 0, end.unacknowledged)
        if end.state == rules.TIME_WAIT:
            due = end.t + rules.TIME_WAIT_LENGTH
            return sample._replace(timer="timewait", due=due) if t < due else None
        timers = self._ends[end[1:4]].timers
        last = timers[max(bisect_right(timers, t, key=attrgetter("t")) - 1, 0)] if timers else sample
        if last.due is None or not last.t <= t < last.due:
            return sample
        return sample._replace(timer=last.timer, due=last.due, unanswered=last.unanswered)

    def _sockets(self, until: int) -> list[SocketSample]:
        """States and timers as a trace has them, in order of time; what is in its queues is not known."""
        made = []
        for key, end in self._ends.items():
            changes = [b for a, b in pairwise([None, *end.states]) if b and (not a or a.state != b.state)]
            moments = {each.t for each in changes}
            moments |= {each.t + rules.TIME_WAIT_LENGTH for each in changes if each.state == rules.TIME_WAIT}
            moments |= {t for timer in end.timers for t in (timer.t, timer.due or timer.t)}
            for t in sorted(t for t in moments if changes and changes[0].t <= t <= until):
                now = end.states[bisect_right(end.states, t, key=attrgetter("t")) - 1]
                sample = self.sample(now, t) or SocketSample(t, *key, rules.CLOSED)
                made.append(sample._replace(t=t, send_q=0))
        return sorted(made, key=attrgetter("t"))

    def _walk(self, packets: Sequence[Packet]) -> None:
        pairs = []
        for i, p in enumerate(packets):
            ends = p.segment.source, p.segment.destination
            keys = (p.sender, *ends), (p.receiver, *ends[::-1])
            mine, theirs = (self._ends.get(key) or self._ends.setdefault(key, _End(key)) for key in keys)
            pairs.append((mine, theirs))
            if answers(p.segment):
                mine.synack = i
        acknowledged = _acknowledged_fins(packets, pairs)
        for is_arrival, i in in_order(packets):
            p, (mine, theirs) = packets[i], pairs[i]
            if not is_arrival:
                _note_timer(mine, theirs, p)
                _send(mine, theirs, p)
                self._keep(mine, p.t)
                if self.inferred:  # its ACK may show that the other end's FIN has arrived
                    self._keep(theirs, p.t)
            elif p.arrives is not None:
                _receive(theirs, p, i > theirs.synack, mine.in_vain)
                if i in acknowledged:
                    theirs.sees(rules.GETS_FIN)
                self._keep(theirs, p.arrives)

    def _keep(self, end: _End, t: int) -> None:
        state = end.state if self.inferred else ""
        if not end.states:
            if state == rules.CLOSED:
                return
            self._ends[end.key] = self._ends.pop(end.key)  # in order of appearance
        in_flight = 0 if end.nxt is None or end.una is None else max(seq_diff(end.nxt, end.una), 0)
        if not end.states or end.states[-1][4:] != (state, in_flight, end.window):
            end.states.append(EndState(t, *end.key, state, in_flight, end.window))


def _note_timer(mine: _End, theirs: _End, p: Packet) -> None:
    """The timer that sent this packet; what comes sooner than RTO_MIN duplicate ACKs asked for."""
    timer, began = TIMERS.get(p.kind), mine.touched
    mine.touched = theirs.touched = p.t
    if timer and began is not None and p.t - began >= rules.RTO_MIN:
        mine.timers.append(SocketSample(began, *mine.key, "", timer=timer, due=p.t, unanswered=mine.in_vain))


def _send(mine: _End, theirs: _End, p: Packet) -> None:
    """What a packet shows of both ends when it is sent."""
    s = p.segment
    theirs.in_vain = 0
    if s.flags & RST:
        if p.verdict not in (CHALLENGED, IGNORED):
            mine.sees(rules.ABORTS)
        return
    mine.in_vain += p.kind in TIMERS
    if s.flags & SYN:
        mine.state = rules.LISTEN if s.flags & ACK else rules.CLOSED
        mine.sees(rules.GETS_SYN if s.flags & ACK else rules.CONNECTS)
    elif mine.nxt is None and mine.state == rules.CLOSED:  # the capture begins in the middle
        mine.state = rules.ESTABLISHED
        theirs.state = rules.ESTABLISHED if theirs.nxt is None else theirs.state
    is_probe = p.kind in (KEEPALIVE, WINDOW_PROBE)
    if not is_probe and (mine.nxt is None or after(s.end_seq, mine.nxt)):
        mine.una = s.seq if mine.una is None else mine.una
        mine.nxt = s.end_seq
    mine.window = s.window
    if s.flags & ACK and theirs.fin_end is not None and seq_diff(s.ack, theirs.fin_end) >= 0:
        mine.sees(rules.GETS_FIN)
    if s.flags & FIN and mine.fin_end is None:
        mine.sees(rules.GETS_HANDSHAKE_ACK)  # the ACK that the capture missed
        mine.sees(rules.CLOSES)
        mine.fin_end = s.end_seq


def _receive(mine: _End, p: Packet, establishes: bool, in_vain: int) -> None:
    """What a packet changes at the end where it arrives."""
    s = p.segment
    if s.flags & RST:
        if p.verdict not in (CHALLENGED, IGNORED) and in_vain < IN_VAIN:
            mine.sees(rules.GETS_RESET)
        return
    if not s.flags & ACK:
        return
    if s.flags & SYN:
        mine.sees(rules.GETS_SYN_ACK)
    if mine.una is None or after(s.ack, mine.una):
        mine.una = s.ack
    if establishes:
        mine.sees(rules.GETS_HANDSHAKE_ACK)
    if mine.fin_end is not None and seq_diff(s.ack, mine.fin_end) >= 0:
        mine.sees(rules.GETS_FIN_ACK)


def in_order(packets: Sequence[Packet]) -> Iterator[tuple[bool, int]]:
    """Departures and arrivals by time; what arrives at once arrives before anything else is sent."""
    events = [(p.t, 1, i, False) for i, p in enumerate(packets)]
    for i, p in enumerate(packets):
        if p.arrives is not None:
            events.append((max(p.arrives, p.t), int(p.arrives <= p.t), i, True))
    return ((is_arrival, i) for _, _, i, is_arrival in sorted(events))


def _acknowledged_fins(packets: Sequence[Packet], pairs: Sequence[tuple[_End, _End]]) -> set[int]:
    """Places of the FINs that the very next segment of their receiver acknowledges."""
    places = set()
    following: dict[int, Segment] = {}
    for i in range(len(packets) - 1, -1, -1):
        segment, (mine, theirs) = packets[i].segment, pairs[i]
        following[id(mine)] = segment
        answer = following.get(id(theirs)) if segment.flags & FIN else None
        if answer is not None and acks(answer) and seq_diff(answer.ack, segment.end_seq) >= 0:
            places.add(i)
    return places
