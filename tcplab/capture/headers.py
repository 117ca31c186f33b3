"""Link, IP and TCP headers of all packets of a batch at once: step 2 of the fast reader.

Link types: Ethernet, Linux cooked v1 and v2, BSD loopback, raw IP; on any of them VLAN tags (IEEE 802.1Q,
stacked as in 802.1ad). `Dissector` takes the usual packets with one gather and the others on a longer
path, GRE and ERSPAN included. In other tunnels scapy looks for the innermost IP header, one packet at
a time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from tcplab.capture import shared
from tcplab.capture.file import Array, Batch, fields, gather
from tcplab.capture.pcap import IPV4, IPV6, LARGEST_WINDOW_SCALE, inner_network
from tcplab.capture.shared import TCP, Fragments, Key, Quote

#: The options of nearly all segments: NOP, NOP, timestamps of ten bytes.
USUAL_OPTIONS = 0x0101080A
#: Of the fragment field of IPv4: more follow, offset.
MORE, OFFSET = 0x2000, 0x1FFF
END, NOP, MSS, WINDOW_SCALE, SACK_PERMITTED, SACK, TIMESTAMPS = 0, 1, 2, 3, 4, 5, 8
#: Options fit into 40 bytes: no more steps than that.
MOST_OPTIONS = 40


@dataclass(frozen=True)
class Link:
    """Where the network layer begins, and what identifies it."""

    header: int
    #: Offset of the EtherType; None where there is none.
    type_at: int | None = None
    #: An address family in front, in either byte order.
    family: bool = False
    #: The only network layer that there can be.
    only: int = 0


ETHERNET, NULL, RAW, LOOP, SLL, IPV4_ONLY, IPV6_ONLY, SLL2 = 1, 0, 101, 108, 113, 228, 229, 276
#: By LINKTYPE_ value; 12 and 14 are other systems' values for raw IP.
LINKS = {
    ETHERNET: Link(14, 12), SLL: Link(16, 14), SLL2: Link(20, 0),
    NULL: Link(4, family=True), LOOP: Link(4, family=True),
    RAW: Link(0), 12: Link(0), 14: Link(0), IPV4_ONLY: Link(0, only=IPV4), IPV6_ONLY: Link(0, only=IPV6),
}  # fmt: skip


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
        kind = np.zeros(len(at), np.int64)
        for order in "<>":
            for family, layer in shared.FAMILIES.items():
                kind[fields(memory, order + "u4")[at] == family] = layer
    else:
        version = fields(memory, "u1")[at] >> 4
        kind = np.select([version == 4, version == 6], [IPV4, IPV6], 0)
        if link.only:
            kind[kind != link.only] = 0
    at = at + link.header
    for _ in range(shared.MOST_TAGS):
        tagged = np.isin(kind, shared.VLAN_TAGS)
        if not tagged.any():
            break
        ok = ~tagged | (at + 4 <= end[row])
        row, at, kind, tagged = row[ok], at[ok], kind[ok], tagged[ok]
        kind[tagged] = short[at[tagged] + 2]
        at[tagged] += 4
    return Network(row, at, kind)


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
    """The headers of a batch: a row for each packet; only those in `kept` are TCP."""

    kept: Array
    src: Array
    dst: Array
    #: True where `src` and `dst` are numbers of IPv6 addresses.
    v6: Array
    sport: Array
    dport: Array
    seq: Array
    ack: Array
    #: As in the header, with those beyond URG.
    flags: Array
    window: Array
    length: Array
    #: Where the payload begins in memory, stored or not.
    body: Array
    #: Valid where `has_times`.
    timestamp: Array
    echo: Array
    has_times: Array
    #: IPv4's identification; 0 in IPv6.
    ident: Array
    #: Rows with more options to look at: row, from, to.
    options: list[tuple[Array, Array, Array]] = field(default_factory=list)
    #: Packets for scapy: row, name of the tunnel, offset of the IP header around it (-1: none).
    unknown: list[tuple[int, str, int]] = field(default_factory=list)


def empty(count: int) -> Headers:
    """Room for a batch whose packets are not known yet."""

    kinds = ("?", "u4", "u4", "?", "u2", "u2", "u4", "u4", "u1", "u2", "i8", "i8", "u4", "u4", "?", "u2")
    columns: list[Any] = [np.zeros(count, kind) for kind in kinds]
    return Headers(*columns)


class Dissector:
    """Takes batches apart; remembers IPv6 addresses, fragments and ICMP errors from one to the next."""

    def __init__(self, number_of: Any) -> None:
        #: Gives numbers to IPv6 addresses, by their two halves.
        self._number_of = number_of
        self.fragments, self.quotes = Fragments(), list[Quote]()
        #: Tunnels that were not decoded, by name; packets that were cut inside their headers.
        self.tunnels, self.cut = Counter[str](), 0

    def take(self, batch: Batch) -> Headers:
        """The headers of one batch of a link type that `LINKS` or scapy has."""
        link = LINKS.get(batch.link)
        if link is None or link.family:
            headers, rest = empty(len(batch)), np.arange(len(batch))
        else:
            headers, rest = self._usual(batch, link)
        if not len(rest):
            return headers
        end = batch.data + batch.stored
        if link is None:
            headers.unknown += [(row, "", -1) for row in rest.tolist()]
        else:
            network = network_layers(batch.memory, link, rest, batch.data[rest], end)
            if link.header == 14:
                llc = (network.kind < shared.FIRST_TYPE) & (network.at + 8 <= end[network.row])
                llc &= fields(batch.memory, ">u2")[network.at] == shared.SNAP
                headers.unknown += [(row, "", -1) for row in network.row[llc].tolist()]
            self._layers(batch, headers, network, np.full(len(network.row), -1), end)
        if headers.unknown:
            rows, kinds, places = [], [], []
            for row, name, outer in headers.unknown:
                begin = int(batch.data[row])
                inner = inner_network(batch.link, bytes(batch.memory[begin : int(end[row])]))
                if inner.kind and begin + inner.at > outer:
                    rows.append(row)
                    kinds.append(inner.kind)
                    places.append(begin + inner.at)
                elif inner.opaque and name:
                    self.tunnels[name] += 1
            inside = Network(*(np.array(each, np.int64) for each in (rows, places, kinds)))
            self._longer(batch, headers, inside, end, shared.MOST_NESTED + 1)
        return headers

    def _layers(
        self, batch: Batch, headers: Headers, network: Network, outer: Array, end: Array, nested: int = 0
    ) -> None:
        """Dissect from the EtherTypes on; `outer`: offsets of the IP headers around them, -1 for none."""
        for i in np.flatnonzero(np.isin(network.kind, list(shared.BY_TYPE))).tolist():
            kind, name = int(network.kind[i]), shared.BY_TYPE[int(network.kind[i])]
            if kind in shared.LINK_TUNNELS:
                headers.unknown.append((int(network.row[i]), name, int(outer[i])))
            else:
                self.tunnels[name] += 1
        self._longer(batch, headers, network, end, nested)

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
        kept &= ((raw["frag"] & (MORE | OFFSET)) == 0) & (space >= 40)
        if link.type_at is not None:
            kept &= raw["type"] == IPV4
        elif link.only:
            kept &= link.only == IPV4
        usual = (header == 32) & (raw["kind"] == USUAL_OPTIONS) & (space >= 52)
        usual &= kept
        # Views of what was gathered, still in the network's byte order: the columns take them over.
        headers = Headers(
            kept, raw["src"], raw["dst"], np.zeros(len(batch), bool), raw["sport"], raw["dport"], raw["seq"],
            raw["ack"], raw["flags"], raw["window"], total - header - 20, batch.data + header + (at + 20),
            raw["timestamp"], raw["echo"], usual, raw["ident"],
        )  # fmt: skip
        more = np.flatnonzero(kept & (header > 20) & ~usual)
        if len(more):
            begin = batch.data[more] + at + 40
            end = np.minimum(begin + header[more] - 20, batch.data[more] + batch.stored[more])
            headers.options.append((more, begin, end))
        return headers, np.flatnonzero(~kept)

    def _longer(self, batch: Batch, headers: Headers, network: Network, end: Array, nested: int) -> None:
        """IP headers at depth `nested`; beyond `MOST_NESTED` no tunnel is decoded."""
        four, six = (network.of(np.flatnonzero(network.kind == kind)) for kind in (IPV4, IPV6))
        if len(four.row):
            self._ipv4(batch, headers, four, end, nested)
        if len(six.row):
            self._ipv6(batch, headers, six, end, nested)

    def _ipv4(self, batch: Batch, headers: Headers, network: Network, end: Array, nested: int) -> None:
        network = self._whole(batch, network, 20, end)
        raw = gather(batch.memory, network.at, IPV4_HEADER)
        row, size = network.row, (raw["vihl"] & 15).astype(np.int64) * 4
        total = raw["total"].astype(np.int64)
        # 0 where the network card cuts segments itself: then the frame's length counts.
        total = np.where(total == 0, batch.data[row] + batch.wire[row] - network.at, total)
        sound = (raw["vihl"] >> 4 == 4) & (size >= 20) & (network.at + size <= end[row]) & (total >= size)
        frag, proto = raw["frag"].astype(np.int64), raw["proto"]
        later = np.flatnonzero(sound & (proto == TCP) & ((frag & OFFSET) > 0))
        if len(later):
            ends = (frag[later] & OFFSET) * 8 + total[later] - size[later]
            more = (frag[later] & MORE) > 0
            for key, stop, mf in zip(_keys4(raw[later]), ends.tolist(), more.tolist(), strict=True):
                self.fragments.later(key, stop, mf)
        sound &= (frag & OFFSET) == 0
        self._tunnels(batch, headers, network, network.at + size, proto, sound, end, nested)
        error = np.flatnonzero(sound & (proto == shared.ICMP))
        self._icmp(batch, 4, row[error], network.at[error], (network.at + size)[error], end)
        ours = np.flatnonzero(sound & (proto == TCP))
        row, raw, begin = row[ours], raw[ours], (network.at + size)[ours]
        headers.src[row], headers.dst[row], headers.ident[row] = raw["src"], raw["dst"], raw["ident"]
        kept = self._tcp(batch, headers, row, begin, (network.at + total)[ours], end)
        cut = np.flatnonzero(kept & ((frag[ours] & MORE) > 0))
        if len(cut):
            self._first(batch, row[cut], begin[cut], _keys4(raw[cut]))

    def _ipv6(self, batch: Batch, headers: Headers, network: Network, end: Array, nested: int) -> None:
        network = self._whole(batch, network, 40, end)
        raw = gather(batch.memory, network.at, IPV6_HEADER)
        row, at, proto = network.row, network.at + 40, raw["next"].astype(np.int64)
        payload = raw["payload"].astype(np.int64)
        stop = np.where(payload == 0, batch.data[row] + batch.wire[row], at + payload)
        sound = raw["first"] >> 4 == 6
        byte, short, word = (fields(batch.memory, kind) for kind in ("u1", ">u2", ">u4"))
        frag, ident = np.full(len(row), -1, np.int64), np.zeros(len(row), np.int64)
        for _ in range(shared.MOST_EXTENSIONS):
            here = np.flatnonzero(
                sound & np.isin(proto, (*shared.EXTENSIONS, shared.FRAGMENT, shared.AUTHENTICATION))
            )
            if not len(here):
                break
            there = at[here] + 8 <= end[row[here]]
            sound[here[~there]] = False
            here = here[there]
            place, kind = at[here], proto[here]
            units = byte[place + 1].astype(np.int64)
            size = np.where(kind == shared.AUTHENTICATION, units * 4 + 8, units * 8 + 8)
            cut = kind == shared.FRAGMENT
            size[cut] = 8
            frag[here[cut]], ident[here[cut]] = short[place[cut] + 2], word[place[cut] + 4]
            proto[here], at[here] = byte[place], place + size
            # The header of a later fragment is followed by the middle of a segment.
            sound[here] = (at[here] <= end[row[here]]) & ~(cut & (frag[here] >= 8))
            later = here[cut & (frag[here] >= 8) & (proto[here] == TCP)]
            ends = (frag[later] & ~7) + stop[later] - at[later]
            more = (frag[later] & 1) > 0
            for key, last, mf in zip(_keys6(raw, later, ident), ends.tolist(), more.tolist(), strict=True):
                self.fragments.later(key, last, mf)
        self._tunnels(batch, headers, network, at, proto, sound, end, nested)
        error = np.flatnonzero(sound & (proto == shared.ICMP_V6))
        self._icmp(batch, 6, row[error], network.at[error], at[error], end)
        ours = np.flatnonzero(sound & (proto == TCP))
        row, at, raw = row[ours], at[ours], raw[ours]
        headers.src[row] = self._number_of(raw["src"].astype("u8"), raw["src2"].astype("u8"))
        headers.dst[row] = self._number_of(raw["dst"].astype("u8"), raw["dst2"].astype("u8"))
        headers.v6[row], headers.ident[row] = True, 0
        kept = self._tcp(batch, headers, row, at, stop[ours], end)
        cut = np.flatnonzero(kept & (frag[ours] >= 0) & ((frag[ours] & 1) == 1))
        if len(cut):
            self._first(batch, row[cut], at[cut], _keys6(raw, cut, ident[ours]))

    def _icmp(self, batch: Batch, version: int, row: Array, ip: Array, at: Array, end: Array) -> None:
        """Keep the errors among the ICMP messages that begin at `at`, behind IP headers at `ip`."""
        codes, header, protocol, _, _ = shared.VERSIONS[version]
        whole = at + shared.ICMP_HEADER + header + shared.QUOTED <= end[row]
        row, ip, at = row[whole], ip[whole], at[whole]
        byte = fields(batch.memory, "u1")
        errors = np.isin(byte[at], [kind for kind, _ in codes]) & (
            byte[at + shared.ICMP_HEADER + protocol] == TCP
        )
        for i in np.flatnonzero(errors).tolist()[: shared.MOST_ERRORS - len(self.quotes)]:
            message = bytes(batch.memory[int(at[i]) : int(end[row[i]])])
            outer = bytes(batch.memory[int(ip[i]) : int(at[i])])
            error = shared.quote(version, outer, message, int(batch.frame[row[i]]), int(batch.t[row[i]]))
            self.quotes += [error] if error else []

    def _whole(self, batch: Batch, network: Network, size: int, end: Array) -> Network:
        """Those whose IP header, at least `size` bytes, was captured."""
        whole = network.at + size <= end[network.row]
        self.cut += int((~whole & (batch.stored < batch.wire)[network.row]).sum())
        return network.of(whole)

    def _tunnels(
        self, batch: Batch, headers: Headers, network: Network, at: Array, proto: Array, sound: Array,
        end: Array, nested: int,
    ) -> None:  # fmt: skip
        """Decode GRE, note the packets for scapy, and count the tunnels that are not decoded.

        `at` is where the payload of each IP header begins.
        """
        row = network.row
        port = np.zeros(len(row), np.int64)
        udp = np.flatnonzero(sound & (proto == shared.UDP) & (at + 8 <= end[row]))
        port[udp] = fields(batch.memory, ">u2")[at[udp] + 2]
        found = sound & (np.isin(proto, list(shared.BY_PROTOCOL)) | np.isin(port, list(shared.BY_PORT)))
        if nested > shared.MOST_NESTED or not found.any():
            return
        gre = np.flatnonzero(found & (proto == shared.GRE))
        if len(gre) and nested < shared.MOST_NESTED:
            read = self._gre(batch, headers, network.of(gre), at[gre], end, nested + 1)
            found[gre[read]] = False
        for i in np.flatnonzero(found).tolist():
            protocol, tunnel = int(proto[i]), int(port[i])
            name = shared.BY_PROTOCOL.get(protocol) or shared.BY_PORT[tunnel]
            if protocol in shared.TUNNELS or tunnel in shared.UDP_TUNNELS:
                headers.unknown.append((int(row[i]), name, int(network.at[i])))
            else:
                self.tunnels[name] += 1

    def _gre(
        self, batch: Batch, headers: Headers, network: Network, at: Array, end: Array, nested: int
    ) -> Array:
        """Read what GRE headers at `at` carry; True for those that can be read here."""
        byte, short = fields(batch.memory, "u1"), fields(batch.memory, ">u2")
        row = network.row
        read = at + 4 <= end[row]
        place = np.where(read, at, batch.data[row])
        flags, kind = short[place].astype(np.int64), short[place + 2].astype(np.int64)
        read &= (flags & shared.GRE_STRANGE) == 0
        inner = place + 4 + 4 * sum((flags & each > 0).astype(np.int64) for each in shared.GRE_FIELDS)
        third, second = kind == shared.ERSPAN_III, (kind == shared.ERSPAN) & (flags & shared.GRE_SEQUENCE > 0)
        whole = inner + shared.ERSPAN_III_HEADER <= end[row]
        header = np.where(third & whole, inner, batch.data[row])
        read &= ~third | whole & (byte[header + 10] & 0x7C == 0)  # the frame type is Ethernet
        inner = inner + shared.ERSPAN_II_HEADER * second
        platform = (byte[header + 11] & 1).astype(np.int64) * shared.PLATFORM_HEADER
        inner = inner + np.where(third, shared.ERSPAN_III_HEADER + platform, 0)
        is_ip = np.isin(kind, (IPV4, IPV6))
        frame = np.isin(kind, (shared.BRIDGED, shared.ERSPAN, shared.ERSPAN_III))
        read &= is_ip | frame
        direct, framed = np.flatnonzero(read & is_ip), np.flatnonzero(read & frame)
        around = np.full(len(batch), -1, np.int64)
        around[row] = network.at
        parts = (
            Network(row[direct], inner[direct], kind[direct]),
            network_layers(batch.memory, LINKS[ETHERNET], row[framed], inner[framed], end),
        )
        for part in parts:
            self._layers(batch, headers, part, around[part.row], end, nested)
        return read

    def _tcp(self, batch: Batch, headers: Headers, row: Array, at: Array, stop: Array, end: Array) -> Array:
        """Fill the rows whose TCP header begins at `at`; which of them have one."""
        whole = at + 20 <= end[row]
        self.cut += int((~whole & (batch.stored < batch.wire)[row]).sum())
        place = np.where(whole, at, batch.data[row])
        raw = gather(batch.memory, place, TCP_HEADER)
        header = (raw["offset"] >> 4).astype(np.int64) * 4
        length = stop - at - header
        kept = whole & (header >= 20) & (length >= 0)
        for name in ("sport", "dport", "seq", "ack", "window"):
            getattr(headers, name)[row] = raw[name]
        headers.flags[row], headers.length[row], headers.kept[row] = raw["flags"], length, kept
        headers.body[row] = at + header
        headers.has_times[row] = False
        more = kept & (header > 20)
        if more.any():
            begin = at[more] + 20
            stop = np.minimum(begin + header[more] - 20, end[row[more]])
            headers.options.append((row[more], begin, stop))
        return kept

    def _first(self, batch: Batch, row: Array, at: Array, keys: list[Key]) -> None:
        headers = (fields(batch.memory, "u1")[at + 12] >> 4) * 4
        for key, frame, header in zip(keys, batch.frame[row].tolist(), headers.tolist(), strict=True):
            self.fragments.first(key, frame, header)


def _keys4(header: Array) -> list[Key]:
    """What fragments of one IPv4 packet have in common."""
    rows = zip(header["src"].tolist(), header["dst"].tolist(), header["ident"].tolist(), strict=True)
    return [(4, *each) for each in rows]


def _keys6(header: Array, chosen: Array, ident: Array) -> list[Key]:
    names = ("src", "src2", "dst", "dst2")
    ends = zip(*(header[name][chosen].tolist() for name in names), ident[chosen].tolist(), strict=True)
    return [(6, *each) for each in ends]


@dataclass(frozen=True)
class HeaderOptions:
    """TCP options: one value for each segment, -1 where there is no such option."""

    mss: Array
    window_scale: Array
    sack_permitted: Array
    timestamp: Array
    echo: Array
    #: SACK blocks in order: which segment, left and right edge.
    sack_of: Array
    sack_left: Array
    sack_right: Array


def parse_options(memory: bytearray, begin: Array, end: Array) -> HeaderOptions:
    """The options between these places, one pair for each segment.

    All segments take a step together, one option each. A segment whose options end or make no sense drops
    out and keeps what it had, as in Linux (net/ipv4/tcp_input.c:tcp_parse_options). Formats: RFC 9293
    section 3.1, RFC 7323, RFC 2018.
    """
    byte, short, word = fields(memory, "u1"), fields(memory, ">u2"), fields(memory, ">u4")
    count = len(begin)
    mss, scale, timestamp, echo = (np.full(count, -1, np.int64) for _ in range(4))
    permitted = np.zeros(count, bool)
    blocks: list[tuple[Array, Array, Array]] = []
    who, at = np.arange(count), begin
    for _ in range(MOST_OPTIONS):
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
    return HeaderOptions(
        mss, scale, permitted, timestamp, echo, whose[order],
        np.concatenate([*left, np.empty(0, ">u4")])[order].astype(np.uint32),
        np.concatenate([*right, np.empty(0, ">u4")])[order].astype(np.uint32),
    )  # fmt: skip


def error_messages(memory: bytearray, body: Array, stop: Array) -> list[int]:
    """Which of these payloads may begin with an error message: see `messages.BEGINS`."""
    there = np.flatnonzero(stop >= body + 8)
    word = fields(memory, ">u8")[body[there]].astype(np.uint64)
    byte = [(word >> np.uint64(8 * (7 - i))).astype(np.uint8) for i in range(7)]
    postgres = ((byte[0] == ord("E")) | (byte[0] == ord("N"))) & (byte[1] == 0) & (byte[2] == 0)
    mysql = (byte[4] == 0xFF) & (byte[2] == 0) & (byte[6] >= 3) & (byte[6] < 32)
    redis = (byte[0] == ord("-")) & (byte[1] >= ord("A")) & (byte[1] <= ord("Z"))
    found = there[postgres & (byte[5] == ord("S")) | mysql | redis]
    return cast(list[int], found.tolist())


class FirstPayload:
    """The first stored payload of each direction: enough to recognise a protocol."""

    def __init__(self) -> None:
        #: The packet in which the first payload came, an index of the table; -1: none.
        self.row = np.empty(0, np.int64)
        #: What is stored of it, and how many bytes that is.
        self.bytes = np.empty(0, f"V{shared.FIRST_BYTES}")
        self.size = np.empty(0, np.uint8)

    def take(
        self, memory: bytearray, flows: int, start: int, columns: dict[str, Array], body: Array, end: Array
    ) -> None:
        """Keep what is the first payload of its direction; the `columns` of segments begin at row `start`.

        `body` and `end` are where the payload begins in memory and where what is stored of the packet ends.
        """
        self._grow(2 * flows)
        direction, length = columns["direction"], columns["length"]
        there = np.flatnonzero((length > 0) & (self.row[direction] < 0))
        directions, first = np.unique(direction[there], return_index=True)
        new = there[first]
        size = np.minimum(length[new], np.clip(end[new] - body[new], 0, shared.FIRST_BYTES))
        self.row[directions], self.size[directions] = start + new, size
        self.bytes[directions] = fields(memory, f"V{shared.FIRST_BYTES}")[np.where(size > 0, body[new], 0)]

    def of(self, direction: int) -> bytes:
        """The first bytes of a direction; empty when none are stored."""
        return bytes(self.bytes[direction].tobytes()[: int(self.size[direction])])

    def _grow(self, directions: int) -> None:
        if directions > len(self.row):
            more = max(directions, 2 * len(self.row)) - len(self.row)
            self.row = np.concatenate([self.row, np.full(more, -1, np.int64)])
            self.bytes = np.concatenate([self.bytes, np.zeros(more, self.bytes.dtype)])
            self.size = np.concatenate([self.size, np.zeros(more, np.uint8)])
