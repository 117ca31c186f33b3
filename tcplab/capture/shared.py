"""What both readers share: what concerns a single packet, a single interface or the whole file.

The magic numbers and limits of pcap and pcapng, interface descriptions, clocks that were set while the
capture ran, IP fragments, ICMP errors that quote a segment, and what a file states about itself. The fast
reader (file.py, headers.py, table.py) and the plain one (plain.py) dissect packets in independent code.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from struct import unpack_from
from typing import Any, NamedTuple

from tcplab.capture import CaptureError, FileWarning, Source
from tcplab.capture.pcap import IPV4, IPV6
from tcplab.core.segment import Endpoint
from tcplab.core.text import SECOND, plural, seconds

#: The largest record: Wireshark's limits (wiretap, WTAP_MAX_PACKET_SIZE_STANDARD, MAX_BLOCK_SIZE).
LARGEST_PACKET, LARGEST_BLOCK = 262_144, 16 << 20
PCAP_HEADER = 24
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
#: This many records in a row without time, length and bytes mean a file that was filled with zeros.
MOST_EMPTY = 10_000
EMPTY = f"{MOST_EMPTY:,} records in a row are empty, as when a disk was full and the rest is zeros"
#: Later times (beyond the year 2116) are taken as this one, so that differences fit into 64 bits.
LATEST = (1 << 62) - 1


class Broken(Exception):
    """The file breaks here: `what` is a key of `CODES`."""

    CODES = {"cut short": "truncated", "damaged": "damaged", "read no further than": "too_many"}

    def __init__(self, what: str, why: str = "") -> None:
        super().__init__(what, why)
        self.what, self.why = what, why

    def sentence(self, name: str, packets: int) -> FileWarning:
        """The warning."""
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
    """The byte order of a pcapng section from its byte-order magic; `sections` came before it."""
    if magic not in ORDERS and not sections:
        raise CaptureError(
            f"{name} is not a readable capture file: its first block has no valid byte-order magic."
        )
    if magic not in ORDERS:
        raise Broken("damaged", "a section begins without a valid byte-order magic")
    if sections == MOST_SECTIONS:
        raise Broken("read no further than", f"it has more than {MOST_SECTIONS:,} sections")
    return ORDERS[magic]


#: A time stamp this much before that of the previous frame on the same interface is a clock step; less is
#: the disorder of several network queues. This much after it is one, too: no capture is silent for a year.
STEP, LEAP = SECOND, 366 * 86_400 * SECOND
#: Further steps are counted, not kept.
MOST_STEPS = 65_536


class ClockStep(NamedTuple):
    """A frame at which the clock was set, or at which another capture was appended."""

    #: Its number in the file, and nanoseconds since the previous frame: negative when set back.
    frame: int
    by: int


@dataclass
class Steps:
    """The steps of all clocks of a file."""

    kept: list[ClockStep] = field(default_factory=list)
    count: int = 0

    def add(self, step: ClockStep) -> None:
        """Note a step."""
        self.count += 1
        if len(self.kept) < MOST_STEPS:
            self.kept.append(step)

    def warning(self, name: str) -> FileWarning | None:
        """The warning; None when there is no step."""
        if not self.count:
            return None
        frame, by = min(self.kept)
        says = (
            f"The clock of {name} was set, or captures were joined: frame {frame} is stamped "
            f"{seconds(abs(by)):,g} s {'before' if by < 0 else 'after'} the previous frame"
            f"{f' (the first of {self.count:,} such steps)' * (self.count > 1)}. "
        )
        says += (
            "The order of the file is kept. Where a time stamp goes back, times continue from the previous "
            "frame, so durations and times of day after it are unreliable."
            if any(step.by < 0 for step in self.kept) else "Durations across it are unreliable."
        )  # fmt: skip
        return FileWarning("clock_step", says)


@dataclass
class InterfaceClock:
    """The clock of one interface. Where it is set back, times continue from the previous frame.

    So the order of the file is kept across a step, and time never runs backwards. When the clock later jumps
    forward by about as much, the step is undone: two alternating clocks, or one wrong time stamp.
    """

    steps: Steps
    #: The time stamp of the previous frame, nanoseconds since 1970; None before the first one.
    last: int | None = None
    #: What is added to each time stamp, and the latest time so far, including it.
    shift: int = 0
    latest: int = 0

    def take(self, t: int, frame: int) -> int:
        """The time of the next frame, whose time stamp is `t`."""
        by = 0 if self.last is None else t - self.last
        if -STEP < by < LEAP and not self.shift and t <= LATEST:  # the usual case
            self.last = t
            if t > self.latest:
                self.latest = t
            return t
        if by <= -STEP:
            self.steps.add(ClockStep(frame, by))
            self.shift = self.latest - t
        elif by >= STEP and self.shift and abs(by - self.shift) <= max(STEP, self.shift // 10):
            self.shift = max(0, self.latest - t)
        elif by >= LEAP:
            self.steps.add(ClockStep(frame, by))
        return self.pass_on(t, t)

    def pass_on(self, last: int, latest: int) -> int:
        """Skip frames without a step: the last one's time stamp, and the latest of them all."""
        self.last = last
        self.latest = max(self.latest, min(latest + self.shift, LATEST))
        return min(last + self.shift, LATEST)


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
#: inside which scapy may find TCP.
LINK_TUNNELS, TUNNELS, UDP_TUNNELS = (0x8847, 0x8848, 0x8864, 0x6558), (4, 41, 47), (4789, 6081)
TCP, UDP, GRE, ICMP, ICMP_V6 = 6, 17, 47, 1, 58
#: IPv6 extension headers that are skipped (RFC 8200 section 4); AH counts in words of four bytes.
EXTENSIONS, FRAGMENT, AUTHENTICATION, MOST_EXTENSIONS = (0, 43, 60, 135, 139, 140), 44, 51, 64
#: Bytes kept of the first payload of each direction: MariaDB's greeting names it within them.
FIRST_BYTES = 32


#: A frame that repeats an earlier one within this many nanoseconds was captured twice: by a mirror port, or
#: on two interfaces of one host. These columns, and the options that they represent, must be equal.
REPEATED = 1_000_000
IDENTITY = "seq", "ack", "ident", "window", "length", "timestamp", "echo", "flags", "direction", "has_times"

#: GRE (RFC 2784, RFC 2890): of its flags, those of a field of four bytes, routing (RFC 1701) and version.
GRE_FIELDS, GRE_SEQUENCE, GRE_STRANGE = (0x8000, 0x2000, 0x1000), 0x1000, 0x4007
#: What GRE carries: an Ethernet frame, ERSPAN I or II, ERSPAN III (draft-foschiano-erspan-03).
BRIDGED, ERSPAN, ERSPAN_III = 0x6558, 0x88BE, 0x22EB
#: Bytes of their headers (ERSPAN I has none, and no sequence number), and of III's optional one.
ERSPAN_II_HEADER, ERSPAN_III_HEADER, PLATFORM_HEADER = 8, 12, 8
#: The deepest nesting of tunnels that is followed.
MOST_NESTED = 4
#: Names of tunnels by EtherType, IP protocol and UDP port.
BY_TYPE = {
    0x8847: "MPLS", 0x8848: "MPLS", 0x8864: "PPPoE", BRIDGED: "bridged Ethernet", 0x88E5: "MACsec",
    0x88E7: "provider backbone bridging", 0x894F: "NSH",
}  # fmt: skip
BY_PROTOCOL = {
    4: "IP in IP", 41: "IPv6 in IP", 47: "GRE", 50: "ESP", 97: "EtherIP", 115: "L2TPv3", 137: "MPLS in IP",
}  # fmt: skip
BY_PORT = {
    1701: "L2TP", 2152: "GTP-U", 3544: "Teredo", 4500: "ESP in UDP", 4789: "VXLAN", 6081: "Geneve",
    6635: "MPLS in UDP", 51820: "WireGuard",
}  # fmt: skip


def tunnel_warning(name: str, tunnels: Counter[str]) -> FileWarning | None:
    """The warning; None when every tunnel was decoded."""
    if not tunnels:
        return None
    kinds = ", ".join(f"{kind}: {count:,}" for kind, count in sorted(tunnels.items()))
    return FileWarning(
        "tunnel",
        f"{plural(tunnels.total(), 'packet')} of {name} may carry TCP in a tunnel that tcplab does not "
        f"decode: left out ({kinds}).",
    )


#: What the fragments of a packet have in common: version, both addresses, identification.
Key = tuple[Any, ...]
#: The most incomplete segments kept at a time; beyond that the oldest is discarded.
MOST_WAITING = 65_536


@dataclass
class Fragments:
    """Segments that IP cut into fragments (RFC 791 section 3.2, RFC 8200 section 4.5).

    Only the first fragment carries the TCP header: it counts as the segment, the others do not count as
    packets. The last fragment gives the segment's length; it may come later, earlier or never.
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
        """Another fragment, which ends at byte `end` of the IP payload."""
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
        """The warning; None when every segment's length is known."""
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
#: Meanings of ICMP errors by type and code (RFC 792, RFC 1812 section 5.2.7.1, RFC 4443 section 3).
V4 = {
    (3, 0): NETWORK, (3, 1): HOST, (3, 3): PORT, (3, 4): TOO_BIG, (3, 9): PROHIBITED, (3, 10): PROHIBITED,
    (3, 13): PROHIBITED, (11, 0): LATE,
}  # fmt: skip
V6 = {(1, 0): NETWORK, (1, 1): PROHIBITED, (1, 3): HOST, (1, 4): PORT, (2, 0): TOO_BIG, (3, 0): LATE}
#: IP version -> meanings of codes; bytes of the quoted IP header; offset of its protocol and of its
#: addresses, and the size of one.
VERSIONS = {4: (V4, 20, 9, 12, 4), 6: (V6, 40, 6, 8, 16)}
#: An error quotes the IP header and at least 8 bytes of what follows.
ICMP_HEADER, QUOTED = 8, 8
#: Further errors are not kept.
MOST_ERRORS = 65_536


@dataclass(frozen=True, slots=True)
class Quote:
    """An ICMP error that quotes a TCP segment: evidence about a connection, not one of its packets."""

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
    """The error in an ICMP message, whose IP header is `outer`; None for any other message."""
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
    ends = [packed_address(inner[at : at + size]) for at in (addresses, addresses + size)]
    sender = packed_address(outer[addresses : addresses + size])
    quoted = Endpoint(ends[0], sport), Endpoint(ends[1], dport)
    return Quote(frame, t, says, mtu if says == TOO_BIG else 0, sender, *quoted, seq)


@lru_cache(1 << 16)
def packed_address(packed: bytes) -> str:
    """An address of 4 or 16 bytes as text."""
    return str(ip_address(packed))


@dataclass(kw_only=True)
class Whole:
    """What a table holds about its whole file."""

    #: ICMP errors that quote a segment, in order of time.
    quotes: list[Quote]
    #: Times of the first and the last packet of any kind, nanoseconds since 1970.
    began: int
    ended: int
    #: Packets of any kind; how many of them have an unknown link type, by that type.
    packets: int
    strange: Counter[int]
    #: Where the file broke; None when it did not.
    trouble: FileWarning | None
    #: What is missing or uncertain.
    warnings: tuple[FileWarning, ...]
    #: Where the clock was set, in order of the file.
    steps: tuple[ClockStep, ...] = ()
    #: Payloads that are error messages of a server, by row: see `messages.py`.
    messages: dict[int, bytes] = field(default_factory=dict)


#: AF_INET, and the AF_INET6 of Linux, NetBSD, FreeBSD and macOS.
FAMILIES = {2: IPV4, 10: IPV6, 24: IPV6, 28: IPV6, 30: IPV6}


def empty_warning(name: str, count: int, trouble: FileWarning | None) -> FileWarning | None:
    """The warning; None when no record is empty, or when `trouble` reports that already."""
    what = "hold only zeros and no packet: they are counted and otherwise ignored."
    says = f"{plural(count, 'record')} of {name} {what}"
    return FileWarning("empty_records", says) if count and EMPTY not in (trouble or "") else None


def cut_warning(name: str, count: int) -> FileWarning | None:
    """The warning; None when every TCP header is complete."""
    says = (
        f"{plural(count, 'packet')} of {name} were cut inside the IP or TCP header and are left out: "
        "capture at least 128 bytes of each (tcpdump -s 128)."
    )
    return FileWarning("cut_packets", says) if count else None


def timeless_warning(name: str, count: int) -> FileWarning | None:
    """The warning; None when every packet carries a time stamp."""
    says = f"{count:,} packets of {name} carry no time stamp: each gets the time of the previous packet."
    return FileWarning("no_times", says) if count else None
