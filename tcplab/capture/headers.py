"""IP and TCP headers of all packets of a batch at once: NumPy columns, no loop over packets.

Nearly all packets of nearly all captures are IPv4 without options in Ethernet, so one gather reads
all their headers. The rest goes the longer way: other links, VLAN tags, IP options, IPv6 and its
extension headers, fragments. What neither knows is left to scapy (tunnels).

A packet counts when its TCP header is there and makes sense to a receiver: 20 bytes of it stored,
an own length of at least 20 bytes and an IP length that reaches over it (net/ipv4/tcp_ipv4.c:
tcp_v4_rcv). Checksums are not looked at: on the sending host they are the network card's work.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from ipaddress import ip_address
from struct import unpack_from
from types import SimpleNamespace
from typing import Any

import numpy as np

from tcplab.capture.file import Array, Batch, Frame, fields, gather
from tcplab.core.segment import ACK, SYN, Endpoint, Segment

# ----------------------------------------------------------------------
# The one door to scapy: imported on first use (a third of a second), and kept quiet.
#
# scapy looks for routes, interfaces and a manufacturer database when it is imported, and warns
# about what it misses; none of that matters to reading and writing files.

#: Modules that teach scapy what may stand around a TCP segment: VXLAN, Geneve, MPLS, PPPoE.
SCAPY_TUNNELS = ("scapy.layers.vxlan", "scapy.contrib.geneve", "scapy.contrib.mpls", "scapy.layers.ppp")


@cache
def scapy() -> Any:
    """The names of scapy that tcplab uses: layers, and the readers and writer of files."""
    for name in ("scapy", "scapy.loading", "scapy.runtime"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    from scapy.config import conf
    from scapy.error import Scapy_Exception
    from scapy.layers.inet import IP, TCP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import Ether
    from scapy.utils import RawPcapReader, RawPcapWriter

    return SimpleNamespace(
        Ether=Ether, IP=IP, IPv6=IPv6, TCP=TCP, RawPcapReader=RawPcapReader, RawPcapWriter=RawPcapWriter,
        Scapy_Exception=Scapy_Exception, link_layers=conf.l2types.num2layer,
    )  # fmt: skip


@cache
def scapy_with_tunnels() -> Any:
    """The same, ready to look inside of tunnels."""
    names = scapy()
    for module in SCAPY_TUNNELS:
        import_module(module)
    return names


# ----------------------------------------------------------------------
# One captured packet as a TCP segment, through scapy's layers: for what headers.py does not know.
#
# That is mostly tunnels: a segment inside of another IP packet, of GRE, VXLAN, Geneve, MPLS or PPPoE. An
# ICMP error that quotes a TCP header is no segment.

#: A shift beyond this counts as this (RFC 7323 section 2.3).
MOST_WINDOW_SCALE = 14


def knows_link(link: int) -> bool:
    """True for a LINKTYPE_ value that can be taken apart."""
    return link in scapy().link_layers


def dissect(frame: Frame) -> Segment | None:
    """The segment in a frame, its window as it stands in the header; None when there is none."""
    names = scapy_with_tunnels()
    try:
        layer = names.link_layers[frame.link](frame.data)
        packet, network = layer, None
        while layer and type(layer) is not names.TCP:
            if type(layer) in (names.IP, names.IPv6):
                network = layer
            layer = layer.payload
        if network is None or not layer:
            return None
        length = _payload_length(frame, packet, network, layer)
    except Exception:  # whatever a packet of garbage makes of scapy: it is no segment
        return None
    return None if length < 0 else _segment(network, layer, length)


def _payload_length(frame: Frame, packet: Any, network: Any, tcp: Any) -> int:
    """From the headers: an Ethernet frame is padded, and a capture may hold the headers only."""
    if network.version == 4:
        headers = network.ihl * 4
        on_the_wire = frame.length - (len(packet.original) - len(network.original))
        total = network.len or on_the_wire  # 0 where the network card cuts segments itself
    else:
        headers = 40 + len(network.payload.original) - len(tcp.original)  # with extension headers
        total = 40 + network.plen
    return int(total) - int(headers) - int(tcp.dataofs) * 4


def _segment(network: Any, tcp: Any, length: int) -> Segment:
    flags = int(tcp.flags) & 0x3F
    options = {name: value for name, value in tcp.options if isinstance(value, int | tuple | bytes)}
    mss, scale = options.get("MSS"), options.get("WScale")
    times, edges = options.get("Timestamp"), options.get("SAck")
    syn = bool(flags & SYN)
    return Segment(
        source=Endpoint(network.src, tcp.sport),
        destination=Endpoint(network.dst, tcp.dport),
        seq=tcp.seq,
        ack=tcp.ack if flags & ACK else 0,
        flags=flags,
        window=tcp.window,
        length=length,
        mss=mss if syn and isinstance(mss, int) else None,
        window_scale=min(scale, MOST_WINDOW_SCALE) if syn and isinstance(scale, int) else None,
        sack_permitted=syn and "SAckOK" in options,
        sack=tuple(zip(edges[::2], edges[1::2], strict=False)) if isinstance(edges, tuple) else (),
        timestamps=times if isinstance(times, tuple) and len(times) == 2 else None,
    )


# ----------------------------------------------------------------------
# Segments that IP cut into fragments (RFC 791 section 3.2, RFC 8200 section 4.5).
#
# Only the first fragment carries the TCP header: it stands for the segment, and the others are no
# packets of their own. How long the segment is, the last fragment tells; it may come later, earlier
# or never.

#: What the fragments of a packet have in common: version, both addresses, identification.
Key = tuple[int, ...]
#: Segments whose other half is waited for at the same time; beyond it the oldest is given up.
MOST_WAITING = 65_536


@dataclass
class Fragments:
    """Fragments of TCP segments seen so far."""

    #: Length of the TCP header by frame, for first fragments whose last one is still missing.
    _first: dict[Key, tuple[int, int]] = field(default_factory=dict)
    #: Length of the IP payload, for last fragments whose first one is still missing.
    _last: dict[Key, int] = field(default_factory=dict)
    #: Payload of segments by the frame of their first fragment.
    lengths: dict[int, int] = field(default_factory=dict)
    #: First fragments with a TCP header, and fragments of any kind.
    begun: int = 0
    count: int = 0

    def first(self, key: Key, frame: int, header: int) -> None:
        """A fragment at offset 0 with a TCP header of this length."""
        self.count += 1
        self.begun += 1
        if (total := self._last.pop(key, None)) is not None:
            self._settle(frame, total - header)
        else:
            self._first[key] = frame, header
            _limit(self._first)

    def later(self, key: Key, end: int, more: bool) -> None:
        """Another fragment, which ends so many bytes after the beginning of the IP payload."""
        self.count += 1
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

    def warning(self, name: str) -> str:
        """What a reader must know; empty when every segment's length is known."""
        if not (missing := self.begun - len(self.lengths)):
            return ""
        what = "segment was" if missing == 1 else "segments were"
        return (
            f"{missing:,} {what} cut into IP fragments whose last one is not in {name}: only the length of "
            "the first fragment is known."
        )


def _limit(waiting: dict[Any, Any]) -> None:
    if len(waiting) > MOST_WAITING:
        del waiting[next(iter(waiting))]


# ----------------------------------------------------------------------
# ICMP errors that quote a TCP segment: what somebody on the way said of a connection.
#
# They are no packets of a connection and count as none; findings use them as evidence. Sources: RFC 792,
# RFC 1812 section 5.2.7.1, RFC 4443 section 3; an error quotes the IP header and at least 8 bytes behind it.

ICMP, ICMP_V6, TCP_IN_ICMP = 1, 58, 6
HOST, NETWORK, PORT = "host unreachable", "network unreachable", "port unreachable"
PROHIBITED, TOO_BIG, LATE = "administratively prohibited", "fragmentation needed", "time to live exceeded"
#: By type and code.
V4 = {
    (3, 0): NETWORK, (3, 1): HOST, (3, 3): PORT, (3, 4): TOO_BIG, (3, 9): PROHIBITED, (3, 10): PROHIBITED,
    (3, 13): PROHIBITED, (11, 0): LATE,
}  # fmt: skip
V6 = {(1, 0): NETWORK, (1, 1): PROHIBITED, (1, 3): HOST, (1, 4): PORT, (2, 0): TOO_BIG, (3, 0): LATE}
#: IP version -> what codes mean; bytes of the quoted IP header; where it says TCP, and its addresses.
VERSIONS = {4: (V4, 20, 9, 12, 4), 6: (V6, 40, 6, 8, 16)}
ICMP_HEADER, QUOTED = 8, 8
#: More errors than this are not kept.
MOST_ERRORS = 65_536


@dataclass(frozen=True, slots=True)
class Quote:
    """One ICMP error about one segment."""

    #: Its number in the file, from 1, and when it passed: nanoseconds since the capture's first packet.
    frame: int
    t: int
    #: One of this module's words.
    says: str
    #: The largest packet that fits, in bytes: of `fragmentation needed`; 0 when it is not told.
    mtu: int
    #: Who says it: a router, a firewall, or the host itself.
    sender: str
    #: Of the segment that is quoted.
    source: Endpoint
    destination: Endpoint
    seq: int


class Quotes:
    """The errors of a file, collected from its batches."""

    def __init__(self) -> None:
        #: In the file's order; their times count from 1970.
        self.found: list[Quote] = []

    def take(self, batch: Batch, version: int, row: Array, ip: Array, at: Array, end: Array) -> None:
        """The ICMP messages of these rows: their IP headers begin at `ip`, they themselves at `at`."""
        codes, header, says_tcp, _, _ = VERSIONS[version]
        whole = at + ICMP_HEADER + header + QUOTED <= end[row]
        row, ip, at = row[whole], ip[whole], at[whole]
        byte = fields(batch.memory, "u1")
        errors = np.isin(byte[at], [kind for kind, _ in codes]) & (
            byte[at + ICMP_HEADER + says_tcp] == TCP_IN_ICMP
        )
        for i in np.flatnonzero(errors).tolist()[: MOST_ERRORS - len(self.found)]:
            message = bytes(batch.memory[int(at[i]) : int(end[row[i]])])
            outer = bytes(batch.memory[int(ip[i]) : int(ip[i]) + header])
            frame, t = int(batch.frame[row[i]]), int(batch.t[row[i]])
            if (quote := _quote(version, outer, message, frame, t)) is not None:
                self.found.append(quote)


def _quote(version: int, outer: bytes, message: bytes, frame: int, t: int) -> Quote | None:
    codes, header, _, addresses, size = VERSIONS[version]
    says, inner = codes.get((message[0], message[1])), message[ICMP_HEADER:]
    if version == 4:
        header = (inner[0] & 15) * 4
    if says is None or inner[0] >> 4 != version or header < 20 or len(inner) < header + QUOTED:
        return None
    mtu = unpack_from(">H" if version == 4 else ">I", message, 6 if version == 4 else 4)[0]
    sport, dport, seq = unpack_from(">HHI", inner, header)
    ends = [str(ip_address(inner[at : at + size])) for at in (addresses, addresses + size)]
    sender = str(ip_address(outer[addresses : addresses + size]))
    mine, theirs = Endpoint(ends[0], sport), Endpoint(ends[1], dport)
    return Quote(frame, t, says, mtu if says == TOO_BIG else 0, sender, mine, theirs, seq)


# ----------------------------------------------------------------------
# From a frame to its network layer, for all packets of a batch at once.
#
# Link types: Ethernet, Linux cooked v1 and v2, BSD loopback (null), raw IP. VLAN tags (IEEE 802.1Q,
# stacked as 802.1ad has it) may stand in front of the network layer on any of them.

IPV4, IPV6 = 0x0800, 0x86DD
VLAN_TAGS = (0x8100, 0x88A8, 0x9100, 0x9200)
MOST_TAGS = 16
#: EtherTypes behind which scapy may find TCP: MPLS, PPPoE, bridged Ethernet.
LINK_TUNNELS = (0x8847, 0x8848, 0x8864, 0x6558)
#: Below this an Ethernet type is a length, and an LLC header follows; this one announces SNAP.
FIRST_TYPE = 0x0600
SNAP = 0xAAAA


@dataclass(frozen=True)
class Link:
    """Where the network layer begins, and what tells which one it is."""

    header: int
    #: Offset of the EtherType; None where there is none.
    type_at: int | None = None
    #: Address families in front, in either byte order.
    family: bool = False
    #: The only network layer that there can be.
    only: int = 0


ETHERNET, NULL, RAW, LOOP, SLL, IPV4_ONLY, IPV6_ONLY, SLL2 = 1, 0, 101, 108, 113, 228, 229, 276
#: By LINKTYPE_ value; 12 and 14 are what some systems write for raw IP.
LINKS = {
    ETHERNET: Link(14, 12), SLL: Link(16, 14), SLL2: Link(20, 0),
    NULL: Link(4, family=True), LOOP: Link(4, family=True),
    RAW: Link(0), 12: Link(0), 14: Link(0), IPV4_ONLY: Link(0, only=IPV4), IPV6_ONLY: Link(0, only=IPV6),
}  # fmt: skip
#: AF_INET and the AF_INET6 of Linux, NetBSD, FreeBSD and macOS.
FAMILIES = {2: IPV4, 10: IPV6, 24: IPV6, 28: IPV6, 30: IPV6}


@dataclass(frozen=True)
class Network:
    """Where network layers begin: row of the batch, place, EtherType."""

    row: Array
    at: Array
    kind: Array

    def of(self, chosen: Array) -> Network:
        """Some of them."""
        return Network(self.row[chosen], self.at[chosen], self.kind[chosen])


def network_layers(memory: bytearray, link: Link, row: Array, at: Array, end: Array) -> Network:
    """The network layer of each row that has one; `at` and `end` bound what is stored of the packet."""
    short = fields(memory, ">u2")
    whole = at + link.header + (link.type_at is None and not link.family) <= end[row]
    row, at = row[whole], at[whole]
    if link.type_at is not None:
        kind = short[at + link.type_at].astype(np.int64)
    elif link.family:
        kind = _by_family(memory, at)
    else:
        version = fields(memory, "u1")[at] >> 4
        kind = np.select([version == 4, version == 6], [IPV4, IPV6], 0)
        if link.only:
            kind[kind != link.only] = 0
    at = at + link.header
    for _ in range(MOST_TAGS):
        tagged = np.isin(kind, VLAN_TAGS)
        if not tagged.any():
            break
        ok = ~tagged | (at + 4 <= end[row])
        row, at, kind, tagged = row[ok], at[ok], kind[ok], tagged[ok]
        kind[tagged] = short[at[tagged] + 2]
        at[tagged] += 4
    return Network(row, at, kind)


def _by_family(memory: bytearray, at: Array) -> Array:
    kind = np.zeros(len(at), np.int64)
    for order in "<>":
        families = fields(memory, order + "u4")[at]
        for family, network in FAMILIES.items():
            kind[families == family] = network
    return kind


def for_scapy(memory: bytearray, link: Link, network: Network, end: Array) -> Array:
    """Which of these frames may hold TCP in a way that scapy knows and this module does not."""
    asked = np.isin(network.kind, LINK_TUNNELS)
    if link.header == 14:
        llc = (network.kind < FIRST_TYPE) & (network.at + 8 <= end[network.row])
        asked |= llc & (fields(memory, ">u2")[network.at] == SNAP)
    return asked


TCP, UDP, IN_IPV4, IN_IPV6, GRE = 6, 17, 4, 41, 47
#: IP protocols behind which scapy may find TCP, and UDP ports of VXLAN and Geneve.
TUNNELS = (IN_IPV4, IN_IPV6, GRE)
UDP_TUNNELS = (4789, 6081)
#: IPv6 extension headers that are passed over (RFC 8200 section 4); AH counts in words of four bytes.
EXTENSIONS, FRAGMENT, AUTHENTICATION = (0, 43, 60, 135, 139, 140), 44, 51
MOST_EXTENSIONS = 64
#: The options of nearly all segments: NOP, NOP, timestamps of ten bytes.
USUAL_OPTIONS = 0x0101080A
MORE_OR_OFFSET, OFFSET = 0x3FFF, 0x1FFF

_IPV4 = {"vihl": (0, "u1"), "total": (2, ">u2"), "ident": (4, ">u2"), "frag": (6, ">u2"), "proto": (9, "u1"),
         "src": (12, ">u4"), "dst": (16, ">u4")}  # fmt: skip
_IPV6 = {"first": (0, "u1"), "payload": (4, ">u2"), "next": (6, "u1"), "src": (8, ">u8"), "src2": (16, ">u8"),
         "dst": (24, ">u8"), "dst2": (32, ">u8")}  # fmt: skip
_TCP = {"sport": (0, ">u2"), "dport": (2, ">u2"), "seq": (4, ">u4"), "ack": (8, ">u4"), "offset": (12, "u1"),
        "flags": (13, "u1"), "window": (14, ">u2")}  # fmt: skip
_OPTIONS = {"kind": (0, ">u4"), "timestamp": (4, ">u4"), "echo": (8, ">u4")}


def _struct(size: int, *parts: tuple[int, dict[str, tuple[int, str]]]) -> np.dtype[Any]:
    there = {name: (at + where, kind) for at, part in parts for name, (where, kind) in part.items()}
    return np.dtype({
        "names": list(there), "offsets": [where for where, _ in there.values()],
        "formats": [kind for _, kind in there.values()], "itemsize": size,
    })  # fmt: skip


IPV4_HEADER, IPV6_HEADER = _struct(20, (0, _IPV4)), _struct(40, (0, _IPV6))
TCP_HEADER = _struct(20, (0, _TCP))


@dataclass
class Headers:
    """What one batch holds: a row for each of its packets, of which only those in `kept` are TCP."""

    kept: Array
    src: Array
    dst: Array
    #: True where `src` and `dst` are numbers of IPv6 addresses.
    v6: Array
    sport: Array
    dport: Array
    seq: Array
    ack: Array
    #: As they stand in the header, those beyond URG too.
    flags: Array
    window: Array
    length: Array
    #: Where the payload begins in memory, stored or not; -1 when nobody knows.
    body: Array
    #: Good where `has_times`.
    timestamp: Array
    echo: Array
    has_times: Array
    #: Rows with more options to look at: row, from, to.
    options: list[tuple[Array, Array, Array]] = field(default_factory=list)
    #: Rows that only scapy may know.
    unknown: list[Array] = field(default_factory=list)


def empty(count: int) -> Headers:
    """Room for a batch whose packets are not known yet."""

    def room(kind: str) -> Array:
        return np.zeros(count, kind)

    return Headers(
        room("?"), room("u4"), room("u4"), room("?"), room("u2"), room("u2"), room("u4"), room("u4"),
        room("u1"), room("u2"), room("i8"), room("i8") - 1, room("u4"), room("u4"), room("?"),
    )  # fmt: skip


class Dissector:
    """Takes batches apart; remembers IPv6 addresses, fragments and ICMP errors from one to the next."""

    def __init__(self, number_of: Any) -> None:
        #: Gives numbers to IPv6 addresses, by their two halves.
        self._number_of = number_of
        self.fragments, self.quotes = Fragments(), Quotes()

    def take(self, batch: Batch) -> Headers:
        """The headers of one batch of a link type that `LINKS` has."""
        link = LINKS[batch.link]
        if link.family:
            found, rest = empty(len(batch)), np.arange(len(batch))
        else:
            found, rest = self._usual(batch, link)
        if len(rest):
            self._longer(batch, link, found, rest)
        return found

    def _usual(self, batch: Batch, link: Link) -> tuple[Headers, Array]:
        at = link.header
        kind = _struct(
            at + 52, (0, {} if link.type_at is None else {"type": (link.type_at, ">u2")}),
            (at, _IPV4), (at + 20, _TCP), (at + 40, _OPTIONS),
        )  # fmt: skip
        raw = gather(batch.memory, batch.data, kind)
        header = (raw["offset"] >> 4).astype(np.int64) * 4
        total, space = raw["total"].astype(np.int64), batch.stored - at
        kept = (raw["vihl"] == 0x45) & (raw["proto"] == TCP) & (header >= 20) & (total >= header + 20)
        kept &= ((raw["frag"] & MORE_OR_OFFSET) == 0) & (space >= 40)
        if link.type_at is not None:
            kept &= raw["type"] == IPV4
        elif link.only:
            kept &= link.only == IPV4
        usual = (header == 32) & (raw["kind"] == USUAL_OPTIONS) & (space >= 52)
        usual &= kept
        # Views of what was gathered, still in the network's byte order: the columns take them over.
        found = Headers(
            kept, raw["src"], raw["dst"], np.zeros(len(batch), bool), raw["sport"], raw["dport"], raw["seq"],
            raw["ack"], raw["flags"], raw["window"], total - header - 20, batch.data + header + (at + 20),
            raw["timestamp"], raw["echo"], usual,
        )  # fmt: skip
        more = np.flatnonzero(kept & (header > 20) & ~usual)
        if len(more):
            begin = batch.data[more] + at + 40
            end = np.minimum(begin + header[more] - 20, batch.data[more] + batch.stored[more])
            found.options.append((more, begin, end))
        return found, np.flatnonzero(~kept)

    def _longer(self, batch: Batch, link: Link, found: Headers, rest: Array) -> None:
        end = batch.data + batch.stored
        network = network_layers(batch.memory, link, rest, batch.data[rest], end)
        asked = for_scapy(batch.memory, link, network, end)
        if asked.any():
            found.unknown.append(network.row[asked])
        four, six = (network.of(np.flatnonzero(network.kind == kind)) for kind in (IPV4, IPV6))
        if len(four.row):
            self._ipv4(batch, found, four, end)
        if len(six.row):
            self._ipv6(batch, found, six, end)

    def _ipv4(self, batch: Batch, found: Headers, network: Network, end: Array) -> None:
        network = network.of(network.at + 20 <= end[network.row])
        raw = gather(batch.memory, network.at, IPV4_HEADER)
        row, size = network.row, (raw["vihl"] & 15).astype(np.int64) * 4
        total = raw["total"].astype(np.int64)
        # 0 where the network card cuts segments itself: then the frame tells.
        total = np.where(total == 0, batch.data[row] + batch.wire[row] - network.at, total)
        sound = (raw["vihl"] >> 4 == 4) & (size >= 20) & (network.at + size <= end[row]) & (total >= size)
        frag, proto = raw["frag"].astype(np.int64), raw["proto"]
        later = np.flatnonzero(sound & (proto == TCP) & ((frag & OFFSET) > 0))
        if len(later):
            ends = (frag[later] & OFFSET) * 8 + total[later] - size[later]
            more = (frag[later] & 0x2000) > 0
            for key, stop, mf in zip(_keys4(raw[later]), ends.tolist(), more.tolist(), strict=True):
                self.fragments.later(key, stop, mf)
        sound &= (frag & OFFSET) == 0
        self._ask(batch, found, row, network.at + size, proto, sound, end)
        told = np.flatnonzero(sound & (proto == ICMP))
        self.quotes.take(batch, 4, row[told], network.at[told], (network.at + size)[told], end)
        ours = np.flatnonzero(sound & (proto == TCP))
        row, raw, begin = row[ours], raw[ours], (network.at + size)[ours]
        found.src[row], found.dst[row] = raw["src"], raw["dst"]
        kept = self._tcp(batch, found, row, begin, (network.at + total)[ours], end)
        cut = np.flatnonzero(kept & ((frag[ours] & 0x2000) > 0))
        if len(cut):
            self._first(batch, row[cut], begin[cut], _keys4(raw[cut]))

    def _ipv6(self, batch: Batch, found: Headers, network: Network, end: Array) -> None:
        network = network.of(network.at + 40 <= end[network.row])
        raw = gather(batch.memory, network.at, IPV6_HEADER)
        row, at, proto = network.row, network.at + 40, raw["next"].astype(np.int64)
        payload = raw["payload"].astype(np.int64)
        stop = np.where(payload == 0, batch.data[row] + batch.wire[row], at + payload)
        alive = raw["first"] >> 4 == 6
        byte, short, word = (fields(batch.memory, kind) for kind in ("u1", ">u2", ">u4"))
        frag, ident = np.full(len(row), -1, np.int64), np.zeros(len(row), np.int64)
        for _ in range(MOST_EXTENSIONS):
            here = np.flatnonzero(alive & np.isin(proto, (*EXTENSIONS, FRAGMENT, AUTHENTICATION)))
            if not len(here):
                break
            there = at[here] + 8 <= end[row[here]]
            alive[here[~there]] = False
            here = here[there]
            place, kind = at[here], proto[here]
            told = byte[place + 1].astype(np.int64)
            size = np.where(kind == AUTHENTICATION, told * 4 + 8, told * 8 + 8)
            cut = kind == FRAGMENT
            size[cut] = 8
            frag[here[cut]], ident[here[cut]] = short[place[cut] + 2], word[place[cut] + 4]
            proto[here], at[here] = byte[place], place + size
            # Behind the header of a later fragment comes the middle of something.
            alive[here] = (at[here] <= end[row[here]]) & ~(cut & (frag[here] >= 8))
            later = here[cut & (frag[here] >= 8) & (proto[here] == TCP)]
            ends = (frag[later] & ~7) + stop[later] - at[later]
            more = (frag[later] & 1) > 0
            for key, last, mf in zip(_keys6(raw, later, ident), ends.tolist(), more.tolist(), strict=True):
                self.fragments.later(key, last, mf)
        self._ask(batch, found, row, at, proto, alive, end)
        told = np.flatnonzero(alive & (proto == ICMP_V6))
        self.quotes.take(batch, 6, row[told], network.at[told], at[told], end)
        ours = np.flatnonzero(alive & (proto == TCP))
        row, at, raw = row[ours], at[ours], raw[ours]
        found.src[row] = self._number_of(_native(raw["src"]), _native(raw["src2"]))
        found.dst[row] = self._number_of(_native(raw["dst"]), _native(raw["dst2"]))
        found.v6[row] = True
        kept = self._tcp(batch, found, row, at, stop[ours], end)
        cut = np.flatnonzero(kept & (frag[ours] >= 0) & ((frag[ours] & 1) == 1))
        if len(cut):
            self._first(batch, row[cut], at[cut], _keys6(raw, cut, ident[ours]))

    def _ask(
        self, batch: Batch, found: Headers, row: Array, at: Array, proto: Array, sound: Array, end: Array
    ) -> None:
        """Note what scapy should look at: tunnels."""
        asked = sound & np.isin(proto, TUNNELS)
        udp = np.flatnonzero(sound & (proto == UDP) & (at + 8 <= end[row]))
        if len(udp):
            ports = fields(batch.memory, ">u2")[at[udp] + 2]
            asked[udp[np.isin(ports, UDP_TUNNELS)]] = True
        if asked.any():
            found.unknown.append(row[asked])

    def _tcp(self, batch: Batch, found: Headers, row: Array, at: Array, stop: Array, end: Array) -> Array:
        """Fill the rows whose TCP header begins at `at`; which of them have one."""
        whole = at + 20 <= end[row]
        place = np.where(whole, at, batch.data[row])
        raw = gather(batch.memory, place, TCP_HEADER)
        header = (raw["offset"] >> 4).astype(np.int64) * 4
        length = stop - at - header
        kept = whole & (header >= 20) & (length >= 0)
        for name in ("sport", "dport", "seq", "ack", "window"):
            getattr(found, name)[row] = raw[name]
        found.flags[row], found.length[row], found.kept[row] = raw["flags"], length, kept
        found.body[row] = at + header
        found.has_times[row] = False
        more = kept & (header > 20)
        if more.any():
            begin = at[more] + 20
            stop = np.minimum(begin + header[more] - 20, end[row[more]])
            found.options.append((row[more], begin, stop))
        return kept

    def _first(self, batch: Batch, row: Array, at: Array, keys: list[Key]) -> None:
        headers = (fields(batch.memory, "u1")[at + 12] >> 4) * 4
        for key, frame, header in zip(keys, batch.frame[row].tolist(), headers.tolist(), strict=True):
            self.fragments.first(key, frame, header)


def _native(values: Array) -> Array:
    return values.astype(values.dtype.newbyteorder("="))


def _keys4(header: Array) -> list[Key]:
    """What fragments of one IPv4 packet have in common."""
    rows = zip(header["src"].tolist(), header["dst"].tolist(), header["ident"].tolist(), strict=True)
    return [(4, *each) for each in rows]


def _keys6(header: Array, chosen: Array, ident: Array) -> list[Key]:
    names = ("src", "src2", "dst", "dst2")
    ends = zip(*(header[name][chosen].tolist() for name in names), ident[chosen].tolist(), strict=True)
    return [(6, *each) for each in ends]


# ----------------------------------------------------------------------
# TCP options of many segments at once (RFC 9293 section 3.1, RFC 7323, RFC 2018).
#
# All segments take a step together, one option each; a segment whose options end or make no sense
# drops out, and keeps what it had until there, as Linux does (net/ipv4/tcp_input.c:tcp_parse_options).

END, NOP, MSS, WINDOW_SCALE, SACK_PERMITTED, SACK, TIMESTAMPS = 0, 1, 2, 3, 4, 5, 8
#: Options fit into 40 bytes: no more steps than that.
MOST = 40
#: A shift beyond this counts as this (RFC 7323 section 2.3).
LARGEST_WINDOW_SCALE = 14


@dataclass(frozen=True)
class Options:
    """What was found: one value for each segment, -1 where there is no such option."""

    mss: Array
    window_scale: Array
    sack_permitted: Array
    timestamp: Array
    echo: Array
    #: SACK blocks in order: which segment, left and right edge.
    sack_of: Array
    sack_left: Array
    sack_right: Array


def parse(memory: bytearray, begin: Array, end: Array) -> Options:
    """The options between these places, one pair for each segment."""
    byte, short, word = fields(memory, "u1"), fields(memory, ">u2"), fields(memory, ">u4")
    count = len(begin)
    mss, scale, timestamp, echo = (np.full(count, -1, np.int64) for _ in range(4))
    permitted = np.zeros(count, bool)
    blocks: list[tuple[Array, Array, Array]] = []
    who, at = np.arange(count), begin
    for _ in range(MOST):
        inside = at < end[who]
        who, at = who[inside], at[inside]
        kind = byte[at]
        going = kind != END
        who, at, kind = who[going], at[going], kind[going]
        if not len(who):
            break
        single = kind == NOP
        size = np.where(single, 1, byte[at + 1]).astype(np.int64)
        sound = single | (size >= 2) & (at + size <= end[who])
        who, at, kind, size = who[sound], at[sound], kind[sound], size[sound]
        is_mss, is_scale = (kind == MSS) & (size == 4), (kind == WINDOW_SCALE) & (size == 3)
        is_times = (kind == TIMESTAMPS) & (size == 10)
        is_sack = (kind == SACK) & (size >= 10) & (size % 8 == 2)
        mss[who[is_mss]] = short[at[is_mss] + 2]
        scale[who[is_scale]] = np.minimum(byte[at[is_scale] + 2], LARGEST_WINDOW_SCALE)
        permitted[who[(kind == SACK_PERMITTED) & (size == 2)]] = True
        timestamp[who[is_times]] = word[at[is_times] + 2]
        echo[who[is_times]] = word[at[is_times] + 6]
        for block in range(4 if is_sack.any() else 0):
            there = is_sack & (size >= 10 + 8 * block)
            place = at[there] + 2 + 8 * block
            blocks.append((who[there], word[place], word[place + 4]))
        at = at + size
    of, left, right = ([each[n] for each in blocks] for n in range(3))
    whose = np.concatenate([*of, np.empty(0, np.int64)])
    order = np.argsort(whose, kind="stable")
    return Options(
        mss, scale, permitted, timestamp, echo, whose[order],
        np.concatenate([*left, np.empty(0, ">u4")])[order].astype(np.uint32),
        np.concatenate([*right, np.empty(0, ">u4")])[order].astype(np.uint32),
    )  # fmt: skip


# ----------------------------------------------------------------------
# The first bytes that each side of a flow sent: enough to tell which protocol is spoken.

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
