"""Captures of every kind for tests: link types, IP and TCP variants, containers; made from bytes."""

import struct
from collections.abc import Callable
from dataclasses import dataclass

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
CLIENT4, SERVER4 = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
CLIENT6, SERVER6 = bytes.fromhex("fd00" + "00" * 13 + "01"), bytes.fromhex("fd00" + "00" * 13 + "02")
MAC = bytes.fromhex("020000000002020000000001")
SYN_OPTIONS = bytes.fromhex("020405b40402080a00000001000000000103") + b"\x03\x07"
TIMES = bytes.fromhex("0101080a00000bb800000bb7")
SACKED = bytes.fromhex("0101080a00000bb800000bb7") + bytes.fromhex("0101050a0000100000002000")


def tcp(sport, dport, flags, seq, ack, payload=b"", options=b"", window=502, offset=None):
    options += b"\0" * (-len(options) % 4)
    offset = 5 + len(options) // 4 if offset is None else offset
    head = struct.pack(">HHIIBBHHH", sport, dport, seq, ack, offset << 4, flags, window, 0, 0)
    return head + options + payload


def ipv4(src, dst, payload, proto=6, options=b"", total=None, ident=7, frag=0x4000):
    size = 20 + len(options)
    total = size + len(payload) if total is None else total
    head = struct.pack(
        ">BBHHHBBH4s4s", 0x40 | size // 4, 0, total, ident, frag, 64, proto, 0, src, dst
    )  # fmt: skip
    return head + options + payload


def ipv6(src, dst, payload, following=6, size=None):
    size = len(payload) if size is None else size
    return struct.pack(">IHBB16s16s", 6 << 28, size, following, 64, src, dst) + payload


def extended(payload, following=6):
    """Hop-by-hop options and a destination header in front of TCP."""
    return bytes([60, 0, 1, 4, 0, 0, 0, 0]) + bytes([following, 1, 1, 12]) + bytes(12) + payload


def ethernet(kind, packet, tags=()):
    front = b"".join(struct.pack(">HH", tag, number) for tag, number in tags)
    return MAC + front + struct.pack(">H", kind) + packet


@dataclass(frozen=True)
class Wrapping:
    """How a network packet becomes a frame of some link type: `wrap(is it IPv6, packet)`."""

    link: int
    wrap: Callable[[bool, bytes], bytes]


def _type(six):
    return 0x86DD if six else 0x0800


WRAPPINGS = {
    "ethernet": Wrapping(1, lambda six, packet: ethernet(_type(six), packet)),
    "vlan": Wrapping(1, lambda six, packet: ethernet(_type(six), packet, [(0x8100, 7)])),
    "qinq": Wrapping(1, lambda six, packet: ethernet(_type(six), packet, [(0x88A8, 7), (0x8100, 9)])),
    "cooked": Wrapping(113, lambda six, packet: struct.pack(">HHHQH", 0, 1, 6, 0, _type(six)) + packet),
    "cooked-vlan": Wrapping(
        113, lambda six, packet: struct.pack(">HHHQHHH", 0, 1, 6, 0, 0x8100, 5, _type(six)) + packet
    ),
    "cooked-2": Wrapping(
        276, lambda six, packet: struct.pack(">HHIHBBQ", _type(six), 0, 2, 1, 0, 6, 0) + packet
    ),
    "null": Wrapping(0, lambda six, packet: struct.pack("<I", 30 if six else 2) + packet),
    "null-swapped": Wrapping(0, lambda six, packet: struct.pack(">I", 30 if six else 2) + packet),
    "loop": Wrapping(108, lambda six, packet: struct.pack(">I", 24 if six else 2) + packet),
    "raw": Wrapping(101, lambda six, packet: packet),
}


def conversation(port=40000, six=False):
    """Network packets of one connection with all that a header can have, each (is it IPv6, bytes)."""
    client, server = (CLIENT6, SERVER6) if six else (CLIENT4, SERVER4)
    there = [
        tcp(port, 5432, SYN, 1000, 0, options=SYN_OPTIONS),
        tcp(port, 5432, ACK, 1001, 5001, options=TIMES),
        tcp(port, 5432, ACK | PSH, 1001, 5001, b"select 1", options=TIMES),
        tcp(port, 5432, ACK, 1009, 5001, options=SACKED),
        tcp(port, 5432, ACK | FIN, 1009, 5301),
    ]
    back = [
        tcp(5432, port, SYN | ACK, 5000, 1001, options=SYN_OPTIONS),
        tcp(5432, port, ACK | PSH, 5001, 1009, b"r" * 300, options=TIMES),
        tcp(5432, port, ACK | FIN, 5301, 1010, options=b"\x01\x01\x01\x01"),
        tcp(5432, port, RST | ACK, 5302, 1010, window=0),
    ]
    pairs = [(client, server, each) for each in there] + [(server, client, each) for each in back]
    order = [0, 5, 1, 2, 6, 3, 4, 7, 8]
    if six:
        packets = [ipv6(*pairs[i]) for i in order]
        packets += [ipv6(client, server, extended(there[2]), following=0)]
    else:
        packets = [ipv4(*pairs[i]) for i in order]
        packets += [ipv4(client, server, there[2], options=b"\x94\x04\0\0")]
    return [(six, packet) for packet in packets]


def others(port=40000):
    """What is no TCP: UDP, ICMP that quotes a TCP header, an unknown protocol."""
    quoted = ipv4(CLIENT4, SERVER4, tcp(port, 5432, ACK | PSH, 1001, 5001, b"select 1"))
    return [
        (False, ipv4(CLIENT4, SERVER4, struct.pack(">HHHH", 53, 53, 12, 0) + b"dns!", proto=17)),
        (False, ipv4(SERVER4, CLIENT4, bytes([3, 13, 0, 0, 0, 0, 0, 0]) + quoted, proto=1)),
        (True, ipv6(CLIENT6, SERVER6, b"ospf" * 5, following=89)),
    ]


def every_packet():
    return [*conversation(), *others(), *conversation(40001, six=True), *conversation(40002)]


def pcap(frames, link=1, order="<", nano=False, start=1_767_225_600, snaplen=262144, step=1_000_000):
    """A pcap file; frames are bytes, `step` nanoseconds apart."""
    out = [struct.pack(order + "IHHiIII", 0xA1B23C4D if nano else 0xA1B2C3D4, 2, 4, 0, 0, snaplen, link)]
    for number, frame in enumerate(frames):
        second, rest = divmod(number * step, 10**9)
        stored = frame[:snaplen]
        fraction = rest if nano else rest // 1000
        out.append(struct.pack(order + "IIII", start + second, fraction, len(stored), len(frame)) + stored)
    return b"".join(out)


def block(kind, body, order="<"):
    body += b"\0" * (-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def section(order="<"):
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link=1, order="<", resolution=None, offset=None, snaplen=0):
    body = struct.pack(order + "HHI", link, 0, snaplen)
    if resolution is not None:
        body += struct.pack(order + "HHB3x", 9, 1, resolution)
    if offset is not None:
        body += struct.pack(order + "HHq", 14, 8, offset)
    return block(1, body + struct.pack(order + "HH", 0, 0), order)


def enhanced(frame, ticks, order="<", number=0, stored=None):
    stored = len(frame) if stored is None else stored
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, stored, len(frame))
    return block(6, head + frame[:stored], order)


def simple(frame, order="<"):
    return block(3, struct.pack(order + "I", len(frame)) + frame, order)


def old(frame, ticks, order="<", number=0):
    head = struct.pack(
        order + "HHIIII", number, 0xFFFF, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame)
    )
    return block(2, head + frame, order)


def pcapng(frames, link=1, order="<", start=1_767_225_600):
    """A pcapng file of one section and one interface, microseconds, a millisecond apart."""
    ticks = [start * 10**6 + number * 1000 for number in range(len(frames))]
    packets = [enhanced(frame, at, order) for frame, at in zip(frames, ticks, strict=True)]
    return b"".join([section(order), interface(link, order), *packets])
