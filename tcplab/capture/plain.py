"""The second reader: one packet at a time, `struct` and nothing else, for a Python without NumPy.

It reads in a browser what the fast reader (file.py, headers.py, table.py) reads elsewhere, and it
judges the fast one in tests: both must find the same packets, connections and words. Records, links
and headers are taken apart in independent code. Shared is only what concerns a single packet or
interface, defined here and used by both: interface descriptions, IP fragments, ICMP errors.

The whole file is in memory while it is read; of each packet its `Segment` is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike
from struct import calcsize, iter_unpack, unpack, unpack_from
from typing import Any, NamedTuple

from tcplab.capture import FileWarning, Source, shared
from tcplab.capture.messages import KEPT, Messages
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
        self.at, clock, t, row = PCAP_HEADER, InterfaceClock(self.steps), 0, 0
        while self.at < len(self.content):
            second, fraction, stored, wire = self._unpack(f"{order}IIII{header - 16}x", self.at)
            if stored > LARGEST_PACKET:
                raise Broken("damaged", f"the next one says that it has {stored:,} bytes")
            begin = self.at + header
            self._unpack(f"{stored}x", begin)
            if second or stored or wire:
                t, row = clock.take(second * SECOND + fraction * tick, self.count + 1), 0
            elif row + 1 == shared.MOST_EMPTY:
                raise Broken("damaged", shared.EMPTY)
            else:
                self.empty, row = self.empty + 1, row + 1
            yield t, link, self.content[begin : begin + stored], wire
            self.at = begin + stored

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

    #: One value per packet: number in the file; nanoseconds since the first packet; connection, from 0.
    frame: list[int]
    t: list[int]
    connection: list[int]
    #: IPv4's identification; 0 in IPv6.
    ident: list[int]
    #: The segments, their windows as in the header.
    all_segments: list[Segment]
    #: First payload of each direction: in which packet, and the stored bytes of it.
    first_payload: dict[tuple[Endpoint, Endpoint], tuple[int, bytes]]

    def __len__(self) -> int:
        return len(self.frame)

    @cached_property
    def _rows(self) -> list[list[int]]:
        rows: list[list[int]] = []
        for row, connection in enumerate(self.connection):
            if connection == len(rows):
                rows.append([])
            rows[connection].append(row)
        return rows

    def rows(self, i: int) -> list[int]:
        """The packets of connection `i`, as places in the lists."""
        return self._rows[i]

    def spans(self) -> list[tuple[int, int]]:
        """When the first and the last packet of each connection passed, as in `t`."""
        return [(self.t[rows[0]], self.t[rows[-1]]) for rows in self._rows]

    def without_repeated(self, rows: list[int]) -> list[int]:
        """These packets of one connection without those that repeat an earlier one: see `shared.REPEATED`."""
        last: dict[tuple[Any, ...], int] = {}
        kept = []
        for row in rows:
            s, t = self.all_segments[row], self.t[row]
            key = s.source, s.seq, s.ack, self.ident[row], s.window, s.length, s.timestamps, s.flags
            if t - last.get(key, -2 * shared.REPEATED) > shared.REPEATED:
                kept.append(row)
            last[key] = t
        return kept if len(kept) < len(rows) else rows

    def values(self, name: str, rows: Any) -> list[int]:
        """`frame`, `t` or `connection` of these packets, or a property of their segments."""
        if name in ("frame", "t", "connection"):
            values = getattr(self, name)
            return [values[row] for row in rows]
        return [getattr(self.all_segments[row], name) for row in rows]

    def sent_by(self, end: Endpoint, rows: Any) -> list[bool]:
        """Which of these packets this end sent."""
        return [self.all_segments[row].source == end for row in rows]

    def segments(self, rows: Any) -> list[Segment]:
        """The segments of these packets, their windows as in the header."""
        return [self.all_segments[row] for row in rows]

    def scaled(self, i: int, rows: Any) -> tuple[list[Segment], bool]:
        """The segments with real windows, and whether the scale of all these windows is known.

        Both SYNs must carry the option, or neither side shifts (RFC 7323 section 2.2).
        """
        if i not in self._shifts:
            self._shifts[i] = self._shifts_of(i)
        offers = self._shifts[i]
        segments = self.segments(rows)
        known = bool(offers) or all(segment.flags & SYN for segment in segments)
        if not any(offers.values()):
            return segments, known
        return [s if s.flags & SYN else _shifted(s, offers.get(s.source) or 0) for s in segments], known

    @cached_property
    def _shifts(self) -> dict[int, dict[Endpoint, int | None]]:
        return {}

    def _shifts_of(self, i: int) -> dict[Endpoint, int | None]:
        """The window scale of each end of connection `i`; empty when unknown."""
        offers: dict[Endpoint, int | None] = {}
        ends: set[Endpoint] = set()
        for segment in self.segments(self.rows(i)):
            ends |= {segment.source, segment.destination}
            if segment.flags & SYN:
                offers.setdefault(segment.source, segment.window_scale)
        if None in offers.values():
            offers = dict.fromkeys(ends, 0)
        elif len(offers) < 2:
            offers = {}
        return offers

    def openings(self) -> list[tuple[Endpoint, Endpoint, int]]:
        """For each connection, source, destination and flags of its first SYN, else its first segment."""
        openings = []
        for rows in self._rows:
            segments = self.segments(rows)
            opening = next((s for s in segments if s.flags & (SYN | RST) == SYN), segments[0])
            openings.append((opening.source, opening.destination, opening.flags))
        return openings

    def greetings(self) -> list[tuple[bytes, bytes]]:
        """What client and server of each connection's four-tuple sent first; empty where unknown."""
        isn: dict[tuple[Endpoint, Endpoint], int] = {}
        client: dict[frozenset[Endpoint], tuple[Endpoint, Endpoint]] = {}
        for segment in self.all_segments:
            if segment.flags & (SYN | RST) == SYN:
                ends = segment.source, segment.destination
                isn.setdefault(ends, segment.seq)
                client.setdefault(frozenset(ends), ends[::-1] if segment.flags & ACK else ends)

        def first(ends: tuple[Endpoint, Endpoint]) -> bytes:
            row, payload = self.first_payload.get(ends, (-1, b""))
            known = row >= 0 and ends in isn and self.all_segments[row].seq == seq_add(isn[ends], 1)
            return payload if known else b""

        greetings = []
        for rows in self._rows:
            segment = self.all_segments[rows[0]]
            ends = segment.source, segment.destination
            ends = client.get(frozenset(ends), ends)
            greetings.append((first(ends), first(ends[::-1])))
        return greetings


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
        self._found: list[tuple[int, int, Segment, int]] = []
        self._first_payload: dict[tuple[Endpoint, Endpoint], tuple[int, bytes]] = {}
        self._messages = Messages()
        self._fragments, self._quotes = Fragments(), list[Quote]()
        self._strange: Counter[int] = Counter()
        self._began = self._ended = 0
        #: Tunnels that were not decoded, by name; packets that were cut inside their headers.
        self._tunnels = Counter[str]()
        self._cut = 0

    def take(self, frame: Frame) -> None:
        """One packet of any kind."""
        self._began = min(self._began, frame.t) if frame.number > 1 else frame.t
        self._ended = max(self._ended, frame.t)
        if frame.link in LINKS:
            network = self._network(frame)
        elif knows_link(frame.link):
            network = self._inside(frame, "", -1)
        else:
            self._strange[frame.link] += 1
            return
        if network is None:
            return
        data, at = frame.data, network.at
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
        sport, dport, seq, ack, offset, flags, window = unpack_from(">HHIIBBH", data, at)
        header = (offset >> 4) * 4
        length = network.stop - at - header
        if header < 20 or length < 0:
            return
        if network.more:
            self._fragments.first(network.key, frame.number, header)
        options = _options(data[at + 20 : at + header])
        if not flags & SYN:
            options |= {"mss": None, "window_scale": None, "sack_permitted": False}
        ends = Endpoint(network.source, sport), Endpoint(network.destination, dport)
        ack = ack if flags & ACK else 0
        segment = Segment(*ends, seq, ack, flags & 0x3F, window, length, **options)
        ident = int.from_bytes(data[network.begin + 4 : network.begin + 6]) if network.version == 4 else 0
        self._found.append((frame.t, frame.number, segment, ident))
        if length:
            payload = data[at + header :][: min(length, KEPT)]
            self._first_payload.setdefault(ends, (frame.number, payload[: shared.FIRST_BYTES]))
            if len(payload) >= 8:
                self._messages.add(frame.number, ends, payload)

    def table(self, frames: Frames) -> PlainTable:
        """Everything in order of time, for captures of several network queues may be out of order."""
        self._found.sort(key=lambda each: each[:2])
        lengths = self._fragments.lengths
        segments = [
            replace(segment, length=lengths[number]) if number in lengths else segment
            for _, number, segment, _ in self._found
        ]
        numbers = [number for _, number, _, _ in self._found]
        places = {number: row for row, number in enumerate(numbers)}
        quotes = [replace(each, t=each.t - self._began) for each in self._quotes]
        warnings = [
            frames.steps.warning(frames.name), self._fragments.warning(frames.name),
            shared.empty_warning(frames.name, frames.empty, frames.trouble),
            shared.cut_warning(frames.name, self._cut),
            shared.timeless_warning(frames.name, frames.timeless),
            shared.tunnel_warning(frames.name, self._tunnels),
        ]  # fmt: skip
        return PlainTable(
            numbers, [t - self._began for t, _, _, _ in self._found], number_connections(segments),
            [ident for _, _, _, ident in self._found], segments,
            {ends: (places[number], payload) for ends, (number, payload) in self._first_payload.items()},
            quotes=sorted(quotes, key=lambda each: each.t), began=self._began, ended=self._ended,
            packets=frames.count, strange=self._strange, trouble=frames.trouble,
            warnings=tuple(filter(None, warnings)), steps=tuple(sorted(frames.steps.kept)),
            messages={places[number]: payload for number, payload in self._messages},
        )  # fmt: skip


def _shifted(s: Segment, shift: int) -> Segment:
    """The same segment, which is no SYN, with its window shifted left; `replace` would take twice as long."""
    return Segment(
        s.source, s.destination, s.seq, s.ack, s.flags, s.window << shift, s.length,
        sack=s.sack, timestamps=s.timestamps,
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
