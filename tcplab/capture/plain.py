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
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import ip_address
from os import PathLike
from struct import calcsize, iter_unpack, unpack, unpack_from
from typing import Any, NamedTuple

from tcplab.capture import CaptureError, FileWarning, Source
from tcplab.capture.pcap import IPV4, IPV6, LARGEST_WINDOW_SCALE, can_dissect, inner_network, knows_link
from tcplab.core.connections import number_connections
from tcplab.core.segment import ACK, RST, SYN, Endpoint, Segment, seq_add
from tcplab.core.text import SECOND, plural

#: A record is never larger: Wireshark's limits (wiretap, WTAP_MAX_PACKET_SIZE_STANDARD, MAX_BLOCK_SIZE).
LARGEST_PACKET, LARGEST_BLOCK = 262_144, 16 << 20
PCAP_HEADER = 24
#: So many records in a row without time, length and bytes are a file that was filled with zeros.
MOST_EMPTY = 10_000
EMPTY = f"{MOST_EMPTY:,} records in a row are empty, as where a disk was full and the rest is zeros"
#: Magic number -> byte order, nanoseconds per tick, bytes of a record's header.
PCAP = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000, 16), b"\xa1\xb2\xc3\xd4": (">", 1000, 16),
    b"\x4d\x3c\xb2\xa1": ("<", 1, 16), b"\xa1\xb2\x3c\x4d": (">", 1, 16),
    b"\x34\xcd\xb2\xa1": ("<", 1000, 24), b"\xa1\xb2\xcd\x34": (">", 1000, 24),
}  # fmt: skip
PCAPNG = b"\x0a\x0d\x0d\x0a"
ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
INTERFACE = 1
PACKETS = OLD_PACKET, SIMPLE_PACKET, PACKET = 2, 3, 6
SECTION = int.from_bytes(PCAPNG, "little")  # the same in either byte order
#: Smallest block of each type, including its trailing length; any other has at least 12 bytes.
SMALLEST = {SECTION: 28, INTERFACE: 20, OLD_PACKET: 32, SIMPLE_PACKET: 16, PACKET: 32}
TSRESOL, TSOFFSET = 9, 14
MOST_SECTIONS, MOST_INTERFACES = 1024, 65_536
#: Later times (beyond the year 2116) count as this one, so that differences fit into 64 bits.
LATEST = (1 << 62) - 1


class Broken(Exception):
    """The file breaks here: `what` is a key of `CODES`."""

    CODES = {"cut short": "truncated", "damaged": "damaged", "read no further than": "too_many"}

    def __init__(self, what: str, why: str = "") -> None:
        super().__init__(what, why)
        self.what, self.why = what, why

    def sentence(self, name: str, packets: int) -> FileWarning:
        """For the learner."""
        says = f"{name} is {self.what} after packet {packets}{': ' * bool(self.why)}{self.why}."
        return FileWarning(self.CODES[self.what], says)


def check_beginning(source: Source, magic: bytes) -> None:
    """Raise `CaptureError` when a file that begins with these bytes, at most 4, is no capture."""
    if magic in PCAP or magic == PCAPNG:
        return
    if not magic and source.broken:
        why = "cut short or damaged so early that nothing of it can be unpacked."
    elif not magic:
        why = "empty: not a capture file."
    else:
        why = "not a capture file: neither pcap nor pcapng, as tcpdump -w and Wireshark write them."
    raise CaptureError(f"{source.name} is {why}")


def section_order(name: str, magic: bytes, sections: int) -> str:
    """The byte order of a pcapng section by its four bytes for it, after so many `sections`."""
    if magic not in ORDERS and not sections:
        raise CaptureError(
            f"{name} is not a capture file that can be read: "
            "its first block does not say in which byte order it is."
        )
    if magic not in ORDERS:
        raise Broken("damaged", "a section begins that does not say in which byte order it is")
    if sections == MOST_SECTIONS:
        raise Broken("read no further than", f"it has more than {MOST_SECTIONS:,} sections")
    return ORDERS[magic]


class Frame(NamedTuple):
    """One packet of a file."""

    #: Its number in the file, from 1, as Wireshark counts.
    number: int
    #: When it was captured, nanoseconds since 1970.
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
            self.content = b"".join(bytes(room[:size]) for size in iter(lambda: source.readinto(room), 0))
            self.name, self.cut = source.name, source.broken
            check_beginning(source, self.content[:4])
        #: Packets of any kind so far, and those among them that carry no time.
        self.count = self.timeless = 0
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
        self.at = PCAP_HEADER
        empty = 0
        while self.at < len(self.content):
            second, fraction, stored, wire = self._unpack(f"{order}IIII{header - 16}x", self.at)
            empty = 0 if second or stored or wire else empty + 1
            if empty == MOST_EMPTY:
                raise Broken("damaged", EMPTY)
            if stored > LARGEST_PACKET:
                raise Broken("damaged", f"the next one says that it has {stored:,} bytes")
            begin = self.at + header
            self._unpack(f"{stored}x", begin)
            yield second * SECOND + fraction * tick, link, self.content[begin : begin + stored], wire
            self.at = begin + stored

    def _pcapng(self) -> Iterator[tuple[int, int, bytes, int]]:
        order, interfaces, last, sections = "", list[Interface](), 0, 0
        while self.at < len(self.content):
            self._unpack("12x", self.at)
            if self.content.startswith(PCAPNG, self.at):
                order = section_order(self.name, self.content[self.at + 8 : self.at + 12], sections)
                interfaces, last, sections = [], 0, sections + 1
            kind, size = self._unpack(order + "II", self.at)
            bad = size < SMALLEST.get(kind, 12) or size % 4 or size > LARGEST_BLOCK
            if not bad:
                bad = self._unpack(order + "I", self.at + size - 4)[0] != size
            if bad:
                raise Broken("damaged", f"a block of {size:,} bytes begins there, or says so")
            body = self.content[self.at + 8 : self.at + size - 4]
            if kind == INTERFACE:
                add_interface(self.name, interfaces, body, order)
            elif kind in PACKETS:
                packet = self._packet(kind, body, order, interfaces, last)
                last = packet[0]
                yield packet
            self.at += size

    def _packet(
        self, kind: int, body: bytes, order: str, interfaces: list[Interface], last: int
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
            last = interface.nanoseconds(high << 32 | low)
        return last, interface.link, body[begin : begin + stored], wire


class Interface(NamedTuple):
    """An interface description block of a pcapng file."""

    link: int
    snaplen: int
    #: if_tsresol as stored, and if_tsoffset in seconds.
    resolution: int
    offset: int

    def nanoseconds(self, ticks: int) -> int:
        """From units of 10^-n s, or of 2^-n s with the highest bit set, to nanoseconds since 1970."""
        power = self.resolution & 0x7F
        t = ticks * SECOND >> power if self.resolution & 0x80 else ticks * SECOND // 10**power
        return max(0, min(min(t, LATEST) + max(-LATEST, min(self.offset * SECOND, LATEST)), LATEST))


def add_interface(name: str, interfaces: list[Interface], body: bytes, order: str) -> None:
    """Add what the body of an interface description block says to those of its section."""
    if len(interfaces) >= MOST_INTERFACES:
        raise CaptureError(
            f"{name} describes more than {MOST_INTERFACES:,} network interfaces, which tcplab does not read."
        )
    link, _, snaplen = unpack_from(order + "HHI", body)
    resolution, offset, at = 6, 0, 8
    while at + 4 <= len(body):
        code, size = unpack_from(order + "HH", body, at)
        if code == 0 or at + 4 + size > len(body):
            break
        if (code, size) == (TSRESOL, 1):
            resolution = body[at + 4]
        if (code, size) == (TSOFFSET, 8):
            (offset,) = unpack_from(order + "q", body, at + 4)
        at += 4 + (size + 3) // 4 * 4
    interfaces.append(Interface(link, snaplen or LARGEST_PACKET, resolution, offset))


VLAN_TAGS, MOST_TAGS = (0x8100, 0x88A8, 0x9100, 0x9200), 16
#: Below this an Ethernet type is a length and an LLC header follows; `SNAP` begins one with a type.
FIRST_TYPE, SNAP = 0x0600, 0xAAAA
#: EtherTypes (MPLS, PPPoE, bridged Ethernet), IP protocols (IP in IP, GRE) and UDP ports (VXLAN, Geneve)
#: behind which scapy may find TCP.
LINK_TUNNELS, TUNNELS, UDP_TUNNELS = (0x8847, 0x8848, 0x8864, 0x6558), (4, 41, 47), (4789, 6081)
TCP, UDP, ICMP, ICMP_V6 = 6, 17, 1, 58
#: IPv6 extension headers that are skipped (RFC 8200 section 4); AH counts in words of four bytes.
EXTENSIONS, FRAGMENT, AUTHENTICATION, MOST_EXTENSIONS = (0, 43, 60, 135, 139, 140), 44, 51, 64
#: Bytes kept of the first payload of each direction: MariaDB's greeting names it within them.
FIRST_BYTES = 32


#: A frame that repeats an earlier one within so many nanoseconds was captured twice: by a mirror port, or on
#: two interfaces of one machine. What must be equal are these columns, and the options that they stand for.
REPEATED = 1_000_000
IDENTITY = "seq", "ack", "ident", "window", "length", "timestamp", "echo", "flags", "direction", "has_times"

#: What the fragments of a packet have in common: version, both addresses, identification.
Key = tuple[Any, ...]
#: Segments whose other half is missing at the same time; beyond it the oldest is given up.
MOST_WAITING = 65_536


@dataclass
class Fragments:
    """Segments that IP cut into fragments (RFC 791 section 3.2, RFC 8200 section 4.5).

    Only the first fragment carries the TCP header: it counts as the segment, the others are no packets
    of their own. The last fragment says how long the segment is; it may come later, earlier or never.
    """

    #: Frame and length of the TCP header, for first fragments whose last one is still missing.
    _first: dict[Key, tuple[int, int]] = field(default_factory=dict)
    #: Length of the IP payload, for last fragments whose first one is still missing.
    _last: dict[Key, int] = field(default_factory=dict)
    #: Payload of segments by the frame of their first fragment.
    lengths: dict[int, int] = field(default_factory=dict)
    #: First fragments with a TCP header.
    begun: int = 0

    def first(self, key: Key, frame: int, header: int) -> None:
        """A fragment at offset 0 with a TCP header of this length."""
        self.begun += 1
        if (total := self._last.pop(key, None)) is not None:
            self._settle(frame, total - header)
        else:
            self._first[key] = frame, header
            _limit(self._first)

    def later(self, key: Key, end: int, more: bool) -> None:
        """Another fragment, which ends so many bytes after the beginning of the IP payload."""
        if more:
            return
        if (waiting := self._first.pop(key, None)) is not None:
            self._settle(waiting[0], end - waiting[1])
        else:
            self._last[key] = end
            _limit(self._last)

    def _settle(self, frame: int, length: int) -> None:
        if length >= 0:
            self.lengths[frame] = length

    def warning(self, name: str) -> FileWarning | None:
        """For the learner; None when every segment's length is known."""
        if not (missing := self.begun - len(self.lengths)):
            return None
        what = "segment was" if missing == 1 else "segments were"
        return FileWarning(
            "fragments",
            f"{missing:,} {what} cut into IP fragments whose last one is not in {name}: only the length of "
            "the first fragment is known.",
        )


def _limit(waiting: dict[Any, Any]) -> None:
    if len(waiting) > MOST_WAITING:
        del waiting[next(iter(waiting))]


HOST, NETWORK, PORT = "host unreachable", "network unreachable", "port unreachable"
PROHIBITED, TOO_BIG, LATE = "administratively prohibited", "fragmentation needed", "time to live exceeded"
#: What ICMP errors say, by type and code (RFC 792, RFC 1812 section 5.2.7.1, RFC 4443 section 3).
V4 = {
    (3, 0): NETWORK, (3, 1): HOST, (3, 3): PORT, (3, 4): TOO_BIG, (3, 9): PROHIBITED, (3, 10): PROHIBITED,
    (3, 13): PROHIBITED, (11, 0): LATE,
}  # fmt: skip
V6 = {(1, 0): NETWORK, (1, 1): PROHIBITED, (1, 3): HOST, (1, 4): PORT, (2, 0): TOO_BIG, (3, 0): LATE}
#: IP version -> what codes mean; bytes of the quoted IP header; offset of its protocol and of its addresses,
#: and the size of one.
VERSIONS = {4: (V4, 20, 9, 12, 4), 6: (V6, 40, 6, 8, 16)}
#: An error quotes the IP header and at least 8 bytes of what follows.
ICMP_HEADER, QUOTED = 8, 8
#: More errors than this are not kept.
MOST_ERRORS = 65_536


@dataclass(frozen=True, slots=True)
class Quote:
    """An ICMP error that quotes a TCP segment: evidence about a connection, and no packet of it."""

    #: Its number in the file, from 1, and its time: nanoseconds since the capture's first packet.
    frame: int
    t: int
    #: One of this module's words.
    says: str
    #: The largest packet that fits, in bytes, for `fragmentation needed`; 0 when unknown.
    mtu: int
    #: The router, firewall or host that sent the error.
    sender: str
    #: Of the segment that is quoted.
    source: Endpoint
    destination: Endpoint
    seq: int


def quote(version: int, outer: bytes, message: bytes, frame: int, t: int) -> Quote | None:
    """The error in an ICMP message behind an IP header; None for any other message."""
    codes, header, protocol, addresses, size = VERSIONS[version]
    if len(message) < ICMP_HEADER + header + QUOTED or message[ICMP_HEADER + protocol] != TCP:
        return None
    says, inner = codes.get((message[0], message[1])), message[ICMP_HEADER:]
    if version == 4:
        header = (inner[0] & 15) * 4
    if says is None or inner[0] >> 4 != version or header < 20 or len(inner) < header + QUOTED:
        return None
    mtu = unpack_from(">H" if version == 4 else ">I", message, 6 if version == 4 else 4)[0]
    sport, dport, seq = unpack_from(">HHI", inner, header)
    ends = [_address(inner[at : at + size]) for at in (addresses, addresses + size)]
    sender = _address(outer[addresses : addresses + size])
    quoted = Endpoint(ends[0], sport), Endpoint(ends[1], dport)
    return Quote(frame, t, says, mtu if says == TOO_BIG else 0, sender, *quoted, seq)


def _address(packed: bytes) -> str:
    return str(ip_address(packed))


@dataclass(kw_only=True)
class Whole:
    """What a table says of its whole file."""

    #: ICMP errors that quote a segment, in order of time.
    quotes: list[Quote]
    #: When the first and the last packet of any kind passed, nanoseconds since 1970.
    began: int
    ended: int
    #: Packets of any kind; how many of them have an unknown link type, by that type.
    packets: int
    strange: Counter[int]
    #: Where the file broke; None when it did not.
    trouble: FileWarning | None
    #: What is missing or uncertain.
    warnings: tuple[FileWarning, ...]


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

    def without_repeated(self, rows: list[int]) -> list[int]:
        """These packets of one connection without those that repeat an earlier one: see `REPEATED`."""
        last: dict[tuple[Any, ...], int] = {}
        kept = []
        for row in rows:
            s, t = self.all_segments[row], self.t[row]
            key = s.source, s.seq, s.ack, self.ident[row], s.window, s.length, s.timestamps, s.flags
            if t - last.get(key, -2 * REPEATED) > REPEATED:
                kept.append(row)
            last[key] = t
        return kept if len(kept) < len(rows) else rows

    def values(self, name: str, rows: Any) -> list[int]:
        """`frame`, `t` or `connection` of these packets."""
        values = getattr(self, name)
        return [values[row] for row in rows]

    def segments(self, rows: Any) -> list[Segment]:
        """The segments of these packets, their windows as in the header."""
        return [self.all_segments[row] for row in rows]

    def scaled(self, i: int, rows: Any) -> tuple[list[Segment], bool]:
        """The segments with real windows, and whether the scale of all these windows is known.

        Both SYNs must carry the option, or neither side shifts (RFC 7323 section 2.2).
        """
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
        segments = self.segments(rows)
        known = bool(offers) or all(segment.flags & SYN for segment in segments)
        return [
            s if s.flags & SYN else replace(s, window=s.window << (offers.get(s.source) or 0))
            for s in segments
        ], known

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
        self._fragments, self._quotes = Fragments(), list[Quote]()
        self._strange: Counter[int] = Counter()
        self._began = self._ended = 0
        #: Packets that only scapy may know.
        self._for_scapy = 0

    def take(self, frame: Frame) -> None:
        """One packet of any kind."""
        self._began = min(self._began, frame.t) if frame.number > 1 else frame.t
        self._ended = max(self._ended, frame.t)
        if frame.link in LINKS:
            network = self._network(frame)
        elif knows_link(frame.link):
            network = self._inside(frame)
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
        elif network.protocol == {4: ICMP, 6: ICMP_V6}[network.version] and len(self._quotes) < MOST_ERRORS:
            error = quote(network.version, data[network.begin : at], data[at:], frame.number, frame.t)
            self._quotes += [error] if error else []

    def _network(self, frame: Frame) -> _Network | None:
        """The IP packet in a frame of a known link, or in the tunnel that it carries."""
        data = frame.data
        kind, at = _network_layer(frame.link, data)
        snap = LINKS[frame.link] == 14 and kind < FIRST_TYPE and at + 8 <= len(data)
        if kind in LINK_TUNNELS or (snap and data[at : at + 2] == SNAP.to_bytes(2)):
            return self._inside(frame)
        network = _ip(kind, at, frame)
        if network is None or network.offset:
            return network
        protocol, at = network.protocol, network.at
        if protocol in TUNNELS or (
            protocol == UDP and at + 8 <= len(data) and int.from_bytes(data[at + 2 : at + 4]) in UDP_TUNNELS
        ):
            return self._inside(frame)
        return network

    def _inside(self, frame: Frame) -> _Network | None:
        self._for_scapy += 1
        return _ip(*inner_network(frame.link, frame.data), frame)

    def _tcp(self, frame: Frame, network: _Network) -> None:
        data, at = frame.data, network.at
        if at + 20 > len(data):
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
            payload = data[at + header :][: min(length, FIRST_BYTES)]
            self._first_payload.setdefault(ends, (frame.number, payload))

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
        warnings = [self._fragments.warning(frames.name), timeless_warning(frames.name, frames.timeless)]
        if self._for_scapy and not can_dissect():
            says = (
                f"{plural(self._for_scapy, 'packet')} of {frames.name} may hold TCP in a tunnel, "
                "which can't be read here: left out."
            )
            warnings.append(FileWarning("tunnel", says))
        return PlainTable(
            numbers, [t - self._began for t, _, _, _ in self._found], number_connections(segments),
            [ident for _, _, _, ident in self._found], segments,
            {ends: (places[number], payload) for ends, (number, payload) in self._first_payload.items()},
            quotes=sorted(quotes, key=lambda each: each.t), began=self._began, ended=self._ended,
            packets=frames.count, strange=self._strange, trouble=frames.trouble,
            warnings=tuple(filter(None, warnings)),
        )  # fmt: skip


def timeless_warning(name: str, count: int) -> FileWarning | None:
    """For the learner; None when every packet carries a time."""
    says = f"{count:,} packets of {name} carry no time: each gets the time of the one before."
    return FileWarning("no_times", says) if count else None


#: LINKTYPE_ value -> bytes in front of the network layer: Ethernet, BSD loopback, raw IP, Linux cooked.
LINKS = {1: 14, 0: 4, 108: 4, 101: 0, 12: 0, 14: 0, 228: 0, 229: 0, 113: 16, 276: 20}
#: AF_INET, and the AF_INET6 of Linux, NetBSD, FreeBSD and macOS.
FAMILIES = {2: IPV4, 10: IPV6, 24: IPV6, 28: IPV6, 30: IPV6}


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
        kind = FAMILIES.get(int.from_bytes(data[:4], "little")) or FAMILIES.get(int.from_bytes(data[:4]), 0)
    else:
        kind = {4: IPV4, 6: IPV6}.get(data[0] >> 4, 0)
        kind = kind if link not in (228, 229) or kind == {228: IPV4, 229: IPV6}[link] else 0
    for _ in range(MOST_TAGS):
        if kind not in VLAN_TAGS:
            break
        if at + 4 > len(data):
            return 0, at
        at, kind = at + 4, int.from_bytes(data[at + 2 : at + 4])
    return kind, at


def _ip(kind: int, at: int, frame: Frame) -> _Network | None:
    read = {IPV4: _ipv4, IPV6: _ipv6}.get(kind)
    return read(frame.data, at, frame.wire) if read else None


def _ipv4(data: bytes, at: int, wire: int) -> _Network | None:
    if at + 20 > len(data):
        return None
    first, total, ident, fragment, protocol = unpack_from(">BxHHHxB", data, at)
    size, total = (first & 15) * 4, total or wire - at  # 0 where the network card cuts segments itself
    if first >> 4 != 4 or size < 20 or at + size > len(data) or total < size:
        return None
    source, destination = data[at + 12 : at + 16], data[at + 16 : at + 20]
    return _Network(
        4, at, _address(source), _address(destination), protocol, at + size, at + total,
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
    while protocol in (*EXTENSIONS, FRAGMENT, AUTHENTICATION):
        if at + 8 > len(data) or passed == MOST_EXTENSIONS or offset:
            return None
        if protocol == FRAGMENT:
            fragment, ident = unpack_from(">HI", data, at + 2)
            offset, more, key = fragment & ~7, bool(fragment & 1), (6, *ends, ident)
            size = 8
        else:
            size = data[at + 1] * 4 + 8 if protocol == AUTHENTICATION else data[at + 1] * 8 + 8
        protocol, at, passed = data[at], at + size, passed + 1
        if at > len(data):
            return None
    source, destination = map(_address, ends)
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
