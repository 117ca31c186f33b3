"""Moments in words, as a time axis names them."""

from __future__ import annotations

from tcplab.trace import SECOND, duration


def tick_texts(moments: list[int]) -> list[str]:
    """What the axis says at these moments, given in nanoseconds since the first segment.

    A moment that its full name would not tell from the one above is written as the distance from
    the last one that has a full name: ``2 h``, then ``+ 0.002 s``; ``0.002 s``, then ``+ 11 µs``.
    """
    texts = []
    named: tuple[int, str] | None = None
    for moment in moments:
        name = duration(moment)
        if named is not None:
            since, above = named
            if name == above or (moment >= 10 * SECOND and moment - since < SECOND):
                texts.append(f"+ {duration(moment - since)}")
                continue
        texts.append(name)
        named = moment, name
    return texts
