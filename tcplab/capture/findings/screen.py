"""Which connections of a capture are worth a look: a screening of all packets at once, with NumPy.

A connection is skipped only when nothing in it can be a finding: it began with one SYN and its answer,
every segment starts where the previous one ended, no byte is missing and some ACK is bare, no window was
closed, no FIN or RST came, and what was not acknowledged when the capture ended had not been sent after a
silence. If a connection differs only by its FINs, its handshake and its end are enough.

Without the columns of the fast reader every connection is walked.
"""

from __future__ import annotations

import numpy as np

from tcplab.capture.capture import Capture
from tcplab.capture.file import Array
from tcplab.capture.findings.story import ENDS, PASS, WALK
from tcplab.capture.table import Table
from tcplab.core.segment import ACK, FIN, RST, SYN
from tcplab.core.trace import Trace
from tcplab.follow import SILENCE

#: Distance between two directions on the number line on which all of them follow each other.
APART = 1 << 34
#: Segments of a handshake.
HANDSHAKE = 3


def screened(table: Table) -> list[int]:
    """For each connection, how much of it must be walked: `PASS`, `ENDS` or `WALK`."""
    count = table.connections
    walk = np.zeros(count, bool)
    if not len(table):
        return []
    flags = table.flags
    closed = np.zeros(count, bool)
    closed[table.connection[(flags & FIN) != 0]] = True
    odd = ((flags & RST) != 0) | ((table.window == 0) & ((flags & SYN) == 0))
    walk[table.connection[odd]] = True
    # Several connections on one four-tuple: how the one before ended is part of the next one's story.
    pairs = np.unique(np.stack([table.direction >> 1, table.connection]), axis=1)
    often = np.bincount(pairs[0]) > 1
    walk[pairs[1][often[pairs[0]]]] = True
    opening = (flags[table.syn] & ACK) == 0
    for rows in (table.syn[opening], table.syn[~opening]):
        walk |= np.bincount(table.connection[rows], minlength=count) != 1
    is_bare = (flags & (ACK | SYN | FIN | RST) == ACK) & (table.length == 0)
    walk |= np.bincount(table.connection[is_bare], minlength=count) == 0
    side = table.connection.astype(np.int64) * 2 + (table.direction & 1)
    order = np.argsort(side, kind="stable")
    side = side[order]
    first = np.flatnonzero(np.append(True, side[1:] != side[:-1]))
    size = np.diff(np.append(first, len(side)))
    seq = table.seq[order]
    begin = np.repeat(seq[first], size)
    at = (seq - begin).astype(np.int32).astype(np.int64)
    counted = ((flags & SYN) != 0).astype(np.int64) + ((flags & FIN) != 0)
    end = at + table.length[order] + counted[order]
    reached = np.maximum.accumulate(end + side * APART) - side * APART
    back = np.zeros(len(side), bool)
    back[1:] = (at[1:] != reached[:-1]) & (side[1:] == side[:-1])  # sent before, or a hole
    walk[side[back] >> 1] = True
    # What was sent and not acknowledged at the end; a connection with one side only must be walked.
    last, numbers = first + size - 1, side[first]
    place = np.full(2 * count, -1, np.int64)
    place[numbers] = np.arange(len(numbers))
    peer = place[numbers ^ 1]
    walk[numbers[peer < 0] >> 1] = True
    mine = np.flatnonzero(peer >= 0)
    base = np.repeat(seq[first][peer], size)
    heard = (table.ack[order] - base).astype(np.int32).astype(np.int64)
    acked = np.maximum.reduceat(np.where((flags[order] & ACK) != 0, heard, -APART // 4), first)
    walk[numbers[mine[acked[mine] > reached[last[peer[mine]]]]] >> 1] = True  # bytes that the file lacks
    short = np.zeros(count, bool)
    short[numbers[mine[reached[last[peer[mine]]] > acked[mine]]] >> 1] = True
    walk |= short & (closed | _quiet(table, order[last]))
    depth: list[int] = np.where(walk, WALK, np.where(closed, ENDS, PASS)).tolist()
    return depth


def ends_of(capture: Capture, i: int) -> tuple[Trace, list[int], bool]:
    """Handshake and end of a connection that needs no more, their frames, and whether it carried data."""
    table, rows = capture.table, capture.rows(i)
    assert isinstance(table, Table)
    fins = np.flatnonzero(table.flags[rows] & FIN)
    chosen = np.concatenate([rows[: min(HANDSHAKE, int(fins[0]))], rows[fins[0] :]])
    packets = capture.passed(i, chosen, table.segments(chosen))
    trace = Trace(capture.name, "capture", packets=packets, end=capture.ended - capture.began)
    return trace, table.values("frame", chosen), bool(table.length[rows].any())


def _quiet(table: Table, lasts: Array) -> Array:
    """The connections in which one side sent after a silence and received nothing more.

    `lasts` are the last rows of each side of each connection.
    """
    order, borders = table.by_connection
    t = table.t[order]
    rows = np.flatnonzero(t[1:] - t[:-1] >= SILENCE) + 1
    rows = order[rows[~np.isin(rows, borders)]]
    count, connection = len(borders) - 1, table.connection
    silence, received = np.full(count, -1), np.full(count, len(connection))
    np.maximum.at(silence, connection[rows], rows)
    np.minimum.at(received, connection[lasts], lasts)
    quiet: Array = silence > received
    return quiet
