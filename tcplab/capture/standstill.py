"""How long a receiver had no room: its window was closed, and its peer had to wait."""

from __future__ import annotations

from collections.abc import Sequence

from tcplab.segment import ACK, RST, SYN
from tcplab.trace import Passage


def standstill(passages: Sequence[Passage], side: str, end: int) -> tuple[int, list[int]]:
    """How long the window of `side` was closed, nanoseconds up to `end`, and which passages said so.

    A RST ends it. Its own window counts for nothing, as in `tcplab.kinds`, nor does that of a SYN.
    """
    since: int | None = None
    total = 0
    shut: list[int] = []
    for i, p in enumerate(passages):
        if p.segment.flags & RST:
            if since is not None:
                total, since = total + p.t - since, None
        elif p.sender == side and not p.segment.flags & SYN and p.segment.flags & ACK:
            if p.segment.window == 0:
                shut.append(i)
                since = p.t if since is None else since
            elif since is not None:
                total, since = total + p.t - since, None
    return total + (end - since if since is not None else 0), shut
