"""Reading a capture fast: a file's packet records, as NumPy arrays.

How the reader works
====================

The fast reader is four files, each one step; all of it works on many packets at once, and no Python
loop runs over packets.

- **file.py** finds the packet *records* of a file and gives them out in *batches*.
- **headers.py** takes a batch's link, IP and TCP headers apart, options included.
- **table.py** collects that into *columns*, one array per property, and numbers the connections.
- **capture.py** makes connections and traces of the table, and adds the sidecar.

plain.py does the work of the first three without NumPy, one packet at a time, and is their judge in
tests. shared.py defines for both readers what concerns single packets or interfaces: clocks, ICMP errors,
fragments. GRE and ERSPAN are dissected here, other tunnels by scapy (pcap.py), one packet at a time.

**Formats.** pcap (draft-ietf-opsawg-pcap): both byte orders, micro- and nanoseconds, and the longer
records of Kuznetzov's variant. pcapng (draft-ietf-opsawg-pcapng): sections in either byte order,
several interfaces, each with its own link type, resolution and time offset; enhanced, simple and old
packet blocks; other blocks are skipped. Either may be packed with gzip or zstd (`Source`).

**Windows: how memory stays bounded.** A `Window` holds two pieces of 16 MB; while one is worked on, a
thread fills the other. The rest of a piece that holds no whole record moves to the beginning of the next
one. A batch refers to bytes in the window and is valid only until the next batch; what is kept of a
packet are some 45 bytes in the columns, never its data, except the first 32 bytes of payload of each
direction of a four-tuple. A length that no sound file has ends the reading instead of growing the window.

**Chains.** A record only says how long it is, so that finding the next one is a chain that Python
follows at a few million records a second at best. So the beginning of a record is guessed in each of
many sections of the window, and all these chains are followed together, one NumPy step for all of
them. A guess counts only when the chain before it lands on it exactly; a section where it does not is
followed one record at a time. Guesses decide how fast it is, never what comes out.

**Links and headers.** Nearly all packets are IPv4 without options directly in their link, so one gather
reads all their headers. The others take the longer path: VLAN tags, IP options, IPv6 with extension
headers, fragments. A packet counts as TCP when a receiver would take its header: 20 bytes of it are
stored, its length is at least 20, and the IP length covers it. Checksums are ignored, because on the
sending host the network card computes them.

**Columns.** A flow is what runs between two ends; a hash table of pairs numbers the flows. A direction is
twice the number of its flow, plus one for the opposite direction. One flow may carry several connections
after one another, which `tcplab.core.connections` tells apart. Most flows have one SYN and its answer, and
need no closer look.

**What is decided where.** Whether it is a capture at all, and where it breaks: here (`Records.trouble`;
everything before that place is given out). Whether a packet is TCP and how long its payload is:
headers.py. Which connection it belongs to, and the order of time: table.py. Who is the client, and the
real window: capture.py with the table. What it means: tcplab.follow and findings/.
"""

from __future__ import annotations

from collections.abc import Container, Generator, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from struct import Struct, unpack_from
from typing import Any

import numpy as np

from tcplab.capture import FileWarning, Source, shared
from tcplab.capture.shared import STEP, Broken, InterfaceClock, Steps
from tcplab.core.text import SECOND

#: Bytes read at a time: small enough to stay in a processor's cache, large enough for NumPy.
CHUNK = 16 << 20
#: Room in front of it for what the chunk before left over.
LEFTOVER = 1 << 20
#: What may be read beyond the last byte of a packet, so that one gather serves short ones too.
PAD = 256
#: After a section header of pcapng only so many bytes are looked at; then twice as many each time.
FIRST_LOOK = 64 << 10
#: Bytes of a window for one guess, and the steps that all chains take between two checks of their ends.
GUESS_EVERY = 64 << 10
STEPS = 32
#: Below this many bytes guessing is not worth it.
WORTH_GUESSING = 256 << 10
#: Candidates tried for one guess.
TRIES = 8

Array = np.ndarray[Any, np.dtype[Any]]


def fields(memory: bytearray, dtype: str | np.dtype[Any]) -> Array:
    """The memory as if a value of this type began at each of its bytes."""
    kind = np.dtype(dtype)
    return np.ndarray((len(memory) - kind.itemsize + 1,), kind, memory, strides=(1,))


def gather(memory: bytearray, at: Array, kind: np.dtype[Any]) -> Array:
    """One structured value from each place; all of them inside `memory`."""
    return fields(memory, f"V{kind.itemsize}")[at].view(kind)


@dataclass(frozen=True, slots=True)
class Batch:
    """Packets of one link type, in order; valid until the next batch."""

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


class Records:
    """The batches of one file. Iterate once; afterwards `packets` and `trouble` are final."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self._source = Source(path)
        self.name = self._source.name
        self._window: Window | None = None
        #: Packets so far, of any kind.
        self.packets = 0
        #: Packets without a time stamp, and empty records of zeros.
        self.timeless = self.empty = 0
        #: Where clocks were set.
        self.steps = Steps()
        #: One sentence about where the file broke; None when it did not.
        self.trouble: FileWarning | None = None

    @property
    def share(self) -> float:
        """How much of the file has been read, 0 .. 1; 0 also when unknown."""
        return self._window.share if self._window else 0.0

    def __iter__(self) -> Iterator[Batch]:
        with self._source as source, ThreadPoolExecutor(1) as ahead:
            window = self._window = Window(source, ahead)
            magic = bytes(window.memory[window.at : min(window.at + 4, window.end)])
            shared.check_beginning(source, magic)
            is_pcap = magic in shared.PCAP
            try:
                yield from self._pcap(window, *shared.PCAP[magic]) if is_pcap else self._pcapng(window)
                if source.broken or window.end > window.at:
                    raise Broken("cut short")
            except Broken as broken:
                self.trouble = broken.sentence(self.name, self.packets)

    def numbers(self, count: int) -> Array:
        """Frame numbers of the next packets."""
        self.packets += count
        return np.arange(self.packets - count + 1, self.packets + 1, dtype=np.uint32)

    @staticmethod
    def filled(t: Array, timeless: Array, before: int) -> Array:
        """The times; a packet without a time stamp gets that of the previous packet."""
        if not timeless.any():
            return t
        latest = np.maximum.accumulate(np.where(timeless, -1, np.arange(len(t))))
        return np.where(latest < 0, before, t[latest])

    def _pcap(self, window: Window, order: str, tick: int, header: int) -> Iterator[Batch]:
        if window.end < window.at + shared.PCAP_HEADER:
            return
        # The upper bits of the link type describe frame check sequences.
        link = unpack_from(order + "I", window.memory, window.at + 20)[0] & 0xFFFF
        layout, at = pcap_layout(order, header), window.at + shared.PCAP_HEADER
        clock, last_t, zeros = InterfaceClock(self.steps), 0, 0
        kind = np.dtype([(name, order + "u4") for name in ("second", "fraction", "stored", "wire")])
        while True:
            starts, at = record_starts(window.memory, at, window.end, layout)
            heads = gather(window.memory, starts, kind)
            stored = heads["stored"].astype(np.int64)
            if len(starts) and starts[-1] + header + stored[-1] > window.end:
                at = int(starts[-1])
            absurd = np.flatnonzero(stored > shared.LARGEST_PACKET)[:1]
            whole = slice(0, int(absurd[0])) if len(absurd) else slice(0, int(np.searchsorted(starts, at)))
            heads, stored = heads[whole], stored[whole]
            t = heads["second"].astype(np.int64) * SECOND + heads["fraction"].astype(np.int64) * tick
            wire, data = heads["wire"].astype(np.int64), starts[whole] + header
            empty = (heads["second"] == 0) & (stored == 0) & (wire == 0)
            last, zeros = _zeros_in_a_row(empty, zeros)
            t, stored, wire, data, empty = (each[:last] for each in (t, stored, wire, data, empty))
            if len(t):
                number, timed = self.numbers(len(t)), ~empty
                t[timed] = mended(clock, t[timed], number[timed])
                t = self.filled(t, empty, last_t)
                self.empty += int(empty.sum())
                last_t = int(t[-1])
                yield Batch(window.memory, link, number, t, data, stored, wire)
            if last is not None:
                raise Broken("damaged", shared.EMPTY)
            if len(absurd):
                (size,) = unpack_from(order + "I", window.memory, int(starts[absurd[0]]) + 8)
                raise Broken("damaged", f"the next one says that it has {size:,} bytes")
            if not window.refill(at):
                return
            at = window.at

    def _pcapng(self, window: Window) -> Iterator[Batch]:
        at, look, section, sections = window.at, FIRST_LOOK, None, 0
        while True:
            if window.memory[at : at + 4] == shared.PCAPNG and at + 12 <= window.end:
                order = shared.section_order(self.name, bytes(window.memory[at + 8 : at + 12]), sections)
                sections += 1
                section, look = _Section(self, order), FIRST_LOOK
            before = at
            if section is not None and at + 12 <= window.end:
                at = yield from section.read(window, at, look)
                look *= 2
            if at > before and at + 12 <= window.end:
                continue
            if not window.refill(at):
                return
            at = window.at


def _zeros_in_a_row(empty: Array, before: int) -> tuple[int | None, int]:
    """The index of the record that makes `MOST_EMPTY` empty ones in a row, if any; and how many end here.

    `before`: how many ended just before these records.
    """
    if not len(empty):
        return None, before
    if not empty.any():
        return None, 0
    index = np.arange(len(empty))
    in_a_row = index - np.maximum.accumulate(np.where(empty, -1 - before, index))
    (first,) = np.flatnonzero(in_a_row >= shared.MOST_EMPTY)[:1].tolist() or [None]
    return first, int(in_a_row[-1])


class _Section:
    """One section of the file, from its header on."""

    def __init__(self, records: Records, order: str) -> None:
        self._records, self._order = records, order
        self._layout = pcapng_layout(order, shared.PCAPNG)
        self._interfaces: list[shared.Interface] = []
        self._clocks: dict[int, InterfaceClock] = {}
        self._last_t = 0
        #: Interfaces described before the part that is read.
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
        for kind, size in shared.SMALLEST.items():
            smallest[kinds == kind] = size
        wrong = (sizes < smallest) | (sizes % 4 != 0) | (sizes > shared.LARGEST_BLOCK)
        there = wrong | (starts + sizes <= window.end)
        lengths = fields(window.memory, self._order + "u4")
        wrong |= there & (lengths[np.where(wrong | ~there, starts, starts + sizes - 4)] != sizes)
        ends = wrong | ~there | (kinds == shared.SECTION)
        ends[:1] &= kinds[:1] != shared.SECTION
        ends[:1] |= wrong[:1] | ~there[:1]
        (last,) = np.flatnonzero(ends)[:1].tolist() or [len(starts)]
        is_bad = last < len(starts) and bool(wrong[last])
        if last < len(starts):
            after, size = int(starts[last]), int(sizes[last])
        starts, kinds, sizes = starts[:last], kinds[:last], sizes[:last]
        for i in np.flatnonzero(kinds == shared.INTERFACE).tolist():
            body = bytes(window.memory[starts[i] + 8 : starts[i] + sizes[i] - 4])
            shared.add_interface(self._records.name, self._interfaces, body, self._order)
        packets = np.flatnonzero(np.logical_or.reduce([kinds == each for each in shared.PACKETS]))
        if len(packets):
            known = np.cumsum(kinds == shared.INTERFACE)[packets] + self._before
            yield from self._packets(window, starts[packets], kinds[packets], sizes[packets], known)
        self._before = len(self._interfaces)
        if is_bad:
            raise Broken("damaged", f"a block of {size:,} bytes begins there, or says so")
        return after

    def _packets(
        self, window: Window, starts: Array, kinds: Array, sizes: Array, known: Array
    ) -> Iterator[Batch]:
        heads = gather(window.memory, starts, self._packet)
        number, stored = heads["interface"].astype(np.int64), heads["stored"].astype(np.int64)
        wire, data = heads["wire"].astype(np.int64), starts + 28
        old, simple = kinds == shared.OLD_PACKET, kinds == shared.SIMPLE_PACKET
        if old.any():  # a 16 bit number, then how many packets were lost
            number[old] = number[old] & 0xFFFF if self._order == "<" else number[old] >> 16
        room = sizes - 32
        if simple.any():  # its length on the wire, then the data
            wire[simple], number[simple], data[simple] = number[simple], 0, starts[simple] + 12
            room[simple] = sizes[simple] - 16
            snaplen = self._interfaces[0].snaplen if self._interfaces else shared.LARGEST_PACKET
            stored[simple] = np.minimum(np.minimum(wire[simple], room[simple]), snaplen)
        nowhere, why = number >= known, ""
        wrong = nowhere | (stored > room) | (stored > shared.LARGEST_PACKET)
        if wrong.any():
            end = int(wrong.argmax())
            why = (
                "a packet of an interface that is not described" if nowhere[end]
                else f"the next packet says that it has {int(stored[end]):,} bytes"
            )  # fmt: skip
            heads, number, simple = heads[:end], number[:end], simple[:end]
            stored, wire, data = stored[:end], wire[:end], data[:end]
        if len(heads):
            ticks = heads["high"].astype(np.uint64) << np.uint64(32) | heads["low"]
            t = self._nanoseconds(number, ticks)
            numbers = self._records.numbers(len(heads))
            for each in np.unique(number).tolist():
                chosen = np.flatnonzero((number == each) & ~simple)
                clock = self._clocks.setdefault(each, InterfaceClock(self._records.steps))
                t[chosen] = mended(clock, t[chosen], numbers[chosen])
            # A simple packet block has no time stamp: it gets that of the previous packet.
            self._records.timeless += int(simple.sum())
            t = self._records.filled(t, simple, self._last_t)
            self._last_t = int(t[-1])
            links = [each.link for each in self._interfaces]
            whole = Batch(window.memory, links[0], numbers, t, data, stored, wire)
            if len(set(links)) == 1:
                yield whole
            else:
                of_packet = np.array(links)[number]
                for link in np.unique(of_packet).tolist():
                    yield whole.of(np.flatnonzero(of_packet == link), link)
        if why:
            raise Broken("damaged", why)

    def _nanoseconds(self, number: Array, ticks: Array) -> Array:
        """Times since 1970 by the interfaces' clocks; units other than 1 s to 1 ns one packet at a time."""
        t = np.empty(len(number), np.int64)
        of_packet = np.array([each.resolution for each in self._interfaces], np.uint8)[number]
        for each in {each.resolution for each in self._interfaces}:
            is_its = of_packet == each
            chosen = slice(None) if is_its.all() else np.flatnonzero(is_its)
            mine, factor = ticks[chosen], 10 ** max(9 - each, 0)
            if each <= 9:
                late = mine > shared.LATEST // factor
                t[chosen] = np.where(late, shared.LATEST, mine * np.uint64(factor))
            else:
                t[chosen] = [shared.Interface(0, 0, each, 0).nanoseconds(one) for one in mine.tolist()]
        offsets = [max(-shared.LATEST, min(each.offset * SECOND, shared.LATEST)) for each in self._interfaces]
        return np.clip(t + np.array(offsets)[number], 0, shared.LATEST) if any(offsets) else t


def mended(clock: InterfaceClock, t: Array, frame: Array) -> Array:
    """The times of the next frames of one interface from their time stamps: see `InterfaceClock`."""
    if not len(t):
        return t
    by = np.diff(t, prepend=t[0] if clock.last is None else clock.last)
    if not clock.shift and by.min() > -STEP and by.max() < shared.LEAP:
        clock.pass_on(int(t[-1]), int(t.max()))
        return t
    out, begin = np.empty_like(t), 0
    for place in [*np.flatnonzero(np.abs(by) >= STEP).tolist(), len(t)]:
        if place > begin:
            part = t[begin:place]
            out[begin:place] = np.minimum(part + clock.shift, shared.LATEST)
            clock.pass_on(int(part[-1]), int(part.max()))
        if place < len(t):
            out[place] = clock.take(int(t[place]), int(frame[place]))
            begin = place + 1
    return out


class Window:
    """The part of the file that is in memory: `memory[at:end]`.

    There are two memories: while one is worked on, a thread fills the other. What the first leaves over
    is put in front of the second.
    """

    def __init__(self, source: Source, ahead: Executor) -> None:
        self._source, self._ahead = source, ahead
        self.memory, self._next = bytearray(LEFTOVER + CHUNK + PAD), bytearray(LEFTOVER + CHUNK + PAD)
        self.at = self.end = LEFTOVER
        #: How much of the file has been in memory by now, 0 .. 1; 0 also when unknown.
        self.share = 0.0
        self._coming = ahead.submit(self._fill, self._next)
        self.refill(LEFTOVER)

    def refill(self, at: int) -> bool:
        """Drop what precedes `at` and go on; False at the end of the file.

        Afterwards what was at `at` is at `self.at`.
        """
        rest = self.memory[at : self.end]
        size, self.share = self._coming.result()
        if len(rest) > LEFTOVER:  # one record is larger than the usual room
            self._next = bytearray(len(rest)) + self._next[LEFTOVER:]
            self.at = 0
        else:
            self.at = LEFTOVER - len(rest)
        begin = self.at + len(rest)
        self._next[self.at : begin] = rest
        self.memory, self._next = self._next, self.memory
        self.end = begin + size
        if len(self._next) > LEFTOVER + CHUNK + PAD:
            self._next = bytearray(LEFTOVER + CHUNK + PAD)
        self._coming = self._ahead.submit(self._fill, self._next)
        return size > 0

    def _fill(self, memory: bytearray) -> tuple[int, float]:
        size = 0
        with memoryview(memory) as view, view[LEFTOVER : LEFTOVER + CHUNK] as room:
            while size < CHUNK and (more := self._source.readinto(room[size:])):
                size += more
        return size, self._source.share


@dataclass(frozen=True)
class Layout:
    """How the records of a file are chained."""

    #: ``<`` or ``>``.
    order: str
    #: Offset of the length in a record, and the bytes that it does not count.
    length_at: int
    extra: int
    #: Bytes that every record has at least.
    least: int
    #: Largest credible value of the length.
    largest: int
    #: Offset and size of the bytes that nearly all records share.
    mark_at: int
    mark_size: int
    #: A record that begins with this ends the chain: the layout may change there.
    stop: bytes = b""
    #: True when a record repeats its length in its last four bytes.
    twice: bool = False


def pcap_layout(order: str, header: int) -> Layout:
    """Records of a pcap file: seconds, fraction, stored bytes, bytes on the wire, data.

    The upper half of the seconds stays the same for 18 hours.
    """
    return Layout(order, 8, header, header, shared.LARGEST_PACKET, 2 if order == "<" else 0, 2)


def pcapng_layout(order: str, stop: bytes) -> Layout:
    """Blocks of a pcapng file: type, length, …, length. Nearly all are of one type."""
    return Layout(order, 4, 0, 12, shared.LARGEST_BLOCK, 0, 4, stop, twice=True)


def record_starts(memory: bytearray, low: int, high: int, layout: Layout) -> tuple[Array, int]:
    """Beginnings of the records from `low` on that have their `least` bytes before `high`.

    Also where the next one begins, which may be beyond `high`. The lengths are not judged here, but the
    chain always moves forward.
    """
    if high - low >= WORTH_GUESSING:
        starts = _guess(memory, low, high, layout)
        if len(starts) > 1:
            return _follow(memory, starts, high, layout)
    return _walk(memory, low, high, layout)


def _walk(
    memory: bytearray, at: int, high: int, layout: Layout, until: Container[int] = ()
) -> tuple[Array, int]:
    """One record after the other, up to one of those in `until`."""
    unpack = Struct(layout.order + "I").unpack_from
    length_at, extra, stop = layout.length_at, layout.extra, layout.stop
    least, last = layout.least - extra, high - layout.least
    starts: list[int] = []
    while at <= last and at not in until:
        if stop and starts and memory[at : at + 4] == stop:
            break
        starts.append(at)
        at += extra + max(unpack(memory, at + length_at)[0], least)
    return np.array(starts, np.int64), at


def _guess(memory: bytearray, low: int, high: int, layout: Layout) -> Array:
    """`low`, and the beginning of a credible record every `GUESS_EVERY` bytes after it, in order."""
    mark = memory[low + layout.mark_at : low + layout.mark_at + layout.mark_size]
    find = memory.find
    edges = range(low + GUESS_EVERY, high - GUESS_EVERY, GUESS_EVERY)
    tried = np.array([find(mark, edge, edge + GUESS_EVERY) for edge in edges], np.int64)
    ends = np.array(edges, np.int64) + GUESS_EVERY
    good = [np.array([low], np.int64)]
    for _ in range(TRIES):
        there = tried >= 0
        tried, ends = tried[there], ends[there]
        if not len(tried):
            break
        credible = _credible(memory, tried - layout.mark_at, high, layout)
        good.append(tried[credible] - layout.mark_at)
        rejected = zip(tried[~credible].tolist(), ends[~credible].tolist(), strict=True)
        tried, ends = np.array([find(mark, at + 1, end) for at, end in rejected], np.int64), ends[~credible]
    return np.sort(np.concatenate(good))


def _credible(memory: bytearray, at: Array, high: int, layout: Layout) -> Array:
    """Where a record may begin: its length is credible, and so is what follows it."""
    lengths, marks = fields(memory, layout.order + "u4"), fields(memory, "u2")
    mark_at, last = layout.mark_at, high - layout.least
    good = at <= last
    at = np.minimum(at, last)
    for _ in range(2):
        length = lengths[at + layout.length_at].astype(np.int64)
        after = at + layout.extra + length
        good &= (length >= max(1, layout.least - layout.extra)) & (length <= layout.largest) & (after <= last)
        after = np.minimum(after, last)
        good &= marks[after + mark_at] == marks[at + mark_at]
        good &= lengths[after - 4] == length if layout.twice else lengths[at + 12] >= length
        at = after
    return good


def _follow(memory: bytearray, starts: Array, high: int, layout: Layout) -> tuple[Array, int]:
    """All chains from `starts` together, each up to the next one's start, then joined."""
    # The memory from the length of a record at its first byte on: saves an addition in each step.
    lengths = fields(memory, layout.order + "u4")[layout.length_at :]
    least, last = layout.least - layout.extra, high - layout.least
    ends = np.append(starts[1:], last + 1)
    landed = np.zeros_like(starts)
    at, mine = starts, np.arange(len(starts))
    steps = []
    while len(at):
        rows = np.empty((STEPS + 1, len(at)), np.int64)
        rows[0] = at
        for row in rows[1:]:
            # A chain past its end steps on in place; only where it landed counts.
            at = np.minimum(at, last, out=row)
            length = lengths[at]
            row += np.maximum(length, least) if least else length
            row += layout.extra
        block = np.full((len(starts), STEPS), high)
        block[mine] = rows[:-1].T
        steps.append(block)
        past = rows >= ends[mine]
        more = ~past[-1]
        done = np.flatnonzero(past[-1])
        landed[mine[done]] = rows[past[:, done].argmax(axis=0), done]
        at, mine = rows[-1][more], mine[more]
    places = np.concatenate(steps, axis=1)
    inside = places < ends[:, None]
    chained = places[inside]
    if bool((landed[:-1] == starts[1:]).all()):
        return chained, int(landed[-1])
    chains = np.split(chained, np.cumsum(inside.sum(axis=1))[:-1])
    return _join(memory, dict(zip(starts.tolist(), chains, strict=True)), landed.tolist(), high, layout)


def _join(
    memory: bytearray, chains: dict[int, Array], landed: list[int], high: int, layout: Layout
) -> tuple[Array, int]:
    """Keep the chains that the first one leads to; walk plainly where a guess was wrong."""
    after = dict(zip(chains, landed, strict=True))
    kept, at = [], next(iter(chains))
    while at + layout.least <= high:
        if at in chains:
            kept.append(chains[at])
            at = after[at]
        else:
            plain, at = _walk(memory, at, high, layout, chains)
            kept.append(plain)
            if at not in chains:
                break
    return np.concatenate(kept), at
