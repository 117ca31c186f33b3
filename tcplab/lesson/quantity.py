"""Numbers as people write them, and how far two of them are apart.

`15 min 29 s`, `7,875`, `200 ms`, `0,5` and `never` are all answers a learner may give.
"""

from __future__ import annotations

import math
import re

#: How many seconds one of each unit is.
SECONDS = {
    "ms": 0.001, "s": 1, "sec": 1, "secs": 1, "second": 1, "seconds": 1,
    "m": 60, "min": 60, "mins": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hour": 3600, "hours": 3600, "d": 86_400, "day": 86_400, "days": 86_400,
}  # fmt: skip
NEVER = frozenset({"never", "inf", "infinity", "forever", "for ever", "∞"})

_PART = re.compile(r"[\s,+]*(?:and\s+)?([-+]?(?:\d[\d,_']*(?:\.\d+)?|\.\d+))\s*([^\W\d_]+|%)?")


def read(answer: object, unit: str = "") -> float | None:
    """`answer` as a number of `unit`; None where it is none.

    Takes numbers, texts of numbers with or without the unit, sums of times where the unit is
    `s`, and `never`, which is infinite.
    """
    if isinstance(answer, bool) or answer is None:
        return None
    if isinstance(answer, int | float):
        return None if math.isnan(answer) else float(answer)
    text = str(answer).strip().lower().strip("~≈ ").rstrip(".")
    if text in NEVER:
        return math.inf
    total, at, parts = 0.0, 0, 0
    while at < len(text):
        part = _PART.match(text, at)
        factor = part and _factor(part[2] or "", unit)
        if not part or factor is None or (parts and not part[2]) or (parts and unit != "s"):
            return None
        total += _number(part[1]) * factor
        at, parts = part.end(), parts + 1
    return total if parts else None


def _number(text: str) -> float:
    """`7,875` is 7875, and `0,5` is a half, as much of the world writes it."""
    text = text.rstrip(",_'")
    if "," in text and "." not in text and not re.fullmatch(r"[-+]?[1-9]\d{0,2}(,\d{3})+", text):
        text = text.replace(",", ".", 1)
    return float(re.sub("[,_']", "", text))


def _factor(word: str, unit: str) -> float | None:
    if not word or word == unit or word == unit.rstrip("s"):
        return 1
    return SECONDS.get(word) if unit == "s" else None


def show(value: float, unit: str = "") -> str:
    """`929 s (15 min 29 s)`, `7 connections`, `never`."""
    if math.isinf(value):
        return "never"
    number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    text = f"{number} {unit}".rstrip()
    return f"{text} ({in_words(value)})" if unit == "s" and value >= 120 else text


def in_words(seconds: float) -> str:
    """`2 h 11 min 15 s`; parts that are zero are left out."""
    rest = round(seconds)
    parts = []
    for name, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts) or "0 s"


def times(ratio: float) -> str:
    """A ratio above 1 in words, rounded as one would say it: `about 15 times`."""
    if ratio < 10:
        return f"about {round(ratio * 2) / 2:g} times"
    exponent = math.floor(math.log10(ratio))
    step = 10**exponent // 2 or 1
    return f"about {round(ratio / step) * step:,} times"
