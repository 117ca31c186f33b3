"""Captures made by tcplab itself: an experiment on real Linux, as its client's pcap with a sidecar.

That pair of files is what `read_capture` reads back; the third one is the run as a whole, which
`recorded` reads (runs.py). data/README.md describes all three. They carry the name of their
experiment, so that recording again writes them afresh and touches no other.
"""

from __future__ import annotations

import json
import os
import platform
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from tcplab.bench import Story, run
from tcplab.bench.sandbox import BenchError, Sandbox, TooBusy, why_not
from tcplab.capture import CaptureError
from tcplab.capture.pcap import pcap_bytes
from tcplab.core.segment import Endpoint, Segment
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.core.trace import Call, CounterSample, Note, Packet, SocketSample, Trace

# ----------------------------------------------------------------------
# A whole run in one file, `NAME.run.json`: what a pcap has no place for.
#
# A capture of one side knows neither what was lost on the way nor what timers ran. With this file a
# recorded run is compared, drawn and stepped through like one just made. Only plain values are in it,
# so that reading one can't do anything but read. Times are nanoseconds of the run's own clock.

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
        "packets": [
            [*(getattr(packet, name) for name in _PASSAGE), *_segment_row(packet.segment, number)]
            for packet in trace.packets
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
        trace.packets = [_packet(row, ends) for row in told["packets"]]
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


def _packet(row: list[Any], ends: list[Endpoint]) -> Packet:
    told = dict(zip(_PASSAGE, row, strict=False))
    segment = dict(zip(_SEGMENT, row[len(_PASSAGE) :], strict=True))
    segment["source"], segment["destination"] = ends[segment["source"]], ends[segment["destination"]]
    segment["sack"] = tuple((left, right) for left, right in segment["sack"])
    if segment["timestamps"] is not None:
        segment["timestamps"] = tuple(segment["timestamps"])
    return Packet(segment=Segment(**segment), **told)


def _lines(rows: list[list[Any]]) -> str:
    return ",".join("\n" + _dense(row) for row in rows)


def _dense(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# ----------------------------------------------------------------------
# What stands beside a recorded capture: `NAME.json` with title, provenance, calls and states.
#
# The format is described in data/README.md. Times in it are seconds from the capture's first packet.

HOSTS = ("client", "server")
#: ss's words for a state where RFC 9293 has another one; else they differ in the dash only.
SS_STATES = {"ESTAB": "ESTABLISHED", "UNCONN": "CLOSED"}


@dataclass(frozen=True)
class Sidecar:
    """Provenance of a capture and the applications' side of it; empty where there is no file."""

    title: str = ""
    #: Two or three sentences for a DBA.
    story: str = ""
    #: The Linux version that both hosts ran on.
    linux: str = ""
    #: Versions of the programs that took part.
    software: Mapping[str, str] = field(default_factory=dict)
    #: Day of the recording, ISO 8601.
    date: str = ""
    #: Addresses of `client` and `server`.
    hosts: Mapping[str, str] = field(default_factory=dict)
    #: What applications called: (t, began, host, call, result).
    events: tuple[tuple[float, float, str, str, str], ...] = ()
    #: What ss showed: (t, host, state, Recv-Q, Send-Q).
    states: tuple[tuple[float, str, str, int, int], ...] = ()

    def is_about(self, client: Endpoint, server: Endpoint) -> bool:
        """True when a connection runs between the hosts that the file names."""
        return (self.hosts.get("client"), self.hosts.get("server")) == (client.address, server.address)

    def calls(self, client: Endpoint) -> list[Call]:
        """The calls in order of their return, nanoseconds from the capture's first packet.

        The client's are made on this connection; the server's are what a DBA or a process did
        there (a kill, a query in another session), so that they have no port.
        """
        ports = {"client": client.port, "server": 0}
        return sorted(
            (
                Call(_nanoseconds(t), _nanoseconds(began), host, call, result, ports[host])
                for t, began, host, call, result in self.events
            ),
            key=lambda call: call.t,
        )

    def samples(self, client: Endpoint, server: Endpoint) -> list[SocketSample]:
        """The sockets that ss listed, in order of time."""
        ends = {"client": (client, server), "server": (server, client)}
        return sorted(
            (
                SocketSample(_nanoseconds(t), host, *ends[host], state, recv_q, send_q)
                for t, host, state, recv_q, send_q in self.states
            ),
            key=lambda sample: sample.t,
        )


def read_sidecar(capture: Path) -> tuple[Sidecar, str]:
    """What stands beside a capture, and a sentence when that can't be used.

    A JSON file that does not look like a sidecar at all is somebody else's and is left alone.
    """
    path = capture.with_suffix(".json")
    if path == capture or not path.is_file():
        return Sidecar(), ""
    try:
        told = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        return Sidecar(), f"{path.name} beside the capture can't be read as JSON ({error}) and is left out."
    if not isinstance(told, dict) or not {"title", "hosts"} <= told.keys():
        return Sidecar(), ""
    try:
        return _sidecar(told), ""
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        return Sidecar(), f"{path.name} beside the capture is left out: {why}."


def _sidecar(told: Mapping[str, Any]) -> Sidecar:
    return Sidecar(
        title=str(told["title"]),
        story=str(told.get("story", "")),
        linux=str(told.get("linux", "")),
        software=dict(told.get("software", {})),
        date=str(told.get("date", "")),
        hosts=dict(told["hosts"]),
        events=tuple(
            (float(event["t"]), float(event.get("began", event["t"])), _host(event), str(event["call"]),
             str(event["result"]))
            for event in told.get("events", ())
        ),
        states=tuple(
            (float(state["t"]), _host(state), _state(str(state["state"])), int(state.get("recv_q", 0)),
             int(state.get("send_q", 0)))
            for state in told.get("states", ())
        ),
    )  # fmt: skip


def _host(told: Mapping[str, Any]) -> str:
    if told["host"] not in HOSTS:
        raise ValueError(f"its host {told['host']!r} is neither client nor server")
    return str(told["host"])


def _state(name: str) -> str:
    return SS_STATES.get(name, name.replace("-", "_"))


def _nanoseconds(seconds: float) -> int:
    return round(seconds * SECOND)


#: Sandboxes at work at the same time.
SIDE_BY_SIDE = 6
#: A run whose wire was later than this is no recording, and is tried again this often: a retransmission
#: timer follows the round trips it has measured, and a busy machine would be recorded as a slow network.
LATE_MS, ATTEMPTS = 5, 8
#: Bytes stored of a packet, as `tcpdump -s` does: all headers fit, and payload is filler anyway.
SNAPLEN = 128

#: Told a few times a second: the experiment's name, seconds since its run began, segments so far.
Progress = Callable[[str, float, int], None]


class Recordable(Story, Protocol):
    """What a recording needs of an experiment."""

    @property
    def title(self) -> Any: ...

    def sentence(self, trace: Trace) -> str: ...


def record(
    stories: Sequence[Recordable], folder: Path, progress: Progress = lambda *_: None
) -> Iterator[tuple[Path, Trace]]:
    """Run experiments side by side on Linux; yield each one's pcap and trace once both files are there.

    Raises `CaptureError` when `folder` can't be written to, `BenchError` where Linux can't be had, and
    for a run that failed, after the others are done. Interrupted, it ends all runs.
    """
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise CaptureError(f"{folder} is not a folder that can be written to: create it, or name another.")
    if reason := why_not():
        raise BenchError(f"the Linux bench can't run here: {reason}")
    sandboxes = [Sandbox() for _ in stories]
    pool = ThreadPoolExecutor(SIDE_BY_SIDE)
    failed: list[BenchError] = []
    try:
        pairs = zip(stories, sandboxes, strict=True)
        runs = {pool.submit(_run, story, sandbox, progress): story for story, sandbox in pairs}
        for done in as_completed(runs):
            story = runs[done]
            try:
                trace = done.result()
            except BenchError as error:
                failed.append(BenchError(f"{story.name} was not recorded: {error}"))
                continue
            yield write(story, trace, folder), trace
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for sandbox in sandboxes:
            sandbox.cancel()
        pool.shutdown()
    if failed:
        raise failed[0]


def _run(story: Recordable, sandbox: Sandbox, progress: Progress) -> Trace:
    busy = TooBusy("this machine is too busy to keep to the latency of the wire; try again later.")
    with sandbox:
        for _ in range(ATTEMPTS):
            try:
                trace = run(story, "linux", partial(progress, story.name), sandbox=sandbox)
            except TooBusy as error:
                busy = error
                continue
            if lateness(trace, story.latency_ms) <= LATE_MS:
                return trace
    raise busy


def lateness(trace: Trace, latency_ms: float) -> float:
    """How much longer than the latency the slowest segment was on its way, milliseconds."""
    ways = [p.arrives - p.t for p in trace.packets if p.arrives is not None]
    return max(ways, default=0) / MILLISECOND - latency_ms


def write(story: Recordable, trace: Trace, folder: Path) -> Path:
    """Write NAME.pcap, NAME.json and NAME.run.json into the folder; returns the path of the pcap."""
    path = folder / f"{story.name}.pcap"
    pcap = cut_to(SNAPLEN, pcap_bytes(trace))
    text = json.dumps(sidecar(story, trace), indent=1, ensure_ascii=False) + "\n"
    try:
        path.write_bytes(pcap)
        path.with_suffix(".json").write_text(text, "utf-8")
        write_run(path.with_suffix(".run.json"), trace)
    except OSError as error:
        raise CaptureError(f"{error.filename} can't be written: {error.strerror}.") from None
    return path


def cut_to(snaplen: int, pcap: bytes) -> bytes:
    """The same little-endian pcap with at most `snaplen` bytes of each packet, its true length noted."""
    parts, at = [pcap[:16], struct.pack("<I", snaplen), pcap[20:24]], 24
    while at < len(pcap):
        second, fraction, stored, length = struct.unpack_from("<IIII", pcap, at)
        kept = min(stored, snaplen)
        parts += [struct.pack("<IIII", second, fraction, kept, length), pcap[at + 16 : at + 16 + kept]]
        at += 16 + stored
    return b"".join(parts)


def sidecar(story: Recordable, trace: Trace) -> dict[str, Any]:
    """Provenance and the applications' side of a run, of its first connection alone.

    Seconds count from the first segment: the client's, so that it is the capture's first packet too.
    """
    # What the script did to a host (a cable pulled, a firewall rule) is told beside the calls.
    deeds = [Call(note.t, note.t, note.host, note.text, "ok") for note in trace.notes]
    names = _names(trace)
    calls = [call for call in sorted(trace.calls + deeds, key=lambda call: call.t) if call.host in names]
    return {
        "title": story.title,
        "story": story.sentence(trace),
        "experiment": story.name,
        "parameters": dict(trace.parameters),
        "outcome": dict(trace.outcome),
        "linux": trace.linux,
        "software": {"tcplab": version("tcplab"), "python": platform.python_version()},
        "date": datetime.now(UTC).date().isoformat(),
        "command": f"tcplab record {story.name}",
        "hosts": {name: trace.hosts[host] for host, name in names.items()},
        "events": [
            {
                "t": _seconds(trace, t),
                "began": _seconds(trace, began),
                "host": names[host],
                "call": call,
                "result": result,
            }
            for t, began, host, call, result, _ in calls
        ],
        "states": list(_states(trace)),
    }


def _names(trace: Trace) -> dict[str, str]:
    """The two ends of the first connection, whatever they are called: a proxy is a client's server."""
    first = trace.packets[0]
    return dict(zip((first.sender, first.receiver), HOSTS, strict=True))


def _states(trace: Trace) -> Iterator[dict[str, Any]]:
    """In ss's words, and only what is news: the file has no place for timers."""
    ends = {trace.packets[0].segment.source, trace.packets[0].segment.destination}
    names = _names(trace)
    shown: dict[str, dict[str, Any]] = {}
    for sample in trace.sockets:
        if sample.host not in names:
            continue
        state = "ESTAB" if sample.state == "ESTABLISHED" else sample.state.replace("_", "-")
        line = {"host": names[sample.host], "state": state, "recv_q": sample.recv_q, "send_q": sample.send_q}
        if {sample.local, sample.remote} == ends and shown.get(sample.host) != line:
            shown[sample.host] = line
            yield {"t": _seconds(trace, sample.t)} | line


def _seconds(trace: Trace, t: int) -> float:
    return round(trace.seconds(t), 6)
