"""Both ends of a connection at every moment, as far as its segments tell: for a replay.

A model and a Linux bench know their sockets. A capture knows segments only, so that what an end was
in is inferred, by the model's own table of states. Nothing is claimed that the capture can't show:

- a FIN has arrived when a segment of the other end acknowledges it: at once where that is its next;
- the RST of an end that nobody answers any more is not taken to have arrived;
- a timer is named where the segment follows that it sent: the capture shows when it ran out;
- what waits unread at a receiver, and what a sender could not send yet, no segment tells.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from tcplab.kinds import KEEPALIVE, RETRANSMISSION, WINDOW_PROBE
from tcplab.model import states as machine
from tcplab.model.rst import CHALLENGED, IGNORED
from tcplab.segment import ACK, FIN, RST, SYN, Endpoint, after, seq_diff
from tcplab.trace import MILLISECOND, SECOND, Passage, SocketSample, Trace

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
        passages = self.trace.passages
        asks = {  # the last SYN-ACK of each end: before it, no ACK has brought it up
            (p.sender, p.segment.source, p.segment.destination): i
            for i, p in enumerate(passages)
            if p.segment.flags & (SYN | ACK) == SYN | ACK
        }
        answered = _answered_fins(passages)
        for is_arrival, i in _in_order(passages):
            p = passages[i]
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

    def _sent(self, mine: _Side, theirs: _Side, p: Passage) -> None:
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

    def _arrived(self, mine: _Side, p: Passage, up: bool, in_vain: int) -> None:
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
        for p in self.trace.passages:
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


def _in_order(passages: list[Passage]) -> Iterator[tuple[bool, int]]:
    """Departures and arrivals by time; what arrives at once arrives before anything else is sent."""
    events: list[tuple[int, int, int, bool]] = []
    for i, p in enumerate(passages):
        events.append((p.t, 1, i, False))
        if p.arrives is not None:
            events.append((max(p.arrives, p.t), 1 if p.arrives <= p.t else 0, i, True))
    for _, _, i, is_arrival in sorted(events):
        yield is_arrival, i


def _answered_fins(passages: list[Passage]) -> set[int]:
    """Places of the FINs that the very next segment of their receiver acknowledges."""
    found = set()
    following: dict[Key, Passage] = {}
    for i in range(len(passages) - 1, -1, -1):
        p = passages[i]
        mine = (p.sender, p.segment.source, p.segment.destination)
        answer = following.get((p.receiver, p.segment.destination, p.segment.source))
        following[mine] = p
        if answer is None or not p.segment.flags & FIN or answer.segment.flags & (ACK | RST) != ACK:
            continue
        if seq_diff(answer.segment.ack, p.segment.end_seq) >= 0:
            found.add(i)
    return found


def judged(trace: Trace, verdicts: dict[int, str]) -> Trace:
    """The trace with the verdicts on its RSTs, by their place among the passages."""
    if not verdicts:
        return trace
    passages = [replace(p, verdict=verdicts[i]) if i in verdicts else p for i, p in enumerate(trace.passages)]
    return replace(trace, passages=passages)
