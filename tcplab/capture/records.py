"""The packet records of a capture file, a batch at a time, from memory that is used again and again.

Formats: pcap (draft-ietf-opsawg-pcap: both byte orders, micro- and nanoseconds, and the longer
records of Kuznetzov's variant) here, pcapng in blocks.py. What is read before a file breaks is given
out; `Records.trouble` then says in one sentence where it broke.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from struct import unpack_from
from typing import Any

import numpy as np

from tcplab.capture import CaptureError
from tcplab.capture.chains import LARGEST_PACKET, Array, fields, pcap_layout, record_starts
from tcplab.capture.unpacking import Source
from tcplab.trace import SECOND

#: Bytes read at a time: small enough to stay in a processor's cache, large enough for NumPy.
CHUNK = 16 << 20
#: Room in front of it for what the one before left over.
FRONT = 1 << 20
#: What may be read beyond the last byte of a packet, so that one gather serves short ones too.
PAD = 256

PCAP_HEADER = 24
#: Magic number -> byte order, nanoseconds per tick, bytes of a record's header.
PCAP = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000, 16), b"\xa1\xb2\xc3\xd4": (">", 1000, 16),
    b"\x4d\x3c\xb2\xa1": ("<", 1, 16), b"\xa1\xb2\x3c\x4d": (">", 1, 16),
    b"\x34\xcd\xb2\xa1": ("<", 1000, 24), b"\xa1\xb2\xcd\x34": (">", 1000, 24),
}  # fmt: skip
PCAPNG = b"\x0a\x0d\x0d\x0a"


@dataclass(frozen=True, slots=True)
class Batch:
    """Packets of one link type, in order; good until the next batch is asked for."""

    memory: bytearray
    #: LINKTYPE_ value: 1 is Ethernet.
    link: int
    #: Numbers in the file, from 1, as Wireshark counts.
    frame: Array
    #: Nanoseconds since 1970.
    t: Array
    #: Where the bytes of each packet begin in `memory`, how many are there, and how many there were.
    data: Array
    stored: Array
    wire: Array

    def __len__(self) -> int:
        return len(self.data)

    def of(self, chosen: Array, link: int) -> Batch:
        """Some of the packets, which are of this link type."""
        return Batch(
            self.memory, link, self.frame[chosen], self.t[chosen], self.data[chosen], self.stored[chosen],
            self.wire[chosen],
        )  # fmt: skip


def gather(memory: bytearray, at: Array, kind: np.dtype[Any]) -> Array:
    """One structured value from each place; all of them inside `memory`."""
    return fields(memory, f"V{kind.itemsize}")[at].view(kind)


class Window:
    """The part of the file that is in memory: `memory[at:end]`.

    There are two memories: while one is worked on, a thread fills the other. What is left over of the
    first when all of it has been used is put in front of the second.
    """

    def __init__(self, source: Source, ahead: Executor) -> None:
        self._source, self._ahead = source, ahead
        self.memory, self._next = bytearray(FRONT + CHUNK + PAD), bytearray(FRONT + CHUNK + PAD)
        self.at = self.end = FRONT
        #: How much of the file has been in memory by now, 0 .. 1; 0 too when nobody knows.
        self.share = 0.0
        self._coming = ahead.submit(self._fill, self._next)
        self.refill(FRONT)

    def refill(self, at: int) -> bool:
        """Drop what lies before `at` and go on; False when nothing more comes.

        Afterwards what was at `at` stands at `self.at`.
        """
        rest = self.memory[at : self.end]
        size, self.share = self._coming.result()
        if len(rest) > FRONT:  # one record is larger than all that is usually there
            self._next = bytearray(len(rest)) + self._next[FRONT:]
            self.at = 0
        else:
            self.at = FRONT - len(rest)
        begin = self.at + len(rest)
        self._next[self.at : begin] = rest
        self.memory, self._next = self._next, self.memory
        self.end = begin + size
        if len(self._next) > FRONT + CHUNK + PAD:
            self._next = bytearray(FRONT + CHUNK + PAD)
        self._coming = self._ahead.submit(self._fill, self._next)
        return size > 0

    def _fill(self, memory: bytearray) -> tuple[int, float]:
        size = 0
        with memoryview(memory) as view, view[FRONT : FRONT + CHUNK] as room:
            while size < CHUNK and (more := self._source.readinto(room[size:])):
                size += more
        return size, self._source.share


class Records:
    """The batches of one file. Iterate once; afterwards `packets` and `trouble` are final."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self._source = Source(path)
        self.name = self._source.name
        self._window: Window | None = None
        #: Packets so far, of any kind.
        self.packets = 0
        #: Packets that carry no time.
        self.timeless = 0
        #: One sentence about where the file broke; empty when it did not.
        self.trouble = ""

    @property
    def share(self) -> float:
        """How much of the file has been read, 0 .. 1; 0 too when nobody knows."""
        return self._window.share if self._window else 0.0

    def __iter__(self) -> Iterator[Batch]:
        from tcplab.capture.blocks import blocks

        with self._source as source, ThreadPoolExecutor(1) as ahead:
            window = self._window = Window(source, ahead)
            if window.end == window.at and source.broken:
                raise CaptureError(
                    f"{self.name} is cut short or damaged so early that nothing of it can be unpacked."
                )
            if window.end == window.at:
                raise CaptureError(f"{self.name} is empty: not a capture file.")
            magic = bytes(window.memory[window.at : window.at + 4])
            if magic in PCAP:
                yield from self._pcap(window, *PCAP[magic])
            elif magic == PCAPNG:
                yield from blocks(self, window)
            else:
                raise CaptureError(
                    f"{self.name} is not a capture file: neither pcap nor pcapng, as tcpdump -w and "
                    "Wireshark write them."
                )
            if source.broken and not self.trouble:
                self.cut_short()

    def cut_short(self) -> None:
        """The file ends inside of something."""
        self.trouble = f"{self.name} is cut short after packet {self.packets}."

    def damaged(self, why: str) -> None:
        """What stands in the file can't be."""
        self.trouble = f"{self.name} is damaged after packet {self.packets}: {why}."

    def stopped(self, why: str) -> None:
        """More than a sound file has."""
        self.trouble = f"{self.name} is read no further than after packet {self.packets}: {why}."

    def numbers(self, count: int) -> Array:
        """Frame numbers of the next packets."""
        self.packets += count
        return np.arange(self.packets - count + 1, self.packets + 1, dtype=np.uint32)

    def _pcap(self, window: Window, order: str, tick: int, header: int) -> Iterator[Batch]:
        if window.end < window.at + PCAP_HEADER:
            return self.cut_short()
        # The upper bits of a pcap's link type tell about frame check sequences.
        link = unpack_from(order + "I", window.memory, window.at + 20)[0] & 0xFFFF
        layout, at = pcap_layout(order, header), window.at + PCAP_HEADER
        kind = np.dtype([(name, order + "u4") for name in ("second", "fraction", "stored", "wire")])
        while True:
            starts, at = record_starts(window.memory, at, window.end, layout)
            heads = gather(window.memory, starts, kind)
            stored = heads["stored"].astype(np.int64)
            if len(starts) and starts[-1] + header + stored[-1] > window.end:
                at = int(starts[-1])
            absurd = np.flatnonzero(stored > LARGEST_PACKET)[:1]
            whole = slice(0, int(absurd[0])) if len(absurd) else slice(0, int(np.searchsorted(starts, at)))
            heads, stored = heads[whole], stored[whole]
            t = heads["second"].astype(np.int64) * SECOND + heads["fraction"].astype(np.int64) * tick
            if len(heads):
                yield Batch(
                    window.memory, link, self.numbers(len(heads)), t, starts[whole] + header, stored,
                    heads["wire"].astype(np.int64),
                )  # fmt: skip
            if len(absurd):
                (size,) = unpack_from(order + "I", window.memory, int(starts[absurd[0]]) + 8)
                return self.damaged(f"the next one says that it has {size:,} bytes")
            if not window.refill(at):
                if window.end > window.at:
                    self.cut_short()
                return None
            at = window.at
