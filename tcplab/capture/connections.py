"""Which connection each packet belongs to, and who is its client: for all packets at once.

A flow is what runs between two ends; it may carry one connection after the other. The rule of
`tcplab.incarnations` tells them apart. Most flows need no looking: all their SYNs are the one that
they begin with, or answer it. Only the others are followed segment by segment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, cast

import numpy as np

from tcplab.capture.chains import Array
from tcplab.incarnations import incarnations
from tcplab.segment import ACK, RST, SYN, Segment


class Lean(NamedTuple):
    """What the rule looks at in a segment; an end is known by its way."""

    source: int
    destination: int
    flags: int
    seq: int
    ack: int


def connection_numbers(
    flows: int, seen: Array | None, way: Array, flags: Array, seq: Array, ack: Array
) -> Array:
    """For each packet, in order of time, the number of its connection, by its first packet.

    `way` is twice the number of the flow, plus one in one of its directions. `seen` is the first
    packet of each flow when the flows are numbered in that order; None when they are not.
    """
    flow = way >> 1
    first = first_of(flow, flows) if seen is None else seen
    opens = (flags & (SYN | RST)) == SYN
    syn = np.flatnonzero(opens)
    begin = first[flow[syn]]
    answers = ((flags[syn] & ACK) != 0) & (ack[syn] - np.uint32(1) == seq[begin])
    same = opens[begin] & np.where(way[syn] == way[begin], seq[syn] == seq[begin], answers)
    odd = np.zeros(flows, bool)
    odd[flow[syn[~same]]] = True
    if not odd.any():
        return flow if seen is not None else _in_order(flow, first)
    there = np.flatnonzero(odd[flow])
    numbers = flow.copy()
    segments = cast(Iterable[Segment], _lean(there, way, flags, seq, ack))
    numbers[there] = flows + np.array(incarnations(segments), np.int32)
    _, numbers = np.unique(numbers, return_inverse=True)
    return _in_order(numbers, first_of(numbers, int(numbers.max()) + 1))


def first_of(numbers: Array, count: int) -> Array:
    """The first place of each number in 0 .. count-1; -1 for one that does not occur."""
    first = np.full(count, -1, np.int64)
    first[numbers[::-1]] = np.arange(len(numbers) - 1, -1, -1)  # the last one to write stays
    return first


def _in_order(numbers: Array, first: Array) -> Array:
    """Numbered again, in order of their first place."""
    renumbered = np.empty(len(first), np.int32)
    renumbered[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return renumbered[numbers]


def _lean(there: Array, way: Array, flags: Array, seq: Array, ack: Array) -> Iterator[Lean]:
    ways = way[there].tolist()
    rest = zip(flags[there].tolist(), seq[there].tolist(), ack[there].tolist(), strict=True)
    return (Lean(each, each ^ 1, *more) for each, more in zip(ways, rest, strict=True))


def window_shifts(connection: Array, side: Array, syn: Array, scale: Array, count: int) -> Array:
    """How far each side's window is shifted after its SYN, a row for each connection; -1 unknown.

    `syn` are the packets with that flag and `scale` what each offers, -1 for nothing. Both SYNs must
    carry the option, or neither side shifts (RFC 7323 section 2.2).
    """
    unseen = -2
    offer = np.full((count, 2), unseen, np.int8)
    offer[connection[syn[::-1]], side[syn[::-1]]] = scale[::-1]
    refused = (offer == -1).any(axis=1)
    unknown = (offer == unseen).any(axis=1)
    offer[unknown] = -1
    offer[refused] = 0
    return offer
