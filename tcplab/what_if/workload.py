"""What the two programs of a connection did, taken out of its packets, for a replay.

An application event is a call of a program: bytes it sent, its close. Packets show when it happened, how
many bytes the program's side had received by then (the ACK number), and so how long the program waited.
What TCP did by itself (retransmissions, probes, ACKs) is left out: another run decides that.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from operator import attrgetter

from tcplab import follow
from tcplab.core.connections import answers, opens
from tcplab.core.knobs import ParameterError
from tcplab.core.segment import ACK, FIN, PSH, RST, SYN, Endpoint, seq_diff
from tcplab.core.text import plural
from tcplab.core.trace import Packet, Trace
from tcplab.follow import CLIENT, OTHER, SERVER, Followed, Unanswered
from tcplab.model.rules import ACCEPTED

#: What a program can do to its end of a connection.
SEND, SHUTDOWN, CLOSE, RESET = "send", "shutdown", "close", "reset"
#: Payload of a full segment where no SYN shows it: Ethernet's 1460 less the timestamp option.
USUAL_MSS = 1448
#: What the model sends at once at most: its first window, in full segments of Ethernet.
MOST_SEGMENTS, REPLAYED_MSS = 10, 1448


@dataclass(frozen=True, slots=True)
class ApplicationEvent:
    """One call of a program."""

    #: `client` or `server`.
    side: str
    #: `send`, `shutdown` (a FIN, but it goes on reading), `close` or `reset` (a RST instead of a FIN).
    call: str
    #: When its first segment passed, nanoseconds of the trace's clock.
    t: int
    #: Bytes sent; 0 where it closes.
    length: int = 0
    #: Bytes of the peer's that this side had received by then, and whether it had received its FIN.
    received: int = 0
    got_fin: bool = False
    #: How long the program waited since the last of that had come and its own last event, nanoseconds.
    after: int = 0
    #: How many times its first segment, or its FIN, was lost before it arrived.
    lost: int = 0


@dataclass(frozen=True)
class Workload:
    """What both programs did, and what the network did to them."""

    client: Endpoint
    server: Endpoint
    events: tuple[ApplicationEvent, ...]
    #: Nanoseconds to each side and back from where the segments were seen; 0 for a run, which saw both.
    near: Mapping[str, int]
    #: Payload of a full segment, bytes.
    mss: int
    #: When the first segment passed, and when the trace ends, nanoseconds of its clock.
    began: int
    end: int
    #: The connection was there before the trace began.
    midstream: bool
    #: What stayed without an answer; None when nothing did.
    unanswered: Unanswered | None
    #: The longest silence after which it went on, nanoseconds.
    quiet: int = 0
    #: How many SYNs or SYN-ACKs of each side were lost.
    lost_syns: Mapping[str, int] = field(default_factory=dict)
    #: The connection itself, its ends named `client` and `server`.
    followed: Followed = field(default=Followed(Trace("", "capture")), repr=False)

    @property
    def packets(self) -> Sequence[Packet]:
        """Packets of this connection as `client` and `server`, in order of time."""
        return self.followed.packets

    @property
    def round_trip(self) -> int:
        """From client to server and back, nanoseconds; 0 when the trace doesn't show it."""
        return self.near[CLIENT] + self.near[SERVER]


def workload(trace: Trace) -> Workload:
    """Take the programs' calls out of one connection's packets.

    `trace` is a connection of a capture or a run with a single one. Raises `ParameterError` where
    there is none, more than one, or one that was never established.
    """
    client, server = _ends(trace)
    packets = _named(trace, {client: CLIENT, server: SERVER})
    followed = Followed(replace(trace, packets=packets))
    seen_by_both = trace.bench != "capture"
    flights = [p.arrives - p.t for p in packets if p.arrives is not None and p.kind != "forged"]
    near = dict.fromkeys(OTHER, min(flights, default=0)) if seen_by_both else _near(packets)
    lag = dict.fromkeys(OTHER, 0) if seen_by_both else near
    unanswered = followed.unanswered(near[CLIENT] + near[SERVER])
    # The longest time in which nothing passed and after which the connection still worked.
    until = packets[-1].t if unanswered is None else unanswered.heard
    passed = [p.t for p in packets if p.arrives is not None and p.t <= until]
    quiet = max((later - one for one, later in pairwise(passed)), default=0)
    offers = [p.segment.mss for p in packets if p.segment.flags & SYN and p.segment.mss]
    option = 12 * any(p.segment.timestamps is not None for p in packets)
    return Workload(
        client, server, tuple(_events(followed, lag, unanswered)), near,
        mss=min(offers) - option if offers else USUAL_MSS,
        began=packets[0].t, end=followed.end,
        midstream=not any(p.segment.flags & SYN for p in packets),
        unanswered=unanswered, quiet=quiet, lost_syns=_lost_syns(packets), followed=followed,
    )  # fmt: skip


def shortened(work: Workload) -> tuple[Workload, tuple[str, ...]]:
    """What the model can replay of it, no message longer than ten full segments, and a sentence on that."""
    most = MOST_SEGMENTS * REPLAYED_MSS
    long = [event for event in work.events if event.length > most]
    if not long:
        return work, ()
    ends: dict[str, list[tuple[int, int]]] = {CLIENT: [(0, 0)], SERVER: [(0, 0)]}
    for event in work.events:
        begin, kept = ends[event.side][-1]
        ends[event.side].append((begin + event.length, kept + min(event.length, most)))

    def kept_of(side: str, count: int) -> int:
        i = max(bisect_right(ends[side], count, key=lambda end: end[0]) - 1, 0)
        begin, so_far = ends[side][i]
        return so_far + min(count - begin, most)

    events = tuple(
        replace(each, length=min(each.length, most), received=kept_of(OTHER[each.side], each.received))
        for each in work.events
    )
    largest = max(event.length for event in long)
    said = (
        f"{len(long)} of {len(work.events)} messages are longer than the ten full segments that the model "
        f"sends at once (the largest has {largest:,} bytes): they are played as {most:,} bytes each, and how "
        "long a transfer takes can't be seen from this."
    )
    return replace(work, events=events), (said,)


def not_replayed(work: Workload) -> tuple[str, ...]:
    """What no run repeats of it, a sentence each."""
    sentences = []
    resets = [reset for reset in work.followed.resets if reset.verdict != ACCEPTED]
    if resets:
        what = "A RST" if len(resets) == 1 else f"{len(resets)} RSTs"
        sentences.append(f"{what} ended nothing here: forged or late ones are not played.")
    probed = any(p.kind == follow.WINDOW_PROBE for p in work.packets)
    if probed or any(work.followed.stalled(side)[1] for side in OTHER):
        sentences.append(
            "A receiver was slow here, and its window closed: the programs of the model read at once, so "
            "that such waits are not in its runs."
        )
    until = _path_works_until(work.end, work.unanswered)
    repeated = sum(p.kind == follow.RETRANSMISSION and p.t < until for p in work.packets)
    others = repeated - sum(event.lost for event in work.events) - sum(work.lost_syns.values())
    if others > 0:
        what = f"{plural(others, 'segment')} {'was' if others == 1 else 'were'}"
        sentences.append(
            f"{what} retransmitted here in the middle of a message while the path still worked: only the "
            "loss of a message's first segment is replayed."
        )
    return tuple(sentences)


def _path_works_until(end: int, unanswered: Unanswered | None) -> int:
    """Until when a retransmission means a single loss, nanoseconds."""
    if unanswered is None:
        return end + 1
    return unanswered.heard + 1 if unanswered.one_way else unanswered.asked


def _lost_syns(packets: Sequence[Packet]) -> dict[str, int]:
    """How often each side sent its SYN again before the handshake went on."""
    opening = [p for p in packets if p.segment.flags & SYN]
    return {side: max(sum(p.sender == side for p in opening) - 1, 0) for side in OTHER}


# -- whose segments ------------------------------------------------------------------------------


def _ends(trace: Trace) -> tuple[Endpoint, Endpoint]:
    pairs = {frozenset((p.segment.source, p.segment.destination)) for p in trace.packets}
    if not pairs:
        raise ParameterError(
            "connection has no segments: give one of a capture, as read_capture(FILE).connection(0)."
        )
    if len(pairs) > 1:
        raise ParameterError(
            f"connection holds {len(pairs)} connections, and what_if plays one: give a single one, "
            "as read_capture(FILE).connection(0)."
        )
    answered = any(answers(p.segment) and p.arrives is not None for p in trace.packets)
    opening = next((p for p in trace.packets if opens(p.segment)), None)
    if opening is not None and not answered:
        raise ParameterError(
            "connection never came about: no SYN-ACK answers its SYN, so there is nothing to play again."
        )
    if opening is not None:
        return opening.segment.source, opening.segment.destination
    first = next((p for p in trace.packets if p.sender == CLIENT), trace.packets[0]).segment
    return first.source, first.destination


def _named(trace: Trace, names: Mapping[Endpoint, str]) -> list[Packet]:
    """This connection's packets, each side by its role; a middlebox's RST has the peer's name."""
    packets = [
        replace(p, sender=names[p.segment.source], receiver=names[p.segment.destination])
        for p in sorted(trace.packets, key=attrgetter("t"))
    ]
    follow.classify(packets)
    return packets


def _near(packets: Sequence[Packet]) -> dict[str, int]:
    """The shortest time that each side takes to answer, as seen from the point of capture."""
    least: dict[str, int] = {}
    for side, other in OTHER.items():
        waiting: Packet | None = None
        for p in packets:
            if p.segment.flags & RST or p.kind:
                waiting = None if p.sender == other else waiting
            elif p.sender == other:
                if waiting is None and (p.segment.length or p.segment.flags & (SYN | FIN)):
                    waiting = p
            elif waiting is not None and _acknowledges(p, waiting):
                least[side] = min(least.get(side, p.t - waiting.t), p.t - waiting.t)
                waiting = None
    return {side: least.get(side, 0) for side in OTHER}


def _acknowledges(p: Packet, other: Packet) -> bool:
    return bool(p.segment.flags & ACK) and seq_diff(p.segment.ack, other.segment.end_seq) >= 0


# -- what was done -------------------------------------------------------------------------------


class _Stream:
    """One direction: which of its bytes were seen, and when each had come to the other side."""

    def __init__(self) -> None:
        #: Sequence number of the first byte seen, of the next new one, and of its FIN.
        self.first: int | None = None
        self.next: int | None = None
        self.fin: int | None = None
        self.fin_arrived = 0
        #: Bytes in the events so far.
        self.sent = 0
        #: (bytes so far, when they had arrived).
        self.arrived: list[tuple[int, int]] = [(0, 0)]

    def count(self, seq: int) -> int:
        """Bytes before a sequence number."""
        return max(0, seq_diff(seq, self.first)) if self.first is not None else 0

    def when(self, count: int) -> int:
        """When the first so many bytes had arrived."""
        at = bisect_left(self.arrived, count, key=lambda each: each[0])
        return self.arrived[min(at, len(self.arrived) - 1)][1]

    def take(self, p: Packet) -> int:
        """A packet with data: how many of its bytes are new."""
        if self.next is None:
            return 0
        end = (p.segment.seq + p.segment.length) & 0xFFFFFFFF
        new = max(0, seq_diff(end, self.next))
        if p.arrives is not None and (reached := self.count(end)) > self.arrived[-1][0]:
            self.arrived.append((reached, p.arrives))
        self.next = end if new else self.next
        self.sent += new
        return new


def _events(
    followed: Followed, lag: Mapping[str, int], unanswered: Unanswered | None
) -> list[ApplicationEvent]:
    packets = followed.packets
    streams = {CLIENT: _Stream(), SERVER: _Stream()}
    for p in packets:
        stream = streams[p.sender]
        if stream.first is None and _is_data(p):
            stream.first = stream.next = p.segment.seq
    #: By side, the place of a message that the next data continues.
    unfinished: dict[str, int] = {}
    #: By side and sequence number, the event that a segment began; a late acknowledgement is no loss.
    first_of: dict[tuple[str, int], int] = {}
    until = _path_works_until(followed.end, unanswered)
    events: list[ApplicationEvent] = []
    last = _connected(packets, lag)
    for p in packets:
        segment, side = p.segment, p.sender
        mine, theirs = streams[side], streams[OTHER[side]]
        if segment.flags & RST or not (_is_data(p) or segment.flags & FIN):
            continue
        if (i := first_of.get((side, segment.seq))) is not None and p.t < until:
            events[i] = replace(events[i], lost=events[i].lost + 1)
        if new := mine.take(p) if segment.length else 0:
            if side in unfinished:
                i = unfinished[side]
                events[i] = replace(events[i], length=events[i].length + new)
            else:
                unfinished[side] = first_of[side, segment.seq] = len(events)
                events.append(_event(SEND, p, new, theirs, lag[side], last))
            if segment.flags & PSH:
                del unfinished[side]
        if segment.flags & FIN and mine.fin is None:
            mine.fin = (segment.seq + segment.length) & 0xFFFFFFFF
            mine.fin_arrived = p.t if p.arrives is None else p.arrives
            unfinished.pop(side, None)
            call = SHUTDOWN if _reads_on(packets, p) else CLOSE
            if not segment.length:
                first_of[side, segment.seq] = len(events)
            events.append(_event(call, p, 0, theirs, lag[side], last))
    if followed.ended_by is not None:
        p = packets[followed.ended_by]
        if _is_by_program(p, unanswered, events):
            events.append(_event(RESET, p, 0, streams[OTHER[p.sender]], lag[p.sender], last))
    return events


def _connected(packets: Sequence[Packet], lag: Mapping[str, int]) -> dict[str, int]:
    """When each side's program can begin: connect() and accept() have returned."""
    began = dict.fromkeys(OTHER, packets[0].t)
    for p in packets:
        if answers(p.segment) and p.arrives is not None:
            began[CLIENT] = p.arrives + lag[CLIENT]
        elif p.sender == CLIENT and not p.segment.flags & SYN and p.arrives is not None:
            began[SERVER] = p.arrives + lag[SERVER]
            break
    return began


def _reads_on(packets: Sequence[Packet], fin: Packet) -> bool:
    """True when this side acknowledged more after its FIN, or reset the connection by itself."""
    rest = [p for p in packets if p.t > fin.t]
    if any(p.sender == fin.sender and p.segment.flags & (RST | ACK) == RST | ACK for p in rest):
        return True
    had = fin.segment.ack
    sent = [
        p for p in rest if p.sender != fin.sender and _is_data(p) and seq_diff(p.segment.end_seq, had) > 0
    ]
    return bool(sent) and any(p.sender == fin.sender and _acknowledges(p, sent[0]) for p in rest)


def _is_data(p: Packet) -> bool:
    is_probe = p.kind in (follow.KEEPALIVE, follow.WINDOW_PROBE)
    return bool(p.segment.length) and not p.segment.flags & RST and not is_probe


def _event(
    call: str, p: Packet, length: int, theirs: _Stream, lag: int, last: dict[str, int]
) -> ApplicationEvent:
    """The call that this packet begins; `last` is the time of each side's last event, and is updated."""
    has_ack = bool(p.segment.flags & ACK)
    received = theirs.count(p.segment.ack) if has_ack else theirs.arrived[-1][0]
    got_fin = theirs.fin is not None and has_ack and seq_diff(p.segment.ack, theirs.fin) > 0
    received -= got_fin
    came = theirs.when(received) + lag if received else 0
    since = max(came, theirs.fin_arrived + lag if got_fin else 0, last[p.sender])
    last[p.sender] = p.t
    received = min(received, theirs.sent)  # no more than was seen to be sent
    return ApplicationEvent(p.sender, call, p.t, length, received, got_fin, max(0, p.t - since))


def _is_by_program(p: Packet, unanswered: Unanswered | None, events: Sequence[ApplicationEvent]) -> bool:
    """True for a RST that a program's close() sent: not TCP's own for a dead peer or a lost socket."""
    if any(event.side == p.sender and event.call in (CLOSE, SHUTDOWN) for event in events):
        return bool(p.segment.flags & ACK)  # a socket that is gone sends none
    return unanswered is None
