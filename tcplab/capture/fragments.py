"""Segments that IP cut into fragments (RFC 791 section 3.2, RFC 8200 section 4.5).

Only the first fragment carries the TCP header: it stands for the segment, and the others are no
packets of their own. How long the segment is, the last fragment tells; it may come later, earlier
or never.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: What the fragments of a packet have in common: version, both addresses, identification.
Key = tuple[int, ...]
#: Segments whose other half is waited for at the same time; beyond it the oldest is given up.
MOST_WAITING = 65_536


@dataclass
class Fragments:
    """Fragments of TCP segments seen so far."""

    #: Length of the TCP header by frame, for first fragments whose last one is still missing.
    _first: dict[Key, tuple[int, int]] = field(default_factory=dict)
    #: Length of the IP payload, for last fragments whose first one is still missing.
    _last: dict[Key, int] = field(default_factory=dict)
    #: Payload of segments by the frame of their first fragment.
    lengths: dict[int, int] = field(default_factory=dict)
    #: First fragments with a TCP header, and fragments of any kind.
    begun: int = 0
    count: int = 0

    def first(self, key: Key, frame: int, header: int) -> None:
        """A fragment at offset 0 with a TCP header of this length."""
        self.count += 1
        self.begun += 1
        if (total := self._last.pop(key, None)) is not None:
            self._settle(frame, total - header)
        else:
            self._first[key] = frame, header
            _limit(self._first)

    def later(self, key: Key, end: int, more: bool) -> None:
        """Another fragment, which ends so many bytes after the beginning of the IP payload."""
        self.count += 1
        if more:
            return
        if (waiting := self._first.pop(key, None)) is not None:
            self._settle(waiting[0], end - waiting[1])
        else:
            self._last[key] = end
            _limit(self._last)

    def _settle(self, frame: int, length: int) -> None:
        if length >= 0:
            self.lengths[frame] = length

    def warning(self, name: str) -> str:
        """What a reader must know; empty when every segment's length is known."""
        if not (missing := self.begun - len(self.lengths)):
            return ""
        what = "segment was" if missing == 1 else "segments were"
        return (
            f"{missing:,} {what} cut into IP fragments whose last one is not in {name}: only the length of "
            "the first fragment is known."
        )


def _limit(waiting: dict[Any, Any]) -> None:
    if len(waiting) > MOST_WAITING:
        del waiting[next(iter(waiting))]
