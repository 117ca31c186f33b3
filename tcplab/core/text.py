"""Text for people: numbers in words, words as numbers, and pieces of HTML.

This is the only place that turns seconds, counts and sizes into text. Nanoseconds are the run's own
integers; a function that takes seconds says so in its argument's name. The pieces of HTML escape every
argument, except those named `_html`.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from html import escape
from math import floor, inf, isnan, log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

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


def short_duration(nanoseconds: int) -> str:
    """The same with milliseconds below a second, without zeros at the end: ``8 ms``, ``3.02 s``, ``2 h``."""
    if MILLISECOND <= nanoseconds < SECOND - 500_000:
        return f"{nanoseconds / MILLISECOND:.3g} ms"
    if SECOND <= nanoseconds < 10 * SECOND:
        return f"{nanoseconds / SECOND:.3f}".rstrip("0").rstrip(".") + " s"
    return duration(nanoseconds)


def in_words(seconds: float) -> str:
    """The same for seconds; ``never`` for infinity."""
    return "never" if seconds == inf else duration(round(seconds * SECOND))


def seconds(nanoseconds: int) -> float:
    """Seconds to the millisecond: finer than a timer tick, and stable to print."""
    return round(nanoseconds / SECOND, 3)


def clock(nanoseconds: int, places: int = 3) -> str:
    """A time of day in UTC with so many digits after the second: ``06:24:48.927``.

    Takes nanoseconds since 1970, as `date` does.
    """
    unit = 10 ** (9 - places)
    nanoseconds -= nanoseconds % unit
    text = datetime.fromtimestamp(nanoseconds // SECOND, UTC).strftime("%H:%M:%S")
    return f"{text}.{nanoseconds % SECOND // unit:0{places}d}" if places else text


def date(nanoseconds: int) -> str:
    """A day in UTC: ``Mon 30 Nov 2026``."""
    return datetime.fromtimestamp(nanoseconds // SECOND, UTC).strftime("%a %d %b %Y")


def time_zone(name: str) -> ZoneInfo:
    """The time zone of this name; `ValueError` in a sentence where there is none."""
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ValueError(f"{name!r} is no time zone of this machine: Europe/Berlin is one.") from None


def zoned(nanoseconds: int, zone: ZoneInfo) -> datetime:
    """A moment since 1970 in a time zone, to the microsecond."""
    return datetime.fromtimestamp(nanoseconds // SECOND, zone).replace(
        microsecond=nanoseconds % SECOND // 1000
    )


def size(count: float) -> str:
    """An amount of data, in bytes: ``980 B``, ``124 kB``, ``1.2 MB``."""
    if count >= 1e6:
        return f"{count / 1e6:.1f} MB"
    return f"{count / 1e3:.0f} kB" if count >= 1e4 else f"{round(count):,} B"


def times(count: int) -> str:
    """``once``, ``twice``, ``3 times``."""
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")


def listed(words: Sequence[str]) -> str:
    """``6.1, 6.12 and 6.18``; a single word unchanged, no words as the empty text."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def plural(count: int, thing: str) -> str:
    """``1 probe``, ``3 probes``, ``28,231 connections``."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def number(value: float, unit: str = "") -> str:
    """A value with its unit: ``350 s``, ``470.533 connections``; ``never`` for infinity."""
    return "never" if value == inf else f"{value:,.6g} {unit}".strip()


def factor(ratio: float) -> str:
    """A ratio above 1, rounded: ``about 1.5 times``, ``about 15 times``, ``about 1,000 times``."""
    if ratio < 10:
        return f"about {round(ratio * 2) / 2:g} times"
    step = 10 ** floor(log10(ratio)) // 2 or 1
    return f"about {round(ratio / step) * step:,} times"


#: How many seconds one of each unit is.
UNITS_S = {
    "ms": 0.001, "s": 1, "sec": 1, "secs": 1, "second": 1, "seconds": 1,
    "m": 60, "min": 60, "mins": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hour": 3600, "hours": 3600, "d": DAY_S, "day": DAY_S, "days": DAY_S,
}  # fmt: skip
NEVER = frozenset({"never", "inf", "infinity", "forever", "for ever", "∞"})
_PART = re.compile(r"[\s,+]*(?:and\s+)?([-+]?(?:\d[\d,_']*(?:\.\d+)?|\.\d+))\s*([^\W\d_]+|%)?")


def read_number(text: object, unit: str = "") -> float | None:
    """What a person typed, as a number of `unit`: ``15 min 29 s``, ``7,875``, ``0,5``; None where it is none.

    Takes numbers, texts of numbers with or without the unit, sums of times where the unit is ``s``, and
    ``never``, which is infinite.
    """
    if isinstance(text, bool) or text is None:
        return None
    if isinstance(text, int | float):
        return None if isnan(text) else float(text)
    typed = str(text).strip().lower().strip("~≈ ").rstrip(".")
    if typed in NEVER:
        return inf
    total, at, parts = 0.0, 0, 0
    while at < len(typed):
        part = _PART.match(typed, at)
        one = part and _unit(part[2] or "", unit)
        if not part or one is None or (parts and not part[2]) or (parts and unit != "s"):
            return None
        total += _digits(part[1]) * one
        at, parts = part.end(), parts + 1
    return total if parts else None


def _digits(text: str) -> float:
    """``7,875`` is 7875, and ``0,5`` is a half, as it is written in much of the world."""
    text = text.rstrip(",_'")
    if "," in text and "." not in text and not re.fullmatch(r"[-+]?[1-9]\d{0,2}(,\d{3})+", text):
        text = text.replace(",", ".", 1)
    return float(re.sub("[,_']", "", text))


def _unit(word: str, unit: str) -> float | None:
    if not word or word == unit or word == unit.rstrip("s"):
        return 1
    return UNITS_S.get(word) if unit == "s" else None


def nearest(name: str, names: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the one that was meant, or all that there are."""
    names = list(names)
    near = get_close_matches(name, names, 1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}."


def paragraph(text: str, css: str = "") -> str:
    """A paragraph."""
    return f'<p class="{css}">{escape(text)}</p>'


#: The attribute of an element that a screen reader reads aloud as soon as it changes.
STATUS = 'role="status"'


def status(body_html: str, *, wrong: bool = False) -> str:
    """A sentence that a screen reader says as soon as it changes."""
    css = "tcplab-sentence wrong" if wrong else "tcplab-sentence"
    return f'<div class="{css}" {STATUS} aria-live="polite">{body_html}</div>'


def scrolled(content_html: str, name: str) -> str:
    """A region that the keyboard reaches and scrolls."""
    label = escape(name)
    return f'<div class="tcplab-scroll" tabindex="0" role="region" aria-label="{label}">{content_html}</div>'


def terminal(name: str, content_html: str) -> str:
    """What a terminal shows, in a region that the keyboard reaches."""
    return f'<pre class="tcplab-console" tabindex="0" aria-label="{escape(name)}">{content_html}</pre>'


def to_paste(place: str, text: str) -> str:
    """Settings in a box to copy from; `place` says where they belong."""
    return (
        f'<textarea class="tcplab-paste" readonly rows="{text.count(chr(10))}" spellcheck="false" '
        f'aria-label="settings to paste: {escape(place)}">{escape(text)}</textarea>'
    )


def download(name: str, content: bytes, kind: str) -> str:
    """A link that hands a file of this MIME type to the browser: nothing leaves the machine."""
    data = b64encode(content).decode()
    return f'<a download="{escape(name)}" href="data:{kind};base64,{data}">Download {escape(name)}</a>'


def to_copy(name: str, content: bytes) -> str:
    """A file as text in a folded box, for front ends that block downloads from a cell's output.

    A file that is not UTF-8 is shown in base64, with the command that restores it.
    """
    try:
        text, how = content.decode(), f"save it as {name}"
    except UnicodeDecodeError:
        text, how = b64encode(content).decode(), f"paste it into: base64 -d > {name}"
    return (
        f"<details><summary>No download starts? Copy the text, and {escape(how)}</summary>"
        f'<textarea class="tcplab-paste" readonly rows="6" spellcheck="false" '
        f'aria-label="{escape(name)} to copy">{escape(text)}</textarea></details>'
    )


def bullets(lines: Iterable[str], css: str = "") -> str:
    """A list; nothing where there is no line."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="{css}">{items}</ul>' if items else ""
