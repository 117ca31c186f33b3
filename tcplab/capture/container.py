"""The packets of a pcap or pcapng file, as bytes with time and link type.

scapy takes the records apart; but it stops without a word where a file is cut short, so the
records are counted here first. Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from tcplab.capture import CaptureError
from tcplab.capture.scapy_layers import scapy
from tcplab.trace import SECOND

PCAP_ORDER = {
    b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">",  # microseconds
    b"\x4d\x3c\xb2\xa1": "<", b"\xa1\xb2\x3c\x4d": ">",  # nanoseconds
}  # fmt: skip
PCAPNG_SECTION = b"\x0a\x0d\x0d\x0a"
PCAPNG_ORDER = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
GZIP = b"\x1f\x8b"


class Frame(NamedTuple):
    """One packet of the file."""

    #: Its number in the file, from 1, as Wireshark counts.
    number: int
    #: When it was captured, nanoseconds since 1970.
    t: int
    #: What was stored of it, and how long it was on the wire, in bytes.
    data: bytes
    length: int
    #: LINKTYPE_ value: 1 is Ethernet.
    link: int


class Frames(NamedTuple):
    """All packets of a file, and a sentence when its end is missing."""

    frames: list[Frame]
    cut_short: str = ""


def read_frames(path: str | PathLike[str]) -> Frames:
    """Every packet that the file holds whole.

    Raises `CaptureError` when the file can't be opened or is no capture.
    """
    name = Path(path).name
    content = _content(Path(path), name)
    magic = content[:4]
    if magic in PCAP_ORDER:
        whole, packets = _walk_pcap(content, PCAP_ORDER[magic])
    elif magic == PCAPNG_SECTION:
        whole, packets = _walk_pcapng(content)
    else:
        raise CaptureError(
            f"{name} is not a capture file: neither pcap nor pcapng, as tcpdump -w and Wireshark write them."
        )
    frames = list(_frames(content[:whole], name))
    says = "" if whole == len(content) else f"{name} is cut short after packet {packets}."
    if len(frames) < packets:
        says = f"{name} is damaged: of its {packets} packets only the first {len(frames)} can be read."
    return Frames(frames, says)


def _content(path: Path, name: str) -> bytes:
    try:
        content = path.read_bytes()
        if content[:2] == GZIP:
            content = gzip.decompress(content)
    except FileNotFoundError:
        raise CaptureError(f"{path} does not exist.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise CaptureError(f"{name} can't be uncompressed: it is damaged or cut short.") from None
    except OSError as error:
        raise CaptureError(f"{path} can't be read: {error.strerror}.") from None
    if not content:
        raise CaptureError(f"{name} is empty: not a capture file.")
    return content


def _walk_pcap(content: bytes, order: str) -> tuple[int, int]:
    """Bytes up to the end of the last whole packet, and how many packets those are."""
    at, packets = 24, 0
    if len(content) < at:
        return 0, 0
    while at + 16 <= len(content):
        (stored,) = struct.unpack_from(order + "I", content, at + 8)
        if at + 16 + stored > len(content):
            break
        at += 16 + stored
        packets += 1
    return at, packets


def _walk_pcapng(content: bytes) -> tuple[int, int]:
    at, packets, order = 0, 0, "<"
    while at + 12 <= len(content):
        if content[at : at + 4] == PCAPNG_SECTION:
            order = PCAPNG_ORDER.get(content[at + 8 : at + 12], order)
        kind, length = struct.unpack_from(order + "II", content, at)
        if length < 12 or length % 4 or at + length > len(content):
            break
        packets += kind in (2, 3, 6)  # packet block (old), simple packet block, enhanced packet block
        at += length
    return at, packets


def _frames(content: bytes, name: str) -> Iterator[Frame]:
    if not content:
        return
    names = scapy()
    try:
        with names.RawPcapReader(io.BytesIO(content)) as reader:
            tick = SECOND // (10**9 if getattr(reader, "nano", False) else 10**6)
            for number, (data, about) in enumerate(reader, 1):
                if hasattr(about, "tsresol"):  # pcapng: each interface has its own clock and link type
                    t = ((about.tshigh or 0) << 32 | (about.tslow or 0)) * SECOND // (about.tsresol or 10**6)
                    link = about.linktype
                else:
                    t, link = about.sec * SECOND + about.usec * tick, reader.linktype
                # The upper bits of a pcap's link type tell about frame check sequences.
                yield Frame(number, t, data, about.wirelen, link & 0xFFFF)
    except (names.Scapy_Exception, struct.error, ValueError) as error:
        raise CaptureError(f"{name} is not a capture file that can be read: {error}.") from None
