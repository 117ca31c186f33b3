"""What the two programs of a connection did: taken out of its segments, to be played again.

A deed is what a program called: bytes it sent, its close. Segments say when it happened, how many
bytes the program's side had received by then (the ACK number), and so how long it thought. What TCP
did by itself (sent again, probed, acknowledged) is left out: that is what another run shall decide.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

from tcplab.core.knobs import ParameterError
from tcplab.core.segment import ACK, FIN, PSH, RST, SYN, Endpoint, seq_diff
from tcplab.core.text import MILLISECOND, SECOND, duration
from tcplab.core.trace import Packet, Trace
from tcplab.follow import KEEPALIVE, RETRANSMISSION, WINDOW_PROBE, classify, standstill

# ----------------------------------------------------------------------
# From when on nobody answered any more: who asked, what came back, and after how long a silence.

OTHER_END = {"client": "server", "server": "client"}
#: An answer may take this long; and after so long a silence a box on the way may have forgotten.
PATIENCE = SECOND
SILENCE = 3 * SECOND
#: What is on its way when a RST arrives still passes.
STRAGGLERS = 50 * MILLISECOND
#: Errors by which a program learns that its connection is gone.
FATAL = ("ETIMEDOUT", "ECONNRESET", "EPIPE", "EHOSTUNREACH", "ENETUNREACH")


@dataclass(frozen=True, slots=True)
class Death:
    """What was asked last, and got no answer or a RST."""

    #: Who asked: `client` or `server`.
    side: str
    #: It was answered by a RST that no program sent; False: by nothing at all.
    reset: bool
    #: It was data or a FIN; False: a keepalive probe, or nothing at all before that RST.
    data: bool
    #: When it was first asked, and when its peer was last heard before; nanoseconds.
    asked: int
    heard: int
    #: How long nothing had passed before it was asked, nanoseconds.
    silence: int
    #: How often it was asked.
    attempts: int
    #: When the side gave up, as a RST, a recorded call or a socket tells; None where nothing does.
    ended: int | None = None
    #: What its program was told, where that is recorded.
    error: str | None = None


def death_of(
    trace: Trace, packets: tuple[Packet, ...], round_trip: int, first: str = "client"
) -> Death | None:
    """What ended it from outside, if anything did; where both asked in vain, the view of `first`."""
    reset = ended_by_reset(packets)
    if reset is not None and (refused := _refused(trace, packets, reset, round_trip)) is not None:
        return refused
    found = [_unanswered(trace, packets, side, reset) for side in (first, OTHER_END[first])]
    return next((death for death in found if death is not None), None)


def ended_by_reset(packets: tuple[Packet, ...]) -> int | None:
    """Where the RST stands that ended it; None when there is none, or it went on after every one."""
    for i, p in enumerate(packets):
        if not p.segment.flags & RST or p.arrives is None or p.verdict in ("challenged", "ignored"):
            continue
        rest = (q for q in packets[i + 1 :] if not q.segment.flags & RST)
        if all(q.t - p.t <= STRAGGLERS for q in rest):
            return i
    return next(
        (i for i, p in enumerate(packets) if p.segment.flags & RST and p.arrives is None and not p.verdict),
        None,
    )


# -- nothing came back ---------------------------------------------------------------------------


def _unanswered(trace: Trace, packets: tuple[Packet, ...], side: str, reset: int | None) -> Death | None:
    answers = [
        p for p in packets
        if p.sender != side and p.arrives is not None and not p.segment.flags & RST
    ]  # fmt: skip
    if not answers:
        return None
    heard = max(p.arrives for p in answers if p.arrives is not None)
    acked = [p.segment.ack for p in answers if p.segment.flags & ACK]
    furthest = max(acked, key=lambda ack: seq_diff(ack, acked[0]), default=None)
    asked = [p for p in packets if p.sender == side and _asks(p, heard, furthest)]
    if not asked:
        return None
    first = asked[0]
    gave_up = packets[reset].t if reset is not None and packets[reset].sender == side else None
    ended, error = _told(trace, side, first.t)
    watched = max(trace.end, gave_up or 0, packets[-1].t)
    once = len(asked) == 1 and gave_up is None and ended is None
    if watched - first.t < PATIENCE or (once and first.kind == KEEPALIVE and watched == first.t):
        return None
    if any(p.sender != side and p.segment.flags & RST and p.arrives is not None for p in packets):
        return None
    return Death(
        side, False, first.kind != KEEPALIVE, first.t, heard, first.t - _passed_before(packets, first),
        len(asked), ended if ended is not None else gave_up, error or ("ETIMEDOUT" if gave_up else None),
    )  # fmt: skip


def _asks(p: Packet, heard: int, acked: int | None) -> bool:
    """Wants an answer, and got none."""
    if p.segment.flags & (RST | SYN):
        return False
    if p.kind == KEEPALIVE:
        return p.t >= heard
    unacked = acked is None or seq_diff(p.segment.end_seq, acked) > 0
    return bool(p.segment.length or p.segment.flags & FIN) and unacked


def _passed_before(packets: tuple[Packet, ...], asked: Packet) -> int:
    """When the last segment passed before this one."""
    return max((p.t for p in packets if p.t < asked.t and p.arrives is not None), default=asked.t)


def _told(trace: Trace, side: str, since: int) -> tuple[int | None, str | None]:
    """When Linux gave up and what the program was told, where the trace has more than segments."""
    calls = (c for c in trace.calls if c.host == side and c.t >= since and c.result in FATAL)
    call = next(calls, None)
    gone = next((s.t for s in trace.sockets if s.host == side and s.state == "CLOSED" and s.t >= since), None)
    if call is not None:
        return call.t if gone is None else min(gone, call.t), call.result
    return (gone, None) if trace.bench != "capture" else (None, None)


# -- a RST came back -----------------------------------------------------------------------------


def _refused(trace: Trace, packets: tuple[Packet, ...], at: int, round_trip: int) -> Death | None:
    """A RST from nowhere: it answers what was asked, or breaks a long silence, and nobody had closed."""
    p = packets[at]
    victim = p.receiver
    forged = p.kind == "forged"
    if p.segment.flags & ACK and not forged:
        return None  # a program's close, or keepalive that gave up: tcp_send_active_reset sets ACK
    if any(q.sender == p.sender and q.segment.flags & FIN for q in packets[:at]):
        return None
    before = [q for q in packets[:at] if q.arrives is not None]
    heard = max((q.arrives for q in before if q.sender == p.sender and q.arrives is not None), default=p.t)
    asked = [
        q for q in packets[:at]
        if q.sender == victim and q.t >= heard and (q.segment.length or q.segment.flags & FIN or q.kind)
    ]  # fmt: skip
    answers = asked and p.t - asked[-1].t <= round_trip + STRAGGLERS
    first = asked[0] if answers else p
    silence = first.t - _passed_before(packets, first)
    if silence < SILENCE and not forged and not (answers and first.kind == KEEPALIVE):
        return None
    ended, error = _told(trace, victim, first.t)
    is_data = bool(answers) and first.kind in ("", RETRANSMISSION)
    return Death(
        victim, True, is_data, first.t, heard, silence, len(asked) if answers else 0,
        ended if ended is not None else p.t, error or "ECONNRESET",
    )  # fmt: skip


CLIENT, SERVER = "client", "server"
OTHER = {CLIENT: SERVER, SERVER: CLIENT}
#: What a program can do to its end of a connection.
SEND, SHUTDOWN, CLOSE, RESET = "send", "shutdown", "close", "reset"
#: Payload of a full segment where no SYN tells: Ethernet's 1460 less the timestamp option.
USUAL_MSS = 1448
#: What the model sends at once at most: its first window, in full segments of Ethernet.
MOST_SEGMENTS, PLAYED_MSS = 10, 1448


@dataclass(frozen=True, slots=True)
class Deed:
    """One call of a program."""

    #: `client` or `server`.
    side: str
    #: `send`, `shutdown` (a FIN, but it goes on reading), `close` or `reset` (a RST instead of a FIN).
    what: str
    #: When its first segment passed, nanoseconds of the trace's clock.
    t: int
    #: Bytes sent; 0 where it closes.
    length: int = 0
    #: Bytes of the peer's that this side had received by then, and whether its FIN was in, too.
    heard: int = 0
    hung_up: bool = False
    #: How long the program waited since the last of that had come and its own last deed, nanoseconds.
    after: int = 0


@dataclass(frozen=True)
class Workload:
    """What both programs did, and what the network did to them."""

    client: Endpoint
    server: Endpoint
    deeds: tuple[Deed, ...]
    #: Nanoseconds to each side and back from where the segments were seen; 0 for a run, which saw both.
    near: Mapping[str, int]
    #: Payload of a full segment, bytes.
    mss: int
    #: When the first segment passed, and when the trace ends, nanoseconds of its clock.
    began: int
    end: int
    #: The connection was there before the trace began.
    midstream: bool
    #: From when on nobody answered any more; None when nothing of the kind is seen.
    death: Death | None
    #: The longest silence after which it went on, and when that began; nanoseconds.
    quiet: int = 0
    quiet_since: int = 0
    #: Packets of this connection as `client` and `server`, in order of time.
    packets: tuple[Packet, ...] = field(default=(), repr=False)

    @property
    def round_trip(self) -> int:
        """From client to server and back, nanoseconds; 0 when the trace doesn't show it."""
        return self.near[CLIENT] + self.near[SERVER]

    def sent(self, side: str) -> int:
        """Bytes that a side sent in all."""
        return sum(deed.length for deed in self.deeds if deed.side == side)


def workload(trace: Trace) -> Workload:
    """Take the programs' doings out of one connection's segments.

    `trace` is a connection of a capture or a run with a single one. Raises `ParameterError` where
    there is none, more than one, or one that never came about.
    """
    client, server = _ends(trace)
    names = {client: CLIENT, server: SERVER}
    packets = tuple(_named(trace, names))
    seen_by_both = trace.bench != "capture"
    near = _round_trip_of_run(packets) if seen_by_both else _near(packets)
    lag = dict.fromkeys(OTHER, 0) if seen_by_both else near
    death = death_of(trace, packets, near[CLIENT] + near[SERVER])
    quiet, since = _longest_silence(packets, death)
    offers = [p.segment.mss for p in packets if p.segment.flags & SYN and p.segment.mss]
    option = 12 * any(p.segment.timestamps is not None for p in packets)
    return Workload(
        client, server, tuple(_deeds(packets, lag, death)), near,
        mss=min(offers) - option if offers else USUAL_MSS,
        began=packets[0].t, end=max(trace.end, packets[-1].t),
        midstream=not any(p.segment.flags & SYN for p in packets),
        death=death, quiet=quiet, quiet_since=since, packets=packets,
    )  # fmt: skip


def shortened(work: Workload) -> tuple[Workload, tuple[str, ...]]:
    """What the model can play of it: no message of more than ten full segments; and what to say of that."""
    most = MOST_SEGMENTS * PLAYED_MSS
    long = [deed for deed in work.deeds if deed.length > most]
    if not long:
        return work, ()
    ends: dict[str, list[tuple[int, int]]] = {CLIENT: [(0, 0)], SERVER: [(0, 0)]}
    for deed in work.deeds:
        begin, kept = ends[deed.side][-1]
        ends[deed.side].append((begin + deed.length, kept + min(deed.length, most)))

    def kept_of(side: str, count: int) -> int:
        i = max(bisect_right(ends[side], count, key=lambda end: end[0]) - 1, 0)
        begin, so_far = ends[side][i]
        return so_far + min(count - begin, most)

    deeds = tuple(
        replace(deed, length=min(deed.length, most), heard=kept_of(OTHER[deed.side], deed.heard))
        for deed in work.deeds
    )
    largest = max(deed.length for deed in long)
    said = (
        f"{len(long)} of {len(work.deeds)} messages are longer than the ten full segments that the model "
        f"sends at once (the largest has {largest:,} bytes): they are played as {most:,} bytes each, and how "
        "long a transfer takes can't be told from this."
    )
    return replace(work, deeds=deeds), (said,)


def refuse_standstill(work: Workload) -> None:
    """Raise `ParameterError` where a receiver that did not read decided all: the model's read at once.

    Where something went unanswered, that is what the answer is about, and a window closed before is not.
    """
    for side, other in OTHER.items():
        stood, _ = standstill(work.packets, side, work.end)
        if work.death is None and stood >= PATIENCE:
            raise ParameterError(
                f"connection stood still because the {side} did not read (its window was 0 for "
                f"{duration(stood)}, and the {other} had to wait): what_if does not play readers; the "
                "experiment slow_reader does."
            )


def not_played(work: Workload) -> tuple[str, ...]:
    """What of it no run repeats, a sentence each."""
    told = []
    ended = ended_by_reset(work.packets)
    resets = [p for p in work.packets[:ended] if p.segment.flags & RST]
    if resets:
        what = "A RST" if len(resets) == 1 else f"{len(resets)} RSTs"
        told.append(f"{what} ended nothing here: forged or late ones are not played.")
    stray = any(p.kind == WINDOW_PROBE for p in work.packets)
    if stray or any(standstill(work.packets, side, work.end)[1] for side in OTHER):
        told.append(
            "A receiver was slow here, and its window closed: the programs of the model read at once, so "
            "that such waits are not in its runs."
        )
    again = [
        p for p in work.packets if p.kind == RETRANSMISSION and (work.death is None or p.t < work.death.asked)
    ]
    if again:
        what = "1 segment was" if len(again) == 1 else f"{len(again)} segments were"
        told.append(f"{what} sent again here while the way still worked: single losses are not played.")
    return tuple(told)


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
    answered = any(
        p.segment.flags & (SYN | ACK) == SYN | ACK and p.arrives is not None for p in trace.packets
    )
    opening = next((p for p in trace.packets if p.segment.flags & (SYN | ACK | RST) == SYN), None)
    if opening is not None and not answered:
        raise ParameterError(
            "connection never came about: no SYN-ACK answers its SYN, so there is nothing to play again."
        )
    if opening is not None:
        return opening.segment.source, opening.segment.destination
    first = next((p for p in trace.packets if p.sender == CLIENT), trace.packets[0]).segment
    return first.source, first.destination


def _named(trace: Trace, names: Mapping[Endpoint, str]) -> list[Packet]:
    """This connection's packets, each side by its part; a box's RST comes in its victim's peer's name."""
    found = [
        Packet(
            p.t, names[p.segment.source], names[p.segment.destination], p.segment, p.arrives, p.fate,
            p.verdict, p.kind,
        )
        for p in sorted(trace.packets, key=lambda p: p.t)
    ]  # fmt: skip
    classify(found)
    return found


def _round_trip_of_run(packets: tuple[Packet, ...]) -> dict[str, int]:
    flights = [p.arrives - p.t for p in packets if p.arrives is not None and p.kind != "forged"]
    least = min(flights, default=0)
    return {CLIENT: least, SERVER: least}


def _near(packets: tuple[Packet, ...]) -> dict[str, int]:
    """How long each side takes to answer at least, as seen from where the capture was taken."""
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
        #: Bytes in the deeds so far.
        self.sent = 0
        #: (bytes so far, when they had arrived).
        self.arrived: list[tuple[int, int]] = [(0, 0)]

    def count(self, seq: int) -> int:
        """Bytes before a sequence number."""
        return max(0, seq_diff(seq, self.first)) if self.first is not None else 0

    def when(self, count: int) -> int:
        """When so many bytes had arrived for the first time."""
        at = bisect_left(self.arrived, count, key=lambda each: each[0])
        return self.arrived[min(at, len(self.arrived) - 1)][1]


def _deeds(packets: tuple[Packet, ...], lag: Mapping[str, int], death: Death | None) -> list[Deed]:
    streams = {CLIENT: _Stream(), SERVER: _Stream()}
    for p in packets:
        stream = streams[p.sender]
        if stream.first is None and _is_data(p):
            stream.first = stream.next = p.segment.seq
    open_ones: dict[str, int] = {}
    deeds: list[Deed] = []
    last = _connected(packets, lag)
    for p in packets:
        segment, side = p.segment, p.sender
        mine, theirs = streams[side], streams[OTHER[side]]
        if segment.flags & RST or not (_is_data(p) or segment.flags & FIN):
            continue
        new = 0
        if segment.length and mine.next is not None:
            end = (segment.seq + segment.length) & 0xFFFFFFFF
            new = max(0, seq_diff(end, mine.next))
            if p.arrives is not None and mine.first is not None:
                reached = mine.count(end)
                if reached > mine.arrived[-1][0]:
                    mine.arrived.append((reached, p.arrives))
            mine.next = end if new else mine.next
        if new:
            mine.sent += new
            if side in open_ones:
                i = open_ones[side]
                deeds[i] = _longer(deeds[i], new)
            else:
                deeds.append(_deed(SEND, p, new, theirs, lag[side], last))
                open_ones[side] = len(deeds) - 1
            if segment.flags & PSH:
                open_ones.pop(side, None)
        if segment.flags & FIN and mine.fin is None:
            mine.fin = (segment.seq + segment.length) & 0xFFFFFFFF
            mine.fin_arrived = p.t if p.arrives is None else p.arrives
            open_ones.pop(side, None)
            what = SHUTDOWN if _reads_on(packets, p) else CLOSE
            deeds.append(_deed(what, p, 0, theirs, lag[side], last))
    reset = ended_by_reset(packets)
    if reset is not None and _is_an_apps(packets, reset, death, deeds):
        p = packets[reset]
        deeds.append(_deed(RESET, p, 0, streams[OTHER[p.sender]], lag[p.sender], last))
    return deeds


def _connected(packets: tuple[Packet, ...], lag: Mapping[str, int]) -> dict[str, int]:
    """When each side's program can begin: connect() and accept() have returned."""
    began = dict.fromkeys(OTHER, packets[0].t)
    for p in packets:
        if p.segment.flags & (SYN | ACK | RST) == SYN | ACK and p.arrives is not None:
            began[CLIENT] = p.arrives + lag[CLIENT]
        elif p.sender == CLIENT and not p.segment.flags & SYN and p.arrives is not None:
            began[SERVER] = p.arrives + lag[SERVER]
            break
    return began


def _reads_on(packets: tuple[Packet, ...], fin: Packet) -> bool:
    """After its FIN this side acknowledged more than what it had, or reset the connection by itself."""
    rest = [p for p in packets if p.t > fin.t]
    if any(p.sender == fin.sender and p.segment.flags & (RST | ACK) == RST | ACK for p in rest):
        return True
    had = fin.segment.ack
    sent = [
        p for p in rest if p.sender != fin.sender and _is_data(p) and seq_diff(p.segment.end_seq, had) > 0
    ]
    return bool(sent) and any(p.sender == fin.sender and _acknowledges(p, sent[0]) for p in rest)


def _is_data(p: Packet) -> bool:
    return bool(p.segment.length) and not p.segment.flags & RST and p.kind not in (KEEPALIVE, WINDOW_PROBE)


def _longer(deed: Deed, more: int) -> Deed:
    return replace(deed, length=deed.length + more)


def _deed(what: str, p: Packet, length: int, theirs: _Stream, lag: int, last: dict[str, int]) -> Deed:
    """What this segment begins; `last` is each side's last deed, and is moved on."""
    has_ack = bool(p.segment.flags & ACK)
    heard = theirs.count(p.segment.ack) if has_ack else theirs.arrived[-1][0]
    hung_up = theirs.fin is not None and has_ack and seq_diff(p.segment.ack, theirs.fin) > 0
    heard -= hung_up
    came = theirs.when(heard) + lag if heard else 0
    since = max(came, theirs.fin_arrived + lag if hung_up else 0, last[p.sender])
    last[p.sender] = p.t
    heard = min(heard, theirs.sent)  # no more than was seen to be sent
    return Deed(p.sender, what, p.t, length, heard, hung_up, max(0, p.t - since))


def _is_an_apps(packets: tuple[Packet, ...], reset: int, death: Death | None, deeds: list[Deed]) -> bool:
    """True for a RST that a program's close() sent: not TCP's own for a dead peer or a lost socket."""
    p = packets[reset]
    if any(deed.side == p.sender and deed.what in (CLOSE, SHUTDOWN) for deed in deeds):
        return bool(p.segment.flags & ACK)  # a socket that is gone sends none
    return death is None


def _longest_silence(packets: tuple[Packet, ...], death: Death | None) -> tuple[int, int]:
    """The longest time in which nothing passed and after which the connection still worked."""
    passed = [p.t for p in packets if p.arrives is not None and (death is None or p.t <= death.heard)]
    longest = max(pairwise(passed), key=lambda gap: gap[1] - gap[0], default=(0, 0))
    return longest[1] - longest[0], longest[0]
