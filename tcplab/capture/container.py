"""The packets of a capture file one by one, as bytes with time and link type.

For whoever wants the bytes of a small file; records.py is the way to read a large one.
"""

from __future__ import annotations

from os import PathLike
from typing import NamedTuple

from tcplab.capture.records import Records


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
    """Every packet that the file holds whole, in its order.

    Raises `CaptureError` when the file can't be opened or is no capture.
    """
    records = Records(path)
    frames = []
    for batch in records:
        places = zip(batch.data.tolist(), batch.stored.tolist(), strict=True)
        stored = (bytes(batch.memory[at : at + size]) for at, size in places)
        rest = zip(batch.frame.tolist(), batch.t.tolist(), stored, batch.wire.tolist(), strict=True)
        frames += [Frame(*each, batch.link) for each in rest]
    return Frames(sorted(frames, key=lambda frame: frame.number), records.trouble)
