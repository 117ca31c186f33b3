"""A trace as tables, for reading line by line, for a screen reader and for copying.

Segments and a study's curves come as HTML, a run's outcome and events also as lines for a terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tcplab.core.knobs import Parameters
from tcplab.core.segment import ACK
from tcplab.core.table import html_table, text_table
from tcplab.core.text import SECOND, duration, in_words, plural
from tcplab.core.trace import Trace
from tcplab.pictures.lanes import together
from tcplab.pictures.text import call_words, words

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
    """Headings and rows of a study's curves: from when to when, seconds, and the value of every curve.

    Counts are added up over the steps of a row; lowest and highest values stay lowest and highest.
    """
    at = trace.series.get("t_s", [])
    names = [name for name, curve in trace.series.items() if name != "t_s" and _is_curve(curve, len(at))]
    size = -(-len(at) // MOST_ROWS) or 1
    rows = []
    for first in range(0, len(at), size):
        until = at[first + size] if first + size < len(at) else trace.end / SECOND
        row = [f"{at[first]:g}", f"{until:g}"]
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


#: Longer lists are printed without their middle: `--json` has everything.
HEAD, TAIL = 40, 20


def value_text(value: Any) -> str:
    """A parameter or a result in the notation of the command line: `none`, `true`, `0.2`, `1, 3, 7`."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, list | tuple):
        texts = [value_text(each) for each in value]
        return ", ".join(texts if len(texts) <= 15 else [*texts[:10], "…", *texts[-3:]]) or "none"
    return str(value)


def parameter_lines(kind: type[Parameters]) -> list[str]:
    """Every parameter with its default, its range and its help."""
    defaults = kind.defaults()
    rows = [
        (f"{name} = {value_text(defaults[name])}", f"{knob.range_text()}. {knob.help}".rstrip(". ") + ".")
        for name, knob in kind.knobs().items()
    ]
    return [f"    {line}" for line in text_table([], rows)]


def run_lines(trace: Trace) -> Iterator[str]:
    """The outcome of a run, then its segments or the names of its curves."""
    outcome = [(name, value_text(value)) for name, value in trace.outcome.items()]
    yield from (f"  {line}" for line in text_table([], outcome))
    if trace.packets:
        yield ""
        yield from _shortened(list(_ladder(trace)))
    if trace.series:
        yield ""
        yield f"  curves: {', '.join(trace.series)}; --json shows them."


def _ladder(trace: Trace) -> Iterator[str]:
    """Segments, calls and notes by time, one line each; hosts are in the trace's order."""
    hosts = list(trace.hosts)
    wide = max(map(len, hosts))
    digits = 3 if all(packet.t % 1_000_000 == 0 for packet in trace.packets) else 6

    def who(left: str, arrow: str, right: str) -> str:
        return f"{left:>{wide}} {arrow:3} {right:{wide}}"

    def alone(host: str) -> str:
        return who(host, "", "") if hosts.index(host) == 0 else who("", "", host)

    lines = [(note.t, f"{alone(note.host or hosts[0])}  – {note.text}") for note in trace.notes]
    lines += [(call.t, f"{alone(call.host)}  {call_words(call)}") for call in trace.calls]
    for packet, said in zip(trace.packets, words(trace), strict=True):
        gone = packet.arrives is None
        if hosts.index(packet.sender) <= hosts.index(packet.receiver):
            ends = who(packet.sender, "──✗" if gone else "──→", packet.receiver)
        else:
            ends = who(packet.receiver, "✗──" if gone else "←──", packet.sender)
        lines.append((packet.t, f"{ends}  {said.plain}"))
    lines.sort(key=lambda line: line[0])
    rows = [(f"{trace.seconds(t):.{digits}f}", text) for t, text in lines]
    yield from (f"  {line}" for line in text_table(("seconds", ""), rows, numeric=(0,)))


def _shortened(lines: list[str]) -> list[str]:
    left_out = len(lines) - HEAD - TAIL
    if left_out < 2:
        return lines
    return [*lines[:HEAD], f"  … {left_out} lines left out; --json shows everything …", *lines[-TAIL:]]
