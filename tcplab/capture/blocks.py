"""The packet blocks of a pcapng file (draft-ietf-opsawg-pcapng), for records.py.

Sections in either byte order; several interfaces, each with its link type, resolution and offset of
time; enhanced, simple and the old packet blocks. Other blocks are passed over.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from struct import unpack_from
from typing import TYPE_CHECKING

import numpy as np

from tcplab.capture import CaptureError
from tcplab.capture.chains import LARGEST_BLOCK, LARGEST_PACKET, Array, fields, pcapng_layout, record_starts
from tcplab.capture.records import PCAPNG, Batch, Window, gather
from tcplab.trace import SECOND

if TYPE_CHECKING:
    from tcplab.capture.records import Records

ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
SECTION = int.from_bytes(PCAPNG, "little")  # the same in either byte order
INTERFACE, OLD_PACKET, SIMPLE_PACKET, PACKET = 1, 2, 3, 6
#: Smallest block of each type, its trailing length included.
SMALLEST = {SECTION: 28, INTERFACE: 20, OLD_PACKET: 32, SIMPLE_PACKET: 16, PACKET: 32}
TSRESOL, TSOFFSET = 9, 14
#: After a section header, look only so far ahead; then twice as far each time.
FIRST_LOOK = 64 << 10
MOST_SECTIONS, MOST_INTERFACES = 1024, 65_536
#: Later times (in the year 2116) count as this one, so that differences fit into 64 bits.
LATEST = (1 << 62) - 1


class _Interfaces:
    """The interfaces of a section, by number."""

    def __init__(self) -> None:
        self.link: list[int] = []
        self.snaplen: list[int] = []
        #: if_tsresol as it stands in the file, and if_tsoffset in seconds.
        self.resolution: list[int] = []
        self.offset: list[int] = []

    def add(self, block: bytes, order: str) -> None:
        """Take an interface description block."""
        link, _, snaplen = unpack_from(order + "HHI", block, 8)
        resolution, offset, at = 6, 0, 16
        while at + 4 <= len(block) - 4:
            code, size = unpack_from(order + "HH", block, at)
            if code == 0 or at + 4 + size > len(block) - 4:
                break
            if code == TSRESOL and size == 1:
                resolution = block[at + 4]
            elif code == TSOFFSET and size == 8:
                (offset,) = unpack_from(order + "q", block, at + 4)
            at += 4 + (size + 3 & ~3)
        self.link.append(link)
        self.snaplen.append(snaplen or LARGEST_PACKET)
        self.resolution.append(resolution)
        self.offset.append(offset)

    def nanoseconds(self, number: Array, ticks: Array) -> Array:
        """Times since 1970 of packets by their interfaces' clocks."""
        resolutions = np.array(self.resolution, np.uint8)[number]
        t = np.empty(len(number), np.int64)
        for each in set(self.resolution):
            chosen = resolutions == each
            if chosen.any():
                t[chosen] = _nanoseconds(ticks[chosen], each)
        if any(self.offset):
            offsets = [max(-LATEST, min(each * SECOND, LATEST)) for each in self.offset]
            t = np.clip(t + np.array(offsets)[number], 0, LATEST)
        return t


def _nanoseconds(ticks: Array, resolution: int) -> Array:
    """From units of 10^-n s, or of 2^-n s with the highest bit set."""
    power = resolution & 0x7F
    if resolution & 0x80:
        whole = ticks >> np.uint64(power) if power < 64 else np.zeros_like(ticks)
        rest = ticks - (whole << np.uint64(power) if power < 64 else whole)
        kept = min(power, 34)  # a nanosecond is 2^-30 s; more bits would not fit beside the factor
        rest = rest >> np.uint64(power - kept) if power - kept < 64 else np.zeros_like(rest)
        late = whole > LATEST // SECOND
        t = whole * np.uint64(SECOND) + (rest * np.uint64(SECOND) >> np.uint64(kept))
    elif power <= 9:
        factor = 10 ** (9 - power)
        late = ticks > LATEST // factor
        t = ticks * np.uint64(factor)
    else:
        t = ticks // np.uint64(10 ** (power - 9)) if power - 9 < 20 else np.zeros_like(ticks)
        late = t > LATEST
    t[late] = LATEST
    return np.minimum(t, np.uint64(LATEST)).astype(np.int64)


class _Section:
    """One section of the file, from its header on."""

    def __init__(self, records: Records, order: str) -> None:
        self._records, self._order = records, order
        self._layout = pcapng_layout(order, PCAPNG)
        self._interfaces = _Interfaces()
        self._last_t = 0
        #: Interfaces that were described before the stretch that is read.
        self._before = 0
        self._block = np.dtype([("type", order + "u4"), ("size", order + "u4")])
        words = ("type", "size", "interface", "high", "low", "stored", "wire")
        self._packet = np.dtype([(name, order + "u4") for name in words])

    def read(self, window: Window, at: int, look: int) -> Generator[Batch, None, int]:
        """Whole blocks from `at` on, up to the next section; returns where the next one begins."""
        high = min(window.end, at + look)
        starts, after = record_starts(window.memory, at, high, self._layout)
        heads = gather(window.memory, starts, self._block)
        kinds, sizes = heads["type"].astype(np.int64), heads["size"].astype(np.int64)
        smallest = np.full(len(starts), 12)
        for kind, size in SMALLEST.items():
            smallest[kinds == kind] = size
        wrong = (sizes < smallest) | (sizes % 4 != 0) | (sizes > LARGEST_BLOCK)
        there = wrong | (starts + sizes <= window.end)
        lengths = fields(window.memory, self._order + "u4")
        wrong |= there & (lengths[np.where(wrong | ~there, starts, starts + sizes - 4)] != sizes)
        ends = wrong | ~there | (kinds == SECTION)
        ends[:1] &= kinds[:1] != SECTION
        ends[:1] |= wrong[:1] | ~there[:1]
        (last,) = np.flatnonzero(ends)[:1].tolist() or [len(starts)]
        why = ""
        if last < len(starts):
            after = int(starts[last])
            if wrong[last]:
                why = f"a block of {int(sizes[last]):,} bytes begins there, or says so"
        starts, kinds, sizes = starts[:last], kinds[:last], sizes[:last]
        self._describe(window, starts, kinds, sizes)
        packets = np.flatnonzero((kinds == PACKET) | (kinds == SIMPLE_PACKET) | (kinds == OLD_PACKET))
        if len(packets):
            known = np.cumsum(kinds == INTERFACE)[packets] + self._before
            parts = starts[packets], kinds[packets], sizes[packets], known
            why = (yield from self._packets(window, *parts)) or why
        self._before = len(self._interfaces.link)
        if why:
            self._records.damaged(why)
        return after

    def _describe(self, window: Window, starts: Array, kinds: Array, sizes: Array) -> None:
        for i in np.flatnonzero(kinds == INTERFACE).tolist():
            if len(self._interfaces.link) >= MOST_INTERFACES:
                raise CaptureError(
                    f"{self._records.name} describes more than {MOST_INTERFACES:,} network interfaces, "
                    "which tcplab does not read."
                )
            self._interfaces.add(bytes(window.memory[starts[i] : starts[i] + sizes[i]]), self._order)

    def _packets(
        self, window: Window, starts: Array, kinds: Array, sizes: Array, known: Array
    ) -> Generator[Batch, None, str]:
        heads = gather(window.memory, starts, self._packet)
        number, stored = heads["interface"].astype(np.int64), heads["stored"].astype(np.int64)
        wire, data = heads["wire"].astype(np.int64), starts + 28
        old, simple = kinds == OLD_PACKET, kinds == SIMPLE_PACKET
        if old.any():  # a 16 bit number, then how many packets were lost
            number[old] = number[old] & 0xFFFF if self._order == "<" else number[old] >> 16
        room = sizes - 32
        if simple.any():  # its length on the wire, then the data
            wire[simple], number[simple], data[simple] = number[simple], 0, starts[simple] + 12
            room[simple] = sizes[simple] - 16
            snaplen = self._interfaces.snaplen[0] if self._interfaces.snaplen else LARGEST_PACKET
            stored[simple] = np.minimum(np.minimum(wire[simple], room[simple]), snaplen)
        nowhere, why = number >= known, ""
        wrong = nowhere | (stored > room) | (stored > LARGEST_PACKET)
        if wrong.any():
            end = int(wrong.argmax())
            why = (
                "a packet of an interface that is not described" if nowhere[end]
                else f"the next packet says that it has {int(stored[end]):,} bytes"
            )  # fmt: skip
            heads, number, simple = heads[:end], number[:end], simple[:end]
            stored, wire, data = stored[:end], wire[:end], data[:end]
        if not len(heads):
            return why
        ticks = heads["high"].astype(np.uint64) << np.uint64(32) | heads["low"]
        t = self._interfaces.nanoseconds(number, ticks)
        if simple.any():
            t = self._filled(t, simple)
        self._last_t = int(t[-1])
        whole = Batch(window.memory, -1, self._records.numbers(len(heads)), t, data, stored, wire)
        kinds_of_link = set(self._interfaces.link)
        if len(kinds_of_link) == 1:
            yield replace(whole, link=kinds_of_link.pop())
            return why
        links = np.array(self._interfaces.link)[number]
        for link in sorted(kinds_of_link & set(np.unique(links).tolist())):
            yield whole.of(np.flatnonzero(links == link), link)
        return why

    def _filled(self, t: Array, simple: Array) -> Array:
        """A simple packet has no time: it takes that of the packet before it."""
        self._records.timeless += int(simple.sum())
        latest = np.maximum.accumulate(np.where(simple, -1, np.arange(len(t))))
        return np.where(latest < 0, self._last_t, t[latest])


def blocks(records: Records, window: Window) -> Iterator[Batch]:
    """The packets of all sections; sets `records.trouble` where the file breaks."""
    at, look, section, sections = window.at, FIRST_LOOK, None, 0
    while True:
        if window.memory[at : at + 4] == PCAPNG and at + 12 <= window.end:
            order = ORDERS.get(bytes(window.memory[at + 8 : at + 12]))
            if order is None and section is None:
                raise CaptureError(
                    f"{records.name} is not a capture file that can be read: "
                    "its first block does not say in which byte order it is."
                )
            if order is None:
                return records.damaged("a section begins that does not say in which byte order it is")
            sections += 1
            if sections > MOST_SECTIONS:
                return records.stopped(f"it has more than {MOST_SECTIONS:,} sections")
            section, look = _Section(records, order), FIRST_LOOK
        before = at
        if section is not None and at + 12 <= window.end:
            at = yield from section.read(window, at, look)
            look *= 2
        if records.trouble:
            return None
        if at > before and at + 12 <= window.end:
            continue
        if not window.refill(at):
            if window.end > window.at:
                records.cut_short()
            return None
        at = window.at
