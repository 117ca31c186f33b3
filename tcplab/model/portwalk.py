"""The order in which connect() and bind(0) try the ports of ip_local_port_range.

Sources: net/ipv4/inet_hashtables.c:__inet_hash_connect, net/ipv4/inet_connection_sock.c:
inet_csk_find_open_port; RFC 6056 section 3.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator


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
    if size % 2:
        start = 0
    elif start < 0:
        start = below(half)
    for each in (parity, 1 - parity):
        for i in range(half):
            yield first + 2 * ((start + i) % half) + each
