"""Which connections of a capture are worth a look: a screening of all packets at once, with NumPy.

A connection is healthy when none of `CRITERIA` is true of it: nothing in it can be a finding then, except
how it was closed, which its columns tell. Every other connection is walked, segment by segment; without the
columns of the fast reader, all are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from tcplab.capture.file import Array
from tcplab.capture.findings.story import ENDS, PASS, WALK, Goodbye
from tcplab.capture.table import Table, sorted_by
from tcplab.core.segment import ACK, FIN, RST, SYN
from tcplab.follow import SILENCE

#: Distance between two directions on the number line on which all of them follow each other.
APART = 1 << 34
#: Segments of a handshake.
HANDSHAKE = 3


class SideColumns:
    """The columns of a table that is not empty, by side: of connection c, 2c and 2c + 1.

    The arrays with one value per packet are sorted by side, those with one per side by their number.
    """

    def __init__(self, table: Table) -> None:
        self.table, self.count = table, table.connections
        number = table.connection * 2 + (table.direction & 1)
        #: Rows by side, the side of each, where each side begins, and how many packets it has.
        self.order = sorted_by(number, 2 * self.count)
        self.side = number[self.order]
        self.size = np.bincount(number, minlength=2 * self.count)
        self.first = np.cumsum(self.size) - self.size
        self.flags = table.flags[self.order]
        seq = table.seq[self.order]
        #: The number that each side counts from: its first one.
        self.base = np.zeros(2 * self.count, np.uint32)
        self.base[self.size > 0] = seq[self.first[self.size > 0]]
        #: Where each segment begins, and the highest number that its side had reached after it.
        self.at = _distance(seq, self.base[self.side])
        counted = ((self.flags & SYN) != 0).astype(np.int64) + ((self.flags & FIN) != 0)
        apart = self.side * np.int64(APART)
        end = self.at + table.length[self.order] + counted
        self.reached = np.maximum.accumulate(end + apart) - apart

    def mark(self, rows: Array) -> Array:
        """The connections of these rows of the table, as a mask."""
        marked = np.zeros(self.count, bool)
        marked[self.table.connection[rows]] = True
        return marked

    @cached_property
    def is_alone(self) -> Array:
        """The connections of which only one side is in the file."""
        alone: Array = (self.size.reshape(-1, 2) == 0).any(axis=1)
        return alone

    @cached_property
    def sent(self) -> Array:
        """The highest number that each side reached; 0 without packets."""
        sent: Array = np.zeros(2 * self.count, np.int64)
        there = self.size > 0
        sent[there] = self.reached[(self.first + self.size - 1)[there]]
        return sent

    @cached_property
    def heard(self) -> Array:
        """How far each segment acknowledges the other side, from that one's first number."""
        ahead = _distance(self.table.ack[self.order], self.base[self.side ^ 1])
        return np.where(self.flags & ACK != 0, ahead, -APART)

    @cached_property
    def acked(self) -> Array:
        """How far the other side acknowledged each one."""
        acked: Array = np.full(2 * self.count, -APART, np.int64)
        there = np.flatnonzero(self.size)
        acked[there ^ 1] = np.maximum.reduceat(self.heard, self.first[there])
        return acked

    @cached_property
    def closed(self) -> Array:
        """The connections with a FIN."""
        return self.mark((self.table.flags & FIN) != 0)


def _distance(numbers: Array, since: Array) -> Array:
    """How far each number is ahead of another one, -2**31 .. 2**31-1."""
    return (numbers - since).astype(np.int32).astype(np.int64)


def _reset_or_stopped(sides: SideColumns) -> Array:
    """A RST, whose effect has to be judged, or a closed window, whose length counts."""
    table = sides.table
    return sides.mark(((table.flags & RST) != 0) | ((table.window == 0) & ((table.flags & SYN) == 0)))


def _not_alone(sides: SideColumns) -> Array:
    """Several connections on one four-tuple: how the one before ended is part of the next one's story."""
    order, borders = sides.table.by_connection
    flow = sides.table.direction[order[borders[:-1]]] >> 1
    shared: Array = np.bincount(flow)[flow] > 1
    return shared


def _no_plain_handshake(sides: SideColumns) -> Array:
    """Not one SYN and one SYN-ACK: begun earlier, refused, unanswered, or sent again."""
    table = sides.table
    opening = (table.flags[table.syn] & ACK) == 0
    counts = (
        np.bincount(table.connection[rows], minlength=sides.count)
        for rows in (table.syn[opening], table.syn[~opening])
    )
    odd = np.zeros(sides.count, bool)
    for each in counts:
        odd |= each != 1
    return odd


def _no_bare_ack(sides: SideColumns) -> Array:
    """Not one bare ACK: a capture filter may have removed them."""
    table = sides.table
    is_bare = (table.flags & (ACK | SYN | FIN | RST) == ACK) & (table.length == 0)
    return ~sides.mark(is_bare)


def _one_sided(sides: SideColumns) -> Array:
    """One side only: the other one is silent, or not in the file."""
    return sides.is_alone


def _not_in_order(sides: SideColumns) -> Array:
    """A segment that does not begin where its side's previous one ended: sent before, a probe, or a hole."""
    odd = np.zeros(len(sides.side), bool)
    odd[1:] = (sides.at[1:] != sides.reached[:-1]) & (sides.side[1:] == sides.side[:-1])
    return sides.mark(sides.order[odd])


def _bytes_missing(sides: SideColumns) -> Array:
    """An ACK for bytes that no packet before it carries: lost by the capture, or out of order."""
    missing = np.zeros(sides.count, bool)
    table = sides.table
    order, borders = table.by_connection
    row = np.empty(len(order), np.int64)
    row[sides.order] = np.arange(len(order))  # the place of a row among its side's
    row = row[order]
    begin = np.repeat(borders[:-1], np.diff(borders))
    place = np.arange(len(order))
    is_odd = (table.direction[order] & 1) != 0
    for mine in (is_odd, ~is_odd):
        last = np.maximum.accumulate(np.where(mine, -1, place))  # the other side's latest packet
        early = np.where(last < begin, 0, sides.reached[row[last]]) < sides.heard[row]
        missing |= sides.mark(order[early & mine])
    return missing


def _unanswered(sides: SideColumns) -> Array:
    """What was not acknowledged when the capture ended: sent after a silence, or before a FIN."""
    short = (sides.sent > sides.acked).reshape(-1, 2).any(axis=1)
    return short & (sides.closed | _quiet(sides))


def _quiet(sides: SideColumns) -> Array:
    """The connections in which one side sent after a silence and received nothing more."""
    table = sides.table
    lasts = sides.order[(sides.first + sides.size - 1)[sides.size > 0]]
    order, borders = table.by_connection
    t = table.t[order]
    rows = np.flatnonzero(t[1:] - t[:-1] >= SILENCE) + 1
    rows = order[rows[~np.isin(rows, borders)]]
    connection = table.connection
    silence, received = np.full(sides.count, -1), np.full(sides.count, len(connection))
    np.maximum.at(silence, connection[rows], rows)
    np.minimum.at(received, connection[lasts], lasts)
    quiet: Array = silence > received
    return quiet


def _captured_twice(sides: SideColumns) -> Array:
    """Frames that may have been captured twice, which are left out."""
    return sides.table.may_repeat


def _no_plain_close(sides: SideColumns) -> Array:
    """Closed, and not after a handshake in three segments with one FIN of either side at most."""
    table = sides.table
    order, borders = table.by_connection
    begin, size = borders[:-1], np.diff(borders)
    syn, synack, ack = (order[np.minimum(begin + i, len(order) - 1)] for i in range(HANDSHAKE))
    way, flags = table.direction, table.flags
    opened = (
        (size > HANDSHAKE)
        & (flags[syn] & (SYN | ACK) == SYN) & (flags[synack] & (SYN | ACK) == SYN | ACK)
        & (flags[ack] & (SYN | FIN | ACK) == ACK)
        & (way[synack] == way[syn] ^ 1) & (way[ack] == way[syn])
        & (table.ack[synack] == table.seq[syn] + np.uint32(1))
        & (table.ack[ack] == table.seq[synack] + np.uint32(1))
    )  # fmt: skip
    fins = np.bincount(sides.side[sides.flags & FIN != 0], minlength=2 * sides.count).reshape(-1, 2)
    return sides.closed & ~(opened & (fins <= 1).all(axis=1))


#: What a healthy connection does not have: each marks the connections that must be walked.
CRITERIA: tuple[Callable[[SideColumns], Array], ...] = (
    _reset_or_stopped, _not_alone, _no_plain_handshake, _no_bare_ack, _one_sided, _not_in_order,
    _bytes_missing, _unanswered, _captured_twice, _no_plain_close,
)  # fmt: skip


def screened(table: Table) -> list[int]:
    """For each connection, how much of it must be looked at: `PASS`, `ENDS` or `WALK`."""
    if not len(table):
        return []
    sides = SideColumns(table)
    walk = np.zeros(sides.count, bool)
    for is_true in CRITERIA:
        walk |= is_true(sides)
    depth: list[int] = np.where(walk, WALK, np.where(sides.closed, ENDS, PASS)).tolist()
    return depth


def goodbyes(table: Table, depth: list[int]) -> dict[int, Goodbye]:
    """How each connection with depth `ENDS` was closed, by its number."""
    numbers = np.flatnonzero(np.array(depth) == ENDS)
    if not len(numbers):
        return {}
    order, borders = table.by_connection
    size = np.diff(borders)[numbers]
    first = np.cumsum(size) - size
    rows = order[np.repeat(borders[numbers] - first, size) + np.arange(int(size.sum()))]
    place = np.arange(len(rows))
    way, flags, never = table.direction[rows] & 1, table.flags[rows], len(rows)
    is_fin = (flags & FIN) != 0
    one = np.minimum.reduceat(np.where(is_fin, place, never), first)
    other = np.maximum.reduceat(np.where(is_fin, place, -1), first)
    fin = rows[one]
    end = table.seq[fin] + table.length[fin] + np.uint32(1)
    each = np.repeat(np.arange(len(numbers)), size)
    answers = (flags & ACK != 0) & (way != way[one][each]) & (_distance(table.ack[rows], end[each]) >= 0)
    acked = np.minimum.reduceat(np.where(answers, place, never), first)
    empty = np.add.reduceat(table.length[rows].astype(np.int64), first) == 0
    crossed = _distance(table.ack[rows[other]], end) < 0
    chosen = rows[first], rows[first + 1], fin, rows[other], rows[acked]
    columns = (table.values(name, each) for each in chosen for name in ("frame", "t"))
    by_client = way[one] == way[first]
    masks = (mask.tolist() for mask in (by_client, other > one, crossed, empty))
    made = map(Goodbye, *columns, *masks)
    return dict(zip(numbers.tolist(), made, strict=True))
