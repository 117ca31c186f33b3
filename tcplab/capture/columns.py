"""The columns of a capture by name, each made when it is first asked for.

One NumPy array a column, one value a TCP packet, in order of time. `dict(capture.columns)` is what
a pandas DataFrame takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from tcplab.capture.chains import Array
from tcplab.capture.connections import window_shifts
from tcplab.capture.reader import Table


def _address(table: Table, other: int) -> Array:
    names = np.array([*table.addresses, None], object)[:-1]  # None: no address must not mean numbers
    return names[table.end_address].take(table.way ^ other)


def _port(table: Table, other: int) -> Array:
    return table.end_port.take(table.way ^ other)


def _of_syn(table: Table, values: Array, without: object = -1) -> Array:
    column = np.full(len(table), without, values.dtype)
    column[table.syn] = values
    return column


def _first_block(table: Table, edges: Array) -> Array:
    column = np.zeros(len(table), np.uint32)
    column[table.sack_of[::-1]] = edges[::-1]
    return column


def _window_shift(table: Table) -> Array:
    if not len(table):
        return np.empty(0, np.int8)
    side = table.way & 1
    count = int(table.connection.max()) + 1
    shifts = window_shifts(table.connection, side, table.syn, table.window_scale, count)
    column = shifts.ravel().take(table.connection * 2 + side)
    column[table.syn] = 0
    return column


#: How each column is made.
MAKERS: dict[str, Callable[[Table], Array]] = {
    "frame": lambda table: table.frame,
    "t": lambda table: table.t,
    "connection": lambda table: table.connection,
    "source": lambda table: _address(table, 0),
    "source_port": lambda table: _port(table, 0),
    "destination": lambda table: _address(table, 1),
    "destination_port": lambda table: _port(table, 1),
    "flags": lambda table: table.flags,
    "seq": lambda table: table.seq,
    "ack": lambda table: table.ack,
    "window": lambda table: table.window,
    "window_shift": _window_shift,
    "length": lambda table: table.length,
    "mss": lambda table: _of_syn(table, table.mss),
    "window_scale": lambda table: _of_syn(table, table.window_scale),
    "sack_permitted": lambda table: _of_syn(table, table.sack_permitted, False),
    "sack_blocks": lambda table: np.bincount(table.sack_of, minlength=len(table)).astype(np.uint8),
    "sack_left": lambda table: _first_block(table, table.sack_left),
    "sack_right": lambda table: _first_block(table, table.sack_right),
    "has_timestamps": lambda table: table.has_times,
    "timestamp": lambda table: table.timestamp,
    "timestamp_echo": lambda table: table.echo,
}


class Columns(Mapping[str, Array]):
    """`frame`: number in the file, from 1. `t`: nanoseconds since the capture's first packet.
    `connection`: number of the connection, by its first packet. `source`, `source_port`,
    `destination`, `destination_port`: the ends; addresses are text. `flags`: bits as in the header,
    up to URG. `seq`, `ack`: absolute; ack is 0 without the ACK flag. `window`: as in the header;
    `window_shift`: the real one is `window << window_shift`, and -1 says that a SYN is missing and
    nobody knows. `length`: bytes of payload by the headers, whether or not they were stored. `mss`,
    `window_scale`, `sack_permitted`: what a SYN offers, -1 or False without. `sack_blocks`: how many,
    and `sack_left`, `sack_right`: edges of the first one. `timestamp`, `timestamp_echo`: good where
    `has_timestamps`, else 0.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._made: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self._made:
            column = MAKERS[name](self._table)
            column.flags.writeable = False
            self._made[name] = column
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(MAKERS)

    def __len__(self) -> int:
        return len(MAKERS)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)
