"""One captured packet as a TCP segment, through scapy's layers: for what headers.py does not know.

That is mostly tunnels: a segment inside of another IP packet, of GRE, VXLAN, Geneve, MPLS or PPPoE. An
ICMP error that quotes a TCP header is no segment.
"""

from __future__ import annotations

from typing import Any

from tcplab.capture.container import Frame
from tcplab.capture.scapy_layers import scapy, scapy_with_tunnels
from tcplab.segment import ACK, SYN, Endpoint, Segment

#: A shift beyond this counts as this (RFC 7323 section 2.3).
LARGEST_WINDOW_SCALE = 14


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
        window_scale=min(scale, LARGEST_WINDOW_SCALE) if syn and isinstance(scale, int) else None,
        sack_permitted=syn and "SAckOK" in options,
        sack=tuple(zip(edges[::2], edges[1::2], strict=False)) if isinstance(edges, tuple) else (),
        timestamps=times if isinstance(times, tuple) and len(times) == 2 else None,
    )
