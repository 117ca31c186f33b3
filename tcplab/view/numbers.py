"""A study's outcome and curves as tables of text: for a screen reader, for copying."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from tcplab.trace import Trace

#: More rows would not be read: steps are put together.
MOST_ROWS = 40
#: How the steps of one row become a number; what isn't named here counts things, and is added up.
_TOGETHER: Mapping[str, Callable[[Sequence[float]], float]] = {
    "in_use_low": min, "in_use_high": max, "time_wait_low": min, "time_wait_high": max, "slowest_ms": max,
}  # fmt: skip


def curves(trace: Trace) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: from when to when, seconds, and every curve in between.

    Numbers that count are added up over the steps of a row, lowest and highest values stay what they are.
    """
    at = trace.series.get("t_s", [])
    names = [name for name, curve in trace.series.items() if name != "t_s" and _is_curve(curve, len(at))]
    size = -(-len(at) // MOST_ROWS) or 1
    rows = []
    for first in range(0, len(at), size):
        until = at[first + size] if first + size < len(at) else trace.end / 1e9
        cells = [_TOGETHER.get(name, sum)(trace.series[name][first : first + size]) for name in names]
        rows.append([f"{at[first]:g}", f"{until:g}", *map(_number, cells)])
    return ["from s", "to s", *names], rows


def tables(trace: Trace) -> str:
    """The outcome, the curves, and whatever else the study tells, as HTML; every text is escaped."""
    steps = len(trace.series.get("t_s", []))
    parts = [_table("outcome", ["result", "value"], ([name, _said(v)] for name, v in trace.outcome.items()))]
    if steps:
        parts.append(_table("curves; what counts is added up within a row", *curves(trace)))
    for name, rows in trace.series.items():
        if name != "t_s" and rows and not _is_curve(rows, steps):
            cells = (row if isinstance(row, (list, tuple)) else [row] for row in rows)
            parts.append(_table(name, [], (map(_said, row) for row in cells)))
    return "".join(parts)


def _is_curve(values: Any, steps: int) -> bool:
    return bool(steps) and len(values) == steps and not isinstance(values[0], (list, tuple, str))


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _said(value: Any) -> str:
    if value is None:
        return "none"
    return _number(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def _table(caption: str, head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    top = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    body = "".join(
        f"<tr>{''.join(f'<td class=n>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )  # fmt: skip
    return (
        f'<table class="tcplab-table"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    )
