"""The effect of each RST, and what stayed unanswered: questions about one followed connection.

Each answer takes one pass over the packets, or a bisection in the index of a pass: the cost of a hostile
capture must stay proportional to its size.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from tcplab.core.connections import acks, answers, opens
from tcplab.core.releases import release
from tcplab.core.segment import ACK, FIN, RST, SYN, Segment, after, seq_add, seq_diff
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.core.trace import Packet, Trace
from tcplab.follow.kinds import CLIENT, KEEPALIVE, OTHER, RETRANSMISSION, WINDOW_PROBE
from tcplab.model import rules
from tcplab.model.rules import ACCEPTED, CHALLENGED, IGNORED

MASK, HALF = 0xFFFFFFFF, 1 << 31
#: The largest window that a header can mean when its scale is unknown (RFC 7323 section 2.3).
WIDEST_SHIFT = 14
#: How many packets after a RST are checked for whether the connection went on.
HORIZON = 1000
#: How many of one side's packets among them are checked for its answer.
NEAR = 16
#: How long an answer may take; the silence after which a middlebox may have dropped its entry.
PATIENCE, SILENCE = SECOND, 3 * SECOND
#: How long segments that were in flight when a RST arrived are still captured.
STRAGGLERS = 50 * MILLISECOND
#: Errors that report a lost connection to a program.
FATAL = ("ETIMEDOUT", "ECONNRESET", "EPIPE", "EHOSTUNREACH", "ENETUNREACH")


@dataclass(slots=True)
class _Receiver:
    """What the receiver of one direction has and has advertised, as far as it was captured."""

    #: RCV.NXT; None before anything is known.
    nxt: int | None = None
    #: Its last ACK number, the right edge of its window, and the end of its out-of-order data.
    acked: int | None = None
    right: int | None = None
    sacked: int | None = None

    def takes(self, segment: Segment) -> None:
        """A segment that is sent to it; one beyond a hole does not advance RCV.NXT."""
        if self.nxt is None or (seq_diff(segment.seq, self.nxt) <= 0 < seq_diff(segment.end_seq, self.nxt)):
            self.nxt = segment.end_seq

    def sends(self, segment: Segment, shift: int) -> None:
        """A segment with ACK that it sends."""
        ack, right = segment.ack, seq_add(segment.ack, segment.window << shift)
        if self.acked is None or after(ack, self.acked):
            self.acked = ack
        if self.nxt is None or after(ack, self.nxt):
            self.nxt = ack
        if self.right is None or after(right, self.right):
            self.right = right
        edges = [edge for _, edge in segment.sack]
        self.sacked = max(edges, key=lambda edge: seq_diff(edge, ack), default=None)


@dataclass(slots=True)
class _Side:
    """The packets of one side by kind; each list holds indexes, in order."""

    places: list[int] = field(default_factory=list)
    #: Data, FINs and probes; FINs alone.
    content: list[int] = field(default_factory=list)
    fins: list[int] = field(default_factory=list)
    #: Where its ACK number rose, and to what, in numbers without the wrap at 32 bits.
    risen: list[int] = field(default_factory=list)
    reached: list[int] = field(default_factory=list)
    #: Its last ACK number, and the highest one that arrived.
    ack: int | None = None
    highest: int | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """A RST that met a live connection."""

    place: int
    sender: str
    #: `accepted`, `challenged`, `ignored`.
    verdict: str
    #: Its distance in bytes from the number that the receiver expected.
    offset: int
    #: The evidence: the challenge ACK, or the segment that continued the connection.
    proof: int | None = None
    #: True when its receiver had sent a FIN, and its sender no data after that: harmless.
    after_close: bool = False


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The last thing that one side sent, answered by nothing or by a RST."""

    #: Who sent it: `client` or `server`.
    side: str
    #: It was answered by a RST that no program sent; False: by nothing at all.
    reset: bool
    #: It was data or a FIN; False: a keepalive probe, or nothing at all before that RST.
    data: bool
    #: When it was first sent, and when the peer's last packet before it arrived; nanoseconds.
    asked: int
    heard: int
    #: How long the connection had been idle before it was sent, nanoseconds; and how many times it was sent.
    silence: int
    attempts: int
    #: When the side gave up, by a RST, a call or a socket, and what its program got; None: unknown.
    ended: int | None
    error: str | None
    #: The peer kept sending and acknowledged none of it: only this direction is broken.
    one_way: bool = False


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
        """The end of the observation, nanoseconds."""
        return max(self.trace.end, self.packets[-1].t if self.packets else 0)

    @cached_property
    def _sides(self) -> dict[str, _Side]:
        sides = {side: _Side() for side in OTHER}
        for i, p in enumerate(self.packets):
            segment, side = p.segment, sides.get(p.sender)
            if side is None:
                side = sides[p.sender] = _Side()
            flags = segment.flags
            side.places.append(i)
            if flags & RST:
                continue
            if segment.length or flags & FIN or p.kind == KEEPALIVE:
                side.content.append(i)
                if flags & FIN:
                    side.fins.append(i)
            if flags & ACK:
                ack, reached = segment.ack, side.reached
                if ack != side.ack:
                    side.ack = ack
                    ahead = (ack - reached[-1]) & MASK if reached else 0
                    if not reached or 0 < ahead < HALF:
                        side.risen.append(i)
                        reached.append(reached[-1] + ahead if reached else ack)
                known = side.highest
                if ack != known and p.arrives is not None and (known is None or after(ack, known)):
                    side.highest = ack
        return sides

    @cached_property
    def _unusual(self) -> list[int]:
        """Where a segment has one of the flags SYN, FIN and RST."""
        return [i for i, p in enumerate(self.packets) if p.segment.flags & (SYN | FIN | RST)]

    @cached_property
    def kinds(self) -> frozenset[str]:
        """The kinds of its packets."""
        return frozenset([p.kind for p in self.packets])

    @cached_property
    def _places(self) -> dict[tuple[str, int], list[int]]:
        return {}

    def places(self, side: str = "", flags: int = 0) -> list[int]:
        """Where `side` (or either) sent a segment with all of these flags."""
        known = self._places.get((side, flags))
        if known is None:
            packets = self.packets
            if flags & (SYN | FIN | RST):
                known = [
                    i for i in self._unusual
                    if packets[i].segment.flags & flags == flags and (not side or packets[i].sender == side)
                ]  # fmt: skip
            else:
                among = self._sides[side].places if side else range(len(packets))
                known = [i for i in among if packets[i].segment.flags & flags == flags] if flags else [*among]
            self._places[side, flags] = known
        return known

    def acknowledged(self, place: int) -> int | None:
        """Where the other side first acknowledged all of the segment at this place; None: it never did."""
        p = self.packets[place]
        peer, end = self._sides[OTHER[p.sender]], p.segment.end_seq
        if not peer.risen:
            return None
        before = bisect_right(peer.risen, place)
        near = peer.reached[max(before - 1, 0)]
        end = near + seq_diff(end, near & MASK)
        if before and end <= near:  # retransmitted, or overtaken by its ACK
            acknowledging = self._acknowledging[OTHER[p.sender]]
            after_it = bisect_right(acknowledging, place)
            return acknowledging[after_it] if after_it < len(acknowledging) else None
        at = max(bisect_left(peer.reached, end), before)
        return peer.risen[at] if at < len(peer.risen) else None

    @cached_property
    def _acknowledging(self) -> dict[str, list[int]]:
        """By side, where its segments have an ACK number."""
        return {side: [i for i in self.places(side) if acks(self.packets[i].segment)] for side in OTHER}

    @cached_property
    def _heard(self) -> dict[str, list[int]]:
        """By side, where its packets arrived and were no keepalive probes."""
        packets = self.packets
        return {
            side: [
                i
                for i in self.places(side)
                if packets[i].kind != KEEPALIVE and packets[i].arrives is not None
            ]
            for side in OTHER
        }

    def heard_before(self, place: int) -> int | None:
        """The last segment that the sender of this one had received; Linux does not count probes."""
        heard = self._heard[OTHER[self.packets[place].sender]]
        at = bisect_left(heard, place)
        return heard[at - 1] if at else None

    def hears_more(self, side: str, place: int) -> bool:
        """True when `side`, after this place, acknowledges bytes that no captured packet carries."""
        return self._beyond[side] > place

    @cached_property
    def _beyond(self) -> dict[str, int]:
        """By side, the last place where it acknowledges bytes that no packet before carries; -1: nowhere."""
        last = dict.fromkeys(OTHER, -1)
        seen: dict[str, int | None] = dict.fromkeys(OTHER)  # by side, how far it has sent, for all one knows
        for i, p in enumerate(self.packets):
            s, side = p.segment, p.sender
            if s.flags & RST:
                continue
            peer = OTHER[side]
            mine, theirs = seen[side], seen[peer]
            end = (s.seq + s.length + (s.flags & FIN) + ((s.flags & SYN) >> 1)) & MASK
            if end != mine and (mine is None or after(end, mine)):
                seen[side] = end
            if s.flags & ACK and s.ack != theirs and (theirs is None or after(s.ack, theirs)):
                if theirs is not None:
                    last[side] = i
                seen[peer] = s.ack
        return last

    def answered(self, probe: int) -> int | None:
        """The peer's next segment, if it comes before the prober's next one and is not a RST."""
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
        return {side: self._sides[OTHER[side]].highest for side in OTHER}

    def unacknowledged(self, side: str) -> list[int]:
        """Where a side sent data or a FIN that was never acknowledged; a keepalive probe is no data."""
        return self._unacknowledged[side]

    @cached_property
    def _unacknowledged(self) -> dict[str, list[int]]:
        packets, found = self.packets, dict[str, list[int]]()
        for side in OTHER:
            acked = self.acked[side]
            found[side] = [
                i for i in self._sides[side].content
                if (acked is None or after((s := packets[i].segment).seq + s.length + (s.flags & FIN), acked))
                and packets[i].kind != KEEPALIVE and not packets[i].segment.flags & SYN
            ]  # fmt: skip
        return found

    def unanswered_data(self, side: str) -> list[int]:
        """Every transmission of the oldest data, or FIN, of this side that was never acknowledged."""
        sent = [(i, self.packets[i].segment) for i in self.unacknowledged(side)]
        data = [(i, s) for i, s in sent if self.packets[i].kind != WINDOW_PROBE]
        if not data:
            return []
        base = data[0][1].seq
        oldest = min((s.seq for _, s in data), key=lambda seq: seq_diff(seq, base))
        return [i for i, s in data if seq_diff(s.seq, oldest) <= 0 < seq_diff(s.end_seq, oldest)]

    def never_answered(self, side: str) -> list[int]:
        """The same, where it was sent at least twice and nothing answered it; else none.

        None where its peer reset it, and where the side acknowledges more of its peer's data than was
        captured: the peer answers then, and the answers do not pass the capture point.
        """
        return self._never_answered[side]

    @cached_property
    def _never_answered(self) -> dict[str, list[int]]:
        found = dict[str, list[int]]()
        for side in OTHER:
            places = self.unanswered_data(side)
            is_reset = any(place > places[0] for place in self.places(OTHER[side], RST)) if places else False
            is_known = len(places) > 1 and not is_reset and not self.hears_more(side, places[0])
            found[side] = places if is_known else []
        return found

    def one_way(self, side: str) -> list[int]:
        """The peer's later packets, which show that only packets from `side` are lost; else none.

        Data or a FIN was sent three times and never answered, while the peer sent at least twice, 1 s or
        more after the first of them.
        """
        return self._one_way[side]

    @cached_property
    def _one_way(self) -> dict[str, list[int]]:
        return {side: self._alive(side) for side in OTHER}

    def _alive(self, side: str) -> list[int]:
        places = self.never_answered(side)
        if len(places) < 3:
            return []
        since = self.packets[places[0]].t + PATIENCE
        theirs = ((i, self.packets[i]) for i in self.places(OTHER[side]))
        alive = [i for i, p in theirs if p.t >= since and p.arrives is not None]
        segments = [self.packets[i].segment for i in alive]
        # A closed window is an answer: the data arrived, and there was no room.
        if len(alive) < 2 or any(acks(s) and not s.window for s in segments):
            return []
        return alive

    @cached_property
    def keepalive_death(self) -> list[int]:
        """Unanswered keepalive probes and the prober's RST+ACK; empty where there are none."""
        probes: dict[str, list[int]] = {side: [] for side in OTHER}
        if KEEPALIVE not in self.kinds or not self.places(flags=RST):
            return []
        for i, p in enumerate(self.packets):
            probes[OTHER[p.sender]].clear()
            mine = probes[p.sender]
            if p.kind == KEEPALIVE:
                mine.append(i)
            elif mine and p.segment.flags & (RST | ACK | SYN) == RST | ACK:
                return [*mine, i]
        return []

    @cached_property
    def _first_closed(self) -> int:
        """The place of the first packet without a window; the number of packets where there is none."""
        packets = self.packets
        return next((i for i, p in enumerate(packets) if not p.segment.window), len(packets))

    def stalled(self, side: str) -> tuple[int, list[int]]:
        """How long the window of `side` was closed, nanoseconds, and which packets advertised that."""
        since: int | None = None
        total = 0
        shut: list[int] = []
        packets = self.packets
        for i in range(self._first_closed, len(packets)):
            p = packets[i]
            flags, window = p.segment.flags, p.segment.window
            is_advertised = p.sender == side and flags & (SYN | RST | ACK) == ACK  # not in a SYN or RST
            if is_advertised and window == 0:
                shut.append(i)
                since = p.t if since is None else since
            elif since is not None and (is_advertised or flags & RST):
                total, since = total + p.t - since, None
        return total + (self.end - since if since is not None else 0), shut

    def unanswered(self, round_trip: int, first: str = CLIENT) -> Unanswered | None:
        """What ended it from outside, if anything; where both sides waited, the view of `first`.

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
        if is_one_way := (broke := self._broke_one_way(side, came)) is not None:
            heard = max((p.arrives or 0 for p in came if p.t < broke), default=None)
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
        return Unanswered(
            side, False, is_data, asked[0].t, heard, silence, len(asked), ended, error, is_one_way
        )  # fmt: skip

    def _broke_one_way(self, side: str, came: list[Packet]) -> int | None:
        """When packets of this side began to be lost while its peer kept sending, nanoseconds; else None."""
        if not self.one_way(side):
            return None
        sent = self.packets[self.never_answered(side)[0]].t
        # What the peer repeats had arrived before that: the acknowledgement was the first that was lost.
        again = {p.segment.end_seq for p in came if p.kind == RETRANSMISSION and p.t > sent}
        first = (p.t for p in came if p.segment.end_seq in again and p.segment.length)
        return min(sent, min(first, default=sent))

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
        """When a side gave up and what its program got: from the trace's records, else from its packets."""
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
        """The place of the RST that ended it, or was its last packet; None when there is none."""
        accepted = [reset.place for reset in self.resets if reset.verdict == ACCEPTED]
        lost = [i for i, p in enumerate(self.packets) if p.segment.flags & RST and p.arrives is None]
        return next((i for i in accepted + lost if self.packets[i].verdict in ("", ACCEPTED)), None)

    @cached_property
    def resets(self) -> tuple[Reset, ...]:
        """Every RST that met the connection after its handshake, with what its receiver did."""
        if not self.places(flags=RST):
            return ()
        # By the name of its peer: receivers[CLIENT] is the server.
        receivers = {side: _Receiver() for side in OTHER}
        fins: dict[str, list[int]] = {side: [] for side in OTHER}
        begun = not self.places(flags=SYN)
        shift = WIDEST_SHIFT if begun else 0
        stale = self.stale_half
        judged: list[Reset] = []
        closed: set[str] = set()
        for i, p in enumerate(self.packets):
            segment, receiver = p.segment, receivers[p.sender]
            if segment.flags & RST:
                mine, theirs = fins[OTHER[p.sender]], fins[p.sender]
                # A receiver that has closed in both directions has nothing left to reset.
                is_repeated = bool(mine) and self.packets[mine[-1]].kind == RETRANSMISSION
                is_closed = mine and theirs and not is_repeated and (self.acknowledged(mine[0]) or i) < i
                if begun and not is_closed and i not in stale and p.sender not in closed:
                    judged += self._judged(i, receiver, after_fin=bool(theirs))
                    if judged and judged[-1].place == i and judged[-1].verdict == ACCEPTED:
                        if not judged[-1].after_close:
                            break
                        closed.add(p.sender)
                continue
            begun = begun or (p.sender == CLIENT and bool(segment.flags & ACK)) or answers(segment)
            receiver.takes(segment)
            if segment.flags & ACK:
                receivers[OTHER[p.sender]].sends(segment, shift)
            if segment.flags & FIN:
                fins[p.sender].append(i)
        return tuple(judged)

    @cached_property
    def stale_half(self) -> tuple[int, ...]:
        """A SYN, the bare ACK that does not acknowledge it, and the client's RST for that; else empty.

        The server still has an older connection of this four-tuple: its challenge ACK (RFC 5961
        section 4.2) draws a RST at the number that it acknowledges (RFC 9293 section 3.10.7.3).
        """
        i = -1
        for syn in self.places(CLIENT, SYN):
            if syn <= i or not opens(self.packets[syn].segment):
                continue
            asked = syn
            for i in range(syn + 1, len(self.packets)):
                p, s = self.packets[i], self.packets[i].segment
                by_client, is_reset = p.sender == CLIENT, bool(s.flags & RST)
                if by_client and opens(s):
                    asked = i
                elif by_client != is_reset or answers(s):  # only the client's RST changes nothing
                    break
                elif not by_client and acks(s) and not s.length and not s.flags & FIN:
                    if s.ack == self.packets[asked].segment.end_seq:
                        continue
                    rest = self._sides[CLIENT].places
                    after_it = bisect_right(rest, i)
                    mine = ((j, self.packets[j].segment) for j in rest[after_it : after_it + 1])
                    return (asked, i, *(j for j, mine in mine if mine.flags & RST and mine.seq == s.ack))
        return ()

    def _after_close(self, place: int) -> bool:
        """The receiver of this RST had sent a FIN, or one that crossed it, and its sender no data after."""
        sender = self.packets[place].sender
        fins, content = self._sides[OTHER[sender]].fins, self._sides[sender].content
        later = content[bisect_right(content, fins[0]) :] if fins else []
        return bool(fins) and not any(self.packets[i].segment.length for i in later)

    def _judged(self, place: int, receiver: _Receiver, *, after_fin: bool) -> Iterator[Reset]:
        """The RST at this place, if its effect can be determined."""
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
            elif verdict != ACCEPTED and proof is None and self._counts_unseen(place, nxt):
                verdict = ACCEPTED
            elif verdict == CHALLENGED and seq != receiver.acked:
                return  # neither an answer nor a continuation
            elif verdict == CHALLENGED:
                verdict = ACCEPTED  # exact by the receiver's ACK: what was in flight had not arrived
        is_late = verdict == ACCEPTED and self._after_close(place)
        yield Reset(place, p.sender, verdict, seq_diff(seq, nxt), proof, is_late)

    def _counts_unseen(self, place: int, nxt: int) -> bool:
        """Whether the number of this RST counts bytes that no captured packet carries."""
        p = self.packets[place]
        content = self._sides[p.sender].content
        return after(p.segment.seq, nxt) and not any(self.packets[i].segment.length for i in content)

    def _reaction(self, place: int, acked: int | None, nxt: int) -> tuple[int | None, int | None]:
        """After a RST, the challenge ACK (a bare one that repeats the last), and the ACK of later bytes."""
        rst, packets = self.packets[place], self.packets
        sender, receiver = self._sides[rst.sender], self._sides[OTHER[rst.sender]]
        more = bisect_right(sender.content, place)
        alone_until = sender.content[more] if more < len(sender.content) else len(packets)
        challenge = None
        answer = bisect_right(receiver.places, place)
        for i in receiver.places[answer : answer + NEAR]:
            s = packets[i].segment
            if i > alone_until or packets[i].t - rst.t > SECOND:
                break
            if s.flags & (ACK | FIN | RST) == ACK and not s.length and s.ack == acked:
                challenge = i
                break
        sent = next(
            (i for i in sender.content[more : more + NEAR] if after(packets[i].segment.end_seq, nxt)), None
        )
        at = bisect_right(receiver.risen, place if sent is None else sent)
        near = receiver.reached[max(at - 1, 0)] if receiver.reached else 0
        beyond = near + seq_diff(nxt, near & MASK)
        at = max(bisect_right(receiver.reached, beyond), at)
        if sent is not None and at < len(receiver.risen) and receiver.risen[at] - place < HORIZON:
            return challenge, receiver.risen[at]
        return challenge, None
