"""Lengths of time and moments in words: the same everywhere in pictures."""

from __future__ import annotations

from tcplab.trace import MILLISECOND, SECOND


def duration(nanoseconds: int) -> str:
    """A length of time as one says it: ``40 µs``, ``0.204 s``, ``75 s``, ``15 min 28 s``, ``2 h``."""
    if nanoseconds < 0:
        return "−" + duration(-nanoseconds)
    if nanoseconds == 0:
        return "0 s"
    if nanoseconds < MILLISECOND - 500:
        return f"{nanoseconds / 1000:.3g} µs"
    if nanoseconds < 99_950 * MILLISECOND:
        places = 3 if nanoseconds < 10 * SECOND else 1
        text = f"{nanoseconds / SECOND:.{places}f}"
        return f"{text.rstrip('0').rstrip('.') if float(text).is_integer() or places == 1 else text} s"
    seconds = (nanoseconds + SECOND // 2) // SECOND
    hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
    parts = [(hours, "h"), (minutes, "min"), (seconds, "s")]
    while parts and not parts[-1][0]:
        parts.pop()
    while parts and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{number} {unit}" for number, unit in parts)


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
