"""A whole run in one file, `NAME.run.json`: what a pcap has no place for.

A capture of one side knows neither what was lost on the way nor what timers ran. With this file a
recorded run is compared, drawn and stepped through like one just made. Only plain values are in it,
so that reading one can't do anything but read. Times are nanoseconds of the run's own clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from tcplab.capture import CaptureError
from tcplab.segment import Endpoint, Segment
from tcplab.trace import Call, CounterSample, Note, Passage, SocketSample, Trace

#: Raised whenever a reader of before would misread what is written now.
FORMAT = 1
#: Recordings of the experiments, in the project's own folder.
LIBRARY = Path(__file__).resolve().parents[2] / "data" / "captures"

_SEGMENT = tuple(field.name for field in fields(Segment))
_PASSAGE = ("t", "arrives", "sender", "receiver", "fate", "verdict", "kind")
_PLAIN = ("experiment", "bench", "linux", "parameters", "hosts", "outcome", "end", "watched_from", "warnings")


def recording(name: str, folder: Path = LIBRARY) -> Trace:
    """The recorded run of an experiment on real Linux, by the experiment's name.

    Raises `CaptureError` when there is none, or none that can be read.
    """
    path = folder / f"{name}.run.json"
    if not path.is_file():
        there = ", ".join(sorted(each.name.removesuffix(".run.json") for each in folder.glob("*.run.json")))
        raise CaptureError(f"there is no recorded run {name!r}; there are {there or 'none'}.")
    return read_run(path)


def write_run(path: Path, trace: Trace) -> None:
    """Write a run, a line for each thing that happened. Raises `OSError`."""
    endpoints: dict[Endpoint, int] = {}

    def number(endpoint: Endpoint) -> int:
        return endpoints.setdefault(endpoint, len(endpoints))

    rows = {
        "passages": [
            [*(getattr(passage, name) for name in _PASSAGE), *_segment_row(passage.segment, number)]
            for passage in trace.passages
        ],
        "calls": [list(call) for call in trace.calls],
        "sockets": [[s.t, s.host, number(s.local), number(s.remote), *s[4:]] for s in trace.sockets],
        "counters": [list(sample) for sample in trace.counters],
        "notes": [list(note) for note in trace.notes],
    }
    head = {"format": FORMAT, **{name: getattr(trace, name) for name in _PLAIN}, "endpoints": list(endpoints)}
    parts = [f"{json.dumps(name)}: {_dense(value)}" for name, value in head.items()]
    parts += [f"{json.dumps(name)}: [{_lines(each)}]" for name, each in rows.items()]
    path.write_text("{" + ",\n".join(parts) + "}\n", "utf-8")


def read_run(path: Path) -> Trace:
    """The run in a file. Raises `CaptureError` in one sentence when it isn't one."""
    try:
        told = json.loads(path.read_text("utf-8"))
        if told["format"] != FORMAT:
            raise CaptureError(f"{path.name} is of another version of tcplab: record it again.")
        ends = [Endpoint(address, port) for address, port in told["endpoints"]]
        trace = Trace(**{name: told[name] for name in _PLAIN})
        trace.passages = [_passage(row, ends) for row in told["passages"]]
        trace.calls = [Call(*row) for row in told["calls"]]
        trace.sockets = [
            SocketSample(t, host, ends[local], ends[remote], *rest)
            for t, host, local, remote, *rest in told["sockets"]
        ]
        trace.counters = [CounterSample(*row) for row in told["counters"]]
        trace.notes = [Note(*row) for row in told["notes"]]
    except OSError as error:
        raise CaptureError(f"{path.name} can't be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise CaptureError(f"{path.name} is no recorded run ({type(error).__name__}: {error}).") from None
    return trace


def _segment_row(segment: Segment, number: Any) -> Iterable[Any]:
    for name in _SEGMENT:
        value = getattr(segment, name)
        yield number(value) if isinstance(value, Endpoint) else value


def _passage(row: list[Any], ends: list[Endpoint]) -> Passage:
    told = dict(zip(_PASSAGE, row, strict=False))
    segment = dict(zip(_SEGMENT, row[len(_PASSAGE) :], strict=True))
    segment["source"], segment["destination"] = ends[segment["source"]], ends[segment["destination"]]
    segment["sack"] = tuple((left, right) for left, right in segment["sack"])
    if segment["timestamps"] is not None:
        segment["timestamps"] = tuple(segment["timestamps"])
    return Passage(segment=Segment(**segment), **told)


def _lines(rows: list[list[Any]]) -> str:
    return ",".join("\n" + _dense(row) for row in rows)


def _dense(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
