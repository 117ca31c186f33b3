"""When things happened in a trace, in seconds: also in a capture, which has no outcome."""

from __future__ import annotations

from tcplab.trace import SECOND, Trace


def keepalive_times_s(trace: Trace) -> list[float]:
    """When keepalive probes went out, seconds from the last data before the first of them."""
    probes = [passage.t for passage in trace.passages if passage.kind == "keepalive"]
    data = [passage.t for passage in trace.passages if passage.segment.length]
    since = max((t for t in data if t < probes[0]), default=trace.start) if probes else 0
    return [(t - since) / SECOND for t in probes]


def sending_times_s(trace: Trace) -> list[float]:
    """When the client sent its last data, again and again, seconds from the first time."""
    data = [passage for passage in trace.passages if passage.sender == "client" and passage.segment.length]
    sent = [passage.t for passage in data if passage.segment.seq == data[-1].segment.seq]
    return [(t - sent[0]) / SECOND for t in sent]


def window_closed_s(trace: Trace) -> float | None:
    """When the client first said that its window is zero, seconds from the first segment; or never."""
    closed = (p.t for p in trace.passages if p.sender == "client" and not p.segment.window)
    return next(map(trace.seconds, closed), None)


def window_probe_times_s(trace: Trace) -> list[float]:
    """When window probes went out, seconds from the first closing of the client's window."""
    closed = window_closed_s(trace)
    if closed is None:
        return []
    return [trace.seconds(passage.t) - closed for passage in trace.passages if passage.kind == "window_probe"]
