"""The second reader: one packet at a time, `struct` and nothing else, for a Python without NumPy.

It reads in a browser what the fast reader (file.py, headers.py, table.py) reads elsewhere, and it
judges the fast one in tests: both must find the same packets, connections and words. Records, links
and headers are taken apart in independent code. Shared is only what concerns a single packet or
interface, defined here and used by both: interface descriptions, IP fragments, ICMP errors.

The whole file is in memory while it is read; of each packet its numbers are kept, one list for each. A
`Segment` is made where one is looked at: in a browser that costs more than reading it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter
from os import PathLike
from struct import Struct, calcsize, iter_unpack, unpack, unpack_from
from typing import Any, NamedTuple

from tcplab.capture import FileWarning, Source, shared
from tcplab.capture.messages import BEGINS, KEPT, Messages
from tcplab.capture.pcap import IPV4, IPV6, LARGEST_WINDOW_SCALE, inner_network, knows_link
from tcplab.capture.shared import (
    INTERFACE,
    LARGEST_BLOCK,
    LARGEST_PACKET,
    OLD_PACKET,
    PACKETS,
    PCAP,
    PCAP_HEADER,
    PCAPNG,
    SIMPLE_PACKET,
    SMALLEST,
    TCP,
    Broken,
    Fragments,
    Interface,
    InterfaceClock,
    Key,
    Quote,
    Steps,
    Whole,
    packed_address,
)
from tcplab.core.connections import number_connections
from tcplab.core.segment import ACK, RST, SYN, Endpoint, Segment, seq_add
from tcplab.core.text import SECOND

#: No file has this many zeros in a row in its packets: nothing after them is unpacked.
MOST_ZEROS = 64 << 20
#: The usual packet: Ethernet, IPv4 of 20 bytes, TCP. EtherType, IPv4's first byte, total length,
#: identification, fragment and protocol; addresses and ports as bytes; then TCP's fields up to the window.
USUAL = Struct(">12xHBxHHHxBxx12sIIBBHxxxx")
#: The options of nearly every segment: two bytes of padding and time stamps (RFC 7323 appendix A).
STAMPS, STAMPED = b"\x01\x01\x08\x0a", 32
PAIR = Struct(">II")


class Frame(NamedTuple):
    """One packet of a file."""

    #: Its number in the file, from 1, as Wireshark counts.
    number: int
    #: When it was captured, nanoseconds since 1970; after a step of the clock see `InterfaceClock`.
    t: int
    #: LINKTYPE_ value: 1 is Ethernet.
    link: int
    #: What was stored of it, and how many bytes it had on the wire.
    data: bytes
    wire: int


class Frames:
    """The packets of a file, one by one. After the iteration `count` and `trouble` are final."""

    def __init__(self, path: str | PathLike[str]) -> None:
        with Source(path) as source:
            room = memoryview(bytearray(1 << 20))
            self.content = b"".join(_pieces(source, room))
            self.name, self.cut = source.name, source.broken
            shared.check_beginning(source, self.content[:4])
        #: Packets of any kind so far; those among them without a time stamp; empty records of zeros.
        self.count = self.timeless = self.empty = 0
        #: Where clocks were set.
        self.steps = Steps()
        #: Where the walk is in the file.
        self.at = 0
        #: One sentence about where the file broke; None when it did not.
        self.trouble: FileWarning | None = None

    def __iter__(self) -> Iterator[Frame]:
        walk = self._pcapng if self.content.startswith(PCAPNG) else self._pcap
        try:
            for t, link, data, wire in walk():
                self.count += 1
                yield Frame(self.count, t, link, data, wire)
            if self.cut:
                raise Broken("cut short")
        except Broken as broken:
            self.trouble = broken.sentence(self.name, self.count)

    def _unpack(self, kinds: str, at: int) -> tuple[Any, ...]:
        if at + calcsize(kinds) > len(self.content):
            raise Broken("cut short")
        return unpack_from(kinds, self.content, at)

    def _pcap(self) -> Iterator[tuple[int, int, bytes, int]]:
        order, tick, header = PCAP[self.content[:4]]
        # The upper bits of the link type describe frame check sequences.
        link = self._unpack(order + "I", PCAP_HEADER - 4)[0] & 0xFFFF
        clock, t, row, content, size = InterfaceClock(self.steps), 0, 0, self.content, len(self.content)
        record = Struct(f"{order}IIII{header - 16}x").unpack_from
        at = self.at = PCAP_HEADER
        while at < size:
            begin = at + header
            if begin > size:
                raise Broken("cut short")
            second, fraction, stored, wire = record(content, at)
            if stored > LARGEST_PACKET:
                raise Broken("damaged", f"the next one says that it has {stored:,} bytes")
            stop = begin + stored
            if stop > size:
                raise Broken("cut short")
            if second or stored or wire:
                t, row = clock.take(second * SECOND + fraction * tick, self.count + 1), 0
            elif row + 1 == shared.MOST_EMPTY:
                raise Broken("damaged", shared.EMPTY)
            else:
                self.empty, row = self.empty + 1, row + 1
            yield t, link, content[begin:stop], wire
            at = self.at = stop

    def _pcapng(self) -> Iterator[tuple[int, int, bytes, int]]:
        order, interfaces, last, sections = "", list[Interface](), 0, 0
        clocks: dict[int, InterfaceClock] = {}
        while self.at < len(self.content):
            self._unpack("12x", self.at)
            if self.content.startswith(PCAPNG, self.at):
                order = shared.section_order(self.name, self.content[self.at + 8 : self.at + 12], sections)
                interfaces, last, sections, clocks = [], 0, sections + 1, {}
            kind, size = self._unpack(order + "II", self.at)
            bad = size < SMALLEST.get(kind, 12) or size % 4 or size > LARGEST_BLOCK
            if not bad:
                bad = self._unpack(order + "I", self.at + size - 4)[0] != size
            if bad:
                raise Broken("damaged", f"a block of {size:,} bytes begins there, or says so")
            body = self.content[self.at + 8 : self.at + size - 4]
            if kind == INTERFACE:
                shared.add_interface(self.name, interfaces, body, order)
            elif kind in PACKETS:
                packet = self._packet(kind, body, order, interfaces, clocks, last)
                last = packet[0]
                yield packet
            self.at += size

    def _packet(
        self,
        kind: int,
        body: bytes,
        order: str,
        interfaces: list[Interface],
        clocks: dict[int, InterfaceClock],
        last: int,
    ) -> tuple[int, int, bytes, int]:
        """Time, link type, data and size of a packet block."""
        number, begin = 0, 4
        if kind == SIMPLE_PACKET:
            (wire,) = unpack_from(order + "I", body)
            stored = min(wire, len(body) - 4, interfaces[0].snaplen if interfaces else LARGEST_PACKET)
        else:
            begin = 20
            number, high, low, stored, wire = unpack_from(order + "IIIII", body)
            if kind == OLD_PACKET:  # 16 bits, then how many packets were dropped
                (number,) = unpack_from(order + "H", body)
        if number >= len(interfaces):
            raise Broken("damaged", "a packet of an interface that is not described")
        if stored > min(len(body) - begin, LARGEST_PACKET):
            raise Broken("damaged", f"the next packet says that it has {stored:,} bytes")
        interface = interfaces[number]
        if kind == SIMPLE_PACKET:
            self.timeless += 1
        else:
            clock = clocks.setdefault(number, InterfaceClock(self.steps))
            last = clock.take(interface.nanoseconds(high << 32 | low), self.count + 1)
        return last, interface.link, body[begin : begin + stored], wire


def _pieces(source: Source, room: memoryview) -> Iterator[bytes]:
    """The file piece by piece, up to where it is nothing but zeros."""
    zeros = 0
    while zeros < MOST_ZEROS and (size := source.readinto(room)):
        piece = bytes(room[:size])
        zeros = 0 if piece.strip(b"\0") else zeros + size
        yield piece


@dataclass
class PlainTable(Whole):
    """The TCP packets of a capture in order of time: what `Capture` asks of a table, in lists."""

    #: One value per packet: number in the file; nanoseconds since the first packet.
    frame: list[int]
    t: list[int]
    #: Twice the number of the four-tuple, plus one for the opposite direction.
    direction: list[int]
    seq: list[int]
    #: 0 where the ACK flag is not set.
    ack: list[int]
    flags: list[int]
    #: As in the header.
    window: list[int]
    #: Bytes of payload, by the headers.
    length: list[int]
    #: IPv4's identification; 0 in IPv6.
    ident: list[int]
    #: TSval and TSecr; None without the option.
    timestamps: list[tuple[int, int] | None]
    #: By row, the other options as fields of a `Segment`, where there are any.
    options: dict[int, dict[str, Any]]
    #: The end that sends in each direction.
    ends: list[Endpoint]
    #: First payload of each direction: in which packet, and the stored bytes of it.
    first_payload: dict[int, tuple[int, bytes]]

    def __len__(self) -> int:
        return len(self.frame)

    @cached_property
    def connection(self) -> list[int]:
        """For each packet, the number of its connection, from 0.

        A four-tuple needs no closer look when all its SYNs are the one that it begins with, or answer it.
        """
        direction, flags, seq = self.direction, self.flags, self.seq
        numbers = [each >> 1 for each in direction]
        first = dict(zip(reversed(numbers), range(len(numbers) - 1, -1, -1), strict=True))

        def is_same(row: int) -> bool:
            begin = first[numbers[row]]
            if flags[begin] & (SYN | RST) != SYN:
                return False
            if direction[row] == direction[begin]:
                return seq[row] == seq[begin]
            return bool(flags[row] & ACK) and self.ack[row] == seq_add(seq[begin], 1)

        odd = {numbers[row] for row in self._opening if not is_same(row)}
        if odd:
            rows = [row for row, number in enumerate(numbers) if number in odd]
            for row, number in zip(rows, number_connections(self.segments(rows)), strict=True):
                numbers[row] = -1 - number
        names = {each: number for number, each in enumerate(dict.fromkeys(numbers))}
        return [names[each] for each in numbers]

    @cached_property
    def _opening(self) -> list[int]:
        """The packets with SYN and without RST."""
        return [row for row, each in enumerate(self.flags) if each & (SYN | RST) == SYN]

    @cached_property
    def _rows(self) -> list[list[int]]:
        rows: list[list[int]] = []
        for row, connection in enumerate(self.connection):
            if connection == len(rows):
                rows.append([])
            rows[connection].append(row)
        return rows

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._rows)

    def rows(self, i: int) -> list[int]:
        """The packets of connection `i`, as places in the lists."""
        return self._rows[i]

    def spans(self) -> list[tuple[int, int]]:
        """When the first and the last packet of each connection passed, as in `t`."""
        return [(self.t[rows[0]], self.t[rows[-1]]) for rows in self._rows]

    def last_sent(self) -> list[tuple[Endpoint, int, int]]:
        """Of each connection one end, and when it and the other one last sent, as in `t`; -1: never."""
        found = []
        for rows in self._rows:
            last = [-1, -1]
            for row in rows:
                last[self.direction[row] & 1] = self.t[row]
            found.append((self.ends[self.direction[rows[0]] & ~1], last[0], last[1]))
        return found

    def without_repeated(self, rows: list[int]) -> list[int]:
        """These packets of one connection without those that repeat an earlier one: see `shared.REPEATED`."""
        names = "direction", "seq", "ack", "ident", "window", "length", "timestamps", "flags"
        keys = list(zip(*(self.values(name, rows) for name in names), strict=True))
        if len(set(keys)) == len(keys):
            return rows
        last: dict[tuple[Any, ...], int] = {}
        kept = []
        for row, key in zip(rows, keys, strict=True):
            t = self.t[row]
            if t - last.get(key, -2 * shared.REPEATED) > shared.REPEATED:
                kept.append(row)
            last[key] = t
        return kept if len(kept) < len(rows) else rows

    def values(self, name: str, rows: Any) -> list[int]:
        """A list's values for these packets."""
        return list(map(getattr(self, name).__getitem__, rows))

    def sent_by(self, end: Endpoint, rows: Any) -> list[bool]:
        """Which of these packets this end sent."""
        return [self.ends[self.direction[row]] == end for row in rows]

    def segments(self, rows: Any, shifts: tuple[int, int] = (0, 0)) -> list[Segment]:
        """The segments of these packets, the windows of either direction shifted left, except in a SYN."""
        segments = []
        for row in rows:
            direction, flags = self.direction[row], self.flags[row]
            shift = 0 if flags & SYN else shifts[direction & 1]
            segments.append(Segment(
                self.ends[direction], self.ends[direction ^ 1], self.seq[row], self.ack[row], flags,
                self.window[row] << shift, self.length[row],
                timestamps=self.timestamps[row], **self.options.get(row, {}),
            ))  # fmt: skip
        return segments

    def scaled(self, i: int, rows: Any) -> tuple[list[Segment], bool]:
        """The segments with real windows, and whether the scale of all these windows is known.

        Both SYNs must carry the option, or neither side shifts (RFC 7323 section 2.2).
        """
        if i not in self._shifts:
            self._shifts[i] = self._shifts_of(i)
        shifts = self._shifts[i]
        known = shifts is not None or all(self.flags[row] & SYN for row in rows)
        return self.segments(rows, shifts or (0, 0)), known

    @cached_property
    def _shifts(self) -> dict[int, tuple[int, int] | None]:
        return {}

    def _shifts_of(self, i: int) -> tuple[int, int] | None:
        """The window scale of each direction of connection `i`; None when unknown."""
        offers: dict[int, int | None] = {}
        for row in self.rows(i):
            if self.flags[row] & SYN:
                scale = self.options.get(row, {}).get("window_scale")
                offers.setdefault(self.direction[row] & 1, scale)
        if None in offers.values():
            return 0, 0
        return (offers[0] or 0, offers[1] or 0) if len(offers) == 2 else None

    def openings(self) -> list[tuple[Endpoint, Endpoint, int]]:
        """For each connection, source, destination and flags of its first SYN, else its first segment."""
        first = {i: rows[0] for i, rows in enumerate(self._rows)}
        first |= {self.connection[row]: row for row in reversed(self._opening)}
        ways = [(self.direction[row], self.flags[row]) for row in first.values()]
        return [(self.ends[way], self.ends[way ^ 1], flags) for way, flags in ways]

    def greetings(self) -> list[tuple[bytes, bytes]]:
        """What client and server of each connection's four-tuple sent first; empty where unknown."""
        isn: dict[int, int] = {}
        client: dict[int, int] = {}
        for row in self._opening:
            way = self.direction[row]
            isn.setdefault(way, self.seq[row])
            client.setdefault(way >> 1, way ^ 1 if self.flags[row] & ACK else way)

        def first(way: int) -> bytes:
            row, payload = self.first_payload.get(way, (-1, b""))
            known = row >= 0 and way in isn and self.seq[row] == seq_add(isn[way], 1)
            return payload if known else b""

        ways = [self.direction[rows[0]] for rows in self._rows]
        clients = [client.get(way >> 1, way) for way in ways]
        return [(first(way), first(way ^ 1)) for way in clients]


def read_plain(
    path: str | PathLike[str], progress: Callable[[float], None] = lambda share: None
) -> PlainTable:
    """All that can be read of a file; `CaptureError` when it can't be opened or is no capture.

    `progress` gets the share of the file that has been read, 0 .. 1; what it raises ends the reading.
    """
    frames, packets = Frames(path), _Packets()
    for frame in frames:
        packets.take(frame)
        if not frame.number % 1024:
            progress(frames.at / len(frames.content))
    progress(1.0)
    return packets.table(frames)


class _Network(NamedTuple):
    """An IP packet: where it begins and where its payload begins and ends, by its headers."""

    version: int
    begin: int
    source: str
    destination: str
    protocol: int
    at: int
    stop: int
    #: Fragments: offset in bytes, whether more follow, and what they have in common.
    offset: int = 0
    more: bool = False
    key: Key = ()


class _Packets:
    """Collects segments from frames, and what else the table needs."""

    def __init__(self) -> None:
        #: Of each segment: time, frame, direction, header, length, identification, time stamps.
        self._found: list[tuple[Any, ...]] = []
        self._options: dict[int, dict[str, Any]] = {}
        #: The end that sends in each direction; the direction by both ends, and by their bytes in IPv4.
        self._ends = list[Endpoint]()
        self._directions: dict[tuple[Endpoint, Endpoint], int] = {}
        self._usual: dict[bytes, int] = {}
        self._first_payload: dict[int, tuple[int, bytes]] = {}
        self._messages = Messages()
        self._fragments, self._quotes = Fragments(), list[Quote]()
        self._strange: Counter[int] = Counter()
        self._began = self._ended = 0
        #: Tunnels that were not decoded, by name; packets that were cut inside their headers.
        self._tunnels = Counter[str]()
        self._cut = 0

    def take(self, frame: Frame) -> None:
        """One packet of any kind."""
        number, t, link, data, wire = frame
        if t < self._began or number == 1:
            self._began = t
        if t > self._ended:
            self._ended = t
        if link == 1 and len(data) >= USUAL.size:
            kind, first, total, ident, part, protocol, ends, *header = USUAL.unpack_from(data)
            if kind == IPV4 and first == 0x45 and protocol == TCP and not part & 0x3FFF:
                direction = self._usual.get(ends)
                if direction is None:
                    direction = self._usual[ends] = self._direction(
                        packed_address(ends[:4]), packed_address(ends[4:8]), *unpack_from(">HH", ends, 8)
                    )
                self._segment(t, number, direction, header, data, 34, (total or wire - 14) - 20, ident)
                return
        if link in LINKS:
            network = self._network(frame)
        elif knows_link(frame.link):
            network = self._inside(frame, "", -1)
        else:
            self._strange[frame.link] += 1
            return
        if network is None:
            return
        at = network.at
        if network.offset:
            if network.protocol == TCP:
                self._fragments.later(network.key, network.offset + network.stop - at, network.more)
        elif network.protocol == TCP:
            self._tcp(frame, network)
        elif network.protocol == {4: shared.ICMP, 6: shared.ICMP_V6}[network.version]:
            error = shared.quote(network.version, data[network.begin : at], data[at:], frame.number, frame.t)
            self._quotes += [error] if error and len(self._quotes) < shared.MOST_ERRORS else []

    def _network(self, frame: Frame) -> _Network | None:
        """The IP packet in a frame of a known link, or in the tunnel that it carries."""
        data = frame.data
        kind, at = _network_layer(frame.link, data)
        snap = LINKS[frame.link] == 14 and kind < shared.FIRST_TYPE and at + 8 <= len(data)
        if snap and data[at : at + 2] == shared.SNAP.to_bytes(2):
            return self._inside(frame, "", -1)
        return self._layer(frame, kind, at)

    def _layer(self, frame: Frame, kind: int, at: int, outer: int = -1, nested: int = 0) -> _Network | None:
        """The same from an EtherType and the offset after it; `outer` is the IP header around it."""
        data = frame.data
        if kind in shared.BY_TYPE:
            name = shared.BY_TYPE[kind]
            return self._inside(frame, name, outer) if kind in shared.LINK_TUNNELS else self._unread(name)
        network = self._ip(kind, at, frame)
        if network is None or network.offset:
            return network
        protocol, at = network.protocol, network.at
        if protocol == shared.GRE and nested < shared.MOST_NESTED and (inner := _gre(data, at)):
            return self._layer(frame, *inner, network.begin, nested + 1)
        if protocol in shared.BY_PROTOCOL:
            name, asked = shared.BY_PROTOCOL[protocol], protocol in shared.TUNNELS
        elif protocol == shared.UDP and at + 8 <= len(data):
            port = int.from_bytes(data[at + 2 : at + 4])
            name, asked = shared.BY_PORT.get(port, ""), port in shared.UDP_TUNNELS
        else:
            return network
        if asked:
            return self._inside(frame, name, network.begin)
        return self._unread(name) if name else network

    def _inside(self, frame: Frame, name: str, outer: int) -> _Network | None:
        """The network layer that scapy finds inside the IP header at `outer` (-1: none)."""
        inner = inner_network(frame.link, frame.data)
        if inner.kind and inner.at > outer:
            return self._ip(inner.kind, inner.at, frame)
        return self._unread(name) if inner.opaque else None

    def _unread(self, name: str) -> _Network | None:
        """Count a tunnel that is not decoded; an empty name means no tunnel."""
        self._tunnels.update([name] if name else [])
        return None

    def _ip(self, kind: int, at: int, frame: Frame) -> _Network | None:
        read = {IPV4: (_ipv4, 20), IPV6: (_ipv6, 40)}.get(kind)
        if read is None:
            return None
        self._cut += at + read[1] > len(frame.data) < frame.wire
        return read[0](frame.data, at, frame.wire)

    def _tcp(self, frame: Frame, network: _Network) -> None:
        data, at = frame.data, network.at
        if at + 20 > len(data):
            self._cut += len(data) < frame.wire
            return
        sport, dport, *header = unpack_from(">HHIIBBH", data, at)
        direction = self._direction(network.source, network.destination, sport, dport)
        ident = int.from_bytes(data[network.begin + 4 : network.begin + 6]) if network.version == 4 else 0
        size = network.stop - at
        begun = self._segment(frame.t, frame.number, direction, header, data, at, size, ident)
        if network.more and begun:
            self._fragments.first(network.key, frame.number, begun)

    def _segment(
        self,
        t: int,
        number: int,
        direction: int,
        fields: list[int],
        data: bytes,
        at: int,
        size: int,
        ident: int,
    ) -> int:
        """Keep a segment of `size` bytes from `at` on; the size of its header, 0 where that is wrong."""
        seq, ack, offset, flags, window = fields
        header = (offset >> 4) * 4
        length = size - header
        if header < 20 or length < 0:
            return 0
        begin, times = at + header, None
        if header == STAMPED and data.startswith(STAMPS, at + 20) and begin <= len(data):
            times = PAIR.unpack_from(data, at + 24)
        elif header > 20:
            options = _options(data[at + 20 : begin])
            times = options.pop("timestamps", None)
            options = options if flags & SYN else {"sack": options["sack"]}
            if len(options) > 1 or options["sack"]:
                self._options[number] = options
        flags &= 0x3F
        ack = ack if flags & ACK else 0
        self._found.append((t, number, direction, seq, ack, flags, window, length, ident, times))
        if length:
            if direction not in self._first_payload:
                stored = data[begin : begin + min(length, shared.FIRST_BYTES)]
                self._first_payload[direction] = number, stored
            if BEGINS.match(data, begin):
                payload = data[begin : begin + min(length, KEPT)]
                if len(payload) >= 8:
                    self._messages.add(number, direction, payload)
        return header

    def _direction(self, source: str, target: str, sport: int, dport: int) -> int:
        """The number of the direction between these ends."""
        ends = Endpoint(source, sport), Endpoint(target, dport)
        direction = self._directions.get(ends)
        if direction is None:
            direction = self._directions[ends] = len(self._ends)
            self._directions.setdefault(ends[::-1], direction + 1)
            self._ends += ends
        return direction

    def table(self, frames: Frames) -> PlainTable:
        """Everything in order of time, for captures of several network queues may be out of order."""
        found = self._found
        found.sort(key=itemgetter(0, 1))
        times, numbers, direction, seq, ack, flags, window, length, ident, stamps = (
            [each[i] for each in found] for i in range(10)
        )
        places = {number: row for row, number in enumerate(numbers)}
        for number, size in self._fragments.lengths.items():
            length[places[number]] = size
        first = self._first_payload
        quotes = [replace(each, t=each.t - self._began) for each in self._quotes]
        warnings = [
            frames.steps.warning(frames.name), self._fragments.warning(frames.name),
            shared.empty_warning(frames.name, frames.empty, frames.trouble),
            shared.cut_warning(frames.name, self._cut),
            shared.timeless_warning(frames.name, frames.timeless),
            shared.tunnel_warning(frames.name, self._tunnels),
        ]  # fmt: skip
        return PlainTable(
            frame=numbers, t=[t - self._began for t in times], direction=direction, seq=seq, ack=ack,
            flags=flags, window=window, length=length, ident=ident, timestamps=stamps,
            options={places[number]: options for number, options in self._options.items()}, ends=self._ends,
            first_payload={way: (places[number], data) for way, (number, data) in first.items()},
            quotes=sorted(quotes, key=lambda each: each.t), began=self._began, ended=self._ended,
            packets=frames.count, strange=self._strange, trouble=frames.trouble,
            warnings=tuple(filter(None, warnings)), steps=tuple(sorted(frames.steps.kept)),
            messages={places[number]: payload for number, payload in self._messages},
        )  # fmt: skip


#: LINKTYPE_ value -> bytes in front of the network layer: Ethernet, BSD loopback, raw IP, Linux cooked.
LINKS = {1: 14, 0: 4, 108: 4, 101: 0, 12: 0, 14: 0, 228: 0, 229: 0, 113: 16, 276: 20}


def _network_layer(link: int, data: bytes) -> tuple[int, int]:
    """EtherType of the network layer, 0 when there is none, and where it begins."""
    at, kind = LINKS[link], 0
    if len(data) < max(at, 1):
        return 0, at
    if link in (1, 113):
        kind = int.from_bytes(data[at - 2 : at])
    elif link == 276:
        kind = int.from_bytes(data[:2])
    elif link in (0, 108):  # in the byte order of the machine that captured
        kind = shared.FAMILIES.get(int.from_bytes(data[:4], "little")) or shared.FAMILIES.get(
            int.from_bytes(data[:4]), 0
        )
    else:
        kind = {4: IPV4, 6: IPV6}.get(data[0] >> 4, 0)
        kind = kind if link not in (228, 229) or kind == {228: IPV4, 229: IPV6}[link] else 0
    for _ in range(shared.MOST_TAGS):
        if kind not in shared.VLAN_TAGS:
            break
        if at + 4 > len(data):
            return 0, at
        at, kind = at + 4, int.from_bytes(data[at + 2 : at + 4])
    return kind, at


def _gre(data: bytes, at: int) -> tuple[int, int] | None:
    """EtherType and offset of the payload of a GRE header at `at`; None where scapy must look."""
    if at + 4 > len(data):
        return None
    flags, kind = unpack_from(">HH", data, at)
    if flags & shared.GRE_STRANGE:
        return None
    at += 4 + 4 * sum(bool(flags & each) for each in shared.GRE_FIELDS)
    if kind in (IPV4, IPV6):
        return kind, at
    if kind == shared.ERSPAN_III:
        if at + shared.ERSPAN_III_HEADER > len(data) or data[at + 10] & 0x7C:
            return None
        at += shared.ERSPAN_III_HEADER + shared.PLATFORM_HEADER * (data[at + 11] & 1)
    elif kind == shared.ERSPAN:
        at += shared.ERSPAN_II_HEADER * bool(flags & shared.GRE_SEQUENCE)
    elif kind != shared.BRIDGED:
        return None
    inner, place = _network_layer(1, data[at:])
    return inner, at + place


def _ipv4(data: bytes, at: int, wire: int) -> _Network | None:
    if at + 20 > len(data):
        return None
    first, total, ident, fragment, protocol = unpack_from(">BxHHHxB", data, at)
    size, total = (first & 15) * 4, total or wire - at  # 0 where the network card cuts segments itself
    if first >> 4 != 4 or size < 20 or at + size > len(data) or total < size:
        return None
    source, destination = data[at + 12 : at + 16], data[at + 16 : at + 20]
    return _Network(
        4, at, packed_address(source), packed_address(destination), protocol, at + size, at + total,
        (fragment & 0x1FFF) * 8, bool(fragment & 0x2000), (4, source, destination, ident),
    )  # fmt: skip


def _ipv6(data: bytes, begin: int, wire: int) -> _Network | None:
    if begin + 40 > len(data) or data[begin] >> 4 != 6:
        return None
    size, protocol = unpack_from(">HB", data, begin + 4)
    ends = data[begin + 8 : begin + 24], data[begin + 24 : begin + 40]
    stop, at = begin + 40 + size if size else wire, begin + 40
    offset, more, passed = 0, False, 0
    key: Key = ()
    while protocol in (*shared.EXTENSIONS, shared.FRAGMENT, shared.AUTHENTICATION):
        if at + 8 > len(data) or passed == shared.MOST_EXTENSIONS or offset:
            return None
        if protocol == shared.FRAGMENT:
            fragment, ident = unpack_from(">HI", data, at + 2)
            offset, more, key = fragment & ~7, bool(fragment & 1), (6, *ends, ident)
            size = 8
        else:
            size = data[at + 1] * 4 + 8 if protocol == shared.AUTHENTICATION else data[at + 1] * 8 + 8
        protocol, at, passed = data[at], at + size, passed + 1
        if at > len(data):
            return None
    source, destination = map(packed_address, ends)
    return _Network(6, begin, source, destination, protocol, at, stop, offset, more, key)


def _options(data: bytes) -> dict[str, Any]:
    """TCP options as fields of a `Segment`, up to where they make no sense."""
    options: dict[str, Any] = {}
    sack: list[tuple[int, int]] = []
    at = 0
    while at < len(data) and data[at]:
        if data[at] == 1:
            at += 1
            continue
        size = data[at + 1] if at + 1 < len(data) else 0
        if size < 2 or at + size > len(data):
            break
        body = data[at + 2 : at + size]
        match data[at], size:
            case 2, 4:
                options["mss"] = int.from_bytes(body)
            case 3, 3:
                options["window_scale"] = min(body[0], LARGEST_WINDOW_SCALE)
            case 4, 2:
                options["sack_permitted"] = True
            case 8, 10:
                options["timestamps"] = unpack(">II", body)
            case 5, _ if size >= 10 and size % 8 == 2:
                sack += iter_unpack(">II", body)
        at += size
    return {**options, "sack": tuple(sack)}
