"""The commands that run stories: list, run, record."""

from __future__ import annotations

import math
import os
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tcplab.cli.terminal import PICTURE, UsageError, check_overwriting, say, say_json, show_status
from tcplab.core.table import text_table
from tcplab.core.text import nearest

if TYPE_CHECKING:
    from tcplab.core.knobs import Knob
    from tcplab.core.trace import Trace
    from tcplab.registry import Story

BENCHES = ("model", "linux")
#: Longer lists are printed without their middle: `--json` has everything.
_HEAD, _TAIL = 40, 20


def list_stories(arguments: Namespace) -> None:
    from tcplab.registry import EXPERIMENTS, STORIES, STUDIES, find

    if arguments.json and arguments.name:
        say_json(_described(find(arguments.name)))
        return
    if arguments.json:
        groups: dict[str, Mapping[str, type[Story]]] = {"experiments": EXPERIMENTS, "studies": STUDIES}
        say_json({name: [_described(kind) for kind in kinds.values()] for name, kinds in groups.items()})
        return
    for kind in [find(arguments.name)] if arguments.name else STORIES.values():
        say("\n".join([kind.name, f"  {kind.title}", *parameter_lines(kind), ""]))


def _described(kind: type[Story]) -> dict[str, Any]:
    defaults = kind.defaults()
    return {
        "name": kind.name, "title": kind.title, "lesson": kind.lesson,
        "parameters": [_parameter(name, knob, defaults[name]) for name, knob in kind.knobs().items()],
        "quick": dict(kind.quick), "presets": {name: dict(values) for name, values in kind.presets.items()},
    }  # fmt: skip


def _parameter(name: str, knob: Knob, default: Any) -> dict[str, Any]:
    number = knob.kind in (int, float) and not knob.choices
    return {
        "name": name, "label": knob.label, "kind": "choice" if knob.choices else knob.kind.__name__,
        "default": default, "unit": knob.unit,
        "range": [knob.low, None if knob.high == math.inf else knob.high] if number else None,
        "choices": list(knob.choices) or None, "zero": knob.zero, "help": knob.help,
    }  # fmt: skip


def run_story(arguments: Namespace) -> None:
    from tcplab.bench import run
    from tcplab.registry import find

    kind = find(arguments.name)
    if arguments.bench not in BENCHES and not arguments.bench.startswith("linux:"):
        raise UsageError(f"no bench {arguments.bench!r}: {nearest(arguments.bench, BENCHES)}")
    for file in filter(None, (arguments.pcap, arguments.timeline)):
        check_overwriting(file, arguments)
    values = {**(kind.quick if arguments.quick else {}), **settings_of(arguments.set, kind)}
    experiment = kind.from_values(values)
    try:
        trace = run(
            experiment,
            arguments.bench,
            lambda seconds, _: show_status(f"{seconds:.0f} s on Linux"),
            tell=show_status,
        )
    finally:
        show_status("")
    if arguments.pcap and not trace.packets:
        raise UsageError(f"--pcap: {kind.name} on the {arguments.bench} bench has no segments, only curves.")
    if arguments.pcap:
        from tcplab.capture.pcap import write_pcap

        write_pcap(trace, arguments.pcap)
    if arguments.timeline:
        from tcplab.pictures.timeline_layout import timeline

        try:
            Path(arguments.timeline).write_text(PICTURE + timeline(trace).svg() + "\n", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{arguments.timeline} can't be written: {error.strerror}.") from None
    if arguments.json:
        from tcplab.pictures.timeline import read_timeline

        say_json({**trace.to_json(), "timeline": read_timeline(trace).to_json()})
        return
    notes = [f"Note: {warning}" for warning in trace.warnings]
    for line in (experiment.sentence(trace), *notes, "", *_run_lines(trace)):
        say(line)


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


def parameter_lines(kind: type[Story]) -> list[str]:
    """Every parameter with its default, its range and its help."""
    defaults = kind.defaults()
    rows = [
        (f"{name} = {value_text(defaults[name])}", f"{knob.range_text()}. {knob.help}".rstrip(". ") + ".")
        for name, knob in kind.knobs().items()
    ]
    return [f"    {line}" for line in text_table([], rows)]


def _run_lines(trace: Trace) -> Iterator[str]:
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
    from tcplab.pictures.text import call_words, words

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
    left_out = len(lines) - _HEAD - _TAIL
    if left_out < 2:
        return lines
    return [*lines[:_HEAD], f"  … {left_out} lines left out; --json shows everything …", *lines[-_TAIL:]]


def settings_of(texts: Iterable[str], kind: type[Story]) -> dict[str, str]:

    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            name = next(iter(kind.knobs()))
            example = f"{name}={value_text(kind.defaults()[name])}"
            raise UsageError(f"--set {text!r}: write name=value, for example {example}.")
        if name not in kind.knobs():
            raise UsageError(f"{kind.name} has no parameter {name!r}: {nearest(name, kind.knobs())}")
        values[name] = value
    return values


def record_stories(arguments: Namespace) -> None:
    from tcplab.capture.recordings import LIBRARY, RUN, SIDECAR, record, record_on_kernel
    from tcplab.experiments import EXPERIMENTS
    from tcplab.registry import find_experiment

    folder = Path(arguments.into) if arguments.into else LIBRARY
    kinds = [find_experiment(name) for name in dict.fromkeys(arguments.names or EXPERIMENTS)]
    for kind in kinds:
        capture = folder / f"{kind.name}.pcap"
        check_overwriting(capture, arguments)
        for beside in (SIDECAR, RUN):  # what stands beside a capture of tcplab's is tcplab's
            check_overwriting(capture.with_suffix(beside), arguments, ours=capture.exists())
    running: dict[str, str] = {}
    done = 0

    def status(name: str, seconds: float, segments: int) -> None:
        running[name] = f"{name} {seconds:.0f} s"
        show_status(f"{done} of {len(kinds)} recorded; {', '.join(running.values())}")

    try:
        stories = [kind.from_values(kind.quick) for kind in kinds]
        if arguments.linux:
            made = record_on_kernel(arguments.linux, stories, folder, show_status)
        else:
            made = record(stories, folder, status)
        for path, trace in made:
            running.pop(trace.experiment, None)
            done += 1
            show_status("")
            place = path if arguments.into else os.path.relpath(path)
            say(f"{place}: {len(trace.packets)} segments on Linux {trace.linux}")
    finally:
        show_status("")
