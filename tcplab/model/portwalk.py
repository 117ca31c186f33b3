"""The order in which connect() and bind(0) try the ports of ip_local_port_range.

Sources: net/ipv4/inet_hashtables.c:__inet_hash_connect, net/ipv4/inet_connection_sock.c:
inet_csk_find_open_port; RFC 6056 section 3.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache


def one_by_one(first: int, size: int, below: Callable[[int], int]) -> Iterator[int]:
    """Every port, from a place of chance on, up to Linux 4.5. `below(n)` is chance, 0 … n-1."""
    start = below(size)
    return (first + (start + i) % size for i in range(size))


def by_parity(
    first: int, size: int, parity: int, below: Callable[[int], int], start: int = -1
) -> Iterator[int]:
    """Every other port, then those between, since Linux 4.6; from pair `start` on, or a place of chance.

    In an odd range a walk leaves out the last port, or the first if it begins further on, as chance has
    it. Here it is always the last, so that what comes of a run is no matter of chance.
    """
    half = size // 2
    if not half:
        yield first
        return
    start = _start(size, below, start)
    for each in (parity, 1 - parity):
        for i in range(half):
            yield first + 2 * ((start + i) % half) + each


def first_one_by_one(first: int, size: int, below: Callable[[int], int], taken: int) -> int:
    """The first port of `one_by_one` whose bit in `taken` is not set; 0 when all are."""
    start = below(size)
    free = ~(taken >> first) & ((1 << size) - 1)
    return first + _first_from(free, start) if free else 0


def first_by_parity(first: int, size: int, below: Callable[[int], int], start: int, taken: int) -> int:
    """The first port of `by_parity` with parity 0 whose bit in `taken` is not set; 0 when all are."""
    half = size // 2
    if not half:
        return 0 if taken >> first & 1 else first
    start = _start(size, below, start)
    free = ~(taken >> first)
    for each in (0, 1):
        if some := free & _every_other(half) << each:
            return first + _first_from(some, 2 * start + each)
    return 0


def _start(size: int, below: Callable[[int], int], start: int) -> int:
    if size % 2:
        return 0
    return below(size // 2) if start < 0 else start


@lru_cache(maxsize=64)
def _every_other(half: int) -> int:
    """Bits 0, 2, 4 …, so many of them."""
    return ((1 << 2 * half) - 1) // 3


def _first_from(bits: int, start: int) -> int:
    """The lowest bit that is set from `start` on, or else the lowest at all."""
    above = bits >> start
    some, offset = (above, start) if above else (bits, 0)
    return offset + (some & -some).bit_length() - 1
