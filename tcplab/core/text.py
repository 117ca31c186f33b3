"""Numbers in words: the only place that turns seconds, counts and sizes into text for people.

Nanoseconds are the run's own integers; a function that takes seconds says so in its argument's name.
"""

from __future__ import annotations

from math import inf

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
DAY_S = 86_400


def duration(nanoseconds: int) -> str:
    """A length of time: ``40 µs``, ``0.204 s``, ``75 s``, ``15 min 28 s``, ``2 h``, ``5 days``."""
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
    days, rest = divmod(seconds, DAY_S)
    if days and not rest:
        return plural(days, "day")
    hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
    parts = [(hours, "h"), (minutes, "min"), (seconds, "s")]
    while parts and not parts[-1][0]:
        parts.pop()
    while parts and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{number} {unit}" for number, unit in parts)


def in_words(seconds: float) -> str:
    """The same for seconds; ``never`` for infinity."""
    return "never" if seconds == inf else duration(round(seconds * SECOND))


def seconds(nanoseconds: int) -> float:
    """Seconds to the millisecond: finer than a timer tick, and stable to print."""
    return round(nanoseconds / SECOND, 3)


def times(count: int) -> str:
    """``once``, ``twice``, ``3 times``."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def plural(count: int, thing: str) -> str:
    """``1 probe``, ``3 probes``, ``28,231 connections``."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def number(value: float, unit: str = "") -> str:
    """A value with its unit: ``350 s``, ``470.533 connections``; ``never`` for infinity."""
    return "never" if value == inf else f"{value:,.6g} {unit}".strip()
