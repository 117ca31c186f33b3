"""What belongs to a recording besides its pcap, and how tcplab records an experiment on real Linux.

The files of one recording share their name, so that recording again replaces them and nothing else:

- `NAME.pcap`: what passed at one host;
- `NAME.json`, the *sidecar*: title, provenance, the programs' calls and what `ss` showed, in seconds from
  the capture's first packet. `read_capture` adds it to a capture. data/README.md describes the format;
- `NAME.run.json`: the whole run, for what a pcap has no place for: packets that were lost, timers, both
  ends. With it a recorded run can be compared, drawn and stepped through like a new one. Times are
  nanoseconds of the run's own clock. It holds plain values only, so that reading one is harmless.

The two connections of a proxy are two recordings, `NAME_front` and `NAME_back`: see `both_legs`.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tcplab.bench import Story, run, run_all
from tcplab.capture import CaptureError
from tcplab.capture.pcap import pcap_bytes
from tcplab.core.releases import known_release
from tcplab.core.segment import Endpoint, Segment
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.core.trace import (
    Activity,
    Call,
    CounterSample,
    Deadline,
    Note,
    Packet,
    SocketSample,
    Ticks,
    Trace,
)

if TYPE_CHECKING:
    from tcplab.bench.sandbox import Sandbox

_PACKAGE = Path(__file__).resolve().parents[1]
#: The folder with the notebooks and what they read: inside an installed package, else the repository itself.
COURSE = _PACKAGE / "course" if (_PACKAGE / "course").is_dir() else _PACKAGE.parent
#: The project's own recordings.
LIBRARY = COURSE / "data" / "captures"
SIDECAR, RUN = ".json", ".run.json"
#: Increased whenever a reader of before would misread what is written now.
FORMAT = 1
HOSTS = ("client", "server")
#: Names of ss for a state that RFC 9293 names differently; the others differ in the dash only.
SS_STATES = {"ESTAB": "ESTABLISHED", "UNCONN": "CLOSED"}
#: Experiments that run at the same time.
PARALLEL = 6
#: A run with a slower segment than this is discarded, and run again up to so many times: a retransmission
#: timer follows the measured round trips, and a busy machine would be recorded as a slow network.
LATE_MS, ATTEMPTS = 5, 8
#: Bytes stored of a packet, as `tcpdump -s` does: all headers fit, and payload is filler anyway.
SNAPLEN = 128

_SEGMENT = tuple(field.name for field in fields(Segment))
_PACKET = ("t", "arrives", "sender", "receiver", "fate", "verdict", "kind")
#: What a run recorded before these were known does not have.
_ROWS: dict[str, type[Call] | type[Activity] | type[Deadline]] = {
    "activities": Activity, "pending": Call, "deadlines": Deadline,
}  # fmt: skip
_PLAIN = ("experiment", "bench", "linux", "parameters", "hosts", "outcome", "end", "watched_from", "warnings")

#: Called a few times a second with the experiment's name, seconds since its run began, segments so far.
Progress = Callable[[str, float, int], None]


def recording(name: str, folder: Path = LIBRARY) -> Trace:
    """The recorded run of an experiment on real Linux, by the experiment's name.

    Raises `CaptureError` when there is none, or none that can be read.
    """
    path = folder / f"{name}{RUN}"
    if not path.is_file():
        there = ", ".join(sorted(each.name.removesuffix(RUN) for each in folder.glob(f"*{RUN}")))
        raise CaptureError(f"there is no recorded run {name!r}; there are {there or 'none'}.")
    return read_run(path)


def on_kernel(name: str, kernel: str) -> str:
    """The name of a recording on one of several kernels: `syn_queue_rule_on_6_1`."""
    return f"{name}_on_{kernel.replace('.', '_')}"


def recordings_by_kernel(name: str, folder: Path = LIBRARY) -> tuple[Trace, ...]:
    """The recorded runs of one story on several kernels, the oldest kernel first.

    Raises `CaptureError` when there is none, or one that cannot be read.
    """
    end = re.compile(rf"{re.escape(on_kernel(name, ''))}\d+_\d+{re.escape(RUN)}")
    runs = [read_run(path) for path in folder.glob(f"*{RUN}") if end.fullmatch(path.name)]
    if not runs:
        raise CaptureError(f"there is no recorded run of {name!r} on several kernels.")
    return tuple(
        sorted(runs, key=lambda run: (known_release(run.linux).number, known_release(run.linux).patch))
    )


def write_run(path: Path, trace: Trace) -> None:
    """Write a run, a line for each thing that happened. Raises `OSError`."""
    endpoints: dict[Endpoint, int] = {}

    def number(endpoint: Endpoint) -> int:
        return endpoints.setdefault(endpoint, len(endpoints))

    rows = {
        "packets": [
            [*(getattr(packet, name) for name in _PACKET), *_segment_row(packet.segment, number)]
            for packet in trace.packets
        ],
        "calls": [list(call) for call in trace.calls],
        "sockets": [[s.t, s.host, number(s.local), number(s.remote), *s[4:]] for s in trace.sockets],
        "counters": [list(sample) for sample in trace.counters],
        "notes": [list(note) for note in trace.notes],
        **{name: [list(each) for each in getattr(trace, name)] for name in _ROWS},
    }
    head = {"format": FORMAT, **{name: getattr(trace, name) for name in _PLAIN}, "programs": trace.programs}
    head["endpoints"] = list(endpoints)
    if trace.ticks:
        head["ticks"] = list(trace.ticks)
    parts = [f"{json.dumps(name)}: {_dense(value)}" for name, value in head.items()]
    parts += [
        f"{json.dumps(name)}: [{','.join(chr(10) + _dense(row) for row in each)}]"
        for name, each in rows.items()
    ]
    path.write_text("{" + ",\n".join(parts) + "}\n", "utf-8")


def read_run(path: Path) -> Trace:
    """The run in a file. Raises `CaptureError` in one sentence when it isn't one."""
    try:
        values = json.loads(path.read_text("utf-8"))
        if values["format"] != FORMAT:
            raise CaptureError(f"{path.name} is of another version of tcplab: record it again.")
        ends = [Endpoint(address, port) for address, port in values["endpoints"]]
        trace = Trace(**{name: values[name] for name in _PLAIN})
        trace.packets = [_packet(row, ends) for row in values["packets"]]
        trace.calls = [Call(*row) for row in values["calls"]]
        trace.sockets = [
            SocketSample(t, host, ends[local], ends[remote], *rest)
            for t, host, local, remote, *rest in values["sockets"]
        ]
        trace.counters = [CounterSample(*row) for row in values["counters"]]
        trace.notes = [Note(*row) for row in values["notes"]]
        trace.programs = values.get("programs", {})
        trace.ticks = Ticks(*values["ticks"]) if "ticks" in values else None
        for name, kind in _ROWS.items():
            setattr(trace, name, [kind(*map(_frozen, row)) for row in values.get(name, ())])
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
    packet = dict(zip(_PACKET, row, strict=False))
    segment = dict(zip(_SEGMENT, row[len(_PACKET) :], strict=True))
    segment["source"], segment["destination"] = ends[segment["source"]], ends[segment["destination"]]
    segment["sack"] = tuple((left, right) for left, right in segment["sack"])
    if segment["timestamps"] is not None:
        segment["timestamps"] = tuple(segment["timestamps"])
    return Packet(segment=Segment(**segment), **packet)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _dense(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class Sidecar:
    """Provenance of a capture and what its programs saw; empty where there is no file."""

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
    #: Calls of the applications: (t, began, host, call, result).
    events: tuple[tuple[float, float, str, str, str], ...] = ()
    #: What ss showed: (t, host, state, Recv-Q, Send-Q).
    states: tuple[tuple[float, str, str, int, int], ...] = ()

    def is_about(self, client: Endpoint, server: Endpoint) -> bool:
        """True when a connection runs between the hosts that the file names."""
        return (self.hosts.get("client"), self.hosts.get("server")) == (client.address, server.address)

    def calls(self, client: Endpoint) -> list[Call]:
        """The calls in order of their return, nanoseconds from the capture's first packet.

        The client's are made on this connection. The server's are what a DBA or a process did there (a
        kill, a query in another session) and have no port.
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


def sidecar_path(capture: str | Path) -> Path:
    """Where the sidecar of a capture is, if it has one."""
    return Path(capture).with_suffix(SIDECAR)


def sidecar_values(capture: str | Path) -> dict[str, Any]:
    """All that a sidecar holds. Raises `OSError` and `ValueError`."""
    values: dict[str, Any] = json.loads(sidecar_path(capture).read_text("utf-8"))
    return values


def read_sidecar(capture: Path) -> tuple[Sidecar, str]:
    """The sidecar of a capture, and a sentence when it can't be used.

    A JSON file that does not look like a sidecar belongs to something else and is ignored.
    """
    path = sidecar_path(capture)
    if path == capture or not path.is_file():
        return Sidecar(), ""
    try:
        values = sidecar_values(capture)
    except (OSError, ValueError) as error:
        return Sidecar(), f"{path.name} beside the capture can't be read as JSON ({error}) and is left out."
    if not isinstance(values, dict) or not {"title", "hosts"} <= values.keys():
        return Sidecar(), ""
    try:
        return _sidecar(values), ""
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        return Sidecar(), f"{path.name} beside the capture is left out: {why}."


def _sidecar(values: Mapping[str, Any]) -> Sidecar:
    return Sidecar(
        title=str(values["title"]),
        story=str(values.get("story", "")),
        linux=str(values.get("linux", "")),
        software=dict(values.get("software", {})),
        date=str(values.get("date", "")),
        hosts=dict(values["hosts"]),
        events=tuple(
            (float(event["t"]), float(event.get("began", event["t"])), _host(event), str(event["call"]),
             str(event["result"]))
            for event in values.get("events", ())
        ),
        states=tuple(
            (float(state["t"]), _host(state), _state(state), int(state.get("recv_q", 0)),
             int(state.get("send_q", 0)))
            for state in values.get("states", ())
        ),
    )  # fmt: skip


def _host(entry: Mapping[str, Any]) -> str:
    if entry["host"] not in HOSTS:
        raise ValueError(f"its host {entry['host']!r} is neither client nor server")
    return str(entry["host"])


def _state(entry: Mapping[str, Any]) -> str:
    return SS_STATES.get(entry["state"], str(entry["state"]).replace("-", "_"))


def _nanoseconds(seconds: float) -> int:
    return round(seconds * SECOND)


class Recordable(Story, Protocol):
    """What a recording needs of an experiment."""

    @property
    def title(self) -> Any: ...

    def sentence(self, trace: Trace) -> str: ...


def record(
    stories: Sequence[Recordable], folder: Path, progress: Progress = lambda *_: None
) -> Iterator[tuple[Path, Trace]]:
    """Run experiments in parallel on Linux; yield each one's pcap and trace once its files are written.

    Raises `CaptureError` when `folder` can't be written to, `BenchError` where the Linux bench can't run
    and, after the others are done, for a run that failed. Interrupted, it ends all runs.
    """
    from concurrent.futures import ThreadPoolExecutor, as_completed

    from tcplab.bench.sandbox import BenchError, Sandbox, why_not

    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise CaptureError(f"{folder} is not a folder that can be written to: create it, or name another.")
    if reason := why_not():
        raise BenchError(f"the Linux bench can't run here: {reason}")
    sandboxes = [Sandbox() for _ in stories]
    pool = ThreadPoolExecutor(PARALLEL)
    failed: list[BenchError] = []
    try:
        pairs = zip(stories, sandboxes, strict=True)
        runs = {pool.submit(_run_in, sandbox, story, progress): story for story, sandbox in pairs}
        for done in as_completed(runs):
            story = runs[done]
            try:
                trace = done.result()
            except BenchError as error:
                failed.append(BenchError(f"{story.name} was not recorded: {error}"))
                continue
            path = folder / f"{story.name}.pcap"
            write(story, trace, path)
            yield path, trace
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for sandbox in sandboxes:
            sandbox.cancel()
        pool.shutdown()
    if failed:
        raise failed[0]


def record_on_kernel(
    kernel: str, stories: Sequence[Recordable], folder: Path, tell: Callable[[str], None] = lambda _: None
) -> Iterator[tuple[Path, Trace]]:
    """Record on Linux `kernel` (`6.1`) in virtual time, one story after the other in one boot."""
    from tcplab.bench.sandbox import BenchError

    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise CaptureError(f"{folder} is not a folder that can be written to: create it, or name another.")
    failed: list[BenchError] = []
    for index, made in run_all(kernel, stories, tell):
        story = stories[index]
        if isinstance(made, str):
            failed.append(BenchError(f"{story.name} was not recorded: {made}"))
            continue
        path = folder / f"{story.name}.pcap"
        entries = sidecar(story, made)
        software = {**entries["software"], "QEMU": "virtual time"}
        write(story, made, path, software=software, command=f"{entries['command']} --linux {kernel}")
        yield path, made
    if failed:
        raise failed[0]


def _run_in(sandbox: Sandbox, story: Recordable, progress: Progress) -> Trace:
    with sandbox:
        return run_on_time(story, progress, sandbox)


def run_on_time(
    story: Recordable, progress: Progress = lambda *_: None, sandbox: Sandbox | None = None
) -> Trace:
    """Run an experiment on Linux until a run keeps to the latency of its wire; raises `TooBusy`."""
    from tcplab.bench.sandbox import TooBusy

    busy = TooBusy("this machine is too busy to keep to the latency of the wire; try again later.")
    for _ in range(ATTEMPTS):
        try:
            trace = run(story, "linux", partial(progress, story.name), sandbox=sandbox)
        except TooBusy as error:
            busy = error
            continue
        if wire_delay_ms(trace, story.latency_ms) <= LATE_MS:
            return trace
    raise busy


def wire_delay_ms(trace: Trace, latency_ms: float) -> float:
    """By how much the slowest segment exceeded the latency."""
    took = [p.arrives - p.t for p in trace.packets if p.arrives is not None]
    return max(took, default=0) / MILLISECOND - latency_ms


def write(
    story: Recordable,
    trace: Trace,
    path: Path,
    /,
    *,
    at: str | None = None,
    whole: bool = True,
    **values: Any,
) -> None:
    """Write the files of a recording: its pcap `path` as seen `at` a host, its sidecar and its run.

    `values` replace those in the sidecar; without `whole` there is no file of the run. Raises `CaptureError`.
    """
    pcap = pcap_bytes(trace, at=at, snaplen=SNAPLEN)
    text = json.dumps(sidecar(story, trace) | values, indent=1, ensure_ascii=False) + "\n"
    try:
        path.write_bytes(pcap)
        sidecar_path(path).write_text(text, "utf-8")
        if whole:
            write_run(path.with_suffix(RUN), trace)
    except OSError as error:
        raise CaptureError(f"{error.filename} can't be written: {error.strerror}.") from None


def sidecar(story: Recordable, trace: Trace) -> dict[str, Any]:
    """The sidecar of a run, of its first connection alone.

    Seconds count from the first segment, which is the client's and so the capture's first packet.
    """
    # What the script did to a host (a cable pulled, a firewall rule) counts as a call.
    actions = [Call(note.t, note.t, note.host, note.text, "ok") for note in trace.notes]
    names = _names(trace)
    calls = [call for call in sorted(trace.calls + actions, key=lambda call: call.t) if call.host in names]
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
            {"t": _seconds(trace, t), "began": _seconds(trace, began), "host": names[host]}
            | {"call": call, "result": result}
            for t, began, host, call, result, _ in calls
        ],
        "states": list(_states(trace)),
    }


def _names(trace: Trace) -> dict[str, str]:
    """Host -> role in the first connection: to a client, a proxy is the server."""
    first = trace.packets[0]
    return dict(zip((first.sender, first.receiver), HOSTS, strict=True))


def _states(trace: Trace) -> Iterator[dict[str, Any]]:
    """Changes of the first connection's sockets, in the names of ss."""
    ends = {trace.packets[0].segment.source, trace.packets[0].segment.destination}
    names = _names(trace)
    latest: dict[str, dict[str, Any]] = {}
    for sample in trace.sockets:
        if sample.host not in names:
            continue
        state = "ESTAB" if sample.state == "ESTABLISHED" else sample.state.replace("_", "-")
        line = {"host": names[sample.host], "state": state, "recv_q": sample.recv_q, "send_q": sample.send_q}
        if {sample.local, sample.remote} == ends and latest.get(sample.host) != line:
            latest[sample.host] = line
            yield {"t": _seconds(trace, sample.t)} | line


def _seconds(trace: Trace, t: int) -> float:
    return round(trace.seconds(t), 6)
