"""Segments as frames through scapy: a trace as a pcap file, and tunnels taken apart.

What is written is what tcpdump would have written on one host: Ethernet, IPv4 or IPv6, TCP, with
correct checksums and nanosecond times. The bytes depend on the trace alone: times count from a fixed
day, MAC addresses from the order of the hosts, and the payload is filler text that repeats byte for
byte when data is sent again.
"""

from __future__ import annotations

import io
import logging
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from os import PathLike, fspath
from types import SimpleNamespace
from typing import Any, NamedTuple

from tcplab.capture import CaptureError
from tcplab.core.connections import number_connections
from tcplab.core.segment import ACK, SYN, Endpoint, Segment
from tcplab.core.text import SECOND
from tcplab.core.trace import Packet, Relative, Trace

#: What the clock of a capture shows at the beginning of the trace: 2026-01-01 00:00:00 UTC.
EPOCH_S = 1_767_225_600
ETHERNET = 1
NO_HOST = "02:00:00:00:00:ff"
#: EtherTypes.
IPV4, IPV6 = 0x0800, 0x86DD
#: A shift beyond this counts as this (RFC 7323 section 2.3).
LARGEST_WINDOW_SCALE = 14
#: Wireshark takes it for no protocol whatever the port, unlike digits or zeros.
FILLER = b"tcplab writes filler text where a database would put its bytes; "


@cache
def scapy() -> Any:
    """The names of scapy that tcplab uses, imported on first use: that takes a third of a second.

    scapy looks for routes, interfaces and a manufacturer database when it is imported, and warns about
    what it misses. None of that matters here, so it is kept quiet.
    """
    for name in ("scapy", "scapy.loading", "scapy.runtime"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    from scapy.config import conf
    from scapy.layers.inet import IP, TCP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import Ether
    from scapy.packet import Raw
    from scapy.utils import RawPcapWriter

    return SimpleNamespace(
        Ether=Ether, IP=IP, IPv6=IPv6, TCP=TCP, Raw=Raw, RawPcapWriter=RawPcapWriter,
        link_layers=conf.l2types.num2layer,
    )  # fmt: skip


def pcap_bytes(trace: Trace, *, at: str | None = None, snaplen: int = 0x40000) -> bytes:
    """The capture of host `at` (default: the trace's first host, the client).

    It holds what that host sent, at the time of sending and whatever became of it, and what reached it, at
    the time of arrival; at most `snaplen` bytes of each. A forged segment was not sent by the host it names.
    Raises `CaptureError` for a host the trace does not have, and for a trace without segments.
    """
    if not trace.packets:
        raise CaptureError(f"{trace.experiment} has no segments to write into a capture.")
    at = next(iter(trace.hosts)) if at is None else at
    if at not in trace.hosts:
        raise CaptureError(f"at = {at!r} is not a host of this trace: {', '.join(trace.hosts)}.")
    try:
        names = scapy()
    except (ImportError, OSError):  # a browser's Python has no network for it to look at
        raise CaptureError("captures can't be written here: scapy, which writes them, is missing.") from None
    macs = {host: f"02:00:00:00:00:{n:02x}" for n, host in enumerate(trace.hosts, 1)}
    sent: Counter[str] = Counter()  # IP identifiers, per host as Linux counts them
    file = io.BytesIO()
    writer = names.RawPcapWriter(file, linktype=ETHERNET, nano=True, endianness="<", snaplen=snaplen)
    writer.write_header(None)
    for t, packet, relative, scale in _seen_at(trace, at):
        second, nanosecond = divmod(t - trace.start, SECOND)
        sent[packet.sender] += 1
        frame = _frame(names, macs, packet, relative, scale, sent[packet.sender])
        packet_times = {"sec": EPOCH_S + second, "usec": nanosecond}
        writer.write_packet(frame[:snaplen], wirelen=len(frame), **packet_times)
    return file.getvalue()


def write_pcap(trace: Trace, path: str | PathLike[str], *, at: str | None = None) -> None:
    """Write `pcap_bytes` into a file; `CaptureError` when it can't be written."""
    content = pcap_bytes(trace, at=at)
    try:
        with open(path, "wb") as file:
            file.write(content)
    except OSError as error:
        raise CaptureError(f"{fspath(path)} can't be written: {error.strerror}.") from None


def is_ours(path: str | PathLike[str]) -> bool:
    """Whether tcplab wrote this file: its first frame has addresses that no other program gives."""
    try:
        with open(path, "rb") as file:
            head = file.read(24 + 16 + 12)  # the file's header, a packet's, and two Ethernet addresses
    except OSError:
        return False
    ours = bytes.fromhex(NO_HOST.replace(":", ""))[:5]
    return head[40:45] == ours and head[46:51] == ours


def _seen_at(trace: Trace, at: str) -> list[tuple[int, Packet, Relative, int]]:
    """What a capture on `at` shows, in its order: time, packet, relative numbers, window scale."""
    seen = []
    for packet, relative, scale in zip(trace.packets, trace.relative(), window_scales(trace), strict=True):
        if packet.sender == at and packet.kind != "forged":
            seen.append((packet.t, packet, relative, scale))
        elif packet.receiver == at and packet.arrives is not None:
            seen.append((packet.arrives, packet, relative, scale))
    # Stable: what arrives comes before what is sent in answer at the same moment.
    return sorted(seen, key=lambda each: each[0])


def window_scales(trace: Trace) -> list[int]:
    """For each packet, how far its window field is shifted (RFC 7323 section 2.2).

    Both SYNs must have carried the option; in the SYNs themselves the window is not shifted.
    """
    segments = [packet.segment for packet in trace.packets]
    connections = number_connections(segments)
    offered: dict[tuple[int, Endpoint], int] = {}
    for segment, connection in zip(segments, connections, strict=True):
        if segment.flags & SYN and segment.window_scale is not None:
            offered[connection, segment.source] = segment.window_scale
    return [
        0
        if segment.flags & SYN or (connection, segment.destination) not in offered
        else offered.get((connection, segment.source), 0)
        for segment, connection in zip(segments, connections, strict=True)
    ]


def _frame(
    names: Any, macs: dict[str, str], packet: Packet, relative: Relative, scale: int, number: int
) -> bytes:
    """One Ethernet frame."""
    segment = packet.segment
    source, destination = segment.source, segment.destination
    # Locally administered addresses (the 2 in front), which belong to no hardware.
    mac = {"src": macs.get(packet.sender, NO_HOST), "dst": macs.get(packet.receiver, NO_HOST)}
    ends = {"src": source.address, "dst": destination.address}
    is_v6 = ":" in source.address
    network = names.IPv6(**ends) if is_v6 else names.IP(**ends, id=number & 0xFFFF, flags="DF")
    tcp = names.TCP(
        sport=source.port, dport=destination.port, seq=segment.seq,
        ack=segment.ack if segment.flags & ACK else 0, flags=segment.flags,
        window=window_field(segment, scale), options=list(_options(segment)),
    )  # fmt: skip
    return bytes(names.Ether(**mac) / network / tcp / filler(relative.seq, segment.length))


def window_field(segment: Segment, scale: int) -> int:
    """The 16 bits in the header. A small open window must not look closed."""
    return min(segment.window >> scale or bool(segment.window), 0xFFFF)


NOPS = ("NOP", None), ("NOP", None)


def _options(segment: Segment) -> Iterator[tuple[str, Any]]:
    """TCP options in Linux's order, each group filled up to four bytes."""
    timestamps = segment.timestamps
    if segment.flags & SYN:
        if segment.mss is not None:
            yield "MSS", segment.mss
        middle = [("SAckOK", b"")] * segment.sack_permitted + [("Timestamp", timestamps)] * bool(timestamps)
        yield from [*NOPS, *middle] if len(middle) == 1 else middle
        if segment.window_scale is not None:
            yield from (("NOP", None), ("WScale", segment.window_scale))
        return
    if timestamps is not None:
        yield from (*NOPS, ("Timestamp", timestamps))
    if segment.sack:
        # As many blocks as the header has room for (RFC 2018 section 3).
        blocks = segment.sack[: 3 if timestamps is not None else 4]
        edges = tuple(edge for block in blocks for edge in block)
        yield from (*NOPS, ("SAck", edges))


def filler(position: int, length: int) -> bytes:
    """`length` bytes of text that depend on the position in the stream alone."""
    start = (position - 1) % len(FILLER)
    return (FILLER * ((start + length) // len(FILLER) + 1))[start : start + length]


@cache
def can_dissect() -> bool:
    """Prepare scapy for VXLAN, Geneve, MPLS and PPPoE; False where it can't be imported.

    A browser's Python has no IPv6 sockets, which scapy requires.
    """
    try:
        scapy()
        for name in (
            "scapy.layers.vxlan",
            "scapy.contrib.geneve",
            "scapy.contrib.erspan",
            "scapy.contrib.mpls",
            "scapy.layers.ppp",
        ):
            import_module(name)
    except (ImportError, OSError):
        return False
    return True


def knows_link(link: int) -> bool:
    """True for a LINKTYPE_ value that scapy can take apart here."""
    return can_dissect() and link in scapy().link_layers


class Inner(NamedTuple):
    """EtherType and place of the innermost IP header in a frame; type 0 when there is none."""

    kind: int = 0
    at: int = 0
    #: True when bytes remain that scapy can't dissect.
    opaque: bool = True


def inner_network(link: int, data: bytes) -> Inner:
    """The innermost IP header that scapy finds in a frame: for tunnels that the readers don't decode."""
    if not can_dissect():
        return Inner()
    names, network, opaque = scapy(), None, False
    try:
        layer = names.link_layers[link](data)
        while layer and type(layer) is not names.TCP:
            network = layer if type(layer) in (names.IP, names.IPv6) else network
            opaque = type(layer) is names.Raw
            layer = layer.payload
        at = data.find(network.original) if network else -1
    except Exception:  # scapy raises anything for a packet of garbage: it is no segment
        return Inner()
    return Inner(IPV4 if type(network) is names.IP else IPV6, at, opaque) if at >= 0 else Inner(opaque=opaque)
