"""Runs and parameters as lines of plain text, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tcplab.knobs import Parameters
from tcplab.trace import Trace
from tcplab.view.words import call_words, words

#: Longer tables lose their middle: `--json` has everything.
HEAD, TAIL = 40, 20


def value_text(value: Any) -> str:
    """A parameter or a result as one types or reads it: `none`, `true`, `0.2`, `1, 3, 7`."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, list | tuple):
        shown = [value_text(each) for each in value]
        return ", ".join(shown if len(shown) <= 15 else [*shown[:10], "…", *shown[-3:]]) or "none"
    return str(value)


def parameter_lines(kind: type[Parameters]) -> Iterator[str]:
    """Every parameter with its default, its range and its help."""
    defaults, knobs = kind.defaults(), kind.knobs()
    settings = {name: f"{name} = {value_text(defaults[name])}" for name in knobs}
    width = max(map(len, settings.values()))
    for name, knob in knobs.items():
        # Of words and yes or no the help is not repeated in the range.
        yield f"    {settings[name]:{width}}  {knob.range_text()}. {knob.help}".rstrip(". ") + "."


def run_lines(trace: Trace) -> Iterator[str]:
    """The outcome of a run, then its segments or what its curves are."""
    width = max(map(len, trace.outcome), default=0)
    for name, value in trace.outcome.items():
        yield f"  {name:{width}}  {value_text(value)}"
    if trace.passages:
        yield ""
        yield from _shortened(list(_ladder(trace)))
    if trace.series:
        yield ""
        yield f"  curves: {', '.join(trace.series)}; --json shows them."


def _ladder(trace: Trace) -> Iterator[str]:
    """Segments, calls and notes by time, one line each; hosts stand in the trace's order."""
    hosts = list(trace.hosts)
    wide = max(map(len, hosts))
    digits = 3 if all(passage.t % 1_000_000 == 0 for passage in trace.passages) else 6

    def who(left: str, arrow: str, right: str) -> str:
        return f"{left:>{wide}} {arrow:3} {right:{wide}}"

    def alone(host: str) -> str:
        return who(host, "", "") if hosts.index(host) == 0 else who("", "", host)

    rows: list[tuple[int, str]] = []
    rows += [(note.t, f"{alone(note.host or hosts[0])}  – {note.text}") for note in trace.notes]
    rows += [(call.t, f"{alone(call.host)}  {call_words(call)}") for call in trace.calls]
    for passage, said in zip(trace.passages, words(trace), strict=True):
        gone = passage.arrives is None
        if hosts.index(passage.sender) <= hosts.index(passage.receiver):
            ends = who(passage.sender, "──✗" if gone else "──→", passage.receiver)
        else:
            ends = who(passage.receiver, "✗──" if gone else "←──", passage.sender)
        rows.append((passage.t, f"{ends}  {said.plain}"))
    rows.sort(key=lambda row: row[0])
    times = [f"{trace.seconds(t):.{digits}f}" for t, _ in rows]
    column = max(len("seconds"), *map(len, times))
    yield f"  {'seconds':>{column}}"
    for time, (_, text) in zip(times, rows, strict=True):
        yield f"  {time:>{column}}  {text}".rstrip()


def _shortened(lines: list[str]) -> list[str]:
    left_out = len(lines) - HEAD - TAIL
    if left_out < 2:
        return lines
    return [*lines[:HEAD], f"  … {left_out} lines left out; --json shows everything …", *lines[-TAIL:]]
