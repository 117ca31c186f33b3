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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from tcplab.bench import Story, run
from tcplab.bench.sandbox import Sandbox, why_not
from tcplab.bench.trouble import BenchError, TooBusy
from tcplab.capture import CaptureError
from tcplab.capture.pcap import pcap_bytes
from tcplab.capture.runs import write_run
from tcplab.capture.sidecar import HOSTS
from tcplab.trace import MILLISECOND, Call, Trace

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
    ways = [p.arrives - p.t for p in trace.passages if p.arrives is not None]
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
    first = trace.passages[0]
    return dict(zip((first.sender, first.receiver), HOSTS, strict=True))


def _states(trace: Trace) -> Iterator[dict[str, Any]]:
    """In ss's words, and only what is news: the file has no place for timers."""
    ends = {trace.passages[0].segment.source, trace.passages[0].segment.destination}
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
