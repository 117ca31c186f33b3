"""Which connections are worth a look, told from the columns, for all packets at once.

A connection is passed over only when nothing in it can be a finding: it began with one SYN and its answer,
every segment stands where the one before ended, no window was shut, no FIN or RST came, and what was not
acknowledged when the capture ended had not been sent after a silence. Of one that differs only by its FINs
the handshake and the end are enough.
"""

from __future__ import annotations

import numpy as np

from tcplab.capture.chains import Array
from tcplab.capture.findings.silence import SILENCE
from tcplab.capture.reading import Capture
from tcplab.segment import ACK, FIN, RST, SYN

#: What a connection needs: nothing, its handshake and its end, or every segment.
PASS, ENDS, WALK = 0, 1, 2
#: Room between two directions on the line on which all of them stand one behind the other.
APART = 1 << 34
#: Segments of a handshake.
HANDSHAKE = 3


def suspicious(capture: Capture) -> Array:
    """For each connection, how much of it must be looked at: `PASS`, `ENDS` or `WALK`."""
    table, count = capture.table, len(capture.connections)
    looked = np.zeros(count, bool)
    if not len(table):
        return looked.astype(np.int8)
    flags = table.flags
    closed = np.zeros(count, bool)
    closed[table.connection[(flags & FIN) != 0]] = True
    odd = (flags & RST) != 0
    odd |= (table.window == 0) & ((flags & SYN) == 0)
    looked[table.connection[odd]] = True
    # Several connections on one four-tuple: how the one before ended is part of the next one's story.
    pairs = np.unique(np.stack([table.way >> 1, table.connection]), axis=1)
    often = np.bincount(pairs[0]) > 1
    looked[pairs[1][often[pairs[0]]]] = True
    opening = (flags[table.syn] & ACK) == 0
    for rows in (table.syn[opening], table.syn[~opening]):
        looked |= np.bincount(table.connection[rows], minlength=count) != 1
    side = table.connection.astype(np.int64) * 2 + (table.way & 1)
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
    again = np.zeros(len(side), bool)
    again[1:] = (at[1:] < reached[:-1]) & (side[1:] == side[:-1])
    looked[side[again] >> 1] = True
    short = _unanswered(looked, side, first, size, seq[first], reached, table.ack[order], flags[order])
    looked |= short & (closed | _quiet(capture, order[first + size - 1]))
    return np.where(looked, WALK, np.where(closed, ENDS, PASS)).astype(np.int8)


def ends(capture: Capture, rows: Array) -> Array:
    """Of the rows of one connection those of its handshake, and those from its first FIN on."""
    fins = np.flatnonzero(capture.table.flags[rows] & FIN)
    return np.concatenate([rows[: min(HANDSHAKE, int(fins[0]))], rows[fins[0] :]])


def _unanswered(
    looked: Array,
    side: Array,
    first: Array,
    size: Array,
    begin: Array,
    reached: Array,
    ack: Array,
    flags: Array,
) -> Array:
    """The connections that have something not acknowledged at the end; marks those with one side only."""
    last = first + size - 1
    numbers = side[first]
    place = np.full(2 * len(looked), -1, np.int64)
    place[numbers] = np.arange(len(numbers))
    peer = place[numbers ^ 1]
    alone = peer < 0
    looked[numbers[alone] >> 1] = True
    mine = np.flatnonzero(~alone)
    base = np.repeat(begin[peer], size)
    heard = np.where((flags & ACK) != 0, (ack - base).astype(np.int32).astype(np.int64), -APART // 4)
    acked = np.maximum.reduceat(heard, first)
    short = np.zeros(len(looked), bool)
    short[numbers[mine[reached[last[peer[mine]]] > acked[mine]]] >> 1] = True
    return short


def _quiet(capture: Capture, lasts: Array) -> Array:
    """The connections in which one side sent after a silence and heard nothing more of the other.

    `lasts` are the last rows of each side of each connection.
    """
    order, borders = capture.by_connection
    t = capture.table.t[order]
    rows = np.flatnonzero(t[1:] - t[:-1] >= SILENCE) + 1
    rows = order[rows[~np.isin(rows, borders)]]
    count, connection = len(borders) - 1, capture.table.connection
    silence, heard = np.full(count, -1), np.full(count, len(connection))
    np.maximum.at(silence, connection[rows], rows)
    np.minimum.at(heard, connection[lasts], lasts)
    quiet: Array = silence > heard
    return quiet
