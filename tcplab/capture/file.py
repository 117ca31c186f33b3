"""The packet records of a capture file, a batch at a time, from memory that is used again and again.

Formats: pcap (draft-ietf-opsawg-pcap: both byte orders, micro- and nanoseconds, and the longer
records of Kuznetzov's variant) here, pcapng in blocks.py. What is read before a file breaks is given
out; `Records.trouble` then says in one sentence where it broke.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Container, Generator, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import import_module
from os import PathLike, fstat
from pathlib import Path
from struct import Struct, unpack_from
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from tcplab.capture import CaptureError
from tcplab.core.text import SECOND

# ----------------------------------------------------------------------
# Where the records of a capture begin.
#
# Each record says how long it is, so that one leads to the next: a chain, which Python follows at a
# few million records a second at best. The way out is to guess a record's beginning in each of many
# stretches of the file, and to follow all these chains together, one NumPy step for all of them. A
# guess counts only when the chain before it lands on it exactly; a stretch where it does not is
# followed plainly. So the guesses decide how fast it is, never what comes out.

#: A stretch for one guess, in bytes; and how many steps all chains take before it is looked who is done.
STRETCH = 64 << 10
STEPS = 32
#: Below this many bytes guessing is not worth it.
WORTH_IT = 256 << 10
#: Candidates that are tried in a stretch before it is left to the chain before it.
TRIES = 8
#: No record is larger: Wireshark's limits (wiretap, WTAP_MAX_PACKET_SIZE_STANDARD and MAX_BLOCK_SIZE).
LARGEST_PACKET = 262_144
LARGEST_BLOCK = 16 << 20

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Layout:
    """How the records of a file are chained."""

    #: ``<`` or ``>``.
    order: str
    #: Where the length stands in a record, and what it does not count.
    length_at: int
    extra: int
    #: Bytes that every record has at least.
    least: int
    #: Largest credible value of the length.
    largest: int
    #: Where in a record the bytes stand that nearly all records share, and how many there are.
    mark_at: int
    mark_size: int
    #: A record that begins with this ends the chain: the ones after it may be laid out otherwise.
    stop: bytes = b""
    #: True when a record's length stands once more in its last four bytes.
    twice: bool = False


def pcap_layout(order: str, header: int) -> Layout:
    """Records of a pcap file: seconds, fraction, stored bytes, bytes on the wire, data.

    The upper half of the seconds stays the same for 18 hours.
    """
    return Layout(order, 8, header, header, LARGEST_PACKET, 2 if order == "<" else 0, 2)


def pcapng_layout(order: str, stop: bytes) -> Layout:
    """Blocks of a pcapng file: type, length, …, length. Nearly all are of one type."""
    return Layout(order, 4, 0, 12, LARGEST_BLOCK, 0, 4, stop, twice=True)


def fields(memory: bytearray, dtype: str | np.dtype[Any]) -> Array:
    """The memory as if a value of this type began at each of its bytes."""
    kind = np.dtype(dtype)
    return np.ndarray((len(memory) - kind.itemsize + 1,), kind, memory, strides=(1,))


def record_starts(memory: bytearray, low: int, high: int, layout: Layout) -> tuple[Array, int]:
    """Beginnings of the records from `low` on that have their `least` bytes before `high`.

    Also where the next one begins, which may be anywhere behind. The lengths are not judged here;
    but the chain always goes forward.
    """
    if high - low >= WORTH_IT:
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
    found: list[int] = []
    while at <= last and at not in until:
        if stop and found and memory[at : at + 4] == stop:
            break
        found.append(at)
        at += extra + max(unpack(memory, at + length_at)[0], least)
    return np.array(found, np.int64), at


def _guess(memory: bytearray, low: int, high: int, layout: Layout) -> Array:
    """`low` and a credible record in each stretch behind it, in order."""
    mark = memory[low + layout.mark_at : low + layout.mark_at + layout.mark_size]
    find = memory.find
    edges = range(low + STRETCH, high - STRETCH, STRETCH)
    tried = np.array([find(mark, edge, edge + STRETCH) for edge in edges], np.int64)
    ends = np.array(edges, np.int64) + STRETCH
    good = [np.array([low], np.int64)]
    for _ in range(TRIES):
        there = tried >= 0
        tried, ends = tried[there], ends[there]
        if not len(tried):
            break
        credible = _credible(memory, tried - layout.mark_at, high, layout)
        good.append(tried[credible] - layout.mark_at)
        again = zip(tried[~credible].tolist(), ends[~credible].tolist(), strict=True)
        tried, ends = np.array([find(mark, at + 1, end) for at, end in again], np.int64), ends[~credible]
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
    # The memory from the length of a record at its first byte on: one addition less in each step.
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
            # Who is past the end goes on from there to nowhere; only its landing counts.
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


# ----------------------------------------------------------------------
# The bytes of a capture file, unpacked on the way: plain, gzip (RFC 1952) or zstd (RFC 8878).
#
# Only a piece is in memory at a time. What can be unpacked of a damaged or cut file is given out;
# `Source.broken` says in the end that there should have been more.

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
#: Packed bytes taken from the file at a time.
PIECE = 1 << 18
#: Where Python keeps zstd: its own since 3.14 (PEP 784), before that a package of the same code.
ZSTD_HOMES = ("compression.zstd", "backports.zstd")


class Source:
    """A file opened for reading; `CaptureError` in one sentence when that is impossible."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = Path(path)
        self.name = self._path.name
        #: True when the packed file ended too early or is damaged.
        self.broken = False
        self._given = 0
        try:
            # Unbuffered: what is read goes straight into the reader's own memory.
            self._file: BinaryIO = open(self._path, "rb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._unreadable(error) from None
        try:
            self._head = self._read(4)
            self._unpack = self._unpacker()
        except CaptureError:
            self._file.close()
            raise

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def readinto(self, room: memoryview) -> int:
        """Fill the front of `room`; how many bytes came, 0 at the end."""
        if self._unpack is not None:
            return self._unpack(room)
        if self._head:
            size = min(len(self._head), len(room))
            room[:size], self._head = self._head[:size], self._head[size:]
        else:
            try:
                size = self._file.readinto(room)  # type: ignore[attr-defined]
            except OSError as error:
                raise self._unreadable(error) from None
        self._given += size
        return size

    @property
    def share(self) -> float:
        """How much of the file has been given out, 0 .. 1; 0 too when it is packed, or no plain file."""
        size = fstat(self._file.fileno()).st_size if not self._file.closed else 0
        return min(self._given / size, 1.0) if size and self._unpack is None else 0.0

    def _unpacker(self) -> Callable[[memoryview], int] | None:
        if self._head[:2] == GZIP:
            return _Unpacker(self, lambda: zlib.decompressobj(31), zlib.error).readinto
        if self._head == ZSTD:
            zstd = self._zstd()
            return _Unpacker(self, zstd.ZstdDecompressor, zstd.ZstdError).readinto
        return None

    def _zstd(self) -> Any:
        for home in ZSTD_HOMES:
            try:
                return import_module(home)
            except ImportError:
                continue
        raise CaptureError(
            f"{self.name} is packed with zstd, which this Python can't unpack: "
            f"unpack it first with `zstd -d {self.name}` and read what comes out."
        )

    def _read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            raise self._unreadable(error) from None

    def packed(self) -> bytes:
        """The next piece of the file as it is stored; empty at the end."""
        head, self._head = self._head, b""
        return head + self._read(PIECE)

    def _unreadable(self, error: OSError) -> CaptureError:
        if isinstance(error, FileNotFoundError):
            return CaptureError(f"{self._path} does not exist.")
        return CaptureError(f"{self._path} can't be read: {error.strerror}.")


class _Unpacker:
    """Unpacks members or frames that follow one another, never more than there is room for."""

    def __init__(self, source: Source, begin: Callable[[], Any], error: type[Exception]) -> None:
        self._source, self._begin, self._error = source, begin, error
        self._engine = begin()
        #: True while a member is begun and not ended.
        self._inside = False
        self._rest = b""
        self._given = 0

    def readinto(self, room: memoryview) -> int:
        while not self._source.broken:
            packed = self._rest
            if not packed and not self._waiting():
                packed = self._source.packed()
                if not packed:
                    self._source.broken = self._inside
                    return 0
            if self._engine.eof:
                # Zeros that fill up a tape or a block are no member (gzip's manual says so).
                packed = packed.lstrip(b"\0")
                if not packed:
                    self._rest = b""
                    continue
                self._engine = self._begin()
            try:
                data = self._engine.decompress(packed, len(room))
            except self._error:
                if self._given and not self._inside:
                    return 0  # what follows the last member is something else
                self._source.broken = True
                break
            self._inside = not self._engine.eof
            self._rest = self._engine.unused_data or getattr(self._engine, "unconsumed_tail", b"")
            if data:
                self._given += len(data)
                room[: len(data)] = data
                return len(data)
        if not self._given:
            raise CaptureError(f"{self._source.name} can't be uncompressed: it is damaged or cut short.")
        return 0

    def _waiting(self) -> bool:
        """True when the engine holds more output than there was room for (zstd keeps its input)."""
        return self._inside and getattr(self._engine, "needs_input", True) is False


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


# ----------------------------------------------------------------------
# The packet blocks of a pcapng file (draft-ietf-opsawg-pcapng), for records.py.
#
# Sections in either byte order; several interfaces, each with its link type, resolution and offset of
# time; enhanced, simple and the old packet blocks. Other blocks are passed over.

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


# ----------------------------------------------------------------------
# The packets of a capture file one by one, as bytes with time and link type.
#
# For whoever wants the bytes of a small file; records.py is the way to read a large one.


class Frame(NamedTuple):
    """One packet of the file."""

    #: Its number in the file, from 1, as Wireshark counts.
    number: int
    #: When it was captured, nanoseconds since 1970.
    t: int
    #: What was stored of it, and how long it was on the wire, in bytes.
    data: bytes
    length: int
    #: LINKTYPE_ value: 1 is Ethernet.
    link: int


class Frames(NamedTuple):
    """All packets of a file, and a sentence when its end is missing."""

    frames: list[Frame]
    cut_short: str = ""


def read_frames(path: str | PathLike[str]) -> Frames:
    """Every packet that the file holds whole, in its order.

    Raises `CaptureError` when the file can't be opened or is no capture.
    """
    records = Records(path)
    frames = []
    for batch in records:
        places = zip(batch.data.tolist(), batch.stored.tolist(), strict=True)
        stored = (bytes(batch.memory[at : at + size]) for at, size in places)
        rest = zip(batch.frame.tolist(), batch.t.tolist(), stored, batch.wire.tolist(), strict=True)
        frames += [Frame(*each, batch.link) for each in rest]
    return Frames(sorted(frames, key=lambda frame: frame.number), records.trouble)
