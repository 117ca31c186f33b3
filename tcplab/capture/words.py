"""The first bytes that each side of a flow sent: enough to tell which protocol is spoken."""

from __future__ import annotations

import numpy as np

from tcplab.capture.chains import Array, fields

#: So many bytes are kept of each direction: MariaDB's greeting names it within them.
KEPT = 32


class FirstWords:
    """A row for each direction of a flow: twice the flow's number, plus one in one of them."""

    def __init__(self) -> None:
        #: The packet in which the first payload came, an index of the table; -1: none did.
        self.row = np.empty(0, np.int64)
        #: What is stored of it, and how many bytes that is.
        self.bytes = np.empty(0, f"V{KEPT}")
        self.size = np.empty(0, np.uint8)

    def take(
        self, memory: bytearray, flows: int, start: int, way: Array, length: Array, body: Array, end: Array
    ) -> None:
        """Keep what is the first payload of its direction; the first of these segments is row `start`.

        `body` and `end` are where the payload begins in memory and where what is stored of the packet ends;
        a place of -1 says that nobody knows.
        """
        self._grow(2 * flows)
        spoken = np.flatnonzero((length > 0) & (self.row[way] < 0))
        ways, first = np.unique(way[spoken], return_index=True)
        new = spoken[first]
        there = np.minimum(length[new], np.clip(end[new] - body[new], 0, KEPT))
        there[body[new] < 0] = 0
        self.row[ways], self.size[ways] = start + new, there
        self.bytes[ways] = fields(memory, f"V{KEPT}")[np.where(there > 0, body[new], 0)]

    def said(self, way: int) -> bytes:
        """The first bytes of a direction; empty when none are stored."""
        return bytes(self.bytes[way].tobytes()[: int(self.size[way])])

    def _grow(self, ways: int) -> None:
        if ways > len(self.row):
            more = max(ways, 2 * len(self.row)) - len(self.row)
            self.row = np.concatenate([self.row, np.full(more, -1, np.int64)])
            self.bytes = np.concatenate([self.bytes, np.zeros(more, self.bytes.dtype)])
            self.size = np.concatenate([self.size, np.zeros(more, np.uint8)])
