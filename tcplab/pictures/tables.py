"""A trace as tables in HTML, for reading line by line, for a screen reader and for copying."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tcplab.core.segment import ACK
from tcplab.core.table import html_table
from tcplab.core.text import SECOND, duration, in_words, plural
from tcplab.core.trace import Trace
from tcplab.pictures.lanes import together
from tcplab.pictures.text import words

_HEADINGS = ("no.", "sent", "arrives", "from → to", "flags", "seq", "ack", "len", "window", "what")
_NUMERIC = (0, 1, 2, 5, 6, 7, 8)


def trace_rows(trace: Trace) -> list[tuple[str, ...]]:
    """One row of texts per segment: seconds from the first segment, relative sequence numbers."""
    rows: list[tuple[str, ...]] = []
    numbered = zip(trace.packets, trace.relative(), words(trace), strict=True)
    for number, (packet, now, said) in enumerate(numbered, 1):
        segment = packet.segment
        verdict = f"RST {packet.verdict}" if packet.verdict and packet.verdict not in said.fate else ""
        rows.append(
            (
                str(number),
                f"{trace.seconds(packet.t):.6f}",
                "" if packet.arrives is None else f"+{duration(packet.arrives - packet.t)}",
                f"{packet.sender} → {packet.receiver}",
                said.flags,
                str(now.seq),
                str(now.ack) if segment.flags & ACK else "",
                str(segment.length),
                str(segment.window),
                ", ".join(part for part in (said.name, said.fate, verdict) if part),
            )
        )
    return rows


def trace_table(trace: Trace) -> str:
    """The segments of a trace in HTML."""
    if not trace.packets:
        return "<p>Not one segment was sent.</p>"
    rows = trace_rows(trace)
    caption = f"{len(rows)} segments; times in seconds from the first, numbers relative as in Wireshark"
    return html_table(_HEADINGS, rows, caption=caption, row_headings=True, numeric=_NUMERIC)


#: More rows than these are put together, several steps of a curve in each.
MOST_ROWS = 40
#: How the steps of one row become a number; other curves count things and are added up.
_TOGETHER: Mapping[str, Callable[[Sequence[float]], float]] = {
    "in_use_low": min, "in_use_high": max, "time_wait_low": min, "time_wait_high": max, "slowest_ms": max,
}  # fmt: skip


def curve_rows(trace: Trace) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of a study's curves: from when to when, seconds from what breaks, and every value.

    Counts are added up over the steps of a row; lowest and highest values stay lowest and highest.
    """
    at = trace.series.get("t_s", [])
    names = [name for name, curve in trace.series.items() if name != "t_s" and _is_curve(curve, len(at))]
    size, zero = -(-len(at) // MOST_ROWS) or 1, trace.watching_since / SECOND
    rows = []
    for first in range(0, len(at), size):
        until = at[first + size] if first + size < len(at) else trace.end / SECOND
        row = [f"{at[first] - zero:g}", f"{until - zero:g}"]
        for name in names:
            known = [value for value in trace.series[name][first : first + size] if value is not None]
            row.append(_cell(_TOGETHER.get(name, sum)(known)) if known else "–")
        rows.append(row)
    return ["from s", "to s", *names], rows


def steps_table(caption: str, curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Step curves (seconds, value from then on) in HTML: a row a change, of many the first and the last."""
    moments = together(curves)
    if left_out := max(len(moments) - MOST_ROWS, 0):
        caption += f"; {plural(left_out, 'change')} between the first and the last left out"
        moments[MOST_ROWS // 2 : -MOST_ROWS // 2] = []
    rows = ([in_words(t), *map(_cell, values)] for t, values in moments)
    return html_table(("from", *curves), rows, caption=caption, row_headings=True, numeric=range(1, 9))


def study_tables(trace: Trace) -> str:
    """A study's outcome, its curves and its other series in HTML."""
    steps = len(trace.series.get("t_s", []))
    outcome = [[name, _cell(value)] for name, value in trace.outcome.items()]
    tables = [("outcome", ["result", "value"], outcome)]
    if steps:
        tables.append(("curves; what counts is added up within a row", *curve_rows(trace)))
    for name, rows in trace.series.items():
        if name != "t_s" and rows and not _is_curve(rows, steps):
            cells = (row if isinstance(row, (list, tuple)) else [row] for row in rows)
            tables.append((name, [], [[_cell(value) for value in row] for row in cells]))
    return "".join(
        html_table(headings, rows, caption=caption, numeric=range(len(headings) or 99))
        for caption, headings, rows in tables
    )


def _is_curve(values: Any, steps: int) -> bool:
    return bool(steps) and len(values) == steps and not isinstance(values[0], (list, tuple, str))


def _cell(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:,.4g}" if value % 1 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
