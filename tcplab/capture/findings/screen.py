"""Which connections of a capture are worth a look: criteria over a few numbers of each connection.

A connection is healthy when none of `CRITERIA` is true of it: nothing in it can be a finding then, except
how it was closed. Every other connection is walked, segment by segment.

Either reader sums connections up in its own way: the fast one all at once (`columns.py`), the plain one
here, one after the other. The criteria are the same ones: a number of a `Summary` may be an array.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tcplab.capture.findings.story import ENDS, PASS, WALK, Goodbye
from tcplab.capture.plain import PlainTable
from tcplab.core.segment import ACK, FIN, RST, SYN, seq_add, seq_diff
from tcplab.follow import SILENCE

#: Segments of a handshake.
HANDSHAKE = 3


@dataclass(frozen=True, slots=True)
class Summary:
    """What the criteria ask of a connection: numbers, or arrays with one number for each connection.

    The plain reader stops counting at the first segment out of order, and at the first early ACK.
    """

    #: Segments with RST, and those with a closed window, SYNs left out.
    resets: Any
    stopped: Any
    #: Connections on its four-tuple, itself included.
    sharing: Any
    #: SYNs without and with ACK.
    syns: Any
    synacks: Any
    #: ACKs without data, SYN, FIN or RST.
    bare_acks: Any
    #: Sides that sent anything: 1 or 2.
    sides: Any
    #: Segments that do not begin where the previous one of their side ended.
    out_of_order: Any
    #: ACKs for bytes that no packet before them carries.
    early_acks: Any
    #: 1 where a side was not acknowledged to its end.
    unacknowledged: Any
    #: 1 where one side sent after the last silence, and the other one did not.
    quiet: Any
    #: Packets that may have been captured twice.
    repeated: Any
    #: 1 where it begins with a handshake in three segments, and something follows.
    opened: Any
    #: FINs, and the FINs of the side that sent most.
    fins: Any
    most_fins: Any


Criterion = Callable[[Summary], Any]


def _reset_or_stopped(of: Summary) -> Any:
    """A RST, whose effect has to be judged, or a closed window, whose length counts."""
    return (of.resets > 0) | (of.stopped > 0)


def _not_alone(of: Summary) -> Any:
    """Several connections on one four-tuple: how the one before ended is part of the next one's story."""
    return of.sharing > 1


def _no_plain_handshake(of: Summary) -> Any:
    """Not one SYN and one SYN-ACK: begun earlier, refused, unanswered, or sent again."""
    return (of.syns != 1) | (of.synacks != 1)


def _no_bare_ack(of: Summary) -> Any:
    """Not one bare ACK: a capture filter may have removed them."""
    return of.bare_acks == 0


def _one_sided(of: Summary) -> Any:
    """One side only: the other one is silent, or not in the file."""
    return of.sides < 2


def _not_in_order(of: Summary) -> Any:
    """A segment that does not begin where its side's previous one ended: sent before, a probe, or a hole."""
    return of.out_of_order > 0


def _bytes_missing(of: Summary) -> Any:
    """An ACK for bytes that no packet before it carries: lost by the capture, or out of order."""
    return of.early_acks > 0


def _unanswered(of: Summary) -> Any:
    """What was not acknowledged when the capture ended: sent after a silence, or before a FIN."""
    return (of.unacknowledged > 0) & ((of.fins > 0) | (of.quiet > 0))


def _captured_twice(of: Summary) -> Any:
    """Frames that may have been captured twice, which are left out."""
    return of.repeated > 0


def _no_plain_close(of: Summary) -> Any:
    """Closed, and not after a handshake in three segments with one FIN of either side at most."""
    return of.most_fins > of.opened


#: What a healthy connection does not have: each is true of the connections that must be walked.
CRITERIA: tuple[Criterion, ...] = (
    _reset_or_stopped, _not_alone, _no_plain_handshake, _no_bare_ack, _one_sided, _not_in_order,
    _bytes_missing, _unanswered, _captured_twice, _no_plain_close,
)  # fmt: skip


def needs_walk(of: Summary) -> Any:
    """Whether any criterion is true: of one connection, or of each."""
    found = CRITERIA[0](of)
    for is_true in CRITERIA[1:]:
        found = found | is_true(of)
    return found


def looks(table: PlainTable) -> Iterator[tuple[int, Goodbye | None]]:
    """Of each connection how much to look at (`PASS`, `ENDS`, `WALK`), and of `ENDS` how it was closed."""
    for summary, rows in zip(summaries(table), map(table.rows, range(table.connections)), strict=True):
        if needs_walk(summary):
            yield WALK, None
        elif summary.fins:
            yield ENDS, _goodbye(table, rows)
        else:
            yield PASS, None


def summaries(table: PlainTable) -> Iterator[Summary]:
    """What the criteria ask of each connection that the plain reader has read."""
    flows = [table.direction[table.rows(i)[0]] >> 1 for i in range(table.connections)]
    sharing = Counter(flows)
    for i, flow in enumerate(flows):
        yield _summary(table, table.rows(i), sharing[flow])


def _summary(table: PlainTable, rows: list[int], sharing: int) -> Summary:
    resets = stopped = syns = synacks = bare = repeated = disordered = early = 0
    # Of either side: the number after what it sent, how far that is acknowledged, its last packet, its FINs.
    sent, acked = [-1, -1], [-1, -1]
    last, fins = [-1, -1], [0, 0]
    silence, before = -1, table.t[rows[0]]
    empty = set[tuple[int, ...]]()
    names = "direction", "seq", "ack", "flags", "window", "length", "ident", "t"
    columns = [table.values(name, rows) for name in names]
    for row, way, seq, ack, flags, window, length, ident, t in zip(rows, *columns, strict=True):
        side = way & 1
        if sent[side] != seq and sent[side] >= 0:
            disordered = 1
            break
        end = seq + length
        if flags & (SYN | FIN | RST):
            end += bool(flags & SYN) + (flags & FIN)
            resets += bool(flags & RST)
            syns += flags & (SYN | ACK) == SYN
            synacks += flags & (SYN | ACK) == SYN | ACK
            fins[side] += flags & FIN
        elif not length and flags & ACK:
            bare += 1
        if not window and not flags & SYN:
            stopped += 1
        sent[side] = end & 0xFFFFFFFF
        if flags & ACK:
            if sent[side ^ 1] < 0 or seq_diff(ack, sent[side ^ 1]) > 0:
                early = 1
                break
            if acked[side ^ 1] != ack and (acked[side ^ 1] < 0 or seq_diff(ack, acked[side ^ 1]) > 0):
                acked[side ^ 1] = ack
        if end == seq:  # all else that is repeated is out of order
            key = way, ack, window, ident
            repeated += key in empty
            empty.add(key)
        if t - before >= SILENCE:
            silence = row
        before, last[side] = t, row
    sides = sum(each >= 0 for each in sent)
    return Summary(
        resets=resets, stopped=stopped, sharing=sharing, syns=syns, synacks=synacks, bare_acks=bare,
        sides=sides, out_of_order=disordered, early_acks=early, unacknowledged=int(sent != acked),
        quiet=int(silence > min(last)), repeated=repeated, opened=int(_is_opened(table, rows)),
        fins=sum(fins), most_fins=max(fins),
    )  # fmt: skip


def _is_opened(table: PlainTable, rows: list[int]) -> bool:
    """It begins with a handshake in three segments, and something follows."""
    if len(rows) <= HANDSHAKE:
        return False
    syn, synack, ack = rows[:HANDSHAKE]
    flags, way = table.flags, table.direction
    return (
        flags[syn] & (SYN | ACK) == SYN and flags[synack] & (SYN | ACK) == SYN | ACK
        and flags[ack] & (SYN | FIN | ACK) == ACK
        and way[synack] == way[syn] ^ 1 and way[ack] == way[syn]
        and table.ack[synack] == seq_add(table.seq[syn], 1)
        and table.ack[ack] == seq_add(table.seq[synack], 1)
    )  # fmt: skip


def _goodbye(table: PlainTable, rows: list[int]) -> Goodbye:
    """How a healthy connection was closed."""
    way, flags = table.direction, table.flags
    places = [place for place, row in enumerate(rows) if flags[row] & FIN]
    fin, other = rows[places[0]], rows[places[-1]]
    end = seq_add(table.seq[fin], table.length[fin] + 1)
    acked = next(
        row for row in rows[places[0] :]
        if flags[row] & ACK and way[row] != way[fin] and seq_diff(table.ack[row], end) >= 0
    )  # fmt: skip
    chosen = rows[0], rows[1], fin, other, acked
    moments = [values[row] for row in chosen for values in (table.frame, table.t)]
    crossed, empty = seq_diff(table.ack[other], end) < 0, not any(table.values("length", rows))
    return Goodbye._make([*moments, way[fin] == way[rows[0]], other != fin, crossed, empty])
