"""IP and TCP headers of all packets of a batch at once: NumPy columns, no loop over packets.

Nearly all packets of nearly all captures are IPv4 without options in Ethernet, so one gather reads
all their headers. The rest goes the longer way: other links, VLAN tags, IP options, IPv6 and its
extension headers, fragments. What neither knows is left to scapy (tunnels).

A packet counts when its TCP header is there and makes sense to a receiver: 20 bytes of it stored,
an own length of at least 20 bytes and an IP length that reaches over it (net/ipv4/tcp_ipv4.c:
tcp_v4_rcv). Checksums are not looked at: on the sending host they are the network card's work.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tcplab.capture.chains import Array, fields
from tcplab.capture.fragments import Fragments, Key
from tcplab.capture.icmp import ICMP, ICMP_V6, Quotes
from tcplab.capture.links import IPV4, IPV6, LINKS, Link, Network, for_scapy, network_layers
from tcplab.capture.records import Batch, gather

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
