"""The connections of the fast reader summed up, all at once, with NumPy: what `screen.py` asks of each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from tcplab.capture.file import Array
from tcplab.capture.findings.screen import HANDSHAKE, Summary, needs_walk
from tcplab.capture.findings.story import ENDS, PASS, WALK, Goodbye
from tcplab.capture.table import Table, sorted_by
from tcplab.core.segment import ACK, FIN, RST, SYN
from tcplab.follow import SILENCE

#: Distance between two directions on the number line on which all of them follow each other.
APART = 1 << 34


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

    def counted(self, rows: Array) -> Array:
        """How many of these rows of the table, places or a mask, each connection has."""
        return np.bincount(self.table.connection[rows], minlength=self.count)

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


def _distance(numbers: Array, since: Array) -> Array:
    """How far each number is ahead of another one, -2**31 .. 2**31-1."""
    return (numbers - since).astype(np.int32).astype(np.int64)


def summaries(table: Table) -> Summary:
    """What the criteria ask of each connection of a table that is not empty, as arrays."""
    sides = SideColumns(table)
    flags, window = table.flags, table.window
    is_syn, is_ack = (flags[table.syn] & SYN) != 0, (flags[table.syn] & ACK) != 0
    is_bare = (flags & (ACK | SYN | FIN | RST) == ACK) & (table.length == 0)
    fins = np.bincount(sides.side[sides.flags & FIN != 0], minlength=2 * sides.count).reshape(-1, 2)
    return Summary(
        resets=sides.counted((flags & RST) != 0),
        stopped=sides.counted((window == 0) & ((flags & SYN) == 0)),
        sharing=_sharing(sides),
        syns=sides.counted(table.syn[is_syn & ~is_ack]), synacks=sides.counted(table.syn[is_syn & is_ack]),
        bare_acks=sides.counted(is_bare),
        sides=(sides.size.reshape(-1, 2) > 0).sum(axis=1),
        out_of_order=_out_of_order(sides), early_acks=_early_acks(sides),
        unacknowledged=(sides.sent > sides.acked).reshape(-1, 2).any(axis=1), quiet=_quiet(sides),
        repeated=table.may_repeat, opened=_opened(sides), fins=fins.sum(axis=1), most_fins=fins.max(axis=1),
    )  # fmt: skip


def _sharing(sides: SideColumns) -> Array:
    order, borders = sides.table.by_connection
    flow = sides.table.direction[order[borders[:-1]]] >> 1
    shared: Array = np.bincount(flow)[flow]
    return shared


def _out_of_order(sides: SideColumns) -> Array:
    odd = np.zeros(len(sides.side), bool)
    odd[1:] = (sides.at[1:] != sides.reached[:-1]) & (sides.side[1:] == sides.side[:-1])
    return sides.counted(sides.order[odd])


def _early_acks(sides: SideColumns) -> Array:
    early = np.zeros(sides.count, np.int64)
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
        ahead = np.where(last < begin, 0, sides.reached[row[last]]) < sides.heard[row]
        early += sides.counted(order[ahead & mine])
    return early


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


def _opened(sides: SideColumns) -> Array:
    table = sides.table
    order, borders = table.by_connection
    begin, size = borders[:-1], np.diff(borders)
    syn, synack, ack = (order[np.minimum(begin + i, len(order) - 1)] for i in range(HANDSHAKE))
    way, flags = table.direction, table.flags
    opened: Array = (
        (size > HANDSHAKE)
        & (flags[syn] & (SYN | ACK) == SYN) & (flags[synack] & (SYN | ACK) == SYN | ACK)
        & (flags[ack] & (SYN | FIN | ACK) == ACK)
        & (way[synack] == way[syn] ^ 1) & (way[ack] == way[syn])
        & (table.ack[synack] == table.seq[syn] + np.uint32(1))
        & (table.ack[ack] == table.seq[synack] + np.uint32(1))
    )  # fmt: skip
    return opened


def looks(table: Table) -> Iterator[tuple[int, Goodbye | None]]:
    """Of each connection how much to look at (`PASS`, `ENDS`, `WALK`), and of `ENDS` how it was closed."""
    if not len(table):
        return
    summary = summaries(table)
    depth = np.where(needs_walk(summary), WALK, np.where(summary.fins > 0, ENDS, PASS))
    byes = _goodbyes(table, depth)
    for number, each in enumerate(depth.tolist()):
        yield each, byes.get(number)


def _goodbyes(table: Table, depth: Array) -> dict[int, Goodbye]:
    """How each connection with depth `ENDS` was closed, by its number."""
    numbers = np.flatnonzero(depth == ENDS)
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
