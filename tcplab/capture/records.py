"""The packet records of a capture file, a batch at a time, from memory that is used again and again.

Formats: pcap (draft-ietf-opsawg-pcap: both byte orders, micro- and nanoseconds, and the longer
records of Kuznetzov's variant) here, pcapng in blocks.py. What is read before a file breaks is given
out; `Records.trouble` then says in one sentence where it broke.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from tcplab.capture import CaptureError
from tcplab.capture.chains import LARGEST_PACKET, Array, fields, pcap_layout, record_starts
from tcplab.capture.unpacking import Source
from tcplab.trace import SECOND

#: Bytes read at a time: small enough to stay in a processor's cache, large enough for NumPy.
CHUNK = 8 << 20
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
    """The part of the file that is in memory: `memory[:end]`."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.memory = bytearray(CHUNK + PAD)
        self.end = 0
        self.refill(0)

    def refill(self, at: int) -> bool:
        """Drop what lies before `at` and read on; False when nothing more comes."""
        rest = self.memory[at : self.end]
        room = len(self.memory) - PAD
        if len(rest) >= room:  # one record fills it all
            room *= 2
            self.memory = bytearray(room + PAD)
        self.memory[: len(rest)] = rest
        self.end = begun = len(rest)
        with memoryview(self.memory) as view:
            while self.end < room and (size := self.source.readinto(view[self.end : room])):
                self.end += size
        return self.end > begun


class Records:
    """The batches of one file. Iterate once; afterwards `packets` and `trouble` are final."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self._source = Source(path)
        self.name = self._source.name
        #: Packets so far, of any kind.
        self.packets = 0
        #: Packets that carry no time.
        self.timeless = 0
        #: One sentence about where the file broke; empty when it did not.
        self.trouble = ""

    @property
    def share(self) -> float:
        """How much of the file has been read, 0 .. 1; 0 too when nobody knows."""
        return self._source.share

    def __iter__(self) -> Iterator[Batch]:
        from tcplab.capture.blocks import blocks

        with self._source as source:
            window = Window(source)
            if not window.end:
                raise CaptureError(f"{self.name} is empty: not a capture file.")
            magic = bytes(window.memory[:4])
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

    def numbers(self, count: int) -> Array:
        """Frame numbers of the next packets."""
        self.packets += count
        return np.arange(self.packets - count + 1, self.packets + 1, dtype=np.uint32)

    def _pcap(self, window: Window, order: str, tick: int, header: int) -> Iterator[Batch]:
        if window.end < PCAP_HEADER:
            return self.cut_short()
        # The upper bits of a pcap's link type tell about frame check sequences.
        link = int(np.frombuffer(window.memory, order + "u4", 1, 20)[0]) & 0xFFFF
        layout, at = pcap_layout(order, header), PCAP_HEADER
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
                size = int(np.frombuffer(window.memory, order + "u4", 1, int(starts[absurd[0]]) + 8)[0])
                return self.damaged(f"the next one says that it has {size:,} bytes")
            if not window.refill(at):
                if window.end:
                    self.cut_short()
                return None
            at = 0
