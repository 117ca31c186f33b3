"""Where the records of a capture begin.

Each record says how long it is, so that one leads to the next: a chain, which Python follows at a
few million records a second at best. The way out is to guess a record's beginning in each of many
stretches of the file, and to follow all these chains together, one NumPy step for all of them. A
guess counts only when the chain before it lands on it exactly; a stretch where it does not is
followed plainly. So the guesses decide how fast it is, never what comes out.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from struct import Struct
from typing import Any

import numpy as np

#: A stretch for one guess, in bytes; and how many steps all chains take before it is looked who is done.
STRETCH = 64 << 10
STEPS = 32
#: Below this many bytes guessing is not worth it.
WORTH_IT = 256 << 10
#: Candidates that are tried in a stretch before it is left to the chain before it.
TRIES = 8
#: No record is larger: Wireshark's limits (wiretap, WTAP_MAX_PACKET_SIZE_STANDARD and MAX_BLOCK_SIZE).
LARGEST_PACKET = 262_144
LARGEST_BLOCK = 16 << 20

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Layout:
    """How the records of a file are chained."""

    #: ``<`` or ``>``.
    order: str
    #: Where the length stands in a record, and what it does not count.
    length_at: int
    extra: int
    #: Bytes that every record has at least.
    least: int
    #: Largest credible value of the length.
    largest: int
    #: Where in a record the bytes stand that nearly all records share, and how many there are.
    mark_at: int
    mark_size: int
    #: A record that begins with this ends the chain: the ones after it may be laid out otherwise.
    stop: bytes = b""
    #: True when a record's length stands once more in its last four bytes.
    twice: bool = False


def pcap_layout(order: str, header: int) -> Layout:
    """Records of a pcap file: seconds, fraction, stored bytes, bytes on the wire, data.

    The upper half of the seconds stays the same for 18 hours.
    """
    return Layout(order, 8, header, header, LARGEST_PACKET, 2 if order == "<" else 0, 2)


def pcapng_layout(order: str, stop: bytes) -> Layout:
    """Blocks of a pcapng file: type, length, …, length. Nearly all are of one type."""
    return Layout(order, 4, 0, 12, LARGEST_BLOCK, 0, 4, stop, twice=True)


def fields(memory: bytearray, dtype: str | np.dtype[Any]) -> Array:
    """The memory as if a value of this type began at each of its bytes."""
    kind = np.dtype(dtype)
    return np.ndarray((len(memory) - kind.itemsize + 1,), kind, memory, strides=(1,))


def record_starts(memory: bytearray, low: int, high: int, layout: Layout) -> tuple[Array, int]:
    """Beginnings of the records from `low` on that have their `least` bytes before `high`.

    Also where the next one begins, which may be anywhere behind. The lengths are not judged here;
    but the chain always goes forward.
    """
    if high - low >= WORTH_IT:
        starts = _guess(memory, low, high, layout)
        if len(starts) > 1:
            return _follow(memory, starts, high, layout)
    return _walk(memory, low, high, layout)


def _walk(
    memory: bytearray, at: int, high: int, layout: Layout, until: Container[int] = ()
) -> tuple[Array, int]:
    """One record after the other, up to one of those in `until`."""
    unpack = Struct(layout.order + "I").unpack_from
    length_at, extra, stop = layout.length_at, layout.extra, layout.stop
    least, last = layout.least - extra, high - layout.least
    found: list[int] = []
    while at <= last and at not in until:
        if stop and found and memory[at : at + 4] == stop:
            break
        found.append(at)
        at += extra + max(unpack(memory, at + length_at)[0], least)
    return np.array(found, np.int64), at


def _guess(memory: bytearray, low: int, high: int, layout: Layout) -> Array:
    """`low` and a credible record in each stretch behind it, in order."""
    mark = memory[low + layout.mark_at : low + layout.mark_at + layout.mark_size]
    find = memory.find
    edges = range(low + STRETCH, high - STRETCH, STRETCH)
    tried = np.array([find(mark, edge, edge + STRETCH) for edge in edges], np.int64)
    ends = np.array(edges, np.int64) + STRETCH
    good = [np.array([low], np.int64)]
    for _ in range(TRIES):
        there = tried >= 0
        tried, ends = tried[there], ends[there]
        if not len(tried):
            break
        credible = _credible(memory, tried - layout.mark_at, high, layout)
        good.append(tried[credible] - layout.mark_at)
        again = zip(tried[~credible].tolist(), ends[~credible].tolist(), strict=True)
        tried, ends = np.array([find(mark, at + 1, end) for at, end in again], np.int64), ends[~credible]
    return np.sort(np.concatenate(good))


def _credible(memory: bytearray, at: Array, high: int, layout: Layout) -> Array:
    """Where a record may begin: its length is credible, and so is what follows it."""
    lengths, marks = fields(memory, layout.order + "u4"), fields(memory, "u2")
    mark_at, last = layout.mark_at, high - layout.least
    good = at <= last
    at = np.minimum(at, last)
    for _ in range(2):
        length = lengths[at + layout.length_at].astype(np.int64)
        after = at + layout.extra + length
        good &= (length >= max(1, layout.least - layout.extra)) & (length <= layout.largest) & (after <= last)
        after = np.minimum(after, last)
        good &= marks[after + mark_at] == marks[at + mark_at]
        good &= lengths[after - 4] == length if layout.twice else lengths[at + 12] >= length
        at = after
    return good


def _follow(memory: bytearray, starts: Array, high: int, layout: Layout) -> tuple[Array, int]:
    """All chains from `starts` together, each up to the next one's start, then joined."""
    # The memory from the length of a record at its first byte on: one addition less in each step.
    lengths = fields(memory, layout.order + "u4")[layout.length_at :]
    least, last = layout.least - layout.extra, high - layout.least
    ends = np.append(starts[1:], last + 1)
    landed = np.zeros_like(starts)
    at, mine = starts, np.arange(len(starts))
    steps = []
    while len(at):
        rows = np.empty((STEPS + 1, len(at)), np.int64)
        rows[0] = at
        for row in rows[1:]:
            # Who is past the end goes on from there to nowhere; only its landing counts.
            at = np.minimum(at, last, out=row)
            length = lengths[at]
            row += np.maximum(length, least) if least else length
            row += layout.extra
        block = np.full((len(starts), STEPS), high)
        block[mine] = rows[:-1].T
        steps.append(block)
        past = rows >= ends[mine]
        more = ~past[-1]
        done = np.flatnonzero(past[-1])
        landed[mine[done]] = rows[past[:, done].argmax(axis=0), done]
        at, mine = rows[-1][more], mine[more]
    places = np.concatenate(steps, axis=1)
    inside = places < ends[:, None]
    chained = places[inside]
    if bool((landed[:-1] == starts[1:]).all()):
        return chained, int(landed[-1])
    chains = np.split(chained, np.cumsum(inside.sum(axis=1))[:-1])
    return _join(memory, dict(zip(starts.tolist(), chains, strict=True)), landed.tolist(), high, layout)


def _join(
    memory: bytearray, chains: dict[int, Array], landed: list[int], high: int, layout: Layout
) -> tuple[Array, int]:
    """Keep the chains that the first one leads to; walk plainly where a guess was wrong."""
    after = dict(zip(chains, landed, strict=True))
    kept, at = [], next(iter(chains))
    while at + layout.least <= high:
        if at in chains:
            kept.append(chains[at])
            at = after[at]
        else:
            plain, at = _walk(memory, at, high, layout, chains)
            kept.append(plain)
            if at not in chains:
                break
    return np.concatenate(kept), at
