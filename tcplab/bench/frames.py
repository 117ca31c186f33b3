"""Ethernet frames and the TCP segments in them: IPv4 only, which is all that the sandbox speaks.

Sources: RFC 791 section 3.1, RFC 9293 section 3.1 and 3.2 (header, options), RFC 1071 (checksum).
"""

from __future__ import annotations

import socket
import struct

from tcplab.segment import ACK, SYN, Endpoint, Segment

_IPV4 = b"\x08\x00"
_ETHERNET = 14
_TCP = 6
#: Options of a segment (RFC 9293 section 3.2, RFC 7323, RFC 2018).
_END, _NOTHING, _MSS, _SCALE, _SACK_PERMITTED, _SACK, _TIMESTAMPS = 0, 1, 2, 3, 4, 5, 8


def destination(frame: bytes) -> str | None:
    """The IPv4 address a frame is for, or None when it carries something else."""
    if len(frame) < _ETHERNET + 20 or frame[12:14] != _IPV4:
        return None
    return socket.inet_ntoa(frame[30:34])


class Dissector:
    """Takes frames apart; remembers the window scales of the connections it has seen begin."""

    def __init__(self) -> None:
        self._scales: dict[tuple[Endpoint, Endpoint], int | None] = {}

    def segment(self, frame: bytes) -> Segment | None:
        """The TCP segment in an IPv4 frame, its window scaled; None when there is none."""
        if frame[23] != _TCP:
            return None
        at = _ETHERNET + (frame[14] & 0x0F) * 4
        total = int.from_bytes(frame[16:18], "big")
        source_port, destination_port, seq, ack, offset, flags, window = struct.unpack_from(
            "!HHIIBBH", frame, at
        )
        header = (offset >> 4) * 4
        source = Endpoint(socket.inet_ntoa(frame[26:30]), source_port)
        target = Endpoint(socket.inet_ntoa(frame[30:34]), destination_port)
        mss: int | None = None
        scale: int | None = None
        sack_permitted = False
        sack: tuple[tuple[int, int], ...] = ()
        timestamps: tuple[int, int] | None = None
        option, end = at + 20, at + header
        while option < end:
            kind = frame[option]
            if kind == _NOTHING:
                option += 1
                continue
            if kind == _END or option + 1 >= end or frame[option + 1] < 2:
                break
            length = frame[option + 1]
            value = frame[option + 2 : option + length]
            if kind == _MSS:
                mss = int.from_bytes(value, "big")
            elif kind == _SCALE:
                scale = value[0]
            elif kind == _SACK_PERMITTED:
                sack_permitted = True
            elif kind == _SACK:
                sack = tuple(struct.iter_unpack("!II", value))
            elif kind == _TIMESTAMPS:
                timestamps = struct.unpack("!II", value)
            option += length
        flags &= 0x3F
        if flags & SYN:
            self._scales[source, target] = scale
        else:
            window <<= self._shift(source, target)
        return Segment(
            source, target, seq, ack if flags & ACK else 0, flags, window,
            total - (at - _ETHERNET) - header, mss, scale, sack_permitted, sack, timestamps,
        )  # fmt: skip

    def _shift(self, source: Endpoint, target: Endpoint) -> int:
        """Only where both sides' SYNs offered it are windows scaled (RFC 7323 section 2.2)."""
        ours, theirs = self._scales.get((source, target)), self._scales.get((target, source))
        return 0 if ours is None or theirs is None else ours


def _checksum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def frame_of(segment: Segment) -> bytes:
    """A segment without options as a frame with true checksums, for nobody's card yet; payload is zeros."""
    source, target = socket.inet_aton(segment.source.address), socket.inet_aton(segment.destination.address)
    numbers = (segment.source.port, segment.destination.port, segment.seq, segment.ack)
    header = struct.pack("!HHIIBBHHH", *numbers, 5 << 4, segment.flags, segment.window, 0, 0)
    tcp = header + bytes(segment.length)
    pseudo = source + target + struct.pack("!BBH", 0, _TCP, len(tcp))
    tcp = tcp[:16] + _checksum(pseudo + tcp).to_bytes(2, "big") + tcp[18:]
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, _TCP, 0, source, target)
    ip = ip[:10] + _checksum(ip).to_bytes(2, "big") + ip[12:]
    return bytes(12) + _IPV4 + ip + tcp
