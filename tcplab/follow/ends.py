"""Both ends' states at any moment, and the timers that sent their packets."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple

from tcplab.core.connections import acks, answers
from tcplab.core.segment import ACK, FIN, RST, SYN, Endpoint, Segment, after, seq_diff
from tcplab.core.trace import Packet, SocketSample, Trace
from tcplab.follow.followed import Followed
from tcplab.follow.kinds import KEEPALIVE, OTHER, RETRANSMISSION, WINDOW_PROBE
from tcplab.model import rules
from tcplab.model.rules import CHALLENGED, IGNORED

#: Which timer sends a packet of this kind, in ss's words.
TIMERS = {RETRANSMISSION: "on", KEEPALIVE: "keepalive", WINDOW_PROBE: "persist"}
#: After this many unanswered packets in a row, a RST is assumed not to arrive either.
IN_VAIN = 2

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
    #: Its unacknowledged bytes as far as captured; the window that it last advertised.
    unacknowledged: int
    window: int | None


@dataclass(slots=True)
class _End:
    """The known state of one end while the packets are processed."""

    key: Key
    state: str = rules.CLOSED
    #: The number after the last byte sent; the acknowledged number; the number after its FIN.
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
    #: The intervals in which a timer ran, up to the packet that it sent.
    timers: list[SocketSample] = field(default_factory=list)

    def sees(self, event: str) -> None:
        """Apply an event, if the table has it for this state."""
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
        """The socket of an end at `t`, with its timer; None where there is none."""
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
        """States and timers as socket samples, in order of time; their queues are unknown."""
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
    """Note the timer that sent this packet; duplicate ACKs cause a retransmission sooner than RTO_MIN."""
    timer, began = TIMERS.get(p.kind), mine.touched
    mine.touched = theirs.touched = p.t
    if timer and began is not None and p.t - began >= rules.RTO_MIN:
        mine.timers.append(SocketSample(began, *mine.key, "", timer=timer, due=p.t, unanswered=mine.in_vain))


def _send(mine: _End, theirs: _End, p: Packet) -> None:
    """Update both ends for a packet that is sent."""
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
    elif mine.nxt is None and mine.state == rules.CLOSED:  # the capture starts midstream
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
    """Update the end where a packet arrives."""
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
    """Departures and arrivals by time; an immediate arrival precedes the next departure."""
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
